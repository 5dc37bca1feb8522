"""Servers people run: how each is started on a port, and what it speaks there."""

import contextlib
import os
import pathlib
import socket
import sys
import tempfile
import time

from lane import HERE

from harness import START, Process

PYTHON = [sys.executable, "-m"]
UVICORN = [*PYTHON, "uvicorn", "--app-dir", HERE, "--log-level", "warning", "--no-proxy-headers", "asgi:app", "--http"]
HYPERCORN = [*PYTHON, "hypercorn", "--error-logfile", "-", "asgi:app", "--bind"]
NGINX = """
daemon off;
master_process off;
pid {folder}/pid;
error_log stderr warn;
worker_rlimit_nofile 4096;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    default_type text/plain;
    server {{
        listen 127.0.0.1:{port}{http2};
        root {folder};
        add_header x-connection $connection always;
        add_header x-user $http_x_clerk_user_id always;
        location = /hello {{ return 200 "hello"; }}
        location = /nothing {{ return 204; }}
        location = /early {{ return 413 "too much"; }}
        location /files/ {{ dav_methods PUT; client_max_body_size 64m; }}
    }}
}}
"""


@contextlib.contextmanager
def server(command, port, **how):
    """Runs a server to its end; it has to listen on `port` first."""
    with Process(command, **how) as process:
        deadline = time.monotonic() + START
        while not is_listening(port):
            if time.monotonic() > deadline or process.child.poll() is not None:
                raise RuntimeError(f"{process.command[:4]} does not listen: {process.logged()}")
            time.sleep(0.02)
        yield process


def is_listening(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def node(kind):
    return lambda port: server(["node", HERE / "backend.mjs", kind, port], port)


def uvicorn(http):
    return lambda port: server([*UVICORN, http, "--port", port], port)


def hypercorn(port):
    return server([*HYPERCORN, f"127.0.0.1:{port}"], port, cwd=HERE)


def nginx(http2=False):
    @contextlib.contextmanager
    def start(port):
        with tempfile.TemporaryDirectory() as folder:
            pathlib.Path(folder, "files").mkdir()
            written = pathlib.Path(folder, "nginx.conf")
            written.write_text(NGINX.format(folder=folder, port=port, http2=" http2" if http2 else ""))
            path = os.environ.get("PATH", "") + ":/usr/sbin"  # where Debian has it, and not every user looks
            command = ["nginx", "-p", folder, "-c", written, "-e", "stderr"]
            with server(command, port, env=os.environ | {"PATH": path}) as process:
                yield process

    return start
