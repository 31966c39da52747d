"""Streams and messages that break gRPC: on the echo server, whose messages are made for it."""
import gzip
import time
import unittest

import http2
from attacked import HEALTH, HOLDFASTD, Attacked
from http2 import DATA, ECHO, END_HEADERS, HEADERS, field, frame, message, request_headers, varint

OK, INVALID_ARGUMENT, RESOURCE_EXHAUSTED, UNIMPLEMENTED, INTERNAL = 0, 3, 8, 12, 13


@unittest.skipIf(HOLDFASTD, "what becomes of its messages is in tests/integration/hostile.py")
class Messages(Attacked):
    """One call each, refused; the connection goes on."""

    def setUp(self):
        super().setUp()
        self.connection = self.connect()

    def send(self, *pieces, headers=None, end=True):
        """Sends pieces as they are in a call of Echo, and returns the answer."""
        stream = self.connection.open(ECHO + "Echo", *pieces, end=end, headers=headers)
        return self.connection.finish(stream)

    def refused(self, answer, *codes):
        self.assertIn(answer.status, codes, (answer.headers, answer.reset))
        self.usable(self.connection)

    def test_metadata_that_c_or_a_log_would_stumble_over(self):
        """The handler is told of a clean value, and of none with a control character in it."""
        for value, known in ((b"plain text", True), (b"a\0b", False), (b"a\r\nb", False),
                             (b"a\x7f", False)):
            headers = request_headers(ECHO + "Echo", [("echo-key", value)])
            answer = self.send(message(), headers=headers)
            self.assertEqual(answer.status, OK)
            self.assertEqual(field(5, value) in answer.data, known)
            self.assertEqual(b"*" in answer.data, known)

    def test_a_length_beyond_the_data(self):
        self.refused(self.send(message(b"abc", length=100)), INVALID_ARGUMENT, INTERNAL)

    def test_a_prefix_cut_short(self):
        self.refused(self.send(b"\0\0\0"), INVALID_ARGUMENT, INTERNAL)

    def test_a_length_short_of_the_data(self):
        """What is left is the beginning of another message that never ends; the first one counts or
        the call fails, and it never reads what is not there."""
        answer = self.send(message(field(1, b"abcdef"), length=5))
        self.refused(answer, OK, INVALID_ARGUMENT, INTERNAL)

    def test_a_length_of_four_gigabytes(self):
        self.refused(self.send(message(b"x" * 1000, length=0xffffffff)), RESOURCE_EXHAUSTED,
                     INVALID_ARGUMENT)

    def test_a_message_larger_than_allowed(self):
        """5 MiB where 4 are allowed."""
        stream = self.connection.open(ECHO + "Echo", end=False)
        answer = self.connection.push(stream, message(b"\0" * (5 << 20)))
        self.refused(answer, RESOURCE_EXHAUSTED)

    def test_an_unknown_message_flag(self):
        """Core 1.51 takes it for none at all."""
        for flag in (2, 0x80, 0xff):
            with self.subTest(flag=flag):
                self.refused(self.send(message(field(1, b"x"), flag=flag)), OK, INTERNAL,
                             INVALID_ARGUMENT, UNIMPLEMENTED)

    def test_compressed_without_an_encoding(self):
        answer = self.send(message(gzip.compress(b"\x0a\x01x"), flag=1))
        self.refused(answer, INTERNAL, INVALID_ARGUMENT, UNIMPLEMENTED)

    def test_gzip_bomb(self):
        """30 KiB that are 30 MiB: refused before it is inflated."""
        bomb = message(gzip.compress(b"\0" * (30 << 20)), flag=1)
        self.assertLess(len(bomb), 65000)
        self.bound = 10
        headers = request_headers(ECHO + "Echo", [("grpc-encoding", "gzip")])
        self.refused(self.send(bomb, headers=headers), UNIMPLEMENTED)

    def test_compression_is_refused_unless_enabled(self):
        """Small and honest, and yet refused; and the answer says what is accepted."""
        for encoding in ("gzip", "deflate", "snappy"):
            headers = request_headers(ECHO + "Echo", [("grpc-encoding", encoding)])
            answer = self.send(message(gzip.compress(field(1, b"x")), flag=1), headers=headers)
            codes = [UNIMPLEMENTED] if encoding != "snappy" else [UNIMPLEMENTED, INVALID_ARGUMENT]
            self.refused(answer, *codes)
            self.assertEqual(answer.headers.get("grpc-accept-encoding", "identity"), "identity")

    def test_nesting_bomb(self):
        body = b""
        for _ in range(10_000):
            body = b"\x12" + varint(len(body)) + body
        self.bound = 10
        self.refused(self.send(message(field(5, body))), RESOURCE_EXHAUSTED)

    def test_repeated_element_bomb(self):
        """30,000 map entries of two bytes each, which are 45 times that in memory."""
        self.bound = 10
        self.refused(self.send(message(b"\x42\0" * 30_000)), RESOURCE_EXHAUSTED)

    def test_unknown_field_bomb(self):
        self.bound = 10
        self.refused(self.send(message(b"\xf8\x07\x01" * 20_000)), RESOURCE_EXHAUSTED)

    def test_half_closed_without_a_message(self):
        stream = self.connection.open(ECHO + "Echo")
        self.refused(self.connection.finish(stream), INVALID_ARGUMENT, INTERNAL, UNIMPLEMENTED)

    def test_two_messages_where_one_is_due(self):
        answer = self.send(message(field(1, b"a")), message(field(1, b"b")))
        self.refused(answer, OK, INVALID_ARGUMENT, INTERNAL, UNIMPLEMENTED)

    def test_data_after_the_end(self):
        stream = self.connection.open(ECHO + "Echo", message())
        try:
            self.connection.send(*[frame(DATA, 0, stream, b"x" * 1000)] * 20)
            self.connection.finish(stream)
            self.usable(self.connection)
        except http2.Closed:
            pass

    def test_headers_after_the_end(self):
        stream = self.connection.open(ECHO + "Echo", message())
        block = request_headers(ECHO + "Echo")
        try:
            self.connection.send(frame(HEADERS, END_HEADERS, stream, block))
            self.connection.finish(stream)
            self.usable(self.connection)
        except http2.Closed:
            pass

    def test_calls_that_never_send_their_message(self):
        """900 streams opened and left; the server's own limit is 1,000."""
        for _ in range(900):
            self.connection.open(ECHO + "Echo", end=False)
        self.usable(self.connection)


