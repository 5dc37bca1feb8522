"""The guides of docs/, taken as a reader takes them: each in an empty folder, block by block.

All of it happens in a network of its own, where the ports that the guides name are free and nobody else is.
"""

import contextlib
import fcntl
import os
import pathlib
import re
import shutil
import socket
import struct
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from guide import DOCS, blocks, guides, looks_like
from harness import BINARY, START, clean, demo, main, mint, request
from terminal import Terminal

SIOCSIFFLAGS, IFF_UP = 0x8914, 1
ADMIN = "http://127.0.0.1:4601"
# Debian has the parts of Rails, and no gem of that name over them.
GEMS_OF_DEBIAN = "%w[railties activemodel].each { |name| gem name }"
# What a guide cannot know.
PLACEHOLDERS = {"pk_test_…": "publishable_key", "eyJ…": "token"}


def alone():
    """Starts this run again in a network of its own, where that can be had."""
    if os.environ.get("GUIDES_ALONE"):
        with socket.socket() as any_socket:
            fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))
        return
    unshare = [shutil.which("unshare") or "/usr/bin/unshare", "--net"]
    root = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    os.execve(unshare[0], [*unshare, *root, sys.executable, *sys.argv], os.environ | {"GUIDES_ALONE": "1"})


class Reader:
    """Reads one guide in an empty folder, and does what it says."""

    def __init__(self, cases, path, issuer):
        self.cases, self.name, self.issuer = cases, path.stem, issuer
        self.blocks = blocks(path)
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix=f"{path.stem}-"))
        bin = self.folder.with_suffix(".bin")
        bin.mkdir()
        (bin / "countersign").symlink_to(pathlib.Path(BINARY).resolve())
        self.bin, self.terminals, self.printed = bin, [], ""

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        for terminal in reversed(self.terminals):
            terminal.close()
            if kind:
                print(f"--- a terminal of {self.name}\n{terminal.logged()}", file=sys.stderr)
        shutil.rmtree(self.folder)
        shutil.rmtree(self.bin)

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
                self.cases.check(f"{name}: what it shows is printed", looks_like(block.text, self.printed), self.printed[:1000])

    def write(self, block):
        file = self.folder / block.name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(self.filled(block.text))

    def filled(self, text):
        for placeholder, field in PLACEHOLDERS.items():
            text = text.replace(placeholder, mint(self.issuer) if field == "token" else self.issuer[field])
        return text

    def follow(self, name, block):
        if block.says("Ctrl-C"):
            self.interrupt(name)
        if block.says("terminal") or not self.terminals:
            self.terminals.append(Terminal(self.folder, self.environment()))
        terminal, text = self.terminals[-1], self.filled(block.text)
        self.cases.check(f"{name}: the terminal is free", not terminal.served, terminal.served)
        if block.serves:
            failed = terminal.serve(text)
            self.until_up(name, terminal)
        else:
            self.printed, failed = terminal.paste(text)
            self.adapt()
        held = failed == block.statuses
        self.cases.check(f"{name}: {first(text)}", held, f"statuses {failed}: {self.printed[:1000]} {'' if held else terminal.logged()}")

    def adapt(self):
        """What a fresh Rails application wants has other names here."""
        for gemfile in self.folder.glob("*/Gemfile"):
            gemfile.write_text(re.sub(r"^gem ['\"]rails['\"].*$", GEMS_OF_DEBIAN, gemfile.read_text(), flags=re.MULTILINE))

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


def first(text):
    """The first line that says anything."""
    line = next(line for line in text.splitlines() if line.strip())
    return line if len(line) < 80 else line[:77] + "…"


def run(cases):
    alone()
    only = sys.argv[1:]
    with demo() as (_, issuer):
        for path in guides():
            if only and path.stem not in only:
                continue
            began = time.monotonic()
            with Reader(cases, path, issuer) as reader:
                reader.read()
            took = time.monotonic() - began
            print(f"     {path.relative_to(DOCS)}: {took:.0f} s", flush=True)


if __name__ == "__main__":
    main(run)
