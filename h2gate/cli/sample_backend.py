"""The sample backend itself: its connections, and the answers behind its paths (`ANSWERS`).

Built from the gate's own engine and transport, so it is also the shortest example of how the two go together. Rule:
body bytes are credited once they are echoed or dropped, and no more of a body is queued than is on its way: it holds
no body, however large.
"""

import re
import socket
import ssl
from collections.abc import Callable

import gevent

from h2gate.errors import ErrorCode
from h2gate.net.deadlines import TICK_SECONDS, Deadline, Deadlines
from h2gate.net.flush import FlushQueue
from h2gate.net.reactor import Reactor
from h2gate.net.tls import TlsLayer
from h2gate.net.transport import Transport
from h2gate.protocol.contract import Http2Settings
from h2gate.protocol.engines import choose
from h2gate.protocol.events import (
    ConnectionFailed,
    DataReceived,
    Event,
    Fields,
    RequestHead,
    RequestReceived,
    RequestRejected,
    ResponseHead,
    StreamReset,
    TrailersReceived,
)

FLUSH_BYTES = 65_536
# What of `/bytes/N` waits in the engine; as much as a flush takes at once.
QUEUED_BYTES = 65_536
PATTERN = (bytes(range(32, 127)) * (QUEUED_BYTES // 95 + 1))[:QUEUED_BYTES]
TEXT: Fields = [(b"content-type", b"text/plain; charset=utf-8")]


class SampleBackend:
    """The listener and its connections."""

    def __init__(self, listener: socket.socket, tls: ssl.SSLContext | None) -> None:
        loop = gevent.get_hub().loop
        self.listener = listener
        self.tls = tls
        self.server_engine = choose("auto").http2_server
        self.deadlines = Deadlines()
        self.reactor = Reactor(loop, self.deadlines)
        self.flush_queue = FlushQueue()
        self.flush_queue.start(loop)
        self.connections: set[Connection] = set()
        self._accepting = loop.io(listener.fileno(), 1)
        self._accepting.start(self._accept)
        self._sweeping = loop.timer(TICK_SECONDS, TICK_SECONDS)
        self._sweeping.start(self._sweep)

    def _accept(self) -> None:
        try:
            sock, _ = self.listener.accept()
        except OSError:
            return  # the client has left again, or descriptors ran out: the next event tries again
        sock.setblocking(False)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        layer = None if self.tls is None else TlsLayer(self.tls, server_side=True)
        self.connections.add(Connection(self, Transport(self.reactor, sock, layer)))

    def _sweep(self) -> None:
        self.deadlines.sweep()

    def close(self) -> None:
        """Say GOAWAY to all clients and stop."""
        self._accepting.stop()
        self._accepting.close()
        self.listener.close()
        for connection in list(self.connections):
            connection.close()
        self._sweeping.stop()
        self._sweeping.close()
        self.reactor.hangups.close()


class Connection:
    """One client connection; here the client is the gate."""

    def __init__(self, backend: SampleBackend, transport: Transport) -> None:
        self.backend = backend
        self.transport = transport
        self.engine = backend.server_engine(Http2Settings(stream_window=262_144))
        self.requests: dict[int, Request] = {}
        self.is_marked = False
        transport.start(self)
        if backend.tls is None:
            self._begin()

    def _begin(self) -> None:
        """Send SETTINGS; they need not wait for the client's preface (RFC 9113, 3.4)."""
        self.mark()

    def on_secured(self, alpn: str | None) -> None:
        if alpn == "h2":
            self._begin()
        else:
            self.close()

    def on_bytes(self, data: bytes) -> None:
        for event in self.engine.receive(data):
            self._handle(event)
        self.mark()

    def _handle(self, event: Event) -> None:
        match event:
            case RequestReceived():
                request = Request(self, event.stream_id, event.head)
                self.requests[event.stream_id] = request
                request.begin(event.end_stream)
            case RequestRejected():
                self.engine.send_head(event.stream_id, ResponseHead(400, []), end_stream=True)
            case DataReceived():
                self.engine.credit_connection(event.credit)
                self._body(event.stream_id, event.data, event.credit, event.end_stream)
            case TrailersReceived():
                self._body(event.stream_id, b"", 0, end_stream=True)
            case StreamReset():
                self.forget(event.stream_id)
            case ConnectionFailed():
                self.close()
            case _:
                pass  # SETTINGS, PING and GOAWAY need nothing of us

    def _body(self, stream_id: int, data: bytes, credit: int, end_stream: bool) -> None:
        request = self.requests.get(stream_id)
        if request is not None:
            request.on_data(data, credit, end_stream)

    def mark(self) -> None:
        self.backend.flush_queue.mark(self)

    def flush(self) -> None:
        while self.transport.has_room:
            data = self.engine.data_to_send(FLUSH_BYTES)
            if not data:
                break
            self.transport.write(data)
        for stream_id, size in self.engine.take_framed():
            request = self.requests.get(stream_id)
            if request is not None:
                request.on_framed(size)

    def on_writable(self) -> None:
        self.mark()

    def on_end(self, error: str) -> None:
        self._forget_all()

    def close(self) -> None:
        self.engine.goaway(self.engine.last_peer_stream_id, ErrorCode.NO_ERROR)
        self.flush()
        self.transport.finish()
        self._forget_all()

    def _forget_all(self) -> None:
        for stream_id in list(self.requests):
            self.forget(stream_id)
        self.backend.connections.discard(self)

    def forget(self, stream_id: int) -> None:
        request = self.requests.pop(stream_id, None)
        if request is not None and request.deadline is not None:
            self.backend.deadlines.cancel(request.deadline)


class Request:
    """A request, and its answer as far as it has got."""

    def __init__(self, connection: Connection, stream_id: int, head: RequestHead) -> None:
        self.connection = connection
        self.engine = connection.engine
        self.stream_id = stream_id
        self.head = head
        self.received = 0
        self.deadline: Deadline | None = None
        self._answer, self._arguments = _find(head.path.partition(b"?")[0])
        self._is_echo = self._answer is echo
        # Whether the request is all here, and whether its answer is all with the engine.
        self._is_complete = False
        self._is_answered = False
        # Of `/bytes/N`: how much is still to be queued.
        self._left = 0

    # What happens to it

    def begin(self, end_stream: bool) -> None:
        if (b"expect", b"100-continue") in self.head.fields:
            self.interim(100, [])
        if self._is_echo:
            self._answer(self)
        self.on_data(b"", 0, end_stream)

    def on_data(self, data: bytes, credit: int, end_stream: bool) -> None:
        self.received += len(data)
        if self._is_echo and not self._is_answered:
            self._send_data(data, end_stream)
            self.engine.credit(self.stream_id, credit - len(data))
        else:
            self.engine.credit(self.stream_id, credit)
        if end_stream:
            self._is_complete = True
            if not self._is_echo:
                self._answer(self, *self._arguments)
        self._forget_if_done()

    def on_framed(self, size: int) -> None:
        if self._is_echo and not self._is_complete:
            self.engine.credit(self.stream_id, size)
            self.connection.mark()
        self._fill()

    # What an answer may do

    def interim(self, status: int, fields: Fields) -> None:
        self.engine.send_interim(self.stream_id, ResponseHead(status, fields))

    def head_only(self, status: int, fields: Fields) -> None:
        self._send_head(status, fields, end_stream=True)

    def text(self, status: int, text: str, trailers: Fields | None = None) -> None:
        body = text.encode()
        # RFC 9110, 15.3.5 and 15.4.5: these two have no body at all.
        if status in (204, 304):
            self.head_only(status, [])
            return
        fields = [*TEXT, (b"content-length", b"%d" % len(body))]
        if self.head.method == b"HEAD":
            self.head_only(status, fields)
            return
        self._send_head(status, fields, end_stream=False)
        self._send_data(body, end_stream=trailers is None)
        if trailers is not None:
            self.engine.send_trailers(self.stream_id, trailers)
            self._is_answered = True
            self._forget_if_done()

    def stream_begins(self, fields: Fields) -> None:
        self._send_head(200, fields, end_stream=self.head.method == b"HEAD")

    def pattern(self, size: int) -> None:
        """Send `size` bytes, each piece once the one before is on its way."""
        fields = [(b"content-type", b"application/octet-stream"), (b"content-length", b"%d" % size)]
        if self.head.method == b"HEAD" or not size:
            self.head_only(200, fields)
            return
        self._send_head(200, fields, end_stream=False)
        self._left = size
        self._fill()

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        self.deadline = Deadline(action)
        self.connection.backend.deadlines.arm(self.deadline, seconds)

    def _send_head(self, status: int, fields: Fields, end_stream: bool) -> None:
        self.engine.send_head(self.stream_id, ResponseHead(status, fields), end_stream)
        self._sent(end_stream)

    def _send_data(self, data: bytes, end_stream: bool) -> None:
        self.engine.send_data(self.stream_id, data, end_stream)
        self._sent(end_stream)

    def _sent(self, end_stream: bool) -> None:
        self._is_answered = end_stream
        self.connection.mark()
        self._forget_if_done()

    def _forget_if_done(self) -> None:
        if self._is_complete and self._is_answered:
            self.connection.forget(self.stream_id)

    def _fill(self) -> None:
        if self._left:
            size = min(self._left, QUEUED_BYTES - self.engine.queued(self.stream_id))
            self._left -= size
            self._send_data(PATTERN[:size], end_stream=not self._left)


# The answers


def greeting(request: Request) -> None:
    head = request.head
    lines = [
        "Hello from the sample backend of h2gate. It received:",
        "",
        f"{_shown(head.method)} {_shown(head.path)} {_shown(head.version)}",
        f"scheme: {_shown(head.scheme)}",
        f"authority: {_shown(head.authority)}",
        *(f"{_shown(name)}: {_shown(value)}" for name, value in head.fields),
        "",
        f"{request.received} bytes of body",
        "",
    ]
    request.text(200, "\n".join(lines))


def echo(request: Request) -> None:
    kind = next((value for name, value in request.head.fields if name == b"content-type"), None)
    request.stream_begins([(b"content-type", kind or b"application/octet-stream")])


def delay(request: Request, seconds: str) -> None:
    request.later(float(seconds), lambda: request.text(200, f"answered after {seconds} s\n"))


def some_bytes(request: Request, size: str) -> None:
    request.pattern(int(size))


def status(request: Request, code: str) -> None:
    request.text(int(code), f"status {code}\n")


def trailers(request: Request) -> None:
    request.text(200, "trailers follow\n", [(b"x-trailer", b"the end"), (b"x-body-bytes", b"16")])


def early_hints(request: Request) -> None:
    request.interim(103, [(b"link", b"</style.css>; rel=preload; as=style")])
    request.text(200, "an early hint came first\n")


def not_found(request: Request) -> None:
    request.text(404, "not found; try / /echo /delay/1 /bytes/1000 /status/418 /trailers /early-hints\n")


Answer = Callable[..., None]
ANSWERS: tuple[tuple[re.Pattern[bytes], Answer], ...] = (
    (re.compile(rb"/"), greeting),
    (re.compile(rb"/echo"), echo),
    (re.compile(rb"/delay/(\d{1,4}(?:\.\d{1,6})?)"), delay),
    (re.compile(rb"/bytes/(\d{1,15})"), some_bytes),
    (re.compile(rb"/status/([2-5]\d\d)"), status),
    (re.compile(rb"/trailers"), trailers),
    (re.compile(rb"/early-hints"), early_hints),
)


def _find(path: bytes) -> tuple[Answer, list[str]]:
    for pattern, answer in ANSWERS:
        match = pattern.fullmatch(path)
        if match is not None:
            return answer, [group.decode("ascii") for group in match.groups()]
    return not_found, []


def _shown(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace")


# The start
