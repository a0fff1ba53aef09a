"""What all client sessions of a worker share, and the book of those that are open."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from h2gate.config.model import Limits, Timeouts
from h2gate.contract import Client, Handler
from h2gate.net.deadlines import Deadlines
from h2gate.net.flush import FlushQueue
from h2gate.net.reactor import Reactor
from h2gate.protocol.contract import Http1ServerEngine, Http2ServerEngine

# One call of an engine frames this much at most; more than one of these never waits in a transport.
FLUSH_BYTES = 65_536


class Session(Protocol):
    """One client connection, from accept to close."""

    client: Client

    def drain(self, within: float) -> None:
        """Begin nothing new, finish what runs, then close. An HTTP/2 session begins to at a moment `within` seconds.

        May be called again, with less time.
        """

    def shut_down(self) -> None:
        """End now: whatever runs is broken off visibly."""


class Front:
    """Sessions add themselves to `sessions` and take themselves out when they are closed."""

    __slots__ = (
        "_count",
        "deadlines",
        "flush_queue",
        "handler",
        "is_draining",
        "limits",
        "make_http1",
        "make_http2",
        "reactor",
        "sessions",
        "timeouts",
    )

    def __init__(
        self,
        reactor: Reactor,
        flush_queue: FlushQueue,
        handler: Handler,
        timeouts: Timeouts,
        limits: Limits,
        make_http1: Callable[[bytes], Http1ServerEngine],
        make_http2: Callable[[], Http2ServerEngine],
        count: Callable[[int], None],
    ) -> None:
        """`count` is told how many sessions there are, whenever that changes."""
        self.reactor = reactor
        self.deadlines: Deadlines = reactor.deadlines
        self.flush_queue = flush_queue
        self.handler = handler
        self.timeouts = timeouts
        self.limits = limits
        self.make_http1 = make_http1
        self.make_http2 = make_http2
        self.sessions: set[Session] = set()
        self._count = count
        self.is_draining = False

    def opened(self, session: Session) -> None:
        self.sessions.add(session)
        self._count(len(self.sessions))

    def replaced(self, session: Session, by: Session) -> None:
        """The same connection goes on under another protocol."""
        self.sessions.discard(session)
        self.sessions.add(by)

    def closed(self, session: Session) -> None:
        self.sessions.discard(session)
        self._count(len(self.sessions))

    def drain(self, within: float = 0.0) -> None:
        self.is_draining = True
        for session in list(self.sessions):
            session.drain(within)

    def shut_down(self) -> None:
        self.is_draining = True
        for session in list(self.sessions):
            session.shut_down()
