#!/usr/bin/env python3
"""Pushes a second while a checkpoint is saved and while none is, for
doc/reliability.md.

    save_rate.py --bin PATH/ps-plus --probe PATH/ps-probe [--rows N] [--saves N]
                 [--depth N]

One server with one shard and a table that is there before; 16 frames of about
16 KiB under way, of uniform keys. Saves and pauses of the same length take
turns in one run; a save is compared with the pauses on both sides. What the
server's other threads have used of the processors meanwhile (writing,
checksums) is used once more by a process that does nothing else, in the same
length: what that costs is compared with its pauses likewise. The longest piece
of a save (thread time of the shard) is the server's own count, its memory what
the process has at most beside what it had before. test_save_rate.py asks for
bounds of the same figures.
"""

import argparse
import glob
import os
import pty
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
            except (AssertionError, OSError, ValueError):
                return
            self.all.append((said["at"], said["pushes"]))

    def rate(self, begin, end):
        inside = [s for s in self.all if begin <= s[0] <= end]
        return ((inside[-1][1] - inside[0][1]) /
                (inside[-1][0] - inside[0][0]))


def others(pid):
    """Seconds of processors of all threads but the busiest, the shard's."""
    used = []
    for path in glob.glob(f"/proc/{pid}/task/*/schedstat"):
        with open(path) as f:
            used.append(int(f.read().split()[0]) / 1e9)
    return sum(used) - max(used)


def save(c, pid):
    """When it began, when its rows were out (to 0.1 s), when it was whole, and
    the processors' time of the server's other threads until then."""
    begin, used = time.monotonic(), others(pid)
    ours, theirs = pty.openpty()
    with subprocess.Popen([c.bin, "save", "-sp", c.kv],
                          stdout=subprocess.DEVNULL, stderr=theirs) as child:
        os.close(theirs)
        rows, cpu, text = None, 0, ""
        while True:
            try:
                text += os.read(ours, 4096).decode(errors="replace")
            except OSError:  # the other side has ended
                break
            if rows is None and ("are out" in text or "finishing" in text):
                rows = time.monotonic()
        os.close(ours)
    cpu = others(pid) - used
    if child.returncode != 0:
        raise AssertionError("it was not saved")
    rows = rows or time.monotonic()
    return begin, rows, time.monotonic(), cpu


BURN = """
import sys, time
length, cpu = float(sys.argv[1]), float(sys.argv[2])
begin, used, longest = time.monotonic(), time.process_time(), 0
while (now := time.monotonic() - begin) < length:
    if time.process_time() - used > cpu * now / length:
        time.sleep(0.001)
    piece = time.thread_time()
    for _ in range(2000):
        pass
    longest = max(longest, time.thread_time() - piece)
print(round(longest * 1e6))
"""


def burn(length, cpu):
    """Its longest piece in us, of such as take 50 us or so: what the machine
    takes from a thread without saying it."""
    ran = subprocess.run([sys.executable, "-c", BURN, str(length), str(cpu)],
                         check=True, stdout=subprocess.PIPE)
    return int(ran.stdout)


def watch_memory(pid, stop, most):
    while not stop.is_set():
        most[0] = max(most[0], resident(pid))
        time.sleep(0.02)


def ratios_of(what, marks, samples):
    """Of the rate in each of these stretches to that in the pauses beside."""
    return [samples.rate(begin, end) /
            ((samples.rate(*marks[i - 1][1:]) +
              samples.rate(*marks[i + 1][1:])) / 2)
            for i, (kind, begin, end) in enumerate(marks) if kind == what]


def measure(c, rows, saves, depth=16):
    """With cluster c of one shard. `save` and `burn`: ratios, one of each save;
    hold_us, burnt_us: longest pieces; before, more: bytes of memory."""
    samples = Samples(c.probe("rate", depth, 36000, rows))
    cluster.wait_for("the table is there", lambda: len(samples.all) > 10, 300)
    pid = c.servers[0].pid
    before = resident(pid)
    most, stop = [before], threading.Event()
    threading.Thread(target=watch_memory, args=(pid, stop, most),
                     daemon=True).start()
    marks = []  # (what, begin, end)
    length, burnt = 2.0, 0

    def pause():
        begin = time.monotonic()
        time.sleep(max(length, 1.0))
        marks.append(("pause", begin, time.monotonic()))

    for _ in range(saves):
        pause()
        begin, out, end, cpu = save(c, pid)
        marks.append(("save", begin, end))
        length = end - begin
        print(f"    {out - begin:.1f} s of rows, {length:.1f} s in all, "
              f"{cpu:.2f} s of other threads", flush=True)
        pause()
        begin = time.monotonic()
        burnt = max(burnt, burn(length, cpu))
        marks.append(("burn", begin, time.monotonic()))
    pause()
    stop.set()
    shard = c.status()["servers"][0]["shards"][0]["counters"]
    return {"save": ratios_of("save", marks, samples),
            "burn": ratios_of("burn", marks, samples),
            "hold_us": shard["save_hold_us"], "burnt_us": burnt,
            "before": before, "more": most[0] - before}


def one_shard():
    place = "file://" + os.path.join(cluster.make_folder(), "checkpoints")
    return cluster.Cluster(servers=1, shards=1,
                           scheduler_options=["-cp", place])


def show(said):
    for what in ("save", "burn"):
        print(f"    {what} {statistics.median(said[what]):.3f} of the pauses "
              "beside it (" + " ".join(f"{r:.2f}" for r in said[what]) + ")")
    print(f"    longest piece {said['hold_us']} us, of the process that burns "
          f"{said['burnt_us']} us, memory {said['before'] >> 20} MiB and "
          f"{said['more'] >> 20} more "
          f"({100 * said['more'] / said['before']:.1f} %)", flush=True)


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
    with one_shard() as c:
        show(measure(c, o.rows, o.saves, o.depth))
    cluster.clean()


if __name__ == "__main__":
    main()
