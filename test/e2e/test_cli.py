"""The command line: what is accepted, what is refused, how it ends.

Real processes, no fixed ports. PS_PLUS_BIN names the program. Every process
that a test starts carries a mark of the test in its environment, children of
children too, so that those which outlive it are found in /proc.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest
import uuid

BIN = os.environ.get("PS_PLUS_BIN", "build/release/src/cli/ps-plus")
DEADLINE_S = 60

SCHEDULER = ["-r", "scheduler"]
SERVER = ["-r", "server"]
WHOLE_SERVER = [*SERVER, "-sp", "/x", "-si", "0"]

# Long name, short name, a value that is accepted; None: there is none.
COMMON = [
    ("log-level", None, "debug"),
]
ROLE = [
    ("scheduler_kv_path", "sp", "file:///run/x"),
    ("streaming_model_dense", "smdense", ""),
    ("streaming_model_sparse", "smsparse", ""),
    ("streaming_model_hash", "smhash", ""),
    ("bind_cores", "bc", "false"),
    ("port", "p", "4242"),
    ("bind", None, "127.0.0.2"),
    ("advertise", None, "host.example"),
    ("wait", None, "17"),
] + COMMON
LIMITS = [
    ("server_network_limit", "snet", "11"),
    ("server_memory_limit", "smem", "12"),
    ("server_query_limit", "sqps", "13"),
]
SAVES = [
    ("checkpoint_path", "cp", "/srv/x"),
    ("keep", None, "5"),
    ("full_every", None, "4"),
    ("save_wait", None, "9"),
    ("give-up-after", None, "8"),
    ("on-failure", None, "accept"),
]
OPTIONS = [
    (SCHEDULER, ROLE + LIMITS + SAVES + [
        ("server_num", "sn", "4"),
    ]),
    (SERVER, ROLE + [
        ("server_id", "si", "3"),
        ("shards", None, "5"),
        ("log_path", None, "/srv/x"),
    ]),
    (["local"], LIMITS + SAVES + COMMON + [
        ("servers", None, "2"),
        ("shards", None, "3"),
        ("bind_cores", "bc", "true"),
        ("kv", None, "/run/x"),
        ("log_path", None, "/srv/x"),
        ("wait", None, "17"),
    ]),
    (["save"], COMMON + [
        ("scheduler_kv_path", "sp", "/run/x"),
        ("wait", None, "17"),
    ]),
    (["status"], COMMON + [
        ("scheduler_kv_path", "sp", "/run/x"),
        ("wait", None, "17"),
    ]),
]


def spellings(long, brief, value):
    for name in filter(None, (long, brief)):
        for dashes in ("-", "--"):
            yield [dashes + name, value]
            yield [dashes + name + "=" + value]


def wait_for(what, found, deadline_s=DEADLINE_S):
    """What found() answers, as soon as that is true."""
    until = time.monotonic() + deadline_s
    while True:
        answer = found()
        if answer:
            return answer
        if time.monotonic() > until:
            raise AssertionError(f"not within {deadline_s} s: {what}")
        time.sleep(0.02)


def processes_with(mark):
    """Numbers of the living processes that have the mark."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/environ", "rb") as f:
                if mark.encode() in f.read():
                    found.append(int(name))
        except OSError:
            pass
    return found


def text_of(path):
    with open(path) as f:
        return f.read()


