"""Servers that die, clusters that are started again, checkpoints that are
restored while workers train: nothing is there that was not told, nothing is
gone that was not told to be lost.

Checkpoints are read as in test_checkpoint.py, with nothing but Python.
"""

import json
import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import time

import cluster
import test_checkpoint
import test_increment
from cluster import server_of
from test_checkpoint import KEYS, Saved, numbers, pushed, tensors

SERVERS = 3
SHARDS = 2
WORKERS = 3
FIRE_KEYS = 192
SOME = 12000  # bytes of a journal
OTHERS_MIN = 0.99  # of the requests to servers that live
FIRST_ACK_S = 5.0  # behind the detection


def content(place, folder):
    """All rows and slots: variable -> key -> {tensor -> bytes of the row}; a
    dense variable's keys are its rows. Of a folder without late frames."""
    with open(os.path.join(place, folder, "manifest.json"),
              encoding="utf-8") as file:
        manifest = json.load(file)
    out = {}
    for lane in manifest["lanes"]:
        base = os.path.join(place, folder, f"lane-{lane['lane']}")
        assert not numbers(tensors(base + ".state.safetensors")["late/bytes"])
        found = tensors(base + ".safetensors")
        for name, (_, shape, data) in found.items():
            variable, buckets, what = re.fullmatch(
                r"(.*)/(\d+-\d+)/(keys|erased|values|slot/[^/]*)",
                name).groups()
            if what in ("keys", "erased"):
                continue
            keys = found.get(f"{variable}/{buckets}/keys")
            if keys is not None:
                keys = numbers(keys)
            else:
                keys = [(buckets, i) for i in range(shape[0])]
            size = len(data) // max(shape[0], 1)
            rows = out.setdefault(variable, {})
            for i, key in enumerate(keys):
                row = rows.setdefault(key, {})
                assert what not in row, f"{name}: {key} is there twice"
                row[what] = data[i * size:(i + 1) * size]
    return out


class Recovery(Saved):

    def setUp(self):
        super().setUp()
        seed = int(os.environ.get("PS_TEST_SEED") or time.time())
        print(f"    PS_TEST_SEED={seed}", flush=True)
        self.dice = random.Random(seed)

    def read(self, said):
        return test_increment.Chain(os.path.join(self.place, said["folder"]))

    def restore(self, c, *words, status=0, seconds=60):
        done = subprocess.run(
            [c.bin, "restore", "-sp", c.kv, "--json", *words],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=seconds,
            check=False)
        self.said = done.stderr.decode()
        self.assertEqual(done.returncode, status, done)
        return json.loads(done.stdout) if done.stdout else None

    def start_all(self, c, shards=None):
        c.shards = shards or c.shards
        c.start_all()

    def kill_all(self, c):
        c.scheduler.kill()
        for server in c.servers:
            server.kill()

    def new_store(self, c):
        """All processes end, and the store is gone."""
        self.kill_all(c)
        shutil.rmtree(os.path.join(c.folder, "store"))

    def damage(self, folder, file=None):
        """Flips one bit; returns the file's name."""
        path = os.path.join(self.place, folder)
        file = file or max((f for f in os.listdir(path)
                            if f.endswith(".safetensors") and
                            ".state" not in f), key=lambda f:
                           os.path.getsize(os.path.join(path, f)))
        with open(os.path.join(path, file), "r+b") as f:
            at = os.path.getsize(os.path.join(path, file)) - 3
            f.seek(at)
            byte = f.read(1)[0]
            f.seek(at)
            f.write(bytes([byte ^ 16]))
        return file


