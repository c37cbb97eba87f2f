"""A cluster over two hosts: network namespaces with a cable between them.

They share what the rest of this machine has, so also the folder of the store,
which is for one machine; what is shown is --bind and --advertise.
"""

import os
import re
import shutil
import subprocess
import time
import unittest

import cluster

KEYS = 256
SOME = 300  # frames: enough to know that work goes on
NET = "10.77.0."
HOSTS = {"a": NET + "1", "b": NET + "2"}
NOBODY = NET + "9"


def ip(*words):
    done = subprocess.run(["ip", *words], stderr=subprocess.PIPE, text=True,
                          timeout=20, check=False)
    if done.returncode != 0:
        raise OSError(f"ip {' '.join(words)}: {done.stderr.strip()}")


class TwoHosts(cluster.Cluster):
    """Roles and clients run where `where` says, clients on host b."""

    def __init__(self, **how):
        self.spaces = {h: f"ps-{os.getpid()}-{h}" for h in HOSTS}
        self.where = {"scheduler": "a", "server-0": "a", "server-1": "b"}
        try:
            self.lay_cable()
            super().__init__(start=False, shards=1, **how)
            self.program = self.bin
            self.bin = self.write_program("b")
        except BaseException:
            self.remove_hosts()
            raise

    def lay_cable(self):
        for space in self.spaces.values():
            ip("netns", "add", space)
        a, b = self.spaces.values()
        ip("-n", a, "link", "add", "cable", "type", "veth", "peer", "name",
           "cable", "netns", b)
        for host, space in self.spaces.items():
            ip("-n", space, "address", "add", HOSTS[host] + "/24", "dev",
               "cable")
            for link in ("lo", "cable"):
                ip("-n", space, "link", "set", link, "up")

    def on(self, host):
        return ["ip", "netns", "exec", self.spaces[host]]

    def write_program(self, host):
        """ps-plus as of that host, for who only knows its path."""
        path = os.path.join(self.folder, "ps-plus-" + host)
        with open(path, "w") as f:
            f.write(f"#!/bin/sh\nexec {' '.join(self.on(host))} "
                    f"{self.program} \"$@\"\n")
        os.chmod(path, 0o755)
        return path

    def start(self, name, command, **how):
        if command[0] == self.bin:
            command = [self.program, *command[1:]]
        return super().start(
            name, [*self.on(self.where.get(name, "b")), *command], **how)

    def start_all(self):
        self.start_scheduler()
        for i in range(self.n):
            self.start_server(i)

    def close(self):
        super().close()
        self.remove_hosts()

    def remove_hosts(self):
        for space in self.spaces.values():
            subprocess.run(["ip", "netns", "delete", space], timeout=20,
                           stderr=subprocess.DEVNULL, check=False)


