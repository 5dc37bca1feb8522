"""`deploy/build` with programs in the place of cargo's, for what no build that succeeds would show."""

import gzip
import itertools
import os
import pathlib
import subprocess
import tempfile

from harness import ROOT

HERE, ELSEWHERE = "x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"
# By how their flags begin, in their order.
GIVEN = {
    "profile-use=": "countersign.profdata.gz",
    "link-arg=--symbol-ordering-file=": "countersign.order.gz",
}
OF_LLD = ("--symbol-ordering-file", "keep-text-section-prefix")
PROGRAMS = {
    "rustc": "echo 'host: {host}'",
    # Writes down the flags and what wraps the compiler, and makes a program.
    "cargo": """\
printf %s "$CARGO_ENCODED_RUSTFLAGS" >"$FLAGS"
printf "%s, %s" "${RUSTC_WRAPPER-}" "${RUSTC_WORKSPACE_WRAPPER-}" >"$FLAGS.wrappers"
mkdir -p "$CARGO_TARGET_DIR/{host}/release"
: >"$CARGO_TARGET_DIR/{host}/release/countersign"
""",
}
BREAKS = {"cksum": "exit 1", "gunzip": "printf half; exit 1"}


def run(cases, _image):
    with tempfile.TemporaryDirectory(prefix="a, b") as folder:
        folder = pathlib.Path(folder)
        status, flags = build(folder, HERE)
        named = [pathlib.Path(flag.rpartition("=")[2]) for flag in flags if flag.startswith(tuple(GIVEN))]
        found = [path.read_bytes() for path in named if path.is_file()]
        whole = [gzip.decompress((ROOT / "deploy" / file).read_bytes()) for file in GIVEN.values()]
        told = (status, flags)
        cases.check("build: profile and order, whole, where the path has commas and blanks", found == whole, told)

        # With a wrapper for our crate alone its functions have names that nothing was counted under.
        all_crates, ours = (folder / "flags.wrappers").read_text().split(", ")
        audited = all_crates.endswith("cargo-auditable") and "--cfg=auditable" in flags
        told = (all_crates, ours)
        cases.check("build: what lists the crates is there for all, and in no name", audited and not ours, told)

        status, flags = build(folder, HERE, audited=False)
        wrappers = (folder / "flags.wrappers").read_text().split(", ")
        plain = status == 0 and wrappers == ["", ""] and "--cfg=auditable" not in flags
        cases.check("build: without cargo-auditable there is no list, and all else", plain, (status, wrappers, flags))

        status, flags = build(folder, ELSEWHERE)
        odd = [flag for flag in flags if any(word in flag for word in OF_LLD)]
        profiled = status == 0 and any(flag.startswith("profile-use=") for flag in flags)
        cases.check("build: what lld alone knows is said to it alone", profiled and not odd, (status, flags))

    for shell, name in itertools.product(("sh", "bash"), BREAKS):
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            status, flags = build(folder, HERE, {name: BREAKS[name]}, shell)
            ended = status != 0 and not flags
            cases.check(f"build, {shell}: ends where {name} fails, before anything is built", ended, (status, flags))
            left = [path.name for path in (folder / "target").iterdir() if path.name != HERE]
            cases.check(f"build, {shell}: where {name} fails, nothing is left", not left, left)


def build(folder, host, instead=(), shell="sh", audited=True):
    """Runs the script on a machine of this kind, with cargo-auditable or without; returns its status, and the flags
    that cargo was given."""
    programs = folder / "programs"
    programs.mkdir(exist_ok=True)
    for name, text in (PROGRAMS | dict(instead)).items():
        (programs / name).write_text("#!/bin/sh\n" + text.replace("{host}", host) + "\n")
        (programs / name).chmod(0o755)
    told = folder / "flags"
    told.unlink(missing_ok=True)
    places = [place for place in os.environ["PATH"].split(":") if audited or not has_auditable(place)]
    path = ":".join([str(programs), *places])
    env = os.environ | {"RUSTC_WRAPPER": "", "PATH": path, "CARGO_TARGET_DIR": str(folder / "target"), "FLAGS": str(told)}
    done = subprocess.run([shell, ROOT / "deploy" / "build"], env=env, capture_output=True, timeout=60)
    return done.returncode, told.read_text().split("\x1f") if told.exists() else []


def has_auditable(place):
    return (pathlib.Path(place) / "cargo-auditable").exists()
