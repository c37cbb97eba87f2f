"""Whoever is gone or stands still: each call ends at its deadline and says whom
it has waited for, and what was begun is settled later."""

import unittest

import cluster

CALLS = {
    "go": ("push", "resolve", "pull", "declare", "status"),
    "ask": ("step", "save", "restore", "rollback", "drop"),
}
DEADLINE_S = 0.3  # that of probe_errors.c
ROOM_S = 1.5      # on a machine that does much else


class Deadlines(unittest.TestCase):
    def setUp(self):
        self.c = cluster.Cluster(shards=1)
        self.addCleanup(self.c.close)
        self.probe = self.c.probe("errors")
        self.probe.line()

    def order(self, what):
        self.probe.say(what)
        said = [self.probe.line() for _ in CALLS[what]]
        self.assertEqual([answer["call"] for answer in said],
                         list(CALLS[what]))
        for answer in said:
            self.assertLess(answer["seconds"], DEADLINE_S + ROOM_S, answer)
        return {answer["call"]: answer for answer in said}

    def go(self):
        said = self.order("go")
        # It shows who does not answer as such.
        self.assertEqual(said["status"]["status"], "PS_OK")
        return said

    def ask_in_vain(self, of_save="scheduler"):
        """What a scheduler is asked that does not answer. A step and the
        rollback that there was none of are this client's own; ps_wait() names
        the oldest that is under way."""
        said = self.order("ask")
        self.check_late(said["save"], of_save)
        for call in ("restore", "drop"):
            self.check_late(said[call], "scheduler")
        for call, status in (("step", "PS_OK"), ("rollback", "PS_ENOTFOUND")):
            self.assertEqual(said[call]["status"], status)
            self.assertLess(said[call]["seconds"], DEADLINE_S)

    def check_late(self, answer, whom):
        self.assertEqual(answer["status"], "PS_ETIMEOUT", answer)
        self.assertRegex(answer["text"], whom)
        self.assertGreaterEqual(answer["seconds"], DEADLINE_S * 0.9)

    def settle(self):
        """The push that was late is settled: each row has it or not."""
        self.probe.say("settle")
        self.assertIn(self.probe.line()["status"], ("PS_OK", "PS_ECANCELED"))
        return self.probe.line()["rows"]

    def test_a_server_that_is_gone(self):
        self.c.servers[1].kill()
        said = self.go()
        for call in ("push", "resolve", "pull"):
            self.check_late(said[call], "server 1")
        self.c.start_server(1)
        rows = self.settle()
        # Server 0 has had the push; server 1 its push of before is lost.
        self.assertLessEqual(set(rows), {0, 1, 2})
        self.assertIn(2, rows)
        self.c.wait_serving()
        self.probe.finish()
        self.assertEqual(self.probe.wait(), 0)

    def test_all_servers_stopped(self):
        for server in self.c.servers:
            server.pause()
        said = self.go()
        for call in ("push", "resolve", "pull"):
            self.check_late(said[call], "server [01]")
        for server in self.c.servers:
            server.go_on()
        self.assertLessEqual(set(self.settle()), {1, 2})

    def test_a_scheduler_that_stands_still(self):
        self.c.scheduler.pause()
        said = self.go()
        for call in ("push", "resolve", "pull"):
            self.assertEqual(said[call]["status"], "PS_OK")
        self.check_late(said["declare"], "scheduler")
        self.ask_in_vain()
        self.c.scheduler.go_on()
        self.assertEqual(set(self.settle()), {2})
        self.assertEqual(self.c.ask("declare", "after")["rows"], [1, 2, 3])

    def test_a_scheduler_that_is_gone(self):
        self.c.scheduler.kill()
        said = self.go()
        for call in ("push", "resolve", "pull"):
            self.assertEqual(said[call]["status"], "PS_OK")
        self.check_late(said["declare"], "scheduler")
        self.ask_in_vain()
        self.c.start_scheduler()
        self.assertEqual(set(self.settle()), {2})
        # It has no place for checkpoints, nor the variables that are asked for.
        cluster.wait_for("the new one answers", lambda: [
            answer["status"] for answer in self.order("ask").values()] == [
                "PS_OK", "PS_EARGUMENT", "PS_EARGUMENT", "PS_ENOTFOUND",
                "PS_ENOTFOUND"])

    def test_everybody_is_gone(self):
        for process in (self.c.scheduler, *self.c.servers):
            process.kill()
        said = self.go()
        for call in ("push", "resolve", "pull"):
            self.check_late(said[call], "server [01]")
        self.check_late(said["declare"], "scheduler")
        self.ask_in_vain("server [01]")
        self.probe.say("close")
        closed = self.probe.line()
        self.assertEqual(closed["status"], "PS_ETIMEOUT")
        self.assertLess(closed["seconds"], DEADLINE_S + ROOM_S)
        self.assertEqual(self.probe.wait(), 0)


class Starts(unittest.TestCase):
    def test_an_open_without_a_cluster(self):
        with cluster.Cluster(start=False) as c:
            said = c.ask("open", 500)
            self.assertEqual(said["status"], "PS_ETIMEOUT")
            self.assertIn(c.folder, said["text"])
            self.assertLess(said["seconds"], 0.5 + ROOM_S)

    def test_two_schedulers_at_the_same_moment(self):
        with cluster.Cluster(start=False) as c:
            both = [c.start_scheduler(), c.start_scheduler()]
            for i in range(c.n):
                c.start_server(i)
            c.wait_serving()
            second = cluster.wait_for("one of them stands by", lambda: [
                p for p in both if "stands by" in p.text()])
            self.assertEqual(len(second), 1)
            first = both[1 - both.index(second[0])]
            self.assertIsNone(second[0].child.poll())
            self.assertEqual(c.ask("declare", "a")["rows"], [1, 2, 3])
            self.assertEqual(first.stop(), 0)
            self.assertEqual(c.ask("declare", "b")["rows"], [1, 2, 3])
            self.assertEqual(c.ask("declare", "a")["rows"], [2, 4, 6])


if __name__ == "__main__":
    unittest.main()
