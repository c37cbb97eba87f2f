"""--bind_cores: which CPUs the threads of real processes may run on."""

import os
import re
import unittest

import cluster

MINE = sorted(os.sched_getaffinity(0))


def parse_list(text):
    """[0, 2, 3] for "0,2-3", the kernel's way to write a set."""
    cpus = []
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        cpus += range(int(first), int(last or first) + 1)
    return cpus


def thread_cpus(process):
    """The CPUs of each of its threads, the first thread first."""
    found = []
    for task in sorted(os.listdir(f"/proc/{process.pid}/task"), key=int):
        with open(f"/proc/{process.pid}/task/{task}/status") as f:
            line = re.search(r"^Cpus_allowed_list:\s*(.*)$", f.read(), re.M)
        found.append(parse_list(line.group(1)))
    return found


def said_cpus(process):
    """The CPU of each shard, as its one line of the log says."""
    line = cluster.wait_for(
        f"{process.name} says what it is bound to",
        lambda: re.search(r" I server \d+: bound: (.*)", process.text()))
    cpus = []
    for part in line.group(1).split(", "):
        shards, where = re.fullmatch(
            r"shards? ([\d-]+) on CPUs? ([\d-]+)", part).groups()
        if parse_list(shards)[0] != len(cpus):
            raise AssertionError(line.group(0))
        cpus += parse_list(where)
    return cpus


class Cores(unittest.TestCase):
    alone = True  # they look which CPUs nobody has

    def start(self, servers, shards, bind=True, mine=None):
        """A cluster whose processes may use the CPUs `mine`."""
        options = ["-bc", "True"] if bind else []
        c = cluster.Cluster(servers, shards, options, [options] * servers,
                            start=False)
        self.addCleanup(c.close)
        if mine:
            c.bin = self.limited(c, mine)
        c.start_scheduler()
        for i in range(servers):
            c.start_server(i)
        c.wait_serving()
        return c

    def limited(self, c, mine):
        path = os.path.join(c.folder, "limited")
        with open(path, "w") as f:
            f.write("#!/bin/sh\nexec taskset -c "
                    f"{','.join(map(str, mine))} {c.bin} \"$@\"\n")
        os.chmod(path, 0o755)
        return path

    def check_server(self, process, shards, mine=None):
        """Its shards' CPUs: one thread is bound to each, and no other is."""
        mine = mine or MINE
        cpus = said_cpus(process)
        self.assertEqual(len(cpus), shards)
        threads = thread_cpus(process)
        self.assertEqual(threads[0], mine)
        if len(mine) > 1:
            bound = [t for t in threads if t != mine]
            self.assertEqual(sorted(bound), sorted([cpu] for cpu in cpus))
        else:
            self.assertEqual(threads, [mine] * len(threads))
        return cpus

    def needs_two(self):
        if len(MINE) < 2:
            self.skipTest("this process may use one CPU only")

    def test_each_shard_has_a_cpu(self):
        shards = min(len(MINE), 4)
        c = self.start(1, shards)
        cpus = self.check_server(c.servers[0], shards)
        self.assertEqual(len(set(cpus)), shards)
        self.assertTrue(set(cpus) <= set(MINE))
        self.assertNotIn("too few CPUs", c.servers[0].text())
        self.assertEqual(c.ask("declare", "x")["rows"], [1, 2, 3])

    def test_the_scheduler_has_one(self):
        c = self.start(1, 1)
        said = re.search(r" I scheduler: bound to CPU (\d+)",
                         c.scheduler.text())
        self.assertEqual(thread_cpus(c.scheduler)[0], [int(said.group(1))])

    def test_two_servers_do_not_take_the_same(self):
        self.needs_two()
        c = self.start(2, 1)
        cpus = [self.check_server(s, 1) for s in c.servers]
        self.assertNotEqual(cpus[0], cpus[1])
        # What one leaves is free for its next life.
        c.servers[0].kill()
        c.start_server(0)
        c.wait_serving()
        self.assertEqual(self.check_server(c.servers[0], 1), cpus[0])

    def test_what_another_has_taken_is_passed_over(self):
        """Of these servers each would begin with the same core."""
        self.needs_two()
        n = len(MINE)
        c = cluster.Cluster(n + 1, 1, [], [["-bc", "True"]] * (n + 1),
                            start=False)
        self.addCleanup(c.close)
        cpus = [said_cpus(c.start_server(i)) for i in (0, n)]
        self.assertNotEqual(cpus[0], cpus[1])

    def test_taskset_has_the_first_word(self):
        cpu = MINE[-1]
        c = self.start(1, 2, mine=[cpu])
        self.assertEqual(self.check_server(c.servers[0], 2, [cpu]),
                         [cpu, cpu])
        self.assertIn("too few CPUs: 1 of 2 shards share", c.servers[0].text())
        self.assertEqual(thread_cpus(c.scheduler)[0], [cpu])
        self.assertEqual(c.ask("declare", "x")["rows"], [1, 2, 3])

    def test_nothing_is_bound_that_was_not_asked_to_be(self):
        c = self.start(1, 2, bind=False)
        for process in (c.scheduler, c.servers[0]):
            for cpus in thread_cpus(process):
                self.assertEqual(cpus, MINE)
            self.assertNotIn("bound", process.text())

    def test_local_passes_it_on(self):
        c = cluster.Cluster(start=False)
        self.addCleanup(c.close)
        local = c.start("local", [c.bin, "local", "--servers", "1", "--shards",
                                  "1", "-bc", "True", "--log-level", "info"])
        for line in (r" I scheduler: bound to CPU \d+",
                     r" I server 0: bound: shard 0 on CPU \d+"):
            cluster.wait_for(line, lambda: re.search(line, local.text()))
        self.assertEqual(local.stop(), 0)


if __name__ == "__main__":
    unittest.main()
