#!/usr/bin/env python3
"""Pushes a second while a checkpoint is saved and while none is, for
doc/reliability.md.

    save_rate.py --bin PATH/ps-plus --probe PATH/ps-probe [--rows N] [--saves N]

One server with one shard and a table that is there before; 16 frames of about
16 KiB under way, of uniform keys. Saves and pauses of the same length take
turns in one run; while its rows are written a save is compared with the pauses
on both sides. The
longest piece of a save (thread time of the shard) is the server's own count,
its memory what the process has at most beside what it had before.
"""

import argparse
import os
import statistics
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import cluster  # noqa: E402


def resident(pid):
    with open(f"/proc/{pid}/statm") as f:
        return int(f.read().split()[1]) * 4096


class Samples:
    """When how many pushes had been acknowledged."""

    def __init__(self, probe):
        self.probe = probe
        self.all = []
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        while True:
            try:
                said = self.probe.line(600)
            except AssertionError:
                return
            self.all.append((said["at"], said["pushes"]))

    def rate(self, begin, end):
        inside = [s for s in self.all if begin <= s[0] <= end]
        return ((inside[-1][1] - inside[0][1]) /
                (inside[-1][0] - inside[0][0]))


def save(c):
    """When it began, when its rows were out (to a second), when it ended."""
    begin = time.monotonic()
    with subprocess.Popen([c.bin, "save", "-sp", c.kv], text=True,
                          stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE) as child:
        rows = None
        for line in child.stderr:
            if "%)" not in line and "waits:" not in line:
                rows = rows or time.monotonic()
    if child.returncode != 0:
        raise AssertionError("it was not saved")
    end = time.monotonic()
    return begin, rows or end, end


def watch_memory(pid, stop, most):
    while not stop.is_set():
        most[0] = max(most[0], resident(pid))
        time.sleep(0.02)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--bin", required=True)
    p.add_argument("--probe", required=True)
    p.add_argument("--rows", type=int, default=2000000)
    p.add_argument("--saves", type=int, default=5)
    p.add_argument("--depth", type=int, default=16)
    o = p.parse_args()
    os.environ["PS_PLUS_BIN"] = o.bin
    os.environ["PS_PROBE_BIN"] = o.probe
    place = "file://" + os.path.join(cluster.make_folder(), "checkpoints")
    with cluster.Cluster(servers=1, shards=1,
                         scheduler_options=["-cp", place]) as c:
        samples = Samples(c.probe("rate", o.depth, 36000, o.rows))
        cluster.wait_for("the table is there", lambda: len(samples.all) > 10,
                         300)
        pid = c.servers[0].pid
        before = resident(pid)
        most, stop = [before], threading.Event()
        threading.Thread(target=watch_memory, args=(pid, stop, most),
                         daemon=True).start()
        marks = []
        length = 2.0
        for _ in range(o.saves):
            pause = time.monotonic()
            time.sleep(max(length, 1.0))
            begin, rows, end = save(c)
            length = rows - begin
            marks.append((pause, begin, rows, end))
        pause = time.monotonic()
        time.sleep(max(length, 1.0))
        marks.append((pause, time.monotonic(), 0, 0))
        stop.set()
        shard = c.status()["servers"][0]["shards"][0]["counters"]
        ratios = []
        for (p0, p1, p2, p3), (q0, q1, _, _) in zip(marks, marks[1:]):
            quiet = (samples.rate(p0, p1) + samples.rate(q0, q1)) / 2
            busy = samples.rate(p1, p2)
            ratios.append(busy / quiet)
            print(f"{p2 - p1:5.1f} s of rows {busy:8.0f} pushes/s, beside it "
                  f"{quiet:8.0f}: {busy / quiet:.3f}; of {p3 - p1:.1f} s in "
                  f"all: {samples.rate(p1, p3) / quiet:.3f}")
        print(f"ratio {statistics.median(ratios):.3f} ({min(ratios):.3f} to "
              f"{max(ratios):.3f}), longest piece {shard['save_hold_us']} us, "
              f"memory {before >> 20} MiB and {(most[0] - before) >> 20} more "
              f"({100 * (most[0] - before) / before:.1f} %)")
    cluster.clean()


if __name__ == "__main__":
    main()
