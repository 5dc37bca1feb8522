"""`deploy/kubernetes/README.md`: its commands as they are pasted, its kustomization, its tables of seconds and memory.

Where there is no cluster, kubectl says what it would send, and what only a cluster can answer is not run.
"""

import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import tomllib

import yaml

from harness import ROOT, clean
from image import BUILT
from manifests import VERSIONS, invalid
from workload import KUBERNETES, Workload, built, of_file, overlay

NEEDS_A_CLUSTER = re.compile(r"kubectl --namespace \S+ (rollout|port-forward)|curl ")
KUBECTL = """\
#!/bin/sh
# `apply -k` builds; `create` says what it would, and as a cluster does it makes nothing twice.
real={real}
case "$*" in
  "apply -k "*) exec $real kustomize "$3" ;;
  *" create "*|"create "*)
    what="${{*%% --from-file*}}"
    ! grep -qxF -e "$what" {created} || {{ echo "AlreadyExists: $what" >&2; exit 1; }}
    echo "$what" >>{created}
    exec $real "$@" --dry-run=client --output=yaml ;;
  *) exec $real "$@" ;;
esac
"""

# A row of the table of memory, and the comment beside the settings that it is made of.
ROOM = re.compile(
    r"^\| (\w+) \| (\d+) \| ([\d,]+) × (\d+) KiB = (\d+) \| 2 × (\d+) × (\d+) KiB = (\d+) \| (\d+) \| (\d+) MiB \|$",
    re.MULTILINE,
)
COMMENTED = re.compile(
    r"# [^#]*: ([\d,]+) connections of (\d+) KiB are (\d+) MiB\."
    r".* of their own: (\d+), and \4 that wait for a place, of (\d+) KiB with all # that may be sent are (\d+) MiB\."
)


def run(cases, _image):
    text = (KUBERNETES / "README.md").read_text()
    pasted(cases, text)
    kustomization(cases, text)
    table(cases, text)
    memory(cases, text)
    named = set(re.findall(r"^\| `([^`]+)` \|", text.partition("\n## ")[0], re.MULTILINE))
    there = {str(path.parent.relative_to(KUBERNETES)) for path in KUBERNETES.rglob("kustomization.yaml")}
    there |= {path.name for path in KUBERNETES.iterdir() if path.is_file() and path.name != "README.md"}
    cases.check("README: says of each file what it is for", named == there, named ^ there)
    for page in sorted((ROOT / "deploy").rglob("*.md")):
        lead = re.findall(r"\]\((?!https?:)([^)#\s]+)", page.read_text())
        lost = [link for link in lead if not (page.parent / link).exists()]
        cases.check(f"{page.relative_to(ROOT)}: its links lead somewhere", not lost, lost)


def pasted(cases, text):
    """One after the other, in one place, as somebody does who reads the page to its end."""
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    cases.check("README: commands for sidecar and gateway", len(blocks) >= 3, blocks)
    with tempfile.TemporaryDirectory() as place:
        here = pathlib.Path(place) / "kubernetes"
        shutil.copytree(KUBERNETES, here)
        path = f"{programs(place)}:{os.environ['PATH']}"
        for line in "".join(blocks).splitlines():
            if NEEDS_A_CLUSTER.match(line):
                continue
            how = {"cwd": here, "env": clean({"PATH": path}), "capture_output": True, "text": True}
            done = subprocess.run(["sh", "-c", line], **how)
            cases.check(f"README: {line}", done.returncode == 0, done.stdout + done.stderr)


def programs(place):
    """A directory with `countersign`, and a kubectl that needs no cluster."""
    where = pathlib.Path(place) / "bin"
    where.mkdir()
    (where / "countersign").symlink_to(BUILT.resolve())
    (where / "created").touch()
    (where / "kubectl").write_text(KUBECTL.format(real=shutil.which("kubectl"), created=where / "created"))
    (where / "kubectl").chmod(0o755)
    return where


