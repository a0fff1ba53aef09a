"""A worker's whole core in the test's hub, between clients and backends that a test moves piece by piece.

Everything between the two sockets is real: sessions, proxy, pools, engines; time is the test's. Each request has a
number, which its body and its answer's repeat all along: a byte that gets elsewhere is seen.
"""

from __future__ import annotations

import contextlib
import logging
import socket
from dataclasses import dataclass, field
from typing import Any, cast

import gevent
import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
import h11

from h2gate.backend.backend import Backend
from h2gate.backend.pool import Pool
from h2gate.contract import Client
from h2gate.errors import ErrorCode
from h2gate.frontend.front import Front
from h2gate.frontend.http2 import Http2Session
from h2gate.frontend.serve import serve
from h2gate.net.deadlines import Deadlines
from h2gate.net.flush import FlushQueue
from h2gate.net.reactor import Reactor
from h2gate.net.transport import Transport
from h2gate.protocol import http1, http2
from h2gate.protocol.contract import Http1Settings, Http2Settings
from h2gate.protocol.events import (
    ConnectionFailed,
    DataReceived,
    Event,
    Fields,
    GoAwayReceived,
    InterimReceived,
    RequestHead,
    RequestReceived,
    ResponseHead,
    ResponseReceived,
    StreamReset,
    TrailersReceived,
)
from h2gate.proxy.exchange import Exchange
from h2gate.proxy.proxy import Proxy
from tests.net.support import Clock, run_until
from tests.support.configs import config_of

# Small, so that transports to clients fill up.
SOCKET_BYTES = 8_192
WINDOW = 65_535
CLIENT_CONNECTION_WINDOW = 100_000


def turn(times: int = 1) -> None:
    """Let the loop look at its sockets; `gevent.sleep(0)` does not."""
    hub = gevent.get_hub()
    for _ in range(times):
        hub.wait(hub.loop.timer(0.0))


