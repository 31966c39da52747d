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
# Ranks inside a folder, by the stem of the file: src/op/README.md draws them. A file includes its own
# rank and lower ones; no two files include each other, by whatever detour.
STEMS = {
    "op": {
        "op": 0, "services": 0,
        "aside": 1, "authority": 1, "crossings": 1, "degraded": 1, "dirty": 1, "open": 1, "plans": 1, "shares": 1, "quotas": 1,
        "refusals": 1, "verdict": 1,
        "desk_queue": 2, "inbox": 2, "notifies": 2, "redis": 2, "returns": 2, "stores": 2, "tenant": 2, "trace": 2,
        "adjust": 3, "admin": 3, "admin_limit": 3, "admin_tenant": 3, "charge": 3, "check": 3, "commit": 3, "extend": 3,
        "ask": 3, "extend_judge": 3, "extend_place": 3, "extend_push": 3, "extend_turn": 3,
        "get_reservation": 3, "grant": 3, "grant_known": 3, "grant_open": 3, "grant_pass": 3, "grant_place": 3, "grant_plan": 3,
        "duty": 3, "duty_close": 3, "duty_degraded": 3, "duty_idle": 3, "idle": 3, "duty_look": 3, "duty_mend": 3,
        "duty_losses": 3, "losses": 3, "duty_probe": 3, "mend": 3, "duty_reap": 3, "duty_recall": 3, "duty_reconcile": 3, "duty_seal": 3,
        "grant_root": 3, "grant_script": 3, "granting": 3, "list_reservations": 3, "notify": 3, "queries": 3,
        "reap": 3, "reconcile": 3, "repair": 3, "retake": 3, "recall": 3, "recover": 3, "reserve": 3, "status": 3, "usage": 3,
        "verify": 3, "verify_receipt": 3,
        "crier": 4, "desk": 4, "granter": 4, "janitor": 4, "worker": 4,
    },
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
# Files that documents name and that a reader, or protoc, has.
EXAMPLES = {"hello.proto", "before.c", "tls.c", "descriptor.proto", "compiler/plugin.proto"}
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


def ranks(tree):
    """Inside a folder that has ranks, includes go down; nowhere in a circle."""
    for folder, stems in STEMS.items():
        includes = {}
        for path in tree.files(".c", ".h", under=("src",)):
            if path.parent != tree.root / "src" / folder:
                continue
            if path.stem not in stems:
                tree.complain(path, 1, f"{path.stem} has no rank in tests/tidy/tidy.py")
                continue
            for number, line in enumerate(path.read_text().splitlines(), 1):
                match = re.match(rf'\s*#\s*include\s*"{folder}/(\w+)\.h"', line)
                if not match or match[1] == path.stem or match[1] not in stems:
                    continue
                includes.setdefault(path.stem, {})[match[1]] = (path, number)
                if stems[match[1]] > stems[path.stem]:
                    tree.complain(path, number, f"{path.stem} ranks below {match[1]}")
        for stem in includes:
            trail, seen = [stem], set()
            while trail:
                for other in includes.get(trail.pop(), {}):
                    if other not in seen:
                        seen.add(other)
                        trail.append(other)
            if stem in seen:
                tree.complain(*next(iter(includes[stem].values())), f"{stem} includes itself by a circle")


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


def enumerators(tree):
    """Names of the values of enums that have a name, and of those of protobuf-c."""
    found = set()
    for path in tree.files(".c", ".h", under=("src", "gen")):
        text = code_only(path.read_text())
        for match in re.finditer(r"\benum\s+\w+\s*\{([^}]*)\}|\btypedef\s+enum\s*\{([^}]*)\}", text):
            found.update(re.findall(r"(?:^|,)\s*(\w+)", match[1] or match[2]))
    return found


def block_around(text, at):
    """The innermost {...} that the position is in."""
    begin, depth = at, 0
    while begin > 0:
        begin -= 1
        if text[begin] == "{" and depth == 0:
            break
        depth += (text[begin] == "}") - (text[begin] == "{")
    end, depth = begin, 0
    while end < len(text):
        depth += (text[end] == "{") - (text[end] == "}")
        end += 1
        if depth == 0:
            break
    return text[begin:end]


def switches(tree):
    """A switch over an enum names every value: with default: a new one would be overlooked."""
    known = enumerators(tree)
    for path in tree.files(".c", ".h", under=("src",)):
        code = code_only(path.read_text())
        for match in re.finditer(r"\bdefault\s*:", code):
            labels = re.findall(r"\bcase\s+(\w+)\s*:", block_around(code, match.start()))
            if any(label.startswith("ARGP_KEY_") for label in labels):
                continue  # argp's keys are characters and numbers of several
            if any(label in known or label.startswith("PROTOBUF_C_TYPE_") for label in labels):
                tree.complain(path, code.count("\n", 0, match.start()) + 1,
                              "default: in a switch over an enum: name its values")


# A time by its name: MS, US, NS or S at the end or before what bounds it. stub/ and the generator, which
# are installed without the rest, have their own times.
TIME_UNITS = r"(?:MS|US|NS|S|SECONDS|MINUTES|HOURS|DAYS)"
TIME_NAME = rf"[A-Z0-9_]*_{TIME_UNITS}(?:_MAX|_MIN)?"
TIME_CONSTANT = re.compile(rf"^[ \t]*(?:#define[ \t]+({TIME_NAME})[ \t]+\S|({TIME_NAME}) =)|[{{,] *({TIME_NAME}) = ",
                           flags=re.M)
TIME_VALUE = r"\w*(?:_(?:ms|us|ns|s|seconds|hours|days)(?:_max|_min)?|\btv_n?sec|\bn?seconds|\bnanos)\b"
# 0 and 1 are no times; 999 rounds up, 10^9 bounds the nanoseconds of a second, and a factor is part of a sum.
TIME_NUMBER = r"(?<![*/%] )(?:INT64_C\()?\b(?!(?:0|1|999|10{9})\b)\d+L*\b(?!\)? \*)"
TIME_BARE = re.compile(rf"{TIME_VALUE}\)? *(?:[+-]?=|==|[<>]=?|[+-]) *{TIME_NUMBER}"
                       rf"|{TIME_NUMBER} *[<>+-]=? *(?:\w+(?:->|\.))*{TIME_VALUE}"
                       r"|\b(?:usleep|duration_message)\(\d"
                       r"|\b(?:60000|3600|3600000|86400|86400000|604800000)\b")
TIME_TEXT = re.compile(r"interval '(?!1 millisecond)\d|timeout = '?\d")
TIMES = "src/quota/times.h"
TIMES_APART = ("src/stub/", "src/plugin/", "src/base/")


def times(tree):
    """A time that others rely on stands in quota/times.h; any other is a constant of its file; none is bare."""
    homes = {}
    for path in tree.files(".c", ".h", under=("src",)):
        name, text = tree.name(path), path.read_text()
        if name == TIMES or name.startswith(TIMES_APART):
            continue
        code = code_only(text)
        for match in TIME_CONSTANT.finditer(code):
            constant = match[1] or match[2] or match[3]
            line = code.count("\n", 0, match.end()) + 1
            if path.suffix == ".h":
                tree.complain(path, line, f"{constant}: a time in a header belongs in {TIMES}")
            elif constant in homes:
                tree.complain(path, line, f"{constant} is also in {homes[constant]}: name it apart, or {TIMES}")
            homes[constant] = name
        for number, line in enumerate(code.splitlines(), 1):
            match = TIME_BARE.search(line)
            if match:
                tree.complain(path, number, f"{match[0].strip()}: a bare time: name it, or {TIMES}")
        for number, line in enumerate(text.splitlines(), 1):
            match = TIME_TEXT.search(line)
            if match:
                tree.complain(path, number, f"{match[0]}: a bare time: TEXT_OF, and {TIMES}")


# A line of Lua or SQL that has a number of C's: `local X = 256 -- NAME, folder/header.h`. The build compares
# the two (embed.cmake).
SHARED = re.compile(r"-- [A-Z_0-9]+, [a-z_/]+\.h$")
NUMBERS_OWN = {
    ".lua": re.compile(r"^local [A-Z_]+ = \d+$"),
    # Names are bounded by rpc/validate.c; these two bounds are wider and the database's own.
    ".sql": re.compile(r"autovacuum|\* 1000\b|octet_length\(name\)|name text PRIMARY KEY"),
}


def numbers(tree):
    """A large number in Lua or SQL is C's and says so, or is a named constant of its own."""
    for path in tree.files(".lua", ".sql", under=("src",)):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if SHARED.search(line):
                continue
            code = re.sub(r"--.*|'[^']*'", "", line)
            found = re.search(r"\b(?:[1-9]\d{2,})\b", code)
            if found and not NUMBERS_OWN[path.suffix].search(code.rstrip()):
                tree.complain(path, number, f"{found[0]}: say whose it is (`-- NAME, folder/header.h`), or name it")
            named = path.suffix == ".lua" and re.match(rf"local ({TIME_NAME}) = ", code)
            if named:
                tree.complain(path, number, f"{named[1]}: a time of Lua is one of {TIMES}, and says so")


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


def files_in(tree):
    """Paths from the root of what the tree has, without builds and what tests leave."""
    found = {tree.name(path) for path in tree.root.iterdir() if path.is_file()}
    for folder in ("src", "tests", "proto", "gen", "deploy"):
        found.update(tree.name(path) for path in (tree.root / folder).rglob("*") if path.is_file())
    return found


def documents(tree):
    """A file that a document names is there, and so is a section of PROTOCOL.md that anything cites."""
    found = files_in(tree)
    names = {path.rsplit("/", 1)[-1] for path in found}
    word = re.compile(r"(?<![\w/.<-])((?:[\w-]+/)*[\w-]+(?:\.[\w-]+)*"
                      r"\.(?:c|h|lua|sql|md|py|proto|txt|cmake|yaml))\b(?![\w/(])")
    for path in tree.files(".md"):
        text = re.sub(r"(?ms)^```.*?^```", lambda code: "\n" * code[0].count("\n"), path.read_text())
        here = path.parent.relative_to(tree.root).as_posix()
        for number, line in enumerate(text.splitlines(), 1):
            for match in word.finditer(line):
                if "NAME" in match[1] or match[1] in EXAMPLES:
                    continue
                if any(start + match[1] in found for start in ("", "src/", "tests/", "gen/", here + "/")):
                    continue
                if "/" in match[1] or match[1] not in names:
                    tree.complain(path, number, f"there is no {match[1]}")
    protocol = tree.root / "src/op/PROTOCOL.md"
    text = protocol.read_text() if protocol.exists() else ""
    sections = set(re.findall(r"(?m)^#+ (\d+(?:\.\d+)?)\b", text))
    for path in tree.files(".c", ".h", ".lua", ".sql", ".md"):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            for cited in re.findall(r"PROTOCOL\.md,? (\d[\d.]*(?: and \d[\d.]*)*)", line):
                for section in cited.split(" and "):
                    if section.rstrip(".") not in sections:
                        tree.complain(path, number, f"PROTOCOL.md has no section {section.rstrip('.')}")


def mutants(tree):
    """Each hole that is made on purpose has its row in the table that says who found it, and the other way
    round; one that nothing has found says so in both places."""
    code, page = tree.root / "tests/sim/mutants.c", tree.root / "tests/sim/README.md"
    if not code.exists() or not page.exists():
        return
    made = {name: text.rstrip().endswith("true") for name, text in
            re.findall(r'(?s)\[MUTANT_\w+\] = \{"(\w+)",(.*?)\},\n', code.read_text()) if name != "none"}
    told = {}
    for number, line in enumerate(page.read_text().splitlines(), 1):
        row = re.match(r"\| `(\w+)` \|.*\| ([^|]*) \|$", line)
        if row:
            told[row[1]] = row[2] == "not found"
            if row[1] not in made:
                tree.complain(page, number, f"there is no mutant {row[1]}")
    for name, is_open in made.items():
        if name not in told:
            tree.complain(code, 1, f"{tree.name(page)} does not have mutant {name}")
        elif told[name] != is_open:
            tree.complain(code, 1, f"{tree.name(page)} says otherwise whether {name} was found")


# The documents whose tables say where a server can die: a column "fault point".
POINT_TABLES = ("src/op/README.md", "src/ledger/README.md")
POINT = r"[a-z]+\.[a-z_]+"


def points_told(tree):
    """(path, line, the cell) of each row that has a column of fault points."""
    for name in POINT_TABLES:
        path, column = tree.root / name, None
        for number, line in enumerate(path.read_text().splitlines() if path.exists() else (), 1):
            cells = [cell.strip() for cell in line.split("|")] if line.startswith("|") else []
            if "fault point" in cells:
                column = cells.index("fault point")
            elif not cells:
                column = None
            elif column is not None and set(line) - set("|-: "):
                yield path, number, cells[column] if column < len(cells) else ""


def points(tree):
    """Each fault point has a row in the tables of crashes, each row a point, and tests set only what there is."""
    passed, told = {}, set()
    for path in tree.files(".c", ".h", under=("src",)):
        if tree.name(path).startswith("src/base/fault."):
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            for name in re.findall(r'\bFAULT\("([^"]*)"\)', line):
                passed.setdefault(name, (path, number))
    for path, number, cell in points_told(tree):
        names = re.findall(rf"`({POINT})`", cell)
        if not names:
            tree.complain(path, number, "a gap without a fault point")
        for name in names:
            if name not in passed:
                tree.complain(path, number, f"no code passes {name}")
        told.update(names)
    for name in sorted(passed.keys() - told):
        tree.complain(*passed[name], f"{name} stands in no table of {', '.join(POINT_TABLES)}")
    for path in tree.files(".c", ".py", under=("tests",)):
        if tree.name(path).startswith(("tests/base/fault_test.c", "tests/tidy/")):
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            for name in re.findall(rf'[",]({POINT})=(?:fail|wait|stop|crash)', line):
                if name not in passed:
                    tree.complain(path, number, f"no code passes {name}")


def headers(tree):
    """Every header compiles alone."""
    pkgs = ["grpc", "libprotobuf-c", "hiredis", "libpq", "libcrypto", "libxxhash", "yaml-0.1",
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
          for check in (layers, ranks, banned, switches, times, numbers, leftovers, shape, registered, documents,
                        mutants, points, headers)}


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
