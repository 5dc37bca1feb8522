"""Every manifest, built by kubectl and held against Kubernetes' own schemas; and what they say of each other."""

import re
import subprocess

import kubernetes_validate

from image import of_package
from workload import KUBERNETES, Workload, of_file, of_kind, overlay

# The first that has all the manifests use (`preStop.sleep`), the first whose Services find the ports of sidecars,
# and the last whose schema we have.
VERSIONS = ["1.30", "1.33", "1.37"]
KUBECTL = (1, 27)
OVERLAYS = {
    "examples/loopback": ["ConfigMap", "Deployment", "NetworkPolicy", "Service"],
    "examples/socket": ["ConfigMap", "Deployment", "NetworkPolicy", "Service"],
    "gateway": [
        "ConfigMap",
        "Deployment",
        "HorizontalPodAutoscaler",
        "NetworkPolicy",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "Service",
    ],
}
RESTRICTED = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}


def run(cases, image):
    said = subprocess.run(["kubectl", "version", "--client"], capture_output=True, text=True).stdout
    version = tuple(int(part) for part in re.search(r"v(\d+)\.(\d+)", said).groups())
    cases.check("kubectl: knows components and replacements", version >= KUBECTL, said)
    for name, kinds in OVERLAYS.items():
        documents = overlay(name)
        found = sorted(document["kind"] for document in documents)
        cases.check(f"{name}: what it is made of", found == kinds, found)
        valid(cases, name, documents)
        spaces = {document["metadata"].get("namespace") for document in documents}
        cases.check(f"{name}: in one namespace", spaces == {"shop"}, spaces)
        workload(cases, name, Workload(documents), image)
    pod = of_file(KUBERNETES / "pod.yaml")
    valid(cases, "pod.yaml", pod)
    workload(cases, "pod.yaml", Workload(pod), image)
    sidecar(cases)
    gateway(cases)
    reached(cases)


def valid(cases, name, documents):
    for document in documents:
        for version in VERSIONS:
            problem = invalid(document, version)
            what = f"{name}: {document['kind']} {document['metadata']['name']}"
            cases.check(f"{what}: Kubernetes {version} knows it", problem is None, problem)


