"""What all client sessions of a worker share, and the book of those that are open."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from ipaddress import IPv6Address
from typing import Protocol

from h2gate.config.model import Limits, Timeouts
from h2gate.contract import Client, Handler
from h2gate.net.deadlines import Deadlines
from h2gate.net.flush import FlushQueue
from h2gate.net.reactor import Reactor
from h2gate.net.transport import Transport
from h2gate.protocol.contract import Http1ServerEngine, Http2ServerEngine

# One call of an engine frames this much at most; more than one of these never waits in a transport.
FLUSH_BYTES = 65_536
# What clients make the gate say is said this often at most.
WARN_SECONDS = 60.0

_log = logging.getLogger("h2gate")


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
    """Sessions add themselves to `sessions` and take themselves out when they are over.

    Limits count connections, until the last bytes are sent: a client that does not take those may keep its connection
    for as long as one that is served.
    """

    __slots__ = (
        "_connections",
        "_count",
        "_per_address",
        "_waiting",
        "_warned",
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
        self._connections = 0
        # With limits.connections_per_address: by what they count as.
        self._per_address: dict[str, int] = {}
        # Who accepts again when there is room.
        self._waiting: list[Callable[[], None]] = []
        # When each kind of warning was given, and how many were left out since.
        self._warned: dict[str, tuple[float, int]] = {}

    def opened(self, session: Session, transport: Transport) -> None:
        self._connections += 1
        transport.released = self._released
        self.sessions.add(session)
        self._count(len(self.sessions))

    def replaced(self, session: Session, by: Session) -> None:
        """The same connection goes on under another protocol."""
        self.sessions.discard(session)
        self.sessions.add(by)

    def closed(self, session: Session) -> None:
        self.sessions.discard(session)
        self._count(len(self.sessions))

    def _released(self, address: str = "") -> None:
        """A connection is over, and counted as one of `address` no longer."""
        self._connections -= 1
        if address:
            left = self._per_address[address] - 1
            if left:
                self._per_address[address] = left
            else:
                del self._per_address[address]
        if self._waiting and not self.is_full:
            waiting, self._waiting = self._waiting, []
            for resume in waiting:
                resume()

    # How many there may be

    @property
    def is_full(self) -> bool:
        limit = self.limits.connections
        return limit is not None and self._connections >= limit

    def wait_for_room(self, resume: Callable[[], None]) -> None:
        """Call `resume` once, when there is room for another connection."""
        self._waiting.append(resume)
        self.warn(f"limits.connections: {self._connections} are open: further clients wait")

    def admit(self, client: Client, transport: Transport) -> bool:
        """Count a connection, whose client is known now, for its address; return whether there may be one more."""
        limit = self.limits.connections_per_address
        if limit is None or not client.has_address:
            return True
        address = counted_as(client.address)
        count = self._per_address.get(address, 0)
        if count >= limit:
            self.warn("limits.connections_per_address: closed one more", f" of {address}, which has {count} open")
            return False
        self._per_address[address] = count + 1
        transport.released = partial(self._released, address)
        return True

    def warn(self, what: str, detail: str = "") -> None:
        """Log a warning, the same one once in a minute: nobody must be able to fill the disk."""
        kind = what.partition(":")[0]
        at, left_out = self._warned.get(kind, (-WARN_SECONDS, 0))
        now = self.deadlines.now
        if now - at < WARN_SECONDS:
            self._warned[kind] = at, left_out + 1
            return
        self._warned[kind] = now, 0
        _log.warning("%s%s%s", what, detail, f" ({left_out} times more since the last such line)" if left_out else "")

    def drain(self, within: float = 0.0) -> None:
        self.is_draining = True
        for session in list(self.sessions):
            session.drain(within)

    def shut_down(self) -> None:
        self.is_draining = True
        for session in list(self.sessions):
            session.shut_down()


def counted_as(address: str) -> str:
    """Return what connections of `address` are counted under: itself, in IPv6 its network of 64 bits.

    That much is one customer's, who can use each of its addresses (RFC 6177, 2; RFC 8981).
    """
    if ":" not in address:
        return address
    return f"{IPv6Address(int(IPv6Address(address)) >> 64 << 64)}/64"
