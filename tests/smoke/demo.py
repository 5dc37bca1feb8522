#!/usr/bin/env python3
"""Runs `countersign demo` as somebody would who met it a minute ago, and looks at what it does.

`target/release/countersign` must be there, or COUNTERSIGN_BIN name another.
"""

import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from harness import bearer, demo, forged, main, mint, request

PRINTED = {"proxy", "admin", "issuer", "jwks_url", "mint_url", "publishable_key", "token", "signing_secret"}


def run(cases):
    with demo() as (process, about):
        cases.check("demo --json prints where everything is", PRINTED <= about.keys(), about)
        refused(cases, about)
        unbelieved(cases, about)
        admitted(cases, about)
        spoofed(cases, about)
        minted(cases, about)
        watched(cases, about)
        cases.check("SIGTERM ends it with status 0", process.stop() == 0, process.logged())


def refused(cases, about):
    reply = request(about["proxy"], "GET", "/hello")
    problem = reply.json()
    cases.check("no token: 401", reply.status == 401, reply)
    challenge = reply.headers.get_all("www-authenticate")
    cases.check("no token: one challenge, without an error", challenge == ['Bearer realm="countersign"'], reply)
    reason = "dev-browser-missing"
    cases.check("no token: Clerk's reason in the header", reply.headers["x-clerk-auth-reason"] == reason, reply)
    kind = (reply.headers["content-type"] or "").split(";")[0]
    cases.check("no token: the body is a problem", kind == "application/problem+json", reply)
    told = problem.keys() >= {"title", "status", "reason", "request_id"}
    cases.check("no token: the problem is told in full", told and problem["status"] == 401, reply)
    cases.check("no token: the body has the reason of the header", problem.get("reason") == reason, reply)
    same = problem.get("request_id") and problem.get("request_id") == reply.headers["x-request-id"]
    cases.check("no token: body and header name the same request", same, reply)
    cases.check("no token: nothing keeps the answer", reply.headers["cache-control"] == "no-store", reply)


def unbelieved(cases, about):
    reply = request(about["proxy"], "GET", "/hello", [bearer(forged(about["token"]))])
    challenge = reply.headers["www-authenticate"] or ""
    cases.check("another signature: 401", reply.status == 401, reply)
    cases.check("another signature: the challenge says so", 'error="invalid_token"' in challenge, reply)


def admitted(cases, about):
    reply = request(about["proxy"], "GET", "/hello", [bearer(about["token"])])
    echo = reply.json()
    cases.check("the printed token: 200", reply.status == 200, reply)
    cases.check("the printed token: the backend believes the proxy", is_believed(echo), reply)
    cases.check("the printed token: the backend knows the user", is_a_user(echo), reply)


def spoofed(cases, about):
    lies = [("X-Clerk-User-Id", "root-of-all"), ("X_Clerk_User_Id", "root-of-all"), ("x-clerk-other", "root-of-all")]
    reply = request(about["proxy"], "GET", "/hello", [bearer(mint(about)), *lies])
    echo = reply.json()
    cases.check("spoofed identity: 200 for whom the token names", reply.status == 200 and is_a_user(echo), reply)
    cases.check("spoofed identity: gone in every spelling", "root-of-all" not in reply.text, reply)
    cases.check("spoofed identity: the backend believes the proxy", is_believed(echo), reply)


def minted(cases, about):
    base, _, path = about["mint_url"].partition("//")[2].partition("/")
    for name, header in ("a page", ("Origin", "http://localhost:1")), ("another name", ("Host", "evil.test")):
        reply = request(f"http://{base}", "GET", f"/{path}", [header])
        cases.check(f"{name} gets no token minted", reply.status >= 400 and "ey" not in reply.text[:2], reply)


def watched(cases, about):
    for path in "/livez", "/readyz":
        reply = request(about["admin"], "GET", path)
        cases.check(f"{path}: 200", reply.status == 200, reply)
    metrics = request(about["admin"], "GET", "/metrics")
    allowed, rejected = (counted(metrics.text, decision) for decision in ("allowed", "rejected"))
    cases.check("/metrics: two requests allowed", allowed == 2, metrics.text)
    cases.check("/metrics: two requests rejected", rejected == 2, metrics.text)


def is_believed(echo):
    return echo.get("signature", {}).get("verified") is True


def is_a_user(echo):
    return echo.get("identity", {}).get("x-clerk-user-id", "").startswith("user_")


def counted(metrics, decision):
    line = re.compile(r"^countersign_requests_total\{([^}]*)\} (\S+)$", re.MULTILINE)
    return sum(float(count) for labels, count in line.findall(metrics) if f'decision="{decision}"' in labels)


main(run)