def invalid(document, version):
    """What the schema of this version has against a document; None when nothing."""
    try:
        judged = kubernetes_validate.validate(document, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        return f"{list(error.path)}: {error.message}"
    return None if judged == version else f"judged by {judged}"


def workload(cases, name, one, image):
    for container in filter(None, [one.proxy, one.backend]):
        cases.check(f"{name}: {container['name']} is restricted", restricted(one.spec, container), container)
    cases.check(f"{name}: talks to no cluster", one.spec["automountServiceAccountToken"] is False, one.spec)
    named = one.proxy["image"]
    cases.check(f"{name}: this version", named == f"countersign:{of_package('version')}", named)
    public, admin = (int(address.rpartition(":")[2]) for address in image.environment.values())
    said = {word: one.environment.get(word) for word in image.environment}
    cases.check(f"{name}: says itself where it listens", said == image.environment, said)
    ports = one.port("http"), one.own_port(one.proxy, "admin")
    cases.check(f"{name}: the image's ports, by their names", ports == (public, admin), ports)
    for service in of_kind(one.documents, "Service"):
        (port,) = service["spec"]["ports"]
        led = one.port(port["targetPort"])
        cases.check(f"{name}: the Service leads to the proxy, in every version", led == public, port)
        finds = service["spec"]["selector"].items() <= one.labels.items()
        cases.check(f"{name}: the Service finds the Pod", finds, one.labels)
    subpaths = [mount for mount in one.proxy["volumeMounts"] if "subPath" in mount]
    cases.check(f"{name}: what changes in a mount is seen", not subpaths, subpaths)


def restricted(spec, container):
    """As the restricted Pod Security Standard asks, said for the Pod or for the container; and a root nobody writes."""
    said = spec.get("securityContext", {}) | container.get("securityContext", {})
    own = {name: container.get("securityContext", {}).get(name) for name in RESTRICTED}
    unnamed = said.get("runAsNonRoot") is True and said.get("runAsUser", 1) > 0
    return own == RESTRICTED and unnamed and said.get("seccompProfile") == {"type": "RuntimeDefault"}


def sidecar(cases):
    for name in "examples/loopback", "examples/socket":
        one = Workload(overlay(name))
        always = one.native and one.proxy["restartPolicy"] == "Always"
        cases.check(f"{name}: the proxy is a sidecar", always, one.proxy)
        probes = {probe: one.proxy[probe]["httpGet"]["path"] for probe in ("startupProbe", "readinessProbe")}
        right = probes == {"startupProbe": "/livez", "readinessProbe": "/readyz"}
        cases.check(f"{name}: the backend waits for the process, requests for the keys", right, probes)
        through = one.own_port(one.backend, one.backend["readinessProbe"]["httpGet"]["port"]) == one.port("http")
        cases.check(f"{name}: the backend's readiness is asked through the proxy", through, one.backend)
        cases.check(f"{name}: its liveness without", "exec" in one.backend["livenessProbe"], one.backend)


def gateway(cases):
    documents = overlay("gateway")
    one = Workload(documents)
    selector = one.owner["spec"]["selector"]["matchLabels"]
    (scaler,), (budget,) = of_kind(documents, "HorizontalPodAutoscaler"), of_kind(documents, "PodDisruptionBudget")
    target = scaler["spec"]["scaleTargetRef"]
    scaled = (target["kind"], target["name"]) == ("Deployment", one.owner["metadata"]["name"])
    cases.check("gateway: scaled", scaled and "replicas" not in one.owner["spec"], scaler)
    cases.check("gateway: by what it asks for", "cpu" in one.proxy["resources"]["requests"], one.proxy)
    spared = budget["spec"]["selector"]["matchLabels"] == selector
    cases.check("gateway: one at a time is taken away, and one stays", spared and least(scaler, budget), budget)
    spread = one.spec["topologySpreadConstraints"]
    over = {each["topologyKey"] for each in spread if each["labelSelector"]["matchLabels"] == selector}
    cases.check("gateway: spread", over == {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}, spread)


def least(scaler, budget):
    return scaler["spec"]["minReplicas"] > budget["spec"]["maxUnavailable"]


def reached(cases):
    """Who may reach what, by the policies' own words."""
    prometheus = {"kubernetes.io/metadata.name": "monitoring"}, {"app": "prometheus"}
    neighbour = {"kubernetes.io/metadata.name": "shop"}, {"app": "other"}
    gateway = {"kubernetes.io/metadata.name": "shop"}, {"app": "invoices-gateway"}
    behind = {"app": "orders", "countersign": "orders"}
    for name, whom, who, port, admitted in [
        ("examples/loopback", behind, neighbour, 4600, True),
        ("examples/loopback", behind, prometheus, 4601, True),
        ("examples/loopback", behind, neighbour, 4601, False),
        ("examples/loopback", behind, neighbour, 3000, False),
        ("examples/loopback", behind, prometheus, 3000, False),
        ("examples/socket", behind, neighbour, 4600, True),
        ("examples/socket", behind, neighbour, 4601, False),
        ("gateway", {"app": "invoices-gateway"}, neighbour, 4600, True),
        ("gateway", {"app": "invoices-gateway"}, prometheus, 4601, True),
        ("gateway", {"app": "invoices-gateway"}, neighbour, 4601, False),
        ("gateway", {"app": "invoices"}, gateway, 8080, True),
        ("gateway", {"app": "invoices"}, neighbour, 8080, False),
        ("gateway", {"app": "invoices"}, prometheus, 8080, False),
    ]:
        policies = of_kind(overlay(name), "NetworkPolicy")
        seen = admits(policies, whom, *who, port)
        cases.check(f"{name}: {who[1]['app']} to {whom['app']}:{port}: {admitted}", seen == admitted, policies)
    (policy,) = [one for one in of_kind(overlay("gateway"), "NetworkPolicy") if "egress" in one["spec"]]
    sends = sorted(port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"])
    cases.check("gateway: sends to the backend, to Clerk, and for names", sends == [53, 53, 443, 8080], sends)


def admits(policies, whom, namespace, pod, port):
    """Whether a Pod with these labels may be reached; without a policy for it, by everybody."""
    own = [one["spec"] for one in policies if matches(one["spec"]["podSelector"], whom)]
    rules = [rule for spec in own if "Ingress" in spec["policyTypes"] for rule in spec["ingress"]]
    return not own or any(opens(rule, namespace, pod, port) for rule in rules)


def opens(rule, namespace, pod, port):
    here = {"matchLabels": {"kubernetes.io/metadata.name": "shop"}}
    asked = [each["port"] == port for each in rule["ports"]]
    peers = [
        matches(peer.get("namespaceSelector", here), namespace) and matches(peer.get("podSelector", {}), pod)
        for peer in rule.get("from", [])
    ]
    return any(asked) and (any(peers) or "from" not in rule)


def matches(selector, labels):
    assert set(selector) <= {"matchLabels"}, selector
    return selector.get("matchLabels", {}).items() <= labels.items()
