#!/usr/bin/env python3
"""Shows with nm that the machines are the same in ps-plus and ps-sim, and that
they touch nothing outside of themselves.

    test/sim/nm.py BUILD      a build with test hooks

A machine is an object of a role, the store's lease, a table, a UDF, the plan
or a message; what wraps them in loops and threads (RUNTIME) is not. For each:
  - its functions are in ps-plus as they are in ps-sim, with the same sizes, and
    no object of the simulator's own defines one of them;
  - neither it nor any object it leads to asks the C library for a socket, a
    file, a clock, a thread or a random number. Only LEAVES may: they log, take
    memory, or abort.
Last line: N passed, N failed, one for each object.
"""

import glob
import os
import re
import subprocess
import sys

FOLDERS = ("client", "server", "scheduler", "table", "udf", "plan", "wire")
OTHERS = ("coord_lease.c.o", "net_frame.c.o")
RUNTIME = re.compile(
    r"client_client.*|client_status.*|server_serve\.|server_places\.|"
    r"server_ahead\.|scheduler_schedule\.|udf_udf_plugin\.")
LEAVES = ("base_log.c.o", "base_mem.c.o", "base_base.c.o")
OUTSIDE = re.compile(
    r"(socket|bind|listen|accept4?|connect|send(to|msg|mmsg)?|recv(from|msg|"
    r"mmsg)?|p?read(v|64)?|p?write(v|64)?|open(at)?(64)?|creat|close|fopen(64)?"
    r"|freopen|fdopen|fread|fwrite|fputs|fputc|putc|puts|putchar|v?f?printf|"
    r"__v?f?printf_chk|fcntl|ioctl|poll|ppoll|select|epoll_.*|eventfd|"
    r"clock_.*|time|gettimeofday|times|nanosleep|usleep|sleep|timer.*|alarm|"
    r"localtime(_r)?|gmtime(_r)?|strftime|pthread_.*|thrd_.*|sem_.*|fork|"
    r"exec.*|system|kill|raise|signal|sigaction|getpid|gettid|getenv|"
    r"secure_getenv|rand(_r)?|random(_r)?|[deln]rand48|arc4random.*|getrandom|"
    r"getentropy|uv_.*|syscall|dl(open|sym)|link(at)?|unlink(at)?|rename(at2?)?"
    r"|mkdir|rmdir|stat|fstat|lstat|fsync|fdatasync|opendir|readdir)$")


def nm(path, *options):
    out = subprocess.run(["nm", "-P", *options, path], check=True,
                         capture_output=True, text=True).stdout
    return [line.split() for line in out.splitlines() if line.strip()]


def sizes(path):
    """{name: sizes} of functions, static ones as well."""
    found = {}
    for fields in nm(path):
        if len(fields) == 4 and fields[1] in "tT":
            found.setdefault(fields[0], set()).add(int(fields[3], 16))
    return found


class Objects:
    def __init__(self, build):
        self.paths = {}
        self.undefined = {}
        self.owner = {}
        for path in sorted(glob.glob(build + "/src/lib*.a.p/*.o")):
            name = os.path.basename(path)
            self.paths[name] = path
            self.undefined[name] = {
                f[0].split("@")[0] for f in nm(path, "-u")}
            for fields in nm(path, "-g", "--defined-only"):
                self.owner[fields[0]] = name

    def machines(self):
        for name, path in self.paths.items():
            folder = os.path.basename(os.path.dirname(path))[3:-4]
            if name in OTHERS or (folder in FOLDERS
                                  and not RUNTIME.match(name)):
                yield name

    def outside(self, name):
        """What it asks the C library for, itself or through others."""
        todo, seen = [(name, name)], {name}
        while todo:
            at, way = todo.pop()
            for symbol in sorted(self.undefined[at]):
                owner = self.owner.get(symbol)
                if owner is None:
                    if OUTSIDE.match(symbol):
                        yield f"{way} asks for {symbol}"
                elif owner not in seen and owner not in LEAVES:
                    seen.add(owner)
                    todo.append((owner, f"{way} > {owner}"))


def main():
    build = sys.argv[1].rstrip("/")
    objects = Objects(build)
    plus = sizes(build + "/src/cli/ps-plus")
    sim = sizes(build + "/test/ps-sim")
    own = {}
    for path in glob.glob(build + "/test/ps-sim.p/*.o"):
        for fields in nm(path, "-g", "--defined-only"):
            own[fields[0]] = os.path.basename(path)
    passed = failed = 0
    for name in sorted(objects.machines()):
        wrong = list(objects.outside(name))
        is_linked = False
        for symbol, here in sorted(sizes(objects.paths[name]).items()):
            if symbol not in objects.owner:
                continue  # static
            if symbol in own:
                wrong.append(f"{symbol} is in {own[symbol]} as well")
            if symbol in sim:
                is_linked = True
                if not here <= sim[symbol] & plus.get(symbol, set()):
                    wrong.append(f"{symbol} is not in ps-plus as it is here")
        if not is_linked and name.split("_")[0] in FOLDERS[:3]:
            wrong.append("is not part of ps-sim")
        for line in wrong:
            print(f"{name}: {line}")
        passed += not wrong
        failed += bool(wrong)
    if passed + failed < 20:
        print("there are hardly any machines in", build)
        failed += 1
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
