"""The guides of docs/, taken as a reader takes them: each in an empty folder, block by block. A name runs that one.

Before them, what they name is held against the program (`tables.py`, `convex.py`, `oauth2_proxy.py`, `names.py`), and
README.md's first steps are taken (`newcomer.py`; `newcomer` is their name). All of it happens in a network of its own,
where the ports that the guides name are free and nobody else is.
"""

import contextlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import around
import convex
import names
import newcomer
import oauth2_proxy
import tables
from guide import DOCS, blocks, guides, looks_like
from harness import BINARY, START, bearer, clean, demo, have_loopback, main, mint, request
from terminal import Terminal

PROXY, ADMIN = "http://127.0.0.1:4600", "http://127.0.0.1:4601"
EVERY = 0.02  # seconds between two requests of a load
WORDS = 200  # that are read in a minute
CHAPTERS = ["A shared secret", "A key pair"]  # of rotation.md, which are waited for beside the rest
# Debian has the parts of Rails, and no gem of that name over them.
GEMS_OF_DEBIAN = "%w[railties activemodel].each { |name| gem name }"
# What a guide cannot know.
PLACEHOLDERS = {"pk_test_…": "publishable_key", "eyJ…": "token"}


def alone():
    """Starts this run again in a network of its own, where that can be had."""
    if os.environ.get("GUIDES_ALONE"):
        have_loopback()
        return
    unshare = [shutil.which("unshare") or "/usr/bin/unshare", "--net"]
    root = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    os.execve(unshare[0], [*unshare, *root, sys.executable, *sys.argv], os.environ | {"GUIDES_ALONE": "1"})


