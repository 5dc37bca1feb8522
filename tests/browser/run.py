#!/usr/bin/env python3
"""What scripts of two pages can read through the proxy, asked of a real browser.

One page is of an authorized party: it reads the backend's answer, and of a refusal its status and
reason, so that it can sign its user in again. The other page is nobody's: the browser shows it
nothing at all. The backend answers preflights itself, as one that sits behind no proxy does.

Python's standard library and `chromium` (CHROMIUM names another).
"""

import contextlib
import html
import http.server
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import urllib.parse

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from harness import demo, forged, main, mint, serve

CHROMIUM = os.environ.get("CHROMIUM") or "chromium"
# No sandbox, as CI is root in a container; the rest keeps it from calling its makers.
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --virtual-time-budget=15000 --dump-dom"
).split()
UNREADABLE = {"threw": "TypeError"}


class Quiet(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, kind, text, headers=()):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Page(Quiet):
    def do_GET(self):
        if self.path.startswith("/page?"):
            self.answer(200, "text/html", (HERE / "page.html").read_text())
        else:
            self.answer(404, "text/plain", "")


class Backend(Quiet):
    """Lets scripts of `server.party` call it, and remembers every preflight and every call."""

    def allowed(self):
        if self.headers.get_all("origin") != [self.server.party]:
            return []
        return [
            ("Access-Control-Allow-Origin", self.server.party),
            ("Access-Control-Allow-Credentials", "true"),
            ("Access-Control-Allow-Headers", "authorization"),
            ("Vary", "Origin"),
        ]

    def do_OPTIONS(self):
        self.server.preflights.append(dict(self.headers.items()) | {"body": self.rfile.read(self.length()).decode()})
        self.answer(204 if self.allowed() else 403, "text/plain", "", self.allowed())

    def do_GET(self):
        self.server.calls.append(self.headers["x-clerk-principal"])
        caller = json.dumps({"user": self.headers["x-clerk-user-id"]})
        self.answer(200, "application/json", caller, self.allowed())

    def length(self):
        return int(self.headers.get("content-length", 0))


def run(cases):
    with listening(Page) as party, listening(Page) as stranger, listening(Backend) as backend:
        backend.party, backend.preflights, backend.calls = origin(party), [], []
        flags = ["--upstream", f"http://127.0.0.1:{backend.server_port}", "--authorized-party", origin(party)]
        with demo() as (_, about), serve(about, *flags) as (_, proxy, _):
            look(cases, party, stranger, backend, about, proxy)


def look(cases, party, stranger, backend, about, proxy):
    user = "user_2aBcDeFgHiJkLmNoPqRsTuVwXyZ"
    good = mint(about, sub=user, azp=origin(party))
    # A good token, but got by a script of another page.
    lifted = mint(about, sub=user, azp=origin(stranger))
    asked = {"api": f"{proxy}/whoami", "good": good, "bad": forged(good), "lifted": lifted}

    seen = visit(party, asked)
    whoami = seen["good"].get("status"), seen["good"].get("body")
    cases.check("a party's page, a good token: reads who it is", whoami == (200, {"user": user}), seen["good"])
    bad = seen["bad"]
    cases.check("a party's page, a bad token: reads the status", bad.get("status") == 401, bad)
    reason = bad.get("reason")
    cases.check("a party's page, a bad token: reads the reason", reason == "token-invalid-signature", bad)
    challenged = "invalid_token" in (bad.get("challenge") or "")
    cases.check("a party's page, a bad token: reads the challenge", challenged, bad)
    cases.check("a party's page, a bad token: reads the request's id", bad.get("request"), bad)
    lifted = seen["lifted"].get("status"), seen["lifted"].get("reason")
    wrong = 401, "token-invalid-authorized-parties"
    cases.check("a party's page, a lifted token: reads the reason", lifted == wrong, seen["lifted"])
    for name in "none", "cookie":
        told = seen[name].get("status"), seen[name].get("reason")
        expected = 401, "dev-browser-missing"  # an instance for development asks for its browser first
        cases.check(f"a party's page, {name}: reads that nobody is signed in", told == expected, seen[name])

    heads = [{name.lower(): value for name, value in head.items()} for head in backend.preflights]
    cases.check("preflights reach the backend", len(heads) >= 1, heads)
    anonymous = all(head.get("x-clerk-principal") == "anonymous" and not head.get("x-clerk-user-id") for head in heads)
    cases.check("preflights are anonymous to it", anonymous, heads)
    bare = all(not head["body"] and not head.keys() & {"authorization", "cookie"} for head in heads)
    cases.check("preflights bring no body, no token, no cookies", bare, heads)

    before = len(backend.calls)
    cases.check("only the good call of the party's page reached the backend", before == 1, backend.calls)
    seen = visit(stranger, asked)
    for name in "good", "bad", "lifted", "none", "cookie":
        cases.check(f"a stranger's page, {name}: reads nothing", seen[name] == UNREADABLE, seen[name])
    cases.check("a stranger's page: none of its calls reached the backend", len(backend.calls) == before, backend.calls)


@contextlib.contextmanager
def listening(handler):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def origin(server):
    return f"http://localhost:{server.server_port}"


def visit(server, asked):
    """Opens the page in a browser that has never been used, and returns what its script could read."""
    with tempfile.TemporaryDirectory() as profile:
        url = f"{origin(server)}/page?{urllib.parse.urlencode(asked)}"
        command = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", url]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    found = re.search(r'<pre id="results">(.*?)</pre>', done.stdout, re.DOTALL)
    if not found or found[1] == "pending":
        raise RuntimeError(f"the page did not come to its end: {done.stdout[-1500:]} {done.stderr[-1500:]}")
    return json.loads(html.unescape(found[1]))


main(run)
