"""What the proxy accepts is what the backend understands the same way: requests that are read in two ways.

`run.py [--seed N] [--count N] [NAME…]`: every input goes to a proxy before each backend, by a public
route and with a token. Both say which requests they saw, and have to say the same; every backend has
to say what the others say; and clean requests behind each input get the answers that are theirs.
"""

import argparse
import collections
import concurrent.futures
import pathlib
import random
import sys
import time
import urllib.parse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from inputs import all_inputs
from pair import pair
from mutations import mutated
from servers import SERVERS

from harness import demo, main

SHOWN = 5  # faults that are printed of each kind


def run(cases):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--count", type=int, default=150, help="how many random inputs")
    parser.add_argument("names", nargs="*", default=list(SERVERS))
    asked = parser.parse_args()
    known = list(all_inputs())
    inputs = [(each, bool(number % 2)) for number, each in enumerate(known)]
    inputs += [(each, bool(each.data[0] % 2)) for each in mutated(known, asked.seed, asked.count)]
    print(f"     {len(inputs)} inputs, {asked.count} of them random, --seed {asked.seed}", flush=True)
    with demo() as (_, issuer), concurrent.futures.ThreadPoolExecutor(len(asked.names)) as threads:
        lanes = {name: threads.submit(tried, issuer, name, inputs) for name in asked.names}
        outcomes = {name: future.result() for name, future in lanes.items()}
    for name, (outcome, *_) in outcomes.items():
        judge(cases, name, inputs, *outcomes[name])
    together(cases, inputs, {name: outcome for name, (outcome, *_) in outcomes.items()})


def tried(issuer, name, inputs):
    start = time.monotonic()
    with pair(issuer, name) as one:
        outcomes = [one.tried(*each) for each in inputs]
        return outcomes, one, time.monotonic() - start


def judge(cases, name, inputs, outcomes, one, took):
    """Holds what the proxy saw against what one backend saw."""
    faults, counts = collections.defaultdict(list), collections.Counter()
    for (each, with_token), outcome in zip(inputs, outcomes):
        for kind, told in [*compared(outcome, one.user, counts), *(("clean", told) for told in outcome.clean)]:
            faults[kind].append(f"{each.name}{' (token)' if with_token else ''}: {told}")
    told = ", ".join(f"{count} {what}" for what, count in sorted(counts.items()))
    clean = f"clean ones: {one.reused} on a connection used before, {one.fresh} on a new one"
    print(f"     {name}: {told}; {clean}; {took:.0f} s")
    for kind, rule in RULES.items():
        wrong = faults.get(kind, [])
        cases.check(f"{name}: {rule}", not wrong, f"{len(wrong)}: " + "\n  ".join(wrong[:SHOWN]))
    enough = counts["seen by both"] > len(inputs) / 10 and counts["refused"] > len(inputs) / 10
    cases.check(f"{name}: there was something to see", enough and one.reused and one.fresh, counts)


RULES = {
    "unseen": "sees no request that the proxy has not sent on",
    "lost": "sees every request that the proxy says was answered",
    "caller": "is told the caller that the proxy knows, and no other",
    "answers": "the answers are those of the requests, in their order",
    "clean": "clean requests behind each input get their own answers",
}


# By the client: a body that is none, or a client that has left.
BROKEN_OFF = ["request-malformed", "client-gone"]


def compared(outcome, user, counts):
    """What is wrong between both; in order, since one connection has one request after the other."""
    sent_on = [line for line in outcome.lines if may_have_gone_on(line)]
    counts["refused"] += sum(is_refused(line) for line in outcome.lines) or not outcome.lines
    at = 0
    for seen in outcome.records:
        if seen.get("refused"):
            continue
        found = next((n for n in range(at, len(sent_on)) if is_the_same(sent_on[n], seen)), None)
        if found is None:
            yield "unseen", f"{seen} is none of {[shown(line) for line in outcome.lines]}"
            continue
        for line in sent_on[at:found]:
            yield from lost(line, counts)
        line, at = sent_on[found], found + 1
        counts["seen by both" if seen["whole"] else "cut short for both"] += 1
        if seen["user"] != line.get("sub", ""):
            yield "caller", f"{seen} is told for {line}"
    for line in sent_on[at:]:
        yield from lost(line, counts)
    saws = [saw for _, saw in outcome.answers if saw]
    theirs = [f"{seen['method']} {seen['target']}" for seen in outcome.records]
    if theirs[: len(saws)] != saws or not (outcome.was_quiet or len(saws) == len(theirs)):
        if not any(seen.get("refused") or not seen["whole"] for seen in outcome.records):
            yield "answers", f"{outcome.answers} for {theirs}"


def is_refused(line):
    return line["decision"] == "rejected" and line["reason"] != "client-gone"


def may_have_gone_on(line):
    """Also where the body turned out to be malformed, or without an end: then only a part of it can have gone on."""
    return line["decision"] in ("allowed", "anonymous", "failed") or line["reason"] in BROKEN_OFF


def lost(line, counts):
    """A line without a record: for a reason, or not."""
    if line["status"] == 200:
        yield "lost", shown(line)
    elif line["decision"] == "failed" or line["reason"] == "client-gone":
        counts[line["reason"]] += 1
    elif line["decision"] != "rejected":
        counts[f"refused by the backend itself, {line['status']}"] += 1


def is_the_same(line, seen):
    """Whether it is of one request; the log has the path as it came, the backend in its one form."""
    paths = line["path"], seen["target"].partition("?")[0]
    came, went = (urllib.parse.unquote_to_bytes(path) for path in paths)
    # The log does not repeat a method that is longer than any there is.
    is_made_up = line["method"] == "(longer than any)" and len(seen["method"]) > len("UPDATEREDIRECTREF")
    is_one = (line["method"] == seen["method"] or is_made_up) and came == went
    # Who has left may have sent the whole of it before.
    is_whole = line["bytes_in"] == seen["length"] and not is_refused(line)
    return is_one and (is_whole or not seen["whole"])


def shown(line):
    return [line["method"], line["path"], line["bytes_in"], line["status"], line["decision"], line["reason"]]


def together(cases, inputs, outcomes):
    """Holds what the backends saw against each other; who refused a request itself has no say on it."""
    differ, refused = [], collections.defaultdict(list)
    for n, (each, with_token) in enumerate(inputs):
        if each.leaves:
            continue
        views = collections.defaultdict(list)
        for name, all_of_one in outcomes.items():
            outcome = all_of_one[n]
            stricter = [line for line in outcome.lines if line["status"] >= 400 and not is_refused(line)]
            if stricter:
                refused[name].append(f"{stricter[0]['status']} {each.name}")
            else:
                views[tuple(view(seen) for seen in outcome.records if seen["whole"])].append(name)
        if len(views) > 1:
            told = "; ".join(f"{', '.join(names)}: {list(seen)}" for seen, names in views.items())
            differ.append(f"{each.name}{' (token)' if with_token else ''}: {told}")
    cases.check("every backend sees what the others see", not differ, f"{len(differ)}: " + "\n  ".join(differ[:40]))
    for name, those in refused.items():
        families = collections.Counter(told.split(":")[0] for told in those)
        print(f"     {name} itself refuses {len(those)} that others take: {dict(families)}")


def view(seen):
    return seen["method"], seen["target"], seen["host"], seen["length"], seen["digest"]


if __name__ == "__main__":
    main(run)
