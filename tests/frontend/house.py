"""Sessions over socket pairs, with a handler whose exchanges the test answers by hand."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import gevent
from gevent import socket as gevent_socket

from h2gate.contract import Client, ClientStream
from h2gate.errors import Failure
from h2gate.frontend.front import Front
from h2gate.frontend.serve import serve
from h2gate.net.deadlines import TICK_SECONDS, Deadlines
from h2gate.net.flush import FlushQueue
from h2gate.net.reactor import Reactor
from h2gate.protocol.contract import Http1Settings, Http2Settings
from h2gate.protocol.engines import choose
from h2gate.protocol.events import Fields, RequestHead, ResponseHead
from tests.support.configs import config_of

WAIT_SECONDS = 10.0


@dataclass(eq=False)
class Sink:
    """One request as the handler sees it."""

    stream: ClientStream
    head: RequestHead | None
    end_stream: bool
    rejected: Failure | None = None
    body: bytes = b""
    trailers: Fields | None = None
    gone: Failure | None = None
    broken: Failure | None = None
    framed: int = 0
    gives_credit: bool = True

    def on_request_data(self, data: bytes, credit: int, end_stream: bool) -> None:
        self.body += data
        self.end_stream = end_stream
        if self.gives_credit:
            self.stream.credit(credit)

    def on_request_trailers(self, fields: Fields) -> None:
        self.trailers = fields
        self.end_stream = True

    def on_request_broken(self, failure: Failure) -> None:
        self.broken = failure
        self.answer(failure.rule.status)

    def on_client_gone(self, failure: Failure) -> None:
        self.gone = failure

    def on_response_framed(self, size: int) -> None:
        self.framed += size

    def answer(self, status: int = 200, body: bytes = b"", fields: Fields | None = None) -> None:
        self.stream.send_head(ResponseHead(status, fields or []), not body)
        if body:
            self.stream.send_data(body, True)


@dataclass
class Handler:
    sinks: list[Sink] = field(default_factory=list)
    on_begin: Callable[[Sink], None] = lambda sink: None

    def begin(self, stream: ClientStream, head: RequestHead, end_stream: bool) -> Sink:
        sink = Sink(stream, head, end_stream)
        self.sinks.append(sink)
        self.on_begin(sink)
        return sink

    def reject(self, stream: ClientStream, head: RequestHead | None, failure: Failure) -> Sink:
        sink = Sink(stream, head, True, rejected=failure)
        self.sinks.append(sink)
        sink.answer(failure.rule.status)
        return sink


class House:
    """A front on the test's hub."""

    def __init__(self, timeouts: dict[str, str] | None = None, limits: dict[str, Any] | None = None) -> None:
        self.loop: Any = gevent.get_hub().loop
        self.reactor = Reactor(self.loop, Deadlines())
        self.flush_queue = FlushQueue()
        self.flush_queue.start(self.loop)
        self.handler = Handler()
        config = config_of({"timeouts": timeouts or {}, "limits": limits or {}})
        self.limits = config.limits
        # Of sessions, as told.
        self.counts: list[int] = []
        self.front = Front(
            self.reactor,
            self.flush_queue,
            self.handler,
            config.timeouts,
            self.limits,
            lambda scheme: choose("auto").http1_server(Http1Settings(), scheme),
            lambda: choose("auto").http2_server(Http2Settings(max_streams=10, stream_window=self.limits.stream_window)),
            self.counts.append,
        )
        self._timer = self.loop.timer(TICK_SECONDS, TICK_SECONDS)
        self._timer.start(self._tick)
        self._clients: list[Any] = []

    def _tick(self) -> None:
        self.reactor.deadlines.sweep()

    def connect(self, address: str = "192.0.2.7", port: int = 4711) -> Any:
        """Return the client's end of a new connection, a gevent socket with a timeout."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        serve(self.front, ours, Client(address, port, 80, b"http", is_trusted=False), None)
        client = gevent_socket.socket(fileno=theirs.detach())
        client.settimeout(WAIT_SECONDS)
        self._clients.append(client)
        return client

    def flush(self) -> None:
        self.flush_queue.run()

    def wait_for(self, condition: Callable[[], object], what: str) -> None:
        """Let the hub run until `condition` holds."""
        with gevent.Timeout(WAIT_SECONDS, AssertionError(f"never: {what}")):
            while not condition():
                gevent.sleep(0.002)

    def turn(self) -> None:
        """Let the hub do what is ready."""
        gevent.sleep(0.005)

    def request(self, number: int = 0) -> Sink:
        """Return the handler's request of that number, once it has come."""
        self.wait_for(lambda: len(self.handler.sinks) > number, f"request {number}")
        return self.handler.sinks[number]

    def close(self) -> None:
        for client in self._clients:
            client.close()
        self.front.shut_down()
        self.wait_for(lambda: not self.front.sessions, "sessions closed")
        self._timer.stop()
        self._timer.close()
        self.flush_queue.stop()
        self.reactor.close()
