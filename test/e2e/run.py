#!/usr/bin/env python3
"""The tests with real processes.

    run.py --bin PATH/ps-plus --ctr PATH/ctr [--ctr-gen PATH] [--probe PATH]
           [--deep | --short] [--sanitized] [--jobs N] [--only NAME]... [--list]

Runs test_*.py of this folder, each test (where a class prepares something for
all of its tests, each class) in a process of its own, N at the same time: most
of them wait for leases to end. Then those with `alone`, one by one: they
measure, or need the machine. Each test has a deadline (60 s, or its
`deadline`); where one fails, the ends of its processes' logs are shown. Nothing
is left running: processes are killed by group, and one that got away is a
failure. With --sanitized a report of a sanitizer, of whichever process, fails
the test in which it came, and deadlines are three times as long. NAME is a part
of a test's name. A skip has its reason on a line of its own. At the end stand
the slowest, with the processor's time of the whole; the last line is
`N passed, N failed, N skipped`.
"""

import argparse
import ctypes
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

import cluster  # noqa: E402

DEADLINE_S = 60
SLOWEST = 12  # how many are named at the end
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


class Deadline(Exception):
    pass


class Stopped(KeyboardInterrupt):
    """What unittest does not take for a failure of the test."""


def name_of(test):
    """frappe/fm_on_two_servers for test_frappe.py and its method."""
    module = type(test).__module__.removeprefix("test_")
    method = getattr(test, "_testMethodName", "")
    return f"{module}/{method.removeprefix('test_')}"


def deadline_of(test):
    method = getattr(test, getattr(test, "_testMethodName", ""), None)
    return int(getattr(method, "deadline", 0) or
               getattr(test, "deadline", DEADLINE_S))


def is_alone(test):
    method = getattr(test, getattr(test, "_testMethodName", ""), None)
    return getattr(method, "alone", getattr(test, "alone", False))


def say(line):
    print(line, flush=True)


class Result(unittest.TestResult):
    """One line for each test as it ends."""

    def __init__(self):
        super().__init__()
        self.passed = 0
        self.times = []  # (seconds, name)
        self.start = 0.0
        self.what = ""
        self.has_failed = False

    def startTest(self, test):
        super().startTest(test)
        self.what = name_of(test)
        self.has_failed = False
        self.start = time.monotonic()
        signal.alarm(cluster.patience(deadline_of(test)))

    def stopTest(self, test):
        signal.alarm(0)
        self.check_reports(self.what)
        seconds = time.monotonic() - self.start
        self.times.append((seconds, self.what))
        if not self.has_failed and \
                not isinstance(sys.exc_info()[1], Stopped):
            self.passed += 1
            say(f"passed: {self.what} ({seconds:.1f} s)")
        cluster.forget_logs()
        super().stopTest(test)

    def check_reports(self, name):
        reports = cluster.sanitizer_reports()
        if reports:
            self.has_failed = True
            self.failures.append((name, "a sanitizer"))
            say(f"failed: {name}: a sanitizer has something to say")
            say(reports)

    def fail(self, name, error):
        self.has_failed = True
        say(f"failed: {name}")
        say("".join(traceback.format_exception(*error)))
        say(cluster.log_tails())

    def addError(self, test, err):
        super().addError(test, err)
        if isinstance(test, unittest.TestCase):
            self.fail(self.what, err)
        else:  # a class or module could not be set up
            self.fail(str(test), err)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.fail(self.what, err)

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self.fail(f"{self.what} {subtest._subDescription()}", err)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.has_failed = True
        name = self.what
        if not isinstance(test, unittest.TestCase):
            name = str(test).split("(")[-1].rstrip(")")
            name = name.removeprefix("test_").replace(".", "/", 1)
        say(f"skip: {name}: {reason}")

    def addUnexpectedSuccess(self, test):
        super().addUnexpectedSuccess(test)
        self.has_failed = True
        say(f"failed: {self.what}: it was expected to fail")

    def count_failed(self):
        return (len(self.failures) + len(self.errors) +
                len(self.unexpectedSuccesses))


def descendants():
    """Whatever still runs below us; who lost its parent is ours."""
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat") as f:
                    fields = f.read().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if fields[0] != "Z":
                parents[int(entry)] = int(fields[1])
    ours = []
    for pid in parents:
        up = pid
        while up in parents and up != os.getpid():
            up = parents[up]
        if up == os.getpid() and pid != os.getpid():
            ours.append(pid)
    return ours


