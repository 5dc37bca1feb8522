"""What the image takes: of a disk, of time to start, of memory and CPU; and whether the manifests ask for enough."""

import asyncio
import contextlib
import gzip
import os
import pathlib
import re
import resource
import statistics
import time
import tomllib

import flooded
from harness import demo, free_port, mint
from image import BUILT, answers, container, local, until
from workload import Workload, overlay

STARTS = 9
CONNECTIONS = 1000
USUAL = 500  # connections that a Pod should have the memory for without asking; more is up to its limit
REQUESTS = 5000
CLIENTS = 8
MIB = 1 << 20


def run(cases, image):
    size, packed = BUILT.stat().st_size, len(gzip.compress(BUILT.read_bytes(), 6))
    print(f"     measured: {size / 1e6:.1f} MB the image, {packed / 1e6:.1f} MB of it to be pulled")
    with demo() as (_, about):
        starts(cases, image, about)
        uses = asyncio.run(load(image, about))
    print(
        f"     measured: {uses['ready'] / MIB:.1f} MiB when ready, {uses['idle'] / 1024:.1f} KiB more for a kept-alive"
        f" connection, {uses['busy'] / 1024:.1f} KiB for one with a request under way ({CONNECTIONS} at a time);"
        f" {uses['cpu'] * 1e6:.0f} µs of CPU for a request, of {REQUESTS} with a known token"
    )
    for name in "examples/loopback", "examples/socket", "gateway":
        asks_for(cases, name, Workload(overlay(name)), uses)


def starts(cases, image, about):
    """From its start to the first 200 of /readyz, with the key set fetched over loopback."""
    settings = {"CLERK_PUBLISHABLE_KEY": about["publishable_key"], "COUNTERSIGN_UPSTREAM": "http://127.0.0.1:3000"}
    admin = local(image.environment["COUNTERSIGN_ADMIN_LISTEN"])
    took = []
    with container(image) as box:
        for _ in range(STARTS):
            began = time.monotonic()
            with box.run(settings) as process:
                ready = until(lambda: answers(admin, "/readyz") == 200)
                took.append(time.monotonic() - began)
                if not ready:
                    cases.check("measured: it starts", ready, process.logged())
                    return
    middle = statistics.median(took) * 1000
    print(f"     measured: ready {middle:.0f} ms after its start, {max(took) * 1000:.0f} at most, of {STARTS}")


async def load(image, about):
    """Memory for a connection, silent and busy, and CPU for a request; in bytes and seconds."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    port, backend = free_port(), Held()
    settings = {"CLERK_PUBLISHABLE_KEY": about["publishable_key"], "COUNTERSIGN_UPSTREAM": f"http://127.0.0.1:{port}"}
    address = image.environment["COUNTERSIGN_LISTEN"].rpartition(":")[2]
    admin = local(image.environment["COUNTERSIGN_ADMIN_LISTEN"])
    request = f"GET /orders HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {mint(about)}\r\n\r\n".encode()
    async with await asyncio.start_server(backend.serve, "127.0.0.1", port, backlog=CONNECTIONS):
        with container(image) as box, box.run(settings) as process:
            until(lambda: answers(admin, "/readyz") == 200)
            ready = resident(process)
            open_ = [await asyncio.open_connection("127.0.0.1", address) for _ in range(CONNECTIONS)]
            for pair in open_:
                await repeat(*pair, request, 1)
            idle = resident(process)
            before = used(process)
            await asyncio.gather(*(repeat(*pair, request, REQUESTS // CLIENTS) for pair in open_[:CLIENTS]))
            cpu = used(process) - before
            backend.hold()
            for _, writer in open_:
                writer.write(request)
            await backend.holds(CONNECTIONS)
            busy = resident(process)
            backend.release()
            await asyncio.gather(*(answer(reader) for reader, _ in open_))
            for _, writer in open_:
                writer.close()
        await backend.left()
    each = lambda whole: (whole - ready) / CONNECTIONS
    return {"ready": ready, "busy": each(busy), "idle": each(idle), "cpu": cpu / REQUESTS}


class Held:
    """A backend that answers, or, while it is told to, holds what is asked."""

    def __init__(self):
        self.let, self.held, self.here = asyncio.Event(), 0, 0
        self.let.set()

    def hold(self):
        self.held = 0
        self.let.clear()

    def release(self):
        self.let.set()

    async def holds(self, many):
        while self.held < many:
            await asyncio.sleep(0.01)

    async def left(self):
        while self.here:
            await asyncio.sleep(0.01)

    async def serve(self, reader, writer):
        self.here += 1
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while await reader.readuntil(b"\r\n\r\n"):
                self.held += 1
                await self.let.wait()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        writer.close()
        self.here -= 1


async def answer(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 "), head
    await reader.readexactly(int(re.search(rb"(?i)content-length: (\d+)", head).group(1)))


async def repeat(reader, writer, request, times):
    for _ in range(times):
        writer.write(request)
        await answer(reader)


def resident(process):
    status = pathlib.Path(f"/proc/{process.child.pid}/status").read_text()
    return int(re.search(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE).group(1)) * 1024


def used(process):
    fields = pathlib.Path(f"/proc/{process.child.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def asks_for(cases, name, one, uses):
    """What is asked for is enough: for the connections one has, and for as many, some busy, as its settings let in."""
    asked = one.proxy["resources"]
    few = uses["ready"] + USUAL * uses["idle"]
    cases.check(f"{name}: asks for the memory of {USUAL} connections", of(asked["requests"]) >= few, (asked, few))
    limits = tomllib.loads(next(iter(one.config.values()))["countersign.toml"])["limits"]
    # As many as are under way may wait.
    full = uses["ready"] + limits["connections"] * uses["idle"] + 2 * limits["in_flight"] * flooded.HELD
    room = of(asked["limits"]) >= full
    cases.check(f"{name}: its memory has room for its limits", room, (asked, limits, full))


def of(resources):
    return int(re.fullmatch(r"(\d+)Mi", resources["memory"]).group(1)) * MIB
