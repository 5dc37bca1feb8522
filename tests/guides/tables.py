"""reasons.md and metrics.md are whole: every reason and every metric of the program, and no other."""

import http.server
import pathlib
import re
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from guide import DOCS, table
from harness import ROOT, bearer, demo, forged, main, mint, request, serve, serving, url_of

WORD = re.compile(r"`([a-z0-9_-]+)`")
STATUSES = {
    "BAD_REQUEST": 400, "UNAUTHORIZED": 401, "FORBIDDEN": 403, "METHOD_NOT_ALLOWED": 405, "REQUEST_TIMEOUT": 408,
    "PAYLOAD_TOO_LARGE": 413, "URI_TOO_LONG": 414, "REQUEST_HEADER_FIELDS_TOO_LARGE": 431,
    "INTERNAL_SERVER_ERROR": 500, "BAD_GATEWAY": 502, "SERVICE_UNAVAILABLE": 503, "GATEWAY_TIMEOUT": 504,
    "TEMPORARY_REDIRECT": 307,
}  # fmt: skip


def told(text):
    """The statuses of each reason in a table of reasons; the README has some in a sentence."""
    found = {}
    for names, statuses, *_ in table(text, "reason"):
        for name in WORD.findall(names):
            found[name] = {int(status) for status in re.findall(r"\d{3}", statuses)}
    return found


def programs_reasons():
    """The reasons in the source, each with the statuses it has there."""
    reject = (ROOT / "src/core/reject.rs").read_text()
    faces = reject[reject.index("fn faces(") : reject.index("fn client_closed_request")]
    found = {}
    for status, label in re.findall(r'=> \((?:StatusCode::)?(\w+)(?:\(\))?,.*?"?([\w-]*)"?\),$', faces, re.MULTILINE):
        found.setdefault(label, set()).add(499 if status == "client_closed_request" else STATUSES[status])
    # What is no word there is worked out elsewhere.
    found = {
        label: statuses
        for label, statuses in found.items()
        if "-" in label or label in ("draining", "internal", "overloaded")
    }
    labels = reject[reject.index("fn claim_label(") :]
    found |= {label: {401} for label in re.findall(r'=> "([\w-]+)"', labels)}
    handshake = (ROOT / "src/core/clerk/handshake.rs").read_text()
    found |= {
        label: {401} for label in re.findall(r'=> "([\w-]+)",', handshake[: handshake.index("pub struct Exchange")])
    }
    return found | {"handshake-over": {307}}


def reasons(cases):
    guide, readme = told((DOCS / "guides" / "reasons.md").read_text()), told((ROOT / "README.md").read_text())
    program = programs_reasons()
    cases.check(f"the source has {len(program)} reasons", len(program) > 40, sorted(program))
    cases.check("reasons.md has those of the source", guide.keys() == program.keys(), guide.keys() ^ program.keys())
    cases.check("README.md has those of the source", readme.keys() == program.keys(), readme.keys() ^ program.keys())
    for name in sorted(guide):
        held = program.get(name, set()) <= guide[name]
        cases.check(f"{name}: {sorted(guide[name])}, as in the source", held, program.get(name))
    advice = table((DOCS / "guides" / "reasons.md").read_text(), "reason")
    cases.check("each says what to do", all(len(row) == 4 and row[3] for row in advice), advice)


ROUTES = """
clerk.authorized_parties = ["http://localhost:3000"]
clerk.impersonation = "refuse"
limits.body = "1KiB"

[[route]]
path = "/role"
role = "org:owner"

[[route]]
path = "/feature"
feature = "org:secrets"

[[route]]
path = "/strict"
reverification = "strict_mfa"
"""


