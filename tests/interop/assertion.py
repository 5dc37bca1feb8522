"""Three JWT libraries verify the assertion the proxy hands its backend, and refuse what is none of its.
So do the lines that README.md shows.

    python assertion.py                 before a proxy that makes assertions
    python assertion.py --minted        the judges alone: this file mints, and serves the key set
    python assertion.py --period 120    watches a rotation for so many seconds (8 unless told)

The tampered assertions are signed here with the proxy's own key wherever only a claim is wrong:
otherwise each would be refused for its signature, and nothing be known of the check it is for.
"""

import argparse
import base64
import contextlib
import dataclasses
import hashlib
import hmac
import http.server
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from harness import (
    ROOT,
    Process,
    bearer,
    claims_of,
    demo,
    forged,
    free_port,
    main,
    mint,
    request,
    serve,
    serving,
    url_of,
)

ISSUER, AUDIENCE = "countersign", "orders"  # as README.md has them
JARS = [
    "google-oauth-client", "google-http-client", "google-http-client-gson", "gson", "guava",
    "opencensus-api", "opencensus-contrib-http-util", "grpc-context",
]  # fmt: skip
# Why each judge says no, by the check that has to say it: (npm jose, PyPI PyJWT, Java google-oauth-client).
REASONS = {
    "signature": ("ERR_JWS_SIGNATURE_VERIFICATION_FAILED", "InvalidSignatureError", "Invalid signature"),
    "algorithm": ("ERR_JOSE_ALG_NOT_ALLOWED", "InvalidAlgorithmError", "another algorithm"),
    "key": ("ERR_JWKS_NO_MATCHING_KEY", "PyJWKClientError", "Could not find public key"),
    "audience": ('unexpected "aud"', "InvalidAudienceError", "another audience"),
    "issuer": ('unexpected "iss"', "InvalidIssuerError", "another issuer"),
    "expired": ("ERR_JWT_EXPIRED", "ExpiredSignatureError", "not of this time"),
    "early": ('"nbf" claim timestamp', "ImmatureSignatureError", "not valid yet"),
    "no expiry": ('missing required "exp"', "MissingRequiredClaimError", "NullPointerException"),
    "form": ("ERR_JWS_INVALID", "DecodeError", "IllegalArgumentException: null"),
    # The Java library falls over a signature of another length; it does not say yes.
    "length": ("ERR_JWS_SIGNATURE_VERIFICATION_FAILED", "InvalidSignatureError", "IllegalStateException"),
    # Of Clerk's: RS256, and a key that is not in our set; libraries look at the one or the other first.
    "foreign": ("ERR_JOSE_ALG_NOT_ALLOWED", "PyJWKClientError", "another algorithm"),
    "two": ("2 assertions",) * 3,
    "none": ("0 assertions",) * 3,
}


@dataclasses.dataclass
class Judge:
    name: str
    command: list
    column: int  # in REASONS
    algorithms: tuple
    mixed: bool = True  # takes a key set in which there are keys of kinds it does not know


class Key:
    """A signing key as the proxy has it in `signing.keys_dir`."""

    def __init__(self, kid, alg):
        self.kid, self.alg = kid, alg
        makers = {"ES256": lambda: ec.generate_private_key(ec.SECP256R1()), "EdDSA": ed25519.Ed25519PrivateKey.generate}
        self.private = makers[alg]()

    def pem(self):
        form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        return self.private.private_bytes(*form, serialization.NoEncryption())

    def jwk(self):
        algorithm = jwt.get_algorithm_by_name(self.alg)
        public = algorithm.to_jwk(self.private.public_key(), as_dict=True)
        return public | {"kid": self.kid, "alg": self.alg, "use": "sig"}

    def sign(self, claims, **header):
        header = {"kid": self.kid, "typ": "JWT"} | header
        return jwt.encode(claims, self.private, algorithm=self.alg, headers=header)


