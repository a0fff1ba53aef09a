"""A new connection, until its protocol is known: by ALPN after the TLS handshake, by its first bytes in clear.

Before both there may be a PROXY header, where the listener expects one.

HTTP/2 with prior knowledge and HTTP/1.1 share a clear port: the preface (RFC 9113, 3.4) was made so that no
HTTP/1.1 request can begin with it. `Upgrade: h2c` is not offered (RFC 9113, 3.1).
"""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, replace

from h2gate.contract import Client
from h2gate.frontend.front import Front
from h2gate.frontend.http1 import Http1Session
from h2gate.frontend.http2 import Http2Session
from h2gate.frontend.session import DRAIN_GRACE_SECONDS
from h2gate.net.deadlines import Deadline
from h2gate.net.identity import identity_of
from h2gate.net.proxy_protocol import Accepts, BadProxyHeader, ProxyHeader, read_proxy_header
from h2gate.net.tls import TlsLayer
from h2gate.net.transport import Transport
from h2gate.protocol.preface import Preface, match_preface

_log = logging.getLogger("h2gate")


@dataclass(frozen=True, slots=True)
class ProxyRules:
    """What a listener's PROXY headers may be, and whether the address that one told is a trusted proxy's itself."""

    accepts: Accepts
    trusts: Callable[[str], bool]


def serve(
    front: Front, sock: socket.socket, client: Client, tls: ssl.SSLContext | None, proxied: ProxyRules | None = None
) -> None:
    """Serve an accepted, non-blocking socket; with `proxied` that of a proxy, which first says for whom it speaks."""
    arrival = Arrival(front, client, tls, proxied)
    # TLS begins behind the PROXY header.
    layer = TlsLayer(tls, server_side=True) if tls is not None and proxied is None else None
    arrival.start(Transport(front.reactor, sock, layer))


class Arrival:
    """Owns the transport of a connection that has not said yet what it speaks."""

    __slots__ = ("_deadline", "_first_bytes", "_is_secured", "_proxied", "_tls", "client", "front", "transport")

    transport: Transport

    def __init__(self, front: Front, client: Client, tls: ssl.SSLContext | None, proxied: ProxyRules | None) -> None:
        self.front = front
        self.client = client
        self._tls = tls
        # None once the header has been read.
        self._proxied = proxied
        self._is_secured = tls is None
        self._first_bytes = b""
        self._deadline = Deadline(self._too_late)

    def start(self, transport: Transport) -> None:
        self.transport = transport
        self.front.opened(self, transport)
        if self._proxied is not None:
            self.front.deadlines.arm(self._deadline, self.front.timeouts.request_head)
        elif not self._begin():
            return
        transport.start(self)
        if self.front.is_draining:
            self.drain(0.0)

    def _begin(self) -> bool:
        """The client is known: begin to wait for what it says, unless there are too many of it."""
        front = self.front
        if not front.admit(self.client, self.transport):
            self.shut_down()
            return False
        front.deadlines.arm(
            self._deadline, front.timeouts.request_head if self._tls is None else front.timeouts.tls_handshake
        )
        return True

    # What the transport calls

    def on_secured(self, alpn: str | None) -> None:
        self._is_secured = True
        tls = self.transport.tls
        assert tls is not None
        certificate = tls.client_certificate
        self.client = replace(
            self.client,
            tls=tls.version,
            certificate=identity_of(certificate) if certificate is not None else b"",
            server_name=(tls.asked_name or "").lower().encode("ascii", "replace"),
            names=tls.names,
        )
        if alpn == "h2":
            self._hand_over(is_http2=True)
        else:
            # Without ALPN the client speaks HTTP/1.1: h2 over TLS needs it (RFC 9113, 3.2).
            self._hand_over(is_http2=False)

    def on_bytes(self, data: bytes) -> None:
        self._first_bytes += data
        if self._proxied is not None:
            self._read_proxy_header(self._proxied)
        else:
            self._choose()

    def _choose(self) -> None:
        found = match_preface(self._first_bytes)
        if found is not Preface.PARTIAL:
            self._hand_over(is_http2=found is Preface.MATCH)

    def _read_proxy_header(self, rules: ProxyRules) -> None:
        try:
            header = read_proxy_header(self._first_bytes, rules.accepts)
        except BadProxyHeader as error:
            _log.info("client %s: closed: %s", self.client.name, error)
            self.shut_down()
            return
        if header is None:
            return
        rest, self._first_bytes = self._first_bytes[header.size :], b""
        self._proxied = None
        self._told(header, rules)
        if not self._begin():
            return
        if self.front.is_draining:
            self.drain(0.0)
        if self._tls is not None:
            self.transport.secure(TlsLayer(self._tls, server_side=True), rest)
        elif rest:
            self.on_bytes(rest)

    def _told(self, header: ProxyHeader, rules: ProxyRules) -> None:
        if header.source is None or header.destination is None:
            if not header.is_own:
                # Whoever it is, the proxy does not say that the words behind the header are its own.
                self.client = replace(self.client, is_trusted=False)
            return
        (address, port), (_, local_port) = header.source, header.destination
        # Its own X-Forwarded-For is another thing: of whoever came to the proxy, not of the proxy.
        self.client = Client(address, port, local_port, self.client.scheme, rules.trusts(address))

    def on_end(self, error: str) -> None:
        if error and not self._is_secured and self._proxied is None:
            _log.info("client %s: no TLS: %s", self.client.name, error)
        self._leave()

    def on_writable(self) -> None:
        pass

    # Ends

    def _hand_over(self, is_http2: bool) -> None:
        front, data = self.front, self._first_bytes
        front.deadlines.end(self._deadline)
        make = Http2Session if is_http2 else Http1Session
        session = make(front, self.transport, self.client)
        front.replaced(self, by=session)
        self.transport.change_owner(session)
        if front.is_draining:
            session.drain(0.0)
        if data:
            session.on_bytes(data)

    def _too_late(self) -> None:
        if not self._is_secured or self._proxied is not None:
            self.transport.abort()
        else:
            self.transport.finish()
        self._leave()

    def _leave(self) -> None:
        self.front.deadlines.end(self._deadline)
        self.front.closed(self)

    def drain(self, within: float) -> None:
        # A handshake that is under way on a slow network takes longer than the grace; after a reload there is time.
        self.front.deadlines.arm(self._deadline, max(within, DRAIN_GRACE_SECONDS))

    def shut_down(self) -> None:
        self.transport.abort()
        self._leave()
