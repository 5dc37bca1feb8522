"""Workers × connections, as fast as they can: requests a second, CPU time a request, latency."""

import contextlib
import dataclasses
import time
from statistics import median

import load
import places

TITLE = "As fast as they can: a known token, GET, 48 bytes"
CONNECTIONS = (1, 32, 1000)


def measured(scene, asked):
    """A row for so many workers and connections, of all rounds."""
    token, taken = scene.mint.token(), {}
    with contextlib.ExitStack() as running:
        started = {it: running.enter_context(places.countersign(scene, it)) for it in places.WORKERS}
        rows = [(workers, connections) for connections in CONNECTIONS for workers in places.WORKERS]
        for workers, connections in rows:
            load.round_of(places.known(token, connections), *where(started[workers]), 1)  # which counts for nothing
        for number in range(asked.rounds):
            if number and time.monotonic() > asked.until:
                break
            for row in rows if number % 2 == 0 else reversed(rows):
                one = round_of(started[row[0]], places.known(token, row[1]), asked.seconds)
                taken.setdefault(row, []).append(one)
                places.say(f"round {number + 1}  {one['cpu_us']:6.1f} µs  workers {row[0]}, connections {row[1]}")
    return [{"workers": row[0], "connections": row[1]} | figures(taken[row]) for row in rows]


def where(proxy):
    return proxy.ports["HTTP"], proxy.program


def round_of(proxy, request, seconds):
    before = proxy.program.cpu()
    taken = load.round_of(request, *where(proxy), seconds)
    return dataclasses.asdict(taken) | {"busiest": places.busiest(before, proxy.program.cpu())}


def figures(rounds):
    """The median of each figure, and of CPU time the best too."""
    medians = {name: median(it[name] for it in rounds) for name in rounds[0]}
    return medians | {"cpu_us_best": min(it["cpu_us"] for it in rounds), "rounds": len(rounds)}


def table(rows):
    yield ["workers × connections", "µs of CPU, best", "median", "p50 µs", "p99 µs", "requests/s", "busiest worker"]
    for it in rows:
        yield [
            f"{it['workers']} × {it['connections']:,}",
            f"{it['cpu_us_best']:.1f}",
            f"{it['cpu_us']:.1f}",
            f"{it['p50_us']:,.0f}",
            f"{it['p99_us']:,.0f}",
            f"{it['rate']:,.0f}",
            f"{it['busiest']:.0%}",
        ]
