"""Make a connection to an endpoint: name, TCP, TLS, ALPN.

Runs in a greenlet of its own, because here something really waits; requests wait in the pool meanwhile.
Rule: whatever goes wrong is a DialFailed, and no socket is left behind.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
from typing import Any

import gevent
from gevent import socket as gevent_socket

from h2gate.config.units import EndpointUrl
from h2gate.errors import Failure, Reason
from h2gate.net.reactor import Reactor
from h2gate.net.tls import TlsLayer, describe_tls_error
from h2gate.net.transport import READ_BYTES, Transport, describe


class DialFailed(Exception):
    def __init__(self, reason: Reason, detail: str = "") -> None:
        self.failure = Failure(reason, detail)
        super().__init__(self.failure.word)


class _TooSlow(Exception):
    """An address did not answer within its share of the time."""


def dial(
    reactor: Reactor,
    url: EndpointUrl,
    tls: ssl.SSLContext | None,
    server_name: str | None,
    timeout: float,
) -> Transport:
    """Connect within `timeout` seconds. `server_name` is for SNI and verification.

    Raises DialFailed.
    """
    step = ["resolving the name"]
    try:
        with gevent.Timeout(timeout):
            addresses = _resolve(url)
            step[0] = "connecting"
            sock = _connect(addresses, timeout)
            try:
                layer = None
                if tls is not None:
                    step[0] = "TLS handshake"
                    layer = _secure(sock, tls, server_name)
            except BaseException:
                sock.close()
                raise
    except gevent.Timeout:
        raise DialFailed(Reason.CONNECT_TIMEOUT, step[0]) from None
    except OSError as error:  # no descriptor left, a path that is too long
        raise DialFailed(Reason.CONNECT_FAILED, describe(error)) from None
    return Transport(reactor, sock, layer)


# The name


def _resolve(url: EndpointUrl) -> list[tuple[int, Any]]:
    """Return families and addresses, in the order they should be tried."""
    if url.unix_path is not None:
        return [(socket.AF_UNIX, url.unix_path)]
    found: Any
    try:
        # An address in digits needs no thread of the resolver, where it could wait behind names that hang.
        found = socket.getaddrinfo(url.host, url.port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        found = _look_up(url)
    return [(family, address) for family, _, _, _, address in found]


def _look_up(url: EndpointUrl) -> Any:
    try:
        return gevent_socket.getaddrinfo(url.host, url.port, type=socket.SOCK_STREAM)
    except UnicodeError:  # a label that is empty or too long
        raise DialFailed(Reason.DNS_FAILED, "not a valid name") from None
    except OSError as error:
        raise DialFailed(Reason.DNS_FAILED, describe(error)) from None


# TCP


def _connect(addresses: list[tuple[int, Any]], timeout: float) -> socket.socket:
    """Try one address after the other: each gets its share of the time, the last one all that is left."""
    *others, last = addresses
    share = timeout / len(addresses)
    for family, address in others:
        try:
            return _connect_to(family, address, share)
        except (DialFailed, _TooSlow):
            continue
    return _connect_to(*last, None)


def _connect_to(family: int, address: Any, share: float | None) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        if family != socket.AF_UNIX:
            # What is written is a whole batch already; Nagle's wait for more would only delay it.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        code = sock.connect_ex(address)
        if code == errno.EINPROGRESS:
            gevent_socket.wait_write(sock.fileno(), share, _TooSlow())
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code == errno.ECONNREFUSED:
            raise DialFailed(Reason.CONNECT_REFUSED)
        if code:
            raise DialFailed(Reason.CONNECT_FAILED, os.strerror(code))
    except BaseException:
        sock.close()
        raise
    return sock


# TLS and ALPN


def _secure(sock: socket.socket, context: ssl.SSLContext, server_name: str | None) -> TlsLayer:
    layer = TlsLayer(context, server_side=False, server_name=server_name)
    try:
        _shake_hands(sock, layer)
    except ssl.SSLError as error:
        _send_alert(sock, layer)
        raise DialFailed(*_explain(error)) from None
    except OSError as error:
        raise DialFailed(Reason.TLS_FAILED, describe(error)) from None
    if layer.alpn != "h2":
        raise DialFailed(Reason.ALPN_HTTP1, f"the backend chose {layer.alpn or 'no protocol'}, not h2")
    return layer


def _shake_hands(sock: socket.socket, layer: TlsLayer) -> None:
    while not layer.handshake():
        _send(sock, layer.ciphertext())
        gevent_socket.wait_read(sock.fileno())
        try:
            data = sock.recv(READ_BYTES)
        except (BlockingIOError, InterruptedError):
            continue
        layer.feed(data)
    _send(sock, layer.ciphertext())


def _explain(error: ssl.SSLError) -> tuple[Reason, str]:
    if isinstance(error, ssl.SSLCertVerificationError):
        return Reason.TLS_VERIFY, describe_tls_error(error)
    detail = describe_tls_error(error)
    # A server without h2 among its protocols may end the handshake by an alert (RFC 7301, 3.2).
    if "no application protocol" in detail:
        return Reason.ALPN_HTTP1, "the backend refused h2"
    return Reason.TLS_FAILED, detail


def _send(sock: socket.socket, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[sock.send(view) :]
        except (BlockingIOError, InterruptedError):
            gevent_socket.wait_write(sock.fileno())


def _send_alert(sock: socket.socket, layer: TlsLayer) -> None:
    """Tell the backend why, if that is possible at once (RFC 8446, 6.2)."""
    try:
        sock.send(layer.ciphertext())
    except OSError:
        return  # it is gone already, or takes nothing
