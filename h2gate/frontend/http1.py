"""A client connection that speaks HTTP/1.1 or HTTP/1.0: one request after another.

Rule: there is at most one stream. Bytes of the next request wait in the engine until the response is out.
HTTP/1.1 has no window: a body that nobody takes is held back by not reading, and a client that leaves
meanwhile is noticed by the hangup watch. A client that closes its sending side is taken as gone, as everywhere
in the field: nobody could tell it from one that left. In a tunnel (WebSocket) it is the orderly end of its direction.
"""

from __future__ import annotations

from h2gate.contract import Client, RequestSink
from h2gate.errors import Failure, Reason
from h2gate.frontend.front import Front
from h2gate.frontend.session import DRAIN_GRACE_SECONDS, ClientSession
from h2gate.net.deadlines import Deadline
from h2gate.net.transport import Transport
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

# Pipelined bytes that may wait behind a request; more are left to the kernel.
PIPELINE_BYTES = 65_536
# The rest of a request that was answered before its end is read and dropped, so that the connection can go on: so much
# of it, for so long. A larger rest ends the connection (RFC 9112, 9.3).
DISCARD_BYTES = 65_536
DISCARD_SECONDS = 2.0


class Http1Stream:
    """One request on the connection."""

    __slots__ = ("awaited", "client", "has_continued", "id", "session", "sink", "uncredited")

    can_push = False

    def __init__(self, session: Http1Session, stream_id: int) -> None:
        self.session = session
        self.client = session.client
        self.id = stream_id
        # None before the handler has begun, and after it is done.
        self.sink: RequestSink | None = None
        # Its head, if more than that was to come: a body, or the answer to the offer of a tunnel.
        self.awaited: RequestHead | None = None
        self.has_continued = False
        # Body bytes that were given to the sink and not credited yet.
        self.uncredited = 0

    def push(self, head: RequestHead) -> None:
        """There is no such thing in HTTP/1.1."""

    def send_interim(self, head: ResponseHead) -> None:
        if head.status == 100:
            self.has_continued = True
        self.session.engine.send_interim(self.id, head)
        self.session.mark()

    def send_head(self, head: ResponseHead, end_stream: bool) -> None:
        session = self.session
        if (
            self.awaited is not None
            and not session.engine.request_complete
            and self._gives_up(self.awaited, head.status)
        ):
            session.engine.close_after_response()
        session.engine.send_head(self.id, head, end_stream)
        if head.status == 101 and self.awaited is not None and self.awaited.protocol and session.stream is self:
            session.open_tunnel()
        session.mark()

    def _gives_up(self, request: RequestHead, status: int) -> bool:
        """Whether a response before the body's end ends the connection, and says so."""
        if request.protocol:
            return False
        # Nobody knows whether a client that waits for 100 sends its body now or never, and what comes next must not be
        # taken for the wrong one (RFC 9110, 10.1.1; "0.CL").
        if not self.has_continued and any(name == b"expect" for name, _ in request.fields):
            return True
        # An error that does not wait for a long body (RFC 9110, 15.5.14).
        length = request.content_length
        return status >= 400 and (length is None or length > DISCARD_BYTES)

    def send_data(self, data: bytes, end_stream: bool) -> None:
        self.session.engine.send_data(self.id, data, end_stream)
        self.session.mark()

    def send_trailers(self, fields: Fields) -> None:
        self.session.engine.send_trailers(self.id, fields)
        self.session.mark()

    def reset(self, failure: Failure) -> None:
        # RFC 9112, 8: without the last chunk, or with less than Content-Length, the response is incomplete. The TCP
        # reset says it also where the end of the connection would be the end of the body.
        if self.session.stream is self:
            self.session.break_off()

    def refuse_rest(self) -> None:
        """The connection ends with the response anyhow."""

    def credit(self, size: int) -> None:
        self.uncredited -= size
        if self.session.stream is self:
            self.session.adjust_reading()


