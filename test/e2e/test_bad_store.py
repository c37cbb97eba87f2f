"""Stores that are full, unreadable, or of another kind: one line that says what
is wrong, and whatever was there stays as it was."""

import os
import shutil
import subprocess
import time
import unittest

import cluster

KEYS = 64
DISK_BYTES = 1 << 20
NOBODY = 65534
FULL_S = 2.5 * cluster.LEASE_S  # long enough for every lease to lapse


def run(command, seconds=30):
    return subprocess.run(command, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=seconds)


def users_of(kv):
    """Every program that opens a store."""
    ps_plus = cluster.program("PS_PLUS_BIN")
    return [
        [ps_plus, "-r", "scheduler", "-sp", kv, "-sn", "1"],
        [ps_plus, "-r", "server", "-sp", kv, "-si", "0"],
        [ps_plus, "status", "-sp", kv, "--wait", "1"],
    ]


def snapshot(folder):
    """Names and bytes of all that is in it."""
    found = {}
    for base, folders, files in os.walk(folder):
        for name in folders:
            found[os.path.join(base, name)] = None
        for name in files:
            path = os.path.join(base, name)
            with open(path, "rb") as f:
                found[path] = f.read()
    return found


class Case(cluster.CountTest):
    def setUp(self):
        self.folder = cluster.make_folder()
        self.addCleanup(cluster.remove_folder, self.folder)
        self.store = os.path.join(self.folder, "store")

    def check_refused(self, words, kv=None, before=()):
        """Every program says one line that has the words, and ends with 1."""
        for command in users_of(kv or self.store):
            with self.subTest(command=" ".join(command[1:4])):
                r = run([*before, *command])
                line = r.stderr.strip().splitlines()[-1:]
                self.assertEqual(r.returncode, 1, r)
                self.assertEqual(r.stdout, "", r)
                self.assertEqual(len(r.stderr.splitlines()), 1, r)
                for word in words:
                    self.assertIn(word, line[0])


class Kinds(Case):
    def make_store(self, text):
        os.mkdir(self.store)
        with open(os.path.join(self.store, "FORMAT"), "w") as f:
            f.write(text)
        with open(os.path.join(self.store, "plan"), "w") as f:
            f.write("theirs")

    def check_left_alone(self, words):
        before = snapshot(self.store)
        self.check_refused(words)
        self.assertEqual(snapshot(self.store), before)

    def test_a_store_of_another_version(self):
        self.make_store("ps-plus coordination store, format 2\n")
        self.check_left_alone([self.store, "format 2", "this program knows 1",
                               "another folder"])

    def test_a_store_of_another_program(self):
        for text in ("Berkeley DB 5.3\n", "", "ps-plus coordination store, "
                     "format 1", "\x1b[2J\n" * 20):
            self.make_store(text)
            self.check_left_alone([os.path.join(self.store, "FORMAT"),
                                   "not that of a ps-plus store"])
            shutil.rmtree(self.store)

    def test_a_folder_in_place_of_format(self):
        os.makedirs(os.path.join(self.store, "FORMAT"))
        self.check_left_alone([self.store, "not a file"])

    def test_a_file_in_place_of_the_folder(self):
        with open(self.store, "w") as f:
            f.write("mine")
        self.check_refused([self.store])
        with open(self.store) as f:
            self.assertEqual(f.read(), "mine")

    def test_a_link_to_nowhere(self):
        os.symlink(os.path.join(self.folder, "gone"), self.store)
        self.check_refused([self.store])
        self.assertFalse(os.path.exists(os.path.join(self.folder, "gone")))

    def test_a_folder_that_may_not_be_read(self):
        before = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}",
                  "--clear-groups"]
        if os.geteuid() != 0 or shutil.which("setpriv") is None:
            before = []
        elif run([*before, cluster.program("PS_PLUS_BIN"),
                  "--version"]).returncode != 0:
            self.skipTest("another user may not run the program where it is")
        with cluster.Cluster(servers=1, shards=1) as c:
            c.close()
            os.chmod(self.folder, 0o755)
            os.mkdir(self.store)
            with open(os.path.join(self.store, "FORMAT"), "w") as f:
                f.write("ps-plus coordination store, format 1\n")
            found = snapshot(self.store)
            os.chmod(self.store, 0)
            self.check_refused([self.store, "Permission denied"],
                               before=before)
            os.chmod(self.store, 0o755)
            self.assertEqual(snapshot(self.store), found)


class FullDisk(Case):
    deadline = 90

    def setUp(self):
        super().setUp()
        self.disk = os.path.join(self.folder, "disk")
        cluster.mount_disk(self, self.disk, DISK_BYTES)

    def test_a_new_store_on_a_full_disk(self):
        cluster.fill_disk(self.disk)
        before = snapshot(self.disk)
        kv = os.path.join(self.disk, "store")
        for command in users_of(kv)[:2]:
            r = run(command)
            self.assertEqual((r.returncode, r.stdout), (1, ""), r)
            self.assertIn("No space left on device", r.stderr)
            self.assertIn(kv, r.stderr)
            self.assertEqual(len(r.stderr.splitlines()), 1, r)
        after = snapshot(self.disk)
        for path, data in before.items():
            self.assertEqual(after.pop(path), data)
        self.assertEqual([p for p, data in after.items() if data is not None],
                         [], "half-made files")

    def test_the_disk_of_a_cluster_fills_and_has_room_again(self):
        """No push is lost or applied twice, no row is lost, and it goes on by
        itself."""
        c = cluster.Cluster(servers=2, shards=1, start=False)
        self.addCleanup(c.close)
        c.kv = "file://" + os.path.join(self.disk, "store")
        c.start_all()
        lanes = [cluster.lanes_of(c.status(), i) for i in range(2)]
        probe = c.probe("count", 0, KEYS, 1)
        probe.line()
        time.sleep(0.5)
        filler = cluster.fill_disk(self.disk)
        time.sleep(FULL_S)
        roles = (c.scheduler, *c.servers)
        for role in roles:
            self.assertIsNone(role.child.poll(), role.name)
            said = [line for line in role.text().splitlines()
                    if "No space left on device" in line]
            self.assertGreater(len(said), 0, role.text())
            self.assertLess(len(said), 15, said)
            self.assertIn(self.disk, said[0])
        os.remove(filler)
        status = c.wait_serving()
        self.assertEqual([cluster.lanes_of(status, i) for i in range(2)],
                         lanes)
        self.assertEqual([s["emptied"] for s in status["servers"]], [0, 0])
        accounts = cluster.end_accounts([probe])
        self.check_accounts(c, accounts, KEYS)
        self.assertEqual(accounts[0]["losses"], [])
        self.assertEqual(c.ask("declare", "after")["rows"], [1, 2, 3])
        for role in roles:
            self.assertEqual(role.stop(), 0, role.text())


if __name__ == "__main__":
    unittest.main()
