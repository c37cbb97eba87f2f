"""Checkpoints of a cluster that trains on: what is in them, and what becomes of
a save when something goes wrong in the middle.

The files are read here with nothing but Python, by doc/checkpoint.md. A worker
of ps-probe pushes what follows from its step's number and says after each step
where its reader is (probe_train.c), so the rows of a checkpoint can be worked
out from the positions in its manifest.
"""

import array
import json
import os
import signal
import struct
import subprocess
import unittest

import cluster

KEYS = 64  # of each worker
SHARED = 1 << 40
OWN = 4
BINARY = {"U64": "Q", "F32": "f", "U8": "B", "I8": "b"}


def tensors(path):
    """name -> (dtype, shape, bytes) of a safetensors file."""
    with open(path, "rb") as file:
        data = file.read()
    size = struct.unpack_from("<Q", data)[0]
    header = json.loads(data[8:8 + size])
    header.pop("__metadata__", None)
    out = {}
    for name, t in header.items():
        begin, end = t["data_offsets"]
        out[name] = (t["dtype"], t["shape"],
                     data[8 + size + begin:8 + size + end])
    return out


def numbers(tensor):
    out = array.array(BINARY[tensor[0]])
    out.frombytes(tensor[2])
    return out


def add(rows, key, values):
    row = rows.setdefault(key, [0.0] * len(values))
    for i, value in enumerate(values):
        row[i] += value


def add_late(rows, body, variable, chains):
    """A RUN frame of before the cut that was applied after it (run.h)."""
    n_ops = struct.unpack_from("<I", body)[0]
    at = 8 + 48 * n_ops
    for i in range(n_ops):
        (chain, owner, _, _, n_keys, n_params, dim,
         n_values) = struct.unpack_from("<QIIIIIIQ", body, 8 + 48 * i)
        keys = struct.unpack_from(f"<{n_keys}Q", body, at)
        at += 8 * n_keys + 8 * n_params
        values = struct.unpack_from(f"<{n_values}f", body, at)
        at += (4 * n_values + 7) // 8 * 8
        if owner == variable and n_values:
            assert "AssignAdd" in chains[chain], chains[chain]
            for k, key in enumerate(keys):
                add(rows, key, values[k * dim:(k + 1) * dim])


class Checkpoint:
    """One folder, read by the book."""

    def __init__(self, folder):
        self.folder = folder
        with open(os.path.join(folder, "manifest.json"),
                  encoding="utf-8") as file:
            self.manifest = json.load(file)
        self.late = 0

    def positions(self):
        """worker -> steps, of those that say where their readers are."""
        out = {}
        for session in self.manifest["sessions"]:
            text = bytes.fromhex(session["position"]).decode()
            if text:
                worker, steps = text.split()
                assert int(worker) + 1 == session["worker"], session
                assert int(worker) not in out, "two of one worker"
                out[int(worker)] = int(steps)
        return out

    def rows(self, variable):
        """key -> values, late frames applied."""
        number = [v["id"] for v in self.manifest["variables"]
                  if v["name"] == variable][0]
        rows = {}
        for lane in self.manifest["lanes"]:
            base = os.path.join(self.folder, f"lane-{lane['lane']}")
            found = tensors(base + ".safetensors")
            for name, tensor in found.items():
                if name.startswith(variable + "/") and name.endswith("/keys"):
                    keys = numbers(tensor)
                    values = found[name[:-len("keys")] + "values"]
                    dim = values[1][1]
                    values = numbers(values)
                    for i, key in enumerate(keys):
                        assert key not in rows, f"{key} is there twice"
                        rows[key] = list(values[i * dim:(i + 1) * dim])
            state = tensors(base + ".state.safetensors")
            self._apply(rows, number, state)
        return rows

    def _apply(self, rows, variable, state):
        text = bytes(state["chains/definition"][2])
        chains = {}
        at = 0
        for number, size in zip(numbers(state["chains/id"]),
                                numbers(state["chains/bytes"])):
            chains[number] = text[at:at + size].decode()
            at += size
        at = 0
        bodies = state["late/body"][2]
        for size in numbers(state["late/bytes"]):
            add_late(rows, bodies[at:at + size], variable, chains)
            at += size
            self.late += 1


def pushed(positions):
    """The rows after so many steps of each worker (probe_train.c). Step i is at
    four keys in a row, and at the same ones again every KEYS / OWN steps, with
    the same i mod 8."""
    rows = {}
    turns = KEYS // OWN
    for worker, steps in positions.items():
        for key in range(KEYS):
            first = key // OWN
            count = (steps - first + turns - 1) // turns
            if count > 0:
                add(rows, worker * KEYS + key,
                    [count, count * (first % 8 + 1)])
        if steps:
            add(rows, SHARED + worker % 2, [steps, steps * (worker + 1)])
    return rows


