"""A part goes from one live shard to another while workers push and push again
what is lost: the rows are the sum of all pushes, to the bit, whoever dies
meanwhile. See probe_replay.c."""

import json
import re
import subprocess

import cluster
from cluster import server_of
from test_checkpoint import Saved

WORKERS = 2
KEYS = 256
PLACES = ("0.0", "0.1", "1.0", "1.1")


class Move(Saved):
    deadline = 120

    def begin(self):
        self.c = self.cluster()
        self.addCleanup(self.c.close)
        self.workers = [self.c.probe("replay", i, WORKERS, KEYS, "again",
                                     name=f"worker-{i}")
                        for i in range(WORKERS)]
        for worker in self.workers:
            worker.line()
        self.push_on()

    def pushes(self):
        return [self.order(w, "where")["pushes"] for w in self.workers]

    def push_on(self):
        """Each of them pushes some more."""
        before = self.pushes()
        cluster.wait_for("the workers push", lambda: all(
            b >= a + 50 for a, b in zip(before, self.pushes())), 60)

    def command(self, *words):
        return [self.c.bin, "move", "-sp", self.c.kv, "--json", *words]

    def move(self, *words, status=0, seconds=60):
        done = subprocess.run(self.command(*words), timeout=seconds,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              check=False)
        self.assertEqual(done.returncode, status, done)
        self.said = done.stderr.decode()
        return json.loads(done.stdout) if done.stdout else None

    def end(self):
        self.push_on()
        for worker in self.workers:
            worker.finish()
        ends = [worker.line(60) for worker in self.workers]
        for worker in self.workers:
            self.assertEqual(worker.wait(), 0, worker.text())
        print(f"    {[e['pushes'] for e in ends]} pushes, "
              f"{[e['lost_rows'] for e in ends]} rows of them were lost",
              flush=True)
        for end in ends:
            self.assertEqual(end["wrong"], 0)
        rows = self.c.ask("dump", "replay", KEYS, WORKERS)["rows"]
        self.assertEqual(rows, [list(sums) for sums in
                                zip(*(e["wanted"] for e in ends))])
        return ends

    def test_parts_go_round_while_workers_push(self):
        self.begin()
        for place in (*PLACES, PLACES[0]):
            for bucket in ("0", "65535"):
                said = self.move("replay", bucket, "--to", place)
                self.assertEqual(said["state"], "moved")
            self.push_on()
        for end in self.end():
            self.assertEqual(end["lost_rows"], 0)

    def kill_in_the_middle(self, server, keeps_lanes_of):
        """Server `server` is killed when a move from 0 to 1 has begun."""
        self.begin()
        self.move("replay", "0", "--to", "0.0")
        before = cluster.lanes_of(self.c.status(), keeps_lanes_of)
        child = subprocess.Popen(
            self.command("replay", "0", "--to", "1.0"), stdout=subprocess.PIPE,
            stderr=subprocess.PIPE)
        cluster.wait_for("the move has begun", lambda: re.search(
            "moves .* to server 1 shard 0", self.c.scheduler.text()))
        self.c.servers[server].kill()
        self.c.start_server(server)
        out, _ = child.communicate(timeout=60)
        self.assertIn(json.loads(out)["state"], ("moved", "failed"))
        self.c.wait_status("the server is back", lambda s:
                           server_of(s, server)["emptied"] == 1 and
                           self.c.is_serving(s))
        self.assertEqual(cluster.lanes_of(self.c.status(), keeps_lanes_of),
                         before)
        self.end()

    def test_the_server_that_has_it_is_killed(self):
        self.kill_in_the_middle(0, keeps_lanes_of=1)

    def test_the_server_that_is_to_get_it_is_killed(self):
        self.kill_in_the_middle(1, keeps_lanes_of=0)

    def test_what_cannot_be_is_refused_by_name(self):
        self.begin()
        self.move("nobody", "0", "--to", "1.0", status=1)
        self.assertIn('no variable is named "nobody"', self.said)
        self.move("replay", "0", "--to", "7.0", status=1)
        self.assertIn('"replay" bucket 0 cannot move to server 7 shard 0: no '
                      'such shard', self.said)
        self.move("replay", "65536", "--to", "1.0", status=2)
        self.assertIn("no bucket", self.said)
        self.move("replay", "0", "--to", "1", status=2)
        self.assertIn("SERVER.SHARD", self.said)
        self.move("replay", "--to", "1.0", status=2)
        self.assertIn("BUCKET", self.said)
        self.end()
