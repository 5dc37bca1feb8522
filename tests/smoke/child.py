"""`countersign serve -- CMD`: the backend as a child, from its first request to the end of both. Linux only."""

import contextlib
import fcntl
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import termios
import threading
import time
import uuid

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from harness import (
    BINARY,
    ROOT,
    START,
    Process,
    bearer,
    clean,
    demo,
    free_port,
    have_loopback,
    main,
    mint,
    request,
    until_ready,
)

MARK = "CHILD_RUN"  # what every process of a case has in its environment
TOOLS = os.environ["PATH"] + ":/usr/sbin:/sbin"

BACKEND = r"""
import http.server, json, os, signal, subprocess, sys, time

def heard(number, _):
    with open("heard", "a") as file:
        file.write(signal.Signals(number).name + "\n")

for name in "HUP", "QUIT", "USR1", "USR2", "WINCH":
    signal.signal(getattr(signal, "SIG" + name), heard)
if "deaf" in sys.argv:
    signal.signal(signal.SIGTERM, heard)

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        _, deed, *rest = self.path.split("/")
        if deed == "exit":
            os._exit(int(rest[0]))
        if deed == "kill":
            os.kill(os.getpid(), int(rest[0]))
        if deed == "slow":
            open("slow", "w").close()
            time.sleep(float(rest[0]))
        if deed == "orphans":
            for _ in range(5):
                subprocess.run(["sh", "-c", "sleep 0.2 & sleep 0.2 & setsid sleep 0.2 &"])
        body = json.dumps({"environment": dict(os.environ), "pid": os.getpid()}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""

NODE = """
require("http").createServer((_, answer) => answer.end("from node")).listen(process.env.PORT, "127.0.0.1")
"""


def alone():
    """Starts this run again in a network of its own, so that a backend may listen on every address of it; tells
    whether it is there."""
    if os.environ.get("CHILD_ALONE"):
        have_loopback()
        return True
    apart = [shutil.which("unshare", path=TOOLS) or "unshare", "--net", *as_root()]
    if is_possible(apart):
        os.execve(apart[0], [*apart, sys.executable, *sys.argv], os.environ | {"CHILD_ALONE": "1"})
    return False


def as_root():
    return [] if os.geteuid() == 0 else ["--user", "--map-root-user"]


def is_possible(unshare):
    with contextlib.suppress(OSError):
        return subprocess.run([*unshare, "true"], stderr=subprocess.DEVNULL).returncode == 0


class Run:
    """`serve -- COMMAND` in an empty folder, with a backend in Python unless another is given."""

    def __init__(self, about, *command, flags=(), before=(), ready=True, how=None, **settings):
        self.folder = tempfile.TemporaryDirectory()
        self.command, self.ready, self.groups = command or (sys.executable, "-c", BACKEND), ready, set()
        listen, admin = (f"127.0.0.1:{free_port()}" for _ in range(2))
        self.proxy, self.admin, self.mark = f"http://{listen}", f"http://{admin}", str(uuid.uuid4())
        known = {"CLERK_PUBLISHABLE_KEY": about["publishable_key"], "COUNTERSIGN_LOG_ACCESS": "false", MARK: self.mark}
        line = [*before, BINARY, "serve", "--listen", listen, "--admin-listen", admin, "--public", "/**", *flags]
        self.process = Process([*line, "--", *self.command], clean(known | settings), cwd=self.folder.name, **how or {})

    def __enter__(self):
        self.process.__enter__()
        if self.ready:
            until_ready(self.process, self.admin)
            self.groups = set(children(self.process.child.pid))
        return self

    def __exit__(self, *error):
        self.process.__exit__(*error)
        for pid in self.left():  # a case that failed leaves nothing to the next
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        self.folder.cleanup()

    def get(self, path, headers=()):
        return request(self.proxy, "GET", path, headers)

    def signal(self, number=signal.SIGTERM):
        self.process.child.send_signal(number)

    def status(self, within=20):
        """How it ended; None when it did not in time."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.process.child.wait(within)

    def left(self):
        """Every process of the backend's that is still there: by its environment, and zombies by their group."""
        ours = set()
        for pid, (_, _, group) in stats():
            with contextlib.suppress(OSError):
                environment = pathlib.Path(f"/proc/{pid}/environ").read_bytes()
                if int(group) in self.groups or f"{MARK}={self.mark}".encode() in environment:
                    ours.add(pid)
        return sorted(ours - {self.process.child.pid})

    def path(self, name):
        return pathlib.Path(self.folder.name, name)


