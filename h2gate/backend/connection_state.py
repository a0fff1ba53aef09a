"""The life of a backend connection.

Rule: only OPEN takes new streams. DIALING is the pool's: the object that the other states belong to is made when the
transport is there.
"""

from __future__ import annotations

from enum import IntEnum

from h2gate.lifecycle import Lifecycle


class ConnectionState(IntEnum):
    DIALING = 0
    OPEN = 1
    DRAINING = 2
    CLOSED = 3


class ConnectionEvent(IntEnum):
    DIALED = 0
    DIAL_FAILED = 1
    GOAWAY = 2
    RETIRED = 3
    EMPTIED = 4
    LOST = 5


_S, _E = ConnectionState, ConnectionEvent

CONNECTION = Lifecycle(
    "backend connection",
    _S.DIALING,
    {
        # HEADERS may go out with the preface, before the peer's SETTINGS (RFC 9113, 3.4).
        (_S.DIALING, _E.DIALED): _S.OPEN,
        (_S.DIALING, _E.DIAL_FAILED): _S.CLOSED,
        # The backend asked for it, or age and count did: what runs finishes, nothing new comes.
        (_S.OPEN, _E.GOAWAY): _S.DRAINING,
        (_S.OPEN, _E.RETIRED): _S.DRAINING,
        (_S.OPEN, _E.LOST): _S.CLOSED,
        # GOAWAY may come twice: 2^31-1 as a warning, then the last id (RFC 9113, 6.8).
        (_S.DRAINING, _E.GOAWAY): _S.DRAINING,
        (_S.DRAINING, _E.RETIRED): _S.DRAINING,
        (_S.DRAINING, _E.EMPTIED): _S.CLOSED,
        (_S.DRAINING, _E.LOST): _S.CLOSED,
    },
)
