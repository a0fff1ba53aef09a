"""What a backend's side needs to know of those who use it: nothing but these calls.

All are made from the hub, and none may block. One that raises costs its own stream only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from h2gate.errors import Failure
from h2gate.protocol.events import Fields, ResponseHead

if TYPE_CHECKING:
    from h2gate.backend.connection import BackendConnection


class Waiter(Protocol):
    """Somebody who wants to open a stream. Hears exactly one of the two for each `acquire`, unless it withdraws."""

    def on_lease(self, connection: BackendConnection) -> None:
        """A stream may be opened on `connection`: one, in this very call, or not at all.

        If none is opened the lease goes to the next in the queue.
        """

    def on_lease_failed(self, failure: Failure) -> None: ...


class ResponseSink(Protocol):
    """Where a stream's response goes.

    After a call with `end_stream`, after trailers, after a failure and after `BackendStream.reset` nothing follows. In
    a tunnel (an extended CONNECT that was answered by 2xx) `end_stream` ends the backend's direction only: framed bytes
    of the other one and a failure may follow, until that has ended too or is reset.
    """

    def on_interim(self, head: ResponseHead) -> None: ...

    def on_response(self, head: ResponseHead, end_stream: bool) -> None: ...

    def on_response_data(self, data: bytes, end_stream: bool) -> None:
        """Body bytes; they are owed to the backend by `BackendStream.credit` once they have moved on."""

    def on_response_trailers(self, fields: Fields) -> None: ...

    def on_request_framed(self, size: int) -> None:
        """`size` bytes of the request's body have gone out."""

    def on_backend_failure(self, failure: Failure) -> None: ...
