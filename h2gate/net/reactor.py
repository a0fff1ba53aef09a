"""What all connections of a worker share."""

from __future__ import annotations

from typing import Any

from h2gate.net.deadlines import Deadlines
from h2gate.net.hangup import HangupWatch


class Reactor:
    """The event loop, the deadlines, and the watch for peers that leave unread."""

    __slots__ = ("deadlines", "hangups", "loop", "open_transports")

    def __init__(self, loop: Any, deadlines: Deadlines) -> None:
        self.loop = loop
        self.deadlines = deadlines
        self.hangups = HangupWatch(loop)
        # A worker that leaves waits for those that still have something to send.
        self.open_transports = 0

    def close(self) -> None:
        self.hangups.close()
