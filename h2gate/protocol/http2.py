"""The HTTP/2 engines of the python make: what `contract.py` promises, over h2.

This page is what the roles do differently: who opens streams, and what heads must be like. The rest of an engine is
`http2_engine.py`; below it are the connection (`http2_connection.py`), the bodies that wait (`http2_bodies.py`), heads
(`http2_heads.py`), frames (`http2_frames.py`) and their compression (`http2_hpack.py`).
The one rule: a head is checked whole before it changes any state.
"""

from __future__ import annotations

from h2.stream import StreamState

from h2gate.errors import ErrorCode, Reason
from h2gate.protocol.contract import Http2ClientEngine, Http2ServerEngine, Http2Settings
from h2gate.protocol.events import (
    Fields,
    InterimReceived,
    RequestHead,
    RequestReceived,
    RequestRejected,
    ResponseHead,
    ResponseReceived,
)
from h2gate.protocol.http2_connection import Stream
from h2gate.protocol.http2_engine import Engine, StreamBroken, check_complete
from h2gate.protocol.http2_frames import ConnectionBroken
from h2gate.protocol.http2_heads import (
    is_successful,
    read_request,
    read_response,
    request_fields,
    response_fields,
)
from h2gate.protocol.http2_limits import MAX_STREAM_ID


def server_engine(settings: Http2Settings) -> Http2ServerEngine:
    """Return an engine for a client's connection."""
    return _ServerEngine(settings)


def client_engine(settings: Http2Settings) -> Http2ClientEngine:
    """Return an engine for a connection to a backend."""
    return _ClientEngine(settings)


_CAN_SEND = (StreamState.OPEN, StreamState.HALF_CLOSED_REMOTE)
_PUSHABLE = (b"GET", b"HEAD")


class _ServerEngine(Engine):
    """The side that answers."""

    is_client = False
    protocol_reason = not_http2_reason = Reason.CLIENT_PROTOCOL

    def __init__(self, settings: Http2Settings) -> None:
        super().__init__(settings)
        # Streams above it are ignored: a GOAWAY said so.
        self._final_stream_id = MAX_STREAM_ID

    def goaway(self, last_stream_id: int | None, code: ErrorCode, debug: bytes = b"") -> None:
        super().goaway(last_stream_id, code, debug)
        if last_stream_id is not None:
            self._final_stream_id = min(self._final_stream_id, last_stream_id)

    def _begin_stream(self, stream_id: int) -> Stream | None:
        connection = self._connection
        if stream_id % 2 == 0:
            # Known ones, which we promised, have been found before.
            raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, f"a client opened stream {stream_id}")
        if stream_id > self._final_stream_id:
            connection.highest_inbound_stream_id = max(connection.highest_inbound_stream_id, stream_id)
            return None
        if not connection.is_idle(stream_id):
            self._receive_on_closed(stream_id)
            if connection.closed_by(stream_id) is None:
                raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, f"stream {stream_id} opened behind a higher one")
            return None
        connection.highest_inbound_stream_id = stream_id
        if self.open_streams >= self._settings.max_streams:
            # RFC 9113, 5.1.2 and 8.7: the client may send it again.
            connection.note_unopened(stream_id)
            self._reply_reset(stream_id, ErrorCode.REFUSED_STREAM)
            return None
        return connection.open(stream_id)

    def _receive_head(self, stream: Stream, fields: Fields, end_stream: bool, is_large: bool) -> None:
        head = read_request(fields, self._settings.enable_connect)
        stream.is_tunnel = head.protocol != b""
        stream.length_left = head.content_length
        if end_stream:
            check_complete(stream)
        stream_id = stream.stream_id
        self._connection.receive_head(stream, end_stream)
        self._last_peer_stream_id = stream_id
        if is_large:
            size = self._connection.field_decoder.size
            self._reject(stream, Reason.HEAD_TOO_LARGE, f"{size} bytes in {len(fields)} fields", head)
        elif head.method == b"CONNECT" and not head.protocol:
            self._reject(stream, Reason.BAD_REQUEST, "CONNECT", head)
        else:
            self._events.append(RequestReceived(stream_id, head, end_stream))

    def _reject(self, stream: Stream, reason: Reason, detail: str, head: RequestHead) -> None:
        stream.is_discarded = True
        self._events.append(RequestRejected(stream.stream_id, reason, detail, head))

    def send_interim(self, stream_id: int, head: ResponseHead) -> None:
        stream = self._streams.get(stream_id)
        if stream is not None:
            connection = self._connection
            connection.queue(connection.write_head(stream, response_fields(head), end_stream=False, is_interim=True))

    def send_head(self, stream_id: int, head: ResponseHead, end_stream: bool) -> None:
        stream = self._streams.get(stream_id)
        if stream is not None:
            connection = self._connection
            connection.queue(connection.write_head(stream, response_fields(head), end_stream))
            connection.forget_if_closed(stream)

    @property
    def can_push(self) -> bool:
        connection = self._connection
        theirs = connection.remote_settings
        return bool(
            theirs.enable_push
            # Those whose head is still to come do not count yet (RFC 9113, 5.1.2), but will.
            and connection.pushed < theirs.max_concurrent_streams
            and connection.highest_outbound_stream_id + 2 <= MAX_STREAM_ID
            and not self._is_leaving
            and not self._has_failed
        )

    def push(self, stream_id: int, head: RequestHead) -> int:
        stream = self._streams.get(stream_id)
        # RFC 9113, 8.4: on a stream of the client's, on which we may still send; safe, cacheable and without content.
        if (
            stream is None
            or stream_id % 2 == 0
            or stream.state_machine.state not in _CAN_SEND
            or head.method not in _PUSHABLE
            or not self.can_push
        ):
            return 0
        connection = self._connection
        promised = connection.promise()
        # In the order of the calls: a client that saw the response first could ask itself (8.4.1).
        connection.queue(connection.write_promise(stream_id, promised.stream_id, request_fields(head)))
        return promised.stream_id


