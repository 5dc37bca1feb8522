"""Proxies with traffic of every kind, good days and bad: what there is to be seen."""

import base64
import concurrent.futures
import contextlib
import http.server
import json
import pathlib
import subprocess
import time

from harness import bearer, demo, forged, free_port, mint, request, serve, serving, url_of

PARTY = "http://localhost:3000"  # of the demo's tokens
SETTINGS = f"""
stream_lifetime = "token"
clerk.authorized_parties = ["{PARTY}"]
limits.in_flight = 4
timeouts.response = "1s"

[[route]]
path = "/public/**"
access = "public"

[[route]]
name = "administrators"
path = "/admin/**"
role = "org:owner"

[[route]]
path = "/sessions/**"
session = "active"

[[route]]
path = "/trial/**"
mode = "report"
"""


class Backend(http.server.BaseHTTPRequestHandler):
    """Answers by the last part of the path."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        match self.path.rpartition("/")[2]:
            case "broken":
                self.close_connection = True  # without a word
            case "late":
                time.sleep(1.5)  # past `timeouts.response`
            case "slow":
                time.sleep(0.4)
                self.answer(200)
            case "events":
                self.events()
            case status if status.isdigit():
                self.answer(int(status))
            case _:
                time.sleep(0.002)
                self.answer(200)

    def answer(self, status):
        self.send_response(status)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def events(self):
        """A stream that ends when the other side has enough of it."""
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        with contextlib.suppress(OSError):
            for _ in range(200):
                self.wfile.write(b": still there\n\n")
                time.sleep(0.1)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        """The proxy leaves where the backend is late."""


def backend():
    """On every address of this network, of which there is only loopback's."""
    return serving(Server(("0.0.0.0", 0), Backend))


class Scene:
    """Four proxies: `busy` has all the traffic, `broken` and `lonely` nothing goes well for, and `leaving` ends."""

    def __init__(self, issuer, busy, broken, lonely, leaving):
        self.issuer = issuer
        self.busy, self.busy_admin = busy[1:]
        self.broken_settings, self.broken_admin = broken
        self.lonely, self.lonely_admin = lonely[1:]
        self.leaving, _, self.leaving_admin = leaving
        self.pool = concurrent.futures.ThreadPoolExecutor(16)

    def spoil_settings(self):
        self.broken_settings.write_text("listen = 5\n")

    def round(self):
        """One of each."""
        token = mint(self.issuer)
        for _ in range(20):
            self.get("/orders", bearer(token))
        for headers in self.credentials(token):
            self.get("/orders", *headers)
        for path in "/public/x", "/admin/x", "/sessions/x", "/orders/404", "/orders/500", "/orders/slow":
            self.get(path, bearer(token))
        self.get("/orders//x", bearer(token))
        self.get("/trial/x")
        self.loop(6)
        self.pool.submit(self.get, "/orders/late", bearer(token))
        self.pool.submit(self.get, "/orders/broken", bearer(token))
        self.pool.submit(self.get, "/orders/events", bearer(mint(self.issuer, exp=int(time.time()) + 2)))
        for path in "/orders", "/sessions/x", "/sessions/x":
            self.pool.submit(request, self.lonely, "GET", path, [bearer(mint(self.issuer))])

    def crowd(self):
        """More at a time than `limits.in_flight`, for long enough that nobody's second is over in time."""
        token = mint(self.issuer)
        for call in [self.pool.submit(self.get, "/orders/late", bearer(token)) for _ in range(12)]:
            call.result()

    def credentials(self, token):
        yield ()
        yield (("Authorization", "Bearer junk"),)
        yield bearer(forged(token)), ("X-Clerk-User-Id", "user_root"), ("Connection", "X-Odd"), ("X-Odd", "1")
        yield (bearer(of_another_key(token)),)
        yield (bearer(mint(self.issuer, exp=int(time.time()) - 60)),)
        yield (bearer(mint(self.issuer, azp="https://elsewhere.example")),)
        for _ in range(6):
            yield (bearer(mint(self.issuer, azp=None)),)
        yield bearer(token), bearer(token)
        yield bearer(token), ("X-Forwarded-User", "root")

    def loop(self, times):
        """A browser that comes back from Clerk as it went, for the fourth time."""
        old = mint(self.issuer, exp=int(time.time()) - 60)
        cookies = f"__session={old}; __client_uat=1; __clerk_db_jwt=dvb_1"
        page = [("Host", "localhost:3000"), ("Accept", "text/html"), ("Sec-Fetch-Dest", "document")]
        for count in [0, 1, 2] + [3] * times:
            self.get("/", *page, ("Cookie", f"{cookies}; __clerk_redirect_count={count}"))

    def get(self, path, *headers):
        return request(self.busy, "GET", path, headers)


def of_another_key(token):
    head, rest = token.split(".", 1)
    header = json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4))) | {"kid": "ins_nobodys"}
    return base64.urlsafe_b64encode(json.dumps(header).encode()).decode().rstrip("=") + "." + rest


@contextlib.contextmanager
def scene(directory):
    directory = pathlib.Path(directory)
    nobody = f"http://127.0.0.1:{free_port()}"
    settings, broken = directory / "busy.toml", directory / "broken.toml"
    settings.write_text(SETTINGS)
    broken.write_text('readiness = "listening"\n')
    certificate, key = certificate_of_today(directory)
    with contextlib.ExitStack() as started:
        _, issuer = started.enter_context(demo())
        upstream = url_of(started.enter_context(backend()))
        clerk = {"CLERK_SECRET_KEY": issuer["secret_key"]}
        run = lambda *arguments, **known: started.enter_context(serve(issuer, *arguments, **known))
        busy = run("--config", settings, "--upstream", upstream, CLERK_API_URL=issuer["issuer"], **clerk)
        lonely = run("--config", settings, "--upstream", nobody, CLERK_API_URL=nobody, **clerk)
        leaving = run("--upstream", upstream)
        tls = {"COUNTERSIGN_TLS_CERTIFICATE_FILE": certificate, "COUNTERSIGN_TLS_KEY_FILE": key}
        ill = run("--config", broken, "--upstream", upstream, "--jwks-url", f"{nobody}/jwks.json", **tls)
        yield Scene(issuer, busy, (broken, ill[2]), lonely, leaving)


def certificate_of_today(directory):
    certificate, key = directory / "tls.crt", directory / "tls.key"
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"]
    made += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate]
    subprocess.run(made, check=True, stderr=subprocess.DEVNULL)
    return str(certificate), str(key)
