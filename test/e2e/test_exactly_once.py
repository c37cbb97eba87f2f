"""Every push applied once: whatever dies or stands still, the rows are what
the clients were told. See probe_count.c for the account that they keep."""

import random
import time
import unittest

import cluster
from cluster import lanes_of, server_of

KEYS = 256
SOME = 300  # frames: enough to know that work goes on


class ExactlyOnce(cluster.CountTest):
    deadline = 120

    def setUp(self):
        self.c = cluster.Cluster()
        self.addCleanup(self.c.close)
        self.probes = [self.c.probe("count", i, KEYS, i + 1, name=f"probe-{i}")
                       for i in range(2)]
        for probe in self.probes:
            probe.line()
        self.wait_work()

    def wait_work(self, i=None):
        """Until more frames are applied, by server i or by each of them."""
        def applied(status):
            return {s["id"]: sum(shard.get("counters", {})
                                 .get("pushes_applied", 0)
                                 for shard in s["shards"])
                    for s in status["servers"]}
        which = range(2) if i is None else [i]
        before = applied(self.c.status())
        self.c.wait_status("the work goes on", lambda s: all(
            applied(s).get(k, 0) >= before.get(k, 0) + SOME for k in which))

    def end(self):
        accounts = cluster.end_accounts(self.probes)
        self.check_accounts(self.c, accounts, KEYS)
        print("    " + "; ".join(
            f"{a['frames_acked']} frames acknowledged, {a['frames_lost']} "
            f"lost, {a['frames_refused']} refused, {a['resends']} resent"
            for a in accounts), flush=True)
        return accounts

    def check_nothing_lost(self, accounts):
        for account in accounts:
            self.assertEqual(account["losses"], [])
            self.assertEqual(account["counted_losses"], 0)

    def check_lost(self, accounts, server, before):
        """Each client was told of losses on the lanes that ended, and of no
        other, and each range once of each part."""
        old = set(lanes_of(before, server))
        for account in accounts:
            ranges = [(x["session"], x["lane"], x["first"], x["last"],
                       x["variable"], x["begin"])
                      for x in account["losses"]]
            self.assertEqual(len(ranges), len(set(ranges)))
            self.assertGreater(account["frames_lost"], 0)
            self.assertEqual(account["frames_lost"],
                             account["counted_losses"])
            for loss in account["losses"]:
                self.assertEqual(loss["server"], server)
                self.assertIn(loss["lane"], old)

    def check_came_back_empty(self, server, before):
        after = self.c.wait_status(
            "the server is back with new lanes", lambda s:
            server_of(s, server)["emptied"] == 1 and self.c.is_serving(s))
        self.assertEqual(set(lanes_of(after, server)) &
                         set(lanes_of(before, server)), set())
        other = 1 - server
        self.assertEqual(lanes_of(after, other), lanes_of(before, other))
        self.assertEqual(server_of(after, other)["emptied"], 0)
        self.assertRegex(self.c.servers[server].text(),
                         "former rows are lost|comes back empty")

    def test_a_server_killed_and_started_again_at_once(self):
        before = self.c.status()
        self.c.servers[1].kill()
        self.c.start_server(1)
        self.check_came_back_empty(1, before)
        self.wait_work()
        self.check_lost(self.end(), 1, before)

    def test_a_server_killed_and_started_again_later(self):
        before = self.c.status()
        self.c.servers[0].kill()
        self.c.wait_status("its lanes have ended", lambda s:
                           server_of(s, 0)["state"] == "missing")
        self.c.start_server(0)
        self.check_came_back_empty(0, before)
        self.wait_work()
        self.check_lost(self.end(), 0, before)

    def test_a_server_stopped_for_longer_than_its_lease(self):
        before = self.c.status()
        self.c.servers[1].pause()
        self.c.wait_status("its lanes have ended", lambda s:
                           server_of(s, 1)["state"] == "missing")
        self.c.servers[1].go_on()
        self.check_came_back_empty(1, before)
        self.wait_work()
        self.check_lost(self.end(), 1, before)

    def test_a_server_stopped_for_less_than_its_lease_loses_nothing(self):
        before = self.c.status()
        for _ in range(3):
            self.c.servers[1].pause()
            time.sleep(1)
            self.c.servers[1].go_on()
            self.wait_work()
        self.check_nothing_lost(self.end())
        self.assertEqual(lanes_of(self.c.status(), 1), lanes_of(before, 1))

    def test_a_client_stopped_for_longer_than_its_lease_loses_nothing(self):
        self.probes[0].pause()
        time.sleep(cluster.LEASE_S * 2.5)
        self.probes[0].go_on()
        self.wait_work()
        self.check_nothing_lost(self.end())

    def test_all_servers_killed_at_once(self):
        for server in self.c.servers:
            server.kill()
        for i in range(2):
            self.c.start_server(i)
        self.c.wait_status("both are back", lambda s: self.c.is_serving(s) and
                           all(x["emptied"] == 1 for x in s["servers"]))
        self.wait_work()
        for account in self.end():
            self.assertGreater(account["frames_lost"], 0)

    def test_faults_in_turn(self):
        """Kills and pauses of servers and schedulers, drawn from a seed."""
        seed = int(time.time())
        dice = random.Random(seed)
        print(f"    seed {seed}", flush=True)
        for _ in range(40 if cluster.is_deep() else 4):
            i = dice.randrange(2)
            fault = dice.choice(["kill", "pause", "long pause", "scheduler"])
            if fault == "kill":
                self.c.servers[i].kill()
                self.c.start_server(i)
            elif fault == "scheduler":
                self.c.scheduler.kill()
                self.c.start_scheduler()
            else:
                self.c.servers[i].pause()
                time.sleep(dice.uniform(0.1, 2) if fault == "pause"
                           else dice.uniform(2, 6))
                self.c.servers[i].go_on()
            time.sleep(dice.uniform(0, 1))
        self.c.wait_serving()
        self.wait_work()
        self.end()

    test_faults_in_turn.deadline = 900 if cluster.is_deep() else 120


if __name__ == "__main__":
    unittest.main()
