"""Real processes for tests: a scheduler, servers and clients, each with its own
log, all of them gone at the end whatever happens.

Every wait has a deadline and names what it waited for. No ports are fixed: a
cluster meets in a store in a folder of its own.
"""

import collections
import ctypes
import json
import os
import resource
import select
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
LEASE_S = 3.0  # of the file:// store
REPORT_CHARS = 8000  # shown of the report of a sanitizer
REPORT_WORDS = ("Sanitizer: ", ": runtime error: ")  # gcc's UBSan: stderr only
PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)
_running = set()
_folders = set()
_logs = collections.OrderedDict()
_watched = {}  # logs -> how much of each was looked at for reports
_reports = []  # from the logs


def program(variable):
    """The path of a program that run.py was given; the test skips without."""
    path = os.environ.get(variable, "")
    if not path:
        raise unittest.SkipTest(f"{variable} is not set: start run.py")
    return path


def is_deep():
    return os.environ.get("PS_TEST_DEEP") == "1"


def is_short():
    """The form for builds that are many times slower; deep overrules it."""
    return os.environ.get("PS_TEST_SHORT") == "1" and not is_deep()


def is_sanitized():
    return bool(os.environ.get("PS_TEST_REPORTS"))


def patience(seconds):
    """For how long to wait for what takes so many in a build as released."""
    return seconds * 3 if is_sanitized() else seconds


def _look_for_reports(path):
    with open(path, errors="replace") as log:
        log.seek(_watched[path])
        text = log.read()
        _watched[path] = log.tell()
    if any(word in text for word in REPORT_WORDS):
        _reports.append(f"--- {os.path.basename(path)}\n"
                        f"{text[-REPORT_CHARS:]}\n")


def sanitizer_reports():
    """What sanitizers have written since the last call, as text: in the folder
    that run.py has made for that, and in the logs."""
    folder = os.environ.get("PS_TEST_REPORTS")
    for path in _watched if folder else ():
        _look_for_reports(path)
    out = list(_reports)
    _reports.clear()
    for name in sorted(os.listdir(folder) if folder else []):
        path = os.path.join(folder, name)
        with open(path, errors="replace") as report:
            out.append(f"--- {name}\n{report.read(REPORT_CHARS)}\n")
        os.remove(path)
    return "".join(out)


class Late(AssertionError):
    """A wait that reached its deadline."""


def wait_for(what, condition, seconds=20.0, every=0.05):
    """The first true answer of condition(); Late after that many seconds, or
    more of them where patience() says so, as in every wait here."""
    seconds = patience(seconds)
    until = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > until:
            raise Late(f"{what}: not within {seconds:g} s")
        time.sleep(every)


