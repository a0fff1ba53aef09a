"""A proxy without sockets: what the client's side and the backend's side are told is written down."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from h2gate.config.units import EndpointUrl
from h2gate.contract import Client
from h2gate.errors import ErrorCode, Failure
from h2gate.net.deadlines import Deadlines
from h2gate.net.flush import FlushQueue
from h2gate.protocol.events import Fields, RequestHead, ResponseHead
from h2gate.proxy.exchange import Exchange
from h2gate.proxy.proxy import Proxy
from tests.support.configs import config_of


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass(eq=False)
class ClientSide:
    """A `ClientStream`."""

    can_push: bool = False
    pushed: list[RequestHead] = field(default_factory=list)
    client: Client = field(default_factory=lambda: Client("192.0.2.7", 5000, 80, b"http", is_trusted=False))
    interims: list[ResponseHead] = field(default_factory=list)
    head: ResponseHead | None = None
    body: bytes = b""
    trailers: Fields | None = None
    has_ended: bool = False
    broken_by: Failure | None = None
    credited: int = 0
    refuses_rest: bool = False

    def send_interim(self, head: ResponseHead) -> None:
        self.interims.append(head)

    def send_head(self, head: ResponseHead, end_stream: bool) -> None:
        assert self.head is None
        self.head = head
        self.has_ended = end_stream

    def send_data(self, data: bytes, end_stream: bool) -> None:
        assert self.head is not None
        assert not self.has_ended
        self.body += data
        self.has_ended = end_stream

    def send_trailers(self, fields: Fields) -> None:
        assert not self.has_ended
        self.trailers = fields
        self.has_ended = True

    def push(self, head: RequestHead) -> None:
        self.pushed.append(head)

    def reset(self, failure: Failure) -> None:
        self.broken_by = failure

    def refuse_rest(self) -> None:
        self.refuses_rest = True

    def credit(self, size: int) -> None:
        self.credited += size

    @property
    def status(self) -> int | None:
        return None if self.head is None else self.head.status


@dataclass(eq=False)
class BackSide:
    """A `BackendStream`."""

    sink: Any
    head: RequestHead
    has_ended: bool
    is_reused: bool = False
    is_touched: bool = False
    is_held: bool = False
    body: bytes = b""
    trailers: Fields | None = None
    reset_by: ErrorCode | None = None
    credited: int = 0

    def send_data(self, data: bytes, end_stream: bool) -> None:
        assert not self.has_ended
        self.body += data
        self.has_ended = end_stream

    def send_trailers(self, fields: Fields) -> None:
        assert not self.has_ended
        self.trailers = fields
        self.has_ended = True

    def credit(self, size: int) -> None:
        self.credited += size

    def reset(self, code: ErrorCode) -> None:
        self.reset_by = code


class FakePool:
    """Gives a lease at once, or lets requests wait while `is_full`."""

    def __init__(self, url: str) -> None:
        parsed = EndpointUrl.parse(url)
        scheme = b"https" if parsed.tls else b"http"
        self.endpoint = SimpleNamespace(name=url, scheme=scheme, authority=parsed.authority)
        self.is_full = False
        self.is_reused = False
        # What its connection says of extended CONNECT; None before its SETTINGS.
        self.takes_connect: bool | None = True
        self.settling: list[Callable[[Failure | None], None]] = []
        self.waiting: list[Exchange] = []
        self.firsts: list[bool] = []
        self.streams: list[BackSide] = []

    def acquire(self, waiter: Exchange, *, first: bool = False) -> None:
        self.firsts.append(first)
        if self.is_full:
            self.waiting.append(waiter)
        else:
            self.lease(waiter)

    def lease(self, waiter: Exchange) -> None:
        connection: Any = SimpleNamespace(
            pool=self,
            open_stream=self.open_stream,
            local_port=40000,
            has_settings=self.takes_connect is not None,
            takes_connect=bool(self.takes_connect),
            when_settled=self.settling.append,
        )
        waiter.on_lease(connection)

    def open_stream(self, head: RequestHead, end_stream: bool, sink: Exchange) -> BackSide:
        stream = BackSide(sink, head, end_stream, is_reused=self.is_reused)
        self.streams.append(stream)
        return stream

    def withdraw(self, waiter: Exchange) -> None:
        if waiter in self.waiting:
            self.waiting.remove(waiter)


class FakeBackend:
    def __init__(self, pools: Sequence[FakePool]) -> None:
        self.pools = pools

    def choose(self, tried: Sequence[object]) -> FakePool:
        return next((pool for pool in self.pools if pool.endpoint not in tried), self.pools[0])


class Loop:
    """Timers that the test lets run."""

    def __init__(self) -> None:
        self.pending: list[Callable[[], None]] = []

    def timer(self, seconds: float) -> Any:
        def start(callback: Callable[[], None]) -> None:
            self.pending.append(callback)
            timer.callback = callback

        timer = SimpleNamespace(start=start, callback=None)
        timer.close = lambda: self.pending.remove(timer.callback) if timer.callback in self.pending else None
        return timer

    def run(self) -> None:
        pending, self.pending = self.pending, []
        for callback in pending:
            callback()


class House:
    """A proxy over `endpoints`, with everything the test may want to look at."""

    def __init__(self, *endpoints: str, **config: Any) -> None:
        endpoints = endpoints or ("h2c://backend:9000",)
        settings = {
            "backends": {"app": {"endpoints": [{"url": url} for url in endpoints]}},
            "routes": [{"backend": "app"}],
            **config,
        }
        self.config = config_of(settings)
        self.clock = Clock()
        self.deadlines = Deadlines(self.clock)
        self.loop = Loop()
        self.pools = [FakePool(url) for url in endpoints]
        self.log: list[Exchange] = []
        self.flush_queue = FlushQueue()
        reactor: Any = SimpleNamespace(loop=self.loop, deadlines=self.deadlines)
        self._backends: Any = {"app": FakeBackend(self.pools)}
        self.proxy = Proxy(self.config, reactor, self._backends, self.log.append)

    def add_backend(self, url: str) -> FakePool:
        """Add the backend that a route names by its URL."""
        pool = FakePool(url)
        self._backends[url] = FakeBackend([pool])
        return pool

    @property
    def pool(self) -> FakePool:
        return self.pools[0]

    def begin(
        self, method: bytes = b"GET", path: bytes = b"/", fields: Fields | None = None, *, end_stream: bool = True
    ) -> tuple[ClientSide, Exchange]:
        client = ClientSide()
        head = RequestHead(method, b"http", b"site.example", path, fields or [], b"HTTP/1.1", None, path)
        exchange = self.proxy.begin(client, head, end_stream)
        assert isinstance(exchange, Exchange)
        return client, exchange

    def pass_time(self, seconds: float) -> None:
        """Let the sweeper run as often as it would."""
        end = self.clock.now + seconds
        while self.clock.now < end:
            self.clock.now = min(self.clock.now + 0.1, end)
            self.deadlines.sweep()
        self.clock.now += 0.2
        self.deadlines.sweep()
