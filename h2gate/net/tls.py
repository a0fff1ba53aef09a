"""TLS over memory: ciphertext in, plaintext out, no socket.

`ssl.MemoryBIO` instead of a wrapped socket: one `recv` may bring many records and one `send` carry many, the handshake
needs no greenlet, and no read ever waits for a write.

Rule: after `handshake` and `plaintext` there may be `ciphertext` to send, also where they raised: the alert.
"""

from __future__ import annotations

import re
import ssl
from contextlib import suppress

from h2gate.config.tls import SERVED_PROTOCOLS, ServerConnection, ServerContext
from h2gate.net.client_hello import NoHello, offered_protocols

# The largest TLS record (RFC 8446, 5.1); `SSLObject.read` returns one record at most.
RECORD_BYTES = 16_384
_SERVED = frozenset(name.encode("ascii") for name in SERVED_PROTOCOLS)


class TlsLayer:
    """One connection's TLS. Raises ssl.SSLError for what the peer did wrong."""

    __slots__ = ("_hello", "_incoming", "_object", "_outgoing", "is_ended", "is_established")

    def __init__(
        self,
        context: ssl.SSLContext,
        *,
        server_side: bool,
        server_name: str | None = None,
        session: ssl.SSLSession | None = None,
    ) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_side, server_hostname=server_name, session=session
        )
        self.is_established = False
        # What came of the hello of a listener's client; None once it was looked at.
        self._hello: bytes | None = b"" if isinstance(self._object, ServerConnection) else None
        # By the peer's close_notify: an end that nobody else can have made.
        self.is_ended = False

    def feed(self, data: bytes) -> None:
        """Take ciphertext; b"" is the end of the transport."""
        if data:
            if self._hello is not None:
                self._look_at_hello(self._hello + data)
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def _look_at_hello(self, hello: bytes) -> None:
        """Find out whether the client offers protocols of which none is served; the SNI callback refuses it then."""
        try:
            offered = offered_protocols(hello)
            is_refused = bool(offered) and _SERVED.isdisjoint(offered or ())
        except NoHello:
            # Mostly OpenSSL has more to say before it calls back.
            offered, is_refused = [], True
        self._hello = hello if offered is None else None
        if is_refused:
            assert isinstance(self._object, ServerConnection)
            self._object.offers_nothing_served = True

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
                    is_over = self.is_ended = True
                    break
                chunks.append(data)
                # Saves the exception that ends nearly every read otherwise.
                if not self._incoming.pending and not self._incoming.eof and not self._object.pending():
                    break
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            is_over = self.is_ended = True
        except ssl.SSLEOFError:
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
    def session(self) -> ssl.SSLSession | None:
        """What a later connection of the same context may go on with. In TLS 1.3 the server gives it behind the
        handshake (RFC 8446, 4.6.1)."""
        return self._object.session

    @property
    def is_resumed(self) -> bool:
        """Whether the handshake went on with an earlier session."""
        return bool(self._object.session_reused)

    @property
    def version(self) -> str | None:
        return self._object.version()

    @property
    def asked_name(self) -> str | None:
        """The name that a listener's client gave by SNI."""
        return self._object.asked_name if isinstance(self._object, ServerConnection) else None

    @property
    def names(self) -> frozenset[bytes] | None:
        """The names of the certificate that a listener served."""
        context = self._object.context
        return context.names if isinstance(context, ServerContext) else None

    @property
    def client_certificate(self) -> bytes | None:
        """A listener's client's verified certificate, in DER."""
        return self._object.getpeercert(binary_form=True)


def describe_tls_error(error: ssl.SSLError) -> str:
    """Return what went wrong in a few words, without OpenSSL's file and line."""
    if isinstance(error, ssl.SSLCertVerificationError):
        text = error.verify_message.rstrip(".")
        # `Hostname mismatch`, but `IP address mismatch`.
        return text[:1].lower() + text[1:] if text[1:2].islower() else text
    if isinstance(error, ssl.SSLEOFError):
        return "closed in the middle"
    if error.reason == "CALLBACK_FAILED":
        # The one for SNI: it refuses nothing else. Names that are not ASCII `ssl` refuses before it.
        return "none of the protocols that it offers by ALPN is served, or its server name is not ASCII"
    if error.reason:
        return error.reason.lower().replace("_", " ")
    # Python has no name for some, as for alert 120; OpenSSL's words stand between its brackets and line.
    return re.sub(r"^\[[^]]*\] | \([^()]*\)$", "", error.strerror or str(error))
