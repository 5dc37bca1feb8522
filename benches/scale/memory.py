"""What is kept in memory: idle, a connection, a remembered token, and over many requests."""

import itertools
import time
from statistics import median

import load
import places
import programs
import standing
from harness import request as ask
from load import Request

TITLE = "Memory"
CONNECTIONS = 32
FILE, TOKENS_A_SECOND = 10_000, 2_500  # tokens that are sent at a time, and how many a second at least
COUNTED = 6  # seconds in which what is remembered is counted, and what was freed goes back: 5 and 2
FLAT = 1024  # KiB between the first and the last third: what an allocator keeps more of in one second than in another
SLICES = 9  # at least, so that each third has all kinds
MIB = 1024  # KiB


def measured(scene, asked):
    told = {"idle": [connections(scene, workers, asked.idle) for workers in places.WORKERS]}
    places.say(f"signing {asked.tokens:,} tokens")
    files = list(written(scene, asked.tokens))
    with places.countersign(scene, 1) as proxy:
        token = scene.mint.token()
        told["tokens"] = remembered(proxy, places.known(token, CONNECTIONS), files)
        told["requests"] = over_time(proxy, token, files, asked)
    return told


def connections(scene, workers, idle):
    """KiB of a proxy that serves nobody, at once and after a while, and of each of its connections."""
    places.say(f"idle connections, workers {workers}")
    with places.countersign(scene, workers) as proxy:
        time.sleep(idle)
        told = {"workers": workers, "ready_kib": proxy.idle_kib, "idle_kib": proxy.program.resident()}
        answered, each = standing.connection_kib(proxy, scene.mint.token(), idle)
        return told | {"answered_kib": answered, "connection_kib": each}


def written(scene, count):
    """Files of tokens, of which no two are alike."""
    for number, start in enumerate(range(0, count, FILE)):
        path = scene.directory / f"tokens {number}"
        with programs.on(*programs.CORES):  # to sign takes all there are
            scene.mint.write_many(path, min(FILE, count - start))
        yield path


def remembered(proxy, known, files):
    """KiB of each token that is remembered after all were sent: there is a bound to how many are."""
    load.round_of(known, *where(proxy), 1)  # what any load takes is no token's
    time.sleep(COUNTED)
    places.say("sending them")
    before, sent, most = proxy.program.resident(), 0, 0
    for path in files:
        taken = load.round_of(sent_once(path), *where(proxy), FILE // TOKENS_A_SECOND)
        sent, most = sent + taken.requests, max(most, taken.resident_kib)
    time.sleep(COUNTED)
    after, held = proxy.program.resident(), entries(proxy)
    if not held:
        raise RuntimeError("of the tokens that were sent none is remembered")
    told = {"sent": sent, "remembered": held, "each_kib": (after - before) / held}
    return told | {"before_kib": before, "after_kib": after, "most_kib": most}


def entries(proxy):
    """How many tokens are remembered, as the proxy counts them."""
    lines = ask(f"http://127.0.0.1:{proxy.admin}", "GET", "/metrics").text.splitlines()
    return int(next(it.split()[1] for it in lines if it.startswith("countersign_token_cache_entries")))


def over_time(proxy, token, files, asked):
    """Memory over so many requests: the most of each slice of time, of which every third is of the same kind."""
    fresh = itertools.cycle(files)
    kinds = itertools.cycle((lambda: places.known(token, CONNECTIONS), lambda: sent_once(next(fresh)), refused))
    done, slices = 0, []
    places.say(f"sending {asked.requests:,} requests")
    while (done < asked.requests or len(slices) < SLICES) and time.monotonic() < asked.until:
        taken = load.round_of(next(kinds)(), *where(proxy), asked.seconds)
        done += taken.requests
        slices.append((done, taken.resident_kib))
    places.say(f"{done:,} requests in {len(slices)} slices")
    if len(slices) < SLICES:
        raise RuntimeError("no time was left to see whether memory is flat")
    return {"requests": done, "slices": slices} | growth([kib for _, kib in slices])


def growth(kib):
    """Between the medians of the first and the last third, once the first slices have warmed up."""
    warm = kib[len(kib) // 10 :]
    third = max(1, len(warm) // 3)
    first, last = median(warm[:third]), median(warm[-third:])
    return {"first_kib": first, "last_kib": last, "grown_kib": last - first, "flat": last - first <= FLAT}


def sent_once(path):
    return Request(tokens=path, connections=CONNECTIONS)


def refused():
    """Without a token, which is answered by the proxy."""
    return Request(status=401, connections=CONNECTIONS)


def where(proxy):
    return proxy.ports["HTTP"], proxy.program


def table(told):
    yield ["", "workers", "MiB", "KiB each"]
    for it in told["idle"]:
        yield ["just ready", str(it["workers"]), f"{it['ready_kib'] / MIB:.1f}", ""]
        yield ["idle", str(it["workers"]), f"{it['idle_kib'] / MIB:.1f}", ""]
        yield ["a connection, answered", str(it["workers"]), "", f"{it['answered_kib']:.1f}"]
        yield ["a connection, idle", str(it["workers"]), "", f"{it['connection_kib']:.1f}"]
    yield from table_of_tokens(told["tokens"])
    it = told["requests"]
    verdict = "flat" if it["flat"] else "NOT FLAT"
    grown = f"{it['grown_kib'] / MIB:+.1f} MiB from the first third to the last: {verdict}"
    yield [f"over {it['requests']:,} requests, {grown}", "1", f"{it['last_kib'] / MIB:.1f}", ""]


def table_of_tokens(it):
    yield ["before any but one token", "1", f"{it['before_kib'] / MIB:.1f}", ""]
    sent = f"{it['sent']:,} tokens sent, {it['remembered']:,} remembered"
    yield [sent, "1", f"{it['after_kib'] / MIB:.1f}", f"{it['each_kib']:.2f}"]
