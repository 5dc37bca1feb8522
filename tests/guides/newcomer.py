"""README.md's first steps as a newcomer takes them: an empty folder, each command pasted as it stands, a stopwatch.

Every block of its first three chapters has a step here, in their order. A block that has none, or a command in the
words between that is in no block, is a failed case, unless `NOT_RUN` says why it is left out. Replaced are a key
(`PLACEHOLDERS`), a page's `getToken()` (`fetch`) and `cargo` (`CARGO`: the program has been built), and nothing else.
"""

import contextlib
import itertools
import json
import os
import pathlib
import re
import shlex
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from guide import chapter_of
from harness import BINARY, ROOT, START, bearer, clean, mint, request
from terminal import Terminal

README = ROOT / "README.md"
CHAPTERS = ["See it work", "Put it before your backend", "Read the identity"]
WORDS = 200  # that are read in a minute
PROXY, ADMIN, BACKEND = "http://127.0.0.1:4600", "http://127.0.0.1:4601", "http://127.0.0.1:3000"
PAGE = "http://localhost:5173"  # the front end of README.md
LAST_OF_DEMO = "| grep countersign_requests_total\n"
ADA = "user_2xHq6uHb8KkM3nQs5VxY7zCeGjR"  # whom the demo's tokens name

# What README.md cannot know, and whence it is here: by its name in what `countersign demo --json` prints.
PLACEHOLDERS = {"pk_test_…": "publishable_key"}

# A command between blocks: what begins with one of these words, or has it behind a Procfile's name for it.
COMMAND = re.compile(r"(?:\w+: )?(?:cargo|countersign|demo) \S")
# What is shown and not run here.
NOT_RUN = {
    "cargo test": "it builds, and is a step of .ci/run",
    "web: countersign serve -- npm start": "a line of a Procfile: docs/guides/local-development.md has one that is run",
}

# `cargo` for what README.md asks of it, and for nothing else. It builds nothing: what it would build is built before
# these runs (deploy/build, or `cargo build --release`), and how long that takes is no matter of the words on the page.
PROGRAM = shlex.quote(str(pathlib.Path(BINARY).resolve()))
CARGO = f"""#!/bin/sh
case "$*" in
"run --release -- "*) shift 3; exec {PROGRAM} "$@" ;;
"install --path .") exec ln -s {PROGRAM} "$(dirname "$0")/countersign" ;;
esac
echo "no cargo here that could: $*" >&2
exit 101
"""

# A front end's folder beside a backend: where `init` finds the key, the port of README.md and the pages' origin.
APP = {
    ".env": "PORT=3000\n",
    "web/.env.local": "VITE_CLERK_PUBLISHABLE_KEY=pk_test_…\n",
    "web/package.json": '{"scripts": {"dev": "vite"}, "devDependencies": {"vite": "7"}}',
}

# A backend before it verifies anything; README.md's Python takes the place of this, as it stands.
BELIEVES = """
def caller(headers, method, target, secret):
    return headers["x-clerk-user-id"], headers["x-clerk-org-role"], headers["x-clerk-org-permissions"].split(", ")
"""
# What is around it: a server that says whom it was told of, and 401 where that is not to be believed.
SERVER = """
import base64, http.server, json, pathlib

class Backend(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        headers = {name.lower(): ", ".join(self.headers.get_all(name)) for name in self.headers}
        key = pathlib.Path("signing.key")
        secret = base64.b64decode(key.read_text().removeprefix("base64:")) if key.exists() else b""
        try:
            status, told = 200, caller(headers, self.command, self.path, secret)
        except (PermissionError, KeyError) as error:
            status, told = 401, repr(error)
        body = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

http.server.ThreadingHTTPServer(("127.0.0.1", 3000), Backend).serve_forever()
"""


