"""The verifiers of deploy/verify, in an application behind each server people use, behind a real proxy.

A verifier has to believe every request of the proxy, with the path as it came; to refuse it with any
one thing changed; and to refuse what our own key signed in a way the proxy does not. A server that
hands on no path as it came has to be refused with the reason, not guessed for. Beside one of them,
the lines that README.md shows get the same requests.
"""

import asyncio
import base64
import contextlib
import dataclasses
import hashlib
import hmac
import json
import os
import pathlib
import re
import sys
import tempfile
import time
import urllib.parse

from run import ASSERTION, BOTH_MODES, DERIVED, HERE, IDENTITY, QUERY, SECRET, THEIRS, value

from harness import ROOT, Process, bearer, claims_of, demo, free_port, listens, main, mint, request, serve

APPS = HERE / "apps"
PYTHON = [sys.executable, "-m"]
UVICORN = [*PYTHON, "uvicorn", "--app-dir", APPS, "--log-level", "warning", "python_app:asgi_app"]
# What each is started with, but for its port, which comes last.
SERVERS = {
    "gunicorn": [*PYTHON, "gunicorn", "--chdir", APPS, "--log-level", "warning", "python_app:wsgi_app", "--bind"],
    "uvicorn with h11": [*UVICORN, "--http", "h11", "--port"],
    "uvicorn with httptools": [*UVICORN, "--http", "httptools", "--port"],
    "Werkzeug": [sys.executable, APPS / "python_app.py", "werkzeug"],
    "Node": ["node", APPS / "node_app.mjs"],
    "Puma": ["puma", "--quiet", "--environment", "production", APPS / "config.ru", "--bind"],
}
# Hand on no path as it came; uvicorn puts its root path before it, other servers do not.
DECODING = {
    "uvicorn with a root path": [*UVICORN, "--root-path", "/api", "--port"],
    "wsgiref": [sys.executable, APPS / "python_app.py", "wsgiref"],
    "WEBrick": [
        "rackup",
        "--server",
        "webrick",
        "--env",
        "production",
        "--host",
        "127.0.0.1",
        APPS / "config.ru",
        "--port",
    ],
}
CLAIMED = [*IDENTITY, "x-clerk-user-name"]
HMAC = {"COUNTERSIGN_SIGNING_SECRET": SECRET}
# How the proxy signs: its settings, the headers that are then covered, and what of the request.
WAYS = {
    "hmac-sha256": (HMAC, CLAIMED, DERIVED),
    "ed25519": ({}, CLAIMED, DERIVED),
    "the query covered": (HMAC | QUERY, CLAIMED, [*DERIVED, "@query"]),
    "an assertion covered": (HMAC | BOTH_MODES, [*CLAIMED, ASSERTION], DERIVED),
}
FLAGS = ["--claim", "x-clerk-user-name=/name", "--public", "/open/**"]
SETTINGS = {"COUNTERSIGN_PATHS_ALLOW": "encoded-slash,encoded-percent,semicolon"}
KEYID = hmac.digest(SECRET.encode(), b"kid", hashlib.sha256).hex()[:8]
SLY = [
    ("Signature-Input", r'theirs=("@method");created=1;keyid="a, countersign=(\"x\")";tag="t"'),
    ("Signature", "theirs=:AAAA:"),
]


@dataclasses.dataclass
class Lane:
    name: str
    backend: str
    proxy: str
    token: str
    another: str  # a token of somebody else
    user: str
    covered: list
    derived: list


def run(cases):
    with tempfile.TemporaryDirectory() as scratch, demo() as (_, issuer):
        for name, way in WAYS.items():
            for server, command in SERVERS.items():
                with lane(issuer, f"{server}, {name}", command, scratch, *way) as one:
                    got = believed(cases, one)
                    if not got:
                        continue
                    tampered(cases, one, got)
                    parted(cases, one, got)
                    if name != "ed25519":
                        signed_otherwise(cases, one, got)
                        if server == "Node":  # hands on every header as it came
                            shown(cases, one, got)
        with lane(issuer, "Node, HTTP/2", SERVERS["Node"], scratch, *WAYS["hmac-sha256"], version="http2") as one:
            http2(cases, one)
        web_socket(cases)
        for server, command in DECODING.items():
            with lane(issuer, server, command, scratch, *WAYS["hmac-sha256"]) as one:
                decoding(cases, one, plain_is_believed=server == "wsgiref")


