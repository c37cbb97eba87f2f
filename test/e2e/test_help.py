"""What --help lists and what the manual lists are the same options."""

import os
import re
import subprocess
import unittest

BIN = os.environ.get("PS_PLUS_BIN", "build/release/src/cli/ps-plus")
MAN = os.path.join(os.path.dirname(os.path.abspath(__file__)),
                   "..", "..", "man", "ps-plus.1")
SECTIONS = {  # beside `The subcommand X` and `The subcommands X and Y`
    "-r scheduler": ["The scheduler", "Options of both roles"],
    "-r server": ["A server", "Options of both roles"],
}
ALL = "Options of all"
HELP_ONLY = {"bench"}  # the manual names its --help


def help_of(*words):
    return subprocess.run([BIN, *words, "--help"], capture_output=True,
                          text=True, timeout=60, check=True).stdout


def options_of_help(text):
    """{(name, short name or "")}"""
    return set(re.findall(r"^  --([\w-]+)(?:, -(\w+))?", text, re.M))


def sections_of(text):
    """{title: {(name, short name)}}"""
    found = {}
    for part in re.split(r"^\.S[sh] ", text, flags=re.M)[1:]:
        found[part.split("\n")[0]] = set(re.findall(
            r"^\.It Fl -([\w-]+)(?: , Fl (\w+))?", part, re.M))
    return found


class Help(unittest.TestCase):
    def test_the_manual_has_the_options_of_each_and_no_other(self):
        with open(MAN) as f:
            manual = sections_of(f.read())
        listed = help_of().split("Subcommands:\n")[1].split("\n\n")[0]
        commands = re.findall(r"^  (\w+)", listed, re.M)
        self.assertIn("local", commands)
        lacking, known = [], {title: set() for title in manual}
        for command in [*SECTIONS, *commands]:
            titles = SECTIONS.get(command) or [
                t for t in manual if t.startswith("The subcommand") and
                command in re.findall(r"\w+", t)[2:]]
            self.assertTrue(titles, f"no section of {command}")
            options = options_of_help(help_of(*command.split()))
            self.assertIn(("help", "h"), options)
            if command in HELP_ONLY:
                continue
            lacking += [(command, o) for o in options if not any(
                o in manual[t] for t in [*titles, ALL])]
            for title in [*titles, ALL]:
                known[title] |= options
        self.assertEqual(lacking, [], "in --help, not in the manual")
        # One that several commands have is in the section of each of them.
        for title, options in known.items():
            self.assertEqual(manual[title] - options, set(),
                             f"in the manual's {title}, not in --help")
            if options and title != ALL:
                self.assertTrue(manual[title], title)


if __name__ == "__main__":
    unittest.main()
