"""The format of checkpoints, read by others: the package safetensors, and the
reader of doc/checkpoint.md; and the commands that look at checkpoints.

PS_PLUS_BIN names the program; ps-checkpoint beside ps-probe writes what is read
here. Its numbers are those of test/unit/ckpt/ckpt_stage.h, worked out again.
"""

import json
import os
import re
import shutil
import subprocess
import tempfile
import unittest

BIN = os.environ.get("PS_PLUS_BIN", "build/release/src/cli/ps-plus")
PROBE = os.environ.get("PS_PROBE_BIN", "build/release/test/ps-probe")
MAKE = os.path.join(os.path.dirname(PROBE), "ps-checkpoint")
CHAIN = os.path.join(os.path.dirname(PROBE), "test_damage")
ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
VENV = os.path.join("build", "venv", "bin", "python")
PACKAGES = ["numpy", "safetensors", "xxhash"]

USERS = 50000
USER = 'user/"\u00e4\\'
BIAS = 5
TABLE = 131072 + 3

# What runs in build/venv, where the packages are.
CHECK = r'''
import json, sys
import numpy as np
import xxhash
from safetensors.numpy import load_file
from safetensors import safe_open

exec(open(sys.argv[2]).read())
folder, users, n_bias, n_table = sys.argv[1], *map(int, sys.argv[3:6])
USER = sys.argv[6]

def value(key, tensor, i):
    return np.float32(key % 100000 + tensor * 0.25 + i * 0.125)

def hash_of(k):
    with np.errstate(over="ignore"):
        x = k + np.uint64(0x9e3779b97f4a7c15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xbf58476d1ce4e5b9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94d049bb133111eb)
        return x ^ (x >> np.uint64(31))

def check(keys, values, tensor):
    want = (keys % 100000).astype(np.float64)[:, None] + tensor * 0.25 + \
        np.arange(values.shape[1])[None, :] * 0.125
    assert values.dtype == np.float32
    assert (values == want.astype(np.float32)).all()

# The package opens each file and finds keys, values and slots by name.
found = []
for lane, begin, end in [(7, 0, 32768), (9, 32768, 65536)]:
    t = load_file(f"{folder}/lane-{lane}.safetensors")
    at = f"{USER}/{begin}-{end}/"
    keys = t[at + "keys"]
    assert keys.dtype == np.uint64
    buckets = hash_of(keys) >> np.uint64(48)
    assert ((buckets >= begin) & (buckets < end)).all()
    check(keys, t[at + "values"], 0)
    check(keys, t[at + "slot/acc"], 1)
    check(keys, t[at + "slot/m"], 2)
    found += keys.tolist()
    names = {at + "keys", at + "values", at + "slot/acc", at + "slot/m",
             f"table/{begin}-{end}/keys", f"table/{begin}-{end}/values"}
    if lane == 7:
        names.add("bias/0-65536/values")
        check(np.arange(n_bias), t["bias/0-65536/values"], 0)
    assert set(t) == names, set(t)
    t = load_file(f"{folder}/lane-{lane}.state.safetensors")
    assert t["windows/fate"].shape == (2 if lane == 7 else 0, 256)
    if lane == 7:
        assert t["windows/next"].tolist() == [9, 1]
        assert t["windows/fate"][0][7] == -42
        assert t["windows/canceled"].tolist()[0] == [0, 2**63 + 1, 0, 0]
        assert t["late/body"].tobytes() == b"late"
        assert t["chains/definition"].tobytes() == \
            b"BuildHashSlice(insert)>AdagradUpdater"
with safe_open(f"{folder}/lane-7.safetensors", "np") as f:
    assert f.metadata() == {"format": "ps-plus checkpoint"}
assert sorted(found) == list(range(1, users + 1))

# The reader of the documentation.
got = rows(folder, USER)
assert sorted(got) == list(range(1, users + 1))
for key in [1, 2, users // 2, users]:
    for tensor, vector in enumerate(got[key]):
        assert vector.tolist() == [value(key, tensor, i) for i in range(3)]
got = rows(folder, "table")
assert sorted(got) == list(range(n_table))
assert got[n_table - 1][0].tolist() == [value(n_table - 1, 0, 0),
                                        value(n_table - 1, 0, 1)]
assert sorted(rows(folder, "bias")) == list(range(n_bias))

# The checksums, and that they cover every byte of every file.
text = open(f"{folder}/manifest.json", "rb").read()
assert text[-29:] == (",\n\"xxh3\":\"%s\"}\n" %
                      xxhash.xxh3_64_hexdigest(text[:-29])).encode()
blocks = 0
for lane in json.loads(text)["lanes"]:
    raw = open(f"{folder}/lane-{lane['lane']}.json", "rb").read()
    assert len(raw) == lane["index_bytes"]
    assert xxhash.xxh3_64_hexdigest(raw) == lane["index_xxh3"]
    index = json.loads(raw)
    for file in index["files"]:
        raw = open(f"{folder}/{file['name']}", "rb").read()
        assert len(raw) == file["size"]
        head = raw[:file["header_bytes"]]
        assert xxhash.xxh3_64_hexdigest(head) == file["header_xxh3"]
        covered = len(head)
        for t in file["tensors"]:
            item = {"U64": 8, "F32": 4, "U8": 1, "I8": 1}[t["dtype"]]
            row = item * int(np.prod(t["shape"][1:], dtype=np.int64))
            for i, want in enumerate(t["xxh3"]):
                begin = i * t["block_rows"]
                end = min(begin + t["block_rows"], t["shape"][0])
                piece = raw[t["offset"] + begin * row:t["offset"] + end * row]
                assert xxhash.xxh3_64_hexdigest(piece) == want
                covered += len(piece)
                blocks += 1
        assert covered == len(raw)
print(f"{len(found)} users, {blocks} blocks")
'''


