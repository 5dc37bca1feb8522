"""The backends: how each is started, and where it writes what it saw."""

import contextlib
import hashlib
import json
import os
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path += [str(HERE.parents[1]), str(HERE.parent / "protocols")]
from backends import server

from harness import free_port

PYTHON = [sys.executable, "-m"]
UVICORN = [
    *PYTHON,
    "uvicorn",
    "--app-dir",
    HERE,
    "--log-level",
    "critical",
    "--no-proxy-headers",
    "seen:asgi_app",
    "--http",
]
# One process each, which keeps connections. gunicorn's `gthread` does, its usual worker does not.
GUNICORN = [
    *PYTHON, "gunicorn", "--chdir", HERE, "--log-level", "critical", "--worker-class", "gthread", "--threads", "4",
    "--keep-alive", "30", "seen:wsgi_app", "--bind",
]  # fmt: skip
PUMA = ["puma", "--quiet", "--environment", "production", "--threads", "4:4", HERE / "seen.ru", "--bind"]
# nginx reads a body only for somebody behind it: that is its own second server.
NGINX = """
daemon off;
master_process off;
pid {folder}/pid;
error_log /dev/null crit;
events {{ worker_connections 512; }}
http {{
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    client_body_buffer_size 1m;
    client_body_in_single_buffer on;
    keepalive_requests 100000;
    log_format seen escape=json '{{"method":"$request_method","target":"$request_uri","host":"$http_host",'
        '"user":"$http_x_clerk_user_id","body":"$request_body","status":$status,"connection":"$remote_port"}}';
    server {{
        listen 127.0.0.1:{port};
        access_log {seen} seen;
        add_header x-saw "$request_method $request_uri" always;
        location / {{ proxy_pass http://unix:{folder}/inner; }}
    }}
    server {{
        listen unix:{folder}/inner;
        access_log off;
        location / {{ return 200 "ok"; }}
    }}
}}
"""


def on_port(*command):
    return lambda port, seen, _: server([*command, port], port, env=os.environ | {"SEEN": str(seen)})


def on_address(scheme, *command):
    def start(port, seen, _):
        return server([*command, f"{scheme}127.0.0.1:{port}"], port, env=os.environ | {"SEEN": str(seen)})

    return start


def nginx(port, seen, folder):
    written = folder / "nginx.conf"
    written.write_text(NGINX.format(folder=folder, port=port, seen=seen))
    path = os.environ.get("PATH", "") + ":/usr/sbin"  # where Debian has it, and not every user looks
    return server(["nginx", "-p", folder, "-c", written, "-e", "/dev/null"], port, env=os.environ | {"PATH": path})


SERVERS = {
    "nginx": nginx,
    "Node": on_port("node", HERE / "seen.mjs"),
    "uvicorn with h11": on_port(*UVICORN, "h11", "--port"),
    "uvicorn with httptools": on_port(*UVICORN, "httptools", "--port"),
    "gunicorn": on_address("", *GUNICORN),
    "Puma": on_address("tcp://", *PUMA),
}


class Records:
    """What a backend saw, as it writes it."""

    def __init__(self, file):
        self.file, self.at = file, 0
        file.touch()

    def more(self):
        """The records written since this was asked last, whole lines of them."""
        with self.file.open("rb") as file:
            file.seek(self.at)
            lines, newline, _ = file.read().rpartition(b"\n")
        self.at += len(lines + newline)
        return [
            record(json.loads(line.decode("latin-1" if b'"body"' in line else "utf-8"))) for line in lines.splitlines()
        ]


def record(told):
    """What a backend told, in one form: nginx tells bodies themselves, and not all can tell `?` from nothing."""
    if "body" in told:
        body, status = told.pop("body").encode("latin-1"), told.pop("status")
        digest = hashlib.sha256(body).hexdigest()[:16]
        told |= {"length": len(body), "digest": digest, "whole": status == 200, "refused": 400 <= status < 499}
    told["target"] = told["target"].removesuffix("?")
    return told


@contextlib.contextmanager
def backend(name, folder):
    """Runs a backend; gives its port and its records."""
    port, seen = free_port(), folder / "seen"
    records = Records(seen)
    with SERVERS[name](port, seen, folder):
        yield port, records
