#!/usr/bin/env python3
"""Writes the seeds of the fuzz targets, test/fuzz/seeds/TARGET/NAME.

    test/fuzz/seeds.py [FOLDER]

The messages and their fields are those of src/wire/wire.h, read here a second
time: each message once with every field filled in, then broken in each way that
a decoder has a line for. The steps of fuzz_dispatch and fuzz_scheduler are made
of them. The folder is written anew; what is committed is what this writes.
"""

import json
import pathlib
import re
import shutil
import struct
import sys

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent.parent


def number(n):
    return struct.pack("<Q", n % (1 << 64))


def padded(data):
    return data + bytes(-len(data) % 8)


def text(s):
    data = s.encode() if isinstance(s, str) else s
    return number(len(data)) + padded(data + b"\0")


class Wire:
    """The messages of wire.h."""

    def __init__(self):
        source = (ROOT / "src/wire/wire.h").read_text(encoding="utf-8")
        source = re.sub(r"/\*.*?\*/", "", source, flags=re.S)
        source = source.replace("\\\n", " ")
        every = re.search(r"define WIRE_MESSAGES\(X\)(.*)", source).group(1)
        self.names = re.findall(r"X\((\w+), \w+\)", every)
        self.fields = {}
        for name in self.names:
            macro = re.search(r"define WIRE_%s_FIELDS\(F, S, B, A\)(.*)"
                              % name.upper(), source).group(1)
            self.fields[name] = [
                (kind, [a.strip() for a in args.split(",")])
                for kind, args in re.findall(r"\b([FSBA])\(([^)]*)\)", macro)]

    def make(self, name, values=None, fill=1):
        """Bytes of a message; what `values` does not say has some value."""
        values = values or {}
        out = b""
        for kind, args in self.fields[name]:
            field = args[-1]
            value = values.get(field)
            if kind == "F" and args[0] == "f64":
                out += struct.pack("<d", 0.5 if value is None else value)
            elif kind == "F":
                out += number(fill if value is None else value)
            elif kind == "S":
                out += text("t\u00e4\u20ac" if value is None else value)
            elif kind == "B":
                data = b"12345" if value is None else value
                out += number(len(data)) + padded(data)
            else:
                items = [{}, {}] if value is None else value
                out += number(len(items))
                out += b"".join(self.make(args[0], i, fill) for i in items)
        return out


WIRE = Wire()
TYPES = {"hello": 1, "chain": 2, "run": 3, "resolve": 4, "declare": 5,
         "drop": 6, "status": 7}


def run(*ops):
    """A RUN body; an op is (chain, variable, begin, end, keys, params, dim,
    values)."""
    head = struct.pack("<II", len(ops), 0)
    tail = b""
    for chain, variable, begin, end, keys, params, dim, values in ops:
        head += struct.pack("<QIIIIIIQQ", chain, variable, begin, end,
                            len(keys), len(params), dim, len(values), 0)
        tail += struct.pack(f"<{len(keys)}Q", *keys)
        tail += struct.pack(f"<{len(params)}d", *params)
        tail += padded(struct.pack(f"<{len(values)}f", *values))
    return head + tail


def run_answer(*answers):
    head = struct.pack("<II", len(answers), 0)
    tail = b""
    for status, values in answers:
        head += struct.pack("<iIQ", status, 0, len(values))
        tail += padded(struct.pack(f"<{len(values)}f", *values))
    return head + tail


def variable(name, number_, /, **more):
    v = {"id": number_, "name": name, "kind": 2, "rows": 0, "dim": 2,
         "init_kind": 0, "updater": "AssignAddUpdater", "n_params": 0}
    v.update(more)
    return v


def plan_of(number_=5, **more):
    p = {"nonce": 1, "term": 1, "plan": number_, "restore": 0,
         "next_variable": 4, "servers": 2, "memory_limit": 1 << 22,
         "variables": [variable("a", 1), variable("b", 2),
                       variable("d", 3, kind=0, rows=5)],
         "lanes": [{"lane": 7, "server": 0, "shard": 0, "address": "a:1"},
                   {"lane": 8, "server": 1, "shard": 0, "address": "b:1"}],
         "parts": [
             {"variable": 1, "begin": 0, "end": 65536, "lane": 7, "since": 1},
             {"variable": 2, "begin": 0, "end": 32768, "lane": 7, "since": 1},
             {"variable": 2, "begin": 32768, "end": 65536, "lane": 8,
              "since": number_},
             {"variable": 3, "begin": 0, "end": 65536, "lane": 3,
              "since": 1}],
         "ended": [{"lane": 3, "server": 0, "shard": 0, "plan": 2}]}
    p.update(more)
    return WIRE.make("plan", p)