# An increment of a checkpoint with copies of former lanes; stdin: the rows that
# the shards had at the cut, late frames applied.
CHECK_CHAIN = r'''
import glob, json, struct, sys
import numpy as np
from safetensors.numpy import load_file

exec(open(sys.argv[2]).read())
folder = sys.argv[1]
told = {1: {}, 2: {}}
for line in sys.stdin:
    variable, key, *values = line.split()
    told[int(variable)][int(key)] = np.array(
        [float.fromhex(v) for v in values], np.float32)

manifest = json.load(open(f"{folder}/manifest.json"))
assert (manifest["cut"], manifest["base"]) == (6, 5)
session, = manifest["sessions"]
assert (session["session"], session["worker"]) == (5, 3)
assert bytes.fromhex(session["position"]).decode() == folder.split("/")[-1]
got = {1: rows(folder, "hash"), 2: rows(folder, "sums")}

# The late frames, by the document.
lates = applied = 0
for lane in (20, 21):
    t = load_file(f"{folder}/lane-{lane}.state.safetensors")
    text, chains, at = t["chains/definition"].tobytes().decode(), {}, 0
    for number, size in zip(t["chains/id"].tolist(),
                            t["chains/bytes"].tolist()):
        chains[number] = text[at:at + size]
        at += size
    bodies, start = t["late/body"].tobytes(), 0
    for i, size in enumerate(t["late/bytes"].tolist()):
        assert (t["late/session"][i], t["late/cut"][i]) == (5, 5)
        body = bodies[start:start + size]
        start += size
        lates += 1
        n_ops, zero = struct.unpack_from("<II", body)
        at = 8 + 48 * n_ops
        for k in range(n_ops):
            (chain, variable, begin, end, n_keys, n_params, dim, n_values,
             zero) = struct.unpack_from("<QIIIIIIQQ", body, 8 + 48 * k)
            assert chains[chain].endswith(">AdagradUpdater")
            keys = np.frombuffer(body, "<u8", n_keys, at)
            at += 8 * n_keys
            rate, _ = np.frombuffer(body, "<f8", n_params, at)
            at += 8 * n_params
            g = np.frombuffer(body, "<f4", n_values, at).reshape(-1, dim)
            at += (4 * n_values + 7) // 8 * 8
            for key, x in zip(keys.tolist(), g):
                v, a = got[variable][key]
                a = a + x * x
                got[variable][key] = (
                    v - np.float32(rate) * x / np.sqrt(a), a)
                applied += 1
        assert at == size
    assert start == len(bodies)
assert lates == 2 and applied == 10, (lates, applied)

# Bit for bit, but what was worked out above: an ulp or so.
for variable, want in told.items():
    assert sorted(got[variable]) == sorted(want), variable
    for key, values in want.items():
        mine = np.concatenate(got[variable][key])
        near = variable == 1 and 1001 <= key <= 1010
        assert np.allclose(mine, values, 1e-6, 0) if near else \
            mine.tobytes() == values.tobytes(), (variable, key, mine, values)

# The lanes, and copies of the former ones: whose numbers are settled.
for lane in (20, 21):
    t = load_file(f"{folder}/lane-{lane}.state.safetensors")
    lanes = t["lanes/lane"].tolist()
    assert lanes[0] == lane and set(lanes[1:]) == {lane - 13}, lanes
    assert t["late/seq"].tolist() == [3 if lane == 20 else 2]
    assert t["lanes/variable"][0] == 0 and t["lanes/end"][0] == 65536
    same = t["lanes/same"].tolist()
    at = 0
    for i, n in enumerate(t["lanes/windows"].tolist()):
        if same[i]:  # as an earlier one, which is of the same lane
            assert lanes[same[i] - 1] == lanes[i] and same[same[i] - 1] == 0
            continue
        # Numbers before the cut: HASH, and SUMS, which is all on lane 20; on
        # the former lanes HASH. That of the late frame is the next.
        assert t["windows/session"][at:at + n].tolist() == [5] * n
        want = 3 if i == 0 and lane == 20 else 2
        assert t["windows/next"][at:at + n].tolist() == [want] * n, (i, want)
        assert not t["windows/fate"][at:at + n].any()
        at += n
    assert at == len(t["windows/session"]) and any(same), same
    assert len(t["gaps/first"]) == t["lanes/gaps"].sum() == 0
print(f"{sum(map(len, got.values()))} rows, {lates} late frames")
'''


