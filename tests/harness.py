"""What the runs outside Rust share: starting the program, talking to it, counting what held.

Python's standard library only. Everything listens on loopback, and every process started here has
ended when the run ends: by its `with`, also on a failure, SIGINT or SIGTERM.
"""

import base64
import contextlib
import fcntl
import http.client
import http.server
import json
import os
import pathlib
import random
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parents[1]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
BINARY = os.environ.get("COUNTERSIGN_BIN") or str(TARGET / "release" / "countersign")
START = 20  # seconds a program gets to come up
END = 30  # seconds it gets to drain: `drain.grace` is 25
SIOCSIFFLAGS, IFF_UP = 0x8914, 1


class Cases:
    """Prints a line a case, and at the end how many held."""

    def __init__(self):
        self.passed = self.failed = 0

    def check(self, name, held, seen=None):
        if held:
            self.passed += 1
        else:
            self.failed += 1
        print(f"ok   {name}" if held else f"FAIL {name}: {seen!r}", flush=True)
        return bool(held)

    def close(self):
        """Prints the closing line; returns the exit status. A run in which nothing ran has failed."""
        print(f"{self.passed} passed, {self.failed} failed", flush=True)
        return 0 if self.passed and not self.failed else 1


def main(run):
    """Runs `run(cases)` and exits with its verdict. An exception is a failed case, told in full."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    cases = Cases()
    try:
        run(cases)
    except Exception as error:
        cases.check("the run came to its end", False, error)
        import traceback

        traceback.print_exc()
    sys.exit(cases.close())


class Process:
    """A program that runs until it is told to end; what it logs is kept and shown when it fails."""

    def __init__(self, command, env=None, **how):
        self.command = [str(word) for word in command]
        self.log = tempfile.TemporaryFile()
        usual = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": self.log}
        self.child = subprocess.Popen(self.command, env=env, **usual | how)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.stop()
        if kind is not None and kind is not SystemExit:
            print(f"--- the log of {' '.join(self.command)}\n{self.logged()}", file=sys.stderr)

    def line(self):
        """The next line on its standard output."""
        ready, _, _ = select.select([self.child.stdout], [], [], START)
        line = self.child.stdout.readline() if ready else b""
        if not line:
            raise RuntimeError(f"{self.command[:2]} said nothing (status {self.child.poll()}): {self.logged()}")
        return line.decode()

    def logged(self):
        self.log.seek(0)
        return self.log.read().decode(errors="replace")[-4000:]

    def stop(self):
        """Sends SIGTERM, waits, and returns the exit status; None when it had to be killed."""
        if self.child.poll() is None:
            self.child.terminate()
        try:
            return self.child.wait(END)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
            return None
        finally:
            self.child.stdout.close()


@contextlib.contextmanager
def demo(*arguments, **settings):
    """Runs `countersign demo --json`; gives the process and what it printed about itself."""
    with Process([BINARY, "demo", "--json", *arguments], clean(settings)) as process:
        about = json.loads(process.line())
        until_ready(process, about["admin"])
        yield process, about


@contextlib.contextmanager
def serve(issuer, *arguments, under=(), **settings):
    """Runs `countersign serve` for the tokens of `issuer`, a demo, and `under` another program if one is given;
    gives the process, proxy and admin URL."""
    listen, admin = (f"127.0.0.1:{free_port()}" for _ in range(2))
    known = {"CLERK_PUBLISHABLE_KEY": issuer["publishable_key"]}
    command = [*under, BINARY, "serve", "--listen", listen, "--admin-listen", admin]
    with Process([*command, *arguments], clean(known | settings)) as process:
        until_ready(process, f"http://{admin}")
        yield process, f"http://{listen}", f"http://{admin}"


@contextlib.contextmanager
def capturing(issuer, *arguments, **settings):
    """A proxy before a backend of ours; gives what gets the headers of a request as that proxy signed them just now."""
    seen = []

    class Backend(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            # Less those of the hop, which nobody signs and who sends them again makes anew.
            named = [(name.lower(), value) for name, value in self.headers.items()]
            seen.append([pair for pair in named if pair[0] not in ("connection", "content-length")])
            self.send_response(204)
            self.end_headers()

        do_POST = do_GET

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Backend)
    with serving(server), serve(issuer, "--upstream", url_of(server), *arguments, **settings) as (_, proxy, _):

        def capture(token, target="/", method="GET"):
            reply = request(proxy, method, target, [bearer(token)])
            if not seen:
                raise RuntimeError(f"nothing came to the backend of {method} {target}: {reply}")
            return seen.pop()

        yield capture


@contextlib.contextmanager
def serving(server):
    """Has a server of `http.server` answer, in threads of its own."""
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def url_of(server):
    return f"http://127.0.0.1:{server.server_port}"


def clean(settings):
    """The environment less whatever of it would be a setting, and these settings."""
    ours = re.compile(r"(.*_)?CLERK_|COUNTERSIGN_|PORT$|SSL_CERT_FILE$|.*_proxy$", re.IGNORECASE)
    return {name: value for name, value in os.environ.items() if not ours.match(name)} | settings


def listens(process, port):
    """Whether a process comes to listen on a port of loopback, before it ends or its time is over."""
    deadline = time.monotonic() + START
    while time.monotonic() < deadline and process.child.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
        time.sleep(0.05)
    return False


def until_ready(process, admin):
    deadline = time.monotonic() + START
    while time.monotonic() < deadline and process.child.poll() is None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if request(admin, "GET", "/readyz").status == 200:
                return
        time.sleep(0.05)
    raise RuntimeError(f"{process.command[:2]} did not get ready (status {process.child.poll()}): {process.logged()}")


class Reply:
    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers  # an email.message.Message: `get` is case-insensitive
        self.text = response.read().decode()

    def json(self):
        """The body as JSON; empty when it is none, so that a check on it fails and says what came."""
        try:
            return json.loads(self.text)
        except ValueError:
            return {}

    def __repr__(self):
        return f"{self.status} {dict(self.headers)} {self.text[:600]}"


def request(base, method, target, headers=(), body=None):
    """Sends exactly this: `target` is not touched, and pairs of `headers` may repeat or replace `Host`."""
    host = urllib.parse.urlsplit(base)
    connection = http.client.HTTPConnection(host.hostname, host.port, timeout=15)
    try:
        connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        if not any(name.lower() == "host" for name, _ in headers):
            connection.putheader("Host", host.netloc)
        for name, value in headers:
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        return Reply(connection.getresponse())
    finally:
        connection.close()


def mint(about, **claims):
    """A fresh token of a demo's issuer, with these claims besides or instead of its own; None takes one out."""
    url = urllib.parse.urlsplit(about["mint_url"])
    if claims:
        reply = request(f"http://{url.netloc}", "POST", url.path, body=json.dumps(claims).encode())
    else:
        reply = request(f"http://{url.netloc}", "GET", url.path)
    if reply.status != 200:
        raise RuntimeError(f"no token to be had: {reply}")
    return reply.text.strip()


def claims_of(token):
    payload = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


def forged(token):
    """The token with another signature that is as well written: its last character carries unused bits."""
    signed, dot, signature = token.rpartition(".")
    return signed + dot + ("B" if signature[0] == "A" else "A") + signature[1:]


def bearer(token):
    return "Authorization", f"Bearer {token}"


def free_ports():
    """Ports that nobody has, each once, in no order that another run has too. They are below those that the
    kernel gives to outgoing connections, so what is started later, or anew, finds its own still free; only where
    there are none below does the kernel choose."""
    above = int(pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    below = list(range(10_000, above))
    random.shuffle(below)
    for port in below:
        with contextlib.suppress(OSError):
            socket.create_server(("127.0.0.1", port)).close()
            yield port
    given = set()
    while True:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        if port not in given:
            given.add(port)
            yield port


PORTS, ONE_AT_A_TIME = free_ports(), threading.Lock()


def free_port():
    with ONE_AT_A_TIME:
        return next(PORTS)


def have_loopback():
    """Turns loopback on, which a network of one's own has to begin with: off. Linux only."""
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))
