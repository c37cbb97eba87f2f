"""The quality bar of test_frappe.py while servers die under the training. At
durability `log` each comes back with all that it had acknowledged: the rows say
just as many pushes as the workers do. At `memory` it comes back with the newest
checkpoint, and what that does not have is lost."""

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
    kills = 100 if cluster.is_deep() else 10

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

    def train(self, c, durability):
        """The results of both workers; servers die at as many places of the
        training, evenly."""
        tallies = [training.Tally(os.path.join(c.folder, "tally"), i)
                   for i in range(WORKERS)]
        workers = [c.start(
            f"worker-{i}", [cluster.program("PS_CTR_BIN"), "--json", "--quiet",
                            "--tally", os.path.join(c.folder, "tally"),
                            "--durability", durability, "--count",
                            *test_frappe.FM, *self.data],
            env={"PS_WORKER_ID": str(i), "PS_WORKER_NUM": str(WORKERS)},
            lines=True) for i in range(WORKERS)]
        for kill in range(1, self.kills + 1):
            def is_due(at=kill * STEPS * WORKERS // (self.kills + 1)):
                self.save(c)
                for worker in workers:  # one may be ahead and done
                    self.assertIn(worker.child.poll(), (None, 0),
                                  worker.text())
                return sum(t.steps() for t in tallies) >= at
            cluster.wait_for(f"it is time for kill {kill}", is_due, 120, 0.01)
            i = self.dice.randrange(len(c.servers))
            c.servers[i].signal(signal.SIGKILL)
            c.servers[i].kill()
            c.start_server(i)
            c.wait_status(f"server {i} is back", lambda status, n=kill:
                          c.is_serving(status) and n == sum(
                              s["emptied"] for s in status["servers"]))
        results = [worker.line(120) for worker in workers]
        for worker in workers:
            self.assertEqual(worker.wait(), 0)
        return results

    def run_deaths(self, durability):
        logs = [["--log_path", os.path.join(self.place, f"log-{i}")]
                for i in range(2)]
        with cluster.Cluster(servers=2, shards=2, server_options=logs,
                             scheduler_options=[
                                 "-cp", os.path.join(self.place, "cp")]) as c:
            results = self.train(c, durability)
        auc = results[0]["test_auc"]
        self.lost = sum(r["frames_lost"] for r in results)
        self.dropped = sum(r["pushes_dropped"] for r in results)
        acked = sum(r["frames_acked"] for r in results)
        counted = [r["counted"] for r in results]
        print(f"    {durability}: {self.kills} kills, {self.saves} saves: test "
              f"AUC {auc:.4f} (bar {test_frappe.FM_AUC}) in "
              f"{results[0]['seconds']:.1f} s; of {acked} frames {self.lost} "
              f"were lost and told, {self.dropped} pushes dropped; "
              f"{[r['steps'] for r in results]} steps, counted {counted}",
              flush=True)
        self.assertGreaterEqual(auc, test_frappe.FM_AUC)
        self.assertGreater(self.saves, 0)
        return results

    def test_fm_meets_the_bar_and_no_push_is_lost_at_log(self):
        for r in self.run_deaths("log"):
            self.assertEqual(r["steps"], STEPS)
            self.assertEqual(r["counted"], [STEPS, STEPS])
        self.assertEqual((self.lost, self.dropped), (0, 0))

    if cluster.is_deep():
        def test_fm_meets_the_bar_with_losses_at_memory(self):
            for r in self.run_deaths("memory"):
                self.assertLessEqual(r["counted"][1], r["steps"])
            self.assertGreater(self.lost, 0)


if __name__ == "__main__":
    unittest.main()
