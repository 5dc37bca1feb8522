"""What is printed, as Markdown: a table a group, the targets, and what was left out; and the same as JSON."""

import json
import os
import pathlib
import platform
import subprocess

from figures import ratio
from kernel import COUNTS_NANOSECONDS
from proxies import found

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
    yield "\n**Targets**\n"
    yield from (line(words) for words in target_lines(result["targets"]))
    if memory := result["standing"].get("memory"):
        yield "\n**Idle**\n"
        yield line(["", "MiB idle", "KiB a connection"])
        yield line(["---", "---:", "---:"])
        for name, it in memory.items():
            yield line([name, f"{it['idle_kib'] / 1024:.1f}", f"{it['connection_kib']:.1f}"])
    for what, why in result["left_out"].items():
        yield f"\nLeft out: {what}: {why}"
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
    why = result["failed"].get(name) and "FAILED" or result["left_out"].get(name) and "left out"
    told = result["rows"].get(name)
    if why or not told:
        return [row.label, why or "not measured"] + [""] * (len(HEADS) - 2)
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
    """What each program says it is, its first line."""
    asked = {"Countersign": [binary, "--version"], "HAProxy": [found("haproxy"), "-v"], "nginx": [found("nginx"), "-v"]}
    for name, command in (asked | {"Envoy": [found("envoy"), "--version"]}).items():
        if command[0]:
            done = subprocess.run(command, capture_output=True, text=True, timeout=20)
            lines = (done.stdout + done.stderr).strip().splitlines()
            yield name, short(name, lines[0]) if lines else name


def short(name, text):
    """`HAProxy 2.6.12`: the first word of its text that has a dotted number, and as much of it as is one."""
    import re

    number = re.search(r"\d+\.\d+(\.\d+)?", text)
    return f"{name} {number.group()}" if number else name


def write(path, result):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
