"""A server and a client of grpcio. Their methods carry plain bytes, so nothing has to be compiled for them."""

import concurrent.futures
import threading
import time

import grpc

from harness import bearer

SERVICE = "interop.Calls"
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
        bound = (
            self.server.add_secure_port(address, credentials) if credentials else self.server.add_insecure_port(address)
        )
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
