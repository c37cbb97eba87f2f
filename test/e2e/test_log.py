"""Durability `log` and `fsync` with real processes: whatever was acknowledged is
in the rows after servers were killed, once, and nobody is told of a loss.

Workers push as in test_fire.py; the judge is told that every lane lives, so
every frame that was acknowledged on any of them must be there.
"""

import os
import random
import subprocess
import time
import unittest

import cluster
import test_recovery

SERVERS = 2
SHARDS = 2
WORKERS = 3
KEYS = 128
SOME = 12000  # bytes of a journal
DISK_BYTES = 16 << 20
FULL_S = 2 * cluster.LEASE_S  # while nothing can be logged
PARTS = 3  # of a shard: two variables of the workers, and that of the watch
OTHERS_MIN = 0.99  # of the requests to servers that live
LANES = ",".join(str(lane) for lane in range(1, 2000))


class Logs(cluster.CountTest):
    deadline = 120

    def begin(self, durability, checkpoints=False, small=None):
        """small: the server whose logs are on a disk of DISK_BYTES."""
        seed = int(os.environ.get("PS_TEST_SEED") or time.time())
        print(f"    PS_TEST_SEED={seed}", flush=True)
        self.dice = random.Random(seed)
        os.environ["PS_PROBE_DURABILITY"] = str(durability)
        self.addCleanup(os.environ.pop, "PS_PROBE_DURABILITY", None)
        self.place = cluster.make_folder()
        self.checkpoints = os.path.join(self.place, "checkpoints")
        self.c = cluster.Cluster(
            servers=SERVERS, shards=SHARDS, start=False,
            scheduler_options=["-cp", self.checkpoints] if checkpoints else [])
        self.addCleanup(self.c.close)
        if small is not None:
            self.disk = os.path.join(self.c.folder, f"log-{small}")
            cluster.mount_disk(self, self.disk, DISK_BYTES)
        self.c.start_all()
        self.homes = os.path.join(self.c.folder, "homes")
        self.c.ask("homes", WORKERS, KEYS, self.homes)
        self.workers = []
        for i in range(WORKERS):
            journal = os.path.join(self.c.folder, f"journal-{i}")
            self.workers.append((self.c.probe(
                "fire", i, WORKERS, KEYS, self.dice.randrange(1 << 30),
                journal, name=f"worker-{i}"), journal))
        self.wait_pushes()

    def sizes(self):
        return [os.path.getsize(journal) if os.path.exists(journal) else 0
                for _, journal in self.workers]

    def wait_pushes(self):
        before = self.sizes()

        def all_have():
            for process, _ in self.workers:
                self.assertIsNone(process.child.poll(), process.text()[-500:])
            return all(now >= then + SOME
                       for now, then in zip(self.sizes(), before))
        cluster.wait_for("the workers push", all_have, 60)

    def kill_a_server(self):
        i = self.dice.randrange(SERVERS)
        self.c.servers[i].kill()
        self.c.start_server(i)
        self.c.wait_serving()
        self.wait_pushes()

    def save(self):
        subprocess.run([self.c.bin, "save", "-sp", self.c.kv], timeout=60,
                       check=True, stdout=subprocess.DEVNULL)

    def end(self):
        """The workers end, and the rows are those of all acknowledged."""
        for process, _ in self.workers:
            process.finish()
        for process, _ in self.workers:
            self.assertEqual(process.wait(60), 0, process.text())
        said = self.c.ask("judge", WORKERS, KEYS, self.homes, LANES,
                          *(f"{i}:{journal}" for i, (_, journal)
                            in enumerate(self.workers)))
        print(f"    {said['acked']} frames acknowledged, {said['refused']} "
              f"refused, {said['lost']} lost", flush=True)
        self.assertEqual(said["wrong"], [])
        for bad in ("cells_wrong", "lost", "heard", "deaf", "false_losses",
                    "unheard_of", "twice", "no_entry", "open", "torn"):
            self.assertEqual(said[bad], 0, f"{bad}: {said}")
        self.assertGreater(said["acked"], 500)

    def run_kills(self, durability, checkpoints=False):
        self.begin(durability, checkpoints)
        for i in range(20 if cluster.is_deep() else 4):
            self.kill_a_server()
            if checkpoints:
                self.save()
        if checkpoints:
            self.kill_a_server()
        self.end()

    def test_killed_servers_at_log(self):
        self.run_kills(1)

    def test_killed_servers_at_fsync(self):
        self.run_kills(2)

    def test_killed_servers_between_checkpoints(self):
        self.run_kills(1, checkpoints=True)

    def test_a_full_disk_ends_lanes_that_log_there_and_nothing_else(self):
        self.begin(1, small=1)
        watch = self.c.probe("watch", 60)
        watch.line()
        before = [cluster.lanes_of(self.c.status(), i) for i in range(SERVERS)]
        filler = cluster.fill_disk(self.disk)
        server = self.c.servers[1]
        for i in range(SHARDS):
            cluster.wait_for("its lane ends", lambda i=i: f"shard {i} cannot "
                             "write its log: " in server.text())
        watch.say("")
        watch.line()
        time.sleep(FULL_S)
        watch.say("")
        others = watch.line()["0"]
        self.assertGreater(others["calls"], 500)
        self.assertGreaterEqual(1 - others["failed"] / others["calls"],
                                OTHERS_MIN, others)
        self.check_full(server, self.c.status())
        os.remove(filler)
        self.wait_pushes()
        status = self.c.wait_serving()
        self.assertEqual([s["unserved"] for s in
                          cluster.server_of(status, 1)["shards"]], [0, 0])
        after = [cluster.lanes_of(status, i) for i in range(SERVERS)]
        self.assertEqual(after[0], before[0])
        self.assertFalse(set(after[1]) & set(before[1]), after)
        watch.finish()
        self.assertEqual(watch.wait(60), 0, watch.text())
        self.end()

    def check_full(self, server, status):
        """It says what is wrong, and where, and lives."""
        self.assertIsNone(server.child.poll(), server.text())
        said = [line for line in server.text().splitlines()
                if "No space left on device" in line]
        self.assertGreater(len(said), 1)
        self.assertLess(len(said), 20, said)
        for line in said:
            self.assertIn(self.disk, line)
        for shard in cluster.server_of(status, 1)["shards"]:
            self.assertEqual(shard["unserved"], PARTS)
            self.assertIn("No space left on device", shard["why"])
            self.assertIn(self.disk, shard["why"])

    def test_without_a_place_for_logs_it_is_refused(self):
        self.c = cluster.Cluster(servers=1, shards=1)
        self.addCleanup(self.c.close)
        os.environ["PS_PROBE_DURABILITY"] = "1"
        self.addCleanup(os.environ.pop, "PS_PROBE_DURABILITY", None)
        probe = self.c.probe("homes", 1, 1, os.path.join(self.c.folder, "h"),
                             name="refused")
        self.assertNotEqual(probe.wait(30), 0)
        self.assertIn("give it --log_path", probe.text())


