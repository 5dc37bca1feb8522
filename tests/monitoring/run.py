"""deploy/prometheus and deploy/grafana against what they are for: real proxies, and a real Prometheus beside them.

Which metrics there are is what the program serves, which queries there are is what the files say: nothing is listed
here but what rightly has no data in this run, with the reason.
"""

import pathlib
import re
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import dashboard
from discovered import discovered
from drawn import Picture
from harness import TARGET, free_port, have_loopback, main, request
from prometheus import RULES, SHIPPED, prometheus
from scene import scene

SECONDS = 30  # of traffic
NOWHERE = "127.0.0.1:1"  # should be a proxy, and nothing answers
FOUND = {  # what Kubernetes says of a Pod with a sidecar: a target for each port of each container
    "__meta_kubernetes_namespace": "shop",
    "__meta_kubernetes_pod_name": "orders-1",
    "__meta_kubernetes_pod_phase": "Running",
    "__meta_kubernetes_pod_container_name": "countersign",
    "__meta_kubernetes_pod_container_port_name": "admin",
    "__meta_kubernetes_pod_label_app": "orders",
}
# Alerts whose condition does not hold in this run.
SILENT = {
    "CountersignKeysStale": "keys are past their time after ten minutes",
    "CountersignKeysRunningOut": "and for half of `clerk.max_stale`",
    "CountersignConnectionsNearLimit": "would take as many connections as there may be",
    "CountersignRequestsPileUp": "would take fifty requests at a time",
    "CountersignAbsent": "there are proxies",
    "CountersignPanicked": "no request is known that ends in a bug",
    "CountersignUpstreamDown": "its proxies are in their first five minutes",
}
# These have no `for`, so that they fire as soon as they are true.
FIRING = {"CountersignHandshakeLoops", "CountersignCertificateExpiring", "CountersignCertificateExpiresToday"}


def run(cases):
    have_loopback()
    files(cases)
    shown = dashboard.Dashboard.load()
    for name, held, seen in shown.faults():
        cases.check(name, held, seen)
    with tempfile.TemporaryDirectory() as directory:
        directory = pathlib.Path(directory)
        with scene(directory) as watched:
            discovered(cases, directory, int(watched.busy_admin.rpartition(":")[2]), free_port())
            static = [address(it) for it in (watched.busy_admin, watched.broken_admin, watched.lonely_admin)]
            static.append(NOWHERE)
            found = [{"targets": [address(watched.leaving_admin)], "labels": FOUND | change} for change in others()]
            with prometheus(directory / "prometheus", static, found) as asked:
                live(cases, watched, asked, shown)


def files(cases):
    """What can be told without a proxy."""
    tests = sorted(path.name for path in SHIPPED.glob("*_test.yaml"))
    asked = [["check", "rules", *RULES], ["check", "config", "prometheus.yaml"]]
    for words in asked + [["test", "rules", name] for name in tests]:
        done = subprocess.run(["promtool", *words], cwd=SHIPPED, capture_output=True, text=True)
        cases.check(f"promtool {' '.join(words)}", done.returncode == 0, done.stdout + done.stderr)
    tested = "".join((SHIPPED / name).read_text() for name in tests)
    alerts = re.findall(r"- alert: (\w+)", (SHIPPED / "alerts.yaml").read_text())
    for alert in alerts:
        fires = re.search(rf"alertname: {alert}\n +exp_alerts:", tested)
        silent = re.search(rf"alertname: {alert}}}", tested)
        cases.check(f"{alert} has a test that it fires and one that it does not", fires and silent, tests)
    headings = re.findall(r"^### (\w+)$", (SHIPPED / "runbook.md").read_text(), re.MULTILINE)
    cases.check("the runbook has a paragraph for each alert, in their order", headings == alerts, (headings, alerts))
    monitor, plain = (relabelings((SHIPPED / name).read_text()) for name in ("podmonitor.yaml", "kubernetes.yaml"))
    cases.check("operator and plain Prometheus name targets in the same way", monitor and monitor == plain, monitor)
    cases.check("and both say that they are Countersign", ("", "", "component", "countersign") in monitor, monitor)


def relabelings(text):
    """The rules that name a job and say what a target is, however the file spells its keys."""
    text = text.replace("sourceLabels", "source_labels").replace("targetLabel", "target_label")
    rule = r"- (?:source_labels: \[(\w+)\]\s+regex: (\S+)\s+)?target_label: (job|component)(?:\s+replacement: (\S+))?"
    return re.findall(rule, text)