def what_is_left(seconds):
    until = time.monotonic() + seconds
    while descendants() and time.monotonic() < until:
        time.sleep(0.05)
    left = []
    for pid in descendants():
        try:
            with open(f"/proc/{pid}/cmdline") as f:
                left.append(f.read().replace("\0", " ")[:160])
            os.kill(pid, signal.SIGKILL)
        except OSError:
            pass
    return left


def units_of(suite):
    """Lists of tests that stay together: each alone, but a class that prepares
    something for all of its tests."""
    plain = unittest.TestCase.setUpClass.__func__
    groups = {}
    todo = [suite]
    while todo:
        item = todo.pop(0)
        if isinstance(item, unittest.TestSuite):
            todo = list(item) + todo
        elif type(item).setUpClass.__func__ is plain:
            groups[item] = [item]
        else:
            groups.setdefault(type(item), []).append(item)
    return list(groups.values())


def run_unit(tests):
    """In its own process: what came of it."""
    result = Result()
    try:
        unittest.TestSuite(tests).run(result)
    except Stopped as e:
        signal.alarm(0)
        say(f"stopped: {result.what}: {e}")
    cluster.clean()
    left = what_is_left(3)
    if left:
        what = f"{name_of(tests[0])} and its like leave nothing running"
        say(f"failed: {what}: {left}")
        result.failures.append((what, str(left)))
    result.check_reports(f"{name_of(tests[0])} and its like")
    return {"passed": result.passed, "failed": result.count_failed(),
            "skipped": len(result.skipped), "times": result.times}


