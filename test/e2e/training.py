"""Runs of the trainer of examples/ctr, for tests: as a user runs it, and with
a worker that is killed."""

import glob
import json
import os
import re
import signal
import subprocess

import cluster

SHARDS = 4  # 2 servers x 2

# Worker 0 ends last, so it shows the state of the cluster, which is still up.
WORKER = """
"$@" > "$OUT/result.$PS_WORKER_ID" || exit 1
if [ "$PS_WORKER_ID" = 0 ]; then
    "$PS_PLUS_BIN" status --json -sp "$PS_SCHEDULER_KV_PATH" > "$OUT/status"
fi
"""


def load(path):
    with open(path) as f:
        return json.load(f)


def run_plain(options, seconds=120):
    """The same trainer on plain arrays: its result."""
    done = subprocess.run(
        [cluster.program("PS_CTR_BIN"), "--plain", "--json", "--quiet",
         *options], stdout=subprocess.PIPE,
        timeout=cluster.patience(seconds), check=True)
    return json.loads(done.stdout)


def run_local(options, seconds=240):
    """ps-plus local, 2 servers x 2 shards, 2 workers: their results, and the
    state of the cluster after them."""
    folder = cluster.make_folder()
    try:
        local = cluster.Process(
            "local", [cluster.program("PS_PLUS_BIN"), "local", "--servers",
                      "2", "--shards", "2", "--workers", "2", "--", "sh", "-c",
                      WORKER, "worker", cluster.program("PS_CTR_BIN"),
                      "--json", "--quiet", *options], folder,
            env={"OUT": folder})
        status = local.wait(seconds)
        if status != 0:
            raise AssertionError(f"ps-plus local ended with {status}")
        return ([load(f"{folder}/result.{i}") for i in range(2)],
                load(f"{folder}/status"))
    finally:
        cluster.remove_folder(folder)


class Tally:
    """What ctr writes down after each push, and leaves when it is killed."""

    def __init__(self, prefix, worker):
        self.pattern = f"{prefix}.{worker}-*"

    def lives(self):
        """(steps, frames of steps, frames) acknowledged to each life."""
        out = []
        for path in glob.glob(self.pattern):
            with open(path) as f:
                numbers = re.findall(r"\d+", f.read())
            if len(numbers) == 3:
                out.append(tuple(map(int, numbers)))
        return out

    def steps(self):
        return sum(life[0] for life in self.lives())


def run_with_a_kill(options, kill_after, seconds=120):
    """Two workers on a cluster; worker 1 is killed after so many steps, and
    started again with the same command. Returns the results of both, the state
    of the cluster, and the tallies of all lives: (worker, tally)."""
    with cluster.Cluster(servers=2, shards=2) as c:
        prefix = os.path.join(c.folder, "tally")
        tallies = [Tally(prefix, i) for i in range(2)]

        def start(i):
            return c.start(
                f"worker-{i}", [cluster.program("PS_CTR_BIN"), "--json",
                                "--quiet", "--tally", prefix, *options],
                env={"PS_WORKER_ID": str(i), "PS_WORKER_NUM": "2"}, lines=True)

        workers = [start(0), start(1)]
        cluster.wait_for("worker 1 is amidst an epoch",
                         lambda: tallies[1].steps() >= kill_after, seconds,
                         0.005)
        workers[1].signal(signal.SIGKILL)
        workers[1].wait()
        workers[1] = start(1)
        results = [worker.line(seconds) for worker in workers]
        for worker in workers:
            status = worker.wait()
            if status != 0:
                raise AssertionError(f"{worker.name} ended with {status}")
        return results, c.status(), [(i, life) for i in range(2)
                                     for life in tallies[i].lives()]


class Checks:
    """Mixed into a TestCase."""

    def check_counts(self, results, status, epochs):
        """Pushes applied = frames acknowledged = steps x shards touched, and
        one frame for each finished epoch."""
        acked = sum(r["frames_acked"] for r in results)
        steps = sum(r["steps"] for r in results)
        self.assertEqual(status["totals"]["pushes_applied"], acked)
        self.assertEqual(acked, steps * SHARDS + epochs * len(results))
        for r in results:
            self.assertEqual((r["pushes_dropped"], r["frames_lost"]), (0, 0))

    def check_counts_with_a_kill(self, status, lives):
        """As above, and what was in flight at the kill: one push."""
        self.assertEqual([worker for worker, _ in lives].count(1), 2,
                         f"worker 1 has had two lives: {lives}")
        acked = sum(life[2] for _, life in lives)
        applied = status["totals"]["pushes_applied"]
        self.assertGreaterEqual(applied, acked)
        self.assertLessEqual(applied, acked + SHARDS)
