"""One request on a backend connection, as its sink sees it.

Rule: calls after its end are ignored, so that nobody needs to ask first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from h2gate.backend.contract import ResponseSink
from h2gate.errors import ErrorCode
from h2gate.protocol.events import Fields

if TYPE_CHECKING:
    from h2gate.backend.connection import BackendConnection


class BackendStream:
    __slots__ = (
        "_held",
        "_is_proved",
        "connection",
        "id",
        "is_answered",
        "is_over",
        "is_reused",
        "is_sent",
        "is_touched",
        "is_tunnel",
        "sink",
    )

    def __init__(
        self, connection: BackendConnection, sink: ResponseSink, is_reused: bool, is_sent: bool, is_tunnel: bool
    ) -> None:
        self.connection = connection
        self.sink = sink
        self.id = 0
        self.is_over = False
        # Of an extended CONNECT the two directions end one by one (RFC 8441, 5); `is_answered`: the backend's has.
        self.is_tunnel = is_tunnel
        self.is_answered = False
        # Whether the body may go out is asked once, at its beginning: later there is nothing left to save.
        self._is_proved = False
        self._held: _Held | None = None
        # The request's end is with the engine, though perhaps not framed.
        self.is_sent = is_sent
        # Facts for the retry rule: had the connection served before, or stood long enough to have died meanwhile; did
        # a byte of this stream come back?
        self.is_reused = is_reused
        self.is_touched = False

    @property
    def is_held(self) -> bool:
        """Whether the body waits for the proof that the connection lives: not a byte of it has gone out."""
        return self._held is not None

    def send_data(self, data: bytes, end_stream: bool) -> None:
        if self.is_over:
            return
        if not self._is_proved and self._has_to_wait():
            self._hold().pieces.append((data, end_stream))
            return
        self.is_sent = self.is_sent or end_stream
        self.connection.engine.send_data(self.id, data, end_stream)
        self.connection.mark()
        if end_stream and self.is_answered:
            self.connection.tunnel_ended(self)

    def send_trailers(self, fields: Fields) -> None:
        if self.is_over:
            return
        if not self._is_proved and self._has_to_wait():
            self._hold().trailers = fields
            return
        self.is_sent = True
        self.connection.engine.send_trailers(self.id, fields)
        self.connection.mark()

    def credit(self, size: int) -> None:
        if not self.is_over:
            self.connection.engine.credit(self.id, size)
            self.connection.mark()

    def reset(self, code: ErrorCode) -> None:
        """Cancel the request; the sink hears no more."""
        self.connection.reset(self, code)

    # Proof

    def _has_to_wait(self) -> bool:
        if self._held is not None:
            return True
        # What the backend has begun with cannot be sent again: to hold it back would save nothing.
        self._is_proved = self.is_touched or not self.connection.is_quiet
        if not self._is_proved:
            self.connection.prove(self)
        return not self._is_proved

    def _hold(self) -> _Held:
        if self._held is None:
            self._held = _Held()
        return self._held

    def release(self) -> None:
        """Send what was held: the connection lives."""
        held, self._held = self._held, None
        if held is None or self.is_over:
            return
        self._is_proved = True
        for data, end_stream in held.pieces:
            self.send_data(data, end_stream)
        if held.trailers is not None:
            self.send_trailers(held.trailers)


class _Held:
    """What a stream may not send yet."""

    __slots__ = ("pieces", "trailers")

    def __init__(self) -> None:
        self.pieces: list[tuple[bytes, bool]] = []
        self.trailers: Fields | None = None
