"""The life of each side of an exchange.

The request's side says what the client has given us, the response's side what we have given the client.
"""

from __future__ import annotations

from enum import IntEnum

from h2gate.lifecycle import Lifecycle


class SideState(IntEnum):
    HEAD = 0
    BODY = 1
    DONE = 2
    RESET = 3


class SideEvent(IntEnum):
    HEAD_PASSED = 0
    END = 1
    BREAK = 2


_S, _E = SideState, SideEvent

SIDE = Lifecycle(
    "exchange, each side",
    _S.HEAD,
    {
        (_S.HEAD, _E.HEAD_PASSED): _S.BODY,
        (_S.HEAD, _E.BREAK): _S.RESET,
        # Trailers, END_STREAM, or the last chunk: the message is complete (RFC 9113, 8.1).
        (_S.BODY, _E.END): _S.DONE,
        (_S.BODY, _E.BREAK): _S.RESET,
        # What was complete stays complete: a late reset takes nothing back.
        (_S.DONE, _E.BREAK): _S.DONE,
        (_S.RESET, _E.BREAK): _S.RESET,
    },
)
