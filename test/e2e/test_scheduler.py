"""Schedulers come and go; pulls and pushes do not notice."""

import os
import time
import unittest

import cluster

DOWN_S = 10  # how long a cluster must do without a scheduler
CALL_S = 5   # deadline of each pull and push meanwhile


def numbers(status):
    return status["term"], status["plan"]


class Scheduler(unittest.TestCase):

    def check_undisturbed(self, said):
        self.assertEqual(said["failed"], 0, said)
        self.assertGreater(said["calls"], 100)
        self.assertLess(said["p99"], 1.0)
        self.assertLess(said["max"], CALL_S)

    def test_ten_seconds_without_one_disturb_no_pull_or_push(self):
        with cluster.Cluster() as c:
            steady = c.probe("steady")
            steady.line()
            c.ask("declare", "before")
            before = c.status()
            c.scheduler.kill()
            steady.say("a new count")
            steady.line()
            start = time.monotonic()
            waiting = c.probe("declare", "meanwhile")
            time.sleep(DOWN_S)
            self.assertEqual(numbers(c.status()), numbers(before))
            c.start_scheduler()
            self.assertEqual(waiting.line(20)["rows"], [1, 2, 3])
            self.assertEqual(waiting.wait(), 0)
            self.assertEqual(c.ask("declare", "after")["rows"], [1, 2, 3])
            # What was there is there, as it was.
            self.assertEqual(c.ask("declare", "before")["rows"], [2, 4, 6])
            steady.finish()
            said = steady.line()
            print(f"    {time.monotonic() - start:.0f} s: {said['calls']} "
                  f"calls, p99 {said['p99'] * 1000:.1f} ms, longest "
                  f"{said['max'] * 1000:.1f} ms", flush=True)
            self.check_undisturbed(said)
            self.assertEqual(steady.wait(), 0)
            after = c.status()
            self.assertGreater(after["term"], before["term"])
            self.assertGreater(after["plan"], before["plan"])
            for i in range(2):
                self.assertEqual(cluster.lanes_of(after, i),
                                 cluster.lanes_of(before, i))
                self.assertEqual(cluster.server_of(after, i)["emptied"], 0)

    def test_a_client_may_be_there_before_its_cluster(self):
        """It waits, and leaves the making of the store to the roles."""
        with cluster.Cluster(start=False) as c:
            early = c.probe("declare", "early")
            cluster.wait_for("the client has a loop", lambda:
                             "anon_inode:[eventpoll]" in early.files())
            time.sleep(0.3)  # several looks at the store that is not there
            self.assertFalse(os.path.exists(c.kv[len("file://"):]))
            c.start_scheduler()
            for i in range(c.n):
                c.start_server(i)
            self.assertEqual(early.line()["rows"], [1, 2, 3])
            self.assertEqual(early.wait(), 0)

    def test_a_second_one_stands_by_and_takes_over(self):
        with cluster.Cluster() as c:
            steady = c.probe("steady")
            steady.line()
            first = c.scheduler
            before = c.status()
            second = c.start_scheduler("--wait", "2")
            cluster.wait_for("the second says that it stands by",
                             lambda: "stands by" in second.text())
            # As long as the first is there, beyond any --wait.
            time.sleep(cluster.LEASE_S * 1.5)
            self.assertIsNone(second.child.poll())
            self.assertEqual(c.status()["term"], before["term"])
            self.assertEqual(c.ask("declare", "a")["rows"], [1, 2, 3])
            first.kill()
            c.wait_status("the second has taken over",
                          lambda s: s["term"] > before["term"])
            self.assertEqual(c.ask("declare", "b")["rows"], [1, 2, 3])
            self.assertEqual(c.ask("declare", "a")["rows"], [2, 4, 6])
            steady.finish()
            self.check_undisturbed(steady.line())
            after = c.status()
            for i in range(2):
                self.assertEqual(cluster.lanes_of(after, i),
                                 cluster.lanes_of(before, i))

    def test_one_that_was_stopped_too_long_does_no_harm(self):
        """A paused scheduler whose successor is at work wakes up."""
        with cluster.Cluster() as c:
            first = c.scheduler
            before = c.status()
            c.start_scheduler()
            first.pause()
            c.wait_status("the second has taken over",
                          lambda s: s["term"] > before["term"])
            first.go_on()
            self.assertEqual(c.ask("declare", "a")["rows"], [1, 2, 3])
            time.sleep(cluster.LEASE_S)
            self.assertEqual(c.ask("declare", "b")["rows"], [1, 2, 3])
            self.assertEqual(c.ask("declare", "a")["rows"], [2, 4, 6])
            after = c.status()
            for i in range(2):
                self.assertEqual(cluster.lanes_of(after, i),
                                 cluster.lanes_of(before, i))

    def test_roles_may_come_up_in_any_order(self):
        with cluster.Cluster(start=False) as c:
            c.start_server(1)
            waiting = c.probe("declare", "a")
            c.start_server(0)
            for server in c.servers:
                cluster.wait_for("it says what it waits for", lambda s=server:
                                 "wait" in s.text().lower())
            c.start_scheduler()
            self.assertEqual(waiting.line()["rows"], [1, 2, 3])
            c.wait_serving()


if __name__ == "__main__":
    unittest.main()
