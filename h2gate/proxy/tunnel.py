"""A WebSocket: an exchange that, once the backend has agreed, is two streams of bytes that end apart.

HTTP/1.1 clients ask by Upgrade (RFC 6455), HTTP/2 clients by extended CONNECT (RFC 8441); the backend gets extended
CONNECT from both, and only if its SETTINGS say that it takes it. Rules:

1. Nothing is a tunnel before the backend's 2xx: any other answer is an ordinary response.
2. The end of one direction is passed on as just that (RFC 8441, 5: END_STREAM stands for an orderly close of TCP).
"""

from __future__ import annotations

import base64
import binascii
from hashlib import sha1

from h2gate.backend.connection import BackendConnection
from h2gate.backend.endpoint import Endpoint
from h2gate.errors import Failure, Reason
from h2gate.protocol.events import Fields, RequestHead, ResponseHead
from h2gate.proxy.exchange import Exchange
from h2gate.proxy.exchange_state import SIDE, SideEvent, SideState
from h2gate.proxy.router import CompiledRoute

WEBSOCKET = b"websocket"
HALF_CLOSED_SECONDS = 30.0
"""How long nothing may move in a tunnel with one end closed: both ends mean to go, and one may have died."""

# RFC 6455, 1.3: what a server appends to the client's key to show that it understood.
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Tunnel(Exchange):
    """An exchange whose request asks for a WebSocket."""

    __slots__ = ("_accept", "_awaits_settings", "_is_open")

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        # For an HTTP/1.1 client: the answer to its key.
        self._accept = b""
        self._awaits_settings = False
        self._is_open = False

    def prepare(self, route: CompiledRoute, to_backend: RequestHead) -> Failure | None:
        """Make the head for the backend one of extended CONNECT; return what forbids it."""
        request = self.request
        if not route.websocket and request.method != b"CONNECT":
            self._ignore_upgrade()
            return None
        if not route.websocket:
            return Failure(Reason.PROTOCOL_NOT_SERVED, "websocket: false")
        if request.protocol != WEBSOCKET:
            return Failure(Reason.PROTOCOL_NOT_SERVED, request.protocol.decode("latin-1"))
        if request.method != b"CONNECT":
            keys = [value for name, value in request.fields if name == b"sec-websocket-key"]
            if len(keys) != 1 or not is_key(keys[0]):
                return Failure(Reason.BAD_REQUEST, "Sec-WebSocket-Key")
            self._accept = accept_of(keys[0])
        to_backend.method = b"CONNECT"
        to_backend.protocol = WEBSOCKET
        # RFC 8441, 5: the key and its answer have no place there.
        to_backend.fields = [field for field in to_backend.fields if field[0] != b"sec-websocket-key"]
        return None

    def _ignore_upgrade(self) -> None:
        """Take an HTTP/1.1 request as if it did not ask (RFC 9110, 7.8: a server may)."""
        self.request_state = SIDE.next(self.request_state, SideEvent.END)
        self._body.add(b"", True, None)

    # The backend

    def on_lease(self, connection: BackendConnection) -> None:
        if not self._to_backend.protocol:
            super().on_lease(connection)
        elif not connection.has_settings:
            # RFC 8441, 3: `:protocol` may be sent once the SETTINGS that allow it are here.
            self._awaits_settings = True
            connection.when_settled(self._settled)
        elif not connection.takes_connect:
            self._not_taken(connection.pool.endpoint)
        else:
            super().on_lease(connection)

    def _not_taken(self, endpoint: Endpoint) -> None:
        """Ask the next endpoint, as nothing was sent to this one; it may be of an older make."""
        self._endpoint = endpoint
        self._tried.append(endpoint)
        self._pool = self._backend.choose(self._tried)
        if self._pool.endpoint in self._tried:
            self._pool = None
            self.fail(Failure(Reason.NO_EXTENDED_CONNECT))
        else:
            self._pool.acquire(self)

    def _settled(self, failure: Failure | None) -> None:
        if not self._awaits_settings:
            return  # the client is gone, or waited too long
        self._awaits_settings = False
        if failure is not None:
            self.on_lease_failed(failure)
        elif self._pool is not None:
            self._pool.acquire(self)

    def on_backend_failure(self, failure: Failure) -> None:
        if self._is_open and self.response_state is SideState.DONE:
            # It had said all that it would, and wants no more of the client. What it said still arrives.
            self._back = None
            self.request_state = SIDE.next(self.request_state, SideEvent.BREAK)
            self.stream.refuse_rest()
            self._one_ended()
        else:
            super().on_backend_failure(failure)

    # The answer

    def on_response(self, head: ResponseHead, end_stream: bool) -> None:
        if self._to_backend.protocol and 200 <= head.status < 300:
            self._open(head, end_stream)
        else:
            self._end_request()
            super().on_response(head, end_stream)

    def _open(self, head: ResponseHead, end_stream: bool) -> None:
        proxy = self._proxy
        now = self._moved_at = proxy.deadlines.now
        self.head_seconds = now - self._started
        self.backend_status = head.status
        self._is_open = True
        # What comes from here on is no body (RFC 9110, 9.3.6).
        self._max_body = None
        self._body.drop()
        head = proxy.rewriter.response(head, self._way_back, proxy.date, self.found.response_rules)
        # RFC 9110, 9.3.6: a length in a 2xx to CONNECT means nothing.
        head.fields = [field for field in head.fields if field[0] not in (b"content-length", b"sec-websocket-accept")]
        if self._accept:
            head.status = 101
            head.fields.append((b"sec-websocket-accept", self._accept))
        self._pass_head(head, end_stream)
        self.when = now + self._due()[0]

    def answer(self, status: int, body: bytes, extra: Fields) -> None:
        if self.request.method == b"CONNECT" and 200 <= status < 300:
            # RFC 9110, 9.3.6: to the client it would be an open tunnel.
            self.fail(Failure(Reason.PROTOCOL_NOT_SERVED, "the route has no backend"))
        else:
            super().answer(status, body, extra)

    def on_request_data(self, data: bytes, credit: int, end_stream: bool) -> None:
        super().on_request_data(data, credit, end_stream)
        if end_stream:
            self._one_ended()

    def _end_request(self) -> None:
        if self.request_state is SideState.BODY:
            self.request_state = SIDE.next(self.request_state, SideEvent.END)
            self._body.add(b"", True, self._back)

    def _response_ended(self) -> None:
        if not self._is_open:
            super()._response_ended()
            return
        if self._accept:
            # The client's connection ends behind what was sent on it, in both directions.
            self._end_request()
        self.response_state = SIDE.next(self.response_state, SideEvent.END)
        self._one_ended()

    # Ends

    def _one_ended(self) -> None:
        if self.request_state is not SideState.BODY and self.response_state is SideState.DONE:
            if self._body.is_all_framed:
                self._back = None
            if self.bytes_sent == self._given:
                self._log()
        if self._is_open:
            self.when = min(self.when, self._moved_at + HALF_CLOSED_SECONDS)

    def on_request_framed(self, size: int) -> None:
        super().on_request_framed(size)
        if self._is_open and self.request_state is SideState.DONE:
            self._one_ended()

    def _leave_backend(self) -> None:
        self._awaits_settings = False
        super()._leave_backend()

    def _log(self) -> None:
        if self._is_open and self.response_state is SideState.DONE and self._back is not None:
            return  # the client's direction has not ended yet, or its last bytes wait for the backend's window
        super()._log()

    def _due(self) -> tuple[float, Failure]:
        if self._back is not None and self.response_state is SideState.HEAD:
            return self.found.patience.response_head, Failure(Reason.HEAD_TIMEOUT)
        if not self._is_open or self.bytes_sent < self._given:
            return super()._due()
        limit = self.found.patience.tunnel_idle
        if self.request_state is not SideState.BODY or self.response_state is not SideState.BODY:
            limit = min(limit, HALF_CLOSED_SECONDS)
        return limit, Failure(Reason.TUNNEL_IDLE)


def is_key(value: bytes) -> bool:
    """Whether `value` is 16 bytes in base64 (RFC 6455, 4.1)."""
    try:
        return len(base64.b64decode(value, validate=True)) == 16
    except binascii.Error:
        return False


def accept_of(key: bytes) -> bytes:
    """Return Sec-WebSocket-Accept for the client's key (RFC 6455, 4.2.2)."""
    return base64.b64encode(sha1(key + _GUID, usedforsecurity=False).digest())
