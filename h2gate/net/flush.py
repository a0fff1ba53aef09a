"""Who has something to send.

Whoever changes an engine marks its connection here. At the end of each turn of the loop, when all that had arrived has
been handled and before it waits again, all marked connections send. Sending frees windows, which marks others: it goes
on until nobody is left. So what a hundred clients ask for leaves for their backend in one write: with a write per
client, one request in flight on each of 100 connections cost a quarter more.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Protocol

from h2gate.net.transport import Transport


class Flushable(Protocol):
    is_marked: bool

    @property
    def transport(self) -> Transport:
        """What is dropped if `flush` raises."""

    def flush(self) -> None: ...


class FlushQueue:
    __slots__ = ("_is_running", "_marked", "_watcher")

    def __init__(self) -> None:
        self._marked: deque[Flushable] = deque()
        self._is_running = False
        self._watcher: Any = None

    def start(self, loop: Any) -> None:
        """Run at the end of each turn of `loop`."""
        self._watcher = loop.prepare(ref=False)
        # Behind the loop's own callbacks, which may mark as well.
        self._watcher.priority = loop.MINPRI
        self._watcher.start(self.run)

    def stop(self) -> None:
        self._watcher.stop()
        self._watcher.close()

    def __len__(self) -> int:
        return len(self._marked)

    def mark(self, connection: Flushable) -> None:
        if not connection.is_marked:
            connection.is_marked = True
            self._marked.append(connection)

    def run(self) -> None:
        """Flush all marked connections, and those that this marks. A flush that raises costs its connection only.

        The loop calls it; others only where they must know that all is out.
        """
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
