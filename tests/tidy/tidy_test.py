#!/usr/bin/env python3
"""Each check of tidy.py refuses the fault it is there for, and a clean tree passes."""
import pathlib
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import tidy  # noqa: E402

GUARDED = "#ifndef HOLDFAST_{0}_H\n#define HOLDFAST_{0}_H\n{1}#endif\n"


class TidyTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.root = pathlib.Path(self.folder.name)
        tidy.STEMS["op"].setdefault("x", 0)
        for folder in ("base", "counter", "ledger", "op", "plugin"):
            self.write(f"src/{folder}/x.h", GUARDED.format(f"{folder}_X".upper(), ""))
            self.write(f"src/{folder}/x.c", f'#include "{folder}/x.h"\n\n#include "base/x.h"\n')
            self.write(f"src/{folder}/CMakeLists.txt", f"add_library({folder} x.c)\n")
        self.write("tests/base/x_test.c", '#include "base/x.h"\n')
        self.write("tests/base/CMakeLists.txt", "holdfast_test(x base)\n")

    def tearDown(self):
        self.folder.cleanup()

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def complaints(self, check):
        tree = tidy.Tree(self.root)
        tidy.CHECKS[check](tree)
        return tree.complaints

    def refuses(self, check, name, text, word):
        self.write(name, text)
        found = self.complaints(check)
        self.assertEqual(len(found), 1, found)
        self.assertTrue(found[0].startswith(name + ":"), found)
        self.assertIn(word, found[0])

    def test_clean_tree_passes(self):
        for check in tidy.CHECKS:
            self.assertEqual(self.complaints(check), [], check)

    def test_upward_include(self):
        self.refuses("layers", "src/counter/x.c", '#include "op/x.h"\n', "op/x.h")

    def test_sideways_include(self):
        self.refuses("layers", "src/ledger/x.c", '#include "counter/x.h"\n', "counter/x.h")

    def test_include_of_the_plugin(self):
        self.refuses("layers", "src/op/x.c", '#include "plugin/x.h"\n', "plugin/x.h")

    def test_plugin_includes_more_than_base(self):
        self.refuses("layers", "src/plugin/x.c", '#include "op/x.h"\n', "op/x.h")

    def test_unranked_folder(self):
        self.refuses("layers", "src/misc/x.c", "\n", "no rank")

    def test_relative_include(self):
        self.refuses("layers", "src/op/x.c", '#include "../base/x.h"\n', "not a path")

    def test_upward_include_inside_a_folder(self):
        self.write("src/op/reserve.h", GUARDED.format("OP_RESERVE", ""))
        self.write("src/op/worker.h", GUARDED.format("OP_WORKER", ""))
        self.refuses("ranks", "src/op/reserve.c", '#include "op/worker.h"\n', "ranks below")

    def test_circle_inside_a_folder(self):
        self.write("src/op/reap.h", GUARDED.format("OP_REAP", '#include "op/notify.h"\n'))
        self.write("src/op/notify.c", '#include "op/reap.h"\n')
        self.assertEqual(len([c for c in self.complaints("ranks") if "circle" in c]), 2)

    def test_unranked_file(self):
        self.refuses("ranks", "src/op/misc.c", "\n", "no rank")

    def test_banned_call(self):
        self.refuses("banned", "src/op/x.c", "int x = atoi(y);\n", "strtoll")

    def test_default_in_a_switch_over_an_enum(self):
        self.write("src/op/y.h", GUARDED.format("OP_Y", "enum y { Y_ONE, Y_TWO };"))
        self.refuses("switches", "src/op/x.c",
                     "switch (y) {\ncase Y_ONE:\n    if (x) {\n    }\n    break;\ndefault:\n    break;\n}\n",
                     "name its values")

    def test_default_in_a_switch_over_a_number_is_fine(self):
        self.write("src/op/y.h", GUARDED.format("OP_Y", "enum y { Y_ONE, Y_TWO };"))
        self.write("src/op/x.c", "switch (n) {\ncase 1:\n    break;\ndefault:\n    break;\n}\n")
        self.assertEqual(self.complaints("switches"), [])

    def test_time_in_a_header(self):
        self.refuses("times", "src/op/y.h", GUARDED.format("OP_Y", "#define Y_LASTS_MS 2000\n"), "in a header")
        self.refuses("times", "src/op/y.h", GUARDED.format("OP_Y", "enum { Y, Y_US_MAX = 5 };\n"), "in a header")

    def test_time_under_one_name_in_two_files(self):
        self.write("src/ledger/x.c", "enum {\n    WAIT_MS = 30,\n};\n")
        self.refuses("times", "src/op/x.c", "#define WAIT_MS 30\n", "is also in src/ledger/x.c")

    def test_bare_time(self):
        for code in ("options.connect_ms = 60000;", "int64_t until_us = now_us + 5000;", "if (1500 < x->left_us)",
                     "if (left_ms >= INT64_C(20))", "struct timespec p = {.tv_nsec = 5000000};", "usleep(100);",
                     "x = keep_hours * 3600000;", "quick->timeout_s = 30;", "x = 250 + op.wait_ms;"):
            self.refuses("times", "src/op/x.c", code + "\n", "a bare time")

    def test_bare_time_in_a_statement(self):
        for text in ("now() - interval '1 second'", "SET lock_timeout = 30"):
            self.refuses("times", "src/ledger/x.c", f'static const char *x = "{text}";\n', "TEXT_OF")

    def test_a_local_time_that_has_a_name_and_conversions_are_fine(self):
        self.write("src/op/x.c", "enum {\n    PAUSE_MS = 20, /* 60000 */\n};\nuntil_us = now_us + PAUSE_MS * 1000;\n"
                   "ms = seconds * 1000 + nanos / 1000000;\nwait_ms = left_us > 0 ? (left_us + 999) / 1000 : 0;\n"
                   "pause_us = 2 * pause_us;\nif (at.tv_nsec >= 1000000000)\n    at.tv_nsec -= 1000000000;\n"
                   'x = "interval \'1 millisecond\'";\n')
        self.write("src/base/x.c", "enum { X_MS = 5 };\n")
        self.write("src/stub/x.h", "enum { X_MS = 5 };\n")
        self.assertEqual(self.complaints("times"), [])

    def test_number_of_lua_that_is_nobodys(self):
        self.refuses("numbers", "src/counter/x.lua", "local first = epoch * 1048576\n", "1048576")

    def test_number_of_sql_that_is_nobodys(self):
        self.refuses("numbers", "src/ledger/x.sql", "CHECK (shard < 256)\n", "256")

    def test_time_of_lua_that_is_its_own(self):
        self.refuses("numbers", "src/counter/x.lua", "local KEEP_MS = 600000\n", "KEEP_MS")

    def test_numbers_that_say_whose_they_are_are_fine(self):
        self.write("src/counter/x.lua", "local LEASE_IDS = 1048576 -- LEASE_IDS_PER_EPOCH, quota/lease.h\n"
                   "local CUT = 1000\nlocal KEEP_MS = 600000 -- FINAL_MS, quota/times.h\nreturn CUT * 33 -- 12345\n")
        self.write("src/ledger/x.sql", "CHECK (shard < 256) -- SHARDS, quota/plan.h\n"
                   "ALTER TABLE x SET (autovacuum_vacuum_threshold = 5000);\n")
        self.assertEqual(self.complaints("numbers"), [])

    def test_banned_word_in_a_comment_is_fine(self):
        self.write("src/op/x.c", '/* not atoi() */\nchar *s = "gets(x)"; // strcpy(a, b)\n')
        self.assertEqual(self.complaints("banned"), [])

    def test_leftover(self):
        self.refuses("leftovers", "src/op/x.c", "/* FIX" "ME */\n", "leftover")

    def test_trailing_space(self):
        self.refuses("leftovers", "src/op/x.c", "int x; \n", "space")

    def test_tab(self):
        self.refuses("leftovers", "src/op/x.lua", "\tlocal x\n", "tab")

    def test_long_line(self):
        self.refuses("shape", "src/op/x.c", "/* " + "x" * tidy.COLUMNS_MAX + " */\n", "columns")

    def test_long_file(self):
        self.refuses("shape", "src/op/x.c", "\n" * (tidy.LINES_MAX + 1), "split")

    def test_wrong_guard(self):
        self.refuses("shape", "src/op/y.h", GUARDED.format("OP_X", ""), "HOLDFAST_OP_Y_H")

    def test_source_that_nobody_builds(self):
        self.refuses("registered", "src/op/y.c", "\n", "not in src/op/CMakeLists.txt")

    def test_test_that_nobody_runs(self):
        self.refuses("registered", "tests/base/y_test.c", "\n", "not in tests/base/CMakeLists.txt")

    def test_document_that_names_a_file_that_is_gone(self):
        self.refuses("documents", "src/op/README.md", "`x.c` and `base/x.h` are here, `op/y.c` was\n", "no op/y.c")

    def test_document_that_names_a_file_without_its_folder(self):
        self.refuses("documents", "tests/README.md", "`x_test.c` is here, `y_test.c` was\n", "no y_test.c")

    def test_section_that_is_not_there(self):
        self.write("src/op/PROTOCOL.md", "## 3. Steps\n\n### 3.1 Reserve\n")
        self.refuses("documents", "src/op/x.c", "/* op/PROTOCOL.md 3.1 and 3.2 */\n", "no section 3.2")

    def test_mutant_without_its_row(self):
        self.write("tests/sim/README.md", "| `a` | x | y |\n")
        self.refuses("mutants", "tests/sim/mutants.c",
                     '    [MUTANT_A] = {"a", "TIGHT", NULL, NULL},\n    [MUTANT_B] = {"b", "TIGHT", NULL, NULL},\n',
                     "does not have mutant b")

    def test_mutant_that_was_found_after_all(self):
        self.write("tests/sim/README.md", "| `a` | x | not found |\n")
        self.refuses("mutants", "tests/sim/mutants.c", '    [MUTANT_A] = {"a", "TIGHT", NULL, NULL},\n', "otherwise")
    def points(self, *rows):
        self.write("src/op/x.c", 'if (FAULT("x.one") || FAULT("x.two"))\n    return;\n')
        return "\n".join(("| died here | fault point | what is left |", "|---|---|---|", *rows, ""))

    def test_points_and_their_table(self):
        self.write("src/op/README.md", self.points("| here | `x.one`, `x.two` | - |"))
        self.assertEqual(self.complaints("points"), [])

    def test_point_without_a_row(self):
        self.write("src/op/README.md", self.points("| here | `x.one` | - |"))
        self.assertEqual([each.split(" ")[0] for each in self.complaints("points")], ["src/op/x.c:1:"])

    def test_row_without_a_point(self):
        table = self.points("| here | `x.one`, `x.two` | - |", "| there | none | `x.one` |")
        self.refuses("points", "src/op/README.md", table, "a gap without")

    def test_row_whose_point_is_gone(self):
        table = self.points("| here | `x.one`, `x.two` | - |", "| there | `x.old` | - |")
        self.refuses("points", "src/op/README.md", table, "x.old")

    def test_test_that_sets_a_point_that_is_gone(self):
        self.write("src/op/README.md", self.points("| here | `x.one`, `x.two` | - |"))
        self.refuses("points", "tests/base/x_test.c", 'fault_set("x.one=fail@1,x.old=fail");\n', "x.old")

    def test_header_that_leans_on_another(self):
        self.refuses("headers", "src/op/x.h", GUARDED.format("OP_X", "size_t x(void);\n"),
                     "compile alone")


