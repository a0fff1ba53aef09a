"""A backend in the test's own hub: the gate's server engine behind a socket, doing what the test tells it.

Nothing is answered by itself but what the engine owes (SETTINGS and PING acknowledgements), unless `answer` is set.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Callable
from typing import Any

from h2gate.errors import ErrorCode
from h2gate.net.reactor import Reactor
from h2gate.net.tls import TlsLayer
from h2gate.net.transport import Transport
from h2gate.protocol.contract import Http2ServerEngine, Http2Settings
from h2gate.protocol.events import (
    ConnectionFailed,
    DataReceived,
    Event,
    GoAwayReceived,
    RequestHead,
    RequestReceived,
    ResponseHead,
    StreamReset,
)
from h2gate.protocol.http2 import server_engine


class Connection:
    """One accepted connection. `requests` are those that came, by stream id."""

    def __init__(self, backend: FakeBackend, transport: Transport) -> None:
        self.backend = backend
        self.transport = transport
        self.engine: Http2ServerEngine = server_engine(backend.settings)
        self.requests: dict[int, RequestHead] = {}
        self.bodies: dict[int, bytes] = {}
        self.ended: set[int] = set()
        self.resets: dict[int, int] = {}
        self.goaways: list[int] = []
        self.errors: list[str] = []
        self.is_over = False
        self._unheard = b""

    def on_bytes(self, data: bytes) -> None:
        self._unheard += data
        if not self.backend.is_deaf:
            self.hear()

    def hear(self) -> None:
        data, self._unheard = self._unheard, b""
        for event in self.engine.receive(data):
            self._note(event)
        self.flush()

    def _note(self, event: Event) -> None:
        match event:
            case RequestReceived():
                self.requests[event.stream_id] = event.head
                self.bodies[event.stream_id] = b""
                if event.end_stream:
                    self.ended.add(event.stream_id)
                if self.backend.answer is not None:
                    self.backend.answer(self, event.stream_id)
            case DataReceived():
                self.bodies[event.stream_id] += event.data
                if event.end_stream:
                    self.ended.add(event.stream_id)
                if self.backend.credits:
                    self.engine.credit_connection(event.credit)
                    self.engine.credit(event.stream_id, event.credit)
            case StreamReset():
                self.resets[event.stream_id] = event.code
            case GoAwayReceived():
                self.goaways.append(event.code)
            case ConnectionFailed():
                self.errors.append(event.detail)

    def on_end(self, error: str) -> None:
        self.is_over = True

    def on_writable(self) -> None:
        self.flush()

    def on_secured(self, alpn: str | None) -> None:
        self.flush()

    def flush(self) -> None:
        while self.transport.has_room and (data := self.engine.data_to_send(65_536)):
            self.transport.write(data)
        self.engine.take_framed()

    # What tests tell it

    def respond(self, stream_id: int, body: bytes = b"", status: int = 200) -> None:
        self.engine.send_head(stream_id, ResponseHead(status), not body)
        if body:
            self.engine.send_data(stream_id, body, True)
        self.flush()

    def reset(self, stream_id: int, code: ErrorCode) -> None:
        self.engine.reset(stream_id, code)
        self.flush()

    def goaway(self, last_stream_id: int | None, code: ErrorCode = ErrorCode.NO_ERROR, debug: bytes = b"") -> None:
        self.engine.goaway(last_stream_id, code, debug)
        self.flush()

    def send_raw(self, data: bytes) -> None:
        self.flush()
        self.transport.write(data)

    def close(self) -> None:
        self.transport.finish()

    def abort(self) -> None:
        self.transport.abort()


class FakeBackend:
    """Listens until it is closed. `greet` takes the place of HTTP/2: it gets the raw transport."""

    def __init__(
        self,
        reactor: Reactor,
        *,
        settings: Http2Settings | None = None,
        tls: ssl.SSLContext | None = None,
        family: int = socket.AF_INET,
        path: str | None = None,
    ) -> None:
        self.reactor = reactor
        self.settings = settings or Http2Settings()
        self.tls = tls
        self.answer: Callable[[Connection, int], None] | None = None
        self.greet: Callable[[Transport], None] | None = None
        self.credits = True
        # Handles nothing and says nothing: no SETTINGS come.
        self.is_deaf = False
        self.connections: list[Connection] = []
        self._path = path
        self._listener = socket.socket(socket.AF_UNIX if path else family)
        self._listener.bind(path or ("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
        self._listener.listen(128)
        self._listener.setblocking(False)
        self.port: int = 0 if path else self._listener.getsockname()[1]
        self._watcher: Any = reactor.loop.io(self._listener.fileno(), 1)
        self._watcher.start(self._accept)

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except BlockingIOError:
            return
        sock.setblocking(False)
        layer = TlsLayer(self.tls, server_side=True) if self.tls is not None else None
        transport = Transport(self.reactor, sock, layer)
        connection = Connection(self, transport)
        self.connections.append(connection)
        transport.start(connection)
        if self.greet is not None:
            self.is_deaf = True
            self.greet(transport)
        elif self.tls is None and not self.is_deaf:
            connection.flush()

    @property
    def url(self) -> str:
        if self._path is not None:
            return f"h2c+unix:{self._path}"
        host = "[::1]" if self._listener.family == socket.AF_INET6 else "127.0.0.1" if self.tls is None else "localhost"
        return f"h2c://{host}:{self.port}" if self.tls is None else f"h2://{host}:{self.port}"

    @property
    def only(self) -> Connection:
        (connection,) = self.connections
        return connection

    @property
    def requests(self) -> int:
        return sum(len(connection.requests) for connection in self.connections)

    def close(self) -> None:
        for connection in self.connections:
            connection.transport.abort()
        self.stop_listening()

    def stop_listening(self) -> None:
        if self._listener.fileno() != -1:
            self._watcher.stop()
            self._watcher.close()
            self._listener.close()
            if self._path is not None:
                os.unlink(self._path)
