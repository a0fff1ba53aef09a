"""What the master hands to a worker across the fork. Both know this module and nothing of each other."""

from __future__ import annotations

import signal
import socket
import ssl
from dataclasses import dataclass
from typing import Literal, Protocol

from h2gate.config.model import Config, Listener

# From the master to the workers of an old generation: another one serves, leave without haste. TERM says: leave. It is
# none of those an operator sends, nor WINCH, which a terminal sends to all its processes when its window changes.
RETIRE = signal.SIGRTMIN


class Row(Protocol):
    """A worker's row of the scoreboard: shared memory, written by the worker, read by the master."""

    def beat(self) -> None:
        """Say that the hub is alive; at least once a second."""

    def serving(self) -> None:
        """Say that connections are accepted now."""

    def draining(self) -> None: ...

    def count(self, active: int, requests: int) -> None:
        """Publish exchanges under way, and exchanges begun since the start."""

    def connected(self, connections: int) -> None:
        """Publish how many client connections are open."""

    def is_ahead(self) -> bool:
        """Whether another worker of the generation that serves has fewer connections."""


@dataclass(frozen=True, slots=True)
class BoundListener:
    """A listener's config, its bound and listening socket (non-blocking), and its TLS context."""

    config: Listener
    socket: socket.socket
    tls: ssl.SSLContext | None


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """The make of the engines that workers use, and why it is not the native one if `auto` found none (else empty)."""

    name: Literal["native", "python"]
    lacks: str = ""


@dataclass(frozen=True, slots=True)
class Handover:
    """Everything a worker starts with.

    `backend_tls` has a context for each backend with `h2://` endpoints, by the backend's name (config.tls names the
    anonymous ones by their URL). `orphan_fd` becomes readable (EOF) when the master is gone.
    """

    slot: int
    generation: int
    config: Config
    engine: EngineChoice
    listeners: tuple[BoundListener, ...]
    backend_tls: dict[str, ssl.SSLContext]
    row: Row
    orphan_fd: int
