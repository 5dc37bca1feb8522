"""Many connections with one request a second each: `slow.py PORT CONNECTIONS LEAD SECONDS AHEAD`, a token in TOKEN.

Prints a line once every connection was answered, and then, of what is answered between LEAD and LEAD + SECONDS, a line
of JSON. They do not send together: each has its place in the second.

With AHEAD, every other of as many pairs of connections is closed again: where a new one goes to the worker that has
the fewest, one of two workers has so many more than the other.
"""

import asyncio
import json
import os
import sys

PATIENCE = 10  # seconds for an answer
BREATH = 0.5  # seconds until a connection that was closed is known to have been


class Client(asyncio.Protocol):
    """A connection, kept alive."""

    def __init__(self, token):
        self.request = f"GET / HTTP/1.1\r\nHost: a.test\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
        self.answer, self.waiting = b"", None
        self.clock = asyncio.get_running_loop().time

    def connection_made(self, transport):
        self.transport = transport

    async def ask(self):
        """Seconds from the request to the end of its answer."""
        self.waiting, self.answer = asyncio.get_running_loop().create_future(), b""
        sent = self.clock()
        self.transport.write(self.request)
        return await asyncio.wait_for(self.waiting, PATIENCE) - sent

    def data_received(self, data):
        self.answer += data
        if not self.answer.endswith(b" ok\n") or self.waiting.done():
            return
        if self.answer.startswith(b"HTTP/1.1 200"):
            self.waiting.set_result(self.clock())
        else:
            self.connection_lost(None)

    def connection_lost(self, error):
        if self.waiting and not self.waiting.done():
            self.waiting.set_exception(error or RuntimeError(f"no answer: {self.answer[:100]!r}"))


async def connected(port, token):
    """One after the other, so that it is known which worker has which."""
    _, client = await asyncio.get_running_loop().create_connection(lambda: Client(token), "127.0.0.1", port)
    await client.ask()
    return client


async def put_ahead(port, token, count):
    """Connections that nobody asks anything more, all at one worker."""
    pairs = [(await connected(port, token), await connected(port, token)) for _ in range(count)]
    for _, other in pairs:
        other.transport.close()
    await asyncio.sleep(BREATH)
    return pairs


async def asking(client, first, until, since, took):
    """Asks each second from `first` on, and keeps how long it took after `since`."""
    due = first
    while due < until:
        await asyncio.sleep(max(0, due - client.clock()))
        latency = await client.ask()
        if due >= since:
            took.append(latency)
        due += 1


async def main(port, connections, lead, seconds, ahead):
    token, took = os.environ["TOKEN"], []
    clients = [await connected(port, token) for _ in range(connections)]
    kept = await put_ahead(port, token, ahead)
    print("ready", flush=True)
    begun = asyncio.get_running_loop().time()
    since, until = begun + lead, begun + lead + seconds
    places = (begun + number / connections for number in range(connections))
    await asyncio.gather(*(asking(*pair, until, since, took) for pair in zip(clients, places)))
    took.sort()
    microseconds = {name: took[min(len(took) - 1, int(len(took) * part))] * 1e6 for name, part in PARTS.items()}
    print(json.dumps({"requests": len(took)} | microseconds), flush=True)
    del kept


PARTS = {"p50_us": 0.5, "p99_us": 0.99, "most_us": 1}

asyncio.run(main(*map(int, sys.argv[1:])))
