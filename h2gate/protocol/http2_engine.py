"""What both HTTP/2 engines of the python make do: frames to events, calls to frames.

Read `Engine.receive` first: each frame goes to the one method of its type, which changes states and adds events.
The one rule: a peer's mistake is raised where it is found, as StreamBroken or ConnectionBroken, and answered in one
place, `_break_stream` or `_fail` (RFC 9113, 5.4); nothing that a peer sends raises through `receive`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from h2.exceptions import ProtocolError
from h2.stream import StreamClosedBy, StreamInputs
from hpack.exceptions import HPACKError, OversizedHeaderListError
from hyperframe.exceptions import HyperframeError
from hyperframe.frame import GoAwayFrame

from h2gate.errors import ErrorCode, Reason
from h2gate.protocol import http2_frames as frames
from h2gate.protocol.contract import Http2Settings
from h2gate.protocol.events import (
    ConnectionFailed,
    DataReceived,
    Event,
    Fields,
    GoAwayReceived,
    PingAcked,
    SettingsReceived,
    StreamReset,
    TrailersReceived,
)
from h2gate.protocol.fields import Malformed, check_http2_fields, clean_trailers
from h2gate.protocol.http2_bodies import BodyQueue
from h2gate.protocol.http2_connection import Connection, Stream
from h2gate.protocol.http2_frames import ACK, END_STREAM, ConnectionBroken, FrameReader, NotHttp2
from h2gate.protocol.http2_hpack import BAD_BLOCK
from h2gate.protocol.http2_limits import LIST_FACTOR, MAX_STREAM_ID, UNSENT_REPLIES


class StreamBroken(Exception):
    """The peer broke a rule in a way that ends one stream (RFC 9113, 5.4.2)."""

    def __init__(self, code: ErrorCode, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class Engine(ABC):
    """What both roles do."""

    is_client: bool
    protocol_reason: Reason
    not_http2_reason: Reason

    def __init__(self, settings: Http2Settings) -> None:
        self._settings = settings
        self._connection = Connection(self.is_client, settings)
        self._streams = self._connection.running
        self._bodies = BodyQueue(self._connection)
        self._reader = FrameReader(
            b"" if self.is_client else frames.PREFACE, settings.header_list * LIST_FACTOR, settings.continuations
        )
        self._events: list[Event] = []
        self._has_failed = False
        self._replies = 0
        self._last_peer_stream_id = 0
        # GOAWAY has been sent or received.
        self._is_leaving = False

    def __repr__(self) -> str:
        role = "client" if self.is_client else "server"
        return f"<HTTP/2 {role} engine, {self.open_streams} streams{', failed' if self._has_failed else ''}>"

    # In

    def receive(self, data: bytes) -> list[Event]:
        events = self._events = []
        if self._has_failed:
            return events
        try:
            for kind, flags, stream_id, payload in self._reader.read(data):
                receiver = _RECEIVERS.get(kind)
                # RFC 9113, 5.5: unknown frames are read over.
                if receiver is not None:
                    receiver(self, flags, stream_id, payload)
        except NotHttp2 as broken:
            self._fail(broken.code, broken.detail, self._reason_of(broken), says_so=False)
        except ConnectionBroken as broken:
            self._fail(broken.code, broken.detail, self.protocol_reason)
        except ProtocolError as error:
            self._fail(ErrorCode(error.error_code), str(error), self.protocol_reason)
        return events

    def _receive_data(self, flags: int, stream_id: int, payload: bytes) -> None:
        connection = self._connection
        # RFC 9113, 6.9: padding counts, and so does what comes for a dead stream.
        size = len(payload)
        if size > connection.inbound_flow_control_window:
            raise ConnectionBroken(ErrorCode.FLOW_CONTROL_ERROR, "more than the connection's window")
        connection.consume(size)
        data = frames.without_padding(flags, payload)
        stream = self._streams.get(stream_id)
        if stream is None:
            self._receive_on_closed(stream_id)
            connection.credit(size)
            return
        end_stream = bool(flags & END_STREAM)
        try:
            self._check_data(stream, len(data), size, end_stream)
        except StreamBroken as broken:
            connection.credit(size)
            self._break_stream(stream, broken)
            return
        if stream.is_discarded:
            connection.credit(size)
        elif size or end_stream:
            self._events.append(DataReceived(stream_id, data, size, end_stream))
        if end_stream:
            self._receive_end(stream)

    def _check_data(self, stream: Stream, length: int, size: int, end_stream: bool) -> None:
        """Raise StreamBroken unless the stream may have these bytes now, and this end."""
        if stream.is_received:
            raise _behind_end(stream, "DATA")
        if not stream.state_machine.headers_received:
            raise StreamBroken(ErrorCode.PROTOCOL_ERROR, "DATA before a head")
        # RFC 9113, 6.9.1: an empty frame needs no window, which SETTINGS may have made negative.
        if size:
            if size > stream.inbound_flow_control_window:
                raise StreamBroken(ErrorCode.FLOW_CONTROL_ERROR, "more than the stream's window")
            self._connection.consume_stream(stream, size)
        if stream.length_left is not None:
            stream.length_left -= length
            if stream.length_left < 0:
                raise StreamBroken(ErrorCode.PROTOCOL_ERROR, "more than content-length")
        if end_stream:
            check_complete(stream)

    def _receive_end(self, stream: Stream) -> None:
        stream.state_machine.process_input(StreamInputs.RECV_END_STREAM)
        self._connection.forget_if_closed(stream)

    def _receive_block(self, flags: int, stream_id: int, block: bytes) -> None:
        """A field block: decoded whatever becomes of it, as the next ones build on it (RFC 9113, 4.3)."""
        decoder = self._connection.field_decoder
        try:
            fields = decoder.fields(block)
        except OversizedHeaderListError as error:
            raise ConnectionBroken(ErrorCode.ENHANCE_YOUR_CALM, str(error)) from error
        except HPACKError as error:
            raise ConnectionBroken(ErrorCode.COMPRESSION_ERROR, BAD_BLOCK) from error
        end_stream = bool(flags & END_STREAM)
        stream = self._streams.get(stream_id) or self._begin_stream(stream_id)
        if stream is None:
            return
        try:
            if stream.is_received:
                raise _behind_end(stream, "HEADERS")
            is_large = decoder.size > self._settings.header_list or self._are_many(fields)
            if stream.state_machine.headers_received:
                self._receive_trailers(stream, fields, end_stream, is_large)
            else:
                self._receive_head(stream, fields, end_stream, is_large)
        except Malformed as error:
            self._break_stream(stream, StreamBroken(ErrorCode.PROTOCOL_ERROR, str(error)))
        except StreamBroken as broken:
            self._break_stream(stream, broken)

    def _are_many(self, fields: Fields) -> bool:
        """Whether there are more than the limit, pseudo-fields not counted."""
        limit = self._settings.fields
        return len(fields) > limit and sum(name[:1] != b":" for name, _ in fields) > limit

    def _receive_trailers(self, stream: Stream, fields: Fields, end_stream: bool, is_large: bool) -> None:
        if is_large:
            raise StreamBroken(ErrorCode.ENHANCE_YOUR_CALM, "trailers too large")
        if not end_stream:
            raise StreamBroken(ErrorCode.PROTOCOL_ERROR, "trailers without END_STREAM")
        if stream.is_tunnel:
            raise StreamBroken(ErrorCode.PROTOCOL_ERROR, "trailers in a tunnel")  # RFC 9113, 8.5
        check_http2_fields(fields)
        trailers = clean_trailers(fields)
        check_complete(stream)
        self._connection.receive_head(stream, end_stream)
        if not stream.is_discarded:
            self._events.append(TrailersReceived(stream.stream_id, trailers))
        self._connection.forget_if_closed(stream)

    @abstractmethod
    def _begin_stream(self, stream_id: int) -> Stream | None:
        """Return the new stream of a HEADERS frame, None if there is none to be."""

    @abstractmethod
    def _receive_head(self, stream: Stream, fields: Fields, end_stream: bool, is_large: bool) -> None:
        """Check a first head, change the stream's state and add the event. Raises Malformed and StreamBroken."""

    def _receive_on_closed(self, stream_id: int) -> None:
        """DATA or HEADERS for a stream that is not open: raise, answer or let pass (RFC 9113, 5.1).

        What crossed our RST_STREAM is let pass, and what belongs to a stream closed so long ago that we cannot tell.
        Nobody may ever send these on an even id: nobody pushes to us, and a client takes what we push.
        """
        if stream_id % 2 == 0 or self._connection.is_idle(stream_id):
            raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, f"frame on idle stream {stream_id}")
        closed_by = self._connection.closed_by(stream_id)
        if closed_by in (StreamClosedBy.RECV_END_STREAM, StreamClosedBy.SEND_END_STREAM):
            raise ConnectionBroken(ErrorCode.STREAM_CLOSED, f"frame on closed stream {stream_id}")
        if closed_by is StreamClosedBy.RECV_RST_STREAM:
            self._reply_reset(stream_id, ErrorCode.STREAM_CLOSED)

    def _receive_priority(self, flags: int, stream_id: int, payload: bytes) -> None:
        """RFC 9113, 5.3.2: read over, but for its form."""
        if not stream_id:
            raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, "PRIORITY on stream 0")
        if len(payload) != 5:
            raise ConnectionBroken(ErrorCode.FRAME_SIZE_ERROR, f"PRIORITY of {len(payload)} bytes")

    def _receive_reset(self, flags: int, stream_id: int, payload: bytes) -> None:
        code = frames.read_long(payload)
        stream = self._streams.get(stream_id)
        if stream is not None:
            self._connection.forget(stream, StreamClosedBy.RECV_RST_STREAM)
            self._bodies.drop(stream)
            self._events.append(StreamReset(stream_id, code, by_peer=True))
        elif self._connection.is_idle(stream_id):
            raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, f"RST_STREAM on idle stream {stream_id}")

    def _receive_settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, f"SETTINGS on stream {stream_id}")
        connection = self._connection
        is_ack = bool(flags & ACK)
        try:
            connection.receive_settings(payload, is_ack)
        except HyperframeError as error:
            raise ConnectionBroken(ErrorCode.FRAME_SIZE_ERROR, str(error)) from error
        if not is_ack:
            self._count_reply()
            self._bodies.wake_all()
            theirs = connection.remote_settings
            max_streams = min(theirs.max_concurrent_streams, MAX_STREAM_ID)
            self._events.append(SettingsReceived(max_streams, bool(theirs.enable_connect_protocol)))

    def _receive_push(self, flags: int, stream_id: int, payload: bytes) -> None:
        """A server never gets one, and our clients announce ENABLE_PUSH=0 before their first request (6.6)."""
        raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, "PUSH_PROMISE")

    def _receive_ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, f"PING on stream {stream_id}")
        if len(payload) != 8:
            raise ConnectionBroken(ErrorCode.FRAME_SIZE_ERROR, f"PING of {len(payload)} bytes")
        if flags & ACK:
            self._events.append(PingAcked(payload))
        else:
            self._count_reply()
            self._connection.queue(frames.frame_header(8, frames.PING, ACK, 0) + payload)

    def _receive_goaway(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, f"GOAWAY on stream {stream_id}")
        frame = GoAwayFrame(0)
        try:
            frame.parse_body(memoryview(payload))
        except HyperframeError as error:
            raise ConnectionBroken(ErrorCode.FRAME_SIZE_ERROR, str(error)) from error
        self._is_leaving = True
        self._events.append(GoAwayReceived(frame.last_stream_id & MAX_STREAM_ID, frame.error_code, payload[8:]))

    def _receive_window(self, flags: int, stream_id: int, payload: bytes) -> None:
        increment = frames.read_long(payload) & MAX_STREAM_ID
        connection = self._connection
        stream = self._streams.get(stream_id)
        if stream is not None:
            window = stream.outbound_flow_control_window + increment
            if not increment:
                self._break_stream(stream, StreamBroken(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE of 0"))
            elif window > MAX_STREAM_ID:
                self._break_stream(stream, StreamBroken(ErrorCode.FLOW_CONTROL_ERROR, "window above 2^31-1"))
            else:
                stream.outbound_flow_control_window = window
                self._bodies.wake(stream)
        elif not stream_id:
            if not increment:
                raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE of 0")
            connection.outbound_flow_control_window += increment
            if connection.outbound_flow_control_window > MAX_STREAM_ID:
                raise ConnectionBroken(ErrorCode.FLOW_CONTROL_ERROR, "window above 2^31-1")
        elif connection.is_idle(stream_id):
            raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, f"WINDOW_UPDATE on idle stream {stream_id}")

    # What follows from mistakes

    def _break_stream(self, stream: Stream, broken: StreamBroken) -> None:
        """Reset the stream for what the peer did, and tell its owner."""
        self._reply_reset(stream.stream_id, broken.code)
        self._connection.forget(stream, StreamClosedBy.SEND_RST_STREAM)
        self._bodies.drop(stream)
        self._events.append(StreamReset(stream.stream_id, broken.code, by_peer=False, detail=broken.detail))

    def _reply_reset(self, stream_id: int, code: ErrorCode) -> None:
        self._count_reply()
        self._connection.queue(frames.long_frame(frames.RST_STREAM, stream_id, code))

    def _count_reply(self) -> None:
        self._replies += 1
        if self._replies > UNSENT_REPLIES:
            raise ConnectionBroken(ErrorCode.ENHANCE_YOUR_CALM, "flood of frames that want an answer")

    def _fail(self, code: ErrorCode, detail: str, reason: Reason, says_so: bool = True) -> None:
        """End it all. Unsent frames still go out, bodies do not."""
        self._has_failed = True
        for stream in list(self._streams.values()):
            self._bodies.drop(stream)
        self._streams.clear()
        self._connection.pushed = 0
        if says_so:
            self._connection.close_connection(code, last_stream_id=self._last_peer_stream_id)
        self._events.append(ConnectionFailed(code, reason, detail))

    def _reason_of(self, broken: NotHttp2) -> Reason:
        return self.not_http2_reason if broken.is_http1 else self.protocol_reason

    # Out

    def data_to_send(self, limit: int) -> bytes:
        connection = self._connection
        first: bytes = connection.data_to_send(limit)
        room = limit - len(first)
        if room <= 0:
            return first
        self._replies = 0
        parts = self._bodies.frame(room)
        if not parts:
            return first
        return b"".join([first, *parts])

    def take_framed(self) -> list[tuple[int, int]]:
        return self._bodies.take_framed()

    def send_data(self, stream_id: int, data: bytes, end_stream: bool) -> None:
        stream = self._streams.get(stream_id)
        if stream is not None:
            self._bodies.add(stream, data, end_stream)

    def send_trailers(self, stream_id: int, fields: Fields) -> None:
        stream = self._streams.get(stream_id)
        if stream is not None:
            self._bodies.add_trailers(stream, fields)

    def queued(self, stream_id: int) -> int:
        stream = self._streams.get(stream_id)
        return 0 if stream is None else stream.queued

    def credit(self, stream_id: int, size: int) -> None:
        stream = self._streams.get(stream_id)
        # A peer that has ended its side needs no window.
        if stream is not None and not stream.is_received:
            self._connection.credit_stream(stream, size)

    def credit_connection(self, size: int) -> None:
        self._connection.credit(size)

    def reset(self, stream_id: int, code: ErrorCode) -> None:
        stream = self._streams.get(stream_id)
        if stream is not None:
            self._connection.queue(frames.long_frame(frames.RST_STREAM, stream_id, code))
            self._connection.forget(stream, StreamClosedBy.SEND_RST_STREAM)
            self._bodies.drop(stream)

    def ping(self, data: bytes) -> None:
        self._connection.ping(data)

    def goaway(self, last_stream_id: int | None, code: ErrorCode, debug: bytes = b"") -> None:
        self._connection.close_connection(
            code, debug, last_stream_id=MAX_STREAM_ID if last_stream_id is None else last_stream_id
        )
        self._is_leaving = True

    @property
    def open_streams(self) -> int:
        return len(self._streams) - self._connection.pushed

    @property
    def last_peer_stream_id(self) -> int:
        return self._last_peer_stream_id


def check_complete(stream: Stream) -> None:
    """RFC 9113, 8.1.1: a body that is not as long as its content-length makes the message malformed."""
    if stream.length_left:
        raise StreamBroken(ErrorCode.PROTOCOL_ERROR, f"{stream.length_left} bytes less than content-length")


def _behind_end(stream: Stream, kind: str) -> Exception:
    if stream.stream_id % 2 == 0:
        # RFC 9113, 5.1: PROTOCOL_ERROR before our head, STREAM_CLOSED behind it. No client has a reason for either.
        return ConnectionBroken(ErrorCode.PROTOCOL_ERROR, f"{kind} on pushed stream {stream.stream_id}")
    return StreamBroken(ErrorCode.STREAM_CLOSED, f"{kind} behind END_STREAM")


# Not bound to the engine: that would leave each one to the collector.
_RECEIVERS: dict[int, Callable[[Engine, int, int, bytes], None]] = {
    frames.DATA: Engine._receive_data,
    frames.HEADERS: Engine._receive_block,
    frames.PRIORITY: Engine._receive_priority,
    frames.RST_STREAM: Engine._receive_reset,
    frames.SETTINGS: Engine._receive_settings,
    frames.PUSH_PROMISE: Engine._receive_push,
    frames.PING: Engine._receive_ping,
    frames.GOAWAY: Engine._receive_goaway,
    frames.WINDOW_UPDATE: Engine._receive_window,
}
