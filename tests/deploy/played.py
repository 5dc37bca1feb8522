"""The image built and the Pod played for real, by podman: probes, a request, its end, and Prometheus beside it.

The backend is static and listens on the Pod's loopback alone. The key set is a file in the ConfigMap, because from
within a Pod the issuer of the test is nobody's loopback. All else is `deploy/kubernetes/pod.yaml` as it stands, and
the commands at its head as they are pasted.
"""

import contextlib
import json
import os
import pathlib
import re
import resource
import shutil
import subprocess
import tempfile
import threading
import time

import yaml

from harness import ROOT, bearer, demo, mint, request
from image import BUILT, answers, until
from watched import prometheus, watches
from workload import KUBERNETES, Workload

NEEDS = ["podman", "runc", "catatonit", "iptables", "prometheus"]
BUSYBOX = "/bin/busybox"
SLOW = 7  # seconds the backend takes for an answer that is under way when the proxy is told to end
BACKEND = """\
FROM scratch
COPY busybox /bin/busybox
COPY busybox /bin/sh
COPY www /www
ENTRYPOINT ["/bin/busybox", "httpd", "-f", "-p", "127.0.0.1:3000", "-h", "/www"]
"""
SAYS = "#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\n'\nenv\n"
TAKES_LONG = f"#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\n'\nsleep {SLOW}\necho done\n"


CONFIGURATION = """\
[containers]
default_ulimits = ["nofile={files}:{files}", "nproc={processes}:{processes}"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
[network]
network_backend = "netavark"
"""


class Podman:
    """podman with stores and networks of its own, which are gone when the test is."""

    def __init__(self, place):
        self.place = pathlib.Path(place)
        configuration = self.place / "containers.conf"
        files, processes = (most(kind) for kind in (resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC))
        configuration.write_text(CONFIGURATION.format(files=files, processes=processes))
        self.environment = os.environ | {"CONTAINERS_CONF": str(configuration)}
        self.environment["PATH"] = f"{self.place}/bin:{os.environ['PATH']}:/usr/sbin:/sbin"
        # On the PATH, so that commands can be pasted as they stand.
        (self.place / "bin").mkdir()
        own = "root", "runroot", "tmpdir", "network-config-dir"
        stores = " ".join(f"--{name} {self.place}/{name}" for name in own)
        self.script("podman", f'exec {shutil.which("podman")} {stores} "$@"')
        self.script("countersign", f'exec {BUILT} "$@"')

    def script(self, name, line):
        path = self.place / "bin" / name
        path.write_text(f"#!/bin/sh\n{line}\n")
        path.chmod(0o755)

    def shell(self, line, cwd):
        run = subprocess.run(["sh", "-ec", line], cwd=cwd, env=self.environment, capture_output=True, text=True)
        if run.returncode != 0:
            raise RuntimeError(f"{line}: {run.returncode}: {run.stderr}")
        return run.stdout

    def run(self, *words):
        return self.shell("exec podman " + " ".join(words), self.place).strip()

    def look(self, what, name):
        return json.loads(self.run("inspect", "--type", what, name))[0]

    def end(self):
        """Leaves nothing; `system reset` would take the host's own networks with it."""
        for words in ["pod", "rm", "--all", "--force", "--time", "0"], ["image", "rm", "--all", "--force"]:
            with contextlib.suppress(RuntimeError):
                self.run(*words)
        subprocess.run(["umount", self.place / "root" / "overlay"], stderr=subprocess.DEVNULL)


def most(limit):
    """No more than the host has to give: podman's own defaults are more than some have."""
    hard = resource.getrlimit(limit)[1]
    return min(hard, 4096) if hard > 0 else 4096


