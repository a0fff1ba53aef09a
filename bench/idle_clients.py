"""Clients that ask once and then stay, to see what an idle connection costs."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
from collections.abc import Iterator
from typing import Literal

from bench.processes import Failed
from bench.stand import Running

Kind = Literal["http/1.1", "h2c", "tls h2"]
KINDS: tuple[Kind, ...] = ("http/1.1", "h2c", "tls h2")
PATH = b"/1024.bin"
# The ports of one source address are some 28 000, and those of connections just closed are not free: 5000 for each.
CLIENTS_PER_ADDRESS = 5_000
SECONDS = 10.0
# RFC 9113: the preface, an empty SETTINGS, and HEADERS of stream 1 with END_STREAM and END_HEADERS. The field block is
# HPACK's static table (RFC 7541, appendix A): GET, http, and literals for :path (4) and :authority (1).
_BLOCK = b"\x82\x86\x04" + bytes([len(PATH)]) + PATH + b"\x01\x09localhost"
_OPENING = (
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
    + bytes([0, 0, len(_BLOCK), 1, 0x05, 0, 0, 0, 1])
    + _BLOCK
)
_ACKNOWLEDGED = b"\x00\x00\x00\x04\x01\x00\x00\x00\x00"
_DATA, _RST_STREAM, _SETTINGS, _GOAWAY = 0, 3, 4, 7
_FLAG = 0x01  # END_STREAM on DATA, ACK on SETTINGS


@contextlib.contextmanager
def idle_clients(running: Running, kind: Kind, count: int) -> Iterator[None]:
    """Hold `count` connections, each of which has had one response. Raises Failed where one is refused."""
    with contextlib.ExitStack() as stack:
        for number in range(count):
            try:
                client = stack.enter_context(_connect(running, number, kind))
                _ask_http1(client) if kind == "http/1.1" else _ask_http2(client)
            except OSError as error:
                raise Failed(f"connection {number + 1} of {count}: {error}") from None
        yield


def _connect(running: Running, number: int, kind: Kind) -> socket.socket:
    client = socket.socket()
    try:
        client.settimeout(SECONDS)
        # Or the request waits for the acknowledgement of the handshake's end: 40 ms for each.
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Loopback is a whole network of source addresses.
        client.bind((f"127.0.{1 + number // CLIENTS_PER_ADDRESS}.1", 0))
        client.connect(("127.0.0.1", running.place.tls_port if kind == "tls h2" else running.place.clear_port))
        return _TLS.wrap_socket(client) if kind == "tls h2" else client
    except OSError:
        client.close()
        raise


def _unverified() -> ssl.SSLContext:
    # The certificate is of this run, on this machine.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    return context


_TLS = _unverified()


def _ask_http1(client: socket.socket) -> None:
    client.sendall(b"GET " + PATH + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
    received = b""
    while len(received.partition(b"\r\n\r\n")[2]) < 1024:
        received += _some(client)


def _ask_http2(client: socket.socket) -> None:
    client.sendall(_OPENING)
    received = b""
    while True:
        while len(received) < 9 or len(received) < 9 + int.from_bytes(received[:3]):
            received += _some(client)
        length, kind, flags = int.from_bytes(received[:3]), received[3], received[4]
        (stream,) = struct.unpack(">L", received[5:9])
        received = received[9 + length :]
        if kind == _SETTINGS and not flags & _FLAG:
            client.sendall(_ACKNOWLEDGED)
        elif kind == _DATA and stream == 1 and flags & _FLAG:
            return
        elif kind in (_RST_STREAM, _GOAWAY):
            raise Failed(f"the gate sent a frame of type {kind} to an idle client")


def _some(client: socket.socket) -> bytes:
    piece = client.recv(65_536)
    if not piece:
        raise ConnectionResetError("closed by the gate")
    return piece
