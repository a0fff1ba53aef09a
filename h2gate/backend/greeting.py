"""The backend's SETTINGS while they are still to come: how long they may take, and who waits for what they say."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from h2gate.errors import Failure
from h2gate.net.deadlines import Timed

if TYPE_CHECKING:
    from h2gate.backend.connection import BackendConnection

_log = logging.getLogger("h2gate")


class Greeting(Timed):
    """It is its own deadline, and `not_greeted` of its connection is called when it expires."""

    __slots__ = ("_callbacks", "_connection")

    def __init__(self, connection: BackendConnection, seconds: float) -> None:
        super().__init__()
        self._connection = connection
        self._callbacks: list[Callable[[Failure | None], None]] = []
        connection.pool.deadlines.arm(self, seconds)

    def tell(self, callback: Callable[[Failure | None], None]) -> None:
        """Call `callback` once SETTINGS are here, with None, or with what the connection died of."""
        self._callbacks.append(callback)

    def end(self, failure: Failure | None) -> None:
        """Tell those that wait."""
        self._connection.pool.deadlines.cancel(self)
        for callback in self._callbacks:
            try:
                callback(failure)
            except Exception:
                _log.exception("internal error in an exchange")

    def expired(self) -> None:
        self._connection.not_greeted()
