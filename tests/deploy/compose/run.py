"""`deploy/compose.yaml`: well formed, confined, and run for real by podman.

Images of its names are made here of this machine's own Python and Prometheus, because no registry may be reached;
Grafana is not started. All else is the file as it stands, and the command at its head as it is pasted.
"""

import contextlib
import copy
import json
import os
import pathlib
import re
import resource
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
import urllib.parse

import compose_spec
import yaml

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
from harness import BINARY, ROOT, START, bearer, demo, main, mint, request

COMPOSE = ROOT / "deploy" / "compose.yaml"
PROXY = "http://127.0.0.1:4600"
NEEDS = ["podman", "runc", "catatonit", "iptables", "prometheus", "promtool"]
PARTS = ["backend", "countersign", "prometheus"]
PYTHON = """\
FROM scratch
COPY . /
ENV PATH=/usr/local/bin PYTHONHOME={home}
"""
PROMETHEUS = """\
FROM scratch
COPY --chown=65534:65534 . /
ENV PATH=/bin
USER 65534
ENTRYPOINT ["/bin/prometheus"]
"""
# The issuer of the demo is nobody's loopback in there, so its keys come from a file.
KEYS = {
    "services": {
        "countersign": {
            "environment": {"COUNTERSIGN_CLERK_JWKS_FILE": "/jwks.json"},
            "volumes": ["./jwks.json:/jwks.json:ro"],
        }
    }
}


def well_formed(cases, file):
    cases.check("it is a Compose file", mistake(file) is None, mistake(file))
    for name, change in [
        ("an unknown key", lambda it: it["services"]["backend"].update(netwroks=[])),
        ("a network that is none", lambda it: it["services"]["backend"].update(networks=["nowhere"])),
        ("another type", lambda it: it["services"]["backend"].update(read_only="maybe")),
        ("a duration that is none", lambda it: it["services"]["grafana"]["healthcheck"].update(interval="soon")),
    ]:
        other = copy.deepcopy(file)
        change(other)
        cases.check(f"{name} would be told", mistake(other))


def mistake(file):
    """What is wrong with a file; None where nothing is."""
    try:
        compose_spec.PyCompose.from_yaml(yaml.safe_dump(file)).validate()
    except ValueError as error:
        return str(error)


def confined(cases, file):
    services = file["services"]
    for name, service in services.items():
        safe = service["read_only"] and service["cap_drop"] == ["ALL"] and "no-new-privileges:true" in service["security_opt"]
        cases.check(f"{name}: cannot change its files, nor have privileges", safe, service)
        cases.check(f"{name}: its image has a version", re.search(r":v?\d", service["image"]), service["image"])
        for mount in service.get("volumes", []):
            source, _, mode = mount.split(":") if mount.count(":") == 2 else (*mount.split(":"), "")
            there = mode == "ro" and (COMPOSE.parent / source).is_file() if source.startswith(".") else source in file["volumes"]
            cases.check(f"{name}: {source} is there, and mounted read-only where it is a file", there)
    ports = {name: service["ports"] for name, service in services.items() if "ports" in service}
    cases.check("the proxy and the dashboard are published, and nobody else", ports.keys() == {"countersign", "grafana"}, ports)
    local = all(port.startswith("127.0.0.1:") for published in ports.values() for port in published)
    cases.check("to this machine alone", local, ports)
    for name in "backend", "prometheus":
        inside = all(file["networks"][network].get("internal") for network in services[name]["networks"])
        cases.check(f"{name}: has no way out", inside, services[name]["networks"])
    cases.check("the proxy has longer than a request may take", services["countersign"]["stop_grace_period"] == "30s")
    unwatched = {name for name, service in services.items() if "healthcheck" not in service}
    cases.check("all but the proxy are asked for their health", unwatched == {"countersign"}, unwatched)


