"""Stands before an application and believes only what Countersign signed. Beside countersign.py; made to be copied.

    app = wsgi(app, keys)  # Flask: app.wsgi_app = wsgi(app.wsgi_app, keys); environ["countersign"]["x-clerk-user-id"]
    app = asgi(app, keys)  # FastAPI: app.add_middleware(asgi, keys=keys), the last that is added; scope["countersign"]
    MIDDLEWARE = ["countersign_middleware.django", …]  # and COUNTERSIGN_KEYS; request.countersign. WSGI only

`keys` is countersign.secret(…). The options of `verify` go behind it; Django's are COUNTERSIGN_OPTIONS."""

import re
from urllib.parse import unquote

from countersign import Refused, need, verify

DECODED = (
    "this server decodes the path before the application sees it, and only the path as it came is signed: use "
    "gunicorn, uWSGI or waitress for WSGI; uvicorn or hypercorn, without a root path, for ASGI"
)


def believed(method, raw, seen, query, headers, keys, **options):
    """`raw` is the target as it came, None where the server keeps it; `seen` the path the application goes by."""
    # Only what was signed is to be trusted, and a client can have a server part the two (gunicorn: SCRIPT_NAME).
    if raw is not None:
        path = raw.split("?")[0]
        need(unquote(path, "latin-1") == seen, "the application sees another path than the one that came")
        return verify(method, f"{path}?{query}", headers, keys, **options)
    need(re.fullmatch("[A-Za-z0-9._~/-]+", seen), DECODED)
    try:
        return verify(method, f"{seen}?{query}", headers, keys, **options)
    except Refused as why:
        raise Refused(f"{why}; {DECODED}" if "does not hold" in str(why) else str(why)) from why


def of_environ(environ, keys, **options):
    raw, seen = environ.get("RAW_URI", environ.get("REQUEST_URI")), environ["SCRIPT_NAME"] + environ["PATH_INFO"]
    headers = [(name[5:], value) for name, value in environ.items() if name.startswith("HTTP_")]
    method, query = environ["REQUEST_METHOD"], environ.get("QUERY_STRING", "")
    return believed(method, raw, seen, query, headers, keys, **options)


def of_scope(scope, keys, **options):
    raw, method = scope.get("raw_path"), scope.get("method", "GET")  # a WebSocket's handshake has no method
    raw = raw.decode("latin-1") if raw and not scope.get("root_path") else None  # servers differ on a root path
    seen, query = (part.decode("latin-1") for part in (scope["path"].encode(), scope.get("query_string", b"")))
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
    return believed(method, raw, seen, query, headers, keys, **options)


def wsgi(app, keys, **options):
    def guarded(environ, start_response):
        try:
            environ["countersign"] = of_environ(environ, keys, **options)
        except Refused as why:
            text = f"{why}\n".encode()
            start_response("401 Unauthorized", [("Content-Type", "text/plain"), ("Content-Length", str(len(text)))])
            return [text]
        return app(environ, start_response)

    return guarded


def asgi(app, keys, **options):
    async def guarded(scope, receive, send):
        if scope["type"] == "lifespan":
            return await app(scope, receive, send)
        try:
            told = of_scope(scope, keys, **options)
        except Refused as why:
            if scope["type"] == "websocket":
                return await send({"type": "websocket.close"})
            await send({"type": "http.response.start", "status": 401, "headers": [(b"content-type", b"text/plain")]})
            return await send({"type": "http.response.body", "body": f"{why}\n".encode()})
        return await app(scope | {"countersign": told}, receive, send)

    return guarded


def django(get_response):
    from django.conf import settings
    from django.http import HttpResponse

    keys, options = settings.COUNTERSIGN_KEYS, getattr(settings, "COUNTERSIGN_OPTIONS", {})

    def guarded(request):
        try:
            # Django has decoded these two. A path that is no UTF-8 is not what came any more, and refused.
            seen = {name: request.META[name].encode().decode("latin-1") for name in ("SCRIPT_NAME", "PATH_INFO")}
            request.countersign = of_environ(request.META | seen, keys, **options)
        except Refused as why:
            return HttpResponse(f"{why}\n", status=401, content_type="text/plain")
        return get_response(request)

    return guarded
