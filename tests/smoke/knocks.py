"""Requests of every kind that carry something secret, byte for byte, and the wire they go over."""

import base64
import contextlib
import hashlib
import socket
import ssl
import subprocess
import urllib.parse

HOST = "localhost:3000"
PATHS = "/", "/public/x", "/optional/x", "/role/x", "/claim/x", "/verify/x", "/report/x", "/hidden/x"
PAGE = "Accept: text/html", "Sec-Fetch-Dest: document", "Sec-Fetch-Mode: navigate"
SOCKET = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)


class Wire:
    """The way to one listener."""

    def __init__(self, proxy, tls=False):
        host = urllib.parse.urlsplit(proxy)
        self.address, self.tls = (host.hostname, host.port), tls

    def open(self, raw, protocol="http/1.1"):
        wire = socket.create_connection(self.address, timeout=5)
        if self.tls:
            trusting = ssl.create_default_context()
            trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
            trusting.set_alpn_protocols([protocol])
            wire = trusting.wrap_socket(wire)
        # Who is refused in the middle of a long head is not listened to until its end.
        with contextlib.suppress(OSError):
            wire.sendall(raw)
        return wire

    def send(self, raw):
        """Sends this, and returns all that comes back until the other side is silent or has closed."""
        return heard(self.open(raw), 5 if b"Connection: close" in raw else 0.4)

    def send_http2(self, raw):
        return heard(self.open(raw, "h2"), 0.4)

    def send_plain(self, raw):
        """Sends this without TLS, whatever is wanted there."""
        wire = socket.create_connection(self.address, timeout=5)
        wire.sendall(raw)
        return heard(wire, 0.4)

    def get(self, target, *lines):
        return head("GET", target, *lines)

    def page(self, target, cookies):
        return head("GET", target, *PAGE, f"Cookie: {cookies}")

    def curl(self, arguments):
        """What curl is told over HTTP/2, head and trailers included."""
        scheme, how = ("https", ["--http2", "--insecure"]) if self.tls else ("http", ["--http2-prior-knowledge"])
        url = f"{scheme}://{self.address[0]}:{self.address[1]}{arguments[0]}"
        command = [
            "curl",
            "--silent",
            "--include",
            "--max-time",
            "10",
            *how,
            "-H",
            f"Host: {HOST}",
            *arguments[1:],
            url,
        ]
        return subprocess.run(command, capture_output=True, timeout=30).stdout


def heard(wire, patience):
    wire.settimeout(patience)
    text = b""
    try:
        while piece := wire.recv(65536):
            text += piece
    except OSError:
        pass
    wire.close()
    return text


def suffix(publishable_key):
    """What the instance puts at the end of its cookies' names."""
    return base64.urlsafe_b64encode(hashlib.sha1(publishable_key.encode()).digest())[:8].decode()


def cookies(jar):
    """A browser's cookies as it sends them."""
    return "; ".join(f"{name}={value}" for name, value in jar.items() if name.startswith("__"))


def head(method, target, *lines, body=b""):
    length = (f"Content-Length: {len(body)}",) if body else ()
    text = [f"{method} {target} HTTP/1.1", f"Host: {HOST}", "Connection: close", *length, *lines, "", ""]
    return "\r\n".join(text).encode("latin-1") + body


def socket_head(target, *lines):
    """A head that asks for a WebSocket."""
    return head("GET", target, *SOCKET, *lines).replace(b"Connection: close\r\n", b"")


