"""From rounds to figures: best, median, ratios within a round, and the targets they are held against."""

import statistics
from statistics import median

from proxies import HMAC
from rows import PLAIN

MAIN = "GET, 48 bytes, 32 connections"
KNOWN, NEVER_SEEN = f"{MAIN} / Countersign: known token, HMAC", f"{MAIN} / Countersign: token never seen"
FORWARDS = f"{MAIN} / {PLAIN}"
VERIFIES = f"{MAIN} / HAProxy: jwt_verify, token never seen"
CACHED = f"{MAIN} / Envoy: jwt_authn with cache, known token"


def figures(taken):
    """Of each row, by its name; `taken` has its rounds by their numbers. Memory is that of the first round."""
    return {name: figures_of(name, rounds) for name, rounds in taken.items() if rounds}


def figures_of(name, rounds):
    all_rounds = list(rounds.values())
    told = {
        "rounds": len(all_rounds),
        "requests_per_second": median(it.rate for it in all_rounds),
        "p50_us": median(it.p50_us for it in all_rounds),
        "p99_us": median(it.p99_us for it in all_rounds),
    }
    if all_rounds[0].cpu_us is None:
        return told
    cpu = [it.cpu_us for it in all_rounds]
    return told | {
        "cpu_us": {"best": min(cpu), "median": median(cpu), "all": cpu},
        "resident_kib": all_rounds[0].resident_kib,
    }


def ratio(taken, name, other):
    """The median of the ratios within a round of what two rows cost; None where no round has both."""
    ones, others = taken.get(name, {}), taken.get(other, {})
    ratios = [ones[it].cpu_us / others[it].cpu_us for it in ones.keys() & others.keys() if ones[it].cpu_us]
    return statistics.median(ratios) if ratios else None


def targets(taken, told, standing):
    """Each target, what it is held against, and what was measured; None where it was not."""
    memory = standing.get("memory", {}).get(HMAC, {})
    p99 = [told[name]["p99_us"] for name in (KNOWN, FORWARDS) if name in told]
    mib = memory["idle_kib"] / 1024 if memory else None
    start = standing.get("start_ms", {}).get("median")
    return [
        target("known token, HMAC", ratio(taken, KNOWN, FORWARDS), 1.00, "× HAProxy forwarding HTTP"),
        target("token never seen", ratio(taken, NEVER_SEEN, VERIFIES), 0.60, "× HAProxy jwt_verify"),
        target("known token, HMAC", ratio(taken, KNOWN, CACHED), 0.25, "× Envoy jwt_authn with cache"),
        target("p99, known token, HMAC", p99[0] / p99[1] if len(p99) == 2 else None, 1.00, "× HAProxy forwarding HTTP"),
        target("memory, idle", mib, 8, "MiB"),
        target("memory, an idle connection", memory.get("connection_kib"), 13, "KiB"),
        target("start to ready", start, 50, "ms"),
    ]


def target(what, measured, most, unit):
    return {"what": what, "measured": measured, "at_most": most, "unit": unit, "met": measured and measured <= most}