class Saved(unittest.TestCase):

    def setUp(self):
        self.place = cluster.make_folder()
        self.addCleanup(cluster.remove_folder, self.place)

    def cluster(self, *options, servers=2, shards=2):
        return cluster.Cluster(
            servers=servers, shards=shards,
            scheduler_options=["-cp", self.place, *options])

    def train(self, c, worker, how="step"):
        probe = c.probe("train", worker, KEYS, how, name=f"worker-{worker}")
        probe.line()
        cluster.wait_for("its first step is done", lambda:
                         self.order(probe, "where")["acked"] > 0)
        return probe

    def order(self, probe, line):
        probe.say(line)
        return probe.line(60)

    def save_command(self, c, *words):
        return [c.bin, "save", "-sp", c.kv, "--json", *words]

    def save(self, c, *words, status=0, seconds=60):
        """What ps-plus save prints."""
        done = subprocess.run(self.save_command(c, *words), timeout=seconds,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              check=False)
        self.assertEqual(done.returncode, status, done)
        self.said = done.stderr.decode()
        return json.loads(done.stdout) if done.stdout else None

    def folders(self):
        return sorted(os.listdir(self.place))

    def read(self, said):
        return Checkpoint(os.path.join(self.place, said["folder"]))

    def verify(self, c, said):
        done = subprocess.run(
            [c.bin, "verify", self.place, said["folder"], "--json"],
            stdout=subprocess.PIPE, timeout=60, check=False)
        self.assertTrue(json.loads(done.stdout)["good"], done)
        self.assertEqual(done.returncode, 0)

    def check(self, c, said, workers):
        """The checkpoint holds what these had pushed at their positions."""
        self.assertEqual(said["state"], "done")
        saved = self.read(said)
        positions = saved.positions()
        self.assertEqual(sorted(positions), sorted(workers))
        found, told = saved.rows("train"), pushed(positions)
        wrong = [(k, told.get(k), found.get(k))
                 for k in sorted(set(told) | set(found))
                 if told.get(k) != found.get(k)]
        self.assertEqual(wrong[:5], [], f"(key, told, found), {len(wrong)}")
        self.verify(c, said)
        return saved

    def finish(self, probes, lines=1):
        out = []
        for probe in probes:
            probe.finish()
        for probe in probes:
            out.append([probe.line(60) for _ in range(lines)][-1])
            self.assertEqual(probe.wait(30), 0)
        return out

    def wait_save(self, c, what, condition, seconds=30):
        return c.wait_status(what, lambda s: condition(s["save"]),
                             seconds)["save"]

    def under_way(self, c, *words):
        """A save that waits for a worker that stands in the middle of a
        step."""
        process = c.start("save", self.save_command(c, *words))
        self.wait_save(c, "the save is under way",
                       lambda s: s["state"] == "writing")
        return process


