"""Each verifier of deploy/verify, in an application in its language, behind a real proxy.

It has to believe every request of the proxy; to refuse one with any one thing changed, for the reason that is
the matter; and to refuse what our own key signed in a way the proxy does not. At the end stands a table.

python3 run.py              all languages; one that cannot be run here is a failure
python3 run.py Go Java      these
python3 run.py -- CMD …     an application of yours, started with PORT, COUNTERSIGN_SIGNING_SECRET, IDENTITY (the
                            headers to be covered) and COVER (`query` or nothing). It answers 200 with a line
                            `name: value` for each header of IDENTITY, or 401 with the reason
"""

import base64
import contextlib
import dataclasses
import functools
import http.client
import pathlib
import re
import shlex
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from harness import (
    TARGET,
    Process,
    bearer,
    capturing,
    claims_of,
    clean,
    demo,
    free_port,
    listens,
    main,
    mint,
    request,
    serve,
)
from languages import LANGUAGES, VERIFIERS, Language, documented, lines_of_code
from signing import key_id, signed

APPS = HERE / "apps"
BUILT = TARGET / "verify"

SECRET = "verify-0123456789abcdef0123456789abcdef"
CODED = "base64:" + base64.b64encode(bytes(range(32))).decode()
# What is covered besides, and by which secret.
WAYS = {"": SECRET, "query": CODED}
SHORT = SECRET[:31]
NAMES = "principal token-type user-id session-id org-id org-slug org-role org-permissions actor-id user-name"
IDENTITY = [f"x-clerk-{name}" for name in NAMES.split()]
DERIVED = ["@method", "@authority", "@path"]
FLAGS = ["--claim", "x-clerk-user-name=/name", "--public", "/open/**"]
SETTINGS = {"COUNTERSIGN_PATHS_ALLOW": "encoded-slash,encoded-percent,semicolon"}
THEIRS = [("Signature-Input", 'theirs=("@method");created=1;keyid="t";tag="t"'), ("Signature", "theirs=:AAAA:")]
SLY = [
    [("Signature-Input", rf'theirs=("@method");created=1;keyid="{text}";tag="t"'), THEIRS[1]]
    for text in (r"a, countersign=(\"x\")", r"\", countersign=(\"x\")", r"\\")
]
METHOD, TARGET_SENT = "POST", "/caf%C3%A9/a%2Fb?dry=1"


@dataclasses.dataclass
class Lane:
    """An application with a verifier, the proxy before it, and one before a backend of ours, which signs alike."""

    name: str
    language: Language
    cover: str
    secret: str
    proxy: str
    application: str
    capture: object
    token: str
    user: str

    @property
    def derived(self):
        return [*DERIVED, *(f"@{part}" for part in self.cover.split())]


@dataclasses.dataclass
class Outcome:
    language: str
    version: str
    lines: int
    believed: list
    refused: list

    def row(self):
        counts = (f"{sum(some)} of {len(some)}" for some in (self.believed, self.refused))
        return [self.language, self.version, str(self.lines), *counts]


def run(cases):
    languages = chosen(sys.argv[1:])
    with demo() as (_, issuer):
        outcomes = [judged(cases, language, issuer) for language in languages]
    table = [["language", "version", "lines", "good accepted", "tamperings refused"]]
    table += [outcome.row() for outcome in outcomes if outcome]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    print(*("  ".join(map(str.ljust, row, widths)).rstrip() for row in table), sep="\n")
    ran = sum(map(bool, outcomes))
    cases.check(f"{ran} of {len(languages)} languages ran", ran == len(languages) > 0, outcomes)
    for outcome in filter(lambda one: one and one.lines, outcomes):
        told = f"README.md: {outcome.language}: {documented(outcome.language)}"
        cases.check(told, documented(outcome.language) == outcome.row()[2:], outcome.row())


