"""A relay between clients and one shard, which records, cuts and holds what
goes through it.

The server listens on one loopback address and advertises another, where the
relay listens on the same port.
"""

import contextlib
import random
import socket
import struct
import threading
import time

SERVER_HOST = "127.0.0.2"
RELAY_HOST = "127.0.0.3"
RECORD_BYTES = 1 << 15
CHUNK_BYTES = 1 << 16


class Relay:
    def __init__(self, seed, port=0):
        self._dice = random.Random(seed)
        self._lock = threading.Lock()
        self._pairs = {}  # of sockets -> an event: what comes may pass
        self._holds_new = False
        self._is_closed = False
        self.cut_bytes = None  # (least, most) bytes until a connection is cut
        self.cuts = 0
        self.records = []  # what clients sent, one for each connection
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind((RELAY_HOST, port))
        self._listener.listen(64)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def server_options(self):
        """Of a server that is to be reached through here."""
        return ["--bind", SERVER_HOST, "--advertise", RELAY_HOST, "-p",
                str(self.port)]

    def hold(self, new=False):
        """Nothing goes through the present connections, nor new ones where
        that is wanted, and none is closed either."""
        with self._lock:
            self._holds_new = new
            for may_pass in self._pairs.values():
                may_pass.clear()

    def release(self):
        with self._lock:
            self._holds_new = False
            for may_pass in self._pairs.values():
                may_pass.set()

    def cut_all(self):
        with self._lock:
            pairs = list(self._pairs)
        for pair in pairs:
            self._cut(pair)

    def connect(self):
        """A connection to the shard itself."""
        s = socket.create_connection((SERVER_HOST, self.port), 5)
        s.settimeout(5)
        return s

    def close(self):
        self._is_closed = True
        self.release()
        self._listener.close()
        self.cut_all()

    def _accept(self):
        while not self._is_closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection((SERVER_HOST, self.port), 5)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            pair = (client, server)
            for s in pair:
                s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            record = bytearray()
            may_pass = threading.Event()
            with self._lock:
                if not self._holds_new:
                    may_pass.set()
                self._pairs[pair] = may_pass
                self.records.append(record)
            for source, sink, kept in ((client, server, record),
                                       (server, client, None)):
                threading.Thread(target=self._pump, daemon=True,
                                 args=(pair, may_pass, source, sink,
                                       kept)).start()

    def _draw(self):
        if self.cut_bytes is None:
            return None
        with self._lock:
            return self._dice.randint(*self.cut_bytes)

    def _pump(self, pair, may_pass, source, sink, record):
        left = self._draw()
        with contextlib.suppress(OSError):
            while data := source.recv(CHUNK_BYTES):
                may_pass.wait()
                if record is not None and len(record) < RECORD_BYTES:
                    record += data
                if left is not None and len(data) >= left:
                    sink.sendall(data[:left])
                    self.cuts += 1
                    break
                sink.sendall(data)
                left = left - len(data) if left is not None else None
        self._cut(pair)

    def _cut(self, pair):
        with self._lock:
            may_pass = self._pairs.pop(pair, None)
        if may_pass is None:
            return
        for s in pair:
            with contextlib.suppress(OSError):
                if self._dice.random() < 0.5:  # a reset; else an orderly end
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                 struct.pack("ii", 1, 0))
                s.shutdown(socket.SHUT_RDWR)
            s.close()
        may_pass.set()


def relays(seed, n, kind=Relay):
    """For the n shards of one server, which listen on ports in a row. The
    first of them has the server's options."""
    while True:
        made = [kind(seed)]
        try:
            while len(made) < n:
                made.append(kind(seed + len(made), made[0].port + len(made)))
            return made
        except OSError:  # somebody has one of these ports
            for r in made:
                r.close()


def try_send(s, data, ends=False):
    """What the other side makes of it is its business."""
    with contextlib.suppress(OSError):
        s.sendall(data)
        if ends:
            s.shutdown(socket.SHUT_WR)


def drain(s, seconds):
    """Reads until the other side ends the connection or is silent."""
    until = time.monotonic() + seconds
    with contextlib.suppress(OSError):
        s.settimeout(seconds)
        while time.monotonic() < until and s.recv(CHUNK_BYTES):
            pass