@contextlib.contextmanager
def lane(issuer, name, command, scratch, settings, covered, derived, version=None):
    """A proxy and behind it a server with the verifier, which knows the proxy's key."""
    port = free_port()
    backend = f"http://127.0.0.1:{port}"
    upstream = backend.replace("http:", "h2c:") if version else backend
    with serve(issuer, "--upstream", upstream, *FLAGS, **SETTINGS, **settings) as (_, proxy, admin):
        known = {"secret": SECRET}
        if not settings:
            known = {"jwks_url": f"{admin}/.well-known/jwks.json"}
        about = pathlib.Path(scratch) / "verifier.json"
        cover = [name[1:] for name in derived if name not in DERIVED]
        about.write_text(json.dumps(known | {"options": {"identity": covered, "cover": cover}}))
        bind = {"gunicorn": "127.0.0.1:{}", "puma": "tcp://127.0.0.1:{}"}.get(name.split(",")[0].lower(), "{}")
        how = [version] if version else []
        with Process([*command, bind.format(port), *how], os.environ | {"VERIFIER": str(about)}) as process:
            until_listening(process, port)
            token, another = mint(issuer, name="Jürgen, 50%"), mint(issuer, sub="user_2other", sid="sess_2other")
            yield Lane(name, backend, proxy, token, another, claims_of(token)["sub"], covered, derived)


def until_listening(process, port):
    if not listens(process, port):
        raise RuntimeError(f"{process.command[:3]} does not listen: {process.logged()}")


def believed(cases, lane):
    """Sends what clients send; returns what the application got of the last, for others to tamper with."""

    def case(target, method="GET", headers=(), body=None):
        reply = request(lane.proxy, method, target, [bearer(lane.token), *headers], body)
        got = reply.json()
        path, _, query = target.partition("?")
        sent = [method, urllib.parse.unquote(path), query]
        told = {"x-clerk-user-id": lane.user, "x-clerk-user-name": "J%C3%BCrgen%2C%2050%25"}
        held = method == "HEAD" or (
            [got.get("method"), got.get("path"), got.get("query")] == sent
            and told.items() <= got["told"].items()
            and list(got["told"]) == lane.covered
        )
        good = reply.status == 200 and held
        cases.check(f"{lane.name}: {method} {target} {dict(headers) or ''}: believed", good, reply)
        return got | {"target": target} if good else None

    for target in "/", "/caf%C3%A9", "/a%2Fb", "/a+b", "/a%20b", "/%7Eme", "/100%25", "/%2525", "/a:b@c!$&'()*,;=":
        case(target)
    for target in "/a[b]|c", '/^{"x"}':  # percent-encoded by the proxy: no path may hold them
        case(target)
    for target in "/search?q=a%20b&empty=&x='", "/?", "/caf%C3%A9?path=/a%2Fb", "/a?a=%20b&c=d+e&%5B", "/a??b|[c]=%zz":
        case(target)
    for method in "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS":
        case("/caf%C3%A9", method)
    for host in "API.Example.COM:8443", "api.example.com:80", "[::1]:8080":
        case("/a", headers=[("Host", host)])
    case("/a", headers=THEIRS)
    case("/a", headers=SLY)
    reply = request(lane.proxy, "GET", "/open/door?q")
    nobody = dict.fromkeys(lane.covered, "") | {"x-clerk-principal": "anonymous"}
    cases.check(f"{lane.name}: nobody signed in: believed", reply.json().get("told") == nobody, reply)
    return case("/caf%C3%A9/a%2Fb?dry=1", "POST", [("Content-Type", "application/json")], b'{"n": 1}')


def sent_again(lane, got, headers, method="POST", target=None):
    dropped = "content-length", "connection", "content-type"
    headers = [(name, text) for name, text in headers if name not in dropped]
    return request(lane.backend, method, target or got["target"], headers, b"{}")


