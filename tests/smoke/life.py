"""The life of a real `serve` under load: its issuer rotates, strangers invent keys, its backend dies, it ends."""

import base64
import contextlib
import http.server
import json
import pathlib
import re
import sys
import threading
import time
import urllib.parse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from harness import demo, free_port, main, mint, request, serve

CLIENTS = 8
UNKNOWN_KEYS = 10_000


class Backend(http.server.ThreadingHTTPServer):
    """Answers 200 on a port that stays the same when it is stopped and started again."""

    daemon_threads = True
    request_queue_size = 128

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 65536  # an answer in one piece: half of one, broken off, could be nothing but lost

        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_):
            pass

    def __init__(self, port):
        super().__init__(("127.0.0.1", port), self.Handler)
        self.sockets = set()
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def process_request(self, socket, address):
        self.sockets.add(socket)
        super().process_request(socket, address)

    def handle_error(self, *_):
        """A connection that `kill` broke is none to tell of."""

    def kill(self):
        """Stops listening and breaks what is open, as the end of a process would."""
        self.shutdown()
        self.server_close()
        for socket in self.sockets:
            with contextlib.suppress(OSError):
                socket.shutdown(2)
            socket.close()


class Load:
    """Clients that send one request after the other, each over a connection of its own."""

    def __init__(self, proxy, token):
        self.proxy, self.token = proxy, token
        self.answers, self.refused, self.lost = {}, 0, []
        self.ending = threading.Event()
        self.lock = threading.Lock()
        self.clients = [threading.Thread(target=self.client) for _ in range(CLIENTS)]

    def __enter__(self):
        for client in self.clients:
            client.start()
        self.wait_for(50)
        return self

    def __exit__(self, *_):
        self.ending.set()
        for client in self.clients:
            client.join()

    def client(self):
        while not self.ending.is_set():
            try:
                status = request(self.proxy, "GET", "/", [("Authorization", f"Bearer {self.token()}")]).status
            except ConnectionRefusedError:
                with self.lock:  # nobody listens: nothing was sent, so nothing is lost
                    self.refused += 1
                time.sleep(0.01)
            except Exception as error:
                with self.lock:
                    self.lost.append(repr(error))
            else:
                with self.lock:
                    self.answers[status] = self.answers.get(status, 0) + 1

    def total(self):
        with self.lock:
            return sum(self.answers.values())

    def wait_for(self, more):
        target, deadline = self.total() + more, time.monotonic() + 20
        while self.total() < target:
            if time.monotonic() > deadline:
                raise RuntimeError(f"no answers any more: {self.answers}, lost {self.lost[:3]}")
            time.sleep(0.005)


def metric(admin, line):
    found = re.search(rf"^{re.escape(line)} (\S+)$", request(admin, "GET", "/metrics").text, re.MULTILINE)
    return float(found.group(1)) if found else 0.0


def with_unknown_kid(token, number):
    """The token, naming a key nobody has; its signature is then wrong too, which nobody gets to see."""
    header, rest = token.split(".", 1)
    fields = json.loads(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)))
    fields["kid"] = f"ins_invented{number}"
    return base64.urlsafe_b64encode(json.dumps(fields).encode()).rstrip(b"=").decode() + "." + rest


def rotation(cases, about, proxy):
    tokens = [mint(about, exp=int(time.time()) + 600)]
    with Load(proxy, lambda: tokens[-1]) as load:
        url = urllib.parse.urlsplit(about["rotate_url"])
        request(f"http://{url.netloc}", "POST", url.path)
        tokens.append(mint(about, exp=int(time.time()) + 600))
        load.wait_for(500)
    cases.check("a key rotated under load: no good request refused", set(load.answers) == {200}, load.answers)
    cases.check("a key rotated under load: none lost", not load.lost, load.lost[:3])


def unknown_keys(cases, about, proxy, admin):
    good = mint(about, exp=int(time.time()) + 600)
    fetches = lambda: sum(
        metric(admin, f'countersign_jwks_refreshes_total{{issuer="{about["issuer"]}",result="{result}"}}')
        for result in ("ok", "unchanged", "error")
    )
    before, started, numbers, refused = fetches(), time.monotonic(), iter(range(UNKNOWN_KEYS)), {}
    lock = threading.Lock()

    def stranger():
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            status = request(proxy, "GET", "/", [("Authorization", f"Bearer {with_unknown_kid(good, number)}")]).status
            with lock:
                refused[status] = refused.get(status, 0) + 1

    strangers = [threading.Thread(target=stranger) for _ in range(CLIENTS)]
    with Load(proxy, lambda: good) as load:
        for thread in strangers:
            thread.start()
        for thread in strangers:
            thread.join()
    took, made = time.monotonic() - started, fetches() - before
    allowed = 2 + took / 10  # the first at once, then one per 10 s, and one that was due anyway
    cases.check(f"{UNKNOWN_KEYS} unknown keys in {took:.0f} s: {made:.0f} fetches", made <= allowed, made)
    cases.check("unknown keys: each refused", refused == {401: UNKNOWN_KEYS}, refused)
    cases.check("unknown keys: good tokens unharmed", set(load.answers) == {200} and not load.lost, load.answers)


def backend_away(cases, about, proxy, backend, port):
    token = mint(about, exp=int(time.time()) + 600)
    with Load(proxy, lambda: token) as load:
        backend.kill()
        load.wait_for(200)
        away = dict(load.answers)
        backend = Backend(port)
        load.wait_for(CLIENTS * 2)
        before = dict(load.answers)
        load.wait_for(200)
        after = {status: count - before.get(status, 0) for status, count in load.answers.items()}
    cases.check("the backend away: 502 and nothing else", set(away) == {200, 502}, away)
    cases.check("the backend back: no 502 any more", after.get(502, 0) == 0 and after.get(200, 0) > 0, after)
    cases.check("the backend away and back: none lost", not load.lost, load.lost[:3])


def ending(cases, about, process, proxy):
    token = mint(about, exp=int(time.time()) + 600)
    with Load(proxy, lambda: token) as load:
        process.child.terminate()
        status = process.child.wait(30)
    cases.check("SIGTERM under load: ends with 0", status == 0, status)
    cases.check("SIGTERM under load: every answer is one of the backend's", set(load.answers) == {200}, load.answers)
    cases.check(f"SIGTERM under load: none of {load.total()} lost", not load.lost, load.lost[:3])


def run(cases):
    port = free_port()
    backend = Backend(port)
    upstream = f"http://127.0.0.1:{port}"
    with demo() as (_, about):
        settings = {"COUNTERSIGN_LOG_ACCESS": "false", "COUNTERSIGN_WORKERS": "2"}
        with serve(about, "--upstream", upstream, **settings) as (process, proxy, admin):
            rotation(cases, about, proxy)
            unknown_keys(cases, about, proxy, admin)
            backend_away(cases, about, proxy, backend, port)
            ending(cases, about, process, proxy)


main(run)
