"""Many connections for a long time, half of them slow: memory stays flat, and nothing is left behind.

`soak.py [--minutes 10] [--connections 2000]`: connections come and go, over TLS and a Unix socket. When
all have gone, the proxy does nothing, and has the file descriptors that it had before. Linux only.
"""

import argparse
import asyncio
import collections
import contextlib
import itertools
import os
import pathlib
import random
import statistics
import time

import scene
from harness import main
from wire import WebSocket

LIFE = 15, 60  # seconds that a connection lives
PAUSE = 4  # seconds between two ordinary requests of a connection, on average
SAMPLE = 10  # seconds between two looks at memory
PATIENCE = 20  # seconds for an ordinary answer, and for all that waits for the other side
SLOW = 0.5  # seconds between two steps of what is slow; a head of ten has 10
LONG_ENOUGH = 180  # seconds of memory that have a slope
GROWTH = 1024  # KiB a minute
IDLE = 10  # seconds in which an idle proxy does nothing
SETTLED = 30  # seconds until all is gone: a backend's connection is kept for 4
TICKS = 2  # of 10 ms each: the looks at files that may change


class Wrong(Exception):
    """What came is not what had to come."""


class Clients:
    """As many connections as were asked for, half of them slow."""

    def __init__(self, there, connections):
        self.there, self.chance = there, random.Random(7)
        self.count = connections
        self.done, self.failures = collections.Counter(), []
        self.slow = [
            self.slow_body,
            self.slow_chunks,
            self.slow_reader,
            self.slow_head,
            self.slow_events,
            self.slow_socket,
            self.slow_streams,
            self.silent,
        ]

    async def run(self, seconds):
        """Opens them within a tenth of the time; when it is over, all are closed at once."""
        async with asyncio.timeout(seconds + PATIENCE), asyncio.TaskGroup() as group:
            slots = [group.create_task(self.slot(number, seconds / 10)) for number in range(self.count)]
            await asyncio.sleep(seconds)
            for slot in slots:
                slot.cancel()

    async def slot(self, number, ramp):
        """One connection after the other, all of one kind: so there are as many of each at any time."""
        which, odd = divmod(number, 2)
        kind = self.slow[which % len(self.slow)] if odd else self.ordinary
        way = ["tls", "unix"][which // len(self.slow) % 2]
        await asyncio.sleep(self.chance.uniform(0, ramp))
        while True:
            try:
                await kind(way, time.monotonic() + self.chance.uniform(*LIFE))
                self.done["connections"] += 1
            except Exception as error:
                self.failures.append(f"{kind.__name__} over {way}: {error!r}")
                await asyncio.sleep(1)

    @contextlib.asynccontextmanager
    async def connection(self, way, version="http1", **how):
        """A connection that is left politely or not."""
        connection = await getattr(self.there, version)(way, **how)
        polite = False
        try:
            yield connection
            polite = self.chance.random() < 0.5
        finally:
            connection.close() if polite else connection.abort()

    def authorization(self):
        return self.there.tokens.any(self.chance)[1]

    async def ordinary(self, way, until):
        """Asks now and then, over either version."""
        async with self.connection(way, self.chance.choice(["http1", "http1", "http1", "http2"])) as connection:
            while time.monotonic() < until:
                async with asyncio.timeout(PATIENCE):
                    body = self.chance.choice([None, b"x" * 500, [b"x" * 300, b"y" * 3000]])
                    answer = await connection.ask("POST" if body else "GET", "/echo", [self.authorization()], body)
                    await self.took(answer, len(b"".join(body) if isinstance(body, list) else body or "/echo"))
                await asyncio.sleep(self.chance.expovariate(1 / PAUSE))

    async def took(self, answer, length):
        body = await answer.body()
        if answer.status != 200 or len(body) != length:
            raise Wrong(f"{answer.status}, {len(body)} bytes instead of {length}: {body[:200]}")
        self.done["requests"] += 1

    async def finish(self, connection, length):
        async with asyncio.timeout(PATIENCE):
            await self.took(await connection.answer("POST"), length)

    async def slow_body(self, way, until):
        """A body with a length, byte by byte."""
        async with self.connection(way) as connection:
            while (length := int((until - time.monotonic()) / SLOW)) > 0:
                length = min(length, 30)
                connection.write_head("POST", "/echo", [self.authorization()], b"x" * length)
                await self.drip(connection, b"x" * length, SLOW)
                await self.finish(connection, length)

    async def slow_chunks(self, way, until):
        """A body in chunks, which come byte by byte."""
        chunks = b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
        async with self.connection(way) as connection:
            while time.monotonic() < until:
                connection.write_head("POST", "/echo", [self.authorization()], [])
                await self.drip(connection, chunks, SLOW)
                await self.finish(connection, 5)

    async def slow_head(self, way, until):
        """A head that takes half of the time that it has."""
        async with self.connection(way) as connection:
            while time.monotonic() < until:
                connection.writer.write(b"GET /echo HTTP/1.1\r\nhost: localhost\r\nauthorization: ")
                name, value = self.authorization()
                connection.writer.write(value.encode() + b"\r\n")
                await self.drip(connection, b"x-a: b\r\n\r\n", SLOW)
                await self.finish(connection, 5)

    async def drip(self, connection, data, pause):
        """Byte by byte, each when it is due: on a busy machine the pauses become shorter, not the whole longer."""
        start = time.monotonic()
        for at in range(len(data)):
            connection.writer.write(data[at : at + 1])
            await connection.writer.drain()
            await asyncio.sleep(max(0, start + (at + 1) * pause - time.monotonic()))

    async def slow_reader(self, way, until):
        """Takes a few KiB of a large answer at a time, and never sees the end of it."""
        async with self.connection(way, limit=2048) as connection:
            connection.at_most = 4096
            answer = await connection.ask("GET", "/bytes?n=100000000", [self.authorization()])
            await self.take_slowly(answer, until)

    async def slow_streams(self, way, until):
        """The same over HTTP/2, three at a time, one of which is not read at all."""
        async with self.connection(way, "http2") as connection:
            asks = (connection.ask("GET", "/bytes?n=100000000", [self.authorization()]) for _ in range(3))
            first, second, _ = await asyncio.gather(*asks)
            await asyncio.gather(self.take_slowly(first, until), self.take_slowly(second, until))

    async def take_slowly(self, answer, until):
        if answer.status != 200:
            raise Wrong(answer.status)
        async with contextlib.aclosing(answer.pieces) as pieces:
            while time.monotonic() < until:
                async with asyncio.timeout(PATIENCE):
                    piece = await anext(pieces, None)
                if piece is None:
                    raise Wrong("a large answer came to its end")
                self.done["bytes read slowly"] += len(piece)
                await asyncio.sleep(SLOW)

    async def slow_events(self, way, until):
        async with self.connection(way, self.chance.choice(["http1", "http2"])) as connection:
            answer = await connection.ask("GET", "/events?every=2", [self.authorization()])
            async with contextlib.aclosing(answer.events()) as events:
                for number in itertools.takewhile(lambda _: time.monotonic() < until, itertools.count()):
                    async with asyncio.timeout(PATIENCE):
                        event = await anext(events, None)
                    if event != str(number):
                        raise Wrong(f"event {event} instead of {number}")
                    self.done["events"] += 1

    async def slow_socket(self, way, until):
        """Frames that go byte by byte."""
        async with self.connection(way) as connection:
            socket = WebSocket(connection)
            answer = await socket.open("/socket", [self.authorization()])
            if answer.status != 101:
                raise Wrong(f"{answer.status} instead of 101")
            while time.monotonic() < until:
                await socket.send("slowly", pause=SLOW)
                async with asyncio.timeout(PATIENCE):
                    heard = await socket.receive()
                if heard != "slowly":
                    raise Wrong(f"{heard!r} said back")
                self.done["messages"] += 1
                await asyncio.sleep(self.chance.expovariate(1 / PAUSE))
            if self.chance.random() < 0.5:
                async with asyncio.timeout(PATIENCE):
                    await socket.close()

    async def silent(self, way, until):
        """One request, and then nothing."""
        async with self.connection(way) as connection:
            answer = await connection.ask("GET", "/echo", [self.authorization()])
            await self.took(answer, 5)
            await asyncio.sleep(max(0, until - time.monotonic()))
            if not connection.is_open():
                raise Wrong("closed while idle")


class Kernel:
    """What the kernel knows of a process."""

    def __init__(self, pid):
        self.directory = pathlib.Path(f"/proc/{pid}")

    def resident(self):
        """Memory in KiB, less the pages of its file: these come in as code is first used."""
        lines = (self.directory / "status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))

    def ticks(self):
        """CPU time, by itself and for it."""
        after_name = (self.directory / "stat").read_text().rpartition(")")[2].split()
        return int(after_name[11]) + int(after_name[12])

    def descriptors(self):
        """What its file descriptors are, how many of each; of a socket only that it is one."""
        kinds = collections.Counter()
        for entry in (self.directory / "fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                kinds[os.readlink(entry).split("[")[0]] += 1
        return kinds


async def soak(cases, there, minutes, connections):
    kernel = Kernel(there.process.child.pid)
    before = kernel.descriptors()
    clients, samples = Clients(there, connections), []
    watching = asyncio.create_task(watch(there, kernel, clients, samples))
    started, cpu = time.monotonic(), kernel.ticks()
    async with there.tokens.renewed(0.5):
        await clients.run(minutes * 60)
    took, cpu = time.monotonic() - started, kernel.ticks() - cpu
    watching.cancel()
    print(f"     {dict(clients.done)}; {cpu / took:.0f} % of a CPU")
    judge_load(cases, clients, samples, took, connections)
    judge_memory(cases, samples)
    await judge_rest(cases, there, kernel, before)


async def watch(there, kernel, clients, samples):
    """Looks at memory and at how many connections there are, every few seconds."""
    start = time.monotonic()
    while True:
        await asyncio.sleep(SAMPLE)
        now, resident = time.monotonic() - start, kernel.resident()
        connections = await there.metric("countersign_connections")
        samples.append((now, resident, connections))
        print(f"     {now:4.0f} s: {resident} KiB, {connections:.0f} connections", flush=True)


def judge_load(cases, clients, samples, took, connections):
    most = max(count for _, _, count in samples)
    cases.check(f"{most:.0f} connections at a time", most > 0.9 * connections, connections)
    rate = clients.done["requests"] / took
    cases.check(f"{rate:.0f} requests a second answered", rate > connections / 10, clients.done)
    cases.check("nothing failed", not clients.failures, f"{len(clients.failures)}: {clients.failures[:5]}")


def judge_memory(cases, samples):
    """Holds memory against itself, from three tenths of the time on: before that, buffers and caches fill.

    A run of a minute is all before that, so it tells of a flood alone. What is left of a connection
    that has gone, or of a request, adds up: of some 3,000 and 15,000 in a minute. So the growth that is
    let pass is that of 300 bytes of the one, or of 70 of the other.
    """
    sizes = [size for _, size, _ in samples]
    times = [now for now, _, _ in samples][len(sizes) * 4 // 10 :]
    is_long = times[-1] - times[0] > LONG_ENOUGH
    early, last = sizes[len(sizes) * 3 // 10], sizes[-1]
    cases.check(f"memory: {early} KiB early, {last} at the end", last < early * (1.1 if is_long else 1.4), sizes)
    if is_long:
        slope = statistics.linear_regression(times, sizes[-len(times) :]).slope * 60
        cases.check(f"memory: {slope:+.0f} KiB a minute", slope < GROWTH, sizes)


async def judge_rest(cases, there, kernel, before):
    """All have gone: so does all that was held for them."""
    deadline, left = time.monotonic() + SETTLED, None
    while time.monotonic() < deadline:
        gauges = await there.metrics("countersign_connections", "countersign_requests_in_flight")
        more = kernel.descriptors() - before
        left = [*gauges, *more.items()]
        if not any(gauges) and not more:
            break
        await asyncio.sleep(1)
    cases.check("no connection, request or file descriptor is left", left == [0, 0], left)
    ticks = kernel.ticks()
    await asyncio.sleep(IDLE)
    ticks = kernel.ticks() - ticks
    cases.check(f"idle: {ticks} ticks of CPU in {IDLE} s", ticks <= TICKS, ticks)
    print(f"     {kernel.resident()} KiB when idle")


def run(cases):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--connections", type=int, default=2000)
    asked = parser.parse_args()
    with scene.scene() as there:
        asyncio.run(soak(cases, there, asked.minutes, asked.connections))
        status = there.process.stop()
        cases.check("it ends with 0", status == 0, status)


main(run)
