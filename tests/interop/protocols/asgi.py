"""The backend of `backend.mjs` for servers that speak ASGI, and a WebSocket that echoes."""

import asyncio
import hashlib
import json
import urllib.parse

PIECE = b"a" * 65536


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    elif scope["type"] == "websocket":
        await echo_socket(receive, send)
    else:
        await Request(scope, receive, send).answer()


async def lifespan(receive, send):
    for _ in range(2):
        message = await receive()
        await send({"type": f"{message['type']}.complete"})


async def echo_socket(receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        kept = {name: message[name] for name in ("text", "bytes") if message.get(name) is not None}
        await send({"type": "websocket.send", **kept})


class Request:
    def __init__(self, scope, receive, send):
        self.scope, self.receive, self.send = scope, receive, send
        self.headers = dict(scope["headers"])
        self.connection = "%s:%s" % tuple(scope["client"])

    async def answer(self):
        paths = {
            "/hello": lambda: self.end(200, b"hello"),
            "/length": self.length,
            "/bytes": self.bytes,
            "/echo": self.echo,
            "/slow": self.slow,
            "/nothing": lambda: self.end(204),
            "/unchanged": lambda: self.end(304, extra=[(b"etag", b'"v1"')]),
            "/early": lambda: self.end(413, b"too much"),
        }
        await paths.get(self.scope["path"], lambda: self.end(404, b"no such path"))()

    async def length(self):
        digest, total = hashlib.sha256(), 0
        async for piece in self.pieces():
            digest.update(piece)
            total += len(piece)
        declared = self.headers.get(b"content-length", b"none").decode()
        told = {"declared": declared, "total": total, "sha256": digest.hexdigest()}
        await self.end(200, json.dumps(told).encode())

    async def bytes(self):
        left = int(urllib.parse.parse_qs(self.scope["query_string"].decode())["n"][0])
        await self.start(200)
        while left > 0:
            await self.body(PIECE[:left], more=True)
            left -= len(PIECE)
        await self.body(b"")

    async def echo(self):
        await self.start(200)
        async for piece in self.pieces():
            await self.body(piece, more=True)
        await self.body(b"")

    async def slow(self):
        await self.start(200)
        for word in b"one", b"two", b"three":
            await self.body(word, more=True)
            await asyncio.sleep(0.2)
        await self.body(b"")

    async def pieces(self):
        more = True
        while more:
            message = await self.receive()
            if message["type"] != "http.request":
                return
            more = message.get("more_body", False)
            yield message.get("body", b"")

    async def end(self, status, body=None, extra=()):
        length = [] if body is None else [(b"content-length", b"%d" % len(body))]
        await self.start(status, [*extra, *length])
        await self.body(b"" if self.scope["method"] == "HEAD" else body or b"")

    async def start(self, status, headers=()):
        user = self.headers.get(b"x-clerk-user-id", b"not told")
        ours = [(b"x-connection", self.connection.encode()), (b"x-user", user)]
        await self.send({"type": "http.response.start", "status": status, "headers": [*headers, *ours]})

    async def body(self, piece, more=False):
        await self.send({"type": "http.response.body", "body": piece, "more_body": more})
