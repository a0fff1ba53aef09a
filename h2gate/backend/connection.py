"""One HTTP/2 connection to an endpoint, shared by many clients' requests.

The hub calls it with bytes; it calls each stream's sink with what they mean, and is called by sinks to send.
Nothing here waits. Rule: whoever changes the engine marks the connection in the flush queue.

Windows: the connection's window is given back as soon as bytes arrive, a stream's only when the client's side has
sent them on. So streams of stalled clients can never use up the window that all share, and what they
hold is bounded by their own windows all the same.

Sinks belong to other connections' clients: one that raises costs its stream.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, Any

from h2gate.backend.connection_state import CONNECTION, ConnectionEvent, ConnectionState
from h2gate.backend.contract import ResponseSink
from h2gate.backend.dial import in_plain_words
from h2gate.backend.greeting import Greeting
from h2gate.backend.proof import Proof
from h2gate.backend.stream import BackendStream
from h2gate.errors import ErrorCode, Failure, Reason, code_name
from h2gate.net.transport import INTERNAL_ERROR, Transport
from h2gate.protocol.contract import Http2ClientEngine
from h2gate.protocol.events import (
    ConnectionFailed,
    DataReceived,
    Event,
    GoAwayReceived,
    InterimReceived,
    RequestHead,
    ResponseReceived,
    SettingsReceived,
    StreamReset,
    TrailersReceived,
)

if TYPE_CHECKING:
    from h2gate.backend.pool import Pool

FLUSH_BYTES = 65_536
# Until the peer's SETTINGS are here: fewer than any server in use allows, more than one page asks for.
STREAMS_BEFORE_SETTINGS = 16
# Of what a backend writes into its GOAWAY, for the log.
DEBUG_BYTES = 100

# RFC 9110, 9.2.1: what is asked again changes nothing.
SAFE = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE"})
# Details of failures.
NO_ANSWER = "no answer to PING"
NO_SETTINGS = "closed before the backend's SETTINGS"
# How the transport begins what it says of TLS.
TLS_ERROR = "TLS: "

_log = logging.getLogger("h2gate")


class BackendConnection:
    __slots__ = (
        "_ending_tunnels",
        "_goaway_word",
        "_greeting",
        "_heard_at",
        "_last_used",
        "_proof",
        "_quiet_after",
        "_retire_after_requests",
        "_retire_at",
        "answered",
        "engine",
        "has_settings",
        "is_marked",
        "local_port",
        "pool",
        "requests",
        "state",
        "stream_limit",
        "streams",
        "takes_connect",
        "transport",
    )

    def __init__(self, pool: Pool, transport: Transport, engine: Http2ClientEngine, preface_timeout: float) -> None:
        now = pool.clock()
        self.pool = pool
        self.transport = transport
        # For the log: with it a line of the backend's own log can be found.
        self.local_port = transport.local_port
        self.engine = engine
        self.state = CONNECTION.next(CONNECTION.initial, ConnectionEvent.DIALED)
        self.streams: dict[int, BackendStream] = {}
        self.requests = 0
        self.answered = 0
        # How many streams may run at once.
        self.stream_limit = min(pool.config.max_streams, STREAMS_BEFORE_SETTINGS)
        self.has_settings = False
        # The backend takes extended CONNECT, as far as is known (RFC 8441, 3).
        self.takes_connect = False
        self._greeting: Greeting | None = Greeting(self, preface_timeout)
        # When something last came, and the PING under way.
        self._heard_at = now
        self._quiet_after = pool.config.ping_after
        self._proof: Proof | None = None
        # Both directions have ended, and not all of ours is framed.
        self._ending_tunnels: list[BackendStream] = []
        self.is_marked = False
        self._goaway_word = ""
        self._last_used = now
        # +-10 % apart, so that connections opened together do not all leave together.
        self._retire_at = now + pool.config.max_age * random.uniform(0.9, 1.1)
        requests = round(pool.config.max_requests * random.uniform(0.9, 1.1)) or 1
        self._retire_after_requests = min(requests, engine.ids_left)
        transport.start(self)
        self.mark()

    def __repr__(self) -> str:
        return (
            f"<BackendConnection {self.pool.endpoint.name} {self.state.name} "
            f"{len(self.streams)}/{self.stream_limit} streams, {self.requests} requests>"
        )

    # What a pool asks

    def has_expired(self, now: float) -> bool:
        return now >= self._retire_at

    def is_idle_since(self, moment: float) -> bool:
        return not self.streams and self._last_used <= moment

    # What an exchange does

    def open_stream(self, head: RequestHead, end_stream: bool, sink: ResponseSink) -> BackendStream:
        """Send a request's head; the caller has just been given the lease."""
        pool = self.pool
        is_quiet = self.is_quiet
        stream = BackendStream(self, sink, self.answered > 0 or is_quiet, end_stream, bool(head.protocol))
        stream.id = self.engine.open_stream(head, end_stream)
        self.streams[stream.id] = stream
        self.requests += 1
        pool.endpoint.in_use += 1
        if is_quiet:
            self.prove(stream if head.method in SAFE or not end_stream else None)
        if not self.is_marked:  # as `mark`, without the call
            pool.flush_queue.mark(self)
        if self.requests >= self._retire_after_requests:
            self.retire()
        return stream

    def reset(self, stream: BackendStream, code: ErrorCode) -> None:
        if not stream.is_over:
            self.engine.reset(stream.id, code)
            self.mark()
            self._forget(stream)
            self._after_streams()

    def retire(self) -> None:
        """Take no more streams; close when those that run are done."""
        if self.state is ConnectionState.OPEN:
            self._leave(ConnectionEvent.RETIRED)
            self._close_if_drained()
            self.pool.serve()

    def when_settled(self, callback: Callable[[Failure | None], None]) -> None:
        """Call `callback` once it is known what the backend takes: with None, or with what the connection died of.

        At once if the backend's SETTINGS are here (RFC 8441, 3: `:protocol` must not be sent before). Later it is no
        lease any more: ask the pool again.
        """
        if self.has_settings:
            callback(None)
        elif self._greeting is None:
            callback(Failure(Reason.BACKEND_CLOSED, NO_SETTINGS))
        else:
            self._greeting.tell(callback)

    # Proof

    @property
    def is_quiet(self) -> bool:
        """Whether it is in doubt that the backend is still there."""
        return self.pool.deadlines.now - self._heard_at >= self._quiet_after

    def prove(self, stream: BackendStream | None) -> None:
        """PING, if none is under way; `stream` waits for the answer: its `release` follows, or its failure."""
        if self._proof is None:
            self._proof = Proof(self)
            self._heard_at = -inf  # also if `ping_interval` is shorter than `ping_after`
            self.mark()
        if stream is not None:
            self._proof.add(stream)

    def ping_if_quiet(self, now: float) -> None:
        """PING if nothing has come for `ping_interval` and no stream runs."""
        interval = self.pool.config.ping_interval
        if interval is not None and not self.streams and now - self._heard_at >= interval:
            self.prove(None)

    def _end_proof(self) -> list[BackendStream]:
        """Return the streams that waited."""
        proof, self._proof = self._proof, None
        return [] if proof is None else proof.end()

    def unproved(self) -> None:
        """Nothing has come: take the connection for dead."""
        waiting = self._end_proof()
        _log.info("%s: a quiet connection does not answer PING", self.pool.endpoint.name)
        if self.state is ConnectionState.OPEN:
            self._leave(ConnectionEvent.RETIRED)
        for stream in waiting:
            if not stream.is_over:
                # In case that it is only slow: an incomplete request is told to be none (RFC 9113, 5.4.2).
                self.engine.reset(stream.id, ErrorCode.CANCEL)
                self._forget(stream)
                sent_whole = Failure(Reason.BACKEND_CLOSED, NO_ANSWER)
                self._tell(stream, sent_whole if stream.is_sent else Failure(Reason.PING_TIMEOUT))
        self.mark()
        self._close_if_drained()
        self.pool.serve()

    # Output

    def mark(self) -> None:
        if not self.is_marked:
            self.pool.flush_queue.mark(self)

    def flush(self) -> None:
        self._write_out()
        for stream_id, size in self.engine.take_framed():
            stream = self.streams.get(stream_id)
            if stream is not None:
                try:
                    stream.sink.on_request_framed(size)
                except Exception:
                    self._sink_failed(stream)
        if self._ending_tunnels and self.transport.has_room:
            self._forget_ended_tunnels()

    def _write_out(self) -> None:
        transport, engine = self.transport, self.engine
        while transport.has_room:
            data = engine.data_to_send(FLUSH_BYTES)
            if data:
                transport.write(data)
            if len(data) < FLUSH_BYTES:
                break

    # What the transport calls

    def on_bytes(self, data: bytes) -> None:
        self._heard_at = self.pool.deadlines.now
        for event in self.engine.receive(data):
            handler = _HANDLERS.get(type(event))
            if handler is not None:
                try:
                    handler(self, event)
                except Exception:
                    self._event_failed(event)
        if self._proof is not None:
            for stream in self._end_proof():
                stream.release()
        self.mark()

    def on_writable(self) -> None:
        self.mark()

    def on_secured(self, alpn: str | None) -> None:
        raise AssertionError("a backend's transport comes with its handshake done")

    def on_end(self, error: str) -> None:
        if error == INTERNAL_ERROR:
            failure = Failure(Reason.INTERNAL)
        elif error.startswith(TLS_ERROR) and not self.has_settings:
            # With TLS 1.3 the backend's refusal of our certificate comes when our side of the handshake is long done
            # (RFC 8446, 4.4.2.4). It has read none of what we sent behind it.
            failure = Failure(Reason.TLS_FAILED, in_plain_words(error.removeprefix(TLS_ERROR)))
        else:
            failure = Failure(Reason.BACKEND_CLOSED, self._goaway_word or error)
        self._fail(failure)

    # Events

    def _settings(self, event: SettingsReceived) -> None:
        self.stream_limit = min(self.pool.config.max_streams, event.max_streams)
        self.takes_connect = event.connect_protocol
        if not self.has_settings:
            self.has_settings = True
            self.pool.on_connected(self)
            self._end_greeting(None)
        self.pool.serve()

    def _interim(self, event: InterimReceived) -> None:
        stream = self.streams.get(event.stream_id)
        if stream is not None:
            stream.is_touched = True
            stream.sink.on_interim(event.head)

    def _response(self, event: ResponseReceived) -> None:
        stream = self.streams.get(event.stream_id)
        if stream is not None:
            stream.is_touched = True
            self.answered += 1
            if stream.is_tunnel and not 200 <= event.head.status < 300:
                stream.is_tunnel = False  # refused: a response as any other (RFC 8441, 5)
            stream.sink.on_response(event.head, event.end_stream)
            if event.end_stream:
                self._ended(stream)

    def _data(self, event: DataReceived) -> None:
        self.engine.credit_connection(event.credit)
        stream = self.streams.get(event.stream_id)
        if stream is None:
            return
        padding = event.credit - len(event.data)
        if padding:
            self.engine.credit(event.stream_id, padding)
        # Padding alone is no progress: a backend must not keep an exchange from its deadlines by it.
        if event.data or event.end_stream:
            stream.sink.on_response_data(event.data, event.end_stream)
        if event.end_stream:
            self._ended(stream)

    def _trailers(self, event: TrailersReceived) -> None:
        stream = self.streams.get(event.stream_id)
        if stream is not None:
            stream.sink.on_response_trailers(event.fields)
            self._ended(stream)

    def _reset_received(self, event: StreamReset) -> None:
        stream = self.streams.get(event.stream_id)
        if stream is None:
            return
        if not event.by_peer:
            failure = Failure(Reason.BAD_RESPONSE, event.detail)
        elif event.code == ErrorCode.REFUSED_STREAM and not stream.is_touched:
            failure = Failure(Reason.REFUSED_STREAM)
        else:
            failure = Failure(Reason.BACKEND_RESET, code_name(event.code))
        self._forget(stream)
        self._tell(stream, failure)
        self._after_streams()

    def _goaway(self, event: GoAwayReceived) -> None:
        if self.state is ConnectionState.CLOSED:
            return
        self._leave(ConnectionEvent.GOAWAY)
        detail = ""
        if event.code != ErrorCode.NO_ERROR:
            detail = code_name(event.code)
            debug = event.debug[:DEBUG_BYTES].decode("latin-1").encode("unicode_escape").decode("ascii")
            self._goaway_word = f"GOAWAY {detail}: {debug}" if debug else f"GOAWAY {detail}"
        # RFC 9113, 6.8: streams above the last id were not and will not be processed. They go back to their sinks
        # first, so that they stand before those that wait.
        refused = [stream for stream in self.streams.values() if stream.id > event.last_stream_id]
        self._drop(refused, Failure(Reason.GOAWAY_REFUSED, detail))
        self._close_if_drained()
        self.pool.serve()

    def _connection_failed(self, event: ConnectionFailed) -> None:
        self._write_out()
        self.transport.finish()
        self._fail(Failure(event.reason, event.detail))

    def _event_failed(self, event: Event) -> None:
        """A handler raised: its stream is lost, or the connection where no stream is to blame."""
        stream_id = getattr(event, "stream_id", None)
        if stream_id is None:
            self.transport.fail()
            return
        stream = self.streams.get(stream_id)
        if stream is None:
            _log.exception("internal error in an exchange")
        else:
            self._sink_failed(stream)

    def _sink_failed(self, stream: BackendStream) -> None:
        _log.exception("internal error in an exchange")
        self.engine.reset(stream.id, ErrorCode.INTERNAL_ERROR)
        self.mark()
        self._forget(stream)
        self._tell(stream, Failure(Reason.INTERNAL))
        self._after_streams()

    # Ends

    def _ended(self, stream: BackendStream) -> None:
        """The response is complete, and so is the exchange, whatever of the request is still unsent."""
        if stream.is_over:
            return
        if stream.is_tunnel:
            stream.is_answered = True
            if stream.is_sent:
                self.tunnel_ended(stream)
            return
        if not stream.is_sent or self.engine.queued(stream.id):
            # RFC 9113, 8.1: the backend needs no more of it; without this it would count as a stream for ever.
            self.engine.reset(stream.id, ErrorCode.NO_ERROR)
            self.mark()
        self._forget(stream)
        self._after_streams()

    def tunnel_ended(self, stream: BackendStream) -> None:
        """Both directions of a tunnel have ended; what our side has queued still goes out."""
        self._ending_tunnels.append(stream)
        self.mark()

    def _forget_ended_tunnels(self) -> None:
        waiting = []
        for stream in self._ending_tunnels:
            if stream.is_over:
                continue
            if self.engine.queued(stream.id):
                waiting.append(stream)
            else:
                self._forget(stream)
        is_room = len(waiting) < len(self._ending_tunnels)
        self._ending_tunnels = waiting
        if is_room:
            self._after_streams()

    def _forget(self, stream: BackendStream) -> None:
        stream.is_over = True
        self.streams.pop(stream.id, None)
        if self._proof is not None:
            self._proof.drop(stream)
        self._last_used = self.pool.deadlines.now
        self.pool.endpoint.in_use -= 1

    def _after_streams(self) -> None:
        """Streams have ended: let others in, or close behind the last one."""
        if self.state is ConnectionState.OPEN:
            self.pool.on_room(self)
        else:
            self._close_if_drained()

    def _drop(self, streams: list[BackendStream], failure: Failure) -> None:
        for stream in streams:
            # A sink that is told may reset others of these: both may be requests of one client.
            if not stream.is_over:
                self._forget(stream)
                self._tell(stream, failure)

    def _tell(self, stream: BackendStream, failure: Failure) -> None:
        try:
            stream.sink.on_backend_failure(failure)
        except Exception:
            _log.exception("internal error in an exchange")

    def _leave(self, event: ConnectionEvent) -> None:
        was_open = self.state is ConnectionState.OPEN
        self.state = CONNECTION.next(self.state, event)
        if was_open:
            self.pool.on_connection_leaving(self)

    def _close_if_drained(self) -> None:
        if self.state is ConnectionState.DRAINING and not self.streams:
            self._leave(ConnectionEvent.EMPTIED)
            self._end_proof()
            if not self.has_settings:
                self.pool.endpoint.on_dial_given_up()
            self._end_greeting(Failure(Reason.BACKEND_CLOSED, NO_SETTINGS))
            # The backend opens no streams: there is none whose id could be told.
            self.engine.goaway(0, ErrorCode.NO_ERROR)
            self._write_out()
            self.transport.finish()

    def _fail(self, failure: Failure) -> None:
        """The connection is gone; so are its streams."""
        if self.state is ConnectionState.CLOSED:
            return
        self._leave(ConnectionEvent.LOST)
        self._end_proof()
        if not self.has_settings:
            # Before the sinks are told: they may ask for another endpoint at once.
            self.pool.on_not_connected(failure)
        self._end_greeting(failure)
        self._drop(list(self.streams.values()), failure)
        self.pool.serve()

    def not_greeted(self) -> None:
        self.transport.abort()
        self._fail(Failure(Reason.CONNECT_TIMEOUT, "no SETTINGS from the backend"))

    def _end_greeting(self, failure: Failure | None) -> None:
        greeting, self._greeting = self._greeting, None
        if greeting is not None:
            greeting.end(failure)


_HANDLERS: dict[type, Callable[[BackendConnection, Any], None]] = {
    SettingsReceived: BackendConnection._settings,
    InterimReceived: BackendConnection._interim,
    ResponseReceived: BackendConnection._response,
    DataReceived: BackendConnection._data,
    TrailersReceived: BackendConnection._trailers,
    StreamReset: BackendConnection._reset_received,
    GoAwayReceived: BackendConnection._goaway,
    ConnectionFailed: BackendConnection._connection_failed,
}
