"""What Countersign comes to with one worker and with two, with few connections and many, and what it keeps in memory.

Three parts, each on its own with `--only`:

- `throughput`: 1 and 2 workers × 1, 32 and 1,000 connections, each of which sends its next request as soon as it has
  its answer. Rounds go through all of them, every other one backwards.
- `uneven`: 200 connections with one request a second each, beside 4 that send as fast as they can. A new connection
  goes to the worker that has the fewest, whatever those do: so also with all 4 at one worker.
- `memory`: idle; what a connection adds that is idle; what a remembered token adds, after 100,000 of them were sent;
  and whether it is flat over `--requests` requests: a known token, tokens not known, and none, in turn.

A proxy has as many cores as workers, the last ones; load and backend have the others. Where there are two, a proxy of
two workers shares one with them: that tells what two workers are on such a machine, and not what they could do. CPU
time and memory are read as benches/peers reads them; its README.md says how.

Prints tables in Markdown and writes target/scale.json. Needs Linux, two CPUs, the packages `wrk` and `nginx` of Debian
and its like, PyPI's `cryptography` (`run` installs it), and the release program: `--binary`, COUNTERSIGN_BIN, else
target/image or target/release. Takes 9 minutes, and 1 more for each million of requests; `--quick` 2. Ends with 0,
with 1 where something has failed, and with 2 where nothing can be measured.
"""

import argparse
import http.client
import os
import pathlib
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "peers"))
import load
import memory
import places
import programs
import proxies
import report
import throughput
import tokens
import uneven

PARTS = {"throughput": throughput, "uneven": uneven, "memory": memory}
FAILURES = (load.Unexpected, RuntimeError, OSError, http.client.HTTPException, subprocess.TimeoutExpired)
QUICK = {"rounds": 1, "seconds": 2, "tokens": 5_000, "requests": 20_000, "idle": 2, "minutes": 4}
USUAL = {"rounds": 3, "seconds": 5, "tokens": 100_000, "requests": 200_000, "idle": 15}
MINUTES, MINUTES_A_MILLION = 15, 4  # patience, and not what is expected


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], prog="run")
    parser.add_argument("--only", action="append", default=[], choices=PARTS, help="this part; repeat")
    parser.add_argument("--rounds", type=int, help="how often what is asked for is measured (3; --quick: 1)")
    parser.add_argument("--seconds", type=int, help="how long each time, whole seconds (5; --quick: 2)")
    parser.add_argument("--tokens", type=int, help="tokens that are sent, each once (100,000; --quick: 5,000)")
    parser.add_argument("--requests", type=int, help="over which memory is to be flat (200,000; --quick: 20,000)")
    parser.add_argument("--idle", type=int, help="seconds after which a connection is idle (15; --quick: 2)")
    parser.add_argument("--minutes", type=float, help="no round begins after (15, and 4 a million requests; --quick: 4)")
    parser.add_argument("--quick", action="store_true", help="short and little of all, to see that it works")
    parser.add_argument("--binary", help="Countersign to measure (COUNTERSIGN_BIN, else target/image, target/release)")
    parser.add_argument("--json", type=pathlib.Path, default=programs.TARGET / "scale.json", help="where figures go")
    asked = parser.parse_args()
    for name, usual in (QUICK if asked.quick else USUAL).items():
        if getattr(asked, name) is None:
            setattr(asked, name, usual)
    if asked.minutes is None:
        asked.minutes = MINUTES + MINUTES_A_MILLION * asked.requests / 1e6
    if min(asked.rounds, asked.seconds, asked.tokens, asked.requests, asked.idle) < 1:
        parser.error("at least one of each")
    return asked


def main():
    asked = arguments()
    asked.until = time.monotonic() + asked.minutes * 60
    binary = programs.countersign(asked.binary)
    with programs.place() as directory:
        sys.exit(run(asked, binary, directory))


def run(asked, binary, directory):
    """Measures, prints and writes it; the exit status."""
    began, before = time.monotonic(), os.getloadavg()[0]
    scene = proxies.Scene(directory, tokens.Mint(directory), binary)
    try:
        scene.backend.start(*places.LOAD)
        os.sched_setaffinity(0, places.LOAD)  # nor do we use the cores of the proxies
        told, failed = measured(scene, asked)
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 2
    finally:
        scene.stop()
    conditions = {"load_average": (round(before, 1), round(os.getloadavg()[0], 1))} | report.about(binary)
    conditions |= {name: getattr(asked, name) for name in USUAL}
    report.write(asked.json, {"conditions": conditions, "failed": failed} | told)
    print("\n".join(markdown(conditions, told, failed)))
    places.say(f"{time.monotonic() - began:.0f} s; the figures are in {asked.json}")
    return 1 if failed else 0


def measured(scene, asked):
    """What each part tells, and of those that failed, why: the others go on."""
    told, failed = {}, {}
    for name, part in PARTS.items():
        if asked.only and name not in asked.only:
            continue
        places.say(name)
        try:
            told[name] = part.measured(scene, asked)
        except FAILURES as error:
            failed[name] = str(error)
            places.say(f"FAILED  {name}: {error}")
    return told, failed


def markdown(conditions, told, failed):
    versions = (conditions["versions"][name] for name in ("Countersign", "nginx"))
    yield (
        f"{conditions['rounds']} rounds of {conditions['seconds']} s; {conditions['processors']} × "
        f"{conditions['processor']}, Linux {conditions['kernel']}; load average {conditions['load_average'][0]} before, "
        f"{conditions['load_average'][1]} after; {', '.join(versions)}."
    )
    for name, figures in told.items():
        yield f"\n**{PARTS[name].TITLE}**\n"
        for number, cells in enumerate(PARTS[name].table(figures)):
            yield report.line(cells)
            if number == 0:
                yield report.line(["---"] + ["---:"] * (len(cells) - 1))
    for name, why in failed.items():
        yield f"\nFAILED: {name}: {why}"


if __name__ == "__main__":  # the processes that sign tokens may import this
    main()
