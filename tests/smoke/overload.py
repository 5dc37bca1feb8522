"""More than there is room for: connections, requests, files. Then service as before. Linux only."""

import contextlib
import http.server
import os
import pathlib
import resource
import socket
import sys
import tempfile
import threading
import time
import urllib.parse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import harness
from harness import Process, bearer, clean, demo, free_port, main, mint, request, until_ready

FILES = 128  # the limit of open files, soft and hard
TICKS = os.sysconf("SC_CLK_TCK")


class Backend(http.server.ThreadingHTTPServer):
    """Answers `/slow` once it is told to, and all else at once."""

    daemon_threads = True
    request_queue_size = 512

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 65536

        def do_GET(self):
            if self.path == "/slow":
                self.server.go.wait(30)
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_):
            pass

    def __init__(self):
        super().__init__(("127.0.0.1", 0), self.Handler)
        self.go = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def handle_error(self, *_):
        """A client that left is none to tell of."""


class Client:
    """A connection that sends what it is told and reads what comes."""

    def __init__(self, proxy, token):
        host = urllib.parse.urlsplit(proxy)
        self.socket = socket.create_connection((host.hostname, host.port), timeout=15)
        self.head = f"HTTP/1.1\r\nHost: {host.netloc}\r\nAuthorization: Bearer {token}\r\n\r\n"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def ask(self, path="/"):
        self.socket.sendall(f"GET {path} {self.head}".encode())
        return self

    def answer(self):
        """Status and head of the answer; (0, what happened) where the connection ended instead."""
        text = b""
        try:
            while b"\r\n\r\n" not in text:
                piece = self.socket.recv(4096)
                if not piece:
                    return 0, "closed"
                text += piece
        except OSError as error:
            return 0, repr(error)
        head, _, body = text.decode().partition("\r\n\r\n")
        length = int(dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:]).get("content-length", 0))
        while len(body) < length and (piece := self.socket.recv(4096)):
            body += piece.decode()
        return int(head.split(" ")[1]), head.lower()


def files(process):
    return len(os.listdir(f"/proc/{process.child.pid}/fd"))


