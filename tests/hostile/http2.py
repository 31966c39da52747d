"""HTTP/2 by hand, for saying what no library would: frames are built from numbers and bytes, header
blocks from literals, and nothing is checked on the way out.

A Connection is also a small honest client (call, open, read), by which a test sees whether others
are served. It asks the server for a header table of size 0, so that answers can be read without
keeping one.
"""
import collections
import socket
import struct
import time

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, \
    CONTINUATION = range(10)
END_STREAM, END_HEADERS, ACK = 1, 4, 1
ECHO = "/test.echo.v1.EchoService/"

Frame = collections.namedtuple("Frame", "type flags stream payload")


class Closed(Exception):
    """The server has closed the connection."""


class Late(Exception):
    """Nothing came within the time."""


def frame(kind, flags=0, stream=0, payload=b"", length=None):
    length = len(payload) if length is None else length
    return struct.pack(">I", length)[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def setting(number, value):
    return struct.pack(">HI", number, value)


def integer(value, bits, first=0):
    """An HPACK integer with a prefix of so many bits."""
    top = (1 << bits) - 1
    if value < top:
        return bytes([first | value])
    data, value = bytes([first | top]), value - top
    while value > 127:
        data, value = data + bytes([value & 127 | 128]), value >> 7
    return data + bytes([value])


def text(data):
    data = data.encode() if isinstance(data, str) else data
    return integer(len(data), 7) + data


def literal(name, value, first=0):
    """A header that is not indexed, or with first=0x40 one that enters the table."""
    return bytes([first]) + text(name) + text(value)


def request_headers(path, more=(), without=(), **changed):
    """What an honest client sends, with changes: te=... replaces te, method=... :method."""
    headers = {":method": "POST", ":scheme": "http", ":path": path, ":authority": "test",
               "te": "trailers", "content-type": "application/grpc"}
    for name, value in changed.items():
        name = name.replace("_", "-")
        headers[":" + name if ":" + name in headers else name] = value
    return b"".join([literal(name, value) for name, value in headers.items()
                     if name not in without] + [literal(*pair) for pair in more])


def message(data=b"", flag=0, length=None):
    """A gRPC message: flag, length, bytes."""
    return struct.pack(">BI", flag, len(data) if length is None else length) + data


def varint(value):
    return integer(value, 7, 0) if value < 128 else bytes([value & 127 | 128]) + varint(value >> 7)


def field(number, value):
    """A protobuf field: bytes or a number."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def read_integer(data, at, bits):
    top = (1 << bits) - 1
    value, at = data[at] & top, at + 1
    if value < top:
        return value, at
    shift = 0
    while True:
        value, shift, at = value + ((data[at] & 127) << shift), shift + 7, at + 1
        if not data[at - 1] & 128:
            return value, at


def read_text(data, at):
    huffman = data[at] & 128
    length, at = read_integer(data, at, 7)
    return "(huffman)" if huffman else data[at:at + length].decode("latin-1"), at + length


def read_headers(data):
    """Literals by name; of indexed ones only :status, which is all that an answer has."""
    headers, at = {}, 0
    while at < len(data):
        first = data[at]
        if first & 0x80:
            index, at = read_integer(data, at, 7)
            if 8 <= index <= 14:
                headers[":status"] = [200, 204, 206, 304, 400, 404, 500][index - 8]
            continue
        if first & 0xe0 == 0x20:
            _, at = read_integer(data, at, 5)
            continue
        index, at = read_integer(data, at, 6 if first & 0x40 else 4)
        name = f"({index})"
        if index == 0:
            name, at = read_text(data, at)
        headers[name], at = read_text(data, at)
    return headers


class Answer:
    """What came on one stream: headers and trailers in one, the data, and how it ended."""

    def __init__(self):
        self.headers, self.data, self.reset = {}, b"", None

    @property
    def status(self):
        return int(self.headers["grpc-status"]) if "grpc-status" in self.headers else None


class Connection:
    """One connection; hello=False sends nothing at all."""

    def __init__(self, address, hello=True, window=1 << 20, timeout=5):
        self.socket = socket.create_connection(address, timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer, self.next_stream, self.goaway = b"", 1, None
        if hello:
            self.send(PREFACE, frame(SETTINGS, 0, 0, setting(1, 0) + setting(4, window)),
                      frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1 << 30)))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, *pieces):
        try:
            self.socket.sendall(b"".join(pieces))
        except (BrokenPipeError, ConnectionResetError) as error:
            raise Closed from error

    def pour(self, piece, count, at_once=1000):
        """Sends a piece again and again until all is sent or the server has had enough; returns how
        often. A server that reads no more has had enough too."""
        sent = 0
        self.socket.settimeout(1)
        while sent < count:
            many = min(at_once, count - sent)
            try:
                self.socket.sendall(piece * many)
            except (BrokenPipeError, ConnectionResetError, TimeoutError):
                break
            sent += many
        return sent

    def read(self, seconds=5):
        """The next frame. Settings and pings are answered."""
        until = time.monotonic() + seconds
        while len(self.buffer) < 9 or len(self.buffer) < 9 + self.length():
            left = until - time.monotonic()
            if left <= 0:
                raise Late
            self.socket.settimeout(left)
            try:
                piece = self.socket.recv(1 << 18)
            except TimeoutError as error:
                raise Late from error
            except ConnectionResetError as error:
                raise Closed from error
            if not piece:
                raise Closed
            self.buffer += piece
        length = self.length()
        kind, flags, stream = struct.unpack(">BBI", self.buffer[3:9])
        got = Frame(kind, flags, stream & 0x7fffffff, self.buffer[9:9 + length])
        self.buffer = self.buffer[9 + length:]
        if got.type == SETTINGS and not got.flags & ACK:
            self.send(frame(SETTINGS, ACK))
        elif got.type == PING and not got.flags & ACK:
            self.send(frame(PING, ACK, 0, got.payload))
        elif got.type == GOAWAY:
            self.goaway = got
        return got

    def length(self):
        return int.from_bytes(self.buffer[:3], "big")

    def open(self, path, *data, end=True, headers=None):
        """Begins a call and returns its stream."""
        stream, self.next_stream = self.next_stream, self.next_stream + 2
        block = request_headers(path) if headers is None else headers
        pieces = [frame(HEADERS, END_HEADERS | (END_STREAM if end and not data else 0), stream,
                        block)]
        for number, piece in enumerate(data):
            last = end and number == len(data) - 1
            pieces += [frame(DATA, 0, stream, piece[at:at + 16384])
                       for at in range(0, max(len(piece) - 16384, 0), 16384)]
            rest = piece[(max(len(piece) - 1, 0) // 16384) * 16384:]
            pieces.append(frame(DATA, END_STREAM if last else 0, stream, rest))
        self.send(*pieces)
        return stream

    def push(self, stream, data, seconds=10):
        """Sends data as the windows allow, without an end, until the answer comes; returns it."""
        answer, until = Answer(), time.monotonic() + seconds
        room, at = {0: 65535, stream: 65535}, 0
        while True:
            while at < len(data) and min(room.values()) > 0:
                piece = data[at:at + min(16384, *room.values())]
                self.send(frame(DATA, 0, stream, piece))
                at += len(piece)
                room = {number: left - len(piece) for number, left in room.items()}
            got = self.read(until - time.monotonic())
            if got.type == WINDOW_UPDATE and got.stream in room:
                room[got.stream] += int.from_bytes(got.payload, "big")
            elif got.type == SETTINGS and not got.flags & ACK:
                for begin in range(0, len(got.payload), 6):
                    number, value = struct.unpack(">HI", got.payload[begin:begin + 6])
                    if number == 4:
                        room[stream] += value - 65535
            elif got.type == HEADERS and got.stream == stream:
                answer.headers.update(read_headers(got.payload))
                if got.flags & END_STREAM:
                    return answer

    def finish(self, stream, seconds=5):
        """Reads until this stream is over."""
        answer, until = Answer(), time.monotonic() + seconds
        while True:
            got = self.read(until - time.monotonic())
            if got.stream != stream:
                continue
            if got.type == DATA:
                answer.data += got.payload
                if got.payload:
                    self.send(frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", len(got.payload))))
            elif got.type == HEADERS:
                answer.headers.update(read_headers(got.payload))
            elif got.type == RST_STREAM:
                answer.reset = int.from_bytes(got.payload, "big")
                return answer
            if got.type in (DATA, HEADERS) and got.flags & END_STREAM:
                return answer

    def call(self, path=ECHO + "Echo", body=b"", seconds=5, **more):
        return self.finish(self.open(path, message(body), **more), seconds)

    def ended(self, seconds=5):
        """Waits for the server to close; False: it did not within the time."""
        until = time.monotonic() + seconds
        try:
            while True:
                self.read(until - time.monotonic())
        except Closed:
            return True
        except Late:
            return False
