"""The python make of the HTTP/1.1 server engine: one client connection, its requests in, its responses out.

The one rule: one request at a time. It is read and answered independently (`http1_state`), and no octet
behind it is looked at until both are over and `next_request` is called.

    bytes -> Input (a head, cut out, strict) -> parse_head (by h11) -> RequestReceived
          -> LengthReader or ChunkedReader -> DataReceived, TrailersReceived
    send_head, send_data -> Response (framing, queue) -> data_to_send -> bytes

The native make, `http1_native.pyx`, is its typed copy: what is changed here is changed there.

A WebSocket's request is offered to the owner: the octets behind it wait for the answer, which makes them the tunnel's
or the next request. Any other `Upgrade`, "h2c" (RFC 9113, 3.1) among them, is a field like others, and so is
"Expect: 100-continue", which is the backend's to answer.
"""

from __future__ import annotations

from h2gate.errors import ErrorCode
from h2gate.protocol.contract import Http1ServerEngine, Http1Settings
from h2gate.protocol.events import (
    ConnectionFailed,
    DataReceived,
    Event,
    Fields,
    RequestHead,
    RequestReceived,
    RequestRejected,
    ResponseHead,
    TrailersReceived,
)
from h2gate.protocol.http1_head import Request, guess_head, parse_head
from h2gate.protocol.http1_input import Fault, Input
from h2gate.protocol.http1_response import Response
from h2gate.protocol.http1_state import READING, Read, Reading


def server_engine(settings: Http1Settings, scheme: bytes) -> Http1ServerEngine:
    """Make the engine of a new connection; `scheme` is `http`, or `https` if it came over TLS."""
    return Http1Engine(settings, scheme)