def http1(made, jar, canaries):
    """Names and bytes of requests over HTTP/1.1."""
    cookie = cookies(jar)
    browser = f"__client_uat=1; __clerk_db_jwt={jar['__clerk_db_jwt']}"
    other = canaries.new("a header of the application's")
    for name, token in made.items():
        bearer, form = f"Authorization: Bearer {token}", "Content-Type: application/x-www-form-urlencoded"
        for path in PATHS:
            yield f"{name} as bearer to {path}", head("GET", path, bearer)
        yield f"{name} of another page", head("GET", "/", bearer, "Origin: http://localhost:3000")
        yield f"{name} as a page", head("GET", "/", *PAGE, bearer)
        yield f"{name} as a cookie", head("GET", "/", f"Cookie: {cookie}; __session={token}", f"X-Api-Key: {other}")
        yield f"{name} as a cookie of a page", head("GET", "/", *PAGE, f"Cookie: __client_uat=1; __session={token}")
        across = f"Cookie: __session={token}; {browser}", "Origin: https://evil.test"
        yield f"{name} as a cookie across sites", head("POST", "/", *across)
        yield f"{name} as a handshake", head("GET", f"/?__clerk_handshake={token}", *PAGE)
        handshake = f"Cookie: {cookie}; __clerk_handshake={token}"
        yield f"{name} as a handshake's cookie", head("GET", "/", *PAGE, handshake)
        yield f"{name} in a query", head("GET", f"/?access_token={token}&__session={token}")
        yield f"{name} in a body", head("POST", "/", form, body=f"access_token={token}".encode())
        wrong = f"Proxy-Authorization: Bearer {token}", f"X-Clerk-Token: {token}", f"X-Request-Id: {token[:60]}"
        yield f"{name} in the wrong header", head("GET", "/", *wrong)
        trace = f"traceparent: {token}", f"tracestate: {token}", f"baggage: t={token}"
        yield f"{name} in a trace", head("GET", "/", *trace)
        told = f"Referer: https://a.test/?t={token}", f"User-Agent: {token}", f"Origin: {token}"
        yield f"{name} in what a browser tells", head("GET", "/", *PAGE, *told)
        told = f"X-Forwarded-Host: {token}", f"X-Forwarded-For: {token}", f"Forwarded: for={token}"
        yield f"{name} in what a proxy tells", head("GET", "/", *PAGE, *told)
        yield f"{name} as another scheme", head("GET", "/", f"Authorization: Basic {token}")
        yield f"{name} without a scheme", head("GET", "/", f"Authorization: {token}")
        yield f"{name} twice", head("GET", "/", bearer, bearer)
        for path in "/public/x", "/socket":
            yield f"{name} among protocols of {path}", socket_head(path, f"Sec-WebSocket-Protocol: bearer, {token}")
        yield f"{name} to a service of gRPC", head("POST", "/a.B/C", "Content-Type: application/grpc", bearer)
    yield from malformed(made["good"], cookie)
    carried = f"Authorization: Bearer {made['good']}", f"Cookie: {cookie}"
    for path in "/broken-head", "/broken-header", "/broken-body", "/broken-length":
        yield f"a backend that breaks: {path}", head("GET", path, *carried)
    yield "nothing", head("GET", "/")
    yield "a browser without a session", head("GET", "/", f"Cookie: {browser}")
    asked = "Origin: http://localhost:3000", "Access-Control-Request-Method: PUT"
    yield "a preflight", head("OPTIONS", "/", *asked, *carried)


def malformed(token, cookie):
    """What is no request, with a token in the place where it is none."""
    line = f"Authorization: Bearer {token}"
    yield "a header without a colon", head("GET", "/", f"Authorization Bearer {token}")
    yield "a space before the colon", head("GET", "/", f"Authorization : Bearer {token}")
    yield "a folded line", head("GET", "/", "Authorization: Bearer", f" {token}")
    yield "a zero in a value", head("GET", "/", f"{line}\0")
    yield "a name of a token", head("GET", "/", f"{token}: x")
    yield "a method of a token", f"{token} / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
    yield "a version of a token", f"GET / {token}\r\nHost: {HOST}\r\n{line}\r\n\r\n".encode()
    yield "a line of a token", f"{token}\r\n{line}\r\n\r\n".encode()
    yield "a host of a token", f"GET / HTTP/1.1\r\nHost: {token}\r\n{line}\r\n\r\n".encode()
    yield "two hosts", head("GET", "/", "Host: a.test", line, f"Cookie: {cookie}")
    yield "a length of a token", head("POST", "/", f"Content-Length: {token}", line)
    yield "a coding of a token", head("POST", "/", f"Transfer-Encoding: {token}", line)
    yield "a chunk of a token", head(
        "POST", "/", "Transfer-Encoding: chunked", line
    ) + f"{token}\r\n{token}\r\n".encode()
    yield "a head that is too long", head("GET", "/", line, *(f"X-{n}: {token}" for n in range(90)))
    yield "too many headers", head("GET", "/", line, *(f"X-{n}: 1" for n in range(150)))
    yield "a target that is too long", head("GET", f"/?t={token * 60}", line)
    yield "a body that is too long", head("POST", "/", line, body=token.encode() * 100)
    yield "a length that is too long", head("POST", "/", line, "Content-Length: 99999999")
    yield "a bad path", head("GET", f"/a/../b?access_token={token}", line)
    yield "a bad escape", head("GET", f"/%zz?access_token={token}", line)
    yield "TRACE", head("TRACE", f"/?access_token={token}", line)
    yield "CONNECT", f"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n{line}\r\n\r\n".encode()
    yield "a head that ends early", f"GET / HTTP/1.1\r\n{line}\r\nCookie: {cookie}".encode()