class Newcomer:
    """Has two terminals, one that serves and one to ask in, and a backend in a third; pastes what README.md shows."""

    def __init__(self, cases, issuer):
        self.cases, self.issuer = cases, issuer
        self.took = 0

    def __enter__(self):
        self.home = tempfile.TemporaryDirectory(prefix="newcomer-")
        self.folder, self.app, self.bin = (pathlib.Path(self.home.name) / name for name in ("empty", "app", "bin"))
        for folder in self.folder, self.app, self.bin:
            folder.mkdir()
        cargo = self.bin / "cargo"
        cargo.write_text(CARGO)
        cargo.chmod(0o755)
        for name, text in APP.items():
            file = self.app / name
            file.parent.mkdir(exist_ok=True)
            file.write_text(self.filled(text))
        self.serving, self.asking = (Terminal(self.folder, self.environment()) for _ in range(2))
        self.backend = Terminal(self.app, self.environment())
        return self

    def __exit__(self, kind, *_):
        for terminal in self.serving, self.asking, self.backend:
            terminal.close()
            if kind:
                print(f"--- a terminal of the newcomer\n{terminal.logged()}", file=sys.stderr)
        self.home.cleanup()

    def environment(self):
        return clean({"PATH": f"{self.bin}:{os.environ['PATH']}", "HOME": str(self.folder)})

    def filled(self, text):
        for placeholder, field in PLACEHOLDERS.items():
            text = text.replace(placeholder, self.issuer[field])
        return text

    def check(self, name, held, seen=None):
        return self.cases.check(f"README.md: {name}", held, seen)

    def timed(self, text, deed):
        """Does it; returns what it gives, and the command with the seconds until it was answered or ready."""
        began = time.monotonic()
        given = deed()
        took = time.monotonic() - began
        self.took += took
        return given, f"{took:.2f} s: {shortened(text)}"

    def run(self, text):
        """Pastes what ends by itself; returns what it printed."""
        (printed, failed), name = self.timed(text, lambda: self.asking.paste(self.filled(text)))
        self.check(name, not failed, f"statuses {failed}: {printed[:1000]}")
        return printed

    def serve(self, text, is_up):
        """Pastes what serves, after Ctrl-C where something does."""
        self.end()
        start = lambda: (self.serving.serve(self.filled(text)), until(is_up))
        (failed, up), name = self.timed(text, start)
        self.check(name, up and not failed, f"statuses {failed}: {self.serving.logged()}")

    def end(self):
        if self.serving.served:
            status, name = self.timed("Ctrl-C", self.serving.interrupt)
            self.check(f"{name} ends it", status == 0, (status, self.serving.logged()))

    def answers(self, code):
        """Starts the application's backend with this code, anew where it was up."""
        if self.backend.served:
            self.backend.interrupt()
        (self.app / "backend.py").write_text(code + SERVER)
        self.backend.serve("python3 backend.py")
        until(lambda: reaches(BACKEND))

    def get(self, path="/orders", *headers):
        return request(PROXY, "GET", path, headers)

    def token(self, page=PAGE):
        return mint(self.issuer, azp=page)

    # The steps, each with the text of its block.

    def demonstrate(self, text):
        """Has the demo print its lines; returns them."""
        said = len(self.serving.logged(None))
        log = lambda: self.serving.logged(None)[said:]
        self.serve(text, lambda: LAST_OF_DEMO in log())
        return re.findall(r"^  (curl .*)$", log(), re.MULTILINE)

    def demo(self, text):
        lines = self.demonstrate(text)
        if self.check(f"it prints {len(PRINTED)} lines to paste", len(lines) == len(PRINTED), lines):
            for line, (name, held) in zip(lines, PRINTED.items()):
                seen = self.run(line)
                self.check(name, held(seen), seen)

    def demo_before(self, text):
        """The demo's token is let through to a backend of one's own."""
        self.answers(BELIEVES)
        good = next(line for line in self.demonstrate(text) if "eyJ" in line)
        seen = self.run(good)
        self.check("the demo's token reaches a backend of ours", read(seen) and read(seen)[0] == ADA, seen)
        self.end()

    def install(self, text):
        self.run(text)
        self.run("countersign --version")

    def proxy(self, text):
        self.serve(text, ready)
        self.admits("by flags")

    def init(self, text):
        self.end()
        for terminal in self.serving, self.asking:
            terminal.paste(f"cd {shlex.quote(str(self.app))}")
        self.serve(text, ready)
        self.admits("by init")

    def fetch(self, text):
        """In a page's place: Node.js, and in the place of Clerk's `getToken()` a token that one printed."""
        script = self.app / "page.mjs"
        lines = f"const getToken = async () => {json.dumps(self.token())}\nconst answer = {text}"
        script.write_text(lines + "console.log(JSON.stringify([answer.status, await answer.json()]))\n")
        seen = self.run(f"node {script.name}")
        self.check("a page's fetch: 200, and the backend knows who", seen.startswith("[200,") and ADA in seen, seen)

    def child(self, text):
        self.serve(text, ready)
        reply = self.get("/", bearer(self.token()))
        self.check("its own backend: 200 with a token", reply.status == 200 and "countersign.toml" in reply.text, reply)
        self.check("its own backend: 401 without one", self.get("/").status == 401)

    def looked_at(self, text):
        seen = self.run(text)
        self.check("the settings as understood", 'upstream.url               = "http://127.0.0.1:3000"' in seen, seen)
        strict = self.run(text.rstrip("\n") + " --strict")
        self.check("no warning, by --strict either", "warning:" not in seen + strict, strict)

    def signing(self, text):
        self.serve(text, ready)

    def verifies(self, text):
        self.answers(text)
        reply = self.get("/orders?page=2", bearer(self.token()))
        user, role, permissions = reply.json() if reply.status == 200 else (None, None, [])
        held = user == ADA and role == "org:admin" and "org:teams:read" in permissions
        self.check("the backend believes a signed request", held, reply)
        direct = request(BACKEND, "GET", "/orders", [("x-clerk-user-id", "root")])
        self.check("and nobody who gets around the proxy", direct.status == 401, direct)
        self.end()

    def admits(self, how):
        """What README.md says of its first line: who has a token of that page gets through, nobody else."""
        nobody = self.get()
        told = nobody.status == 401 and nobody.json().get("reason") == "dev-browser-missing"
        self.check(f"{how}: 401 without a token, and why", told, nobody)
        ada = self.get("/orders", bearer(self.token()))
        self.check(f"{how}: 200 with one", ada.status == 200 and ada.json()[0] == ADA, ada)
        forged = self.get("/orders", bearer(self.token()), ("X-Clerk-User-Id", "root"))
        self.check(f"{how}: whatever it says of itself", forged.status == 200 and "root" not in forged.text, forged)
        stranger = self.get("/orders", bearer(self.token("http://localhost:9")))
        self.check(f"{how}: 401 with one of another page", stranger.status == 401, stranger)


