"""Real clients and real servers, with the proxy between them: every protocol a backend speaks.

Each subject starts proxies of its own before backends of its own, for tokens of one issuer. With names
of subjects as arguments, only those are tried.
"""

import pathlib
import sys
import time
import traceback

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
import convex_clients
import curl
import events
import grpc_calls
import lifetimes
import load
import servers
import sockets

from harness import demo, main

SUBJECTS = {
    "grpc": grpc_calls,
    "sockets": sockets,
    "events": events,
    "curl": curl,
    "servers": servers,
    "convex": convex_clients,
    "lifetimes": lifetimes,
    "load": load,
}


def run(cases):
    with demo() as (_, issuer):
        for name in sys.argv[1:] or SUBJECTS:
            start = time.monotonic()
            try:
                SUBJECTS[name].run(cases, issuer)
            except Exception as error:  # the subjects after it are tried all the same
                cases.check(f"{name}: it was all tried", False, error)
                traceback.print_exc()
            print(f"     {name}: {time.monotonic() - start:.1f} s", flush=True)


if __name__ == "__main__":
    main(run)