class Hosts(cluster.CountTest):
    deadline = 90

    @classmethod
    def setUpClass(cls):
        if not shutil.which("ip"):
            raise unittest.SkipTest("iproute2 is not installed")
        space = f"ps-{os.getpid()}"
        try:
            ip("netns", "add", space)
            ip("netns", "exec", space, "true")
        except OSError as e:
            raise unittest.SkipTest(str(e)) from None
        finally:
            subprocess.run(["ip", "netns", "delete", space], check=False,
                           stderr=subprocess.DEVNULL, timeout=20)

    def two_hosts(self, scheduler=("--bind", HOSTS["a"]),
                  servers=(("--bind", HOSTS["a"]), ("--bind", HOSTS["b"]))):
        c = TwoHosts(scheduler_options=scheduler, server_options=servers)
        self.addCleanup(c.close)
        return c

    def train(self, c):
        """Both servers get work from a client on host b, all of it counted."""
        probe = c.probe("count", 0, KEYS, 1)
        probe.line()
        c.wait_status("both servers have work", lambda s: all(
            sum(shard["counters"]["pushes_applied"] for shard in
                server["shards"] if "counters" in shard) > SOME
            for server in s["servers"]))
        accounts = cluster.end_accounts([probe])
        self.check_accounts(c, accounts, KEYS)
        self.assertEqual(accounts[0]["losses"], [])

    def hosts_of(self, status):
        return [cluster.server_of(status, i)["shards"][0]["address"]
                .rsplit(":", 1)[0] for i in range(2)]

    def test_a_client_trains_on_servers_of_both(self):
        c = self.two_hosts()
        c.start_all()
        self.assertEqual(self.hosts_of(c.wait_serving()),
                         [HOSTS["a"], HOSTS["b"]])
        self.train(c)
        for role in (c.scheduler, *c.servers):
            self.assertRegex(role.text(), r" W \w+.*: listens on 10\.77\.0\..: "
                             "whoever reaches that address can .* no TLS yet")

    def test_who_listens_everywhere_says_how_to_reach_it(self):
        c = self.two_hosts(
            ("--bind", "0.0.0.0", "--advertise", HOSTS["a"]),
            (("--bind", "0.0.0.0", "--advertise", HOSTS["a"]),
             ("--bind", "::", "--advertise", HOSTS["b"])))
        c.start_all()
        self.assertEqual(self.hosts_of(c.wait_serving()),
                         [HOSTS["a"], HOSTS["b"]])
        self.train(c)

    def test_a_server_on_loopback_is_not_reached_from_the_other_host(self):
        """The default is safe, and what does not work is named."""
        c = self.two_hosts(servers=([], ("--bind", HOSTS["b"])))
        c.start_all()
        for role in (c.scheduler, *c.servers):
            cluster.wait_for(f"{role.name} listens",
                             lambda: "listens as" in role.text())
        self.assertNotIn("whoever", c.servers[0].text())
        self.check_unreached(c, r"server 0 shard 0 at 127\.0\.0\.1:\d+ ")

    def test_a_server_that_advertises_a_wrong_address_is_named(self):
        c = self.two_hosts(servers=(
            ("--bind", HOSTS["a"], "--advertise", NOBODY),
            ("--bind", HOSTS["b"])))
        c.start_all()
        self.check_unreached(c, rf"server 0 shard 0 at {re.escape(NOBODY)}:")

    def check_unreached(self, c, whom):
        """A deadline of 5 s ends the first call, and the client says for whom
        it has waited; so does the status."""
        c.wait_status("the plan has both servers",
                      lambda s: len(s["servers"]) == 2)
        probe = c.probe("steady")
        start = time.monotonic()
        self.assertEqual(probe.wait(), 1)
        self.assertLess(time.monotonic() - start,
                        16 if cluster.is_sanitized() else 8)
        self.assertRegex(probe.text(), "^ps-probe: pull: PS_ETIMEOUT: " + whom)
        states = [cluster.server_of(c.status(), i)["shards"][0]["state"]
                  for i in range(2)]
        self.assertEqual(states, ["silent", "serving"])

    def test_a_scheduler_that_advertises_a_wrong_address_is_named(self):
        c = self.two_hosts(("--bind", HOSTS["a"], "--advertise", NOBODY))
        c.start_all()
        c.wait_serving()
        probe = c.probe("declare", "x")
        self.assertEqual(probe.wait(60), 1)
        self.assertRegex(probe.text(), "PS_ETIMEOUT: .*deadline reached: the "
                         rf"scheduler at {re.escape(NOBODY)}:\d+")

    def test_an_address_of_another_host_is_refused(self):
        c = self.two_hosts(("--bind", HOSTS["b"]),
                           (("--bind", NOBODY), ("--bind", HOSTS["a"])))
        for role, address in ((c.start_scheduler(), HOSTS["b"]),
                              (c.start_server(0), NOBODY),
                              (c.start_server(1), HOSTS["a"])):
            self.assertEqual(role.wait(), 2)
            self.assertEqual(
                role.text(),
                "ps-plus: option --bind wants an address of this host, such "
                f"as 127.0.0.1, not \"{address}\": Cannot assign requested "
                "address\n")
        self.assertEqual([n for n in os.listdir(c.folder) if n == "store"], [])


if __name__ == "__main__":
    unittest.main()
