"""Connections that are cut, held and abused. Servers are behind relays."""

import random
import resource
import struct
import time
import unittest

import cluster
import relay

KEYS = 64
HEADER_BYTES = 96
SOME = 300
FILES = 256


class Network(cluster.CountTest):
    deadline = 90

    def setUp(self):
        self.relays = [relay.Relay(i) for i in range(2)]
        for r in self.relays:
            self.addCleanup(r.close)
        self.c = cluster.Cluster(
            shards=1, server_options=[r.server_options() for r in self.relays])
        self.addCleanup(self.c.close)

    def start_count(self, worker=0):
        probe = self.c.probe("count", worker, KEYS, worker + 1)
        probe.line()
        return probe

    def wait_applied(self, more=SOME):
        def applied(status):
            return status["totals"]["pushes_applied"]
        before = applied(self.c.status())
        self.c.wait_status("pushes are applied",
                           lambda s: applied(s) >= before + more)

    def check_nothing_lost(self, accounts):
        self.check_accounts(self.c, accounts, KEYS)
        for account in accounts:
            self.assertEqual(account["losses"], [])
            self.assertEqual(account["frames_refused"], 0)
        return self.c.wait_serving()

    def test_connections_cut_in_the_middle_of_frames(self):
        probes = [self.start_count(i) for i in range(2)]
        for r in self.relays:
            r.cut_bytes = (1, 20000)
            r.cut_all()
        until = time.monotonic() + (60 if cluster.is_deep() else 6)
        while time.monotonic() < until:
            time.sleep(0.1)
        for r in self.relays:
            r.cut_bytes = None
            self.assertGreater(r.cuts, 20)
        accounts = cluster.end_accounts(probes)
        status = self.check_nothing_lost(accounts)
        self.assertEqual(status["totals"]["pushes_applied"],
                         sum(a["counted_acked"] for a in accounts))
        print(f"    {sum(r.cuts for r in self.relays)} cuts, "
              f"{sum(a['frames_acked'] for a in accounts)} frames, "
              f"{sum(a['resends'] for a in accounts)} resent, "
              f"{status['totals']['repeats_suppressed']} repeats", flush=True)
        for account in accounts:
            self.assertGreater(account["reconnects"], 10)
            self.assertGreater(account["resends"], 0)
        self.assertGreater(status["totals"]["repeats_suppressed"], 0)

    def test_a_network_that_hangs_is_left_by_the_client(self):
        """Connections stay open and carry nothing ever again: the client must
        make new ones by itself, and no call may fail meanwhile."""
        probe = self.start_count()
        steady = self.c.probe("steady")
        steady.line()
        for _ in range(2):
            self.relays[0].hold()
            self.wait_applied()
        steady.finish()
        said = steady.line()
        self.assertEqual(said["failed"], 0, said)
        accounts = cluster.end_accounts([probe])
        self.assertGreaterEqual(accounts[0]["reconnects"], 2)
        self.check_nothing_lost(accounts)

    def test_a_deadline_on_a_network_that_hangs_and_is_cut(self):
        """The push and the resolve are on their way when they are lost, so
        the push can never be applied."""
        for _ in range(3):
            probe = self.c.probe("deadline")
            begin = probe.line()["row"]
            for r in self.relays:
                r.hold(new=True)
            probe.say("push")
            self.assertEqual(probe.line()["wait"], "PS_ETIMEOUT")
            self.assertEqual(probe.line()["resolve"], "PS_ETIMEOUT")
            for r in self.relays:
                r.cut_all()
                r.release()
            probe.say("resolve")
            said = probe.line()
            self.assertEqual(said["resolve"], "PS_ECANCELED")
            self.assertEqual(said["row"], begin)
            self.assertEqual(probe.wait(), 0)

    def test_what_a_client_sent_sent_again_by_another_changes_nothing(self):
        """Recorded frames, whole streams of valid pushes, arrive again while
        their session goes on, and after."""
        probe = self.start_count()
        self.wait_applied()
        streams = [(r, bytes(record)) for r in self.relays
                   for record in list(r.records) if record]
        self.assertGreater(sum(map(has_push, (s for _, s in streams))), 0)
        self.replay(streams)
        self.check_nothing_lost(cluster.end_accounts([probe]))
        before = self.c.ask("dump", "rows", KEYS, 3)
        self.replay(streams)
        self.assertEqual(self.c.ask("dump", "rows", KEYS, 3), before)

    def replay(self, streams):
        for r, stream in streams:
            for data in (stream, stream[:len(stream) // 2]):
                s = r.connect()
                relay.try_send(s, data, ends=True)
                relay.drain(s, 1)
                s.close()

    def noises(self, stream):
        """What to send, one connection each."""
        dice = random.Random(11)
        yield b""
        yield b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
        for n in (1, 7, 95, 96, 97, 4096, 1 << 20):
            yield dice.randbytes(n)
        yield b"\0" * 4096
        yield b"\xff" * 4096
        frames = list(split(stream))[:3]
        begin = b"".join(frames)
        for n in range(1, len(begin), max(len(begin) // 16, 1)):
            yield begin[:n]  # half a frame
        for i in range(len(begin)):
            yield begin[:i] + bytes([begin[i] ^ 0xff]) + begin[i + 1:]
        yield frames[0] * 100
        yield b"".join(frames[1:])  # no HELLO
        yield begin + dice.randbytes(500)

    def test_noise_on_every_port_disturbs_no_client(self):
        probe = self.start_count()
        steady = self.c.probe("steady")
        steady.line()
        self.wait_applied()
        stream = next(bytes(record) for record in self.relays[0].records
                      if has_push(record))
        ports = [(relay.SERVER_HOST, r.port) for r in self.relays]
        ports += [("127.0.0.1", p) for p in self.c.scheduler.ports()]
        self.assertEqual(len(ports), 3)
        sent = 0
        for host, port in ports:
            open_ones = []
            for noise in self.noises(stream):
                s = relay.socket.create_connection((host, port), 5)
                s.settimeout(5)
                relay.try_send(s, noise, ends=sent % 2 == 0)
                sent += 1
                open_ones.append(s)
                while len(open_ones) > 40:
                    open_ones.pop(0).close()
            for s in open_ones:
                s.close()
        steady.finish()
        said = steady.line()
        print(f"    {sent} connections of noise; {said['calls']} calls, p99 "
              f"{said['p99'] * 1000:.1f} ms", flush=True)
        self.assertEqual(said["failed"], 0, said)
        self.assertLess(said["p99"], 1.0)
        accounts = cluster.end_accounts([probe])
        self.check_accounts(self.c, accounts, KEYS)
        self.assertEqual(accounts[0]["losses"], [])
        self.assertEqual(accounts[0]["reconnects"], 0)
        status = self.c.wait_serving()
        for server in status["servers"]:
            self.assertEqual(server["emptied"], 0)
            for shard in server["shards"]:
                self.assertGreater(shard["counters"]["protocol_errors"], 0)
        for role in (self.c.scheduler, *self.c.servers):
            self.assertIsNone(role.child.poll(), role.name)
        self.assertEqual(self.c.ask("declare", "after")["rows"], [1, 2, 3])


class IdleConnections(cluster.CountTest):
    deadline = 90

    def test_more_connections_than_files_cost_no_row(self):
        """First the servers' ports, then all get more idle connections than
        their processes may have files: they still reach the store, so that no
        lease is lost."""
        c = cluster.Cluster(shards=1, files=FILES)
        self.addCleanup(c.close)
        probe = c.probe("count", 0, KEYS, 1)
        probe.line()
        ports = [p for role in (*c.servers, c.scheduler) for p in role.ports()]
        self.assertEqual(len(ports), 3)
        lanes = [cluster.lanes_of(c.status(), i) for i in range(2)]
        for n in (2, 3):
            idle = []
            for port in ports[:n]:
                for _ in range(FILES + 4):
                    s = relay.socket.create_connection(("127.0.0.1", port), 5)
                    idle.append(s)
            time.sleep(2 * cluster.LEASE_S)
            for s in idle:
                s.close()
        status = c.wait_serving()
        for server in status["servers"]:
            self.assertEqual(server["emptied"], 0)
        self.assertEqual([cluster.lanes_of(status, i) for i in range(2)],
                         lanes)
        for role in (c.scheduler, *c.servers):
            self.assertIn("a connection is refused", role.text())
            self.assertEqual(resource.prlimit(role.pid, resource.RLIMIT_NOFILE),
                             (FILES, FILES))
        accounts = cluster.end_accounts([probe])
        self.check_accounts(c, accounts, KEYS)
        self.assertEqual(accounts[0]["losses"], [])
        self.assertEqual(accounts[0]["reconnects"], 0)

    def test_who_says_nothing_is_closed(self):
        c = cluster.Cluster(servers=1, shards=1)
        self.addCleanup(c.close)
        port = c.servers[0].ports()[0]
        mute = relay.socket.create_connection(("127.0.0.1", port), 5)
        mute.settimeout(20)
        began = time.monotonic()
        self.assertEqual(mute.recv(1), b"")
        self.assertGreater(time.monotonic() - began, 9)
        mute.close()


def split(stream):
    """The whole frames of a stream; a header has its body's size at 8."""
    at = 0
    while at + HEADER_BYTES <= len(stream):
        size = HEADER_BYTES + struct.unpack_from("<I", stream, at + 8)[0]
        if at + size > len(stream):
            return
        yield bytes(stream[at:at + size])
        at += size


def has_push(stream):
    """Whether a frame of it has a number (at 40)."""
    return any(struct.unpack_from("<Q", frame, 40)[0] for frame in
               split(bytes(stream)))


if __name__ == "__main__":
    unittest.main()
