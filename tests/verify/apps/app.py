import os
import pathlib
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3] / "deploy" / "verify"))
from countersign import Refused, secret, verify

if url := os.environ.get("JWKS_URL"):
    from countersign_ed25519 import ed25519

    KEYS = ed25519(url)
else:
    KEYS = secret(os.environ["COUNTERSIGN_SIGNING_SECRET"])
OPTIONS = {"identity": os.environ["IDENTITY"].split(), "cover": os.environ["COVER"].split()}


class Application(BaseHTTPRequestHandler):
    def answer(self):
        try:
            told = verify(self.command, self.path, self.headers.items(), KEYS, **OPTIONS)
            self.say(200, "".join(f"{name}: {value}\n" for name, value in told.items()))
        except Refused as why:
            self.say(401, str(why))

    do_GET = do_POST = do_PUT = answer

    def say(self, status, text):
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())


ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Application).serve_forever()
