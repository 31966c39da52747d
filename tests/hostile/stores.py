"""Out of descriptors while the stores hang up: what is spared is for getting them back."""
import os
import subprocess
import time
import unittest

import http2
from attacked import HOLDFASTD, Attacked, Server
from http2 import field

QUOTA, ADMIN = "/holdfast.v1.QuotaService/", "/holdfast.v1.AdminService/"


def hang_up():
    """Both stores end every connection that they have."""
    subprocess.run(["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-c",
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()",
                    os.environ["HOLDFAST_TEST_POSTGRES"]], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["redis-cli", "-s", os.environ["HOLDFAST_TEST_REDIS"][len("unix:"):],
                    "CLIENT", "KILL", "TYPE", "normal"], check=True, stdout=subprocess.DEVNULL)


@unittest.skipUnless(HOLDFASTD, "the echo server has no stores")
class Stores(Attacked):
    """holdfastd that may have 128 descriptors, and 300 connections that take all they can get."""

    fresh_callers = False

    @classmethod
    def make_server(cls):
        return Server(descriptors=128)

    def setUp(self):
        super().setUp()
        self.caller = self.connect()
        self.limit = field(1, field(1, b"l") + field(2, b"hostile") + field(4, b"tokens") +
                           field(6, 1) + field(7, 1000))
        tenant = field(1, field(1, b"hostile"))
        self.assertEqual(self.caller.call(ADMIN + "CreateTenant", tenant).status, 0)
        self.assertEqual(self.caller.call(ADMIN + "PutLimit", self.limit).status, 0)
        self.jobs = 0

    def reserves(self):
        """A hold of one token, which Redis keeps."""
        self.jobs += 1
        amount = field(4, field(1, b"tokens") + field(2, 1))
        answer = self.caller.call(QUOTA + "Reserve", field(1, b"hostile") +
                                  field(3, b"job-%d" % self.jobs) + amount)
        return answer.status == 0 and answer.data[5:7] == b"\x08\x01"  # DECISION_ALLOW

    def puts(self):
        """The same limit once more, which Postgres keeps."""
        return self.caller.call(ADMIN + "PutLimit", self.limit).status == 0

    def eventually(self, what, seconds=10):
        until = time.monotonic() + seconds
        while not what():
            self.assertLess(time.monotonic(), until, what.__name__)
            time.sleep(0.02)

    def test_connections_to_the_stores_come_back(self):
        self.eventually(self.reserves)
        before = self.server.descriptors()
        crowd = [self.connect() for _ in range(300)]
        self.eventually(lambda: self.server.descriptors() >= before + 40)
        for _ in range(3):
            hang_up()
            self.eventually(self.reserves)
            self.eventually(self.puts)
        for connection in crowd:
            try:
                connection.read(0.01)
            except (http2.Closed, http2.Late):
                pass
        self.assertIn("connection.refused", self.server.said())
