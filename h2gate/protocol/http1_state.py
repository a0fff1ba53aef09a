"""The two lifecycles of an HTTP/1.1 exchange on the client's connection: reading it, and answering it.

The one rule: they advance on their own. A response may begin, and even end, while the request's body still
comes in, and the next request is read only when both are over (RFC 9112, 9.3.2).

Each Enum takes the hash of object, because its own is written in Python: a look-up in a table costs 0.1 us with the
first and 0.3 us with the second, and an exchange makes five.
"""

from __future__ import annotations

from enum import Enum

from h2gate.lifecycle import Lifecycle


class Reading(Enum):
    """How far the request under way has been read."""

    __hash__ = object.__hash__

    HEAD = "head"
    BODY = "body"
    OFFERED = "offered"
    TUNNEL = "tunnel"
    COMPLETE = "complete"
    FAILED = "failed"


class Read(Enum):
    """What was read; of an upgrade, how it was answered."""

    __hash__ = object.__hash__

    HEAD_WITH_BODY = "head_with_body"
    WHOLE_REQUEST = "whole_request"
    UPGRADE = "upgrade"
    SWITCHED = "switched"
    DECLINED = "declined"
    END_OF_BODY = "end_of_body"
    FAULT = "fault"
    NEXT = "next"


READING: Lifecycle[Reading, Read] = Lifecycle(
    "request reading",
    Reading.HEAD,
    {
        (Reading.HEAD, Read.HEAD_WITH_BODY): Reading.BODY,
        # RFC 9112, 6.3: no Content-Length and no Transfer-Encoding, no body.
        (Reading.HEAD, Read.WHOLE_REQUEST): Reading.COMPLETE,
        # An upgrade is offered: what the bytes behind it are, the response says (RFC 9110, 7.8).
        (Reading.HEAD, Read.UPGRADE): Reading.OFFERED,
        (Reading.OFFERED, Read.SWITCHED): Reading.TUNNEL,
        # Declined by any other final response: it was a whole request.
        (Reading.OFFERED, Read.DECLINED): Reading.COMPLETE,
        (Reading.HEAD, Read.FAULT): Reading.FAILED,
        (Reading.BODY, Read.END_OF_BODY): Reading.COMPLETE,
        # Where a message's end is in doubt nothing behind it can be read: FAILED has no way out.
        (Reading.BODY, Read.FAULT): Reading.FAILED,
        # Given up by the owner.
        (Reading.OFFERED, Read.FAULT): Reading.FAILED,
        (Reading.TUNNEL, Read.FAULT): Reading.FAILED,
        (Reading.COMPLETE, Read.NEXT): Reading.HEAD,
    },
)


class Writing(Enum):
    """How far the response under way has been queued."""

    __hash__ = object.__hash__

    HEAD = "head"
    BODY = "body"
    ENDED = "ended"
    BROKEN = "broken"


class Written(Enum):
    """What was queued."""

    __hash__ = object.__hash__

    HEAD = "head"
    END = "end"
    BREACH = "breach"


WRITING: Lifecycle[Writing, Written] = Lifecycle(
    "response writing",
    Writing.HEAD,
    {
        (Writing.HEAD, Written.HEAD): Writing.BODY,
        # A head that must not be sent as it is, e.g. with a line feed in a value.
        (Writing.HEAD, Written.BREACH): Writing.BROKEN,
        (Writing.BODY, Written.END): Writing.ENDED,
        # More or fewer bytes than the head declared: never a clean end (RFC 9112, 8).
        (Writing.BODY, Written.BREACH): Writing.BROKEN,
    },
)
