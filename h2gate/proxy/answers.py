"""What the gate says itself: errors, `respond`, `redirect`, all as one short text."""

from __future__ import annotations

from email.utils import formatdate
from http import HTTPStatus
from time import time

from h2gate.protocol.events import Fields, ResponseHead

SERVER = b"h2gate"


class DateField:
    """The Date field's value, made once a second (RFC 9110, 6.6.1)."""

    __slots__ = ("_second", "_value")

    def __init__(self) -> None:
        self._second = -1
        self._value = b""

    def now(self) -> bytes:
        second = int(time())
        if second != self._second:
            self._second = second
            self._value = formatdate(second, usegmt=True).encode("ascii")
        return self._value


def answer(status: int, body: bytes, date: bytes, extra: Fields) -> ResponseHead:
    """Return the head of an answer of the gate's own; `extra` are fields beside the usual ones."""
    fields: Fields = [(b"server", SERVER), (b"date", date)]
    # RFC 9110, 8.6: no Content-Length in a 204; 304 is about another representation.
    if status not in (204, 304):
        if body:
            fields.append((b"content-type", b"text/plain; charset=utf-8"))
        fields.append((b"content-length", b"%d" % len(body)))
    return ResponseHead(status, fields + extra)


def text_of(status: int) -> bytes:
    """Return the text of an error; it says what, and not why: that is in the access log."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Error"
    return f"{status} {phrase}\n".encode("ascii")
