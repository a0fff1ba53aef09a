"""A small HTTP/2 client on h2 and a blocking socket. It reads only while a test waits for something.

Rule: credit goes back at once for a stream, unless the stream is told to stall; so a test decides who is slow.
"""

from __future__ import annotations

import contextlib
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
from h2.errors import ErrorCodes

from tests.support.http1_client import READ_BYTES, abort, connect
from tests.support.messages import Fields, Head, Response

TIMEOUT_SECONDS = 30.0
STREAM_WINDOW = 1024 * 1024
CONNECTION_WINDOW = 16 * 1024 * 1024


class _GoAwayKeepsState(h2.connection.H2ConnectionStateMachine):
    """h2 takes GOAWAY for the end; streams that run may finish (RFC 9113, 6.8)."""

    def process_input(self, input_: h2.connection.ConnectionInputs) -> list[h2.events.Event]:
        if input_ is h2.connection.ConnectionInputs.RECV_GOAWAY:
            return []
        return super().process_input(input_)


class Http2Client:
    """One connection with many streams; a stream's response fills as the client reads."""

    def __init__(
        self,
        port: int | Path,
        tls: ssl.SSLContext | None = None,
        *,
        server_name: str = "localhost",
        stream_window: int = STREAM_WINDOW,
        receive_buffer: int | None = None,
        before: bytes = b"",
    ) -> None:
        self.socket = connect(port, tls, server_name, receive_buffer, before=before)
        if isinstance(self.socket, ssl.SSLSocket):
            assert self.socket.selected_alpn_protocol() == "h2"
        config = h2.config.H2Configuration(
            client_side=True, header_encoding="utf-8", validate_outbound_headers=False, normalize_outbound_headers=False
        )
        self.engine = h2.connection.H2Connection(config)
        self.engine.state_machine = _GoAwayKeepsState()
        self.engine.local_settings = h2.settings.Settings(
            client=True,
            initial_values={
                h2.settings.SettingCodes.ENABLE_PUSH: 0,
                h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: stream_window,
                h2.settings.SettingCodes.MAX_HEADER_LIST_SIZE: 65_536,
            },
        )
        self.engine.initiate_connection()
        self.engine.increment_flow_control_window(CONNECTION_WINDOW - 65_535)
        self.responses: dict[int, Response] = {}
        self.stalled: set[int] = set()
        self.resets: dict[int, int] = {}
        self.goaway: h2.events.ConnectionTerminated | None = None
        self.pings = 0
        self.closed = ""
        self._scheme = "http" if tls is None else "https"
        self.flush()

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

    def flush(self) -> None:
        data = self.engine.data_to_send()
        if data:
            self.socket.sendall(data)

    def open(
        self,
        method: str,
        path: str,
        fields: Fields | None = None,
        *,
        end_stream: bool = True,
        authority: str = "gate.test",
        stalls: bool = False,
        keeps_body: bool = True,
    ) -> int:
        """Send a request's head and return its stream id. `stalls`: no credit for the response's body."""
        stream_id = self.engine.get_next_available_stream_id()
        pseudo = [(":method", method), (":scheme", self._scheme), (":authority", authority), (":path", path)]
        self.engine.send_headers(stream_id, pseudo + (fields or []), end_stream=end_stream)
        self.responses[stream_id] = Response(0, keeps_body=keeps_body)
        if stalls:
            self.stalled.add(stream_id)
        self.flush()
        return stream_id

    def send_data(
        self, stream_id: int, data: bytes, end_stream: bool = False, timeout: float = TIMEOUT_SECONDS
    ) -> None:
        """Send all of `data`, reading while the window is shut. Ends early where the stream is over."""
        view = memoryview(data)
        while True:
            if self._is_over(stream_id):
                return
            size = min(len(view), self._window(stream_id), self.engine.max_outbound_frame_size)
            if size or not view:
                is_last = size == len(view)
                self.engine.send_data(stream_id, view[:size].tobytes(), end_stream=end_stream and is_last)
                view = view[size:]
                self.flush()
                if is_last:
                    return
            else:
                self.wait("the window opens", lambda: self._window(stream_id) or self._is_over(stream_id), timeout)

    def send_trailers(self, stream_id: int, trailers: Fields) -> None:
        self.engine.send_headers(stream_id, trailers, end_stream=True)
        self.flush()

    def reset(self, stream_id: int, code: ErrorCodes = ErrorCodes.CANCEL) -> None:
        self.engine.reset_stream(stream_id, code)
        self.flush()

    def request(
        self,
        method: str,
        path: str,
        fields: Fields | None = None,
        body: bytes | None = None,
        *,
        authority: str = "gate.test",
        keeps_body: bool = True,
    ) -> Response:
        stream_id = self.open(method, path, fields, end_stream=body is None, authority=authority, keeps_body=keeps_body)
        if body is not None:
            self.send_data(stream_id, body, end_stream=True)
        return self.response(stream_id)

    def ping(self) -> None:
        """Send a PING; `pings` counts the answers."""
        self.engine.ping(b"a test's")
        self.flush()

    def _window(self, stream_id: int) -> int:
        return max(0, self.engine.local_flow_control_window(stream_id))

    def _is_over(self, stream_id: int) -> bool:
        return bool(stream_id in self.resets or self.responses[stream_id].broken or self.closed)

    # Receiving

    def response(self, stream_id: int, timeout: float = TIMEOUT_SECONDS) -> Response:
        """Wait for the end of a response, clean or not, and return it."""
        response = self.responses[stream_id]
        self.wait(f"stream {stream_id} ends", lambda: response.is_complete or response.broken, timeout)
        return response

    def head(self, stream_id: int) -> Response:
        """Wait for a response's final head."""
        response = self.responses[stream_id]
        self.wait(f"stream {stream_id} has a head", lambda: response.status or response.broken)
        assert response.status, response.broken
        return response

    def wait(self, what: str, condition: Callable[[], object], timeout: float = TIMEOUT_SECONDS) -> None:
        """Read until `condition` is true."""
        deadline = time.monotonic() + timeout
        while not condition():
            assert not self.closed, f"connection {self.closed} before {what}; GOAWAY: {self.goaway}"
            left = deadline - time.monotonic()
            assert left > 0, f"waited {timeout} s in vain until {what}"
            self.read(left)

    def read(self, timeout: float = TIMEOUT_SECONDS) -> None:
        """Read once, if something comes in time."""
        self.socket.settimeout(timeout)
        try:
            data = self.socket.recv(READ_BYTES)
        except TimeoutError:
            return
        except ConnectionResetError:
            self._ended("reset")
            return
        except ssl.SSLEOFError:
            self._ended("cut off")
            return
        finally:
            self.socket.settimeout(TIMEOUT_SECONDS)
        if not data:
            self._ended("closed")
            return
        try:
            events = self.engine.receive_data(data)
        except h2.exceptions.ProtocolError as error:
            raise AssertionError(f"the gate broke HTTP/2: {error!r}") from error
        for event in events:
            self._handle(event)
        try:
            self.flush()
        except (BrokenPipeError, ConnectionResetError):
            self._ended("reset")

    def _ended(self, how: str) -> None:
        self.closed = how
        for response in self.responses.values():
            if not response.is_complete and not response.broken:
                response.broken = f"connection {how}"

    def _handle(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.InformationalResponseReceived():
                self.responses[event.stream_id].interim.append(_head(event))
            case h2.events.ResponseReceived():
                head = _head(event)
                response = self.responses[event.stream_id]
                response.status, response.fields = head.status, head.fields
            case h2.events.DataReceived():
                self.responses[event.stream_id].add(event.data)
                self.engine.increment_flow_control_window(event.flow_controlled_length or 1)
                if event.stream_id not in self.stalled and event.flow_controlled_length:
                    # h2 has read all frames already: the stream may have ended further on.
                    with contextlib.suppress(h2.exceptions.StreamClosedError):
                        self.engine.increment_flow_control_window(event.flow_controlled_length, event.stream_id)
            case h2.events.TrailersReceived():
                self.responses[event.stream_id].trailers = _fields(event.headers)
            case h2.events.StreamEnded():
                self.responses[event.stream_id].is_complete = True
            case h2.events.StreamReset():
                self.resets[event.stream_id] = event.error_code
                response = self.responses[event.stream_id]
                if not response.is_complete:
                    response.broken = f"RST_STREAM {ErrorCodes(event.error_code).name}"
            case h2.events.PingAckReceived():
                self.pings += 1
            case h2.events.ConnectionTerminated():
                self.goaway = event


def _head(event: h2.events.InformationalResponseReceived | h2.events.ResponseReceived) -> Head:
    fields = _fields(event.headers)
    (status,) = (value for name, value in fields if name == ":status")
    return Head(int(status), [pair for pair in fields if pair[0] != ":status"])


def _fields(headers: object) -> Fields:
    return [(str(name), str(value)) for name, value in headers]  # type: ignore[attr-defined]
