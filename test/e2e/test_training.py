"""The main job on generated data, whose best possible AUC is known: what
test_frappe.py shows where the real data is absent."""

import json
import os
import signal
import subprocess
import unittest

import cluster
import training

ROWS = 120000
STEPS_OF_EPOCH = 235  # of one of two workers: 60,000 rows by 256
FM = ["--model", "fm", "--k", "4", "--lr", "0.1", "--batch", "256",
      "--epochs", "6"]


class Training(unittest.TestCase, training.Checks):
    deadline = 120

    @classmethod
    def setUpClass(cls):
        cls.folder = cluster.make_folder()
        cls.data = []
        paths = [os.path.join(cls.folder, f"{part}.libfm")
                 for part in ("train", "test")]
        done = subprocess.run(
            [cluster.program("PS_CTR_GEN_BIN"), "--rows", str(ROWS),
             "--test-rows", "20000", "--fields", "6", "--ids-per-field",
             "100", "--seed", "3", "--out-train", paths[0], "--out-test",
             paths[1], "--json"], stdout=subprocess.PIPE, check=True,
            timeout=60)
        cls.best = json.loads(done.stdout)["best_auc"]
        cls.data = ["--train", paths[0], "--test", paths[1], "--seed", "1"]
        cls.plain = training.run_plain(FM + cls.data)["test_auc"]

    @classmethod
    def tearDownClass(cls):
        cluster.remove_folder(cls.folder)

    def check_quality(self, auc):
        print(f"    AUC {auc:.4f}, on plain arrays {self.plain:.4f}, best "
              f"possible {self.best:.4f}", flush=True)
        self.assertGreaterEqual(auc, self.plain - 0.005)
        self.assertGreaterEqual(auc, self.best - 0.03)
        self.assertLessEqual(auc, self.best + 0.01)

    def test_a_cluster_learns_what_plain_arrays_learn(self):
        results, status = training.run_local(FM + self.data)
        self.check_quality(results[0]["test_auc"])
        self.check_counts(results, status, 6)

    def test_a_worker_killed_and_started_again_costs_no_quality(self):
        results, status, lives = training.run_with_a_kill(
            FM + self.data, kill_after=int(2.5 * STEPS_OF_EPOCH))
        self.check_quality(results[0]["test_auc"])
        self.assertEqual(results[1]["first_epoch"], 2)
        self.check_counts_with_a_kill(status, lives)

    def test_the_mark_of_a_worker_that_has_left_outlives_its_servers(self):
        logs = [["--log_path", os.path.join(self.folder, f"log-{i}")]
                for i in range(2)]
        with cluster.Cluster(servers=2, server_options=logs) as c:
            def start(i):
                return c.start(
                    f"worker-{i}", [cluster.program("PS_CTR_BIN"), "--json",
                                    "--quiet", "--meet", "5", "--epochs", "1",
                                    "--model", "lr", *self.data],
                    env={"PS_WORKER_ID": str(i), "PS_WORKER_NUM": "2"},
                    lines=True)

            worker = start(1)
            self.assertEqual(worker.wait(60), 0)
            for i in range(2):
                c.servers[i].signal(signal.SIGKILL)
                c.servers[i].kill()
                c.start_server(i)
                c.wait_status(f"server {i} is back", lambda status, n=i:
                              c.is_serving(status) and n + 1 == sum(
                                  s["emptied"] for s in status["servers"]))
            worker = start(0)
            self.assertEqual(worker.wait(60), 0, worker.text())


if __name__ == "__main__":
    unittest.main()
