"""Those behind the proxy, who tell everything they were told: a backend, and Clerk's Backend API."""

import http.server
import json
import threading
import time


class Echo(http.server.ThreadingHTTPServer):
    """Remembers every byte of every request."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self):
        super().__init__(("127.0.0.1", 0), self.Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.lock, self.heads = threading.Lock(), []
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def remember(self, text):
        with self.lock:
            self.heads.append(text)
            return len(self.heads)

    def seen(self):
        with self.lock:
            return b"\n".join(self.heads)

    def handle_error(self, *_):
        pass  # a client that has left


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        length = int(self.headers.get("content-length") or 0)
        told = f"{self.requestline}\n{self.headers}".encode() + self.rfile.read(length)
        self.respond(told, self.server.remember(told))

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = do_OPTIONS = answer

    def send(self, status, body, *headers):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def broken(self, text):
        """What is no HTTP, with all it was told in it."""
        self.wfile.write(text)
        self.close_connection = True

    def log_message(self, *_):
        pass


SWITCHED = b"HTTP/1.1 101 OK\r\nx-backend: yes\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nx-backend: yes\r\nTransfer-Encoding: chunked\r\n\r\n"


class Backend(Echo):
    """Answers with what it got; some paths have it break, in the middle of telling."""

    class Handler(Handler):
        def respond(self, told, _):
            one_line = told.replace(b"\r", b" ").replace(b"\n", b" ")
            if self.path.startswith("/slow"):
                time.sleep(1)
            if "websocket" in (self.headers.get("upgrade") or ""):
                return self.broken(SWITCHED + one_line)
            if self.path.startswith("/broken-head"):
                return self.broken(b"HTTP/1.1 2x0 " + one_line + b"\r\n\r\n")
            if self.path.startswith("/broken-header"):
                return self.broken(b"HTTP/1.1 200 OK\r\n" + one_line.replace(b":", b" ") + b"\r\n\r\n")
            if self.path.startswith("/broken-body"):
                return self.broken(CHUNKED + b"zz" + one_line)
            if self.path.startswith("/broken-length"):
                return self.broken(b"HTTP/1.1 200 OK\r\nContent-Length: " + one_line + b"\r\n\r\n")
            self.send(200, told, ("x-backend", "yes"))


class BackendApi(Echo):
    """Refuses in every way, each time with all it was told: key, nonce, tokens."""

    MODES = "500", "401", "404", "429", "200", "redirect", "head", "header", "gone", "directives", "list"

    class Handler(Handler):
        def respond(self, told, count):
            one_line = told.replace(b"\r", b" ").replace(b"\n", b" ")
            words = told.decode(errors="replace")
            refusal = json.dumps({"errors": [{"message": words, "code": words}]}).encode()
            mode = BackendApi.MODES[count % len(BackendApi.MODES)]
            if mode.isdigit():
                return self.send(int(mode), told if mode == "200" else refusal, ("Retry-After", "0"))
            if mode == "redirect":
                key = self.headers.get("authorization", "").replace("Bearer ", "")
                return self.send(302, told, ("Location", f"https://127.0.0.1:1/{key}"))
            if mode == "head":
                return self.broken(b"HTTP/1.1 2x0 " + one_line + b"\r\n\r\n")
            if mode == "header":
                return self.broken(b"HTTP/1.1 200 OK\r\n" + one_line.replace(b":", b" ") + b"\r\n\r\n")
            if mode == "directives":
                lines = ["__session=" + self.path, self.path, 5, "__client_uat=1; Path=/\r\nx: y"]
                return self.send(200, json.dumps({"directives": lines, "cookies": lines}).encode())
            if mode == "list":
                return self.send(200, json.dumps([words]).encode())
            self.broken(b"")
