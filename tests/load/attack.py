"""Strangers do their worst while somebody asks for good: nothing of that fails, and memory has a bound.

`attack.py [--seconds 60] [--only KIND…]`: a proxy with two workers, 50 good requests a second, over
connections old and new, and beside them one attack after the other, each for these seconds. What each
cost, and what the good requests saw of it, is printed as a table. Linux only.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import json
import resource
import socket
import statistics
import sys
import threading
import time
import urllib.parse

import scene
from harness import Process, demo, main, mint, request, serve
from http2 import Http2
from kernel import Kernel
from wire import Http1

RATE = 50  # good requests a second
PATIENCE = 10  # seconds for a good answer
SAMPLE = 0.2  # seconds between two looks at memory
QUIET = 3  # seconds of good requests alone, before the first attack
SETTLED = 15  # seconds until a proxy that nobody asks is at rest: a backend's connection is kept for 4
IDLE = 5  # seconds in which it then does nothing
TICKS = 3  # of 10 ms each
MIB = 1024  # KiB
FETCHES, WINDOW = 6, 60  # for keys that nobody knows: at most so many in so many seconds
JITTER = 0.5  # seconds: a fetch is seen a little after it began
RETRIES = 6  # besides, while keys are not to be had and are due: after 1, 2, 4 … 32 s


@dataclasses.dataclass(frozen=True)
class Kind:
    """An attack, and by how many MiB memory may grow in it."""

    name: str
    attack: str
    bound: int
    keys_are_there: bool = True


# A flood of a few connections: what these may send before it is taken, what is remembered of strangers,
# and what an allocator keeps. Of many connections: 32 KiB each, two buffers of 8 KiB on either side.
FEW = 48
KINDS = [
    Kind("unknown keys", "unknown_kids", FEW),
    Kind("unknown keys, key set down", "unknown_kids", FEW, keys_are_there=False),
    Kind("rapid reset", "rapid_reset", FEW),
    Kind("CONTINUATION flood", "continuations", FEW),
    Kind("HPACK bomb", "hpack_bombs", FEW),
    Kind("PING and SETTINGS floods", "pings_and_settings", FEW),
    Kind("5,000 slow connections", "slow_connections", 5000 * 32 // 1024 + FEW),
    Kind("unread bodies", "unread_bodies", FEW),
    Kind("1,000 silent WebSockets", "silent_sockets", 1000 * 64 // 1024 + FEW),
]


class KeySet:
    """The issuer's key set at an address of its own, where each fetch is seen; down, it closes before it answers."""

    def __init__(self, about):
        self.body = request(*at(about["jwks_url"])).text.encode()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = "http://127.0.0.1:%d/jwks" % self.listener.getsockname()[1]
        self.is_up, self.fetches = True, []
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        with contextlib.suppress(OSError):  # closed
            while True:
                client, _ = self.listener.accept()
                self.fetches.append(time.monotonic())
                with client, contextlib.suppress(OSError):
                    client.settimeout(2)
                    client.recv(65536)
                    head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n"
                    if self.is_up:
                        client.sendall(f"{head}content-length: {len(self.body)}\r\n\r\n".encode() + self.body)

    def most(self, since):
        """The most fetches in any window since then."""
        times = [moment for moment in self.fetches if moment >= since]
        return max((sum(first <= moment < first + WINDOW - JITTER for moment in times) for first in times), default=0)


def at(url):
    parts = urllib.parse.urlsplit(url)
    return f"http://{parts.netloc}", "GET", parts.path


