"""Backends in Node and in Python verify what the proxy signs, with three libraries nobody here wrote.

Each lane is a proxy before a backend. Every request of a lane has to be believed there; then what
the backend got is sent to it again without the proxy, first unchanged, then with one thing changed,
and last of all after its time: only the unchanged one may be believed.
"""

import base64
import contextlib
import dataclasses
import hashlib
import hmac
import json
import pathlib
import re
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from harness import Process, bearer, claims_of, demo, free_port, main, mint, request, serve

VECTORS = HERE.parent / "fixtures" / "signature-vectors.json"
NODE = ["node", HERE / "backend.mjs"]
JUDGES = {
    "npm http-message-signatures": [*NODE, "http-message-signatures"],
    "npm http-message-sig": [*NODE, "http-message-sig"],
    "PyPI http-message-signatures": [sys.executable, HERE / "backend.py"],
}
IDENTITY = [
    "x-clerk-principal", "x-clerk-token-type", "x-clerk-user-id", "x-clerk-session-id", "x-clerk-org-id",
    "x-clerk-org-slug", "x-clerk-org-role", "x-clerk-org-permissions", "x-clerk-actor-id",
]  # fmt: skip
DERIVED = ["@method", "@authority", "@path"]
ASSERTION = "x-clerk-assertion"
QUERY = {"COUNTERSIGN_SIGNING_COVER": "query"}
BOTH_MODES = {"COUNTERSIGN_SIGNING_MODE": "http-signature,jwt", "COUNTERSIGN_SIGNING_AUDIENCE": "orders"}
# A query that a library writes anew (`'` is `%27` where URLs are a browser's), or that is in no URL of
# RFC 3986: it believes nothing then, which is the safe side.
NOT_THEIRS = {"npm http-message-signatures": "/a?q=it's", "PyPI http-message-signatures": "/a?q=b|c"}
MEMBER = re.compile(
    r'countersign=\(("[^"]+"(?: "[^"]+")*)\)'
    r';created=(\d+);expires=(\d+);keyid="([^"]+)";alg="([^"]+)";tag="countersign"'
)
SECRET = "interop-0123456789abcdef0123456789abcdef"
THEIRS = [("Signature-Input", 'theirs=("@method");created=1;keyid="t";tag="t"'), ("Signature", "theirs=:AAAA:")]
OURS = [("Signature-Input", 'countersign=("@method");created=1;keyid="k"'), ("Signature", "countersign=:AAAA:")]
JSON = ("Content-Type", "application/json")


@dataclasses.dataclass
class Lane:
    name: str
    backend: str
    proxy: str
    admin: str
    about: dict  # of the demo that is the issuer
    alg: str
    has_flags: bool  # `serve` takes settings of its own, `demo` does not
    closing: list  # what is covered after the identity headers


def run(cases):
    for name, judge in JUDGES.items():
        vectors(cases, name, judge)
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as backends:
        policy = pathlib.Path(scratch) / "policy.json"
        kept = []
        for name, judge in JUDGES.items():
            port = free_port()
            backends.enter_context(Process([*judge, "serve", policy, port])).line()
            for lane in lanes(name, f"http://127.0.0.1:{port}"):
                known = json.dumps({"required": [*IDENTITY, *lane.closing], "keys": published(lane)})
                policy.write_text(known)
                got = believed(cases, lane)
                if got:
                    tampered(cases, lane, got)
                    kept.append((lane, got, known))
                if "@query" in lane.closing:
                    odd_queries(cases, lane, NOT_THEIRS.get(name))
        expired(cases, kept, policy)


def vectors(cases, name, judge):
    with Process([*judge, "vectors", VECTORS]) as process:
        for vector in json.loads(VECTORS.read_text()):
            verdict = json.loads(process.line())
            as_expected = verdict["name"] == vector["name"] and verdict["error"] is None and verdict["forged"]
            cases.check(f"{name}: vector {vector['name']}, and its forgery refused", as_expected, verdict)


