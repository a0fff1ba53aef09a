"""A copy of a request on its way to a mirror, and what becomes of its response: nothing.

The rule: a copy never costs the client anything. It is sent once, without retries, when the request is complete; a
request too large to be held whole has none, and neither has one when too many are under way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from h2gate.backend.connection import BackendConnection
from h2gate.backend.pool import Pool
from h2gate.backend.stream import BackendStream
from h2gate.errors import ErrorCode, Failure
from h2gate.net.deadlines import Timed
from h2gate.protocol.events import Fields, RequestHead, ResponseHead
from h2gate.proxy.request_body import RequestBody

if TYPE_CHECKING:
    from h2gate.backend.backend import Backend
    from h2gate.proxy.proxy import Proxy

COPIES = 256
"""Under way in a worker. Each holds a body of up to `limits.replay_buffer`: 16 MiB with the default."""


class Copy(Timed):
    """One copy. It waits, sends and receives for nobody, in all within the time that a response's head may take: an
    answer without end, as an event stream is, must not hold its place for ever."""

    __slots__ = ("_backend", "_chunks", "_head", "_pool", "_proxy", "_stream", "_trailers")

    def __init__(self, proxy: Proxy, backend: Backend, head: RequestHead) -> None:
        super().__init__()
        self._proxy = proxy
        self._backend = backend
        self._head = head
        self._chunks: list[bytes] = []
        self._trailers: Fields | None = None
        self._pool: Pool | None = None
        self._stream: BackendStream | None = None

    def send(self, body: RequestBody) -> None:
        """Send the head with `body`, which is complete and whole, unless too many are under way."""
        proxy = self._proxy
        if proxy.copies >= COPIES:
            return
        self._chunks, self._trailers = body.contents()
        proxy.copies += 1
        self.when = proxy.deadlines.now + proxy.timeouts.response_head
        proxy.deadlines.run(self)
        self._pool = self._backend.choose(())
        self._pool.acquire(self)

    def on_lease(self, connection: BackendConnection) -> None:
        self._pool = None
        head, endpoint = self._head, connection.pool.endpoint
        head.scheme = endpoint.scheme
        head.authority = head.authority or endpoint.authority
        stream = self._stream = connection.open_stream(head, not self._chunks and self._trailers is None, self)
        last = len(self._chunks) - 1
        for index, chunk in enumerate(self._chunks):
            stream.send_data(chunk, self._trailers is None and index == last)
        if self._trailers is not None:
            stream.send_trailers(self._trailers)
        self._chunks = []

    def on_lease_failed(self, failure: Failure) -> None:
        self._over()

    def on_interim(self, head: ResponseHead) -> None:
        pass

    def on_response(self, head: ResponseHead, end_stream: bool) -> None:
        if end_stream:
            self._over()

    def on_response_data(self, data: bytes, end_stream: bool) -> None:
        if end_stream:
            self._over()
        elif self._stream is not None:
            self._stream.credit(len(data))

    def on_response_trailers(self, fields: Fields) -> None:
        self._over()

    def on_request_framed(self, size: int) -> None:
        pass

    def on_backend_failure(self, failure: Failure) -> None:
        self._over()

    def expired(self) -> None:
        if self._stream is not None:
            self._stream.reset(ErrorCode.CANCEL)
        if self._pool is not None:
            self._pool.withdraw(self)
        self._over()

    def _over(self) -> None:
        self._pool = self._stream = None
        self._proxy.copies -= 1
        self._proxy.deadlines.stop(self)
