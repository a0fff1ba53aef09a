"""What is checked beyond types, and what is found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from h2gate.config.model import AccessLog, Backend, Config, ErrorPage, Limits, Listener, Retries, Route, Timeouts
from h2gate.config.problems import KeyPath


class Finding(NamedTuple):
    path: KeyPath
    message: str


@dataclass(frozen=True, slots=True)
class Parts:
    """A configuration, of which parts may be broken (None). `is_whole`: no file of it is missing."""

    listeners: Sequence[Listener | None]
    backends: Mapping[str, Backend | None]
    routes: Sequence[Route | None]
    timeouts: Timeouts | None = field(default_factory=Timeouts)
    limits: Limits | None = field(default_factory=Limits)
    retries: Retries | None = field(default_factory=Retries)
    error_pages: Sequence[ErrorPage | None] = ()
    access_log: AccessLog | None = field(default_factory=AccessLog)
    is_whole: bool = True

    @classmethod
    def of(cls, config: Config, is_whole: bool = True) -> Parts:
        return cls(
            config.listeners,
            config.backends,
            config.routes,
            config.timeouts,
            config.limits,
            config.retries,
            config.error_pages,
            config.access_log,
            is_whole,
        )

    def all_routes(self) -> Sequence[Route] | None:
        """Return the routes, or None if one of them is not known."""
        routes = [route for route in self.routes if route is not None]
        return routes if self.is_whole and len(routes) == len(self.routes) else None
