"""A proxy before one backend: what is sent to it, and what each of the two then says it saw."""

import contextlib
import dataclasses
import json
import os
import pathlib
import re
import socket
import tempfile
import time

from servers import backend

from harness import bearer, claims_of, mint, request, serve

QUIET = 0.25  # seconds without a byte after which nothing more is waited for
PATIENCE = 10  # seconds for what has to come
SETTINGS = {"COUNTERSIGN_LOG_FORMAT": "json", "COUNTERSIGN_DRAIN_GRACE": "2s", "COUNTERSIGN_TIMEOUTS_RESPONSE": "1s"}
FLAGS = ["--public", "/open/**", "--workers", "1"]  # one worker: what it keeps to the backend is used again at once
ENDED = re.compile(rb"^HTTP/1\.[01] (\d{3})[^\r\n]*\r\n((?:[^\r\n]+\r\n)*)\r\n")


@dataclasses.dataclass
class Outcome:
    """What became of an input: lines of the proxy, records of the backend, answers; then of a clean request."""

    lines: list
    records: list
    answers: list
    was_quiet: bool  # the client left, since nothing came
    clean: list  # what was wrong with the clean requests behind it


class Pair:
    def __init__(self, issuer, process, proxy, admin, records):
        self.log, self.admin, self.records = process.log, admin, records
        self.address = ("127.0.0.1", int(proxy.rpartition(":")[2]))
        self.token = mint(issuer, exp=int(time.time()) + 900)
        self.user = claims_of(self.token)["sub"]
        self.authorization = ": ".join(bearer(self.token)).encode() + b"\r\n"
        self.at, self.rest, self.number = 0, [], 0
        self.reused = self.fresh = 0
        self.outcomes = {}
        self.used = set()

    def tried(self, each, with_token):
        """Sends an input and, over a new connection, two clean requests; gathers what was seen."""
        self.number += 1
        root = "api" if with_token else "open"
        data = each.bytes(b"/%s/%d" % (root.encode(), self.number), self.authorization if with_token else b"")
        answered, ended = self.sent(data, each.leaves)
        if not ended or each.leaves:
            self.until_idle()
        clean, lines, records = self.clean()
        self.used |= {seen["connection"] for seen in records}
        mine, late = [], []
        for seen in records:
            (late if self.is_of_before(seen) else mine).append(seen)
        for seen in late:
            self.outcomes[number_of(seen)].records.append(seen)
        outcome = self.outcomes[self.number] = Outcome(lines, mine, answers(answered), not ended, clean)
        return outcome

    def is_of_before(self, seen):
        """Whether a backend of several threads tells of an input only now that was before this one: of a request
        that was cut short, mostly, which nobody waits for."""
        return number_of(seen) in self.outcomes

    def sent(self, data, leaves):
        """What came back, and whether the proxy ended the connection."""
        answered = b""
        with socket.create_connection(self.address, timeout=QUIET) as client:
            try:
                client.sendall(data)
                if leaves:
                    return answered, False
                while piece := client.recv(65536):
                    answered += piece
                return answered, True
            except TimeoutError:
                return answered, False
            except OSError:
                return answered, True

    def until_idle(self):
        self.until(
            lambda: re.search(r"^countersign_requests_in_flight 0$", request(self.admin, "GET", "/metrics").text, re.M)
        )

    def until(self, reached):
        deadline = time.monotonic() + PATIENCE
        while not (found := reached()):
            if time.monotonic() > deadline:
                return None
            time.sleep(0.002)
        return found

    def clean(self):
        """Two clean requests, which tell their own answers; and what was seen before them."""
        path = f"/open/{self.number}/clean"
        wanted = [("GET", f"{path}/1", ""), ("POST", f"{path}/2", "hello")]
        data = "".join(
            f"{method} {target} HTTP/1.1\r\nHost: p\r\nContent-Length: {len(body)}\r\n{last}\r\n{body}"
            for (method, target, body), last in zip(wanted, ["", "Connection: close\r\n"])
        )
        wrong = []
        with socket.create_connection(self.address, timeout=PATIENCE) as client:
            client.sendall(data.encode())
            answered = b""
            with contextlib.suppress(OSError):
                while piece := client.recv(65536):
                    answered += piece
        came = answers(answered)
        if came != [(200, f"{method} {target}") for method, target, _ in wanted]:
            wrong.append(f"answers to clean requests: {came}")
        lines, ours = self.gathered(self.more_lines, lambda line: line["path"].startswith(path))
        records, theirs = self.gathered(self.records.more, lambda seen: seen["target"].startswith(path))
        told = [(seen["method"], seen["target"], seen["length"], seen["user"]) for seen in theirs]
        if told != [(method, target, len(body), "") for method, target, body in wanted]:
            wrong.append(f"clean requests at the backend: {told}")
        if len(ours) != 2:
            wrong.append(f"clean requests in the access log: {ours}")
        for seen in theirs:
            self.reused += seen["connection"] in self.used
            self.fresh += seen["connection"] not in self.used
        return wrong, lines, records

    def gathered(self, more, is_clean):
        """All there is, once two clean ones are among it; the others, and those."""
        seen = []

        def reached():
            seen.extend(more())
            return sum(map(is_clean, seen)) >= 2

        self.until(reached)
        return [each for each in seen if not is_clean(each)], [each for each in seen if is_clean(each)]

    def more_lines(self):
        """Lines of the access log that came since; read without moving the place at which they are written."""
        number = self.log.fileno()
        read = os.pread(number, os.fstat(number).st_size - self.at, self.at)
        lines, newline, _ = read.rpartition(b"\n")
        self.at += len(lines + newline)
        told = [json.loads(line) for line in lines.splitlines()]
        return [line for line in told if line["target"] == "access"]


def number_of(seen):
    """Of the input that a request is in; None where its target does not say."""
    found = re.match(r"/(?:api|open)/(\d+)", seen.get("target", ""))
    return found and int(found[1])


def answers(data):
    """The statuses on a connection, interim ones left out, each with what the backend says it saw."""
    found = []
    while head := ENDED.match(data):
        status, data = int(head[1]), data[head.end() :]
        headers = dict(line.lower().split(b":", 1) for line in head[2].split(b"\r\n") if line)
        saw = re.search(rb"^x-saw: (.*?)\r$", head[2], re.I | re.M)
        saw = saw and saw[1].decode("latin-1").removesuffix("?")
        if status >= 200:
            found.append((status, saw))
            data = after_body(data, status, headers, saw)
    if data.startswith(b"\0\0"):  # a frame of HTTP/2, asked for by its preface
        data = b""
    return [*found, (0, f"after the last answer: {data[:80]!r}")] if data else found


def after_body(data, status, headers, saw):
    if status in (204, 304) or (saw or "").startswith("HEAD ") or data.startswith(b"HTTP/1."):
        return data
    if b"chunked" in headers.get(b"transfer-encoding", b""):
        while size := int(data.partition(b"\r\n")[0] or b"0", 16):  # nothing, where the answer was broken off
            data = data.partition(b"\r\n")[2][size + 2 :]
        return data.partition(b"\r\n\r\n")[2]
    return data[int(headers.get(b"content-length", 0)) :]


@contextlib.contextmanager
def pair(issuer, name):
    with tempfile.TemporaryDirectory() as folder, backend(name, pathlib.Path(folder)) as (port, records):
        with serve(issuer, "--upstream", f"http://127.0.0.1:{port}", *FLAGS, **SETTINGS) as (process, proxy, admin):
            yield Pair(issuer, process, proxy, admin, records)