def run(cases, minted=False, period=8.0):
    jars = [f"/usr/share/java/{jar}.jar" for jar in JARS]
    missing = [jar for jar in jars if not pathlib.Path(jar).exists()]
    if missing or not shutil.which("javac"):
        raise RuntimeError(
            f"not there: Java or {missing}; apt-get install default-jdk-headless libgoogle-oauth-client-java"
        )
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        with Process(["javac", "-cp", ":".join(jars), "-d", scratch, HERE / "Assertion.java"]) as compiler:
            if compiler.child.wait(60) != 0:
                raise RuntimeError(compiler.logged())
        java = ["java", "-Xshare:auto", "-cp", ":".join([*jars, str(scratch)]), "Assertion"]
        judges = [
            Judge("npm jose", ["node", HERE / "assertion.mjs"], 0, ("ES256", "EdDSA")),
            Judge("PyPI PyJWT", [sys.executable, HERE / "assertion_pyjwt.py"], 1, ("ES256", "EdDSA")),
            # One Ed25519 key in the set and it finds no key at all.
            Judge("Java google-oauth-client", java, 2, ("ES256",), mixed=False),
        ]
        with demo() as (_, issuer):
            for judge in judges:
                for alg in judge.algorithms:
                    key = Key(f"{alg.lower()}-1", alg)
                    with (Minted if minted else Live)(issuer, judge, alg, key, scratch) as source:
                        judged(cases, source, f"{judge.name}, {alg}")
                if not minted:
                    with Live(issuer, judge, "ES256", None, scratch) as source:
                        judged(cases, source, f"{judge.name}, ES256, a key made at the start")
            if not minted:
                with Live(issuer, judges[0], "ES256", None, scratch) as source:
                    shown(cases, source)
            judge, alg = judges[0], "ES256"
            with (Minted if minted else Live)(issuer, judge, alg, Key("old", alg), scratch) as source:
                rotated(cases, source, f"{judge.name}, {alg}", period)


class Source(contextlib.ExitStack):
    """Assertions, and a judge that gets them."""

    def __init__(self, issuer, judge, alg, key, scratch):
        super().__init__()
        self.issuer, self.judge, self.alg, self.key = issuer, judge, alg, key
        self.directory = pathlib.Path(tempfile.mkdtemp(dir=scratch))

    def __enter__(self):
        port = free_port()
        self.backend = f"http://127.0.0.1:{port}"
        try:
            self.admin = self.start()
            jwks = f"{self.admin}/.well-known/jwks.json"
            self.enter_context(Process([*self.judge.command, port, jwks, ISSUER, AUDIENCE, self.alg])).line()
        except BaseException:  # what has been started would run on: nobody leaves what was not entered
            self.close()
            raise
        return self

    def key_set(self):
        return request(self.admin, "GET", "/.well-known/jwks.json").json().get("keys", [])

    def directly(self, assertion):
        """To the judge without the proxy: what somebody sends who can reach the backend."""
        headers = [("x-clerk-assertion", text) for text in ([assertion] if isinstance(assertion, str) else assertion)]
        return request(self.backend, "GET", "/a", headers)


class Live(Source):
    def start(self):
        # Both: a request is then signed too, and where there is no secret with an Ed25519 key, which
        # who verifies assertions finds in the key set beside theirs.
        mode = "http-signature,jwt" if self.judge.mixed else "jwt"
        settings = {"COUNTERSIGN_SIGNING_MODE": mode, "COUNTERSIGN_SIGNING_AUDIENCE": AUDIENCE}
        if self.key:
            (self.directory / f"{self.key.kid}.pem").write_bytes(self.key.pem())
            settings["COUNTERSIGN_SIGNING_KEYS_DIR"] = str(self.directory)
            settings["COUNTERSIGN_SIGNING_SECRET"] = "interop-0123456789abcdef0123456789abcdef"
        command = "--upstream", self.backend, "--public", "/open/**"
        _, self.proxy, admin = self.enter_context(serve(self.issuer, *command, **settings))
        return admin

    def through(self, token, headers=(), path="/a"):
        return request(self.proxy, "GET", path, [bearer(token), *headers] if token else headers)

    def rotate(self, key):
        written = self.directory.with_suffix(".new")  # elsewhere first: nobody is to read half a file
        written.write_bytes(key.pem())
        written.rename(self.directory / f"{key.kid}.pem")
        (self.directory / f"{self.key.kid}.pem").unlink()
        self.key = key