def lanes(judge, backend):
    """Every way to sign, one proxy at a time, the issuer's own process beside it."""
    with demo("--upstream", backend) as (_, about):
        proxy, admin = about["proxy"], about["admin"]
        yield Lane(f"{judge}, demo, hmac-sha256", backend, proxy, admin, about, "hmac-sha256", False, DERIVED)
    flags = ["--upstream", backend, "--public", "/open/**"]
    flags += ["--claim", "x-clerk-user-name=/name", "--claim", "x-clerk-nothing=/not/there"]
    settings = {"COUNTERSIGN_PATHS_ALLOW": "encoded-slash,semicolon"}
    shared = {"COUNTERSIGN_SIGNING_SECRET": SECRET}
    with demo() as (_, about):
        for name, alg, signing, closing in [
            ("hmac-sha256", "hmac-sha256", shared, DERIVED),
            ("ed25519", "ed25519", {}, DERIVED),
            ("the query covered", "hmac-sha256", shared | QUERY, [*DERIVED, "@query"]),
            ("an assertion covered", "hmac-sha256", shared | BOTH_MODES, [ASSERTION, *DERIVED]),
        ]:
            with serve(about, *flags, **settings, **signing) as (_, proxy, admin):
                yield Lane(f"{judge}, serve, {name}", backend, proxy, admin, about, alg, True, closing)


def published(lane):
    """The keys a backend of this lane believes, by their id."""
    if lane.alg == "ed25519":
        jwks = request(lane.admin, "GET", "/.well-known/jwks.json").json().get("keys", [])
        return {key["kid"]: {"alg": "ed25519", "jwk": key} for key in jwks if key.get("crv") == "Ed25519"}
    text = SECRET if lane.has_flags else lane.about["signing_secret"]
    kind, colon, encoded = text.partition("base64:")
    secret = base64.b64decode(encoded) if colon and not kind else text.encode()
    keyid = hmac.digest(secret, b"kid", hashlib.sha256).hex()[:8]
    return {keyid: {"alg": "hmac-sha256", "secret": base64.b64encode(secret).decode()}}


