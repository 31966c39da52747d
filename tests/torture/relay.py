"""Relays between servers and stores that know where a message ends, in a process of their own.

A relay listens on a port of 127.0.0.1 and carries bytes to a target, which can be changed: who is
connected stays where they are, who connects next reaches the new one. What can be done to it:

    delay SECONDS      each piece on its way to the server waits so long, and up to twice that
    hold_up, hold_down SECONDS   nothing passes in one direction; the other goes on
    lose_reply N       the N-th reply from now on is swallowed and its connection cut: what was asked
                       has happened, and nobody hears of it
    lose_commit N      Postgres alone: the same for the N-th COMMIT that succeeded
    cut_bytes N        the connection that has brought N bytes is cut, wherever that is in a message
    refuse SECONDS     whoever connects is turned away
    reset              all connections are cut
    shut, open         nobody listens at the port, as if nothing were there; and again
"""
import asyncio
import json
import random
import subprocess
import sys
import threading

CHUNK = 1 << 16


def reply_end(data, at):
    """Where the reply of Redis that begins at `at` ends, or -1 if it is not all there."""
    line = data.find(b"\r\n", at)
    if line < 0:
        return -1
    kind, rest = data[at:at + 1], data[at + 1:line]
    at = line + 2
    if kind == b"$":
        size = int(rest)
        if size < 0:
            return at
        return at + size + 2 if at + size + 2 <= len(data) else -1
    if kind == b"*":
        for _ in range(max(int(rest), 0)):
            at = reply_end(data, at)
            if at < 0:
                return -1
    return at


class Frames:
    """Cuts what a Postgres sends into messages, across pieces."""

    def __init__(self):
        self.rest = b""

    def feed(self, data):
        self.rest += data
        while len(self.rest) >= 5:
            size = 1 + int.from_bytes(self.rest[1:5], "big")
            if size > len(self.rest):
                return
            message, self.rest = self.rest[:size], self.rest[size:]
            yield message


class Relay:
    def __init__(self, kind, target):
        self.kind, self.target = kind, target
        self.delay_s = 0.0
        self.lose_reply = self.lose_commit = self.cut_bytes = 0
        self.refused = False
        self.up, self.down = asyncio.Event(), asyncio.Event()
        self.up.set()
        self.down.set()
        self.writers = set()
        self.listener, self.port, self.there = None, 0, False

    async def listen(self):
        """Opens or shuts the port, as was said last."""
        if self.there and not self.listener:
            self.listener = await asyncio.start_server(self.serve, "127.0.0.1", self.port, backlog=512)
            self.port = self.listener.sockets[0].getsockname()[1]
        elif not self.there and self.listener:
            self.listener.close()
            self.listener = None

    async def serve(self, reader, writer):
        if self.refused:
            writer.close()
            return
        try:
            if self.target.startswith("unix:"):
                there = await asyncio.open_unix_connection(self.target[5:])
            else:
                host, port = self.target.rsplit(":", 1)
                there = await asyncio.open_connection(host, int(port))
        except OSError:
            writer.close()
            return
        pair = {writer, there[1]}
        self.writers |= pair
        ways = [asyncio.create_task(self.pump(reader, there[1], self.up, None)),
                asyncio.create_task(self.pump(there[0], writer, self.down, Frames()))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            for each in pair:
                each.close()
            self.writers -= pair

    async def pump(self, reader, writer, gate, frames):
        try:
            while data := await reader.read(CHUNK):
                await gate.wait()
                if self.delay_s:
                    await asyncio.sleep(self.delay_s * (1 + random.random()))
                if frames:
                    data, cut = self.spoil(data, frames)
                    writer.write(data)
                    if cut:
                        return
                else:
                    writer.write(data)
                await writer.drain()
        except OSError:
            return

    def spoil(self, data, frames):
        """What is passed on of a piece from the store, and whether the connection ends with it."""
        if self.kind == "postgres":
            at, before = 0, len(frames.rest)
            for message in frames.feed(data):
                end = at + len(message) - before
                before = 0
                if self.count("lose_commit", message[:1] == b"C" and message[5:] == b"COMMIT\0") or \
                        self.count("lose_reply", message[:1] in b"CE"):
                    return data[:max(at, 0)], True
                at = end
        elif self.lose_reply:
            at = 0
            while at < len(data):
                end = reply_end(data, at)
                if self.count("lose_reply", True):
                    return data[:at], True
                if end < 0:
                    break
                at = end
        if self.cut_bytes:
            left = self.cut_bytes
            self.cut_bytes = max(0, left - len(data))
            if not self.cut_bytes:
                return data[:left], True
        return data, False

    def count(self, name, here):
        left = getattr(self, name)
        if not left or not here:
            return False
        setattr(self, name, left - 1)
        return left == 1

    def act(self, loop, what, value):
        if what in ("hold_up", "hold_down"):
            gate = self.up if what == "hold_up" else self.down
            gate.clear()
            loop.call_later(value, gate.set)
        elif what == "refuse":
            self.refused = True
            loop.call_later(value, setattr, self, "refused", False)
        elif what == "reset":
            for writer in list(self.writers):
                writer.transport.abort()
        elif what in ("shut", "open"):
            self.there = what == "open"
            loop.create_task(self.listen())
        elif what == "target":
            self.target = value
        elif what == "delay":
            self.delay_s = value
        else:
            setattr(self, what, value)


async def serve_all():
    """The process: a line of JSON with (name, kind, target) of each relay, answered with their ports; then a
    line for each thing to be done, until the input ends."""
    loop = asyncio.get_running_loop()
    relays, ports, over = {}, {}, asyncio.Event()
    for name, kind, target in json.loads(sys.stdin.readline()):
        relays[name] = Relay(kind, target)
        relays[name].there = True
        await relays[name].listen()
        ports[name] = relays[name].port
    print(json.dumps(ports), flush=True)

    def listen():
        for line in sys.stdin:
            name, what, value = json.loads(line)
            loop.call_soon_threadsafe(relays[name].act, loop, what, value)
        loop.call_soon_threadsafe(over.set)
    threading.Thread(target=listen, daemon=True).start()
    await over.wait()


class Relays:
    def __init__(self, plan):
        self.process = subprocess.Popen([sys.executable, __file__], text=True, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)
        self.lock = threading.Lock()
        self.say(plan)
        self.ports = json.loads(self.process.stdout.readline())

    def say(self, what):
        with self.lock:
            self.process.stdin.write(json.dumps(what) + "\n")
            self.process.stdin.flush()

    def act(self, name, what, value=0):
        self.say((name, what, value))

    def close(self):
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


if __name__ == "__main__":
    asyncio.run(serve_all())
