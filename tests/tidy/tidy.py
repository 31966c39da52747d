#!/usr/bin/env python3
"""Rules of the source tree that a compiler does not check; src/README.md says why they hold.

    tests/tidy/tidy.py [--root DIR] [--build DIR] [CHECK...]      all checks if none is named

Prints `file:line: what is wrong` and exits 1 if anything is. tidy_test.py plants each fault.
"""
import argparse
import pathlib
import re
import subprocess
import sys

# A folder includes itself and lower ranks. Equal ranks do not know each other.
RANKS = {
    "base": 0,
    "quota": 1, "work": 1, "stub": 1,
    "counter": 2, "ledger": 2,
    "notice": 3,  # reads the ledger's events
    "op": 4,
    "rpc": 5, "cli": 5,
    "main.c": 6,
}
# The generator is a program apart: it sees base only, and nobody sees it.
APART = {"plugin": {"base"}}

# What to call instead; the pattern is a call of exactly that name.
BANNED = {
    "strcpy": "snprintf or a slice",
    "strcat": "snprintf or a slice",
    "strncpy": "memcpy with a checked length",
    "strncat": "snprintf",
    "sprintf": "snprintf",
    "vsprintf": "vsnprintf",
    "gets": "fgets",
    "strtok": "slice functions",
    "atoi": "strtoll with a check of the end and the range",
    "atol": "strtoll with a check of the end and the range",
    "atoll": "strtoll with a check of the end and the range",
    "atof": "strtod with a check of the end",
    "rand": "base/entropy.h",
    "srand": "base/entropy.h",
    "random": "base/entropy.h",
    "assert": "CHECK of base/check.h, which stays on in every build",
    "localtime": "gmtime_r: periods are in UTC",
    "localtime_r": "gmtime_r: periods are in UTC",
    "gmtime": "gmtime_r",
    "ctime": "strftime",
    "asctime": "strftime",
    "alloca": "an arena",
    "usleep": "a condition with a deadline",
    "sleep": "a condition with a deadline",
    "system": "posix_spawn",
    "gethostbyname": "getaddrinfo",
    "PQexec": "PQexecParams or a prepared statement: values never go into the text",
}
# Where a banned word is meant: path -> words.
MAY = {
    # BEGIN, COMMIT and the migrations, which are several statements each.
    "src/ledger/": {"PQexec"},
    # The client waits between tries.
    "src/cli/": {"usleep"},
    # Their strings are their own.
    "tests/": {"PQexec", "usleep", "system", "strcpy", "strcat", "strncpy", "rand", "srand",
               "atoi"},
}
LEFTOVERS = re.compile(r"\b(FIXME|TODO|XXX|DBG|HACK)\b")
# Aim at 100; a few more are no reason to break a sentence.
COLUMNS_MAX = 110
LINES_MAX = 800


def code_only(text):
    """The text with comments, strings and character constants blanked, lines kept."""
    def blank(match):
        return re.sub(r"[^\n]", " ", match.group(0))
    return re.sub(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', blank, text,
                  flags=re.S)


class Tree:
    def __init__(self, root, build=None):
        self.root = root
        self.build = build or root / "build"
        self.complaints = []

    def files(self, *suffixes, under=("src", "tests")):
        for folder in under:
            for path in sorted((self.root / folder).rglob("*")):
                if path.suffix in suffixes and path.is_file():
                    yield path

    def name(self, path):
        return path.relative_to(self.root).as_posix()

    def complain(self, path, line, text):
        self.complaints.append(f"{self.name(path)}:{line}: {text}")


def layers(tree):
    """Includes go down in rank only."""
    for path in tree.files(".c", ".h", under=("src",)):
        folder = path.relative_to(tree.root / "src").parts[0]
        if folder not in RANKS and folder not in APART:
            tree.complain(path, 1, f"{folder} has no rank in tests/tidy/tidy.py")
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            match = re.match(r'\s*#\s*include\s*"([^"]+)"', line)
            if not match:
                continue
            parts = match[1].split("/")
            if ".." in parts or len(parts) < 2:
                tree.complain(path, number, f'"{match[1]}" is not a path from src/')
                continue
            other = parts[0]
            if other == folder or (tree.root / "gen" / match[1]).exists():
                continue
            if not (tree.root / "src" / match[1]).exists():
                continue  # made at build time
            if folder in APART:
                allowed = other in APART[folder]
            else:
                allowed = other in RANKS and RANKS[other] < RANKS[folder]
            if not allowed:
                tree.complain(path, number, f"{folder} must not include {match[1]}")


