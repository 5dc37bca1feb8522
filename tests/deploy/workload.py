"""One workload out of a list of manifests: its Pod, the proxy in it, what is mounted there."""

import functools
import pathlib
import subprocess

import yaml

from harness import ROOT

KUBERNETES = ROOT / "deploy" / "kubernetes"


@functools.cache
def built(directory):
    """What `kubectl kustomize` makes of a directory, as text."""
    made = subprocess.run(["kubectl", "kustomize", directory], capture_output=True, text=True)
    if made.returncode != 0:
        raise RuntimeError(f"kubectl kustomize {directory}: {made.stderr}")
    return made.stdout


def overlay(name):
    return list(yaml.safe_load_all(built(KUBERNETES / name)))


def of_file(path):
    return list(yaml.safe_load_all(pathlib.Path(path).read_text()))


class Workload:
    """The Pod of these documents with the proxy in it, and their ConfigMaps and Services."""

    def __init__(self, documents):
        self.documents = documents
        (self.owner,) = of_kind(documents, "Deployment") or of_kind(documents, "Pod")
        template = self.owner["spec"].get("template", self.owner)
        self.labels, self.spec = template["metadata"]["labels"], template["spec"]
        inits = self.spec.get("initContainers", [])
        (self.proxy,) = [one for one in [*inits, *self.spec["containers"]] if one["name"] == "countersign"]
        self.native = self.proxy in inits
        self.group = self.spec.get("securityContext", {}).get("fsGroup")
        self.backend = next((one for one in self.spec["containers"] if one is not self.proxy), None)
        self.config = {one["metadata"]["name"]: one["data"] for one in of_kind(documents, "ConfigMap")}
        self.environment = {entry["name"]: entry["value"] for entry in self.proxy["env"]}

    def port(self, name):
        """The number a Service finds by this name: among the containers that are no sidecars, before 1.33."""
        ports = (port for one in self.spec["containers"] for port in one.get("ports", []))
        return next((port["containerPort"] for port in ports if port.get("name") == name), None)

    def own_port(self, container, port):
        """The number of a probe's port: by its name, if it has one, among those of its own container."""
        named = {one.get("name"): one["containerPort"] for one in container.get("ports", [])}
        return port if isinstance(port, int) else named.get(port)

    def files(self, secret):
        """What the proxy has mounted: path, mode and content; of a Secret, the files in `secret`."""
        volumes = {volume["name"]: volume for volume in self.spec["volumes"]}
        for mount in self.proxy["volumeMounts"]:
            volume = volumes[mount["name"]]
            if "configMap" in volume:
                for name, text in self.config[volume["configMap"]["name"]].items():
                    yield f"{mount['mountPath']}/{name}", 0o444, text.encode()
            elif "secret" in volume:
                for name, content in secret.items():
                    yield f"{mount['mountPath']}/{name}", volume["secret"]["defaultMode"], content


def of_kind(documents, kind):
    return [document for document in documents if document["kind"] == kind]
