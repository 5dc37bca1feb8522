"""The programs that are compared, each with its settings, on ports and a core of their own."""

import contextlib
import socket
import time

import kernel
import tokens
from programs import HERE, LOAD_CORE, PROXY_CORE, found, not_installed, on
from harness import START, Process, clean, free_port, until_ready

SETTLE = 0.2  # seconds from ready to idle
SECRET = "0123456789abcdef0123456789abcdef"
BODY = 64 * 1024
DID_NOT_START = "did not start"

# What comes before the settings file of a peer: one thread, in the foreground.
WORDS = {
    "nginx": ["-e", "stderr", "-c"],
    "haproxy": ["-db", "-q", "-f"],
    "envoy": ["--concurrency", "1", "--log-level", "warning", "--disable-hot-restart", "-c"],
}

# How Countersign signs, by name of the proxy: with HMAC, with Ed25519, or with the assertion and nothing else.
HMAC, ED25519, ASSERTION = "Countersign", "Countersign Ed25519", "Countersign assertion"
# For tokens never seen, and started anew before each round: what these remember of one is not there in
# the next, and is no memory of other rows.
AFRESH, ENVOY_AFRESH = "Countersign, started anew", "Envoy, started anew"
SIGNED = {
    HMAC: {"COUNTERSIGN_SIGNING_SECRET": SECRET},
    AFRESH: {"COUNTERSIGN_SIGNING_SECRET": SECRET},
    ED25519: {},
    ASSERTION: {"COUNTERSIGN_SIGNING_MODE": "jwt", "COUNTERSIGN_SIGNING_AUDIENCE": "orders"},
}


class Proxy:
    """One program, from its start to its end. `ports` are where it is sent requests, by what it does there."""

    def __init__(self, name, command, ports, env=None, admin=None):
        self.name, self.command, self.ports = name, command, ports
        self.env, self.admin = env, admin
        self.process = self.program = self.idle_kib = None

    def start(self, *cores):
        with on(*cores or [PROXY_CORE]):
            self.process = Process(self.command, self.env)
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
        for name in ("Envoy", ENVOY_AFRESH):
            port = free_port()
            ports = {"HTTP": port, "H2": port, "JWT": free_port(), "CACHED": free_port()}
            self.add(name, "envoy", "envoy.yaml", ports)
        for name, how in SIGNED.items():
            self.proxies[name] = self.own(name, how)

    def add(self, name, program, config, ports):
        if found(program):
            self.proxies[name] = self.made(name, program, config, ports)
        else:
            self.missing[name] = not_installed(program)

    def made(self, name, program, config, ports):
        return Proxy(name, [found(program), *WORDS[program], self.filled(config, ports, name)], ports)

    def own(self, name, how):
        """A Countersign that signs its requests in one of the ways."""
        port, admin = free_port(), free_port()
        config = self.filled("countersign.toml", {"HTTP": port, "ADMIN": admin}, name)
        command = [self.binary, "serve", "--config", config]
        return Proxy(name, command, {"HTTP": port, "H2": port}, clean(how), admin)

    def filled(self, config, ports, name):
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
        path = self.directory / f"{name} {config}"
        path.write_text(text)
        return path

    def start_backend(self):
        self.backend.start(LOAD_CORE)

    def start(self):
        for name, proxy in list(self.proxies.items()):
            try:
                proxy.start()
            except RuntimeError as error:
                self.missing[name] = f"{DID_NOT_START}: {name}: {error}"
                del self.proxies[name]

    def stop(self):
        for proxy in [*self.proxies.values(), self.backend]:
            proxy.stop()