def cpu(process):
    """Seconds of CPU that the process has used."""
    stat = pathlib.Path(f"/proc/{process.child.pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(stat[11]) + int(stat[12])) / TICKS


def until(held, seconds=15):
    deadline = time.monotonic() + seconds
    while not held() and time.monotonic() < deadline:
        time.sleep(0.05)
    return held()


@contextlib.contextmanager
def serve(about, backend, **settings):
    settings = {"COUNTERSIGN_LOG_ACCESS": "false", "COUNTERSIGN_WORKERS": "2"} | settings
    with harness.serve(about, "--upstream", backend.url, **settings) as serving:
        yield serving


@contextlib.contextmanager
def few_files():
    """What is started meanwhile may have few files open, and no more by its own will."""
    command = harness.BINARY
    directory = pathlib.Path(tempfile.mkdtemp())
    limited = directory / "limited"
    limited.write_text(f'#!/bin/sh\nulimit -n {FILES} || exit 1\nexec "{command}" "$@"\n')
    limited.chmod(0o755)
    harness.BINARY = str(limited)
    try:
        yield
    finally:
        harness.BINARY = command
        limited.unlink()
        directory.rmdir()


def is_well(admin):
    return all(request(admin, "GET", path).status == 200 for path in ("/metrics", "/readyz"))


def flood(cases, what, about, backend, **settings):
    """Opens many more connections than there are files, each with a request, and looks at the proxy."""
    token = mint(about, exp=int(time.time()) + 600)
    with few_files(), serve(about, backend, **settings) as (process, proxy, admin):
        request(proxy, "GET", "/", [bearer(token)])
        before, well, statuses = idle(process, admin), [], {}
        with contextlib.ExitStack() as stack:
            backend.go.clear()
            clients = []
            for number in range(4 * FILES):
                with contextlib.suppress(OSError):  # one that was closed at once
                    clients.append(stack.enter_context(Client(proxy, token)))
                    clients[-1].ask("/slow" if number % 2 else "/")
                if number % 32 == 0:
                    well.append(is_well(admin))
            most, used = files(process), cpu(process)
            for _ in range(6):
                time.sleep(0.5)
                well.append(is_well(admin))
            used = cpu(process) - used
            backend.go.set()
            for client in clients:
                status, _ = client.answer()
                statuses[status] = statuses.get(status, 0) + 1
        cases.check(f"{what}: the admin listener answers all the while", all(well), well)
        cases.check(f"{what}: {used:.2f} s of CPU in 3 s", used < 0.6, used)
        cases.check(f"{what}: {most} files of {FILES} are open, so some are left", most < FILES, most)
        cases.check(f"{what}: served, told to come back, or closed", statuses.keys() <= {0, 200, 503}, statuses)
        cases.check(f"{what}: some were served: {statuses}", statuses.get(200, 0) >= 16, statuses)
        cases.check(f"{what}: some were told to come back", statuses.get(503, 0) > 0, statuses)
        over(cases, what, process, proxy, token, before)
        return process.logged()


def exhaustion(cases, about, backend):
    """Takes the files from a proxy that runs, all but one, as if others of its user had them."""
    token, what = mint(about, exp=int(time.time()) + 600), "no files"
    with serve(about, backend) as (process, proxy, admin):
        request(proxy, "GET", "/", [bearer(token)])
        before, limit = idle(process, admin), resource.prlimit(process.child.pid, resource.RLIMIT_NOFILE)
        taken = {int(name) for name in os.listdir(f"/proc/{process.child.pid}/fd")}
        _, second = [number for number in range(len(taken) + 2) if number not in taken][:2]
        resource.prlimit(process.child.pid, resource.RLIMIT_NOFILE, (second, limit[1]))
        with contextlib.ExitStack() as stack:
            reply = request(proxy, "GET", "/", [bearer(token)])
            told = (reply.status, reply.json().get("reason"), reply.headers["retry-after"])
            cases.check(f"{what} for the backend: 503, not 502", told == (503, "overloaded", "1"), reply)
            clients = [stack.enter_context(Client(proxy, token)).ask() for _ in range(20)]
            used = cpu(process)
            time.sleep(3)
            used = cpu(process) - used
            cases.check(f"{what} for clients: {used:.2f} s of CPU in 3 s", used < 0.6, used)
            resource.prlimit(process.child.pid, resource.RLIMIT_NOFILE, limit)
            answers = [client.answer()[0] for client in clients]
            cases.check(f"{what}: who waited is served once there are", set(answers[1:]) == {200}, answers)
        over(cases, what, process, proxy, token, before)


def over(cases, what, process, proxy, token, before):
    again = until(lambda: request(proxy, "GET", "/", [bearer(token)]).status == 200)
    cases.check(f"{what}: then there is service again", again)
    left = until(lambda: files(process) <= before)
    cases.check(f"{what}: no descriptor is left behind", left, (before, files(process)))
    status = process.stop()
    cases.check(f"{what}: and it ends in peace", status == 0, (status, process.logged()))


def idle(process, admin):
    """How many files are open once the connections to the backend that are kept are closed."""
    until(lambda: 'upstream_connections{state="idle"} 0' in request(admin, "GET", "/metrics").text)
    time.sleep(0.5)  # the connection that asked is closed by now
    return files(process)


def raised(cases, about):
    """Starts with fewer files than there might be, and looks at what it and its backend have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (300, hard))
    listen, admin = (f"127.0.0.1:{free_port()}" for _ in range(2))
    backend = 'ulimit -n; exec python3 -m http.server --bind 127.0.0.1 "$PORT"'
    command = [harness.BINARY, "serve", "--listen", listen, "--admin-listen", admin, "--", "sh", "-c", backend]
    env = clean({"CLERK_PUBLISHABLE_KEY": about["publishable_key"]})
    with Process(command, env, preexec_fn=few) as process:
        of_backend = process.line()
        until_ready(process, f"http://{admin}")
        ours = resource.prlimit(process.child.pid, resource.RLIMIT_NOFILE)
    cases.check("the limit of open files is raised to the hard one", ours == (hard, hard), ours)
    cases.check("but not that of a backend that is run here", of_backend == "300\n", of_backend)


def connections(cases, about, backend):
    token = mint(about, exp=int(time.time()) + 600)
    with serve(about, backend, COUNTERSIGN_LIMITS_CONNECTIONS="20") as (_, proxy, _admin):
        with contextlib.ExitStack() as stack:
            twenty = [stack.enter_context(Client(proxy, token)) for _ in range(20)]
            answers = {client.ask().answer()[0] for client in twenty}
            cases.check("20 connections are served", answers == {200}, answers)
            with Client(proxy, token) as late:
                since = time.monotonic()
                status, head = late.ask().answer()
                waited = time.monotonic() - since
            cases.check(f"the 21st waits {waited:.1f} s", 0.9 <= waited < 3, waited)
            cases.check("then 503", status == 503, head)
            told = "retry-after: 1" in head and "connection: close" in head
            cases.check("with Retry-After, and it is closed", told, head)
            with Client(proxy, token) as next:
                next.ask()
                time.sleep(0.3)
                twenty[0].socket.close()
                status, head = next.answer()
            cases.check("a place that becomes free is given to who waits", status == 200, head)


def in_flight(cases, about, backend):
    token = mint(about, exp=int(time.time()) + 600)
    with serve(about, backend, COUNTERSIGN_LIMITS_IN_FLIGHT="4") as (_, proxy, admin):
        with contextlib.ExitStack() as stack:
            backend.go.clear()
            four = [stack.enter_context(Client(proxy, token)).ask("/slow") for _ in range(4)]
            taken = lambda: "countersign_requests_in_flight 4" in request(admin, "GET", "/metrics").text
            cases.check("4 requests are under way", until(taken))
            since = time.monotonic()
            late = request(proxy, "GET", "/", [bearer(token)])
            waited = time.monotonic() - since
            told = (late.status, late.json().get("reason"), late.headers["retry-after"])
            cases.check(f"the fifth waits {waited:.1f} s", 0.9 <= waited < 3, waited)
            cases.check("then 503 with Retry-After", told == (503, "overloaded", "1"), late)
            with Client(proxy, token) as next:
                next.ask()
                time.sleep(0.3)
                backend.go.set()
                status, head = next.answer()
            cases.check("a place that becomes free is given to who waits", status == 200, head)
            answers = {client.answer()[0] for client in four}
            cases.check("and the four are answered", answers == {200}, answers)


def run(cases):
    backend = Backend()
    with demo() as (_, about):
        raised(cases, about)
        connections(cases, about, backend)
        in_flight(cases, about, backend)
        flood(cases, "few files", about, backend)
        log = flood(cases, "few files, many written", about, backend, COUNTERSIGN_LIMITS_CONNECTIONS="1000")
        warned = "limits.connections is 1000, and the limit of open files leaves room for" in log
        cases.check("more connections than files are warned of", warned, log)
        exhaustion(cases, about, backend)


main(run)
