"""What the subjects share: a proxy before one backend, and programs in Node whose checks are told here."""

import contextlib
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))
from harness import Process, mint, request, serve

LIMIT = 90  # seconds a client gets for all that it does
LASTING = 600  # seconds
# A stream that a failed check left open does not hold up the run.
USUAL = {"COUNTERSIGN_DRAIN_GRACE": "5s"}


class Lane:
    """A proxy before a backend, the demo that issues tokens for it, and where both are."""

    def __init__(self, issuer, process, proxy, admin):
        self.issuer, self.process, self.proxy, self.admin = issuer, process, proxy, admin
        self.address = proxy.partition("://")[2]

    def token(self, **claims):
        """A token that outlives the subject, unless it is asked not to."""
        return mint(self.issuer, **{"exp": int(time.time()) + LASTING} | claims)

    def metric(self, name, **labels):
        """The value of a metric with exactly these labels; None where there is none."""
        return metric(request(self.admin, "GET", "/metrics").text, name, **labels)

    def settled(self, name, value, within=3):
        """What a gauge is once it is `value`, or when the time is over."""
        deadline = time.monotonic() + within
        while (now := self.metric(name)) != value and time.monotonic() < deadline:
            time.sleep(0.02)
        return now


def metric(text, name, **labels):
    for line in text.splitlines():
        found = re.fullmatch(rf"{name}(?:{{(.*)}})? (\S+)", line)
        if found and dict(re.findall(r'(\w+)="([^"]*)"', found[1] or "")) == labels:
            return float(found[2])
    return None


@contextlib.contextmanager
def lane(issuer, upstream, file="", **settings):
    """Runs a proxy before `upstream`, with a file of settings."""
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as written:
        written.write(file)
        written.flush()
        flags = ["--config", written.name, "--upstream", upstream]
        with serve(issuer, *flags, **USUAL | settings) as (process, proxy, admin):
            yield Lane(issuer, process, proxy, admin)


def node(cases, subject, script, **given):
    """Runs a program in Node with what it is `given`; it prints a line of JSON a check."""
    with Process(["node", HERE / script, json.dumps(given)]) as process:
        too_late = threading.Timer(LIMIT, process.child.kill)
        too_late.start()
        try:
            for line in process.child.stdout:
                told = json.loads(line)
                cases.check(f"{subject}: {told['name']}", told["held"], told["seen"])
            status = process.child.wait()
        finally:
            too_late.cancel()
        cases.check(f"{subject}: all of it was tried", status == 0, (status, process.logged()))


def asked(command, within=LIMIT):
    """Runs a client to its end; gives its status and what it said."""
    words = [str(word) for word in command]
    return subprocess.run(words, capture_output=True, text=True, timeout=within)
