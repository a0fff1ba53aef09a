"""Driving HTTP/2 engines: the makes under test, and raw peers that speak frames made by hyperframe and hpack.

Rule: a raw peer does only what a test tells it to; what the engine sends is read by `sent`, frame by frame.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hpack import Decoder, Encoder
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PushPromiseFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from h2gate.errors import ErrorCode
from h2gate.protocol import http2
from h2gate.protocol.contract import Http2ClientEngine, Http2Engine, Http2ServerEngine, Http2Settings
from h2gate.protocol.events import ConnectionFailed, Event, Fields, RequestHead, RequestReceived, StreamReset


@dataclass(frozen=True)
class Make:
    server: Callable[[Http2Settings], Http2ServerEngine]
    client: Callable[[Http2Settings], Http2ClientEngine]


MAKES = {"python": Make(http2.server_engine, http2.client_engine)}
"""Each test of the contract runs over all of these: the native make too, where it is built."""

try:
    from h2gate.protocol import http2_native
except ImportError:
    pass
else:
    MAKES["native"] = Make(http2_native.server_engine, http2_native.client_engine)

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
LIMIT = 1 << 20

GET: Fields = [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"example.org"), (b":path", b"/")]
POST: Fields = [(b":method", b"POST"), *GET[1:]]
WEBSOCKET: Fields = [(b":method", b"CONNECT"), *GET[1:], (b":protocol", b"websocket")]
OK: Fields = [(b":status", b"200")]


def settings_frame(values: dict[int, int] | None = None) -> bytes:
    return SettingsFrame(0, settings=values or {}).serialize()


def settings_ack() -> bytes:
    return SettingsFrame(0, flags=["ACK"]).serialize()


def data(stream_id: int, body: bytes, end_stream: bool = False, padding: int | None = None) -> bytes:
    frame = DataFrame(stream_id, body)
    if end_stream:
        frame.flags.add("END_STREAM")
    if padding is not None:
        frame.flags.add("PADDED")
        frame.pad_length = padding
    return frame.serialize()


def window_update(stream_id: int, increment: int) -> bytes:
    return WindowUpdateFrame(stream_id, increment).serialize()


def rst_stream(stream_id: int, code: int) -> bytes:
    return RstStreamFrame(stream_id, code).serialize()


def goaway(last_stream_id: int, code: int = 0, debug: bytes = b"") -> bytes:
    return GoAwayFrame(0, last_stream_id, code, debug).serialize()


def ping(payload: bytes = b"12345678", ack: bool = False) -> bytes:
    return PingFrame(0, payload, flags=["ACK"] if ack else []).serialize()


def raw(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    """A frame that hyperframe would refuse to make."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream_id.to_bytes(4, "big") + payload


def parse(stream: bytes) -> list[Frame]:
    frames = []
    while stream:
        frame, length = Frame.parse_frame_header(memoryview(stream[:9]))
        frame.parse_body(memoryview(stream[9 : 9 + length]))
        frames.append(frame)
        stream = stream[9 + length :]
    return frames


