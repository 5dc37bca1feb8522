"""Server-sent events, from a backend of HTTP/1.1 and from one of HTTP/2."""

from lane import lane, node

from harness import claims_of, free_port


def run(cases, issuer):
    for backend in "http", "h2c":
        port = free_port()
        with lane(issuer, f"{backend}://127.0.0.1:{port}") as proxy:
            token = proxy.token()
            given = {"url": proxy.proxy, "token": token, "user": claims_of(token)["sub"]}
            node(cases, f"EventSource, {backend}", "events.mjs", port=port, backend=backend, **given)
