"""convex.md: its fields and headers of one token, and its paths, by its own settings."""

import json
import pathlib
import re
import subprocess
import sys
import tempfile
import urllib.parse

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from guide import DOCS, blocks, table
from harness import BINARY, clean, demo, main, mint, request, serve, url_of
from tables import backend

# A token of Clerk's template for Convex, by its claims.
CONVEX = {
    "aud": "convex", "name": "Ada Lovelace", "given_name": "Ada", "family_name": "Lovelace", "nickname": "ada",
    "picture": "https://img.example.com/ada", "email": "ada@example.com", "email_verified": True,
    "phone_number": "+15555550100", "phone_number_verified": False, "updated_at": 1795888858,
    "sid": None, "o": None, "fea": None, "pla": None, "v": None,
    "$header": {"cat": "cl_B7d4PD222AAA"},
}  # fmt: skip


def fields(cases):
    """The headers beside Convex's fields are what the backend is told of such a token, by the settings of the guide."""
    path = DOCS / "guides" / "convex.md"
    settings = next(block.text for block in blocks(path) if block.name == "countersign.toml")
    with demo() as (_, issuer), tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "countersign.toml"
        file.write_text(settings)
        known = {"CLERK_PUBLISHABLE_KEY": issuer["publishable_key"]}
        command = [BINARY, "explain", "--json", "--config", str(file)]
        token = mint(issuer, **CONVEX)
        done = subprocess.run(command, input=token, env=clean(known), capture_output=True, text=True)
        told = json.loads(done.stdout)
        headers = (told["identity"] or {"headers": {}})["headers"]
        cases.check("convex.md: such a token is accepted", told["accepted"] and told["class"] == "jwt_template", told)
        rows = table(path.read_text(), "`ctx.auth.getUserIdentity()`")
        for field, claim, text in rows:
            names = re.findall(r"`(x-clerk-[a-z-]+)`", text)
            empty = "are empty" in text
            held = all(name in headers and (headers[name] == "") == empty for name in names)
            cases.check(f"convex.md: {field}: {names or 'a claim to be added'}", held, headers)
            if claim.startswith("`") and claim.strip("`") in CONVEX and names:
                value = json.dumps(CONVEX[claim.strip("`")]).strip('"')
                seen = urllib.parse.unquote(headers[names[0]])
                cases.check(f"convex.md: {field} is {seen}", seen == value, value)
        cases.check("convex.md: it has the fields of Convex", len(rows) > 14, rows)


def paths(cases):
    """By the settings of the guide, what it calls public is, and the rest is not."""
    path = DOCS / "guides" / "convex.md"
    settings = next(block.text for block in blocks(path) if block.name == "countersign.toml")
    with demo() as (_, issuer), tempfile.TemporaryDirectory() as folder, backend() as server:
        file = pathlib.Path(folder) / "countersign.toml"
        file.write_text(settings)
        with serve(issuer, "--config", str(file), "--upstream", url_of(server)) as (_, proxy, _):
            for row in table(path.read_text(), "path"):
                for name in re.findall(r"`(/[^`]*)`", row[0]) if row[2] != "not before this proxy" else []:
                    target = re.sub(r"<\w+>|…", "1.48.0", name)
                    method, body = ("POST", b"x") if target.endswith("upload") else ("GET", None)
                    key = [("Authorization", "Convex key")] if "refused" in row[2] else []
                    reply = request(proxy, method, target, key, body)
                    status = 204 if row[2] == "public" else 401
                    cases.check(f"convex.md: nobody at {target}: {status}", reply.status == status, reply)


def run(cases):
    fields(cases)
    paths(cases)


if __name__ == "__main__":
    main(run)
