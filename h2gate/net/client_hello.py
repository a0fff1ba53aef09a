"""What a client offers by ALPN, read from the first bytes of its TLS connection.

Python's ssl goes on without a protocol where none of the client's is served, and tells nobody what was offered. RFC
7301, 3.2, wants the handshake refused: a client that speaks only something else must not be served HTTP under the
certificate's name (the ALPACA attack). The bytes are only looked at here: OpenSSL reads them itself, and says what is
wrong with them.
"""

from __future__ import annotations

HANDSHAKE_RECORD, CLIENT_HELLO, ALPN = 22, 1, 16
# Real hellos, with post-quantum keys, have 2 KB and one record or two. All is read again with each piece that comes:
# without bounds a hello of single bytes would cost a second.
HELLO_BYTES = 32_768
HELLO_RECORDS = 32


class NoHello(Exception):
    """The bytes are no ClientHello, or one that nobody sends.

    Where OpenSSL still takes it, it has to be refused: how a hello is cut into records is not authenticated, so that
    somebody on the way could hide the offer.
    """


def offered_protocols(data: bytes) -> list[bytes] | None:
    """Return the names offered in the ClientHello that `data` begins with, none if there is no ALPN.

    None asks for more bytes. Raises NoHello.
    """
    message = _message(data)
    if message is None:
        return None
    reader = _Reader(message)
    reader.skip(2 + 32)  # version, random
    reader.vector(1)  # session id
    reader.vector(2)  # cipher suites
    reader.vector(1)  # compression methods
    if reader.is_at_end:
        return []
    extensions = _Reader(reader.vector(2))
    while not extensions.is_at_end:
        kind = extensions.number(2)
        body = extensions.vector(2)
        if kind == ALPN:
            return _names(_Reader(body))
    return []


def _names(body: _Reader) -> list[bytes]:
    listed = _Reader(body.vector(2))
    names = []
    while not listed.is_at_end:
        names.append(listed.vector(1))
    return names


def _message(data: bytes) -> bytes | None:
    """Return the first handshake message without its header, put together from its records (RFC 8446, 5.1)."""
    message = b""
    start = 0
    for _ in range(HELLO_RECORDS):
        if len(message) >= 4:
            if message[0] != CLIENT_HELLO:
                raise NoHello
            length = int.from_bytes(message[1:4])
            if length > HELLO_BYTES:
                raise NoHello
            if len(message) >= 4 + length:
                return message[4 : 4 + length]
        if len(data) > start and data[start] != HANDSHAKE_RECORD:
            raise NoHello
        if len(data) < start + 5:
            return None
        end = start + 5 + int.from_bytes(data[start + 3 : start + 5])
        if end == start + 5:
            raise NoHello  # no record of a handshake is empty
        if len(data) < end:
            return None
        message += data[start + 5 : end]
        start = end
    raise NoHello


class _Reader:
    """TLS's presentation language (RFC 8446, 3): numbers, and vectors with their length before them."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def is_at_end(self) -> bool:
        return self._at == len(self._data)

    def skip(self, size: int) -> bytes:
        start = self._at
        self._at += size
        if self._at > len(self._data):
            raise NoHello
        return self._data[start : self._at]

    def number(self, width: int) -> int:
        return int.from_bytes(self.skip(width))

    def vector(self, width: int) -> bytes:
        return self.skip(self.number(width))
