#!/usr/bin/env python3
"""Who means no good: frames made by hand, and attackers as processes of their
own, so that their processor time can be told.

    hostile.py KIND HOST:PORT,... [RATE]

Says {"ready": true} once the attack is on, then goes on until its stdin ends,
and says what it did. The kinds are the functions at the end, by name.
"""

import contextlib
import ctypes
import errno
import importlib.util
import json
import os
import random
import resource
import select
import socket
import struct
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
HEADER_BYTES = 96
FRAME_BYTES_MAX = 64 << 20
HELLO, CHAIN, RUN, RESOLVE, DECLARE, DROP, STATUS = range(1, 8)
ANSWER = 1
SILENT_S = 0.4  # without a byte taken, what is sent to is full


def _load_seeds():
    """The messages of wire.h, as the seeds of the fuzz targets make them."""
    path = os.path.join(os.path.dirname(HERE), "fuzz", "seeds.py")
    spec = importlib.util.spec_from_file_location("seeds", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _load_hash():
    library = ctypes.CDLL("libxxhash.so.0")
    library.XXH3_64bits.restype = ctypes.c_uint64
    library.XXH3_64bits.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
    return library.XXH3_64bits


seeds = _load_seeds()
_hash = _load_hash()


def header(kind, size=0, flags=0, job=0, request=1, session=0, lane=0, seq=0,
           first=0, plan=0, cut=0, body_sum=0, status=0, magic=b"PSP1",
           reserved=0):
    """With the right checksum, whatever it says."""
    head = magic + struct.pack("<HHIIQQQQQQQQiI", kind, flags, size, job,
                               request, session, lane, seq, first, plan, cut,
                               body_sum, status, reserved)
    return head + struct.pack("<Q", _hash(head, len(head)))


def sum_of(data):
    return _hash(data, len(data))


def frame(kind, body=b"", **more):
    return header(kind, len(body), **more) + body


def hello(version=1, **more):
    body = seeds.WIRE.make("hello", {"version": version, "features": 0,
                                     "role": "hostile", **more})
    return frame(HELLO, body)


class Normal:
    """A connection that behaves: HELLO, then asks for the state."""

    def __init__(self, port, host="127.0.0.1", source=None):
        self.s = connect(host, port, source)
        self.s.settimeout(5)
        self.s.sendall(hello())
        self.lane = struct.unpack_from("<Q", self.answer(), 32)[0]

    def answer(self):
        """The next whole frame."""
        head = self.read(HEADER_BYTES)
        return head + self.read(struct.unpack_from("<I", head, 8)[0])

    def read(self, n):
        data = b""
        while len(data) < n:
            more = self.s.recv(n - len(data))
            if not more:
                raise EOFError("the connection has ended")
            data += more
        return data

    def ask(self):
        """Seconds until the state has come."""
        start = time.monotonic()
        self.s.sendall(frame(STATUS))
        if struct.unpack_from("<HH", self.answer(), 4) != (STATUS, ANSWER):
            raise AssertionError("not the answer to STATUS")
        return time.monotonic() - start

    def close(self):
        self.s.close()


def connect(host, port, source=None):
    """From a loopback address of its own choice: no port is used up."""
    s = socket.socket()
    s.settimeout(5)
    try:
        if source is not None:
            s.bind((f"127.0.0.{2 + source % 200}", 0))
        s.connect((host, port))
    except OSError:
        s.close()
        raise
    return s


def noises(dice):
    """What is no frame, one connection each, for ever."""
    good = hello() + frame(STATUS)
    while True:
        yield dice.randbytes(dice.choice((1, 95, 96, 97, 512, 4096)))
        yield b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
        yield header(HELLO, 8, magic=b"PSP2")
        yield header(HELLO, 0xffffffff)
        yield header(HELLO, FRAME_BYTES_MAX + 1)
        yield header(HELLO, FRAME_BYTES_MAX)
        yield good[:dice.randrange(1, len(good))]
        at = dice.randrange(HEADER_BYTES)
        yield good[:at] + bytes([good[at] ^ 1 << dice.randrange(8)]) + \
            good[at + 1:]
        yield good[:HEADER_BYTES + 24]
        yield hello(version=2)
        yield frame(STATUS) + good
        yield hello() + header(DECLARE, FRAME_BYTES_MAX + 1)


def hostile_frames(lane):
    """(what, bytes behind a HELLO) of frames with a right checksum whose
    content is not what it should be."""
    make = seeds.WIRE.make
    n = seeds.number
    op = struct.pack
    for count in (1 << 31, (1 << 32) - 1, 1 << 61, (1 << 64) - 1, 3):
        yield f"DECLARE of {count}", frame(DECLARE, n(count))
        yield f"RESOLVE of {count}", frame(
            RESOLVE, n(1) + n(lane) + n(1) + n(count), lane=lane)
        yield f"text of {count}", frame(DROP, n(count) + b"abc\0\0\0\0\0")
    for ops in (1 << 31, (1 << 32) - 1, 4097):
        yield f"RUN of {ops} ops", frame(RUN, op("<II", ops, 0) + bytes(96),
                                         lane=lane)
    for what, fields in (
            ("keys", (9, 1, 0, 65536, (1 << 32) - 1, 0, 1, 0, 0)),
            ("params", (9, 1, 0, 65536, 0, (1 << 32) - 1, 1, 0, 0)),
            ("values", (9, 1, 0, 65536, 0, 0, 1, (1 << 64) - 1, 0)),
            ("dim 0", (9, 1, 0, 65536, 1, 0, 0, 0, 0)),
            ("dim 2^31", (9, 1, 0, 65536, 1, 0, 1 << 31, 0, 0)),
            ("range", (9, 1, 7, 7, 0, 0, 1, 0, 0)),
            ("end", (9, 1, 0, 65537, 0, 0, 1, 0, 0)),
            ("chain", (1 << 63, 1, 0, 65536, 0, 0, 1, 0, 0))):
        body = op("<II", 1, 0) + op("<QIIIIIIQQ", *fields)
        yield f"RUN, {what}", frame(RUN, body + bytes(8), lane=lane)
        yield f"RUN, numbered, {what}", frame(
            RUN, body, lane=lane, seq=1, session=1, first=1)
    for name in (b"a\nb", b"\x1b[2J", b"\0", b"\xff\xfe", b"a" * 4097,
                 b"\xc2\x80", b"\xed\xa0\x80", b"", b">" * 9,
                 b"BuildHashSlice>" * 9, b"../../etc/passwd", b"%s%n" * 9):
        text = n(len(name)) + seeds.padded(name + b"\0")
        yield f"CHAIN {name[:9]}", frame(CHAIN, n(1) + text)
        yield f"DROP {name[:9]}", frame(DROP, text)
        variable = make("variable", seeds.variable("*", 0, updater="")).replace(
            seeds.text("*"), text, 1)
        yield f"DECLARE {name[:9]}", frame(DECLARE, n(1) + variable)
    for more in ({"dim": 0}, {"dim": 1 << 31}, {"kind": 77}, {"kind": 1 << 31},
                 {"kind": 0, "rows": 0}, {"kind": 0, "rows": 1 << 63},
                 {"kind": 0, "rows": (1 << 64) - 1, "dim": 65536},
                 {"init_kind": 99}, {"init_a": float("nan")},
                 {"n_params": 1 << 31}, {"n_params": 9}, {"updater": "NoSuch"},
                 {"updater": "a>b"}, {"name": "n" * 256},
                 {"batch_read": (1 << 64) - 1}):
        body = make("declare", {"variables": [seeds.variable("bad", 0) | more]})
        yield f"DECLARE {more}", frame(DECLARE, body)
    yield "DECLARE of nothing", frame(DECLARE, n(0))
    yield "DECLARE, much of it", frame(DECLARE, make("declare", {
        "variables": [seeds.variable(f"bad{i}", 0) for i in range(300)]}))
    for seq, session in ((1, 1 << 63), ((1 << 64) - 1, 1),
                         ((1 << 64) - 1, (1 << 64) - 1)):
        yield f"RESOLVE {seq}", frame(RESOLVE, n(session) + n(lane) + n(seq) +
                                      n(1) + n(1) + n(0) + n(65536), lane=lane)
        yield f"RUN {seq}", frame(RUN, op("<II", 0, 0), lane=lane, seq=seq,
                                  session=session, first=seq,
                                  plan=(1 << 64) - 1)
    for kind in (0, 8, 0x7fff, 0xffff):
        yield f"type {kind}", frame(kind, bytes(64))
    yield "an answer", frame(STATUS, flags=ANSWER)
    yield "flags", frame(STATUS, flags=0xffff)
    yield "job", frame(STATUS, job=1 << 31)
    yield "reserved", frame(STATUS, reserved=1)
    yield "wrong sum of the body", frame(CHAIN, bytes(64), body_sum=1)
    yield "second HELLO of version 2^31", hello(version=1 << 31)
    yield "role", hello(role=b"\x07" * 64)
    yield "64 MiB + 1", header(RUN, FRAME_BYTES_MAX + 1)
    yield "2^32 - 1", header(RUN, 0xffffffff)


# The attackers.

def say(**what):
    print(json.dumps(what), flush=True)


def is_over(seconds=0.0):
    return bool(select.select([0], [], [], seconds)[0])


def paced(rate):
    """Yields `rate` times a second, in small bursts, until it is over."""
    start = time.monotonic()
    n = 0
    while not is_over(0.002):
        due = int((time.monotonic() - start) * rate)
        while n < due:
            yield n
            n += 1


def churn(ports, rate):
    """Connects and ends at once, half of the time with a reset."""
    say(ready=True)
    done = 0
    for i in paced(rate):
        with contextlib.suppress(OSError):
            s = connect(*ports[i % len(ports)], source=i)
            if i % 2:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                             struct.pack("ii", 1, 0))
            s.close()
            done += 1
    say(done=done)


