"""A response on its way to an HTTP/1.1 or HTTP/1.0 client: the head, its framing, and the body's queue.

The one rule: what the head declared is what goes out. More bytes are cut, fewer never get a clean end, and
either makes the response `is_broken`, so that the connection's owner aborts it (RFC 9112, 8).

h11's writer is not used: it normalizes again what is known to be normal, and it cannot serve HTTP/1.0
clients that keep their connection.
"""

from __future__ import annotations

from collections import deque
from http import HTTPStatus

from h2gate.protocol.events import Fields, ResponseHead
from h2gate.protocol.fields import CONNECTION_SPECIFIC, Malformed, is_token, is_value, parse_content_length
from h2gate.protocol.http1_state import WRITING, Writing, Written

# RFC 9112, 4: the space stays where the phrase is empty.
_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}".encode("ascii") for status in HTTPStatus}
# Written by this module alone.
_OWN_FIELDS = CONNECTION_SPECIFIC | {b"content-length"}


class Response:
    """The response to one request. Times and order are the caller's: calls out of order are ignored.

    `version` is empty for a request whose head could not be read: such a client is promised nothing.
    """

    __slots__ = (
        "_accepts_trailers",
        "_bodyless",
        "_closing",
        "_heads",
        "_is_chunked",
        "_left",
        "_method",
        "_pieces",
        "_state",
        "_version",
        "ends_with_connection",
        "framed",
        "queued",
    )

    def __init__(self, method: bytes, version: bytes, accepts_trailers: bool) -> None:
        self._method = method
        self._version = version
        self._accepts_trailers = accepts_trailers
        self._state = Writing.HEAD
        self._heads: list[bytes] = []
        self._pieces: deque[bytes | memoryview] = deque()
        self._bodyless = False
        self._is_chunked = False
        # Bytes that the declared length still asks for; None if none was declared.
        self._left: int | None = None
        # What follows the last body byte.
        self._closing = b""
        self.ends_with_connection = False
        self.queued = 0
        self.framed = 0

    @property
    def is_complete(self) -> bool:
        """Whether everything has been queued and framed."""
        return self._state is Writing.ENDED and not (self._pieces or self._heads or self._closing)

    @property
    def is_broken(self) -> bool:
        return self._state is Writing.BROKEN

    @property
    def has_head(self) -> bool:
        """Whether the final head has been queued."""
        return self._state is not Writing.HEAD

    def interim(self, head: ResponseHead) -> None:
        # RFC 9110, 15.2: never to HTTP/1.0. 101 would end HTTP on this connection (RFC 9110, 15.2.2).
        if self.has_head or self._version != b"HTTP/1.1" or head.status == 101:
            return
        lines = _lines(head.fields)
        if lines is None:
            self._state = WRITING.next(self._state, Written.BREACH)
            return
        self._heads.append(b"\r\n".join([_status_line(head.status), *lines, b"\r\n"]))

    def head(self, head: ResponseHead, end_stream: bool, keeps_alive: bool) -> None:
        """Queue the final head. `keeps_alive`: whether the connection may serve another request."""
        if self.has_head or head.status < 200:
            return
        lines = _lines(head.fields)
        if lines is None:
            self._state = WRITING.next(self._state, Written.BREACH)
            return
        self._state = WRITING.next(self._state, Written.HEAD)
        self._choose_framing(head, end_stream, lines)
        if self.ends_with_connection or not keeps_alive:
            lines.append(b"Connection: close")
        elif self._version == b"HTTP/1.0":
            lines.append(b"Connection: keep-alive")
        self._heads.append(b"\r\n".join([_status_line(head.status), *lines, b"\r\n"]))
        if end_stream:
            self._end(b"")

    def data(self, data: bytes, end_stream: bool) -> None:
        if self._state is not Writing.BODY:
            return
        size = len(data)
        if self._bodyless:
            # Counted as gone, so that the window it came through opens again.
            self.framed += size
        else:
            if self._left is not None:
                if size > self._left:
                    self._break(data[: self._left], size - self._left)
                    return
                self._left -= size
            self._queue(data)
        if end_stream:
            self._end(b"")

    def trailers(self, fields: Fields) -> None:
        if self._state is not Writing.BODY:
            return
        if not self._is_chunked or not self._accepts_trailers:
            self._end(b"")
            return
        lines = _lines(fields)
        if lines is None:
            self._break(b"", 0)
            return
        self._end(b"".join([line + b"\r\n" for line in lines]))

    def frame(self, limit: int) -> bytes:
        """Return up to `limit` bytes, plus what frames them: the heads, one chunk, the end."""
        out: list[bytes | memoryview] = list(self._heads)
        room = limit - sum(map(len, self._heads))
        self._heads.clear()
        size = self._take_pieces(out, room) if self._pieces and room > 0 else 0
        self.queued -= size
        self.framed += size
        if not self._pieces and self._closing:
            out.append(self._closing)
            self._closing = b""
        if len(out) == 1 and isinstance(out[0], bytes):
            return out[0]
        return b"".join(out)

    def _take_pieces(self, out: list[bytes | memoryview], room: int) -> int:
        """Move body bytes to `out`, at most `room`, as one chunk if need be; return how many."""
        start = len(out)
        size = 0
        while self._pieces and size < room:
            piece = self._pieces.popleft()
            if len(piece) > room - size:
                view = memoryview(piece)
                self._pieces.appendleft(view[room - size :])
                piece = view[: room - size]
            out.append(piece)
            size += len(piece)
        if self._is_chunked:
            out.insert(start, b"%x\r\n" % size)
            out.append(b"\r\n")
        return size

    def _choose_framing(self, head: ResponseHead, end_stream: bool, lines: list[bytes]) -> None:
        """Decide how the body ends, and append the line that says so (RFC 9112, 6.3; RFC 9110, 8.6)."""
        try:
            length = parse_content_length([value for name, value in head.fields if name == b"content-length"])
        except Malformed:
            length = None
        self._bodyless = self._method == b"HEAD" or head.status in (204, 304)
        if head.status == 204:
            return
        if length is None and end_stream and not self._bodyless:
            length = 0
        if length is not None:
            lines.append(b"Content-Length: %d" % length)
            if not self._bodyless:
                self._left = length
        elif self._bodyless:
            return
        elif self._version == b"HTTP/1.1":
            self._is_chunked = True
            lines.append(b"Transfer-Encoding: chunked")
        else:
            self.ends_with_connection = True

    def _queue(self, data: bytes) -> None:
        if data:
            self._pieces.append(data)
            self.queued += len(data)

    def _end(self, trailers: bytes) -> None:
        if self._left:
            self._break(b"", 0)
            return
        self._state = WRITING.next(self._state, Written.END)
        if self._is_chunked:
            self._closing = b"0\r\n" + trailers + b"\r\n"

    def _break(self, data: bytes, cut: int) -> None:
        """Queue the last `data` that may still go out; `cut` bytes behind it are dropped, and counted as gone."""
        self._queue(data)
        self.framed += cut
        self._state = WRITING.next(self._state, Written.BREACH)


def _status_line(status: int) -> bytes:
    return _STATUS_LINES.get(status) or b"HTTP/1.1 %d " % status


def _lines(fields: Fields) -> list[bytes] | None:
    """Return field lines without those of framing and connection, None if one would be more than a line.

    Engines have proved all fields that came in; this catches what was put together here, because a CR LF in
    a value is a second response (CVE-2023-38709, CVE-2024-24795).
    """
    names = [name for name, _ in fields]
    if names and (b"" in names or not is_token(b"".join(names))):
        return None
    if not is_value(b"".join([value for _, value in fields])):
        return None
    return [name.title() + b": " + value for name, value in fields if name not in _OWN_FIELDS]
