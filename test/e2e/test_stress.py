"""Eight threads, three clients and all calls at once: probe_stress.c."""

import os
import time
import unittest

import cluster

MORE_S = 120  # until all that is under way is settled, and the rows are read


def seconds():
    if cluster.is_sanitized():
        return 600 if cluster.is_deep() else 60
    return 60 if cluster.is_deep() else 5


class Stress(unittest.TestCase):
    deadline = seconds() + 2 * MORE_S

    def test_eight_threads_do_everything_at_once(self):
        seed = int(os.environ.get("PS_TEST_SEED") or time.time() % 100000)
        print(f"    PS_TEST_SEED={seed}", flush=True)
        with cluster.Cluster() as c:
            probe = c.probe("stress", seconds(), seed)
            said = probe.line(seconds() + MORE_S)
            self.assertEqual(probe.wait(), 0, probe.text())
            print(f"    sum {said['sum']}, {said['acts']}, "
                  f"{said['canceled']} canceled", flush=True)
            self.assertEqual(said["wrong"], 0, said)
            self.assertGreater(said["hot"], 0)
            self.assertGreater(min(said["acts"].values()), 0)
            status = c.status()
            self.assertEqual([s["state"] for s in status["servers"]],
                             ["serving"] * 2)


if __name__ == "__main__":
    unittest.main()
