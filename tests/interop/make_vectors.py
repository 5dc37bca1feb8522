#!/usr/bin/env python3
"""Writes tests/fixtures/signature-vectors.json: messages, their signature bases and signatures.

Nothing of Countersign takes part. The base is put together here by hand, the way RFC 9421 §2.5
tells it, HMAC comes from Python's standard library and Ed25519 from `cryptography`; both give the
same bytes each time. The Rust tests sign the same messages and must arrive at the same text; the
interop run has two libraries verify it. `--check` compares with the file instead of writing it.
"""

import base64
import hashlib
import hmac
import json
import pathlib
import sys

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

FIXTURE = pathlib.Path(__file__).parents[1] / "fixtures" / "signature-vectors.json"
KEY = bytes(range(32))  # the secret of hmac-sha256, the seed of ed25519
CREATED = 1_700_000_000
LABEL = TAG = "countersign"

# An empty value, a list, and free text with what has to be percent-encoded.
CHOSEN = [
    ("x-clerk-user-id", "user_2aBcDeFgHiJkLmNoPqRsTuVwXyZ"),
    ("x-clerk-session-id", "sess_2aBcDeFgHiJkLmNoPqRsTuVwXyZ"),
    ("x-clerk-org-id", ""),
    ("x-clerk-org-permissions", "org:dash:read, org:dash:manage"),
    ("x-clerk-user-name", "J%C3%BCrgen%20O%27Neil"),
]
# What a backend gets by default when nobody is signed in.
ANONYMOUS = [
    ("x-clerk-principal", "anonymous"),
    ("x-clerk-token-type", ""),
    ("x-clerk-user-id", ""),
    ("x-clerk-session-id", ""),
    ("x-clerk-org-id", ""),
    ("x-clerk-org-slug", ""),
    ("x-clerk-org-role", ""),
    ("x-clerk-org-permissions", ""),
    ("x-clerk-actor-id", ""),
]
WIDGET = ("GET", "api.example.com:8443", "/v1/widgets/a%2Fb")
HOME = ("POST", "localhost", "/")


def b64(data):
    return base64.b64encode(data).decode("ascii")


def vector(name, alg, headers, request):
    method, authority, path = request
    derived = [("@method", method), ("@authority", authority), ("@path", path)]
    components = " ".join(f'"{component}"' for component, _ in headers + derived)
    params = f'({components});created={CREATED};expires={CREATED + 30};keyid="k1";alg="{alg}";tag="{TAG}"'
    lines = [f'"{component}": {value}' for component, value in headers + derived]
    base = "\n".join([*lines, f'"@signature-params": {params}'])
    found = {
        "name": name,
        "alg": alg,
        "keyid": "k1",
        "key": b64(KEY),
        "created": CREATED,
        "expires": CREATED + 30,
        "method": method,
        "authority": authority,
        "path": path,
        "headers": headers,
        "base": base,
        "base_sha256": hashlib.sha256(base.encode("ascii")).hexdigest(),
        "signature_input": f"{LABEL}={params}",
    }
    if alg == "hmac-sha256":
        signature = hmac.digest(KEY, base.encode("ascii"), "sha256")
    else:
        key = Ed25519PrivateKey.from_private_bytes(KEY)
        signature = key.sign(base.encode("ascii"))
        raw = serialization.Encoding.Raw, serialization.PublicFormat.Raw
        found["public_key"] = b64(key.public_key().public_bytes(*raw))
    return found | {"signature": f"{LABEL}=:{b64(signature)}:"}


def main():
    made = [
        vector("a user, hmac-sha256", "hmac-sha256", CHOSEN, WIDGET),
        vector("a user, ed25519", "ed25519", CHOSEN, WIDGET),
        vector("nobody signed in, hmac-sha256", "hmac-sha256", ANONYMOUS, HOME),
        vector("nobody signed in, ed25519", "ed25519", ANONYMOUS, HOME),
    ]
    text = json.dumps(made, indent=2) + "\n"
    if sys.argv[1:] == ["--check"]:
        return 0 if FIXTURE.read_text() == text else f"{FIXTURE.name} is not what {sys.argv[0]} makes"
    FIXTURE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