class Death(Recovery):
    """Workers with journals, and what the judge says of them."""

    deadline = 600 if cluster.is_deep() else 90

    def begin(self, servers=SERVERS):
        c = self.cluster(servers=servers, shards=SHARDS)
        self.addCleanup(c.close)
        self.homes = os.path.join(c.folder, "homes")
        c.ask("homes", WORKERS, FIRE_KEYS, self.homes)
        self.workers = []
        for i in range(WORKERS):
            journal = os.path.join(c.folder, f"journal-{i}")
            self.workers.append((c.probe(
                "fire", i, WORKERS, FIRE_KEYS, self.dice.randrange(1 << 30),
                journal, name=f"worker-{i}"), journal))
        self.wait_pushes()
        return c

    def wait_pushes(self):
        def sizes():
            return [os.path.getsize(j) if os.path.exists(j) else 0
                    for _, j in self.workers]
        before = sizes()

        def all_have():
            for process, _ in self.workers:
                self.assertIsNone(process.child.poll(), process.text()[-500:])
            return all(b - a >= SOME for a, b in zip(before, sizes()))
        cluster.wait_for("the workers push", all_have, 60)

    def end(self, c):
        """What was told to be lost is gone, exactly, and nothing else."""
        for process, _ in self.workers:
            process.finish()
        for process, _ in self.workers:
            self.assertEqual(process.wait(60), 0, process.text())
        said = c.ask("judge", WORKERS, FIRE_KEYS, self.homes, "told",
                     *(f"{i}:{journal}"
                       for i, (_, journal) in enumerate(self.workers)))
        print(f"    {said['acked']} frames acknowledged, {said['lost']} of "
              f"them lost and told, {said['refused']} refused", flush=True)
        self.assertEqual(said["wrong"], [])
        for bad in ("cells_wrong", "deaf", "false_losses", "unheard_of",
                    "twice", "no_entry", "open", "torn"):
            self.assertEqual(said[bad], 0, f"{bad}: {said}")
        return said

    def kill_and_watch(self, c, watch, i):
        """(seconds until it was noticed, from there to the first
        acknowledgement) of a server that is started again at once."""
        watch.say("")
        watch.line()
        n = c.scheduler.text().count(f"server {i} is silent")
        at = time.monotonic()
        c.servers[i].kill()
        c.start_server(i)
        told = f"server {i} is silent"
        cluster.wait_for("it is noticed", lambda:
                         c.scheduler.text().count(told) > n or
                         "serves with lanes" in c.servers[i].text(),
                         every=0.01)
        noticed = time.monotonic()
        c.wait_serving()
        self.wait_pushes()
        time.sleep(0.1)
        watch.say("")
        said = watch.line()
        for other, seen in said.items():
            if int(other) != i:
                self.assertGreater(seen["calls"], 500)
                self.assertGreaterEqual(
                    1 - seen["failed"] / seen["calls"], OTHERS_MIN, said)
        mine = said[str(i)]
        self.assertLess(abs(mine["begin"] - at), 0.5, said)
        failed = sum(s["failed"] for o, s in said.items() if int(o) != i)
        calls = sum(s["calls"] for o, s in said.items() if int(o) != i)
        slowest = max(s["slowest"] for o, s in said.items() if int(o) != i)
        print(f"    noticed after {noticed - at:.2f} s, first "
              f"acknowledgement {mine['end'] - noticed:.2f} s later; the "
              f"others: {failed} of {calls} requests failed, the slowest took "
              f"{1000 * slowest:.0f} ms", flush=True)
        return noticed - at, mine["end"] - noticed

    def test_a_server_comes_back_from_the_checkpoint(self):
        c = self.begin()
        watch = c.probe("watch", 60)
        watch.line()
        times = []
        before = c.status()
        for _ in range(20 if cluster.is_deep() else 2):
            self.save(c)
            self.wait_pushes()
            times.append(self.kill_and_watch(
                c, watch, self.dice.randrange(SERVERS)))
        middle = statistics.median(t for _, t in times)
        print(f"    from detection to first acknowledgement: median "
              f"{middle:.2f} s of {len(times)}", flush=True)
        self.assertLess(middle, FIRST_ACK_S)
        watch.finish()
        said = self.end(c)
        self.assertGreater(said["lost"], 0)
        self.assertGreater(said["acked"], 5 * said["lost"])
        status = c.status()
        self.assertEqual(
            sum(s["emptied"] for s in status["servers"]),
            sum(s["emptied"] for s in before["servers"]) + len(times))

    def test_all_processes_but_the_workers_die(self):
        c = self.begin(servers=2)
        self.save(c)
        self.wait_pushes()
        self.kill_all(c)
        self.start_all(c)
        self.wait_pushes()
        self.save(c)
        # Twice: what the first life of the rows had done is still known.
        self.kill_all(c)
        self.start_all(c)
        self.wait_pushes()
        said = self.end(c)
        self.assertGreater(said["lost"], 0)


