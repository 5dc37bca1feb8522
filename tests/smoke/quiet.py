"""Nothing that is secret is told: every byte that full runs wrote is searched for what they were given.

A demo and two `serve` at level `trace` get requests of every kind with tokens, cookies and secrets that
can be recognised, are asked to explain, to check and to read settings with mistakes, and drain. Then
logs, answers, `/status`, `/metrics` and `/readyz` are searched for any 12 characters in a row of one of
them, as it is, percent-encoded, in hex or in base64.
"""

import base64
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.parse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import slips
from canaries import Canaries
from echoes import Backend, BackendApi
from harness import BINARY, ROOT, clean, demo, main, mint, request, serve
from knocks import Wire, cookies, http1, http2, multiplexed, suffix

# The one list of what may be told, and why. Each must be met, or it does not belong here.
MAY = {
    "the demo's first line": "a token and the secrets of this run, to be pasted; keys are new at each start",
    "the demo's issuer": "it stands for Clerk, whose answers are Clerk's",
    "an answer of the backend": "what it tells its clients is its own; the demo's tells all it got",
    "the publishable key": "it is public, and says as the issuer of a token does where that is",
    "a word nobody expects": "the usage error repeats it to whoever typed it, where `ps` shows it too",
    "Location": "sends a browser to Clerk with what Clerk asks for, and back to the address it came for",
    "Set-Cookie": "a handshake's cookies, for the browser whose they are",
}

# What has to have happened, or the search proves little.
REASONS = set("""
    access-denied clerk-unavailable client-uat-but-no-session-token credential-repeated
    cross-site-request dev-browser-missing jwk-kid-mismatch keys-unavailable none request-malformed
    reverification-error scope-insufficient session-token-expired token-invalid token-invalid-algorithm
    token-invalid-issuer token-invalid-signature token-type-mismatch upstream-broken
    """.split())


class Search:
    """What was written, by whom, and what of it may hold what."""

    def __init__(self):
        self.canaries, self.written, self.met = Canaries(), {}, set()

    def wrote(self, who, text):
        text = text if isinstance(text, bytes) else text.encode()
        self.written[who] = self.written.get(who, b"") + b"\n" + text

    def answered(self, what, text, told_by_backend=b"x-backend: "):
        """An answer to a client, less what may stand in it."""
        if told_by_backend in text.lower():
            self.met.add("an answer of the backend")
            return
        for name in "Location", "Set-Cookie":
            line = re.compile(rb"^" + name.encode() + rb":[^\n]*\n", re.IGNORECASE | re.MULTILINE)
            if line.search(text):
                self.met.add(name)
                text = line.sub(b"", text)
        self.wrote(f"the answer to {what}", text)

    def report(self, cases, publishable_keys):
        for key in publishable_keys:
            self.canaries.public(key)
        self.met.add("the publishable key")
        for who, text in sorted(self.written.items()):
            found = self.canaries.found(text)
            if found or not who.startswith("the answer to "):
                cases.check(f"{who}: nothing secret in {len(text)} bytes", not found, found)
        answers = sum(who.startswith("the answer to ") for who in self.written)
        cases.check(f"nothing secret in {answers} answers, but where a line above says so", answers > 100, answers)
        for may, why in MAY.items():
            cases.check(f"may be told: {may} ({why})", may in self.met, self.met)
        panics = [who for who, text in self.written.items() if b"panicked" in text]
        cases.check("nobody panicked", not panics, panics)


def the_search_finds(cases):
    """Every form of a value is found, and what is no piece of it is not."""
    canaries = Canaries()
    value = canaries.new("it").encode()
    forms = {
        "as it is": value,
        "a piece": value[5:17],
        "percent-encoded": b"".join(b"%%%02x" % byte for byte in value).upper(),
        "in hex": value.hex().encode(),
        **{f"in base64 after {n}": base64.b64encode(b"x" * n + value + b"!") for n in range(4)},
    }
    for name, text in forms.items():
        cases.check(f"the search finds it {name}", canaries.found(b"before " + text + b" after"))
    cases.check("the search does not find what is shorter", not canaries.found(value[5:16] + b"-" + value[17:28]))


def tokens(search, about, other):
    """Tokens of every fate, by name."""
    now = int(time.time())
    good = mint(about, exp=now + 600)
    header, claims, signature = good.split(".")
    made = {
        "good": good,
        "expired": mint(about, exp=now - 600, iat=now - 660, nbf=now - 660),
        "forged": f"{header}.{claims}.{signature[::-1]}",
        "cut": f"{header}.{claims}.{signature[:40]}",
        "another issuer's": mint(other, exp=now + 600),
        "a stranger's": mint(about, iss="https://stranger.test"),
        "an unreachable issuer's": mint(about, iss="http://127.0.0.1:1"),
        "a key nobody knows": mint_with(about, {"kid": "ins_nobody"}),
        "of no algorithm": mint_with(about, {"alg": "none"}),
        "a template's": mint_with(about, {"cat": "cl_B7d4PD222AAA"}),
        "no json": ".".join(search.canaries.new(f"no json {n}") for n in range(3)),
        "one word": search.canaries.new("one word"),
        "too long": f"{header}.{search.canaries.new('too long') * 500}.{signature}",
    }
    for name, token in made.items():
        search.canaries.token(f"token {name}", token)
    return made


