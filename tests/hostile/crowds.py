"""Too many: connections, streams, resets."""
import struct
import threading
import time
import unittest

import http2
from attacked import HEALTH, HOLDFASTD, Attacked, Server
from http2 import (CONTINUATION, END_HEADERS, END_STREAM, HEADERS, PING, RST_STREAM, Connection,
                   frame, literal, message, request_headers)

CHECK, WATCH = HEALTH + "Check", HEALTH + "Watch"


def begin(stream, path=CHECK, end=True):
    """A call's first frame, whole."""
    return frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream, request_headers(path))


def reset(stream, why=8):
    return frame(RST_STREAM, 0, stream, struct.pack(">I", why))


class Streams(Attacked):
    """Many streams on one connection."""

    fresh_server = True
    patience = 30

    def flood(self, pieces):
        """Sends all at once and waits until the server has seen the last of it, or closed. True: the
        connection serves on."""
        connection = self.connect(timeout=30)
        connection.next_stream = 100_001
        try:
            connection.send(*pieces)
            return connection.call(CHECK, seconds=30).status == 0
        except (http2.Closed, TimeoutError):
            return False

    def test_reset_storm(self):
        """1,000 streams, each given up at once; the connection serves afterwards."""
        self.assertTrue(self.flood([begin(n) + reset(n) for n in range(1, 2001, 2)]))

    def test_rapid_reset(self):
        """CVE-2023-44487, 10,000 streams of it: Core 1.51 hands every one of them on, with 13 KiB
        each, before it looks at the next reset."""
        self.bound = 200
        self.flood([begin(n) + reset(n) for n in range(1, 20_001, 2)])

    def test_more_streams_than_allowed(self):
        """10,000 at once where 1,000 are allowed."""
        connection = self.connect()
        self.usable(connection)  # its settings have been acknowledged
        try:
            for number in range(10_000):
                connection.send(begin(2 * number + 1001, WATCH, end=False))
        except http2.Closed:
            pass

    def test_more_streams_by_one_who_does_not_agree(self):
        """The same by a client that never acknowledges the server's settings: Core 1.51 does not
        enforce what has not been agreed to."""
        self.bound = 200
        self.flood([begin(n, WATCH, end=False) for n in range(1, 20_001, 2)])

    def test_resets_in_the_middle_of_answers(self):
        for _ in range(50):
            connection = self.connect()
            streams = [connection.open(WATCH, message()) for _ in range(20)]
            connection.read()
            connection.send(*[reset(stream) for stream in streams])
            self.usable(connection)
            connection.socket.close()


@unittest.skipIf(HOLDFASTD, "its bound is for the machines that it runs on")
class Bound(Attacked):
    """What Core 1.51 does not bound, on a server that may take 100 MiB: whoever makes it take more is
    cut, and nobody else."""

    fresh_server = True
    growth_mb = 250
    patience = 30  # its one worker works off what the attacker has begun

    @classmethod
    def make_server(cls):
        return Server(memory_mb=100)

    def attack(self, pieces):
        """True if the attacker was cut before he had sent all and heard of it."""
        connection = self.connect(timeout=30)
        connection.next_stream = 1_000_001
        try:
            for piece in pieces:
                connection.send(piece)
            connection.call(CHECK, seconds=30)
            return False
        except (http2.Closed, TimeoutError):
            return True

    def check_cut(self, pieces):
        self.assertTrue(self.attack(pieces))
        until = time.monotonic() + 5  # the log is written after the deed
        while "connection.cut" not in self.server.said():
            self.assertLess(time.monotonic(), until, "he was not cut by the guard")
            time.sleep(0.01)

    def test_rapid_reset(self):
        """200,000 streams: 2.5 GiB without a bound."""
        self.check_cut(b"".join(begin(n) + reset(n) for n in range(at, at + 2000, 2))
                       for at in range(1, 400_000, 2000))

    def test_streams_that_were_not_agreed_on(self):
        """100,000, none of them ever ended: 1.2 GiB."""
        self.check_cut(b"".join(begin(n, end=False) for n in range(at, at + 2000, 2))
                       for at in range(1, 200_000, 2000))

    def test_headers_without_an_end(self):
        """1 GiB of one header block."""
        first = [frame(HEADERS, 0, 1, request_headers(CHECK))]
        more = frame(CONTINUATION, 0, 1, literal("x-more", b"v" * 16000)) * 10
        self.check_cut(first + [more] * 6400)


