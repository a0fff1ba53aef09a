"""A named group of endpoints that can do the same, each with its pool.

What the proxy knows of a backend: it asks for a pool, and for a stream there. Rule: a request that was tried on one
endpoint is tried on another one next, if there is one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ssl import SSLContext

from h2gate.backend.balancer import BALANCERS
from h2gate.backend.endpoint import Endpoint
from h2gate.backend.pool import Pool
from h2gate.config.model import Backend as BackendConfig
from h2gate.net.flush import FlushQueue
from h2gate.net.reactor import Reactor
from h2gate.protocol.contract import Http2ClientEngine


class Backend:
    """`tls_context` is needed where an endpoint is `h2://`."""

    __slots__ = ("_balancer", "_deadlines", "_only", "_pool_of", "endpoints", "name", "pools")

    def __init__(
        self,
        name: str,
        config: BackendConfig,
        reactor: Reactor,
        flush_queue: FlushQueue,
        make_engine: Callable[[], Http2ClientEngine],
        tls_context: SSLContext | None,
    ) -> None:
        self.name = name
        self._deadlines = reactor.deadlines
        self.endpoints = tuple(Endpoint(endpoint) for endpoint in config.endpoints)
        self._pool_of: dict[Endpoint, Pool] = {}
        for endpoint in self.endpoints:
            tls = server_name = None
            if endpoint.url.tls:
                assert tls_context is not None, f"{endpoint.name} needs a TLS context"
                tls, server_name = tls_context, config.tls.server_name or endpoint.url.host
            self._pool_of[endpoint] = Pool(endpoint, config.pool, reactor, flush_queue, make_engine, tls, server_name)
        self.pools = tuple(self._pool_of.values())
        self._balancer = BALANCERS[config.balance](self.endpoints)
        self._only = self.pools[0] if len(self.pools) == 1 else None

    def __repr__(self) -> str:
        return f"<Backend {self.name} {list(self.pools)}>"

    def choose(self, tried: Sequence[Endpoint]) -> Pool:
        """Return the pool for a request that has been tried on the endpoints `tried`."""
        return self._only or self._pool_of[self._balancer.choose(tried, self._deadlines.now)]

    def preconnect(self) -> None:
        """Dial one connection per endpoint."""
        for pool in self.pools:
            pool.preconnect()

    def tidy(self, now: float) -> None:
        """Retire what is old or idle. Call once a second."""
        for pool in self.pools:
            pool.tidy(now)

    def close(self) -> None:
        """Let connections go as they become idle. May be called again."""
        for pool in self.pools:
            pool.close()