class EmbedTest(unittest.TestCase):
    """A number of Lua or SQL that is not C's does not compile."""
    ROOT = pathlib.Path(__file__).resolve().parents[2]

    def compiles(self, folder, name, text, *defines):
        with tempfile.TemporaryDirectory() as room:
            source, out = pathlib.Path(room) / name, pathlib.Path(room) / "out.c"
            source.write_text(text)
            subprocess.run(["cmake", f"-DOUT={out}", *(define.format(source) for define in defines), "-P",
                            self.ROOT / "src" / folder / "embed.cmake"], check=True)
            cflags = subprocess.run(["pkg-config", "--cflags", "libpq"], check=True, text=True, capture_output=True)
            return subprocess.run(["gcc", "-std=gnu17", "-fsyntax-only", f"-I{self.ROOT}/src",
                                   *cflags.stdout.split(), out], text=True, capture_output=True)

    def judge(self, folder, name, text, right, wrong, *defines):
        self.assertEqual(self.compiles(folder, name, text.format(right), *defines).stderr, "")
        refused = self.compiles(folder, name, text.format(wrong), *defines)
        self.assertNotEqual(refused.returncode, 0)
        self.assertIn("another", refused.stderr)

    def test_lua(self):
        self.judge("counter", "x.lua", "-- x\nlocal LEASE_IDS = {} -- LEASE_IDS_PER_EPOCH, quota/lease.h\nreturn [[;]]\n",
                   1048576, 1048575, "-DNAME=x", "-DPIECES={}")
        self.judge("counter", "x.lua", "local LAYOUT = '{}' -- COUNTER_LAYOUT, counter/counter.h\n", 2, 3,
                   "-DNAME=x", "-DPIECES={}")

    def test_sql(self):
        self.judge("ledger", "001_x.sql", "-- [x\nCHECK (shard >= 0 AND shard < {}); -- SHARDS, quota/plan.h\n",
                   256, 255, "-DFILES={}")

    def test_a_migration_that_would_never_be_applied(self):
        with self.assertRaises(subprocess.CalledProcessError):
            self.compiles("ledger", "002_x.sql", "SELECT 1;\n", "-DFILES={}")


if __name__ == "__main__":
    unittest.main()
