"""A few connections that send as fast as they can, beside many that seldom send: who waits for whom."""

import contextlib
import json
import pathlib
import sys
import time
from statistics import median

import load
import places
import programs
from harness import Process, clean

TITLE = "Uneven: 200 connections × 1 request/s, beside 4 as fast as they can"
SLOW, FAST = 200, 4
HERE = pathlib.Path(__file__).resolve().parent
LEAD = 1  # seconds that the fast ones are there before the slow ones count, and after
AHEAD = FAST + 2  # connections that one worker has more than the other, so that all fast ones come to that

ALONE, BESIDE, BESIDE_ONE, NO_PROXY = "slow ones alone", "both", "both, the fast ones at one worker", "both, no proxy"


def measured(scene, asked):
    """A row for so many workers and whoever sends, of all rounds."""
    token, taken = scene.mint.token(), {}
    for number in range(asked.rounds):
        if number and time.monotonic() > asked.until:
            break
        for workers, who in rows():
            one = round_of(scene, token, workers, who, asked.seconds)
            taken.setdefault((workers, who), []).append(one)
            places.say(f"round {number + 1}  p99 {one['p99_us'] / 1e3:6.2f} ms  workers {workers}, {who}")
    return [{"workers": workers, "who": who} | figures(them) for (workers, who), them in taken.items()]


def rows():
    """What the load itself makes of it comes first: the slow ones share a core with the fast ones and the backend."""
    yield 0, NO_PROXY
    for workers in places.WORKERS:
        yield workers, ALONE
        yield workers, BESIDE
    yield max(places.WORKERS), BESIDE_ONE


def round_of(scene, token, workers, who, seconds):
    """A proxy of its own, so that its workers have equally many connections to begin with."""
    if not workers:
        return beside(token, scene.backend_port, None, who, seconds)
    with places.countersign(scene, workers) as proxy:
        return beside(token, proxy.ports["HTTP"], proxy.program, who, seconds)


def beside(token, port, program, who, seconds):
    with slow_ones(token, port, who, seconds) as slow:
        slow.line()  # all have connected and were answered
        before = program and program.cpu()
        fast = None
        if who == ALONE:
            time.sleep(seconds + 2 * LEAD)
        else:
            fast = load.round_of(places.known(token, FAST), port, program, seconds + 2 * LEAD)
        told = json.loads(slow.line())
        shares = {"busiest": places.busiest(before, program.cpu()) if program else None}
    return told | shares | {"fast_rate": fast and fast.rate, "fast_p99_us": fast and fast.p99_us}


@contextlib.contextmanager
def slow_ones(token, port, who, seconds):
    words = [port, SLOW, LEAD, seconds, AHEAD if who == BESIDE_ONE else 0]
    with programs.on(*places.LOAD):
        process = Process([sys.executable, HERE / "slow.py", *words], clean({"TOKEN": token}))
    with process:
        yield process


def figures(rounds):
    """The median of each figure; None where there is none."""
    medians = {}
    for name in rounds[0]:
        known = [it[name] for it in rounds if it[name] is not None]
        medians[name] = median(known) if known else None
    return medians | {"rounds": len(rounds)}


def table(rows):
    slow, fast = ["slow ones: p50 ms", "p99 ms", "most ms"], ["fast ones: requests/s", "p99 ms"]
    yield ["workers", "who", *slow, *fast, "busiest worker"]
    for it in rows:
        yield [
            str(it["workers"] or ""),
            it["who"],
            *(f"{it[name] / 1e3:.2f}" for name in ("p50_us", "p99_us", "most_us")),
            f"{it['fast_rate']:,.0f}" if it["fast_rate"] else "",
            f"{it['fast_p99_us'] / 1e3:.2f}" if it["fast_p99_us"] else "",
            f"{it['busiest']:.0%}" if it["busiest"] else "",
        ]
