"""Writes checkpoints as the original ps-plus does, from doc/import.md, with
nothing but struct. What a test wants to find again is in the objects here.
"""

import os
import struct

META = 0x67a23f8bc8de4854
KINDS = {"index": 0, "hash128": 1, "hash64": 2}
TYPES = {"I8": (0, "b"), "I16": (1, "h"), "I32": (2, "i"), "I64": (3, "q"),
         "F32": (4, "f"), "F64": (5, "d")}


def text(value):
    value = value if isinstance(value, bytes) else value.encode()
    return struct.pack("<Q", len(value)) + value


def numbers(values, form="Q"):
    return struct.pack("<Q", len(values)) + struct.pack(
        f"<{len(values)}{form}", *values)


def none():
    return struct.pack("<Q", 0x034ab8da0d1fbf01) + text(b"")


def constant(value):
    return struct.pack("<Q", 0x1705801f037331d8) + text(
        struct.pack("<d", value))


def truncated_normal(seed, mean, deviation):
    return struct.pack("<Q", 0x481f79334c46199c) + text(
        struct.pack("<iff", seed, mean, deviation))


def normal(seed, mean, deviation):
    return struct.pack("<Q", 0xab9ce69dce6131bc) + text(
        struct.pack("<iff", seed, mean, deviation))


def orthogonal(seed, gain, dim):
    return struct.pack("<Q", 0xe7538a190235bb16) + text(
        struct.pack("<ifq", seed, gain, dim))


def uniform_unit_scaling(seed, factor, shape):
    return struct.pack("<Q", 0x8b54394e2252e0d4) + text(
        struct.pack("<if", seed, factor) + numbers(shape))


def variance_scaling(seed, scale, mode, distribution, shape):
    return struct.pack("<Q", 0x943f8d15e6baf29f) + text(
        struct.pack("<id", seed, scale) + text(mode) + text(distribution) +
        numbers(shape))


def product(dims):
    n = 1
    for dim in dims:
        n *= dim
    return n


def bucket(kind, key):
    if kind == "hash64":
        return key % 65536
    p = 0x0319
    for word in key:
        for i in range(4):
            p = ((p ^ (word >> (16 * i) & 0xffff)) * 397) % 65536
    return p


class Slot:
    """dims: behind the rows. any: one tensor, `value`, of those dims."""

    def __init__(self, name, dtype, dims, init=none(), any_value=None,
                 missing=()):
        self.name, self.dtype, self.dims = name, dtype, list(dims)
        self.init, self.any_value = init, any_value
        self.missing = missing  # parts without it
        self.rows = {}  # key or row -> numbers


class Variable:
    """sizes: of the parts, rows of index, buckets of hash; rows: key (hash128:
    a pair) or number -> numbers; chunk: of hash capacities."""

    def __init__(self, name, kind, dtype, shape, sizes, init=none(), slots=(),
                 args=(), chunk=4096, more=0, holes=0):
        self.name, self.kind, self.dtype = name, kind, dtype
        self.shape, self.sizes, self.init = list(shape), sizes, init
        self.slots, self.args = slots, list(args)
        self.chunk, self.more, self.holes = chunk, more, holes
        self.rows = {}

    def file(self, part):
        return f"{self.name.replace('/', '$')}^{part}"

    def keys(self, part):
        """Of a part, with the row that each has in the file."""
        begin = sum(self.sizes[:part])
        end = begin + self.sizes[part]
        if self.kind == "index":
            n = end - begin if self.shape else 1
            return [(begin + i, i) for i in range(n)]
        keys = [k for k in self.rows
                if begin <= bucket(self.kind, k) < end]
        # Rows that were freed lie between, and items are in no order.
        items = [(k, i + i * self.holes // 3) for i, k in enumerate(keys)]
        return items[1::2] + items[0::2]

    def tensor(self, dtype, dims, init, rows, items, capacity):
        """garbage where no key is."""
        width = product(dims)
        form = TYPES[dtype][1]
        size = struct.calcsize("<" + form)
        raw = bytearray(b"\xee" * (capacity * width * size))
        for key, row in items:
            struct.pack_into(f"<{width}{form}", raw, row * width * size,
                             *rows[key])
        shape = [capacity] + dims if self.shape else []
        return (struct.pack("<i", TYPES[dtype][0]) + numbers(shape) + init +
                bytes(raw))

    def encode(self, part):
        items = self.keys(part)
        out = struct.pack("<i", KINDS[self.kind])
        highest = max((row for _, row in items), default=-1)
        capacity = len(items)
        if self.kind == "index":
            out += struct.pack("<Q", sum(self.sizes[:part]))
        else:
            capacity = -(-(highest + 1) // self.chunk) * self.chunk
            capacity = max(capacity, self.chunk)
            out += struct.pack("<qQ", highest + 1, len(items))
            for key, row in items:
                a = key if self.kind == "hash128" else (key,)
                out += struct.pack(f"<{len(a)}QQ",
                                   *[k % (1 << 64) for k in a], row)
        out += self.tensor(self.dtype, self.shape[1:], self.init, self.rows,
                           items, capacity)
        here = [s for s in self.slots if part not in s.missing]
        out += struct.pack("<Q", len(here))
        for s in here:
            out += text(s.name) + struct.pack("<i", s.any_value is not None)
            if s.any_value is not None:
                dtype, form = TYPES[s.dtype]
                out += (struct.pack("<i", dtype) + numbers(s.dims) + s.init +
                        struct.pack(f"<{len(s.any_value)}{form}",
                                    *s.any_value))
            else:
                out += self.tensor(s.dtype, s.dims, s.init, s.rows, items,
                                   capacity + (self.more if self.kind != "index"
                                               else 0))
        return out

    def meta(self):
        out = struct.pack("<i", KINDS[self.kind]) + text(self.name)
        out += struct.pack("<Q", len(self.sizes))
        for i, size in enumerate(self.sizes):
            out += struct.pack("<QQ", i, size)
        out += numbers(self.shape, "q")
        out += struct.pack("<iQ", TYPES[self.dtype][0], len(self.args))
        for key, value in self.args:
            out += text(key) + text(value)
        return out


def write(root, name, variables, servers=3, step=None, queues=None,
          absent=()):
    """root/checkpoints lists an older one first. name "": root itself is it."""
    folder = os.path.join(root, name)
    os.makedirs(folder, exist_ok=True)

    def put(path, data):
        with open(path, "wb") as file:
            file.write(data)

    if name:
        put(os.path.join(root, "checkpoints"),
            struct.pack("<Q", 2) + text("older") + text(name))
    blob = struct.pack("<Q", len(variables)) + b"".join(
        v.meta() for v in variables)
    put(os.path.join(folder, "__meta__"),
        struct.pack("<QQ", servers, META) + text(blob))
    for v in variables:
        if v.name not in absent:
            for part in range(len(v.sizes)):
                put(os.path.join(folder, v.file(part)), v.encode(part))
    if step is not None:
        put(os.path.join(folder, ".meta"),
            b'{"user": {"x": [1, -2.5]}, "xdl_global_step": %d}' % step)
    if queues is not None:
        put(os.path.join(folder, "global_queue_meta"), text(
            struct.pack("<Q", len(queues)) +
            b"".join(text(q) + text(state) for q, state in queues.items())))
    return folder
