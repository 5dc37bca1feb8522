"""What is printed, as Markdown: a table a group, the targets, and what was left out; and the same as JSON."""

import json
import os
import pathlib
import platform
import re
import subprocess

from figures import ratio
from kernel import COUNTS_NANOSECONDS
from programs import found

HEADS = ("", "µs of CPU, best", "median", "× HAProxy", "p50 µs", "p99 µs", "requests/s", "MiB idle", "under load")


def markdown(result, rows, taken):
    yield conditions(result)
    for group in dict.fromkeys(row.group for row in rows):
        yield f"\n**{group}**\n"
        yield line(HEADS)
        yield line(["---"] + ["---:"] * (len(HEADS) - 1))
        for row in rows:
            if row.group == group:
                yield line(cells(row, result, taken))
    if result["standing"]:
        yield "\n**Idle**\n"
        yield from map(line, idle_lines(result["standing"]["memory"]))
    if any(it["measured"] is not None for it in result["targets"]):
        yield "\n**Targets**\n"
        yield from map(line, target_lines(result["targets"]))
    for why in dict.fromkeys(result["missing"].values()):
        yield f"\nLeft out: {why}"
    for name, why in result["failed"].items():
        yield f"\nFAILED: {name}: {why}"


def conditions(result):
    it = result["conditions"]
    return (
        f"{it['rounds']} rounds of {it['seconds']} s, interleaved; {it['processor']}, Linux {it['kernel']}; "
        f"load average {it['load_average'][0]} before, {it['load_average'][1]} after; {', '.join(it['versions'].values())}."
    )


def cells(row, result, taken):
    name = row.name
    told = result["rows"].get(name)
    if not told:
        why = "FAILED" if name in result["failed"] else result["left_out"].get(name, "not measured").partition(":")[0]
        return [row.label, why] + [""] * (len(HEADS) - 2)
    times = ratio(taken, name, row.baseline)
    cpu = told.get("cpu_us")
    return [
        row.label,
        f"{cpu['best']:.1f}" if cpu else "",
        f"{cpu['median']:.1f}" if cpu else "",
        f"{times:.2f}" if times else "",
        f"{told['p50_us']:,.0f}",
        f"{told['p99_us']:,.0f}",
        f"{told['requests_per_second']:,.0f}",
        mib(told.get("idle_kib")),
        mib(told.get("resident_kib")),
    ]


def mib(kib):
    return f"{kib / 1024:.1f}" if kib else ""


def idle_lines(memory):
    yield ["", "MiB", "KiB more a connection, answered", "idle for 15 s"]
    yield ["---", "---:", "---:", "---:"]
    for name, it in memory.items():
        yield [name, f"{it['idle_kib'] / 1024:.1f}", f"{it['answered_kib']:.1f}", f"{it['connection_kib']:.1f}"]


def target_lines(targets):
    yield ["", "target", "measured", ""]
    yield ["---", "---:", "---:", "---"]
    for it in targets:
        measured = it["measured"]
        how = "not measured" if measured is None else "met" if it["met"] else f"missed by {measured / it['at_most'] - 1:.0%}"
        yield [it["what"], f"≤ {it['at_most']:g} {it['unit']}", "" if measured is None else f"{measured:.2f}", how]


def line(words):
    return "| " + " | ".join(words) + " |"


def about(binary):
    """The machine and the programs."""
    models = [it for it in pathlib.Path("/proc/cpuinfo").read_text().splitlines() if it.startswith("model name")]
    return {
        "processor": models[0].partition(":")[2].strip() if models else platform.machine(),
        "processors": os.cpu_count(),
        "kernel": platform.release(),
        "cpu_time": "nanoseconds (schedstat)" if COUNTS_NANOSECONDS else "ticks (stat)",
        "versions": dict(versions(binary)),
    }


def versions(binary):
    """What each program says it is."""
    asked = {"Countersign": [binary, "--version"], "HAProxy": [found("haproxy"), "-v"], "nginx": [found("nginx"), "-v"]}
    for name, command in (asked | {"Envoy": [found("envoy"), "--version"]}).items():
        if command[0]:
            done = subprocess.run(command, capture_output=True, text=True, timeout=20)
            yield name, short(name, done.stdout + done.stderr)


def short(name, text):
    """`HAProxy 2.6.12`: the first number of three parts in what it says."""
    number = re.search(r"(?<![\w.])(\d+\.\d+\.\d+)", text)
    return f"{name} {number.group(1)}" if number else name


def write(path, result):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
