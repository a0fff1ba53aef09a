"""Frames on the wire (RFC 9113, 4 and 6): bytes to whole frames, and frames to bytes.

The one rule: nothing of a frame is kept before its length has been checked, and a field block is given out whole or the
connection is broken. Reading a frame into hyperframe's objects costs 10 us; as four values, 2 us.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct

from h2gate.errors import ErrorCode

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)

END_STREAM = 0x1
ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
HAS_PRIORITY = 0x20

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADER_BYTES = 9
FRAME_BYTES = 16_384
"""Payload of the largest frame we take and send: the protocol's default, and one TLS record. Larger ones would let one
stream hold the connection longer than the others."""

_BLOCK_KINDS = (HEADERS, CONTINUATION)
# A 24-bit length in two parts, type, flags, stream id.
_HEADER = Struct(">HBBBL")
_LONG = Struct(">L")

Frame = tuple[int, int, int, bytes]
"""Type, flags, stream id and payload. HEADERS come with their CONTINUATIONs, without padding and priority."""


class ConnectionBroken(Exception):
    """The peer broke a rule in a way that ends the connection (RFC 9113, 5.4.1)."""

    def __init__(self, code: ErrorCode, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class NotHttp2(ConnectionBroken):
    """The peer's first bytes are not HTTP/2 (RFC 9113, 3.4): a GOAWAY would mean nothing to it."""

    def __init__(self, detail: str, is_http1: bool = False) -> None:
        super().__init__(ErrorCode.PROTOCOL_ERROR, detail)
        self.is_http1 = is_http1


class FrameReader:
    """Cuts a byte stream into frames. `preface` is what must come before the first: the peer's, empty for a server's.

    A field block may be `block_limit` bytes long and have `continuations` CONTINUATION frames (CVE-2024-27316 and its
    like are endless ones).
    """

    def __init__(self, preface: bytes, block_limit: int, continuations: int) -> None:
        self._preface = preface
        self._block_limit = block_limit
        self._continuations = continuations
        self._rest = b""
        self._has_begun = False
        # The HEADERS whose CONTINUATIONs are awaited.
        self._block: list[bytes] = []
        self._block_flags = 0
        self._block_stream = 0

    def read(self, data: bytes) -> Iterator[Frame]:
        """Yield the frames that `data` completes. Raises ConnectionBroken; then nothing more can be read."""
        if self._rest:
            data = self._rest + data
        position, end = 0, len(data)
        if self._preface:
            begin = data[: len(self._preface)]
            if not self._preface.startswith(begin):
                raise NotHttp2("no HTTP/2 connection preface")
            if len(begin) < len(self._preface):
                self._rest = begin
                return
            position = len(begin)
            self._preface = b""
        while end - position >= HEADER_BYTES:
            if not self._has_begun:
                self._check_first(data[position : position + HEADER_BYTES])
            high, low, kind, flags, stream_id = _HEADER.unpack_from(data, position)
            length = high << 8 | low
            stream_id &= 0x7FFFFFFF
            if length > FRAME_BYTES:
                raise ConnectionBroken(ErrorCode.FRAME_SIZE_ERROR, f"frame of {length} bytes")
            begin_payload = position + HEADER_BYTES
            if begin_payload + length > end:
                break
            position = begin_payload + length
            payload = data[begin_payload:position]
            if kind in _BLOCK_KINDS or self._block:
                whole = self._collect(kind, flags, stream_id, payload)
                if whole is not None:
                    yield whole
            else:
                yield kind, flags, stream_id, payload
        self._rest = data[position:]

    def _check_first(self, header: bytes) -> None:
        """The first frame must be SETTINGS (RFC 9113, 3.4): told from its header, before its length is trusted."""
        self._has_begun = True
        _, _, kind, flags, stream_id = _HEADER.unpack(header)
        # RFC 9113, 4.1: the highest bit means nothing.
        if kind != SETTINGS or flags & ACK or stream_id & 0x7FFFFFFF:
            # A page without a head is what an HTTP/1 server says that takes the preface for HTTP/0.9.
            is_http1 = header.startswith((b"HTTP/1.", b"<"))
            raise NotHttp2("HTTP/1 bytes" if is_http1 else f"first bytes are no SETTINGS frame: {header!r}", is_http1)

    def _collect(self, kind: int, flags: int, stream_id: int, payload: bytes) -> Frame | None:
        """Return the HEADERS frame that is complete now. Nothing may come between its parts (RFC 9113, 6.10)."""
        block = self._block
        if kind == HEADERS and not block:
            fragment = _without_priority(flags, without_padding(flags, payload))
            if flags & END_HEADERS:
                return kind, flags, stream_id, fragment
            self._block_flags, self._block_stream = flags, stream_id
        elif kind == CONTINUATION and block and stream_id == self._block_stream:
            fragment = payload
        else:
            raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, f"frame of type {kind} in or without a field block")
        block.append(fragment)
        if len(block) > self._continuations + 1:
            raise ConnectionBroken(ErrorCode.ENHANCE_YOUR_CALM, f"more than {self._continuations} CONTINUATION frames")
        if sum(map(len, block)) > self._block_limit:
            raise ConnectionBroken(ErrorCode.ENHANCE_YOUR_CALM, f"field block of more than {self._block_limit} bytes")
        if not flags & END_HEADERS:
            return None
        self._block = []
        return HEADERS, self._block_flags, stream_id, b"".join(block)


