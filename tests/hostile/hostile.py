#!/usr/bin/python3
"""All attacks, or those that are named: hostile.py [Frames [Frames.test_ping_flood ...]]"""
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from calls import *  # noqa: E402,F401,F403
from crowds import *  # noqa: E402,F401,F403
from frames import *  # noqa: E402,F401,F403
from stores import *  # noqa: E402,F401,F403

if __name__ == "__main__":
    del Attacked  # noqa: F821  its tests are those of its children
    unittest.main(verbosity=0)