class Minted(Source):
    """What the proxy is to do, done here: to try the judges with."""

    HOLD = 35  # seconds a new key is published before it signs: longer than verifiers wait between fetches

    def start(self):
        source = self
        # With one beside it that signs requests, as the proxy publishes where it has no secret.
        self.beside = [Key("requests", "EdDSA")] if self.judge.mixed else []
        self.published, self.signing, self.since = [*self.beside, self.key], self.key, 0.0

        class KeySet(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                text = json.dumps({"keys": [key.jwk() for key in source.published]}).encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), KeySet)
        return url_of(self.enter_context(serving(server)))

    def through(self, token, headers=(), path="/a"):
        if self.signing is not self.key and time.monotonic() - self.since > self.HOLD:
            self.signing = self.key
        clerk = claims_of(token)
        now = int(time.time())
        claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": clerk["sub"], "sid": clerk["sid"]}
        claims |= {"org_id": clerk["o"]["id"]} if "o" in clerk else {}
        return self.directly(self.signing.sign(claims | {"iat": now, "nbf": now, "exp": now + 60}))

    def rotate(self, key):
        self.published, self.since, self.key = [*self.beside, key, self.key], time.monotonic(), key


def judged(cases, source, lane):
    got = accepted(cases, source, lane)
    if got is None:
        return
    refused(cases, source, lane, got)
    if isinstance(source, Live):
        proxied(cases, source, lane, got)


def accepted(cases, source, lane):
    """Assertions of several callers; returns one of them."""

    def case(name, **claims):
        token = mint(source.issuer, **claims)
        reply = source.through(token)
        got, clerk, now = reply.json(), claims_of(token), time.time()
        assertion = (got.get("assertions") or [""])[0]
        told = got.get("claims") or {}
        held = reply.status == 200 and {
            "header": jwt.get_unverified_header(assertion) == {"alg": source.alg, "kid": kid_of(source), "typ": "JWT"},
            "iss": told.get("iss") == ISSUER,
            "aud, a string": told.get("aud") == AUDIENCE,
            "sub": told.get("sub") == clerk["sub"],
            "sid": told.get("sid") == clerk["sid"],
            "org_id": told.get("org_id") == clerk.get("o", {}).get("id"),
            "iat": now - 60 <= told.get("iat", 0) <= now + 1,
            "nbf": told.get("nbf", now) <= told.get("iat", 0),
            "exp at most 60 s away": now < told.get("exp", 0) <= now + 60,
        }
        missed = [what for what, so in held.items() if not so] if held else ["accepted"]
        cases.check(f"{lane}: {name}: accepted", not missed, f"not so: {missed}: {reply}")
        return assertion if not missed else None

    case("no organization", o=None)
    case("an organization")
    case("another role of the same user", o={"id": "org_2", "rol": "member", "slg": "two"})
    case("an actor", act={"sub": "user_2cDeFgHiJkLmNoPqRsTuVwXyZaB"})
    case("another user", sub="user_2other", sid="sess_2other")
    return case("a user")


def kid_of(source):
    """The id of the key that signs; of a key that was made at the start, the one in the key set."""
    if source.key:
        return source.key.kid
    kids = [key["kid"] for key in source.key_set() if key.get("alg") == source.alg]
    return kids[0] if len(kids) == 1 else kids