class _ClientEngine(Engine):
    """The side that asks."""

    is_client = True
    protocol_reason = Reason.BACKEND_PROTOCOL
    not_http2_reason = Reason.BACKEND_HTTP1

    def open_stream(self, head: RequestHead, end_stream: bool) -> int:
        connection = self._connection
        stream_id = connection.get_next_available_stream_id()
        stream = connection.open(stream_id)
        stream.has_no_content = head.method == b"HEAD"
        stream.is_tunnel = head.method == b"CONNECT"
        connection.queue(connection.write_head(stream, request_fields(head), end_stream))
        return stream_id

    @property
    def ids_left(self) -> int:
        return (MAX_STREAM_ID - self._connection.highest_outbound_stream_id + 1) // 2

    def _begin_stream(self, stream_id: int) -> Stream | None:
        """A server opens no stream: nobody pushes."""
        self._receive_on_closed(stream_id)
        return None

    def _receive_head(self, stream: Stream, fields: Fields, end_stream: bool, is_large: bool) -> None:
        if is_large:
            raise StreamBroken(ErrorCode.ENHANCE_YOUR_CALM, "response head too large")
        head, content_length = read_response(fields, stream.is_tunnel)
        if head.status < 200:
            if end_stream:
                raise StreamBroken(ErrorCode.PROTOCOL_ERROR, "interim response with END_STREAM")
            self._connection.receive_head(stream, end_stream, is_interim=True)
            self._events.append(InterimReceived(stream.stream_id, head))
            return
        stream.is_tunnel = stream.is_tunnel and is_successful(head.status)
        # RFC 9113, 8.1.1: where there is no content, any content-length may be stated.
        is_empty = stream.has_no_content or (head.status in (204, 304) and not stream.is_tunnel)
        stream.length_left = 0 if is_empty else content_length
        if end_stream:
            check_complete(stream)
        self._connection.receive_head(stream, end_stream)
        self._events.append(ResponseReceived(stream.stream_id, head, end_stream))
        self._connection.forget_if_closed(stream)
