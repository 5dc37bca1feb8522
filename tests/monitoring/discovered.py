"""kubernetes.yaml against the Kubernetes API: which Pods of a cluster are scraped, by which names, and when no more.

Debian's Prometheus is built without `kubernetes_sd_configs`, so VictoriaMetrics asks here, which reads the same
configuration; what Prometheus makes of the labels is seen in run.py.
"""

import contextlib
import shutil

from cluster import cluster, container, pod
from harness import Process, free_port, request
from prometheus import SHIPPED, Prometheus, replaced


def discovered(cases, directory, admin, backend):
    """`admin` is a proxy's port for scrapers, `backend` one where there are no metrics."""
    sidecar = container("countersign", http=backend, admin=admin)
    orders = [container("orders", app=backend, admin=backend)]
    with cluster() as (pods, api), scraper(directory, api) as asked:
        pods.has(pod("orders-1", orders, [sidecar], app="orders"))
        pods.has(pod("stock-1", orders, app="stock"))
        pods.has(pod("nightly-1", orders, [sidecar], phase="Succeeded", app="nightly"))
        one = ["orders shop orders-1 countersign"]
        seen(cases, asked, "a sidecar is scraped, and neither its other port nor other containers", one)
        pods.has(pod("gateway-1", [sidecar], namespace="edge", **{"app.kubernetes.io/name": "gateway", "app": "x"}))
        both = ["gateway edge gateway-1 countersign", *one]
        seen(cases, asked, "so is a gateway, once it is there, and its job is the better of two names", both)
        pods.has(pod("orders-1", orders, [sidecar], phase="Failed", app="orders"))
        seen(cases, asked, "one that has ended is not", both[:1])
        pods.loses("gateway-1")
        seen(cases, asked, "nor one that is gone", [])
        metrics = asked.now('last_over_time(countersign_build_info{job="orders"}[1h])')
        cases.check("kubernetes.yaml: what was scraped is the proxy's", metrics, metrics)


def seen(cases, asked, what, wanted):
    """Waits for these and no others to be scraped, each as `job namespace pod component`."""
    there = lambda: sorted(target(it["labels"]) for it in asked.ask("targets")["activeTargets"] if it["health"] == "up")
    all_of = lambda: len(asked.ask("targets")["activeTargets"])
    held = asked.until(lambda: there() == wanted and all_of() == len(wanted), 30)
    cases.check(f"kubernetes.yaml: {what}", held, asked.ask("targets"))


def target(labels):
    return " ".join(labels.get(name, "") for name in ("job", "namespace", "pod", "component"))


@contextlib.contextmanager
def scraper(directory, api):
    """Runs the scrape configuration as it is shipped, but for where the cluster is and how often it asks."""
    shipped = (SHIPPED / "kubernetes.yaml").read_text().partition("scrape_configs:\n")[2]
    discovery = "      - role: pod\n"
    jobs = replaced(shipped, discovery, f"{discovery}        api_server: {api}\n")
    (directory / "cluster.yaml").write_text(f"global:\n  scrape_interval: 1s\nscrape_configs:\n{jobs}")
    address = f"127.0.0.1:{free_port()}"
    command = [shutil.which("victoria-metrics"), f"-promscrape.config={directory}/cluster.yaml"]
    command += [f"-storageDataPath={directory}/cluster", f"-httpListenAddr={address}", "-loggerLevel=WARN"]
    command += ["-promscrape.kubernetesSDCheckInterval=1s", "-memory.allowedBytes=64MB", "-search.latencyOffset=0s"]
    with Process(command) as process:
        asked = Prometheus(f"http://{address}", process)
        if not asked.until(lambda: is_there(asked), 30):
            raise RuntimeError(f"VictoriaMetrics did not get ready: {process.logged()}")
        yield asked


def is_there(asked):
    with contextlib.suppress(OSError):
        return request(asked.address, "GET", "/health").status == 200
