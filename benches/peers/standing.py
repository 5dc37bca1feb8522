"""What a program takes while nobody asks it anything: its start, its memory, a connection that is idle."""

import contextlib
import http.client
import socket
import statistics
import time

from proxies import HMAC
from harness import Process

STARTS = 12
CONNECTIONS = 1000
PATIENCE = 10  # seconds
IDLE = 15  # seconds after which a connection is idle, and no more between two requests


def measured(scene, token):
    """Start and memory, each proxy on its own and before it has served anything else."""
    memory = {}
    for name in ("HAProxy", "nginx", "Envoy", HMAC):
        if proxy := scene.proxies.get(name):
            with contextlib.suppress(RuntimeError):  # one that does not start is told of when all are started
                proxy.start()
                idle, (at_once, each) = proxy.idle_kib, connection_kib(proxy, token)
                memory[name] = {"idle_kib": idle, "answered_kib": at_once, "connection_kib": each}
            proxy.stop()
    return {"memory": memory, "start_ms": starts(scene.proxies[HMAC])}


def starts(proxy):
    """Milliseconds from starting the program to a 200 of `/readyz`, its key set in a file; median and all."""
    taken = [start_ms(proxy) for _ in range(STARTS)]
    return {"median": statistics.median(taken), "all": taken}


def start_ms(proxy):
    begun = time.perf_counter()
    with Process(proxy.command, proxy.env) as process:
        while not is_ready(proxy.admin):
            if process.child.poll() is not None or time.perf_counter() - begun > PATIENCE:
                raise RuntimeError(f"{proxy.name} did not get ready: {process.logged()}")
            time.sleep(0.0005)
        return (time.perf_counter() - begun) * 1e3


def is_ready(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def connection_kib(proxy, token, idle=IDLE):
    """Memory that a connection adds which was served once and is kept alive: right after its answer, and when it has
    been idle for so many seconds."""
    request = f"GET / HTTP/1.1\r\nHost: a.test\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    with contextlib.ExitStack() as open_ones:
        for _ in range(10):  # what the first requests of all take is no connection's
            open_ones.enter_context(served(proxy.ports["HTTP"], request))
        time.sleep(idle)
        before = proxy.program.resident()
        for _ in range(CONNECTIONS):
            open_ones.enter_context(served(proxy.ports["HTTP"], request))
        at_once = proxy.program.resident()
        time.sleep(idle)
        return tuple((kib - before) / CONNECTIONS for kib in (at_once, proxy.program.resident()))


def served(port, request):
    """A connection over which one answer came."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
    connection.sendall(request)
    answer = b""
    while not answer.endswith(b" ok\n"):
        answer += (more := connection.recv(4096))
        if not more:
            raise RuntimeError(f"no answer over a new connection: {answer[:100]!r}")
    if not answer.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"no 200 over a new connection: {answer[:100]!r}")
    return connection
