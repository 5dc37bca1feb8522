"""The components added to Deployments of thirteen shapes: each valid afterwards, and as it was but for one port.

And all of them in one namespace, two gateways beside them: nothing is two's, and no policy holds for another's Pods.
"""

import os
import pathlib
import shutil
import tempfile

import yaml

from manifests import VERSIONS, invalid, restricted
from workload import KUBERNETES, Workload, built, of_file, of_kind, overlay

SHAPES = 13
PROXY = 4600


def run(cases, _image):
    shapes = of_file(pathlib.Path(__file__).with_name("shapes.yaml"))
    cases.check(f"shapes: {SHAPES}, all different", len({one["metadata"]["name"] for one in shapes}) == SHAPES)
    for before in shapes:
        shape(cases, before)
    apart(cases, shapes)
    for names in ("orders", "orders-worker"), ("a", "b", "c"):
        many = [one | {"metadata": {"name": name}} for one, name in zip(shapes, names, strict=False)]
        cases.check(f"{len(many)} Deployments of one kustomization: refused", not builds(many))


def shape(cases, before):
    name = before["metadata"]["name"]
    documents = with_components(before)
    one = Workload(documents)
    after = one.owner
    tried = [(version, document["kind"], invalid(document, version)) for document in documents for version in VERSIONS]
    problems = [each for each in tried if each[2]]
    cases.check(f"{name}: Kubernetes {', '.join(VERSIONS)} know it", not problems, problems)
    changed = list(differences(before, after))
    cases.check(f"{name}: as it was, but for the port", set(changed) <= {port_of(before)}, changed)
    first = one.spec["initContainers"][0]
    cases.check(f"{name}: the proxy is there before all others", first is one.proxy and one.native, one.spec)
    cases.check(f"{name}: the proxy is restricted, whatever the Pod is", restricted({}, one.proxy), one.proxy)
    ports = one.spec["containers"][0]["ports"]
    named = [port for port in ports if port.get("name") == "http"]
    cases.check(f"{name}: the name leads to the proxy", [port["containerPort"] for port in named] == [PROXY], ports)
    twice = repeated(one.spec)
    cases.check(f"{name}: no name or port stands twice", not twice, twice)
    have = {volume["name"] for volume in one.spec["volumes"]}
    wanted = {mount["name"] for each in containers(one.spec) for mount in each.get("volumeMounts", [])}
    cases.check(f"{name}: what is mounted is there", wanted <= have, wanted - have)
    (policy,) = of_kind(documents, "NetworkPolicy")
    holds = policy["spec"]["podSelector"]["matchLabels"].items() <= one.labels.items()
    spaces = {document["metadata"].get("namespace") for document in documents}
    cases.check(f"{name}: the policy holds for its Pods", holds and len(spaces) == 1, (policy, spaces))


def apart(cases, shapes):
    """No two apps of a namespace have an object in common, or what is mounted, or a policy."""
    here = [{**one, "metadata": {**one["metadata"], "namespace": "shop"}} for one in shapes]
    apps = {one["metadata"]["name"]: with_components(one) for one in here}
    apps |= {"a gateway": overlay("gateway"), "another gateway": another_gateway()}
    seen = {}
    for name, documents in apps.items():
        one = Workload(documents)
        own = [(document["kind"], document["metadata"]["name"]) for document in documents]
        own += [("Secret", volume["secret"]["secretName"]) for volume in own_volumes(one, "secret")]
        shared = [(what, seen[what]) for what in own if what in seen]
        cases.check(f"{name}: shares nothing with another of its namespace", not shared, shared)
        seen |= dict.fromkeys(own, name)
        settings = {volume["configMap"]["name"] for volume in own_volumes(one, "configMap")}
        cases.check(f"{name}: the settings are its own", settings == set(one.config), (settings, one.config))
        policies = of_kind(documents, "NetworkPolicy")
        others = [other for other in apps if other != name]
        held = [other for other in others if any(selects(policy, apps[other]) for policy in policies)]
        cases.check(f"{name}: its policies are for its Pods alone", not held, held)


