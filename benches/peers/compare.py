"""Puts the same requests through HAProxy, Envoy, nginx and Countersign, interleaved, and says what each cost.

What a row is and how to read the table is in README.md. Ends with 0, with 1 where a row has failed, and
with 2 where nothing could be measured.
"""

import argparse
import os
import pathlib
import resource
import signal
import sys
import tempfile
import time

import figures
import load
import proxies
import report
import rows
import standing
import tokens

TOKENS_A_SECOND = 10_000  # of those used once: about as many as are used up, for not all need be
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
    parser.add_argument("--json", type=pathlib.Path, default=proxies.TARGET / "peers.json", help="where figures go")
    asked = parser.parse_args()
    for name, usual in (QUICK if asked.quick else USUAL).items():
        if getattr(asked, name) is None:
            setattr(asked, name, usual)
    if min(asked.rounds, asked.seconds) < 1:
        parser.error("at least one round of one second")
    return asked


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    asked, began = arguments(), time.monotonic()
    binary = proxies.countersign(asked.binary)
    cannot = [f"{it} is not installed: {proxies.PACKAGES[it]}" for it in ("wrk", "nginx") if not proxies.found(it)]
    cannot += ["two CPUs are needed: one for the proxy, one for load and backend"] if len(proxies.CORES) < 2 else []
    if cannot:
        print("Nothing can be measured here:", *cannot, sep="\n  ", file=sys.stderr)
        sys.exit(2)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)  # nginx gives up root where it has it
        comparison = Comparison(asked, binary, pathlib.Path(directory), began)
        sys.exit(comparison.run())


class Comparison:
    """One run: what is asked for, what was taken so far, and what failed."""

    def __init__(self, asked, binary, directory, began):
        self.asked, self.binary, self.began = asked, binary, began
        mint = tokens.Mint(directory)
        count = TOKENS_A_SECOND * asked.seconds
        say(f"signing {count} tokens")
        mint.write_many(directory / "tokens", count)
        self.token = mint.token()
        self.rows = chosen(list(rows.rows(self.token, directory / "tokens")), asked.only)
        self.scene = proxies.Scene(directory, mint, binary)
        self.taken = {row.name: {} for row in self.rows}
        self.left_out, self.failed, self.standing = {}, {}, {}
        self.idle = {}

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
        missing = dict(self.scene.missing)
        if not proxies.found("h2load"):
            missing["h2load"] = f"h2load is not installed: {proxies.PACKAGES['h2load']}"
        for row in self.rows:
            why = missing.get(row.proxy) or row.request.http2 and missing.get("h2load")
            if why:
                self.left_out[row.name] = why
        for name, why in missing.items():
            say(f"LEFT OUT, {name}: {why}")
            if "did not start" in why:
                self.failed[name] = why

    def warm_up(self):
        """A second for every port, which counts for nothing: pages, connections and caches are there then."""
        seen = set()
        for row in self.rows:
            if (row.proxy, row.port, row.request.http2) not in seen and self.measurable(row):
                seen.add((row.proxy, row.port, row.request.http2))
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
        """One round of a row; None where it failed, which ends the row."""
        proxy = self.scene.proxies.get(row.proxy)
        try:
            if row.proxy == proxies.AFRESH:
                proxy.restart()
            port = proxy.ports[row.port] if proxy else self.scene.backend_port
            return load.round_of(row.request, port, proxy and proxy.program, seconds)
        except (load.Unexpected, RuntimeError, OSError, load.subprocess.TimeoutExpired) as error:
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
            "left_out": self.left_out,
            "failed": self.failed,
        }
        report.write(self.asked.json, result)
        print("\n".join(report.markdown(result, self.rows, self.taken)))
        say(f"{time.monotonic() - self.began:.0f} s; the figures are in {self.asked.json}")
        return 1 if self.failed else 0


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


main()