# fuzz_wire: a byte that chooses, then the message.

def broken(data):
    """Ways in which bytes are no message."""
    yield "cut", data[:-1]
    yield "long", data + bytes(8)
    yield "ones", data[:8] + b"\xff" * 8 + data[16:]
    yield "head", b"\xff" * 8 + data[8:]
    yield "pad", data[:-1] + b"\x01"
    yield "half", data[:len(data) // 16 * 8]


def plans():
    good = plan_of()
    yield "good", good
    yield "empty", plan_of(variables=[], lanes=[], parts=[], ended=[])
    v = variable("a", 1)
    for name, bad in [("id", [v, v]), ("order", [variable("b", 2), v]),
                      ("name", [variable("", 1)]),
                      ("kind", [variable("a", 1, kind=9)]),
                      ("dim", [variable("a", 1, dim=0)]),
                      ("same", [variable("a", 1), variable("a", 2)]),
                      ("params", [variable("a", 1, n_params=9)]),
                      ("next", [variable("a", 99)]),
                      ("dense", [variable("a", 1, kind=0, rows=1 << 40)])]:
        yield "variable_" + name, plan_of(variables=bad)
    part = {"variable": 1, "begin": 0, "end": 65536, "lane": 7, "since": 1}
    for name, change in [("lane", {"lane": 99}), ("since", {"since": 99}),
                         ("gap", {"begin": 5}), ("end", {"end": 70000}),
                         ("short", {"end": 5}), ("variable", {"variable": 9})]:
        yield "part_" + name, plan_of(variables=[v], parts=[{**part, **change}])
    lane = {"lane": 7, "server": 0, "shard": 0, "address": "a:1"}
    yield "lanes_same", plan_of(lanes=[lane, lane])
    yield "lane_zero", plan_of(lanes=[{**lane, "lane": 0}])
    yield "ended_live", plan_of(ended=[{"lane": 7, "server": 0, "shard": 0,
                                        "plan": 2}])


def wire_seeds():
    for i, name in enumerate(WIRE.names):
        data = WIRE.make(name)
        yield name, bytes([i]) + data
        yield name + "_zero", bytes([i]) + WIRE.make(name, fill=0)
        for how, bad in broken(data):
            yield f"{name}_{how}", bytes([i]) + bad
    chain = WIRE.names.index("chain")
    for how, s in [("control", b"a\x01b"), ("c1", b"\xc2\x81"),
                   ("long", b"a" * 4097), ("nul", b"a\0b"), ("ff", b"\xff"),
                   ("overlong", b"\xc0\x80"), ("three", b"\xe2\x82\xac"),
                   ("surrogate", b"\xed\xa0\x80"), ("cut", b"\xe2\x82"),
                   ("four", b"\xf0\x9f\x98\x80"), ("high", b"\xf4\x90\x80\x80"),
                   ("over3", b"\xe0\x80\x80"), ("over4", b"\xf0\x80\x80\x80")]:
        yield "text_" + how, bytes([chain]) + number(0) + text(s)
    n = len(WIRE.names)
    op = (3, 1, 0, 65536, [1, 2, 3], [0.5], 2, [1.0] * 6)
    data = run(op, (0, 3, 0, 65536, [], [], 2, [1.0] * 3 + [0.5]))
    yield "run", bytes([n]) + data
    yield "run_none", bytes([n]) + run()
    for how, bad in broken(data):
        yield "run_" + how, bytes([n]) + bad
    for at in range(0, 56, 4):
        yield f"run_max_{at}", bytes([n]) + data[:at] + b"\xff" * 4 + \
            data[at + 4:]
        yield f"run_zero_{at}", bytes([n]) + data[:at] + bytes(4) + \
            data[at + 4:]
    data = run_answer((0, [1.0, 2.0, 3.0]), (-5, []))
    yield "run_answer", bytes([n + 1]) + data
    for how, bad in broken(data):
        yield "run_answer_" + how, bytes([n + 1]) + bad
    for at in range(0, 24, 4):
        yield f"run_answer_max_{at}", bytes([n + 1]) + data[:at] + \
            b"\xff" * 4 + data[at + 4:]
    for name, data in plans():
        yield "plan_new_" + name, bytes([n + 2]) + data


# fuzz_frame: whether headers are put right, the pieces, then a stream.

def header(size, magic=b"PSP1"):
    return magic + struct.pack("<HHI", 3, 0, size) + bytes(84)


def frame_seeds():
    stream = header(0) + header(16) + b"b" * 16 + header(699) + b"c" * 699
    for piece in (0, 7, 95, 96, 255):
        yield f"whole_{piece}", bytes([1, piece]) + stream
    yield "cut", bytes([1, 9]) + stream[:-5]
    yield "magic", bytes([0, 9]) + header(16, b"HTTP") + bytes(16)
    yield "sum", bytes([0, 9]) + header(16) + bytes(16)
    yield "half", bytes([1, 50]) + header(0)[:50]


# Steps of the stateful targets.

def block(data):
    return struct.pack("<H", len(data)) + data


def frame(type_, body=b"", peer=0, how=0, session=0, lane=7, seq=0, first=0,
          plan=5):
    return bytes([0, peer, type_, how, session, lane, seq, first, plan]) + \
        block(body)


def hello(peer=0, version=1):
    body = WIRE.make("hello", {"version": version, "features": 0,
                               "role": "client"})
    return frame(TYPES["hello"], body, peer)


CHAINS = re.findall(r'"(Build\w+[^"]*)"',
                    (HERE / "fuzz_dispatch.c").read_text(encoding="utf-8"))


def chain(definition, id_=0, peer=0):
    body = WIRE.make("chain", {"chain": id_, "definition": definition})
    return frame(TYPES["chain"], body, peer)


def push(seq, *ops, **more):
    more = {"session": 5, "first": 1, **more}
    return frame(TYPES["run"], run(*ops), seq=seq, **more)


def pull(*ops, **more):
    return frame(TYPES["run"], run(*ops), **more)


def resolve(session, lane, seq, *parts):
    parts = [{"variable": v, "begin": b, "end": e} for v, b, e in parts]
    return frame(TYPES["resolve"], WIRE.make("resolve", {
        "session": session, "lane": lane, "seq": seq, "parts": parts}))


WHOLE = (0, 65536)


def dispatch_seeds():
    begin = hello() + b"".join(chain(c) for c in CHAINS)
    add = (2, 1, *WHOLE, [1, 2], [], 2, [1.0] * 4)
    both = (3, 1, *WHOLE, [1, 9], [], 2, [1.0] * 4)
    ada = (6, 2, *WHOLE, [1, 2], [0.05, 0.1], 3, [1.0] * 6)
    read = (0, 1, *WHOLE, [1, 77], [], 2, [])
    dense = (9, 3, *WHOLE, [], [], 2, [1.0] * 10)
    dense_read = (8, 3, *WHOLE, [], [], 2, [])
    half = (5, 4, 0, 32768, [1, 2], [0.1, 0.9], 1, [1.0, 1.0])
    away = (2, 6, *WHOLE, [1], [], 1, [1.0])
    status = frame(TYPES["status"])
    yield "push_pull", begin + push(1, add) + pull(read) + push(2, both) + \
        push(2, both) + status
    yield "many", begin + push(1, add, ada, dense, half) + \
        pull(read, dense_read) + push(1, add, ada, dense, half)
    yield "updaters", begin + b"".join(
        push(i + 1, (c, v, *WHOLE, [1, 5], [0.1, 0.1, 1, 1], d, [1.0] * 2 * d))
        for i, (c, v, d) in enumerate([(4, 1, 2), (5, 1, 2), (6, 2, 3),
                                       (7, 1, 2), (1, 1, 2)]))
    yield "dense", begin + push(1, dense) + push(2, (10, 3, *WHOLE, [], [], 2,
                                                     [1.0] * 10)) + \
        push(3, (11, 5, *WHOLE, [], [0.1, 0.1], 4, [1.0] * 12)) + \
        pull(dense_read)
    yield "gap", begin + push(2, add) + push(1, add) + push(2, add) + \
        push(255, add) + push(251, add) + push(3, add, first=255)
    yield "plan", begin + push(1, away) + push(1, away) + \
        push(2, add, plan=9) + push(2, add, plan=1) + bytes([12, 0]) + \
        push(2, add, plan=6) + resolve(5, 7, 2, (1, *WHOLE)) + \
        bytes([12, 0]) + push(3, add, plan=7) + pull(read, plan=1)
    yield "lanes", begin + push(1, add) + bytes([14, 1]) + \
        resolve(5, 7, 1, (1, *WHOLE), (6, *WHOLE), (99, *WHOLE)) + \
        push(1, add, lane=7, plan=6) + push(1, add, lane=9, plan=6) + \
        push(1, add, lane=99) + bytes([14, 8]) + push(1, add) + status
    yield "sessions", begin + push(1, add, session=9) + \
        push(1, add, session=40) + bytes([13, 0x04]) + push(1, add) + \
        push(1, add, session=6) + resolve(5, 7, 1, (1, *WHOLE)) + \
        resolve(9, 7, 1, (1, *WHOLE)) + resolve(40, 7, 1, (1, *WHOLE)) + \
        bytes([10, 255]) * 60 + bytes([13, 0xff]) + push(1, add, session=8)
    yield "lease", begin + push(1, add) + bytes([10, 255]) + push(2, add) + \
        pull(read) + push(1, add) + resolve(5, 7, 1, (1, *WHOLE)) + \
        bytes([11]) + push(2, add) + status
    yield "resolve", begin + push(1, add) + resolve(5, 7, 1, (1, *WHOLE)) + \
        resolve(5, 7, 3, (1, *WHOLE), (3, *WHOLE)) + push(2, add) + \
        push(3, add) + resolve(5, 99, 1, (1, *WHOLE))
    for name, bad in [
            ("version", hello(version=9)), ("no_hello", push(1, add)),
            ("type", begin + frame(99)), ("answer", begin + frame(3, how=4)),
            ("run", begin + frame(3, run(add)[:-8])),
            ("unknown", begin + push(1, (200, 1, *WHOLE, [1], [], 2, []))),
            ("no_number", begin + pull(add)),
            ("number", begin + push(1, read)),
            ("hello_body", frame(1, b"12345678")),
            ("chain_body", hello() + frame(2, b"12345678")),
            ("resolve_body", hello() + frame(4, b"12345678")),
            ("long", begin + push(1, add, how=8) + status),
            ("sums", begin + push(1, add, how=1) + push(2, add, how=2)),
            ("raw", bytes([8, 0]) + block(header(16) + bytes(16)))]:
        yield "bad_" + name, bad + hello() + status
    yield "chains", hello() + chain(CHAINS[0], 77) + chain(CHAINS[0]) + \
        chain(CHAINS[0]) + chain("TransSlice") + chain("NoSuch") + \
        chain("") + chain("BuildHashSlice>BuildHashSlice") + \
        chain("BuildHashSlice>>") + chain("a" * 300) + \
        chain(">".join(["BuildHashSlice"] + ["TransSlice"] * 20))
    yield "ops", begin + push(1, (2, 3, *WHOLE, [1], [], 2, [1.0] * 2)) + \
        push(2, (9, 1, *WHOLE, [], [], 2, [])) + \
        push(3, (2, 1, *WHOLE, [1], [], 5, [1.0] * 5)) + \
        push(4, (2, 1, *WHOLE, [1], [], 2, [])) + \
        push(5, (6, 1, *WHOLE, [1], [0.1, 0.1], 2, [1.0] * 2)) + \
        push(6, (6, 2, *WHOLE, [1], [-1.0], 3, [1.0] * 3)) + \
        push(7, (6, 2, *WHOLE, [1], [0.1] * 8, 3, [1.0] * 3)) + \
        push(8, (2, 4, 0, 65536, [1], [], 1, [1.0])) + \
        push(9, (2, 1, 5, 9, [1], [], 2, [1.0] * 2)) + \
        push(10, (9, 3, *WHOLE, [], [], 2, [1.0] * 4))
    yield "peers", hello(0) + hello(1) + chain(CHAINS[0], peer=1) + \
        pull(read, peer=1, how=16) + bytes([9, 1]) + pull(read, peer=0) + \
        hello(2) + pull(read, peer=2, how=48) + bytes([9, 0])
    yield "full", begin + b"".join(
        push(i + 1, (2, 1, *WHOLE, list(range(40 * i, 40 * i + 40)), [], 2,
                     [1.0] * 80)) for i in range(3)) + status
    yield "records", begin + push(1, add) + bytes([15, 0]) + \
        block(plan_of(9)) + push(2, add, plan=9) + bytes([15, 1]) + \
        block(WIRE.make("sessions", {"next": 50})) + bytes([15, 0]) + \
        block(b"12345678") + bytes([15, 1]) + block(b"12345678") + status


def scheduler_seeds():
    tick = bytes([12, 10, 5])
    start = tick * 4
    servers = bytes([14, 8]) + bytes([14, 9]) + tick * 4
    user = WIRE.make("declare", {"variables": [variable("user", 0)]})
    two = WIRE.make("declare", {"variables": [variable("user", 0, dim=4)]})
    none = WIRE.make("declare", {"variables": []})
    drop = WIRE.make("drop", {"name": "user"})
    yield "start", start + servers
    yield "declare", start + servers + hello() + frame(5, user) + tick + \
        frame(5, user) + tick + frame(5, two) + tick + frame(7) + tick
    yield "drop", start + servers + hello() + frame(5, user) + tick + \
        frame(6, drop) + tick + frame(6, drop) + tick
    yield "early", hello() + frame(5, user) + start + servers + tick
    for name, more in [("kind", {"kind": 7}), ("dim", {"dim": 0}),
                       ("updater", {"updater": "NoSuch"}),
                       ("params", {"n_params": 9}), ("name", {"name": ""}),
                       ("init", {"init_kind": 99}),
                       ("rows", {"kind": 0, "rows": 0}),
                       ("large", {"kind": 0, "rows": 1 << 30, "dim": 64}),
                       ("nan", {"init_kind": 1, "init_a": float("nan")}),
                       ("long", {"name": "n" * 256}),
                       ("dense", {"kind": 0, "rows": 10}),
                       ("ada", {"updater": "AdagradUpdater", "n_params": 2,
                                "param0": 0.1, "param1": 0.1})]:
        body = WIRE.make("declare", {"variables": [variable("v", 0, **more)]})
        yield "declare_" + name, start + servers + hello() + \
            frame(5, body) + tick * 2
    yield "bad", start + hello() + frame(5, none) + hello() + frame(5, b"1") + \
        hello() + frame(6, b"1") + hello() + frame(99) + hello(version=9) + \
        frame(5, user) + hello() + frame(5, user, how=4) + frame(1, b"1")
    yield "death", start + servers + hello() + frame(5, user) + tick + \
        bytes([14, 4]) + tick * 4 + bytes([14, 8]) + tick * 4
    yield "silence", start + servers + hello() + frame(5, user) + tick + \
        bytes([10, 25, 12]) * 40
    yield "sessions", start + servers + bytes([7, 9]) + tick * 3 + \
        bytes([10, 25, 12]) * 40
    yield "conflict", start + servers + hello() + bytes([13, 10]) + \
        frame(5, user) + tick * 3 + bytes([13, 9]) + frame(6, drop) + tick * 3
    yield "unsure", start + servers + hello() + bytes([13, 136]) + \
        frame(5, user) + tick * 3 + bytes([13, 137]) + frame(6, drop) + tick * 3
    lease = WIRE.make("lease", {"nonce": 3, "renewal": 1, "state": 1,
                                "body": WIRE.make("scheduler", {"term": 9})})
    yield "lost", start + servers + bytes([15, 3]) + block(lease) + tick * 6
    server = WIRE.make("server", {"id": 0, "shards": [
        {"lane": 50, "address": "x:1"}]})
    for i, body in enumerate([
            WIRE.make("cluster", {"format": 1, "lease_ms": 1000}), plan_of(9),
            WIRE.make("sessions", {"next": 9}), lease, server]):
        yield f"record_{i}", bytes([15, i]) + block(body) + start + servers
        yield f"record_later_{i}", start + servers + bytes([15, 128 + i]) + \
            block(body) + tick * 4 + bytes([15, i]) + block(body[:-8]) + \
            tick * 4


# fuzz_options: a byte that chooses the command, then words.

def options_seeds():
    role = "-sp file:///run/ps"
    lines = [
        (0, f"{role} -sn 2 -smem 100 -snet=5 -sqps 7 -cp none:// -bc True"),
        (0, f"--scheduler_kv_path=/run/ps --server_num 4,0"),
        (0, f"{role} -sn 4,2"), (0, f"{role} -sn 0"), (0, f"{role} -sn x"),
        (0, f"{role} -sn 2 -cp hdfs://x"), (0, "-sn 2"), (0, "-sp -sn"),
        (0, f"{role} -sn 2 -smem 99999999999999999999"),
        (0, f"{role} -sn 2 -smdense x"), (0, f"{role} -sn 2 -bc maybe"),
        (0, f"{role} -sn 2 --bind 0.0.0.0 --advertise ::1 --log-level no"),
        (0, f"{role} -sn 2 --bind 10.1.2.3 --wait -5"),
        (1, f"{role} -si 0 --shards 2 -p 4000 --log-level debug"),
        (1, f"{role} -si 0 --plugin a.so --plugin b.so"),
        (1, f"{role} -si 5000"), (1, f"{role} -si 1 -si 2"), (1, "--help"),
        (1, f"{role} -si 1 word"), (1, f"{role} -si 1 -- word"),
        (1, f"{role} --server_ix 1"), (1, f"{role} -si 1 -h=1"), (1, "-x"),
        (1, f"{role} -si 1 --"), (1, "-sp zfs://h -si 1"), (1, "-sp= -si 1"),
        (2, "-r model"), (2, "--role=server -h"), (2, ""), (2, "-r"),
        (2, "--version -r scheduler"), (2, "-r=scheduler --version"),
        (3, "--servers 2 --shards 1 --workers 3 -- train now"),
        (3, "--kv /tmp/x --json"), (3, "word"), (3, "--"), (3, "--workers 2"),
        (3, "--kv zfs://x"), (3, "--help"), (4, "-sp /run/ps --json"),
        (4, "-sp /run/ps --wait 0"), (4, "--version"), (4, "-sp http://x")]
    for i, (which, line) in enumerate(lines):
        words = line.encode().split()
        yield f"line_{i:02}", bytes([which]) + b"\0".join(words)


# fuzz_reader: libFM or CSV and the share, the formula of a CSV, the file.

def reader_seeds():
    libfm = [b"1 7:1 9:0.5\n\n-1\t7:1 \r\n0 8:-2e0\n+1\n", b"2 1:1\n",
             b"1 x:1\n", b"1 5\n", b"1 5:\n", b"1 5:inf\n", b"1 5:1x\n",
             b"1 99999999999999999999:1\n", b"1 1:1\0\n", b"1 1:0x1p3",
             b" \t\n"]
    for i, data in enumerate(libfm):
        yield f"libfm_{i:02}", b"\0" + data
    yield "libfm_share", b"\x36" + libfm[0] * 4
    rows = b'late,a,b,"c,""d"""\n1,x,y,z\n0,"q ""r""",,\n\n-1,1,2,3\n'
    csv = [(b"late~a+b+a:b", rows), (b'late~c,"d"+a', rows), (b"late~", rows),
           (b"late", rows), (b"x~a", rows), (b"late~a:b:a:b:a", rows),
           (b"late~x", rows), (b"a~b", rows), (b"late~a", b""),
           (b"late~a", b"late,a\n1\n"), (b"late~a", b"late,a\n1,\"x\n"),
           (b"late~a", b"late,a\n1,\"x\"y\n"), (b"late~a", b"late,a\n1,x,y\n"),
           (b"c0~c1", b",".join(b"c%d" % i for i in range(300))),
           (b"a~b", b"a,b," + b"x" * 4100 + b"\n"),
           (b"a~" + b"+".join([b"b"] * 130), b"a,b\n1,2\n"),
           (b"a~" + b"b" * 4100, b"a,b\n"), (b"a~b", b"a,b\n1,\0\n")]
    for i, (formula, data) in enumerate(csv):
        yield f"csv_{i:02}", b"\1" + formula + b"\n" + data
    yield "csv_share", b"\x13late~a\n" + rows * 2


# fuzz_ckpt: a byte that chooses the decoder, then what it reads.

def ckpt_manifest(**more):
    return {"format": 1, "cluster_high": "0" * 16, "cluster_low": "f" * 16,
            "cut": 12, "term": 3, "base": 0, "plan": 6, "restore": 0,
            "name": "t\u00e4\u20ac", "time_ms": 1, "next_session": 6,
            "next_lane": 8, "next_variable": 3, "variables": [
                {"id": 1, "name": "a/\"", "kind": 2, "dim": 2, "init_a": 0.5,
                 "init_b": "nan", "n_params": 1, "param0": -1e-3},
                {"id": 2, "name": "b", "kind": 0, "rows": 3, "dim": 1}],
            "parts": [{"variable": v, "begin": 0, "end": 65536, "lane": 7}
                      for v in (1, 2)],
            "lanes": [{"lane": 7, "index_bytes": 1, "index_xxh3": "0" * 16,
                       "rows": 5}],
            "sessions": [{"session": 3, "worker": 1, "position": "00ff"}],
            **more}


def ckpt_tensor(name, dtype, shape, offset, block_rows, sums):
    return {"name": name, "dtype": dtype, "shape": shape, "offset": offset,
            "block_rows": block_rows, "xxh3": ["0123456789abcdef"] * sums}


def ckpt_index(rows=None, **more):
    part = {"variable": "a/\"", "id": 1, "kind": 2, "begin": 0, "end": 65536,
            "content": 0, "has_keys": True, "row_begin": 0, "rows": 5,
            "dim": 2, "slots": ["s"]}
    dense = {**part, "variable": "b", "id": 2, "kind": 0, "has_keys": False,
             "rows": 3, "dim": 1, "slots": []}
    erased = {**part, "content": 1, "rows": 1, "slots": []}
    tensors = [
        ckpt_tensor("a/\"/0-65536/keys", "U64", [5], 64, 2, 3),
        ckpt_tensor("a/\"/0-65536/values", "F32", [5, 2], 104, 2, 3),
        ckpt_tensor("a/\"/0-65536/slot/s", "F32", [5, 2], 144, 2, 3),
        ckpt_tensor("b/0-65536/values", "F32", [3, 1], 184, 2, 2),
        ckpt_tensor("a/\"/0-65536/erased", "U64", [1], 196, 9, 1)]
    return {"cut": 12, "term": 3, "lane": 7, "parts": [part, dense, erased],
            "files": [{"name": "lane-7.safetensors", "size": 204,
                       "header_bytes": 64, "header_xxh3": "f" * 16,
                       "tensors": rows or tensors},
                      {"name": "lane-7.state.safetensors", "size": 64,
                       "header_bytes": 64, "header_xxh3": "f" * 16,
                       "tensors": []}], **more}


def safetensors(tensors, more=b""):
    """(name, dtype, shape, bytes) in this order."""
    header, data = {"__metadata__": {"format": "x"}}, b""
    for name, dtype, shape, raw in tensors:
        header[name] = {"dtype": dtype, "shape": shape,
                        "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    return number(len(text)) + text + data + more


def ckpt_state(**more):
    u64 = {"lanes/lane": [7, 4], "lanes/variable": [0, 1],
           "lanes/begin": [0, 0], "lanes/end": [65536, 9],
           "lanes/forgotten": [2, 0], "lanes/same": [0, 0],
           "lanes/windows": [1, 0], "lanes/gaps": [0, 1],
           "gaps/session": [5], "gaps/first": [2], "gaps/last": [6],
           "windows/session": [3], "windows/next": [9], "windows/floor": [4],
           "windows/refuse_below": [2], "late/session": [3], "late/seq": [8],
           "late/cut": [11], "late/bytes": [4], "chains/id": [77],
           "chains/bytes": [10], **more}
    out = [(name, "U64", [len(n)], b"".join(number(x) for x in n))
           for name, n in u64.items()]
    return out + [
        ("windows/canceled", "U64", [1, 4], bytes(32)),
        ("windows/ended", "U8", [1], b"\1"),
        ("windows/fate", "I8", [1, 256], b"\xd6" * 256),
        ("late/body", "U8", [4], b"late"),
        ("chains/definition", "U8", [10], b"TransSlice")]


def ckpt_seeds():
    def text(value):
        return json.dumps(value, ensure_ascii=False).encode()

    good = text(ckpt_manifest())[:-1]
    yield "manifest", b"\0" + good
    for name, more in [
            ("format", {"format": 2}), ("cut", {"cut": 1 << 64}),
            ("name", {"name": "\x01"}), ("cluster", {"cluster_low": "x"}),
            ("lanes", {"lanes": []}), ("parts", {"parts": []}),
            ("lane", {"lanes": [{"lane": 0}]}), ("unknown", {"z": [[{"": 1}]]}),
            ("position", {"sessions": [{"session": 1, "worker": 1,
                                        "position": "0"}]})]:
        yield "manifest_" + name, b"\0" + text(ckpt_manifest(**more))[:-1]
    for i, raw in enumerate([
            b"", b"{", b"[", b'{"format":', b'{"format":1,"format":1',
            b'{"format":01', b'{"format":1 ', b'{"x":"\\ud800"',
            b'{"\\u0061":tru', b"{" * 70, b'{"a":' + b"[" * 70,
            good.replace(b"0.5", b"5e-1"), good.replace(b"0.5", b"1e999"),
            good.replace(b'"b"', b'"\\u00e4\\ud83d\\ude00\\n"')]):
        yield f"manifest_raw_{i:02}", b"\0" + raw
    yield "index", b"\1" + text(ckpt_index())
    for name, more in [("files", {"files": []}), ("parts", {"parts": []}),
                       ("lane", {"lane": 8}), ("cut", {"cut": -1})]:
        yield "index_" + name, b"\1" + text(ckpt_index(**more))
    for i, bad in enumerate([
            ckpt_tensor("a/\"/0-65536/keys", "U64", [5], 64, 0, 3),
            ckpt_tensor("a/\"/0-65536/keys", "U64", [1 << 61, 8], 64, 2, 3),
            ckpt_tensor("a/\"/0-65536/keys", "F65", [5], 64, 2, 3),
            ckpt_tensor("a/\"/0-65536/keys", "U64", [5], 1 << 63, 2, 3)]):
        rows = ckpt_index()["files"][0]["tensors"]
        yield f"index_tensor_{i}", b"\1" + text(ckpt_index([bad] + rows[1:]))
    header = safetensors([("a", "U64", [2], bytes(16)),
                          ("b", "F32", [0, 3], b"")])
    yield "header", b"\2" + header
    yield "header_long", b"\2" + header + b"1"
    yield "header_short", b"\2" + header[:-1]
    yield "header_size", b"\2" + number(1 << 63) + header[8:]
    yield "header_twice", b"\2" + header.replace(b'"b"', b'"a"')
    yield "state", b"\3" + safetensors(ckpt_state())
    for name, more in [("windows", {"lanes/windows": [1, 1]}),
                       ("end", {"lanes/end": [65537, 9]}),
                       ("same", {"lanes/lane": [7, 7], "lanes/same": [0, 1],
                                 "lanes/forgotten": [2, 2],
                                 "lanes/windows": [1, 1], "lanes/gaps": [0, 0],
                                 "gaps/session": [], "gaps/first": [],
                                 "gaps/last": []}),
                       ("gaps", {"gaps/last": [1]}),
                       ("next", {"windows/next": [0]}),
                       ("late", {"late/bytes": [5]}),
                       ("huge", {"late/bytes": [(1 << 64) - 1]}),
                       ("chain", {"chains/bytes": [9]}),
                       ("rows", {"windows/floor": [1, 2]})]:
        yield "state_" + name, b"\3" + safetensors(ckpt_state(**more))
    yield "whole", b"\4" + struct.pack("<H", len(good)) + good + \
        text(ckpt_index())


# fuzz_import: files of a checkpoint of the original, by e2e/original.py.

def import_seeds():
    sys.path.insert(0, str(HERE.parent / "e2e"))
    import original as o

    def files(variables, **more):
        blob = number(len(variables)) + b"".join(v.meta() for v in variables)
        out = {"__meta__": struct.pack("<QQ", 2, o.META) + o.text(blob)}
        for v in variables:
            for part in range(len(v.sizes)):
                out[v.file(part)] = v.encode(part)
        out.update({name.replace("queues", "global_queue_meta"): data
                    for name, data in more.items()})
        names = ["checkpoints", "__meta__", "v^0", "v^1", "w^0", "w^1",
                 ".meta", "global_queue_meta"]
        return b"".join(
            bytes([names.index(name)]) + struct.pack("<H", len(data)) + data
            for name, data in out.items())

    def filled(v, keys):
        width = o.product(v.shape[1:])
        for key in keys:
            v.rows[key] = [1.5 if v.dtype[0] == "F" else 7] * width
            for s in v.slots:
                s.rows[key] = [3] * o.product(s.dims)
        return v

    hash64 = filled(o.Variable(
        "v", "hash64", "F32", [9, 2], [40000, 25536], o.constant(0.5),
        [o.Slot("adagrad_accumulation", "F32", [2], o.constant(0.25)),
         o.Slot("seen", "I64", []),
         o.Slot("beta1", "F64", [], any_value=[0.9])],
        [("save", "true")], chunk=4, holes=1), [5, -1, 39999])
    index = filled(o.Variable(
        "w", "index", "F32", [3, 2], [1, 2],
        o.uniform_unit_scaling(1, 2, [3, 2]),
        [o.Slot("accum", "F32", [2], o.constant(0.1)),
         o.Slot("linear", "F32", [2], o.normal(1, 2, 3))]), range(3))
    queue = o.text(number(1) + o.text("q") + o.text(b"state"))
    yield "hash64", files([hash64])
    yield "both", files([hash64, index], queues=queue, **{
        ".meta": b'{"xdl_global_step": 5}'})
    yield "hash128", files([filled(o.Variable(
        "v", "hash128", "F64", [9, 1], [65536],
        o.variance_scaling(1, 2, "fan_in", "normal", [9, 1]), chunk=2),
        [(1, 2), (3, 4)])])
    yield "scalar", files([filled(o.Variable(
        "v", "index", "I64", [], [1], o.orthogonal(1, 2, 3)), [0])])
    yield "small", files([filled(o.Variable(
        "v", "index", "I8", [3], [3], o.truncated_normal(1, 2, 3)), range(3))])
    yield "empty", files([])
    yield "short", files([hash64])[:-9]


def main():
    out = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "seeds"
    targets = {"wire": wire_seeds, "frame": frame_seeds,
               "dispatch": dispatch_seeds, "scheduler": scheduler_seeds,
               "options": options_seeds, "reader": reader_seeds,
               "ckpt": ckpt_seeds, "import": import_seeds}
    for target, seeds in targets.items():
        folder = out / target
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name, data in seeds():
            (folder / name).write_bytes(data)


if __name__ == "__main__":
    main()