def http2(made, jar):
    """Names, and what curl is to send."""
    cookie = cookies(jar)
    for name, token in made.items():
        bearer = ["-H", f"Authorization: Bearer {token}"]
        for path in PATHS:
            yield f"{name} to {path}", [path, *bearer]
        yield f"{name} as a cookie", ["/", "-H", f"Cookie: {cookie}; __session={token}"]
        yield f"{name} in a query", [f"/?access_token={token}"]
        grpc = ["-H", "Content-Type: application/grpc", "-H", "TE: trailers", "-d", token]
        yield f"{name} as a call of gRPC", ["/a.B/C", *bearer, *grpc]
        yield f"{name} to a backend that breaks", ["/broken-head", *bearer]


def multiplexed(made, canaries):
    """Names and bytes that HTTP/2 does not allow, or that end a connection."""
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"")
    token = made["good"].encode()
    target = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", HOST.encode())]
    request = [*target, (b"authorization", b"Bearer " + token)]
    told = canaries.new("a word of farewell").encode()
    farewell = frame(7, 0, 0, bytes(4) + b"\0\0\0\x02" + told + token[:100])
    yield "GOAWAY with a reason", preface + headers(1, request) + farewell
    yield "a name in capitals", preface + headers(1, [*request, (b"X-Token", token)])
    yield "a line end in a value", preface + headers(1, [*request, (b"x-token", token + b"\r\nx: y")])
    yield "a path of a token", preface + headers(1, [*request[:2], (b":path", token), *request[3:]])
    yield "a pseudo-header of a token", preface + headers(1, [*request, (b":token", token)])
    yield "a connection header", preface + headers(1, [*request, (b"connection", token)])
    yield "a length of a token", preface + headers(1, [*request, (b"content-length", token)])
    yield "a head that is too long", preface + headers(1, [*request, *((b"x-%d" % n, token) for n in range(12))])
    yield "a head that cannot be unpacked", preface + frame(1, 5, 1, b"\xff\xff\xff\xff\xff" + token[:200])
    yield "a frame of a kind nobody knows", preface + frame(99, 0, 0, token)
    yield "a ping of a token", preface + frame(6, 0, 0, token[:9])
    yield "a body without a head", preface + frame(0, 1, 3, token)
    yield "settings of a token", preface + frame(4, 0, 0, token[:11])
    yield "a preface of a token", b"PRI * HTTP/2.0\r\n\r\n" + token


def headers(stream, fields):
    """A head that ends its stream; every field is a literal that nobody indexes."""
    block = b"".join(b"\0" + text(name) + text(value) for name, value in fields)
    return frame(1, 5, stream, block)


def text(value):
    size, more = len(value), b""
    if size < 127:
        return bytes([size]) + value
    size -= 127
    while size >= 128:
        more += bytes([size % 128 + 128])
        size //= 128
    return b"\x7f" + more + bytes([size]) + value


def frame(kind, flags, stream, payload):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload
