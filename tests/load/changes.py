"""What changes while the proxy lives: its settings, its certificate, the issuer's keys, the backend."""

import asyncio
import collections
import signal
import time

import scene
from certificates import serial_of
from harness import request
from outcome import Wrong, held

RELOADS, CERTIFICATES, ROTATIONS, RESTARTS = 20, 5, 3, 3
SEEN = 5  # seconds until a change shows
UNKNOWN_EVERY = 10.5  # seconds from one unknown key to the next that has the key set fetched, and a little


class Changes:
    """All that changes meanwhile, spread over the time; each is over when it was seen."""

    def __init__(self, there, log):
        self.there, self.log = there, log
        self.seen = collections.Counter()
        self.rotated = 0
        self.kinds = [
            (RELOADS, self.reload),
            (CERTIFICATES, self.replace_certificate),
            (ROTATIONS, self.rotate),
            (RESTARTS, self.restart),
        ]

    async def run(self, seconds):
        await asyncio.gather(*(self.spread(change, times, seconds) for times, change in self.kinds))
        await asyncio.sleep(max(0, self.log.start + seconds - time.monotonic()))

    async def spread(self, change, times, seconds):
        for number in range(times):
            due = self.log.start + seconds * (number + 0.5) / times
            await asyncio.sleep(max(0, due - time.monotonic()))
            try:
                await change(number)
                self.seen[change.__name__] += 1
            except Exception as error:
                self.log.failed(f"{change.__name__} {number}", error)

    async def reload(self, number):
        """Makes another path public: by SIGHUP or by the file alone, which is written over or replaced."""
        route, before = f"/reload/{number}", f"/reload/{number - 1}"
        if await self.status(route) != 401:
            raise Wrong(f"{route} is public before it was made so")
        begun = time.time()
        if number == RELOADS // 2:
            await self.reload_nonsense()
        self.write(self.there.settings([route]), in_pieces=number % 4 > 1)
        if number % 2:
            self.hang_up()
        self.log.changed(f"reload {number}")
        await until(f"{route} is public", lambda: self.has_status(route, 200))
        await until(f"{before} no longer is", lambda: self.has_status(before, 401))
        await until(f"reload {number} is told", lambda: self.reloaded_since(begun))

    async def reload_nonsense(self):
        """A file that makes no sense is told of and changes nothing."""
        self.write("nonsense = ", in_pieces=False)
        self.hang_up()
        self.log.changed("nonsense in the settings")
        failed = lambda: self.there.metric("countersign_config_last_reload_successful")
        await until("nonsense is told", lambda: equals(failed(), 0))

    def write(self, text, in_pieces):
        """Writes over the file, or puts another in its place."""
        if in_pieces:
            self.there.config.write_text(text)
        else:
            next_to_it = self.there.config.with_suffix(".new")
            next_to_it.write_text(text)
            next_to_it.replace(self.there.config)

    def hang_up(self):
        self.there.process.child.send_signal(signal.SIGHUP)

    async def reloaded_since(self, begun):
        successful, when = await self.there.metrics(
            "countersign_config_last_reload_successful", "countersign_config_last_reload_success_timestamp_seconds"
        )
        return successful == 1 and when >= int(begun)

    async def has_status(self, target, status):
        return await self.status(target) == status

    async def status(self, target):
        connection = await self.there.http1("unix")
        try:
            return (await connection.ask("GET", target)).status
        finally:
            connection.close()

    async def replace_certificate(self, number):
        """Writes over the files; once, in the middle, swaps the link to them."""
        certificates = self.there.certificates
        serial = certificates.swap() if number == CERTIFICATES // 2 else certificates.rewrite()
        self.log.changed(f"certificate {number}")
        await until(f"certificate {number} is shown", lambda: equals(self.shown(), serial))

    async def shown(self):
        connection = await self.there.http1("tls")
        connection.close()
        return serial_of(connection)

    async def rotate(self, number):
        """Has the issuer sign with a new key; a token of that one is good at once."""
        await asyncio.sleep(max(0, self.rotated + UNKNOWN_EVERY - time.monotonic()))
        kid = (await asyncio.to_thread(request, self.there.issuer, "POST", self.there.rotate_path)).text
        self.log.changed(f"rotation {number}")
        token = await self.there.tokens.renew()
        if scene.kid_of(token) != kid:
            raise Wrong(f"the issuer signs with {scene.kid_of(token)}, not with {kid}")
        connection = await self.there.http1("tls")
        answer = await connection.ask("GET", "/echo", [("authorization", f"Bearer {token}")])
        connection.close()
        await held(answer, 200)
        self.rotated = time.monotonic()

    async def restart(self, number):
        """Ends the backend when the next one accepts."""
        backends = self.there.backends
        following = await asyncio.to_thread(backends.start)
        restart = [time.monotonic(), None]
        self.log.restarts.append(restart)
        self.log.changed(f"restart {number}")
        status = await asyncio.to_thread(backends.end_before, following)
        restart[1] = time.monotonic()
        if status != 0:
            raise Wrong(f"the backend before ended with {status}")
        connection = await self.there.http1("unix")
        answer = await connection.ask("GET", "/public/pid")
        connection.close()
        if answer.headers["x-pid"] != str(following.child.pid):
            raise Wrong(f"{answer.headers['x-pid']} answers")


async def until(what, holds):
    deadline = time.monotonic() + SEEN
    while not await holds():
        if time.monotonic() > deadline:
            raise Wrong(f"not within {SEEN} s: {what}")
        await asyncio.sleep(0.05)


async def equals(awaitable, value):
    return await awaitable == value
