"""An HTTP/2 backend of raw frames, for what no server library would do.

Each connection runs a script, a function of the test, in a thread of its own. Rule: nothing is answered that the
script does not ask for, except SETTINGS and PING, which `next_frame` acknowledges.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

import hpack
from h2.errors import ErrorCodes
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from tests.support.http1_client import abort

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
TIMEOUT_SECONDS = 30.0


class PeerGone(Exception):
    """The gate closed the connection; a script that ends by this has done its work."""


class Connection:
    """A connection from the gate. `number` counts the backend's connections from 1."""

    def __init__(self, sock: socket.socket, number: int) -> None:
        self.socket = sock
        self.number = number
        self._encoder = hpack.Encoder()
        self._decoder = hpack.Decoder()
        self._buffer = b""

    # Receiving

    def read(self, size: int) -> bytes:
        """Return exactly `size` bytes. Raises PeerGone."""
        while len(self._buffer) < size:
            try:
                data = self.socket.recv(65_536)
            except OSError as error:
                raise PeerGone(str(error)) from None
            if not data:
                raise PeerGone("closed")
            self._buffer += data
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    def begin(self, settings: dict[int, int] | None = None) -> None:
        """Take the preface and send SETTINGS."""
        assert self.read(len(PREFACE)) == PREFACE
        self.send(SettingsFrame(0, settings=settings or {}))

    def next_frame(self) -> Frame:
        while True:
            frame, length = Frame.parse_frame_header(memoryview(self.read(9)))
            frame.parse_body(memoryview(self.read(length)))
            match frame:
                case SettingsFrame():
                    if "ACK" not in frame.flags:
                        self.send(SettingsFrame(0, flags=["ACK"]))
                case PingFrame():
                    if "ACK" not in frame.flags:
                        self.send(PingFrame(0, opaque_data=frame.opaque_data, flags=["ACK"]))
                case WindowUpdateFrame():
                    pass
                case _:
                    return frame

    def next_request(self) -> tuple[int, dict[str, str], bool]:
        """Return the next request's stream id, its fields, and whether it has no body. Skips other frames."""
        while not isinstance(frame := self.next_frame(), HeadersFrame):
            pass
        block, is_last = frame.data, "END_HEADERS" in frame.flags
        while not is_last:
            more = self.next_frame()
            assert isinstance(more, ContinuationFrame)
            block, is_last = block + more.data, "END_HEADERS" in more.flags
        fields = {str(name): str(value) for name, value in self._decoder.decode(block)}
        return frame.stream_id, fields, "END_STREAM" in frame.flags

    def wait_for_end(self) -> None:
        """Read until the gate closes the connection."""
        with contextlib.suppress(PeerGone):
            while True:
                self.read(1)

    # Sending

    def send_bytes(self, data: bytes) -> None:
        try:
            self.socket.sendall(data)
        except OSError as error:
            raise PeerGone(str(error)) from None

    def send(self, *frames: Frame) -> None:
        self.send_bytes(b"".join(frame.serialize() for frame in frames))

    def headers(self, stream_id: int, *fields: tuple[str, str], flags: tuple[str, ...] = ()) -> HeadersFrame:
        """Make a HEADERS frame; its fields enter the compression state, so it must be sent."""
        return HeadersFrame(stream_id, data=self._encoder.encode(list(fields)), flags=["END_HEADERS", *flags])

    def respond(self, stream_id: int, body: bytes = b"hello\n", status: int = 200, *fields: tuple[str, str]) -> None:
        self.send(
            self.headers(stream_id, (":status", str(status)), *fields),
            DataFrame(stream_id, data=body, flags=["END_STREAM"]),
        )

    def reset(self, stream_id: int, code: ErrorCodes) -> None:
        self.send(RstStreamFrame(stream_id, error_code=code))

    def goaway(self, last_stream_id: int, code: ErrorCodes = ErrorCodes.NO_ERROR) -> None:
        self.send(GoAwayFrame(0, last_stream_id=last_stream_id, error_code=code))

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()

    def abort(self) -> None:
        """Close with a TCP reset."""
        abort(self.socket)


Script = Callable[[Connection], None]


class ScriptedBackend:
    """Listens on a free port; runs `script` for each connection. Errors of scripts fail the test at the end."""

    def __init__(self, script: Script, tls: ssl.SSLContext | None = None) -> None:
        self._script = script
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.errors: list[BaseException] = []
        self._is_stopping = False
        self._acceptor = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._acceptor.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._is_stopping = True
        # close() alone would not wake accept().
        self._listener.shutdown(socket.SHUT_RDWR)
        self._acceptor.join(10)
        self._listener.close()
        with self._lock:
            for sock in self._sockets:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive(), "a backend's script does not end"
        for sock in self._sockets:
            sock.close()
        if error is None and self.errors:
            raise self.errors[0]

    @property
    def url(self) -> str:
        return f"h2c://127.0.0.1:{self.port}" if self._tls is None else f"h2://localhost:{self.port}"

    @property
    def connections(self) -> int:
        """How many connections there have been."""
        return len(self._sockets)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self._sockets.append(sock)
                number = len(self._sockets)
            thread = threading.Thread(target=self._run, args=(sock, number), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _run(self, sock: socket.socket, number: int) -> None:
        sock.settimeout(TIMEOUT_SECONDS)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        secured: socket.socket = sock
        try:
            if self._tls is not None:
                secured = self._tls.wrap_socket(sock, server_side=True)
                with self._lock:
                    self._sockets[number - 1] = secured
            self._script(Connection(secured, number))
        except (PeerGone, ssl.SSLError, ConnectionError):
            pass  # the gate left, as it may
        except BaseException as error:
            if not self._is_stopping:
                self.errors.append(error)
        finally:
            with contextlib.suppress(OSError):
                secured.close()