def chosen(arguments):
    if arguments[:1] == ["--"]:
        return [Language("yours", "", "", shlex.join(arguments[1:]).replace("{", "{{").replace("}", "}}"))]
    unknown = set(arguments) - {language.name for language in LANGUAGES}
    if unknown:
        raise SystemExit(f"no such language: {', '.join(unknown)}")
    return [language for language in LANGUAGES if not arguments or language.name in arguments]


def judged(cases, language, issuer):
    """Builds and runs one; what of it was believed and refused, or nothing where it could not be run."""
    built = BUILT / language.name.replace("#", "sharp").replace(", .", "-").lower()
    built.mkdir(parents=True, exist_ok=True)
    places = {"apps": APPS, "built": built, "verifiers": VERIFIERS, "python": sys.executable}
    for command in filter(None, [language.build, language.version]):
        done = subprocess.run(["bash", "-c", command.format(**places)], capture_output=True, text=True, timeout=500)
        if not cases.check(f"{language.name}: {command}", done.returncode == 0, done.stderr):
            return None
    version = re.search(r"\d+(\.\d+)+|$", done.stdout).group() if language.version else ""
    if language.version and not cases.check(f"{language.name}: says its version", version, done.stdout):
        return None
    lines = lines_of_code(VERIFIERS / language.file) if language.file else 0
    if language.file:
        cases.check(f"{language.name}: {lines} lines of at most {language.longest}", lines <= language.longest)
    outcome = Outcome(language.name, version, lines, [], [])
    for cover, secret in WAYS.items():
        with lane(issuer, language, cover, secret, places) as one:
            outcome.believed += believed(cases, one)
            outcome.refused += tampered(cases, one) + signed_otherwise(cases, one)
            outcome.refused += malformed(cases, one)
    cases.check(f"{language.name}: no application with a short secret", is_refused_a_short_secret(language, places))
    return outcome


@contextlib.contextmanager
def lane(issuer, language, cover, secret, places):
    settings = SETTINGS | {"COUNTERSIGN_SIGNING_SECRET": secret, "COUNTERSIGN_SIGNING_COVER": cover}
    name = f"{language.name}, the {cover} covered" if cover else language.name
    token = mint(issuer, name="Jürgen, 50%")
    with (
        application(language, places, cover, secret) as (process, url),
        capturing(issuer, *FLAGS, **settings) as capture,
    ):
        if not url:
            raise RuntimeError(f"{process.command} does not listen: {process.logged()}")
        capture = functools.partial(capture, token, TARGET_SENT, METHOD)
        with serve(issuer, "--upstream", url, *FLAGS, **settings) as (_, proxy, _):
            yield Lane(name, language, cover, secret, proxy, url, capture, token, claims_of(token)["sub"])


@contextlib.contextmanager
def application(language, places, cover, secret):
    """Its process and address; no address where it ended before it listened."""
    port = free_port()
    told = {"PORT": str(port), "COUNTERSIGN_SIGNING_SECRET": secret, "IDENTITY": " ".join(IDENTITY), "COVER": cover}
    command = language.run.format(**places, port=port)
    with Process(["bash", "-c", f"exec {command}"], clean(told)) as process:
        yield process, f"http://127.0.0.1:{port}" if listens(process, port) else None


def is_refused_a_short_secret(language, places):
    """With an empty key anybody could sign, so it must not come as far as believing one request."""
    told = dict.fromkeys(IDENTITY, "") | {"x-clerk-user-id": "user_root"}
    lines = told | {"@method": "GET", "@authority": "a.example", "@path": "/"}
    proof = signed(lines, [*IDENTITY, *DERIVED], SHORT)
    with application(language, places, "", SHORT) as (_, url), contextlib.suppress(OSError, http.client.HTTPException):
        return not url or request(url, "GET", "/", [("Host", "a.example"), *told.items(), *proof]).status != 200
    return True


