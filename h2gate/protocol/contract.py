"""What an engine offers: bytes in, events out; calls in, bytes out.

An engine has no socket, clock, logger or greenlet. Rules that hold for every make:

1. `receive` never raises for what a peer sent: it returns events, the last of which may be
   `ConnectionFailed`. Calls for a stream that is already closed are ignored, because a reset by the peer
   may cross them: the owner learns of the reset by its event.
2. Body bytes given to `send_data` are queued on their stream. They are framed, fairly across streams and
   within the peer's windows, only while `data_to_send` runs; `take_framed` then tells how many of each
   stream's bytes went out. The caller stops calling `data_to_send` when its transport is full, and so
   back-pressure needs nothing else. Control frames and heads go out before bodies.
3. Credit is never returned by itself, but for bytes that the engine discards (a reset stream's).
4. No more than `limit` bytes come from one call of `data_to_send`, but for the rest of the frame (in HTTP/1.1 the
   heads, a chunk) that reaches it and the end of that stream right behind. Fewer than `limit` are all that can be sent
   now.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from h2gate.errors import ErrorCode
from h2gate.protocol.events import Event, Fields, RequestHead, ResponseHead


@dataclass(frozen=True, slots=True)
class Http2Settings:
    """What an HTTP/2 engine announces and enforces. Windows and lists in bytes.

    A head beyond `header_list` (RFC 9113, 6.5.2: names, values and 32 bytes each) or `fields` is a
    RequestRejected HEAD_TOO_LARGE for a server and a stream error for a client; one far beyond it
    (4 x while it arrives) is a connection error. `max_streams` is announced by a server; streams
    beyond it get REFUSED_STREAM and no event. `continuations` frames at most carry one head. `enable_connect`: a server
    announces and takes extended CONNECT (RFC 8441); without it a request with `:protocol` is malformed.
    """

    max_streams: int = 100
    stream_window: int = 65_535
    connection_window: int = 1_048_576
    header_list: int = 32_768
    fields: int = 100
    continuations: int = 8
    enable_connect: bool = False


class Http2Engine(Protocol):
    """What both roles have."""

    def receive(self, data: bytes) -> list[Event]: ...

    def data_to_send(self, limit: int) -> bytes:
        """Return bytes for the peer, b"" if there are none (now). Frames queued bodies."""

    def take_framed(self) -> list[tuple[int, int]]:
        """Return and forget `(stream id, body bytes)` framed since the last call."""

    def send_data(self, stream_id: int, data: bytes, end_stream: bool) -> None: ...

    def send_trailers(self, stream_id: int, fields: Fields) -> None:
        """Queue closing fields behind the stream's body; they end our side."""

    def queued(self, stream_id: int) -> int:
        """Return how many body bytes of the stream wait to be framed."""

    def credit(self, stream_id: int, size: int) -> None:
        """Give `size` bytes of window back to the peer for this stream."""

    def credit_connection(self, size: int) -> None: ...

    def reset(self, stream_id: int, code: ErrorCode) -> None:
        """Close the stream now: RST_STREAM goes out, what it had queued does not."""

    def ping(self, data: bytes) -> None: ...

    def goaway(self, last_stream_id: int | None, code: ErrorCode, debug: bytes = b"") -> None:
        """Send GOAWAY. None means 2^31-1: a warning only, streams still come in (RFC 9113, 6.8).

        With an id, a server ignores streams above it afterwards. May be called again with a lower id.
        """

    @property
    def open_streams(self) -> int: ...

    @property
    def last_peer_stream_id(self) -> int:
        """The highest stream id that the peer opened and that was passed on."""


class Http2ServerEngine(Http2Engine, Protocol):
    """The frontend's side. Its SETTINGS are queued from the start."""

    def send_interim(self, stream_id: int, head: ResponseHead) -> None: ...

    def send_head(self, stream_id: int, head: ResponseHead, end_stream: bool) -> None: ...

    @property
    def can_push(self) -> bool:
        """Whether the client takes one more pushed stream, by its SETTINGS and the GOAWAYs of both."""

    def push(self, stream_id: int, head: RequestHead) -> int:
        """Queue PUSH_PROMISE on the client's open stream; return the promised id, 0 if it cannot be (RFC 9113, 8.4).

        The promised stream is then answered as any other: `send_head`, `send_data`... The client may reset it.
        """


