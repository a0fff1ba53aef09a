"""A request's body between the client and the backend: what has to be sent (again), and what is owed as credit.

Rule: the body is held whole until it is larger than the replay buffer, or the response's head is out. A byte is
credited to the client once, however often it is sent.
"""

from __future__ import annotations

from h2gate.backend.stream import BackendStream
from h2gate.protocol.events import Fields


class RequestBody:
    """`limit`: bytes that may be held to send them again. What was never sent is held whatever its size: a window
    bounds it. `trailers` are the request's, None if it has none."""

    __slots__ = (
        "_chunks",
        "_credited",
        "_framed",
        "_held",
        "_limit",
        "is_complete",
        "is_whole",
        "received",
        "trailers",
    )

    def __init__(self, limit: int, is_complete: bool) -> None:
        self._limit = limit
        self._chunks: list[bytes] = []
        self._held = 0
        self.trailers: Fields | None = None
        self._framed = 0
        self._credited = 0
        self.is_complete = is_complete
        # Nothing of it has been dropped: it can be sent from its beginning.
        self.is_whole = True
        self.received = 0

    def add(self, data: bytes, end_stream: bool, back: BackendStream | None) -> None:
        """Take body bytes from the client, and send them if there is a stream."""
        self.received += len(data)
        self.is_complete = end_stream
        if self.is_whole and data:
            self._chunks.append(data)
            self._held += len(data)
        if back is not None:
            back.send_data(data, end_stream)
            self._drop_excess(back)

    def end(self, trailers: Fields, back: BackendStream | None) -> None:
        self.is_complete = True
        self.trailers = trailers
        if back is not None:
            back.send_trailers(trailers)

    @property
    def is_empty(self) -> bool:
        """Whether the head alone is the whole request."""
        return self.is_complete and not self._chunks and self.trailers is None

    def send_from_start(self, back: BackendStream) -> None:
        """Send what is held on a fresh stream, whose head is out."""
        self._framed = 0
        ends_with_data = self.is_complete and self.trailers is None
        last = len(self._chunks) - 1
        for index, chunk in enumerate(self._chunks):
            back.send_data(chunk, ends_with_data and index == last)
        if self.trailers is not None:
            back.send_trailers(self.trailers)
        self._drop_excess(back)

    def framed(self, size: int) -> int:
        """Note that `size` bytes went out to the backend; return how much of it is new and owed to the client."""
        self._framed += size
        fresh = max(self._framed - self._credited, 0)
        self._credited += fresh
        return fresh

    @property
    def is_all_framed(self) -> bool:
        """Whether the backend's stream has everything that the client has sent."""
        return self._framed == self.received

    def contents(self) -> tuple[list[bytes], Fields | None]:
        """Return the pieces of a whole body, and its trailers."""
        return self._chunks.copy(), self.trailers

    def drop(self) -> None:
        """It will not be sent again."""
        self._chunks.clear()
        self._held = 0
        self.is_whole = False

    def _drop_excess(self, back: BackendStream) -> None:
        # What the stream holds back for the proof of its connection has not been sent: it may still go to another.
        if self._held > self._limit and not back.is_held:
            self.drop()


class _Empty(RequestBody):
    """The body of a request that has none: nothing in it ever changes, so that all such requests share one."""

    def drop(self) -> None:
        pass


EMPTY = _Empty(0, is_complete=True)
