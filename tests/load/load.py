"""Requests of all kinds at a steady rate, over connections old and new; every answer is looked at."""

import asyncio
import collections
import contextlib
import json
import random
import time

from outcome import PATIENCE, BackendsOwn, Wrong, held, said_back
from wire import WebSocket

SHARED = 2  # kept connections of HTTP/2 by each way
LARGEST = 40_000  # bytes in a body
NO_TOKEN = "dev-browser-missing"  # Clerk's word for it in a development instance

KEPT, NEW = "kept", "new"
WAYS = [
    (way, version, keep)
    for way in ("tls", "unix")
    for version in ("http1", "http2")
    for keep in (KEPT, NEW)
]


class Load:
    """Requests at a steady rate, each of some kind and by some way."""

    def __init__(self, there, log):
        self.there, self.log, self.chance = there, log, random.Random(5)
        self.done = collections.Counter()
        self.kept = collections.defaultdict(collections.deque)
        self.kinds = [
            (30, self.get),
            (15, self.post),
            (10, self.post_in_pieces),
            (8, self.head),
            (8, self.public),
            (6, self.without_token),
            (6, self.refused_post),
            (6, self.expired_token),
            (6, self.broken_token),
            (3, self.events),
            (2, self.socket),
        ]

    async def run(self, rate, over):
        weights, kinds = zip(*self.kinds)
        chances = [3 if keep == KEPT else 1 for _, _, keep in WAYS]
        under_way, number, start = set(), 0, time.monotonic()
        while not over.is_set():
            kind, way = self.chance.choices(kinds, weights)[0], self.chance.choices(WAYS, chances)[0]
            task = asyncio.create_task(self.request(kind, way))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            number += 1
            await asyncio.sleep(max(0, start + number / rate - time.monotonic()))
        took = time.monotonic() - start
        await asyncio.gather(*under_way)
        return number / took

    def missing(self):
        """The kinds that did not come by a way that they might have come by."""
        wanted = {(kind.__name__, by(way, kind)) for _, kind in self.kinds for way in WAYS}
        return wanted - set(self.done)

    async def request(self, kind, way):
        way = by(way, kind)
        name = f"{kind.__name__} {' '.join(way)}"
        try:
            async with asyncio.timeout(PATIENCE), self.connection(way) as connection:
                await kind(connection)
            self.done[kind.__name__, way] += 1
        except BackendsOwn as reason:
            self.log.apart[str(reason)] += 1
        except Exception as error:
            self.log.failed(name, error)

    @contextlib.asynccontextmanager
    async def connection(self, way):
        """A connection for one request: a new one, or one that was used before."""
        place, version, keep = way
        connection = self.take(way) if keep == KEPT else None
        connection = connection or await getattr(self.there, version)(place)
        if keep == KEPT and version == "http2":
            self.kept[way].append(connection)
        try:
            yield connection
        except BaseException:
            if version == "http1" or keep == NEW:
                connection.abort()
            raise
        if keep == NEW or not connection.is_open():
            connection.close()
        elif version == "http1":
            self.kept[way].append(connection)

    def take(self, way):
        """The connection that was longest idle, so that none is idle for long; of HTTP/2 some are shared."""
        kept = self.kept[way]
        while len(kept) >= (SHARED if way[1] == "http2" else 1):
            connection = kept.popleft()
            if connection.is_open():
                return connection
            self.log.failed(f"kept {way}", getattr(connection, "ended", None) or "closed while idle")

    def close(self):
        for connections in self.kept.values():
            for connection in connections:
                connection.close()

    async def get(self, connection):
        await self.echo(connection, "GET")

    async def post(self, connection):
        await self.echo(connection, "POST", self.chance.randbytes(self.chance.randint(1, LARGEST)))

    async def post_in_pieces(self, connection):
        sizes = [self.chance.randint(1, LARGEST // 4) for _ in range(self.chance.randint(1, 4))]
        await self.echo(connection, "POST", [self.chance.randbytes(size) for size in sizes])

    async def echo(self, connection, method, body=None):
        user, authorization = self.there.tokens.any(self.chance)
        target = f"/echo/{self.chance.getrandbits(64):x}?q={self.chance.getrandbits(16)}"
        answer = await connection.ask(method, target, [authorization], body)
        await held(answer, 200, self.log if body else None)
        sent = b"".join(body) if isinstance(body, list) else body or target.encode()
        if await answer.body() != sent:
            raise Wrong(f"another body than that of {target}")
        if answer.headers["x-saw-user"] != user:
            raise Wrong(f"{answer.headers['x-saw-user']} instead of {user}")

    async def head(self, connection):
        user, authorization = self.there.tokens.any(self.chance)
        answer = await connection.ask("HEAD", "/echo", [authorization])
        await held(answer, 200)
        if await answer.body() or answer.headers["x-saw-user"] != user:
            raise Wrong(f"a body, or {answer.headers['x-saw-user']} instead of {user}")

    async def public(self, connection):
        answer = await connection.ask("GET", "/public/page")
        await held(answer, 200)
        if await answer.body() != b"/public/page" or answer.headers["x-saw-user"]:
            raise Wrong(f"another body, or somebody: {answer.headers}")

    async def without_token(self, connection):
        await refused(await connection.ask("GET", "/echo"), NO_TOKEN)

    async def refused_post(self, connection):
        answer = await connection.ask("POST", "/echo", [], self.chance.randbytes(LARGEST))
        await refused(answer, NO_TOKEN)

    async def expired_token(self, connection):
        expired = f"Bearer {self.there.tokens.expired}"
        await refused(await connection.ask("GET", "/echo", [("authorization", expired)]), "session-token-expired")

    async def broken_token(self, connection):
        # Not a forged signature: that may have the key set fetched, once in ten seconds, and a
        # rotation would have to wait for the next time.
        _, (name, value) = self.there.tokens.any(self.chance)
        await refused(await connection.ask("GET", "/echo", [(name, value[:-40] + "!")]), "token-invalid")

    async def events(self, connection):
        _, authorization = self.there.tokens.any(self.chance)
        answer = await connection.ask("GET", "/events?n=25&every=0.1", [authorization])
        await held(answer, 200)
        came = [event async for event in answer.events()]
        if came != [str(number) for number in range(25)]:
            raise Wrong(f"events {came}")

    async def socket(self, connection):
        _, authorization = self.there.tokens.any(self.chance)
        socket = WebSocket(connection)
        await held(await socket.open("/socket", [authorization]), 101)
        for number in range(10):
            await said_back(socket, f"{number} " * number)
            await asyncio.sleep(0.1)
        code = await socket.close()
        if code != 1000:
            raise Wrong(f"closed with {code}")


def by(way, kind):
    """The way, or where the kind is a WebSocket, which takes its connection with it, the nearest to it."""
    return (way[0], "http1", NEW) if kind.__name__ == "socket" else way


async def refused(answer, reason):
    await held(answer, 401)
    told = json.loads(await answer.body())["reason"]
    if told != reason:
        raise Wrong(f"{told} instead of {reason}")
