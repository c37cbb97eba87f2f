"""--on-failure consistent: when a server dies, all go back to one cut.

The workers of probe_train.c go on from the position that they are given, so
whatever dies, the rows are at each save exactly those of their steps.
"""

import signal
import subprocess

import cluster
from test_recovery import Recovery

WORKERS = 3
CONSISTENT = ("--on-failure", "consistent")


class Consistent(Recovery):

    deadline = 120

    def begin(self, c):
        return [self.train(c, i) for i in range(WORKERS)]

    def told(self, workers, what):
        return [self.order(w, "where")[what] for w in workers]

    def wait_rollbacks(self, workers, n):
        for w in workers:
            cluster.wait_for("the worker has gone back", lambda w=w: self.order(
                w, "where")["rollbacks"] >= n, 40)

    def wait_pushes(self, workers):
        before = self.told(workers, "acked")
        for w, acked in zip(workers, before):
            cluster.wait_for("more is pushed", lambda w=w, acked=acked:
                             self.order(w, "where")["acked"] > acked + 100, 40)

    def kill(self, c, *servers):
        for i in servers:
            c.servers[i].signal(signal.SIGKILL)
        for i in servers:
            c.servers[i].kill()
            c.start_server(i)

    def test_a_death_takes_all_back_to_the_newest_checkpoint(self):
        with self.cluster(*CONSISTENT) as c:
            workers = self.begin(c)
            self.save(c, "older")
            self.wait_pushes(workers)
            self.check(c, self.save(c, "newer"), range(WORKERS))
            self.wait_pushes(workers)
            self.kill(c, 1)
            self.wait_rollbacks(workers, 1)
            c.wait_serving()
            self.assertIn("the whole cluster goes back", c.scheduler.text())
            self.check(c, self.save(c), range(WORKERS))
            # Two at once are one way back.
            self.wait_pushes(workers)
            self.kill(c, 0, 1)
            self.wait_rollbacks(workers, 2)
            c.wait_serving()
            self.wait_pushes(workers)
            saved = self.check(c, self.save(c), range(WORKERS))
            self.assertEqual(saved.manifest["restore"], 2)
            told = self.finish(workers)
            self.assertEqual([a["rollbacks"] for a in told], [2] * WORKERS)
            self.assertEqual([a["losses"] for a in told], [0] * WORKERS)
            print(f"    {sum(a['steps'] for a in told)} steps, positions "
                  f"{saved.positions()}", flush=True)

    def test_without_a_checkpoint_it_accepts_what_is_lost(self):
        with self.cluster(*CONSISTENT) as c:
            workers = self.begin(c)
            self.kill(c, 1)
            c.wait_serving()
            self.wait_pushes(workers)
            self.assertIn("there is no checkpoint yet", c.scheduler.text())
            told = self.finish(workers)
            self.assertEqual([a["rollbacks"] for a in told], [0] * WORKERS)
            self.assertGreater(sum(a["losses"] for a in told), 0)

    def test_it_wants_a_place_for_checkpoints(self):
        ps_plus = cluster.program("PS_PLUS_BIN")
        for words in (["-r", "scheduler", "-sp", "/nowhere/x", "-sn", "1"],
                      ["local"]):
            for how, told in (("consistent", "-cp"), ("never", "accept")):
                done = subprocess.run(
                    [ps_plus, *words, "--on-failure", how],
                    stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                    timeout=20, check=False)
                said = done.stderr.decode()
                self.assertEqual(done.returncode, 2, said)
                self.assertIn("--on-failure", said)
                self.assertIn(told, said)
