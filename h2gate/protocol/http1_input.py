"""The bytes of an HTTP/1.1 connection that have not been read yet, and how a request's head is cut from them.

The one rule: a head ends at the first CRLF CRLF and at nothing else, and a fault is told from the first octet
that proves it. So the outcome does not depend on how the bytes were split on their way, and a client
that will never send a valid head (a TLS handshake, line feeds alone) is told at once.
"""

from __future__ import annotations

import re

from h2gate.errors import Reason
from h2gate.protocol.http1_strict import STRICT_HEAD, explain_head

LEADING_EMPTY_LINES = 4
"""Empty lines skipped before a request line. Old clients send one after a body (RFC 9112, 2.2)."""

_END_OF_HEAD = b"\r\n\r\n"
_BARE_CR_OR_LF = re.compile(rb"(?<!\r)\n|\r(?!\n|\Z)")
_TOKEN_OCTETS = frozenset(b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_CR, _LF = 0x0D, 0x0A


class Fault(Exception):
    """The client's bytes cannot be read as HTTP/1.1 from here on: the connection has failed."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


class Input:
    """What arrived and has not been read, in order."""

    __slots__ = ("_data", "_empty_lines", "_header_list", "_request_line", "_scanned")

    def __init__(self, header_list: int, request_line: int) -> None:
        self._header_list = header_list
        self._request_line = request_line
        self._data = bytearray()
        self._scanned = 0
        self._empty_lines = 0

    def __len__(self) -> int:
        return len(self._data)

    def append(self, data: bytes) -> None:
        self._data += data

    def take_whole_head(self, data: bytes) -> bytes | None:
        """Return `data` itself if nothing came before it and it is one whole head; else keep it and return None.

        This is how nearly every request without a body comes. Without the copies it costs a third.
        """
        if not (self._data or self._empty_lines):
            end = data.find(_END_OF_HEAD)
            if (
                0 <= end == len(data) - 4
                and len(data) <= self._header_list
                and (end <= self._request_line or data.find(b"\r\n") <= self._request_line)
                and STRICT_HEAD.fullmatch(data) is not None
            ):
                return data
        self._data += data
        return None

    def take_head(self) -> bytes | None:
        """Return the next request's head, a strict one, with its empty line; None while it is incomplete.

        Raises Fault when what is there cannot become a strict head within the limits.
        """
        if not self._data:
            return None
        self._skip_empty_lines()
        # Each octet is looked at once, but for the few that may belong to a CRLF CRLF cut in two.
        start = max(0, self._scanned - 3)
        end = self._data.find(_END_OF_HEAD, start)
        if end < 0:
            self._scanned = len(self._data)
            self._check(start, self._scanned)
            return None
        size = end + 4
        if (
            size > self._header_list
            or self._is_line_too_long(size)
            or STRICT_HEAD.fullmatch(self._data, 0, size) is None
        ):
            self._check(start, size)
            raise Fault(Reason.BAD_REQUEST, explain_head(bytes(self._data[:size])))
        head = bytes(self._data[:size])
        del self._data[:size]
        self._scanned = self._empty_lines = 0
        return head

    def first_line(self, fault: Fault) -> bytes:
        """Return the request line of a head that failed by `fault`: whole, or its beginning where it is too long.

        However the octets were cut, it is the same: only what must have come before the fault is looked at.
        """
        line, end, _ = bytes(self._data[: min(self._request_line, self._header_list)]).partition(b"\r\n")
        return line if end or fault.reason is Reason.URI_TOO_LONG else b""

    def take_rest(self) -> bytes:
        """Return everything that is left, for a body to read."""
        rest = bytes(self._data)
        self._data.clear()
        return rest

    def _skip_empty_lines(self) -> None:
        while self._data[:2] == b"\r\n":
            if self._empty_lines == LEADING_EMPTY_LINES:
                raise Fault(Reason.BAD_REQUEST, "too many empty lines before the request")
            self._empty_lines += 1
            del self._data[:2]

    def _check(self, start: int, size: int) -> None:
        """Raise the Fault that the earliest octet of the first `size` proves, if any does."""
        faults: list[tuple[int, Reason, str]] = []
        if size and self._data[0] not in _TOKEN_OCTETS and self._data[0] not in (_CR, _LF):
            faults.append((0, Reason.BAD_REQUEST, "the request does not begin with a method"))
        if self._is_line_too_long(size):
            faults.append(
                (self._request_line + 1, Reason.URI_TOO_LONG, f"request line beyond {self._request_line} bytes")
            )
        if size > self._header_list:
            faults.append((self._header_list, Reason.HEAD_TOO_LARGE, f"request head beyond {self._header_list} bytes"))
        bare = _BARE_CR_OR_LF.search(self._data, start, size)
        if bare is not None:
            # A bare CR is known by the octet behind it; where that is as late as a limit, the limit comes first.
            is_cr = self._data[bare.start()] == _CR
            faults.append((bare.start(), Reason.BAD_REQUEST, "bare CR" if is_cr else "bare LF"))
        if faults:
            _, reason, detail = min(faults, key=lambda fault: fault[0])
            raise Fault(reason, detail)

    def _is_line_too_long(self, size: int) -> bool:
        # The line and its CRLF take two octets more than the limit.
        return size >= self._request_line + 2 and self._data.find(b"\r\n", 0, self._request_line + 2) < 0