def believed(cases, lane):
    """Sends what clients send, through the proxy; whether each was believed, and everything told."""
    held = []

    def case(name, target, method="GET", headers=(), token=lane.token, told=None):
        told = told or {"x-clerk-user-id": lane.user, "x-clerk-user-name": "J%C3%BCrgen%2C%2050%25"}
        proof = [bearer(token)] if token else []
        reply = request(lane.proxy, method, target, [*proof, *headers], b"{}" if method in ("POST", "PUT") else None)
        heard = told_by(reply)
        good = reply.status == 200 and sorted(heard) == sorted(IDENTITY) and told.items() <= heard.items()
        held.append(good)
        cases.check(f"{lane.name}: {name}: believed", good, reply)

    for target in "/", "/caf%C3%A9", "/a%2Fb", "/a+b", "/a%20b", "/%7Eme", "/100%25", "/a:b@c!$&'()*,;=", "/a[b]|c":
        case(f"GET {target}", target)
    for target in "/search?q=a%20b&empty=&x='", "/?", "/a?", "/a?b?c=d", "/caf%C3%A9?path=/a%2Fb":
        case(f"GET {target}", target)
    if lane.language.reads_odd_targets:
        case("a query of what no URL holds", "/a??b|[c]=%zz")
    for method in "POST", "PUT":
        case(method, "/caf%C3%A9/a%2Fb?dry=1", method)
    for host in "API.Example.COM:8443", "api.example.com:80", "[::1]:8080":
        case(f"for {host}", "/a", headers=[("Host", host)])
    case("a signature of somebody else's", "/a", headers=THEIRS)
    for headers in SLY:
        case(f"one with {headers[0][1][40:-8]}", "/a", headers=headers)
    case("headers of odd names", "/a", headers=[("constructor", "1"), ("--proto--", "1"), ("toString", "1")])
    case("forged headers on the way", "/a", headers=[("X-Clerk-User-Id", "user_root"), ("X_Clerk_Admin", "1")])
    nobody = dict.fromkeys(IDENTITY, "") | {"x-clerk-principal": "anonymous"}
    case("nobody signed in", "/open/door?q", token=None, told=nobody)
    reply = sent_again(lane, lane.capture())
    held.append(cases.check(f"{lane.name}: sent again unchanged: believed", reply.status == 200, reply))
    if not lane.cover:
        reply = sent_again(lane, lane.capture(), target=TARGET_SENT.replace("dry=1", "dry=0"))
        cases.check(f"{lane.name}: another query, which is not covered: believed", reply.status == 200, reply)
    return held


def told_by(reply):
    return dict(line.split(": ", 1) for line in reply.text.splitlines() if ": " in line)


def sent_again(lane, headers, method=METHOD, target=TARGET_SENT):
    """Without a body: a server that refuses by itself closes on what it has not read, and its answer may be lost."""
    return request(lane.application, method, target, headers)