def others():
    """A Pod's proxy; its other port, its backend, and a Job that is over, each of a Pod of its own to be told apart."""
    yield {}
    yield {"__meta_kubernetes_pod_name": "orders-2", "__meta_kubernetes_pod_container_port_name": "http"}
    yield {"__meta_kubernetes_pod_name": "orders-3", "__meta_kubernetes_pod_container_name": "orders"}
    yield {"__meta_kubernetes_pod_name": "orders-4", "__meta_kubernetes_pod_phase": "Succeeded"}


def live(cases, watched, asked, shown):
    is_up = lambda: len(asked.now("up == 1 and on (instance) countersign_build_info")) == 4
    cases.check("all four proxies are scraped", asked.until(is_up, 20), asked.now("up"))
    jobs = [metric for metric, _ in asked.now('up{job!="countersign"}')]
    named = {"job": "orders", "namespace": "shop", "pod": "orders-1", "component": "countersign"}
    alone = len(jobs) == 1 and jobs[0] | named == jobs[0]
    cases.check("of a Pod the proxy alone is scraped, by its names", alone, jobs)

    traffic(watched)
    watched.leaving.stop()
    raised(cases, asked)
    served = metrics(watched)
    never = asked.now(f'ALERTS{{alertname="CountersignDown",instance="{NOWHERE}"}}')
    cases.check("CountersignDown is raised for a proxy that was never reached", never, asked.now("up"))
    recorded(cases, asked)
    for query in shown.queries():
        seen = asked.lately(query.filled(), SECONDS) if query.over_time else asked.now(query.filled())
        cases.check(f"{query.where} has data", seen, query.filled())
        unknown = query.metrics() - served - {"ALERTS"}
        cases.check(f"{query.where} asks for metrics there are", not unknown, unknown)
    keys(cases, asked, shown)
    looked_at(cases, asked, shown)


def keys(cases, asked, shown):
    """A proxy that never had any has none that are past their time."""
    panels = {panel["title"]: panel for panel in shown.panels}
    for title in "Keys in use", "Keys are":
        ((_, value),) = asked.now(dashboard.filled(panels[title]["targets"][0]["expr"]))
        (mapping,) = panels[title]["fieldConfig"]["defaults"]["mappings"]
        told = mapping["options"].get(value)
        cases.check(f"{title}: NONE where a proxy has none", told and told["text"] == "NONE", (value, mapping))


def looked_at(cases, asked, shown):
    """Leaves the dashboard as a picture, for a person to look at, and says what that person could not read."""
    picture = Picture(shown.document, asked, dashboard.filled, SECONDS, time.time())
    path = TARGET / "monitoring" / "dashboard.svg"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(picture.svg())
    legible = f"no panel and no column of {path} is empty, and no two lines are alike"
    cases.check(legible, not picture.faults, picture.faults)


def traffic(watched):
    until = time.monotonic() + SECONDS
    watched.spoil_settings()
    watched.crowd()
    while time.monotonic() < until:
        watched.round()
    watched.crowd()


def raised(cases, asked):
    """Every alert has its condition met by real data, but for those that rightly have not."""
    states = lambda: {rule["name"]: rule["state"] for rule in rules(asked, "alerting")}
    awaited = {name for name in states() if name not in SILENT}
    cases.check("every alert that is silent here is one", set(SILENT) <= set(states()), SILENT)
    holds = lambda: all(states()[name] != "inactive" for name in awaited)
    asked.until(holds, 20)
    for name, state in states().items():
        if name in SILENT:
            cases.check(f"{name} is silent: {SILENT[name]}", state == "inactive", state)
        elif name in FIRING:
            cases.check(f"{name} fires", state == "firing", state)
        else:
            cases.check(f"{name} is raised", state in ("pending", "firing"), state)


def recorded(cases, asked):
    for rule in rules(asked, "recording"):
        held = rule["health"] == "ok" and asked.now(rule["name"])
        cases.check(f"{rule['name']} is recorded", held, rule)


def rules(asked, kind):
    return [rule for group in asked.ask("rules")["groups"] for rule in group["rules"] if rule["type"] == kind]


def metrics(watched):
    """The names of all that the proxies serve."""
    pages = [request(it, "GET", "/metrics").text for it in (watched.busy_admin, watched.broken_admin)]
    return set(re.findall(r"^(\w+)[{ ]", "\n".join(pages), re.MULTILINE))


def address(url):
    return url.removeprefix("http://")


main(run)
