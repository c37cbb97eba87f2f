"""ps-plus import and export: checkpoints of the original, written here by
original.py, read back from our files with nothing but Python.
"""

import json
import os
import random
import struct
import subprocess
import unittest

import cluster
import original
from original import Slot, Variable

FORMS = {"U64": "Q", "I64": "q", "I32": "i", "I16": "h", "I8": "b",
         "F32": "f", "F64": "d", "U8": "B"}
MASK = (1 << 64) - 1


def tensors(path):
    """name -> (dtype, shape, numbers as bytes)"""
    with open(path, "rb") as file:
        data = file.read()
    start = 8 + struct.unpack_from("<Q", data)[0]
    header = json.loads(data[8:start])
    header.pop("__metadata__", None)
    return {name: (t["dtype"], t["shape"],
                   data[start + t["data_offsets"][0]:
                        start + t["data_offsets"][1]])
            for name, t in header.items()}


def rows_of(tensor):
    """Each row as bytes."""
    dtype, shape, raw = tensor
    size = len(raw) // shape[0] if shape[0] else 0
    return [raw[i * size:(i + 1) * size] for i in range(shape[0])]


def unpack(tensor):
    return struct.unpack(f"<{len(tensor[2]) // struct.calcsize(FORMS[tensor[0]])}"
                         f"{FORMS[tensor[0]]}", tensor[2])


def pack(dtype, values):
    return struct.pack(f"<{len(values)}{FORMS[dtype]}", *values)


def float32(x):
    return struct.unpack("<f", struct.pack("<f", x))[0]


def some(random_, dtype, n):
    if dtype == "F32":
        return [float32(random_.gauss(0, 1)) for _ in range(n)]
    if dtype == "F64":
        return [random_.gauss(0, 1) for _ in range(n)]
    top = 1 << (8 * struct.calcsize(FORMS[dtype]) - 1)
    return [random_.randrange(-top, top) for _ in range(n)]


def fill(v, r, keys):
    width = original.product(v.shape[1:])
    for key in keys:
        v.rows[key] = some(r, v.dtype, width)
        for s in v.slots:
            if s.any_value is None:
                s.rows[key] = some(r, s.dtype, original.product(s.dims))
    return v