@unittest.skipIf(HOLDFASTD, "it takes tenants and quotas to make it send that much")
class Readers(Attacked):
    """Clients that do not read: TCP's buffers and Core's writes are what they can fill."""

    growth_mb = 64

    def test_a_stream_that_nobody_reads(self):
        """Counts to infinity, 1,000 bytes each: flow control stops it, the queue is bounded."""
        for _ in range(10):
            connection = self.connect(window=0)
            connection.open(ECHO + "Count", message(field(2, 1000)))
        before = self.others.calls
        while self.others.calls < before + 25:
            time.sleep(0.01)

    def test_answers_that_nobody_reads(self):
        """500 answers of 32 KiB each on a connection whose window is shut."""
        connection = self.connect(window=0)
        body = message(field(2, b"x" * 32_000))
        try:
            for _ in range(100):
                connection.open(ECHO + "Echo", body)
        except http2.Closed:
            pass
        before = self.others.calls
        while self.others.calls < before + 10:
            time.sleep(0.01)

    def test_a_socket_that_nobody_reads(self):
        """The windows are wide open, but TCP's buffers fill up."""
        for _ in range(5):
            connection = self.connect(window=0x7fffffff)
            connection.open(ECHO + "Count", message(field(2, 10_000)))
        before = self.others.calls
        while self.others.calls < before + 25:
            time.sleep(0.01)
