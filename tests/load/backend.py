"""A backend that can be restarted without a connection refused: `backend.py FD`.

It accepts on a listening socket that it was handed, so that the next one is there before this one
ends. On SIGTERM it stops accepting, finishes the requests it has, closes what is idle, and ends
streams without an end as they should be: the last chunk of events, a close frame of a WebSocket.

| path | answer |
|---|---|
| `/echo/…` | the body that came, or the target where none did; `x-saw-user` is who called, `x-pid` who answers |
| `/bytes?n=N` | N bytes, as fast as they are taken |
| `/events?every=S` | an event each S seconds; with `n=N`, N of them |
| `/socket` | a WebSocket that says everything back; `?endless` is ended on SIGTERM |
"""

import asyncio
import contextlib
import os
import signal
import socket
import sys
import urllib.parse

from wire import accept_key, head_of
from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, TextMessage

FIRST = 4  # seconds that a connection accepted at the end has for its first request
GRACE = 8  # seconds for all that is under way
PIECE = b"x" * 16384
SERVICE_RESTART = 1012


class Backend:
    def __init__(self, listener):
        self.listener = listener
        self.ending = asyncio.Event()
        self.fresh, self.idle, self.tasks = set(), set(), set()

    async def run(self):
        loop = asyncio.get_running_loop()
        self.listener.setblocking(False)
        loop.add_reader(self.listener, self.accept)
        loop.add_signal_handler(signal.SIGTERM, self.ending.set)
        print("accepting", flush=True)
        await self.ending.wait()
        loop.remove_reader(self.listener)
        close(self.idle)
        loop.call_later(FIRST, lambda: close(self.fresh))
        if self.tasks:
            await asyncio.wait(self.tasks, timeout=GRACE)

    def accept(self):
        with contextlib.suppress(BlockingIOError):  # the other backend was quicker
            connection, _ = self.listener.accept()
            task = asyncio.create_task(self.serve(connection))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def serve(self, connection):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        reader, writer = await asyncio.open_connection(sock=connection)
        waiting = self.fresh
        try:
            while True:
                waiting.add(writer)
                head = await reader.readuntil(b"\r\n\r\n")
                waiting.discard(writer)
                await self.answer(head, reader, writer)
                if self.ending.is_set():
                    return
                waiting = self.idle
        except (OSError, asyncio.IncompleteReadError):
            pass  # whoever it was has gone, or was closed while idle
        finally:
            waiting.discard(writer)
            writer.close()

    async def answer(self, head, reader, writer):
        first, headers = head_of(head)
        method, target, _ = first.split(" ")
        path, _, query = target.partition("?")
        asked = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
        match path:
            case "/socket":
                await self.socket(headers, reader, writer, endless="endless" in asked)
            case "/events":
                await self.events(writer, int(asked.get("n", 0)), float(asked["every"]))
            case "/bytes":
                await self.bytes(writer, int(asked["n"]))
            case _:
                body = await read_body(headers, reader) or target.encode()
                saw = f"x-saw-user: {headers.get('x-clerk-user-id', '')}\r\nx-pid: {os.getpid()}\r\n"
                head = self.head(200, f"{saw}content-length: {len(body)}\r\n")
                writer.write(head + (b"" if method == "HEAD" else body))
                await writer.drain()

    def head(self, status, headers):
        last = "connection: close\r\n" if self.ending.is_set() and status == 200 else ""
        return f"HTTP/1.1 {status} -\r\n{headers}{last}\r\n".encode()

    async def bytes(self, writer, count):
        writer.write(self.head(200, f"content-length: {count}\r\n"))
        for at in range(0, count, len(PIECE)):
            writer.write(PIECE[: count - at])
            await writer.drain()

    async def events(self, writer, count, every):
        writer.write(self.head(200, "content-type: text/event-stream\r\ntransfer-encoding: chunked\r\n"))
        number = 0
        while number < count or not (count or self.ending.is_set()):
            event = f"data: {number}\n\n".encode()
            writer.write(b"%x\r\n%s\r\n" % (len(event), event))
            await writer.drain()
            number += 1
            await self.pause(every, until_the_end=not count)
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    async def pause(self, seconds, until_the_end):
        if not until_the_end:
            return await asyncio.sleep(seconds)
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self.ending.wait(), seconds)

    async def socket(self, headers, reader, writer, endless):
        accepted = accept_key(headers["sec-websocket-key"])
        upgrade = f"upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: {accepted}\r\n"
        writer.write(self.head(101, upgrade))
        frames = Connection(ConnectionType.SERVER)
        closer = asyncio.create_task(self.close_socket(frames, writer)) if endless else None
        try:
            while data := await reader.read(65536):
                frames.receive_data(data)
                for event in frames.events():
                    say_back(event, frames, writer)
                await writer.drain()
                if frames.state is ConnectionState.CLOSED:
                    break
        finally:
            if closer:
                closer.cancel()
        raise ConnectionResetError  # a connection that was a WebSocket takes no other request

    async def close_socket(self, frames, writer):
        await self.ending.wait()
        writer.write(frames.send(CloseConnection(code=SERVICE_RESTART)))


def say_back(event, frames, writer):
    match event:
        case TextMessage() | BytesMessage():
            writer.write(frames.send(event))
        case Ping():
            writer.write(frames.send(event.response()))
        case CloseConnection() if frames.state is ConnectionState.REMOTE_CLOSING:
            writer.write(frames.send(event.response()))


def close(writers):
    for writer in list(writers):
        writer.close()


async def read_body(headers, reader):
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while size := int(await reader.readuntil(b"\r\n"), 16):
            body += await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readuntil(b"\r\n")
        return body
    return await reader.readexactly(int(headers.get("content-length", 0)))


if __name__ == "__main__":
    asyncio.run(Backend(socket.socket(fileno=int(sys.argv[1]))).run())
