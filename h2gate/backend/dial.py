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

# The first byte of a server's first record: alert, handshake (RFC 8446, 5.1), or change_cipher_spec.
TLS_RECORDS = (20, 21, 22)
# Where OpenSSL's words for an alert (RFC 8446, 6.2), or for what it did not like itself, say too little.
CERTIFICATE_ALERTS = frozenset(
    {
        "bad certificate",
        "unsupported certificate",
        "certificate revoked",
        "certificate expired",
        "certificate unknown",
        "unknown ca",
        "access denied",
    }
)
PLAIN_WORDS = {
    "certificate required": "the backend wants a client certificate",
    # TLS 1.2 has no alert of its own for a client certificate that is missing (RFC 5246, 7.4.6).
    "handshake failure": "the backend refused the handshake: no common cipher, or it wants a client certificate",
    "protocol version": "no common TLS version: the backend refused ours",
    "unsupported protocol": "no common TLS version: the backend's is below tls.min_version",
}
# TCP: a connection that nothing has moved on for so long is probed, and given up after a minute more.
KEEPALIVE_SECONDS = 60
KEEPALIVE_AGAIN_SECONDS = 15
KEEPALIVE_PROBES = 4
# Between two tries at a unix socket whose backlog is full. TCP's own is a second.
BACKLOG_SECONDS = 0.02
IP_BIND_ADDRESS_NO_PORT = 24  # of ip(7); the standard library has it from Python 3.12 on


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
    *,
    source_address: str | None = None,
    session: ssl.SSLSession | None = None,
) -> Transport:
    """Connect within `timeout` seconds. `server_name` is for SNI and verification; `session`, of an earlier connection
    by the same context, is offered to go on with.

    Raises DialFailed.
    """
    step = ["resolving the name"]
    try:
        with gevent.Timeout(timeout):
            addresses = _resolve(url)
            step[0] = "connecting"
            sock = _connect(addresses, timeout, source_address)
            try:
                layer = None
                if tls is not None:
                    step[0] = "TLS handshake"
                    layer = _secure(sock, tls, server_name, session)
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


def _connect(addresses: list[tuple[int, Any]], timeout: float, source: str | None) -> socket.socket:
    """Try one address after the other: each gets its share of the time, the last one all that is left."""
    if source is not None:
        addresses = _reachable_from(source, addresses)
    *others, last = addresses
    share = timeout / len(addresses)
    for family, address in others:
        try:
            return _connect_to(family, address, share, source)
        except (DialFailed, _TooSlow):
            continue
    return _connect_to(*last, None, source)


def _reachable_from(source: str, addresses: list[tuple[int, Any]]) -> list[tuple[int, Any]]:
    """Return the addresses of `source`'s family, and unix sockets, which have no source."""
    wanted = (socket.AF_INET6 if ":" in source else socket.AF_INET, socket.AF_UNIX)
    reachable = [(family, address) for family, address in addresses if family in wanted]
    if not reachable:
        raise DialFailed(Reason.CONNECT_FAILED, f"no address of the endpoint can be reached from {source}")
    return reachable


def _connect_to(family: int, address: Any, share: float | None, source: str | None) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        if family != socket.AF_UNIX:
            _prepare(sock)
            if source is not None:
                _bind(sock, source)
        code = sock.connect_ex(address)
        while code == errno.EAGAIN:  # a unix socket whose backlog is full: nothing tells when it is not (connect(2))
            gevent.sleep(BACKLOG_SECONDS)
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


def _prepare(sock: socket.socket) -> None:
    # What is written is a whole batch already; Nagle's wait for more would only delay it.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # A connection that stays warm may stand for hours, and a firewall in between forgets it, mostly after some minutes,
    # without a word to either side. The kernel's probes keep it known, tell of a peer that has vanished, and cost the
    # backend's process nothing; a gRPC server counts PINGs, not these.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_SECONDS)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_AGAIN_SECONDS)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_PROBES)


def _bind(sock: socket.socket, source: str) -> None:
    # The port is chosen when the peer is known: else all connections from this address would share 28 000 ports.
    sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
    try:
        sock.bind((source, 0))
    except OSError as error:
        raise DialFailed(Reason.CONNECT_FAILED, f"source_address {source}: {describe(error)}") from None


# TLS and ALPN


def _secure(
    sock: socket.socket, context: ssl.SSLContext, server_name: str | None, session: ssl.SSLSession | None
) -> TlsLayer:
    layer = TlsLayer(context, server_side=False, server_name=server_name, session=session)
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
    is_first = True
    while not layer.handshake():
        _send(sock, layer.ciphertext())
        gevent_socket.wait_read(sock.fileno())
        try:
            data = sock.recv(READ_BYTES)
        except (BlockingIOError, InterruptedError):
            continue
        # OpenSSL has three names for it, which all mislead: `wrong version number` is one.
        if is_first and data and data[0] not in TLS_RECORDS:
            raise DialFailed(Reason.TLS_FAILED, "the backend speaks in clear")
        is_first = False
        layer.feed(data)
    _send(sock, layer.ciphertext())


def _explain(error: ssl.SSLError) -> tuple[Reason, str]:
    detail = describe_tls_error(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        return Reason.TLS_VERIFY, detail
    # A server without h2 among its protocols may end the handshake by an alert (RFC 7301, 3.2).
    if "no application protocol" in detail:
        return Reason.ALPN_HTTP1, "the backend refused h2"
    return Reason.TLS_FAILED, in_plain_words(detail)


def in_plain_words(detail: str) -> str:
    """Say what a backend refused, where OpenSSL's words (by `describe_tls_error`) leave an operator alone."""
    # `tlsv1 alert unknown ca`, `sslv3 alert bad certificate`: the version is that of the alert's birth.
    alert = detail.partition(" alert ")[2]
    if alert in CERTIFICATE_ALERTS:
        return f"the backend refused the client certificate: {alert}"
    return PLAIN_WORDS.get(alert or detail, detail)


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
