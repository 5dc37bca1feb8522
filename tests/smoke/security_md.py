"""SECURITY.md names tests: each is there, and no family of attacks is left out."""

import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from harness import ROOT, main

ATTACKS = ROOT / "tests" / "it" / "attacks"


def tests_of(module):
    """The names of a module's tests, as `cargo test -- --list` prints them after `attacks::`."""
    code = module.read_text()
    names = re.findall(r"#\[(?:tokio::)?test[^\]]*\]\s*(?:#\[[^\]]*\]\s*)*(?:async )?fn (\w+)", code)
    return {f"attacks::{module.stem}::{name}" for name in names}


def run(cases):
    tests = {module.stem: tests_of(module) for module in sorted(ATTACKS.glob("*.rs"))}
    # A module beside the families may have tests of its own tools.
    families = {family for family, names in tests.items() if any(f"::{family}_" in name for name in names)}
    known = set().union(*tests.values())
    text = (ROOT / "SECURITY.md").read_text()
    rows = [row for row in text.splitlines() if row.startswith("| ") and "| product" not in row]
    named = set(re.findall(r"`(attacks::\w+::\w+)`", text))
    cases.check(f"{len(known)} attacks in {len(families)} families are known", len(known) > 100 and len(families) > 5)
    for name in sorted(named):
        cases.check(f"there is {name}", name in known)
    for row in rows:
        cases.check(f"a test replays: {row.split('|')[2].strip()}", "`attacks::" in row)
    for family in sorted(families):
        cases.check(f"{family} is mentioned", f"`{family}`" in text and any(f"::{family}::" in name for name in named))
    for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        cases.check(f"{link} is there", (ROOT / link).exists())
    cases.check("the table is there", len(rows) > 50, len(rows))


main(run)
