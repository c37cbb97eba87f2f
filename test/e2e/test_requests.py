"""Requests of every size, refusals, deadlines, threads: probe_size.c."""

import time
import unittest

import cluster


class Requests(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.c = cluster.Cluster()
        cls.addClassCleanup(cls.c.close)

    def ask(self, *words, lines=1):
        return self.c.ask("size", *words, lines=lines)

    def test_an_empty_batch(self):
        self.ask("empty")

    def test_one_id_and_the_ids_at_the_ends(self):
        self.ask("one")

    def test_a_million_ids(self):
        said = self.ask("million")
        # Each of 4 shards gets about 250,000 keys, a frame at most 512 KiB of
        # 16 bytes and the row's floats for each key.
        per_frame = (512 << 10) // (16 + 4 * 2)
        self.assertEqual(said["frames"], 4 * -(-250000 // per_frame))
        rows = {v["name"]: v["rows"] for v in self.c.status()["variables"]}
        self.assertEqual(rows["million"], 1000000)

    def test_the_same_id_a_million_times(self):
        self.ask("same")

    def test_128_variables_in_one_submit(self):
        self.ask("many", 4)

    def test_names_of_variables(self):
        self.ask("names")

    def test_a_conflict_shows_both_sides(self):
        dim, updater = self.ask("conflict", lines=2)
        self.assertEqual(dim["status"], "PS_ECONFLICT")
        self.assertIn("dim 5", dim["text"])
        self.assertIn("dim 9", dim["text"])
        self.assertEqual(updater["status"], "PS_ECONFLICT")
        for side in ("AssignAddUpdater", "AdagradUpdater", "0.5", "0.25"):
            self.assertIn(side, updater["text"])

    def test_a_push_to_a_dropped_variable(self):
        self.ask("dropped")

    def test_eight_threads_on_one_client(self):
        rounds = 2000 if cluster.is_deep() else 300
        said = self.c.ask("threads", 8, rounds)
        self.assertEqual(said["found"], said["told"])
        self.assertEqual(said["dense"], [8 * rounds * i for i in (1, 2, 3)])


class Refusals(unittest.TestCase):
    def test_a_push_beyond_the_memory_limit_leaves_no_trace(self):
        with cluster.Cluster(servers=1, shards=1,
                             scheduler_options=["-smem", "32"]) as c:
            said = c.ask("size", "full")
            status = c.status()
            rows = {v["name"]: v["rows"] for v in status["variables"]}
            self.assertEqual(rows["big"] + rows["small"], said["rows"])
            self.assertLessEqual(status["totals"]["bytes"], 32 << 20)
            counters = status["servers"][0]["shards"][0]["counters"]
            self.assertGreater(counters["keys_refused"], 0)

    def test_a_deadline_ends_the_wait_and_resolve_the_push(self):
        with cluster.Cluster() as c:
            probe = c.probe("deadline")
            probe.line()
            lanes = [cluster.lanes_of(c.status(), i) for i in range(2)]
            for server in c.servers:
                server.pause()
            probe.say("push")
            waited = probe.line()
            self.assertEqual(waited["wait"], "PS_ETIMEOUT")
            self.assertRegex(waited["waits_for"], r"server \d")
            self.assertEqual(probe.line()["resolve"], "PS_ETIMEOUT")
            probe.say("resolve")
            time.sleep(0.3)  # the resolve is on its way
            for server in c.servers:
                server.go_on()
            said = probe.line()
            self.assertIn(said["resolve"], ("PS_OK", "PS_ECANCELED"))
            self.assertEqual(said["row"],
                             2 if said["resolve"] == "PS_OK" else 1)
            self.assertEqual(probe.wait(), 0)
            self.assertEqual(lanes, [cluster.lanes_of(c.status(), i)
                                     for i in range(2)])


if __name__ == "__main__":
    unittest.main()
