"""Where requests come in from the frontend: find the route, begin the exchange.

One `Proxy` per worker. It owns the router and the backends, and keeps the book of the exchanges that run.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from h2gate.backend.backend import Backend
from h2gate.config.model import Config
from h2gate.contract import ClientStream, RequestSink
from h2gate.errors import Failure, Reason
from h2gate.net.reactor import Reactor
from h2gate.protocol.events import RequestHead
from h2gate.proxy import rewrite
from h2gate.proxy.answers import DateField
from h2gate.proxy.exchange import Exchange
from h2gate.proxy.path import BadPath, normalize
from h2gate.proxy.retry import RetryBudget
from h2gate.proxy.router import Found, Router, map_path, redirect_location

# For the log, where a request's head could not be read.
_UNREADABLE = RequestHead(method=b"-", scheme=b"", authority=b"", path=b"-", version=b"-", target=b"-")

_logger = logging.getLogger("h2gate")


class Proxy:
    """The frontend's handler."""

    __slots__ = (
        "_log",
        "_reactor",
        "active",
        "backends",
        "budget",
        "date",
        "deadlines",
        "head_patience",
        "is_stopping",
        "limits",
        "requests",
        "retries",
        "router",
        "timeouts",
    )

    def __init__(
        self,
        config: Config,
        reactor: Reactor,
        backends: Mapping[str, Backend],
        log: Callable[[Exchange], None],
    ) -> None:
        self.router = Router(config)
        self.backends = backends
        self.timeouts = config.timeouts
        # The shorter of the two times for which nothing may move before the response's head.
        self.head_patience = min(config.timeouts.request_body, config.timeouts.response_head)
        self.limits = config.limits
        self.retries = config.retries
        self.budget = RetryBudget(config.retries.budget)
        self.deadlines = reactor.deadlines
        self.date = DateField()
        self.is_stopping = False
        # exchanges under way, and begun since the start
        self.active = 0
        self.requests = 0
        self._reactor = reactor
        self._log = log

    # What the frontend calls

    def begin(self, stream: ClientStream, head: RequestHead, end_stream: bool) -> RequestSink:
        exchange = self._open(stream, head, end_stream)
        try:
            self._route(exchange, head)
        except Exception:
            # It costs this request, not the connection and what else runs there.
            _logger.exception("internal error in an exchange")
            exchange.fail(Failure(Reason.INTERNAL))
        return exchange

    def reject(self, stream: ClientStream, head: RequestHead | None, failure: Failure) -> RequestSink:
        exchange = self._open(stream, head or _UNREADABLE, end_stream=True)
        exchange.fail(failure)
        return exchange

    def _open(self, stream: ClientStream, head: RequestHead, end_stream: bool) -> Exchange:
        self.active += 1
        self.requests += 1
        self.budget.on_request(self.deadlines.now)
        return Exchange(self, stream, head, end_stream)

    def _route(self, exchange: Exchange, head: RequestHead) -> None:
        if head.method == b"CONNECT":
            # No open proxy: there is no tunnel to anywhere.
            exchange.fail(Failure(Reason.BAD_REQUEST, "CONNECT"))
            return
        try:
            path, query = normalize(head.path)
        except BadPath as error:
            exchange.fail(Failure(Reason.BAD_REQUEST, str(error)))
            return
        found = self.router.find(head.method, head.authority, path)
        if found is None:
            self._refuse(exchange, head, path)
        else:
            self._follow(exchange, found, path, query)

    def _refuse(self, exchange: Exchange, head: RequestHead, path: bytes) -> None:
        methods = self.router.allowed_methods(head.authority, path)
        if methods:
            allow = (b"allow", b", ".join(methods))
            exchange.fail(Failure(Reason.METHOD_NOT_ALLOWED), [allow])
        else:
            exchange.fail(Failure(Reason.NO_ROUTE))

    def _follow(self, exchange: Exchange, found: Found, path: bytes, query: bytes) -> None:
        route = found.route
        if route.backend is not None:
            target = map_path(found, path, query)
            to_backend = rewrite.request(exchange.request, found, target, exchange.client, exchange.request_id)
            exchange.forward(found, self.backends[route.backend], to_backend)
        elif route.redirect is not None:
            exchange.found = found
            location = redirect_location(found, query)
            exchange.answer(route.redirect.status, b"", [(b"location", location)])
        else:
            assert route.respond is not None
            exchange.found = found
            exchange.answer(route.respond.status, route.respond.body, [])

    # What exchanges ask

    def timer(self, seconds: float, callback: Callable[[], None]) -> Any:
        """Call `callback` in `seconds`, finer than a deadline; `close()` on what is returned takes it back."""
        timer = self._reactor.loop.timer(seconds)
        timer.start(partial(self._timed, callback))
        return timer

    def _timed(self, callback: Callable[[], None]) -> None:
        self.deadlines.refresh()
        callback()

    def finished(self, exchange: Exchange) -> None:
        self.active -= 1
        self._log(exchange)