def without_padding(flags: int, payload: bytes) -> bytes:
    """Return the payload of a DATA or HEADERS frame without its padding (RFC 9113, 6.1)."""
    if not flags & PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, "padding longer than its frame")
    return payload[1 : len(payload) - payload[0]]


def _without_priority(flags: int, payload: bytes) -> bytes:
    """RFC 9113, 5.3.2: priority in HEADERS is read over."""
    if not flags & HAS_PRIORITY:
        return payload
    if len(payload) < 5:
        raise ConnectionBroken(ErrorCode.FRAME_SIZE_ERROR, "HEADERS too short for its priority")
    return payload[5:]


def frame_header(length: int, kind: int, flags: int, stream_id: int) -> bytes:
    """Return the nine bytes before a payload of `length` bytes."""
    return _HEADER.pack(length >> 8, length & 0xFF, kind, flags, stream_id)


def long_frame(kind: int, stream_id: int, value: int) -> bytes:
    """Return a frame of one 32-bit value: RST_STREAM or WINDOW_UPDATE."""
    return frame_header(4, kind, 0, stream_id) + _LONG.pack(value)


def read_long(payload: bytes) -> int:
    """Return the value of a RST_STREAM or WINDOW_UPDATE frame."""
    if len(payload) != 4:
        raise ConnectionBroken(ErrorCode.FRAME_SIZE_ERROR, f"{len(payload)} bytes where 4 belong")
    value: int = _LONG.unpack(payload)[0]
    return value


def head_frames(stream_id: int, block: bytes, end_stream: bool, frame_bytes: int) -> bytes:
    """Return the HEADERS frame of a field block, with CONTINUATIONs if it does not fit in one."""
    return _block_frames(HEADERS, END_STREAM if end_stream else 0, stream_id, block, frame_bytes)


def promise_frames(stream_id: int, promised_id: int, block: bytes, frame_bytes: int) -> bytes:
    """Return the PUSH_PROMISE frame of a field block, with CONTINUATIONs if it does not fit in one (RFC 9113, 6.6)."""
    return _block_frames(PUSH_PROMISE, 0, stream_id, _LONG.pack(promised_id) + block, frame_bytes)


def _block_frames(kind: int, flags: int, stream_id: int, block: bytes, frame_bytes: int) -> bytes:
    if len(block) <= frame_bytes:
        return frame_header(len(block), kind, flags | END_HEADERS, stream_id) + block
    parts = [frame_header(frame_bytes, kind, flags, stream_id), block[:frame_bytes]]
    for begin in range(frame_bytes, len(block), frame_bytes):
        part = block[begin : begin + frame_bytes]
        last = END_HEADERS if begin + frame_bytes >= len(block) else 0
        parts += (frame_header(len(part), CONTINUATION, last, stream_id), part)
    return b"".join(parts)