class Http1Engine:
    """One connection. What its methods promise is in `contract.Http1ServerEngine`."""

    __slots__ = (
        "_framed",
        "_input",
        "_is_last",
        "_reading",
        "_request",
        "_response",
        "_scheme",
        "_settings",
        "current_stream",
    )

    def __init__(self, settings: Http1Settings, scheme: bytes) -> None:
        self._settings = settings
        self._scheme = scheme
        self._input = Input(settings.header_list, settings.request_line)
        self._reading = Reading.HEAD
        self._is_last = False
        self._framed: list[tuple[int, int]] = []
        self.current_stream = 0
        # Of the exchange under way, or of the one before until the next head is there.
        self._request: Request | None = None
        self._response = Response(b"", b"", False)

    # the request

    def receive(self, data: bytes) -> list[Event]:
        if self._reading is Reading.FAILED or not data:
            return []
        if self._reading is Reading.BODY:
            return self._read_body(data)
        if self._reading is Reading.HEAD:
            return self._read_head(self._input.take_whole_head(data))
        if self._reading is Reading.TUNNEL:
            return self._tunnelled(data)
        self._input.append(data)
        return []

    def take_tunnelled(self) -> list[Event]:
        return self._tunnelled(b"") if self._reading is Reading.TUNNEL else []

    def next_request(self) -> list[Event]:
        if not (self.request_complete and self.response_complete and self.keeps_alive):
            return []
        self._reading = READING.next(self._reading, Read.NEXT)
        # An idle connection keeps nothing of its last request.
        self._request = None
        return self._read_head()

    def abandon_request(self) -> int:
        self._is_last = True
        if self._reading is Reading.HEAD:
            self._begin(None)
        if READING.allows(self._reading, Read.FAULT):
            self._stop_reading()
        return self.current_stream

    @property
    def request_complete(self) -> bool:
        return self._reading is Reading.COMPLETE

    @property
    def keeps_alive(self) -> bool:
        if self._is_last or self._reading is Reading.FAILED or self.broken or self._response.ends_with_connection:
            return False
        return self._request is None or self._request.keeps_alive

    @property
    def buffered(self) -> int:
        return len(self._input)

    def _read_head(self, data: bytes | None = None) -> list[Event]:
        """Read the head that is `data`, or the one that begins what is buffered."""
        try:
            if data is None:
                data = self._input.take_head()
                if data is None:
                    return []
            request = parse_head(data, self._scheme, self._settings)
        except Fault as fault:
            # A request that cannot be read is one as well: it is answered under its own id.
            head = guess_head(self._input.first_line(fault) if data is None else data.partition(b"\r\n")[0])
            self._begin(None)
            return [self._fail(fault, head)]
        self._begin(request)
        has_body = request.body is not None
        if request.head.protocol:
            self._reading = READING.next(self._reading, Read.UPGRADE)
            return [RequestReceived(self.current_stream, request.head, False)]
        self._reading = READING.next(self._reading, Read.HEAD_WITH_BODY if has_body else Read.WHOLE_REQUEST)
        refusal = request.refusal
        events: list[Event] = [
            RequestReceived(self.current_stream, request.head, not has_body)
            if refusal is None
            else RequestRejected(self.current_stream, refusal.reason, refusal.detail, request.head)
        ]
        if has_body:
            rest = self._input.take_rest()
            if rest:
                events += self._read_body(rest)
        return events

    def _read_body(self, data: bytes) -> list[Event]:
        request = self._request
        assert request is not None
        assert request.body is not None
        body: list[bytes] = []
        failure: list[Event] = []
        has_ended = False
        try:
            rest = request.body.read(data, body)
            if rest is not None:
                has_ended = True
                self._reading = READING.next(self._reading, Read.END_OF_BODY)
                self._input.append(rest)
        except Fault as fault:
            failure.append(self._fail(fault))
        if request.refusal is not None:
            return failure
        trailers = request.body.trailers
        events: list[Event] = []
        # One event for all chunks of this read, so that a body of tiny chunks costs no event for each.
        data = body[0] if len(body) == 1 else b"".join(body)
        if data or (has_ended and not trailers):
            events.append(DataReceived(self.current_stream, data, len(data), has_ended and not trailers))
        if trailers:
            events.append(TrailersReceived(self.current_stream, trailers))
        return events + failure

    def _tunnelled(self, data: bytes) -> list[Event]:
        """Return what came through the tunnel: what waited for it to open, and `data`."""
        if len(self._input):
            data = self._input.take_rest() + data
        return [DataReceived(self.current_stream, data, len(data), False)] if data else []

    def _begin(self, request: Request | None) -> None:
        """Begin the next exchange; None if its head could not be read."""
        self._collect_framed()
        self.current_stream += 1
        self._request = request
        if request is None:
            self._response = Response(b"", b"", False)
        else:
            self._response = Response(request.head.method, request.head.version, request.accepts_trailers)

    def _fail(self, fault: Fault, head: RequestHead | None = None) -> ConnectionFailed:
        self._stop_reading()
        return ConnectionFailed(ErrorCode.PROTOCOL_ERROR, fault.reason, fault.detail, head)

    def _stop_reading(self) -> None:
        self._reading = READING.next(self._reading, Read.FAULT)
        self._input.take_rest()

    # the response

    def send_interim(self, stream_id: int, head: ResponseHead) -> None:
        if stream_id == self.current_stream:
            self._response.interim(head)

    def send_head(self, stream_id: int, head: ResponseHead, end_stream: bool) -> None:
        if stream_id != self.current_stream:
            return
        if self._reading is Reading.OFFERED:
            self._answer_offer(head, end_stream)
        else:
            self._response.head(head, end_stream, self.keeps_alive)

    def _answer_offer(self, head: ResponseHead, end_stream: bool) -> None:
        if self._response.has_head:
            return  # broken by an interim one
        if head.status == 101 and self._response.switch(head, end_stream):
            self._reading = READING.next(self._reading, Read.SWITCHED)
        else:
            self._response.head(head, end_stream, self.keeps_alive)
            if self._response.has_head:
                self._reading = READING.next(self._reading, Read.DECLINED)

    def send_data(self, stream_id: int, data: bytes, end_stream: bool) -> None:
        if stream_id == self.current_stream:
            self._response.data(data, end_stream)

    def send_trailers(self, stream_id: int, fields: Fields) -> None:
        if stream_id == self.current_stream:
            self._response.trailers(fields)

    def data_to_send(self, limit: int) -> bytes:
        return self._response.frame(limit)

    def take_framed(self) -> list[tuple[int, int]]:
        self._collect_framed()
        framed, self._framed = self._framed, []
        return framed

    def queued(self, stream_id: int) -> int:
        return self._response.queued if stream_id == self.current_stream else 0

    def close_after_response(self) -> None:
        self._is_last = True

    @property
    def response_complete(self) -> bool:
        return self._response.is_complete

    @property
    def broken(self) -> bool:
        return self._response.is_broken

    def _collect_framed(self) -> None:
        if self._response.framed:
            self._framed.append((self.current_stream, self._response.framed))
            self._response.framed = 0
