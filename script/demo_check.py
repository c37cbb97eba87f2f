#!/usr/bin/env python3
"""Runs script/demo as a user would and reads what it prints.

It must end well within three minutes, and the held-out AUC must rise, although
a server is killed in the middle: which comes back from a checkpoint, after
which the workers go on. What they are told is lost is less than what was
acknowledged. The model that three other servers take up from the checkpoint is
as good to the last digit. Nothing is left running. Last line: N passed, N
failed.
"""
import os
import re
import subprocess
import sys
import time


def find_all(pattern, text):
    return re.findall(pattern, text, re.M)


def check(demo, seconds):
    """What was looked at -> whether it was as it should be."""
    text = demo.stdout
    before, _, after = text.partition("$ kill -KILL")
    aucs = [float(x) for x in find_all(r"^epoch +\d+/\d+ .*held-out AUC "
                                       r"([0-9.]+)", text)]
    killed_in = len(find_all(r"^epoch +\d+/\d+ .*held-out AUC", before))
    acked = [int(x) for x in find_all(r"(\d+) frames acknowledged", text)]
    lost = [int(x) for x in find_all(r"lost (\d+) frames that were", text)]
    dropped = [int(x) for x in find_all(r"(\d+) pushes were not applied",
                                        text)]
    loaded = find_all(r"server 1: shard \d+ has loaded (ckpt-\S+)", after)
    saved = find_all(r"^saved (ckpt-\S+): ([1-9]\d*) rows", after)
    begun = find_all(r"begins with checkpoint (ckpt-\S+)", after)
    tests = find_all(r"^test: (AUC [0-9.]+, log loss [0-9.]+)$", text)
    rows = [int(x) for x in find_all(r"^\d +\d +\S+:\d+ +\d+ +\d+ +(\d+) +"
                                     r"\d+  serving$",
                                     after.partition("--eval-only")[2])]
    return {
        "it ends well": demo.returncode == 0,
        f"it takes under 180 s: {seconds:.0f} s": seconds < 180,
        f"the held-out AUC rises: {aucs}":
            len(aucs) >= 2 and aucs[-1] > aucs[0] > 0.5,
        f"the server is killed in the middle, after epoch {killed_in}":
            0 < killed_in < len(aucs),
        "it is said what happened": "server 1 is silent" in after or
                                    "held by another process" in after,
        f"the server comes back from a checkpoint: {loaded}":
            len(loaded) > 0,
        f"both workers are told what it lost: {lost} of {acked}":
            len(lost) == len(acked) == 2 and
            all(0 < a < b / 2 for a, b in zip(lost, acked)),
        f"no push is given up: {dropped}": dropped == [0, 0],
        f"a checkpoint is saved: {saved}": len(saved) == 1,
        f"three servers begin with it: {begun}":
            len(saved) == 1 and begun == [saved[0][0]] and len(rows) == 3 and
            min(rows) > 0,
        f"with all of its rows: {rows}":
            len(saved) == 1 and sum(rows) == int(saved[0][1]),
        f"the model is the same: {tests}":
            len(tests) == 2 and tests[0] == tests[1],
    }


def left_running():
    """Programs of the demo's build that are still there."""
    left = []
    for entry in os.listdir("/proc"):
        try:
            with open(f"/proc/{entry}/cmdline", "rb") as f:
                words = f.read().decode(errors="replace").split("\0")
        except OSError:
            continue
        if "/build/demo/" in words[0]:
            left.append(" ".join(words).strip())
    return left


def main():
    begin = time.monotonic()
    demo = subprocess.run(["script/demo"], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, timeout=600, check=False)
    seconds = time.monotonic() - begin
    print(demo.stdout)
    results = check(demo, seconds)
    left = left_running()
    results[f"nothing is left running: {left}"] = not left
    for what, is_good in results.items():
        print(f"{'passed' if is_good else 'failed'}: {what}")
    bad = sum(not x for x in results.values())
    print(f"{len(results) - bad} passed, {bad} failed")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
