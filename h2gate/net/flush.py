"""Who has something to send.

Whoever changes an engine marks its connection here; at the end of each batch of input the worker lets all marked
connections send. Sending frees windows, which marks others: it goes on until nobody is left. So output
is written once per batch, not once per frame, and nothing blocks between changing an engine and draining it.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

from h2gate.net.transport import Transport


class Flushable(Protocol):
    is_marked: bool

    @property
    def transport(self) -> Transport:
        """What is dropped if `flush` raises."""

    def flush(self) -> None: ...


class FlushQueue:
    __slots__ = ("_is_running", "_marked")

    def __init__(self) -> None:
        self._marked: deque[Flushable] = deque()
        self._is_running = False

    def __len__(self) -> int:
        return len(self._marked)

    def mark(self, connection: Flushable) -> None:
        if not connection.is_marked:
            connection.is_marked = True
            self._marked.append(connection)

    def run(self) -> None:
        """Flush all marked connections, and those that this marks. A flush that raises costs its connection only."""
        if self._is_running:
            return
        self._is_running = True
        try:
            while self._marked:
                connection = self._marked.popleft()
                connection.is_marked = False
                try:
                    connection.flush()
                except Exception:
                    connection.transport.fail()
        finally:
            self._is_running = False