def words_of(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as f:
            return f.read().decode().split("\0")
    except OSError:
        return []


class Case(unittest.TestCase):
    def setUp(self):
        self.mark = "PS_TEST_MARK=" + uuid.uuid4().hex
        self.folder = tempfile.mkdtemp(prefix="ps-plus-cli-")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.addCleanup(self.kill_all)
        self.env = dict(os.environ, TMPDIR=self.folder,
                        PS_TEST_MARK=self.mark.split("=")[1])
        for name in ("PS_SCHEDULER_KV_PATH", "PS_WORKER_ID", "PS_WORKER_NUM"):
            self.env.pop(name, None)

    def kill_all(self):
        for pid in processes_with(self.mark):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def run_cli(self, *words, stdin="", timeout=DEADLINE_S):
        return subprocess.run([BIN, *words], env=self.env, input=stdin,
                              text=True, capture_output=True, timeout=timeout)

    def start(self, *words):
        """A process whose output goes to files: .out_path and .err_path."""
        stem = os.path.join(self.folder, uuid.uuid4().hex)
        with open(stem + ".out", "w") as out, open(stem + ".err", "w") as err:
            p = subprocess.Popen([BIN, *words], env=self.env, stdout=out,
                                 stderr=err, stdin=subprocess.DEVNULL)
        p.out_path, p.err_path = stem + ".out", stem + ".err"

        def end():
            p.kill()
            p.wait()
        self.addCleanup(end)
        return p

    def wait_for_text(self, p, path, pattern):
        def found():
            text = text_of(path)
            m = re.search(pattern, text)
            if m is None and p.poll() is not None:
                raise AssertionError(f"ended with {p.returncode}: {text}")
            return m
        return wait_for(f"{pattern} in {path}", found)

    def refused(self, words, *fragments):
        r = self.run_cli(*words)
        self.assertEqual(r.returncode, 2, (words, r))
        self.assertEqual(r.stdout, "", words)
        self.assertTrue(r.stderr.startswith("ps-plus: "), r.stderr)
        self.assertEqual(r.stderr.count("\n"), 1, r.stderr)
        for fragment in fragments:
            self.assertIn(fragment, r.stderr, words)

    def failed(self, r, *fragments):
        self.assertEqual(r.returncode, 1, r)
        for fragment in fragments:
            self.assertIn(fragment, r.stderr)

    def no_process_left(self):
        wait_for("no process is left",
                 lambda: not processes_with(self.mark), 20)

    def no_store_left(self):
        self.assertEqual([n for n in os.listdir(self.folder)
                          if not n.endswith((".out", ".err"))], [])


class Options(Case):
    def test_every_option_in_every_spelling(self):
        for command, options in OPTIONS:
            for long, brief, value in options:
                for words in spellings(long, brief, value):
                    with self.subTest(command=command, words=words):
                        r = self.run_cli(*command, *words, "--print-config")
                        self.assertEqual((r.returncode, r.stderr), (0, ""))
                        line = f"{long} = {value}".rstrip()
                        self.assertIn(line, r.stdout.split("\n"))

    def test_role_in_every_spelling_and_place(self):
        for words in spellings("role", "r", "server"):
            r = self.run_cli("-si", "1", *words, "--print-config")
            self.assertEqual(r.returncode, 0, r)
            self.assertIn("role = server\n", r.stdout)

    def test_plugin_in_every_spelling(self):
        for words in spellings("plugin", None, "a.so"):
            self.refused([*WHOLE_SERVER, *words], "--plugin", "a.so",
                         "No such file")
        self.refused([*WHOLE_SERVER, "-plugin=", "--plugin", "b.so"], "b.so")

    def test_a_plugin_is_loaded_before_any_other_option_is_read(self):
        self.refused([*SERVER, "--no-such-option", "--plugin", "b.so"], "b.so")
        self.refused(["--plugin", "libm.so.6"], "--plugin",
                     "no symbol ps_plugin")

    def test_abbreviations_are_refused(self):
        for command, options in OPTIONS:
            for long, _, value in options:
                for dashes in ("-", "--"):
                    short = dashes + long[:-1]
                    with self.subTest(command=command, word=short):
                        self.refused([*command, f"{short}={value}"],
                                     "unknown option " + short)

    def test_given_twice(self):
        for command, options in OPTIONS:
            for long, _, value in options:
                self.refused([*command, f"--{long}={value}",
                              f"--{long}={value}"], "twice")

    def test_value_missing(self):
        for command, options in OPTIONS:
            for long, _, _ in options:
                self.refused([*command, "--" + long], "--" + long, "wants")
                self.refused([*command, "--" + long, "--help"], "--" + long)

    def test_bools(self):
        for right, words in (("false", ("False", "false", "FALSE", "0")),
                             ("true", ("True", "true", "TRUE", "1"))):
            for word in words:
                r = self.run_cli(*SERVER, "-bc", word, "--print-config")
                self.assertEqual(r.returncode, 0, r)
                self.assertIn(f"\nbind_cores = {right}\n", r.stdout)
        self.refused([*SERVER, "-bc", "yes"], "true or false", '"yes"')

    def test_bad_numbers(self):
        numbers = [
            (SCHEDULER, "-snet", "1", "2147483647"),
            (SCHEDULER, "-smem", "1", "2147483647"),
            (SCHEDULER, "-sqps", "1", "2147483647"),
            (SCHEDULER, "-p", "0", "65535"),
            (SCHEDULER, "--wait", "0", "2147483647"),
            (SERVER, "-si", "0", "4095"),
            (SERVER, "--shards", "1", "256"),
            (SERVER, "-p", "0", "65535"),
            (["local"], "--servers", "1", "4096"),
            (["local"], "--shards", "1", "256"),
            (["local"], "--workers", "1", "4096"),
            (["status"], "--wait", "1", "86400"),
        ]
        for command, option, least, most in numbers:
            right = f"a number from {least} to {most}"
            for bad in ("x", "", "1.5", "0x10", "1e3", " 1", "+1", "7k",
                        str(int(least) - 1), str(int(most) + 1),
                        "99999999999999999999"):
                with self.subTest(option=option, value=bad):
                    self.refused([*command, f"{option}={bad}"], option, right,
                                 f'"{bad}"')

    def test_required(self):
        self.refused([*SCHEDULER, "-sn", "1"], "-sp", "missing")
        self.refused([*SCHEDULER, "-sp", "/x"], "-sn", "missing")
        self.refused([*SERVER, "-si", "1"], "-sp", "missing")
        self.refused([*SERVER, "-sp", "/x"], "-si", "missing")
        self.refused(["status"], "-sp", "missing")
        self.refused([*SERVER, "-sp=", "-si", "0"], "-sp")

    def test_roles_and_words(self):
        self.refused([], "-r", "missing")
        self.refused(["-sp", "/x"], "-r", "missing")
        self.refused(["-r"], "scheduler or server")
        self.refused(["-r", "worker"], "scheduler or server", '"worker"')
        self.refused(["--role=Server"], "scheduler or server")
        self.refused([*SERVER, *SCHEDULER, "-sp", "/x", "-si", "0"], "twice")
        self.refused([*WHOLE_SERVER, "more"], '"more"')
        self.refused(["stauts"], 'unknown subcommand "stauts"')
        for word in ("top", "variables", "placement",
                     "doctor"):
            self.refused([word], word + " is not built yet")
            self.refused([word, "--help"], word + " is not built yet")

    def test_options_of_the_other_role(self):
        self.refused([*WHOLE_SERVER, "-sn", "2"], "-sn")
        self.refused([*SCHEDULER, "-sp", "/x", "-sn", "2", "-si", "0"], "-si")
        self.refused([*SCHEDULER, "-sp", "/x", "-sn", "2", "--shards", "2"],
                     "--shards")

    def test_what_is_not_built_is_refused(self):
        scheduler = [*SCHEDULER, "-sp", "/x", "-sn", "1"]
        for role in (scheduler, WHOLE_SERVER):
            for option in ("-smdense", "-smsparse", "-smhash"):
                self.refused([*role, option, "file:///y"], option,
                             "not built yet", "file:///y")
        for words in (scheduler, ["local"]):
            for url in ("hdfs://a/b", "ftp://x"):
                self.refused([*words, "-cp", url], "-cp", "file://DIR", url)
            self.refused([*words, "-cp", "memory://x"], "-cp", "file://DIR")
            self.refused([*words, "--keep", "1"], "--keep")
        for text in ("4,2", "4,0,1"):
            self.refused([*SCHEDULER, "-sp", "/x", "-sn", text], "-sn",
                         "model servers", text, "not built yet", "give 4")
        for words in ([*SCHEDULER, "-sn", "1"], [*SERVER, "-si", "0"],
                      ["status"]):
            self.refused([*words, "-sp", "zfs://a:2181/b"], "-sp", "ZooKeeper",
                         "file:///run/ps")

    def test_what_asks_for_nothing_is_accepted(self):
        r = self.run_cli(*SCHEDULER, "-sp", "/x", "-sn", "4,0", "-cp",
                         "none://", "-smdense", "", "-smsparse=", "-smhash",
                         "", "-bc", "False", "--plugin", "",
                         "--print-config")
        self.assertEqual((r.returncode, r.stderr), (0, ""))

    def test_an_empty_name_is_not_the_newest(self):
        for words in (["restore", "-sp", "/x"], ["save", "-sp", "/x"],
                      ["verify", "/x"], ["compact", "/x"], ["inspect", "/x"],
                      ["export", "--text", "/x", "--variable=v", "-o", "/y"]):
            self.refused([*words, ""], "the name", "left out")

    def test_bad_values(self):
        for text in ("x", "0", "4097", "-1", "4,", ",4", "4x", "4;2", ""):
            self.refused([*SCHEDULER, "-sp", "/x", f"-sn={text}"], "-sn")
        for kv in ("run/ps", "hdfs://a/b", "file://", "/", "file://run/ps"):
            self.refused([*SCHEDULER, "-sn", "1", "-sp", kv], "-sp",
                         "file:///run/ps")
        self.refused([*WHOLE_SERVER, "--log-level", "loud"], "--log-level",
                     "debug, info, warning, error", '"loud"')
        self.refused([*WHOLE_SERVER, "--bind="], "--bind", "127.0.0.1")
        for host in ("", "0.0.0.0", "::", "a:80", "1.2.3.4:80"):
            self.refused([*WHOLE_SERVER, f"--advertise={host}"],
                         "--advertise")
        self.refused([*WHOLE_SERVER, "-p", "65535", "--shards", "2"], "-p",
                     "from 1 to 65534")

    def test_help_of_each(self):
        for command, options in OPTIONS:
            r = self.run_cli(*command, "--help")
            self.assertEqual((r.returncode, r.stderr), (0, ""))
            self.assertTrue(r.stdout.startswith(
                "usage: ps-plus " + " ".join(command)), r.stdout)
            self.assertEqual(self.run_cli(*command, "-h").stdout, r.stdout)
            self.assertLessEqual(max(map(len, r.stdout.split("\n"))), 79)
            self.assertIn("    ps-plus " + " ".join(command), r.stdout)
            names = re.findall(r"^  --([\w-]+)(?:, -(\w+))?", r.stdout, re.M)
            for long, brief, _ in options:
                self.assertIn((long, brief or ""), names)

    def test_help_and_version_of_all(self):
        r = self.run_cli("--help")
        self.assertEqual((r.returncode, r.stderr), (0, ""))
        for word in ("usage: ps-plus", "-r scheduler", "-r server", "local",
                     "status", "save", "Not built yet"):
            self.assertIn(word, r.stdout)
        self.assertEqual(self.run_cli("-h").stdout, r.stdout)
        for words in (["--version"], ["-version"], [*SERVER, "--version"],
                      ["local", "--version"], ["status", "-version"]):
            r = self.run_cli(*words)
            self.assertRegex(r.stdout, r"\Aps-plus \d+\.\d+\.\d+\n\Z")
            self.assertEqual((r.returncode, r.stderr), (0, ""))

    def test_what_cannot_be_printed_is_a_failure(self):
        with open("/dev/full", "w") as full:
            r = subprocess.run([BIN, "--help"], stdout=full, text=True,
                               stderr=subprocess.PIPE, timeout=DEADLINE_S)
        self.failed(r, "stdout")

    def test_memory_left_out_is_a_share(self):
        def smem(servers):
            r = self.run_cli(*SCHEDULER, "-sn", servers, "--print-config")
            return int(re.search(r"server_memory_limit = (\d+)",
                                 r.stdout).group(1))

        machine = int(re.search(r"MemTotal:\s+(\d+)",
                                text_of("/proc/meminfo")).group(1))
        whole = smem("1")
        # A group may have less than the machine, and never more.
        self.assertLessEqual(whole, machine * 0.8 / 1024)
        self.assertGreater(whole, 0)
        self.assertAlmostEqual(smem("4"), whole / 4, delta=1)


class Roles(Case):
    def setUp(self):
        super().setUp()
        self.kv = "file://" + os.path.join(self.folder, "store")

    def scheduler(self, *more):
        return self.start(*SCHEDULER, "-sp", self.kv, "-sn", "1", *more)

    def server(self, *more):
        return self.start(*SERVER, "-sp", self.kv, "-si", "0", "--shards",
                          "2", *more)

    def state(self):
        r = self.run_cli("status", "-sp", self.kv, "--json", "--wait", "1")
        return json.loads(r.stdout) if r.returncode == 0 else None

    def serves(self):
        state = self.state()
        return state and [s["state"] for s in state["servers"]] == ["serving"]

    def ends_with_0(self, p, number):
        p.send_signal(number)
        self.assertEqual(p.wait(20), 0, text_of(p.err_path))

    def test_server_first(self):
        server = self.server()
        self.wait_for_text(server, server.err_path, "waits for .*scheduler")
        scheduler = self.scheduler()
        wait_for("the cluster serves", self.serves)
        self.ends_with_0(server, signal.SIGTERM)
        self.ends_with_0(scheduler, signal.SIGTERM)

    def test_scheduler_first(self):
        scheduler = self.scheduler()
        self.wait_for_text(scheduler, scheduler.err_path, "listens")
        server = self.server()
        wait_for("the cluster serves", self.serves)
        self.ends_with_0(scheduler, signal.SIGINT)
        self.ends_with_0(server, signal.SIGINT)

    def test_a_role_that_waits_can_be_ended(self):
        server = self.server()
        self.wait_for_text(server, server.err_path, "waits for .*scheduler")
        self.ends_with_0(server, signal.SIGTERM)

    def test_what_waits_for_the_scheduler_says_so_and_can_be_ended(self):
        scheduler, _ = self.scheduler(), self.server()
        wait_for("the cluster serves", self.serves)
        scheduler.send_signal(signal.SIGSTOP)
        for word in ("save", "restore"):
            p = self.start(word, "-sp", self.kv)
            self.wait_for_text(p, p.err_path, "waits: the scheduler at ")
            p.send_signal(signal.SIGINT)
            if word == "save":
                self.wait_for_text(p, p.err_path, "again ends at once")
                p.send_signal(signal.SIGINT)
            self.assertEqual(p.wait(5), 1)
        self.assertIn("whether the restore begins is not known (waits: the "
                      "scheduler at ", text_of(p.err_path))
        scheduler.send_signal(signal.SIGCONT)

    def test_a_server_gives_up_and_says_what_it_waited_for(self):
        server = self.server("--wait", "1")
        self.assertEqual(server.wait(20), 1)
        last = text_of(server.err_path).strip().split("\n")[-1]
        self.assertRegex(last, "^ps-plus: server 0: .*scheduler")

    def test_an_id_that_the_cluster_does_not_have_is_refused(self):
        for first in (True, False):  # before its scheduler, or after it
            server = self.start(*SERVER, "-sp", self.kv, "-si", "1",
                                "--shards", "1")
            if first:
                self.scheduler()
            self.assertEqual(server.wait(20), 1)
            self.assertIn("the cluster has -sn 1: -si is at most 0",
                          text_of(server.err_path))

    def test_a_port_that_is_taken(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = str(taken.getsockname()[1])
            for words in ([*SCHEDULER, "-sn", "1"],
                          [*SERVER, "-si", "0", "--shards", "1"]):
                r = self.run_cli(*words, "-sp", self.kv, "-p", port)
                self.failed(r, port, "in use")

    def test_a_store_that_cannot_be(self):
        path = os.path.join(self.folder, "file.out")
        with open(path, "w"):
            pass
        r = self.run_cli(*SCHEDULER, "-sn", "1", "-sp", path + "/store")
        self.failed(r, "ps-plus: scheduler: ")

    def test_an_address_that_all_reach_is_warned_of(self):
        everywhere = self.scheduler("--bind", "0.0.0.0")
        self.wait_for_text(everywhere, everywhere.err_path,
                           r" W scheduler: listens on 0\.0\.0\.0.*no TLS")
        here = self.server()
        self.wait_for_text(here, here.err_path, "listens")
        self.assertNotIn("TLS", text_of(here.err_path))

    def test_status_of_no_cluster_makes_none(self):
        r = self.run_cli("status", "-sp", self.kv, "--wait", "1")
        self.failed(r, "no cluster at " + self.kv)
        self.no_store_left()
        os.mkdir(self.kv[len("file://"):])
        r = self.run_cli("status", "-sp", self.kv, "--wait", "1")
        self.failed(r, "no cluster was ever started in ")
        self.assertEqual(os.listdir(self.kv[len("file://"):]), [])

    def test_log_level_none_is_silent(self):
        scheduler = self.scheduler("--log-level", "none")
        server = self.server("--log-level", "none")
        wait_for("the cluster serves", self.serves)
        for p in (server, scheduler):
            self.ends_with_0(p, signal.SIGTERM)
            self.assertEqual(text_of(p.err_path), "")


class Local(Case):
    def test_a_command_finds_its_cluster(self):
        r = self.run_cli(
            "local", "--servers", "2", "--shards", "2", "--workers", "2", "--",
            "sh", "-c", 'echo "$PS_WORKER_ID/$PS_WORKER_NUM '
            '$PS_SCHEDULER_KV_PATH"; [ "$1" = --help ]', "x", "--help")
        self.assertEqual(r.returncode, 0, r)
        store = re.search(r"^cluster ready: 2 servers x 2 shards, store "
                          r"(file:///\S+)$", r.stderr, re.M).group(1)
        self.assertEqual(sorted(r.stdout.split("\n")),
                         ["", f"0/2 {store}", f"1/2 {store}"])
        self.no_process_left()
        self.no_store_left()

    def test_all_shards_serve_when_the_command_begins(self):
        r = self.run_cli("local", "--servers", "2", "--shards", "3", "--",
                         "sh", "-c", f'exec "{BIN}" status --json -sp '
                         '"$PS_SCHEDULER_KV_PATH"')
        self.assertEqual(r.returncode, 0, r)
        servers = json.loads(r.stdout)["servers"]
        self.assertEqual([[h["state"] for h in s["shards"]] for s in servers],
                         [["serving"] * 3] * 2)

    def test_it_ends_with_the_status_of_its_worker(self):
        for command, status in (("true", 0), ("exit 3", 3), ("kill $$", 143),
                                ("kill -9 $$", 137)):
            r = self.run_cli("local", "--", "sh", "-c", command)
            self.assertEqual(r.returncode, status, r)
        r = self.run_cli("local", "--", "/does/not/exist")
        self.failed_to_run(r)
        self.no_process_left()
        self.no_store_left()

    def failed_to_run(self, r):
        self.assertEqual(r.returncode, 127, r)
        self.assertIn("cannot run /does/not/exist", r.stderr)

    def test_a_worker_that_fails_stops_the_others(self):
        begin = time.monotonic()
        r = self.run_cli("local", "--workers", "3", "--", "sh", "-c",
                         '[ "$PS_WORKER_ID" = 1 ] && exit 7; sleep 600; true')
        self.assertEqual(r.returncode, 7, r)
        self.assertIn("worker 1 exited with status 7", r.stderr)
        self.assertLess(time.monotonic() - begin, 30)
        self.no_process_left()

    def test_what_ignores_its_end_is_killed(self):
        begin = time.monotonic()
        there = os.path.join(self.folder, "trap.out")
        r = self.run_cli("local", "--workers", "2", "--", "sh", "-c", f"""
            if [ "$PS_WORKER_ID" = 1 ]; then
                until [ -e {there} ]; do sleep 0.02; done
                exit 7
            fi
            trap "" TERM
            touch {there}
            while :; do sleep 1; done""")
        self.assertEqual(r.returncode, 7, r)
        self.assertNotIn("not ended", r.stderr)
        self.assertLess(time.monotonic() - begin, 40)
        self.no_process_left()

    def test_what_a_worker_leaves_behind_is_killed(self):
        r = self.run_cli("local", "--", "sh", "-c", "sleep 600 & exit 0",
                         timeout=30)
        self.assertEqual(r.returncode, 0, r)
        self.no_process_left()

    def test_stdin_is_for_one_worker(self):
        r = self.run_cli("local", "--", "cat", stdin="hello\n")
        self.assertEqual((r.returncode, r.stdout), (0, "hello\n"))
        r = self.run_cli("local", "--workers", "2", "--", "cat",
                         stdin="hello\n")
        self.assertEqual((r.returncode, r.stdout), (0, ""))

    def ready(self, *words, command=()):
        p = self.start("local", *words, *command)
        path = p.err_path if command else p.out_path
        m = self.wait_for_text(p, path, r"cluster ready: .*store (file:\S+)")
        return p, m.group(1)

    def test_a_signal_ends_it_with_0(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            p, store = self.ready("--servers", "2", "--shards", "2")
            self.assertTrue(os.path.isdir(store[7:]))
            p.send_signal(number)
            self.assertEqual(p.wait(30), 0)
            self.no_process_left()
            self.no_store_left()

    def test_a_signal_ends_its_workers(self):
        command = ["--", "sh", "-c", "echo begun; sleep 600; true"]
        p, _ = self.ready(command=command)
        self.wait_for_text(p, p.out_path, "begun")
        p.send_signal(signal.SIGTERM)
        self.assertEqual(p.wait(30), 143)
        self.no_process_left()
        self.no_store_left()

    def test_a_signal_while_it_starts(self):
        p = self.start("local", "--servers", "40", "--shards", "1")
        self.wait_for_text(p, p.out_path, "starting")
        p.send_signal(signal.SIGTERM)
        self.assertEqual(p.wait(40), 0)
        self.no_process_left()
        self.no_store_left()

    def test_killed_it_leaves_nothing(self):
        command = ["--workers", "2", "--", "sh", "-c",
                   "echo begun; sleep 600; true"]
        p, _ = self.ready("--servers", "2", command=command)
        self.wait_for_text(p, p.out_path, "begun\nbegun")
        # itself, who cleans up, 3 roles, 2 workers and what they started
        wait_for("all run", lambda: len(processes_with(self.mark)) == 9)
        p.kill()
        p.wait()
        self.no_process_left()
        wait_for("no store is left", lambda: not [
            n for n in os.listdir(self.folder) if n.startswith("ps-plus-")])

    def test_a_role_that_dies_ends_all(self):
        for role in ("scheduler", "server"):
            p, _ = self.ready("--servers", "2")
            pid = [pid for pid in processes_with(self.mark)
                   if role in words_of(pid)][0]
            os.kill(pid, signal.SIGKILL)
            self.assertEqual(p.wait(30), 1)
            self.assertRegex(text_of(p.out_path),
                             role + r"( \d)? was killed by signal 9 .*unasked")
            self.no_process_left()

    def test_a_role_that_dies_stops_the_workers(self):
        p, _ = self.ready(command=["--", "sh", "-c", "sleep 600; true"])
        wait_for("all run", lambda: len(processes_with(self.mark)) == 6)
        pid = [pid for pid in processes_with(self.mark)
               if "server" in words_of(pid)][0]
        os.kill(pid, signal.SIGKILL)
        self.assertEqual(p.wait(30), 1)
        self.no_process_left()

    def test_a_store_of_ones_own_stays(self):
        kv = os.path.join(self.folder, "kv")
        for _ in range(2):
            r = self.run_cli("local", "--kv", kv, "--", "true")
            self.assertEqual(r.returncode, 0, r)
            self.assertTrue(os.path.isdir(kv))
        r = subprocess.run([os.path.abspath(BIN), "local", "--kv", "kv", "--",
                            "sh", "-c", "echo $PS_SCHEDULER_KV_PATH"],
                           cwd=self.folder, env=self.env, text=True,
                           capture_output=True, timeout=DEADLINE_S)
        self.assertEqual(r.stdout, f"file://{kv}\n")

    def test_steps_as_json(self):
        r = self.run_cli("local", "--json", "--", "true")
        steps = [json.loads(line) for line in r.stderr.strip().split("\n")]
        self.assertEqual([s["step"] for s in steps],
                         ["start", "ready", "workers", "stop"])
        self.assertEqual((steps[1]["servers"], steps[1]["store"][:8]),
                         (1, "file:///"))

    def test_options_reach_the_roles(self):
        model = os.path.join(self.folder, "model")
        logs = os.path.join(self.folder, "logs")
        given = {"-smem": "77", "-snet": "78", "-sqps": "79", "-cp": model,
                 "--keep": "5", "--full_every": "4", "--save_wait": "9",
                 "--give-up-after": "8", "--on-failure": "consistent"}
        p, _ = self.ready(*(w for both in given.items() for w in both),
                          "--accept-empty", "--servers", "2", "--log_path",
                          logs)
        words = [words_of(pid) for pid in processes_with(self.mark)]
        scheduler = [w for w in words if "scheduler" in w][0]
        for option, value in [*given.items(), ("-sn", "2")]:
            self.assertEqual(scheduler[scheduler.index(option) + 1], value)
        self.assertIn("--accept-empty", scheduler)
        self.assertEqual(sorted(w[w.index("--log_path") + 1] for w in words
                                if "server" in w),
                         [os.path.join(logs, f"server-{i}") for i in (0, 1)])
        p.terminate()
        p.wait(30)

    def test_refusals(self):
        self.refused(["local", "--workers", "2"], "--workers", "--")
        self.refused(["local", "--"], "command")
        self.refused(["local", "train"], '"train"', "behind --")
        self.refused(["local", "--kv=", "--", "true"], "--kv")
        self.refused(["local", "--kv", "zfs://a/b"], "--kv", "ZooKeeper")
        self.refused(["local", "--server", "2"], "--servers")
        self.refused(["local", "--on-failure", "consistent"], "-cp")
        for path in ("memory://x", ""):
            self.refused(["local", "--log_path", path], "--log_path")
            self.refused([*WHOLE_SERVER, "--log_path", path], "--log_path")


class Status(Case):
    def test_no_store(self):
        kv = os.path.join(self.folder, "none")
        for words in (["-sp", kv], ["-sp", kv, "--json"]):
            r = self.run_cli("status", *words)
            self.failed(r, "no cluster at " + kv)
            self.assertEqual(r.stdout, "")
            self.assertEqual(r.stderr.count("\n"), 1)
        self.assertFalse(os.path.exists(kv))

    def test_an_empty_store(self):
        begin = time.monotonic()
        kv = os.path.join(self.folder, "empty")
        os.mkdir(kv)
        r = self.run_cli("status", "-sp", kv, "--wait", "1")
        self.failed(r, "ps-plus: ")
        self.assertEqual((r.stdout, r.stderr.count("\n")), ("", 1), r)
        self.assertLess(time.monotonic() - begin, 15)

    def test_a_file_is_no_store(self):
        path = os.path.join(self.folder, "file")
        with open(path, "w"):
            pass
        self.failed(self.run_cli("status", "-sp", path), "not a folder")

    def test_a_cluster_that_has_died(self):
        kv = os.path.join(self.folder, "kv")
        r = self.run_cli("local", "--kv", kv, "--", "true")
        self.assertEqual(r.returncode, 0, r)
        r = self.run_cli("status", "-sp", kv, "--wait", "3")
        self.failed(r, "no shard of " + kv + " answers")

    def test_a_cluster_for_people_and_programs(self):
        status = f'"{BIN}" status -sp "$PS_SCHEDULER_KV_PATH"'
        r = self.run_cli("local", "--servers", "2", "--shards", "2", "--",
                         "sh", "-c", f"{status} --json && {status}")
        self.assertEqual(r.returncode, 0, r)
        state, end = json.JSONDecoder().raw_decode(r.stdout)
        people = r.stdout[end:]
        self.assertEqual(len(state["servers"]), 2)
        self.assertEqual(state["variables"], [])
        for name in ("pulls", "pushes_applied", "repeats_suppressed", "rows",
                     "bytes"):
            self.assertEqual(state["totals"][name], 0)
        for words in ("server", "shard", "variable", "rows", "bytes", "pulls",
                      "pushes applied", "repeats suppressed"):
            self.assertIn(words, people)
        rows = [line for line in people.split("\n") if "serving" in line]
        self.assertEqual(len(rows), 4)
        self.assertEqual(len({line.index("serving") for line in rows}), 1)


if __name__ == "__main__":
    unittest.main()
