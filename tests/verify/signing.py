"""Signs as the proxy does, and otherwise: what only somebody with its secret could send."""

import base64
import hashlib
import hmac
import time


def mac(secret, text):
    key = base64.b64decode(secret[7:]) if secret.startswith("base64:") else secret.encode()
    return hmac.digest(key, text.encode(), hashlib.sha256)


def key_id(secret):
    return mac(secret, "kid").hex()[:8]


def signed(lines, covered, secret, created=None, expires=None, keyid=None, alg="hmac-sha256", tag="countersign"):
    """The two headers as the proxy would make them over these lines, but for what is said."""
    created = int(time.time()) if created is None else created
    keyid = key_id(secret) if keyid is None else keyid
    listed = " ".join(f'"{name}"' for name in covered)
    params = f'({listed});created={created};expires={expires or created + 30};keyid="{keyid}";alg="{alg}";tag="{tag}"'
    base = "".join(f'"{name}": {lines[name]}\n' for name in covered) + f'"@signature-params": {params}'
    signature = base64.b64encode(mac(secret, base)).decode()
    return [("signature-input", f"countersign={params}"), ("signature", f"countersign=:{signature}:")]
