"""`deploy/systemd/countersign.service` under a systemd of its own: what it may do, reloading, stopping, bad settings.

Linux, as root, with systemd installed. The systemd that is booted here has a copy of this machine's files that is gone
with it, and sees no processes but its own.
"""

import contextlib
import http.client
import http.server
import os
import pathlib
import re
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from harness import BINARY, ROOT, START, Process, bearer, clean, demo, have_loopback, main, mint, request, serving

UNIT = ROOT / "deploy" / "systemd" / "countersign.service"
PROXY, ADMIN, BACKEND = "http://127.0.0.1:4600", "http://127.0.0.1:4601", 8000
WORST = 13  # of 100: what is left is the network, which is what it is for
SYSTEMD = "/lib/systemd/systemd"

# Boots systemd on a copy of all files, with the unit, the program and /etc/countersign from $SHARE.
BOOT = r"""
set -eu
mount --make-rprivate /
mount -t tmpfs tmpfs "$SHARE/disk"
mkdir "$SHARE/disk/upper" "$SHARE/disk/work" "$SHARE/disk/root"
root="$SHARE/disk/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$SHARE/disk/upper,workdir=$SHARE/disk/work" "$root"
rm -rf "$root/etc/systemd/system"
mkdir -p "$root/etc/systemd/system/countersign.service.d" "$root/etc/countersign" "$root/old"
cp "$SHARE/countersign.service" "$SHARE/here.target" "$root/etc/systemd/system/"
printf '[Service]\nStandardError=append:/etc/countersign/log\n' > "$root/etc/systemd/system/countersign.service.d/log.conf"
install -m 0755 "$SHARE/countersign" "$root/usr/local/bin/countersign"
mount --bind "$SHARE/etc" "$root/etc/countersign"
mount -t proc proc "$root/proc"
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp"
mount -t tmpfs tmpfs "$root/dev"  # nothing of it writes to this machine's console
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
for device in null zero full random urandom tty; do
  touch "$root/dev/$device"
  mount --bind "/dev/$device" "$root/dev/$device"
done
mount -t sysfs -o ro sysfs "$root/sys"
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
  mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
else
  mount -t tmpfs tmpfs "$root/sys/fs/cgroup"
  mkdir "$root/sys/fs/cgroup/systemd"
  mount -t cgroup -o none,name=systemd cgroup "$root/sys/fs/cgroup/systemd"
fi
cd "$root"
pivot_root . old
umount -l /old
mount --make-rshared / # as outside of a container: credentials are handed on by it
export container=countersign
exec /lib/systemd/systemd --system --unit=here.target --log-target=null --show-status=0
"""

SETTINGS = """\
{more}
[upstream]
url = "http://localhost:{port}"  # a name, so that one is looked up
[clerk]
publishable_key = "{key}"
authorized_parties = ["http://localhost:3000"]
"""
OPEN = '\n[[route]]\npath = "/open"\naccess = "public"\n'


def alone():
    """Starts this run again in a network and a control group of its own."""
    if os.environ.get("SYSTEMD_ALONE"):
        have_loopback()
        return
    os.execvpe("unshare", ["unshare", "--net", sys.executable, *sys.argv], os.environ | {"SYSTEMD_ALONE": "1"})


def until(what, so):
    deadline = time.monotonic() + START
    while not (seen := so()):
        if time.monotonic() > deadline:
            raise RuntimeError(f"never came true: {what}")
        time.sleep(0.05)
    return seen


def get(path, *headers, base=PROXY):
    with contextlib.suppress(OSError, http.client.HTTPException):
        return request(base, "GET", path, headers)