def tampered(cases, lane, got):
    headers = got["headers"]
    refused = []

    def case(name, why, changed=headers, **request_line):
        reply = sent_again(lane, got, changed, **request_line)
        refused.append(reply.status == 401 and bool(re.search(why, reply.text)))
        cases.check(f"{lane.name}: {name}: refused", refused[-1], reply)

    def with_value(name, change):
        return [(other, change(text) if other == name else text) for other, text in headers]

    again = sent_again(lane, got, headers)
    cases.check(f"{lane.name}: sent again unchanged: believed", again.status == 200, again)
    broken, twice = "does not hold", "is there 2 times|does not hold"  # WSGI and Rack join what came twice
    path = got["target"].split("?")[0]
    case("another user", broken, with_value("x-clerk-user-id", lambda _: "user_root"))
    case("another role", broken, with_value("x-clerk-org-role", lambda role: role + "org:admin"))
    case("a second user before the first", twice, [("x-clerk-user-id", "user_root"), *headers])
    case("a header less", "is there 0 times", [pair for pair in headers if pair[0] != "x-clerk-actor-id"])
    case("a header more", "x-clerk-admin is not signed", [*headers, ("x-clerk-admin", "true")])
    if ASSERTION in lane.covered:
        elsewhere = request(lane.proxy, "GET", "/a", [bearer(lane.another)]).json()["headers"]
        case("the assertion of another", broken, with_value(ASSERTION, lambda _: value(elsewhere, ASSERTION)))
        case("the assertion emptied", broken, with_value(ASSERTION, lambda _: ""))
        case("the assertion doubled", twice, [*headers, (ASSERTION, value(headers, ASSERTION))])
        case("no assertion", f"{ASSERTION} is there 0 times", [pair for pair in headers if pair[0] != ASSERTION])
    else:
        case("an assertion", f"{ASSERTION} is not signed", [*headers, (ASSERTION, "e30.e30.AAAA")])
    if "@query" in lane.derived:
        for query in "", "?", "?dry=0", "?dry=1&", "?dry=%31", "??dry=1":
            case(f"the query {query or 'left out'}", broken, target=path + query)
    else:
        reply = sent_again(lane, got, headers, target=f"{path}?dry=0")
        cases.check(f"{lane.name}: another query, which is not covered: believed", reply.status == 200, reply)
    case("another method", broken, method="PUT")
    case("the slash decoded", broken, target="/caf%C3%A9/a/b?dry=1")
    case("another host", broken, with_value("host", lambda _: "elsewhere.example.com"))
    case(
        "no signature", "our signature-input is there 0 times", [p for p in headers if not p[0].startswith("signature")]
    )
    less = with_value("signature-input", lambda text: text.replace('"x-clerk-user-id" ', ""))
    case("less covered", "does not cover", less)
    more_time = with_value("signature-input", lambda text: re.sub(r"expires=\d", "expires=9", text))
    case("more time", broken, more_time)
    case("another signature", broken, with_value("signature", lambda text: re.sub(r"=:\S{8}", "=:AAAAAAAA", text)))
    case("two signatures", "our signature is there 2 times", [*headers, ("signature", value(headers, "signature"))])
    case("no base64", broken, with_value("signature", lambda text: text.replace("=:", "=:!", 1)))
    cases.check(f"{lane.name}: {len(refused)} tamperings, each for its own reason", all(refused), refused)


def parted(cases, lane, got):
    """What servers make of odd names: the application must not see what was not signed."""
    odd = (
        ("X_Clerk_User_Id", "user_root"),
        ("SCRIPT_NAME", "/caf%C3%A9"),
        ("PATH_INFO", "/admin"),
        ("Rewrite-To", "/admin"),
    )
    for name, text in odd:
        reply = sent_again(lane, got, [*got["headers"], (name, text)])
        same = reply.status == 200 and reply.json().get("path") == "/café/a/b" and reply.json()["told"] == got["told"]
        unseen = same and "user_root" not in reply.text
        how = "not seen" if unseen else f"refused: {reply.text.strip()}"
        cases.check(f"{lane.name}: {name}: {text}: {how}", unseen or reply.status == 401, reply)


def signed_otherwise(cases, lane, got):
    """What only somebody with the secret can send: each check has to hold without the signature's help."""
    text = {name: value(got["headers"], name) for name in lane.covered}
    path, _, query = got["target"].partition("?")
    host = value(got["headers"], "host")
    derived = {"@method": "POST", "@authority": host, "@path": path, "@query": f"?{query}"}
    covered = lane.covered

    def case(name, why=None, covered=(*covered, *lane.derived), headers=(), **parameters):
        proof = signed(text | derived | dict(headers), covered, **parameters)
        reply = sent_again(lane, got, [("host", host), *text.items(), *headers, *proof])
        if why is None:
            cases.check(f"{lane.name}: signed here, {name}: believed", reply.status == 200, reply)
        else:
            cases.check(f"{lane.name}: signed here, {name}: refused", reply.status == 401 and why in reply.text, reply)

    now, coverage = int(time.time()), "does not cover what it must"
    case("as the proxy does")
    case("a clock 3 s ahead", created=now + 3)
    case("a clock 20 s ahead", "not of this time", created=now + 20, expires=now + 50)
    case("3 s late", created=now - 33, expires=now - 3)
    case("7 s late", "not of this time", created=now - 37, expires=now - 7)
    case("another order", coverage, [*reversed(covered), *lane.derived])
    case(f"without {lane.derived[-1]}", coverage, [*covered, *lane.derived[:-1]])
    case(f"without {covered[0]}", coverage, [*covered[1:], *lane.derived])
    case(f"without {covered[-1]}", coverage, [*covered[:-1], *lane.derived])
    more = [*covered, "x-clerk-admin", *lane.derived]
    case("with a header more", coverage, more, headers=[("x-clerk-admin", "true")])
    case("with another tag", "not of our kind", tag="theirs")
    case("with another key id", "no key of this id", keyid="deadbeef")
    case("for another algorithm", "no key of this id and algorithm", alg="ed25519")


