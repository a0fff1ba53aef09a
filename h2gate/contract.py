"""What the two sides of an exchange promise each other, so that neither has to know the other.

The frontend hands each request to a `Handler` and gets a `RequestSink` for what follows of it; the handler answers
on the `ClientStream`. All calls are direct and none may block: each changes an engine and marks its connection for
the flush.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from h2gate.errors import Failure
from h2gate.protocol.events import Fields, RequestHead, ResponseHead


@dataclass(frozen=True, slots=True)
class Client:
    """A client connection's facts. `address` is an IP address, or `unix:` for a unix socket (port 0).

    `is_trusted`: the peer is one of the listener's `trusted_proxies`. `tls` is `TLSv1.3`, or None in clear.
    """

    address: str
    port: int
    local_port: int
    scheme: bytes
    is_trusted: bool
    tls: str | None = None
    # Worked out once for a connection, not for each request; the second by `proxy.rewrite`, whose it is.
    log_address: bytes = field(init=False, repr=False, compare=False)
    standing_fields: Fields = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "log_address", self.address.encode("ascii"))

    @property
    def name(self) -> str:
        """For the error log: `192.0.2.7:50312`."""
        host = f"[{self.address}]" if self.address.count(":") > 1 else self.address
        return f"{host}:{self.port}" if self.port else host


class ClientStream(Protocol):
    """A request's way back to its client. After `send_head`, exactly one of: an `end_stream`, trailers, `reset`.

    Once the exchange is over on both sides the frontend forgets it; calls after that are ignored.
    """

    client: Client

    def send_interim(self, head: ResponseHead) -> None: ...

    def send_head(self, head: ResponseHead, end_stream: bool) -> None: ...

    def send_data(self, data: bytes, end_stream: bool) -> None: ...

    def send_trailers(self, fields: Fields) -> None: ...

    def reset(self, failure: Failure) -> None:
        """End the response visibly broken: RST_STREAM, or an aborted connection. Nothing is called back."""

    def credit(self, size: int) -> None:
        """Let the client send `size` more bytes of this request's body."""


class RequestSink(Protocol):
    """What follows of a request, and what becomes of the response."""

    def on_request_data(self, data: bytes, credit: int, end_stream: bool) -> None:
        """`credit` is what is owed to the client by `ClientStream.credit` once the bytes have moved on."""

    def on_request_trailers(self, fields: Fields) -> None: ...

    def on_request_broken(self, failure: Failure) -> None:
        """The rest of the body cannot be read; the client is still there for an answer, its last."""

    def on_client_gone(self, failure: Failure) -> None:
        """The client reset the stream or left; nothing can be sent to it any more."""

    def on_response_framed(self, size: int) -> None:
        """`size` bytes of the response's body went to the client's transport."""


class Handler(Protocol):
    """What the frontend gives requests to. Both calls may answer before they return."""

    def begin(self, stream: ClientStream, head: RequestHead, end_stream: bool) -> RequestSink:
        """Begin an exchange."""

    def reject(self, stream: ClientStream, head: RequestHead | None, failure: Failure) -> RequestSink:
        """Answer a request that must not be passed on. `head` is None where it could not be read."""
