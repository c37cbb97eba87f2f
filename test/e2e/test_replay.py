"""What a dead server lost is pushed again by the recipe of psplus.h, struct
ps_loss, and that alone: the rows are the sum of all pushes, to the bit. A worker
that accepts its losses finds the rows without them, to the bit."""

import signal

import cluster
from test_checkpoint import Saved

WORKERS = 3  # the last one accepts what is lost
KEYS = 400
SERVERS = 2


class Replay(Saved):

    deadline = 120

    def pushes(self, worker):
        return self.order(worker, "where")["pushes"]

    def run_death(self, saves):
        c = self.cluster(servers=SERVERS)
        self.addCleanup(c.close)
        workers = [c.probe("replay", i, WORKERS, KEYS,
                           "accept" if i == WORKERS - 1 else "again",
                           name=f"worker-{i}") for i in range(WORKERS)]
        for worker in workers:
            worker.line()
        self.push_on(workers)
        if saves:
            self.save(c)
            self.push_on(workers)
        c.servers[1].signal(signal.SIGKILL)
        c.servers[1].kill()
        c.start_server(1)
        c.wait_status("server 1 is back", lambda status:
                      c.is_serving(status) and 1 == sum(
                          s["emptied"] for s in status["servers"]))
        self.push_on(workers)
        for worker in workers:
            worker.finish()
        ends = [worker.line(60) for worker in workers]
        for worker in workers:
            self.assertEqual(worker.wait(), 0, worker.text())
        print(f"    {[e['pushes'] for e in ends]} pushes, "
              f"{[e['lost_rows'] for e in ends]} rows of them were lost",
              flush=True)
        for end in ends:
            self.assertEqual(end["wrong"], 0)
            self.assertGreater(end["lost_rows"], 0)
        # Once more when all have left: nothing has come since.
        rows = c.ask("dump", "replay", KEYS, WORKERS)["rows"]
        self.assertEqual(rows, [list(sums) for sums in
                                zip(*(e["wanted"] for e in ends))])
        return ends

    def push_on(self, workers):
        """Each of them pushes some more."""
        before = [self.pushes(worker) for worker in workers]
        for worker, n in zip(workers, before):
            cluster.wait_for("more pushes", lambda w=worker, n=n:
                             self.pushes(w) >= n + 100, 40)

    def test_all_that_a_server_had_is_pushed_again(self):
        self.run_death(saves=False)

    def test_what_a_checkpoint_has_is_not_pushed_again(self):
        self.run_death(saves=True)
