"""What a route asks of a request beyond its method, host and path: fields and parameters of the query.

Few routes ask for any, and only those pay.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from urllib.parse import unquote_to_bytes

from h2gate.config.model import Match

ValueTest = Callable[[bytes], bool]


class Conditions:
    """The `headers` and `query` of a match: all of them must hold, each by one value of its name."""

    __slots__ = ("_fields", "_query", "names")

    def __init__(self, match: Match) -> None:
        self._fields: list[tuple[bytes, ValueTest]] = [
            (name.lower().encode("ascii"), pattern.matches) for name, pattern in match.headers.items()
        ]
        self._query: list[tuple[bytes, ValueTest]] = [
            (name.encode("utf-8"), pattern.matches) for name, pattern in match.query.items()
        ]
        self.names = frozenset(name for name, _ in self._fields)
        """Of the fields that are asked for."""

    def hold(self, fields: Sequence[tuple[bytes, bytes]], query: bytes) -> bool:
        """`query` as of `path.normalize`: with its `?`, or empty."""
        for name, test in self._fields:
            values = [value for field, value in fields if field == name]
            if name == b"cookie":
                # HTTP/2 clients send it in crumbs (RFC 9113, 8.2.3).
                values = [b"; ".join(values)] if values else []
            if not any(map(test, values)):
                return False
        if self._query:
            parameters = _parameters(query)
            for name, test in self._query:
                if not any(test(value) for parameter, value in parameters if parameter == name):
                    return False
        return True


def _parameters(query: bytes) -> list[tuple[bytes, bytes]]:
    """Return names and values as forms are read (URL Standard, 5.1): split at `&`, `+` a space, escapes decoded."""
    pairs = (pair.replace(b"+", b" ").partition(b"=") for pair in query[1:].split(b"&") if pair)
    return [(unquote_to_bytes(name), unquote_to_bytes(value)) for name, _, value in pairs]