def tampered(cases, lane):
    """What a proxy signed, without the proxy and with one thing changed."""
    headers, refused = lane.capture(), []
    not_there, broken = "there 0 times|not there once|of our kind", "does not hold"
    # Some servers make one value of what came twice, which the signature is not over.
    twice = f"there 2 times|not there once|{broken}"

    def case(name, why, changed=headers, statuses=(401,), **request_line):
        reply = sent_again(lane, changed, **request_line)
        refused.append(reply.status in statuses and (reply.status != 401 or bool(re.search(why, reply.text))))
        cases.check(f"{lane.name}: {name}: refused", refused[-1], reply)

    def value(name):
        return dict(headers)[name]

    def with_value(name, text):
        return [(other, text if other == name else old) for other, old in headers]

    def without(*names):
        return [pair for pair in headers if pair[0] not in names]

    case("another method", broken, method="PUT")
    case("another path", broken, target="/admin?dry=1")
    case("the slash decoded", broken, target="/caf%C3%A9/a/b?dry=1")
    case("a letter encoded", broken, target="/c%61f%C3%A9/a%2Fb?dry=1")
    case("another host", broken, with_value("host", "elsewhere.example.com"))
    case("two hosts", f"{twice}|signed", [*headers, ("host", "elsewhere.example.com")], statuses=(400, 401))
    case("another user", broken, with_value("x-clerk-user-id", "user_root"))
    case("another role", broken, with_value("x-clerk-org-role", value("x-clerk-org-role") + "org:admin"))
    case("a role emptied", broken, with_value("x-clerk-org-role", ""))
    case("an empty one filled", broken, with_value("x-clerk-actor-id", "user_root"))
    case("values swapped", broken, with_value("x-clerk-user-id", value("x-clerk-session-id")))
    case("a header less", f"{not_there}|{broken}", without("x-clerk-actor-id"))
    case("no identity at all", f"{not_there}|{broken}", without(*IDENTITY))
    case("a header more", "x-clerk-admin is not signed", [*headers, ("x-clerk-admin", "true")])
    case("one in capitals", "x-clerk-admin is not signed", [*headers, ("X-CLERK-ADMIN", "true")])
    case("one by `_`", "x.clerk.admin is not signed", [*headers, ("X_Clerk_Admin", "true")])
    case("an assertion", "x-clerk-assertion is not signed", [*headers, ("x-clerk-assertion", "e30.e30.AAAA")])
    case("a second user before", twice, [("x-clerk-user-id", "user_root"), *headers])
    case("a second user behind", twice, [*headers, ("x-clerk-user-id", "user_root")])
    case("the same user twice", twice, [*headers, ("x-clerk-user-id", value("x-clerk-user-id"))])
    case("no signature", not_there, without("signature", "signature-input"))
    case("no Signature-Input", not_there, without("signature-input"))
    case("no Signature", f"{not_there}|{broken}", without("signature"))
    case("an empty Signature-Input", not_there, with_value("signature-input", ""))
    case("two signatures", twice, [*headers, ("signature", value("signature"))])
    case("two of Signature-Input", twice + "|kind", [*headers, ("signature-input", value("signature-input"))])
    case("two in one field", twice, with_value("signature", f"{value('signature')}, {value('signature')}"))
    signature = value("signature")
    other = "B" if signature[13] == "A" else "A"
    case("its first letter changed", broken, with_value("signature", signature[:13] + other + signature[14:]))
    case("its letters in capitals", broken, with_value("signature", f"countersign={signature[12:].upper()}"))
    case("half a signature", broken, with_value("signature", signature[:30] + "=:"))
    case("an empty signature", broken, with_value("signature", "countersign=::"))
    case("no base64", broken, with_value("signature", "countersign=:!" + signature[14:]))
    case("another label", not_there, [(name, text.replace("countersign=", "theirs=", 1)) for name, text in headers])

    def with_input(old, new):
        return with_value("signature-input", re.sub(old, new, value("signature-input")))

    case("more time", broken, with_input(r"expires=\d", "expires=9"))
    case("created before", broken, with_input(r"created=\d", "created=0"))
    case("times of no number", "of our kind", with_input(r"created=\d+", "created=x"))
    case("another key id", "no key of this id", with_input('keyid="[^"]*"', 'keyid="deadbeef"'))
    case("another algorithm", f"kind|algorithm|{broken}", with_input("hmac-sha256", "ed25519"))
    case("another tag", "of our kind", with_input('tag="countersign"', 'tag="theirs"'))
    case("a parameter more", "of our kind", with_input("$", ';nonce="a"'))
    case("less covered", "not cover", with_input('"x-clerk-user-id" ', ""))
    case("more covered", "not cover", with_input('"@method"', '"x-clerk-admin" "@method"'))
    if lane.cover:
        for query in "", "?", "?dry=0", "?dry=1&", "?dry=%31", "??dry=1":
            case(f"the query {query or 'left out'}", broken, target=TARGET_SENT.split("?")[0] + query)
    aliased(cases, lane, headers)
    return refused


def aliased(cases, lane, headers):
    """What goes by our name elsewhere: the application must not be told what was not signed."""
    for name in "X_Clerk_User_Id", "X-Clerk_User-Id":
        reply = sent_again(lane, [*headers, (name, "user_root")])
        unseen = reply.status == 200 and told_by(reply)["x-clerk-user-id"] == lane.user
        held = unseen or (reply.status == 401 and "root" not in reply.text)
        cases.check(f"{lane.name}: {name} beside ours: {'not seen' if unseen else 'refused'}", held, reply)