def stats():
    """Every process there is, with its state, its parent and its group."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            yield int(pid), pathlib.Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()[:3]


def zombies(parent):
    """The processes that have ended and that `parent` has not waited for."""
    return [pid for pid, (state, above, _) in stats() if state == "Z" and int(above) == parent]


def children(parent):
    return [int(pid) for pid in pathlib.Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


def until(what, so):
    deadline = time.monotonic() + START
    while not (seen := so()):
        if time.monotonic() > deadline:
            raise RuntimeError(f"never came true: {what}")
        time.sleep(0.01)
    return seen


class Slow(threading.Thread):
    """A request under way: the backend has it and takes its time."""

    def __init__(self, run, seconds):
        super().__init__()
        self.run_, self.path, self.reply = run, f"/slow/{seconds}", None
        self.start()
        until("the backend has the request", run.path("slow").exists)

    def run(self):
        try:
            self.reply = self.run_.get(self.path)
        except (OSError, http.client.HTTPException) as error:
            self.reply = error

    def answered(self):
        self.join()
        return getattr(self.reply, "status", None) == 200


def ended(cases, name, run, want, within=20):
    """The status is as wanted, and nothing is left of the backend."""
    status = run.status(within)
    cases.check(f"{name}: ends with {want}", status == want, (status, run.process.logged()))
    cases.check(f"{name}: nothing is left", not run.left(), run.left())


def works(cases, about):
    """The line of README.md, as somebody would paste it."""
    line = re.search(r"^CLERK_PUBLISHABLE_KEY=\S+ (countersign serve -- .*)$", (ROOT / "README.md").read_text(), re.M)
    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder, "countersign").symlink_to(os.path.abspath(BINARY))
        settings = {"CLERK_PUBLISHABLE_KEY": about["publishable_key"], "PATH": f"{folder}:{os.environ['PATH']}"}
        port, admin = free_port(), free_port()
        settings |= {"PORT": str(port), "COUNTERSIGN_ADMIN_LISTEN": f"127.0.0.1:{admin}"}
        empty = pathlib.Path(folder, "empty")
        empty.mkdir()
        with Process(["sh", "-c", "exec " + line.group(1)], clean(settings), cwd=empty) as process:
            until_ready(process, f"http://127.0.0.1:{admin}")
            proxy = f"http://127.0.0.1:{port}"
            cases.check("README's line: our PORT is where the proxy listens", True)
            cases.check("README's line: 401 without a token", request(proxy, "GET", "/").status == 401)
            reply = request(proxy, "GET", "/", [bearer(mint(about))])
            cases.check("README's line: the backend's page with one", "Directory listing" in reply.text, reply)
            metrics = request(f"http://127.0.0.1:{admin}", "GET", "/metrics").text
            cases.check("README's line: not exposed", "\ncountersign_upstream_exposed 0\n" in metrics, metrics[-2000:])
            cases.check("README's line: SIGTERM ends it with 0", process.stop() == 0, process.logged())
    with Run(about, "node", "-e", NODE) as run:
        cases.check("Node: its answer", run.get("/").text == "from node")
        run.signal()
        ended(cases, "Node", run, 0)


def environment(cases, about):
    secrets = {"COUNTERSIGN_SIGNING_SECRET": "s" * 32, "PORT": str(free_port())}
    with Run(about, **secrets) as run:
        seen = run.get("/").json()["environment"]
        cases.check("the backend has a PORT of its own", seen["PORT"] != secrets["PORT"], seen["PORT"])
        same = seen["COUNTERSIGN_SIGNING_SECRET"] == secrets["COUNTERSIGN_SIGNING_SECRET"] and seen[MARK] == run.mark
        cases.check("the backend has the rest of our environment", same, seen)


def own_end(cases, about):
    for name, deed, want in [("exit 3", "/exit/3", 3), ("exit 0", "/exit/0", 0), ("SIGKILL", "/kill/9", 137)]:
        with Run(about) as run:
            with contextlib.suppress(OSError, http.client.HTTPException):
                run.get(deed)
            ended(cases, f"the backend ends by itself, {name}", run, want)
    with Run(about, "sh", "-c", "sleep 60 & exit 4", ready=False) as run:
        ended(cases, "the backend leaves somebody behind", run, 4)
        cases.check("its end is told", "the backend ended with status 4" in run.process.logged(), run.process.logged())


def asked_to_end(cases, about):
    with Run(about) as run:
        slow = Slow(run, 1.5)
        run.signal()
        cases.check("SIGTERM: the request under way is answered", slow.answered(), slow.reply)
        ended(cases, "SIGTERM under a request", run, 0)
    with Run(about, "sh", "-c", f"{sys.executable} -c '{BACKEND.replace(chr(39), chr(34))}' & wait") as run:
        slow = Slow(run, 1)
        run.signal()
        cases.check("a backend below a shell: the request under way is answered", slow.answered(), slow.reply)
        ended(cases, "a backend below a shell", run, 0)
    with Run(about, sys.executable, "-c", BACKEND, "deaf", COUNTERSIGN_DRAIN_GRACE="1s") as run:
        began = time.monotonic()
        run.signal()
        ended(cases, "a backend that does not hear SIGTERM is killed", run, 137)
        took = time.monotonic() - began
        cases.check(f"it had five seconds ({took:.1f})", 4.9 < took < 8, took)
        cases.check("it was asked first", run.path("heard").read_text() == "SIGTERM\n", run.path("heard"))
    with Run(about, sys.executable, "-c", BACKEND, "deaf") as run:
        began = time.monotonic()
        run.signal()
        until("the backend was asked", run.path("heard").exists)
        run.signal()
        ended(cases, "a second signal kills it at once", run, 137)
        cases.check("at once", time.monotonic() - began < 4, time.monotonic() - began)
    with Run(about) as run:
        os.kill(run.get("/").json()["pid"], signal.SIGTERM)
        run.signal()  # as a supervisor does that tells every process
        ended(cases, "SIGTERM to both", run, 0)


def ctrl_c(cases, about):
    ours, theirs = os.openpty()
    own = lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    how = {"stdin": theirs, "start_new_session": True, "preexec_fn": own}
    with Run(about, how=how) as run:
        os.close(theirs)
        slow = Slow(run, 1.5)
        os.write(ours, b"\x03")
        cases.check("Ctrl-C: the request under way is answered", slow.answered(), slow.reply)
        ended(cases, "Ctrl-C", run, 0)
    os.close(ours)
    # A terminal that waits for whoever reads it from the background stops it.
    ours, theirs = os.openpty()
    script = "import os, sys; print(sys.stdin.read(), file=open('input', 'w')); " + BACKEND
    with Run(about, sys.executable, "-c", script, how=how | {"stdin": theirs}) as run:
        os.close(theirs)
        cases.check("a terminal is no input", run.path("input").read_text() == "\n")
        run.signal(signal.SIGINT)
        ended(cases, "SIGINT", run, 0)
    os.close(ours)


def not_started(cases, about):
    with Run(about, "no-such-program-anywhere", ready=False) as run:
        ended(cases, "no such program", run, 1)
        want = "countersign: cannot start the backend `no-such-program-anywhere`: No such file or directory"
        cases.check("it is named", want in run.process.logged(), run.process.logged())
    for flags, settings, place in [
        (["--upstream", "http://127.0.0.1:3000"], {}, "flag --upstream"),
        ([], {"COUNTERSIGN_UPSTREAM": "http://127.0.0.1:3000"}, "environment COUNTERSIGN_UPSTREAM"),
    ]:
        with Run(about, "touch", "started", flags=flags, ready=False, **settings) as run:
            ended(cases, f"two backends, {place}", run, 78)
            log = run.process.logged()
            cases.check("which to take out is told", "upstream.url: take this out" in log and f"({place})" in log, log)
            cases.check("no backend was started", not run.path("started").exists())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        flags = ["--listen", f"127.0.0.1:{taken.getsockname()[1]}"]
        with Run(about, "touch", "started", flags=flags, ready=False) as run:
            ended(cases, "a port that is taken", run, 1)
            cases.check("no backend was started for it", not run.path("started").exists())


def late(cases, about):
    script = "import os, time\nwhile not os.path.exists('go'): time.sleep(0.01)\n" + BACKEND
    with Run(about, sys.executable, "-c", script, ready=False, COUNTERSIGN_TIMEOUTS_CONNECT="10s") as run:

        def waits_for_the_backend():
            with contextlib.suppress(OSError):
                return "backend does not listen" in request(run.admin, "GET", "/readyz").text

        until("only the backend is missing", waits_for_the_backend)
        cases.check("not ready without the backend", request(run.admin, "GET", "/readyz").status == 503)
        early = []
        thread = threading.Thread(target=lambda: early.append(run.get("/").status))
        thread.start()
        time.sleep(0.2)
        run.path("go").touch()
        thread.join()
        cases.check("a request that comes before the backend listens waits for it", early == [200], early)
        until_ready(run.process, run.admin)
        run.signal()
        ended(cases, "a backend that came late", run, 0)


def handed_on(cases, about):
    with Run(about) as run:
        names = ["SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGWINCH"]
        for name in names:
            run.signal(getattr(signal, name))
            until(f"{name} is heard", lambda: run.path("heard").exists() and name in run.path("heard").read_text())
        heard = run.path("heard").read_text().split()
        cases.check("signals are handed to the backend, once each", heard == names, heard)
        run.get("/orphans")
        time.sleep(0.5)
        cases.check("orphans are waited for", not zombies(run.process.child.pid), zombies(run.process.child.pid))
        run.signal()
        ended(cases, "after all those signals", run, 0)


def first_process(cases, about):
    """As in a container, where nobody else waits for orphans and no signal has a default."""
    apart = [shutil.which("unshare", path=TOOLS) or "unshare", *as_root(), "--pid", "--fork", "--mount-proc"]
    if not is_possible(apart):
        print("skip as the first process: no namespaces here", flush=True)
        return
    with Run(about, before=apart) as run:
        (first,) = children(run.process.child.pid)
        numbers = re.search(r"^NSpid:.*$", pathlib.Path(f"/proc/{first}/status").read_text(), re.M).group()
        cases.check("the first process: it is", numbers.endswith("\t1"), numbers)
        run.get("/orphans")
        time.sleep(0.5)
        cases.check("the first process: orphans are waited for", not zombies(first), zombies(first))
        slow = Slow(run, 1)
        os.kill(first, signal.SIGTERM)
        cases.check("the first process: the request under way is answered", slow.answered(), slow.reply)
        ended(cases, "the first process", run, 0)
    with Run(about, before=apart) as run:
        with contextlib.suppress(OSError, http.client.HTTPException):
            run.get("/exit/3")
        ended(cases, "the first process, whose backend ends by itself", run, 3)


def exposed(cases, about):
    with Run(about, "sh", "-c", f"exec {sys.executable} -m http.server $PORT") as run:
        metrics = lambda: request(run.admin, "GET", "/metrics").text
        until("it is counted", lambda: "\ncountersign_upstream_exposed 1\n" in metrics())
        cases.check("a backend on every address: counted", True)
        warnings = [line for line in run.process.logged().splitlines() if "walked around" in line]
        cases.check("a backend on every address: one warning", len(warnings) == 1, run.process.logged())
        told = json.loads(warnings[0]) if warnings else {}
        cases.check("a backend on every address: which is told", re.fullmatch(r"(0\.0\.0\.0|\[::\]):\d+", told.get("listens", "")), told)


def run(cases):
    is_alone = alone()
    with demo() as (_, about):
        works(cases, about)
        environment(cases, about)
        own_end(cases, about)
        asked_to_end(cases, about)
        ctrl_c(cases, about)
        not_started(cases, about)
        late(cases, about)
        handed_on(cases, about)
        first_process(cases, about)
        if is_alone:
            exposed(cases, about)
        else:
            print("skip a backend on every address: no network of its own here", flush=True)


main(run)
