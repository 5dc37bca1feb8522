"""The keys of a proxy that has no shared secret: ed25519(json) of what its admin listener has at
/.well-known/jwks.json, instead of countersign.secret(…). Needs `cryptography`."""

import base64

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def ed25519(jwks):
    keys = {jwk["kid"]: jwk["x"] + "==" for jwk in jwks["keys"] if jwk.get("crv") == "Ed25519"}
    return {kid: ("ed25519", holds(base64.urlsafe_b64decode(x))) for kid, x in keys.items()}


def holds(raw):
    key = Ed25519PublicKey.from_public_bytes(raw)

    def check(base, given):
        try:
            return key.verify(given, base) is None
        except InvalidSignature:
            return False

    return check
