"""WebSockets: all that goes over them, and how they end when their token or the proxy does."""

import contextlib
import http.client
import threading
import time

from lane import lane, metric, node

from harness import claims_of, forged, free_port, request

LEEWAY = 1  # seconds
GRACE = 4
SHORT = 3


def run(cases, issuer):
    for subject, asked, settings in [
        ("ws", False, {}),
        ("ws, token in the protocols", True, {"COUNTERSIGN_WEBSOCKET_PROTOCOL_TOKEN": "true"}),
    ]:
        port = free_port()
        with lane(issuer, f"http://127.0.0.1:{port}", **settings) as proxy:
            token = proxy.token()
            given = {"token": token, "forged": forged(token), "user": claims_of(token)["sub"]}
            node(cases, subject, "sockets.mjs", port=port, url=url(proxy), protocolToken=asked, **given)
            open_ones = proxy.settled("countersign_connections", 0)
            cases.check(f"{subject}: nothing is left open", open_ones == 0, open_ones)
    lifetime(cases, issuer)
    drain(cases, issuer)


def url(proxy):
    return f"ws://{proxy.address}"


def lifetime(cases, issuer):
    settings = {"COUNTERSIGN_STREAM_LIFETIME": "token", "COUNTERSIGN_CLERK_LEEWAY": f"{LEEWAY}s"}
    port = free_port()
    with lane(issuer, f"http://127.0.0.1:{port}", **settings) as proxy:
        expires = int(time.time()) + SHORT
        tokens = {"short": proxy.token(exp=expires), "long": proxy.token()}
        given = {"expires": expires, "leeway": LEEWAY, **tokens}
        node(cases, "ws, lifetime", "sockets_end.mjs", way="lifetime", port=port, url=url(proxy), **given)
        ended = proxy.metric("countersign_streams_ended_total", cause="lifetime")
        cases.check("ws, lifetime: it is counted, once", ended == 1, ended)


def drain(cases, issuer):
    port = free_port()
    with lane(issuer, f"http://127.0.0.1:{port}", COUNTERSIGN_DRAIN_GRACE=f"{GRACE}s") as proxy:
        with LastMetrics(proxy.admin) as metrics:
            given = {"pid": proxy.process.child.pid, "grace": GRACE, "long": proxy.token()}
            node(cases, "ws, drain", "sockets_end.mjs", way="drain", port=port, url=url(proxy), **given)
            status = proxy.process.child.wait(GRACE + 5)
        cases.check("ws, drain: it ends with 0", status == 0, status)
        ended = metric(metrics.text, "countersign_streams_ended_total", cause="drain")
        cases.check("ws, drain: it is counted", ended == 1, metrics.text and ended)


class LastMetrics:
    """Reads the metrics again and again, up to the last time that there were any."""

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
