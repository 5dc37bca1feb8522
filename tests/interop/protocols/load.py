"""h2load before nginx: many requests at once over few connections, and none of them lost."""

import re

import backends
from lane import asked, lane

from harness import bearer, free_port

STATUSES = re.compile(r"^status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", re.MULTILINE)
OUTCOMES = re.compile(r"^requests: .* (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", re.MULTILINE)
MANY = 20_000
SOME = 5_000


def run(cases, issuer):
    for kind in "http", "h2c":
        port = free_port()
        with backends.nginx(kind == "h2c")(port), lane(issuer, f"{kind}://127.0.0.1:{port}") as proxy:
            subject = f"h2load, {kind} behind"
            token = ["--header", ": ".join(bearer(proxy.token()))]
            all_good(
                cases, f"{subject}: {MANY} over 10 connections of 20 streams", proxy, MANY, ["-c10", "-m20", *token]
            )
            all_good(cases, f"{subject}: {SOME} over 50 connections of HTTP/1.1", proxy, SOME, ["-c50", "--h1", *token])
            statuses, _, said = loaded(proxy, 1000, ["-c10", "-m20"])
            cases.check(f"{subject}: 1000 without a token: 401 each", statuses == [0, 0, 1000, 0], said)
            failed = [
                proxy.metric("countersign_upstream_requests_total", result=name)
                for name in ("unreachable", "timeout", "broken")
            ]
            cases.check(f"{subject}: no way to the backend was broken", not any(failed), failed)


def all_good(cases, name, proxy, number, how):
    statuses, outcomes, said = loaded(proxy, number, how)
    cases.check(f"{name}: all are answered", (statuses, outcomes) == ([number, 0, 0, 0], [number, 0, 0, 0]), said)


def loaded(proxy, number, how):
    done = asked(["h2load", f"-n{number}", *how, f"{proxy.proxy}/hello"])
    counts = [pattern.search(done.stdout) for pattern in (STATUSES, OUTCOMES)]
    statuses, outcomes = ([int(text) for text in found.groups()] if found else None for found in counts)
    return statuses, outcomes, done.stdout[-1500:] + done.stderr[-500:]
