"""The image: what the Dockerfile says, the program that ships, and that alone in an empty root."""

import contextlib
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import tempfile
import time
import zlib

import harness
from harness import ROOT, TARGET, Process, demo, request

# What CI has built already, or what is built here.
BUILT = pathlib.Path(os.environ.get("COUNTERSIGN_BIN") or TARGET / "image" / "countersign")
NOBODY = 65532
TOOLS = os.environ["PATH"] + ":/usr/sbin:/sbin"


def build():
    """Builds the program unless one is given; returns what the Dockerfile says of its image."""
    if "COUNTERSIGN_BIN" not in os.environ:
        subprocess.run(["sh", ROOT / "deploy" / "build"], check=True)
    harness.BINARY = str(BUILT)  # the issuer too is what ships
    return described()


def described():
    return Image((ROOT / "deploy" / "Dockerfile").read_text())


class Image:
    """What the last stage of the Dockerfile says, and what the one that compiles is given."""

    def __init__(self, text):
        text = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
        steps = [line.split(None, 1) for line in text.splitlines() if line.strip()]
        starts = [at for at, (word, _) in enumerate(steps) if word == "FROM"]
        self.bases = [steps[at][1] for at in starts]
        stage = steps[starts[-1] :]
        said = lambda wanted: [rest for word, rest in stage if word == wanted]
        pairs = lambda word: dict(pair.split("=", 1) for rest in said(word) for pair in shlex.split(rest))
        self.environment, self.labels = pairs("ENV"), pairs("LABEL")
        self.user, self.stopped_by = said("USER")[-1], said("STOPSIGNAL")[-1]
        self.entrypoint, self.command = (json.loads(said(word)[-1]) for word in ("ENTRYPOINT", "CMD"))
        self.ports = [int(port) for rest in said("EXPOSE") for port in rest.split()]
        self.holds = [rest.split()[-1] for rest in said("COPY")]
        compiling = steps[starts[0] : starts[1]]
        self.sources = [name for word, rest in compiling if word == "COPY" for name in rest.split()[:-1]]
        self.made_by = [rest for word, rest in compiling if word == "RUN"]


class Container:
    """An empty root with the program in it, and what a runtime mounts there: names, and these files.

    Files are of `group`, which the program has beside its own: so it is with the `fsGroup` of a Pod.
    """

    def __init__(self, image, root, hosts="127.0.0.1 localhost\n", resolv="", files=(), group=NOBODY):
        self.image, self.root, self.group = image, pathlib.Path(root), group
        self.file("countersign", 0o555, BUILT.read_bytes())
        self.file("etc/hosts", 0o444, hosts.encode())
        self.file("etc/resolv.conf", 0o444, resolv.encode())
        for path, mode, content in files:
            self.file(path.lstrip("/"), mode, content)
        for directory in [self.root, *self.root.rglob("*")]:
            if directory.is_dir():
                directory.chmod(0o555)

    def file(self, path, mode, content):
        path = self.root / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(mode)
        if knows_nobody():
            os.chown(path, 0, self.group)

    def command(self, *arguments):
        return [*self.entering(), *self.image.entrypoint, *(arguments or self.image.command)]

    def entering(self):
        if knows_nobody():
            who = [f"--userspec={self.image.user}", f"--groups={self.group}"]
            return [shutil.which("chroot", path=TOOLS), *who, self.root]
        user, group = self.image.user.split(":")
        return ["unshare", "--user", f"--map-user={user}", f"--map-group={group}", f"--root={self.root}", "--wd=/"]

    def run(self, settings):
        return Process(self.command(), self.image.environment | settings)


def knows_nobody():
    """Tells whether the image's user exists for us: not where we are root of a namespace alone."""
    first, _, count = pathlib.Path("/proc/self/uid_map").read_text().split()[:3]
    return os.geteuid() == 0 and int(first) + int(count) > NOBODY


@contextlib.contextmanager
def container(image, **given):
    with tempfile.TemporaryDirectory() as root:
        try:
            yield Container(image, root, **given)
        finally:
            for directory in [root, *(path for path in pathlib.Path(root).rglob("*") if path.is_dir())]:
                os.chmod(directory, 0o755)


def run(cases, image):
    program(cases)
    made_of(cases)
    dockerfile(cases, image)
    with container(image) as box, demo() as (_, about):
        on_its_own(cases, image, box, about)


def program(cases):
    def read(what):
        return subprocess.run(["readelf", what, "-W", BUILT], check=True, capture_output=True, text=True).stdout

    cases.check("the program: no interpreter", "INTERP" not in read("-l"), read("-l"))
    cases.check("the program: no shared libraries", "(NEEDED)" not in read("-d"), read("-d"))
    cases.check("the program: at an address of chance", re.search(r"FLAGS_1.*PIE", read("-d")), read("-d"))
    cases.check("the program: no debug information", ".debug_info" not in read("-S"), read("-S"))
    cases.check("the program: what is mended when it starts is packed", "(RELR)" in read("-d"), read("-d"))
    settings = re.search(r'MALLOC_CONF = "(.*)"', (ROOT / ".cargo" / "config.toml").read_text()).group(1)
    cases.check("the program: the allocator has our settings", settings.encode() in BUILT.read_bytes(), settings)


