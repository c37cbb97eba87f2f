"""A network that does harm to single frames: every push is applied once."""

import contextlib
import unittest

import cluster
import proxy
import relay

KEYS = 64
MANY = 200 if cluster.is_deep() else 20


class Proxies(cluster.CountTest):
    """Two servers of one shard, each behind a proxy, and two clients that
    count."""

    deadline = 600 if cluster.is_deep() else 60

    def setUp(self):
        self.proxies = [proxy.Proxy(i) for i in range(2)]
        for p in self.proxies:
            self.addCleanup(p.close)
        self.c = cluster.Cluster(
            shards=1, server_options=[p.server_options() for p in self.proxies])
        self.addCleanup(self.c.close)
        self.probes = [self.c.probe("count", i, KEYS, i + 1) for i in range(2)]
        for probe in self.probes:
            probe.line()

    def counts(self, what):
        return sum(p.counts[what] for p in self.proxies)

    def wait_pushes(self, more=300):
        before = self.c.status()["totals"]["pushes_applied"]
        self.c.wait_status("pushes are applied", lambda s:
                           s["totals"]["pushes_applied"] >= before + more)

    def do_harm(self, name, wanted, share=0.05):
        """Until each of `wanted` has happened so often; the accounts, and the
        state of the servers."""
        for p in self.proxies:
            p.begin(getattr(p, name), share)
        cluster.wait_for(f"{wanted} of {name}", lambda: all(
            self.counts(what) >= n for what, n in wanted.items()),
            self.deadline - 20)
        for p in self.proxies:
            p.end()
        self.wait_pushes()
        accounts = cluster.end_accounts(self.probes)
        self.check_accounts(self.c, accounts, KEYS)
        for account in accounts:
            self.assertEqual(account["losses"], [])
            self.assertEqual(account["frames_refused"], 0)
        status = self.c.wait_serving()
        # As the servers count: once is once.
        self.assertEqual(status["totals"]["pushes_applied"],
                         sum(a["counted_acked"] for a in accounts))
        for server in status["servers"]:
            self.assertEqual(server["emptied"], 0)
        found = {what: self.counts(what) for p in self.proxies
                 for what in p.counts}
        print(f"    {found}; {sum(a['frames_acked'] for a in accounts)} "
              f"frames, {sum(a['resends'] for a in accounts)} resent, "
              f"{sum(a['reconnects'] for a in accounts)} reconnects",
              flush=True)
        return accounts, status

    # Both directions of one connection may be hit, so harm done MANY times to
    # each is MANY new connections at least, not twice as many.
    def check_reconnects(self, accounts, least):
        self.assertGreaterEqual(sum(a["reconnects"] for a in accounts), least)

    def test_acknowledgements_dropped_after_the_apply(self):
        accounts, status = self.do_harm("drop_acknowledgements",
                                        {"dropped": MANY})
        self.check_reconnects(accounts, MANY)
        self.assertGreaterEqual(status["totals"]["repeats_suppressed"], MANY)

    def test_frames_cut_in_the_middle(self):
        accounts, _ = self.do_harm("cut_frames", {"requests cut": MANY,
                                                  "answers cut": MANY})
        self.check_reconnects(accounts, MANY)

    def test_connections_reset_in_mid_frame(self):
        accounts, _ = self.do_harm("reset", {"requests cut": MANY,
                                             "answers cut": MANY})
        self.check_reconnects(accounts, MANY)

    def test_frames_that_stall(self):
        n = 64 if cluster.is_deep() else 8
        accounts, _ = self.do_harm("stall", {"stalls": n, "long stalls": 2})
        self.check_reconnects(accounts, 1)  # who waits too long leaves

    def test_one_byte_at_a_time(self):
        accounts, _ = self.do_harm(
            "send_bytes", {"requests in bytes": 10 * MANY,
                           "answers in bytes": 10 * MANY}, share=0.5)
        self.assertEqual([a["reconnects"] for a in accounts], [0, 0])

    def check_flips(self, name):
        accounts, _ = self.do_harm(name, {"requests flipped": MANY,
                                          "answers flipped": MANY})
        self.assertEqual(self.counts("not found"), 0)
        self.check_reconnects(accounts, MANY)
        for process in (*self.c.servers, *self.probes):
            self.assertIn("was changed on its way", process.text())

    def test_bits_flipped_in_headers(self):
        self.check_flips("flip_header")

    def test_bits_flipped_in_bodies(self):
        self.check_flips("flip_body")

    # What one client sent, sent by another.

    def replay(self, s, frames):
        """The answers to these frames on this connection."""
        relay.try_send(s, b"".join(frames))
        return self.answers(s, len(frames), 10)

    def answers(self, s, n, seconds):
        """Up to n of them; fewer where the connection ends or falls silent."""
        got = bytearray()
        n_got = 0
        s.settimeout(seconds)
        with contextlib.suppress(OSError):
            while n_got < n:
                data = s.recv(relay.CHUNK_BYTES)
                if not data:
                    break
                got += data
                n_got = len(list(proxy.split(got)))
        return [proxy.head_of(frame) for frame in proxy.split(got)]

    def acknowledged(self, answers):
        return [h for h in answers if h.type == proxy.RUN and h.seq and
                h.status == 0]

    def record(self, p):
        """What a client sends; all of them stand still from here on, which
        they may for less than their lease."""
        self.wait_pushes()
        for probe in self.probes:
            probe.pause()
        frames = p.recent()
        self.assertEqual(proxy.head_of(frames[0]).type, proxy.HELLO)
        self.assertGreater(len(frames), 50)
        return frames

    def check_replay_is_known(self, p, frames):
        """Each push is answered with what it was told before."""
        with p.connect() as s:
            said = self.replay(s, frames)
        acks = self.acknowledged(said)
        self.assertEqual(len(said), len(frames))
        self.assertGreater(len(acks), 50)
        for h in acks:
            self.assertTrue(h.flags & proxy.REPEAT, h)

    def again(self, p, frames):
        with p.connect() as s:
            said = self.replay(s, frames)
        self.assertEqual(len(said), len(frames))
        return said

    def dump(self):
        return ([self.c.ask("dump", name, KEYS, 3) for name in
                 ("rows", "more")], self.c.status()["totals"]["pushes_applied"])

    def test_a_stream_on_another_connection_applies_nothing(self):
        p = self.proxies[0]
        frames = self.record(p)
        self.check_replay_is_known(p, frames)
        for probe in self.probes:
            probe.go_on()
        self.wait_pushes()
        self.check_accounts(self.c, cluster.end_accounts(self.probes), KEYS)
        before = self.dump()
        cluster.wait_for("the servers know that the session has ended",
                         lambda: not self.acknowledged(self.again(p, frames)),
                         10)
        self.assertEqual(self.dump(), before)

    def test_a_server_that_slept_through_its_lease_acknowledges_nothing(self):
        """Neither what waits in its connections nor what comes on new ones,
        though it has applied it once."""
        p = self.proxies[0]
        frames = self.record(p)
        self.check_replay_is_known(p, frames)
        old = p.connect()
        self.addCleanup(old.close)
        self.assertEqual(len(self.replay(old, frames[:1])), 1)
        lanes = cluster.lanes_of(self.c.status(), 0)
        self.c.servers[0].pause()
        for probe in self.probes:
            probe.go_on()
        new = p.connect()
        self.addCleanup(new.close)
        relay.try_send(old, b"".join(frames[1:]))
        relay.try_send(new, b"".join(frames))
        self.c.wait_status("its lane has ended", lambda s:
                           cluster.server_of(s, 0)["state"] == "missing")
        self.c.servers[0].go_on()
        status = self.c.wait_status("it is back", lambda s:
                                    cluster.server_of(s, 0)["emptied"] == 1 and
                                    self.c.is_serving(s))
        self.assertEqual(set(cluster.lanes_of(status, 0)) & set(lanes), set())
        for s in (old, new):
            said = self.answers(s, len(frames), 1)
            self.assertEqual(self.acknowledged(said), [])
        self.wait_pushes()
        self.check_accounts(self.c, cluster.end_accounts(self.probes), KEYS)


if __name__ == "__main__":
    unittest.main()