def mint_with(about, header):
    return mint(about, **{"$header": header})


def settings_of(home, search, other, backend):
    key = search.canaries.new("in a key set's address")
    routes = "".join(f'[[route]]\npath = "/{name}/**"\n{rule}\n' for name, rule in ROUTES.items())
    return f"""
upstream.url = "{backend.url}"
public_url = "http://localhost:3000"
websocket_protocol_token = true
limits.body = "64KiB"
timeouts.response = "2s"
drain.grace = "2s"
log.level = "trace"
signing.cover = ["query"]
signing.mode = ["http-signature", "jwt"]
signing.audience = "orders"
signing.keys_dir = "{home}/keys"
signing.active = "second"

[[issuer]]
url = "{other["issuer"]}"
jwks_url = "{other["jwks_url"]}?key={key}"
audience = "any"

[[issuer]]
url = "http://127.0.0.1:1"
jwks_url = "http://127.0.0.1:1/keys?key={key}"
audience = "any"

{routes}"""


ROUTES = {
    "public": 'access = "public"',
    "optional": 'access = "optional"',
    "role": 'role = "org:nobody"',
    "claim": 'claims = { nobody = "nothing" }',
    "verify": 'reverification = { level = "first_factor", after_minutes = 1 }',
    "active": 'session = "active"',
    "report": 'mode = "report"',
    "hidden": 'unauthenticated = "not-found"\nforbidden = "not-found"',
}


def keys(home, search, run):
    """Key pairs and a secret of `keygen`'s."""
    (home / "keys").mkdir()
    for name, algorithm in ("first", "ed25519"), ("second", "es256"):
        file = home / "keys" / f"{name}.pem"
        run(f"keygen {algorithm}", ["keygen", "--alg", algorithm, "--out", str(file)])
        search.canaries.key(f"the private half of {name}", file.read_text())
    run("keygen", ["keygen", "--out", str(home / "secret")])
    search.canaries.add("what keygen made", (home / "secret").read_text().strip().removeprefix("base64:"))
    run("keygen over a file", ["keygen", "--out", str(home / "secret")])


def runner(search, known):
    """Runs a command to its end; all it says is kept."""

    def run(what, arguments, stdin="", **settings):
        settings = clean(known | settings)
        done = subprocess.run([BINARY, *arguments], input=stdin.encode(), env=settings, capture_output=True, timeout=60)
        search.wrote(what, done.stdout + b"\n" + done.stderr)
        return done

    return run


def explained(cases, search, run, made, config, jar):
    """Tokens and requests, on standard input and as arguments."""
    for name, token in made.items():
        how = ["explain", *config]
        run(f"explain, {name}", how, stdin=f"Bearer {token}")
        if name == "an unreachable issuer's":
            continue  # whose keys are waited for
        run(f"explain --json, {name}", [*how, "--json"], stdin=token)
        if len(token) < 100_000:
            run(f"explain an argument, {name}", [*how, token])
            # What is no token to anybody may stand in an address that somebody asks about.
            url = f"/?__clerk_handshake={token}" + (f"&t={token}" if token.startswith("eyJ") else "")
            run(f"explain --url, {name}", [*how, "--url", url, "-b", f"__session={token}"])
    done = run("explain, and accept", [*how, made["good"]])
    cases.check("explain: a good token is accepted", done.returncode == 0, done)
    nonce = f"/active/x?__clerk_handshake_nonce={jar['nonce']}"
    run("explain a request", ["explain", *config, "--url", nonce, "-b", "-"], stdin=cookies(jar))
    run("explain a request --json", ["explain", "--json", *config, "-H", f"Cookie: {cookies(jar)}", "-X", "POST"])


def jar_of(search, about, made):
    """A browser's cookies, all of them secret but the time."""
    end = suffix(about["publishable_key"])
    new = search.canaries.new
    expired, now = made["expired"], int(time.time())
    return {
        "__client_uat": str(now - 3600), f"__client_uat_{end}": str(now - 3600),
        "__session": expired, f"__session_{end}": expired, f"__refresh_{end}": new("the refresh cookie"),
        "__clerk_db_jwt": new("the dev browser", "dvb_"),
        f"__clerk_db_jwt_{end}": new("the dev browser with a suffix", "dvb_"),
        "__session_other": new("another instance's cookie"), "__theirs": new("the application's cookie"),
        "nonce": new("a nonce"),
    }  # fmt: skip