# What each line that the demo prints is to answer, in their order.
PRINTED = {
    "no token: 401, and why": lambda seen: " 401 " in seen and '"reason":"dev-browser-missing"' in seen,
    "a token: the backend sees who calls, and that the signature verified": lambda seen: verified(seen, ADA),
    "forged headers are gone": lambda seen: verified(seen, ADA) and "root" not in seen,
    "another user": lambda seen: verified(seen, "user_2"),
    "nobody on a public path": lambda seen: verified(seen, ""),
    "a new key": lambda seen: re.fullmatch(r"ins_\w+", seen.strip()),
    "all of it was counted": lambda seen: counted(seen) == {"allowed": 3, "anonymous": 1, "rejected": 1},
}

# A block's first words, and what the newcomer does with it. In the order of README.md.
STEPS = [
    ("cargo run --release -- demo", Newcomer.demo),
    ("cargo run --release -- demo --upstream ", Newcomer.demo_before),
    ("cargo install ", Newcomer.install),
    ("CLERK_PUBLISHABLE_KEY=pk_test_… countersign serve --upstream ", Newcomer.proxy),
    ("countersign init", Newcomer.init),
    ("await fetch(", Newcomer.fetch),
    ("CLERK_PUBLISHABLE_KEY=pk_test_… countersign serve -- ", Newcomer.child),
    ("countersign check ", Newcomer.looked_at),
    ("countersign keygen ", Newcomer.signing),
    ("import ", Newcomer.verifies),
]


def steps():
    """What README.md has for a newcomer, in its order: blocks, and commands that are in none of them."""
    text = "".join(chapter_of(README, name) for name in CHAPTERS)
    pieces = list(re.finditer(r"^```\w+\n(.*?)^```$|`([^`\n]+)`", text, re.MULTILINE | re.DOTALL))
    blocks = [match[1] for match in pieces if match[1]]
    if text.count("```") != 2 * len(blocks):
        raise RuntimeError("README.md has a fence that is no block to this run")
    said = lambda words: COMMAND.match(words) and not any(words in block for block in blocks)
    return [match[1] or match[2] for match in pieces if match[1] or said(match[2])]


def take(cases, issuer):
    """Takes the steps; a block of README.md that has none here ends it, as does one that is no longer there."""
    todo = [text for text in steps() if text.strip() not in NOT_RUN]
    for text, why in NOT_RUN.items():
        print(f"     README.md: not run: {text} ({why})", flush=True)
    cases.check("README.md: what is not run is in it", len(steps()) - len(todo) == len(NOT_RUN), NOT_RUN)
    with Newcomer(cases, issuer) as newcomer:
        for text, (begins, step) in itertools.zip_longest(todo, STEPS, fillvalue=("", None)):
            known = step and text and text.startswith(begins)
            if not cases.check(f"README.md: next is `{begins}…`", known, text):
                return
            step(newcomer, text)
    words = sum(len(chapter_of(README, name).split()) for name in CHAPTERS)
    minutes = newcomer.took / 60 + words / WORDS
    # As long as docs/guides/sidecar.md promises; the first build is not in it, which README.md says takes minutes.
    took = f"{newcomer.took:.1f} s of commands; {minutes:.1f} min with {words} words read at {WORDS} a minute"
    cases.check(f"README.md: {took}", minutes < 10)


def read(text):
    with contextlib.suppress(ValueError):
        return json.loads(text)


def verified(seen, user):
    echo = read(seen) or {}
    return echo.get("signature", {}).get("verified") is True and echo["identity"]["x-clerk-user-id"] == user


def counted(seen):
    """How many requests, by what became of them."""
    sums = {}
    for decision, count in re.findall(r'^countersign_requests_total\{.*decision="(\w+)".*\} (\d+)$', seen, re.M):
        sums[decision] = sums.get(decision, 0) + int(count)
    return {decision: count for decision, count in sums.items() if count}


def reaches(base, path="/"):
    with contextlib.suppress(OSError):
        return request(base, "GET", path).status
    return None


def until(holds):
    """Whether it comes to hold before the time of a start is over."""
    deadline = time.monotonic() + START
    while not (held := holds()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return held


def ready():
    return reaches(ADMIN, "/readyz") == 200


def shortened(text):
    line = "; ".join(text.strip().splitlines())
    line = re.sub(r"eyJ[\w.-]{20,}", "eyJ…", line)
    return line if len(line) < 100 else line[:97] + "…"
