"""The quality bar on real data: Frappe, 2 servers x 2 shards, 2 workers."""

import lzma
import os
import shutil
import unittest

import cluster
import training

FM = ["--model", "fm", "--k", "10", "--lr", "0.1", "--sd", "0.01", "--batch",
      "256", "--epochs", "20"]
LR = ["--model", "lr", "--lr", "0.05", "--batch", "256", "--epochs", "10"]
FM_AUC = 0.968
LR_AUC = 0.933
NEAR = 0.002
STEPS_OF_EPOCH = 395  # of one of two workers: 101,013 rows by 256
SEED = "1"


class Frappe(unittest.TestCase, training.Checks):
    deadline = 240
    alone = True  # a server that lives through it keeps what it has

    @classmethod
    def setUpClass(cls):
        source = os.path.join(os.environ.get("PS_TEST_DATA", ""), "frappe")
        if not os.path.exists(os.path.join(source, "train.libfm.xz")):
            raise unittest.SkipTest(f"no Frappe data in {source}; "
                                    "PS_TEST_DATA names the folder above it")
        cls.folder = cluster.make_folder()
        cls.data = []
        for part in ("train", "test"):
            path = os.path.join(cls.folder, f"{part}.libfm")
            with lzma.open(os.path.join(source, f"{part}.libfm.xz")) as packed:
                with open(path, "wb") as unpacked:
                    shutil.copyfileobj(packed, unpacked)
            cls.data += [f"--{part}", path]
        cls.data += ["--seed", SEED]

    @classmethod
    def tearDownClass(cls):
        cluster.remove_folder(cls.folder)

    def check_lived(self, status):
        """No server's lease ended, on a machine with more to do than it can:
        the rows would have gone with its lanes, and that has another cause
        than what is asked here."""
        self.assertEqual([(s["state"], s["emptied"])
                          for s in status["servers"]], [("serving", 0)] * 2)

    def check_bar(self, options, bar, epochs):
        """Every run meets the bar. Two workers are a draw (deviation of the
        FM's AUC 0.0007 over 10 runs): where one run is not near the plain
        arrays, the mean of three is asked."""
        plain = training.run_plain(options + self.data)
        aucs = []
        is_near = False
        while not is_near and len(aucs) < 3:
            results, status = training.run_local(options + self.data)
            auc = results[0]["test_auc"]
            print(f"    seed {results[0]['seed']}: test AUC {auc:.4f} (bar "
                  f"{bar}) in {results[0]['seconds']:.1f} s; on plain arrays "
                  f"{plain['test_auc']:.4f} in {plain['seconds']:.1f} s; "
                  f"pushes applied {status['totals']['pushes_applied']}",
                  flush=True)
            self.check_lived(status)
            self.assertGreaterEqual(auc, bar)
            self.check_counts(results, status, epochs)
            aucs.append(auc)
            off = abs(sum(aucs) / len(aucs) - plain["test_auc"])
            is_near = off <= NEAR and len(aucs) in (1, 3)
        self.assertTrue(is_near, f"{aucs} are not near {plain['test_auc']}")

    def test_lr_meets_the_bar(self):
        self.check_bar(LR, LR_AUC, 10)

    def test_fm_meets_the_bar(self):
        self.check_bar(FM, FM_AUC, 20)

    def test_fm_meets_the_bar_with_a_worker_killed(self):
        results, status, lives = training.run_with_a_kill(
            FM + self.data, kill_after=int(7.5 * STEPS_OF_EPOCH))
        auc = results[0]["test_auc"]
        print(f"    seed {results[0]['seed']}: test AUC {auc:.4f} "
              f"(bar {FM_AUC}); {lives}; pushes applied "
              f"{status['totals']['pushes_applied']}", flush=True)
        self.check_lived(status)
        self.assertGreaterEqual(auc, FM_AUC)
        self.assertGreater(results[1]["first_epoch"], 0)
        self.check_counts_with_a_kill(status, lives)


if __name__ == "__main__":
    unittest.main()
