"""One round of one row: the same request again and again, and what it cost the proxy."""

import dataclasses
import json
import os
import pathlib
import re
import subprocess
import tempfile
import threading

import kernel
from programs import HERE, LOAD_CORE, on  # which knows where `harness` is
from harness import bearer, forged
from harness import request as ask

PATIENCE = 20  # seconds that a round may take beyond its time
HTTP2_CONNECTIONS = 4


class Unexpected(Exception):
    """A round whose answers were not all what they should be: it has no figures."""


@dataclasses.dataclass
class Round:
    """What a round came to. Without a proxy there is no `cpu_us` and no memory."""

    requests: int
    rate: float
    p50_us: float
    p99_us: float
    cpu_us: float | None = None
    resident_kib: int | None = None


@dataclasses.dataclass(frozen=True)
class Request:
    """What is sent, over how many connections, and what is answered."""

    path: str = "/"
    headers: tuple = ()
    body: int = 0
    connections: int = 32
    http2: bool = False
    rate: int = 0  # requests a second over each connection; 0: the next as soon as there is an answer
    tokens: pathlib.Path | None = None  # a file of them, each for one request
    status: int = 200
    cores: tuple = (LOAD_CORE,)  # where it comes from

    @property
    def tool(self):
        return h2load if self.http2 or self.rate else wrk


def round_of(request, port, program, seconds):
    """Sends `request` to `port` for so long, and reads what `program` used for it; None where there is none."""
    before = program and program.cpu()
    with Watched(program) as watched:
        taken = request.tool(request, port, seconds)
    if not taken.requests:
        raise Unexpected("no request was answered")
    if program:
        taken.cpu_us = kernel.spent(before, program.cpu()) / 1e3 / taken.requests
        taken.resident_kib = watched.most
    return taken


class Watched:
    """Looks at a program's memory meanwhile, a few times a second; keeps the most it saw."""

    def __init__(self, program):
        self.program, self.most, self.over = program, 0, threading.Event()
        self.thread = threading.Thread(target=self.watch)

    def watch(self):
        while self.program and not self.over.wait(0.2):
            self.most = max(self.most, self.program.resident())

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


def probe(request, port, verifies):
    """Sends it once and looks at the answer more closely than under load; where tokens are verified, a forged one too."""
    if request.http2:
        return  # h2load tells the status of each answer
    headers = list(request.headers)
    if request.tokens:
        with request.tokens.open() as lines:
            headers.append(bearer(lines.readline().strip()))
    method, body = ("POST", b"x" * request.body) if request.body else ("GET", None)
    expect(ask(f"http://127.0.0.1:{port}", method, request.path, headers, body), request.status)
    if verifies:
        token = dict(headers)["Authorization"].partition(" ")[2]
        expect(ask(f"http://127.0.0.1:{port}", method, request.path, [bearer(forged(token))], body), 401)


def expect(answer, status):
    if answer.status != status:
        raise Unexpected(f"{answer.status} instead of {status}: {answer.text[:300]}")


def wrk(request, port, seconds):
    settings = {"BODY": str(request.body)} | ({"TOKENS": str(request.tokens)} if request.tokens else {})
    how = [f"-t{threads(request)}", f"-c{request.connections}", f"-d{seconds}s", "--timeout=10s"]
    command = ["wrk", *how, f"--script={HERE}/wrk.lua"]
    text = ran([*command, *flags(request), f"http://127.0.0.1:{port}{request.path}"], request, seconds, settings)
    told = json.loads(text.splitlines()[-1])
    others = told["refused"] if request.status < 400 else told["requests"] - told["refused"]
    if others or told["broken"]:
        raise Unexpected(f"{others} answers were no {request.status}, {told['broken']} did not come")
    return Round(told["requests"], told["requests"] / told["seconds"], told["p50_us"], told["p99_us"])


def h2load(request, port, seconds):
    """Without percentiles of its own it writes a line a request: start, status, microseconds."""
    how = [f"-c{HTTP2_CONNECTIONS}", f"-m{request.connections // HTTP2_CONNECTIONS}"]
    if not request.http2:
        how = ["--h1", f"-c{request.connections}", f"--rps={request.rate}"]
    with tempfile.NamedTemporaryFile() as log:
        command = ["h2load", "-t1", *how, f"-D{seconds}", f"--log-file={log.name}", *flags(request)]
        text = ran([*command, f"http://127.0.0.1:{port}{request.path}"], request, seconds)
        lines = [line.split("\t") for line in log.read().decode().splitlines()]
    others = sum(status != str(request.status) for _, status, _ in lines)
    failed = sum(int(count) for count in re.findall(r"(\d+) (?:failed|errored|timeout)", text))
    if others or failed:
        raise Unexpected(f"{others} answers were no {request.status}, {failed} did not come")
    took = sorted(int(line[2]) for line in lines)
    return Round(len(took), len(took) / seconds, took[len(took) // 2], took[len(took) * 99 // 100])


def flags(request):
    return [word for name, value in request.headers for word in ("-H", f"{name}: {value}")]


def threads(request):
    """As many as there are cores for them; each would send all of the tokens that are for one request."""
    return 1 if request.tokens else min(len(request.cores), request.connections)


def ran(command, request, seconds, settings=()):
    """What a program wrote. It shares its core with the backend, and is ended where it takes too long."""
    with on(*request.cores):
        how = {"capture_output": True, "text": True, "timeout": seconds + PATIENCE}
        done = subprocess.run(command, env=os.environ | dict(settings), **how)
    if done.returncode:
        raise Unexpected(f"{command[0]} ended with {done.returncode}: {(done.stderr or done.stdout)[-300:]}")
    return done.stdout
