"""Servers people run, behind the proxy: every kind of body and of answer, over HTTP/1.1 and HTTP/2."""

import contextlib
import hashlib
import os
import pathlib
import socket
import tempfile

import backends
import websockets.exceptions
import websockets.sync.client
from curl import VERSIONS, Curl
from lane import lane, node

from harness import bearer, claims_of, free_port, request

MIB = 1 << 20
LARGE = 10 * MIB
# How each is started, by name; and the scheme it is reached by.
SERVERS = {
    "Node http": ("http", backends.node("http")),
    "Node http2": ("h2c", backends.node("h2c")),
    "uvicorn with h11": ("http", backends.uvicorn("h11")),
    "uvicorn with httptools": ("http", backends.uvicorn("httptools")),
    "hypercorn": ("http", backends.hypercorn),
    "hypercorn, h2c": ("h2c", backends.hypercorn),
}
NGINX = {"nginx": ("http", backends.nginx()), "nginx, h2c": ("h2c", backends.nginx(http2=True))}
# Breaks its whole connection where a piece of a body comes after the answer (a KeyError in hypercorn 0.18).
BRITTLE = ["hypercorn, h2c"]
ASGI_SOCKETS = ["uvicorn with h11", "uvicorn with httptools", "hypercorn"]


def run(cases, issuer):
    with tempfile.TemporaryDirectory() as folder:
        large = pathlib.Path(folder, "large")
        large.write_bytes(os.urandom(LARGE))
        for name, (scheme, start) in (SERVERS | NGINX).items():
            port = free_port()
            with lane(issuer, f"{scheme}://127.0.0.1:{port}") as proxy:
                with start(port):
                    for version, flag in VERSIONS.items():
                        client = Curl(proxy.proxy, proxy.token(), folder, flag)
                        subject = f"{name}, asked over HTTP/{version}"
                        answers(cases, subject, client, version)
                        (files if name in NGINX else bodies)(cases, subject, client, large)
                        if version == "1.1" and name not in BRITTLE:
                            early(cases, subject, client, large)
                    if name in SERVERS:
                        duplex(cases, name, proxy)
                    can = {"echoes": name in SERVERS, "trailers": name.startswith("Node"), "early": name not in BRITTLE}
                    node(cases, f"{name}, Node's HTTP/2", "multiplex.mjs", url=proxy.proxy, token=proxy.token(), **can)
                    if name in ASGI_SOCKETS:
                        a_socket(cases, name, proxy)
                restart(cases, name, proxy, lambda: start(port))


def answers(cases, subject, client, version):
    user = claims_of(client.token)["sub"]
    answer = client.ask("/hello")
    held = answer.is_good(200, version) and answer.body == b"hello" and answer.header("x-user") == [user]
    cases.check(f"{subject}: GET, as who calls", held, answer)
    answer = client.ask("/hello", "--head")
    held = answer.is_good() and answer.header("content-length") == ["5"] and answer.measured["size_download"] == 0
    cases.check(f"{subject}: HEAD", held, answer)
    answer = client.ask("/nothing")
    cases.check(f"{subject}: 204", answer.is_good(204) and not answer.body, answer)
    reuse(cases, subject, client, version)


def reuse(cases, subject, client, version):
    """Connections to the backend are kept, by each of the proxy's two threads."""
    if version == "1.1":
        answer = client.ask("/hello?n=[1-20]")
        connections, most, good = answer.header("x-connection"), 1, answer.is_good()
    else:  # this curl cannot use a connection of HTTP/2 again that began by prior knowledge
        answers = [client.ask("/hello") for _ in range(8)]
        connections, most = sum((answer.header("x-connection") for answer in answers), []), 2
        good = all(answer.is_good() for answer in answers)
    held = good and len(connections) in (8, 20) and len(set(connections)) <= most
    cases.check(f"{subject}: connections to it are kept", held, connections)


def bodies(cases, subject, client, large):
    sha256 = hashlib.sha256(large.read_bytes()).hexdigest()
    answer = client.ask("/unchanged", "--header", 'If-None-Match: "v1"')
    cases.check(f"{subject}: 304", answer.is_good(304) and answer.header("etag") == ['"v1"'], answer)
    answer = client.ask("/length", "--request", "POST", "--upload-file", large)
    expected = {"declared": str(LARGE), "total": LARGE, "sha256": sha256}
    cases.check(f"{subject}: POST of a known length", answer.is_good() and answer.json() == expected, answer)
    answer = client.ask(
        "/length", "--request", "POST", "--header", "Transfer-Encoding: chunked", "--data-binary", f"@{large}"
    )
    held = answer.is_good() and answer.json() == expected | {"declared": "none"}
    cases.check(f"{subject}: POST of {LARGE // MIB} MiB in pieces", held, answer)
    answer = client.ask("/length", "--request", "POST", "--data", "")
    held = answer.is_good() and answer.json().get("total") == 0
    cases.check(f"{subject}: POST of nothing", held, answer)
    answer = client.ask(f"/bytes?n={LARGE}")
    cases.check(f"{subject}: {LARGE // MIB} MiB down", answer.is_good() and answer.body.count(b"a") == LARGE, answer)
    answer = client.ask("/slow")
    first, last = answer.measured.get("time_starttransfer", 9), answer.measured.get("time_total", 0)
    held = answer.is_good() and answer.body == b"onetwothree" and last - first > 0.35
    cases.check(f"{subject}: an answer in pieces comes in pieces", held, answer)


