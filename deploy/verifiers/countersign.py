"""Believes who Countersign says is calling: checks the RFC 9421 signature that is on each request.

    app = countersign.wsgi(app, countersign.secret(os.environ["COUNTERSIGN_SIGNING_SECRET"]))  # or asgi(…)
    environ["countersign"]["x-clerk-user-id"]  # in ASGI: scope["countersign"]

Options, as in your settings: identity=[…], all in their order, and "x-clerk-assertion" last where `signing.mode` has
both kinds; prefix="…"; cover=["query"]. A header with the prefix that is not in the list is refused.
The standard library is enough, but for `ed25519`, which needs `cryptography`. Made to be copied."""
import base64, hmac, re, time
from urllib.parse import unquote

IDENTITY = [f"x-clerk-{name}" for name in  # the default of `identity.headers`; those of `identity.claims` follow them
            "principal token-type user-id session-id org-id org-slug org-role org-permissions actor-id".split()]
MEMBER = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*")+')  # of a structured dictionary: a comma within quotes ends none
PARAMS = re.compile(r'\(("[^"]+"(?: "[^"]+")*)\);created=([0-9]{1,15});expires=([0-9]{1,15})'
                    r';keyid="([^"]*)";alg="([^"]*)";tag="countersign"')
DECODED = ("this server decodes the path before the application sees it, and only the path as it came is signed: use "
           "gunicorn, uWSGI or waitress for WSGI; uvicorn or hypercorn, without a root path, for ASGI")

class Refused(Exception): "Why a request is not believed to come from our proxy."

def secret(text):
    """The key of `signing.secret`, by its id; where you set `signing.key_id`, that is the id."""
    key = base64.b64decode(text[7:]) if text.startswith("base64:") else text.encode()
    check = lambda base, given: hmac.compare_digest(given, hmac.digest(key, base, "sha256"))
    return {hmac.digest(key, b"kid", "sha256").hex()[:8]: ("hmac-sha256", check)}

def ed25519(jwks):
    """The keys of a key set, as the admin listener has it at /.well-known/jwks.json."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey as Key
    keys = {jwk["kid"]: jwk["x"] + "==" for jwk in jwks["keys"] if jwk.get("crv") == "Ed25519"}
    keys = {kid: Key.from_public_bytes(base64.urlsafe_b64decode(x)) for kid, x in keys.items()}
    return {kid: ("ed25519", lambda base, given, key=key: key.verify(given, base) is None) for kid, key in keys.items()}

def need(so, why):
    if not so: raise Refused(why)

def verify(method, raw, seen, query, headers, keys, identity=IDENTITY, prefix="x-clerk-", cover=(), now=time.time):
    """The identity headers. `raw`: the target as it came, or None; `seen`: the path the application goes by."""
    path, values, now = seen if raw is None else raw.split("?")[0], {}, now()
    # Only what was signed is to be trusted, and a client can have a server part the two (gunicorn: SCRIPT_NAME).
    need(re.fullmatch("[A-Za-z0-9._~/-]+", seen) if raw is None else unquote(raw.split("?")[0], "latin-1") == seen,
         DECODED if raw is None else "the application sees another path than the one that came")
    for name, value in headers:  # a name with `_` would be taken for ours further on
        values.setdefault(name.lower().replace("_", "-"), []).append(value.strip(" \t"))
    def only(name, found):
        need(len(found) == 1, f"{name} is there {len(found)} times")
        return found[0]
    def ours(name):
        members = [text.strip() for text in MEMBER.findall(", ".join(values.get(name, [])))]
        return only(f"our {name}", [text[12:] for text in members if text.startswith("countersign=")])
    params, signature = ours("signature-input"), ours("signature")
    need(form := PARAMS.fullmatch(params), "the signature is not of our kind")
    covered, created, expires, keyid, alg = form.groups()
    expected = [*identity, "@method", "@authority", "@path", *(f"@{part}" for part in cover)]
    need(covered[1:-1].split('" "') == expected, "it does not cover what it must")
    need(keyid in keys and keys[keyid][0] == alg, "no key of this id and algorithm is known")
    need(int(created) <= now + 5 and int(expires) >= now - 5, "the signature is not of this time")
    for name in values:  # what is not covered anybody may have added
        need(not name.startswith(prefix) or name in identity, f"{name} is not signed")
    lines = {name: only(name, values.get(name, [])) for name in [*identity, "host"]}
    lines |= {"@method": method, "@authority": lines["host"], "@path": path, "@query": f"?{query}"}
    base = "".join(f'"{name}": {lines[name]}\n' for name in expected) + f'"@signature-params": {params}'
    try: good = keys[keyid][1](base.encode("latin-1"), base64.b64decode(signature.strip(":"), validate=True))
    except Exception: good = False  # `cryptography` has one of its own
    need(good, "the signature does not hold" if raw is not None else f"the signature does not hold; {DECODED}")
    return {name: lines[name] for name in identity}

def wsgi(app, keys, **options):
    def guarded(environ, start_response):
        headers = [(name[5:], value) for name, value in environ.items() if name.startswith("HTTP_")]
        raw, seen = environ.get("RAW_URI", environ.get("REQUEST_URI")), environ["SCRIPT_NAME"] + environ["PATH_INFO"]
        method, query = environ["REQUEST_METHOD"], environ.get("QUERY_STRING", "")
        try: environ["countersign"] = verify(method, raw, seen, query, headers, keys, **options)
        except Refused as why:
            text = f"{why}\n".encode()
            start_response("401 Unauthorized", [("Content-Type", "text/plain"), ("Content-Length", str(len(text)))])
            return [text]
        return app(environ, start_response)
    return guarded

def asgi(app, keys, **options):
    async def guarded(scope, receive, send):
        if scope["type"] == "lifespan": return await app(scope, receive, send)
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        raw, method = scope.get("raw_path"), scope.get("method", "GET")  # a WebSocket's handshake has no method
        raw = raw.decode("latin-1") if raw and not scope.get("root_path") else None  # servers differ on a root path
        seen, query = (part.decode("latin-1") for part in (scope["path"].encode(), scope.get("query_string", b"")))
        try: told = verify(method, raw, seen, query, headers, keys, **options)
        except Refused as why:
            if scope["type"] == "websocket": return await send({"type": "websocket.close"})
            await send({"type": "http.response.start", "status": 401, "headers": [(b"content-type", b"text/plain")]})
            return await send({"type": "http.response.body", "body": f"{why}\n".encode()})
        return await app(scope | {"countersign": told}, receive, send)
    return guarded