class _Peer:
    engine: Http2Engine

    def __init__(self) -> None:
        self.encoder = Encoder()
        self.decoder = Decoder()
        # What the engine has sent of each stream's body.
        self.bodies: dict[int, bytes] = {}

    def headers(self, stream_id: int, fields: Fields, end_stream: bool = False) -> bytes:
        return self.block(stream_id, self.encoder.encode(fields), end_stream)

    def block(self, stream_id: int, block: bytes, end_stream: bool = False) -> bytes:
        frame = HeadersFrame(stream_id, block, flags=["END_HEADERS"])
        if end_stream:
            frame.flags.add("END_STREAM")
        return frame.serialize()

    def pieces(self, stream_id: int, block: bytes, size: int, end_stream: bool = False) -> bytes:
        """A block over HEADERS and as many CONTINUATION frames as it takes."""
        parts = [block[begin : begin + size] for begin in range(0, len(block), size)]
        first = HeadersFrame(stream_id, parts[0], flags=["END_STREAM"] if end_stream else [])
        frames: list[Frame] = [first, *(ContinuationFrame(stream_id, part) for part in parts[1:])]
        frames[-1].flags.add("END_HEADERS")
        return b"".join(frame.serialize() for frame in frames)

    def receive(self, *frames: bytes) -> list[Event]:
        return self.engine.receive(b"".join(frames))

    def sent(self, limit: int = LIMIT) -> list[Frame]:
        """Return what the engine wants to send; HEADERS and PUSH_PROMISE get their decoded `fields`."""
        frames = parse(self.engine.data_to_send(limit))
        block = b""
        for frame in frames:
            if isinstance(frame, HeadersFrame | PushPromiseFrame | ContinuationFrame):
                block += frame.data
                if "END_HEADERS" in frame.flags:
                    frame.fields = [tuple(field) for field in self.decoder.decode(block, raw=True)]
                    block = b""
            elif isinstance(frame, DataFrame):
                self.bodies[frame.stream_id] = self.bodies.get(frame.stream_id, b"") + frame.data
        return frames

    def resets(self) -> list[tuple[int, int]]:
        """Return the streams that the engine resets now, with their codes."""
        return [(frame.stream_id, frame.error_code) for frame in self.sent() if isinstance(frame, RstStreamFrame)]

    def updates(self) -> dict[int, int]:
        """Return the window that the engine gives back now, by stream."""
        updates: dict[int, int] = {}
        for frame in self.sent():
            if isinstance(frame, WindowUpdateFrame):
                updates[frame.stream_id] = updates.get(frame.stream_id, 0) + frame.window_increment
        return updates


class ClientSide(_Peer):
    """A raw client and the server engine it talks to, after their handshake."""

    engine: Http2ServerEngine

    def __init__(self, make: Make, settings: Http2Settings | None = None, theirs: dict[int, int] | None = None) -> None:
        super().__init__()
        self.engine = make.server(settings or Http2Settings())
        self.greeting = self.sent()
        self.receive(PREFACE, settings_frame(theirs), settings_ack())
        self.sent()

    def request(self, stream_id: int, fields: Fields = GET, end_stream: bool = True) -> RequestHead:
        """Send a request and return the head that the engine makes of it."""
        events = self.receive(self.headers(stream_id, fields, end_stream))
        assert isinstance(events[0], RequestReceived), events
        assert (events[0].stream_id, events[0].end_stream) == (stream_id, end_stream)
        return events[0].head


class BackendSide(_Peer):
    """A raw server and the client engine it talks to, after their handshake."""

    engine: Http2ClientEngine

    def __init__(self, make: Make, settings: Http2Settings | None = None, theirs: dict[int, int] | None = None) -> None:
        super().__init__()
        self.engine = make.client(settings or Http2Settings())
        greeting = self.engine.data_to_send(LIMIT)
        assert greeting.startswith(PREFACE)
        self.greeting = parse(greeting[len(PREFACE) :])
        self.receive(settings_frame(theirs), settings_ack())
        self.sent()

    def ask(self, method: bytes = b"GET", end_stream: bool = True, fields: Fields | None = None) -> int:
        """Let the engine send a request and return its stream's id."""
        head = RequestHead(method, b"http", b"example.org", b"/", fields or [])
        stream_id = self.engine.open_stream(head, end_stream)
        self.sent()
        return stream_id


def reset_of(events: list[Event]) -> StreamReset:
    """Return the reset that is the only event."""
    assert len(events) == 1, events
    assert isinstance(events[0], StreamReset)
    return events[0]


def failure_of(events: list[Event]) -> ConnectionFailed:
    """Return the failure that is the last event."""
    assert isinstance(events[-1], ConnectionFailed), events
    return events[-1]


def goaway_of(frames: list[Frame]) -> tuple[int, ErrorCode]:
    """Return the last stream id and the code of the only GOAWAY."""
    (frame,) = [frame for frame in frames if isinstance(frame, GoAwayFrame)]
    return frame.last_stream_id, ErrorCode(frame.error_code)
