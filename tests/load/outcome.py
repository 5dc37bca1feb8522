"""What came of a request, and of the changes around it."""

import asyncio
import collections
import time

AFTER = 1  # seconds that a restart is near after its end
PATIENCE = 15  # seconds for an answer, from the connection to the last byte
SILENCE = 5  # seconds in which a stream that sends all the time says something
TOLD = 30  # failures that are printed


class Wrong(Exception):
    """What came is not what had to come."""


class BackendsOwn(Exception):
    """What came is not what had to come, and the backend's end is the reason."""


class Log:
    """What changed, and what went wrong when."""

    def __init__(self):
        self.start = time.monotonic()
        self.changes, self.failures, self.apart = [], [], collections.Counter()
        self.restarts = []  # pairs: when the backend was told to end, when it had

    def changed(self, what):
        self.changes.append((time.monotonic(), what))

    def failed(self, what, error):
        now = time.monotonic()
        near = sorted(self.changes, key=lambda change: abs(change[0] - now))[:2]
        told = ", ".join(f"{now - then:+.2f} s from {change}" for then, change in near)
        self.failures.append(f"at {now - self.start:.2f} s: {what}: {error!r} ({told})")
        if len(self.failures) <= TOLD:
            print(self.failures[-1], flush=True)

    def is_near_a_restart(self):
        now = time.monotonic()
        return any(begun <= now and (ended is None or now < ended + AFTER) for begun, ended in self.restarts)


async def held(answer, status, log=None):
    """Checks a status. With a log, a 502 near a restart is the backend's own: it closed an idle connection at the
    moment at which a request with a body came, and such a one is not sent twice."""
    if answer.status == status:
        return
    told = (await answer.body()).decode(errors="replace")
    if log and log.is_near_a_restart() and answer.status == 502 and "upstream-broken" in told:
        raise BackendsOwn("a connection was closed under a request with a body")
    raise Wrong(f"{answer.status} instead of {status}: {told}")


async def said_back(socket, message):
    await socket.send(message)
    async with asyncio.timeout(SILENCE):
        heard = await socket.receive()
    if heard != message:
        raise Wrong(f"{heard!r} said back for {message!r}")
