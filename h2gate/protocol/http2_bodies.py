"""Bodies that wait to be framed: fair across streams, within the peer's windows.

The one rule: a stream is in `_ready` exactly while it has bytes and its own window is open. One whose window is shut is
taken out when its turn comes and put back by `wake`; nobody polls it. A shut connection window stops all at once.
"""

from __future__ import annotations

from collections import OrderedDict

from h2.stream import StreamInputs

from h2gate.protocol.events import Fields
from h2gate.protocol.http2_connection import Connection, Stream
from h2gate.protocol.http2_frames import DATA, END_STREAM, FRAME_BYTES, HEADER_BYTES, frame_header


class BodyQueue:
    """All bodies of one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        # In the order of their turns. An OrderedDict, as streams also leave from the middle, by a reset.
        self._ready: OrderedDict[int, Stream] = OrderedDict()
        self._framed: dict[int, int] = {}

    def add(self, stream: Stream, data: bytes, end_stream: bool) -> None:
        """Queue bytes; an end with nothing before it needs no window and goes out at once."""
        stream.is_ending = end_stream
        if data:
            stream.chunks.append(data)
            stream.queued += len(data)
            self.wake(stream)
        elif end_stream and not stream.queued:
            self._connection.queue(frame_header(0, DATA, END_STREAM, stream.stream_id))
            self._end(stream)

    def add_trailers(self, stream: Stream, fields: Fields) -> None:
        """Queue trailers behind the bytes. Their block is made when they leave, not before (RFC 7541, 2.2)."""
        if not fields:
            self.add(stream, b"", end_stream=True)
        elif stream.queued:
            stream.is_ending = True
            stream.trailers = fields
        else:
            self._connection.queue(self._trailer_frames(stream, fields))

    def wake(self, stream: Stream) -> None:
        """Call after the stream got bytes or window."""
        if stream.queued and stream.outbound_flow_control_window > 0:
            self._ready[stream.stream_id] = stream

    def wake_all(self) -> None:
        """Call after SETTINGS, which move all windows (RFC 9113, 6.9.2)."""
        for stream in self._connection.running.values():
            self.wake(stream)

    def drop(self, stream: Stream) -> None:
        """Forget what is queued: the stream is gone."""
        self._ready.pop(stream.stream_id, None)
        stream.chunks.clear()
        stream.queued = 0

    def take_framed(self) -> list[tuple[int, int]]:
        framed = list(self._framed.items())
        self._framed.clear()
        return framed

    def frame(self, room: int) -> list[bytes | memoryview]:
        """Return the parts of as many frames as it takes to fill `room` bytes, a stream's turn being one frame."""
        connection, ready = self._connection, self._ready
        parts: list[bytes | memoryview] = []
        while ready and room > 0 and connection.outbound_flow_control_window > 0:
            stream_id, stream = ready.popitem(last=False)
            size = min(
                stream.queued,
                stream.outbound_flow_control_window,
                connection.outbound_flow_control_window,
                connection.max_outbound_frame_size,
                FRAME_BYTES,
            )
            # SETTINGS may have shut the window since the stream became ready.
            if size <= 0:
                continue
            stream.queued -= size
            stream.outbound_flow_control_window -= size
            connection.outbound_flow_control_window -= size
            self._framed[stream_id] = self._framed.get(stream_id, 0) + size
            is_last = stream.is_ending and not stream.queued
            ends_here = is_last and not stream.trailers
            parts.append(frame_header(size, DATA, END_STREAM if ends_here else 0, stream_id))
            _move(stream, size, parts)
            room -= size + HEADER_BYTES
            if ends_here:
                self._end(stream)
            elif is_last:
                trailers = self._trailer_frames(stream, stream.trailers)
                parts.append(trailers)
                room -= len(trailers)
            else:
                self.wake(stream)
        return parts

    def _trailer_frames(self, stream: Stream, fields: Fields) -> bytes:
        written = self._connection.write_head(stream, fields, end_stream=True)
        self._connection.forget_if_closed(stream)
        return written

    def _end(self, stream: Stream) -> None:
        stream.state_machine.process_input(StreamInputs.SEND_END_STREAM)
        self._connection.forget_if_closed(stream)


def _move(stream: Stream, size: int, parts: list[bytes | memoryview]) -> None:
    """Move `size` bytes from the stream's chunks to `parts`; a chunk that is cut is not copied."""
    chunks = stream.chunks
    while size:
        chunk = chunks[0]
        if len(chunk) <= size:
            size -= len(chunk)
            parts.append(chunks.popleft())
        else:
            view = memoryview(chunk)
            parts.append(view[:size])
            chunks[0] = view[size:]
            size = 0
