"""A backend that believes an assertion only when PyJWT does, with the key set fetched by its `PyJWKClient`.

python assertion_pyjwt.py PORT JWKS_URL ISSUER AUDIENCE ALG
"""

import http.server
import json
import sys

import jwt

port, jwks_url, issuer, audience, alg = sys.argv[1:]
keys = jwt.PyJWKClient(jwks_url)  # its own default: 5 min in use, and a fetch for each unknown key
required = ["iss", "aud", "sub", "sid", "iat", "nbf", "exp"]


class Backend(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        assertions = self.headers.get_all("x-clerk-assertion", [])
        claims = error = None
        try:
            if len(assertions) != 1:
                raise ValueError(f"{len(assertions)} assertions")
            key = keys.get_signing_key_from_jwt(assertions[0])
            claims = jwt.decode(
                assertions[0],
                key,
                algorithms=[alg],
                issuer=issuer,
                audience=audience,
                leeway=5,
                options={"require": required, "strict_aud": True},
            )
        except Exception as refused:  # whatever is raised, the assertion is not believed
            error = f"{type(refused).__name__}: {refused}"
        headers = {name.lower(): value for name, value in self.headers.items()}
        text = json.dumps({"error": error, "claims": claims, "assertions": assertions, "headers": headers}).encode()
        self.send_response(200 if error is None else 401)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


with http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), Backend) as server:
    print("listening", flush=True)
    server.serve_forever()
