"""A Prometheus with deploy/prometheus loaded, and a week of its own past."""

import contextlib
import json
import re
import shutil
import subprocess
import time
import urllib.parse

from harness import ROOT, Process, free_port, request

SHIPPED = ROOT / "deploy" / "prometheus"
RULES = ["recording.yaml", "alerts.yaml"]
DAY = 86400


class Prometheus:
    def __init__(self, address, process):
        self.address, self.process = address, process

    def ask(self, path, **parameters):
        """What it answers; a query it does not understand is an exception that says why."""
        reply = request(self.address, "GET", f"/api/v1/{path}?{urllib.parse.urlencode(parameters)}")
        if reply.json().get("status") != "success":
            raise RuntimeError(f"{path} {parameters}: {reply}")
        return reply.json()["data"]

    def now(self, query):
        """The series and their values at this moment."""
        return [(series["metric"], series["value"][1]) for series in self.ask("query", query=query)["result"]]

    def lately(self, query, seconds):
        """Every number that the query had in this time; NaN is none."""
        end = time.time()
        data = self.ask("query_range", query=query, start=end - seconds, end=end, step=1)
        values = [value for series in data["result"] for _, value in series["values"]]
        return [value for value in values if value != "NaN"]

    def until(self, what, seconds):
        """Waits for `what()` to be true; tells whether it came to be."""
        deadline = time.monotonic() + seconds
        while not (held := what()) and time.monotonic() < deadline:
            time.sleep(0.2)
        return held


@contextlib.contextmanager
def prometheus(directory, static, found):
    """Scrapes the `static` addresses as prometheus.yaml says, and `found` as kubernetes.yaml does."""
    directory.mkdir()
    for name in RULES:
        text = (SHIPPED / name).read_text()
        (directory / name).write_text(re.sub(r"^( *interval): \w+$", r"\1: 1s", text, flags=re.MULTILINE))
    (directory / "prometheus.yaml").write_text(configuration(static, found))
    with_a_past(directory)
    address = f"127.0.0.1:{free_port()}"
    command = [shutil.which("prometheus"), f"--config.file={directory}/prometheus.yaml"]
    command += [f"--storage.tsdb.path={directory}/data", f"--web.listen-address={address}", "--log.level=warn"]
    with Process(command) as process:
        asked = Prometheus(f"http://{address}", process)
        if not asked.until(lambda: is_ready(asked), 30):
            raise RuntimeError(f"Prometheus did not get ready: {process.logged()}")
        yield asked


def is_ready(asked):
    with contextlib.suppress(OSError):
        return request(asked.address, "GET", "/-/ready").status == 200


def configuration(static, found):
    """The shipped configurations as one; of Kubernetes, which is not here, with what it would have found."""
    plain = (SHIPPED / "prometheus.yaml").read_text()
    plain = replaced(plain, 'targets: ["127.0.0.1:4601"]', f"targets: {json.dumps(static)}")
    plain = replaced(plain, "scrape_interval: 15s", "scrape_interval: 1s")
    plain = replaced(plain, "evaluation_interval: 1m", "evaluation_interval: 1s")
    cluster = (SHIPPED / "kubernetes.yaml").read_text().partition("scrape_configs:\n")[2]
    cluster = replaced(cluster, "job_name: countersign", "job_name: kubernetes")
    discovered = "    kubernetes_sd_configs:\n      - role: pod\n"
    return plain + replaced(cluster, discovered, f"    static_configs: {json.dumps(found)}\n")


def replaced(text, old, new):
    if text.count(old) != 1:
        raise RuntimeError(f"{old!r} does not stand there once")
    return text.replace(old, new)


def with_a_past(directory):
    """Writes what the rules recorded in the week before, and what was scraped a week ago."""
    (directory / "past").write_text("\n".join([*past(int(time.time())), "# EOF", ""]))
    command = ["promtool", "tsdb", "create-blocks-from", "openmetrics", directory / "past", directory / "data"]
    subprocess.run(command, check=True, capture_output=True)


def past(now):
    """A quiet week: few are refused, few are under way."""
    recorded = [
        ("job:countersign_requests:rate10m", "", 10),
        ("job_reason:countersign_refusals:ratio_rate10m", ',reason="token-invalid"', 0.01),
        ("job_carrier:countersign_azp_missing:ratio_rate1h", ',carrier="header"', 0.001),
        ("job:countersign_requests_in_flight:avg10m", "", 2),
    ]
    for name, labels, value in recorded:
        yield f"# TYPE {name} gauge"
        for moment in range(now - 8 * DAY, now - DAY + 600, 120):
            yield f'{name}{{job="countersign"{labels}}} {value} {moment}'
    yield "# TYPE countersign_requests counter"
    counted = [
        ("header", "allowed", "none", 150),
        ("header", "rejected", "token-invalid", 2),
        ("cookie", "handshake", "session-token-expired", 4),
        ("cookie", "rejected", "session-token-expired", 1),
        ("header", "failed", "upstream-timeout", 1),
    ]
    for carrier, decision, reason, step in counted:
        labels = f'job="countersign",instance="old",route="default",carrier="{carrier}"'
        labels += f',decision="{decision}",reason="{reason}"'
        for count, moment in enumerate(range(now - 7 * DAY - 900, now - 7 * DAY + 600, 15)):
            yield f"countersign_requests_total{{{labels}}} {count * step} {moment}"
