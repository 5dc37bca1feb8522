"""What `deploy/` describes, run as a container runtime would run it, without one.

The program that ships stands alone in an empty root that it cannot write to, as the user, with the
command and the variables of the Dockerfile, and with what the Pod of `deploy/kubernetes` gives it.

Linux, as root or where anybody may make namespaces. The run has a network of its own where it can,
because image and Pod name their ports.
"""

import contextlib
import fcntl
import http.server
import ipaddress
import json
import os
import pathlib
import re
import shlex
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

import kubernetes_validate
import yaml

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import harness
from harness import ROOT, TARGET, Process, bearer, demo, forged, main, mint, request

BUILT = TARGET / "image" / "countersign"
harness.BINARY = str(BUILT)  # the issuer too is what ships
KUBERNETES = ["1.30", "1.37"]  # the first that has all the manifest uses, and the last whose schema we have
NOBODY = 65532
RESTRICTED = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
TOOLS = os.environ["PATH"] + ":/usr/sbin:/sbin"
SIOCSIFFLAGS, IFF_UP = 0x8914, 1


def alone():
    """Starts this run again in a network of its own, unless it is there already."""
    if os.environ.get("DEPLOY_ALONE"):
        with socket.socket() as any_socket:
            fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))
        return
    apart = [shutil.which("unshare", path=TOOLS) or "unshare", "--net"]
    apart += [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    if subprocess.run([*apart, "true"], stderr=subprocess.DEVNULL).returncode == 0:
        os.execve(apart[0], [*apart, sys.executable, *sys.argv], os.environ | {"DEPLOY_ALONE": "1"})
    if os.geteuid() != 0:
        sys.exit("FAIL: neither root nor allowed to make namespaces: nothing of deploy/ was tried")
    print("no namespaces here: on this machine's network, so the ports of the image have to be free")


class Image:
    """What the last stage of the Dockerfile says, and what the one that compiles is given."""

    def __init__(self, text):
        text = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
        steps = [line.split(None, 1) for line in text.splitlines() if line.strip()]
        starts = [at for at, (word, _) in enumerate(steps) if word == "FROM"]
        self.bases = [steps[at][1] for at in starts]
        stage = steps[starts[-1] :]
        said = lambda wanted: [rest for word, rest in stage if word == wanted]
        self.environment = dict(pair.split("=", 1) for rest in said("ENV") for pair in shlex.split(rest))
        self.user, self.stopped_by = said("USER")[-1], said("STOPSIGNAL")[-1]
        self.entrypoint, self.command = (json.loads(said(word)[-1]) for word in ("ENTRYPOINT", "CMD"))
        self.ports = [int(port) for rest in said("EXPOSE") for port in rest.split()]
        self.holds = [rest.split()[-1] for rest in said("COPY")]
        compiling = steps[starts[0] : starts[1]]
        self.sources = [name for word, rest in compiling if word == "COPY" for name in rest.split()[:-1]]


class Container:
    """An empty root with the program in it, and what a runtime mounts there: names, and these files."""

    def __init__(self, image, root, hosts="127.0.0.1 localhost\n", resolv="", files=()):
        self.image, self.root = image, pathlib.Path(root)
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
            os.chown(path, 0, NOBODY)  # as `fsGroup` does

    def command(self, *arguments):
        return [*self.entering(), *self.image.entrypoint, *(arguments or self.image.command)]

    def entering(self):
        if knows_nobody():
            return [shutil.which("chroot", path=TOOLS), f"--userspec={self.image.user}", self.root]
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


class Pod:
    """The Pod with its ConfigMap and its Service."""

    def __init__(self, path):
        self.documents = list(yaml.safe_load_all(path.read_text()))
        kinds = {document["kind"]: document for document in self.documents}
        self.config, self.service = kinds["ConfigMap"], kinds["Service"]
        self.labels, self.spec = kinds["Pod"]["metadata"]["labels"], kinds["Pod"]["spec"]
        (self.proxy,), (self.backend,) = self.spec["initContainers"], self.spec["containers"]
        self.ports = {port["name"]: port["containerPort"] for port in self.proxy["ports"]}
        named = [source["configMapRef"]["name"] for source in self.proxy["envFrom"]]
        assert named == [self.config["metadata"]["name"]], named
        self.environment = self.config["data"] | {entry["name"]: entry["value"] for entry in self.proxy["env"]}

    def files(self, content):
        """What is mounted: `content` by file name, in the mode its volume says."""
        modes = {volume["name"]: volume["secret"]["defaultMode"] for volume in self.spec["volumes"]}
        for mount in self.proxy["volumeMounts"]:
            for name, text in content.items():
                yield f"{mount['mountPath']}/{name}", modes[mount["name"]], text


class Backend(http.server.BaseHTTPRequestHandler):
    """Answers with the headers that it got."""

    def do_GET(self):
        body = json.dumps({name.lower(): value for name, value in self.headers.items()}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def run(cases):
    subprocess.run(["sh", ROOT / "deploy" / "build"], check=True)
    image = Image((ROOT / "deploy" / "Dockerfile").read_text())
    pod = Pod(ROOT / "deploy" / "kubernetes" / "pod.yaml")
    program(cases)
    dockerfile(cases, image)
    manifest(cases, image, pod)
    with container(image) as box, demo() as (_, about):
        without_a_pod(cases, image, box, about)
    in_the_pod(cases, image, pod)
    names(cases, image, pod)


def program(cases):
    def read(what):
        return subprocess.run(["readelf", what, "-W", BUILT], check=True, capture_output=True, text=True).stdout

    cases.check("the program: no interpreter", "INTERP" not in read("-l"), read("-l"))
    cases.check("the program: no shared libraries", "(NEEDED)" not in read("-d"), read("-d"))
    cases.check("the program: at an address of chance", re.search(r"FLAGS_1.*PIE", read("-d")), read("-d"))
    print(f"     the program: {BUILT.stat().st_size / 1e6:.1f} MB")


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
    rust = of_package("rust-version")
    compiler = image.bases[0]
    cases.check("the image: compiled by the Rust of Cargo.toml", compiler.startswith(f"rust:{rust}-"), compiler)
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


def manifest(cases, image, pod):
    for version in KUBERNETES:
        for document in pod.documents:
            kind = document["kind"]
            try:
                judged, problem = kubernetes_validate.validate(document, version, strict=True), None
            except kubernetes_validate.ValidationError as error:
                judged, problem = version, f"{list(error.path)}: {error.message}"
            cases.check(f"the {kind}: Kubernetes {version} knows it", judged == version and problem is None, problem)
    of_pod = pod.spec["securityContext"]
    unharmed = of_pod["runAsNonRoot"] is True and of_pod["seccompProfile"] == {"type": "RuntimeDefault"}
    for one in pod.proxy, pod.backend:
        own = {name: one["securityContext"].get(name) for name in RESTRICTED}
        cases.check(f"the Pod: {one['name']} is restricted", unharmed and own == RESTRICTED, own)
        mounts = {mount["name"]: mount["mountPath"] for mount in one["volumeMounts"]}
        cases.check(f"the Pod: {one['name']} has the secret", mounts == {"signing": "/run/countersign"}, mounts)
    group = int(image.user.split(":")[1])
    cases.check("the Pod: the image's user may read the secret", of_pod["fsGroup"] == group, of_pod)
    cases.check("the Pod: the proxy is a sidecar", pod.proxy["restartPolicy"] == "Always", pod.proxy)
    cases.check("the Pod: the image's ports, named", sorted(pod.ports.values()) == sorted(image.ports), pod.ports)
    of_image = pod.proxy["image"]
    cases.check("the Pod: this version", of_image == f"countersign:{of_package('version')}", of_image)
    (port,) = pod.service["spec"]["ports"]
    public = image.environment["COUNTERSIGN_LISTEN"].rpartition(":")[2]
    led = pod.ports.get(port["targetPort"])
    cases.check("the Service: leads to the proxy, not to the backend or admin", led == int(public), port)
    cases.check("the Service: finds the Pod", pod.service["spec"]["selector"].items() <= pod.labels.items(), pod.labels)


def of_package(key):
    return re.search(rf'^{key} = "(.*)"', (ROOT / "Cargo.toml").read_text(), re.MULTILINE).group(1)


def without_a_pod(cases, image, box, about):
    settings = {"CLERK_PUBLISHABLE_KEY": about["publishable_key"], "COUNTERSIGN_UPSTREAM": "http://127.0.0.1:3000"}
    began = time.monotonic()
    with box.run(settings) as process:
        admin = local(image.environment["COUNTERSIGN_ADMIN_LISTEN"])
        took = until(lambda: answers(admin, "/readyz") == 200, began)
        if not cases.check("the image: ready", took is not None, process.logged()):
            return
        print(f"     the image: ready {took * 1000:.0f} ms after its start")
        status = pathlib.Path(f"/proc/{process.child.pid}/status").read_text()
        seen = re.search(r"^Uid:\s+(\d+)", status, re.MULTILINE).group(1)
        cases.check("the image: runs as its user", not knows_nobody() or seen == image.user.split(":")[0], status)
        used = int(re.search(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE).group(1))
        print(f"     the image: {used / 1024:.1f} MiB in use when ready")
        cases.check("the image: SIGTERM ends it with 0", process.stop() == 0, process.logged())


def in_the_pod(cases, image, pod):
    upstream = urllib.parse.urlsplit(pod.environment["COUNTERSIGN_UPSTREAM"])
    backend = http.server.ThreadingHTTPServer((upstream.hostname, upstream.port), Backend)
    threading.Thread(target=backend.serve_forever, daemon=True).start()
    secret = {"signing.key": b"deploy-0123456789abcdef0123456789abcdef\n"}
    with container(image, files=pod.files(secret)) as box:
        checked = subprocess.run(
            box.command("check", "--strict"), env=image.environment | pod.environment, capture_output=True, text=True
        )
        cases.check("the Pod: check --strict finds nothing", checked.returncode == 0, checked.stdout + checked.stderr)
        settings = dict(re.findall(r"^(\S+) += (.*?)   \(", checked.stdout, re.MULTILINE))
        seconds_add_up(cases, pod, settings)
        with contextlib.ExitStack() as stack:
            _, about = stack.enter_context(demo())
            of_issuer = {"CLERK_PUBLISHABLE_KEY": about["publishable_key"]}
            process = stack.enter_context(box.run(pod.environment | of_issuer))
            proxy, admin = (f"http://127.0.0.1:{pod.ports[name]}" for name in ("http", "admin"))
            for probe in "startupProbe", "readinessProbe":
                asked = pod.proxy[probe]["httpGet"]
                at = f"http://127.0.0.1:{pod.ports[asked['port']]}"
                took = until(lambda: answers(at, asked["path"]) == 200)
                cases.check(f"the Pod: its {probe} is answered", took is not None, process.logged())
            party = pod.environment["COUNTERSIGN_AUTHORIZED_PARTIES"]
            token = mint(about, azp=party)
            good = request(proxy, "GET", "/orders", [bearer(token)])
            user, signed = good.json().get("x-clerk-user-id", ""), good.json().get("signature-input", "")
            cases.check("the Pod: a good token reaches the backend", user.startswith("user_"), good)
            cases.check("the Pod: signed with the mounted secret", 'alg="hmac-sha256"' in signed, good)
            for name, headers in [
                ("no token", []),
                ("another signature", [bearer(forged(token))]),
                ("another front end", [bearer(mint(about, azp="https://elsewhere.example.com"))]),
            ]:
                reply = request(proxy, "GET", "/orders", headers)
                cases.check(f"the Pod: {name}: 401", reply.status == 401, reply)
            scraped = request(admin, "GET", "/metrics").text
            cases.check("the Pod: it is counted", 'decision="allowed"' in scraped, scraped[:600])
            cases.check("the Pod: SIGTERM ends the proxy with 0", process.stop() == 0, process.logged())
    backend.shutdown()
    backend.server_close()


def seconds_add_up(cases, pod, settings):
    drain = sum(int(re.fullmatch(r'"(\d+)s"', settings[f"drain.{part}"]).group(1)) for part in ("delay", "grace"))
    away = pod.backend["lifecycle"]["preStop"]["sleep"]["seconds"]
    backend = pod.spec["terminationGracePeriodSeconds"] - away - drain
    cases.check("the Pod: ends in time, and the backend has what the proxy has", backend >= drain, backend)


def names(cases, image, pod):
    """With the manifest's own key: Clerk is found by its name, and a Clerk that is not does not stop the start."""
    clerk, pretender, nobody = "127.0.0.2", "127.0.0.3", "127.0.0.53"
    host = "clerk.example.com"
    settings = pod.environment | {"COUNTERSIGN_SIGNING_SECRET_FILE": ""}
    admin = f"http://127.0.0.1:{pod.ports['admin']}"
    resolv = f"search svc.cluster.local cluster.local\nnameserver {nobody}\noptions ndots:5 timeout:1 attempts:1\n"
    for name, hosts, served in [
        ("found by /etc/hosts", f"{clerk} {host}\n", {}),
        ("found by DNS, as the cluster asks it", "127.0.0.1 localhost\n", {host: clerk}),
        ("found by /etc/hosts before DNS", f"{clerk} {host}\n", {host: pretender}),
    ]:
        with contextlib.ExitStack() as stack:
            box = stack.enter_context(container(image, hosts=hosts, resolv=resolv))
            listener = stack.enter_context(socket.create_server((clerk, 443)))
            listener.settimeout(10)
            stack.enter_context(dns(nobody, served))
            process = stack.enter_context(box.run(settings))
            try:
                connection, _ = listener.accept()
                with connection:
                    said = connection.recv(4096)
            except TimeoutError:
                said = b""
            # Its name is in the first message of TLS: the roots were read, with no /etc/ssl there.
            cases.check(f"Clerk: {name}", host.encode() in said, process.logged())
    with container(image, resolv=resolv) as box, box.run(settings) as process:
        alive = until(lambda: answers(admin, "/livez") == 200)
        cases.check("Clerk: not found: live", alive is not None, process.logged())
        cases.check("Clerk: not found: not ready", answers(admin, "/readyz") == 503, process.logged())
        cases.check("Clerk: not found: SIGTERM ends it with 0", process.stop() == 0, process.logged())


@contextlib.contextmanager
def dns(address, names):
    """A name server that knows these and says of others that they do not exist."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((address, 53))
        server.settimeout(0.1)
        ending = threading.Event()

        def serve():
            while not ending.is_set():
                with contextlib.suppress(TimeoutError):
                    asked, client = server.recvfrom(512)
                    server.sendto(answered(asked, names), client)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            ending.set()
            thread.join()


def answered(asked, names):
    """The answer to a query (RFC 1035 §4): an address to the one for A, nothing to that for AAAA."""
    labels, at = [], 12
    while asked[at]:
        labels.append(asked[at + 1 : at + 1 + asked[at]].decode())
        at += 1 + asked[at]
    question, (kind,) = asked[12 : at + 5], struct.unpack("!H", asked[at + 1 : at + 3])
    found = names.get(".".join(labels))
    record = b""
    if found and kind == 1:
        record = struct.pack("!HHHIH", 0xC00C, 1, 1, 60, 4) + ipaddress.ip_address(found).packed
    flags = 0x8180 if found else 0x8183
    return asked[:2] + struct.pack("!HHHHH", flags, 1, bool(record), 0, 0) + question + record


def local(address):
    return f"http://127.0.0.1:{address.rpartition(':')[2]}"


def answers(base, path):
    with contextlib.suppress(OSError):
        return request(base, "GET", path).status


def until(held, began=None):
    """Waits until it holds; returns the seconds that took, or None after ten."""
    began = began or time.monotonic()
    while not held():
        if time.monotonic() - began > 10:
            return None
        time.sleep(0.002)
    return time.monotonic() - began


alone()
main(run)