def files(cases, subject, client, large):
    answer = client.ask("/files/large", "--upload-file", large)
    cases.check(f"{subject}: PUT of a known length", answer.status in (201, 204) and answer.ended == 0, answer)
    answer = client.ask("/files/pieces", "--header", "Transfer-Encoding: chunked", "--upload-file", large)
    cases.check(f"{subject}: PUT in pieces", answer.status in (201, 204) and answer.ended == 0, answer)
    for name in "large", "pieces":
        answer = client.ask(f"/files/{name}")
        cases.check(f"{subject}: GET of /files/{name}", answer.is_good() and answer.body == large.read_bytes(), answer)
    [tag], [date] = (answer.header(name) or ["none"] for name in ("etag", "last-modified"))
    answer = client.ask("/files/pieces", "--header", f"If-None-Match: {tag}")
    cases.check(f"{subject}: 304 by its tag", answer.is_good(304) and not answer.body, answer)
    answer = client.ask("/files/pieces", "--header", f"If-Modified-Since: {date}")
    cases.check(f"{subject}: 304 by its date", answer.is_good(304) and not answer.body, answer)
    answer = client.ask("/files/pieces", "--range", "5-14")
    cases.check(f"{subject}: a range", answer.is_good(206) and answer.body == large.read_bytes()[5:15], answer)


def early(cases, subject, client, large):
    """An answer that comes while the body is on its way, which would take five seconds."""
    slowly = ["--limit-rate", "2M", "--header", "Expect:", "--request", "POST", "--upload-file", large]
    answers = [client.ask("/early", *slowly) for _ in range(10)]
    wrong = [answer for answer in answers if answer.status != 413 or answer.measured["time_total"] > 3]
    cases.check(f"{subject}: an early answer comes early, ten times", not wrong, (len(wrong), wrong[:1]))
    answer = client.ask("/hello")
    cases.check(
        f"{subject}: and the next request is as good as any", answer.is_good() and answer.body == b"hello", answer
    )


def duplex(cases, name, proxy):
    """Each piece is sent once the one before it has come back."""
    host, _, port = proxy.address.partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as stream, stream.makefile("rb") as answer:
        head = [
            "POST /echo HTTP/1.1",
            f"Host: {proxy.address}",
            ": ".join(bearer(proxy.token())),
            "Transfer-Encoding: chunked",
        ]
        stream.sendall("\r\n".join([*head, "", ""]).encode())
        back = []
        with contextlib.suppress(OSError, ValueError):
            for at in range(20):
                stream.sendall(b"6\r\npart%02d\r\n" % at)
                if not back:
                    status = answer.readline()
                    while answer.readline() not in (b"\r\n", b""):
                        pass
                back.append(answer.read(int(answer.readline(), 16)))
                answer.readline()
            stream.sendall(b"0\r\n\r\n")
            back.append(answer.readline())
    held = back == [*(b"part%02d" % at for at in range(20)), b"0\r\n"]
    cases.check(f"{name}: each piece of a body comes back before the next is sent", held, (back[-2:], status))


def a_socket(cases, name, proxy):
    url = f"ws://{proxy.address}/socket"
    show = {"additional_headers": dict([bearer(proxy.token())]), "proxy": None, "open_timeout": 5}
    sent, back = ["text ☃", b"\x00\xff", *(f"number {at}" for at in range(500)), bytes(MIB)], []
    with contextlib.suppress(websockets.exceptions.WebSocketException, TimeoutError):
        with websockets.sync.client.connect(url, **show, max_size=None) as client:
            for message in sent:
                client.send(message)
                back.append(client.recv(timeout=5))
    cases.check(f"{name}: a WebSocket, with PyPI's websockets", back == sent, (len(back), back[:3]))
    try:
        with websockets.sync.client.connect(url, proxy=None, open_timeout=5):
            seen = "open"
    except websockets.exceptions.InvalidStatus as error:
        seen = error.response.status_code
    cases.check(f"{name}: a WebSocket without a token: 401", seen == 401, seen)


def restart(cases, name, proxy, start):
    """The backend is gone, and comes again; connections that are kept to it are no trap."""
    with start():
        before = [ask(proxy).status for _ in range(3)]
    down = ask(proxy)
    with start():
        after = [ask(proxy).status for _ in range(3)]
    held = before == [200] * 3 and after == [200] * 3
    cases.check(f"{name}: is started again, and again: every answer is good", held, (before, after))
    told = (down.status, down.json().get("reason"))
    cases.check(f"{name}: is down: 502", told == (502, "upstream-unreachable"), down)


def ask(proxy):
    return request(proxy.proxy, "GET", "/hello", [bearer(proxy.token())])
