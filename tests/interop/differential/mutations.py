"""Inputs that nobody thought of: the ones somebody did, with a few things changed at random."""

import random

from inputs import AFTER, HIDDEN, HIDDEN_CHUNK, Input, told

PIECES = [
    b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"\0", b" ", b"\t", b"\x0b", b"\x80", b"\xff", b":", b";", b",", b'"', b"0", b"5", b"-", b"+", b"_", b"x", b"%", b"#",
    b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: x\r\n", b"Connection: close\r\n",
    b"Expect: 100-continue\r\n", b"0\r\n\r\n", b"HTTP/1.0", b"HTTP/1.1", b"Host: q\r\n", b"X-Clerk-User-Id: root\r\n", HIDDEN, HIDDEN_CHUNK,
]  # fmt: skip


def mutated(inputs, seed, count):
    """Yields `count` inputs; the same ones for the same seed."""
    chance = random.Random(seed)
    sources = [each.data.removesuffix(AFTER) for each in inputs if len(each.data) < 2000]
    for number in range(count):
        data = chance.choice(sources)
        if chance.random() < 0.3:
            data += chance.choice(sources)
        for _ in range(chance.randint(1, 4)):
            data = changed(data, chance)
        yield Input(f"random {number}: {told(data)}", data + AFTER)


def changed(data, chance):
    at = chance.randrange(len(data) + 1)
    to = min(len(data), at + chance.choice([1, 1, 2, 5, 20]))
    match chance.randrange(6):
        case 0:
            return data[:at] + chance.choice(PIECES) + data[at:]
        case 1:
            return data[:at] + chance.choice(PIECES) + data[to:]
        case 2:
            return data[:at] + data[to:]
        case 3:
            return data[:to] + data[at:]
        case 4:
            return data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :]
        case _:
            lines = data.split(b"\r\n")
            return b"\r\n".join(chance.sample(lines, len(lines)))