def own_volumes(one, kind):
    mounted = {mount["name"] for mount in one.proxy["volumeMounts"]}
    return [volume for volume in one.spec["volumes"] if kind in volume and volume["name"] in mounted]


def selects(policy, documents):
    return policy["spec"]["podSelector"]["matchLabels"].items() <= Workload(documents).labels.items()


def another_gateway():
    """A copy, with the one line and the two labels changed that README names."""
    with tempfile.TemporaryDirectory() as directory:
        copy = pathlib.Path(directory).resolve() / "gateway"
        shutil.copytree(KUBERNETES / "gateway", copy)
        for name in "kustomization.yaml", "network.yaml":
            text = (copy / name).read_text()
            text = text.replace("namePrefix: invoices-", "namePrefix: payments-")
            (copy / name).write_text(text.replace("app: invoices\n", "app: payments\n"))
        return list(yaml.safe_load_all(built(copy)))


def builds(deployments):
    try:
        return with_components(*deployments)
    except RuntimeError:
        return None


def with_components(*deployments):
    """The Deployment in a kustomization as one would write it: the two components and their settings."""
    deployment = deployments[0]
    with tempfile.TemporaryDirectory() as directory:
        directory = pathlib.Path(directory).resolve()
        components = [KUBERNETES / "components" / name for name in ("sidecar", "signing-secret")]
        kustomization = {
            "resources": ["deployment.yaml"],
            "components": [os.path.relpath(component, directory) for component in components],
            "configMapGenerator": [
                {"name": f"{deployment['metadata']['name']}-countersign", "files": ["countersign.toml"]}
            ],
            "generatorOptions": {"disableNameSuffixHash": True},
            "images": [{"name": "countersign", "newTag": "0.1.0"}],
        }
        if space := deployment["metadata"].get("namespace"):
            kustomization["namespace"] = space
        (directory / "countersign.toml").write_bytes((KUBERNETES / "examples/loopback/countersign.toml").read_bytes())
        (directory / "deployment.yaml").write_text(yaml.safe_dump_all(deployments))
        (directory / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
        return list(yaml.safe_load_all(built(directory)))


def port_of(deployment):
    """Where the one thing stands that may change; what is added, where it was not, is no change."""
    ports = deployment["spec"]["template"]["spec"]["containers"][0].get("ports", [])
    at = next((at for at, port in enumerate(ports) if port.get("name") == "http"), None)
    return f"spec.template.spec.containers.app.ports.{at}.containerPort"


def differences(before, after, path=""):
    """Where `after` lacks what is in `before`, or says something else. Named items of lists go by their names."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key, value in before.items():
            yield from differences(value, after.get(key), f"{path}.{key}".lstrip("."))
    elif isinstance(before, list) and isinstance(after, list):
        by_name = all(isinstance(one, dict) and "name" in one for one in before) and not path.endswith(".ports")
        for at, value in enumerate(before):
            if by_name:
                other = next((one for one in after if one.get("name") == value["name"]), None)
            else:
                other = after[at] if at < len(after) else None
            yield from differences(value, other, f"{path}.{value['name'] if by_name else at}")
    elif before != after:
        yield path


def containers(spec):
    return [*spec.get("initContainers", []), *spec["containers"]]


def repeated(spec):
    """Names of containers and volumes, and ports, that stand twice."""
    for what in (
        [one["name"] for one in containers(spec)],
        [volume["name"] for volume in spec["volumes"]],
        [(port["containerPort"], port.get("protocol", "TCP")) for one in containers(spec) for port in one.get("ports", [])],
        [port["name"] for one in containers(spec) for port in one.get("ports", []) if "name" in port],
    ):
        if len(set(what)) < len(what):
            return what
    return None