class Http2ClientEngine(Http2Engine, Protocol):
    """The backend connection's side. Preface, SETTINGS (ENABLE_PUSH=0) are queued from the start."""

    def open_stream(self, head: RequestHead, end_stream: bool) -> int:
        """Queue HEADERS and return the new stream's id. The caller has checked the limits.

        With `head.protocol` it is an extended CONNECT, to peers that take it (RFC 8441, 4)."""

    @property
    def ids_left(self) -> int:
        """How many streams can still be opened before the ids are used up (RFC 9113, 5.1.1)."""


@dataclass(frozen=True, slots=True)
class Http1Settings:
    """What an HTTP/1.1 server engine enforces. `header_list` in bytes as it arrives, start line included."""

    header_list: int = 32_768
    fields: int = 100
    request_line: int = 16_384


class Http1ServerEngine(Protocol):
    """One HTTP/1.0 or HTTP/1.1 client connection. Stream ids count its requests: 1, 2, 3...

    One request at a time: bytes behind it wait (pipelining) until `next_request`. `data_to_send`
    and `take_framed` work as in HTTP/2.

    A GET with `Connection: upgrade`, `Upgrade: websocket` and no body comes with `head.protocol` and without
    `end_stream`. A head of 101 makes the connection a tunnel: the engine writes Connection and Upgrade itself, what
    waited comes by `take_tunnelled`, all further bytes are DataReceived as they are, and so is what is sent; the end of
    what is sent ends the connection. Any other final head answers it as the request without body that it is.
    """

    def receive(self, data: bytes) -> list[Event]: ...

    def next_request(self) -> list[Event]:
        """Start over after a finished exchange; returns events of bytes that waited."""

    def take_tunnelled(self) -> list[Event]:
        """Return events of the bytes that waited for the tunnel to open; call it once, behind the 101."""

    def data_to_send(self, limit: int) -> bytes: ...

    def take_framed(self) -> list[tuple[int, int]]: ...

    def send_interim(self, stream_id: int, head: ResponseHead) -> None:
        """Queue a 1xx; not for HTTP/1.0 clients (RFC 9110, 15.2), where it is ignored."""

    def send_head(self, stream_id: int, head: ResponseHead, end_stream: bool) -> None:
        """Queue the final head. The engine chooses the framing (length, chunked, or the connection's end)
        and writes Connection itself; HEAD, 204 and 304 get no body whatever follows (RFC 9112, 6.3).

        After ConnectionFailed it answers `current_stream`, the request that failed, whatever was read of it."""

    def send_data(self, stream_id: int, data: bytes, end_stream: bool) -> None: ...

    def send_trailers(self, stream_id: int, fields: Fields) -> None:
        """End the body; the fields go out if it is chunked and the client sent `TE: trailers`."""

    def queued(self, stream_id: int) -> int: ...

    def abandon_request(self) -> int:
        """Read no more (a deadline passed); return the stream id under which the request can be answered.

        If its head has not come, that is a new one; the response is then closed by its length or the connection's end.
        """

    @property
    def current_stream(self) -> int:
        """The id of the request under way, or of the last one; one that could not be read counts. 0: none yet."""

    @property
    def broken(self) -> bool:
        """Whether the response did not keep what its head declared: the owner aborts the connection.

        A length exceeded (the excess is cut) or not reached, or a field that would have been more than one line.
        """

    def close_after_response(self) -> None:
        """Make this response the connection's last (draining): `Connection: close` if its head is not out."""

    @property
    def keeps_alive(self) -> bool:
        """Whether, once both sides of the exchange are done, another request may follow."""

    @property
    def request_complete(self) -> bool: ...

    @property
    def response_complete(self) -> bool:
        """Whether the whole response has been queued and framed."""

    @property
    def buffered(self) -> int:
        """Bytes that arrived behind the current request and wait for `next_request`."""
