"""The verifiers that take a key set (deploy/verify/countersign_ed25519.*), while proxies restart and strangers knock.

A proxy without a secret makes its key when it starts. Its key set goes to the application through a server of ours,
which counts how often it is asked, and can be made to fail.
"""

import contextlib
import http.server
import pathlib
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from harness import Process, bearer, clean, demo, free_port, listens, main, mint, request, serve, serving, url_of
from languages import LANGUAGES
from run import APPS, DERIVED, IDENTITY
from signing import signed

NAMES = [name for name in IDENTITY if name != "x-clerk-user-name"]
PAUSE = 5  # seconds that a verifier leaves between two questions
KNOCKS = 300
PATH = "/.well-known/jwks.json"


class Relay:
    """Hands on the key set of the proxy that there is at the moment."""

    def __init__(self):
        self.admin, self.asked = None, 0

    def answer(self):
        self.asked += 1
        with contextlib.suppress(OSError):
            if self.admin:
                return 200, request(self.admin, "GET", PATH).text
        return 500, "{"


def run(cases):
    with demo() as (_, issuer):
        for language in LANGUAGES:
            if language.name in ("Node", "Python", "Ruby"):
                judged(cases, language, issuer)


def judged(cases, language, issuer):
    relay, name = Relay(), f"{language.name}, a key set"
    with serving(served(relay)) as server, application(language, url_of(server) + PATH) as (process, here):
        if not cases.check(f"{name}: starts while there is no proxy", here, process.logged()):
            return
        for time_ in "a first", "a restarted", "an again restarted":
            with serve(issuer, "--upstream", here) as (_, proxy, admin):
                relay.admin = admin
                good = lambda proxy=proxy: request(proxy, "GET", "/a?b", [bearer(mint(issuer))])
                reply = until_believed(good)
                cases.check(f"{name}: {time_} proxy is believed", reply.status == 200, reply)
                relay.admin = None
                held, most = knocked(relay, here)
                cases.check(f"{name}: strangers are refused", held, process.logged())
                cases.check(f"{name}: and cause no more than a question in {PAUSE} s", most <= 1, most)
                reply = good()
                cases.check(f"{name}: the keys before serve on where it gets none", reply.status == 200, reply)


def until_believed(good):
    """The last answer: 200, or what there was once it must have asked again."""
    deadline = time.monotonic() + 2 * PAUSE
    while (reply := good()).status != 200 and time.monotonic() < deadline:
        time.sleep(0.1)
    return reply


def knocked(relay, here):
    """Whether many requests by keys that nobody has were all refused, and how many questions above one a pause came."""
    told = dict.fromkeys(NAMES, "") | {"x-clerk-user-id": "user_root"}
    lines = told | {"@method": "GET", "@authority": "a.example", "@path": "/"}
    before, began, statuses = relay.asked, time.monotonic(), set()
    for number in range(KNOCKS):
        proof = signed(lines, [*NAMES, *DERIVED], "no secret at all", alg="ed25519", keyid=f"key-{number}")
        statuses.add(request(here, "GET", "/", [("Host", "a.example"), *told.items(), *proof]).status)
    return statuses == {401}, relay.asked - before - int((time.monotonic() - began) / PAUSE)


def served(relay):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            status, text = relay.answer()
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_):
            pass

    return http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)


@contextlib.contextmanager
def application(language, url):
    port = free_port()
    told = {"PORT": str(port), "JWKS_URL": url, "IDENTITY": " ".join(NAMES), "COVER": ""}
    command = language.run.format(apps=APPS, port=port, python=sys.executable)
    with Process(["bash", "-c", f"exec {command}"], clean(told)) as process:
        yield process, f"http://127.0.0.1:{port}" if listens(process, port) else None


if __name__ == "__main__":
    main(run)
