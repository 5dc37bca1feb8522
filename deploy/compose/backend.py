"""The backend of compose.yaml, to be replaced by yours: says who is calling, and believes nobody but the proxy."""

import http.server
import json
import os

import countersign  # deploy/verify/countersign.py, beside this file

KEYS = countersign.secret(os.environ["COUNTERSIGN_SIGNING_SECRET"])


class Backend(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/healthz":  # of the container, which nobody reaches but the proxy
            return self.answer(200, {"healthy": True})
        try:
            caller = countersign.verify(self.command, self.path, self.headers.items(), KEYS)
        except countersign.Refused as why:
            return self.answer(401, {"refused": str(why)})
        self.answer(200, {"path": self.path, "caller": caller})

    def answer(self, status, what):
        body = json.dumps(what, indent=2).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass  # the proxy has a line for each request


http.server.ThreadingHTTPServer(("0.0.0.0", 8000), Backend).serve_forever()
