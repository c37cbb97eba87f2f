#!/usr/bin/env python3
"""The rules of the house that a machine can check, read from the source.

    script/tidy.py [--build DIR]   checks the tree; with DIR, a build without
                                   sanitizers, the symbols of its objects too
    script/tidy.py --self-test     proves that each rule can fail

What is wrong is printed as path:line: rule: text. The last line counts:
`N passed, N failed`, one for each file and each object.
"""

import argparse
import json
import os
import re
import subprocess
import sys

LAYERS = [
    ["base"],
    ["kern", "fs", "net", "wire"],
    ["table", "plan", "coord"],
    ["udf", "ckpt", "stream"],
    ["client", "server", "scheduler"],
    ["local"],
    ["cli"],
]
LAYER = {folder: i for i, row in enumerate(LAYERS) for folder in row}

# Whose headers these are -> where in src/ they may be included. Tests may
# include what they need.
THIRD_PARTY = {
    "uv.h": r"src/net/",
    "immintrin.h": r"src/kern/kern_avx\w*\.c$",
    "xxhash.h": r"src/base/hash\.c$",
    "hwloc.h": r"src/cli/cores\.c$",
    "jansson.h": r"src/(cli/|client/status_gather\.c$)",
    "psplus.h": r"src/",
    "psplus_plugin.h": r"src/udf/udf_plugin\.c$",
    "dlfcn.h": r"src/udf/udf_plugin\.c$",
    "Random123/": r"src/kern/",
    "cmocka.h": r"$^",
}
SYSTEM = set("""
assert ctype dirent errno execinfo fcntl fenv float ftw getopt grp inttypes limits
locale malloc math poll pthread pwd sched setjmp signal spawn stdalign stdarg
stdatomic stdbool stddef stdint stdio stdlib stdnoreturn string strings syslog
termios threads time ucontext unistd wchar wctype
arpa/inet net/if netdb netinet/in netinet/tcp
sanitizer/asan_interface
sys/epoll sys/eventfd sys/file sys/inotify sys/ioctl sys/mman sys/prctl
sys/random sys/resource sys/sendfile sys/signalfd sys/socket sys/stat
sys/statfs sys/statvfs sys/syscall sys/sysinfo sys/time sys/timerfd sys/types
sys/uio sys/un sys/utsname sys/vfs sys/wait
linux/futex linux/magic linux/memfd
""".split())

FILE_LINES = 800
FUNCTION_LINES = 70
COLUMNS = 80

ALLOCATORS = ["malloc", "calloc", "realloc", "reallocarray", "free", "strdup",
              "strndup", "asprintf", "vasprintf", "posix_memalign",
              "aligned_alloc"]
BANNED = ["strcpy", "stpcpy", "strcat", "sprintf", "vsprintf", "gets", "atoi",
          "atol", "atoll", "atof", "alloca", "strtok"]
UNFINISHED = re.compile(r"\b(%s)\b" % "|".join(["TO" + "DO", "FIX" + "ME",
                                                "X" + "XX", "HA" + "CK"]))


def blank(match):
    """The same text with everything but its line ends made blank."""
    return re.sub(r"[^\n]", " ", match.group(0))


