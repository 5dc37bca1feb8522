"""Around the proxy: the backends that guides build believe what a proxy signed, and nothing that was changed since."""

import base64
import hmac
import re
import time

from harness import capturing, request

# Guides that build a backend with a verifier, and where its secret is.
SECRETS = {"sidecar": "signing.key", "django": "signing.key", "rails": "shop/signing.key"}
INPUT, SIGNATURE = "signature-input", "signature"


def backend_of(reader):
    """Where the backend listens: on the port that the proxy gave it, or on that of the guide."""
    ports = re.findall(
        r'"the backend listens","port":(\d+)', "".join(terminal.logged(None) for terminal in reader.terminals)
    )
    return f"http://127.0.0.1:{ports[-1] if ports else 3000}"


def signed(headers, secret, params):
    """The headers with other parameters, and a signature over those that is right."""
    values = dict(headers)
    names = re.findall(r'"([^"]+)"', params.split(")")[0])
    derived = {"@method": "GET", "@authority": values["host"], "@path": "/"}
    lines = [f'"{name}": {derived.get(name, values.get(name))}' for name in names]
    base = "\n".join([*lines, f'"@signature-params": {params}']).encode()
    proof = base64.b64encode(hmac.digest(base64.b64decode(secret.removeprefix("base64:")), base, "sha256")).decode()
    return replaced(replaced(headers, INPUT, f"countersign={params}"), SIGNATURE, f"countersign=:{proof}:")


def replaced(headers, name, value):
    return [(one, value if one == name else old) for one, old in headers]


def without(headers, *names):
    return [(one, value) for one, value in headers if one not in names]


def tampered(good, secret):
    """By name, each with a path and headers that nobody may believe."""
    values = dict(good)
    params = values[INPUT].removeprefix("countersign=")
    proof = values[SIGNATURE]
    other = proof[:13] + ("B" if proof[13] == "A" else "A") + proof[14:]
    now = int(time.time())
    at = lambda created: re.sub(r"created=\d+;expires=\d+", f"created={created};expires={created + 30}", params)
    root = ("x-clerk-user-id", "user_root")
    return {
        "another path": ("/admin", good),
        "the path in other letters": ("/%2e", good),
        "another user": ("/", replaced(good, *root)),
        "another role": ("/", replaced(good, "x-clerk-org-role", "org:owner")),
        "another host": ("/", replaced(good, "host", "localhost")),
        "a second user before": ("/", [root, *good]),
        "a second user after": ("/", [*good, root]),
        "a header that is not covered": ("/", [*good, ("x-clerk-extra", "1")]),
        "a header less": ("/", without(good, "x-clerk-org-role")),
        "no signature": ("/", without(good, SIGNATURE, INPUT)),
        "another signature": ("/", replaced(good, SIGNATURE, other)),
        "an empty signature": ("/", replaced(good, SIGNATURE, "countersign=::")),
        "another secret": ("/", signed(good, "base64:" + base64.b64encode(b"x" * 32).decode(), params)),
        "another key's name": ("/", signed(good, secret, re.sub(r'keyid="\w+"', 'keyid="00000000"', params))),
        "an hour old": ("/", signed(good, secret, at(now - 3600))),
        "of an hour hence": ("/", signed(good, secret, at(now + 3600))),
        "the user not covered": ("/", signed(replaced(good, *root), secret, params.replace('"x-clerk-user-id" ', ""))),
        "the path not covered": ("/", signed(good, secret, params.replace(' "@path"', ""))),
    }


def around(cases, reader, token):
    """Asks the backend of a guide without the proxy."""
    secret = (reader.folder / SECRETS[reader.name]).read_text().strip()
    backend = backend_of(reader)
    with capturing(reader.issuer, COUNTERSIGN_SIGNING_SECRET=secret) as capture:
        good = capture(token)
        reply = request(backend, "GET", "/", good)
        cases.check(
            f"{reader.name}: a captured request, unchanged: believed",
            reply.status == 200 and "Hello user_" in reply.text,
            reply,
        )
        for name, (path, headers) in tampered(good, secret).items():
            reply = request(backend, "GET", path, headers)
            cases.check(f"{reader.name}: {name}: refused", reply.status == 401 and "Hello" not in reply.text, reply)
        reply = request(backend, "GET", "/", [*good, ("X_Clerk_User_Id", "user_root")])
        cases.check(f"{reader.name}: an underscore for a hyphen: nobody is root", "root" not in reply.text, reply)
