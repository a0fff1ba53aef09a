"""What engines speak: message heads, and the events that bytes turn into.

One vocabulary for HTTP/1.1 and HTTP/2, so that nothing outside `protocol/` knows which engine read a
message. All names and values are bytes as on the wire; field names are lower-case; pseudo-fields and
Host are never among `fields` but in attributes of the head.

The classes are plain slotted dataclasses, not frozen ones: a frozen `__init__` costs about four times
as much, and one of these is made for each frame. Nobody changes an event.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from h2gate.errors import ErrorCode, Reason

Fields = list[tuple[bytes, bytes]]


@dataclass(slots=True)
class RequestHead:
    """A request's start line and fields.

    `path` is the request-target in origin form with its query, or `*`. `authority` is empty when an
    HTTP/1.0 client sent none. `version` is `HTTP/1.0`, `HTTP/1.1` or `HTTP/2.0`. `content_length` is what the
    message declared, None if nothing. `target` is the request-target as the client wrote it, for the log.
    `protocol` asks for a tunnel: `:protocol` of an extended CONNECT (RFC 8441), or `websocket` of an HTTP/1.1 Upgrade;
    else it is empty.
    """

    method: bytes
    scheme: bytes
    authority: bytes
    path: bytes
    fields: Fields = field(default_factory=list)
    version: bytes = b"HTTP/2.0"
    content_length: int | None = None
    target: bytes = b""
    protocol: bytes = b""


@dataclass(slots=True)
class ResponseHead:
    """A status and its fields; `status` below 200 makes an interim response."""

    status: int
    fields: Fields = field(default_factory=list)


@dataclass(slots=True)
class RequestReceived:
    stream_id: int
    head: RequestHead
    end_stream: bool


@dataclass(slots=True)
class RequestRejected:
    """A request that the engine parsed but must not pass on; the connection can still answer it.

    The frontend answers with the status of `reason`. If `end_stream` is false the body that may follow is
    discarded by the engine, credit included.
    """

    stream_id: int
    reason: Reason
    detail: str
    head: RequestHead | None = None


@dataclass(slots=True)
class ResponseReceived:
    stream_id: int
    head: ResponseHead
    end_stream: bool


@dataclass(slots=True)
class InterimReceived:
    stream_id: int
    head: ResponseHead


@dataclass(slots=True)
class DataReceived:
    """Body bytes. `credit` is what they took from the windows: the data, and an HTTP/2 frame's padding.

    The owner gives exactly this much back by `credit()` and `credit_connection()`. On HTTP/1.1 `credit` is
    `len(data)`. `data` may be empty when only the end of the body (or padding) arrived.
    """

    stream_id: int
    data: bytes
    credit: int
    end_stream: bool


@dataclass(slots=True)
class TrailersReceived:
    """Closing fields; they end the message."""

    stream_id: int
    fields: Fields


@dataclass(slots=True)
class StreamReset:
    """The stream is dead. `by_peer`: RST_STREAM came in; else the engine sent one, for `detail`."""

    stream_id: int
    code: int
    by_peer: bool
    detail: str = ""


@dataclass(slots=True)
class SettingsReceived:
    """The peer's SETTINGS arrived (the first, or new ones): `max_streams` is what it allows us now.

    `connect_protocol`: it takes extended CONNECT (SETTINGS_ENABLE_CONNECT_PROTOCOL, RFC 8441, 3).
    """

    max_streams: int
    connect_protocol: bool = False


@dataclass(slots=True)
class PingAcked:
    data: bytes


@dataclass(slots=True)
class GoAwayReceived:
    last_stream_id: int
    code: int
    debug: bytes


@dataclass(slots=True)
class ConnectionFailed:
    """The peer broke the connection's protocol. The engine has queued GOAWAY (HTTP/2) if it makes sense.

    Always the last event of an engine: it takes no more bytes. For HTTP/1.1 `reason` has the status that the
    frontend should answer with before it closes, and `head` what could be read of the request, for the log alone.
    """

    code: ErrorCode
    reason: Reason
    detail: str
    head: RequestHead | None = None


Event = (
    RequestReceived
    | RequestRejected
    | ResponseReceived
    | InterimReceived
    | DataReceived
    | TrailersReceived
    | StreamReset
    | SettingsReceived
    | PingAcked
    | GoAwayReceived
    | ConnectionFailed
)
