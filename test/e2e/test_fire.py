"""Every push applied once while processes die and stand still.

Workers and servers of a cluster are killed and started again, in rounds drawn
from a seed; proxies do harm to the frames between the living, each in a way of
its own that is drawn anew for each round. What a worker was
told it has written to a journal, which outlives it (probe_fire.c);
probe_judge.c compares all journals with the rows.
"""

import collections
import os
import random
import time

import cluster
import proxy
import relay
from cluster import lanes_of, server_of

SERVERS = 3
SHARDS = 2
WORKERS = 4
KEYS = 256
FAULTS = ("drop_acknowledgements", "cut_frames", "reset", "stall",
          "send_bytes", "flip_header", "flip_body")
SHARE = 0.005  # of the frames
SOME = 20000  # bytes of a journal: about a hundred pushes


class Life:
    """One worker from its start to its end."""

    def __init__(self, worker, process, journal):
        self.worker = worker
        self.process = process
        self.journal = journal
        self.ended = None  # on the clock of the test

    def size(self):
        try:
            return os.path.getsize(self.journal)
        except FileNotFoundError:
            return 0


class Fire(cluster.CountTest):
    deadline = 120

    def setUp(self):
        seed = int(os.environ.get("PS_TEST_SEED") or time.time())
        print(f"    PS_TEST_SEED={seed}", flush=True)
        self.dice = random.Random(seed)
        self.clock = 0  # orders the deaths
        self.kills = {"worker": 0, "server": 0}
        self.deaths = [0] * SERVERS  # when each server died last
        self.relays = []
        options = []
        for i in range(SERVERS):
            relays = relay.relays(seed + 10 * i, SHARDS, proxy.Proxy)
            options.append(relays[0].server_options())
            self.relays += relays
        for r in self.relays:
            self.addCleanup(r.close)
        self.c = cluster.Cluster(servers=SERVERS, shards=SHARDS,
                                 server_options=options)
        self.addCleanup(self.c.close)
        self.homes = os.path.join(self.c.folder, "homes")
        self.c.ask("homes", WORKERS, KEYS, self.homes)
        self.do_harm()
        self.past = []
        self.lives = [self.start_worker(i) for i in range(WORKERS)]
        self.wait_pushes()

    def do_harm(self):
        for r in self.relays:
            r.begin(getattr(r, self.dice.choice(FAULTS)), SHARE)

    def tick(self):
        self.clock += 1
        return self.clock

    def start_worker(self, i):
        n = sum(life.worker == i for life in self.past)
        journal = os.path.join(self.c.folder, f"journal-{i}-{n}")
        process = self.c.probe("fire", i, WORKERS, KEYS,
                               self.dice.randrange(1 << 30), journal,
                               name=f"worker-{i}-{n}")
        return Life(i, process, journal)

    def check_runs(self, process):
        self.assertIsNone(process.child.poll(), process.name + " has ended: " +
                          process.text()[-500:])

    def kill_worker(self, i):
        life = self.lives[i]
        self.check_runs(life.process)
        life.process.kill()
        life.ended = self.tick()
        self.past.append(life)
        self.lives[i] = self.start_worker(i)
        self.kills["worker"] += 1

    def kill_server(self, i):
        self.check_runs(self.c.servers[i])
        self.deaths[i] = self.tick()
        self.c.servers[i].kill()
        self.kills["server"] += 1

    def wait_pushes(self, which=range(WORKERS)):
        """Until each of these workers has pushed, and heard, some more."""
        before = [life.size() for life in self.lives]
        lives = list(self.lives)

        def all_have():
            for life in lives:
                self.check_runs(life.process)
            return all(lives[i].size() >= before[i] + SOME for i in which)
        cluster.wait_for("the workers push", all_have, 40)

    def end(self):
        """The workers come to their end, and the rows are compared."""
        self.c.wait_serving()
        for r in self.relays:
            r.end()
        harm = sum((r.counts for r in self.relays), collections.Counter())
        self.assertGreater(sum(harm.values()), 10)
        for life in self.lives:
            life.process.finish()
        for life in self.lives:
            self.assertEqual(life.process.wait(60), 0, life.process.text())
            life.ended = self.tick()
        status = self.c.wait_serving()
        lanes = [str(lane) for i in range(SERVERS)
                 for lane in lanes_of(status, i)]
        self.assertEqual(len(lanes), SERVERS * self.c.shards)
        said = self.c.ask(
            "judge", WORKERS, KEYS, self.homes, ",".join(lanes),
            *(":".join([str(life.worker), life.journal] +
                       [str(i) for i in range(SERVERS)
                        if self.deaths[i] > life.ended])
              for life in self.past + self.lives
              if os.path.exists(life.journal)))  # else killed at its start
        print(f"    {self.kills['worker']} workers and {self.kills['server']} "
              f"servers killed, {dict(harm)}; {said['acked']} frames "
              f"acknowledged, {said['lost']} lost ({said['heard']} heard of), "
              f"{said['refused']} refused, {said['open']} items open "
              f"({said['open_applied']} frames of them applied)", flush=True)
        self.assertEqual(said["wrong"], [])
        for bad in ("cells_wrong", "deaf", "false_losses", "unheard_of",
                    "twice", "no_entry", "torn"):
            self.assertEqual(said[bad], 0, f"{bad}: {said}")
        return said, status

    def round_of_kills(self, n_workers):
        """One server or two; workers before, while these are away, and while
        they come back."""
        self.do_harm()
        servers = self.dice.sample(range(SERVERS), self.dice.choice([1, 1, 2]))
        before = self.c.status()
        when = [self.dice.choice(["before", "away", "back"])
                for _ in range(n_workers)]

        def kill_workers(moment):
            for moment_of in when:
                if moment_of == moment:
                    self.kill_worker(self.dice.randrange(WORKERS))
                    time.sleep(self.dice.uniform(0, 0.1))
        kill_workers("before")
        for i in servers:
            self.kill_server(i)
        kill_workers("away")
        for i in servers:
            self.c.start_server(i)
        kill_workers("back")
        self.c.wait_status("the servers are back", lambda s:
                           self.c.is_serving(s) and all(
                               server_of(s, i)["emptied"] >
                               server_of(before, i)["emptied"]
                               for i in servers))

    def test_kills_of_workers_and_servers(self):
        # Of one round alone all may be killed who would have heard of a loss.
        wanted = (500 if cluster.is_deep() else 10 if cluster.is_short()
                  else 50)
        while sum(self.kills.values()) < wanted:
            self.round_of_kills(self.dice.randint(4, 6))
            self.wait_pushes()
        said, _ = self.end()
        self.assertGreater(self.kills["server"], wanted // 10)
        self.assertGreater(self.kills["worker"], wanted // 2)
        self.assertGreater(said["acked"], 50 * wanted)
        if not cluster.is_short():
            self.assertGreater(said["heard"], 0)
        self.assertGreater(said["open"], 0)

    test_kills_of_workers_and_servers.deadline = (
        3600 if cluster.is_deep() else 150)

    def pause(self, pauses):
        """All of these at once, each for its seconds."""
        self.do_harm()
        begin = time.monotonic()
        for process, _ in pauses:
            self.check_runs(process)
            process.pause()
        for process, seconds in sorted(pauses, key=lambda both: both[1]):
            time.sleep(max(begin + seconds - time.monotonic(), 0))
            process.go_on()
        self.c.wait_serving()
        self.wait_pushes()

    def draw_pauses(self):
        who = ([self.c.scheduler] + self.c.servers +
               [life.process for life in self.lives])
        for process in self.dice.sample(who, self.dice.randint(1, 4)):
            least, most = self.dice.choice([(0.1, 1), (1, 4), (4, 20)])
            yield process, self.dice.uniform(least, most)

    def test_pauses(self):
        workers = [life.process for life in self.lives]
        self.pause([(workers[0], 0.1), (self.c.servers[0], 0.5),
                    (self.c.scheduler, 1)])
        self.pause([(self.c.servers[1], 1), (self.c.scheduler, 5),
                    (workers[1], 5), (workers[2], 2)])
        before = self.c.status()
        self.pause([(self.c.servers[2], 2 * cluster.LEASE_S),
                    (workers[3], 0.3)])
        status = self.c.wait_status("it is back with new lanes", lambda s:
                                    server_of(s, 2)["emptied"] == 1 and
                                    self.c.is_serving(s))
        self.assertEqual(set(lanes_of(status, 2)) & set(lanes_of(before, 2)),
                         set())
        for i in (0, 1):
            self.assertEqual(lanes_of(status, i), lanes_of(before, i))
            self.assertEqual(server_of(status, i)["emptied"], 0)
        self.wait_pushes()
        self.pause([(self.c.servers[0], 20), (workers[0], 20)])
        self.assertEqual(server_of(self.c.status(), 0)["emptied"], 1)
        if cluster.is_deep():
            for _ in range(30):
                self.pause(list(self.draw_pauses()))
        said, _ = self.end()
        self.assertEqual(said["heard"], said["lost"])
        self.assertGreater(said["heard"], 0)
        self.assertEqual(said["open"], 0)

    test_pauses.deadline = 1200 if cluster.is_deep() else 120


if __name__ == "__main__":
    import unittest
    unittest.main()
