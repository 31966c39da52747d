#!/usr/bin/env python3
"""Each check of tidy.py refuses the fault it is there for, and a clean tree passes."""
import pathlib
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

    def test_banned_call(self):
        self.refuses("banned", "src/op/x.c", "int x = atoi(y);\n", "strtoll")

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

    def test_header_that_leans_on_another(self):
        self.refuses("headers", "src/op/x.h", GUARDED.format("OP_X", "size_t x(void);\n"),
                     "compile alone")


if __name__ == "__main__":
    unittest.main()
