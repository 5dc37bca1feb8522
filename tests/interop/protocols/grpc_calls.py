"""gRPC, client and server of grpcio: over h2c on both sides, and over TLS on both.

The methods carry plain bytes, so nothing has to be compiled for them.
"""

import concurrent.futures
import contextlib
import threading
import time

import grpc
from certificates import Certificate
from lane import lane

from harness import bearer, claims_of, free_port

MIB = 1 << 20
LARGE = 3 * MIB
SERVICE = "interop.Calls"
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
PATIENCE = 10  # seconds any call may take that sets no deadline of its own


class Backend:
    """Answers calls, and remembers of the last one what it was told and whether its client left."""

    def __init__(self, port, credentials=None):
        self.told, self.gone, self.calls = {}, threading.Event(), 0
        self.pool = concurrent.futures.ThreadPoolExecutor(32)
        self.server = grpc.server(self.pool)
        unary = {"Echo": self.echo, "Fail": self.fail, "Wait": self.wait, "Owners": self.echo, "Hidden": self.echo}
        methods = {name: grpc.unary_unary_rpc_method_handler(self.met(call)) for name, call in unary.items()}
        methods["Count"] = grpc.unary_stream_rpc_method_handler(self.met(self.count))
        methods["Sum"] = grpc.stream_unary_rpc_method_handler(self.met(self.sum))
        methods["Chat"] = grpc.stream_stream_rpc_method_handler(self.met(self.chat))
        self.server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, methods)])
        address = f"127.0.0.1:{port}"
        bound = self.server.add_secure_port(address, credentials) if credentials else self.server.add_insecure_port(address)
        if bound != port:
            raise RuntimeError(f"port {port} is taken")

    def __enter__(self):
        self.server.start()
        return self

    def __exit__(self, *_):
        self.server.stop(0).wait()
        self.pool.shutdown()

    def met(self, call):
        def answer(request, context):
            self.calls += 1
            self.told = {"deadline": context.time_remaining(), "metadata": list(context.invocation_metadata())}
            return call(request, context)

        return answer

    def echo(self, request, context):
        sent = dict(self.told["metadata"])
        context.send_initial_metadata([("x-first", "one"), ("x-bytes-bin", sent.get("x-bytes-bin", b""))])
        context.set_trailing_metadata([("x-last", "two"), ("x-last", "three")])
        return request

    def fail(self, request, context):
        context.set_trailing_metadata([("x-why-bin", b"\x00\xff")])
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "nicht möglich: 100 % ☃")

    def wait(self, request, context):
        self.gone.clear()
        context.add_callback(self.gone.set)
        self.gone.wait(PATIENCE)
        return b""

    def count(self, request, context):
        number, size, pause = (int(word) for word in request.split())
        for at in range(number):
            yield b"%d:" % at + bytes(size)
            time.sleep(pause / 1000)

    def sum(self, requests, context):
        return b"%d" % sum(len(request) for request in requests)

    def chat(self, requests, context):
        context.add_callback(self.gone.set)
        for request in requests:
            yield b"you said " + request


class Client:
    """Calls over one channel, with the token of a signed-in user unless told otherwise."""

    def __init__(self, channel, token):
        self.channel, self.token = channel, token

    def metadata(self, *more, token=...):
        name, value = bearer(self.token if token is ... else token)
        return [*([(name.lower(), value)] if token else []), *more]

    def unary(self, method, request=b"hello", *metadata, timeout=PATIENCE, token=..., **how):
        call = self.channel.unary_unary(f"/{SERVICE}/{method}")
        return call.with_call(request, timeout=timeout, metadata=self.metadata(*metadata, token=token), **how)

    def streaming(self, kind, method, request, timeout=PATIENCE):
        return getattr(self.channel, kind)(f"/{SERVICE}/{method}")(request, timeout=timeout, metadata=self.metadata())

    def refusal(self, method, **how):
        """The status of a call that fails, and its details."""
        try:
            answer, _ = self.unary(method, **how)
        except grpc.RpcError as error:
            return error.code(), error.details()
        return grpc.StatusCode.OK, answer


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
    cases.check("gRPC: metadata before the answer, bytes too", dict(first).get("x-bytes-bin") == bytes(range(256)), first)
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
        arrivals.append(round(time.monotonic() - start, 2))
    one_by_one = len(arrivals) == 5 and all(at * 0.2 <= came < at * 0.2 + 0.2 for at, came in enumerate(arrivals))
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
    cases.check("gRPC: 300 calls at once on one channel", answers == [b"%d" % number for number in range(300)], answers[:3])


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
    cases.check("gRPC: the backend is told who calls, and by nobody else", users == [claims_of(client.token)["sub"]], told)
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
    cases.check("gRPC: a deadline: DEADLINE_EXCEEDED", seen[0] is grpc.StatusCode.DEADLINE_EXCEEDED and took < 2, (seen, took))
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
        with Backend(port, credentials) as backend, lane(issuer, f"https://localhost:{port}", **settings) as proxy:
            believed = grpc.ssl_channel_credentials(certificate.authority.read_bytes())
            named = [("grpc.ssl_target_name_override", "localhost")]
            with grpc.secure_channel(proxy.address, believed, named) as channel:
                client = Client(channel, proxy.token())
                answer, call = client.unary("Echo", b"over TLS")
                last = dict(call.trailing_metadata()).get("x-last")
                cases.check("gRPC: over TLS on both sides, by ALPN", (answer, last) == (b"over TLS", "three"), (answer, last))
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
