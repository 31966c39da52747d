"""A server under attack: it lives, its memory stays within bounds, and others are served.

The server is the echo server of the build folder, or holdfastd where tests/support/with_stores has
said where it is. What "served" means is the same for both: grpc.health.v1.Health answers.
"""
import os
import pathlib
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

from http2 import Closed, Connection, Late

BUILD = pathlib.Path(os.environ.get("HOLDFAST_TEST_BUILD", "build-coverage"))
HOLDFASTD = "HOLDFAST_TEST_STORES" in os.environ
HEALTH = "/grpc.health.v1.Health/"
HANDSHAKE_MS = 1000


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A process of its own; descriptors limits what it may have open."""

    def __init__(self, descriptors=None, keepalive_ms=0, memory_mb=0):
        self.errors = tempfile.TemporaryFile()

        def limit():
            if descriptors:
                resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
        self.address = "127.0.0.1", free_port()
        listen = f"127.0.0.1:{self.address[1]}"
        if HOLDFASTD:
            keys = pathlib.Path(os.environ["HOLDFAST_TEST_DIR"]) / "hostile.keys"
            keys.write_text("1:" + "0a" * 32 + "\n")
            keys.chmod(0o600)
            command = [os.environ["HOLDFAST_TEST_SERVER"], f"--listen={listen}",
                       f"--redis={os.environ['HOLDFAST_TEST_REDIS']}", f"--token-keys={keys}",
                       f"--postgres={os.environ['HOLDFAST_TEST_POSTGRES']}"]
        else:
            command = [BUILD / "tests/echo/echo_server", listen, "1", str(HANDSHAKE_MS),
                       str(keepalive_ms), str(memory_mb)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=self.errors,
                                        preexec_fn=limit)
        until = time.monotonic() + 20
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > until:
                raise AssertionError("the server does not start: " + self.said()[-2000:])
            time.sleep(0.02)

    def answers(self):
        try:
            with Connection(self.address) as connection:
                return connection.call(HEALTH + "Check").status == 0
        except (OSError, Closed, Late):
            return False

    def said(self):
        # The process writes at the offset that it shares with this file.
        return os.pread(self.errors.fileno(), 1 << 22, 0).decode(errors="replace")

    def stop(self):
        """Stops it as its operator would; returns the exit status."""
        self.process.terminate()
        try:
            return self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()
        finally:
            self.errors.close()

    # ---- /proc ----

    def memory_mb(self, which):
        text = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        for line in text.splitlines():
            if line.startswith(which + ":"):
                return int(line.split()[1]) / 1024
        raise AssertionError(which)

    def forget_peak(self):
        pathlib.Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


class Others(threading.Thread):
    """An honest caller during an attack: one old connection, and a new one now and then."""

    def __init__(self, server, fresh, patience):
        super().__init__()
        self.server, self.fresh, self.patience = server, fresh, patience
        self.calls, self.slowest, self.trouble = 0, 0.0, None
        self.enough = threading.Event()

    def run(self):
        try:
            with Connection(self.server.address, timeout=self.patience) as old:
                while not self.enough.is_set():
                    self.call(old)
                    if self.fresh and self.calls % 10 == 1:
                        with Connection(self.server.address, timeout=self.patience) as new:
                            self.call(new)
                    self.enough.wait(0.02)
        except (OSError, Closed, Late, AssertionError) as error:
            self.trouble = f"{error!r} after {self.calls} calls"

    def call(self, connection):
        begun = time.monotonic()
        status = connection.call(HEALTH + "Check", seconds=self.patience).status
        assert status == 0, f"status {status}"
        self.calls += 1
        self.slowest = max(self.slowest, time.monotonic() - begun)


class Attacked(unittest.TestCase):
    """Each test is one attack; before it the memory is looked at, after it everything."""

    growth_mb = 24  # what an attack may add to the server's memory, at its peak
    patience = 10  # seconds that another caller may have to wait
    fresh_callers = True
    fresh_server = False  # for each test: memory that one attack has left hides the next one's

    @classmethod
    def setUpClass(cls):
        cls.server = None if cls.fresh_server else cls.warm_server()

    @classmethod
    def warm_server(cls):
        server = cls.make_server()
        with Connection(server.address) as connection:
            for _ in range(200):
                connection.call(HEALTH + "Check")
        return server

    @classmethod
    def make_server(cls):
        return Server()

    @classmethod
    def tearDownClass(cls):
        if cls.server:
            cls.stop(cls.server)

    @staticmethod
    def stop(server):
        said, status = server.said(), server.stop()
        assert status == 0, f"the server ended with {status}: {said[-2000:]}"

    def setUp(self):
        if self.fresh_server:
            self.server = self.warm_server()
            self.addCleanup(self.stop, self.server)
        self.server.forget_peak()
        self.before = self.server.memory_mb("VmRSS")
        self.bound = self.growth_mb
        self.others = Others(self.server, self.fresh_callers, self.patience)
        self.others.start()
        self.addCleanup(self.check)
        while self.others.calls == 0 and not self.others.trouble:
            time.sleep(0.005)

    def check(self):
        more = self.others.calls + 2  # of an attack that is over at once, too
        until = time.monotonic() + self.patience
        while self.others.calls < more and not self.others.trouble and time.monotonic() < until:
            time.sleep(0.01)
        self.others.enough.set()
        self.others.join()
        self.assertIsNone(self.server.process.poll(), self.server.said()[-2000:])
        growth = self.server.memory_mb("VmHWM") - self.before
        print(f"{self._testMethodName}: {growth:.1f} MiB more, {self.others.calls} calls of others,"
              f" slowest {self.others.slowest * 1000:.0f} ms", file=sys.stderr)
        self.assertIsNone(self.others.trouble)
        self.assertGreater(self.others.calls, 0)
        self.assertLess(growth, self.bound)
        self.assertTrue(self.server.answers())

    def connect(self, **more):
        connection = Connection(self.server.address, **more)
        self.addCleanup(connection.socket.close)
        return connection

    def usable(self, connection):
        """The connection itself has not suffered."""
        self.assertEqual(connection.call(HEALTH + "Check").status, 0)

    def ended(self, connection, seconds=5):
        self.assertTrue(connection.ended(seconds), "the connection is still open")