class Http1Session(ClientSession):
    __slots__ = ("_discarded", "_has_begun_head", "_is_closed", "_is_first", "_is_opening", "_wait", "engine", "stream")

    def __init__(self, front: Front, transport: Transport, client: Client) -> None:
        super().__init__(front, transport, client)
        self.engine = front.make_http1(client.scheme)
        self.stream: Http1Stream | None = None
        self._has_begun_head = False
        self._is_first = True
        self._is_closed = False
        # The response was 101, and what waited behind the request has not been passed on yet.
        self._is_opening = False
        # Bytes dropped of the rest of an answered request; None: no such rest is awaited.
        self._discarded: int | None = None
        # For the next request's head. What it finds under way when it expires is none of its business, so that it need
        # not be taken back for each request.
        self._wait = Deadline(self._waited_too_long)
        front.deadlines.arm(self._wait, front.timeouts.request_head)

    def __repr__(self) -> str:
        state = "closed" if self._is_closed else "busy" if self.stream else "idle"
        return f"<Http1Session {self.client.address}:{self.client.port} {state}>"

    # What the transport calls

    def on_bytes(self, data: bytes) -> None:
        events = self.engine.receive(data)
        if not events and self.stream is None and not self._has_begun_head:
            self._has_begun_head = True
            if not self._is_first:
                self.front.deadlines.arm(self._wait, self.front.timeouts.request_head)
        self._handle(events)

    def on_writable(self) -> None:
        self.mark()

    def on_secured(self, alpn: str | None) -> None:
        raise AssertionError("the handshake is over before a session begins")

    def on_end(self, error: str) -> None:
        if self.stream is not None and self._discarded is None:
            # A client that closed only its side must not take what it has got for all there is.
            self.transport.abort()
        self._lost(Failure(Reason.CLIENT_CLOSED, error))

    # Events

    def _handle(self, events: list[Event]) -> None:
        for event in events:
            if self._is_closed:
                return
            match event:
                case RequestReceived():
                    stream = self._begin(event.stream_id)
                    if not event.end_stream:
                        stream.awaited = event.head
                    stream.sink = self.front.handler.begin(stream, event.head, event.end_stream)
                case DataReceived():
                    self._data(event)
                case TrailersReceived():
                    if self.stream is not None and self.stream.sink is not None:
                        self.stream.sink.on_request_trailers(event.fields)
                case RequestRejected():
                    self._reject(event.stream_id, event.head, Failure(event.reason, event.detail))
                case ConnectionFailed():
                    self._connection_failed(event)
        if self._discarded is not None:
            self._go_on_discarding()
        self.adjust_reading()

    def _begin(self, stream_id: int) -> Http1Stream:
        self._is_first = False
        self._has_begun_head = False
        if self.front.is_draining:
            self.engine.close_after_response()
        self.stream = Http1Stream(self, stream_id)
        return self.stream

    def _reject(self, stream_id: int, head: RequestHead | None, failure: Failure) -> None:
        stream = self._begin(stream_id)
        self.engine.close_after_response()
        stream.sink = self.front.handler.reject(stream, head, failure)

    def _data(self, event: DataReceived) -> None:
        stream = self.stream
        if stream is not None and stream.sink is not None:
            stream.uncredited += event.credit
            stream.sink.on_request_data(event.data, event.credit, event.end_stream)
        elif self._discarded is not None:
            self._discarded += len(event.data)

    def _connection_failed(self, event: ConnectionFailed) -> None:
        failure = Failure(event.reason, event.detail)
        if self._discarded is not None:
            self._finish()
        elif self.stream is None:
            self._reject(self.engine.current_stream, event.head, failure)
        elif self.stream.sink is not None:
            # The body broke: the exchange answers if nothing went out yet.
            self.stream.sink.on_request_broken(failure)

    # A tunnel

    def open_tunnel(self) -> None:
        """What follows in both directions is the tunnel's; what waited is passed on once the response is on its way."""
        self._is_opening = True
        self.transport.allow_half_close(self._client_ended)

    def _pass_waiting(self) -> None:
        self._is_opening = False
        self._handle(self.engine.take_tunnelled())

    def _client_ended(self) -> None:
        """The client's direction is over, as by END_STREAM (RFC 8441, 5); the backend's goes on."""
        if self._is_opening:
            self._pass_waiting()
        if self.stream is not None and self.stream.sink is not None:
            self.stream.sink.on_request_data(b"", 0, True)

    # Reading no more than the exchange takes

    def adjust_reading(self) -> None:
        """Pause or resume reading, by what waits of the body and behind it."""
        stream = self.stream
        waiting = stream.uncredited if stream is not None else 0
        if waiting >= self.front.limits.stream_window or self.engine.buffered >= PIPELINE_BYTES:
            self.transport.pause()
        else:
            self.transport.resume()

    # Writing, and what follows a response

    def flush(self) -> None:
        if self._is_closed:
            return
        self.write_out(self.engine)
        stream = self.stream
        for _, size in self.engine.take_framed():
            if stream is not None and stream.sink is not None:
                stream.sink.on_response_framed(size)
        if self._is_closed:
            return
        if self.engine.broken:
            self.transport.abort()
            self._lost(Failure(Reason.INTERNAL, "the response's length was wrong"))
        elif stream is not None and self._discarded is None and self.engine.response_complete:
            self._answered(stream)
        elif self._is_opening:
            self._pass_waiting()

    def _answered(self, stream: Http1Stream) -> None:
        engine = self.engine
        if not engine.keeps_alive:
            # An unread rest of the request is discarded while the response travels (RFC 9112, 9.6).
            self._finish()
        elif engine.request_complete:
            self._next()
        else:
            stream.sink = None
            stream.uncredited = 0
            self._discarded = 0
            self.front.deadlines.arm(self._wait, DISCARD_SECONDS)
            self.adjust_reading()

    def _go_on_discarding(self) -> None:
        if self._is_closed:
            return
        if self.engine.request_complete and self.engine.keeps_alive:
            self._discarded = None
            self._next()
        elif self.engine.request_complete or (self._discarded is not None and self._discarded > DISCARD_BYTES):
            self._finish()

    def _next(self) -> None:
        """Begin to wait for the next request, or begin it if it is there."""
        self._let_go()
        events = self.engine.next_request()
        self._has_begun_head = self.engine.buffered > 0
        timeouts = self.front.timeouts
        if self.front.is_draining:
            wait = DRAIN_GRACE_SECONDS
        else:
            wait = timeouts.request_head if self._has_begun_head else timeouts.keepalive_http1
        self.front.deadlines.arm(self._wait, wait)
        if events:
            self._handle(events)
        else:
            self.adjust_reading()

    # Ends

    def _waited_too_long(self) -> None:
        if self.stream is not None and self._discarded is None:
            return
        if self._has_begun_head and self._discarded is None:
            self._reject(self.engine.abandon_request(), None, Failure(Reason.REQUEST_TIMEOUT))
            self.mark()
        else:
            self._finish()

    def cut_off(self, failure: Failure) -> None:
        self.transport.abort()
        self._lost(failure)

    def break_off(self) -> None:
        """Abort, once what came before the break has gone out."""
        self.flush()
        self.transport.abort()
        self._close()

    def _lost(self, failure: Failure) -> None:
        """The client is gone: tell the exchange. The transport is closed already."""
        sink = None if self.stream is None else self.stream.sink
        self._close()
        if sink is not None:
            sink.on_client_gone(failure)

    def _let_go(self) -> None:
        """Forget the stream; it and its sink hold each other, and without cycles the collector finds nothing to do."""
        if self.stream is not None:
            self.stream.sink = None
            self.stream = None

    def _finish(self) -> None:
        self.transport.finish()
        self._close()

    def _close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._let_go()
            self.front.deadlines.end(self._wait)
            self._stop_watching()
            self.front.closed(self)

    def drain(self, within: float) -> None:
        if self.stream is not None:
            self.engine.close_after_response()
        elif not self._has_begun_head:
            self.front.deadlines.arm(self._wait, DRAIN_GRACE_SECONDS)

    def shut_down(self) -> None:
        self.transport.abort()
        self._lost(Failure(Reason.DRAINING))