class Good:
    """Somebody who asks steadily, however long the answers take, and looks at each of them."""

    def __init__(self, port, tokens):
        self.port, self.tokens = port, tokens
        self.idle, self.http2 = [], None
        self.sent, self.took, self.failures = 0, [], []

    async def run(self):
        async with asyncio.TaskGroup() as group:
            start = time.monotonic()
            for number in range(1 << 40):
                group.create_task(self.ask(number))
                await asyncio.sleep(max(0, start + (number + 1) / RATE - time.monotonic()))

    async def ask(self, number):
        way = [self.over_a_new_one, self.over_a_kept_one, self.over_a_new_one, self.over_http2][number % 4]
        self.sent += 1
        start = time.monotonic()
        try:
            async with asyncio.timeout(PATIENCE):
                await way(number)
            self.took.append(time.monotonic() - start)
        except Exception as error:
            self.failures.append(f"{way.__name__}: {error!r} after {time.monotonic() - start:.1f} s")

    async def over_a_new_one(self, number):
        connection = Http1(*await self.connect())
        try:
            await self.asked(connection, number)
        finally:
            connection.close()

    async def over_a_kept_one(self, number):
        """One of those that are idle, or where none is, one more: nobody waits for another's answer on this side."""
        connection = self.idle.pop() if self.idle else Http1(*await self.connect())
        try:
            await self.asked(connection, number)
        except BaseException:
            connection.abort()
            raise
        self.idle += [connection] if connection.is_open() else []

    async def over_http2(self, number):
        if self.http2 is None or not self.http2.is_open():
            self.http2 = Http2(*await self.connect())
        await self.asked(self.http2, number)

    async def connect(self):
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def asked(self, connection, number):
        user, token = self.tokens[number % len(self.tokens)]
        body = b"x" * 300 if number % 3 == 0 else None
        answer = await connection.ask(
            "POST" if body else "GET", f"/echo/{number}", [("authorization", f"Bearer {token}")], body
        )
        came = answer.status, answer.headers.get("x-saw-user"), await answer.body()
        if came != (200, user, body or f"/echo/{number}".encode()):
            raise RuntimeError(f"{came} for {user}")

    def since_last(self):
        """What was sent, how long each took, and what failed since this was asked last."""
        seen = self.sent, sorted(self.took), self.failures
        self.sent, self.took, self.failures = 0, [], []
        return seen

    def close(self):
        for connection in [*self.idle, *([self.http2] if self.http2 else [])]:
            connection.close()


@dataclasses.dataclass
class Row:
    name: str
    rate: float
    before: int
    peak: int
    after: int
    cpu: float
    sent: int
    failed: int
    p50: float
    p99: float
    fetches: int


async def attacked(cases, there, good, kind, seconds):
    """One attack; what it cost, and what the good requests saw of it."""
    there.keys.is_up = kind.keys_are_there
    good.since_last()
    start, before, ticks = time.monotonic(), there.kernel.resident(), there.kernel.ticks()
    command = [sys.executable, scene.HERE / "attackers.py", kind.attack, there.port, seconds, there.tokens[0][1]]
    with Process(command) as process:
        peak = before
        while process.child.poll() is None:
            if time.monotonic() > start + seconds + 60:
                raise RuntimeError(f"{kind.name} does not end")
            await asyncio.sleep(SAMPLE)
            peak = max(peak, there.kernel.resident())
        told = json.loads(process.line())
    cpu = (there.kernel.ticks() - ticks) / 100
    sent, took, failures = good.since_last()
    await asyncio.sleep(1)
    there.keys.is_up = True
    fetches, moments = (
        there.keys.most(start),
        [round(moment - start, 1) for moment in there.keys.fetches if moment >= start],
    )
    done = told["done"]
    rate = done.pop("attacks", 0) / told["seconds"]
    p50, p99 = (statistics.quantiles(took, n=100)[n] * 1000 for n in (49, 98)) if len(took) > 1 else (0, 0)
    row = Row(kind.name, rate, before, peak, there.kernel.resident(), cpu, sent, len(failures), p50, p99, fetches)
    print(f"     {row.name}: {row.rate:.0f} a second, {done}, keys fetched at {moments} s", flush=True)
    cases.check(f"{kind.name}: it was one", rate > 0, done)
    cases.check(
        f"{kind.name}: {sent} good requests, none failed", not failures and took, f"{len(failures)}: {failures[:3]}"
    )
    most = FETCHES + (0 if kind.keys_are_there else RETRIES)
    cases.check(f"{kind.name}: {fetches} fetches of keys, in {WINDOW} s at most {most}", fetches <= most, fetches)
    grown = (peak - before) / MIB
    cases.check(f"{kind.name}: memory grew by {grown:.1f} MiB, at most {kind.bound}", grown <= kind.bound, row)
    cases.check(f"{kind.name}: it lives", there.process.child.poll() is None, there.process.logged())
    return row


