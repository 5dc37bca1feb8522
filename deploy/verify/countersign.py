"""Believes who Countersign says is calling: checks the RFC 9421 signature that is on each request.

    told = verify(method, target, headers, secret(os.environ["COUNTERSIGN_SIGNING_SECRET"]))  # or raises Refused
    told["x-clerk-user-id"]  # empty for nobody

`target` is path and query as they came, nothing decoded; `headers` are pairs, two where a name came twice.
Options, as in your settings: identity=[…], all in their order, and "x-clerk-assertion" last where `signing.mode` has
both kinds; prefix="…"; cover=["query"]. A header with the prefix that is not in the list is refused.
The standard library is enough. Made to be copied."""

import base64
import hmac
import re
import time
from collections import defaultdict

# The default of `identity.headers`; those of `identity.claims` follow them.
NAMES = "principal token-type user-id session-id org-id org-slug org-role org-permissions actor-id"
IDENTITY = [f"x-clerk-{name}" for name in NAMES.split()]
MEMBER = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*"?)+')  # of a structured dictionary: a comma within quotes ends none
FORM = re.compile(r'\(([^)]*)\);created=(\d{1,15});expires=(\d{1,15});keyid="([^"]*)";alg="([^"]*)";tag="countersign"')


# Why a request is not believed to come from our proxy.
class Refused(Exception): ...


def need(so, why):
    if not so:
        raise Refused(why)


def secret(text):
    """The key of `signing.secret`, by its id; where you set `signing.key_id`, that is the id."""
    key = base64.b64decode(text[7:]) if text.startswith("base64:") else text.encode()
    if len(key) < 32:
        raise ValueError("a secret has at least 32 bytes")
    check = lambda base, given: hmac.compare_digest(given, hmac.digest(key, base, "sha256"))
    return {hmac.digest(key, b"kid", "sha256").hex()[:8]: ("hmac-sha256", check)}


def verify(method, target, headers, keys, identity=IDENTITY, prefix="x-clerk-", cover=(), now=time.time):
    (path, _, query), values, now = target.partition("?"), defaultdict(list), now()
    for name, value in headers:  # a name with `_` would be taken for ours further on
        values[name.lower().replace("_", "-")].append(value.strip(" \t"))

    def only(name, found):
        need(len(found) == 1, f"{name} is there {len(found)} times")
        return found[0]

    def ours(name):
        members = [text.strip(" \t") for text in MEMBER.findall(", ".join(values[name]))]
        return only(f"our {name}", [text[12:] for text in members if text.startswith("countersign=")])

    params, signature = ours("signature-input"), ours("signature")
    need(form := FORM.fullmatch(params), "the signature is not of our kind")
    covered, created, expires, keyid, alg = form.groups()
    expected = [*identity, "@method", "@authority", "@path", *(f"@{part}" for part in cover)]
    need(covered == " ".join(f'"{name}"' for name in expected), "it does not cover what it must")
    need((key := keys.get(keyid)) and key[0] == alg, "no key of this id and algorithm is known")
    need(int(created) <= now + 5 and int(expires) >= now - 5, "the signature is not of this time")
    for name in values:  # what is not covered anybody may have added
        need(not name.startswith(prefix) or name in identity, f"{name} is not signed")
    told = {name: only(name, values[name]) for name in identity}
    lines = told | {"@method": method, "@authority": only("host", values["host"]), "@path": path, "@query": f"?{query}"}
    base = "".join(f'"{name}": {lines[name]}\n' for name in expected) + f'"@signature-params": {params}'
    given = re.fullmatch(":([A-Za-z0-9+/]{43}=|[A-Za-z0-9+/]{86}==):", signature)  # base64 of 32 or 64 bytes
    good = given and key[1](base.encode(errors="surrogatepass"), base64.b64decode(given[1]))
    need(good, "the signature does not hold")
    return told
