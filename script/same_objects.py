#!/usr/bin/env python3
"""Shows that the simulator is made of the objects of the binary.

    script/same_objects.py BUILD      a build with test hooks

A role is a state machine with no socket, thread or clock in it, and a shell
around it that has them. The shell is whatever leads to libuv or makes a thread;
it is told here from the symbols (nm), not from a list. All other objects of the
roles and of the store, and all objects these lead to, must be in ps-plus and in ps-sim with the
same functions of the same sizes, and the simulator's own objects must define
none of them. Last line: N passed, N failed, one for each object.
"""

import glob
import json
import os
import subprocess
import sys

ROLES = ("src/client/", "src/server/", "src/scheduler/")
STORE = "src/coord/coord_file.c"  # reached through a table of functions only
BINARY = "src/cli/ps-plus"
SIMULATOR = "test/ps-sim"


def symbols(path):
    """(defined {name: size}, undefined names), functions and data alike."""
    out = subprocess.run(["nm", "-P", path], check=True, capture_output=True,
                         text=True).stdout
    defined, undefined = {}, set()
    for line in out.splitlines():
        fields = line.split()
        if len(fields) >= 2 and fields[1] in "Uw":
            undefined.add(fields[0].split("@")[0])
        elif len(fields) == 4 and fields[1] in "tTdDbBrR":
            defined.setdefault(fields[0], set()).add(int(fields[3], 16))
    return defined, undefined


def is_global(path):
    out = subprocess.run(["nm", "-P", "-g", "--defined-only", path],
                         check=True, capture_output=True, text=True).stdout
    return {line.split()[0] for line in out.splitlines() if line.strip()}


class Tree:
    """The objects of src/ and what leads where."""

    def __init__(self, build):
        with open(os.path.join(build, "compile_commands.json"),
                  encoding="utf-8") as f:
            commands = json.load(f)
        self.objects = {}
        top = os.path.abspath(os.path.join(os.path.dirname(__file__), ".."))
        for c in commands:
            source = os.path.relpath(
                os.path.join(c["directory"], c["file"]), top)
            path = os.path.join(c["directory"], c["output"])
            if source.startswith("src/") and os.path.exists(path):
                self.objects[source] = path
        self.defined = {}
        self.wants = {}
        owner = {}
        for source, path in self.objects.items():
            self.defined[source], self.wants[source] = symbols(path)
            for name in is_global(path):
                owner[name] = source
        self.leads = {
            source: {owner[name] for name in names if name in owner}
            for source, names in self.wants.items()}

    def is_outside(self, source):
        return any(name.startswith("uv_") or name == "pthread_create"
                   for name in self.wants[source])

    def shells(self):
        found = {s for s in self.objects if self.is_outside(s)}
        while True:
            more = {s for s in self.objects
                    if s not in found and self.leads[s] & found}
            if not more:
                return found
            found |= more

    def core(self):
        """The state machines of the roles and all that they lead to."""
        shells = self.shells()
        todo = [s for s in self.objects
                if (s.startswith(ROLES) or s == STORE) and s not in shells]
        found = set()
        while todo:
            source = todo.pop()
            if source not in found:
                found.add(source)
                todo += self.leads[source]
        return found


def faults(tree, source, binary, simulator, own):
    for name, sizes in sorted(tree.defined[source].items()):
        for where, has in (("ps-plus", binary), ("ps-sim", simulator)):
            if not sizes <= has.get(name, set()):
                yield f"{name} is not in {where} as it is in the object"
        if name in own:
            yield f"the simulator has a {name} of its own"


def main():
    build = sys.argv[1]
    tree = Tree(build)
    binary = symbols(os.path.join(build, BINARY))[0]
    simulator = symbols(os.path.join(build, SIMULATOR))[0]
    own = set()
    for path in glob.glob(os.path.join(build, SIMULATOR + ".p", "*.o")):
        own |= is_global(path)
    passed = failed = 0
    core = sorted(tree.core())
    for source in core:
        what = list(faults(tree, source, binary, simulator, own))
        if what:
            failed += 1
            print(f"failed: {source}: {what[0]} (of {len(what)} like it)")
        else:
            passed += 1
            print(f"good: {source}")
    for role in ROLES + (STORE,):
        if not any(source.startswith(role) for source in core):
            failed += 1
            print(f"failed: {role}: all of it leads to the outside")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