TOKENS = re.compile(
    r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'", re.S)


class Source:
    """A file of C: its lines, and its code without comments and strings."""

    def __init__(self, path, text):
        self.path = path
        self.text = text
        self.lines = text.split("\n")
        if self.lines and self.lines[-1] == "":
            self.lines.pop()
        self.code = TOKENS.sub(blank, text)
        self.code_lines = self.code.split("\n")
        self.in_src = path.startswith("src/")
        self.folder = path.split("/")[1] if self.in_src else ""

    def includes(self):
        for i, line in enumerate(self.lines):
            if not self.code_lines[i].startswith("#"):
                continue
            m = re.match(r'#\s*include\s*([<"])([^>"]+)[>"]', line)
            if m:
                yield i + 1, m.group(1), m.group(2)

    def calls(self, names):
        word = re.compile(r"(?<![\w.>])(%s)\s*\(" % "|".join(names))
        for i, line in enumerate(self.code_lines):
            for m in word.finditer(line):
                yield i + 1, m.group(1)


def rule_direction(s):
    """A folder includes itself and lower layers; examples see psplus.h."""
    for n, quote, name in s.includes():
        if quote != '"' or name in ("psplus.h", "psplus_plugin.h"):
            continue
        parts = name.split("/")
        if s.path.startswith("examples/") and len(parts) > 1:
            yield n, f"{name}: an example sees the public header only"
        if not s.in_src or s.folder not in LAYER:
            continue
        if len(parts) == 1:
            if s.folder != "base":
                yield n, f"{name}: write it as folder/file.h"
        elif parts[0] not in LAYER:
            yield n, f"{name}: no such layer"
        elif parts[0] != s.folder and LAYER[parts[0]] >= LAYER[s.folder]:
            yield n, f"{s.folder} must not include {parts[0]}"


def rule_folder(s):
    """Every folder of src/ is a layer."""
    if s.in_src and s.folder not in LAYER:
        yield 1, f"src/{s.folder} is in no layer"


def rule_third_party(s):
    """A third-party header is included in one folder only."""
    for n, quote, name in s.includes():
        if quote != "<" or re.sub(r"\.h$", "", name) in SYSTEM:
            continue
        for header, where in THIRD_PARTY.items():
            if name == header or (header[-1] == "/" and
                                  name.startswith(header)):
                if s.in_src and not re.match(where, s.path):
                    yield n, f"<{name}> is for {where} only"
                break
        else:
            yield n, f"<{name}> is neither a known system header nor in the " \
                     "table of third-party headers"


def rule_file_length(s):
    """A file has at most 800 lines."""
    if len(s.lines) > FILE_LINES:
        yield len(s.lines), f"{len(s.lines)} lines, at most {FILE_LINES}"


def rule_function_length(s):
    """A function has at most 70 lines, from its name to its brace."""
    lines = s.code_lines
    start = None
    for i, line in enumerate(lines):
        if line.startswith("{"):
            start = i
            while start > 0 and lines[start - 1].strip() and \
                    not re.search(r"[;}]\s*$|^#", lines[start - 1]):
                start -= 1
        elif line.startswith("}") and start is not None:
            if i - start + 1 > FUNCTION_LINES:
                yield start + 1, f"a function of {i - start + 1} lines, at " \
                                 f"most {FUNCTION_LINES}"
            start = None


def rule_columns(s):
    """A line has at most 80 columns."""
    for i, line in enumerate(s.lines):
        if len(line) > COLUMNS:
            yield i + 1, f"{len(line)} columns, at most {COLUMNS}"


def rule_blanks(s):
    """No tabs, no blanks at the end of a line, one line end at the end."""
    for i, line in enumerate(s.lines):
        if "\t" in line or "\r" in line:
            yield i + 1, "a tab or a carriage return"
        elif line != line.rstrip():
            yield i + 1, "blanks at the end"
    if s.text and (not s.text.endswith("\n") or s.text.endswith("\n\n")):
        yield len(s.lines), "the file must end with exactly one line end"


def rule_calls(s):
    """Memory is mem.c's; calls that cannot know their limits are nobody's."""
    names = list(BANNED)
    if s.in_src and s.path != "src/base/mem.c":
        names += ALLOCATORS
    for n, name in s.calls(names):
        yield n, f"{name}() is banned here"


def rule_unfinished(s):
    """Nothing says that it is unfinished."""
    for i, line in enumerate(s.lines):
        m = UNFINISHED.search(line)
        if m:
            yield i + 1, f"{m.group(1)}: finish it, or open an issue"


def rule_opening(s):
    """A file begins with a comment that says what it is, or, where its header
    says so, with its header."""
    name = os.path.basename(s.path)
    if name.endswith(".h"):
        want = f"/* {name} - "
        if not s.text.startswith(want):
            yield 1, f"a header begins with `{want}what it is for`"
    elif not re.match(r'/\*|#include "([\w/]+/)?%s\.h"' % re.escape(name[:-2]),
                      s.text):
        yield 1, "the file must begin with a comment or with its own header"


def rule_goto(s):
    """One way out: a goto goes to `out`."""
    for i, line in enumerate(s.code_lines):
        m = re.search(r"\bgoto\s+(\w+)", line)
        if m and m.group(1) != "out":
            yield i + 1, f"goto {m.group(1)}: the one label is `out`"


C_RULES = [rule_folder, rule_direction, rule_third_party, rule_file_length,
           rule_function_length, rule_columns, rule_blanks, rule_calls,
           rule_unfinished, rule_opening, rule_goto]
# Scripts and build files.
TEXT_RULES = [rule_file_length, rule_blanks, rule_unfinished]


def rules_for(path):
    if path.endswith((".c", ".h")):
        return C_RULES
    return TEXT_RULES


def check(path, text):
    s = Source(path, text)
    found = []
    for rule in rules_for(path):
        for line, what in rule(s):
            found.append(f"{path}:{line}: {rule.__name__[5:]}: {what}")
    return found


def check_names(paths):
    """A file's name is unique among the sources."""
    found = []
    seen = {}
    for path in paths:
        if path.startswith("src/") and path.endswith((".c", ".h")):
            name = os.path.basename(path)
            if name in seen:
                found.append(f"{path}:1: unique: {seen[name]} has that name")
            seen[name] = path
    return found


def check_symbols(path, names):
    """The global symbols of foo_bar.o start with foo_ or ps_."""
    word = re.split(r"[_.]", os.path.basename(path))[0]
    found = []
    for name in names:
        if name.startswith((word + "_", "ps_")):
            continue
        if name == "main" and path == "src/cli/main.c":
            continue
        found.append(f"{path}:1: symbols: {name} must start with {word}_ or "
                     "ps_, or be static")
    return found


def objects_of(build):
    """(source, object) for each object of src/ that has been built."""
    with open(os.path.join(build, "compile_commands.json")) as f:
        commands = json.load(f)
    for c in commands:
        source = os.path.relpath(os.path.join(c["directory"], c["file"]))
        path = os.path.join(c["directory"], c["output"])
        if source.startswith("src/") and os.path.exists(path):
            yield source, path


def global_symbols(path):
    text = subprocess.run(["nm", "-g", "--defined-only", "-P", path],
                          check=True, capture_output=True, text=True).stdout
    return [line.split()[0] for line in text.splitlines() if " " in line]


def tree():
    roots = ["src", "include", "test", "examples", "bench", "script", ".ci",
             "meson.build", "meson_options.txt"]
    for root in roots:
        if os.path.isfile(root):
            yield root
        for folder, folders, files in os.walk(root):
            folders[:] = sorted(x for x in folders if x != "__pycache__")
            for name in sorted(files):
                path = os.path.join(folder, name)
                kinds = (".c", ".h", ".py", ".sh", ".build")
                if name.endswith(kinds) or root in ("script", ".ci"):
                    yield path


def check_tree(build):
    found, good, bad = [], 0, 0
    paths = list(tree())
    for path in paths:
        with open(path, encoding="utf-8") as f:
            one = check(path, f.read())
        found += one
        bad += 1 if one else 0
        good += 0 if one else 1
    names = check_names(paths)
    found += names
    bad += len(names)
    n_objects = 0
    for source, path in objects_of(build) if build else []:
        one = check_symbols(source, global_symbols(path))
        found += one
        bad += 1 if one else 0
        good += 0 if one else 1
        n_objects += 1
    if build and n_objects == 0:
        found.append(f"{build}: there are no objects: build it first")
        bad += 1
    return found, good, bad


# For each rule: where, what is wrong, and the same put right.
SAMPLES = [
    ("folder", "src/misc/a.c", "/* a */\n", "src/base/a.c", "/* a */\n"),
    ("direction", "src/table/a.c", '/* a */\n#include "udf/udf.h"\n',
     "src/table/a.c", '/* a */\n#include "kern/kern.h"\n'),
    ("direction", "src/client/a.c", '/* a */\n#include "server/shard.h"\n',
     "src/client/a.c", '/* a */\n#include "client/shard.h"\n'),
    ("direction", "src/client/a.c", '/* a */\n#include "mem.h"\n',
     "src/base/a.c", '/* a */\n#include "mem.h"\n'),
    ("direction", "src/base/a.c", '/* a */\n#include "../kern/kern.h"\n',
     "src/base/a.c", '/* a\n#include "kern/kern.h"\n*/\n'),
    ("direction", "examples/x/a.c", '/* a */\n#include "base/mem.h"\n',
     "examples/x/a.c", '/* a */\n#include "psplus.h"\n'),
    ("third_party", "src/server/a.c", "/* a */\n#include <uv.h>\n",
     "src/net/a.c", "/* a */\n#include <uv.h>\n"),
    ("third_party", "src/kern/kern.c", "/* a */\n#include <immintrin.h>\n",
     "src/kern/kern_avx2.c", "/* a */\n#include <immintrin.h>\n"),
    ("third_party", "src/base/mem.c", "/* a */\n#include <xxhash.h>\n",
     "src/base/hash.c", "/* a */\n#include <xxhash.h>\n"),
    ("third_party", "src/net/a.c", "/* a */\n#include <jansson.h>\n",
     "src/cli/a.c", "/* a */\n#include <jansson.h>\n"),
    ("third_party", "src/udf/a.c", "/* a */\n#include <Random123/philox.h>\n",
     "src/kern/a.c", "/* a */\n#include <Random123/philox.h>\n"),
    ("third_party", "src/net/a.c", "/* a */\n#include <curl/curl.h>\n",
     "src/net/a.c", "/* a */\n#include <sys/socket.h>\n"),
    ("third_party", "src/net/a.c", "/* a */\n#include <cmocka.h>\n",
     "test/unit/net/test_a.c", "/* a */\n#include <cmocka.h>\n"),
    ("file_length", "src/net/a.c", "/* a */\n" + "int a;\n" * 800,
     "src/net/a.c", "/* a */\n" + "int a;\n" * 799),
    ("function_length", "src/net/a.c",
     "/* a */\nint f(int a,\n      int b)\n{\n" + "    a++;\n" * 67 + "}\n",
     "src/net/a.c",
     "/* a */\nint f(int a,\n      int b)\n{\n" + "    a++;\n" * 66 + "}\n"),
    ("columns", "src/net/a.c", "/* a */\n/* " + "x" * 75 + " */\n",
     "src/net/a.c", "/* a */\n/* " + "x" * 74 + " */\n"),
    ("blanks", "src/net/a.c", "/* a */\nint a; \n",
     "src/net/a.c", "/* a */\nint a;\n"),
    ("blanks", "src/net/a.c", "/* a */\n\tint a;\n",
     "src/net/a.c", "/* a */\n    int a;\n"),
    ("blanks", "test/e2e/a.py", "a = 1 \n", "test/e2e/a.py", "a = 1\n"),
    ("blanks", "src/net/a.c", "/* a */\n\n", "src/net/a.c", "/* a */\n"),
    ("calls", "src/net/a.c", "/* a */\nint *p = malloc(4);\n",
     "src/base/mem.c", "/* a */\nint *p = malloc(4);\n"),
    ("calls", "src/net/a.c", "/* a */\n    free (p);\n",
     "src/net/a.c", "/* a */\n    mem_free(p); h->free(p); /* free(p) */\n"),
    ("calls", "src/base/mem.c", "/* a */\n    strcpy(a, b);\n",
     "src/net/a.c", '/* a */\n    log("strcpy(a, b)");\n'),
    ("calls", "test/unit/net/test_a.c", "/* a */\n    sprintf(a, b);\n",
     "test/unit/net/test_a.c", "/* a */\n    snprintf(a, 1, b);\n"),
    ("unfinished", "src/net/a.c", "/* a */\n/* TO" + "DO: more */\n",
     "src/net/a.c", "/* a */\n/* mktemp(XX" + "XXXX) */\n"),
    ("unfinished", "test/e2e/a.py", "# FIX" + "ME\n",
     "test/e2e/a.py", "# done\n"),
    ("opening", "src/net/a.c", "int a;\n", "src/net/a.c", "/* a */\n"),
    ("opening", "src/net/a.c", '#include "net/b.h"\n',
     "src/net/a.c", '#include "net/a.h"\n'),
    ("opening", "src/net/a.h", "/* b.h - net */\n",
     "src/net/a.h", "/* a.h - net */\n"),
    ("goto", "src/net/a.c", "/* a */\n    goto fail;\n",
     "src/net/a.c", "/* a */\n    goto out;\n"),
]


def self_test():
    passed, failed = 0, 0

    def expect(what, is_true):
        nonlocal passed, failed
        if is_true:
            passed += 1
        else:
            failed += 1
            print(f"self-test: {what}")

    for rule, bad_path, bad, good_path, good in SAMPLES:
        found = [f.split(": ")[1] for f in check(bad_path, bad)]
        expect(f"{rule} does not see {bad!r} in {bad_path}", found == [rule])
        found = check(good_path, good)
        expect(f"{rule}: {good!r} in {good_path}: {found}", found == [])
    for rule in C_RULES:
        name = rule.__name__[5:]
        expect(f"{name} has no sample", name in [s[0] for s in SAMPLES])
    expect("a name twice is not seen",
           check_names(["src/net/a.c", "src/base/a.c"]) != [])
    expect("names that differ are refused",
           check_names(["src/net/a.c", "src/net/a.h", "test/a.c"]) == [])
    expect("a foreign prefix is not seen",
           check_symbols("src/table/keymap.c", ["rows_find"]) != [])
    expect("the prefix of a longer word is not seen",
           check_symbols("src/server/cmd_data.c", ["cmdx_run"]) != [])
    expect("good prefixes are refused", check_symbols(
        "src/server/cmd_data.c", ["cmd_run", "ps_open"]) == [])
    expect("main is refused",
           check_symbols("src/cli/main.c", ["main"]) == [])
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


def main():
    parser = argparse.ArgumentParser(description="checks the house style")
    parser.add_argument("--build", help="a build directory without sanitizers")
    parser.add_argument("--self-test", action="store_true")
    args = parser.parse_args()
    if args.self_test:
        return self_test()
    build = os.path.abspath(args.build) if args.build else None
    os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
    found, good, bad = check_tree(build)
    for line in found:
        print(line)
    print(f"{good} passed, {bad} failed")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
