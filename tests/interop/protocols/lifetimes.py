"""How streams end that the proxy ends: when their token does, or when the proxy itself does."""

import contextlib
import http.client
import tempfile
import threading
import time

import backends
import grpc
from curl import VERSIONS, Curl
from grpc_peers import Backend, Client
from lane import lane, metric, node

from harness import free_port, request

SHORT = 3  # seconds a token is good for
LEEWAY = 1
GRACE = 4
AS_THE_TOKEN = {"COUNTERSIGN_STREAM_LIFETIME": "token", "COUNTERSIGN_CLERK_LEEWAY": f"{LEEWAY}s"}


def run(cases, issuer):
    sockets(cases, issuer)
    events(cases, issuer)
    calls(cases, issuer)
    drain(cases, issuer)


def sockets(cases, issuer):
    port = free_port()
    with lane(issuer, f"http://127.0.0.1:{port}", **AS_THE_TOKEN) as proxy:
        expires = soon()
        given = {"expires": expires, "leeway": LEEWAY, "short": proxy.token(exp=expires), "long": proxy.token()}
        node(cases, "ws, lifetime", "sockets_end.mjs", way="lifetime", port=port, url=f"ws://{proxy.address}", **given)
        counted(cases, "ws, lifetime", proxy)


def events(cases, issuer):
    port = free_port()
    with tempfile.TemporaryDirectory() as folder, backends.node("http")(port):
        for version, flag in VERSIONS.items():
            with lane(issuer, f"http://127.0.0.1:{port}", **AS_THE_TOKEN) as proxy:
                expires = soon()
                client = Curl(proxy.proxy, proxy.token(exp=expires), folder, flag, "--no-buffer")
                answer = client.ask("/endless")
                past = time.time() - expires
                held = answer.status == 200 and b"tick" in answer.body and in_time(past)
                cases.check(f"events, lifetime, HTTP/{version}: as long as the token", held, (past, answer))
                counted(cases, f"events, lifetime, HTTP/{version}", proxy)


def calls(cases, issuer):
    port = free_port()
    with Backend(port), lane(issuer, f"h2c://127.0.0.1:{port}", **AS_THE_TOKEN) as proxy:
        with grpc.insecure_channel(proxy.address) as channel:
            expires = soon()
            stream = Client(channel, proxy.token(exp=expires)).streaming(
                "unary_stream", "Count", b"500 10 50", timeout=30
            )
            got = 0
            with contextlib.suppress(grpc.RpcError):
                for _ in stream:
                    got += 1
            past = time.time() - expires
        held = got > 10 and in_time(past) and stream.code() is not grpc.StatusCode.OK
        cases.check(f"gRPC, lifetime: as long as the token: {stream.code().name}", held, (past, got, stream.details()))
        counted(cases, "gRPC, lifetime", proxy)


def soon():
    return int(time.time()) + SHORT


def in_time(past):
    """Whether something ended at the end of the token, which may be that of the leeway."""
    return -0.1 < past < LEEWAY + 1.5


def counted(cases, subject, proxy):
    ended = proxy.metric("countersign_streams_ended_total", cause="lifetime")
    cases.check(f"{subject}: it is counted, once", ended == 1, ended)


def drain(cases, issuer):
    port = free_port()
    with lane(issuer, f"http://127.0.0.1:{port}", COUNTERSIGN_DRAIN_GRACE=f"{GRACE}s") as proxy:
        with LastMetrics(proxy.admin) as metrics:
            given = {"pid": proxy.process.child.pid, "grace": GRACE, "long": proxy.token()}
            node(cases, "ws, drain", "sockets_end.mjs", way="drain", port=port, url=f"ws://{proxy.address}", **given)
            status = proxy.process.child.wait(GRACE + 5)
        cases.check("ws, drain: it ends with 0", status == 0, status)
        ended = metric(metrics.text, "countersign_streams_ended_total", cause="drain")
        cases.check("ws, drain: it is counted", ended == 1, (ended, len(metrics.text)))


class LastMetrics:
    """Reads the metrics again and again, up to the last time that there are any."""

    def __init__(self, admin):
        self.admin, self.text, self.over = admin, "", threading.Event()
        self.reader = threading.Thread(target=self.read)

    def __enter__(self):
        self.reader.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.reader.join()

    def read(self):
        while not self.over.wait(0.02):
            with contextlib.suppress(OSError, http.client.HTTPException):
                self.text = request(self.admin, "GET", "/metrics").text or self.text
