"""One address of a backend, and whether it is worth asking.

Passive health: an endpoint that cannot be connected to is skipped for a while, then one dial may probe it. If all
endpoints of a backend are skipped, they are asked all the same: a backend of one endpoint that restarts must not
be down for longer than its restart takes.

Rule: connected means that the backend's SETTINGS have arrived; what accepts and says nothing does not count as up.
"""

from __future__ import annotations

import logging
import random
from enum import IntEnum

from h2gate.config.model import Endpoint as EndpointConfig
from h2gate.errors import Failure
from h2gate.lifecycle import Lifecycle

EJECT_SECONDS = 1.0
EJECT_MAX_SECONDS = 30.0

_log = logging.getLogger("h2gate")


class EndpointState(IntEnum):
    UP = 0
    EJECTED = 1
    PROBING = 2


class EndpointEvent(IntEnum):
    DIALED = 0
    DIAL_FAILED = 1
    PAUSE_OVER = 2


_S, _E = EndpointState, EndpointEvent

ENDPOINT = Lifecycle(
    "endpoint",
    _S.UP,
    {
        (_S.UP, _E.DIALED): _S.UP,
        (_S.UP, _E.DIAL_FAILED): _S.EJECTED,
        (_S.EJECTED, _E.PAUSE_OVER): _S.PROBING,
        # Several dials may be under way, or all endpoints are ejected and are asked all the same.
        (_S.EJECTED, _E.DIALED): _S.UP,
        (_S.EJECTED, _E.DIAL_FAILED): _S.EJECTED,
        (_S.PROBING, _E.DIALED): _S.UP,
        (_S.PROBING, _E.DIAL_FAILED): _S.EJECTED,
    },
)


class Endpoint:
    """`in_use` counts requests: those that run on its connections, and those that wait for one."""

    __slots__ = (
        "_has_probe",
        "_skip_until",
        "authority",
        "failures",
        "in_use",
        "name",
        "scheme",
        "state",
        "url",
        "weight",
    )

    def __init__(self, config: EndpointConfig) -> None:
        self.url = config.url
        self.name = str(config.url)
        # As they stand in requests.
        self.scheme = b"https" if config.url.tls else b"http"
        self.authority = config.url.authority
        self.weight = config.weight
        self.in_use = 0
        self.state = ENDPOINT.initial
        self.failures = 0
        self._skip_until = 0.0
        self._has_probe = False

    def __repr__(self) -> str:
        return f"<Endpoint {self.name} {self.state.name} {self.in_use} in use>"

    def is_usable(self, now: float) -> bool:
        """Return whether a request may go there; ends the pause if it is over.

        While it is probed it is not: a probe that is answered by silence costs one request its time, not many.
        """
        if self.state is EndpointState.EJECTED and now >= self._skip_until:
            self.state = ENDPOINT.next(self.state, EndpointEvent.PAUSE_OVER)
        return self.state is EndpointState.UP or (self.state is EndpointState.PROBING and not self._has_probe)

    def on_dialing(self) -> None:
        self._has_probe = self.state is EndpointState.PROBING

    def on_dialed(self) -> None:
        if self.state is not EndpointState.UP:
            _log.info("%s answers again", self.name)
        self.state = ENDPOINT.next(self.state, EndpointEvent.DIALED)
        self.failures = 0
        self._has_probe = False

    def on_dial_given_up(self) -> None:
        """Nobody wanted a connection any more before it was known what comes of it: another may probe."""
        self._has_probe = False

    def on_dial_failed(self, now: float, failure: Failure) -> None:
        was_up = self.state is EndpointState.UP
        self.state = ENDPOINT.next(self.state, EndpointEvent.DIAL_FAILED)
        self.failures += 1
        self._has_probe = False
        # The exponent has a limit of its own: a float of 2 ** 1024 does not exist.
        pause = min(EJECT_SECONDS * 2 ** min(self.failures - 1, 16), EJECT_MAX_SECONDS) * random.uniform(0.9, 1.1)
        self._skip_until = now + pause
        if was_up:
            _log.warning("%s does not answer: %s", self.name, failure)