def believed(cases, lane):
    """Sends what clients send; returns what the backend got of a signed-in POST, for others to tamper with."""
    token = mint(lane.about)
    user = claims_of(token)["sub"]

    def case(name, method, target, headers=(), body=None, path=None, token=token, says=None):
        says = {"x-clerk-principal": "user", "x-clerk-user-id": user} | (says or {})
        reply = request(lane.proxy, method, target, [bearer(token), *headers] if token else headers, body)
        got = {"headers": [], "body": ""} | seen(reply)
        host = value(got["headers"], "host") or "?"
        held = {
            "believed": got.get("verified") is True,
            "covers all, in order": is_the_profile(got["headers"], lane),
            "arrives as sent": [got.get("method"), got.get("target")] == [method, path or target],
            "with its body": got["body"].encode() == (body or b""),
            "Host in small letters": host == host.lower(),
            f"says {says}": all(value(got["headers"], name) == text for name, text in says.items()),
        }
        missed = [what for what, so in held.items() if not so]
        cases.check(f"{lane.name}: {name}: believed", not missed, f"not so: {missed}: {reply}")
        return got if not missed else None

    case("plain", "GET", "/")
    for method in "GET", "HEAD", "DELETE", "OPTIONS":
        case(f"{method} without a body", method, "/orders/1")
    for method in "PUT", "PATCH", "DELETE":
        case(f"{method} with a body", method, "/orders/1", [JSON], b'{"n": 2}')
    case("query", "GET", "/search?q=a%20b&empty=&q=%26")
    case("a query alone", "GET", "/?")
    # What a library that reads the path with its platform's URL type might write in another way.
    for path in "/caf%C3%A9", "/caf%C3%A9/%20%2B", "/a+b", "/a%20b", "/a:b@c!$&'()*,=", "/%E2%98%83/%22%3C%3E%60%7B%7D":
        case(path, "GET", path)
    case("an escaped tilde", "GET", "/%7Eme/list", path="/~me/list")
    case("escapes in small letters", "GET", "/caf%c3%a9", path="/caf%C3%A9")
    case("brackets and a bar", "GET", "/a[b]|c?q=1", path="/a%5Bb%5D%7Cc?q=1")
    case("what else no path may hold", "GET", '/^{"x"}', path="/%5E%7B%22x%22%7D")
    for host in "api.example.com:8443", "api.example.com:80", "api.example.com:443", "[::1]:8080":
        case(f"Host {host}", "GET", "/a", [("Host", host)])
    for host in "API.Example.COM", "API.Example.COM:8443", "API.Example.COM:80":
        case(f"Host {host}", "GET", "/a", [("Host", host)])
    case("somebody else's signature", "GET", "/a", THEIRS)
    case("a forged signature of ours", "GET", "/a", OURS)
    absent = {f"x-clerk-org-{part}": "" for part in ("id", "slug", "role", "permissions")}
    case("no organization", "GET", "/a", token=mint(lane.about, o=None), says=absent)
    actor = "user_2cDeFgHiJkLmNoPqRsTuVwXyZaB"
    case("an actor", "GET", "/a", token=mint(lane.about, act={"sub": actor}), says={"x-clerk-actor-id": actor})
    if lane.has_flags:
        case("an escaped slash", "GET", "/widgets/a%2Fb")
        case("every character a path may hold", "GET", "/a:b@c!$&'()*,;=-._~")
        nobody = {name: "" for name in IDENTITY} | {"x-clerk-principal": "anonymous", "x-clerk-user-name": ""}
        nobody |= {ASSERTION: ""} if ASSERTION in lane.closing else {}
        case("nobody signed in", "GET", "/open/door", token=None, says=nobody)
        named = {"x-clerk-user-name": "J%C3%BCrgen%20O%27Neil", "x-clerk-nothing": ""}
        case("a claim in free text", "GET", "/a", token=mint(lane.about, name="Jürgen O'Neil"), says=named)
        # As a claim that would end the header and begin another, and with spaces that a library may take off.
        sly = mint(lane.about, name=" 50%,\r\nx-clerk-user-id: user_root \u2603\t")
        written = "%2050%25%2C%0D%0Ax-clerk-user-id%3A%20user_root%20%E2%98%83%09"
        case("a claim with a line break", "GET", "/a", token=sly, says={"x-clerk-user-name": written})
    else:
        reply = request(lane.proxy, "GET", "/widgets/a%2Fb", [bearer(token)])
        cases.check(f"{lane.name}: an escaped slash: refused unless allowed", reply.status == 400, reply)
    return case("POST with a body", "POST", "/orders?dry=1", [JSON], b'{"n": 1}')


def odd_queries(cases, lane, not_theirs):
    """A covered query is signed as it came: a library has to take it as it is, or to refuse."""
    token = mint(lane.about)
    for target in "/a", "/a?a=%20b&c=d+e&%5B", "/a??b=/c?", "/a?:@!$&()*,;=-._~", "/a?%c3%a9=%7E", *NOT_THEIRS.values():
        got = seen(request(lane.proxy, "GET", target, [bearer(token)]))
        arrived, believed = got.get("target") == target, got.get("verified")
        if target == not_theirs:
            name = f"{target}: refused, as this library does not take it as it is"
            cases.check(f"{lane.name}: {name}: {got.get('error')}", arrived and believed is False, got)
        else:
            cases.check(f"{lane.name}: {target}: believed", arrived and believed is True, got)


def seen(reply):
    """What the backend saw; the answer to HEAD has no body, and says it in a header."""
    header = reply.headers.get("x-seen")
    return json.loads(base64.b64decode(header)) if header else reply.json()


