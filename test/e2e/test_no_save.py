"""A variable that checkpoints leave out: declared and pushed as any other, it
has initial values wherever a checkpoint is loaded, while the others come back to
the bit. Who pushed it is told of all that a dead server had of it. A part that
moves between live shards takes its rows along."""

import json
import os
import subprocess

import cluster
import test_move
import test_recovery
import test_replay
from test_checkpoint import numbers, tensors
from test_recovery import content

NAME = "left/out"
ROWS = 600
DIM = 3
INITIAL = [0] * DIM
FILLED = [[key + d for d in range(DIM)] for key in range(ROWS)]


class NoSave(test_recovery.Recovery):
    deadline = 120

    def setUp(self):
        super().setUp()
        os.environ["PS_PROBE_NO_SAVE"] = NAME
        self.addCleanup(os.environ.pop, "PS_PROBE_NO_SAVE", None)

    def fill(self, c, name=NAME):
        c.ask("fill", name, ROWS, DIM)

    def rows(self, c, name=NAME):
        return c.ask("dump", name, ROWS, DIM)["rows"]

    def compare(self, a, b):
        test_recovery.Again.compare(self, a, b)

    def check_left_out(self, c, said):
        """Its rows, by variable and key; it is listed, and that is all."""
        folder = os.path.join(self.place, said["folder"])
        with open(os.path.join(folder, "manifest.json"),
                  encoding="utf-8") as file:
            manifest = json.load(file)
        listed = [v for v in manifest["variables"] if v["name"] == NAME]
        self.assertEqual([v["no_save"] for v in listed], [1])
        self.assertNotIn(listed[0]["id"],
                         [p["variable"] for p in manifest["parts"]])
        for name in os.listdir(folder):
            path = os.path.join(folder, name)
            if name.endswith(".safetensors"):
                self.assertEqual([t for t in tensors(path) if NAME in t], [])
            elif name != "manifest.json":
                with open(path, "rb") as file:
                    self.assertNotIn(NAME.encode(), file.read(), name)
        found = content(self.place, said["folder"])
        self.assertEqual(said["rows"], sum(map(len, found.values())))
        done = subprocess.run(
            [c.bin, "inspect", self.place, said["folder"], "--json"],
            stdout=subprocess.PIPE, timeout=60, check=True)
        shown = [v for v in json.loads(done.stdout)["variables"]
                 if v["name"] == NAME]
        self.assertEqual([(v["rows"], v["parts"]) for v in shown], [(0, 0)])
        self.verify(c, said)
        return found

    def test_others_come_back_and_it_begins_anew(self):
        with self.cluster() as c:
            test_recovery.Again.fill(self, c)  # a model with slots, too
            self.fill(c)
            monday = self.save(c, "monday")
            told = self.check_left_out(c, monday)
            self.assertIn("train", told)
            self.assertEqual(self.rows(c), FILLED)
            c.ask("fill", "train", 50, 2)
            self.restore(c, "monday")
            self.assertEqual(self.rows(c), [INITIAL] * ROWS)
            tuesday = self.save(c, "tuesday")
            self.compare(told, self.check_left_out(c, tuesday))
            self.fill(c)
            self.assertEqual(self.rows(c), FILLED)
            self.new_store(c)
            self.start_all(c)
            self.assertIn(NAME, [v["name"] for v in c.status()["variables"]])
            self.assertEqual(self.rows(c), [INITIAL] * ROWS)
            self.compare(told, self.check_left_out(c, self.save(c)))

    def test_an_increment_leaves_it_out(self):
        with self.cluster("--full_every", "3") as c:
            self.fill(c, "kept")
            self.fill(c)
            self.save(c)
            self.fill(c)
            said = self.save(c)
            self.assertNotEqual(self.read(said).manifest["base"], 0)
            self.assertEqual(self.check_left_out(c, said), {"kept": {}})

    def test_of_a_server_that_dies_its_rows_are_gone(self):
        with self.cluster() as c:
            self.fill(c, "kept")
            self.fill(c)
            kept = self.rows(c, "kept")
            said = self.save(c)
            gone = set()  # of both, which are spread alike
            for lane in cluster.lanes_of(c.status(), 1):
                for name, tensor in tensors(os.path.join(
                        self.place, said["folder"],
                        f"lane-{lane}.safetensors")).items():
                    if name.endswith("/keys"):
                        gone.update(numbers(tensor))
            self.assertTrue(ROWS / 4 < len(gone) < ROWS * 3 / 4, len(gone))
            c.servers[1].kill()
            c.start_server(1)
            c.wait_status("it is back", lambda s: c.is_serving(s) and
                          cluster.server_of(s, 1)["emptied"] == 1)
            self.assertEqual(self.rows(c, "kept"), kept)
            self.assertEqual(self.rows(c),
                             [INITIAL if key in gone else FILLED[key]
                              for key in range(ROWS)])

    def test_a_part_that_moves_takes_its_rows_along(self):
        with self.cluster() as c:
            self.c = c
            self.fill(c)
            for place in test_move.PLACES:
                self.move(NAME, "0", "--to", place)
                self.assertEqual(self.rows(c), FILLED)
            self.check_left_out(c, self.save(c))
            self.assertEqual(self.rows(c), FILLED)

    def test_all_that_a_dead_server_had_of_it_is_told_and_pushed_again(self):
        os.environ["PS_PROBE_NO_SAVE"] = "replay"
        self.run_death(saves=True)

    command = test_move.Move.command
    move = test_move.Move.move
    pushes = test_replay.Replay.pushes
    push_on = test_replay.Replay.push_on
    run_death = test_replay.Replay.run_death


if __name__ == "__main__":
    import unittest
    unittest.main()
