"""The quality bar of test_frappe.py while servers die under the training: each
comes back with the newest checkpoint, and what that does not have is lost."""

import os
import random
import signal
import subprocess
import time
import unittest

import cluster
import test_frappe
import training

EPOCHS = 20
STEPS = EPOCHS * test_frappe.STEPS_OF_EPOCH
SAVE_S = 0.5
WORKERS = 2


class Deaths(unittest.TestCase):

    deadline = 1800 if cluster.is_deep() else 300

    @classmethod
    def setUpClass(cls):
        test_frappe.Frappe.setUpClass.__func__(cls)

    @classmethod
    def tearDownClass(cls):
        cluster.remove_folder(cls.folder)

    def setUp(self):
        self.place = cluster.make_folder()
        seed = int(os.environ.get("PS_TEST_SEED") or time.time())
        print(f"    PS_TEST_SEED={seed}", flush=True)
        self.dice = random.Random(seed)
        self.saves = 0
        self.saved_at = 0.0

    def tearDown(self):
        cluster.remove_folder(self.place)

    def save(self, c):
        """Now and then; one that a death ends in the middle fails."""
        if time.monotonic() < self.saved_at + SAVE_S:
            return
        done = subprocess.run([c.bin, "save", "-sp", c.kv],
                              stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL, timeout=60,
                              check=False)
        self.saves += done.returncode == 0
        self.saved_at = time.monotonic()

    def train(self, c, tallies, kills):
        """The results of both workers; servers die at `kills` places of the
        training, evenly."""
        workers = [c.start(
            f"worker-{i}", [cluster.program("PS_CTR_BIN"), "--json", "--quiet",
                            "--tally", os.path.join(c.folder, "tally"),
                            *test_frappe.FM, *self.data],
            env={"PS_WORKER_ID": str(i), "PS_WORKER_NUM": str(WORKERS)},
            lines=True) for i in range(WORKERS)]
        for kill in range(1, kills + 1):
            def is_due(at=kill * STEPS // (kills + 1)):
                self.save(c)
                for worker in workers:
                    self.assertIsNone(worker.child.poll(), worker.text())
                return min(t.steps() for t in tallies) >= at
            cluster.wait_for(f"it is time for kill {kill}", is_due, 120, 0.01)
            i = self.dice.randrange(len(c.servers))
            c.servers[i].signal(signal.SIGKILL)
            c.servers[i].kill()
            c.start_server(i)
        results = [worker.line(120) for worker in workers]
        for worker in workers:
            self.assertEqual(worker.wait(), 0)
        return results

    def test_fm_meets_the_bar_while_servers_die(self):
        kills = 100 if cluster.is_deep() else 10
        with cluster.Cluster(servers=2, shards=2,
                             scheduler_options=["-cp", self.place]) as c:
            tallies = [training.Tally(os.path.join(c.folder, "tally"), i)
                       for i in range(WORKERS)]
            results = self.train(c, tallies, kills)
            status = c.status()
        auc = results[0]["test_auc"]
        lost = sum(r["frames_lost"] for r in results)
        dropped = sum(r["pushes_dropped"] for r in results)
        acked = sum(r["frames_acked"] for r in results)
        emptied = sum(s["emptied"] for s in status["servers"])
        print(f"    {kills} kills, {self.saves} saves: test AUC {auc:.4f} (bar "
              f"{test_frappe.FM_AUC}) in {results[0]['seconds']:.1f} s; of "
              f"{acked} frames {lost} were lost and told, {dropped} pushes "
              "dropped", flush=True)
        self.assertGreaterEqual(auc, test_frappe.FM_AUC)
        self.assertGreaterEqual(emptied, kills)
        self.assertGreater(self.saves, 0)


if __name__ == "__main__":
    unittest.main()