class Content(Saved):

    def test_a_save_under_load_holds_each_worker_up_to_its_position(self):
        with self.cluster() as c:
            workers = [self.train(c, i) for i in range(3)]
            late = 0
            saves = 20 if cluster.is_deep() else 6
            last = dict.fromkeys(range(3), 0)
            for i in range(saves):
                saved = self.check(c, self.save(c, f"number {i}"), range(3))
                self.assertEqual(saved.manifest["name"], f"number {i}")
                late += saved.late
                for worker, steps in saved.positions().items():
                    self.assertGreater(steps, last[worker])
                    last[worker] = steps
            told = self.finish(workers)
            for worker, account in enumerate(told):
                self.assertGreaterEqual(account["steps"], last[worker])
            rows = self.check_now(c, told)
            print(f"    {saves} saves, {late} late frames, "
                  f"{sum(a['steps'] for a in told)} steps, {rows} rows",
                  flush=True)

    def check_now(self, c, accounts):
        """A save without a session has all that was pushed."""
        said = self.save(c)
        saved = self.read(said)
        self.assertEqual(saved.manifest["sessions"], [])
        told = pushed({i: a["steps"] for i, a in enumerate(accounts)})
        self.assertEqual(saved.rows("train"), told)
        self.verify(c, said)
        return len(told)

    def test_a_save_of_nothing_at_all_is_a_checkpoint(self):
        with self.cluster() as c:
            said = self.save(c, "nothing")
            self.assertEqual(said["rows"], 0)
            self.assertEqual(self.read(said).manifest["variables"], [])
            self.verify(c, said)

    def test_an_idle_client_does_not_hold_a_save_up(self):
        with self.cluster() as c:
            idle = c.probe("idle")
            idle.line()
            worker = self.train(c, 0)
            account = self.order(worker, "pause")
            said = self.save(c, seconds=20)
            self.assertLess(said["seconds"], 5)
            saved = self.check(c, said, [0])
            self.assertEqual(saved.positions(), {0: account["steps"]})
            worker.say("go")
            worker.line()
            self.check(c, self.save(c), [0])
            self.finish([worker])
            idle.finish()
            self.assertEqual(idle.wait(), 0)

    def test_a_worker_that_never_says_where_it_is_is_cut_between_requests(
            self):
        with self.cluster() as c:
            blind = self.train(c, 0, "blind")
            other = self.train(c, 1)
            for _ in range(3):
                said = self.save(c)
                self.assertEqual(said["state"], "done")
                saved = self.read(said)
                rows = saved.rows("train")
                own = [v[0] for k, v in rows.items() if k < KEYS]
                self.assertEqual(sum(own) % OWN, 0)
                told = pushed({0: int(sum(own)) // OWN, **saved.positions()})
                self.assertEqual(rows, told)
                self.verify(c, said)
            self.finish([blind, other])

    def test_a_worker_may_save_and_goes_on_meanwhile(self):
        with self.cluster() as c:
            worker = self.train(c, 0)
            before = self.order(worker, "save its own")["steps"]
            done = self.wait_save(c, "it is done",
                                  lambda s: s["state"] == "done")
            self.assertEqual(done["name"], "its own")
            saved = self.check(c, done, [0])
            worker.finish()
            self.assertEqual(worker.line(60), {"saved": "PS_OK"})
            after = worker.line(60)["steps"]
            self.assertEqual(worker.wait(), 0)
            self.assertGreaterEqual(saved.positions()[0], before - 1)
            self.assertGreater(after, saved.positions()[0])

    def test_old_checkpoints_go(self):
        with self.cluster("--keep", "2") as c:
            worker = self.train(c, 0)
            names = [self.save(c)["folder"] for _ in range(5)]
            cluster.wait_for("the older ones are gone",
                             lambda: self.folders() == names[-2:])
            self.finish([worker])
            self.assertEqual(names, sorted(names))


class Trouble(Saved):

    def stalled(self, c):
        """A worker that holds a save up until it is told to go on."""
        worker = self.train(c, 0)
        self.order(worker, "stall")
        return worker

    def go_on(self, worker):
        worker.say("go")
        worker.line()

    def test_without_a_place_a_save_is_refused(self):
        with cluster.Cluster(servers=1, shards=1) as c:
            worker = c.probe("train", 0, KEYS, "step")
            worker.line()
            self.assertIsNone(self.save(c, status=1))
            self.assertIn("-cp URL", self.said)
            worker.say("save mine")
            worker.line()
            worker.finish()
            self.assertEqual(worker.line(60), {"saved": "PS_EARGUMENT"})

    def test_two_saves_at_once_share_a_ticket(self):
        with self.cluster() as c:
            worker = self.stalled(c)
            first = c.start("first", self.save_command(c, "first"), lines=True)
            self.wait_save(c, "it is under way",
                           lambda s: s["state"] == "writing")
            second = self.save(c, "first", "--no-wait")
            third = c.start("third", self.save_command(c, "first"), lines=True)
            cluster.wait_for("the third has its ticket: it tells of progress",
                             lambda: "rows" in third.text())
            self.go_on(worker)
            texts = [p.child.stdout.read() for p in (first, third)]
            self.assertEqual([first.wait(), third.wait()], [0, 0])
            first, third = [json.loads(text) for text in texts]
            for said in (second, third):
                self.assertEqual(said["ticket"], first["ticket"])
                self.assertEqual(said["name"], "first")
            self.assertTrue(second["shared"])
            self.assertEqual(third["folder"], first["folder"])
            self.assertEqual(self.folders(), [first["folder"]])
            self.check(c, first, [0])
            self.finish([worker])

    def test_a_save_can_be_canceled_and_nothing_is_left_of_it(self):
        with self.cluster() as c:
            worker = self.stalled(c)
            process = self.under_way(c, "doomed")
            self.save(c, "--cancel")
            self.assertEqual(process.wait(), 1)
            self.assertIn("canceled", process.text())
            cluster.wait_for("its files are gone", lambda: not self.folders())
            self.assertEqual(c.status()["save"]["state"], "canceled")
            self.save(c, "--cancel", status=1)
            self.assertIn("no save is under way", self.said)
            self.go_on(worker)
            self.check(c, self.save(c, "after it"), [0])
            self.finish([worker])

    def test_ctrl_c_cancels_the_save_that_it_began(self):
        with self.cluster() as c:
            worker = self.stalled(c)
            process = self.under_way(c)
            process.signal(signal.SIGINT)
            self.assertEqual(process.wait(), 1)
            self.assertEqual(c.status()["save"]["state"], "canceled")
            cluster.wait_for("its files are gone", lambda: not self.folders())
            # Another's is left alone.
            process = self.under_way(c)
            other = c.start("other", self.save_command(c))
            cluster.wait_for("it has joined", lambda: "waits until" in
                             other.text())
            other.signal(signal.SIGINT)
            self.assertEqual(other.wait(), 1)
            self.assertEqual(c.status()["save"]["state"], "writing")
            self.go_on(worker)
            self.assertEqual(process.wait(60), 0)
            self.finish([worker])

    def test_a_deadline_leaves_the_save_to_go_on(self):
        with self.cluster() as c:
            worker = self.stalled(c)
            said = self.save(c, "--wait", "1", status=1)
            self.assertEqual(said["state"], "writing")
            self.go_on(worker)
            done = self.wait_save(c, "it is done",
                                  lambda s: s["state"] == "done")
            self.check(c, done, [0])
            self.finish([worker])

    def test_a_worker_that_is_killed_in_the_middle_has_it_begin_again(self):
        with self.cluster() as c:
            other = self.train(c, 1)
            worker = self.stalled(c)
            process = self.under_way(c)
            first = c.status()["save"]["cut"]
            worker.kill()
            self.assertEqual(process.wait(60), 0)
            done = c.status()["save"]
            self.assertGreater(done["cut"], first)
            # Of whom has ended there is no position: its account is its own.
            saved = self.read(done)
            self.assertEqual(list(saved.positions()), [1])
            rows = saved.rows("train")
            told = pushed(saved.positions())
            for key in range(KEYS, 2 * KEYS):
                self.assertEqual(rows[key], told[key])
            self.verify(c, done)
            self.assertEqual(self.folders(), [done["folder"]])
            self.finish([other])

    def test_a_server_that_is_killed_in_the_middle_has_it_begin_again(self):
        with self.cluster() as c:
            idle = c.probe("idle")
            idle.line()
            worker = self.stalled(c)
            process = self.under_way(c)
            first = c.status()["save"]["cut"]
            c.servers[1].kill()
            c.start_server(1)
            c.wait_status("it is back", lambda s: c.is_serving(s) and
                          cluster.server_of(s, 1)["emptied"] == 1)
            self.go_on(worker)
            self.assertEqual(process.wait(60), 0)
            done = c.status()["save"]
            self.assertGreater(done["cut"], first)
            self.verify(c, done)
            self.assertEqual(self.folders(), [done["folder"]])
            # The next is as good as any.
            self.verify(c, self.save(c))
            self.finish([worker])
            idle.finish()

    def test_a_scheduler_that_is_killed_in_the_middle_has_it_begin_again(self):
        with self.cluster() as c:
            worker = self.stalled(c)
            process = self.under_way(c, "kept")
            first = c.status()["save"]
            c.scheduler.kill()
            c.start_scheduler()
            again = self.wait_save(c, "it begins again", lambda s:
                                   s["cut"] > first["cut"] and
                                   s["state"] == "writing")
            self.assertEqual(again["ticket"], first["ticket"])
            self.go_on(worker)
            self.assertEqual(process.wait(60), 0)
            done = c.status()["save"]
            self.assertEqual(done["name"], "kept")
            self.check(c, done, [0])
            cluster.wait_for("the first's files are gone",
                             lambda: self.folders() == [done["folder"]])
            self.finish([worker])

    def test_a_full_disk_fails_the_save_and_nothing_else(self):
        cluster.mount_disk(self, self.place, 256 << 10)
        with self.cluster() as c:
            worker = self.train(c, 0)
            small = self.save(c, "small")
            self.check(c, small, [0])
            c.ask("fill", "large", 20000, 8)
            said = self.save(c, "large", status=1)
            self.assertEqual(said["state"], "failed")
            self.assertIn("No space left", said["why"])
            self.assertIn("No space left", self.said)
            cluster.wait_for("what it wrote is gone",
                             lambda: self.folders() == [small["folder"]])
            self.verify(c, small)
            before = self.order(worker, "where")["steps"]
            after = self.order(worker, "where")["steps"]
            self.assertGreater(after, before)
            self.finish([worker])


if __name__ == "__main__":
    unittest.main()