def thirds(total):
    return [total // 3, total // 4, total - total // 3 - total // 4]


def model(r):
    """All kinds, types, initializers and slots, in several parts."""
    key = lambda: r.randrange(-1 << 63, 1 << 63)
    buckets = thirds(65536)
    out = [
        fill(Variable("emb/user", "hash64", "F32", [100, 8], buckets,
                      original.truncated_normal(7, 0.5, 0.25), [
                          Slot("emb/user_UPDATED_3", "I64", []),
                          Slot("adagrad_accumulation", "F32", [8],
                               original.constant(0.125), missing=(1,))],
                      [("hash64", "true"), ("batch_read", "3000"),
                       ("save", "true")], holes=2), r,
             {key() for _ in range(5000)}),
        fill(Variable("older", "hash64", "F32", [64, 4], [65536],
                      original.normal(1, 0, 2),
                      [Slot("accumulation", "F32", [4])], chunk=1024,
                      more=1024, holes=60), r, {key() for _ in range(49)}),
        fill(Variable("pair", "hash128", "F32", [9, 4], buckets,
                      original.uniform_unit_scaling(3, 2, [9, 4]),
                      [Slot("accumulation", "F32", [4], original.constant(0))]),
             r, {(key() & MASK, key() & MASK) for _ in range(700)}),
        fill(Variable("many", "hash64", "I64", [1, 2], buckets), r,
             {key() for _ in range(300)}),
        fill(Variable("double", "hash64", "F64", [1, 2, 3], [65536],
                      original.orthogonal(1, 2, 3)), r, range(-20, 20)),
        Variable("empty", "hash64", "F32", [1, 3], buckets,
                 original.uniform_unit_scaling(3, 2, [9, 3])),
        fill(Variable("dense/w", "index", "F32", [1000, 3], thirds(1000),
                      original.variance_scaling(5, 0.5, "fan_in", "normal",
                                                [1000, 3]), [
                          Slot("linear", "F32", [3], original.constant(0)),
                          Slot("accum", "F32", [3], original.constant(0.1))]),
             r, range(1000)),
        fill(Variable("dense/adam", "index", "F32", [10], thirds(10),
                      original.orthogonal(1, 2, 3), [
                          Slot("beta1", "F64", [], original.constant(0.9),
                               any_value=[0.25]),
                          Slot("m", "F64", []), Slot("v", "F64", []),
                          Slot("g_old", "F32", [3, 2], any_value=list(
                              range(6)))]), r, range(10)),
        fill(Variable("cube", "index", "F32", [4, 2, 3], [4],
                      original.constant(0.5)), r, range(4)),
        fill(Variable("bias", "index", "F32", [], [1]), r, [0]),
        fill(Variable("xdl_global_step", "index", "I64", [], [1]), r, [0]),
        Variable("not/saved", "hash64", "F32", [1, 3], buckets,
                 args=[("save", "false")]),
    ]
    out += [fill(Variable(f"type/{t}", "index", t, [7, 2], [3, 0, 4]), r,
                 range(7)) for t in ("I8", "I16", "I32", "F64")]
    return out


class Test(unittest.TestCase):
    def setUp(self):
        self.folder = cluster.make_folder()
        self.old = os.path.join(self.folder, "old")
        self.new = os.path.join(self.folder, "new")
        self.out = os.path.join(self.folder, "out")
        self.bin = cluster.program("PS_PLUS_BIN")

    def tearDown(self):
        cluster.remove_folder(self.folder)

    def run_bin(self, *words, status=0):
        done = subprocess.run([self.bin, *words], capture_output=True,
                              text=True, timeout=60, check=False)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return done

    def check_served(self, v, found, at, parts):
        """All rows of all parts, bit for bit."""
        seen = 0
        for begin, end in parts:
            head = f"{at}/{begin}-{end}/"
            values = rows_of(found[head + "values"])
            keys = list(range(len(values)))
            if v.kind != "index":
                keys = [k - (1 << 64) if k >> 63 else k
                        for k in unpack(found[head + "keys"])]
            self.assertEqual(len(set(keys)), len(keys))
            seen += len(keys)
            for key, row in zip(keys, values):
                self.assertEqual(row, pack("F32", v.rows[key]), (at, key))
            for s in v.slots:
                name = head + "slot/" + s.name
                if name not in found:
                    continue
                for key, row in zip(keys, rows_of(found[name])):
                    want = s.rows[key]
                    if s.missing and self.part_of(v, key) in s.missing:
                        want = [0.125] * 8
                    self.assertEqual(row, pack("F32", want), (name, key))
        self.assertEqual(seen, len(v.rows), at)

    @staticmethod
    def part_of(v, key):
        at = original.bucket(v.kind, key)
        return [sum(v.sizes[:i + 1]) > at
                for i in range(len(v.sizes))].index(True)

    def check_others(self, v, found):
        head = f"{v.name}/other/"
        keys = list(v.rows)
        if v.kind == "index":
            keys = sorted(keys)
        elif head + "keys" in found:
            raw = unpack(found[head + "keys"])
            if v.kind == "hash128":
                self.assertEqual(found[head + "keys"][1][1], 2)
                raw = [k & MASK for k in raw]
                raw = list(zip(raw[0::2], raw[1::2]))
            self.assertEqual(sorted(raw), sorted(keys))
            keys = raw
        if head + "values" in found:
            dtype, shape, _ = found[head + "values"]
            self.assertEqual(dtype, v.dtype)
            self.assertEqual(shape, [len(keys)] + v.shape[1:])
            for key, row in zip(keys, rows_of(found[head + "values"])):
                self.assertEqual(row, pack(v.dtype, v.rows[key]))
        for s in v.slots:
            if head + "any/" + s.name in found:
                tensor = found[head + "any/" + s.name]
                self.assertEqual(tensor[1], s.dims or [1])
                self.assertEqual(tensor[2], pack(s.dtype, s.any_value))
            elif head + "slot/" + s.name in found:
                tensor = found[head + "slot/" + s.name]
                self.assertEqual(tensor[0], s.dtype)
                for key, row in zip(keys, rows_of(tensor)):
                    self.assertEqual(row, pack(s.dtype, s.rows[key]))

    def test_all_kinds_and_types_are_there_bit_for_bit(self):
        variables = model(random.Random(1))
        original.write(self.old, "ckpt-.......1000", variables, step=1000,
                       queues={"q/1": b"state", "q2": b""},
                       absent=["not/saved"])
        told = json.loads(self.run_bin("import", self.old, "-o", self.new,
                                       "--json").stdout)
        self.assertEqual(told["from"], "ckpt-.......1000")
        self.assertEqual(told["xdl_global_step"], 1000)
        self.assertEqual(told["queues_not_imported"], ["q/1", "q2"])
        fates = {v["name"]: v["fate"] for v in told["variables"]}
        served = [n for n, fate in fates.items() if fate == "served"]
        self.assertEqual(sorted(served), sorted(
            ["emb/user", "older", "empty", "dense/w", "dense/adam", "cube",
             "bias"]))
        self.assertEqual(fates["not/saved"], "absent")
        folder = os.path.join(self.new, told["folder"])
        self.run_bin("verify", self.new)
        with open(os.path.join(folder, "manifest.json"),
                  encoding="utf-8") as file:
            manifest = json.load(file)
        self.assertEqual(manifest["name"], "ckpt-.......1000")
        mine = {v["name"]: v for v in manifest["variables"]}
        self.assertEqual(sorted(mine), sorted(served))
        rows = tensors(os.path.join(folder, "lane-1.safetensors"))
        others = tensors(os.path.join(folder, "lane-1.other.safetensors"))
        for v in variables:
            if v.name in mine:
                parts = [(p["begin"], p["end"]) for p in manifest["parts"]
                         if p["variable"] == mine[v.name]["id"]]
                self.check_served(v, rows, v.name, parts)
            self.check_others(v, others)
        want = [f"{v.name}/other/{x}" for v in variables
                if fates[v.name] == "kept"
                for x in ["values"] + ["keys"] * (v.kind != "index") +
                [f"slot/{s.name}" for s in v.slots]]
        want += ["emb/user/other/keys",
                 "emb/user/other/slot/emb/user_UPDATED_3"]
        want += [f"dense/adam/other/{x}" for x in
                 ("any/beta1", "any/g_old", "slot/m", "slot/v")]
        self.assertEqual(sorted(others), sorted(want))
        told = json.loads(self.run_bin("inspect", self.new, "--json").stdout)
        self.assertEqual({t["name"]: (t["dtype"], t["shape"])
                          for t in told["others"]},
                         {name: (t[0], t[1]) for name, t in others.items()})
        self.assertIn("kept, not served:", self.run_bin("inspect",
                                                        self.new).stdout)
        self.check_declared(mine)

    def check_declared(self, mine):
        user = mine["emb/user"]
        self.assertEqual((user["kind"], user["dim"]), (2, 8))
        self.assertEqual(user["updater"], "AdagradUpdater")
        self.assertEqual(user["param1"], 0.125)
        self.assertEqual((user["init_kind"], user["init_a"], user["init_b"],
                          user["init_seed"]), (3, 0.5, 0.25, 7))
        self.assertEqual(user["batch_read"], 3000)
        self.assertEqual(mine["older"]["updater"], "MomentumUpdater")
        self.assertEqual(mine["dense/w"]["updater"], "FtrlUpdater")
        self.assertEqual(mine["dense/w"]["param2"], 0.1)
        self.assertEqual(mine["dense/w"]["rows"], 1000)
        # sqrt of the stored 0.5
        self.assertAlmostEqual(mine["dense/w"]["init_b"], 0.5 ** 0.5, places=6)
        self.assertEqual(mine["dense/adam"]["updater"], "AssignUpdater")
        self.assertEqual((mine["dense/adam"]["rows"], mine["dense/adam"]["dim"]),
                         (10, 1))
        self.assertEqual((mine["cube"]["rows"], mine["cube"]["dim"]), (4, 6))
        self.assertEqual((mine["cube"]["init_kind"], mine["cube"]["init_a"]),
                         (0, 0.5))
        # m = sqrt(3 / 9) * 2
        self.assertEqual(mine["empty"]["init_kind"], 1)
        self.assertAlmostEqual(mine["empty"]["init_b"], 2 / 3 ** 0.5, places=6)

    def test_a_dry_run_lists_and_writes_nothing(self):
        variables = model(random.Random(2))
        original.write(self.old, "", variables, queues={"q": b""})
        text = self.run_bin("import", self.old, "--dry-run").stdout
        for v in variables:
            self.assertIn(v.name, text)
        self.assertIn("keys of 128 bits", text)
        self.assertIn("file queue \"q\" is not imported", text)
        self.assertIn("nothing was written", text)
        text = self.run_bin("import", self.old, "--dry-run", "--json").stdout
        self.assertIn(" 0.1,\n", text)  # not 0.10000000000000001
        self.run_bin("import", self.old, "-o", self.new, "--dry-run")
        self.assertFalse(os.path.exists(self.new))

    def test_each_import_is_the_newest_checkpoint(self):
        v = fill(Variable("a", "index", "F32", [2], [2]), random.Random(3),
                 range(2))
        original.write(self.old, "", [v])
        self.run_bin("import", self.old, "-o", self.new, "--name", "first")
        self.run_bin("import", self.old, "-o", self.new, "--name", "second")
        told = json.loads(self.run_bin("checkpoints", self.new, "--json").stdout)
        self.assertEqual([(c["cut"], c["name"], c["state"])
                          for c in told["checkpoints"]],
                         [(2, "second", "whole"), (1, "first", "whole")])

    def test_what_is_damaged_is_named_and_nothing_is_written(self):
        v = fill(Variable("a/b", "hash64", "F32", [2, 2], [40000, 25536]),
                 random.Random(4), range(100))
        folder = original.write(self.old, "x", [v])
        path = os.path.join(folder, "a$b^1")
        with open(path, "rb") as file:
            data = file.read()
        os.remove(path)
        done = self.run_bin("import", self.old, "-o", self.new, status=1)
        self.assertIn("x/a$b^1: it is missing", done.stderr)
        with open(path, "wb") as file:
            file.write(data[:-1])
        done = self.run_bin("import", self.old, "-o", self.new, status=1)
        self.assertIn("x/a$b^1: at byte", done.stderr)
        with open(path, "wb") as file:
            file.write(data.replace(struct.pack("<Q", 0x034ab8da0d1fbf01),
                                    struct.pack("<Q", 0xbad)))
        done = self.run_bin("import", self.old, "-o", self.new, status=1)
        self.assertIn("initializer 0000000000000bad is not known", done.stderr)
        self.assertFalse(os.path.exists(self.new))
        done = self.run_bin("import", self.new, "-o", self.new, status=1)
        self.assertIn("__meta__", done.stderr)

    def test_the_command_line_is_checked(self):
        for words in ((), ("x",), ("x", "-o", "none://"), ("x", "y", "-o", "z"),
                      ("x", "-o", "y", "-sp", "file:///z")):
            self.run_bin("import", *words, status=2)
        for words in ((), ("--text", "x"), ("x", "--variable", "a", "-o", "y")):
            self.run_bin("export", *words, status=2)

    def read_out(self, name):
        with open(os.path.join(self.out, name), encoding="utf-8") as file:
            return file.read()

    def small_model(self):
        user = Variable("emb/user", "hash64", "F32", [9, 2], [32768, 32768],
                        slots=[Slot("adagrad_accumulation", "F32", [2],
                                    original.constant(1)),
                               Slot("seen", "I64", [])])
        user.rows = {5: [0.5, 5.93432e-05], -1: [1e9, -123456.75]}
        user.slots[0].rows = {5: [1.0, 2.0], -1: [3.0, 4.0]}
        user.slots[1].rows = {5: [77], -1: [-8]}
        pair = Variable("pair", "hash128", "F64", [9, 1], [65536], slots=[
            Slot("beta1", "F64", [2], any_value=[0.9, 1e-20])])
        pair.rows = {(3, MASK): [1 / 3]}
        w = Variable("w", "index", "F32", [3, 2], [1, 2],
                     slots=[Slot("accumulation", "F32", [2])])
        w.rows = {0: [0.0, 1.0], 1: [2.5, -0.25], 2: [1e-3, 100000.5]}
        w.slots[0].rows = {0: [1.0, 1.0], 1: [2.0, 2.0], 2: [3.0, 3.0]}
        step = Variable("xdl_global_step", "index", "I64", [], [1])
        step.rows = {0: [1 << 40]}
        small = Variable("small", "index", "I8", [2, 2], [1, 1])
        small.rows = {0: [1, -1], 1: [127, -128]}
        return [user, pair, w, step, small]

    def test_text_is_that_of_the_original(self):
        original.write(self.old, "", self.small_model())
        self.run_bin("import", self.old, "-o", self.new)
        os.makedirs(self.out)
        with open(os.path.join(self.out, "w"), "w", encoding="utf-8") as file:
            file.write("old " * 1000)
        done = self.run_bin(
            "export", "--text", self.new, "--variable",
            "emb/user,pair,w,nobody,xdl_global_step,small", "-o", self.out,
            "--with-slots")
        self.assertIn("nobody", done.stderr)
        self.assertEqual(sorted(os.listdir(self.out)), sorted(
            ["emb&user", "emb&user&adagrad_accumulation", "emb&user&seen",
             "pair", "pair&beta1", "w", "w&accumulation", "xdl_global_step",
             "small"]))
        self.assertEqual(sorted(self.read_out("emb&user").splitlines()),
                         ["-1,1000000000,-123457", "5,0.5,0.0000593432"])
        self.assertEqual(
            sorted(self.read_out("emb&user&adagrad_accumulation").splitlines()),
            ["-1,3,4", "5,1,2"])
        self.assertEqual(sorted(self.read_out("emb&user&seen").splitlines()),
                         ["-1,-8", "5,77"])
        self.assertEqual(self.read_out("pair"), "3,-1,0.333333\n")
        self.assertEqual(self.read_out("pair&beta1"),
                         "0.9,0.00000000000000000001\n")
        self.assertEqual(self.read_out("w"), "0,1,2.5,-0.25,0.001,100000\n")
        self.assertEqual(self.read_out("w&accumulation"), "1,1,2,2,3,3\n")
        self.assertEqual(self.read_out("xdl_global_step"), "1099511627776\n")
        self.assertEqual(self.read_out("small"), "1,-1,127,-128\n")
        self.run_bin("export", "--text", self.new, "--variable", "w,small",
                     "-o", self.out, "--with-enter")
        self.assertEqual(self.read_out("w"), "0,1\n2.5,-0.25\n0.001,100000\n")
        self.assertEqual(self.read_out("small"), "1,-1\n127,-128\n")

    def check_texts(self):
        self.run_bin("export", "--text", self.new, "--variable",
                     "w,emb/user", "-o", self.out)
        self.assertEqual(self.read_out("w"), "0,1,2.5,-0.25,0.001,100000\n")
        self.assertEqual(sorted(self.read_out("emb&user").splitlines()),
                         ["-1,1000000000,-123457", "5,0.5,0.0000593432"])

    def shown(self, name):
        """Rows of the newest checkpoint, by key."""
        told = json.loads(self.run_bin("inspect", self.new, "--json",
                                       "--variable", name, "--rows",
                                       "1000000").stdout)
        return {int(row["key"]): row for row in told["shown"]}

    def test_rows_and_slots_go_into_a_running_cluster(self):
        variables = self.small_model()
        more = fill(Variable("more", "hash64", "F32", [1, 8], [65536], slots=[
            Slot("accum", "F32", [8]), Slot("linear", "F32", [8])]),
                    random.Random(5), range(-4000, 4000))
        original.write(self.old, "", variables + [more])
        with cluster.Cluster(servers=2, scheduler_options=(
                "-cp", f"file://{self.new}")) as c:
            c.wait_serving()
            c.ask("fill", "mine", 100, 2)
            done = self.run_bin("import", self.old, "-sp", c.kv, status=1)
            self.assertIn("3 variables were refused", done.stderr)
            self.assertIn("with the rows", done.stdout)
            self.assertIn("loaded from ckpt-", done.stdout)
            for name in ("pair", "xdl_global_step", "small"):
                self.assertRegex(done.stdout, rf"(?m)^{name} .*refused: ")
            names = {v["name"] for v in c.status()["variables"]}
            self.assertEqual(names, {"mine", "emb/user", "w", "more"})
            # The cluster's own checkpoint is the newest, and has all.
            before = [x["folder"] for x in self.checkpoints()]
            self.assertEqual(len(before), 2)
            rows = self.shown("more")
            self.assertEqual(len(self.shown("mine")), 100)
            # What is there is not overwritten, and nothing is left of it.
            done = self.run_bin("import", self.old, "-sp", c.kv, status=1)
            self.assertRegex(done.stderr, '"(w|more|emb/user)" is there '
                             "already: drop it first")
            self.assertEqual([x["folder"] for x in self.checkpoints()], before)
            self.assertEqual(len(c.ask("dump", "mine", 100, 2)["rows"]),
                             100)
        self.assertEqual(len(rows), len(more.rows))
        for key, values in more.rows.items():
            row = rows[key & MASK]
            self.assertEqual(row["values"], values)
            self.assertEqual(row["slots"],
                             {s.name: s.rows[key] for s in more.slots})
        self.assertEqual(self.shown("emb/user")[5]["slots"],
                         {"adagrad_accumulation": [1.0, 2.0]})
        self.assertEqual(self.shown("w")[2]["slots"],
                         {"accumulation": [3.0, 3.0]})
        self.check_texts()

    def checkpoints(self):
        return json.loads(self.run_bin("checkpoints", self.new,
                                       "--json").stdout)["checkpoints"]

    def test_a_cluster_that_keeps_no_checkpoints_gets_no_slots_unasked(self):
        original.write(self.old, "", self.small_model())
        with cluster.Cluster(servers=2) as c:
            c.wait_serving()
            done = self.run_bin("import", self.old, "-sp", c.kv, status=1)
            self.assertRegex(done.stderr, '"(emb/user|w)" has the slot '
                             '"(adagrad_)?accumulation", which cannot be '
                             "pushed, and the cluster has no place")
            self.assertEqual(c.status()["variables"], [])
            done = self.run_bin("import", self.old, "-sp", c.kv,
                                "--without-slots", status=1)
            self.assertIn("3 variables were refused", done.stderr)
            self.assertIn("slots cannot be pushed", done.stdout)
            self.assertIn("pushed: 5 rows", done.stdout)
            names = {v["name"] for v in c.status()["variables"]}
            self.assertEqual(names, {"emb/user", "w"})

    def test_values_are_pushed_where_slots_are_not_wanted(self):
        variables = self.small_model()
        more = fill(Variable("more", "hash64", "F32", [1, 8], [65536]),
                    random.Random(5), range(-20000, 20000))
        original.write(self.old, "", variables + [more])
        with cluster.Cluster(servers=2, scheduler_options=(
                "-cp", f"file://{self.new}")) as c:
            c.wait_serving()
            self.run_bin("import", self.old, "-sp", c.kv, "--without-slots",
                         status=1)
            self.run_bin("save", "-sp", c.kv)
            names = {v["name"] for v in c.status()["variables"]}
            self.assertEqual(names, {"emb/user", "w", "more"})
        self.check_texts()
        rows = self.shown("more")
        self.assertEqual(len(rows), len(more.rows))
        for key, values in more.rows.items():
            self.assertEqual(rows[key & MASK]["values"], values)

    def test_servers_start_from_what_was_imported(self):
        variables = {v.name: v for v in model(random.Random(6))}
        original.write(self.old, "x", list(variables.values()),
                       absent=["not/saved"])
        self.run_bin("import", self.old, "-o", self.new)
        with cluster.Cluster(servers=2, scheduler_options=(
                "-cp", f"file://{self.new}")) as c:
            c.wait_status("the rows are there", lambda status: sum(
                v["rows"] for v in status["variables"]) ==
                5000 + 49 + 1000 + 10 + 4 + 1)
            self.run_bin("save", "-sp", c.kv)
        for name, slots in (("emb/user", ["adagrad_accumulation"]),
                            ("older", ["accumulation"]),
                            ("dense/w", ["accum", "linear"]),
                            ("dense/adam", []), ("cube", []), ("bias", [])):
            told = json.loads(self.run_bin(
                "inspect", self.new, "--json", "--variable", name, "--rows",
                "100000").stdout)
            self.assertEqual(told["cut"], 2)
            v = variables[name]
            rows = {int(row["key"]): row for row in told["shown"]}
            self.assertEqual(len(rows), len(v.rows))
            for key, values in v.rows.items():
                row = rows[key & MASK]
                self.assertEqual(row["values"], values)
                self.assertEqual(sorted(row["slots"]), slots)
                for s in v.slots:
                    want = s.rows.get(key)
                    if s.missing and self.part_of(v, key) in s.missing:
                        want = [0.125] * 8
                    if s.name in slots:
                        self.assertEqual(row["slots"][s.name], want)


if __name__ == "__main__":
    unittest.main()
