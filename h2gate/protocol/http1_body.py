"""How a request's body ends: by its length, or by its chunks.

The one rule: a reader takes body bytes until the body's end and hands back what lies behind it, untouched.

Chunks are decoded here for both makes: h11 takes spaces behind the size, a bare CR in an extension, 20 digits
and extensions without end (RFC 9112, 7.1; CVE-2025-55315, CVE-2023-39326). Pieces within a length or a chunk are
handed on as they came, not copied: h11 copies each byte four times, the binding of llhttp once.
"""

from __future__ import annotations

import re

from h2gate.errors import Reason
from h2gate.protocol.contract import Http1Settings
from h2gate.protocol.events import Fields
from h2gate.protocol.fields import Malformed, clean_trailers
from h2gate.protocol.http1_input import Fault
from h2gate.protocol.http1_strict import STRICT_FIELDS, explain_fields, split_fields

SIZE_LINE_BYTES = 256
"""Longest line of a chunk's size and extensions; clients that send extensions need some 100."""

EXTENSION_BYTES = 16_384
"""Extensions in one body. More than this carries no body but work (Go's CVE-2023-39326; the same limit)."""

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
_QUOTED = rb'"(?:[\t\x20\x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*+"'
# RFC 9112, 7.1.1, without the "bad" whitespace that a recipient should parse: nobody sends it honestly.
_SIZE_LINE = re.compile(
    rb"([0-9A-Fa-f]{1,16})((?:;" + _TOKEN + rb"(?:=(?:" + _TOKEN + rb"|" + _QUOTED + rb"))?)*+)\r\n"
)


class LengthReader:
    """A body of a known length, which is not 0. It has no trailers."""

    __slots__ = ("_remaining", "trailers")

    def __init__(self, length: int) -> None:
        self._remaining = length
        self.trailers: Fields = []

    def read(self, data: bytes, body: list[bytes]) -> bytes | None:
        """Append the body bytes in `data` to `body`; return what lies behind the end, None until it is there."""
        size = len(data)
        if size < self._remaining:
            self._remaining -= size
            body.append(data)
            return None
        # A slice of everything is no copy.
        body.append(data[: self._remaining])
        return data[self._remaining :]


class ChunkedReader:
    """A chunked body. `trailers` are there once its end is."""

    __slots__ = (
        "_extensions",
        "_has_chunk",
        "_incomplete",
        "_is_last",
        "_remaining",
        "_settings",
        "trailers",
    )

    def __init__(self, settings: Http1Settings) -> None:
        self._settings = settings
        self._remaining = 0
        # A CRLF is due before the next size, because a chunk's data came before it.
        self._has_chunk = False
        self._is_last = False
        # The start of a line that was cut; never body bytes.
        self._incomplete = b""
        self._extensions = 0
        self.trailers: Fields = []

    def read(self, data: bytes, body: list[bytes]) -> bytes | None:
        """As in LengthReader. Raises Fault; what it appended before is good."""
        if self._incomplete:
            data, self._incomplete = self._incomplete + data, b""
        place = 0
        while not self._is_last:
            if self._remaining:
                # All that came, if it is within the chunk: then the slice is no copy.
                piece = data[place : place + self._remaining]
                if piece:
                    body.append(piece)
                place += len(piece)
                self._remaining -= len(piece)
                if self._remaining:
                    return None
                self._has_chunk = True
            following = self._read_size(data, place)
            if following is None:
                self._incomplete = data[place:]
                return None
            place = following
        return self._read_trailers(data[place:])

    def _read_size(self, data: bytes, place: int) -> int | None:
        """Read the line between two chunks; return where it ends, None while it is incomplete."""
        if self._has_chunk:
            found = data[place : place + 2]
            if not b"\r\n".startswith(found):
                raise Fault(Reason.BAD_REQUEST, "chunk longer than its size")
            if len(found) < 2:
                return None
            place += 2
        end = data.find(b"\n", place, place + SIZE_LINE_BYTES)
        if end < 0:
            if len(data) - place >= SIZE_LINE_BYTES:
                raise Fault(Reason.BAD_REQUEST, "chunk size line too long")
            return None
        line = _SIZE_LINE.fullmatch(data, place, end + 1)
        if line is None:
            raise Fault(Reason.BAD_REQUEST, f"bad chunk size line {data[place : end + 1][:64]!r}")
        self._extensions += len(line[2])
        if self._extensions > EXTENSION_BYTES:
            raise Fault(Reason.BAD_REQUEST, "too many chunk extensions")
        self._remaining = int(line[1], 16)
        self._is_last = self._remaining == 0
        return end + 1

    def _read_trailers(self, data: bytes) -> bytes | None:
        """Return what lies behind the body, None while its closing lines are incomplete."""
        if data[:2] == b"\r\n":
            return data[2:]
        end = data.find(b"\r\n\r\n")
        size = len(data) if end < 0 else end + 4
        if size > self._settings.header_list:
            raise Fault(Reason.HEAD_TOO_LARGE, f"trailers beyond {self._settings.header_list} bytes")
        if end < 0:
            self._incomplete = data
            return None
        self.trailers = self._parse_trailers(data[:size])
        return data[size:]

    def _parse_trailers(self, block: bytes) -> Fields:
        if block.count(b"\r\n") - 1 > self._settings.fields:
            raise Fault(Reason.HEAD_TOO_LARGE, f"more than {self._settings.fields} trailers")
        if STRICT_FIELDS.fullmatch(block) is None:
            raise Fault(Reason.BAD_REQUEST, "bad trailers: " + explain_fields(block))
        try:
            return clean_trailers(split_fields(block))
        except Malformed as error:
            raise Fault(Reason.BAD_REQUEST, f"bad trailers: {error}") from None