class Machine:
    """podman with stores and networks of its own, and a copy of `deploy`."""

    def __init__(self, place):
        self.place = pathlib.Path(place)
        (self.place / "bin").mkdir()
        limits = ", ".join(f'"{name}={most(kind)}:{most(kind)}"' for name, kind in
                           [("nofile", resource.RLIMIT_NOFILE), ("nproc", resource.RLIMIT_NPROC)])
        (self.place / "containers.conf").write_text(
            f"[containers]\ndefault_ulimits = [{limits}]\n"
            '[engine]\nruntime = "runc"\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\nlock_type = "file"\n'
            '[network]\nnetwork_backend = "netavark"\n'
        )
        stores = " ".join(f"--{name} {place}/{name}" for name in ("root", "runroot", "tmpdir", "network-config-dir"))
        script = self.place / "bin" / "podman"
        script.write_text(f'#!/bin/sh\nexec {shutil.which("podman")} {stores} "$@"\n')
        script.chmod(0o755)
        tools = f"{self.place}/bin:{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin:/sbin"
        self.environment = os.environ | {"CONTAINERS_CONF": f"{place}/containers.conf", "PATH": tools}
        self.tree = self.place / "tree"
        self.deploy = self.tree / "deploy"
        shutil.copytree(COMPOSE.parent, self.deploy, symlinks=True, ignore=shutil.ignore_patterns("kubernetes", "examples"))
        (self.deploy / "keys.yaml").write_text(yaml.safe_dump(KEYS))

    def run(self, *words, ok=True):
        run = subprocess.run(words, cwd=self.tree, env=self.environment, capture_output=True, text=True)
        if ok and run.returncode != 0:
            raise RuntimeError(f"{words}: {run.stdout[-2000:]} {run.stderr[-2000:]}")
        return run

    def compose(self, *words, ok=True):
        files = ["-f", "deploy/compose.yaml", "-f", "deploy/keys.yaml"]
        return self.run("podman-compose", *files, *words, ok=ok)

    def inside(self, part, *words):
        return self.run("podman", "exec", f"countersign_{part}_1", *words, ok=False)

    def image(self, name, recipe, files):
        """Makes an image of files of this machine, with the libraries they are linked to."""
        context = self.place / name.replace("/", "-").replace(":", "-")
        for source, target in files:
            target = context / target.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            copied = shutil.ignore_patterns("site-packages", "test", "config-*", "__pycache__")
            shutil.copytree(source, target, ignore=copied) if os.path.isdir(source) else shutil.copy(source, target)
        (context / "tmp").mkdir()
        for library in libraries(context):
            (context / library.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(library, context / library.lstrip("/"))
        (self.place / "recipe").write_text(recipe)
        self.run("podman", "build", "--quiet", "--file", self.place / "recipe", "--tag", name, context)

    def end(self):
        for words in ["pod", "rm", "--all", "--force"], ["rm", "--all", "--force", "--time", "0"], ["volume", "rm", "--all", "--force"]:
            self.run("podman", *words, ok=False)
        names = self.run("podman", "network", "ls", "--quiet", "--filter", "name=countersign", ok=False).stdout.split()
        for words in ["network", "rm", "--force", *names], ["image", "rm", "--all", "--force"]:
            self.run("podman", *words, ok=False)
        subprocess.run(["umount", self.place / "root" / "overlay"], stderr=subprocess.DEVNULL)


def most(limit):
    hard = resource.getrlimit(limit)[1]
    return min(hard, 4096) if hard > 0 else 4096


def libraries(context):
    """What the programs in a folder are linked to."""
    found = set()
    for path in context.rglob("*"):
        if path.is_file() and path.read_bytes()[:4] == b"\x7fELF":
            linked = subprocess.run(["ldd", path], capture_output=True, text=True).stdout
            found |= set(re.findall(r"(/\S+)(?= \()", linked))
    return sorted(library for library in found if not (context / library.lstrip("/")).exists())


def images(machine, file):
    named = {name: service["image"] for name, service in file["services"].items()}
    python = os.path.realpath(sys.executable)
    home, stdlib = sys.base_prefix, sysconfig.get_paths()["stdlib"]
    machine.image(named["backend"], PYTHON.format(home=home), [(python, "/usr/local/bin/python"), (stdlib, stdlib)])
    machine.image(named["prometheus"], PROMETHEUS,
                  [(shutil.which(name), f"/bin/{name}") for name in ("prometheus", "promtool")] + [("/etc/os-release", "/prometheus/x")])
    context = machine.place / "proxy"
    (context / "target" / "image").mkdir(parents=True)
    shutil.copy(BINARY, context / "target" / "image" / "countersign")
    recipe = machine.deploy / "Dockerfile"
    machine.run("podman", "build", "--quiet", "--file", recipe, "--build-arg", "BINARY=given", "--tag", named["countersign"], context)


def settings(cases, machine, about):
    for name in "CLERK_PUBLISHABLE_KEY", "SIGNING_SECRET":
        told = machine.compose("config", ok=False)
        cases.check("without its settings it says what is missing", told.returncode != 0 and "deploy/.env" in told.stderr, told.stderr)
        line = re.search(r"^#   (\(umask .*\.env\))$", COMPOSE.read_text(), re.MULTILINE).group(1)
        machine.run("sh", "-c", line.replace("pk_test_…", about["publishable_key"] if name == "SIGNING_SECRET" else ""))
    mode = (machine.deploy / ".env").stat().st_mode & 0o777
    cases.check("the settings, as they are pasted, are for their owner's eyes", mode == 0o600, oct(mode))
    url = urllib.parse.urlsplit(about["jwks_url"])
    (machine.deploy / "jwks.json").write_text(request(f"http://{url.netloc}", "GET", url.path).text)


def until(what, so):
    deadline = time.monotonic() + 2 * START
    while not (seen := so()):
        if time.monotonic() > deadline:
            raise RuntimeError(f"never came true: {what}")
        time.sleep(0.2)
    return seen


def get(path, *headers):
    with contextlib.suppress(OSError):
        return request(PROXY, "GET", path, headers)


def runs(cases, machine, about):
    machine.compose("up", "-d", "--no-build", *PARTS)
    token = bearer(mint(about, azp="http://localhost:4600"))
    reply = until("a request goes through", lambda: (seen := get("/orders", token)) and seen.status == 200 and seen)
    caller = reply.json().get("caller", {})
    cases.check("the backend believes who calls", caller.get("x-clerk-user-id", "").startswith("user_"), reply)
    cases.check("401 without a token", get("/orders").status == 401)
    page = get("/", ("Accept", "text/html"), ("Sec-Fetch-Dest", "document"), ("Host", "localhost:4600"))
    cases.check("a page is sent to Clerk", page.status == 307, page)
    stranger = get("/orders", bearer(mint(about, azp="http://localhost:9")))
    cases.check("401 for a token of another page", stranger.status == 401, stranger)

    python = lambda text: machine.inside("backend", "python", "-c", text)
    forged = python("import urllib.request as u; u.urlopen(u.Request('http://127.0.0.1:8000/', headers={'x-clerk-user-id': 'root'}))")
    cases.check("the backend believes nobody else", "401" in forged.stderr, forged)
    out = python("import socket; socket.create_connection(('192.0.2.1', 80), 2)")
    cases.check("the backend has no way out", "unreachable" in out.stderr, out)
    watched = python("import socket; socket.getaddrinfo('prometheus', 9090)")
    cases.check("nor to Prometheus", "not known" in watched.stderr, watched)
    for part in "backend", "prometheus":
        healthy = lambda: machine.run("podman", "healthcheck", "run", f"countersign_{part}_1", ok=False).returncode == 0
        cases.check(f"{part}: is healthy", until(f"{part} is healthy", healthy))

    asked = lambda query: machine.inside("prometheus", "promtool", "query", "instant", "http://127.0.0.1:9090", query).stdout
    until("Prometheus has seen the proxy", lambda: "=> 1 " in asked('up{job="countersign"}'))
    allowed = until("and its requests", lambda: asked('countersign_requests_total{decision="allowed"}'))
    cases.check("Prometheus counts its requests", "=> 1 " in allowed, allowed)
    rules = machine.inside("prometheus", "promtool", "check", "config", "/etc/prometheus/prometheus.yaml")
    cases.check("with the rules and alerts beside it", rules.returncode == 0 and "alerts" in rules.stdout, rules)
    seen = json.loads(machine.run("podman", "inspect", *(f"countersign_{part}_1" for part in PARTS)).stdout)
    kept = all(one["HostConfig"]["ReadonlyRootfs"] and not one["EffectiveCaps"] for one in seen)
    cases.check("no container can change its files, or has capabilities", kept)
    began = time.monotonic()
    stopped = machine.run("podman", "stop", "countersign_countersign_1")
    took = time.monotonic() - began
    code = json.loads(machine.run("podman", "inspect", "countersign_countersign_1").stdout)[0]["State"]["ExitCode"]
    cases.check(f"the proxy drains when it is stopped ({took:.1f} s)", (stopped.returncode, code) == (0, 0) and took < 9, code)


def run(cases):
    file = yaml.safe_load(COMPOSE.read_text())
    well_formed(cases, file)
    confined(cases, file)
    missing = [name for name in NEEDS if not shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/sbin")]
    missing += [] if os.geteuid() == 0 else ["root"]
    if not cases.check("all is there to run it with", not missing, missing):
        return
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place, contextlib.ExitStack() as stack:
        machine = Machine(place)
        stack.callback(machine.end)
        images(machine, file)
        _, about = stack.enter_context(demo())
        settings(cases, machine, about)
        runs(cases, machine, about)


main(run)
