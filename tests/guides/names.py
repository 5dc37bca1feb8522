"""What the docs name is there: settings, flags, variables, headers, metrics, values, files. Settings shown are good."""

import atexit
import functools
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from guide import DOCS, blocks, cells, guides, prose
from harness import BINARY, ROOT, clean, main
from tables import metrics_there_are

KEY = "pk_test_Y2xlcmsuZXhhbXBsZS5jb20k"  # of clerk.example.com
LINES = range(60, 251)
CODE = re.compile(r"`([^`\n]+)`")
# A name with dots: a setting, unless it is a file or stands in `OTHERS`.
DOTTED = re.compile(r"^[a-z_]+(?:\.[a-z_]+)+$")
ASSIGNED = re.compile(r"^([a-z_]+(?:\.[a-z_]+)*) = ")
KEBAB = re.compile(r"^[a-z]+(?:-[a-z]+)+$")
FILES = {"toml", "key", "pem", "py", "rb", "ru", "md", "json", "yaml", "env", "rs", "service"}
# What guides say in such words of other programs, outside of the first columns that are theirs.
OTHERS = {
    "request.caller", "request.caller.role", "request.user", "user.email", "user.groups", "caller_of_request.role",
    "x-clerk-auth-message",
}  # fmt: skip
# Tables that begin with another program's words.
THEIRS = {"from-clerk-middleware", "from-oauth2-proxy", "from-envoy", "convex", "django", "rails"}


@functools.cache
def folder():
    """A folder with files of the names that pieces of settings use."""
    made = pathlib.Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, made)
    (made / "keys").mkdir()
    for make in ["--out signing.key", "--alg ed25519 --out keys/2026-11.pem"]:
        subprocess.run([BINARY, "keygen", *make.split()], cwd=made, check=True, capture_output=True)
    return made


@functools.cache
def run_check(settings):
    """What `check` says of these settings."""
    (folder() / "countersign.toml").write_text(settings)
    key = {} if "publishable_key" in settings else {"CLERK_PUBLISHABLE_KEY": KEY}
    upstream = [] if "upstream" in settings else ["--upstream", "http://127.0.0.1:3000"]
    command = [BINARY, "check", "--config", "countersign.toml", *upstream]
    return subprocess.run(command, cwd=folder(), env=clean(key), capture_output=True, text=True)


def is_setting(name):
    """Whether it is a key of the file, of a route or of an issuer."""
    last = name.removeprefix("route.").removeprefix("issuer.")
    of_route, of_issuer = '[[route]]\npath = "/x"', '[[issuer]]\nurl = "https://idp.example.com"'
    forms = [f'{name} = "x"\n', f'{of_route}\n{last} = "x"\n', f'{of_issuer}\n{last} = "x"\n']
    return any("unknown key" not in run_check(form).stderr for form in forms)


@functools.cache
def helped(command):
    """The flags of a command."""
    text = subprocess.run([BINARY, command, "--help"], capture_output=True, text=True).stdout
    return set(re.findall(r"(?<![\w-])--?[a-zA-Z][a-z-]*", text))


COMMANDS = ["serve", "demo", "check", "explain", "init", "keygen"]


@functools.cache
def source():
    return "\n".join(path.read_text() for path in sorted((ROOT / "src").rglob("*.rs")))


@functools.cache
def variables():
    keys = (ROOT / "src/config/key.rs").read_text()
    settings = re.findall(r'"([a-z0-9_]+(?:\.[a-z0-9_]+)*)"', keys)
    derived = {f"COUNTERSIGN_{key.upper().replace('.', '_')}" for key in settings}
    return derived | set(re.findall(r'"((?:[A-Z]+_)*(?:COUNTERSIGN|CLERK)_[A-Z_]+)"', source()))


@functools.cache
def headers():
    """The identity headers that `check` takes, those of profiles, and those of answers."""
    named = set(re.findall(r'= "([a-z-]+)",', (ROOT / "src/core/identity.rs").read_text()))
    fields = {name for name in named if run_check(f'identity.headers = ["{name}"]\n').returncode == 0}
    profile = (ROOT / "src/core/identity.rs").read_text().split("PROFILE_CLAIMS")[1].split("];")[0]
    claims = {name.replace("_", "-") for name in re.findall(r'"([a-z_]+)"', profile)}
    answers = {"assertion", "auth-status", "auth-reason"} if "x-clerk-auth-reason" in source() else set()
    return {f"x-clerk-{name}" for name in fields | claims | answers}


