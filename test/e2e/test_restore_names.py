"""Variables of a checkpoint that come into a running cluster under other names,
while what it has stays and its worker trains on.
"""

import os
import shutil

import cluster
import test_recovery
from test_recovery import content

RENAMES = ["train=old", "user/=old/", "ctr.*=theirs.*"]


def renamed(name):
    if name == "train":
        return "old"
    if name.startswith("user/"):
        return "old/" + name.removeprefix("user/")
    if name.startswith("ctr."):
        return "theirs." + name.removeprefix("ctr.")
    return None


class Names(test_recovery.Recovery):
    deadline = 120

    def fill(self, c):
        """A worker's sums, a model with slots, and two that share a prefix."""
        test_recovery.Again.fill(self, c)
        c.ask("fill", "user/a", 3000, 4)
        c.ask("fill", "user/b", 700, 2)
        c.ask("fill", "left", 10, 2)

    def compare(self, a, b):
        test_recovery.Again.compare(self, a, b)

    def check_names(self, c, place, told, had, worker):
        """told: of the checkpoint; had: of the cluster, before it came."""
        self.finish([worker])
        found = content(place, self.save(c)["folder"])
        theirs = {renamed(name): rows for name, rows in told.items()
                  if renamed(name)}
        self.assertLessEqual({"old", "old/a", "old/b", "theirs.w"},
                             set(theirs))
        self.assertIn("slot/adagrad_accumulation",
                      next(iter(theirs["theirs.w"].values())))
        self.compare(theirs, {name: found.get(name) for name in theirs})
        others = {name for name in found if name not in theirs}
        self.assertEqual(others, set(had) | {"train"})
        self.compare({name: rows for name, rows in had.items()
                      if name != "train"},
                     {name: found[name] for name in had if name != "train"})
        # They are variables as any other: what is pushed is added.
        c.ask("fill", "old/a", 20, 4)
        self.assertEqual(c.ask("dump", "old/a", 21, 4)["rows"],
                         [[(2 if key < 20 else 1) * (key + d)
                           for d in range(4)] for key in range(21)])

    def bring(self, c, name, worker):
        self.restore(c, name, *RENAMES)
        self.train_on(worker)
        self.assertEqual(self.order(worker, "where")["rollbacks"], 0)
        # What is there now is in nobody's way.
        self.restore(c, name, *RENAMES, status=1)
        self.assertIn("old", self.said)
        self.train_on(worker)

    def train_on(self, worker):
        test_recovery.Back.train_on(self, worker)

    def test_from_its_own_checkpoint(self):
        with self.cluster() as c:
            self.fill(c)
            source = self.save(c, "source")
            told = content(self.place, source["folder"])
            c.ask("fill", "user/a", 50, 4)  # adds, after it was saved
            had = content(self.place, self.save(c)["folder"])
            self.assertNotEqual(had["user/a"], told["user/a"])
            worker = self.train(c, 1)
            self.bring(c, "source", worker)
            self.check_names(c, self.place, told, had, worker)

    def test_from_a_checkpoint_of_another_cluster(self):
        with self.cluster(servers=1, shards=3) as c:
            self.fill(c)
            source = self.save(c, "source")["folder"]
            told = content(self.place, source)
        place = cluster.make_folder()
        self.addCleanup(cluster.remove_folder, place)
        with cluster.Cluster(scheduler_options=["-cp", place]) as c:
            c.ask("fill", "user/a", 50, 4)
            had = content(place, self.save(c)["folder"])
            worker = self.train(c, 1)
            shutil.copytree(os.path.join(self.place, source),
                            os.path.join(place, source),
                            dirs_exist_ok=False)
            self.bring(c, "source", worker)
            self.check_names(c, place, told, had, worker)


if __name__ == "__main__":
    import unittest
    unittest.main()