def made_of(cases):
    """The list that cargo-auditable writes: JSON, compressed, in a section of its own."""
    with tempfile.NamedTemporaryFile() as section:
        command = ["objcopy", "--dump-section", f".dep-v0={section.name}", BUILT, "/dev/null"]
        dumped = subprocess.run(command, capture_output=True, text=True)
        content = pathlib.Path(section.name).read_bytes()
    if not cases.check("the program: says what it is made of (cargo-auditable)", content, dumped.stderr):
        return
    listed = {(one["name"], one["version"]) for one in json.loads(zlib.decompress(content))["packages"]}
    locked = (ROOT / "Cargo.lock").read_text()
    pairs = set(re.findall(r'^name = "(.*)"\nversion = "(.*)"', locked, re.MULTILINE))
    cases.check("the program: made of what Cargo.lock names", listed <= pairs, listed - pairs)
    cases.check("the program: itself among it", ("countersign", of_package("version")) in listed, sorted(listed))
    cases.check("the program: its cryptography too", {"aws-lc-sys", "rustls"} <= dict(listed).keys(), sorted(listed))


def dockerfile(cases, image):
    user, _, group = image.user.partition(":")
    numbered = user.isdigit() and int(user) and group == user
    cases.check("the image: a user with a number, and not root", numbered, image.user)
    bare = image.holds == image.entrypoint == ["/countersign"]
    cases.check("the image: empty but for the program", bare, image.holds)
    cases.check("the image: nothing under it", image.bases[-1] == "scratch", image.bases)
    listening = [int(address.rpartition(":")[2]) for address in image.environment.values()]
    cases.check("the image: exposes what it listens on", image.ports == listening, (image.ports, listening))
    cases.check("the image: ended by what the program drains on", image.stopped_by == "SIGTERM", image.stopped_by)
    cases.check("the image: labelled with its version", version_of(image) == of_package("version"), image.labels)
    pinned = re.search(r"cargo-auditable@(\S+)", (ROOT / "deploy" / "build").read_text()).group(1)
    installs = f"cargo install --locked cargo-auditable@{pinned}" in image.made_by
    cases.check("the image: the list of what it is made of is written", installs, image.made_by)
    compiler = image.bases[0]
    right = compiler.startswith(f"rust:{of_package('rust-version')}-")
    cases.check("the image: compiled by the Rust of Cargo.toml", right, compiler)
    let_through = (ROOT / ".dockerignore").read_text().splitlines()
    kept = [name for name in [*image.sources, "target/image/countersign"] if f"!{name}" not in let_through]
    cases.check("the image: .dockerignore lets through what is copied", not kept, kept)
    with tempfile.TemporaryDirectory() as sources:
        for name in image.sources:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            (pathlib.Path(sources) / name).parent.mkdir(parents=True, exist_ok=True)
            copy(ROOT / name, pathlib.Path(sources) / name)
        # What a build reads before it compiles; `metadata` and others overlook a missing target.
        reads = ["cargo", "fetch", "--locked", "--target", f"{os.uname().machine}-unknown-linux-gnu"]
        read = subprocess.run(reads, cwd=sources, capture_output=True, text=True)
    cases.check("the image: what is copied is a package", read.returncode == 0, read.stderr)


def version_of(image):
    return image.labels.get("org.opencontainers.image.version")


def of_package(key):
    return re.search(rf'^{key} = "(.*)"', (ROOT / "Cargo.toml").read_text(), re.MULTILINE).group(1)


def on_its_own(cases, image, box, about):
    settings = {"CLERK_PUBLISHABLE_KEY": about["publishable_key"], "COUNTERSIGN_UPSTREAM": "http://127.0.0.1:3000"}
    with box.run(settings) as process:
        admin = local(image.environment["COUNTERSIGN_ADMIN_LISTEN"])
        if not cases.check("the image: ready", until(lambda: answers(admin, "/readyz") == 200), process.logged()):
            return
        status = pathlib.Path(f"/proc/{process.child.pid}/status").read_text()
        seen = re.search(r"^Uid:\s+(\d+)", status, re.MULTILINE).group(1)
        cases.check("the image: runs as its user", not knows_nobody() or seen == image.user.split(":")[0], status)
        cases.check("the image: SIGTERM ends it with 0", process.stop() == 0, process.logged())


def local(address):
    return f"http://127.0.0.1:{address.rpartition(':')[2]}"


def answers(base, path):
    with contextlib.suppress(OSError):
        return request(base, "GET", path).status


def until(held, seconds=10):
    """Waits until it holds; returns what it then was, or None after so many seconds."""
    deadline = time.monotonic() + seconds
    while not (seen := held()):
        if time.monotonic() > deadline:
            return None
        time.sleep(0.002)
    return seen
