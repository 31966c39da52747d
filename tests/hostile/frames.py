"""Bytes that break HTTP/2 itself."""
import struct
import time

import http2
from attacked import HANDSHAKE_MS, HEALTH, HOLDFASTD, Attacked
from http2 import (CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PREFACE,
                   PRIORITY, PUSH_PROMISE, RST_STREAM, SETTINGS, WINDOW_UPDATE, frame, integer,
                   literal, message, request_headers, setting)

CHECK = HEALTH + "Check"
OK, UNKNOWN = 0, 2


class Preface(Attacked):
    """Before anything is said."""

    def test_another_protocol(self):
        for hello in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
                      PREFACE[:-1] + b"X", b"\0" * 64):
            connection = self.connect(hello=False)
            connection.send(hello + b"\0" * 64)
            self.ended(connection)

    def test_a_first_frame_that_is_no_settings(self):
        for first in (frame(PING, 0, 0, b"12345678"), frame(DATA, 0, 1, b"x"),
                      frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1")):
            connection = self.connect(hello=False)
            connection.send(PREFACE, first)
            self.ended(connection)

    def test_slow_or_silent_beginners_are_put_out(self):
        """Nothing, half a preface, or one byte now and then: nobody keeps a place that way."""
        if HOLDFASTD:
            self.skipTest("its handshake time is 20 s")
        begun = time.monotonic()
        silent, half, slow = (self.connect(hello=False) for _ in range(3))
        half.send(PREFACE[:12])
        for byte in PREFACE[:15]:
            slow.send(bytes([byte]))
            time.sleep(0.05)
        for connection in (silent, half, slow):
            self.ended(connection)
        self.assertLess(time.monotonic() - begun, HANDSHAKE_MS / 1000 + 2)


class Frames(Attacked):
    """Frames of the wrong kind, size or place, and too many of them."""

    def refused(self, *pieces):
        """The connection ends, or the server says why it will (GOAWAY)."""
        connection = self.connect()
        self.usable(connection)
        until = time.monotonic() + 5
        try:
            connection.send(*pieces)
            while connection.goaway is None:
                connection.read(until - time.monotonic())
        except http2.Closed:
            pass

    def test_kinds_that_nobody_knows_are_ignored(self):
        connection = self.connect()
        for kind in range(10, 256):
            connection.send(frame(kind, 0xff, 0, b"x" * 100), frame(kind, 0, 1001, b""))
        self.usable(connection)

    def test_frames_of_the_wrong_size(self):
        for broken in (frame(SETTINGS, 0, 0, b"12345"), frame(SETTINGS, 1, 0, b"123456"),
                       frame(PING, 0, 0, b"1234567"), frame(PING, 0, 0, b"123456789"),
                       frame(WINDOW_UPDATE, 0, 0, b"123"), frame(RST_STREAM, 0, 1, b"123"),
                       frame(GOAWAY, 0, 0, b"1234567")):
            with self.subTest(kind=broken[3]):
                self.refused(broken)

    def test_a_frame_larger_than_agreed(self):
        self.refused(frame(DATA, 0, 1, b"x" * 16000, length=(1 << 24) - 1))

    def test_frames_where_they_do_not_belong(self):
        block = request_headers(CHECK)
        for name, pieces in {
                "continuation of nothing": [frame(CONTINUATION, END_HEADERS, 1, block)],
                "headers interrupted": [frame(HEADERS, 0, 1001, block), frame(PING, 0, 0, b"8" * 8)],
                "another stream's continuation": [frame(HEADERS, 0, 1001, block),
                                                  frame(CONTINUATION, END_HEADERS, 1003, b"")],
        }.items():
            with self.subTest(name):
                self.refused(*pieces)

    def test_streams_that_are_not_a_clients(self):
        """Even numbers, numbers that go back, data where no stream is, promises of a client: the
        connection may end or the frames be ignored, the server goes on."""
        block = request_headers(CHECK)
        for pieces in ([frame(HEADERS, END_HEADERS, 1002, block)],
                       [frame(HEADERS, END_HEADERS, 1003, block), frame(HEADERS, END_HEADERS, 1001,
                                                                        block)],
                       [frame(DATA, 0, 1001, b"x" * 16384)] * 20,
                       [frame(HEADERS, END_HEADERS, 0, block)], [frame(DATA, 0, 0, b"x")],
                       [frame(PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\2" + block)],
                       [frame(PRIORITY, 0, 1, struct.pack(">IB", 1, 0))] * 1000):
            connection = self.connect()
            try:
                connection.send(*pieces)
                connection.call(CHECK, seconds=1)
            except (http2.Closed, http2.Late):
                pass

    def test_settings_flood(self):
        """Each asks for an answer that the client never reads."""
        self.connect().pour(frame(SETTINGS, 0, 0, setting(4, 1 << 20)), 200_000)

    def test_settings_out_of_range(self):
        for number, value in ((2, 2), (4, 1 << 31), (5, 1), (5, 1 << 24)):
            with self.subTest(setting=number):
                self.refused(frame(SETTINGS, 0, 0, setting(number, value)))

    def test_ping_flood(self):
        connection = self.connect()
        connection.pour(frame(PING, 0, 0, b"12345678"), 200_000)
        self.ended(connection)

    def test_window_overflow_and_nothing(self):
        connection = self.connect()
        stream = connection.open(CHECK, end=False)
        for step in (0x7fffffff, 0x7fffffff, 0):
            try:
                connection.send(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", step)),
                                frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", step)))
            except http2.Closed:
                break

    def test_window_flood(self):
        connection = self.connect()
        stream = connection.open(CHECK, end=False)
        connection.pour(frame(WINDOW_UPDATE, 0, stream, b"\0\0\0\1"), 200_000)

    def test_empty_frame_flood(self):
        connection = self.connect()
        stream = connection.open(CHECK, end=False)
        connection.pour(frame(DATA, 0, stream), 200_000)

    def test_continuation_flood(self):
        """Headers without an end, 64 MiB of them. Core 1.51 keeps them all: this much it must bear,
        and what a server does about more is in src/stub/README.md."""
        self.bound = 100
        connection = self.connect()
        connection.send(frame(HEADERS, 0, 1, request_headers(CHECK)))
        connection.pour(frame(CONTINUATION, 0, 1, literal("x-more", b"v" * 16000)), 4000, 50)

    def test_goaway_of_a_client(self):
        """It says that it goes, and goes on; then it goes with a call under way."""
        connection = self.connect()
        connection.send(frame(GOAWAY, 0, 0, struct.pack(">II", 0, 0) + b"bye"))
        self.usable(connection)
        try:
            connection.open(HEALTH + "Watch", message())
            connection.send(frame(GOAWAY, 0, 0, struct.pack(">II", 0, 11)))
        except http2.Closed:
            pass
        connection.socket.close()


class Headers(Attacked):
    """Header blocks: HPACK broken, HPACK bombs, and headers that say what may not be said."""

    def block(self, data, end=END_HEADERS | END_STREAM):
        connection = self.connect()
        self.usable(connection)
        stream, connection.next_stream = connection.next_stream, connection.next_stream + 2
        connection.send(frame(HEADERS, end, stream, data))
        return connection, stream

    def test_compression_state_is_broken(self):
        for data in (integer(70, 7, 0x80), integer(1 << 40, 7, 0x80), b"\xff" * 20, b"\x80",
                     integer(1 << 20, 5, 0x20), b"\x00\x7f\xff\xff\xff\xff\x7f", b"\x40\x05ab",
                     b"\x00\x81\xff\x81\xff"):
            with self.subTest(data=data.hex()):
                connection, stream = self.block(request_headers(CHECK) + data)
                try:
                    answer = connection.finish(stream, 2)
                    self.assertNotEqual(answer.status, 0)
                except (http2.Closed, http2.Late):
                    pass

    def test_compression_bomb(self):
        """One entry of 4 KiB in the table, referred to by one byte each time: 1:4000."""
        connection = self.connect()
        bomb = literal("x-bomb", b"b" * 3900, 0x40)
        for number in range(20):
            block = request_headers(CHECK) + (bomb if number == 0 else b"") + b"\xbe" * 15000
            piece = frame(HEADERS, END_HEADERS | END_STREAM, connection.next_stream, block)
            connection.next_stream += 2
            try:
                connection.send(piece)
                self.assertNotEqual(connection.finish(connection.next_stream - 2).status, 0)
            except http2.Closed:
                break

    def test_table_resized_again_and_again(self):
        connection, _ = self.block(b"\x3f\xe1\x1f\x20" * 4000 + request_headers(CHECK))
        try:
            connection.read(1)
        except (http2.Closed, http2.Late):
            pass

    def test_metadata_beyond_the_limit(self):
        """32 KiB where 16 are allowed: this call is refused, and the connection may be."""
        connection = self.connect()
        self.usable(connection)  # the limit counts once its settings have been acknowledged
        more = [(f"x-{number}", "v" * 1000) for number in range(32)]
        block = request_headers(CHECK, more)
        stream, connection.next_stream = connection.next_stream, connection.next_stream + 2
        connection.send(frame(HEADERS, 0, stream, block[:16000]),
                        frame(CONTINUATION, 0, stream, block[16000:32000]),
                        frame(CONTINUATION, END_HEADERS, stream, block[32000:]),
                        frame(DATA, END_STREAM, stream, message()))
        try:
            answer = connection.finish(stream)
            self.assertTrue(answer.status == 8 or answer.reset is not None, answer.headers)
        except http2.Closed:
            pass

    def test_names_and_values_that_are_illegal(self):
        """Whatever becomes of the call, no handler takes it for an honest one, or it does no harm."""
        for name, value in (("Upper", "x"), ("sp ace", "x"), (":bogus", "x"), ("nul", b"a\0b"),
                            ("cr", b"a\r\nb: c"), ("", "x"), ("x" * 9000, "x"), (":path", "/again"),
                            ("te", "gzip"), ("grpc-timeout", "99999999999999999999H"),
                            ("grpc-timeout", "-1S"), ("grpc-timeout", "1x"), ("x-bin", "***"),
                            ("grpc-encoding", "nonsense"), ("content-length", "-5"),
                            ("connection", "close"), ("host", b"\xff\xfe")):
            with self.subTest(name=name[:20]):
                connection = self.connect()
                try:
                    stream = connection.open(CHECK, message(),
                                             headers=request_headers(CHECK, [(name, value)]))
                    connection.finish(stream, 2)
                except (http2.Closed, http2.Late):
                    pass

    def status_of(self, block):
        connection = self.connect()
        return connection.finish(connection.open(CHECK, message(), headers=block)).status

    def test_headers_that_lack_what_they_must_have(self):
        for missing in (":path", ":method", ":scheme", ":authority", "te"):
            with self.subTest(missing=missing):
                self.assertEqual(self.status_of(request_headers(CHECK, without=[missing])), UNKNOWN)

    def test_headers_of_another_protocol(self):
        for changed in ({"method": "GET"}, {"method": "CONNECT"}, {"te": "nonsense"},
                        {"scheme": "gopher"}):
            with self.subTest(**changed):
                self.assertEqual(self.status_of(request_headers(CHECK, **changed)), UNKNOWN)

    def test_content_that_is_not_grpc(self):
        """Core 1.51 does not look at the content-type; a message is a message."""
        for changed in ({"content_type": "text/html"}, {"content_type": ""}):
            with self.subTest(**changed):
                self.assertIn(self.status_of(request_headers(CHECK, **changed)), (OK, UNKNOWN))
        self.assertIn(self.status_of(request_headers(CHECK, without=["content-type"])),
                      (OK, UNKNOWN))

    def test_large_headers_that_are_also_wrong(self):
        """CVE-2023-1428: an error of one header, found while another is beyond the limit."""
        for changed in ({"te": "x" * 20}, {"scheme": "x" * 20},
                        {"grpclb_client_stats": "x" * 20}, {"te": "trailers,"}):
            connection = self.connect()
            block = request_headers(CHECK, [("x-large", "v" * 9000)], **changed)
            try:
                connection.finish(connection.open(CHECK, message(), headers=block), 2)
            except (http2.Closed, http2.Late):
                pass
