"""Puts the same requests through HAProxy, Envoy, nginx and Countersign, interleaved, and says what each cost.

What a row is and how to read the table is in README.md. Ends with 0, with 1 where a row has failed, and
with 2 where nothing could be measured.
"""

import argparse
import http.client
import os
import pathlib
import subprocess
import sys
import time

import figures
import load
import programs
import proxies
import report
import rows
import standing
import tokens

TOKENS_A_SECOND = 10_000  # of those used once: about as many as are used up, for not all need be
FAILURES = (load.Unexpected, RuntimeError, OSError, http.client.HTTPException, subprocess.TimeoutExpired)
QUICK = {"rounds": 2, "seconds": 1, "minutes": 3}
USUAL = {"rounds": 5, "seconds": 3, "minutes": 15}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], prog="run")
    parser.add_argument("--rounds", type=int, help="how often each row is measured (5; --quick: 2)")
    parser.add_argument("--seconds", type=int, help="how long each time, whole seconds (3; --quick: 1)")
    parser.add_argument("--minutes", type=float, help="no round begins that would not end by then (15; --quick: 3)")
    parser.add_argument("--quick", action="store_true", help="short and few rounds, to see that all works")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="rows with this in their name; repeat")
    parser.add_argument("--binary", help="Countersign to measure (COUNTERSIGN_BIN, else target/image, target/release)")
    parser.add_argument("--json", type=pathlib.Path, default=programs.TARGET / "peers.json", help="where figures go")
    asked = parser.parse_args()
    for name, usual in (QUICK if asked.quick else USUAL).items():
        if getattr(asked, name) is None:
            setattr(asked, name, usual)
    if min(asked.rounds, asked.seconds) < 1:
        parser.error("at least one round of one second")
    return asked


def main():
    asked, began = arguments(), time.monotonic()
    binary = programs.countersign(asked.binary)
    with programs.place() as directory:
        try:
            sys.exit(Comparison(asked, binary, directory, began).run())
        except RuntimeError as error:  # the backend or Countersign itself did not start
            print(error, file=sys.stderr)
            sys.exit(2)


class Comparison:
    """One run: what is asked for, what was taken so far, and what failed."""

    def __init__(self, asked, binary, directory, began):
        self.asked, self.binary, self.began = asked, binary, began
        mint, many = tokens.Mint(directory), directory / "tokens"
        self.token = mint.token()
        self.rows = chosen(list(rows.rows(self.token, many)), asked.only)
        count = TOKENS_A_SECOND * asked.seconds
        say(f"signing {count:,} tokens")
        mint.write_many(many, count)
        self.scene = proxies.Scene(directory, mint, binary)
        self.taken = {row.name: {} for row in self.rows}
        self.left_out, self.failed, self.standing = {}, {}, {}

    def run(self):
        before = os.getloadavg()[0]
        try:
            self.scene.make()
            self.scene.start_backend()
            if not self.asked.only:
                say("start, idle memory, idle connections")
                self.standing = standing.measured(self.scene, self.token)
            self.scene.start()
            self.leave_out()
            self.warm_up()
            done = self.rounds()
        finally:
            self.scene.stop()
        return self.close(done, (round(before, 1), round(os.getloadavg()[0], 1)))

    def leave_out(self):
        """Says of each row that cannot be measured why."""
        missing = self.scene.missing
        if not programs.found("h2load"):
            missing["h2load"] = programs.not_installed("h2load")
        for row in self.rows:
            if why := missing.get(row.proxy) or missing.get(row.request.tool.__name__):
                self.left_out[row.name] = why
        for why in dict.fromkeys(missing.values()):
            say(f"LEFT OUT: {why}")

    def warm_up(self):
        """Looks at an answer of each row; then a second for every port, which counts for nothing: pages and
        connections are there afterwards."""
        os.sched_setaffinity(0, {programs.LOAD_CORE})  # nor do we use the core of the proxies from now on
        warm = {}
        for row in filter(self.measurable, self.rows):
            self.attempt(row, lambda port, _: load.probe(row.request, port, row.verifies))
            warm.setdefault((row.proxy, row.port), row)
        for row in filter(self.measurable, warm.values()):
            self.measure(row, 1)

    def rounds(self):
        """The rows up and down, so that a machine that gets slower does not favour one; the number of rounds."""
        longest = 0
        for number in range(self.asked.rounds):
            begun = time.monotonic()
            if number and begun + longest > self.began + self.asked.minutes * 60:
                say(f"no time for more than {number} rounds")
                return number
            for row in self.rows if number % 2 == 0 else reversed(self.rows):
                if self.measurable(row) and (taken := self.measure(row, self.asked.seconds)):
                    self.taken[row.name][number] = taken
                    cost = f"{taken.cpu_us:8.1f} µs" if taken.cpu_us else " " * 11
                    say(f"round {number + 1}  {cost}  {row.name}")
            longest = max(longest, time.monotonic() - begun)
        return self.asked.rounds

    def measurable(self, row):
        return row.name not in self.left_out and row.name not in self.failed

    def measure(self, row, seconds):
        """One round of a row; None where it failed."""
        if row.proxy in (proxies.AFRESH, proxies.ENVOY_AFRESH):
            self.attempt(row, lambda *_: self.scene.proxies[row.proxy].restart())
        return self.attempt(row, lambda port, program: load.round_of(row.request, port, program, seconds))

    def attempt(self, row, what):
        """Does it with the row's port and program. A failure ends the row, not the run."""
        proxy = self.scene.proxies.get(row.proxy)
        port = proxy.ports[row.port] if proxy else self.scene.backend_port
        try:
            return what(port, proxy and proxy.program)
        except FAILURES as error:
            self.failed[row.name] = str(error)
            say(f"FAILED  {row.name}: {error}")
            return None

    def close(self, done, load_average):
        told = figures.figures({name: it for name, it in self.taken.items() if name not in self.failed})
        for row in self.rows:
            if row.name in told and row.proxy in self.scene.proxies:
                told[row.name]["idle_kib"] = self.scene.proxies[row.proxy].idle_kib
                told[row.name]["times_haproxy"] = figures.ratio(self.taken, row.name, row.baseline)
        result = {
            "conditions": {"rounds": done, "seconds": self.asked.seconds, "load_average": load_average}
            | report.about(self.binary),
            "rows": told,
            "standing": self.standing,
            "targets": figures.targets(self.taken, told, self.standing),
            "missing": self.scene.missing,
            "left_out": self.left_out,
            "failed": self.failed,
        }
        report.write(self.asked.json, result)
        print("\n".join(report.markdown(result, self.rows, self.taken)))
        say(f"{time.monotonic() - self.began:.0f} s; the figures are in {self.asked.json}")
        return 1 if self.failed or any(proxies.DID_NOT_START in why for why in self.scene.missing.values()) else 0


def chosen(all_rows, only):
    """The rows asked for, and those that they are held against."""
    if not only:
        return all_rows
    asked = [row for row in all_rows if any(name.lower() in row.name.lower() for name in only)]
    if not asked:
        sys.exit("no row has that in its name; there are:\n  " + "\n  ".join(row.name for row in all_rows))
    wanted = {row.name for row in asked} | {row.baseline for row in asked}
    return [row for row in all_rows if row.name in wanted]


def say(text):
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":  # the processes that sign tokens may import this
    main()
