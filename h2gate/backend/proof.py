"""A PING on a connection that has been quiet, and the streams that wait for its answer.

On a connection from which nothing has come for `ping_after`, a request's head goes out at once and with it a PING, its
body only when something has come back. A peer that is gone (a host that vanished, a firewall that forgot) would swallow
the body, and what was sent whole must mostly not be sent again. Whatever comes is proof, not the acknowledgement alone,
which may stand behind megabytes of DATA: what has to be ruled out is silence. GOAWAY, a reset or the end of the
connection are handled first, and take the streams they concern with them.

If nothing comes for `ping_timeout` the connection gets no more streams and loses those that wait here. It may only be
slow: a backend that computes for two seconds answers no PING. So nothing waits that could not go elsewhere, neither
what ran before the silence nor a request that went out whole and is not safe to repeat; if the backend is dead their
own time will end them.

PING goes to quiet connections only, with a request or at the interval that was asked for: a gRPC server closes those
that PING often while it has nothing to send. A fresh connection needs no proof, it has just answered a handshake: its
first body does not wait for SETTINGS (Apache's does), which saves a round trip.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from h2gate.net.deadlines import Timed

if TYPE_CHECKING:
    from h2gate.backend.connection import BackendConnection
    from h2gate.backend.stream import BackendStream

# There is one at a time, and whatever comes is its answer: the text is for who looks at the wire.
PING_DATA = b"h2gate\0\0"


class Proof(Timed):
    """One PING under way. It is its own deadline, and `unproved` of its connection is called when it expires."""

    __slots__ = ("_connection", "_streams")

    def __init__(self, connection: BackendConnection) -> None:
        super().__init__()
        self._connection = connection
        self._streams: dict[BackendStream, None] = {}
        connection.engine.ping(PING_DATA)
        connection.pool.deadlines.arm(self, connection.pool.config.ping_timeout)

    def add(self, stream: BackendStream) -> None:
        self._streams[stream] = None

    def drop(self, stream: BackendStream) -> None:
        """Forget a stream that is over."""
        self._streams.pop(stream, None)

    def end(self) -> list[BackendStream]:
        """Return the streams that wait, in their order; nothing expires any more."""
        self._connection.pool.deadlines.cancel(self)
        return list(self._streams)

    def expired(self) -> None:
        self._connection.unproved()