def serving(cases, search, about, other, home, form):
    """One `serve`, from its start to its drain; `form` is of its log."""
    backend, api = Backend(), BackendApi()
    secret = search.canaries.new(f"the signing secret ({form})")
    key = search.canaries.new(f"the secret key ({form})", "sk_test_")
    made, how = tokens(search, about, other), {"COUNTERSIGN_LOG_FORMAT": form, "CLERK_API_URL": api.url}
    if form == "json":
        how |= {"COUNTERSIGN_SIGNING_SECRET": secret, "CLERK_SECRET_KEY": key}
    else:
        (home / "signing").write_text(secret)
        (home / "clerk").write_text(key)
        fixtures = ROOT / "tests/fixtures/tls"
        search.canaries.key("the private key of TLS", (fixtures / "pkcs8.pem").read_text())
        how |= {"COUNTERSIGN_SIGNING_SECRET_FILE": f"{home}/signing", "CLERK_SECRET_KEY_FILE": f"{home}/clerk"}
        how |= {
            "COUNTERSIGN_TLS_KEY_FILE": f"{fixtures}/pkcs8.pem",
            "COUNTERSIGN_TLS_CERTIFICATE_FILE": f"{fixtures}/ec.crt",
        }
    config = home / f"{form}.toml"
    good_settings = settings_of(home, search, other, backend)
    config.write_text(good_settings)
    run = runner(search, {"CLERK_PUBLISHABLE_KEY": about["publishable_key"], **how})
    jar = jar_of(search, about, made)
    who = f"serve, {form}"
    with serve(about, "--config", str(config), **how) as (process, proxy, admin):
        wire = Wire(proxy, tls=form == "text")
        send = lambda what, raw: search.answered(f"{what} ({form})", wire.send(raw))
        for what, raw in http1(made, jar, search.canaries):
            send(what, raw)
        for _ in range(2 * len(BackendApi.MODES)):
            nonce = search.canaries.new("a nonce, and another")
            send("a nonce", wire.page(f"/?__clerk_handshake_nonce={nonce}", cookies(jar)))
            send("a nonce in a cookie", wire.page("/", f"{cookies(jar)}; __clerk_handshake_nonce={nonce}"))
            send("a page with an expired session", wire.page("/orders", cookies(jar)))
            session = search.canaries.token("token of a session", mint(about, sid=f"sess_{time.monotonic_ns()}"))
            send("a route that asks Clerk", wire.get("/active/x", f"Authorization: Bearer {session}"))
        for _, raw in multiplexed(made, search.canaries):
            wire.send_http2(raw)
        for what, arguments in http2(made, jar):
            search.answered(f"{what} over HTTP/2 ({form})", wire.curl(arguments))
        plain = wire.get("/", f"Authorization: Bearer {made['good']}")
        search.answered(f"a request without TLS ({form})", wire.send_plain(plain))
        watched(search, admin, made, jar, who)
        reasons = set(re.findall(r'reason="([a-z-]+)"', request(admin, "GET", "/metrics").text))
        cases.check(f"{who}: requests met all that should be met", REASONS <= reasons, REASONS - reasons)
        panics = re.findall(r"^countersign_panics_total (\S+)$", request(admin, "GET", "/metrics").text, re.MULTILINE)
        cases.check(f"{who}: nothing panicked", panics == ["0"], panics)

        wrong = search.canaries.new(f"a secret in a setting ({form})", "sk_live_")
        bad = f'mode = "{wrong}"', f"clerk.secret_key = {wrong}", f'signing.secret_file = "{wrong}"'
        for text in *bad, 'log.caller = "hash"\n' + good_settings:
            config.write_text(text)
            process.child.send_signal(signal.SIGHUP)
            time.sleep(0.5)
        watched(search, admin, made, jar, who)
        run(f"check, {form}", ["check", "--config", str(config)])
        run(f"check --strict, {form}", ["check", "--strict", "--config", str(config)])
        if form == "json":
            explained(cases, search, run, made, ["--config", str(config)], jar)

        under_way = wire.open(wire.get("/slow", f"Authorization: Bearer {made['good']}", f"Cookie: {cookies(jar)}"))
        process.child.terminate()
        process.child.wait(timeout=30)
        under_way.close()
        search.wrote(f"{who}: standard output", process.child.stdout.read())
        process.log.seek(0)
        log = process.log.read()
    search.wrote(f"{who}: its log", log)
    lines = log.count(b"access")
    whole = lines > 150 and all(word in log for word in (b"not reloaded", b"settings reloaded", b"drained"))
    cases.check(f"{who}: the log is one of a full run ({lines} lines)", whole)
    told = {"the token": made["good"], "a cookie": jar["__theirs"], "the dev browser": jar["__clerk_db_jwt"]}
    for what, value in told.items():
        cases.check(f"{who}: the backend was told {what}", value.encode() in backend.seen())
    told = {"the secret key": key, "the refresh cookie": jar[f"__refresh_{suffix(about['publishable_key'])}"]}
    for what, value in told.items():
        cases.check(f"{who}: Clerk was told {what}", value.encode() in api.seen())


