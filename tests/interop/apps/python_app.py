"""Says what the verifier told it, behind any Python server: `wsgi_app` or `asgi_app`; or serves by itself:

python python_app.py wsgiref|werkzeug PORT     two servers for development

VERIFIER is a file: {"secret": text | "jwks_url": text, "options": {"identity": […], "cover": […]}}.
"""

import json
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3] / "deploy" / "verify"))
import countersign
import countersign_ed25519
import countersign_middleware

ABOUT = json.loads(pathlib.Path(os.environ["VERIFIER"]).read_text())
KEYS = countersign.secret(ABOUT["secret"]) if "secret" in ABOUT else countersign_ed25519.ed25519(ABOUT["jwks_url"])


def seen(**what):
    return json.dumps(what).encode()


def echo_wsgi(environ, start_response):
    headers = [(name[5:].replace("_", "-").lower(), v) for name, v in environ.items() if name.startswith("HTTP_")]
    path = environ["PATH_INFO"].encode("latin-1").decode()
    method, query = environ["REQUEST_METHOD"], environ["QUERY_STRING"]
    text = seen(told=environ["countersign"], method=method, path=path, query=query, headers=headers)
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(text)))])
    return [text]


async def echo_asgi(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])  # uvicorn takes that for "no lifespan"
    headers = [(name.decode(), value.decode()) for name, value in scope["headers"]]
    method, path, query = scope["method"], scope["path"], scope["query_string"].decode()
    text = seen(told=scope["countersign"], method=method, path=path, query=query, headers=headers)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": text})


wsgi_app = countersign_middleware.wsgi(echo_wsgi, KEYS, **ABOUT["options"])
asgi_app = countersign_middleware.asgi(echo_asgi, KEYS, **ABOUT["options"])

if __name__ == "__main__":
    kind, port = sys.argv[1:]
    if kind == "wsgiref":
        from wsgiref.simple_server import make_server

        make_server("127.0.0.1", int(port), wsgi_app).serve_forever()
    else:
        from werkzeug.serving import run_simple

        run_simple("127.0.0.1", int(port), wsgi_app, threaded=True)