def processor_s():
    """What our children have used that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class Unit:
    """Some tests in a process of their own; what it says is shown at its end,
    so that the lines of a test stand together."""

    def __init__(self, tests, sanitized):
        self.name = name_of(tests[0])
        self.said = tempfile.TemporaryFile("w+")
        self.result, result = os.pipe()
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.close(self.result)
                self.be(tests, sanitized, result)
            finally:
                os._exit(1)
        os.close(result)

    def be(self, tests, sanitized, result):
        libc = ctypes.CDLL(None)
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
        os.dup2(self.said.fileno(), 1)
        os.dup2(self.said.fileno(), 2)
        reports = collect_reports() if sanitized else None
        try:
            answer = run_unit(tests)
        finally:
            if reports:
                shutil.rmtree(reports, ignore_errors=True)
        os.write(result, json.dumps(answer).encode())
        sys.stdout.flush()
        os._exit(0)

    def end(self, status):
        """Shows what it said: what came of it."""
        with os.fdopen(self.result, "rb") as pipe:
            answer = pipe.read()
        self.said.seek(0)
        print(self.said.read(), end="", flush=True)
        self.said.close()
        if answer:
            return json.loads(answer)
        say(f"failed: {self.name}: its process ended with status {status}")
        return {"passed": 0, "failed": 1, "skipped": 0, "times": []}


class Runner:
    def __init__(self, sanitized):
        self.sanitized = sanitized
        self.running = {}  # by process
        self.total = {"passed": 0, "failed": 0, "skipped": 0, "times": []}

    def start(self, tests):
        unit = Unit(tests, self.sanitized)
        self.running[unit.pid] = unit

    def wait(self):
        pid, status = os.wait()
        unit = self.running.pop(pid, None)  # else what a unit has lost
        if unit:
            for name, more in unit.end(status).items():
                self.total[name] += more

    def run(self, units, jobs):
        for tests in units:
            while len(self.running) >= jobs:
                self.wait()
            self.start(tests)
        while self.running:
            self.wait()

    def stop(self):
        for pid in self.running:
            os.kill(pid, signal.SIGTERM)
        while self.running:
            self.wait()


def on_alarm(*_):
    raise Deadline("the test has reached its deadline")


SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def on_signal(number, _):
    for again in SIGNALS:
        signal.signal(again, signal.SIG_IGN)
    raise Stopped(f"signal {number}")


def read_arguments():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--bin", required=True, help="the program ps-plus")
    p.add_argument("--ctr", required=True, help="the program ctr")
    p.add_argument("--ctr-gen", help="the generator; else beside ctr")
    p.add_argument("--probe", help="ps-probe; else test/ps-probe of the build")
    p.add_argument("--deep", action="store_true", help="the long forms")
    p.add_argument("--short", action="store_true", help="the shortest forms")
    p.add_argument("--sanitized", action="store_true",
                   help="the programs are built with sanitizers")
    p.add_argument("--jobs", type=int, metavar="N",
                   help="tests at the same time; else two for each CPU, and "
                   "one where they are sanitized")
    p.add_argument("--only", action="append", metavar="NAME")
    p.add_argument("--list", action="store_true", help="names the tests")
    a = p.parse_args()
    build = os.path.dirname(os.path.dirname(os.path.dirname(
        os.path.abspath(a.bin))))
    a.ctr_gen = a.ctr_gen or os.path.join(os.path.dirname(a.ctr), "ctr-gen")
    a.probe = a.probe or os.path.join(build, "test", "ps-probe")
    for path in (a.bin, a.ctr, a.ctr_gen, a.probe):
        if not os.access(path, os.X_OK):
            p.error(f"{path} is no program: build it first")
    return a


def collect_reports():
    """A folder for what sanitizers report. Whether a program has UBSan alone or
    beside another, its messages follow the option of its own."""
    folder = tempfile.mkdtemp(prefix="ps-reports-")
    for name in ("ASAN", "LSAN", "TSAN", "UBSAN"):
        variable = name + "_OPTIONS"
        given = os.environ.get(variable, "")
        os.environ[variable] = (f"{given}:" if given else "") + (
            f"log_path={folder}/{name.lower()}")
    os.environ["PS_TEST_REPORTS"] = folder
    return folder


def main():
    a = read_arguments()
    os.environ.pop("PS_TEST_REPORTS", None)
    os.environ.update({
        "PS_PLUS_BIN": os.path.abspath(a.bin),
        "PS_CTR_BIN": os.path.abspath(a.ctr),
        "PS_CTR_GEN_BIN": os.path.abspath(a.ctr_gen),
        "PS_PROBE_BIN": os.path.abspath(a.probe),
        "PS_TEST_DEEP": "1" if a.deep else "0",
        "PS_TEST_SHORT": "1" if a.short else "0",
        "PS_TEST_PLUGIN": os.path.abspath(os.path.join(
            os.path.dirname(a.ctr), "..", "plugin", "signum.so")),
    })
    os.environ.setdefault("PS_TEST_DATA", os.path.join(
        os.path.dirname(os.path.dirname(HERE)), "..", "shared", "data"))
    for name in ("PS_SCHEDULER_KV_PATH", "PS_WORKER_ID", "PS_WORKER_NUM"):
        os.environ.pop(name, None)
    suite = unittest.defaultTestLoader.discover(HERE, "test_*.py", HERE)
    units = [[t for t in tests if not a.only or
              any(only in name_of(t) for only in a.only)]
             for tests in units_of(suite)]
    units = [tests for tests in units if tests]
    if a.list:
        for tests in units:
            for test in tests:
                print(name_of(test))
        return 0
    # Who may take long begins first.
    units.sort(key=lambda tests: -sum(map(deadline_of, tests)))
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    signal.signal(signal.SIGALRM, on_alarm)
    for number in SIGNALS:
        signal.signal(number, on_signal)
    start = time.monotonic()
    runner = Runner(a.sanitized)
    jobs = a.jobs or (os.cpu_count() or 1) * (1 if a.sanitized else 2)
    try:
        runner.run([u for u in units if not is_alone(u[0])], jobs)
        runner.run([u for u in units if is_alone(u[0])], 1)
    except Stopped as e:
        runner.stop()
        say(f"stopped: {e}")
        return 1
    finally:
        what_is_left(0)  # of a unit that was killed
    total = runner.total
    for seconds, name in sorted(total["times"], reverse=True)[:SLOWEST]:
        say(f"{seconds:6.1f} s  {name}")
    say(f"took {time.monotonic() - start:.0f} s, "
        f"{processor_s():.0f} s of processors")
    say("{passed} passed, {failed} failed, {skipped} skipped".format(**total))
    return 0 if total["failed"] == 0 and units else 1


if __name__ == "__main__":
    sys.exit(main())
