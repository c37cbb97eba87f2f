#!/usr/bin/env python3
"""Runs script/demo as a user would and reads what it prints.

It must end well within three minutes, the held-out AUC must rise, and the
status must add up: as many pushes applied as frames acknowledged to workers.
Last line: N passed, N failed.
"""
import re
import subprocess
import sys
import time


def main():
    begin = time.monotonic()
    demo = subprocess.run(["script/demo"], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, timeout=600, check=False)
    seconds = time.monotonic() - begin
    print(demo.stdout)
    aucs = [float(x) for x in
            re.findall(r"^epoch +\d+/\d+ .*held-out AUC ([0-9.]+)",
                       demo.stdout, re.M)]
    acked = [int(x) for x in
             re.findall(r"(\d+) frames acknowledged", demo.stdout)]
    applied = re.search(r"pushes applied (\d+)", demo.stdout)
    results = {
        "it ends well": demo.returncode == 0,
        f"it takes under 180 s: {seconds:.0f} s": seconds < 180,
        f"the held-out AUC rises: {aucs}":
            len(aucs) >= 2 and aucs[-1] > aucs[0] > 0.5,
        f"applied as often as acknowledged: {acked}":
            len(acked) == 2 and applied is not None and
            int(applied.group(1)) == sum(acked),
    }
    for what, is_good in results.items():
        print(f"{'passed' if is_good else 'failed'}: {what}")
    bad = sum(not x for x in results.values())
    print(f"{len(results) - bad} passed, {bad} failed")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
