"""A name server that says nothing: a `serve` that waits for it ends all the same when it is told to.

Linux, as root or where anybody may make namespaces: the run has a network and a resolv.conf of its own.
"""

import base64
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from harness import BINARY, Process, clean, have_loopback, main

AT_ONCE = 3  # seconds; the system asks a name server for ten


def alone():
    """Starts this run again in namespaces of its own, unless it is there already."""
    if "SMOKE_ALONE" in os.environ:
        have_loopback()
        return
    apart = [shutil.which("unshare") or "/usr/bin/unshare", "--net", "--mount"]
    apart += [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    os.execve(apart[0], [*apart, sys.executable, *sys.argv], os.environ | {"SMOKE_ALONE": "1"})


def run(cases):
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as ours, socket.socket(type=socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 53))
        ours.write("nameserver 127.0.0.1\n")
        ours.flush()
        subprocess.run(["mount", "--bind", ours.name, os.path.realpath("/etc/resolv.conf")], check=True)
        key = "pk_live_" + base64.b64encode(b"clerk.unanswered.example$").decode()
        with Process([BINARY, "serve", "--upstream", "http://127.0.0.1:1"], clean({"CLERK_PUBLISHABLE_KEY": key})) as process:
            silent.settimeout(20)
            cases.check("the name server is asked", silent.recv(512))
            began = time.monotonic()
            status = process.stop()
            took = time.monotonic() - began
            cases.check("it ends with 0", status == 0, (status, process.logged()))
            cases.check("and at once", took < AT_ONCE, f"{took:.1f} s")


alone()
main(run)