def kustomization(cases, text):
    """The one for a Deployment of one's own, beside a copy of this tree."""
    (written,) = re.findall(r"```yaml\n# kustomization.yaml\n(.*?)```", text, re.DOTALL)
    with tempfile.TemporaryDirectory() as place:
        here = pathlib.Path(place).resolve()
        shutil.copytree(KUBERNETES, here / "countersign" / "deploy" / "kubernetes")
        shutil.copy(KUBERNETES / "examples" / "loopback" / "countersign.toml", here)
        plain = of_file(pathlib.Path(__file__).with_name("shapes.yaml"))[0]
        (here / "deployment.yaml").write_text(yaml.safe_dump(plain | {"metadata": {"name": "orders"}}))
        (here / "kustomization.yaml").write_text(written)
        documents = list(yaml.safe_load_all(built(here)))
    problems = [problem for one in documents if (problem := invalid(one, VERSIONS[-1]))]
    one = Workload(documents)
    cases.check("README: its kustomization builds", not problems and one.native, problems)
    mounted = {path for path, _, _ in one.files({"signing.key": b""})}
    written = tomllib.loads(one.config["orders-countersign"]["countersign.toml"])
    cases.check("README: its key is where its settings say", written["signing"]["secret_file"] in mounted, mounted)


def table(cases, text):
    """The seconds, as the manifests have them; and each row adds up."""
    rows = re.findall(r"^\| `(\S+)` \| (\S+) \| (\S+) \| (\S+) \| (\S+) \| (\S+) \| (\S+) \|$", text, re.MULTILINE)
    cases.check("README: a row of seconds for each", len(rows) == 4, rows)
    for name, *told in rows:
        one = Workload(of_file(KUBERNETES / name) if name.endswith(".yaml") else overlay(name))
        drain = tomllib.loads(next(iter(one.config.values()))["countersign.toml"])["drain"]
        delay, grace = (int(drain.get(part, "0s").removesuffix("s")) for part in ("delay", "grace"))
        away = one.backend["lifecycle"]["preStop"]["sleep"]["seconds"] if one.backend else "–"
        away_, delay_, grace_, backend, spare, whole = told
        said = [str(each) for each in (away, delay, grace, one.spec["terminationGracePeriodSeconds"])]
        cases.check(f"README: the seconds of {name}", said == [away_, delay_, grace_, whole], (said, told))
        # The parts that follow each other: with two containers the proxy's lie within the backend's `preStop`.
        parts = [away_, backend, spare] if name == "pod.yaml" else told[:-1]
        total = sum(int(part) for part in parts if part != "–")
        cases.check(f"README: the seconds of {name} add up", total == int(whole), told)


def memory(cases, text):
    """The MiB, as the manifests have them; each row is right, and comments beside the settings say the same."""
    rows = {name: numbers(told) for name, *told in ROOM.findall(text)}
    cases.check("README: a row of memory for each kind", set(rows) == {"sidecar", "gateway"}, text)
    for kind, (ready, connections, each, idle, requests, held, busy, spare, whole) in rows.items():
        right = [round(connections * each / 1024), round(2 * requests * held / 1024), ready + idle + busy + spare]
        cases.check(f"README: the memory of a {kind} adds up", right == [idle, busy, whole], right)
    for name in "gateway", "pod.yaml", "examples/loopback", "examples/socket":
        one = Workload(of_file(KUBERNETES / name) if name.endswith(".yaml") else overlay(name))
        row = rows["gateway" if name == "gateway" else "sidecar"]
        _, connections, each, idle, requests, held, busy, _, whole = row
        settings = next(iter(one.config.values()))["countersign.toml"]
        limits = tomllib.loads(settings)["limits"]
        has = limits["connections"], limits["in_flight"], one.proxy["resources"]["limits"]["memory"]
        cases.check(f"README: the limits of {name}", has == (connections, requests, f"{whole}Mi"), (has, row))
        said = [numbers(told) for told in COMMENTED.findall(" ".join(settings.split()))]
        agrees = said == [[connections, each, idle, requests, held, busy]]
        cases.check(f"{name}: the comment on its limits says the same", agrees, (said, row))


def numbers(told):
    return [int(number.replace(",", "")) for number in told]
