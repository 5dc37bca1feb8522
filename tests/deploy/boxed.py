"""What `deploy/kubernetes` gives the proxy, in an empty root: its settings, its probes, its end, and Clerk's name."""

import contextlib
import http.server
import ipaddress
import json
import os
import re
import socket
import socketserver
import struct
import subprocess
import threading
import tomllib
import urllib.parse

from harness import bearer, demo, forged, mint, request, serving
from image import answers, container, knows_nobody, until
from workload import KUBERNETES, Workload, of_file, overlay

SECRET = {"signing.key": b"deploy-0123456789abcdef0123456789abcdef\n"}
SPARE = 5  # seconds before a container that did not end is killed


class Answers(http.server.BaseHTTPRequestHandler):
    """Answers with the headers that it got."""

    def do_GET(self):
        body = json.dumps({name.lower(): value for name, value in self.headers.items()}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self):
        return "the proxy"  # one on a socket has no address

    def log_message(self, *_):
        pass


class OnSocket(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True


def backend(address, box):
    """A backend where the settings say that it is; a socket is in the root of the container, for its group."""
    url = urllib.parse.urlsplit(address)
    if url.scheme == "unix":
        path = box.root / url.path.lstrip("/")
        path.parent.chmod(0o755)
        server = OnSocket(str(path), Answers)
        path.chmod(0o660)
        if knows_nobody():
            os.chown(path, 0, box.group)  # as whatever is made in such a directory
    else:
        server = http.server.ThreadingHTTPServer((url.hostname, url.port), Answers)
    return serving(server)


def run(cases, image):
    scenes = {name: Workload(overlay(name)) for name in ("examples/loopback", "examples/socket", "gateway")}
    scenes["pod.yaml"] = Workload(of_file(KUBERNETES / "pod.yaml"))
    for name, one in scenes.items():
        files = [*one.files(SECRET), *directories(one)]
        with container(image, files=files, group=one.group) as box:
            settings = understood(cases, name, image, one, box)
            ends_in_time(cases, name, one, settings)
            if name != "gateway":  # whose backend is found by the cluster's DNS
                serves(cases, name, image, one, box)
    words(cases, scenes["gateway"])
    names(cases, image, scenes["examples/loopback"])


def directories(one):
    """A file in each empty directory that is mounted, for it to be there."""
    empty = {volume["name"] for volume in one.spec["volumes"] if "emptyDir" in volume}
    mounts = [mount["mountPath"] for mount in one.proxy["volumeMounts"] if mount["name"] in empty]
    return [(f"{path}/.keep", 0o444, b"") for path in mounts]


def understood(cases, name, image, one, box):
    """The settings, as `check` prints them; it warns of nothing but what is meant."""
    said = image.environment | one.environment
    checked = subprocess.run(box.command("check"), env=said, capture_output=True, text=True)
    told = checked.stdout + checked.stderr
    meant = {"pod.yaml": "warning: clerk.publishable_key: the key of a development instance"}.get(name)
    warnings = re.findall(r"^warning: .*", told, re.MULTILINE)
    unmeant = [line for line in warnings if not (meant and line.startswith(meant))]
    fine = checked.returncode == 0 and not unmeant and bool(meant) == bool(warnings)
    cases.check(f"{name}: check warns of {'what is meant' if meant else 'nothing'}", fine, told)
    settings = dict(re.findall(r"^(\S+) += (.*?)   \(", checked.stdout, re.MULTILINE))
    stripped = settings.get("identity.strip_credentials")
    cases.check(f"{name}: the backend gets no credentials", stripped == "true", told)
    safe = "https" not in settings["public_url"] or settings.get("trusted_proxies") == '["private"]'
    cases.check(f"{name}: behind TLS of another's it believes that", safe, told)
    return settings


def ends_in_time(cases, name, one, settings):
    """What each has to end adds up to less than Kubernetes gives them all."""
    delay, grace = (seconds(settings[f"drain.{part}"]) for part in ("delay", "grace"))
    given = one.spec["terminationGracePeriodSeconds"] - SPARE
    if one.backend is None:
        cases.check(f"{name}: ends in time", delay + grace <= given, (delay, grace, given))
        return
    away = one.backend["lifecycle"]["preStop"]["sleep"]["seconds"]
    if one.native:  # one after the other: the backend, then the proxy
        cases.check(f"{name}: ends in time, the backend too", given - away - delay - grace >= 30, settings)
        cases.check(f"{name}: nothing to accept once the backend is gone", delay == 0, delay)
    else:  # at once: the backend waits until the proxy is done
        cases.check(f"{name}: ends in time, the backend too", given - away >= 30, settings)
        cases.check(f"{name}: the backend outlives the proxy", away >= delay + grace, (away, delay, grace))


def seconds(text):
    return int(re.fullmatch(r'"(\d+)s"', text).group(1))


def serves(cases, name, image, one, box):
    with contextlib.ExitStack() as stack:
        written = tomllib.loads(one.config[next(iter(one.config))]["countersign.toml"])
        stack.enter_context(backend(written["upstream"]["url"], box))
        _, about = stack.enter_context(demo())
        of_issuer = {"CLERK_PUBLISHABLE_KEY": about["publishable_key"]}
        process = stack.enter_context(box.run(one.environment | of_issuer))
        ports = {"http": one.port("http"), "admin": one.own_port(one.proxy, "admin")}
        proxy, admin = (f"http://127.0.0.1:{ports[port]}" for port in ("http", "admin"))
        for container_, probe, asked in probes(one):
            at = f"http://127.0.0.1:{one.own_port(container_, asked['port'])}"
            held = until(lambda: answers(at, asked["path"]) == 200)
            cases.check(f"{name}: the {probe} of {container_['name']} is answered", held, process.logged())
        party = written["clerk"]["authorized_parties"][0]
        token = mint(about, azp=party)
        good = request(proxy, "GET", "/orders", [bearer(token)])
        user, signed = good.json().get("x-clerk-user-id", ""), good.json().get("signature-input", "")
        cases.check(f"{name}: a good token reaches the backend", user.startswith("user_"), good)
        cases.check(f"{name}: which does not get it", "authorization" not in good.json(), good)
        alg = "hmac-sha256" if "signing" in written else "ed25519"
        cases.check(f"{name}: signed as its settings say", f'alg="{alg}"' in signed, good)
        for what, headers in [
            ("no token", []),
            ("another signature", [bearer(forged(token))]),
            ("another front end", [bearer(mint(about, azp="https://elsewhere.example.com"))]),
        ]:
            reply = request(proxy, "GET", "/orders", headers)
            cases.check(f"{name}: {what}: 401", reply.status == 401, reply)
        scraped = request(admin, "GET", "/metrics").text
        cases.check(f"{name}: it is counted", 'decision="allowed"' in scraped, scraped[:600])
        cases.check(f"{name}: SIGTERM ends the proxy with 0", process.stop() == 0, process.logged())


def probes(one):
    """Every probe that the kubelet asks by HTTP: of which container, which, and what."""
    for each in filter(None, [one.proxy, one.backend]):
        for probe in "startupProbe", "readinessProbe", "livenessProbe":
            if "httpGet" in each.get(probe, {}):
                yield each, probe, each[probe]["httpGet"]


def words(cases, one):
    """What a gateway has to say that a sidecar has not."""
    written = tomllib.loads(one.config["invoices-gateway"]["countersign.toml"])
    cases.check("gateway: the query is signed", written["signing"]["cover"] == ["query"], written)
    idle = int(written["timeouts"]["idle"].removesuffix("s"))
    cases.check("gateway: keeps connections longer than load balancers (600 s)", idle > 600, idle)


def names(cases, image, one):
    """With the manifest's own key: Clerk is found by its name, and a Clerk that is not does not stop the start."""
    clerk, pretender, nobody = "127.0.0.2", "127.0.0.3", "127.0.0.53"
    host = "clerk.example.com"
    given = {"files": list(one.files(SECRET)), "group": one.group}
    admin = f"http://127.0.0.1:{one.own_port(one.proxy, 'admin')}"
    resolv = f"search svc.cluster.local cluster.local\nnameserver {nobody}\noptions ndots:5 timeout:1 attempts:1\n"
    for name, hosts, served in [
        ("found by /etc/hosts", f"{clerk} {host}\n", {}),
        ("found by DNS, as the cluster asks it", "127.0.0.1 localhost\n", {host: clerk}),
        ("found by /etc/hosts before DNS", f"{clerk} {host}\n", {host: pretender}),
    ]:
        with contextlib.ExitStack() as stack:
            box = stack.enter_context(container(image, hosts=hosts, resolv=resolv, **given))
            listener = stack.enter_context(socket.create_server((clerk, 443)))
            listener.settimeout(10)
            stack.enter_context(dns(nobody, served))
            process = stack.enter_context(box.run(one.environment))
            try:
                connection, _ = listener.accept()
                with connection:
                    said = connection.recv(4096)
            except TimeoutError:
                said = b""
            # Its name is in the first message of TLS: the roots were read, with no /etc/ssl there.
            cases.check(f"Clerk: {name}", host.encode() in said, process.logged())
    with container(image, resolv=resolv, **given) as box, box.run(one.environment) as process:
        alive = until(lambda: answers(admin, "/livez") == 200)
        cases.check("Clerk: not found: live", alive, process.logged())
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
