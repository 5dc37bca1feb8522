"""curl: HTTP/2 by prior knowledge and by ALPN, large bodies, `Expect: 100-continue`, trailers."""

import hashlib
import json
import os
import pathlib
import re
import tempfile

import backends
from certificates import Certificate
from lane import asked, lane

from harness import bearer, free_port

MIB = 1 << 20
LARGE = 50 * MIB
VERSIONS = {"1.1": "--http1.1", "2": "--http2-prior-knowledge"}


class Curl:
    """Asks one proxy, with a token unless told otherwise."""

    def __init__(self, base, token, folder, *always):
        self.base, self.token, self.always = base, token, always
        self.body, self.heads = (pathlib.Path(folder, name) for name in ("body", "heads"))

    def ask(self, path, *how, token=...):
        token = self.token if token is ... else token
        shown = ["--header", ": ".join(bearer(token))] if token else []
        command = ["curl", "--silent", "--show-error", "--max-time", "40", *self.always, *shown, *how]
        command += ["--output", self.body, "--dump-header", self.heads, "--write-out", "%{json}\n"]
        self.body.write_bytes(b"")
        return Answer(self, asked([*command, self.base + path]))


class Answer:
    """What came: the last of its `heads`, the body, and what curl measured."""

    def __init__(self, curl, done):
        self.ended, self.error = done.returncode, done.stderr.partition("\n")[0]
        self.seen = [json.loads(line) for line in done.stdout.splitlines()]
        self.measured = self.seen[-1] if self.seen else {}
        self.status, self.version = self.measured.get("http_code"), self.measured.get("http_version")
        self.heads = curl.heads.read_text(errors="replace")
        self.body = curl.body.read_bytes()

    def header(self, name):
        """Every value of a header, of all heads and of the trailers."""
        return re.findall(rf"^{name}: (.*?)\r?$", self.heads, re.IGNORECASE | re.MULTILINE)

    def json(self):
        return json.loads(self.body or b"{}")

    def is_good(self, status=200, version=None):
        return self.ended == 0 and self.status == status and version in (None, self.version)

    def __repr__(self):
        timing = {name: value for name, value in self.measured.items() if name.startswith(("time_", "size_"))}
        return (
            f"{self.ended} {self.error} HTTP/{self.version} {self.status} {self.heads!r} {self.body[:200]!r} {timing}"
        )


def run(cases, issuer):
    with tempfile.TemporaryDirectory() as folder:
        for kind in "http", "h2c":
            port = free_port()
            with backends.node(kind)(port), lane(issuer, f"{kind}://127.0.0.1:{port}") as proxy:
                for version, flag in VERSIONS.items():
                    client = Curl(proxy.proxy, proxy.token(), folder, flag)
                    subject = f"curl, HTTP/{version}, {kind} behind"
                    large_bodies(cases, subject, client, version, folder)
                    trailers(cases, subject, client, version)
                if kind == "http":
                    plain(cases, proxy, folder)
                    expectation(cases, proxy, folder)
        over_tls(cases, issuer, folder)


def large_bodies(cases, subject, client, version, folder):
    large = pathlib.Path(folder, "large")
    large.write_bytes(os.urandom(MIB) * (LARGE // MIB))
    sha256 = hashlib.sha256(large.read_bytes()).hexdigest()
    answer = client.ask("/length", "--request", "POST", "--upload-file", large)
    whole = answer.is_good(200, version) and answer.json()["sha256"] == sha256
    cases.check(f"{subject}: {LARGE // MIB} MiB up", whole, answer)
    answer = client.ask(f"/bytes?n={LARGE}")
    whole = answer.is_good(200, version) and len(answer.body) == LARGE and answer.body.count(b"a") == LARGE
    cases.check(f"{subject}: {LARGE // MIB} MiB down", whole, answer)


def trailers(cases, subject, client, version):
    answer = client.ask("/trailers", "--header", "TE: trailers")
    held = answer.is_good(200, version) and answer.body == b"with trailers" and answer.header("x-sum") == ["13"]
    cases.check(f"{subject}: trailers", held, answer)


def plain(cases, proxy, folder):
    client = Curl(proxy.proxy, proxy.token(), folder, "--http2")
    answer = client.ask("/hello")
    cases.check(
        "curl: an upgrade to h2c: answered as HTTP/1.1", answer.is_good(200, "1.1") and answer.body == b"hello", answer
    )
    client = Curl(proxy.proxy, proxy.token(), folder, "--http2-prior-knowledge")
    answer = client.ask("/hello", token=None)
    told = answer.is_good(401, "2") and answer.json().get("reason") == "dev-browser-missing"
    cases.check(
        "curl, HTTP/2: without a token",
        told and answer.header("www-authenticate") == ['Bearer realm="countersign"'],
        answer,
    )


def expectation(cases, proxy, folder):
    client = Curl(proxy.proxy, proxy.token(), folder, "--http1.1", "--expect100-timeout", "10")
    upload = ["--header", "Expect: 100-continue", "--request", "POST", "--upload-file", pathlib.Path(folder, "large")]
    answer = client.ask("/length", *upload)
    statuses = re.findall(r"^HTTP/1.1 (\d+)", answer.heads, re.MULTILINE)
    held = answer.is_good() and statuses == ["100", "200"] and answer.json()["total"] == LARGE
    cases.check("curl: Expect: 100-continue: 100, then 200", held, answer)
    answer = client.ask("/length", *upload, token=None)
    statuses = re.findall(r"^HTTP/1.1 (\d+)", answer.heads, re.MULTILINE)
    sent = answer.measured.get("size_upload")
    cases.check("curl: Expect without a token: 401, no 100, nothing is sent", (statuses, sent) == (["401"], 0), answer)


def over_tls(cases, issuer, folder):
    port = free_port()
    with Certificate("localhost") as certificate, backends.node("http")(port):
        files = {"certificate": certificate.chain, "key": certificate.key}
        tls = {f"COUNTERSIGN_TLS_{name.upper()}_FILE": str(file) for name, file in files.items()}
        for subject, settings, offered, version in [
            ("TLS, --http2", {}, ["--http2"], "2"),
            ("TLS 1.2, --http2", {}, ["--http2", "--tls-max", "1.2"], "2"),
            ("TLS, --http1.1", {}, ["--http1.1"], "1.1"),
            ("TLS, --no-alpn", {}, ["--no-alpn"], "1.1"),
            ("TLS, --http2, with http2 = false", {"COUNTERSIGN_HTTP2": "false"}, ["--http2"], "1.1"),
        ]:
            with lane(issuer, f"http://127.0.0.1:{port}", **tls, **settings) as proxy:
                believed = ["--cacert", certificate.authority, *offered]
                client = Curl(f"https://{proxy.address}", proxy.token(), folder, *believed)
                answer = client.ask("/hello")
                cases.check(
                    f"curl, {subject}: HTTP/{version}", answer.is_good(200, version) and answer.body == b"hello", answer
                )
                answer = client.ask("/hello", token=None)
                cases.check(f"curl, {subject}: without a token", answer.is_good(401, version), answer)
