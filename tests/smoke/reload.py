"""A real `serve` whose settings change: by SIGHUP, by their file, by a link, by mistake, and under load."""

import contextlib
import http.server
import os
import pathlib
import re
import signal
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from harness import bearer, demo, main, mint, request, serve

SOON = 10  # seconds: a change of a file counts within two
RELOADS = 20
GOOD = "countersign_config_last_reload_successful"
SINCE = "countersign_config_last_reload_success_timestamp_seconds"
OPEN = '[[route]]\npath = "/open"\naccess = "public"\n'


class Backend(http.server.ThreadingHTTPServer):
    """Answers with its name."""

    daemon_threads = True
    request_queue_size = 128

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 65536

        def do_GET(self):
            name = self.server.name.encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(name)))
            self.end_headers()
            self.wfile.write(name)

        def log_message(self, *_):
            pass

    def __init__(self, name):
        super().__init__(("127.0.0.1", 0), self.Handler)
        self.name = name
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()


class Settings:
    """A settings file behind two links, as Kubernetes mounts one."""

    def __init__(self, home, upstream):
        self.home, self.generation = pathlib.Path(home), 0
        self.file = self.home / "settings.toml"
        self.swap(upstream)
        os.symlink("..data/settings.toml", self.file)

    def text(self, upstream, more=""):
        return f'upstream.url = "{upstream}"\n{more}'

    def swap(self, upstream, more=""):
        """Puts another directory in the old one's place, in one move."""
        self.generation += 1
        directory = self.home / f"..{self.generation}"
        directory.mkdir()
        (directory / "settings.toml").write_text(self.text(upstream, more))
        os.symlink(directory.name, self.home / "..new")
        os.rename(self.home / "..new", self.home / "..data")

    def write(self, upstream, more=""):
        """Writes the file that is there, as an editor may."""
        self.file.write_text(self.text(upstream, more))


def metric(admin, name):
    found = re.search(rf"^{name} (\S+)$", request(admin, "GET", "/metrics").text, re.MULTILINE)
    return float(found.group(1)) if found else None


def becomes(look, wanted):
    """What `look` came to: `wanted` as soon as it does, else what it was in the end."""
    deadline = time.monotonic() + SOON
    while (seen := look()) != wanted and time.monotonic() < deadline:
        time.sleep(0.02)
    return seen


@contextlib.contextmanager
def load(proxy, token):
    """Eight clients that send one request after another; gives what was not answered with 200."""
    ending, bad, count = threading.Event(), [], [0]
    lock = threading.Lock()

    def client():
        while not ending.is_set():
            try:
                status = request(proxy, "GET", "/", [bearer(token)]).status
            except Exception as error:
                status = repr(error)
            with lock:
                count[0] += 1
                if status != 200:
                    bad.append(status)

    clients = [threading.Thread(target=client) for _ in range(8)]
    for thread in clients:
        thread.start()
    try:
        yield bad, count
    finally:
        ending.set()
        for thread in clients:
            thread.join()


def file_changes(cases, settings, backend, proxy, admin):
    status = lambda: request(proxy, "GET", "/open").status
    cases.check("at the start: a good reading", metric(admin, GOOD) == 1.0 and metric(admin, SINCE) > 1e9)
    cases.check("at the start: every path wants a token", status() == 401)
    fingerprint = lambda: request(admin, "GET", "/status").json()["settings_fingerprint"]
    before = fingerprint()
    settings.write(backend.url, OPEN)
    cases.check("the file is written: it counts", (seen := becomes(status, 200)) == 200, seen)
    cases.check("another fingerprint", fingerprint() != before)
    settings.swap(backend.url)
    cases.check("the link is swapped: it counts", (seen := becomes(status, 401)) == 401, seen)
    cases.check("the old fingerprint", fingerprint() == before)


def broken_file(cases, settings, backend, process, proxy, admin):
    settings.swap(backend.url, OPEN)
    status = lambda: request(proxy, "GET", "/open").status
    becomes(status, 200)
    settings.write(backend.url, "clerk.leeway = 5\n[[route]")
    good = lambda: metric(admin, GOOD)
    cases.check("a broken file: the metric says so", (seen := becomes(good, 0.0)) == 0.0, seen)
    cases.check("a broken file: the last good settings stay", status() == 200)
    cases.check("a broken file: the log has it", "settings not reloaded" in process.logged(), process.logged())
    settings.write(backend.url, 'workers = 3\nlog.level = "warn"\n')
    cases.check("mended: the metric says so", (seen := becomes(good, 1.0)) == 1.0, seen)
    cases.check("mended: it counts", (seen := becomes(status, 401)) == 401, seen)
    named = lambda: "wait for a restart" in process.logged() and '"keys":"workers"' in process.logged()
    cases.check("what waits for a restart is named", becomes(named, True), process.logged())


def hangup(cases, process, admin):
    since = metric(admin, SINCE)
    time.sleep(1.1)  # it is told in whole seconds
    process.child.send_signal(signal.SIGHUP)
    later = lambda: metric(admin, SINCE) > since
    cases.check("SIGHUP: the same settings are read again", becomes(later, True))
    cases.check("SIGHUP: the process lives", process.child.poll() is None)


def under_load(cases, about, settings, backends, process, proxy, admin):
    token = mint(about, exp=int(time.time()) + 600)
    answered = lambda: request(proxy, "GET", "/", [bearer(token)]).text
    with load(proxy, token) as (bad, count):
        for number in range(RELOADS):
            backend = backends[number % 2]
            settings.swap(backend.url)
            process.child.send_signal(signal.SIGHUP)
            seen = becomes(answered, backend.name)
            if seen != backend.name:
                bad.append(f"reload {number}: {seen}")
    cases.check(f"{RELOADS} reloads and {count[0]} requests: none failed", not bad and count[0] > RELOADS, bad[:5])
    fetches = metric(admin, f'countersign_jwks_refreshes_total{{issuer="{about["issuer"]}",result="ok"}}'.replace("{", r"\{"))
    cases.check("the issuer was asked once", fetches == 1.0, fetches)


def run(cases):
    backends = [Backend("one"), Backend("two")]
    with tempfile.TemporaryDirectory() as home, demo() as (_, about):
        settings = Settings(home, backends[0].url)
        how = {"COUNTERSIGN_LOG_ACCESS": "false", "COUNTERSIGN_LOG_FORMAT": "json"}
        with serve(about, "--config", str(settings.file), **how) as (process, proxy, admin):
            file_changes(cases, settings, backends[0], proxy, admin)
            broken_file(cases, settings, backends[0], process, proxy, admin)
            hangup(cases, process, admin)
            under_load(cases, about, settings, backends, process, proxy, admin)
            cases.check("SIGTERM: ends with 0", process.stop() == 0)


main(run)
