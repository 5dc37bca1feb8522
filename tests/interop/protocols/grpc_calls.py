"""gRPC, client and server of grpcio: over h2c on both sides, and over TLS on both."""

import contextlib
import threading
import time

import grpc
from certificates import Certificate
from grpc_peers import PATIENCE, SERVICE, Backend, Client
from lane import lane

from harness import claims_of, free_port

MIB = 1 << 20
LARGE = 3 * MIB
ROUTES = f"""
[[route]]
name = "owners"
path = "/{SERVICE}/Owners"
role = "org:owner"

[[route]]
name = "hidden"
path = "/{SERVICE}/Hidden"
unauthenticated = "not-found"
"""


def run(cases, issuer):
    port = free_port()
    with Backend(port) as backend, lane(issuer, f"h2c://127.0.0.1:{port}", ROUTES) as proxy:
        with grpc.insecure_channel(proxy.address) as channel:
            client = Client(channel, proxy.token())
            subjects = [metadata, streams, at_once, failures, identity, refusals, deadline, cancel]
            for subject in subjects:
                subject(cases, client, backend)
        drain(cases, proxy)
    over_tls(cases, issuer)
    no_backend(cases, issuer)


def metadata(cases, client, backend):
    answer, call = client.unary("Echo", b"hello", ("x-bytes-bin", bytes(range(256))), ("x-two", "a"), ("x-two", "b"))
    cases.check("gRPC: a unary call", answer == b"hello" and call.code() is grpc.StatusCode.OK, answer)
    first, last = call.initial_metadata(), call.trailing_metadata()
    cases.check(
        "gRPC: metadata before the answer, bytes too", dict(first).get("x-bytes-bin") == bytes(range(256)), first
    )
    values = [value for name, value in last if name == "x-last"]
    cases.check("gRPC: metadata after the answer, in its order", values == ["two", "three"], last)
    values = [value for name, value in backend.told["metadata"] if name == "x-two"]
    cases.check("gRPC: metadata to the backend", values == ["a", "b"], backend.told)
    answer, _ = client.unary("Echo", bytes(LARGE))
    cases.check(f"gRPC: a message of {LARGE // MIB} MiB, both ways", answer == bytes(LARGE), len(answer))
    answer, _ = client.unary("Echo", b"a" * MIB, compression=grpc.Compression.Gzip)
    cases.check("gRPC: a compressed message", answer == b"a" * MIB, len(answer))
    answer, _ = client.unary("Echo", b"")
    cases.check("gRPC: an empty message", answer == b"", answer)


def streams(cases, client, backend):
    start, arrivals = time.monotonic(), []
    for _ in client.streaming("unary_stream", "Count", b"5 10 200"):
        arrivals.append(round((time.monotonic() - start) * 1000))
    one_by_one = len(arrivals) == 5 and all(at * 200 <= came < at * 200 + 200 for at, came in enumerate(arrivals))
    cases.check("gRPC: server streaming, each message when it is sent", one_by_one, arrivals)
    got = [len(message) for message in client.streaming("unary_stream", "Count", b"500 65536 0")]
    cases.check("gRPC: server streaming, 500 messages of 64 KiB", len(got) == 500 and min(got) > 65536, got[:5])
    total = client.streaming("stream_unary", "Sum", iter([bytes(65536)] * 500))
    cases.check("gRPC: client streaming, 500 messages of 64 KiB", total == b"%d" % (500 * 65536), total)
    total = client.streaming("stream_unary", "Sum", iter([]))
    cases.check("gRPC: client streaming of nothing", total == b"0", total)
    said = list(talk(client, [b"%d" % number for number in range(200)]))
    cases.check("gRPC: both ways, each answered before the next is asked", len(said) == 200, said[-3:])


def talk(client, words):
    """Says a word, and says the next when the answer to it has come."""
    ready = threading.Semaphore(1)

    def speak():
        for word in words:
            if not ready.acquire(timeout=PATIENCE):
                return
            yield word

    for answer, word in zip(client.streaming("stream_stream", "Chat", speak()), words, strict=True):
        if answer != b"you said " + word:
            return
        yield answer
        ready.release()


def at_once(cases, client, backend):
    token, call = client.metadata(), client.channel.unary_unary(f"/{SERVICE}/Echo")
    calls = [call.future(b"%d" % number, timeout=PATIENCE, metadata=token) for number in range(300)]
    answers = [call.result() for call in calls]
    cases.check(
        "gRPC: 300 calls at once on one channel", answers == [b"%d" % number for number in range(300)], answers[:3]
    )


def failures(cases, client, backend):
    seen = None
    try:
        client.unary("Fail")
    except grpc.RpcError as error:
        seen = (error.code(), error.details(), dict(error.trailing_metadata()).get("x-why-bin"))
    expected = (grpc.StatusCode.FAILED_PRECONDITION, "nicht möglich: 100 % ☃", b"\x00\xff")
    cases.check("gRPC: the backend's own status, with details and metadata", seen == expected, seen)
    code, details = client.refusal("Nothing")
    cases.check("gRPC: the backend's own UNIMPLEMENTED", code is grpc.StatusCode.UNIMPLEMENTED, (code, details))