def banned(tree):
    """Calls that have a better replacement."""
    call = re.compile(r"(?<![\w.>])(" + "|".join(BANNED) + r")\s*\(")
    for path in tree.files(".c", ".h"):
        name = tree.name(path)
        may = set().union(*(words for start, words in MAY.items() if name.startswith(start)))
        if name.startswith("tests/support/tsan/"):
            continue
        for number, line in enumerate(code_only(path.read_text()).splitlines(), 1):
            for match in call.finditer(line):
                if match[1] not in may:
                    tree.complain(path, number, f"{match[1]}: use {BANNED[match[1]]}")


def leftovers(tree):
    """Notes to oneself, and text that no editor should leave."""
    suffixes = (".c", ".h", ".lua", ".sql", ".py", ".sh", ".cmake", ".txt", ".proto", ".md")
    for path in tree.files(*suffixes, under=("src", "tests", "proto", "deploy")):
        own = tree.name(path).startswith("tests/tidy/")
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if not own and LEFTOVERS.search(line):
                tree.complain(path, number, f"leftover {LEFTOVERS.search(line)[1]}")
            if line != line.rstrip():
                tree.complain(path, number, "space at the end of the line")
            if "\t" in line:
                tree.complain(path, number, "tab")


def shape(tree):
    """Lines fit the screen, files have one noun, headers are guarded by their path."""
    for path in tree.files(".c", ".h", ".lua"):
        lines = path.read_text().splitlines()
        if len(lines) > LINES_MAX:
            tree.complain(path, len(lines), f"more than {LINES_MAX} lines: split by noun")
        for number, line in enumerate(lines, 1):
            if len(line) > COLUMNS_MAX:
                tree.complain(path, number, f"{len(line)} columns, {COLUMNS_MAX} are allowed")
        if path.suffix == ".h" and tree.name(path).startswith("src/"):
            stem = path.relative_to(tree.root / "src").as_posix()
            guard = "HOLDFAST_" + re.sub(r"\W", "_", stem).upper()
            if f"#ifndef {guard}" not in lines:
                tree.complain(path, 1, f"guard is not {guard}")


def registered(tree):
    """Every source is built, and every test is run."""
    for path in tree.files(".c"):
        lists = path.parent / "CMakeLists.txt"
        while not lists.exists() and lists.parent != tree.root:
            lists = lists.parent.parent / "CMakeLists.txt"
        words = set(re.split(r"[\s()\"]+", lists.read_text())) if lists.exists() else set()
        inside = path.relative_to(lists.parent).as_posix()
        if inside in words:
            continue
        if path.name.endswith("_test.c") and path.name[:-len("_test.c")] in words:
            continue
        tree.complain(path, 1, f"not in {tree.name(lists)}")


def headers(tree):
    """Every header compiles alone."""
    pkgs = ["grpc", "libprotobuf-c", "hiredis", "libpq", "libcrypto", "libxxhash", "libcyaml",
            "jansson"]
    cflags = subprocess.run(["pkg-config", "--cflags", *pkgs], check=True, text=True,
                            capture_output=True).stdout.split()
    flags = ["-std=gnu17", "-fsyntax-only", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion",
             "-Wshadow", "-Wmissing-prototypes", "-Wstrict-prototypes", "-Werror", "-xc",
             f"-I{tree.root}/src", f"-I{tree.root}", "-isystem", f"{tree.root}/gen",
             f"-I{tree.root}/tests", "-isystem", f"{tree.build}/src/plugin/messages",
             "-isystem", f"{tree.build}/tests/echo/gen",
             "-isystem", f"{tree.build}/tests/interop/gen"]
    for path in tree.files(".h"):
        if tree.name(path).startswith("tests/support/tsan/"):
            continue
        run = subprocess.run(["gcc", *flags, *cflags, "-"], text=True, capture_output=True,
                             input=f'#include "{path}"\nextern int not_empty;\n')
        if run.returncode:
            tree.complain(path, 1, "does not compile alone:\n" + run.stderr.strip())


CHECKS = {check.__name__: check
          for check in (layers, banned, leftovers, shape, registered, headers)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--root", type=pathlib.Path,
                        default=pathlib.Path(__file__).resolve().parents[2])
    parser.add_argument("--build", type=pathlib.Path, help="for headers that the build makes")
    parser.add_argument("checks", nargs="*", metavar="CHECK", help=", ".join(CHECKS))
    arguments = parser.parse_args()
    tree = Tree(arguments.root, arguments.build)
    for name in arguments.checks or CHECKS:
        CHECKS[name](tree)
    print("\n".join(tree.complaints))
    return 1 if tree.complaints else 0


if __name__ == "__main__":
    sys.exit(main())