async def attack(cases, there, seconds, only):
    good = Good(there.port, there.tokens)
    asking = asyncio.create_task(good.run())
    await asyncio.sleep(QUIET)
    kinds = [kind for kind in KINDS if not only or kind.attack in only]
    rows = [await attacked(cases, there, good, kind, seconds) for kind in kinds]
    asking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asking
    good.close()
    await at_rest(cases, there)
    table(rows)


async def at_rest(cases, there):
    """Nobody is there any more: nothing is left of it, and nothing is done."""
    gauges = ["countersign_connections", "countersign_requests_in_flight"]
    deadline = time.monotonic() + SETTLED
    while (left := there.metrics(*gauges)) != [0, 0] and time.monotonic() < deadline:
        await asyncio.sleep(0.2)
    cases.check("no connection and no request is left", left == [0, 0], left)
    await asyncio.sleep(5)  # what was kept to the backend goes
    ticks = there.kernel.ticks()
    await asyncio.sleep(IDLE)
    ticks = there.kernel.ticks() - ticks
    cases.check(f"idle: {ticks} ticks of CPU in {IDLE} s", ticks <= TICKS, ticks)
    cases.check("nothing panicked", there.metrics("countersign_panics_total") == [0], there.process.logged())


def table(rows):
    print("     attack | a second | MiB before, peak, after | CPU s | good sent, failed | p50, p99 ms | fetches")
    for row in rows:
        sizes = ", ".join(f"{size / MIB:.1f}" for size in (row.before, row.peak, row.after))
        times = f"{row.p50:.1f}, {row.p99:.1f}"
        good = f"{row.sent}, {row.failed} | {times}"
        print(f"     {row.name} | {row.rate:.0f} | {sizes} | {row.cpu:.1f} | {good} | {row.fetches}")


class There:
    """A proxy in the plain, before a backend, for an issuer whose key set can be taken away."""

    def __init__(self, process, proxy, admin, keys, tokens):
        self.process, self.admin, self.keys, self.tokens = process, admin, keys, tokens
        self.port = int(proxy.rpartition(":")[2])
        self.kernel = Kernel(process.child.pid)

    def metrics(self, *names):
        lines = request(self.admin, "GET", "/metrics").text.splitlines()
        found = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return [float(found.get(name, 0)) for name in names]


@contextlib.contextmanager
def attackable():
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with demo() as (_, about):
        keys, backends = KeySet(about), scene.Backends()
        good_until = int(time.time()) + 7200
        users = [f"user_2xHq{number:023}" for number in range(scene.USERS)]
        tokens = [(user, mint(about, sub=user, exp=good_until)) for user in users]
        flags = ["--upstream", backends.url, "--jwks-url", keys.url, "--workers", "2"]
        try:
            with serve(about, *flags, COUNTERSIGN_LOG_ACCESS="false", COUNTERSIGN_DRAIN_GRACE="5s") as served:
                yield There(*served, keys, tokens)
        finally:
            backends.stop()
            keys.listener.close()


def run(cases):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--only", nargs="*", default=[])
    asked = parser.parse_args()
    with attackable() as there:
        asyncio.run(attack(cases, there, asked.seconds, asked.only))
        status = there.process.stop()
        cases.check("it ends with 0", status == 0, status)


if __name__ == "__main__":
    main(run)
