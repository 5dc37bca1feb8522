"""Convex's own clients: over HTTP by a required route, and by a socket whose path is a public one."""

import re

from lane import lane, node

from harness import ROOT, claims_of, free_port

SHOWN = re.compile(r"^### Convex\n.*?```toml\n(.*?)```", re.DOTALL | re.MULTILINE)
# What a token of Convex's template has not that a session token has.
NO_SESSION = dict.fromkeys(["sid", "sts", "v", "o", "fva", "fea", "pla"])


def run(cases, issuer):
    shown = SHOWN.search((ROOT / "README.md").read_text()).group(1)
    port = free_port()
    with lane(issuer, f"http://127.0.0.1:{port}", shown) as proxy:
        template = NO_SESSION | {"$header": {"cat": "cl_B7d4PD222AAA"}, "email": "ada@example.com"}
        token, elsewhere = (proxy.token(aud=name, **template) for name in ("convex", "hasura"))
        given = {"token": token, "elsewhere": elsewhere, "user": claims_of(token)["sub"]}
        node(cases, "convex", "convex.mjs", port=port, url=proxy.proxy, **given)
