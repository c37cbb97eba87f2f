"""Idle processes are idle."""

import time
import unittest

import cluster

IDLE_S = 10
IDLE_SHARE = 0.01  # of a core


class Quiet(unittest.TestCase):
    def test_idle_processes_use_less_than_one_percent_of_a_core(self):
        with cluster.Cluster() as c:
            idle = c.probe("idle")
            idle.line()
            c.wait_serving()
            processes = [c.scheduler, *c.servers, idle]
            # Spins after the last request are over in a moment.
            time.sleep(0.5)
            before = [p.cpu_s() for p in processes]
            time.sleep(IDLE_S)
            shares = {p.name: (p.cpu_s() - b) / IDLE_S
                      for p, b in zip(processes, before)}
            print("    " + ", ".join(f"{name} {share * 100:.2f} %"
                                     for name, share in shares.items()),
                  flush=True)
            for name, share in shares.items():
                self.assertLess(share, IDLE_SHARE, name)
            idle.finish()
            self.assertEqual(idle.wait(), 0)


if __name__ == "__main__":
    unittest.main()
