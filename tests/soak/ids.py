"""What both ends of the soak know: an exchange's id is in its path, fields, body and trailers, and nowhere else.

The rule: whoever gets a part of a message compares it with the id of the message it came in, at once.
"""

from __future__ import annotations

from h2gate.protocol.events import Fields

ID_BYTES = 16

KINDS = ("ok", "hints", "trailers", "empty", "slow", "big", "early", "refuse", "reset", "goaway", "close")
"""How the backend answers; the last ones break something.

`refuse`: REFUSED_STREAM the first time. `reset`: RST_STREAM in mid body. `goaway`: GOAWAY behind this answer. `close`:
the connection is dropped in mid body, and all that runs on it with it.
"""

BIG_REPEATS = 6_000
REPEATS = 20


def make_id(number: int) -> bytes:
    return b"%016x" % (number * 0x9E3779B97F4A7C15 % 2**64)


def fields_of(one: bytes) -> Fields:
    """Return fields that all say the id: short and long ones, two of a name, one whose name is the id."""
    return [(b"x-id", one), (b"x-long", one * 8), (b"x-twice", one), (b"x-twice", one), (b"x-" + one, one)]


def strangers(one: bytes, fields: Fields) -> list[tuple[bytes, bytes]]:
    """Return those fields of `fields_of` that say another id than `one`, or (`x-id`, nothing) where it is missing."""
    wrong = []
    seen = 0
    for name, value in fields:
        if name in (b"x-id", b"x-twice", b"x-trailer"):
            seen += name == b"x-id" or name == b"x-trailer"
            if value != one:
                wrong.append((name, value))
        elif name == b"x-long":
            if value != one * 8:
                wrong.append((name, value))
        elif _is_named_by_id(name) and (name[2:] != one or value != one):
            wrong.append((name, value))
    return wrong if seen else [*wrong, (b"x-id", b"")]


def _is_named_by_id(name: bytes) -> bool:
    return len(name) == 2 + ID_BYTES and name[:2] == b"x-" and not name[2:].translate(None, b"0123456789abcdef")


class Body:
    """Compares a body with the id repeated, piece by piece."""

    __slots__ = ("_id", "size")

    def __init__(self, one: bytes) -> None:
        self._id = one
        self.size = 0

    def takes(self, data: bytes) -> bool:
        """Whether `data` is what comes next."""
        start = self.size % ID_BYTES
        self.size += len(data)
        expected = self._id * (len(data) // ID_BYTES + 2)
        return data == expected[start : start + len(data)]