def is_the_profile(headers, lane):
    """Whether our member is there once, covers what it must in the fixed order, and is fresh."""
    members = MEMBER.findall(", ".join(text for name, text in headers if name == "signature-input"))
    if len(members) != 1:
        return False
    components, created, expires, keyid, alg = members[0]
    covered = components.replace('"', "").split(" ")
    sent = [name for name, _ in headers if name.startswith("x-clerk-")]
    in_order = covered[: len(IDENTITY)] == IDENTITY and covered[-len(lane.closing) :] == lane.closing
    complete = in_order and sorted(name for name in covered if name[0] != "@") == sorted(sent)
    fresh = int(expires) - int(created) == 30 and abs(int(created) - time.time()) <= 3
    return complete and fresh and alg == lane.alg and keyid in published(lane)


def value(headers, name):
    """The one value of a header; None when it is not there or more than once."""
    found = [text for other, text in headers if other == name]
    return found[0] if len(found) == 1 else None


def tampered(cases, lane, got):
    headers = [(name, text) for name, text in got["headers"] if name not in ("content-length", "connection")]

    def case(name, changed=headers, method=got["method"], target=got["target"], believed=False):
        reply = request(lane.backend, method, target, changed, got["body"].encode())
        as_expected = reply.json().get("verified") is believed
        cases.check(f"{lane.name}: {name}: {'believed' if believed else 'refused'}", as_expected, reply)

    def with_value(name, change):
        return [(other, change(text) if other == name else text) for other, text in headers]

    case("sent again unchanged", believed=True)
    case("another user", with_value("x-clerk-user-id", lambda _: "user_root"))
    case("another role", with_value("x-clerk-org-role", lambda role: role + "org:admin"))
    case("a second user before the first", [("x-clerk-user-id", "user_root"), *headers])
    case("a header less", [(name, text) for name, text in headers if name != "x-clerk-actor-id"])
    if ASSERTION in lane.closing:
        another = mint(lane.about, sub="user_2other", sid="sess_2other")
        elsewhere = seen(request(lane.proxy, "GET", "/a", [bearer(another)]))["headers"]
        case("the assertion of another", with_value(ASSERTION, lambda _: value(elsewhere, ASSERTION)))
        case("the assertion emptied", with_value(ASSERTION, lambda _: ""))
        case("the assertion doubled", [*headers, (ASSERTION, value(headers, ASSERTION))])
    path, _, _ = got["target"].partition("?")
    is_free = "@query" not in lane.closing
    case("another query", target=f"{path}?dry=0", believed=is_free)
    case("no query", target=path, believed=is_free)
    case("another method", method="PUT")
    case("another path", target="/orders/1")
    case("another host", with_value("host", lambda _: "elsewhere.example.com"))
    case("no signature", [(name, text) for name, text in headers if not name.startswith("signature")])
    case("less covered", with_value("signature-input", lambda text: text.replace('"x-clerk-user-id" ', "")))
    case("more time", with_value("signature-input", lambda text: re.sub(r"expires=\d", "expires=9", text)))
    case("another signature", with_value("signature", lambda text: re.sub(r"=:\S{8}", "=:AAAAAAAA", text)))


def expired(cases, kept, policy):
    """The one thing only time can show: waits until the youngest of them is past its `expires`."""
    last = max((int(MEMBER.search(value(got["headers"], "signature-input"))[3]) for _, got, _ in kept), default=0)
    time.sleep(max(0.0, last + 1.5 - time.time()))
    for lane, got, known in kept:
        policy.write_text(known)
        headers = [(name, text) for name, text in got["headers"] if name not in ("content-length", "connection")]
        reply = request(lane.backend, got["method"], got["target"], headers, got["body"].encode())
        late = reply.json().get("verified") is False and "expire" in reply.json()["error"].lower()
        cases.check(f"{lane.name}: after its time: refused", late, reply)


if __name__ == "__main__":
    main(run)
