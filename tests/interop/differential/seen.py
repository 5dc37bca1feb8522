"""Writes what it saw of each request to the file SEEN: `asgi_app`, `wsgi_app`."""

import hashlib
import json
import os

SEEN = os.open(os.environ["SEEN"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def tell(body, **what):
    digest = hashlib.sha256(body).hexdigest()[:16]
    os.write(SEEN, (json.dumps(what | {"length": len(body), "digest": digest}) + "\n").encode())


async def asgi_app(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])  # uvicorn takes that for "no lifespan"
    body, whole, more = b"", True, True
    while more:
        message = await receive()
        whole = message["type"] == "http.request"
        body += message.get("body", b"")
        more = message.get("more_body", False)
    query = b"?" + scope["query_string"] if scope["query_string"] else b""
    target = (scope["raw_path"] + query).decode("latin-1")
    host, user = (
        b",".join(value for name, value in scope["headers"] if name == wanted).decode("latin-1")
        for wanted in (b"host", b"x-clerk-user-id")
    )
    method, connection = scope["method"], str(scope["client"][1])
    tell(body, method=method, target=target, host=host, user=user, whole=whole, connection=connection)
    saw = (b"x-saw", f"{method} {target}".encode("latin-1"))
    await send({"type": "http.response.start", "status": 200, "headers": [saw, (b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"" if method == "HEAD" else b"ok"})


def wsgi_app(environ, start_response):
    method, target, length = environ["REQUEST_METHOD"], environ["RAW_URI"], environ.get("CONTENT_LENGTH")
    body, whole = b"", False
    try:
        body = environ["wsgi.input"].read()
        whole = not length or len(body) == int(length)
    finally:
        host, user = (environ.get(name, "") for name in ("HTTP_HOST", "HTTP_X_CLERK_USER_ID"))
        connection = str(environ["REMOTE_PORT"])
        tell(body, method=method, target=target, host=host, user=user, whole=whole, connection=connection)
    start_response("200 OK", [("x-saw", f"{method} {target}"), ("Content-Length", "2")])
    return [b"ok"]