def signed_otherwise(cases, lane):
    """What only somebody with the secret can send: each check has to hold without the signature's help."""
    told = {name: text for name, text in lane.capture() if name in IDENTITY}
    path, _, query = TARGET_SENT.partition("?")
    lines = told | {"@method": METHOD, "@authority": "a.example", "@path": path, "@query": f"?{query}"}
    refused, now, usual = [], int(time.time()), [*IDENTITY, *lane.derived]

    def case(name, why=None, covered=usual, headers=(), **how):
        proof = signed(lines | dict(headers), covered, **{"secret": lane.secret} | how)
        reply = sent_again(lane, [("host", "a.example"), *told.items(), *headers, *proof])
        held = reply.status == 200 if why is None else reply.status == 401 and bool(re.search(why, reply.text))
        if why:
            refused.append(held)
        cases.check(f"{lane.name}: signed here, {name}: {'refused' if why else 'believed'}", held, reply)

    case("as the proxy does")
    case("a clock 3 s ahead", created=now + 3)
    case("3 s late", created=now - 33, expires=now - 3)
    case("a clock 20 s ahead", "not of this time", created=now + 20, expires=now + 50)
    case("8 s late", "not of this time", created=now - 38, expires=now - 8)
    case("of long ago", "not of this time", created=1_700_000_000)
    case("for a million years", "not of this time|of our kind", created=10**14, expires=10**15 - 1)
    ours = key_id(lane.secret)
    case("another secret", "no key of this id", secret="another-0123456789abcdef0123456789abcdef")
    case("another by our key id", "does not hold", secret="another-0123456789abcdef0123456789abcdef", keyid=ours)
    case("an empty secret", "no key of this id", secret="")
    case("an empty secret by our key id", "does not hold", secret="", keyid=ours)
    case("our secret by another key id", "no key of this id", keyid="deadbeef")
    case("no key id", "no key of this id", keyid="")
    case("another order", "not cover", [*reversed(IDENTITY), *lane.derived])
    case("without the user", "not cover", [name for name in usual if name != "x-clerk-user-id"])
    case(f"without {usual[-1]}", "not cover", usual[:-1])
    case("with nothing covered", "not cover|of our kind", [])
    more = [("x-clerk-admin", "true")]
    case("with a header more", "not cover|not signed", [*IDENTITY, "x-clerk-admin", *lane.derived], more)
    case("with a header beside", "x-clerk-admin is not signed", headers=more)
    case("with another tag", "of our kind", tag="theirs")
    case("for another algorithm", "kind|algorithm", alg="ed25519")
    case("for a longer hash", "kind|algorithm", alg="hmac-sha512")
    return refused


def malformed(cases, lane):
    """What is no structured field at all: answered at once, and with a refusal, not with a failure."""
    headers, refused = lane.capture(), []

    def case(name, field, text):
        began = time.monotonic()
        try:
            reply = sent_again(lane, [(other, text if other == field else old) for other, old in headers])
            held = reply.status in (400, 401, 431)
        except (http.client.HTTPException, OSError) as hung_up:
            reply, held = hung_up, lane.language.hangs_up and not text.isascii()
        refused.append(held and time.monotonic() - began < 2)
        cases.check(f"{lane.name}: {name}: refused at once", refused[-1], reply)

    for field in "signature-input", "signature":
        case(f"{field}: a text that does not end", field, '"' + r"\"" * 3000)
        case(f"{field}: quotes", field, '"' * 6001)
        case(f"{field}: commas", field, "," * 6000)
        case(f"{field}: members without end", field, 'a="b",' * 1000)
        case(f"{field}: bytes of no alphabet", field, "countersign=\xff\xfe")
        case(f"{field}: an empty one of ours beside", field, dict(headers)[field] + ", countersign=")
    case("a user of no alphabet", "x-clerk-user-id", "user_\xff\xfe")
    return refused


if __name__ == "__main__":
    main(run)