def watched(search, admin, made, jar, who):
    """The admin listener, asked with everything it has no use for."""
    carried = [("Authorization", f"Bearer {made['good']}"), ("Cookie", cookies(jar))]
    for path in "/livez", "/readyz", "/metrics", "/status", "/.well-known/jwks.json", "/", "/nothing":
        for method, body in ("GET", None), ("POST", made["good"].encode()):
            reply = request(admin, method, f"{path}?access_token={made['good']}", carried, body)
            search.wrote(f"{who}: {path}", f"{reply.headers}{reply.text}")


ECHO = b"http/1.1 200"  # the demo's backend answers nothing else, and its proxy nothing with it


def demonstrated(cases, search, about, process, made):
    """A browser that signs in at a demo, and requests of every kind to its proxy."""
    search.met.add("the demo's first line")
    for name in "signing_secret", "secret_key":
        search.canaries.add(f"the demo's {name}", about[name])
    search.canaries.token("the demo's token", about["token"])
    wire = Wire(about["proxy"])
    jar = jar_of(search, about, made)
    for what, raw in http1(made, jar, search.canaries):
        search.answered(f"{what} (demo)", wire.send(raw), ECHO)
    signed_in(cases, search, about)
    watched(search, about["admin"], made, jar, "demo")


def signed_in(cases, search, about):
    """From the first page over sign-in and the handshake to the backend."""
    browser, place = {}, about["proxy"] + "/hello"
    issuer = urllib.parse.urlsplit(about["issuer"])
    for _ in range(12):
        url = urllib.parse.urlsplit(place)
        target = (url.path or "/") + (f"?{url.query}" if url.query else "")
        ours = url.netloc != issuer.netloc
        carried = r"(?:__clerk_handshake(?:_nonce)?|__clerk_db_jwt)=([^&]+)"
        for value in re.findall(carried, urllib.parse.unquote(url.query)):
            search.canaries.add(f"what the address carries: {value[:4]}…", value)
        sent = [("Accept", "text/html"), ("Host", url.netloc)]
        if browser and ours:
            sent.append(("Cookie", "; ".join(f"{name}={value}" for name, value in browser.items())))
        if url.path == "/sign-in":
            back = urllib.parse.parse_qs(url.query)
            form = {name: values[0] for name, values in back.items()} | {"user": "user_2xHq6uHb8KkM3nQs5VxY7zCeGjR"}
            kind = ("Content-Type", "application/x-www-form-urlencoded"), ("Origin", about["issuer"])
            reply = request(about["issuer"], "POST", "/sign-in", [*sent, *kind], urllib.parse.urlencode(form).encode())
        else:
            reply = request(f"{url.scheme}://{url.netloc}", "GET", target, sent)
        if not ours:
            search.met.add("the demo's issuer")
        for line in reply.headers.get_all("set-cookie") or [] if ours else []:
            name, _, value = line.split(";")[0].partition("=")
            browser[name] = value
            if "uat" not in name and "count" not in name and len(value) > 8:
                search.canaries.token("a cookie of the demo's", value)
        if ours:
            raw = "".join(f"{name}: {value}\n" for name, value in reply.headers.items())
            search.answered("a step of signing in", f"http/1.1 {reply.status}\n{raw}\n{reply.text}".encode(), ECHO)
        place = reply.headers["location"]
        if not place:
            break
        place = urllib.parse.urljoin(f"{url.scheme}://{url.netloc}{target}", place)
    cases.check("demo: somebody signs in", reply.status == 200 and any("refresh" in name for name in browser), reply)


def run(cases):
    the_search_finds(cases)
    search = Search()
    with tempfile.TemporaryDirectory() as home, demo() as (_, other), demo() as (process, about):
        home = pathlib.Path(home)
        known = {"CLERK_PUBLISHABLE_KEY": about["publishable_key"], "COUNTERSIGN_UPSTREAM": "http://127.0.0.1:9"}
        plain = runner(search, known)
        keys(home, search, plain)
        slips.tried(cases, search, plain, home)
        demonstrated(cases, search, about, process, tokens(search, about, other))
        for form in "json", "text":
            serving(cases, search, about, other, home, form)
        process.child.terminate()
        process.child.wait(timeout=30)
        process.log.seek(0)
        search.wrote("demo: its log", process.log.read())
    search.report(cases, [it["publishable_key"] for it in (about, other)])


main(run)
