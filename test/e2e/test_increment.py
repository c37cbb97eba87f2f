"""Increments: checkpoints with what changed since the one before, read by
doc/checkpoint.md with nothing but Python, as in test_checkpoint.py."""

import json
import os
import subprocess
import unittest

import cluster
import original
import test_checkpoint
from original import Variable
from test_checkpoint import numbers, pushed, tensors


class Chain(test_checkpoint.Checkpoint):
    """A folder and what it builds on."""

    def links(self):
        """Manifests and their folders, the whole one first."""
        root = os.path.dirname(self.folder)
        out = [(self.manifest, self.folder)]
        while out[0][0]["base"]:
            above = out[0][0]
            found = []
            for name in os.listdir(root):
                if name.startswith(f"ckpt-{above['base']:012}-"):
                    folder = os.path.join(root, name)
                    with open(os.path.join(folder, "manifest.json"),
                              encoding="utf-8") as file:
                        found.append((json.load(file), folder))
            out.insert(0, max((x for x in found if all(
                x[0][k] == above[k]
                for k in ("cluster_high", "cluster_low", "restore"))),
                key=lambda x: x[0]["term"]))
        return out

    def rows(self, variable):
        rows = {}
        number = None
        states = []
        for manifest, folder in self.links():
            changed = {}
            for lane in manifest["lanes"]:
                base = os.path.join(folder, f"lane-{lane['lane']}")
                self._read(base, variable, rows, changed)
                if folder == self.folder:
                    states.append(tensors(base + ".state.safetensors"))
            rows.update(changed)
        number = [v["id"] for v in self.manifest["variables"]
                  if v["name"] == variable][0]
        for state in states:
            self._apply(rows, number, state)
        return rows

    def _read(self, base, variable, rows, changed):
        found = tensors(base + ".safetensors")
        for name, tensor in found.items():
            if not name.startswith(variable + "/"):
                continue
            if name.endswith("/erased"):
                for key in numbers(tensor):
                    rows.pop(key, None)
            elif name.endswith("/keys"):
                values = found[name[:-len("keys")] + "values"]
                dim = values[1][1]
                values = numbers(values)
                for i, key in enumerate(numbers(tensor)):
                    assert key not in changed, f"{key} is there twice"
                    changed[key] = list(values[i * dim:(i + 1) * dim])


