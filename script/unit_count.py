#!/usr/bin/env python3
"""Counts test cases in a log of `meson test`.

    script/unit_count.py BUILD/meson-logs/testlog.json

A unit is one case of cmocka, which says at the end of each group how many
passed, failed and were skipped. A program that died without a failed case, or
that ran no case at all, is one failure; one that is meant to fail, because a
fault is planted in it, is one case, which passes when it fails. Prints each
failure and each skip, and last `N passed, N failed, N skipped`.
"""

import json
import re
import sys


def cases(text, word):
    """The number of cases in the closing lines of all groups."""
    return sum(int(n) for n in
               re.findall(r"\[ +%s +\] (\d+) test\(s\)" % word, text))


def main():
    passed = failed = skipped = 0
    with open(sys.argv[1], encoding="utf-8") as f:
        runs = [json.loads(line) for line in f]
    for run in runs:  # `project:suite / name` where there are several suites
        run["name"] = run["name"].rsplit(" / ", 1)[-1]
    for run in runs:
        text = (run.get("stdout") or "") + "\n" + (run.get("stderr") or "")
        good = cases(text, "PASSED")
        bad = cases(text, "FAILED")
        left = cases(text, "SKIPPED")
        if run["result"] == "EXPECTEDFAIL":
            # A program with a planted fault: that it fails is the one case.
            passed += 1
            continue
        if run["result"] == "SKIP":
            left += 1
        elif run["result"] != "OK" and bad == 0:
            print(f"failed: {run['name']}: {run['result']}, "
                  f"status {run['returncode']}")
            bad = 1
        elif good + bad + left == 0:
            print(f"failed: {run['name']}: it ran no case")
            bad = 1
        for name in sorted(set(re.findall(r"\[  FAILED  \] (\w+)$", text,
                                          re.M))):
            print(f"failed: {run['name']}: {name}")
        for name in sorted(set(re.findall(r"\[  SKIPPED \] (\w+)$", text,
                                          re.M))):
            print(f"skip: {run['name']}:{name}: said so itself")
        passed += good
        failed += bad
        skipped += left
    if not runs:
        print("failed: no program was run")
        failed = 1
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
