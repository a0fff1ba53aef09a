"""The life of a client's HTTP/2 session."""

from __future__ import annotations

from enum import IntEnum

from h2gate.lifecycle import Lifecycle


class SessionState(IntEnum):
    SERVING = 0
    LAST_CALL = 1
    DRAINING = 2
    CLOSED = 3


class SessionEvent(IntEnum):
    RETIRED = 0
    CALL_OVER = 1
    EMPTIED = 2
    LOST = 3


_S, _E = SessionState, SessionEvent

SESSION = Lifecycle(
    "client HTTP/2 session",
    _S.SERVING,
    {
        # RFC 9113, 6.8: a GOAWAY with 2^31-1 first, and the true last id a round trip later, so that no request
        # that is on its way meets a closed door.
        (_S.SERVING, _E.RETIRED): _S.LAST_CALL,
        (_S.SERVING, _E.LOST): _S.CLOSED,
        (_S.LAST_CALL, _E.CALL_OVER): _S.DRAINING,
        (_S.LAST_CALL, _E.LOST): _S.CLOSED,
        (_S.DRAINING, _E.EMPTIED): _S.CLOSED,
        (_S.DRAINING, _E.LOST): _S.CLOSED,
    },
)
