#!/usr/bin/env python3
"""How long a server that dies is away whose rows are many, for
doc/reliability.md.

    recovery_rate.py --bin PATH/ps-plus --probe PATH/ps-probe [--rows N]
                     [--dim N] [--shards N] [--deaths N]

One server with all rows, which are in a checkpoint. It is killed and started
again; a worker pushes all the time. From detection (the scheduler says so) to
its first acknowledgement everything was read and is in the tables. Beside it
what reading alone takes: `cat` of the checkpoint's files. Before each of the
two the files are put out of the page cache.
"""

import argparse
import glob
import os
import statistics
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import cluster  # noqa: E402


def forget(files):
    """Puts them out of the page cache."""
    for path in files:
        fd = os.open(path, os.O_RDONLY)
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)


def read(files):
    forget(files)
    begin = time.monotonic()
    subprocess.run(["cat", *files], check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - begin


def die(c, watch, files):
    """(seconds to the detection, from there to the first acknowledgement)"""
    told = c.scheduler.text().count("server 0 is silent")
    forget(files)
    watch.say("")
    watch.line()
    at = time.monotonic()
    c.servers[0].kill()
    c.start_server(0)
    cluster.wait_for("it is noticed", lambda: c.scheduler.text().count(
        "server 0 is silent") > told, every=0.01)
    noticed = time.monotonic()
    until = noticed + 600
    while True:
        time.sleep(0.5)
        watch.say("")
        seen = watch.line()["0"]
        if seen["end"] > noticed:
            return noticed - at, seen["end"] - noticed
        if time.monotonic() > until:
            raise AssertionError(c.servers[0].text()[-1000:])


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--bin", required=True)
    p.add_argument("--probe", required=True)
    p.add_argument("--rows", type=int, default=22000000)
    p.add_argument("--dim", type=int, default=32)
    p.add_argument("--shards", type=int, default=2)
    p.add_argument("--deaths", type=int, default=3)
    o = p.parse_args()
    os.environ["PS_PLUS_BIN"] = o.bin
    os.environ["PS_PROBE_BIN"] = o.probe
    place = os.path.join(cluster.make_folder(), "checkpoints")
    with cluster.Cluster(servers=1, shards=o.shards, scheduler_options=[
            "-cp", "file://" + place]) as c:
        c.ask("fill", "large", o.rows, o.dim, seconds=3000)
        watch = c.probe("watch", 60)
        watch.line()
        subprocess.run([c.bin, "save", "-sp", c.kv], check=True)
        files = glob.glob(os.path.join(place, "ckpt-*", "*"))
        size = sum(map(os.path.getsize, files))
        print(f"{o.rows} rows of dim {o.dim}, {size / 2**30:.2f} GiB",
              flush=True)
        beyond = []
        for _ in range(o.deaths):
            alone = read(files)
            noticed, took = die(c, watch, files)
            beyond.append(took - alone)
            print(f"    noticed after {noticed:.2f} s, first acknowledgement "
                  f"{took:.2f} s later; reading alone {alone:.2f} s",
                  flush=True)
        print(f"    median {statistics.median(beyond):.2f} s beyond the read")
    cluster.clean()


if __name__ == "__main__":
    main()
