"""A client connection that speaks HTTP/2: many streams, each one exchange.

Rule: a stream is forgotten when both of its sides are over and its last byte is framed. What was received on it and not
credited by then goes back to the connection's window, which all streams share.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from typing import Any

from h2gate.contract import Client, RequestSink
from h2gate.errors import ErrorCode, Failure, Reason, code_name
from h2gate.frontend.front import Front
from h2gate.frontend.session import ClientSession
from h2gate.frontend.session_state import SESSION, SessionEvent, SessionState
from h2gate.net.deadlines import Deadline
from h2gate.net.token_bucket import TokenBucket
from h2gate.net.transport import Transport
from h2gate.protocol.events import (
    ConnectionFailed,
    DataReceived,
    Event,
    Fields,
    GoAwayReceived,
    PingAcked,
    RequestHead,
    RequestReceived,
    RequestRejected,
    ResponseHead,
    StreamReset,
    TrailersReceived,
)

_log = logging.getLogger("h2gate")

# The answer to this PING has seen our last call.
LAST_CALL_PING = b"lastcall"
# How long the last call waits for that answer.
LAST_CALL_SECONDS = 1.0
# A session that had a stream so short a time ago is still busy.
BUSY_SECONDS = 1.0
# Nothing is read while the answers of so many times the streams that a client may have open wait to be sent. An answer
# that ends with its head leaves the engine's count of streams at once: a client that takes none could make us hold any
# number. One that waits for its answers never gets there.
UNSENT_FACTOR = 2
# Streams that the client makes us reset: malformed requests, frames that break a stream (CVE-2025-8671). So many at
# once, and in a minute; who errs more often does not err.
OWN_RESETS = 100
# What a session remembers of what it has pushed: a page and all that it needs.
PUSH_MEMORY = 256


class Http2Stream:
    """One request of the session."""

    __slots__ = ("client", "id", "is_answered", "is_received", "is_tunnel", "moved_at", "session", "sink", "uncredited")

    def __init__(self, session: Http2Session, stream_id: int, is_received: bool) -> None:
        self.session = session
        self.client = session.client
        self.id = stream_id
        self.sink: RequestSink | None = None
        self.is_received = is_received
        # Each direction has an end of its own (RFC 8441, 5): that of the response does not end the request.
        self.is_tunnel = False
        # The response's end has been given to the engine.
        self.is_answered = False
        self.uncredited = 0
        # When the response last moved: for the client that keeps the stream's window shut.
        self.moved_at = 0.0

    @property
    def can_push(self) -> bool:
        return self.session.can_push(self)

    def push(self, head: RequestHead) -> None:
        self.session.push(self, head)

    def send_interim(self, head: ResponseHead) -> None:
        if self.id % 2 == 0:
            # Nobody waits for a push; h2's client ends the connection at an interim head of one.
            return
        self.session.engine.send_interim(self.id, head)
        self.session.mark()

    def send_head(self, head: ResponseHead, end_stream: bool) -> None:
        if self.is_tunnel and head.status >= 300:
            self.is_tunnel = False
        self.session.engine.send_head(self.id, head, end_stream)
        self._sent(end_stream)

    def send_data(self, data: bytes, end_stream: bool) -> None:
        session = self.session
        session.engine.send_data(self.id, data, end_stream)
        if end_stream:
            self._sent(end_stream)
        elif not session.is_marked:
            session.mark()

    def send_trailers(self, fields: Fields) -> None:
        self.session.engine.send_trailers(self.id, fields)
        self._sent(True)

    def _sent(self, end_stream: bool) -> None:
        session = self.session
        if end_stream and session.streams.get(self.id) is self:
            self.is_answered = True
            session.ending.append(self)
        if not session.is_marked:
            session.mark()

    def reset(self, failure: Failure) -> None:
        # What came before the break goes out first: the engine forgets what it has of a reset stream.
        self.session.flush()
        self.session.reset(self, failure.rule.code)

    def refuse_rest(self) -> None:
        self.is_tunnel = False
        self.session.mark()

    def credit(self, size: int) -> None:
        session = self.session
        if session.streams.get(self.id) is self:
            self.uncredited -= size
            session.engine.credit(self.id, size)
            session.engine.credit_connection(size)
            session.mark()


class Http2Session(ClientSession):
    __slots__ = (
        "_call_at_latest",
        "_idle",
        "_is_leaving",
        "_last_call",
        "_own_resets",
        "_pushed",
        "_quiet_since",
        "_resets",
        "_stalls",
        "ending",
        "engine",
        "state",
        "streams",
    )

    def __init__(self, front: Front, transport: Transport, client: Client) -> None:
        super().__init__(front, transport, client)
        self.engine = front.make_http2()
        self.state = SESSION.initial
        self.streams: dict[int, Http2Stream] = {}
        # Answered streams whose last bytes may still be in the engine.
        self.ending: list[Http2Stream] = []
        self._is_leaving = False
        self._idle = Deadline(self._idle_too_long)
        # For the last call, then for the client's answer to it.
        self._last_call = Deadline(self._time_to_call)
        self._call_at_latest = 0.0
        self._quiet_since = 0.0
        self._stalls = Deadline(self._check_windows)
        # Made by the first of each kind: most sessions have none.
        self._resets: TokenBucket | None = None
        self._own_resets: TokenBucket | None = None
        # By hash: 256 paths may be megabytes, and two that share one cost a push, no more.
        self._pushed: dict[int, None] | None = None
        front.deadlines.arm(self._idle, front.timeouts.request_head)
        self.mark()

    def __repr__(self) -> str:
        return f"<Http2Session {self.client.address}:{self.client.port} {self.state.name} {len(self.streams)} streams>"

    # What the transport calls

    def on_bytes(self, data: bytes) -> None:
        if self.state is not SessionState.CLOSED:
            self._handle(self.engine.receive(data))

    def on_writable(self) -> None:
        self.mark()

    def on_secured(self, alpn: str | None) -> None:
        raise AssertionError("the handshake is over before a session begins")

    def on_end(self, error: str) -> None:
        self._lost(Failure(Reason.CLIENT_CLOSED, error), politely=not self.streams)

    # Events

    def _handle(self, events: list[Event]) -> None:
        for event in events:
            handler = _HANDLERS.get(type(event))
            if handler is not None and handler(self, event):
                return
        self.mark()

    def _request(self, event: RequestReceived) -> None:
        stream = self._begin(event.stream_id, event.end_stream)
        if event.head.protocol:
            stream.is_tunnel = True
        stream.sink = self.front.handler.begin(stream, event.head, event.end_stream)

    def _rejected(self, event: RequestRejected) -> None:
        # The engine discards the body: for us the request is over once it is answered.
        stream = self._begin(event.stream_id, is_received=False)
        stream.sink = self.front.handler.reject(stream, event.head, Failure(event.reason, event.detail))

    def _trailers(self, event: TrailersReceived) -> None:
        stream = self.streams.get(event.stream_id)
        if stream is not None and stream.sink is not None:
            stream.is_received = True
            stream.sink.on_request_trailers(event.fields)

    def _ping_acked(self, event: PingAcked) -> None:
        if event.data == LAST_CALL_PING:
            self._last_call_over()

    def _goaway_received(self, event: GoAwayReceived) -> None:
        # The client opens no more streams; those that run are its own to finish.
        self._is_leaving = True

    def _begin(self, stream_id: int, is_received: bool) -> Http2Stream:
        # Neither deadline is touched for each of many requests: `_idle` finds streams when it expires, `_stalls` none.
        deadlines = self.front.deadlines
        if not self._stalls.is_armed:
            deadlines.arm(self._stalls, self.front.timeouts.client_write / 4)
        stream = self.streams[stream_id] = Http2Stream(self, stream_id, is_received)
        stream.moved_at = deadlines.now
        return stream

    def _data(self, event: DataReceived) -> None:
        stream = self.streams.get(event.stream_id)
        if stream is None or stream.sink is None:
            self.engine.credit(event.stream_id, event.credit)
            self.engine.credit_connection(event.credit)
            return
        stream.uncredited += event.credit
        if event.end_stream:
            stream.is_received = True
        stream.sink.on_request_data(event.data, event.credit, event.end_stream)

    def _reset_received(self, event: StreamReset) -> bool:
        stream = self.streams.get(event.stream_id)
        if not event.by_peer:
            if stream is None:
                # A request that the engine did not pass on: there is no exchange whose log line could say so.
                self.say(f"malformed request: {event.detail}")
            if not self._may_make_us_reset():
                return self._calm_down(f"{OWN_RESETS} broken streams, the last by: {event.detail}")
        if stream is None:
            return False
        # Who cancels what we have pushed does us a service.
        if event.by_peer and not stream.is_answered and stream.id % 2 and not self._may_reset():
            limits = self.front.limits
            return self._calm_down(f"{limits.reset_burst} cancelled requests, and {limits.reset_rate} each second")
        sink = stream.sink
        self._forget(stream)
        if sink is not None:
            if event.by_peer:
                failure = Failure(Reason.CLIENT_RESET, code_name(event.code))
            else:
                failure = Failure(Reason.CLIENT_PROTOCOL, event.detail)
            sink.on_client_gone(failure)
        return False

    def _connection_failed(self, event: ConnectionFailed) -> None:
        self._give_up(event.code, event.reason, event.detail)

    def _give_up(self, code: ErrorCode, reason: Reason, detail: str) -> None:
        _log.info("client %s: HTTP/2 connection ended by %s: %s", self.client.name, code.name, detail)
        self.write_out(self.engine)
        self._lost(Failure(reason, detail), politely=True)

    # Resets. A stream that is reset is cancelled at the backend in the same turn of the loop, so that no more of them
    # run there than may be open; what remains is the work of beginning and ending them (CVE-2023-44487).

    def _may_reset(self) -> bool:
        now = self.front.deadlines.now
        if self._resets is None:
            self._resets = TokenBucket(self.front.limits.reset_burst, self.front.limits.reset_rate, now)
        return self._resets.take(now)

    def _may_make_us_reset(self) -> bool:
        now = self.front.deadlines.now
        if self._own_resets is None:
            self._own_resets = TokenBucket(OWN_RESETS, OWN_RESETS / 60, now)
        return self._own_resets.take(now)

    def _calm_down(self, detail: str) -> bool:
        self.engine.goaway(self.engine.last_peer_stream_id, ErrorCode.ENHANCE_YOUR_CALM)
        self._give_up(ErrorCode.ENHANCE_YOUR_CALM, Reason.CLIENT_PROTOCOL, detail)
        return True

    # Pushing

    def can_push(self, stream: Http2Stream) -> bool:
        # RFC 9113, 6.6: only on streams that the client opened, and before the end of what is sent on them.
        return (
            self.engine.can_push
            and self.state is SessionState.SERVING
            and stream.id % 2 == 1
            and not stream.is_answered
            and self.streams.get(stream.id) is stream
            # A backend may name any number.
            and len(self.streams) < self.front.limits.streams
        )

    def push(self, stream: Http2Stream, head: RequestHead) -> None:
        """Promise the response of `head` beside that of `stream`, and begin its exchange: it is a request as any other.

        What was pushed once the client has, or did not want (it cancels those); so it is not pushed again.
        """
        if self._pushed is None:
            self._pushed = {}
        name = hash((head.authority, head.path))
        if name in self._pushed or not self.can_push(stream):
            return
        promised = self.engine.push(stream.id, head)
        if not promised:
            return
        self._pushed[name] = None
        if len(self._pushed) > PUSH_MEMORY:
            del self._pushed[next(iter(self._pushed))]
        self.mark()
        pushed = self._begin(promised, is_received=True)
        pushed.sink = self.front.handler.begin(pushed, head, True)

    # Writing, and what follows a response

    def flush(self) -> None:
        if self.state is SessionState.CLOSED:
            return
        is_drained = self.write_out(self.engine)
        framed = self.engine.take_framed()
        if framed:
            now = self.front.deadlines.now
            for stream_id, size in framed:
                stream = self.streams.get(stream_id)
                if stream is not None and stream.sink is not None:
                    stream.moved_at = now
                    stream.sink.on_response_framed(size)
        # Heads go out before bodies: with a body's bytes framed, nothing of a stream waits but what is queued on it.
        if self.ending and (is_drained or framed):
            self._end_streams()
        if is_drained and not self.is_marked:
            self._close_if_empty()
        if len(self.streams) < UNSENT_FACTOR * self.front.limits.streams:
            self.transport.resume()
        else:
            self.transport.pause()

    def _end_streams(self) -> None:
        ending, self.ending = self.ending, []
        for stream in ending:
            if self.streams.get(stream.id) is not stream:
                continue
            if self.engine.queued(stream.id) or (stream.is_tunnel and not stream.is_received):
                # A tunnel waits for the client's end, or for the exchange, which has a deadline for that.
                self.ending.append(stream)
                continue
            if not stream.is_received:
                # RFC 9113, 8.1: a complete response may end a request that is not; NO_ERROR says that it counts.
                self.engine.reset(stream.id, ErrorCode.NO_ERROR)
                self.mark()
            self._forget(stream)

    def reset(self, stream: Http2Stream, code: ErrorCode) -> None:
        if self.streams.get(stream.id) is stream:
            self.engine.reset(stream.id, code)
            self.mark()
            self._forget(stream)

    def _forget(self, stream: Http2Stream) -> None:
        del self.streams[stream.id]
        # The two hold each other; without cycles the collector finds nothing to do.
        stream.sink = None
        if stream.uncredited:
            self.engine.credit_connection(stream.uncredited)
            self.mark()
        if not self.streams:
            front = self.front
            front.deadlines.arm(self._idle, front.timeouts.keepalive_http2)
            self._quiet_since = front.deadlines.now
            self.mark()

    # Clients that take nothing

    def _check_windows(self) -> None:
        """Reset streams whose window the client keeps shut while there is something to send (RFC 9113, 5.2)."""
        front = self.front
        now = front.deadlines.now
        # A full transport holds all streams back alike, and has a deadline of its own.
        is_full = not self.transport.has_room
        for stream in list(self.streams.values()):
            if is_full or not self.engine.queued(stream.id):
                stream.moved_at = now
            elif now - stream.moved_at >= front.timeouts.client_write:
                sink = stream.sink
                self.reset(stream, ErrorCode.CANCEL)
                if sink is not None:
                    sink.on_client_gone(Failure(Reason.CLIENT_STALL, "window stall"))
        if self.streams:
            front.deadlines.arm(self._stalls, front.timeouts.client_write / 4)

    # Ends

    def drain(self, within: float) -> None:
        if self.state is SessionState.SERVING:
            self._call_at_latest = self.front.deadlines.now + within
            if within:
                # At a moment of its own: sessions that leave together come back together.
                self.front.deadlines.arm(self._last_call, within * random.random())
            else:
                self._call()

    def _time_to_call(self) -> None:
        if self.state is SessionState.LAST_CALL:
            self._last_call_over()
            return
        now = self.front.deadlines.now
        left = self._call_at_latest - now
        # A client that asks for one thing after another has no streams in between, and is busy all the same.
        is_busy = bool(self.streams) or now - self._quiet_since < BUSY_SECONDS
        if is_busy and left > 0:
            self.front.deadlines.arm(self._last_call, left)
        else:
            self._call()

    def _call(self) -> None:
        self.state = SESSION.next(self.state, SessionEvent.RETIRED)
        self.engine.goaway(None, ErrorCode.NO_ERROR)
        self.engine.ping(LAST_CALL_PING)
        self.front.deadlines.arm(self._last_call, LAST_CALL_SECONDS)
        self.mark()

    def _last_call_over(self) -> None:
        if self.state is SessionState.LAST_CALL:
            self.state = SESSION.next(self.state, SessionEvent.CALL_OVER)
            self.front.deadlines.cancel(self._last_call)
            self.engine.goaway(self.engine.last_peer_stream_id, ErrorCode.NO_ERROR)
            self.mark()

    def _idle_too_long(self) -> None:
        # With streams it is armed anew behind the last of them.
        if not self.streams:
            self.drain(0.0)

    def _close_if_empty(self) -> None:
        """Close behind the last stream. Only when all is flushed: the batch under way may begin another one."""
        if self.streams:
            return
        if self.state is SessionState.DRAINING:
            self.state = SESSION.next(self.state, SessionEvent.EMPTIED)
            self._close(politely=True)
        elif self._is_leaving and self.state is not SessionState.CLOSED:
            self.state = SESSION.next(self.state, SessionEvent.LOST)
            self._close(politely=True)

    def cut_off(self, failure: Failure) -> None:
        self._lost(failure)

    def _lost(self, failure: Failure, politely: bool = False) -> None:
        """The client is gone or has to go, and its requests with it."""
        if self.state is SessionState.CLOSED:
            return
        self.state = SESSION.next(self.state, SessionEvent.LOST)
        streams, self.streams = list(self.streams.values()), {}
        self._close(politely)
        for stream in streams:
            sink, stream.sink = stream.sink, None
            if sink is not None:
                sink.on_client_gone(failure)

    def _close(self, politely: bool) -> None:
        front = self.front
        # A stream holds its session: those that were about to end would keep it from going.
        self.ending = []
        for deadline in (self._idle, self._last_call, self._stalls):
            front.deadlines.end(deadline)
        self._stop_watching()
        if politely:
            self.write_out(self.engine)
            self._stop_watching()
            self.transport.finish()
        else:
            self.transport.abort()
        front.closed(self)

    def shut_down(self) -> None:
        if self.state is not SessionState.CLOSED:
            self.engine.goaway(self.engine.last_peer_stream_id, ErrorCode.NO_ERROR)
            for stream in list(self.streams.values()):
                self.engine.reset(stream.id, ErrorCode.CANCEL)
            self._lost(Failure(Reason.DRAINING), politely=True)


# What returns true has ended the session: the events behind it are nobody's.
_HANDLERS: dict[type, Callable[[Http2Session, Any], bool | None]] = {
    RequestReceived: Http2Session._request,
    RequestRejected: Http2Session._rejected,
    DataReceived: Http2Session._data,
    TrailersReceived: Http2Session._trailers,
    StreamReset: Http2Session._reset_received,
    PingAcked: Http2Session._ping_acked,
    GoAwayReceived: Http2Session._goaway_received,
    ConnectionFailed: Http2Session._connection_failed,
}
