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
    """A client connection's facts. `address` is an IP address, or `unix:` for a unix socket.

    Behind a PROXY header `address`, `port` and `local_port` are what it told; HAProxy's `set-src` tells port 0.
    `is_trusted`: `address` is one of the
    listener's `trusted_proxies`. `tls` is `TLSv1.3`, or None in clear. `certificate` is the verified one of the client,
    as X-Forwarded-Client-Cert tells it; empty for none. `server_name` is what the client asked for by SNI, and `names`
    those of the certificate that it got; both in lower case.
    """

    address: str
    port: int
    local_port: int
    scheme: bytes
    is_trusted: bool
    tls: str | None = None
    certificate: bytes = b""
    server_name: bytes = b""
    names: frozenset[bytes] | None = None
    # Worked out once for a connection, not for each request; the second by `proxy.rewrite`, whose it is.
    log_address: bytes = field(init=False, repr=False, compare=False)
    standing_fields: Fields = field(default_factory=list, init=False, repr=False, compare=False)
    _served: list[bytes] = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "log_address", self.address.encode("ascii"))

    @property
    def has_address(self) -> bool:
        return self.address != "unix:"

    @property
    def name(self) -> str:
        """For the error log: `192.0.2.7:50312`."""
        host = f"[{self.address}]" if self.address.count(":") > 1 else self.address
        return f"{host}:{self.port}" if self.port else host

    def serves(self, authority: bytes) -> bool:
        """Tell whether a request for `authority` may come in on this connection; if not it is 421 (RFC 9110, 7.4).

        A client may ask for what it verified: the name it gave, and all names of the certificate that it got. What it
        asks for without having given a name is compared with the certificate as well, but for addresses, which SNI
        cannot say (RFC 6066, 3).
        """
        # `names` is None in clear, where nothing was verified; callers on the hot path ask for it first.
        if self.names is None or authority in self._served:
            return True
        host = _host_of(authority)
        if host == self.server_name or _covers(self.names, host) or (not self.server_name and _may_be_unnamed(host)):
            if len(self._served) >= SERVED_AUTHORITIES:
                self._served.clear()
            self._served.append(authority)
            return True
        # A certificate without names, of a test or of old, says nothing to compare with.
        return not self.server_name and not self.names


# Of one connection, that are remembered; a client may invent names below a wildcard without end.
SERVED_AUTHORITIES = 8


def _host_of(authority: bytes) -> bytes:
    host = authority if authority.endswith(b"]") else authority.rpartition(b":")[0] or authority
    return host.strip(b"[]").removesuffix(b".").lower()


def _covers(names: frozenset[bytes], host: bytes) -> bool:
    # A wildcard stands for the first label (RFC 9525, 6.3).
    return host in names or b"*." + host.partition(b".")[2] in names


def _may_be_unnamed(host: bytes) -> bool:
    """Tell an address, or the empty host of HTTP/1.0."""
    return not host or b":" in host or not host.translate(None, b"0123456789.")


class ClientStream(Protocol):
    """A request's way back to its client. After `send_head`, exactly one of: an `end_stream`, trailers, `reset`.

    Once the exchange is over on both sides the frontend forgets it; calls after that are ignored.
    """

    client: Client

    @property
    def can_push(self) -> bool:
        """Whether a push behind this request's response may be taken now; never in HTTP/1.1."""

    def push(self, head: RequestHead) -> None:
        """Promise the response of `head`, a GET without body, and begin its exchange (RFC 9113, 8.4).

        Not before `can_push`. Does nothing where it cannot be, or where the connection has been pushed this before.
        """

    def send_interim(self, head: ResponseHead) -> None: ...

    def send_head(self, head: ResponseHead, end_stream: bool) -> None: ...

    def send_data(self, data: bytes, end_stream: bool) -> None: ...

    def send_trailers(self, fields: Fields) -> None: ...

    def reset(self, failure: Failure) -> None:
        """End the response visibly broken: RST_STREAM, or an aborted connection. Nothing is called back."""

    def refuse_rest(self) -> None:
        """Let the stream of a tunnel end with the response: nobody wants what the client would still send."""

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
