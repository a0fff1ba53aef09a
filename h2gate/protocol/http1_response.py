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
STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode("ascii") for status in HTTPStatus}
# RFC 6455, 4.2.2, and RFC 9110, 7.8: what becomes of the connection. Nothing else is switched to.
SWITCHING = b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
# Written by this module alone.
_OWN_FIELDS = CONNECTION_SPECIFIC | {b"content-length"}
# How a line begins, by the name: looked up in 0.05 us, made in 0.3 us. Empty: the line is left out.
_LINE_STARTS = {
    name: name.title() + b": "
    for name in (
        b"accept-ranges", b"access-control-allow-origin", b"age", b"alt-svc", b"cache-control", b"content-disposition",
        b"content-encoding", b"content-language", b"content-security-policy", b"content-type", b"date", b"etag",
        b"expires", b"last-modified", b"link", b"location", b"pragma", b"referrer-policy", b"server", b"set-cookie",
        b"strict-transport-security", b"vary", b"via", b"www-authenticate", b"x-content-type-options",
        b"x-frame-options", b"x-request-id", b"x-xss-protection",
    )
} | dict.fromkeys(_OWN_FIELDS, b"")  # fmt: skip


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
        # The heads that are queued, one after another.
        self._heads = b""
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
        lines = field_lines(head.fields)
        if lines is None:
            self._state = WRITING.next(self._state, Written.BREACH)
            return
        self._heads += status_line(head.status) + lines + b"\r\n"

    def head(self, head: ResponseHead, end_stream: bool, keeps_alive: bool) -> None:
        """Queue the final head. `keeps_alive`: whether the connection may serve another request."""
        if self.has_head or head.status < 200:
            return
        lines = field_lines(head.fields)
        if lines is None:
            self._state = WRITING.next(self._state, Written.BREACH)
            return
        self._state = WRITING.next(self._state, Written.HEAD)
        framing = self._choose_framing(head, end_stream)
        if self.ends_with_connection or not keeps_alive:
            end = b"Connection: close\r\n\r\n"
        elif self._version == b"HTTP/1.0":
            end = b"Connection: keep-alive\r\n\r\n"
        else:
            end = b"\r\n"
        self._heads += b"".join((status_line(head.status), lines, framing, end))
        if end_stream:
            self._end(b"")

    def switch(self, head: ResponseHead, end_stream: bool) -> bool:
        """Queue the 101 that makes the connection a tunnel; return whether it was; what follows goes out as it is."""
        lines = field_lines(head.fields)
        if lines is None:
            self._state = WRITING.next(self._state, Written.BREACH)
            return False
        self._state = WRITING.next(self._state, Written.HEAD)
        self._heads += status_line(101) + lines + SWITCHING
        self.ends_with_connection = True
        if end_stream:
            self._end(b"")
        return True

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
        lines = field_lines(fields)
        if lines is None:
            self._break(b"", 0)
            return
        self._end(lines)

    def frame(self, limit: int) -> bytes:
        """Return up to `limit` bytes, plus what frames them: the heads, one chunk, the end."""
        out: list[bytes | memoryview] = []
        room = limit
        if self._heads:
            out.append(self._heads)
            room -= len(self._heads)
            self._heads = b""
        if self._pieces and room > 0:
            size = self._take_pieces(out, room)
            self.queued -= size
            self.framed += size
        if self._closing and not self._pieces:
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

    def _choose_framing(self, head: ResponseHead, end_stream: bool) -> bytes:
        """Decide how the body ends, and return the line that says so (RFC 9112, 6.3; RFC 9110, 8.6)."""
        try:
            length = parse_content_length([value for name, value in head.fields if name == b"content-length"])
        except Malformed:
            length = None
        self._bodyless = self._method == b"HEAD" or head.status in (204, 304)
        if head.status == 204:
            return b""
        if length is None and end_stream and not self._bodyless:
            length = 0
        if length is not None:
            if not self._bodyless:
                self._left = length
            return b"Content-Length: %d\r\n" % length
        if self._bodyless:
            return b""
        if self._version == b"HTTP/1.1":
            self._is_chunked = True
            return b"Transfer-Encoding: chunked\r\n"
        self.ends_with_connection = True
        return b""

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


def status_line(status: int) -> bytes:
    """Return the line, with its CRLF."""
    return STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status


def field_lines(fields: Fields) -> bytes | None:
    """Return field lines without those of framing and connection, None if one would be more than a line.

    Engines have proved all fields that came in; this catches what was put together here, because a CR LF in
    a value is a second response (CVE-2023-38709, CVE-2024-24795).
    """
    lines: list[bytes] = []
    for name, value in fields:
        start = _LINE_STARTS.get(name)
        if start is None:
            if not is_token(name):
                return None
            start = name.title() + b": "
        if start:
            lines.append(start + value)
    if not is_value(b"".join([value for _, value in fields])):
        return None
    lines.append(b"")
    return b"\r\n".join(lines)