def signed(lines, covered, created=None, expires=None, keyid=KEYID, alg="hmac-sha256", tag="countersign"):
    """The two headers as the proxy would make them over these lines, but for what is said."""
    created = int(time.time()) if created is None else created
    listed = " ".join(f'"{name}"' for name in covered)
    params = f'({listed});created={created};expires={expires or created + 30};keyid="{keyid}";alg="{alg}";tag="{tag}"'
    base = "".join(f'"{name}": {lines[name]}\n' for name in covered) + f'"@signature-params": {params}'
    mac = base64.b64encode(hmac.digest(SECRET.encode(), base.encode(), hashlib.sha256)).decode()
    return [("signature-input", f"countersign={params}"), ("signature", f"countersign=:{mac}:")]


def shown(cases, lane, got):
    """What README.md's Python says of the same request: its checks are fewer, so only what it claims is asked."""
    code = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL).group(1)
    names = {}
    exec(code, names)  # our own README
    path = got["target"].split("?")[0]

    def case(name, believes, target=got["target"], **changed):
        headers = dict(got["headers"]) | {name.replace("_", "-"): text for name, text in changed.items()}
        try:
            said = names["caller"](headers, "POST", target, SECRET.encode())
        except PermissionError as refused:
            said = [refused]
        how = "believed" if believes else "refused"
        cases.check(f"README.md, {lane.name}: {name}: {how}", (said[0] == lane.user) is believes, said)

    case("the same request", True)
    case("another user", False, x_clerk_user_id="user_root")
    case("another path", False, target="/a?dry=1")
    case("a header more", False, x_clerk_admin="true")
    covers_query = "@query" in lane.derived
    case("another query", not covers_query, target=f"{path}?dry=0")
    case("no query", not covers_query, target=path)
    case("another assertion", False, x_clerk_assertion="e30.e30.AAAA")


def http2(cases, lane):
    """Over HTTP/2 there is no `Host`: the authority is a field of the protocol."""
    for host in [], [("Host", "API.Example.COM:8443")]:
        reply = request(lane.proxy, "GET", "/caf%C3%A9?q=a%20b", [bearer(lane.token), *host])
        held = reply.status == 200 and reply.json()["told"]["x-clerk-user-id"] == lane.user
        cases.check(f"{lane.name}: {host}: believed", held, reply)


def web_socket(cases):
    """The one way to an ASGI application that no server here can show: a handshake, called as a server calls it."""
    sys.path.insert(0, str(HERE.parents[1] / "deploy" / "verify"))
    import countersign
    import countersign_middleware

    reached, sent = [], []

    async def application(scope, receive, send):
        reached.append(scope["countersign"]["x-clerk-user-id"])

    async def send(message):
        sent.append(message["type"])

    guarded = countersign_middleware.asgi(application, countersign.secret(SECRET), identity=CLAIMED)
    told = dict.fromkeys(CLAIMED, "") | {"x-clerk-user-id": "user_1"}
    proof = signed(told | {"@method": "GET", "@authority": "a.example", "@path": "/caf%C3%A9"}, [*CLAIMED, *DERIVED])
    for raw in b"/caf%C3%A9", b"/other":
        headers = [(name.encode(), text.encode()) for name, text in [*told.items(), *proof, ("host", "a.example")]]
        path = urllib.parse.unquote(raw.decode())
        asyncio.run(guarded({"type": "websocket", "path": path, "raw_path": raw, "headers": headers}, None, send))
    cases.check(
        "ASGI: a WebSocket: believed, and refused on another path",
        (reached, sent) == (["user_1"], ["websocket.close"]),
        (reached, sent),
    )


def decoding(cases, lane, plain_is_believed):
    """A server that gives the application another path than came: only what cannot be two paths may pass."""
    for target in "/caf%C3%A9", "/a%2Fb", "/a+b", "/100%25", "/a%20b?q=1":
        reply = request(lane.proxy, "GET", target, [bearer(lane.token)])
        said = "only" in reply.text and (
            "decodes the path" in reply.text or "hand the path on as it came" in reply.text
        )
        cases.check(
            f"{lane.name}: {target}: refused, and why: {reply.text.strip()}", reply.status == 401 and said, reply
        )
    reply = request(lane.proxy, "GET", "/plain/path-1", [bearer(lane.token)])
    held = reply.status == (200 if plain_is_believed else 401)
    cases.check(f"{lane.name}: a plain path: {'believed' if plain_is_believed else 'refused'}", held, reply)


if __name__ == "__main__":
    main(run)
