"""The connections of one worker to one endpoint, and the requests that wait for a stream.

The decision is pure (`decide`): it says which connection takes the next request, and whether another is to be
dialled. A request goes to the busiest connection that has fewer than `target_streams`, so that requests travel together
and connections that a burst has opened fall idle again; past that on all of them another is dialled, up to
`max_connections`; meanwhile and then they fill evenly up to `max_streams`; then requests wait, for a bounded time.

More than one connection to an endpoint is against a SHOULD NOT of RFC 9113, 9.1, on purpose: one connection is
one TCP window and one thread of many backends. A connection that drains takes no streams and is not counted: for as
long as its last streams run there may be more than `max_connections`.

Rule: everything here runs in the hub. A dial waits in a greenlet, and its outcome comes back by the hub.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from ssl import SSLContext, SSLSession
from typing import Any, NamedTuple

import gevent

from h2gate.backend.connection import STREAMS_BEFORE_SETTINGS, BackendConnection
from h2gate.backend.contract import Waiter
from h2gate.backend.dial import DialFailed, dial
from h2gate.backend.endpoint import Endpoint, EndpointState
from h2gate.config.model import Pool as PoolConfig
from h2gate.errors import Failure, Reason
from h2gate.net.deadlines import Deadline
from h2gate.net.flush import FlushQueue
from h2gate.net.reactor import Reactor
from h2gate.net.transport import Transport
from h2gate.protocol.contract import Http2ClientEngine

# Each session that goes on brings the next (RFC 8446, 4.6.1) and shows no certificate: without an end to it nobody
# would see that a certificate has expired.
SESSION_SECONDS = 3600.0
# More than a connection can have.
MAX_STREAMS = 2**31
# The least that is left for the backend's SETTINGS when the dial took nearly all of the time.
PREFACE_SECONDS_AT_LEAST = 0.1

_log = logging.getLogger("h2gate")


class Decision(NamedTuple):
    """`connection` takes the request (None: it waits); `dial`: open another connection."""

    connection: BackendConnection | None
    dial: bool


def choose(connections: Sequence[BackendConnection], target: int) -> BackendConnection | None:
    """Return the busiest connection below `target`, else the least busy that takes one more, None if there is none."""
    busiest: BackendConnection | None = None
    spare: BackendConnection | None = None
    most, least = -1, MAX_STREAMS
    for connection in connections:
        load = len(connection.streams)
        if load >= connection.stream_limit:
            continue
        if load >= target:
            if load < least:
                spare, least = connection, load
        elif load > most:
            busiest, most = connection, load
    return busiest if busiest is not None else spare


def decide(connections: Sequence[BackendConnection], dialing: int, waiting: int, config: PoolConfig) -> Decision:
    """Decide for one more request, with `waiting` requests before it and `dialing` dials under way."""
    target = min(config.target_streams, config.max_streams)
    best = choose(connections, target)
    if best is not None and len(best.streams) < target:
        return Decision(best, dial=False)
    # What is being dialled takes `STREAMS_BEFORE_SETTINGS` at once; no more dials than the waiting need.
    room = min(target, STREAMS_BEFORE_SETTINGS)
    wants = len(connections) + dialing < config.max_connections and dialing * room <= waiting
    return Decision(best, dial=wants)


class Pool:
    __slots__ = (
        "_connections",
        "_dials",
        "_is_serving",
        "_make_engine",
        "_returned",
        "_server_name",
        "_session",
        "_target",
        "_tls",
        "_verified_at",
        "_waiting",
        "clock",
        "config",
        "deadlines",
        "endpoint",
        "flush_queue",
        "is_closing",
        "reactor",
    )

    def __init__(
        self,
        endpoint: Endpoint,
        config: PoolConfig,
        reactor: Reactor,
        flush_queue: FlushQueue,
        make_engine: Callable[[], Http2ClientEngine],
        tls: SSLContext | None,
        server_name: str | None,
    ) -> None:
        self.endpoint = endpoint
        self.config = config
        self.reactor = reactor
        self.deadlines = reactor.deadlines
        self.clock = reactor.deadlines.clock
        self.flush_queue = flush_queue
        self.is_closing = False
        self._target = min(config.target_streams, config.max_streams)
        self._make_engine = make_engine
        self._tls = tls
        self._server_name = server_name
        # The last TLS session that led to SETTINGS: a dial that goes on with it spares both sides the certificates, a
        # round trip (TLS 1.2) and most of the CPU. It is as old as the pool at most: a reload makes new ones.
        self._session: SSLSession | None = None
        self._verified_at = 0.0
        # Only those that take streams.
        self._connections: list[BackendConnection] = []
        self._dials: set[Any] = set()
        # In order of arrival; a waiter that gives up is taken out wherever it stands. Those that GOAWAY sent back stand
        # before the others, and in their own order: the last one first would let the first ones starve.
        self._returned: OrderedDict[Waiter, Deadline] = OrderedDict()
        self._waiting: OrderedDict[Waiter, Deadline] = OrderedDict()
        self._is_serving = False

    def __repr__(self) -> str:
        busy = sum(1 for connection in self._connections if connection.streams)
        active = self.endpoint.in_use - self.waiting
        return (
            f"<Pool {self.endpoint.name} [requests: {active} active, {self.waiting} queued | "
            f"connections: {busy} active, {len(self._connections) - busy} idle, {len(self._dials)} dialing]>"
        )

    @property
    def connections(self) -> Sequence[BackendConnection]:
        """The connections that take streams; those that drain are not among them."""
        return self._connections

    @property
    def waiting(self) -> int:
        return len(self._returned) + len(self._waiting)

    @property
    def dialing(self) -> int:
        return len(self._dials)

    # Leases

    def acquire(self, waiter: Waiter, *, first: bool = False) -> None:
        """Give `waiter` a lease, now or later; `first` puts it before all that wait, whatever the queue's limit.

        Calls `on_lease` or `on_lease_failed`, perhaps before it returns.
        """
        if not (self._waiting or self._returned):
            # As `decide` would; nearly every request ends here.
            connection = choose(self._connections, self._target)
            if connection is not None and len(connection.streams) < self._target:
                waiter.on_lease(connection)
                if self._waiting or self._returned:
                    self.serve()
                return
        connection = self._connection_for(before=self.waiting)
        if connection is not None and not (self._returned if first else self.waiting):
            waiter.on_lease(connection)
            if self.waiting:
                self.serve()
        elif not first and self._is_queue_full():
            waiter.on_lease_failed(Failure(Reason.QUEUE_FULL))
        else:
            self._enqueue(waiter, first)
            if connection is not None:
                self.serve()

    def _connection_for(self, before: int) -> BackendConnection | None:
        """Return a connection for one more request with `before` others waiting; dial what is missing."""
        decision = decide(self._connections, len(self._dials), before, self.config)
        while decision.dial and self._may_dial():
            self._dial()
            decision = decide(self._connections, len(self._dials), before, self.config)
        return decision.connection

    def _is_queue_full(self) -> bool:
        # Requests that wait only for the dials under way are no queue at a full pool.
        coming = len(self._dials) * min(self.config.max_streams, STREAMS_BEFORE_SETTINGS)
        return self.waiting >= self.config.queue + coming

    def _enqueue(self, waiter: Waiter, first: bool) -> None:
        deadline = Deadline(partial(self._waited_too_long, waiter))
        self.deadlines.arm(deadline, self.config.queue_timeout)
        (self._returned if first else self._waiting)[waiter] = deadline
        self.endpoint.in_use += 1

    def withdraw(self, waiter: Waiter) -> None:
        """Forget a waiter that does not want to wait any more."""
        self._dequeue(waiter)

    def _dequeue(self, waiter: Waiter) -> bool:
        deadline = self._returned.pop(waiter, None) or self._waiting.pop(waiter, None)
        if deadline is None:
            return False
        self.deadlines.cancel(deadline)
        self.endpoint.in_use -= 1
        return True

    def serve(self) -> None:
        """Give leases to those that wait, as far as there are any."""
        # A lease may end at once and free its stream: the loop under way sees that, and the stack stays flat.
        if self._is_serving:
            return
        self._is_serving = True
        try:
            while self.waiting:
                connection = self._connection_for(before=self.waiting - 1)
                if connection is None:
                    return
                waiter = next(iter(self._returned or self._waiting))
                self._dequeue(waiter)
                self._give(waiter, connection)
        finally:
            self._is_serving = False

    def _give(self, waiter: Waiter, connection: BackendConnection) -> None:
        try:
            waiter.on_lease(connection)
        except Exception:
            # Who calls is some other request's connection: it must not pay for this one's error.
            _log.exception("internal error at a lease")
            self._refuse(waiter, Failure(Reason.INTERNAL))

    def _refuse(self, waiter: Waiter, failure: Failure) -> None:
        try:
            waiter.on_lease_failed(failure)
        except Exception:
            _log.exception("internal error at a failed lease")

    def _refuse_all(self, failure: Failure) -> None:
        for waiter in [*self._returned, *self._waiting]:
            # One may make another withdraw: both may be requests of one client.
            if self._dequeue(waiter):
                self._refuse(waiter, failure)

    def _waited_too_long(self, waiter: Waiter) -> None:
        self._dequeue(waiter)
        waiter.on_lease_failed(Failure(Reason.QUEUE_TIMEOUT))

    # Dialling

    def preconnect(self) -> None:
        if not self._connections and not self._dials:
            self._dial()

    def _may_dial(self) -> bool:
        """An endpoint that does not answer gets one dial at a time, and while others serve, none before its pause is
        over."""
        if self.endpoint.state is EndpointState.UP:
            return True
        return not self._dials and (not self._connections or self.endpoint.is_usable(self.clock()))

    def _dial(self) -> None:
        self.endpoint.on_dialing()
        greenlet = gevent.spawn(self._try_dial)
        self._dials.add(greenlet)
        greenlet.link(partial(self._dial_ended, self.clock()))

    def _try_dial(self) -> Transport | Failure:
        try:
            return dial(
                self.reactor,
                self.endpoint.url,
                self._tls,
                self._server_name,
                self.config.connect_timeout,
                source_address=self.config.source_address,
                session=self._session,
            )
        except DialFailed as error:
            return error.failure
        except Exception:
            _log.exception("internal error, %s not dialled", self.endpoint.name)
            return Failure(Reason.CONNECT_FAILED, "internal error")

    def _dial_ended(self, started: float, greenlet: Any) -> None:
        self._dials.discard(greenlet)
        self.deadlines.refresh()
        outcome = greenlet.value
        if isinstance(outcome, Transport):
            # The preface belongs to connecting: what is left of the time is for the backend's SETTINGS.
            left = self.config.connect_timeout - (self.clock() - started)
            self._connected(outcome, max(left, PREFACE_SECONDS_AT_LEAST))
        elif isinstance(outcome, Failure):
            self._endpoint_failed(outcome)

    def _connected(self, transport: Transport, preface_timeout: float) -> None:
        try:
            connection = BackendConnection(self, transport, self._make_engine(), preface_timeout)
        except Exception:
            _log.exception("internal error, %s not connected", self.endpoint.name)
            transport.abort()
            self._endpoint_failed(Failure(Reason.INTERNAL))
            return
        self._connections.append(connection)
        self.serve()
        self._retire_if_unwanted(connection)

    def _endpoint_failed(self, failure: Failure) -> None:
        self._session = None  # it may be what the backend did not like
        self.endpoint.on_dial_failed(self.clock(), failure)
        # Nothing is there or on its way for those that wait: to dial again for each of them would be a loop.
        if not self._connections and not self._dials:
            self._refuse_all(failure)

    # What connections tell

    def on_room(self, connection: BackendConnection) -> None:
        """A stream of an open connection has ended, and its sink has been told."""
        if self._waiting or self._returned:
            self.serve()
        if self.is_closing:
            self._retire_if_unwanted(connection)

    def on_connected(self, connection: BackendConnection) -> None:
        """A backend's first SETTINGS have arrived on `connection`, and in front of them its TLS tickets."""
        self.endpoint.on_dialed()
        tls = connection.transport.tls
        if tls is not None:
            now = self.deadlines.now
            if not tls.is_resumed:
                self._verified_at = now
            self._session = tls.session if now - self._verified_at < SESSION_SECONDS else None

    def on_not_connected(self, failure: Failure) -> None:
        """A connection ended without SETTINGS: whatever that is, it is no HTTP/2 backend that works."""
        self._endpoint_failed(failure)

    def on_connection_leaving(self, connection: BackendConnection) -> None:
        """`connection` takes no more streams. `serve` has to follow."""
        self._connections.remove(connection)

    # Housekeeping

    def tidy(self, now: float) -> None:
        """Retire connections that are old, and idle ones but for one that stays warm; PING those that are quiet.

        Call once a second.
        """
        for connection in list(self._connections):
            if connection.has_expired(now):
                connection.retire()
            else:
                connection.ping_if_quiet(now)
        idle = [c for c in self._connections if c.is_idle_since(now - self.config.idle_timeout)]
        if len(idle) == len(self._connections):
            idle = idle[1:]
        for connection in idle:
            connection.retire()

    def close(self) -> None:
        """Let connections go as they become idle. Requests that still come are served. May be called again."""
        self.is_closing = True
        for connection in list(self._connections):
            self._retire_if_unwanted(connection)
        if not self.waiting:
            for greenlet in self._dials:
                greenlet.kill(block=False)

    def _retire_if_unwanted(self, connection: BackendConnection) -> None:
        if self.is_closing and not connection.streams and not self.waiting:
            connection.retire()