class Backend(http.server.BaseHTTPRequestHandler):
    slow = threading.Event()  # a slow request is under way

    def do_GET(self):
        if self.path == "/slow":
            self.slow.set()
            time.sleep(2)
        body = f"{self.headers.get('x-clerk-user-id')} {self.headers.get('signature-input')}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Machine:
    """A systemd that was booted, and what is told it."""

    def __init__(self, about):
        self.about = about
        self.share = pathlib.Path(tempfile.mkdtemp())
        for folder in "disk", "etc":
            (self.share / folder).mkdir()
        shutil.copy(UNIT, self.share)
        shutil.copy(BINARY, self.share / "countersign")
        (self.share / "here.target").write_text("[Unit]\nDescription=what is tried\n")
        (self.share / "boot").write_text(BOOT)
        key = subprocess.run([BINARY, "keygen", "--out", self.share / "etc" / "signing.key"], capture_output=True, text=True)
        self.key_id = key.stdout.strip()
        self.settings()
        apart = ["unshare", "--mount", "--pid", "--ipc", "--uts", "--cgroup", "--fork", "--kill-child=SIGKILL"]
        self.group = pathlib.Path("/sys/fs/cgroup")
        if not (self.group / "cgroup.controllers").exists():
            self.group /= "systemd"
        self.group /= f"countersign-{os.getpid()}"
        self.group.mkdir()
        begin = f"echo $$ > {self.group}/cgroup.procs; exec {' '.join(apart)} sh {self.share}/boot"
        self.process = Process(["sh", "-c", begin], clean({"SHARE": str(self.share)}))
        self.first = until("systemd is there", self.pid_of_first)

    def __enter__(self):
        until("systemd answers", lambda: self.systemctl("is-active", "here.target").returncode == 0)
        return self

    def __exit__(self, kind, *_):
        if kind is not None:
            print(self.systemctl("status", "countersign").stdout, self.logged(), self.process.logged(), file=sys.stderr)
        self.process.child.kill()  # and with it, its children
        self.process.child.wait()
        self.process.child.stdout.close()
        until("nothing of it is left", lambda: not (self.group / "cgroup.procs").read_text() and self.remove_groups())
        shutil.rmtree(self.share)

    def remove_groups(self):
        folders = [pathlib.Path(at) for at, *_ in os.walk(self.group, topdown=False)]
        with contextlib.suppress(OSError):
            for folder in folders:
                folder.rmdir()
            return True

    def pid_of_first(self):
        pid = self.process.child.pid
        children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if children and os.path.realpath(f"/proc/{children[0]}/exe") == os.path.realpath(SYSTEMD):
            return children[0]

    def inside(self, *command):
        enter = ["nsenter", "-t", self.first, "--mount", "--pid", "--ipc", "--uts", "--cgroup"]
        return subprocess.run([*enter, *command], capture_output=True, text=True)

    def systemctl(self, *words):
        return self.inside("systemctl", "--no-pager", *words)

    def shown(self, name):
        return self.systemctl("show", "--value", "-p", name, "countersign").stdout.strip()

    def logged(self):
        log = self.share / "etc" / "log"
        return log.read_text() if log.exists() else ""

    def settings(self, more="", after=""):
        text = SETTINGS.format(more=more, port=BACKEND, key=self.about["publishable_key"]) + after
        (self.share / "etc" / "countersign.toml").write_text(text)

    def until_ready(self):
        until("the proxy is ready", lambda: (ready := get("/readyz", base=ADMIN)) and ready.status == 200)


def analysed(cases):
    with tempfile.TemporaryDirectory() as at:
        unit = pathlib.Path(at, UNIT.name)
        unit.write_text(UNIT.read_text().replace("/usr/local/bin/countersign", os.path.realpath(BINARY)))
        verified = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True)
    cases.check("systemd finds nothing wrong with the unit", verified.returncode == 0 and not verified.stderr, verified)
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", f"--threshold={WORST}", UNIT]
    rated = subprocess.run(command, capture_output=True, text=True)
    words = rated.stdout.strip().rpartition("→ ")[2]
    cases.check(f"systemd rates it: {words}", rated.returncode == 0, rated.stdout)


def serves(cases, machine):
    started = machine.systemctl("start", "countersign")
    cases.check("it starts", started.returncode == 0, started.stderr)
    machine.until_ready()
    token = bearer(mint(machine.about))
    user = get("/", token)
    cases.check("200 with a token", user.status == 200 and user.text.startswith("user_"), user)
    cases.check("401 without one", get("/").status == 401)
    signed = f'keyid="{machine.key_id}"' in user.text
    cases.check("requests are signed with the secret that systemd handed on", signed, user)
    metrics = get("/metrics", base=ADMIN).text
    for name in "process_start_time_seconds", "process_open_fds", "process_resident_memory_bytes":
        cases.check(f"{name} is known", re.search(rf"^{name} [1-9]", metrics, re.MULTILINE), metrics[-3000:])
    cases.check("whether the backend is exposed is known", "\ncountersign_upstream_exposed 0\n" in metrics)
    files = min(65536, resource.getrlimit(resource.RLIMIT_NOFILE)[1])  # nobody gives more than there are
    seen = re.search(r"^process_max_fds (.*)$", metrics, re.MULTILINE).group(1)
    cases.check(f"{files} files may be open", seen == str(files), seen)


