"""A pool or backend with everything around it, and sinks and waiters that write down what they hear."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any

import gevent

from h2gate.backend.backend import Backend
from h2gate.backend.connection import BackendConnection
from h2gate.backend.endpoint import Endpoint
from h2gate.backend.pool import Pool
from h2gate.backend.stream import BackendStream
from h2gate.config.model import Backend as BackendConfig
from h2gate.config.model import BackendTls
from h2gate.config.model import Endpoint as EndpointConfig
from h2gate.config.model import Pool as PoolConfig
from h2gate.config.units import EndpointUrl
from h2gate.errors import Failure
from h2gate.net.flush import FlushQueue
from h2gate.net.reactor import Reactor
from h2gate.protocol.contract import Http2Settings
from h2gate.protocol.engines import choose
from h2gate.protocol.events import Fields, RequestHead, ResponseHead
from tests.backend.fake_backend import FakeBackend
from tests.net.support import Clock, pass_time, run_until, turn


class Request:
    """A waiter and the sink of its stream. `log` tells who heard what in which order."""

    def __init__(self, name: str = "", log: list[str] | None = None, body: bytes | None = None) -> None:
        self.name = name
        self.log = log if log is not None else []
        self.body = body
        self.stream: BackendStream | None = None
        self.head: ResponseHead | None = None
        self.interim: list[int] = []
        self.data = b""
        self.trailers: Fields | None = None
        self.is_done = False
        self.failure: Failure | None = None
        self.lease_failure: Failure | None = None
        self.framed = 0
        self.opens = True
        self.credits = True
        self.then: Callable[[], None] | None = None

    def on_lease(self, connection: BackendConnection) -> None:
        self.log.append(f"{self.name} leased")
        if self.opens:
            head = RequestHead(b"GET" if self.body is None else b"POST", b"http", b"test", b"/")
            self.stream = connection.open_stream(head, self.body is None, self)
            if self.body:
                self.stream.send_data(self.body, True)

    def on_lease_failed(self, failure: Failure) -> None:
        assert self.stream is None
        assert self.lease_failure is None
        self.log.append(f"{self.name} refused")
        self.lease_failure = failure
        self._next()

    def on_interim(self, head: ResponseHead) -> None:
        self._check()
        self.interim.append(head.status)

    def on_response(self, head: ResponseHead, end_stream: bool) -> None:
        self._check()
        self.head = head
        self._end(end_stream)

    def on_response_data(self, data: bytes, end_stream: bool) -> None:
        self._check()
        self.data += data
        if self.credits and data:
            assert self.stream is not None
            self.stream.credit(len(data))
        self._end(end_stream)

    def on_response_trailers(self, fields: Fields) -> None:
        self._check()
        self.trailers = fields
        self._end(True)

    def on_request_framed(self, size: int) -> None:
        self._check()
        self.framed += size

    def on_backend_failure(self, failure: Failure) -> None:
        self._check()
        self.log.append(f"{self.name} failed")
        self.failure = failure
        self._next()

    @property
    def is_over(self) -> bool:
        return self.is_done or self.failure is not None or self.lease_failure is not None

    def _check(self) -> None:
        assert self.stream is not None
        assert not self.is_over, "nothing follows the end"

    def _end(self, end_stream: bool) -> None:
        if end_stream:
            self.is_done = True
            self.log.append(f"{self.name} done")
            self._next()

    def _next(self) -> None:
        if self.then is not None:
            self.then()


class House:
    """Makes pools and fake backends, and takes them down; then nothing may be left of them."""

    def __init__(self, reactor: Reactor) -> None:
        self.reactor = reactor
        self.flush_queue = FlushQueue()
        self.flush_queue.start(reactor.loop)
        self._pools: list[Pool] = []
        self._fakes: list[FakeBackend] = []

    @property
    def clock(self) -> Clock:
        clock = self.reactor.deadlines.clock
        assert isinstance(clock, Clock)
        return clock

    def later(self, seconds: float) -> None:
        """Let time pass in which nothing happens: no deadline is looked at."""
        self.clock.now += seconds
        self.reactor.deadlines.refresh()

    def fake(self, **arguments: Any) -> FakeBackend:
        fake = FakeBackend(self.reactor, **arguments)
        self._fakes.append(fake)
        return fake

    def pool(
        self,
        url: str,
        *,
        tls: ssl.SSLContext | None = None,
        server_name: str | None = None,
        engine_settings: Http2Settings | None = None,
        **config: Any,
    ) -> Pool:
        parsed = EndpointUrl.parse(url)
        settings = engine_settings or Http2Settings(
            stream_window=262_144, connection_window=16_777_216, header_list=65_536, fields=500
        )
        pool = Pool(
            Endpoint(EndpointConfig(url=parsed)),
            PoolConfig(**config),
            self.reactor,
            self.flush_queue,
            lambda: choose("auto").http2_client(settings),
            tls,
            server_name or (parsed.host if tls is not None else None),
        )
        self._pools.append(pool)
        return pool

    def backend(
        self, *urls: str, tls: ssl.SSLContext | None = None, server_name: str | None = None, **config: Any
    ) -> Backend:
        endpoints = tuple(
            EndpointConfig(url=EndpointUrl.parse(url), weight=int(weight or 1))
            for url, _, weight in (text.partition("*") for text in urls)
        )
        backend = Backend(
            "app",
            BackendConfig(endpoints=endpoints, tls=BackendTls(server_name=server_name), **config),
            self.reactor,
            self.flush_queue,
            lambda: choose("auto").http2_client(Http2Settings()),
            tls,
        )
        self._pools.extend(backend.pools)
        return backend

    def request(self, pool: Pool, request: Request | None = None, *, first: bool = False) -> Request:
        """Ask `pool` for a stream, as a frontend's callback would: with the flush after it."""
        request = request or Request()
        pool.acquire(request, first=first)
        self.flush_queue.run()
        return request

    def settled(self, *requests: Request) -> None:
        """Run until all of them are over."""
        run_until(lambda: all(request.is_over for request in requests))

    def pass_time(self, seconds: float) -> None:
        pass_time(self.reactor, seconds)
        self.flush_queue.run()

    def close(self) -> None:
        # The resolver's threads: other tests fork this process.
        gevent.get_hub().threadpool.kill()
        for pool in self._pools:
            for connection in list(pool.connections):
                for stream in list(connection.streams.values()):
                    connection.reset(stream, 8)  # type: ignore[arg-type]
            pool.close()
        self.flush_queue.run()
        for fake in self._fakes:
            fake.close()
        run_until(lambda: not self.reactor.open_transports and not any(pool.dialing for pool in self._pools))
        turn()
        for pool in self._pools:
            assert pool.endpoint.in_use == 0, pool
            assert not pool.connections, pool
            assert not pool.waiting, pool
        assert not len(self.flush_queue)
        self.flush_queue.stop()


def greenlets() -> int:
    import gc

    return sum(1 for each in gc.get_objects() if isinstance(each, gevent.Greenlet) and not each.dead)