def noise(ports, rate):
    """Connections of what is no frame; the last 50 stay open."""
    what = noises(random.Random(5))
    said = []
    done = 0
    say(ready=True)
    for i in paced(rate):
        with contextlib.suppress(OSError):
            s = connect(*ports[i % len(ports)], source=i)
            said.append(s)
            s.sendall(next(what))
            done += 1
        if len(said) > 50:
            said.pop(0).close()
    say(done=done)


def slow(ports, rate):
    """Connections that send a byte a second; of three one never gets through
    a HELLO, one has said so and sends a frame of 64 MiB, one of 64 KiB."""
    open_ones = []
    for i in range(int(rate)):
        s = connect(*ports[i % len(ports)], source=i)
        if i % 3:
            s.sendall(hello() + header(RUN, FRAME_BYTES_MAX if i % 3 == 1
                                       else 1 << 16))
        open_ones.append(s)
    say(ready=True)
    ended = 0
    while not is_over(1.0):
        for i, s in enumerate(open_ones):
            with contextlib.suppress(OSError):
                s.send(b"P")
    for s in open_ones:
        s.setblocking(False)
        try:
            while s.recv(4096):
                pass
            ended += 1
        except OSError as e:
            ended += e.errno not in (errno.EAGAIN, errno.EWOULDBLOCK)
    say(ended=ended)