def confined(cases, machine):
    pid = machine.shown("MainPID")
    mounts = machine.inside("cat", f"/proc/{pid}/mountinfo").stdout.splitlines()
    root = [line.split()[5] for line in mounts if line.split()[4] == "/"]
    cases.check("its files cannot be written", root and root[-1].split(",")[0] == "ro", root)
    status = dict(line.split(":\t", 1) for line in machine.inside("cat", f"/proc/{pid}/status").stdout.splitlines())
    cases.check("no privileges", all(int(status[name], 16) == 0 for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")), status)
    cases.check("none to be had", status["NoNewPrivs"] == "1", status["NoNewPrivs"])
    cases.check("a user of its own", all(int(uid) >= 61184 for uid in status["Uid"].split()), status["Uid"])
    cases.check("system calls are filtered", status["Seccomp"] == "2", status["Seccomp"])
    logged = machine.logged()
    cases.check("nothing is refused it that it asks for", "ermission" not in logged and "not permitted" not in logged, logged)


def reloads(cases, machine):
    cases.check("/open asks for a token", get("/open").status == 401)
    machine.settings(after=OPEN)
    pid = machine.shown("MainPID")
    reloaded = machine.systemctl("reload", "countersign")
    cases.check("it reloads", reloaded.returncode == 0, reloaded.stderr)
    until("the new settings count", lambda: get("/open").status == 200)
    cases.check("after a reload /open is open, in the same process", machine.shown("MainPID") == pid)


def comes_back(cases, machine):
    machine.systemctl("kill", "--signal=KILL", "--kill-whom=main", "countersign")
    until("systemd sees it", lambda: machine.shown("NRestarts") == "1")
    machine.until_ready()
    cases.check("it is started again when it was killed", get("/open").status == 200)


def listens_elsewhere(cases, machine):
    """What the unit has remarks about: a socket in its runtime directory, and a port below 1024."""
    text = UNIT.read_text().replace("PrivateUsers=yes\n", "").replace("\nCapabilityBoundingSet=\nAmbientCapabilities=\n", "\n")
    text = re.sub(r"^#(?=\w+=CAP_NET_BIND_SERVICE$)", "", text, flags=re.MULTILINE)
    (machine.share / "etc" / UNIT.name).write_text(text)
    machine.settings(more='listen = ["127.0.0.1:80", "unix:/run/countersign/http.sock"]')
    machine.inside("cp", f"/etc/countersign/{UNIT.name}", "/etc/systemd/system/")
    machine.systemctl("daemon-reload")
    machine.systemctl("restart", "countersign")
    machine.until_ready()
    cases.check("port 80", get("/", base="http://127.0.0.1:80").status == 401)
    path = pathlib.Path(f"/proc/{machine.first}/root/run/countersign/http.sock")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        cases.check("a Unix socket", client.recv(99).startswith(b"HTTP/1.1 401"))
    cases.check("which its group may use", path.stat().st_mode & 0o777 == 0o660, oct(path.stat().st_mode))


def stops(cases, machine):
    replies = []
    slow = threading.Thread(target=lambda: replies.append(get("/slow", bearer(mint(machine.about)))))
    slow.start()
    Backend.slow.wait(START)
    stopped = machine.systemctl("stop", "countersign")
    slow.join()
    cases.check("it stops", stopped.returncode == 0, stopped.stderr)
    cases.check("the request under way is answered", replies[0] and replies[0].status == 200, replies)
    cases.check("and it ended well", machine.shown("Result") == "success", machine.shown("Result"))


def bad_settings(cases, machine):
    machine.settings(more="workers = 0")
    machine.systemctl("start", "countersign")
    until("it has failed", lambda: machine.shown("ActiveState") == "failed")
    cases.check("bad settings end it with 78", machine.shown("ExecMainStatus") == "78", machine.shown("ExecMainStatus"))
    restarts = machine.shown("NRestarts")
    cases.check("and it is not tried again", restarts == "0" and machine.shown("SubState") == "failed", restarts)


def run(cases):
    analysed(cases)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", BACKEND), Backend)
    with serving(server), demo() as (_, about), Machine(about) as machine:
        for deed in serves, confined, reloads, comes_back, stops, bad_settings, listens_elsewhere:
            deed(cases, machine)


alone()
main(run)