def find_packages():
    """Why the packages cannot be had; None: they are there."""
    probe = [VENV, "-c", "import " + ", ".join(PACKAGES)]
    if os.path.exists(os.path.join(ROOT, VENV)) and \
            subprocess.run(probe, cwd=ROOT, capture_output=True).returncode == 0:
        return None
    done = subprocess.run(
        ["bash", "-c", "set -euo pipefail; . script/lib.sh; need_venv; "
         "timeout 90 build/venv/bin/pip -q install " + " ".join(PACKAGES)],
        cwd=ROOT, capture_output=True, text=True)
    if done.returncode == 0 and subprocess.run(
            probe, cwd=ROOT, capture_output=True).returncode == 0:
        return None
    said = (done.stdout + done.stderr).strip().split("\n")
    return "pip cannot get " + " ".join(PACKAGES) + ": " + said[-1][:100]


def run(*words):
    return subprocess.run([BIN, *words], capture_output=True, text=True,
                          timeout=60)


class TestFormat(unittest.TestCase):
    deadline = 180

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="ps-plus-test-")
        self.addCleanup(shutil.rmtree, self.folder)
        self.url = "file://" + self.folder

    def make(self, cut, name, users=20):
        done = subprocess.run([MAKE, self.url, str(cut), name, str(users)],
                              capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def reader(self):
        """That of the documentation, as a file."""
        with open(os.path.join(ROOT, "doc", "checkpoint.md"),
                  encoding="utf-8") as f:
            reader = re.search(r"```python\n(.*?)```", f.read(), re.S).group(1)
        code = os.path.join(self.folder, "reader.py")
        with open(code, "w", encoding="utf-8") as f:
            f.write(reader)
        return code

    def test_the_real_package_opens_the_files(self):
        why = find_packages()
        if why:
            self.skipTest(why)
        name = self.make(12, "monday", USERS)
        done = subprocess.run(
            [os.path.join(ROOT, VENV), "-c", CHECK,
             os.path.join(self.folder, name), self.reader(), str(USERS),
             str(BIAS), str(TABLE), USER],
            capture_output=True, text=True, timeout=150)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(f"{USERS} users", done.stdout)

    def test_a_stranger_reads_an_increment(self):
        why = find_packages()
        if why:
            self.skipTest(why)
        made = subprocess.run([CHAIN, "write", self.url], capture_output=True,
                              text=True, check=True)
        done = subprocess.run(
            [os.path.join(ROOT, VENV), "-c", CHECK_CHAIN,
             os.path.join(self.folder, "ckpt-000000000006-1"), self.reader()],
            input=made.stdout, capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stdout, "3032 rows, 2 late frames\n")

    def test_checkpoints_lists_the_newest_first(self):
        self.make(9, "sunday")
        self.make(12, "monday")
        os.mkdir(os.path.join(self.folder, ".new-000000000013-3"))
        done = run("checkpoints", self.url, "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        found = json.loads(done.stdout)["checkpoints"]
        self.assertEqual([x["state"] for x in found],
                         ["unfinished", "whole", "whole"])
        self.assertEqual([x["cut"] for x in found], [13, 12, 9])
        self.assertEqual(found[1]["name"], "monday")
        self.assertEqual(found[1]["rows"], 20 + BIAS + TABLE)
        done = run("checkpoints", "-cp", self.url)
        lines = done.stdout.split("\n")
        self.assertIn("ckpt-000000000012-3", lines[2])
        self.assertIn("whole", lines[2])

    def test_verify_names_the_damaged_file(self):
        name = self.make(12, "monday")
        self.assertEqual(run("verify", self.url).returncode, 0)
        path = os.path.join(self.folder, name, "lane-9.safetensors")
        with open(path, "r+b") as f:
            f.seek(-1, os.SEEK_END)
            last = f.read(1)[0]
            f.seek(-1, os.SEEK_END)
            f.write(bytes([last ^ 1]))
        for words in [[], ["monday"], ["12"], [name]]:
            done = run("verify", self.url, *words)
            self.assertEqual(done.returncode, 1)
            self.assertIn("lane-9.safetensors", done.stderr)
            self.assertIn("table/32768-65536/values", done.stderr)
        done = run("verify", self.url, "--json")
        self.assertEqual(done.returncode, 1)
        self.assertIs(json.loads(done.stdout)["good"], False)

    def test_verify_names_what_is_newer_and_damaged(self):
        good, old, new = self.make(12, ""), self.make(13, ""), self.make(14, "")
        os.mkdir(os.path.join(self.folder, ".new-000000000015-3"))
        for file in (f"{old}/manifest.json", f"{new}/lane-9.json"):
            with open(os.path.join(self.folder, file), "r+b") as f:
                f.seek(40)
                byte = f.read(1)[0]
                f.seek(40)
                f.write(bytes([byte ^ 1]))
        done = run("verify", self.url)
        self.assertEqual(done.returncode, 1)
        self.assertIn(f"{good} is good", done.stdout)
        self.assertIn(f"{old} is damaged: manifest.json", done.stderr)
        self.assertIn(f"{new} is damaged: lane-9.json", done.stderr)
        self.assertNotIn(".new-", done.stderr)
        done = run("verify", self.url, "--json")
        self.assertEqual(done.returncode, 1)
        told = json.loads(done.stdout)
        self.assertEqual((told["folder"], told["good"], told["passed_over"]),
                         (good, False, [new, old]))
        self.assertEqual(run("verify", self.url, "12").returncode, 0)

    def test_a_checkpoint_without_an_index_keeps_its_name(self):
        name = self.make(12, "thu")
        os.remove(os.path.join(self.folder, name, "lane-9.json"))
        done = run("checkpoints", self.url)
        self.assertRegex(done.stdout, rf"{name} +12 thu +20\d\d-.* damaged")
        done = run("verify", self.url, "thu")
        self.assertEqual(done.returncode, 1)
        self.assertIn(f"{name}: lane-9.json", done.stderr)

    def test_export_takes_the_newest_that_is_no_increment(self):
        subprocess.run([CHAIN, "write", self.url], capture_output=True,
                       check=True)
        words = ("--text", self.url, "--variable", "hash", "-o",
                 os.path.join(self.folder, "out"))
        done = run("export", *words)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("ckpt-000000000005-1: 1 files", done.stdout)
        done = run("export", *words[:2], "6", *words[2:])
        self.assertEqual(done.returncode, 1)
        self.assertIn("ps-plus compact", done.stderr)

    def test_inspect_shows_rows(self):
        self.make(12, "monday")
        done = run("inspect", self.url, "monday")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("AdagradUpdater", done.stdout)
        self.assertIn("acc m", done.stdout)
        done = run("inspect", self.url, "--variable", USER, "--rows", "99",
                   "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        rows = json.loads(done.stdout)["shown"]
        self.assertEqual(sorted(int(r["key"]) for r in rows),
                         list(range(1, 21)))
        for r in rows:
            key = int(r["key"])
            self.assertEqual(r["values"], [key, key + 0.125, key + 0.25])
            self.assertEqual(r["slots"]["m"],
                             [key + 0.5, key + 0.625, key + 0.75])
        done = run("inspect", self.url, "--variable", "bias", "--rows", "2")
        self.assertIn("\n1  values 1\n", done.stdout)
        self.assertNotIn("\n2  values", done.stdout)

    def test_what_is_not_there_is_said(self):
        for words in (["checkpoints", self.url + "/no"],
                      ["verify", self.url], ["inspect", self.url]):
            done = run(*words)
            self.assertEqual(done.returncode, 1, words)
            self.assertIn("there ", done.stderr)
        self.make(12, "monday")
        done = run("verify", self.url, "tuesday")
        self.assertEqual(done.returncode, 1)
        self.assertIn("ckpt-000000000012-3", done.stderr)
        done = run("inspect", self.url, "--variable", "usr")
        self.assertEqual(done.returncode, 1)
        self.assertIn("usr", done.stderr)
        for words in (["checkpoints"], ["checkpoints", "none://"],
                      ["checkpoints", "hdfs://x"], ["verify", "a", "b", "c"]):
            self.assertEqual(run(*words).returncode, 2, words)


if __name__ == "__main__":
    unittest.main()