class Reader:
    """Reads one guide in an empty folder, and does what it says."""

    def __init__(self, cases, path, issuer, chapter=None):
        self.cases, self.name, self.issuer = cases, path.stem, issuer
        self.blocks = blocks(path, chapter)
        self.terminals, self.printed = [], ""

    def __enter__(self):
        self.home = tempfile.TemporaryDirectory(prefix=f"{self.name}-")
        self.folder, self.bin = (pathlib.Path(self.home.name) / name for name in ("folder", "bin"))
        self.folder.mkdir()
        self.bin.mkdir()
        (self.bin / "countersign").symlink_to(pathlib.Path(BINARY).resolve())
        return self

    def __exit__(self, kind, *_):
        for terminal in reversed(self.terminals):
            terminal.close()
            if kind:
                print(f"--- a terminal of {self.name}\n{terminal.logged()}", file=sys.stderr)
        self.home.cleanup()

    def environment(self):
        """A reader's: no settings, and packages from beside this file instead of from a registry."""
        wheels = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(HERE / ".wheels")}
        pinned = {"PIP_CONSTRAINT": str(HERE / "requirements.txt"), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        quiet = {"RUBYOPT": "-W0", "HOME": str(self.folder)}
        path = {"PATH": f"{self.bin}:{os.environ['PATH']}"}
        return clean(wheels | pinned | quiet | path)

    def read(self):
        for number, block in enumerate(self.blocks, 1):
            name = f"{self.name}: block {number}"
            if block.name:
                self.write(block)
            elif block.kind == "sh":
                self.follow(name, block)
            elif block.kind == "text":
                self.cases.check(
                    f"{name}: what it shows is printed", looks_like(block.text, self.printed), self.printed[:1000]
                )

    def write(self, block):
        file = self.folder / block.name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(self.filled(block.text))

    def filled(self, text):
        text = text.replace("/path/to/the/new/countersign", str(pathlib.Path(BINARY).resolve()))
        for placeholder, field in PLACEHOLDERS.items():
            text = text.replace(placeholder, long(self.issuer) if field == "token" else self.issuer[field])
        return text

    def follow(self, name, block):
        if block.says("Ctrl-C"):
            self.interrupt(name)
        if (block.says("terminal") and not block.says("Ctrl-C")) or not self.terminals:
            self.terminals.append(Terminal(self.folder, self.environment()))
        terminal, text = self.terminals[-1], self.filled(block.text)
        if terminal.served:
            self.cases.check(f"{name}: the terminal is free for it", False, terminal.served)
        if block.serves:
            failed = terminal.serve(text)
            self.until_up(name, terminal)
        else:
            self.printed, failed = terminal.paste(text)
            self.adapt()
        held = failed == block.statuses
        self.cases.check(
            f"{name}: {first(text)}",
            held,
            f"statuses {failed}: {self.printed[:1000]} {'' if held else terminal.logged()}",
        )

    def adapt(self):
        """What a fresh Rails application wants has other names here."""
        for gemfile in self.folder.glob("*/Gemfile"):
            gemfile.write_text(
                re.sub(r"^gem ['\"]rails['\"].*$", GEMS_OF_DEBIAN, gemfile.read_text(), flags=re.MULTILINE)
            )

    def interrupt(self, name):
        """The terminal of what serves is the one to go on in."""
        serving = [terminal for terminal in self.terminals if terminal.served][-1]
        what, status = serving.served, serving.interrupt()
        self.cases.check(f"{name}: Ctrl-C ends {what}", status == 0, (status, serving.logged()))
        self.terminals.remove(serving)
        self.terminals.append(serving)

    def until_up(self, name, terminal):
        """Until the proxy is ready, where it is one; else until something has been said or written."""
        deadline = time.monotonic() + START
        while time.monotonic() < deadline:
            if self.is_up(terminal):
                return
            time.sleep(0.05)
        self.cases.check(f"{name}: {terminal.served} comes up", False, terminal.logged())

    def is_up(self, terminal):
        with contextlib.suppress(OSError):
            if terminal.served.startswith("countersign demo"):
                return (self.folder / terminal.served.split()[-1]).stat().st_size > 0
            if terminal.served.startswith("python3 backend.py"):
                return request("http://127.0.0.1:3000", "GET", "/").status
            return request(ADMIN, "GET", "/readyz").status == 200
        return False


def long(issuer):
    """A token that lasts for the longest guide."""
    return mint(issuer, exp=int(time.time()) + 3600)


def first(text):
    """The first line that says anything."""
    line = next(line for line in text.splitlines() if line.strip())
    return line if len(line) < 80 else line[:77] + "…"


def take(cases, path, issuer, chapter=None):
    """Reads a guide, or a chapter of one, with a stopwatch; returns the seconds it took."""
    began = time.monotonic()
    with Reader(cases, path, issuer, chapter) as reader:
        reader.read()
        if reader.name in around.SECRETS:
            around.around(cases, reader, long(issuer))
    took = time.monotonic() - began
    print(f"     {path.relative_to(DOCS)}{': ' + chapter if chapter else ''}: {took:.0f} s", flush=True)
    return took


@contextlib.contextmanager
def load(token):
    """One request after another, from when the proxy first answers; gives what was not answered with 200."""
    ending, bad, count = threading.Event(), [], [0]

    def client():
        while not ending.wait(EVERY):
            try:
                status = request(PROXY, "GET", "/", [bearer(token)]).status
            except OSError as error:
                status = repr(error)
            if status == 200:
                count[0] += 1
            elif count[0]:
                bad.append((count[0], status))

    thread = threading.Thread(target=client)
    thread.start()
    try:
        yield bad, count
    finally:
        ending.set()
        thread.join()


def under_load(cases, path, issuer, chapter):
    """A chapter whose promise is that no request fails meanwhile."""
    reader = Reader(cases, path, issuer, chapter)
    with reader, load(long(issuer)) as (bad, count):
        reader.read()
        seen = list(bad), count[0]  # before the terminals are closed
    bad, count = seen
    cases.check(
        f"{chapter}: {count} requests meanwhile, each verified by the backend", not bad and count > 500, bad[:5]
    )


@contextlib.contextmanager
def beside(chapters):
    """The same run for each chapter of rotation.md, at the same time and in a network of its own; they wait much."""
    environment = {name: value for name, value in os.environ.items() if name != "GUIDES_ALONE"}
    how = {"env": environment, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    command = [sys.executable, str(HERE / "run.py"), "rotation"]
    children = {chapter: subprocess.Popen([*command, chapter], **how) for chapter in chapters}
    try:
        yield children
    finally:
        for child in children.values():
            if child.poll() is None:
                child.terminate()
                child.wait()


def everything(cases, only):
    """What the guides name, and each guide; or one alone."""
    with beside(CHAPTERS if only in (None, "rotation") else []) as children:
        for module in [tables, convex, oauth2_proxy, names] if only is None else []:
            module.run(cases)
        with demo() as (_, issuer):
            if only in (None, "newcomer"):
                newcomer.take(cases, issuer)
            for guide in guides():
                if guide.stem != "rotation" and only in (None, guide.stem):
                    took = take(cases, guide, issuer)
                    if guide.stem == "sidecar":
                        stopwatch(cases, guide, took)
        for chapter, child in children.items():
            print(child.communicate()[0], end="", flush=True)
            cases.check(f"rotation.md: {chapter}", child.returncode == 0, child.returncode)


def stopwatch(cases, guide, took):
    """Ten minutes are promised: what the machine takes, and to read every word of it, code too."""
    words = len(guide.read_text().split())
    minutes = took / 60 + words / WORDS
    cases.check(f"{guide.name}: {minutes:.1f} min, with {words} words read at {WORDS} a minute", minutes < 10)


def end(*_):
    """Told to end; told again, by whoever tells the whole group, it goes on ending what it started."""
    for number in signal.SIGTERM, signal.SIGINT:
        signal.signal(number, signal.SIG_IGN)
    sys.exit(143)


def run(cases):
    for number in signal.SIGTERM, signal.SIGINT:
        signal.signal(number, end)
    alone()
    path, *chapter = sys.argv[1:] or [None]
    if not chapter:
        return everything(cases, path)
    with demo() as (_, issuer):
        under_load(cases, DOCS / "guides" / f"{path}.md", issuer, *chapter)


if __name__ == "__main__":
    main(run)
