"""A small HTTP/1.1 client on a blocking socket, explicit enough to misbehave.

Rule: it never repairs. A response that ends before its framing says so comes back with `broken` set.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.messages import Fields, Head, Response

TIMEOUT_SECONDS = 30.0
READ_BYTES = 65_536


class Closed(Exception):
    """The server closed the connection, or reset it; the text says which."""


def connect(
    port: int | Path,
    tls: ssl.SSLContext | None = None,
    server_name: str = "localhost",
    receive_buffer: int | None = None,
    source: str | None = None,
    before: bytes = b"",
) -> socket.socket:
    """Connect to a port of 127.0.0.1 or a socket file, with TLS if there is a context; `before` is sent before that."""
    if isinstance(port, Path):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    else:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        if receive_buffer is not None:
            # Before connect(): it decides the window that is announced.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if source is not None:
            sock.bind((source, 0))
        sock.settimeout(TIMEOUT_SECONDS)
        sock.connect(str(port) if isinstance(port, Path) else ("127.0.0.1", port))
        sock.sendall(before)
        return tls.wrap_socket(sock, server_hostname=server_name) if tls is not None else sock
    except BaseException:
        sock.close()
        raise


def abort(sock: socket.socket) -> None:
    """Close with a TCP reset."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


class Http1Client:
    """One connection; requests one after another, or pipelined by hand."""

    def __init__(
        self,
        port: int | Path,
        tls: ssl.SSLContext | None = None,
        *,
        server_name: str = "localhost",
        receive_buffer: int | None = None,
        before: bytes = b"",
    ) -> None:
        self.socket = connect(port, tls, server_name, receive_buffer, before=before)
        self._buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def abort(self) -> None:
        abort(self.socket)

    # Sending

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def send_head(
        self,
        method: str,
        path: str,
        fields: Fields | None = None,
        *,
        host: str = "gate.test",
        version: str = "HTTP/1.1",
    ) -> None:
        lines = [f"{method} {path} {version}"]
        if host:
            lines.append(f"Host: {host}")
        lines += [f"{name}: {value}" for name, value in fields or []]
        self.send("\r\n".join([*lines, "", ""]).encode("latin-1"))

    def send_chunk(self, data: bytes) -> None:
        self.send(b"%x\r\n%s\r\n" % (len(data), data))

    def send_last_chunk(self, trailers: Fields | None = None) -> None:
        lines = "".join(f"{name}: {value}\r\n" for name, value in trailers or [])
        self.send(b"0\r\n" + lines.encode("latin-1") + b"\r\n")

    def request(
        self,
        method: str,
        path: str,
        fields: Fields | None = None,
        body: bytes | None = None,
        *,
        chunks: Iterable[bytes] | None = None,
        host: str = "gate.test",
        version: str = "HTTP/1.1",
        keeps_body: bool = True,
    ) -> Response:
        """Send a request, with a `body` of known length or `chunks`, and return its response."""
        fields = list(fields or [])
        if body is not None:
            fields.append(("Content-Length", str(len(body))))
        elif chunks is not None:
            fields.append(("Transfer-Encoding", "chunked"))
        self.send_head(method, path, fields, host=host, version=version)
        if body is not None:
            self.send(body)
        elif chunks is not None:
            for chunk in chunks:
                self.send_chunk(chunk)
            self.send_last_chunk()
        return self.read_response(method, keeps_body=keeps_body)

    # Receiving

    def read_head(self) -> Head:
        """Return the next head. Raises Closed where none comes."""
        while b"\r\n\r\n" not in self._buffer:
            if not self._receive():
                raise Closed("closed without a head" if not self._buffer else f"closed within a head: {self._buffer!r}")
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        start, *lines = head.decode("latin-1").split("\r\n")
        version, status, _ = start.split(" ", 2)
        assert version == "HTTP/1.1", start
        return Head(int(status), [_field(line) for line in lines])

    def read_response(self, method: str = "GET", *, keeps_body: bool = True) -> Response:
        """Return the next final response, with the interim ones before it; `status` 0 where none comes."""
        interim: list[Head] = []
        try:
            while (head := self.read_head()).status < 200:
                interim.append(head)
        except Closed as error:
            return Response(0, [], interim, broken=str(error))
        response = Response(head.status, head.fields, interim, keeps_body=keeps_body)
        try:
            self._read_body(method, response)
            response.is_complete = True
        except Closed as error:
            response.broken = str(error)
        return response

    def _read_body(self, method: str, response: Response) -> None:
        length = response.get("content-length")
        if method == "HEAD" or response.status in (204, 304):
            return
        if response.get("transfer-encoding") is not None:
            assert response["transfer-encoding"] == "chunked"
            assert length is None, "content-length beside transfer-encoding"
            self._read_chunks(response)
        elif length is not None:
            self._take(int(length), response)
        else:
            while self._buffer or self._receive():
                response.add(self._buffer)
                self._buffer = b""

    def _read_chunks(self, response: Response) -> None:
        while True:
            size = int(self._line().split(";")[0], 16)
            if not size:
                break
            self._take(size, response)
            assert self._line() == ""
        while line := self._line():
            response.trailers.append(_field(line))

    def read_chunk(self) -> bytes:
        """Return the next chunk of a chunked body, b"" for the last one (its trailers are left)."""
        size = int(self._line().split(";")[0], 16)
        response = Response(200)
        self._take(size, response)
        if size:
            assert self._line() == ""
        return response.body

    def _take(self, size: int, response: Response) -> None:
        while size:
            if not self._buffer and not self._receive():
                raise Closed(f"closed {size} bytes before the end")
            data, self._buffer = self._buffer[:size], self._buffer[size:]
            size -= len(data)
            response.add(data)

    def _line(self) -> str:
        while b"\r\n" not in self._buffer:
            if not self._receive():
                raise Closed(f"closed within a line: {self._buffer!r}")
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        return line.decode("latin-1")

    def _receive(self) -> bool:
        try:
            data = self.socket.recv(READ_BYTES)
        except ConnectionResetError:
            raise Closed("reset") from None
        except ssl.SSLEOFError:
            raise Closed("cut off without close_notify") from None
        self._buffer += data
        return bool(data)

    def read_some(self) -> bytes:
        """Return what is there, or b"" at the end."""
        if not self._buffer:
            self._receive()
        data, self._buffer = self._buffer, b""
        return data

    def is_closed_by_peer(self, timeout: float = 5.0) -> bool:
        """Wait for the end of the connection; whatever else comes is an error of the test."""
        self.socket.settimeout(timeout)
        try:
            assert not self._buffer, self._buffer
            data = self.socket.recv(READ_BYTES)
        except TimeoutError:
            return False
        except ConnectionResetError:
            return True
        assert not data, f"{data!r} instead of the end"
        return True


def _field(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name.lower(), value.strip()
