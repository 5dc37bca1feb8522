"""Strangers who hold as many requests as HTTP/2 lets them, against the limits that ship and their memory.

Each connection opens a hundred streams on a public route whose backend does not answer, with heads and bodies as long
as may be. What a settings file or a unit says in `limits` has to keep that below what it may have.
"""

import asyncio
import pathlib
import re
import tomllib

import yaml

from harness import ROOT, demo, free_port
from image import answers, container, local, until
from workload import KUBERNETES, Workload, of_file, overlay

CONNECTIONS, STREAMS = 100, 100
HEAD, BODY = 30_000, 65_000  # bytes; `limits.head` is 32 KiB, and the window of a stream 64 KiB
HELD = 200 << 10  # what README.md reckons a held request with
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS, CONTINUATION, END_HEADERS, ACK = 0, 1, 4, 9, 4, 1
FRAME = 16_384
UNITS = {"Mi": 20, "M": 20, "m": 20}


def run(cases, image):
    with demo() as (_, about):
        few = CONNECTIONS // 2
        most, log = asyncio.run(flood(image, about, {}, few))
        own = most / few / STREAMS
        print(f"     flooded: {own / 1024:.0f} KiB for a request that is held")
        cases.check("flooded: a held request takes no more than is reckoned with", 0 < own <= HELD, (own, log))
        cases.check("flooded: without limits half of it is more than most may have", most > 256 << 20, most)
        tried = {}
        for name, limits, memory in shipped():
            both = {"connections", "in_flight"} <= limits.keys()
            if cases.check(f"flooded: {name}: has limits for connections and requests", both, limits):
                key = limits["connections"], limits["in_flight"]
                tried[key] = tried.get(key) or asyncio.run(flood(image, about, limits, CONNECTIONS))
                most, log = tried[key]
                cases.check(f"flooded: {name}: stays below its {memory >> 20} MiB", 0 < most < memory, (most, log))
                print(f"     flooded: {name}: {most / (1 << 20):.0f} MiB at most, of {memory >> 20}")


def shipped():
    """What is limited, as it ships: its name, `limits`, and the memory it may have."""
    pods = {name: Workload(overlay(name)) for name in ("examples/loopback", "examples/socket", "gateway")}
    pods["pod.yaml"] = Workload(of_file(KUBERNETES / "pod.yaml"))
    for name, one in pods.items():
        written = tomllib.loads(next(iter(one.config.values()))["countersign.toml"])
        yield name, written.get("limits", {}), size(one.proxy["resources"]["limits"]["memory"])
    compose = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())["services"]["countersign"]
    told = [f"{name}={value}" for name, value in compose["environment"].items()]
    yield "compose.yaml", of_environment(" ".join(told)), size(compose["mem_limit"])
    unit = (ROOT / "deploy" / "systemd" / "countersign.service").read_text()
    told = " ".join(re.findall(r"^Environment=(.*)", unit, re.MULTILINE))
    yield "countersign.service", of_environment(told), size(re.search(r"^MemoryMax=(.*)", unit, re.MULTILINE)[1])


def size(text):
    number, unit = re.fullmatch(r"(\d+)(\D+)", text).groups()
    return int(number) << UNITS[unit]


def of_environment(text):
    return {name.lower(): int(value) for name, value in re.findall(r"COUNTERSIGN_LIMITS_(\w+)=(\d+)", text)}


async def flood(image, about, limits, connections):
    """The most memory that the proxy had, and its log."""
    upstream = free_port()
    written = ["clerk.authorized_parties = ['http://localhost:3000']", f"upstream.url = 'http://127.0.0.1:{upstream}'"]
    written += ["route = [{ path = '/held', access = 'public' }]"]
    written += [f"limits.{name} = {value}" for name, value in limits.items()]
    settings = {"CLERK_PUBLISHABLE_KEY": about["publishable_key"], "COUNTERSIGN_CONFIG": "/settings.toml"}
    files = [("/settings.toml", 0o444, "\n".join(written).encode())]
    port, admin = (local(image.environment[name]) for name in ("COUNTERSIGN_LISTEN", "COUNTERSIGN_ADMIN_LISTEN"))
    held, over = set(), asyncio.Event()

    async def holds(_, writer):
        """Takes nothing and says nothing."""
        held.add(writer)
        writer.transport.pause_reading()
        await over.wait()
        writer.transport.abort()
        held.discard(writer)

    with container(image, files=files) as box, box.run(settings) as process:
        async with await asyncio.start_server(holds, "127.0.0.1", upstream, backlog=4096):
            if not await asyncio.to_thread(until, lambda: answers(admin, "/readyz") == 200):
                return 0, process.logged()
            opened = [await asyncio.open_connection("127.0.0.1", port.rpartition(":")[2]) for _ in range(connections)]
            readers = [asyncio.create_task(drained(reader)) for reader, _ in opened]
            await asyncio.gather(*(send(writer) for _, writer in opened))
            for _ in range(3):  # until those that wait for a place have been refused
                await asyncio.to_thread(answers, admin, "/metrics")
                await asyncio.sleep(0.5)
            status = pathlib.Path(f"/proc/{process.child.pid}/status").read_text()
            for task, (_, writer) in zip(readers, opened, strict=True):
                task.cancel()
                writer.transport.abort()
            process.child.kill()  # it would wait for what the backend holds
            over.set()
            while held:
                await asyncio.sleep(0.01)
            return int(re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)[1]) << 10, process.logged()


async def drained(reader):
    try:
        while await reader.read(65536):
            pass
    except OSError:
        pass


async def send(writer):
    """Requests that do not end; what the proxy makes of them is not looked at."""
    try:
        writer.write(PREFACE + frame(SETTINGS, 0, 0) + frame(SETTINGS, ACK, 0))
        for number in range(STREAMS):
            writer.write(head(2 * number + 1, block()) + body(2 * number + 1))
            await writer.drain()
    except OSError:
        pass


def head(stream, text):
    """As many frames as it takes, the last of which says that it is."""
    parts = [text[at : at + FRAME] for at in range(0, len(text), FRAME)]
    last = len(parts) - 1
    return b"".join(
        frame(CONTINUATION if number else HEADERS, END_HEADERS if number == last else 0, stream, part)
        for number, part in enumerate(parts)
    )


def body(stream):
    return b"".join(frame(DATA, 0, stream, b"b" * min(FRAME, BODY - at)) for at in range(0, BODY, FRAME))


def frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def block():
    """In HPACK, with nothing left to a table."""
    request = {":method": "POST", ":scheme": "http", ":authority": "a", ":path": "/held"}
    request |= {f"x-{number}": "a" * (HEAD // 4) for number in range(4)}
    return b"".join(b"\0" + text(name) + text(value) for name, value in request.items())


def text(value):
    return integer(len(value)) + value.encode()


def integer(number):
    """RFC 7541 §5.1, with a prefix of seven bits."""
    if number < 127:
        return bytes([number])
    number -= 127
    octets = [127]
    while number >= 128:
        octets.append(number % 128 | 128)
        number //= 128
    return bytes([*octets, number])
