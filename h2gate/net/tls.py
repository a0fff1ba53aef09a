"""TLS over memory: ciphertext in, plaintext out, no socket.

`ssl.MemoryBIO` instead of a wrapped socket: one `recv` may bring many records and one `send` carry many, the handshake
needs no greenlet, and no read ever waits for a write.

Rule: after `handshake` and `plaintext` there may be `ciphertext` to send, also where they raised: the alert.
"""

from __future__ import annotations

import re
import ssl
from contextlib import suppress

# The largest TLS record (RFC 8446, 5.1); `SSLObject.read` returns one record at most.
RECORD_BYTES = 16_384


class TlsLayer:
    """One connection's TLS. Raises ssl.SSLError for what the peer did wrong."""

    __slots__ = ("_incoming", "_object", "_outgoing", "is_established")

    def __init__(self, context: ssl.SSLContext, *, server_side: bool, server_name: str | None = None) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_side, server_hostname=server_name
        )
        self.is_established = False

    def feed(self, data: bytes) -> None:
        """Take ciphertext; b"" is the end of the transport."""
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def handshake(self) -> bool:
        """Go on with the handshake; return whether it is done."""
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return False
        self.is_established = True
        return True

    def plaintext(self) -> tuple[bytes, bool]:
        """Return what can be read, and whether the peer has closed its side (close_notify, or the transport's end)."""
        chunks: list[bytes] = []
        is_over = False
        try:
            while True:
                data = self._object.read(RECORD_BYTES)
                if not data:
                    is_over = True
                    break
                chunks.append(data)
                # Saves the exception that ends nearly every read otherwise.
                if not self._incoming.pending and not self._incoming.eof and not self._object.pending():
                    break
        except ssl.SSLWantReadError:
            pass
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            is_over = True
        return (chunks[0] if len(chunks) == 1 else b"".join(chunks)), is_over

    def encrypt(self, data: bytes) -> bytes:
        """Return `data` as records, with whatever else is to be sent."""
        view = memoryview(data)
        while view:
            view = view[self._object.write(view) :]
        return self._outgoing.read()

    def ciphertext(self) -> bytes:
        return self._outgoing.read()

    def close_notify(self) -> bytes:
        """Return the alert that closes our side."""
        # Raises where the peer's own close_notify has not come: nothing to wait for (RFC 8446, 6.1).
        with suppress(ssl.SSLError):
            self._object.unwrap()
        return self._outgoing.read()

    @property
    def alpn(self) -> str | None:
        return self._object.selected_alpn_protocol()

    @property
    def version(self) -> str | None:
        return self._object.version()


def describe_tls_error(error: ssl.SSLError) -> str:
    """Return what went wrong in a few words, without OpenSSL's file and line."""
    if isinstance(error, ssl.SSLCertVerificationError):
        text = error.verify_message.rstrip(".")
        # `Hostname mismatch`, but `IP address mismatch`.
        return text[:1].lower() + text[1:] if text[1:2].islower() else text
    if isinstance(error, ssl.SSLEOFError):
        return "closed in the middle"
    if error.reason:
        return error.reason.lower().replace("_", " ")
    # Python has no name for some, as for alert 120; OpenSSL's words stand between its brackets and line.
    return re.sub(r"^\[[^]]*\] | \([^()]*\)$", "", error.strerror or str(error))
