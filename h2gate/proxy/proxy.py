"""Where requests come in from the frontend: find the route, begin the exchange.

One `Proxy` per worker. It owns the router and the backends, and keeps the book of the exchanges that run.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from h2gate.backend.backend import Backend
from h2gate.config.model import Config
from h2gate.contract import ClientStream, RequestSink
from h2gate.errors import Failure, Reason
from h2gate.net.reactor import Reactor
from h2gate.protocol.events import Fields, RequestHead
from h2gate.proxy import rewrite
from h2gate.proxy.answers import DateField, Errors
from h2gate.proxy.exchange import Exchange
from h2gate.proxy.mirror import Copy
from h2gate.proxy.path import BadPath, normalize
from h2gate.proxy.retry import RetryBudget
from h2gate.proxy.router import CompiledRoute, Router, map_path, redirect_location
from h2gate.proxy.tunnel import Tunnel

# For the log, where a request's head could not be read.
_UNREADABLE = RequestHead(method=b"-", scheme=b"", authority=b"", path=b"-", version=b"-", target=b"-")

_logger = logging.getLogger("h2gate")


class Proxy:
    """The frontend's handler."""

    __slots__ = (
        "_asks_who",
        "_log",
        "_reactor",
        "active",
        "backends",
        "budget",
        "copies",
        "date",
        "deadlines",
        "errors",
        "is_stopping",
        "limits",
        "requests",
        "retries",
        "rewriter",
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
        # A route's headers ask for what a proxy in front says of the client.
        self._asks_who = any(
            route.conditions is not None and not rewrite.FORWARDED.isdisjoint(route.conditions.names)
            for route in self.router.routes
        )
        self.rewriter = rewrite.Rewriter(config.forwarding)
        self.backends = backends
        self.timeouts = config.timeouts
        self.limits = config.limits
        self.retries = config.retries
        self.budget = RetryBudget(config.retries.budget)
        self.deadlines = reactor.deadlines
        self.date = DateField()
        self.errors = Errors(self.date, config.forwarding.proxy_status)
        self.is_stopping = False
        # exchanges under way, and begun since the start
        self.active = 0
        self.requests = 0
        # copies for mirrors under way
        self.copies = 0
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
        return (Tunnel if head.protocol else Exchange)(self, stream, head, end_stream)

    def _route(self, exchange: Exchange, head: RequestHead) -> None:
        client = exchange.client
        if client.names is not None and not client.serves(head.authority):
            exchange.fail(Failure(Reason.MISDIRECTED))
            return
        method = head.method
        if head.protocol:
            # What a WebSocket would be without one: routes are for both of its forms (RFC 8441, 5).
            method = b"GET"
        elif method == b"CONNECT":
            # No open proxy: there is no tunnel to anywhere.
            exchange.fail(Failure(Reason.BAD_REQUEST, "CONNECT"))
            return
        try:
            path, query = normalize(head.path)
        except BadPath as error:
            exchange.fail(Failure(Reason.BAD_REQUEST, str(error)))
            return
        fields = head.fields
        if self._asks_who and not client.is_trusted:
            # The backend does not hear it of a stranger either.
            fields = [field for field in fields if field[0] not in rewrite.FORWARDED]
        route = self.router.find(method, head.authority, path, fields, query)
        if route is None:
            self._refuse(exchange, head, path, fields, query)
        else:
            self._follow(exchange, head, route, path, query)

    def _refuse(self, exchange: Exchange, head: RequestHead, path: bytes, fields: Fields, query: bytes) -> None:
        methods = self.router.allowed_methods(head.authority, path, fields, query)
        if methods:
            exchange.fail(Failure(Reason.METHOD_NOT_ALLOWED), [allow(methods)])
        else:
            exchange.fail(Failure(Reason.NO_ROUTE))

    def _follow(self, exchange: Exchange, head: RequestHead, route: CompiledRoute, path: bytes, query: bytes) -> None:
        exchange.found = route
        target = route.target or route.choose()
        if target is None:
            self._answer(exchange, route, path, query)
            return
        if head.method in rewrite.COUNTS_HOPS and self._ends_here(exchange, route):
            return
        backend, base_path = target
        try:
            mapped = map_path(route, base_path, path, query)
        except BadPath as error:
            exchange.fail(Failure(Reason.BAD_REQUEST, str(error)))
            return
        to_backend = self.rewriter.request(head, route, mapped, exchange.client, exchange.request_id)
        # To ask an ABC's subclass by `isinstance` costs 0.3 us.
        if head.protocol:
            assert isinstance(exchange, Tunnel)
            failure = exchange.prepare(route, to_backend)
            if failure is not None:
                exchange.fail(failure)
                return
        copy = None if route.mirror is None else self._copy_for(route, path, query, to_backend)
        exchange.forward(base_path, self.backends[backend], to_backend, copy)

    def _answer(self, exchange: Exchange, route: CompiledRoute, path: bytes, query: bytes) -> None:
        if route.redirect is not None:
            location = redirect_location(route, path, query)
            exchange.answer(route.redirect.status, b"", [(b"location", location)])
        else:
            assert route.respond is not None
            status, body = route.respond
            if status >= 400 and not body:
                exchange.answer_error(status)
            else:
                exchange.answer(status, body, [])

    def _ends_here(self, exchange: Exchange, route: CompiledRoute) -> bool:
        """Answer an OPTIONS or TRACE that was to come as far as the gate: Max-Forwards (RFC 9110, 7.6.2)."""
        try:
            hops = rewrite.hops_of(exchange.request)
        except ValueError as error:
            exchange.fail(Failure(Reason.BAD_REQUEST, str(error)))
            return True
        if hops != 0:
            return False
        allowed = allow(route.methods or USUAL_METHODS)
        if exchange.request.method == b"OPTIONS":
            exchange.answer(200, b"", [allowed])
        else:
            # To echo a request shows a page's script the cookies that it may not see (9.3.8 would have it).
            exchange.fail(Failure(Reason.METHOD_NOT_ALLOWED), [allowed])
        return True

    def _copy_for(self, route: CompiledRoute, path: bytes, query: bytes, to_backend: RequestHead) -> Copy | None:
        """Return a copy of the request for the route's mirror, if it is to have one."""
        mirror = route.mirror
        if mirror is None or to_backend.protocol or random.random() >= mirror.share:
            return None
        head = replace(to_backend, path=map_path(route, mirror.base_path, path, query))
        return Copy(self, self.backends[mirror.backend], head)

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
        if exchange.found.logs:
            self._log(exchange)


# What a backend behind a route for all methods is likely to have: said by the gate only in the backend's place.
USUAL_METHODS = (b"DELETE", b"GET", b"HEAD", b"OPTIONS", b"PATCH", b"POST", b"PUT")


def allow(methods: Iterable[bytes]) -> tuple[bytes, bytes]:
    return (b"allow", b", ".join(sorted(methods)))