def _die_with_us():
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _start_with(files):
    """What a child does first; files: how many it may have open at the most,
    where half of that is its limit as it begins."""
    def start():
        _die_with_us()
        if files:
            resource.setrlimit(resource.RLIMIT_NOFILE, (files // 2, files))
    return start


class Process:
    """A child in a process group of its own. What it says on stderr goes to a
    log; so does stdout, unless lines are to be read from it."""

    def __init__(self, name, command, folder, env=None, lines=False,
                 files=None):
        self.name = name
        self.log = os.path.join(folder, f"{name}-{len(_logs)}.log")
        _logs[self.log] = True
        _watched[self.log] = 0
        self._rest = b""
        with open(self.log, "wb") as log:
            self.child = subprocess.Popen(
                command, stdin=subprocess.PIPE,
                stdout=subprocess.PIPE if lines else log, stderr=log,
                env={**os.environ, **(env or {})}, start_new_session=True,
                preexec_fn=_start_with(files))
        self.pid = self.child.pid
        _running.add(self)

    def signal(self, number):
        """To the whole group, which has the number of its first process."""
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            pass

    def wait(self, seconds=20.0):
        """Its exit status."""
        seconds = patience(seconds)
        try:
            status = self.child.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Late(f"{self.name} has not ended in {seconds:g} s") from None
        self._forget()
        return status

    def pause(self):
        """SIGSTOP; every thread stands when this returns."""
        self.signal(signal.SIGSTOP)
        wait_for(f"{self.name} stands", self._stands, every=0.002)

    def _stands(self):
        for task in os.listdir(f"/proc/{self.pid}/task"):
            with open(f"/proc/{self.pid}/task/{task}/stat") as f:
                if f.read().rsplit(")", 1)[1].split()[0] != "T":
                    return False
        return True

    def go_on(self):
        self.signal(signal.SIGCONT)

    def kill(self):
        """SIGKILL, to the whole group, and its end."""
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGKILL)
        self.child.wait()
        self._forget()

    def stop(self, seconds=20.0):
        """SIGTERM, and the exit status."""
        self.signal(signal.SIGTERM)
        return self.wait(seconds)

    def end(self, seconds=5.0):
        """Its end, in peace if that is quick: leaks are looked for at exit."""
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        try:
            self.wait(seconds)
        except Late:
            self.kill()

    def _forget(self):
        for pipe in (self.child.stdin, self.child.stdout):
            if pipe:
                try:
                    pipe.close()
                except BrokenPipeError:
                    pass
        _running.discard(self)

    def say(self, line):
        self.child.stdin.write(line.encode() + b"\n")
        self.child.stdin.flush()

    def finish(self):
        """The end of its stdin."""
        self.child.stdin.close()

    def line(self, seconds=30.0):
        """The next line of its stdout, as JSON."""
        seconds = patience(seconds)
        until = time.monotonic() + seconds
        while b"\n" not in self._rest:
            left = max(until - time.monotonic(), 0)
            if not select.select([self.child.stdout], [], [], left)[0]:
                raise Late(f"{self.name} has said nothing in {seconds:g} s")
            more = os.read(self.child.stdout.fileno(), 1 << 16)
            if not more:
                raise AssertionError(f"{self.name} has ended: {self.text()}")
            self._rest += more
        line, self._rest = self._rest.split(b"\n", 1)
        return json.loads(line)

    def text(self):
        with open(self.log, errors="replace") as log:
            return log.read()

    def cpu_s(self):
        """Processor time of all its threads so far."""
        total = 0
        for task in os.listdir(f"/proc/{self.pid}/task"):
            with open(f"/proc/{self.pid}/task/{task}/schedstat") as f:
                total += int(f.read().split()[0])
        return total * 1e-9

    def files(self):
        """What its open files are, as /proc names them."""
        found = []
        for fd in os.listdir(f"/proc/{self.pid}/fd"):
            try:
                found.append(os.readlink(f"/proc/{self.pid}/fd/{fd}"))
            except FileNotFoundError:
                continue
        return found

    def ports(self):
        """The TCP ports that it listens on."""
        inodes = {target[8:-1] for target in self.files()
                  if target.startswith("socket:[")}
        with open(f"/proc/{self.pid}/net/tcp") as f:
            rows = [line.split() for line in f.readlines()[1:]]
        return [int(row[1].split(":")[1], 16) for row in rows
                if row[3] == "0A" and row[9] in inodes]


class Cluster:
    """One scheduler and some servers, started one by one, so that a test can
    end them one by one."""

    def __init__(self, servers=2, shards=2, scheduler_options=(),
                 server_options=(), start=True, files=None):
        self.bin = program("PS_PLUS_BIN")
        self.folder = make_folder()
        self.kv = "file://" + os.path.join(self.folder, "store")
        self.n = servers
        self.shards = shards
        self.scheduler_options = list(scheduler_options)
        self.server_options = list(server_options) or [[]] * servers
        self.files = files  # of each role
        self.scheduler = None
        self.servers = [None] * servers
        self.processes = []
        if start:
            self.start_all()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def start(self, name, command, **how):
        env = {"PS_SCHEDULER_KV_PATH": self.kv, **how.pop("env", {})}
        process = Process(name, command, self.folder, env=env, **how)
        self.processes.append(process)
        return process

    def start_all(self):
        self.start_scheduler()
        for i in range(self.n):
            self.start_server(i)
        self.wait_serving()

    def start_scheduler(self, *options):
        self.scheduler = self.start(
            "scheduler", [self.bin, "-r", "scheduler", "-sp", self.kv, "-sn",
                          str(self.n), *self.scheduler_options, *options],
            files=self.files)
        return self.scheduler

    def start_server(self, i):
        self.servers[i] = self.start(
            f"server-{i}", [self.bin, "-r", "server", "-sp", self.kv, "-si",
                            str(i), "--shards", str(self.shards),
                            *self._log_options(i),
                            *self.server_options[i]], files=self.files)
        return self.servers[i]

    def _log_options(self, i):
        """A place for logs where the probes declare what is logged."""
        if os.environ.get("PS_PROBE_DURABILITY", "0") == "0":
            return []
        return ["--log_path", os.path.join(self.folder, f"log-{i}")]

    def probe(self, *words, name=None):
        """A probe whose lines are read."""
        return self.start(name or "probe-" + words[0],
                          [program("PS_PROBE_BIN"), *map(str, words)],
                          lines=True)

    def ask(self, *words, lines=1, seconds=60.0):
        """Runs a probe to its end: the last of its lines, or all of them."""
        probe = self.probe(*words)
        probe.finish()
        said = [probe.line(seconds) for _ in range(lines)]
        status = probe.wait(seconds)
        if status != 0:
            raise AssertionError(f"{probe.name} ended with {status}: "
                                 f"{probe.text()}")
        return said[0] if lines == 1 else said

    def try_status(self, wait_s=2):
        """The state of the cluster, None where it does not answer."""
        done = subprocess.run(
            [self.bin, "status", "--json", "-sp", self.kv, "--wait",
             str(wait_s)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            timeout=30, check=False, preexec_fn=_die_with_us)
        return json.loads(done.stdout) if done.stdout else None

    def status(self):
        answer = self.try_status(5)
        if answer is None:
            raise AssertionError("ps-plus status says nothing")
        return answer

    def wait_status(self, what, condition, seconds=30.0):
        """The first state of the cluster that is as wanted."""
        def look():
            answer = self.try_status()
            return answer if answer and condition(answer) else None
        return wait_for(what, look, seconds)

    def wait_serving(self, seconds=30.0):
        return self.wait_status("all servers serve", self.is_serving, seconds)

    def is_serving(self, status):
        return (len(status["servers"]) == self.n and
                all(s["state"] == "serving" and
                    len(s["shards"]) == self.shards
                    for s in status["servers"]))

    def close(self):
        for process in reversed(self.processes):
            if process in _running:
                if is_sanitized():
                    process.end()
                else:
                    process.kill()
        remove_folder(self.folder)


class CountTest(unittest.TestCase):
    """What the exactly-once tests share: the accounts of probes in mode
    `count`, and the rows they must add up to."""

    def check_accounts(self, cluster, accounts, keys):
        """Every push whole and once: rows = told, less what was told lost."""
        for account in accounts:
            self.assertGreater(account["pushes"], 0)
            self.assertEqual(account["torn"], 0)
            self.assertEqual(account["taken_twice"], 0)
            self.assertEqual(account["unheard"], 0)
            self.assertEqual(account["frames_acked"],
                             account["counted_acked"])
        for name in ("rows", "more"):
            told = [[sum(values) for values in zip(*rows)] for rows in
                    zip(*(a["expected"][name] for a in accounts))]
            found = cluster.ask("dump", name, keys, 3)["rows"]
            wrong = [(i, a, b) for i, (a, b) in enumerate(zip(told, found))
                     if a != b]
            self.assertEqual(wrong[:5], [], f"{name}: (key, told, found), "
                             f"{len(wrong)} of {keys} rows")


def server_of(status, i):
    return [s for s in status["servers"] if s["id"] == i][0]


def lanes_of(status, i):
    return [shard["lane"] for shard in server_of(status, i)["shards"]]


def end_accounts(probes, seconds=90.0):
    for probe in probes:
        probe.finish()
    accounts = [probe.line(seconds) for probe in probes]
    for probe in probes:
        status = probe.wait()
        if status != 0:
            raise AssertionError(f"{probe.name} ended with {status}")
    return accounts


def make_folder():
    folder = tempfile.mkdtemp(prefix="ps-e2e-")
    _folders.add(folder)
    return folder


def mount_disk(test, folder, size):
    """A disk of so many bytes, until the end of the test, which skips where
    that is not allowed."""
    os.makedirs(folder, exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", folder],
        stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        test.skipTest("a small disk cannot be mounted: " +
                      " ".join(done.stderr.split()))
    test.addCleanup(subprocess.run, ["umount", "-l", folder], check=True)


def fill_disk(folder):
    """Not a byte is left. The file that makes room again when it goes."""
    path = os.path.join(folder, "filler")
    with open(path, "wb", 0) as f:
        for size in (4096, 1):
            try:
                while f.write(bytes(size)):
                    pass
            except OSError:
                pass
    return path


def remove_folder(folder):
    for path in [path for path in _watched
                 if os.path.dirname(path) == folder]:
        if is_sanitized():
            _look_for_reports(path)
        del _watched[path]
    shutil.rmtree(folder, ignore_errors=True)
    _folders.discard(folder)


def clean():
    """Whatever a class of tests has left."""
    for process in list(_running):
        process.kill()
    for folder in list(_folders):
        remove_folder(folder)


def forget_logs():
    _logs.clear()


def log_tails(lines=15):
    """The ends of the logs of this test, for who reads a failure."""
    out = []
    for path in _logs:
        try:
            with open(path, errors="replace") as log:
                tail = log.readlines()[-lines:]
        except OSError:
            continue
        out.append(f"--- {os.path.basename(path)}\n")
        out += tail
    return "".join(out)