def run(cases, image):
    missing = [name for name in NEEDS if not shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/sbin")]
    missing += [] if os.path.exists(BUSYBOX) else ["busybox-static"]
    missing += [] if os.geteuid() == 0 else ["root"]
    if not cases.check("podman: all is there that the Pod is played with", not missing, missing):
        return
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place, contextlib.ExitStack() as stack:
        podman = Podman(place)
        stack.callback(podman.end)
        built(cases, podman, image)
        _, about = stack.enter_context(demo())
        tree, one = planted(podman, about)
        for command in commands()[:-2]:
            podman.shell(command, tree)
        played(cases, podman, one, about)
        confined(cases, podman, one)
        with prometheus(cases, f"127.0.0.1:{published(one)['admin']}") as base:
            good = lambda: request(proxy(one), "GET", "/orders", [bearer(token(one, about))])
            calls = lambda: [good() for _ in range(3)]
            watches(cases, base, calls, lambda: podman.run("stop", "--time", "0", "orders-orders"))
        podman.run("start", "orders-orders")
        drains(cases, podman, one, about, tree)


def built(cases, podman, image):
    """By the Dockerfile, from the program that is there; and the backend."""
    context = podman.place / "context"
    (context / "target" / "image").mkdir(parents=True)
    shutil.copy(BUILT, context / "target" / "image" / "countersign")
    for name in "deploy/Dockerfile", ".dockerignore":
        shutil.copy(ROOT / name, context / pathlib.Path(name).name)
    (named,) = re.findall(r"image: (countersign:\S+)", (KUBERNETES / "pod.yaml").read_text())
    given = ["--file", "context/Dockerfile", "--build-arg", "BINARY=given"]
    podman.run("build", "--quiet", *given, "--tag", named, "context")
    seen = podman.look("image", named)
    config = seen["Config"]
    right = (config["User"], config["Entrypoint"], config["Cmd"]) == (image.user, image.entrypoint, image.command)
    right = right and config["Labels"].items() >= image.labels.items()
    cases.check("podman: the image is what its Dockerfile says", right, config)
    asked = asked_for(podman)
    cases.check("podman: without BINARY it is compiled inside", image.bases[0].split()[0] in asked, asked)
    alone = seen["Size"] - BUILT.stat().st_size
    cases.check("podman: the image is as large as the program", 0 <= alone < 10_000, seen["Size"])
    print(f"     podman: {seen['Size'] / 1e6:.1f} MB the image")
    site = podman.place / "backend" / "www"
    (site / "cgi-bin").mkdir(parents=True)
    shutil.copy(BUSYBOX, site.parent / "busybox")
    (site.parent / "Dockerfile").write_text(BACKEND)
    for name in "healthz", "orders":
        (site / name).write_text(f"{name}\n")
    for name, script in ("who", SAYS), ("slow", TAKES_LONG):
        (site / "cgi-bin" / name).write_text(script)
        (site / "cgi-bin" / name).chmod(0o755)
    podman.run("build", "--quiet", "--tag", "orders:1.0.0", "backend")


def asked_for(podman):
    """What a build says for want of the first image that it needs."""
    try:
        return podman.run("build", "--pull=never", "--file", "context/Dockerfile", "context")
    except RuntimeError as failed:
        return str(failed)


def planted(podman, about):
    """A tree with pod.yaml in it, whose keys are those of this issuer; and that as it is understood."""
    documents = list(yaml.safe_load_all((KUBERNETES / "pod.yaml").read_text()))
    data = next(one for one in documents if one["kind"] == "ConfigMap")["data"]
    where = about["jwks_url"]
    at = where.index("/", len("http://"))
    data["jwks.json"] = request(where[:at], "GET", where[at:]).text
    ours = f'publishable_key = "{about["publishable_key"]}"\njwks_file = "/etc/countersign/jwks.json"'
    data["countersign.toml"] = re.sub(r'publishable_key = ".*"', ours, data["countersign.toml"])
    tree = podman.place / "tree"
    (tree / "deploy" / "kubernetes").mkdir(parents=True)
    (tree / "deploy" / "kubernetes" / "pod.yaml").write_text(yaml.safe_dump_all(documents))
    return tree, Workload(documents)


def commands():
    """Those at the head of pod.yaml, of one line each."""
    head = (KUBERNETES / "pod.yaml").read_text().partition("\napiVersion")[0]
    told = "\n".join(line[4:] for line in head.splitlines() if line.startswith("#   "))
    return told.replace("\\\n", " ").splitlines()


def published(one):
    return {port["name"]: port["hostPort"] for port in one.proxy["ports"]}


def proxy(one):
    return f"http://127.0.0.1:{published(one)['http']}"


def token(one, about):
    (party,) = re.findall(r'authorized_parties = \["(.*)"\]', one.config["orders-countersign"]["countersign.toml"])
    return mint(about, azp=party)


def address(podman):
    """The Pod's own, as the kubelet and neighbours see it."""
    infra = podman.look("pod", "orders")["InfraContainerID"]
    (network,) = podman.look("container", infra)["NetworkSettings"]["Networks"].values()
    return network["IPAddress"]


def played(cases, podman, one, about):
    pod = address(podman)
    for each in one.proxy, one.backend:
        asked = each["readinessProbe"]["httpGet"]
        at = f"http://{pod}:{one.own_port(each, asked['port'])}"
        held = until(lambda: answers(at, asked["path"]) == 200)
        cases.check(f"podman: the probe of {each['name']} passes", held, logged(podman))
    known = bearer(token(one, about))
    good = request(proxy(one), "GET", "/orders", [known])
    reached = (good.status, good.text) == (200, "orders\n")
    cases.check("podman: a request with a token reaches the backend", reached, good)
    who = request(proxy(one), "GET", "/cgi-bin/who", [known, ("x-clerk-user-id", "user_forged")])
    told = dict(line.partition("=")[::2] for line in who.text.splitlines())
    user = told.get("HTTP_X_CLERK_USER_ID", "")
    cases.check("podman: which is told who calls", user.startswith("user_") and user != "user_forged", who)
    signed = "HTTP_SIGNATURE" in told and "HTTP_AUTHORIZATION" not in told
    cases.check("podman: signed, and without the token", signed, who)
    reply = request(proxy(one), "GET", "/orders")
    cases.check("podman: one without is refused", reply.status == 401, reply)
    for where, host in ("the Pod", pod), ("the host", "127.0.0.1"):
        past = answers(f"http://{host}:3000", "/orders")
        cases.check(f"podman: the backend's own port is closed at {where}", past is None, past)


def logged(podman):
    return podman.run("logs", "orders-countersign", "2>&1")[-2000:]


def confined(cases, podman, one):
    seen = podman.look("container", "orders-countersign")
    status = pathlib.Path(f"/proc/{seen['State']['Pid']}/status").read_text()
    said = dict(line.partition(":\t")[::2] for line in status.splitlines())
    mine = said["Uid"].split()[0], said["CapEff"], said["NoNewPrivs"], said["Seccomp"]
    cases.check("podman: no root, no capabilities, no way to any", mine == ("65532", "0" * 16, "1", "2"), mine)
    cases.check("podman: a root that is read-only", seen["HostConfig"]["ReadonlyRootfs"] is True, seen["HostConfig"])
    limit = int(one.proxy["resources"]["limits"]["memory"].removesuffix("Mi")) << 20
    has = seen["HostConfig"]["Memory"]
    cases.check("podman: no more memory than it may", has == limit, has)


def drains(cases, podman, one, about, tree):
    """SIGTERM, by the command one is told to end it with: what is under way is answered, then it ends with 0."""
    until(lambda: answers(proxy(one), "/healthz") == 200)
    admin = f"http://127.0.0.1:{published(one)['admin']}"
    last, seen = token(one, about), {}

    def ask():
        seen["slow"] = request(proxy(one), "GET", "/cgi-bin/slow", [bearer(last)])

    def end():
        seen["began"] = time.monotonic()
        podman.shell(commands()[-2], tree)
        seen["ended"] = time.monotonic()

    under_way = threading.Thread(target=ask)
    under_way.start()
    until(lambda: "countersign_requests_in_flight 1" in request(admin, "GET", "/metrics").text)
    ending = threading.Thread(target=end)
    ending.start()
    unready = until(lambda: answers(admin, "/readyz") == 503)
    cases.check("podman: SIGTERM: not ready any more", unready, seen)
    new = request(proxy(one), "GET", "/orders", [bearer(last)])
    closes = (new.status, new.headers.get("connection")) == (200, "close")
    cases.check("podman: SIGTERM: new requests are answered during drain.delay, and told to go elsewhere", closes, new)
    under_way.join()
    ending.join()
    slow = seen["slow"]
    cases.check("podman: SIGTERM: what was under way is answered", (slow.status, slow.text) == (200, "done\n"), slow)
    took = seen["ended"] - seen["began"]
    cases.check("podman: SIGTERM: ended once that was done, within the grace", SLOW - 2 < took < 25, took)
    code = podman.look("container", "orders-countersign")["State"]["ExitCode"]
    cases.check("podman: SIGTERM: with 0", code == 0, logged(podman))
    podman.shell(commands()[-1], tree)
    left = podman.run("pod", "ps", "--quiet")
    cases.check("podman: and the Pod is gone", not left, left)