def mute(ports, rate):
    """Connections that ask and never read."""
    asks = frame(STATUS) * 500
    left = {}
    for i in range(int(rate)):
        s = connect(*ports[i % len(ports)], source=i)
        s.sendall(hello())
        s.setblocking(False)
        left[s] = b""
    sent = 0
    ended = 0
    has_said = False
    last = time.monotonic()
    while not is_over():
        ready = select.select([], list(left), [], 0.05)[1]
        for s in ready:
            try:
                data = left[s] or asks
                n = s.send(data)
                left[s] = data[n:]
                sent += n
                last = time.monotonic()
            except BlockingIOError:
                pass
            except OSError:
                del left[s]
                ended += 1
        if not has_said and time.monotonic() - last > SILENT_S:
            has_said = True
            say(ready=True)
    say(asked=sent // HEADER_BYTES, ended=ended)


def idle(ports, rate):
    """Connections that stay: half of them have said HELLO. Says how many of
    each are still there whenever it is asked."""
    resource.setrlimit(resource.RLIMIT_NOFILE,
                       (int(rate) + 100, int(rate) + 100))
    greeted, silent = [], []
    for i in range(int(rate)):
        s = connect(*ports[i % len(ports)], source=i)
        if i % 2:
            s.sendall(hello())
            greeted.append(s)
        else:
            silent.append(s)
    for s in greeted:
        s.recv(4096)
    for s in greeted + silent:
        s.setblocking(False)
    say(ready=True)
    while sys.stdin.readline():
        say(greeted=count_open(greeted), silent=count_open(silent))
    say(greeted=count_open(greeted), silent=count_open(silent))


def count_open(sockets):
    n = 0
    for s in sockets:
        try:
            n += s.recv(1) != b""
        except BlockingIOError:
            n += 1
        except OSError:
            pass
    return n


def burn(_, rate):
    """No connection: only uses processor time, `rate` seconds a second."""
    say(ready=True)
    used = time.process_time()
    start = time.monotonic()
    while not is_over(0.002):
        while (time.process_time() - used <
               rate * (time.monotonic() - start)):
            pass
    say(burnt=time.process_time() - used)


def main():
    kind = {f.__name__: f for f in (churn, noise, slow, mute, idle, burn)}
    ports = [(address.rsplit(":", 1)[0], int(address.rsplit(":", 1)[1]))
             for address in sys.argv[2].split(",")]
    kind[sys.argv[1]](ports, float(sys.argv[3]))


if __name__ == "__main__":
    main()