class Crowd(Attacked):
    """Many connections."""

    def test_three_hundred_that_do_nothing(self):
        for _ in range(300):
            self.connect()

    def test_three_hundred_that_come_and_go(self):
        """Some without a word, some in the middle of one, some with a call under way."""
        for number in range(300):
            connection = self.connect(hello=number % 3 > 0)
            if number % 3 == 2:
                connection.open(WATCH, message())
            connection.socket.close()


@unittest.skipIf(HOLDFASTD, "its keepalive time is a minute")
class Silence(Attacked):
    """A peer that has vanished without closing."""

    @classmethod
    def make_server(cls):
        return Server(keepalive_ms=1000)

    def test_who_answers_no_ping_is_put_out(self):
        silent, alive = self.connect(), self.connect()
        silent.open(WATCH, message())
        alive.open(WATCH, message())
        begun = time.monotonic()
        silent.socket.settimeout(0.05)
        while not self.at_end(silent):  # it reads, but answers nothing
            self.assertLess(time.monotonic() - begun, 8)
            try:
                alive.read(0.05)
            except http2.Late:
                pass
        self.assertGreater(time.monotonic() - begun, 1)
        self.usable(alive)

    @staticmethod
    def at_end(connection):
        try:
            return connection.socket.recv(65536) == b""
        except TimeoutError:
            return False


class Stop(unittest.TestCase):
    """The operator stops the server while it is under attack."""

    def test_it_ends_in_time_and_well(self):
        server = Server()
        enough = threading.Event()
        attackers = [threading.Thread(target=self.attack, args=(server.address, enough, number))
                     for number in range(4)]
        for attacker in attackers:
            attacker.start()
        busy = time.process_time() + 0.2  # of this process: the attack is under way
        while time.process_time() < busy:
            time.sleep(0.01)
        begun = time.monotonic()
        status = server.stop()
        took = time.monotonic() - begun
        enough.set()
        for attacker in attackers:
            attacker.join()
        self.assertEqual(status, 0)
        self.assertLess(took, 12)

    @staticmethod
    def attack(address, enough, number):
        """Resets, half calls, watches and pings, on a new connection whenever one has ended."""
        while not enough.is_set():
            try:
                with Connection(address, timeout=2) as connection:
                    for stream in range(1, 401, 2):
                        connection.send(begin(stream, WATCH, end=False),
                                        *([reset(stream)] if number % 2 else []))
                    for _ in range(50):
                        stream = connection.open(WATCH, message())
                        connection.send(frame(PING, 0, 0, b"12345678"))
                        connection.read(0.1)
            except (http2.Closed, http2.Late, OSError):
                pass


class Descriptors(Attacked):
    """Out of descriptors: 300 connections to a server that may have 96 or 128 open."""

    limit = 128 if HOLDFASTD else 96
    fresh_callers = False  # nobody new is let in

    @classmethod
    def make_server(cls):
        return Server(descriptors=cls.limit)

    def test_new_callers_are_served_again(self):
        crowd = [self.connect() for _ in range(300)]
        refused = sum(self.is_refused(connection) for connection in crowd)
        self.assertGreater(refused, 300 - self.limit)
        self.assertLess(refused, 300)
        self.assertLess(self.server.descriptors(), self.limit - 8, "some are left for others")
        calls = self.others.calls  # on a connection that was there before
        while self.others.calls < calls + 10 and not self.others.trouble:
            time.sleep(0.01)
        self.assertIsNone(self.others.trouble)
        for connection in crowd:
            connection.socket.close()
        until = time.monotonic() + 1
        while not self.server.answers():
            self.assertLess(time.monotonic(), until, "new callers are not served within a second")
        for _ in range(20):
            with Connection(self.server.address) as connection:
                self.usable(connection)
        self.assertIn("connection.refused", self.server.said())

    @staticmethod
    def is_refused(connection):
        """True when the server has closed it; one that is let in hears settings."""
        try:
            connection.read(2)
            return False
        except (http2.Closed, http2.Late, OSError):
            return True

    def test_again_and_again(self):
        for _ in range(5):
            crowd = [self.connect(hello=False) for _ in range(150)]
            for connection in crowd:
                connection.socket.close()
        self.assertTrue(self.eventually_answers())

    def eventually_answers(self):
        until = time.monotonic() + 1
        while time.monotonic() < until:
            if self.server.answers():
                return True
        return False