class Again(Recovery):
    """Clusters that are started again."""

    deadline = 900 if cluster.is_deep() else 90

    def fill(self, c):
        """Rows of several kinds: sums, and a model with slots and a dense
        variable."""
        worker = self.train(c, 0)
        told = self.finish([worker])
        made = os.path.join(c.folder, "made")
        subprocess.run(
            [cluster.program("PS_CTR_GEN_BIN"), "--rows", "2000",
             "--test-rows", "100", "--out-train", made + ".libfm",
             "--out-test", made + "-test.libfm"], check=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        done = subprocess.run(
            [cluster.program("PS_CTR_BIN"), "--scheduler", c.kv, "--train",
             made + ".libfm", "--test", made + "-test.libfm", "--epochs", "1",
             "--quiet", "--k", "4"], stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, check=False)
        self.assertEqual(done.returncode, 0, done)
        return pushed({0: told[0]["steps"]})

    def compare(self, a, b):
        self.assertEqual(sorted(a), sorted(b))
        for variable, rows in a.items():
            others = b[variable]
            wrong = [key for key in sorted(set(rows) | set(others))
                     if rows.get(key) != others.get(key)]
            self.assertEqual(wrong[:5], [], f"{variable}: {len(wrong)} rows")

    def run_pair(self, c, shards, told):
        """The cluster begins anew with the newest checkpoint, and saves."""
        self.new_store(c)
        self.start_all(c, shards)
        said = self.save(c)
        found = content(self.place, said["folder"])
        self.compare(told, found)
        return said

    def test_saved_on_some_shards_and_loaded_on_others(self):
        shards = ([n for a in range(1, 9) for b in range(1, 9)
                   for n in (a, b)] if cluster.is_deep() else
                  [1, 8, 3, 5, 1])
        with self.cluster(servers=1, shards=shards[0]) as c:
            rows = self.fill(c)
            said = self.save(c)
            self.assertEqual(self.read(said).rows("train"), rows)
            told = content(self.place, said["folder"])
            self.assertIn("slot/adagrad_accumulation",
                          " ".join(next(iter(told["ctr.w"].values()))))
            for n in shards[1:]:
                said = self.run_pair(c, n, told)
            self.assertEqual(self.read(said).rows("train"), rows)
            print(f"    {len(shards) - 1} pairs, "
                  f"{sum(len(r) for r in told.values())} rows", flush=True)

    def test_a_new_store_with_more_servers(self):
        with self.cluster(servers=1, shards=2) as c:
            self.fill(c)
            told = content(self.place, self.save(c)["folder"])
        for servers in (3, 2):
            with self.cluster(servers=servers, shards=1) as c:
                self.compare(told, content(self.place,
                                           self.save(c)["folder"]))

    def test_of_damaged_checkpoints_the_one_before_is_used(self):
        with self.cluster(servers=2, shards=1) as c:
            worker = self.train(c, 0)
            said = [self.save(c, name) for name in ("one", "two", "three")]
            self.finish([worker])
            self.damage(said[2]["folder"])
            self.new_store(c)
            self.start_all(c)
            now = self.save(c)
            self.assertEqual(self.read(now).rows("train"),
                             self.read(said[1]).rows("train"))
            self.assertIn(f"{said[2]['folder']} is damaged",
                          c.scheduler.text())
            # Numbers go on above all that there were.
            self.assertGreater(now["cut"], said[2]["cut"])

    def test_where_all_are_damaged_it_does_not_begin_empty(self):
        with self.cluster(servers=1, shards=1) as c:
            worker = self.train(c, 0)
            said = [self.save(c, name) for name in ("one", "two")]
            self.finish([worker])
            files = [self.damage(s["folder"]) for s in said]
            self.new_store(c)
            c.start_scheduler()
            self.assertNotEqual(c.scheduler.wait(30), 0)
            text = c.scheduler.text()
            self.assertIn("--accept-empty", text)
            for s, file in zip(said, files):
                self.assertIn(s["folder"], text)
                self.assertIn(file, text)
            c.scheduler_options.append("--accept-empty")
            self.start_all(c)
            now = self.save(c)
            self.assertEqual(now["rows"], 0)
            self.assertGreater(now["cut"], said[1]["cut"])

    def test_a_server_that_stays_away_leaves_its_parts_to_the_other(self):
        with self.cluster("--give-up-after", "1", servers=2, shards=2) as c:
            worker = self.train(c, 0)
            told = self.finish([worker])
            self.save(c)
            c.servers[1].kill()
            rows = c.ask("dump", "train", KEYS, 2)["rows"]
            there = pushed({0: told[0]["steps"]})  # few steps: not all keys
            self.assertEqual(rows, [there.get(key, [0, 0])
                                    for key in range(KEYS)])
            self.assertIn("does not come back", c.scheduler.text())
            # Who comes after all takes its place with nothing.
            c.start_server(1)
            c.wait_serving()
            again = c.ask("dump", "train", KEYS, 2)["rows"]
            self.assertEqual(again, rows)


class Back(Recovery):
    """Checkpoints that are restored while workers train."""

    def check_rows(self, c, name, workers):
        """A save under load: rows are those of the positions."""
        return self.check(c, self.save(c, name), workers)

    def check_back(self, c, workers, name, n=1):
        """They have all taken note, and go on."""
        for worker in workers:
            cluster.wait_for("it has taken note", lambda w=worker:
                             self.order(w, "where")["rollbacks"] == n)
        return self.check_rows(c, name, range(len(workers)))

    def train_on(self, worker):
        steps = self.order(worker, "where")["steps"]
        cluster.wait_for("it trains on", lambda: self.order(
            worker, "where")["steps"] > steps + 200)

    def test_a_name_is_restored_under_load(self):
        with self.cluster() as c:
            workers = [self.train(c, i) for i in range(2)]
            monday = self.save(c, "monday")
            self.check(c, monday, range(2))
            for worker in workers:
                self.train_on(worker)
            done = self.restore(c, "monday")
            self.assertEqual(done["folder"], monday["folder"])
            for worker in workers:
                cluster.wait_for("it has taken note", lambda w=worker:
                                 self.order(w, "where")["rollbacks"] == 1)
                self.assertEqual(self.order(worker, "where")["cut"],
                                 monday["cut"])
                self.train_on(worker)
            self.check_rows(c, "tuesday", range(2))
            self.restore(c, str(monday["cut"]))
            self.check_back(c, workers, "wednesday", 2)
            # The newest is what was saved last.
            done = self.restore(c)
            self.assertEqual(c.status()["save"]["folder"], done["folder"])
            self.check_back(c, workers, "thursday", 3)
            self.finish(workers)

    def test_who_stands_is_given_the_position_of_the_cut(self):
        with self.cluster() as c:
            worker = self.train(c, 0)
            first = self.order(worker, "pause")
            said = self.save(c, "here")
            self.assertEqual(self.read(said).positions(),
                             {0: first["steps"]})
            worker.say("go")
            worker.line()
            self.train_on(worker)
            later = self.order(worker, "pause")
            self.assertGreater(later["steps"], first["steps"])
            self.restore(c, "here")
            now = self.order(worker, "look")
            self.assertEqual(now["rollbacks"], 1)
            self.assertEqual(now["steps"], first["steps"])
            # That is its position from now on, without another step.
            said = self.save(c, "there")
            saved = self.check(c, said, [0])
            self.assertEqual(saved.positions(), {0: first["steps"]})
            worker.say("go")
            worker.line()
            self.check_rows(c, "after", [0])
            self.finish([worker])

    def check_restored(self, c, said, workers):
        """ps_restored() tells the positions of this save, if any, to workers
        that run and to who begins anew."""
        positions = self.read(said).positions() if said else {}
        for i in range(len(workers) + 1):  # of the last nobody knows
            wanted = {"status": "PS_ENOTFOUND", "position": "", "cut": 0}
            if i in positions:
                wanted = {"status": "PS_OK", "cut": said["cut"],
                          "position": f"{i} {positions[i]}"}
            self.assertEqual(c.ask("restored", i), wanted)
            if i < len(workers):
                self.assertEqual(self.order(workers[i], "restored"), wanted)

    def test_who_begins_anew_is_told_where_to_go_on(self):
        with self.cluster() as c:
            workers = [self.train(c, i) for i in range(2)]
            monday = self.save(c, "monday")
            self.check_restored(c, None, workers)  # nothing came back
            self.train_on(workers[0])
            self.save(c, "tuesday")
            self.restore(c, "monday")
            self.check_restored(c, monday, workers)
            for worker in workers:
                self.train_on(worker)
            self.check_restored(c, monday, workers)
            # What was saved later is of another past now.
            self.kill_all(c)
            self.start_all(c)
            self.check_restored(c, monday, workers)
            for worker in workers:
                self.train_on(worker)
            wednesday = self.save(c, "wednesday")
            self.check_restored(c, monday, workers)
            # Nor is who comes with the scheduler told of what was before it.
            self.kill_all(c)
            c.start_scheduler()
            self.check_restored(c, wednesday, [])
            for i in range(c.n):
                c.start_server(i)
            c.wait_serving()
            self.check_restored(c, wednesday, workers)
            self.finish(workers)

    def test_a_mistyped_name_changes_nothing(self):
        with self.cluster() as c:
            worker = self.train(c, 0)
            monday = self.save(c, "monday")
            lanes = [cluster.lanes_of(c.status(), i) for i in range(2)]
            self.restore(c, "mondya", status=1)
            self.assertIn("no checkpoint is \"mondya\"; the newest good one is "
                          + monday["folder"], self.said)
            self.train_on(worker)
            self.assertEqual(self.order(worker, "where")["rollbacks"], 0)
            self.assertEqual([cluster.lanes_of(c.status(), i)
                              for i in range(2)], lanes)
            self.check_rows(c, "after", [0])
            self.finish([worker])

    def test_a_damaged_one_is_refused_with_the_file_and_the_newest(self):
        with self.cluster() as c:
            worker = self.train(c, 0)
            good = self.save(c, "good")
            bad = self.save(c, "bad")
            file = self.damage(bad["folder"])
            lanes = [cluster.lanes_of(c.status(), i) for i in range(2)]
            self.restore(c, "bad", status=1)
            self.assertIn(file, self.said)
            self.assertIn(good["folder"], self.said)
            self.assertEqual(self.order(worker, "where")["rollbacks"], 0)
            self.assertEqual([cluster.lanes_of(c.status(), i)
                              for i in range(2)], lanes)
            self.restore(c, "good")
            self.check_back(c, [worker], "after")
            self.finish([worker])

    def test_a_scheduler_is_killed_in_the_middle(self):
        with self.cluster() as c:
            workers = [self.train(c, i) for i in range(2)]
            c.ask("fill", "large", 200000, 8)
            said = self.save(c, "monday")
            for worker in workers:
                self.train_on(worker)
            # What it has decided is done, what it has not is not: how far it
            # comes is up to chance.
            for i in range(4 if cluster.is_deep() else 2):
                before = [self.order(w, "where")["rollbacks"]
                          for w in workers]
                process = c.start("restore", [
                    c.bin, "restore", "-sp", c.kv, "monday"])
                cluster.wait_for("it is asked", lambda: "asked to restore" in
                                 c.scheduler.text(), every=0.002)
                time.sleep(self.dice.uniform(0, 0.3) if i else 0)
                c.scheduler.kill()
                c.start_scheduler()
                self.assertEqual(process.wait(50), 0, process.text())
                for worker, n in zip(workers, before):
                    cluster.wait_for("it has taken note",
                                     lambda w=worker, n=n: self.order(
                                         w, "where")["rollbacks"] > n)
                    self.train_on(worker)
                self.check_rows(c, f"after {i}", range(2))
            self.assertTrue(said)
            self.finish(workers)

    def test_a_server_is_killed_in_the_middle(self):
        with self.cluster() as c:
            worker = self.train(c, 0)
            c.ask("fill", "large", 200000, 8)
            self.save(c, "monday")
            self.train_on(worker)
            process = c.start("restore", [
                c.bin, "restore", "-sp", c.kv, "monday"])
            cluster.wait_for("it is asked", lambda: "asked to restore" in
                             c.scheduler.text(), every=0.002)
            time.sleep(self.dice.uniform(0, 0.3))
            c.servers[1].kill()
            c.start_server(1)
            self.assertEqual(process.wait(50), 0, process.text())
            self.check_back(c, [worker], "after")
            self.finish([worker])


if __name__ == "__main__":
    import unittest
    unittest.main()