def codes(path):
    """The code within lines, but for the first column of tables that is another program's."""
    for line in prose(path).splitlines():
        if line.startswith("|") and path.stem in THEIRS:
            line = " ".join(cells(line)[1:])
        yield from CODE.findall(line)


def names(cases, path, metrics):
    name, text = path.relative_to(DOCS), path.read_text()
    found = set(codes(path))
    settings = {code for code in found if DOTTED.match(code) and code.rsplit(".", 1)[1] not in FILES}
    settings |= {match[1] for code in found if (match := ASSIGNED.match(code))}
    say(cases, name, "settings", settings - OTHERS, is_setting)
    flags = {code.split()[0].split("=")[0] for code in found if code.startswith("--") and len(code) > 2}
    say(cases, name, "flags", flags, lambda flag: any(flag in helped(command) for command in COMMANDS))
    for command, line in re.findall(r"countersign (\w+)((?: (?!-- )[^|`\n#]*)?)", text):
        if command in COMMANDS:
            line = line.split(" -- ")[0]
            used = set(re.findall(r"(?<= )--[a-z-]+|(?<= )-[XHb](?= )", line))
            say(cases, name, f"flags of {command}", used, lambda flag: flag in helped(command))
    say(
        cases,
        name,
        "variables",
        set(re.findall(r"\b(?:[A-Z]+_)*(?:COUNTERSIGN|CLERK)_[A-Z_]+\b(?!…)", text)) - PAGES,
        variables().__contains__,
    )
    chosen = set(re.findall(r'"(x-clerk-[a-z-]+)" = "/', text))  # headers that settings make of claims
    say(
        cases,
        name,
        "headers",
        set(re.findall(r"\bx-clerk-[a-z]+(?:-[a-z]+)*", text)) - chosen - OTHERS,
        headers().__contains__,
    )
    told = {re.sub(r"_(bucket|sum|count)$", "", word) for word in re.findall(r"\bcountersign_[a-z_]+", text)}
    say(cases, name, "metrics", told, metrics.__contains__)
    values = {code for code in found if KEBAB.match(code)} | set(re.findall(r'reason="([a-z-]+)"', text))
    say(cases, name, "values", values - OTHERS, lambda value: f'"{value}"' in source() or value in headers())


# Variables of the backends that guides build.
PAGES = {"COUNTERSIGN_KEYS"}


def say(cases, name, kind, found, there):
    wrong = sorted(one for one in found if not there(one))
    if found:
        cases.check(f"{name}: {kind}: {len(found)} named, all there", not wrong, wrong)


def fragments(cases, path):
    for number, block in enumerate((block for block in blocks(path) if block.kind == "toml"), 1):
        text = block.text.replace("pk_test_…", KEY)
        done = run_check(text)
        cases.check(f"{path.relative_to(DOCS)}: settings {number}: good", done.returncode == 0, done.stderr)


def slug(heading):
    words = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower())
    return words.strip().replace(" ", "-")


def links(cases, path):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(path)):
        if target.startswith("https://"):
            continue
        file, _, anchor = target.partition("#")
        there = (path.parent / file).resolve() if file else path
        headings = (
            re.findall(r"^#+ (.*)$", there.read_text(), re.MULTILINE)
            if there.is_file() and there.suffix == ".md"
            else []
        )
        held = there.exists() and (not anchor or anchor in map(slug, headings))
        cases.check(f"{path.relative_to(DOCS)}: {target} is there", held)


def run(cases):
    pages, metrics = guides(), metrics_there_are()
    cases.check("there are guides", len(pages) > 12, pages)
    index = (DOCS / "README.md").read_text()
    for path in pages:
        names(cases, path, metrics)
        fragments(cases, path)
        links(cases, path)
        if path.parent.name == "guides":
            cases.check(f"{path.stem}: the index has it", f"(guides/{path.name})" in index)
            length = len(path.read_text().splitlines())
            cases.check(f"{path.stem}: {length} lines", length in LINES, length)
    shared = {block.text for path in pages for block in blocks(path) if block.name == "caller.py"}
    cases.check("caller.py is the same wherever it stands", len(shared) == 1, len(shared))


if __name__ == "__main__":
    main(run)
