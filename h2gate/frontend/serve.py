"""A new connection, until its protocol is known: by ALPN after the TLS handshake, by its first bytes in clear.

HTTP/2 with prior knowledge and HTTP/1.1 share a clear port: the preface (RFC 9113, 3.4) was made so that no
HTTP/1.1 request can begin with it. `Upgrade: h2c` is not offered (RFC 9113, 3.1).
"""

from __future__ import annotations

import logging
import socket
import ssl
from dataclasses import replace

from h2gate.contract import Client
from h2gate.frontend.front import Front
from h2gate.frontend.http1 import Http1Session
from h2gate.frontend.http2 import Http2Session
from h2gate.frontend.session import DRAIN_GRACE_SECONDS
from h2gate.net.deadlines import Deadline
from h2gate.net.tls import TlsLayer
from h2gate.net.transport import Transport
from h2gate.protocol.preface import Preface, match_preface

_log = logging.getLogger("h2gate")


def serve(front: Front, sock: socket.socket, client: Client, tls: ssl.SSLContext | None) -> None:
    """Serve an accepted, non-blocking socket."""
    layer = TlsLayer(tls, server_side=True) if tls is not None else None
    Arrival(front, Transport(front.reactor, sock, layer), client, is_tls=tls is not None)


class Arrival:
    """Owns the transport of a connection that has not said yet what it speaks."""

    __slots__ = ("_deadline", "_first_bytes", "_is_secured", "client", "front", "transport")

    def __init__(self, front: Front, transport: Transport, client: Client, is_tls: bool) -> None:
        self.front = front
        self.transport = transport
        self.client = client
        self._is_secured = not is_tls
        self._first_bytes = b""
        self._deadline = Deadline(self._too_late)
        front.opened(self)
        front.deadlines.arm(self._deadline, front.timeouts.tls_handshake if is_tls else front.timeouts.request_head)
        transport.start(self)
        if front.is_draining:
            self.drain(0.0)

    # What the transport calls

    def on_secured(self, alpn: str | None) -> None:
        self._is_secured = True
        self.client = replace(self.client, tls=self.transport.tls_version)
        if alpn == "h2":
            self._hand_over(is_http2=True)
        else:
            # Without ALPN the client speaks HTTP/1.1: h2 over TLS needs it (RFC 9113, 3.2).
            self._hand_over(is_http2=False)

    def on_bytes(self, data: bytes) -> None:
        self._first_bytes += data
        found = match_preface(self._first_bytes)
        if found is not Preface.PARTIAL:
            self._hand_over(is_http2=found is Preface.MATCH)

    def on_end(self, error: str) -> None:
        if error and not self._is_secured:
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
        if not self._is_secured:
            self.transport.abort()
        else:
            self.transport.finish()
        self._leave()

    def _leave(self) -> None:
        self.front.deadlines.end(self._deadline)
        self.front.closed(self)

    def drain(self, within: float) -> None:
        self.front.deadlines.arm(self._deadline, DRAIN_GRACE_SECONDS)

    def shut_down(self) -> None:
        self.transport.abort()
        self._leave()