def identity(cases, client, backend):
    forged = [("x-clerk-user-id", "user_root"), ("x_clerk_user_id", "user_root"), ("x-clerk-org-role", "org:root")]
    client.unary("Echo", b"", *forged)
    told = backend.told["metadata"]
    users = [value for name, value in told if name.replace("_", "-") == "x-clerk-user-id"]
    cases.check(
        "gRPC: the backend is told who calls, and by nobody else", users == [claims_of(client.token)["sub"]], told
    )
    names = dict(told)
    proven = "countersign=" in names.get("signature-input", "") and names.get("x-clerk-org-role") == "org:admin"
    cases.check("gRPC: with the role, and the proof", proven, told)


def refusals(cases, client, backend):
    code = grpc.StatusCode
    before = backend.calls
    for name, expected, method, how in [
        ("without a token", code.UNAUTHENTICATED, "Echo", {"token": None}),
        ("with a token that is none", code.UNAUTHENTICATED, "Echo", {"token": "a.b.c"}),
        ("a role that the route asks for and the caller lacks", code.PERMISSION_DENIED, "Owners", {}),
        ("a path that is hidden from whoever is signed out", code.UNIMPLEMENTED, "Hidden", {"token": None}),
    ]:
        seen = client.refusal(method, **how)
        cases.check(f"gRPC: {name}: {expected.name}", seen[0] is expected, seen)
    cases.check("gRPC: of all that the backend saw nothing", backend.calls == before, backend.calls - before)
    stream = client.channel.stream_stream(f"/{SERVICE}/Chat")
    try:
        seen = list(stream(iter([b"hello"] * 3), timeout=PATIENCE))
    except grpc.RpcError as error:
        seen = error.code()
    cases.check("gRPC: a stream without a token: UNAUTHENTICATED", seen is code.UNAUTHENTICATED, seen)


def deadline(cases, client, backend):
    start = time.monotonic()
    seen = client.refusal("Wait", timeout=1)
    took = time.monotonic() - start
    cases.check(
        "gRPC: a deadline: DEADLINE_EXCEEDED", seen[0] is grpc.StatusCode.DEADLINE_EXCEEDED and took < 2, (seen, took)
    )
    known = backend.told["deadline"]
    cases.check("gRPC: the backend knows the deadline", known is not None and known < 1.5, known)
    cases.check("gRPC: and sees that it has passed", backend.gone.wait(2))


def cancel(cases, client, backend):
    before = backend.calls
    call = client.channel.unary_unary(f"/{SERVICE}/Wait").future(b"", metadata=client.metadata())
    while backend.calls == before and not call.done():
        time.sleep(0.01)
    time.sleep(0.2)
    is_running = not backend.gone.is_set()
    call.cancel()
    cases.check("gRPC: a call that is cancelled: the backend sees it", is_running and backend.gone.wait(2), is_running)
    stream = client.streaming("unary_stream", "Count", b"1000 10 20")
    next(stream)
    stream.cancel()
    seen = client.refusal("Echo")
    cases.check("gRPC: the channel is as good as ever after a stream was left", seen[0] is grpc.StatusCode.OK, seen)


def drain(cases, proxy):
    """SIGTERM while a stream runs: it comes to its end, and so does the proxy."""
    with grpc.insecure_channel(proxy.address) as channel:
        stream = Client(channel, proxy.token()).streaming("unary_stream", "Count", b"10 10 100")
        got = [next(stream)]
        proxy.process.child.terminate()
        with contextlib.suppress(grpc.RpcError):
            got += stream
        status = proxy.process.child.wait(10)
    seen = (len(got), stream.code(), status)
    cases.check("gRPC: a stream under way at SIGTERM comes to its end", seen == (10, grpc.StatusCode.OK, 0), seen)


def over_tls(cases, issuer):
    with Certificate("localhost") as certificate:
        port = free_port()
        credentials = grpc.ssl_server_credentials([(certificate.key.read_bytes(), certificate.chain.read_bytes())])
        settings = {
            "COUNTERSIGN_TLS_CERTIFICATE_FILE": certificate.chain,
            "COUNTERSIGN_TLS_KEY_FILE": certificate.key,
            "COUNTERSIGN_UPSTREAM_CA_FILE": certificate.authority,
        }
        settings = {name: str(file) for name, file in settings.items()}
        with Backend(port, credentials), lane(issuer, f"https://localhost:{port}", **settings) as proxy:
            believed = grpc.ssl_channel_credentials(certificate.authority.read_bytes())
            named = [("grpc.ssl_target_name_override", "localhost")]
            with grpc.secure_channel(proxy.address, believed, named) as channel:
                client = Client(channel, proxy.token())
                answer, call = client.unary("Echo", b"over TLS")
                last = dict(call.trailing_metadata()).get("x-last")
                cases.check(
                    "gRPC: over TLS on both sides, by ALPN", (answer, last) == (b"over TLS", "three"), (answer, last)
                )
                said = list(talk(client, [b"%d" % number for number in range(20)]))
                cases.check("gRPC: over TLS, both ways", len(said) == 20, said)
                seen = client.refusal("Echo", token=None)
                cases.check("gRPC: over TLS without a token", seen[0] is grpc.StatusCode.UNAUTHENTICATED, seen)


def no_backend(cases, issuer):
    port = free_port()
    with lane(issuer, f"h2c://127.0.0.1:{port}") as proxy, grpc.insecure_channel(proxy.address) as channel:
        client = Client(channel, proxy.token())
        seen = client.refusal("Echo")
        cases.check("gRPC: a backend that is down: UNAVAILABLE", seen[0] is grpc.StatusCode.UNAVAILABLE, seen)
        with Backend(port):
            seen = client.refusal("Echo")
            cases.check("gRPC: as soon as it is up the same channel reaches it", seen[0] is grpc.StatusCode.OK, seen)
