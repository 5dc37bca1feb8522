"""Streams without an end, and connections that are there from the beginning: only the backend may end them."""

import asyncio
import collections
import contextlib
import random

from outcome import PATIENCE, SILENCE, BackendsOwn, Wrong, held, said_back
from wire import Closed, WebSocket


class Companions:
    """Streams without an end, and connections that are there from the beginning: only the backend may end them."""

    def __init__(self, there, log, over):
        self.there, self.log, self.over, self.chance = there, log, over, random.Random(6)
        self.heard = collections.Counter()

    async def run(self):
        versions = [(way, version) for way in ("tls", "unix") for version in ("http1", "http2")]
        await asyncio.gather(
            *(self.live(self.events, way, version) for way, version in versions),
            *(self.live(self.socket, way, "http1") for way in ("tls", "tls", "unix", "unix")),
            *(self.live(self.old_hand, way, version) for way, version in versions),
        )

    async def live(self, stream, way, version):
        """Begins a stream again where the backend ended it."""
        name = f"{stream.__name__} {way} {version}"
        while not self.over.is_set():
            try:
                connection = await getattr(self.there, version)(way)
                with contextlib.closing(connection):
                    await stream(connection, name)
            except BackendsOwn as reason:
                self.log.apart[str(reason)] += 1
            except Exception as error:
                self.log.failed(f"endless {name}", error)
                await asyncio.sleep(0.5)

    async def events(self, connection, name):
        _, authorization = self.there.tokens.any(self.chance)
        answer = await connection.ask("GET", "/events?every=0.2", [authorization])
        await held(answer, 200)
        events, number = answer.events(), 0
        while not self.over.is_set():
            async with asyncio.timeout(SILENCE):
                event = await anext(events, None)
            if event is None:
                self.ended_by_the_backend("an event stream ended")
            if event != str(number):
                raise Wrong(f"event {event} instead of {number}")
            number += 1
            self.heard[name] += 1

    async def socket(self, connection, name):
        _, authorization = self.there.tokens.any(self.chance)
        socket = WebSocket(connection)
        await held(await socket.open("/socket?endless", [authorization]), 101)
        try:
            while not self.over.is_set():
                await said_back(socket, "still there?")
                self.heard[name] += 1
                await asyncio.sleep(0.2)
        except Closed as closed:
            if closed.args[0] != 1012:
                raise
            self.ended_by_the_backend("a WebSocket was closed with 1012")
        async with asyncio.timeout(SILENCE):
            code = await socket.close()
        if code != 1000:
            raise Wrong(f"closed with {code}")

    def ended_by_the_backend(self, what):
        if not self.log.is_near_a_restart():
            raise Wrong(what)
        raise BackendsOwn(what)

    async def old_hand(self, connection, name):
        """One connection from the beginning to the end, with a request now and then."""
        while not self.over.is_set():
            user, authorization = self.there.tokens.any(self.chance)
            async with asyncio.timeout(PATIENCE):
                answer = await connection.ask("GET", "/echo", [authorization])
                await held(answer, 200)
                await answer.body()
            if answer.headers["x-saw-user"] != user or not connection.is_open():
                raise Wrong(f"an old connection: {answer.headers}")
            self.heard[name] += 1
            await asyncio.sleep(0.5)
