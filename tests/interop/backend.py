"""A backend that believes a request only when `http-message-signatures` from PyPI does.

    python backend.py serve POLICY PORT    answers each request with what it saw and whether it believes it
    python backend.py vectors FILE         one line of JSON a vector: is it verified, and is a forged one?

POLICY is a file, read at each request: {"required": ["x-clerk-principal", …, "@path"],
"keys": {"<keyid>": {"alg": …, "secret": base64 | "jwk": {…}}}}.
"""

import base64
import datetime
import http.server
import json
import pathlib
import sys
import types

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from http_message_signatures import HTTPMessageVerifier, HTTPSignatureKeyResolver, algorithms

DERIVED = ["@method", "@authority", "@path"]
ALGORITHMS = {"hmac-sha256": algorithms.HMAC_SHA256, "ed25519": algorithms.ED25519}


class Keys(HTTPSignatureKeyResolver):
    """The keys of one algorithm: a key is used only with the algorithm it was published for."""

    def __init__(self, keys, alg):
        self.keys = {keyid: key for keyid, key in keys.items() if key["alg"] == alg}

    def resolve_public_key(self, key_id):
        key = self.keys.get(key_id)
        if key is None:
            return None
        if "secret" in key:
            return base64.b64decode(key["secret"])
        x = key["jwk"]["x"]
        return Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(x + "=" * (-len(x) % 4)))


def refusal(message, keys, required, skew):
    """Why the message is not believed by any algorithm there are keys for, or None."""
    errors = ["no keys"]
    for alg in sorted({key["alg"] for key in keys.values()}):
        verifier = HTTPMessageVerifier(signature_algorithm=ALGORITHMS[alg], key_resolver=Keys(keys, alg))
        verifier.max_clock_skew = skew
        try:
            found = verifier.verify(
                message, expect_tag="countersign", expect_label="countersign", require_components=required, max_age=None
            )
        except Exception as error:  # whatever is raised, the message is not believed
            errors.append(f"{alg}: {type(error).__name__}: {error}")
        else:
            if len(found) == 1:
                return None
            errors.append(f"{alg}: {len(found)} signatures")
    return "; ".join(errors[1:] or errors)


def serve(policy_file, port):
    class Backend(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self):
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            message = types.SimpleNamespace(
                method=self.command, url=f"http://{self.headers['host']}{self.path}", headers=self.headers
            )
            policy = json.loads(pathlib.Path(policy_file).read_text())
            error = refusal(message, policy["keys"], policy["required"], datetime.timedelta(0))
            seen = {
                "verified": error is None,
                "error": error,
                "method": self.command,
                "target": self.path,
                "headers": [[name.lower(), value] for name, value in self.headers.items()],
                "body": body.decode(),
            }
            text = json.dumps(seen).encode()
            self.send_response(200 if error is None else 401)
            self.send_header("content-type", "application/json")
            if self.command == "HEAD":
                self.send_header("x-seen", base64.b64encode(text).decode())
            else:
                self.send_header("content-length", str(len(text)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(text)

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = answer

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), Backend) as server:
        print("listening", flush=True)
        server.serve_forever()


def vectors(file):
    for vector in json.loads(pathlib.Path(file).read_text()):
        key = {"alg": vector["alg"], "secret": vector["key"]}
        if vector["alg"] == "ed25519":
            x = base64.urlsafe_b64encode(base64.b64decode(vector["public_key"])).decode().rstrip("=")
            key = {"alg": "ed25519", "jwk": {"x": x}}
        headers = dict(vector["headers"])
        signed = {"signature-input": vector["signature_input"], "signature": vector["signature"]}
        required = [*headers, *DERIVED]
        verdicts = {"name": vector["name"]}
        for verdict, forged in ("error", {}), ("forged", {"x-clerk-user-id": "user_root"}):
            message = types.SimpleNamespace(
                method=vector["method"],
                url=f"http://{vector['authority']}{vector['path']}",
                headers=headers | forged | signed,
            )
            # The vectors are from 2023: time is not what is tested here.
            forever = datetime.timedelta(days=365 * 50)
            verdicts[verdict] = refusal(message, {vector["keyid"]: key}, required, forever)
        print(json.dumps(verdicts))


if __name__ == "__main__":
    {"serve": serve, "vectors": vectors}[sys.argv[1]](*sys.argv[2:])
