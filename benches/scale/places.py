"""Countersign with so many workers, the cores it has, and how much of the work each worker did."""

import contextlib
import sys

import programs
from load import Request
from proxies import HMAC, SIGNED

WORKERS = (1, 2)
LOAD = programs.CORES[: -max(WORKERS)] or programs.CORES[:1]  # its cores, and the backend's


@contextlib.contextmanager
def countersign(scene, workers):
    """A proxy that was just started, on as many cores."""
    proxy = scene.own(f"Countersign, workers {workers}", SIGNED[HMAC] | {"COUNTERSIGN_WORKERS": str(workers)})
    try:
        proxy.start(*programs.CORES[-workers:])
        yield proxy
    finally:
        proxy.stop()


def known(token, connections):
    """The same token again and again."""
    return Request(headers=(bearer(token),), connections=connections, cores=tuple(LOAD))


def bearer(token):
    return "Authorization", f"Bearer {token}"


def busiest(before, after):
    """Of the CPU time of all workers between two readings, the part of the one that had most."""
    own = [time - before.get(task, 0) for task, time in after.items() if name(task).startswith("worker-")]
    return max(own) / sum(own) if sum(own) else None


def name(task):
    with contextlib.suppress(FileNotFoundError):
        return (task / "comm").read_text().strip()
    return ""


def say(text):
    print(text, file=sys.stderr, flush=True)
