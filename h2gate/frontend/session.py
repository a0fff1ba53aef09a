"""What sessions of both protocols have in common: writing, and the client that takes nothing.

Rule: a client may be slow, but each `client_write` seconds its kernel must have taken something of what waits, or the
connection is cut off.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from typing import Protocol

from h2gate.contract import Client
from h2gate.errors import Failure, Reason
from h2gate.frontend.front import FLUSH_BYTES, Front
from h2gate.net.deadlines import Deadline
from h2gate.net.transport import Transport

_log = logging.getLogger("h2gate")

# How long an idle connection is still served in a drain: a request that is on its way must not meet a closed door.
DRAIN_GRACE_SECONDS = 1.0


class Writer(Protocol):
    def data_to_send(self, limit: int) -> bytes: ...


class ClientSession(ABC):
    """Base of a session. Subclasses call `write_out` from `flush` and `_stop_watching` when they close."""

    __slots__ = ("_has_said", "_stall", "_taken", "client", "front", "is_marked", "transport")

    def __init__(self, front: Front, transport: Transport, client: Client) -> None:
        self.front = front
        self.transport = transport
        self.client = client
        self.is_marked = False
        self._stall = Deadline(self._check_stall)
        self._taken = 0
        self._has_said = False

    def mark(self) -> None:
        if not self.is_marked:
            self.front.flush_queue.mark(self)

    @abstractmethod
    def flush(self) -> None: ...

    @abstractmethod
    def cut_off(self, failure: Failure) -> None:
        """Drop the connection, because of the client."""

    def write_out(self, engine: Writer) -> bool:
        """Write what the transport has room for; return whether the engine has nothing more to send now."""
        transport = self.transport
        is_drained = False
        while transport.has_room:
            data = engine.data_to_send(FLUSH_BYTES)
            if data:
                transport.write(data)
            if len(data) < FLUSH_BYTES:
                is_drained = True
                break
        if transport.pending and not self._stall.is_armed:
            self._taken = transport.bytes_taken
            self.front.deadlines.arm(self._stall, self.front.timeouts.client_write)
        return is_drained

    def say(self, what: str) -> None:
        """Log what the client did, once for a connection: it must not be able to fill the disk."""
        if not self._has_said:
            self._has_said = True
            _log.info("client %s: %s", self.client.name, what)

    def _check_stall(self) -> None:
        transport = self.transport
        if transport.is_closed or not transport.pending:
            return
        if transport.bytes_taken == self._taken:
            self.cut_off(Failure(Reason.CLIENT_STALL))
        else:
            self._taken = transport.bytes_taken
            self.front.deadlines.arm(self._stall, self.front.timeouts.client_write)

    def _stop_watching(self) -> None:
        self.front.deadlines.end(self._stall)