class Increments(test_checkpoint.Saved):

    def read(self, said):
        return Chain(os.path.join(self.place, said["folder"]))

    def base(self, said):
        return self.read(said).manifest["base"]

    def compact(self, c, *words):
        done = subprocess.run([c.bin, "compact", self.place, *words, "--json"],
                              stdout=subprocess.PIPE, timeout=60, check=False)
        self.assertEqual(done.returncode, 0, done)
        return json.loads(done.stdout)

    def test_two_of_three_are_increments_under_load(self):
        with self.cluster("--full_every", "3", "--keep", "9") as c:
            workers = [self.train(c, i) for i in range(2)]
            last = 0
            for i in range(8):
                said = self.save(c)
                self.check(c, said, range(2))
                self.assertEqual(self.base(said), 0 if i % 3 == 0 else last)
                last = said["cut"]
            said = self.save(c, "--whole")
            self.assertEqual(self.base(said), 0)
            self.check(c, said, range(2))
            self.finish(workers)

    def test_an_increment_of_nothing_has_no_rows(self):
        with self.cluster("--full_every", "4") as c:
            worker = self.train(c, 0)
            whole = self.save(c)
            told = self.finish([worker])
            self.save(c)
            said = self.save(c)
            self.assertEqual(said["rows"], 0)
            self.assertGreater(self.base(said), whole["cut"])
            self.assertEqual(self.read(said).rows("train"),
                             pushed({0: told[0]["steps"]}))

    def test_what_is_built_on_stays(self):
        with self.cluster("--full_every", "4", "--keep", "2") as c:
            worker = self.train(c, 0)
            names = [self.save(c)["folder"] for _ in range(4)]
            self.assertEqual(self.folders(), names)
            # Two whole ones of which one is being added to: both stay.
            names += [self.save(c)["folder"] for _ in range(4)]
            self.assertEqual(self.folders(), names)
            names.append(self.save(c)["folder"])
            cluster.wait_for("the first chain is gone",
                             lambda: self.folders() == names[4:])
            self.finish([worker])

    def test_a_compacted_chain_is_built_on(self):
        with self.cluster("--full_every", "9", "--keep", "2") as c:
            worker = self.train(c, 0)
            first, second, last = [self.save(c) for _ in range(3)]
            done = self.compact(c)
            self.assertEqual(done["from"], last["folder"])
            self.assertEqual(done["links"], 3)
            whole = self.read(done)
            self.assertEqual(whole.manifest["base"], 0)
            self.assertEqual(whole.rows("train"),
                             self.read(last).rows("train"))
            self.verify(c, done)
            said = self.save(c)
            self.assertEqual(self.base(said), last["cut"])
            self.check(c, said, [0])
            cluster.wait_for(
                "the one that was compacted is gone",
                lambda: self.folders() == [x["folder"] for x in
                                           (first, second, done, said)])
            self.check(c, said, [0])
            self.finish([worker])

    def test_tools_run_beside_saves(self):
        old = os.path.join(self.place + "-old", "old")
        v = Variable("v", "index", "F32", [8, 4], [8])
        v.rows = {key: [1.0] * 4 for key in range(8)}
        original.write(os.path.dirname(old), "old", [v])
        with self.cluster("--full_every", "3", "--keep", "2") as c:
            worker = self.train(c, 0)
            imported = []
            for i in range(8):
                said = self.save(c)
                tools = [["import", os.path.dirname(old), "-o", self.place]]
                if self.base(said):
                    tools.append(["compact", self.place, said["folder"]])
                tools = [subprocess.Popen([c.bin, *words, "--json"],
                                          stdout=subprocess.PIPE)
                         for words in tools]
                self.save(c)
                for k, tool in enumerate(tools):
                    done = json.loads(tool.communicate(timeout=60)[0])
                    self.assertEqual(tool.returncode, 0)
                    if k == 0:
                        imported.append(done["folder"])
            said = self.save(c)
            self.check(c, said, [0])
            self.assertEqual(len(set(imported)), 8)
            self.assertLessEqual(set(imported), set(self.folders()))
            self.assertEqual([n for n in os.listdir(self.place)
                              if n.startswith(".new-")], [])
            self.finish([worker])

    def test_what_cannot_be_compacted_is_said(self):
        with self.cluster("--full_every", "9") as c:
            worker = self.train(c, 0)
            whole = self.save(c)
            last = self.save(c)
            self.finish([worker])
            words = [c.bin, "compact", self.place]
            for name, status, why in ((whole["folder"], 2, "whole already"),
                                      ("nothing", 1, last["folder"])):
                done = subprocess.run([*words, name], stderr=subprocess.PIPE,
                                      timeout=60, check=False, text=True)
                self.assertEqual(done.returncode, status, done)
                self.assertIn(why, done.stderr)
            file = next(n for n in sorted(os.listdir(os.path.join(
                self.place, whole["folder"]))) if n.count(".") == 1 and
                n.endswith(".safetensors"))
            with open(os.path.join(self.place, whole["folder"], file),
                      "r+b") as f:
                f.seek(-1, os.SEEK_END)
                byte = f.read(1)
                f.seek(-1, os.SEEK_END)
                f.write(bytes([byte[0] ^ 1]))
            done = subprocess.run(words, stderr=subprocess.PIPE, timeout=60,
                                  check=False, text=True)
            self.assertEqual(done.returncode, 1, done)
            self.assertIn(f"{whole['folder']}: {file}", done.stderr)
            self.assertEqual(self.folders(),
                             [whole["folder"], last["folder"]])

    def test_without_its_base_the_next_one_is_whole(self):
        with self.cluster("--full_every", "9") as c:
            worker = self.train(c, 0)
            said = self.save(c)
            os.rename(os.path.join(self.place, said["folder"]),
                      os.path.join(self.place, "elsewhere"))
            said = self.save(c)
            self.assertEqual(self.base(said), 0)
            self.check(c, said, [0])
            self.finish([worker])

    def test_another_cluster_begins_with_a_chain(self):
        with self.cluster("--full_every", "4") as c:
            worker = self.train(c, 0)
            for _ in range(2):
                self.save(c)
            told = self.finish([worker])
            said = self.save(c)
            self.assertNotEqual(self.base(said), 0)
        with self.cluster("--full_every", "4", servers=3, shards=1) as c:
            said = self.save(c)
            self.assertEqual(self.base(said), 0)
            self.assertEqual(self.read(said).rows("train"),
                             pushed({0: told[0]["steps"]}))
            said = self.save(c)
            self.assertEqual(said["rows"], 0)

    def test_a_server_that_died_comes_back_from_a_chain(self):
        with self.cluster("--full_every", "4") as c:
            worker = self.train(c, 0)
            for _ in range(2):
                self.save(c)
            told = self.finish([worker])
            said = self.save(c)
            self.assertNotEqual(self.base(said), 0)
            c.servers[0].kill()
            c.servers[0].wait()
            c.start_server(0)
            c.wait_serving()
            said = self.save(c)
            self.assertEqual(self.base(said), 0)
            self.assertEqual(self.read(said).rows("train"),
                             pushed({0: told[0]["steps"]}))


if __name__ == "__main__":
    unittest.main()