def body_of(number: int, size: int) -> bytes:
    """Return the body of request `number`, or of its answer."""
    return (b"%06d." % number * (size // 7 + 1))[:size]


# The backend


@dataclass(eq=False)
class Attempt:
    """A request as it came to an origin: `has_ended` its body, `is_done` the answer, whole and given to the engine."""

    connection: OriginConnection
    stream_id: int
    number: int
    method: bytes
    path: bytes
    body: bytes = b""
    has_ended: bool = False
    size: int = 0
    has_head: bool = False
    sent: int = 0
    is_done: bool = False
    is_over: bool = False
    is_reset: bool = False
    was_refused: bool = False
    was_touched: bool = False

    def head(self, size: int, *, states_length: bool) -> None:
        if self.has_head:
            return
        self.has_head, self.size = True, 0 if self.method == b"HEAD" else size
        fields: Fields = [(b"x-number", b"%d" % self.number), (b"x-attempt", b"%d" % self.connection.key(self))]
        fields += self._links()
        if states_length and self.method != b"CONNECT":
            fields.append((b"content-length", b"%d" % size))
        is_whole = not self.size
        status = 403 if self.method == b"CONNECT" and size == 1 else 200
        self.connection.engine.send_head(self.stream_id, ResponseHead(status, fields), is_whole)
        if is_whole:
            self._done()

    def _links(self) -> Fields:
        """Name what is pushed, where the route pushes; what is pushed names more, which is not."""
        if not self.path.startswith(b"/push/") or self.method != b"GET":
            return []
        core = self.connection.origin.core
        numbers = [core.promise() for _ in range(2)]
        return [(b"link", b", ".join(b"</push/%d>; rel=preload" % number for number in numbers))]

    def data(self, size: int, *, ends: bool = True, trailers: bool = False) -> None:
        """Send up to `size` bytes more, and the end if they are the last and `ends`."""
        if not self.has_head or self.is_over:
            return
        trailers = trailers and self.method != b"CONNECT"
        rest = body_of(self.number, self.size)[self.sent :][:size]
        self.sent += len(rest)
        is_last = self.sent == self.size and ends
        self.connection.engine.send_data(self.stream_id, rest, is_last and not trailers)
        if is_last:
            if trailers:
                self.connection.engine.send_trailers(self.stream_id, [(b"x-sum", b"%d" % self.number)])
            self._done()

    def exceed(self) -> None:
        """Send more than the head declares: the gate must not let it look whole."""
        if not self.has_head and self.method not in (b"HEAD", b"CONNECT"):
            self.head(10, states_length=True)
            self.connection.engine.send_data(self.stream_id, body_of(self.number, 11), True)
            self.is_over = True

    def interim(self, status: int) -> None:
        if not self.has_head:
            self.was_touched = True
            fields = self._links() or [(b"link", b"</a>")]
            self.connection.engine.send_interim(self.stream_id, ResponseHead(status, fields))

    def reset(self, code: ErrorCode) -> None:
        self.was_refused = code is ErrorCode.REFUSED_STREAM and not self.has_head
        self.connection.engine.reset(self.stream_id, code)
        self.is_over = self.is_reset = True

    def _done(self) -> None:
        self.is_done = self.is_over = True


class OriginConnection:
    def __init__(self, origin: Origin, sock: socket.socket) -> None:
        self.origin = origin
        self.engine = http2.server_engine(Http2Settings(enable_connect=origin.takes_tunnels))
        self.attempts: dict[int, Attempt] = {}
        self.owed: dict[int, int] = {}
        self.is_over = False
        self._unheard = b""
        self.transport = Transport(origin.core.reactor, sock)
        self.transport.start(self)
        self.hear()

    def key(self, attempt: Attempt) -> int:
        return -1 if self.origin.is_shadow else self.origin.core.attempts.index(attempt)

    def on_bytes(self, data: bytes) -> None:
        self._unheard += data
        self.hear()

    def hear(self) -> None:
        if not self.origin.is_silent and not self.is_over:
            data, self._unheard = self._unheard, b""
            for event in self.engine.receive(data):
                self._note(event)
            self.flush()

    def _note(self, event: Event) -> None:
        match event:
            case RequestReceived():
                head = event.head
                number = int(head.path.rpartition(b"/")[2])
                attempt = Attempt(self, event.stream_id, number, head.method, head.path, has_ended=event.end_stream)
                self.attempts[event.stream_id] = attempt
                core = self.origin.core
                (core.copies if self.origin.is_shadow else core.attempts).append(attempt)
            case DataReceived():
                self.attempts[event.stream_id].body += event.data
                self.attempts[event.stream_id].has_ended = event.end_stream
                self.owed[event.stream_id] = self.owed.get(event.stream_id, 0) + event.credit
                if self.origin.takes_bodies:
                    self.credit()
            case TrailersReceived():
                self.attempts[event.stream_id].has_ended = True
            case StreamReset():
                assert event.by_peer, event
                self.attempts[event.stream_id].is_over = True
            case ConnectionFailed():
                raise AssertionError(event)

    def credit(self) -> None:
        for stream_id, size in self.owed.items():
            self.engine.credit(stream_id, size)
            self.engine.credit_connection(size)
        self.owed.clear()

    def goaway(self, last_stream_id: int | None, code: ErrorCode) -> None:
        self.engine.goaway(last_stream_id, code)
        if last_stream_id is not None:
            for attempt in self.attempts.values():
                if attempt.stream_id > last_stream_id and not attempt.is_done:
                    attempt.is_over = attempt.was_refused = True

    def flush(self) -> None:
        while self.transport.has_room and (data := self.engine.data_to_send(65_536)):
            self.transport.write(data)

    def on_writable(self) -> None:
        self.flush()

    def on_end(self, error: str) -> None:
        self._over()

    def on_secured(self, alpn: str | None) -> None:
        raise AssertionError

    def close(self, *, politely: bool) -> None:
        if politely:
            self.transport.finish()
        else:
            self.transport.abort()
        self._over()

    def _over(self) -> None:
        self.is_over = True
        for attempt in self.attempts.values():
            attempt.is_over = True


class Origin:
    """`is_shadow`: it gets copies."""

    def __init__(self, core: Core, *, takes_tunnels: bool = True, is_shadow: bool = False) -> None:
        self.core = core
        self.takes_tunnels = takes_tunnels
        self.is_shadow = is_shadow
        self.takes_bodies = core.takes_bodies
        self.is_silent = self.is_closed = False
        self.connections: list[OriginConnection] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self.url = f"h2c://127.0.0.1:{self._listener.getsockname()[1]}"
        self._watcher: Any = core.reactor.loop.io(self._listener.fileno(), 1)
        self._watcher.start(self._accept)

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except BlockingIOError:
            return
        if self.is_closed:
            sock.close()
            return
        sock.setblocking(False)
        self.connections.append(OriginConnection(self, sock))

    def close(self) -> None:
        for connection in self.connections:
            connection.close(politely=False)
        self._watcher.stop()
        self._watcher.close()
        self._listener.close()


# Clients


@dataclass
class Request:
    number: int
    method: bytes
    size: int
    given: int = 0
    is_broken: bool = False
    # The client has said that it is complete (HTTP/2), or will by its framing (HTTP/1.1).
    has_ended: bool = False

    @property
    def path(self) -> bytes:
        """Routes differ: some limit bodies, send copies, or push."""
        return (b"/", b"/", b"/small/", b"/copy/", b"/push/")[self.number % 5] + b"%d" % self.number


class BaseClient:
    def __init__(self, core: Core) -> None:
        self.core = core
        ours, self.socket = socket.socketpair()
        for each in (ours, self.socket):
            each.setblocking(False)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BYTES)
        self.requests: dict[int, Request] = {}
        self.is_over = False
        self.is_half_closed = False
        serve(core.front, ours, Client("192.0.2.7", 4711, 80, b"http", is_trusted=False), None)

    def _new(self, method: bytes, size: int) -> Request:
        self.core.requests += 1
        return Request(self.core.requests, method, size)

    def _send(self, data: bytes) -> int:
        if self.is_over or self.is_half_closed:
            return len(data)
        try:
            return self.socket.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            return len(data)

    def _recv(self, size: int) -> bytes | None:
        """Return what is there, None if nothing is."""
        if self.is_over:
            return None
        try:
            data = self.socket.recv(size)
        except BlockingIOError:
            return None
        except OSError:
            data = b""
        if not data:
            self.is_over = True
        return data

    def half_close(self) -> None:
        if not self.is_over and not self.is_half_closed:
            self.is_half_closed = True
            self.socket.shutdown(socket.SHUT_WR)

    def leave(self) -> None:
        self.is_over = True
        self.socket.close()


class Http1Client(BaseClient):
    """What it has been told to send goes out by `send`, cut anywhere."""

    def __init__(self, core: Core) -> None:
        super().__init__(core)
        self.unsent = b""
        self.received = b""

    def ask(self, method: bytes, size: int, framing: int) -> None:
        request = self._new(method, size)
        self.requests[request.number] = request
        request.has_ended = True
        head = b"%s %s HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n" % (method, request.path)
        body = body_of(request.number, size)
        if method in (b"GET", b"HEAD"):
            self.unsent += head + b"\r\n"
        elif framing % 2:
            expect = b"Expect: 100-continue\r\n" if framing == 3 else b""
            self.unsent += head + expect + b"Content-Length: %d\r\n\r\n" % size + body
        else:
            chunks = [body[begin : begin + 5_000] for begin in range(0, size, 5_000)]
            wire = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
            request.is_broken = framing == 4
            request.has_ended = not request.is_broken
            wire += b"what?\r\n" if request.is_broken else b"0\r\nx-t: 1\r\n\r\n" if framing == 2 else b"0\r\n\r\n"
            self.unsent += head + b"Transfer-Encoding: chunked\r\n\r\n" + wire

    def send(self, size: int) -> None:
        self.unsent = self.unsent[self._send(self.unsent[:size]) :] if self.unsent else b""

    def read(self, size: int) -> None:
        while data := self._recv(size):
            self.received += data
            if size < 60_000:
                return

    def check(self) -> None:
        """Walk through the answers: those that look whole must be."""
        rest = self.received
        for request in self.requests.values():
            if not rest:
                return
            parser = h11.Connection(h11.CLIENT)
            parser.send(h11.Request(method=request.method, target="/", headers=[("Host", "a")]))
            parser.send(h11.EndOfMessage())
            parser.receive_data(rest)
            head: h11.Response | None = None
            body = b""
            while True:
                event = parser.next_event()
                match event:
                    case h11.Response():
                        head = event
                    case h11.Data():
                        body += event.data
                    case h11.EndOfMessage():
                        break
                if event is h11.NEED_DATA:
                    self.core.check_answer(request, _number(head), body, None)
                    return
            assert head is not None
            self.core.check_answer(request, _number(head), body, _attempt(head))
            rest = parser.trailing_data[0]


def _number(head: h11.Response | None) -> int | None:
    found = dict(head.headers).get(b"x-number") if head is not None else None
    return None if found is None else int(found)


def _attempt(head: h11.Response) -> int:
    return int(dict(head.headers).get(b"x-attempt", b"-1"))


@dataclass
class Answer:
    number: int | None = None
    attempt: int = -1
    body: bytes = b""
    has_head: bool = False
    has_ended: bool = False


class Http2Client(BaseClient):
    def __init__(self, core: Core) -> None:
        super().__init__(core)
        self.engine = http2.client_engine(
            Http2Settings(stream_window=WINDOW, connection_window=CLIENT_CONNECTION_WINDOW)
        )
        self._unsent = b""
        self.answers: dict[int, Answer] = {}
        self.by_stream: dict[int, Request] = {}
        self.live: list[int] = []
        self.owed: dict[int, int] = {}
        self.takes_credit = True
        self.may_ask = True
        self.has_been_called = False

    def ask(self, method: bytes, size: int, *, waits: bool) -> None:
        if not self.may_ask or self.is_half_closed or len(self.live) >= 20:
            return
        request = self._new(method, size)
        fields: Fields = [(b"te", b"trailers")]
        if waits:
            fields.append((b"expect", b"100-continue"))
        is_tunnel = method == b"CONNECT"
        request.has_ended = size == 0 and not is_tunnel
        protocol = b"websocket" if is_tunnel else b""
        head = RequestHead(method, b"http", b"a", request.path, [] if is_tunnel else fields, protocol=protocol)
        stream_id = self.engine.open_stream(head, request.has_ended)
        self.requests[request.number] = self.by_stream[stream_id] = request
        self.answers[stream_id] = Answer()
        self.live.append(stream_id)
        self.send()

    def give(self, stream_id: int, size: int, *, trailers: bool = False) -> None:
        """Send `size` bytes more of the request's body, and its end behind the last."""
        request = self.by_stream[stream_id]
        if request.has_ended or stream_id not in self.live:
            return
        data = body_of(request.number, request.size)[request.given :][:size]
        request.given += len(data)
        is_last = request.given == request.size
        trailers = trailers and request.method != b"CONNECT"
        self.engine.send_data(stream_id, data, is_last and not trailers)
        if is_last:
            request.has_ended = True
            if self.answers[stream_id].has_ended:
                self.live.remove(stream_id)  # the reset that comes for it finds the stream closed
            if trailers:
                self.engine.send_trailers(stream_id, [(b"x-t", b"1")])
        self.send()

    def reset(self, stream_id: int) -> None:
        self.engine.reset(stream_id, ErrorCode.CANCEL)
        self.live.remove(stream_id)
        # Its connection's share was taken all the same.
        self.engine.credit_connection(self.owed.pop(stream_id, 0))
        self.send()

    def goaway(self) -> None:
        """RFC 9113, 6.8: it forbids the gate to open streams, not the client, who may go on."""
        self.engine.goaway(0, ErrorCode.NO_ERROR)
        self.send()

    def send(self) -> None:
        while True:
            self._unsent = self._unsent or self.engine.data_to_send(65_536)
            if not self._unsent:
                return
            sent = self._send(self._unsent)
            self._unsent = self._unsent[sent:]
            if not sent:
                return

    def read(self, size: int) -> None:
        while data := self._recv(size):
            for event in self.engine.receive(data):
                self._note(event)
            if self.takes_credit:
                self.credit()
            self.send()
            if size < 60_000:
                return
        if (
            data == b""
            and self.live
            and not self.is_half_closed
            and self.has_been_called
            and not self.core.is_impatient
        ):
            raise AssertionError(f"closed behind GOAWAY with {self.live} unanswered")

    def credit(self) -> None:
        for stream_id, size in self.owed.items():
            self.engine.credit(stream_id, size)
            self.engine.credit_connection(size)
        self.owed.clear()
        self.send()

    def _note(self, event: Event) -> None:
        match event:
            case ResponseReceived():
                answer = self.answers[event.stream_id]
                assert not answer.has_head
                fields = dict(event.head.fields)
                answer.has_head = True
                if b"x-number" in fields:
                    answer.number, answer.attempt = int(fields[b"x-number"]), int(fields[b"x-attempt"])
                self._ended(event.stream_id, event.end_stream)
            case DataReceived():
                self.answers[event.stream_id].body += event.data
                self.owed[event.stream_id] = self.owed.get(event.stream_id, 0) + event.credit
                self._ended(event.stream_id, event.end_stream)
            case TrailersReceived():
                self._ended(event.stream_id, True)
            case InterimReceived():
                assert not self.answers[event.stream_id].has_head
            case StreamReset():
                assert event.by_peer, event
                if event.stream_id in self.live:
                    self.live.remove(event.stream_id)
            case GoAwayReceived():
                assert event.code == ErrorCode.NO_ERROR
                if event.last_stream_id < 2**31 - 1:
                    # What is above it was not taken; the rest will be answered.
                    self.may_ask = False
                    self.has_been_called = True
                    self.live = [stream_id for stream_id in self.live if stream_id <= event.last_stream_id]
            case ConnectionFailed():
                raise AssertionError(event)

    def _ended(self, stream_id: int, end_stream: bool) -> None:
        if end_stream:
            self.answers[stream_id].has_ended = True
            if self.by_stream[stream_id].has_ended:
                self.live.remove(stream_id)

    def check(self) -> None:
        for stream_id, answer in self.answers.items():
            attempt = answer.attempt if answer.has_ended else None
            self.core.check_answer(self.by_stream[stream_id], answer.number, answer.body, attempt)


class Http1Tunnel(BaseClient):
    """Asks for a WebSocket, and sends behind it without waiting."""

    def __init__(self, core: Core, size: int) -> None:
        super().__init__(core)
        request = self.request = self._new(b"CONNECT", size)
        self.requests[request.number] = request
        self.unsent = (
            b"GET %s HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n" % request.path
        ) + body_of(request.number, size)
        self.received = b""

    def send(self, size: int) -> None:
        self.unsent = self.unsent[self._send(self.unsent[:size]) :] if self.unsent else b""

    def read(self, size: int) -> None:
        while data := self._recv(size):
            self.received += data
            if size < 60_000:
                return

    def check(self) -> None:
        head, _, body = self.received.partition(b"\r\n\r\n")
        if head.startswith(b"HTTP/1.1 101 "):
            assert body == body_of(self.request.number, len(body))


class PushedClient(BaseClient):
    """Asks for pages, and takes pushes or refuses them. It leaves at the first GOAWAY."""

    def __init__(self, core: Core) -> None:
        super().__init__(core)
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding=None))
        self.h2.initiate_connection()
        # More than all answers, so that nothing has to be given back.
        self.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 1_000_000})
        self.h2.increment_flow_control_window(2**30)
        self.by_stream: dict[int, int] = {}
        self.answers: dict[int, Answer] = {}
        self.live: list[int] = []
        self.pushed: list[int] = []
        self.refuses = False
        self._unsent = b""
        self.send()

    def ask(self) -> None:
        if len(self.live) < 10 and not self.is_over:
            request = self._new(b"GET", 0)
            self.requests[request.number] = request
            stream_id = self.h2.get_next_available_stream_id()
            path = b"/push/%d" % request.number
            self._opened(stream_id, path)
            self.h2.send_headers(
                stream_id,
                [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a"), (b":path", path)],
                end_stream=True,
            )
            self.send()

    def _opened(self, stream_id: int, path: bytes) -> None:
        self.by_stream[stream_id] = int(path.rpartition(b"/")[2])
        self.answers[stream_id] = Answer()
        self.live.append(stream_id)

    def reset(self, stream_id: int) -> None:
        # h2 breaks on the head of a push that it has reset, or whose page it has reset.
        if self.answers[stream_id].has_head:
            with contextlib.suppress(h2.exceptions.StreamClosedError):
                self.h2.reset_stream(stream_id, ErrorCode.CANCEL)
            self.live.remove(stream_id)
            self.send()

    def send(self) -> None:
        self._unsent += self.h2.data_to_send()
        self._unsent = self._unsent[self._send(self._unsent) :] if self._unsent else b""

    def read(self, size: int) -> None:
        while data := self._recv(size):
            try:
                for event in self.h2.receive_data(data):
                    self._note(event)
            except h2.exceptions.ProtocolError:
                # h2 takes nothing any more behind GOAWAY.
                assert self.h2.state_machine.state is h2.connection.ConnectionState.CLOSED
                assert b"\x07\x00\x00\x00\x00\x00" in data
                self.leave()
            self.send()
            if size < 60_000:
                return

    def _note(self, event: h2.events.Event) -> None:
        stream_id: int = getattr(event, "stream_id", 0) or 0
        match event:
            case h2.events.PushedStreamReceived():
                assert event.parent_stream_id % 2
                path = dict(cast(Any, event.headers))[b":path"]
                self._opened(event.pushed_stream_id, path)
                self.pushed.append(event.pushed_stream_id)
            case h2.events.ResponseReceived():
                fields = dict(cast(Any, event.headers))
                answer = self.answers[stream_id]
                answer.has_head = True
                if stream_id % 2 == 0 and self.refuses:
                    self.reset(stream_id)
                elif b"x-number" in fields:
                    answer.number, answer.attempt = int(fields[b"x-number"]), int(fields[b"x-attempt"])
            case h2.events.DataReceived():
                self.answers[stream_id].body += event.data
            case h2.events.StreamEnded():
                self.answers[stream_id].has_ended = True
                if stream_id in self.live:
                    self.live.remove(stream_id)
            case h2.events.StreamReset():
                if stream_id in self.live:
                    self.live.remove(stream_id)
            case h2.events.ConnectionTerminated():
                self.leave()

    def check(self) -> None:
        assert len({self.by_stream[stream_id] for stream_id in self.pushed}) == len(self.pushed)
        for stream_id, answer in self.answers.items():
            attempt = answer.attempt if answer.has_ended else None
            request = Request(self.by_stream[stream_id], b"GET", 0)
            self.core.check_answer(request, answer.number, answer.body, attempt)


AnyClient = Http1Client | Http2Client | Http1Tunnel | PushedClient

# The house


class Complaints(logging.Handler):
    """Errors of our own, as they are logged."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.records: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if "internal error" in record.getMessage():
            self.records.append(logging.Formatter().format(record))


@dataclass
class Core:
    """`pool` is its config; `takes_bodies`: origins begin with giving credit for what they get; `tunnels`: of how many
    origins take extended CONNECT."""

    endpoints: int = 2
    takes_bodies: bool = True
    tunnels: int = 2
    pool: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.complaints = Complaints()
        logging.getLogger("h2gate").addHandler(self.complaints)
        self.clock = Clock()
        self.reactor = Reactor(gevent.get_hub().loop, Deadlines(self.clock))
        self.flush_queue = FlushQueue()
        self.flush_queue.start(self.reactor.loop)
        self.requests = 0
        # So much time has passed, or somebody wants it, that connections may end in the middle.
        self.is_impatient = False
        self.attempts: list[Attempt] = []
        self.copies: list[Attempt] = []
        self.promised: dict[int, Request] = {}
        self.origins = [Origin(self, takes_tunnels=self.tunnels > 1), Origin(self, takes_tunnels=self.tunnels > 0)]
        self.shadow = Origin(self, is_shadow=True)
        self.origins.append(self.shadow)
        config = config_of(
            {
                "backends": {
                    "app": {
                        "endpoints": [origin.url for origin in self.origins[: self.endpoints]],
                        "balance": "least_requests",
                        "pool": self.pool,
                    },
                    "shadow": {"endpoints": [self.shadow.url], "pool": self.pool},
                },
                "routes": [
                    {"match": {"path": "exact:/6"}, "respond": {"status": 404, "body": "no"}},
                    {"match": {"path": "/small/"}, "backend": "app", "max_body": "40kB"},
                    {"match": {"path": "/copy/"}, "backend": "app", "mirror": {"backend": "shadow"}},
                    {"match": {"path": "/push/"}, "backend": "app", "early_hints": "push"},
                    {"backend": "app"},
                ],
                "timeouts": {"tunnel_idle": "350s"},
                "limits": {"streams": 20},
                "retries": {"budget": "100%", "backoff_min": "1ms", "backoff_max": "3ms"},
            }
        )
        self.backends = {
            name: Backend(
                name,
                config.backends[name],
                self.reactor,
                self.flush_queue,
                lambda: http2.client_engine(Http2Settings(stream_window=WINDOW, connection_window=1_000_000)),
                None,
            )
            for name in ("app", "shadow")
        }
        self.log: list[Exchange] = []
        self.proxy = Proxy(config, self.reactor, self.backends, self.log.append)
        self.front = Front(
            self.reactor,
            self.flush_queue,
            self.proxy,
            config.timeouts,
            config.limits,
            lambda scheme: http1.server_engine(Http1Settings(), scheme),
            lambda: http2.server_engine(
                Http2Settings(
                    max_streams=20,
                    stream_window=WINDOW,
                    connection_window=CLIENT_CONNECTION_WINDOW,
                    enable_connect=True,
                )
            ),
            lambda count: None,
        )
        self.clients: list[AnyClient] = []

    def promise(self) -> int:
        """Return the number of a request that is to be pushed."""
        self.requests += 1
        self.promised[self.requests] = Request(self.requests, b"GET", 0)
        return self.requests

    def pass_time(self, seconds: float) -> None:
        self.is_impatient = self.is_impatient or seconds > 20
        end = self.clock.now + seconds
        while self.clock.now < end:
            self.clock.now += min(0.5, seconds)
            self.reactor.deadlines.sweep()
            turn()
        for backend in self.backends.values():
            backend.tidy(self.clock.now)
        self.flush_queue.run()

    def settle(self) -> None:
        """Let clients and origins do what they owe, until nothing is under way."""
        for origin in self.origins:
            origin.takes_bodies = True
            origin.is_closed = origin.is_silent = False
        for round_ in range(400):
            self._go_on()
            turn(2)
            is_busy = self.proxy.active or self.proxy.copies
            if not is_busy and not any(self._is_busy(client) for client in self.clients):
                return
            if round_ > 20:
                gevent.sleep(0.002)  # pauses before retries are real
            if round_ % 20 == 19:
                self.pass_time(3)
        raise AssertionError(f"{self.proxy.active} exchanges and {self.proxy.copies} copies do not end")

    def _is_busy(self, client: AnyClient) -> bool:
        if client.is_over:
            return False
        return bool(client.unsent) if isinstance(client, Http1Client | Http1Tunnel) else bool(client.live)

    def _go_on(self) -> None:
        for client in self.clients:
            if isinstance(client, Http1Client | Http1Tunnel):
                client.send(1_000_000)
                client.read(65_536)
                if isinstance(client, Http1Tunnel) and not client.unsent:
                    client.half_close()
            elif isinstance(client, PushedClient):
                client.send()
                client.read(65_536)
            else:
                for stream_id in list(client.live):
                    client.give(stream_id, 1_000_000)
                client.takes_credit = True
                client.read(65_536)
                client.credit()
        for origin in self.origins:
            for connection in origin.connections:
                if not connection.is_over:
                    connection.hear()
                    connection.credit()
                    for attempt in list(connection.attempts.values()):
                        if not attempt.is_over:
                            attempt.head(1_000, states_length=True)
                            attempt.data(1_000_000)
                    connection.flush()

    # What must hold

    def check_answer(self, request: Request, number: int | None, body: bytes, attempt: int | None) -> None:
        """`attempt`: the one whose answer this is, -1 if it is the gate's own; None if it does not look whole."""
        if number is None:
            return
        assert number == request.number
        assert body == body_of(number, len(body))
        if attempt is not None:
            origin = self.attempts[attempt]
            assert origin.is_done
            assert len(body) == origin.size

    def check(self) -> None:
        """Everything that was begun is over, said once, and nothing is left of it."""
        assert self.complaints.records == []
        for client in self.clients:
            client.check()
        by_number: dict[int, list[Attempt]] = {}
        known = {number: request for client in self.clients for number, request in client.requests.items()}
        known.update(self.promised)
        for attempt in self.attempts:
            by_number.setdefault(attempt.number, []).append(attempt)
            request = known[attempt.number]
            assert attempt.body == body_of(attempt.number, len(attempt.body))
            if attempt.has_ended and request.method != b"CONNECT":
                assert request.has_ended or request.method == b"GET"
                assert len(attempt.body) == (0 if request.method in (b"GET", b"HEAD") else request.size)
        for attempts in by_number.values():
            if attempts[0].method == b"POST":
                assert all(attempt.was_refused for attempt in attempts[:-1]), "executed twice"
        for copy in self.copies:
            request = known[copy.number]
            assert copy.body == body_of(copy.number, len(copy.body))
            if copy.has_ended:
                assert len(copy.body) == (0 if request.method in (b"GET", b"HEAD") else request.size)
        assert len({copy.number for copy in self.copies}) == len(self.copies)
        assert self.proxy.active == self.proxy.copies == 0
        assert len(self.log) == len(set(map(id, self.log))) == self.proxy.requests
        for pool in self._pools:
            assert pool.waiting == 0
            assert pool.endpoint.in_use == 0, pool
            for connection in pool.connections:
                assert not connection.streams
                assert is_whole(connection.engine)
        for session in self.front.sessions:
            if isinstance(session, Http2Session):
                assert not session.streams
                assert is_whole(session.engine)

    @property
    def _pools(self) -> list[Pool]:
        return [pool for backend in self.backends.values() for pool in backend.pools]

    def close(self) -> None:
        for client in self.clients:
            client.leave()
        turn()
        for backend in self.backends.values():
            backend.close()
        self.flush_queue.run()
        for origin in self.origins:
            origin.close()
        run_until(lambda: not self.front.sessions and not any(pool.dialing for pool in self._pools))
        self.pass_time(10)  # transports that wait for their peers
        run_until(lambda: not self.reactor.open_transports)
        logging.getLogger("h2gate").removeHandler(self.complaints)
        left = (
            self.reactor.open_transports,
            len(self.reactor.deadlines),
            len(self.reactor.hangups),
            len(self.front.sessions),
            len(self.flush_queue),
            self.proxy.active,
        )
        self.flush_queue.stop()
        self.reactor.close()
        assert left == (0, 0, 0, 0, 0, 0), left
        assert self.complaints.records == []
        assert len(self.log) == self.proxy.requests


def is_whole(engine: object) -> bool:
    """Whether the peer has the engine's whole connection window, or will by the next WINDOW_UPDATE."""
    manager = cast(Any, engine)._connection._inbound_flow_control_window_manager
    return bool(manager.current_window_size + manager._bytes_processed == manager.max_window_size)