class Rollback(test_recovery.Back):
    """What was logged before the cluster went back does not count after it."""

    deadline = 120

    def test_the_cluster_goes_back_and_a_server_is_killed(self):
        os.environ["PS_PROBE_DURABILITY"] = "1"
        self.addCleanup(os.environ.pop, "PS_PROBE_DURABILITY", None)
        with self.cluster() as c:
            workers = [self.train(c, i) for i in range(2)]
            monday = self.save(c, "monday")
            for worker in workers:
                self.train_on(worker)
            self.save(c, "tuesday")
            for worker in workers:
                self.train_on(worker)
            self.restore(c, monday["folder"])
            for i in range(2):
                for worker in workers:
                    cluster.wait_for("it has taken note", lambda w=worker:
                                     self.order(w, "where")["rollbacks"] == 1)
                    self.train_on(worker)
                c.servers[i].kill()
                c.start_server(i)
                c.wait_serving()
                for worker in workers:
                    self.train_on(worker)
                self.check_rows(c, f"after {i}", range(2))
            for worker in workers:
                self.assertEqual(self.order(worker, "where")["rollbacks"], 1)
            self.finish(workers)

    def damage_a_log(self, c, i):
        """Turns a bit over, in the longest of the newest segments."""
        logs = [os.path.join(folder, name) for folder, _, names
                in os.walk(os.path.join(c.folder, f"log-{i}"))
                for name in names]
        path = max(logs, key=lambda log: (log[-16:], os.path.getsize(log)))
        with open(path, "r+b") as file:
            file.seek(600)
            byte = file.read(1)
            file.seek(600)
            file.write(bytes([byte[0] ^ 4]))
        return path

    def test_a_damaged_log_is_named_and_the_way_out_is_a_restore(self):
        os.environ["PS_PROBE_DURABILITY"] = "1"
        self.addCleanup(os.environ.pop, "PS_PROBE_DURABILITY", None)
        with self.cluster() as c:
            workers = [self.train(c, i) for i in range(2)]
            self.train_on(workers[0])
            monday = self.save(c, "monday")
            for worker in workers:
                self.train_on(worker)
            c.servers[0].kill()
            self.damage_a_log(c, 0)
            c.start_server(0)
            cluster.wait_for("the damage is named", lambda:
                             "is damaged at byte" in c.servers[0].text(), 30)
            self.restore(c, "monday")
            for worker in workers:
                cluster.wait_for("it has taken note", lambda w=worker:
                                 self.order(w, "where")["rollbacks"] == 1)
                self.assertEqual(self.order(worker, "where")["cut"],
                                 monday["cut"])
                self.train_on(worker)
            self.check_rows(c, "tuesday", range(2))
            self.finish(workers)


for name in dir(test_recovery.Back):
    if name.startswith("test_"):
        setattr(Rollback, name, None)  # they run where they are


if __name__ == "__main__":
    unittest.main()
