"""Does a long run go on where it was cut, and does nothing wrong get lost in its sums?"""
import pathlib
import tempfile
import unittest

import total


def stretch(seed, minutes=5, wrong=()):
    return {"seed": seed, "minutes": minutes, "calls": 10, "jobs": 5, "commits": 3, "recorded": 3, "events": 1,
            "trouble": {"redis killed": 2}, "wrong": list(wrong)}


class Total(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = pathlib.Path(folder.name) / "state"

    def next(self, minutes=15):
        return total.next_of(total.read(self.path), 7, minutes)

    def test_it_begins_goes_on_and_ends(self):
        self.assertEqual(self.next(), (7, 15))
        total.append(self.path, stretch(7))
        self.assertEqual(self.next(), (8, 10))
        total.append(self.path, stretch(8))
        total.append(self.path, stretch(9))
        self.assertIsNone(self.next())
        self.assertEqual(self.next(17), (10, 2))

    def test_a_stretch_that_was_cut_is_run_again(self):
        total.append(self.path, stretch(7))
        with open(self.path, "a", encoding="utf-8") as out:
            out.write('{"seed": 8, "minutes"')
        self.assertEqual(self.next(), (8, 10))

    def test_those_of_another_seed_are_not_counted(self):
        total.append(self.path, stretch(70))
        self.assertEqual(self.next(), (7, 15))
        self.assertEqual(total.part_of(total.read(self.path), 7), [])

    def test_sums(self):
        lines, wrong = total.tell([stretch(7), stretch(8)])
        self.assertIn("seeds 7 to 8: 10 minutes, 20 calls, 10 jobs, 6 commits acknowledged", lines[0])
        self.assertIn("redis killed 4", lines[1])
        self.assertEqual(wrong, 0)

    def test_what_is_wrong_stays_so(self):
        total.append(self.path, stretch(7, 15, ["I1 something"]))
        self.assertEqual(total.main("tell", self.path, 7, 15), 1)
        total.append(self.path, stretch(7, 15))
        self.assertEqual(total.main("tell", self.path, 7, 15), 0)
        self.assertEqual(total.main("tell", self.path, 7, 16), 1)


if __name__ == "__main__":
    unittest.main()