def provoked(cases):
    """What provokes them does provoke them, for those that need no browser and no patience."""
    with demo() as (_, issuer), tempfile.TemporaryDirectory() as folder:
        settings = pathlib.Path(folder) / "countersign.toml"
        settings.write_text(ROUTES)
        now = int(time.time())
        good = mint(issuer)
        of = lambda **claims: [bearer(mint(issuer, **claims))]
        # A name is all there is of the backend: nothing listens there.
        with serve(issuer, "--config", str(settings), "--upstream", "http://127.0.0.1:9") as (_, proxy, _):
            for reason, path, headers in [
                ("token-invalid", "/", [bearer("[object Promise]")]),
                ("token-invalid-signature", "/", [bearer(forged(good))]),
                ("token-invalid-issuer", "/", of(iss="https://elsewhere.example.com")),
                ("token-invalid-authorized-parties", "/", of(azp="http://localhost:3001")),
                ("token-verification-failed", "/", of(exp="tomorrow")),
                ("session-token-expired", "/", of(exp=now - 60)),
                ("session-token-nbf", "/", of(nbf=now + 60)),
                ("session-token-iat-in-the-future", "/", of(iat=now + 60)),
                ("token-lifetime-exceeded", "/", of(exp=now + 200_000)),
                ("session-pending", "/", of(sts="pending")),
                ("token-type-mismatch", "/", of(**{"$header": {"cat": "cl_B7d4PD222AAA"}})),
                ("token-invalid-algorithm", "/", of(**{"$header": {"alg": "ES256"}})),
                ("jwk-kid-mismatch", "/", of(**{"$header": {"kid": "ins_2other"}})),
                ("impersonation-refused", "/", of(act={"sub": "user_2admin"})),
                ("scope-insufficient", "/role", of()),
                ("access-denied", "/feature", of()),
                ("reverification-error", "/strict", of(fva=[60, 60])),
                ("request-malformed", "//", of()),
                ("credential-repeated", "/", [*of(), *of()]),
                ("upstream-unreachable", "/", of()),
            ]:
                reply = request(proxy, "GET", path, headers)
                answer = reply.json()
                seen = answer.get("reason") or answer.get("clerk_error", {}).get("reason")
                held = seen == reason and reply.status in told((DOCS / "guides" / "reasons.md").read_text())[reason]
                cases.check(f"provoked: {reason}: {reply.status}", held, reply)
            reply = request(proxy, "TRACE", "/")
            cases.check("provoked: method-refused", reply.json().get("reason") == "method-refused", reply)
            reply = request(proxy, "POST", "/", of(), body=b"x" * 2000)
            cases.check("provoked: body-too-large", reply.json().get("reason") == "body-too-large", reply)


class Backend(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(204)
        self.end_headers()

    do_POST = do_GET

    def log_message(self, *_):
        pass


def certificate(folder):
    """A certificate of our own, so that the metric of its end is there."""
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    kind = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    files = ["-keyout", f"{folder}/tls.key", "-out", f"{folder}/tls.crt"]
    subprocess.run(["openssl", *kind, *names, *files], check=True, capture_output=True)
    return f'\n[tls]\ncertificate_file = "{folder}/tls.crt"\nkey_file = "{folder}/tls.key"\n'


def backend():
    return serving(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Backend))


def names_at(admin):
    text = request(admin, "GET", "/metrics").text
    return set(re.findall(r"^# TYPE (countersign_\w+)", text, re.MULTILINE))


def metrics_there_are():
    """Every metric of a proxy, from two: one plain, with a request or two; one that shows a certificate."""
    with demo() as (_, issuer), tempfile.TemporaryDirectory() as folder, backend() as server:
        settings = pathlib.Path(folder) / "tls.toml"
        settings.write_text(certificate(folder))
        secret = {"CLERK_SECRET_KEY": issuer["secret_key"], "CLERK_API_URL": issuer["issuer"]}
        common = ["--upstream", url_of(server)]
        with (
            serve(issuer, *common, **secret) as (_, proxy, plain),
            serve(issuer, *common, "--config", str(settings)) as (_, _, tls),
        ):
            request(proxy, "GET", "/", [bearer(mint(issuer, azp=None))])
            deadline = time.monotonic() + 10
            while "countersign_upstream_exposed" not in (seen := names_at(plain)) and time.monotonic() < deadline:
                time.sleep(0.1)
            return seen | names_at(tls)


def metrics(cases):
    source = "".join(path.read_text() for path in (ROOT / "src/telemetry/metrics").glob("*.rs"))
    made = re.findall(r'made\s*\.\s*(?:counters?|(?:float_)?gauges?|histograms)\(\s*"(\w+)"', source)
    program = {f"countersign_{name}" for name in made}
    page = table((DOCS / "guides" / "metrics.md").read_text(), "metric")
    guide = {name for row in page for name in WORD.findall(row[0])}
    there = metrics_there_are()
    cases.check(f"/metrics has the {len(program)} of the source", there == program, there ^ program)
    cases.check("metrics.md has those of /metrics", guide == there, guide ^ there)
    readme = {
        name
        for row in table((ROOT / "README.md").read_text(), "name")
        for name in re.findall(r"`(countersign_\w+)`", row[0])
    }
    cases.check("README.md has those of /metrics", readme == there, readme ^ there)
    cases.check("each says when to worry", all(len(row) == 3 and row[2] for row in page), page)


def run(cases):
    reasons(cases)
    provoked(cases)
    metrics(cases)


if __name__ == "__main__":
    main(run)