def refused(cases, source, lane, got):
    count = []

    def case(name, reason, assertion):
        reply = source.directly(assertion)
        error = str(reply.json().get("error"))
        held = reply.status == 401 and REASONS[reason][source.judge.column] in error
        count.append(held)
        cases.check(f"{lane}: {name}: refused: {error}", held, reply)

    again = source.directly(got)
    cases.check(f"{lane}: sent again unchanged: accepted", again.status == 200, again)
    head, body, signature = got.split(".")
    claims, header = claims_of(got), jwt.get_unverified_header(got)
    public = public_pem(source, header["kid"])
    root = encoded(claims | {"sub": "user_root"})
    case("another payload", "signature", f"{head}.{root}.{signature}")
    case("another signature", "signature", f"{head}.{body}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}")
    case("alg none", "algorithm", f"{encoded(header | {'alg': 'none'})}.{body}.")
    case("alg none with a signature", "algorithm", f"{encoded(header | {'alg': 'none'})}.{root}.{signature}")
    confused = f"{encoded(header | {'alg': 'HS256'})}.{root}"
    mac = base64url(hmac.digest(public, confused.encode(), hashlib.sha256))
    case("alg HS256, the public key for a secret", "algorithm", f"{confused}.{mac}")
    case("another key, the same kid", "signature", Key(header["kid"], source.alg).sign(claims))
    stranger = Key("stranger", source.alg)
    case("an unknown kid", "key", stranger.sign(claims))
    case("a stranger's key in the header", "key", stranger.sign(claims, jwk=stranger.jwk()))
    case("the header of another", "signature", f"{encoded(header | {'x': 1})}.{body}.{signature}")
    case("truncated", "form", f"{head}.{body}")
    case("half a signature", "length", f"{head}.{body}.{signature[: len(signature) // 2 // 4 * 4]}")
    case("two assertions", "two", [got, got])
    case("none at all", "none", [])
    case("the caller's own token", "foreign", mint(source.issuer))
    if source.key:  # a key that was made at the start never leaves the proxy

        def signed(change):
            return source.key.sign({name: value for name, value in (claims | change).items() if value is not None})

        now = int(time.time())
        again = source.directly(signed({"sub": "user_by_hand"}))
        cases.check(f"{lane}: signed here as the proxy does: accepted", again.status == 200, again)
        case("for another audience", "audience", signed({"aud": "billing"}))
        case("for two audiences in one text", "audience", signed({"aud": f"{AUDIENCE} billing"}))
        case("of another issuer", "issuer", signed({"iss": source.issuer["issuer"]}))
        case("expired", "expired", signed({"iat": now - 120, "nbf": now - 120, "exp": now - 60}))
        case("not valid yet", "early", signed({"iat": now, "nbf": now + 60, "exp": now + 120}))
        case("without an end", "no expiry", signed({"exp": None}))
    cases.check(f"{lane}: {len(count)} tamperings, each for its own reason", all(count) and len(count) >= 12, count)


def proxied(cases, source, lane, got):
    """What a client can try with an assertion at the proxy."""
    user = mint(source.issuer)
    reply = source.through(user, [("x-clerk-assertion", got), ("X_Clerk_Assertion", got)])
    seen = reply.json()
    ours = reply.status == 200 and len(seen["assertions"]) == 1 and "x_clerk_assertion" not in seen["headers"]
    cases.check(f"{lane}: a client's assertion does not reach the backend", ours, reply)
    reply = request(source.proxy, "GET", "/a", [bearer(got)])
    cases.check(f"{lane}: an assertion is no credential at the proxy", reply.status == 401, reply)
    reply = source.through(None, [("x-clerk-assertion", got)], "/open/door")
    nobody = reply.status == 401 and reply.json().get("claims") is None and got not in reply.json().get("assertions")
    cases.check(f"{lane}: nobody signed in: no assertion of anybody", nobody, reply)
    reply = request(source.proxy, "GET", "/.well-known/jwks.json")
    cases.check(f"{lane}: the key set is not on the clients' port", reply.status == 401, reply)
    private = [name for key in source.key_set() for name in "dpqk" if name in key]
    cases.check(f"{lane}: the key set has public parts alone", not private and source.key_set(), private)


