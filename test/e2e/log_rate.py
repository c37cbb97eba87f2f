#!/usr/bin/env python3
"""Pushes a second at each durability, for doc/reliability.md.

    log_rate.py --bin PATH/ps-plus --probe PATH/ps-probe [--rounds N]
                [--seconds N]

One server with one shard; 1 and 64 frames of about 16 KiB under way. The
durabilities take turns, each on an empty cluster; medians of all rounds are
shown, and what part of `memory` that is. Beside them what the disk does by
itself: one write of 16 KiB with fdatasync after another.
"""

import argparse
import os
import statistics
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import cluster  # noqa: E402

NAMES = ("memory", "log", "fsync")


def one_round(durability, depth, seconds):
    os.environ["PS_PROBE_DURABILITY"] = str(durability)
    c = cluster.Cluster(servers=1, shards=1)
    try:
        said = c.ask("rate", depth, seconds)
        return said["pushes"] / said["seconds"]
    finally:
        c.close()


def disk_alone(folder, n=200):
    """Microseconds of a write of 16 KiB with fdatasync."""
    times = []
    fd = os.open(os.path.join(folder, "alone"), os.O_CREAT | os.O_WRONLY)
    for i in range(n):
        begin = time.monotonic()
        os.pwrite(fd, b"x" * 16384, i * 16384)
        os.fdatasync(fd)
        times.append((time.monotonic() - begin) * 1e6)
    os.close(fd)
    return statistics.median(times)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--bin", required=True)
    p.add_argument("--probe", required=True)
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--seconds", type=int, default=3)
    o = p.parse_args()
    os.environ["PS_PLUS_BIN"] = o.bin
    os.environ["PS_PROBE_BIN"] = o.probe
    rates = {(d, depth): [] for d in range(3) for depth in (1, 64)}
    alone = []
    for _ in range(o.rounds):
        alone.append(disk_alone(cluster.make_folder()))
        for d, depth in rates:
            rates[d, depth].append(one_round(d, depth, o.seconds))
        cluster.clean()
    for depth in (1, 64):
        base = statistics.median(rates[0, depth])
        for d in range(3):
            rate = statistics.median(rates[d, depth])
            print(f"{NAMES[d]:7} {depth:3} under way {rate:9.0f} pushes/s "
                  f"{rate / base:5.2f} of memory "
                  f"({min(rates[d, depth]):.0f} to {max(rates[d, depth]):.0f})")
    print(f"disk alone: {statistics.median(alone):.0f} us a write and "
          f"fdatasync of 16 KiB")
    cluster.clean()


if __name__ == "__main__":
    main()
