"""What is measured: a table of rows, in groups. Each is held against HAProxy forwarding HTTP in its group."""

import dataclasses

from load import Request
from proxies import AFRESH, ASSERTION, BODY, ED25519, ENVOY_AFRESH, HMAC
from tokens import cookies

PLAIN = "HAProxy: forwards HTTP"
NONE = "no proxy"


@dataclasses.dataclass(frozen=True)
class Row:
    group: str
    label: str
    proxy: str
    port: str
    request: Request
    verifies: bool = False  # a forged token is 401

    @property
    def name(self):
        return f"{self.group} / {self.label}"

    @property
    def baseline(self):
        return f"{self.group} / {PLAIN}"


def rows(token, many):
    """All rows, those that leave most behind in memory last. `many` is a file of tokens."""
    bearer = ("Authorization", f"Bearer {token}")
    known, none = Request(headers=(bearer,)), Request()
    fresh, cookie = Request(tokens=many), Request(headers=(("Cookie", cookies(token)),))
    group = "GET, 48 bytes, 32 connections"
    yield Row(group, NONE, NONE, "HTTP", known)
    yield Row(group, "HAProxy: relays TCP", "HAProxy", "TCP", known)
    yield Row(group, PLAIN, "HAProxy", "HTTP", known)
    yield Row(group, "Countersign: known token, HMAC", HMAC, "HTTP", known, True)
    yield Row(group, "Countersign: known token, Ed25519", ED25519, "HTTP", known, True)
    yield Row(group, "Countersign: known token, assertion", ASSERTION, "HTTP", known, True)
    yield Row(group, "Countersign: known token in cookies", HMAC, "HTTP", cookie)
    yield Row(group, "Countersign: public route", HMAC, "HTTP", dataclasses.replace(none, path="/public"))
    yield Row(group, "Countersign: refused, no token", HMAC, "HTTP", dataclasses.replace(none, status=401))
    yield Row(group, "nginx: forwards HTTP", "nginx", "HTTP", known)
    yield Row(group, "Envoy: forwards HTTP", "Envoy", "HTTP", known)
    yield Row(group, "Envoy: jwt_authn with cache, known token", "Envoy", "CACHED", known, True)
    yield Row(group, "Envoy: jwt_authn, known token", "Envoy", "JWT", known, True)
    yield Row(group, "Envoy: jwt_authn with cache, token never seen", ENVOY_AFRESH, "CACHED", fresh, True)
    yield Row(group, "HAProxy: jwt_verify, known token", "HAProxy", "JWT", known, True)
    yield Row(group, "HAProxy: jwt_verify, token never seen", "HAProxy", "JWT", fresh, True)
    yield Row(group, "Countersign: token never seen", AFRESH, "HTTP", fresh, True)
    yield from of_each("GET, 48 bytes, 32 connections × 100 requests/s", dataclasses.replace(known, rate=100))
    yield from of_each("GET, 64 KiB answered, 32 connections", dataclasses.replace(known, path="/64k"))
    yield from of_each("POST, 64 KiB sent, 32 connections", dataclasses.replace(known, path="/upload", body=BODY))
    yield from of_each("GET, 48 bytes, 1 connection", dataclasses.replace(known, connections=1))
    yield from of_each("HTTP/2, GET, 48 bytes, 4 × 8 streams", dataclasses.replace(known, http2=True))
    yield from of_each("GET, 48 bytes, 1,000 connections", dataclasses.replace(known, connections=1000))


def of_each(group, request):
    """The same of every proxy: all forward, and ours verifies and signs."""
    port = "H2" if request.http2 else "HTTP"
    yield Row(group, PLAIN, "HAProxy", port, request)
    yield Row(group, "Countersign: known token, HMAC", HMAC, port, request, True)
    yield Row(group, "nginx: forwards HTTP", "nginx", port, request)
    yield Row(group, "Envoy: forwards HTTP", "Envoy", port, request)
