"""The applications of deploy/examples, each copied and started as its README says, behind a real proxy.

Clients ask through the proxy; then a stranger asks each application without it, with headers made up
and with those of a request that the proxy signed.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

from run import HERE, IDENTITY
from verifiers import signed, until_listening

from harness import (
    BINARY,
    ROOT,
    Process,
    bearer,
    capturing,
    claims_of,
    clean,
    demo,
    forged,
    free_port,
    main,
    mint,
    request,
    until_ready,
)

EXAMPLES = ROOT / "deploy" / "examples"
README = (EXAMPLES / "README.md").read_text()
KEYGEN_AND_SERVE, START_FLASK, ASK = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
KEYGEN, SERVE = KEYGEN_AND_SERVE.splitlines()
# What starts each, by name and directory.
STARTS = re.findall(r"^\| \[(\w+)\]\((\w+)/.*\| `([^`]+)` \|$", README, re.MULTILINE)
[(_, _, FLASK)] = [start for start in STARTS if start[0] == "Flask"]
[BUILD] = re.findall("`(go build [^`]+)`", README)
ROOT_USER = [
    ("X-Clerk-Principal", "user"),
    ("X-Clerk-User-Id", "user_root"),
    ("X_Clerk_User_Id", "user_root"),
    ("X-Clerk-Org-Role", "org:admin"),
    ("X-Clerk-Org-Permissions", "org:teams:read"),
]
PREFLIGHT = [("Origin", "http://localhost:3000"), ("Access-Control-Request-Method", "GET")]


@dataclasses.dataclass
class Lane:
    name: str
    proxy: str
    backend: str
    tokens: dict


def run(cases):
    there = {path.parent.name for path in EXAMPLES.glob("*/countersign*")}
    named = {directory for _, directory, _ in STARTS}
    cases.check(f"README.md names every example: {sorted(named)}", there == named, there)
    with tempfile.TemporaryDirectory() as scratch, demo() as (_, issuer):
        scratch = pathlib.Path(scratch)
        # The links become files: what a reader has who copies two of them.
        left = shutil.ignore_patterns("node_modules", "signing.key", "__pycache__")
        examples = shutil.copytree(EXAMPLES, scratch / "examples", ignore=left)
        (scratch / "node_modules").symlink_to(HERE / "node_modules")
        (scratch / "bin").mkdir()
        (scratch / "bin" / "countersign").symlink_to(pathlib.Path(BINARY).resolve())
        built = read(BUILD, examples, "nethttp")
        cases.check(f"README.md: {BUILD}", built.returncode == 0, built)
        keyid = read(KEYGEN, examples).stdout.strip()
        checked = read(serve_line(issuer).replace("countersign serve", "countersign check --strict"), examples)
        cases.check("countersign.toml: nothing to warn about", checked.returncode == 0, checked)
        secret = (examples / "signing.key").read_text().strip()
        with capturing(issuer, COUNTERSIGN_SIGNING_SECRET=secret) as capture:
            for start in STARTS:
                with lane(issuer, examples, *start) as one:
                    pages(cases, one)
                    roles(cases, one)
                    notes(cases, one)
                    through_the_proxy(cases, one)
                    around_the_proxy(cases, one, capture(one.tokens["member"], "/hello"), keyid)
                    shown(cases, one)


def environment(examples, **settings):
    """Where `countersign` and `gunicorn` are on the PATH, as after their installation."""
    path = f"{examples.parent / 'bin'}:{HERE / '.venv' / 'bin'}:{os.environ['PATH']}"
    return clean({"PATH": path} | settings)


def at(port, text):
    return re.sub(r"\b8000\b", str(port), text)


@contextlib.contextmanager
def lane(issuer, examples, name, directory, command):
    """An example and the proxy before it, by the lines of README.md but for the ports and the Clerk instance."""
    tokens = {
        "admin": mint(issuer),
        "member": mint(issuer, sub="user_2member", sid="sess_2member", o={"id": "org_2acme", "rol": "member"}),
        "loner": mint(issuer, sub="user_2loner", sid="sess_2loner", o=None),
    }
    port, listen, admin = free_port(), *(f"127.0.0.1:{free_port()}" for _ in range(2))
    as_usual = environment(examples, COUNTERSIGN_LISTEN=listen, COUNTERSIGN_ADMIN_LISTEN=admin)
    start = at(port, START_FLASK.replace(FLASK, command))
    proxy = at(port, serve_line(issuer))
    with (
        Process(["bash", "-c", f"cd {examples / directory} && exec env {start}"], as_usual) as application,
        Process(["bash", "-c", f"cd {examples} && exec env {proxy}"], as_usual) as process,
    ):
        until_ready(process, f"http://{admin}")
        until_listening(application, port)
        yield Lane(name, f"http://{listen}", f"http://127.0.0.1:{port}", tokens)


def serve_line(issuer):
    return SERVE.replace("pk_test_…", issuer["publishable_key"])


def read(line, examples, directory="."):
    """A line of README.md that ends by itself."""
    env = environment(examples)
    where = {"cwd": examples / directory, "env": env}
    return subprocess.run(["bash", "-c", line], **where, capture_output=True, text=True, timeout=300)


def asker(cases, lane):
    def case(name, target, status, text, who=None, headers=(), method="GET"):
        """`text` is all of the body, or what it has to match."""
        token = [bearer(lane.tokens[who])] if who else []
        reply = request(lane.proxy, method, target, [*token, *headers])
        good = reply.text == text if isinstance(text, str) else bool(text.search(reply.text))
        cases.check(f"{lane.name}: {name}: {status}", reply.status == status and good, reply)

    return case


def refusal(reason):
    return re.compile(rf'"reason":\s*"{reason}"')


def user(lane, who):
    return claims_of(lane.tokens[who])["sub"]


def pages(cases, lane):
    case = asker(cases, lane)
    case("nobody on a page for anybody", "/hello", 200, "Hello, nobody.\n")
    case("a user there", "/hello", 200, f"Hello, {user(lane, 'member')}.\n", "member")
    bad = [bearer(forged(lane.tokens["admin"]))]
    case("a forged token there", "/hello", 401, refusal("token-invalid-signature"), headers=bad)
    case("nobody on a page for users", "/", 401, refusal("dev-browser-missing"))
    case("a user there", "/", 200, f"You are {user(lane, 'admin')}, org:admin.\n", "admin")
    case("another user", "/", 200, f"You are {user(lane, 'member')}, org:member.\n", "member")
    case("one of no organization", "/", 200, f"You are {user(lane, 'loner')}, without a role.\n", "loner")
    case("HEAD", "/", 200, "", "admin", method="HEAD")
    case("a page there is not", "/nowhere", 404, re.compile(""), "admin")
    case("it, to nobody", "/nowhere", 401, refusal("dev-browser-missing"))


def roles(cases, lane):
    case = asker(cases, lane)
    case("admin: an admin", "/admin", 200, f"Welcome to the office, {user(lane, 'admin')}.\n", "admin")
    case("admin: nobody", "/admin", 401, refusal("dev-browser-missing"))
    for who in "member", "loner":
        case(f"admin: a {who}", "/admin", 403, refusal("scope-insufficient"), who)
    for spelled in "/admin/", "/Admin", "/ADMIN/", "/%61dmin", "/admin?x=/hello":
        case(f"admin: a member by {spelled}", spelled, 403, refusal("scope-insufficient"), "member")
    for spelled in "//admin", "/hello/../admin", "/%2e/admin", "/admin;x", "/%2Fadmin":
        case(f"admin: a member by {spelled}", spelled, 400, refusal("request-malformed"), "member")
    reply = request(lane.proxy, "OPTIONS", "/admin", PREFLIGHT)
    shut = reply.status in (200, 204, 405) and "office" not in reply.text
    cases.check(f"{lane.name}: admin: a preflight does not see it: {reply.status}", shut, reply)


def notes(cases, lane):
    def case(name, target, who, title, tag, may_share):
        reply = request(lane.proxy, "GET", target, [bearer(lane.tokens[who])])
        told = {"title": title, "tag": tag, "reader": user(lane, who), "may_share": may_share}
        typed = reply.headers.get_content_type() == "application/json"
        cases.check(f"{lane.name}: note: {name}", reply.status == 200 and typed and reply.json() == told, reply)

    case("an admin, who has the permission", "/api/notes/plain?tag=red", "admin", "plain", "red", True)
    case("a member, who has not", "/api/notes/plain", "member", "plain", None, False)
    odd = "/api/notes/caf%c3%a9%20%E2%98%83+%22?tag=a+b%26%C3%BC%2F"
    case("an encoded path and query", odd, "member", 'café ☃+"', "a b&ü/", False)
    case("what no path may hold", "/api/notes/[a]|{b}?tag=%5B", "loner", "[a]|{b}", "[", False)
    case("what a query may hold", "/api/notes/%7Ea:b@c!$'()*,=?tag=/?:@", "loner", "~a:b@c!$'()*,=", "/?:@", False)


def through_the_proxy(cases, lane):
    case = asker(cases, lane)
    case("forged headers on the way: nobody", "/hello", 200, "Hello, nobody.\n", headers=ROOT_USER)
    true = f"You are {user(lane, 'member')}, org:member.\n"
    case("forged headers on the way: the true caller", "/", 200, true, "member", ROOT_USER)
    case("forged headers on the way: no role", "/admin", 403, refusal("scope-insufficient"), "member", ROOT_USER)


def around_the_proxy(cases, lane, captured, keyid):
    def case(name, believed, headers, target="/hello", method="GET", why=""):
        reply = request(lane.backend, method, target, headers)
        if believed:
            held = (reply.status, reply.text) == (200, f"Hello, {user(lane, 'member')}.\n")
        else:
            held = reply.status == 401 and why in reply.text and "user_" not in reply.text
        cases.check(f"{lane.name}: no proxy: {name}: {'believed' if believed else 'refused'}", held, reply)

    not_ours = "our signature-input is there 0 times"
    for target in "/hello", "/", "/admin", "/api/notes/a":
        case(f"nothing but a token for {target}", False, [bearer(lane.tokens["admin"])], target, why=not_ours)
        case(f"forged headers for {target}", False, ROOT_USER, target, why=not_ours)
    told = dict.fromkeys(IDENTITY, "") | {"x-clerk-user-id": "user_root", "x-clerk-org-role": "org:admin"}
    lines = told | {"@method": "GET", "@authority": "127.0.0.1", "@path": "/admin"}
    for name, why, known in [
        ("another key", "no key of this id", {}),
        ("another key by our name", "the signature does not hold", {"keyid": keyid}),
    ]:
        proof = signed(lines, [*IDENTITY, "@method", "@authority", "@path"], **known)
        headers = [("Host", "127.0.0.1"), *told.items(), *proof]
        case(f"forged headers, signed with {name}", False, headers, "/admin", why=why)
    case("a captured request, unchanged", True, captured)
    broken = "the signature does not hold"
    for target in "/admin", "/", "/api/notes/a", "/HELLO", "/hell%6F", "/hello/":
        case(f"a captured request, for {target}", False, captured, target, why=broken)
    case("a captured request, by another method", False, captured, method="POST", why=broken)
    other = [(name, "user_root" if name.lower() == "x-clerk-user-id" else text) for name, text in captured]
    case("a captured request, of another user", False, other, why=broken)
    other = [(name, "localhost" if name.lower() == "host" else text) for name, text in captured]
    case("a captured request, for another host", False, other, why=broken)


def shown(cases, lane):
    """The lines of README.md that ask, as they stand there but for the ports."""
    admin = user(lane, "admin")
    expected = [
        "Hello, nobody.",
        f"You are {admin}, org:admin.",
        f"Welcome to the office, {admin}.",
        {"title": "café", "tag": "a b", "reader": admin, "may_share": True},
        "our signature-input is there 0 times",
    ]
    lines = ASK.replace("http://127.0.0.1:4600", lane.proxy).replace("http://127.0.0.1:8000", lane.backend)
    env = clean({"TOKEN": lane.tokens["admin"]})
    for line, answer in zip(lines.splitlines(), expected, strict=True):
        done = subprocess.run(["bash", "-c", line], env=env, capture_output=True, text=True, timeout=20)
        said = done.stdout.strip()
        held = (json.loads(said) if said.startswith("{") else said) == answer
        cases.check(f"{lane.name}: README.md: {line[: line.index('//')]}…: {said}", held, done)


if __name__ == "__main__":
    main(run)
