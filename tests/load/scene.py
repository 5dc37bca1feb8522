"""What the runs under load share: an issuer, a backend that can be restarted, the proxy, and the ways to it."""

import asyncio
import base64
import contextlib
import json
import pathlib
import re
import resource
import socket
import sys
import tempfile
import time
import urllib.parse

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from certificates import Certificates
from harness import BINARY, Process, clean, demo, free_port, mint, request, until_ready
from http2 import Http2
from wire import Http1

LIFETIME = 60  # seconds that a token is good, as Clerk has it: longer than one is used here
USERS = 32


class Backends:
    """A listening socket that stays, and the process that accepts on it at the moment."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.url = "http://127.0.0.1:%d" % self.listener.getsockname()[1]
        self.process = self.start()

    def start(self):
        number = self.listener.fileno()
        process = Process([sys.executable, HERE / "backend.py", number], pass_fds=[number])
        process.line()
        return process

    def end_before(self, process):
        """Ends the one that was there before this one, which accepts already; returns its status."""
        before, self.process = self.process, process
        return before.stop()

    def stop(self):
        self.process.stop()
        self.listener.close()


class Scene:
    """A proxy with a settings file, on TLS and on a Unix socket, and all it needs."""

    def __init__(self, directory, about, backends, settings):
        self.directory, self.about, self.backends = directory, about, backends
        self.port, self.admin_port = free_port(), free_port()
        self.admin = f"http://127.0.0.1:{self.admin_port}"
        self.socket = directory / "proxy.sock"
        self.certificates = Certificates(directory)
        self.contexts = {protocol: self.certificates.client(protocol) for protocol in ("http/1.1", "h2")}
        self.tokens = Tokens(about)
        rotate = urllib.parse.urlsplit(about["rotate_url"])
        self.issuer, self.rotate_path = f"http://{rotate.netloc}", rotate.path
        self.config = directory / "countersign.toml"
        self.config.write_text(self.settings())
        self.process = Process([BINARY, "serve", "--config", self.config], clean(settings))

    def settings(self, routes=()):
        public = [f'[[route]]\npath = "{path}"\naccess = "public"\n' for path in ["/public/**", *routes]]
        return f"""
listen = ["127.0.0.1:{self.port}", "unix:{self.socket}"]
admin.listen = "127.0.0.1:{self.admin_port}"
upstream.url = "{self.backends.url}"
log.access = false

[clerk]
publishable_key = "{self.about['publishable_key']}"

[tls]
certificate_file = "{self.certificates.certificate}"
key_file = "{self.certificates.private}"

{"".join(public)}"""

    async def http1(self, way, **how):
        """A new connection that speaks HTTP/1.1, over `tls` or the Unix socket."""
        return Http1(*await self.connect(way, "http/1.1", **how))

    async def http2(self, way, **how):
        """A new connection that speaks HTTP/2: by ALPN over `tls`, by its preface over the Unix socket."""
        return Http2(*await self.connect(way, "h2", **how))

    async def connect(self, way, protocol, **how):
        if way == "unix":
            return await asyncio.open_unix_connection(str(self.socket), **how)
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.port, ssl=self.contexts[protocol], server_hostname="localhost", **how
        )
        agreed = writer.get_extra_info("ssl_object").selected_alpn_protocol()
        if agreed != protocol:
            raise RuntimeError(f"ALPN asked for {protocol} and got {agreed}")
        return reader, writer

    async def metric(self, line):
        return (await self.metrics(line))[0]

    async def metrics(self, *lines):
        """The values of these lines, each a name with its labels; 0 where there is none."""
        text = (await asyncio.to_thread(request, self.admin, "GET", "/metrics")).text
        found = [re.search(rf"^{re.escape(line)} (\S+)$", text, re.MULTILINE) for line in lines]
        return [float(value.group(1)) if value else 0.0 for value in found]


class Tokens:
    """A few users, each with a token; one after the other gets a new one."""

    def __init__(self, about):
        self.about, self.turn = about, 0
        self.of = {user: self.mint(user) for user in (f"user_2xHq{number:023}" for number in range(USERS))}
        past = int(time.time()) - 3600
        self.expired = mint(about, iat=past, nbf=past, exp=past + 60)

    def mint(self, user):
        return mint(self.about, sub=user, exp=int(time.time()) + LIFETIME)

    def any(self, chance):
        """Some user, and the header that says so."""
        user = chance.choice(list(self.of))
        return user, ("authorization", f"Bearer {self.of[user]}")

    async def renew(self):
        """Gives the next user a new token, and returns it."""
        user = list(self.of)[self.turn % USERS]
        self.turn += 1
        self.of[user] = await asyncio.to_thread(self.mint, user)
        return self.of[user]

    @contextlib.asynccontextmanager
    async def renewed(self, every):
        """Renews them one after the other, meanwhile."""
        renewing = asyncio.create_task(self.renew_for_ever(every))
        yield
        if renewing.done():
            renewing.result()  # raises what ended it
        renewing.cancel()

    async def renew_for_ever(self, every):
        while True:
            with contextlib.suppress(OSError):  # on a busy machine; there are more before one is too old
                await self.renew()
            await asyncio.sleep(every)


def kid_of(token):
    header = token.split(".")[0]
    return json.loads(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)))["kid"]


@contextlib.contextmanager
def scene(**settings):
    """Puts everything in place; what was started has ended when this ends."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with tempfile.TemporaryDirectory() as directory, demo() as (_, about):
        backends = Backends()
        try:
            there = Scene(pathlib.Path(directory), about, backends, settings)
            with there.process as process:
                until_ready(process, there.admin)
                yield there
        finally:
            backends.stop()
