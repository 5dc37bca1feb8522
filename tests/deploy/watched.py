"""Prometheus beside the Pod: it scrapes the admin listener, knows the series, and an alert of its rules fires."""

import contextlib
import pathlib
import tempfile
import urllib.parse

import yaml

from harness import ROOT, Process, free_port, request
from image import answers, until

SHIPPED = ROOT / "deploy" / "prometheus"
# What its rules say of a backend that does not answer; the other of these leaves a new Pod alone.
ALERT = "CountersignUpstreamErrors"


@contextlib.contextmanager
def prometheus(cases, target):
    """Runs it against this target; gives its address."""
    with tempfile.TemporaryDirectory() as place:
        at, configuration = free_port(), configured(pathlib.Path(place), target)
        command = ["prometheus", f"--config.file={configuration}", f"--storage.tsdb.path={place}/data"]
        with Process([*command, f"--web.listen-address=127.0.0.1:{at}"]) as process:
            base = f"http://127.0.0.1:{at}"
            up = until(lambda: answers(base, "/-/ready") == 200, 30)
            cases.check("Prometheus: takes configuration and rules", up, process.logged())
            yield base


def configured(place, target):
    """The static configuration with its rules, for this target, and without the minutes that it waits to be sure."""
    written = yaml.safe_load((SHIPPED / "prometheus.yaml").read_text())
    written["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    (job,) = written["scrape_configs"]
    (static,) = job["static_configs"]
    assert static["targets"] == [target], job
    for name in written["rule_files"]:
        rules = yaml.safe_load((SHIPPED / name).read_text())
        for group in rules["groups"]:
            group.pop("interval", None)
            for rule in group["rules"]:
                if "alert" in rule:
                    rule["for"] = "0s"
        (place / name).write_text(yaml.safe_dump(rules))
    (place / "prometheus.yaml").write_text(yaml.safe_dump(written))
    return place / "prometheus.yaml"


def watches(cases, base, calls, fault):
    """While `calls` are made all is well; after `fault` it is not, and Prometheus says so."""
    calls()
    found = until(lambda: value(base, 'up{job="countersign"}') == 1, 20)
    cases.check("Prometheus: scrapes the Pod", found, query(base, "up"))
    allowed = 'sum(countersign_requests_total{decision="allowed"})'
    counted = until(lambda: (value(base, allowed) or 0) >= 3, 20)
    cases.check("Prometheus: has what was counted", counted, query(base, "countersign_requests_total"))
    quiet = until(lambda: not firing(base), 20)
    cases.check("Prometheus: no alert while all is well", quiet, firing(base))
    fault()
    # Once more for each look: a rate wants two points.
    fires = until(lambda: calls() and ALERT in firing(base), 60)
    cases.check("Prometheus: the alert fires when the backend is down", fires, firing(base))


def query(base, words):
    reply = request(base, "GET", "/api/v1/query?" + urllib.parse.urlencode({"query": words}))
    return reply.json().get("data", {}).get("result", [])


def value(base, words):
    results = query(base, words)
    return float(results[0]["value"][1]) if results else None


def firing(base):
    alerts = request(base, "GET", "/api/v1/alerts").json()["data"]["alerts"]
    return [one["labels"]["alertname"] for one in alerts if one["state"] == "firing"]