def shown(cases, source):
    """What README.md's JavaScript says, as it stands there but for the address of the key set."""
    code = re.search(r"```js\n(import .*?)```", (ROOT / "README.md").read_text(), re.DOTALL).group(1)
    code = code.replace("http://127.0.0.1:4601", source.admin)
    token = mint(source.issuer)
    [got] = source.through(token).json()["assertions"]

    def case(name, assertion, said):
        request = f"const request = {json.dumps({'headers': {'x-clerk-assertion': assertion}})}"
        program = f"{request}\n{code}\nconsole.log(payload.sub)"
        command = ["node", "--input-type=module", "--eval", program]
        ran = subprocess.run(command, cwd=HERE, capture_output=True, text=True, timeout=20, check=False)
        cases.check(f"README.md: {name}: {said}", said in (ran.stderr if ran.returncode else ran.stdout), ran)

    case("an assertion of the proxy", got, claims_of(token)["sub"])
    case("one that was changed", forged(got), "ERR_JWS_SIGNATURE_VERIFICATION_FAILED")
    case("the caller's own token", token, "ERR_JWKS_NO_MATCHING_KEY")
    case("nobody's", "", "ERR_JWS_INVALID")


def rotated(cases, source, lane, period):
    """While requests run, the key is replaced: no verification may fail, whoever verifies from a cache."""
    kids, failures, stop = {}, [], threading.Event()
    ends = int(time.time() + period) + 60
    tokens = [mint(source.issuer, sub=f"user_2rotation{n}", exp=ends) for n in range(4)]

    def load(token):
        while not stop.is_set():
            try:
                reply = source.through(token)
            except OSError as error:
                failures.append(error)
                continue
            if reply.status == 200:
                kid = jwt.get_unverified_header(reply.json()["assertions"][0])["kid"]
                kids[kid] = kids.get(kid, 0) + 1
            else:
                failures.append(reply)
            time.sleep(0.005)

    workers = [threading.Thread(target=load, args=[token]) for token in tokens]
    for worker in workers:
        worker.start()
    try:
        time.sleep(1)
        before = source.directly(source.through(tokens[0]).json()["assertions"][0])
        kept = before.json()["assertions"][0]
        source.rotate(Key("new", source.alg))
        swapped, both = time.monotonic(), None
        while time.monotonic() - swapped < period:
            if both is None and {"old", "new"} <= {key["kid"] for key in source.key_set()}:
                both = time.monotonic() - swapped
            time.sleep(0.1)
    finally:
        stop.set()
        for worker in workers:
            worker.join()
    found = source.key_set()
    in_time = both is not None and both <= 5
    cases.check(f"{lane}: rotation: both keys published {both or 0:.1f} s after it", in_time, found)
    if period <= 40:  # past that it may have expired
        old = source.directly(kept)
        cases.check(f"{lane}: rotation: what the old key signed is accepted after it", old.status == 200, old)
    cases.check(
        f"{lane}: rotation: {sum(kids.values())} verified by {kids}, {len(failures)} refused",
        not failures and sum(kids.values()) >= 100 and "old" in kids,
        failures[:3],
    )
    if period >= 90:
        cases.check(f"{lane}: rotation: the new key signs within {period:.0f} s", "new" in kids, kids)


def public_pem(source, kid):
    [jwk] = [key for key in source.key_set() if key["kid"] == kid]
    form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    return jwt.PyJWK(jwk).key.public_bytes(*form)


def encoded(value):
    return base64url(json.dumps(value, separators=(",", ":")).encode())


def base64url(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--minted", action="store_true")
    arguments.add_argument("--period", type=float, default=8.0)
    chosen = vars(arguments.parse_args())
    main(lambda cases: run(cases, **chosen))
