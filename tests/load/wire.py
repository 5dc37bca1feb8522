"""HTTP/1.1 and WebSockets as a client speaks them: just enough, over asyncio, and strict in what it takes."""

import asyncio
import base64
import hashlib
import os

from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, TextMessage

MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Broken(Exception):
    """An answer that is not as HTTP has it, or that does not come to its end."""


class Answer:
    """A head, and a body that can be read once: whole, or piece by piece."""

    def __init__(self, status, headers, pieces):
        self.status, self.headers, self.pieces = status, headers, pieces

    async def body(self):
        return b"".join([piece async for piece in self.pieces])

    async def events(self):
        """The events of an event stream: what stands after `data: `."""
        rest = b""
        async for piece in self.pieces:
            *events, rest = (rest + piece).split(b"\n\n")
            for event in events:
                yield event.removeprefix(b"data: ").decode()


class Http1:
    """A connection that carries one request after the other."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        self.may_go_on = True
        self.at_most = 65536  # bytes of a body that are taken at a time

    async def ask(self, method, target, headers=(), body=None):
        """Sends a request; a body that is a list goes in chunks. Returns the answer, whose body is still to read."""
        self.write_head(method, target, headers, body)
        await self.write_body(body)
        return await self.answer(method)

    def write_head(self, method, target, headers, body=None):
        framing = [("transfer-encoding", "chunked")] if isinstance(body, list) else []
        framing = [("content-length", str(len(body)))] if isinstance(body, bytes) else framing
        lines = [f"{method} {target} HTTP/1.1", "host: localhost"]
        lines += [f"{name}: {value}" for name, value in [*headers, *framing]]
        self.writer.write("\r\n".join([*lines, "", ""]).encode())

    async def write_body(self, body):
        if isinstance(body, list):
            for piece in body:
                self.writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                await self.writer.drain()
            body = b"0\r\n\r\n"
        self.writer.write(body or b"")
        await self.writer.drain()

    async def answer(self, method):
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            raise Broken(f"closed before an answer, after {error.partial[:80]!r}") from None
        first, headers = head_of(head)
        status = int(first.split(" ")[1])
        self.may_go_on = headers.get("connection", "").lower() != "close"
        return Answer(status, headers, self.pieces(method, status, headers))

    async def pieces(self, method, status, headers):
        if method == "HEAD" or status in (101, 204, 304):
            return
        try:
            if headers.get("transfer-encoding") == "chunked":
                while size := int(await self.reader.readuntil(b"\r\n"), 16):
                    yield (await self.reader.readexactly(size + 2))[:-2]
                await self.reader.readuntil(b"\r\n")
                return
            left = int(headers["content-length"])
            while left:
                piece = await self.reader.read(min(left, self.at_most))
                if not piece:
                    raise Broken(f"closed with {left} bytes to come")
                left -= len(piece)
                yield piece
        except asyncio.IncompleteReadError:
            raise Broken("closed within a chunked body") from None

    def is_open(self):
        return self.may_go_on and not self.reader.at_eof() and not self.writer.is_closing()

    def close(self):
        self.writer.close()

    def abort(self):
        self.writer.transport.abort()


class Closed(Exception):
    """A WebSocket was closed by a close frame with this code."""


class WebSocket:
    """A WebSocket over a connection of HTTP/1.1 that nothing was asked of yet."""

    def __init__(self, connection):
        self.connection = connection
        self.frames = Connection(ConnectionType.CLIENT)

    async def open(self, target, headers=()):
        key = base64.b64encode(os.urandom(16)).decode()
        upgrade = [("connection", "upgrade"), ("upgrade", "websocket"), ("sec-websocket-version", "13")]
        answer = await self.connection.ask("GET", target, [*headers, *upgrade, ("sec-websocket-key", key)])
        if answer.status == 101 and answer.headers.get("sec-websocket-accept") != accept_key(key):
            raise Broken(f"101 without its key: {answer.headers}")
        return answer

    async def send(self, message, pause=None):
        """Sends a text; with a pause, byte by byte."""
        frame = self.frames.send(TextMessage(data=message))
        for piece in [frame] if pause is None else [frame[at : at + 1] for at in range(len(frame))]:
            self.connection.writer.write(piece)
            await self.connection.writer.drain()
            await asyncio.sleep(pause or 0)

    async def receive(self):
        """The next whole message. Raises `Closed` on a close frame, which is answered."""
        message = ""
        while True:
            for event in self.frames.events():
                match event:
                    case TextMessage() | BytesMessage():
                        message += event.data
                        if event.message_finished:
                            return message
                    case CloseConnection():
                        if self.frames.state is ConnectionState.REMOTE_CLOSING:
                            self.connection.writer.write(self.frames.send(event.response()))
                        raise Closed(event.code)
            data = await self.connection.reader.read(65536)
            if not data:
                raise Broken("a WebSocket ended without a close frame")
            self.frames.receive_data(data)

    async def close(self):
        """Closes as the protocol has it; returns the code that came back."""
        self.connection.writer.write(self.frames.send(CloseConnection(code=1000)))
        try:
            while True:
                await self.receive()
        except Closed as closed:
            return closed.args[0]


def head_of(head):
    """The first line, and the headers by their names in small letters; of a repeated one the last."""
    first, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    pairs = (line.split(":", 1) for line in lines)
    return first, {name.lower(): value.strip() for name, value in pairs}


def accept_key(key):
    return base64.b64encode(hashlib.sha1(key.encode() + MAGIC).digest()).decode()
