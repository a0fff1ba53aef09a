"""Notice a peer that leaves while we do not read from it.

An HTTP/1.1 upload that waits for its backend is not read, so that the client's end of stream stays behind the
unread bytes. libev cannot ask for EPOLLRDHUP; one epoll of our own can, and is itself watched by the hub.

Rule: a descriptor is removed before it is closed; its number may be another socket's in the next moment.
"""

from __future__ import annotations

import logging
import select
from collections.abc import Callable
from typing import Any

READ_EVENT = 1

_log = logging.getLogger("h2gate")


class HangupWatch:
    __slots__ = ("_epoll", "_left", "_watcher")

    def __init__(self, loop: Any) -> None:
        self._epoll = select.epoll()
        self._left: dict[int, Callable[[], None]] = {}
        self._watcher = loop.io(self._epoll.fileno(), READ_EVENT)
        self._watcher.start(self._ready)

    def __len__(self) -> int:
        return len(self._left)

    def add(self, fd: int, left: Callable[[], None], *, resets_only: bool = False) -> None:
        """Call `left` once when the peer of socket `fd` has closed its side, or was reset; or only then."""
        if fd not in self._left:
            # EPOLLERR and EPOLLHUP are always asked for: epoll_ctl(2).
            self._epoll.register(fd, 0 if resets_only else select.EPOLLRDHUP)
        self._left[fd] = left

    def remove(self, fd: int) -> None:
        if self._left.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def close(self) -> None:
        self._watcher.stop()
        self._watcher.close()
        self._epoll.close()

    def _ready(self) -> None:
        ready = [(fd, self._left.get(fd)) for fd, _ in self._epoll.poll(0)]
        for fd, left in ready:
            # Not if one that was called just now has closed this one too, and its number already means another.
            if left is None or self._left.get(fd) is not left:
                continue
            self.remove(fd)
            try:
                left()
            except Exception:
                _log.exception("internal error at a hangup")
