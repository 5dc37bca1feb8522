"""As much of a cluster as scrapers ask about: the Pods there are, and each change of them as it happens."""

import contextlib
import http.server
import itertools
import json
import queue
import threading
import urllib.parse

from harness import serving, url_of

PATH = "/api/v1/pods"


class Cluster:
    """Pods by their name. Whoever watches is told what changes, from the version on that was listed to him."""

    def __init__(self):
        self.lock, self.versions = threading.Lock(), itertools.count(1)
        self.pods, self.events, self.watching = {}, [], []
        self.version = 0

    def has(self, pod):
        self.change("MODIFIED" if pod["metadata"]["name"] in self.pods else "ADDED", pod)

    def loses(self, name):
        self.change("DELETED", self.pods[name])

    def change(self, kind, pod):
        with self.lock:
            self.version = next(self.versions)
            pod["metadata"]["resourceVersion"] = str(self.version)
            self.pods[pod["metadata"]["name"]] = pod
            if kind == "DELETED":
                del self.pods[pod["metadata"]["name"]]
            event = self.version, json.dumps({"type": kind, "object": pod})
            self.events.append(event)
            for watcher in self.watching:
                watcher.put(event)

    def listed(self):
        with self.lock:
            about = {"resourceVersion": str(self.version)}
            return {"kind": "PodList", "apiVersion": "v1", "metadata": about, "items": [*self.pods.values()]}

    def watched(self, since):
        """Every change after that version, and then each that comes."""
        with self.lock:
            watcher = queue.Queue()
            for event in self.events:
                watcher.put(event)
            self.watching.append(watcher)
        while event := watcher.get():
            version, text = event
            if version > since:
                yield text

    def ends(self):
        for watcher in self.watching:
            watcher.put(None)


@contextlib.contextmanager
def cluster():
    """The Pods, and where they are asked for."""
    pods = Cluster()

    class Api(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            url = urllib.parse.urlsplit(self.path)
            asked = {name: values[-1] for name, values in urllib.parse.parse_qs(url.query).items()}
            self.send_response(200 if url.path == PATH else 404)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            if url.path != PATH:
                return
            if asked.get("watch") not in ("1", "true"):
                self.wfile.write(json.dumps(pods.listed()).encode())
                return
            with contextlib.suppress(OSError):  # whoever watched has left
                for event in pods.watched(int(asked.get("resourceVersion") or 0)):
                    self.wfile.write(f"{event}\n".encode())

        def log_message(self, *_):
            pass

    with serving(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api)) as server:
        try:
            yield pods, url_of(server)
        finally:
            pods.ends()


def pod(name, containers, sidecars=(), namespace="shop", phase="Running", **labels):
    """A Pod as the cluster tells of it, on this machine's address."""
    about = {"name": name, "namespace": namespace, "uid": name, "labels": labels}
    spec = {"nodeName": "here", "containers": [*containers], "initContainers": [*sidecars]}
    status = {"phase": phase, "podIP": "127.0.0.1", "hostIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}]}
    return {"kind": "Pod", "apiVersion": "v1", "metadata": about, "spec": spec, "status": status}


def container(name, **ports):
    named = [{"name": port, "containerPort": at, "protocol": "TCP"} for port, at in ports.items()]
    return {"name": name, "ports": named}
