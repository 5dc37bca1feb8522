"""HTTP/2 as a client speaks it, over asyncio: the protocol is PyPI's `h2`."""

import asyncio
import contextlib

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError

from wire import Answer, Broken

ROOM = 1 << 20


class Http2:
    """A connection that carries many requests at a time.

    What a reader has not taken is not acknowledged, so that a slow one is slow for the other side too.
    """

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        self.state = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self.streams = {}
        self.window = asyncio.Event()
        self.ended = None  # why no further request may begin
        self.state.initiate_connection()
        self.state.increment_flow_control_window(ROOM)  # or a stream that nobody reads would stop the others
        self.flush()
        self.task = asyncio.create_task(self.run())

    async def ask(self, method, target, headers=(), body=None):
        """Sends a request; a body that is a list goes without a length. Returns the answer, whose body is to read."""
        number, events = self.state.get_next_available_stream_id(), asyncio.Queue()
        self.streams[number] = events
        pseudo = [(":method", method), (":scheme", "https"), (":authority", "localhost"), (":path", target)]
        length = [("content-length", str(len(body)))] if isinstance(body, bytes) else []
        self.state.send_headers(number, [*pseudo, *headers, *length], end_stream=body is None)
        self.flush()
        if body is not None:
            await self.write_body(number, body if isinstance(body, list) else [body])
        fields = dict(await self.next(events))
        return Answer(int(fields.pop(":status")), fields, self.pieces(number, events))

    async def write_body(self, number, pieces):
        """Sends pieces as windows allow; stops where the answer is there already and the stream gone."""
        try:
            for piece in pieces:
                while piece:
                    self.window.clear()
                    room = min(self.state.local_flow_control_window(number), self.state.max_outbound_frame_size)
                    if room:
                        self.state.send_data(number, piece[:room])
                        piece = piece[room:]
                        self.flush()
                        await self.writer.drain()
                    else:
                        await self.window.wait()
            self.state.end_stream(number)
            self.flush()
        except ProtocolError:
            if self.streams[number].empty():
                raise

    async def next(self, events):
        event = await events.get()
        if isinstance(event, Exception):
            raise event
        return event

    async def pieces(self, number, events):
        has_ended = False
        try:
            while (event := await self.next(events)) is not None:
                data, length = event
                yield data
                self.state.acknowledge_received_data(length, number)
                self.flush()
            has_ended = True
        finally:
            del self.streams[number]
            if not has_ended:
                self.cancel(number)

    def cancel(self, number):
        with contextlib.suppress(ProtocolError):  # the other side has ended it, or everything
            self.state.reset_stream(number, ErrorCodes.CANCEL)
            self.flush()

    async def run(self):
        why = Broken("the connection was closed")
        try:
            while data := await self.reader.read(65536):
                for event in self.state.receive_data(data):
                    self.happened(event)
                self.flush()
        except (OSError, ProtocolError) as error:
            why = Broken(f"the connection broke: {error!r}")
        finally:
            self.ended = self.ended or why
            for events in self.streams.values():
                events.put_nowait(why)

    def happened(self, event):
        match event:
            case WindowUpdated():
                self.window.set()
                return
            case ConnectionTerminated():
                self.ended = Broken(f"GOAWAY {event.error_code} {event.additional_data!r}")
                return
        events = self.streams.get(getattr(event, "stream_id", None))
        match event:
            case DataReceived() if events is None:
                self.state.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            case _ if events is None:
                return
            case ResponseReceived():
                events.put_nowait(event.headers)
            case DataReceived():
                events.put_nowait((event.data, event.flow_controlled_length))
            case StreamEnded():
                events.put_nowait(None)
            case StreamReset():
                events.put_nowait(Broken(f"the stream was reset: {event.error_code}"))
                self.window.set()

    def flush(self):
        self.writer.write(self.state.data_to_send())

    def is_open(self):
        return self.ended is None and not self.writer.is_closing()

    def close(self):
        if self.is_open():
            self.state.close_connection()
            self.flush()
        self.task.cancel()
        self.writer.close()

    def abort(self):
        self.task.cancel()
        self.writer.transport.abort()
