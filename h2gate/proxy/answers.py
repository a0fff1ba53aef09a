"""What the gate says itself: errors, `respond`, `redirect`.

The rule: an answer says what, and not why. That is in the access log, and in Proxy-Status if the operator wants it.
"""

from __future__ import annotations

from email.utils import formatdate
from time import time

from h2gate.errors import Failure
from h2gate.protocol.events import Fields, RequestHead, ResponseHead
from h2gate.proxy import grpc, proxy_status
from h2gate.proxy.error_pages import ErrorPages, phrase_of

SERVER = b"h2gate"

OVERRIDE_KEEPS = frozenset(
    {
        # what a client needs to ask again, and better (RFC 9110)
        b"www-authenticate", b"authentication-info", b"allow", b"retry-after", b"accept", b"accept-encoding",
        b"accept-patch", b"accept-post", b"content-range",
        # what belongs to the client's session, whatever the body
        b"set-cookie", b"clear-site-data",
        # without these a page of another origin cannot even read the status (Fetch Standard, 3.2)
        b"access-control-allow-origin", b"access-control-allow-credentials", b"access-control-expose-headers",
    }
)  # fmt: skip
"""Fields of a backend's head that stay where `error_override` replaces its body; all others are about that body."""


class DateField:
    """The Date field's value, made once a second (RFC 9110, 6.6.1)."""

    __slots__ = ("_second", "_value")

    def __init__(self) -> None:
        self._second = -1
        self._value = b""

    def now(self) -> bytes:
        second = int(time())
        if second != self._second:
            self._second = second
            self._value = formatdate(second, usegmt=True).encode("ascii")
        return self._value


def answer(status: int, body: bytes, date: bytes, extra: Fields) -> ResponseHead:
    """Return the head of an answer of the gate's own that is no error; `extra` are fields beside the usual ones."""
    fields: Fields = [(b"server", SERVER), (b"date", date)]
    # RFC 9110, 8.6: no Content-Length in a 204; 304 is about another representation.
    if status not in (204, 304):
        if body:
            fields.append((b"content-type", b"text/plain; charset=utf-8"))
        fields.append((b"content-length", b"%d" % len(body)))
    return ResponseHead(status, fields + extra)


class Errors:
    """The one place where answers to failures are made. `tells_why`: with Proxy-Status."""

    __slots__ = ("_date", "_tells_why")

    def __init__(self, date: DateField, tells_why: bool) -> None:
        self._date = date
        self._tells_why = tells_why

    def of_failure(
        self, request: RequestHead, request_id: bytes, pages: ErrorPages, failure: Failure, extra: Fields
    ) -> tuple[ResponseHead, bytes]:
        """Return head and body for a failure; `extra` are fields that its status asks for, as Allow."""
        if self._tells_why:
            extra = [*extra, (b"proxy-status", proxy_status.of_failure(failure))]
        return self._answer(request, request_id, pages, failure.rule.status, extra)

    def of_status(
        self, request: RequestHead, request_id: bytes, pages: ErrorPages, status: int
    ) -> tuple[ResponseHead, bytes]:
        """Return head and body for an error that the operator wants a route to answer with."""
        return self._answer(request, request_id, pages, status, [])

    def of_override(
        self, request: RequestHead, request_id: bytes, pages: ErrorPages, head: ResponseHead
    ) -> tuple[ResponseHead, bytes]:
        """Return head and body in place of a backend's; its `head` has been rewritten for the client."""
        kept = [field for field in head.fields if field[0] in OVERRIDE_KEEPS]
        if self._tells_why:
            kept.append((b"proxy-status", proxy_status.of_override(head.status)))
        return self._answer(request, request_id, pages, head.status, kept)

    def _answer(
        self, request: RequestHead, request_id: bytes, pages: ErrorPages, status: int, extra: Fields
    ) -> tuple[ResponseHead, bytes]:
        fields: Fields = [(b"server", SERVER), (b"date", self._date.now())]
        body = b""
        if grpc.is_grpc(request):
            fields += grpc.fields_of(status, f"{status} {phrase_of(status)}")
            status = 200
        else:
            accept = b", ".join([value for name, value in request.fields if name == b"accept"])
            media_type, body = pages.body(status, accept, request_id)
            fields.append((b"content-type", media_type))
            fields.append((b"content-length", b"%d" % len(body)))
            fields.append((b"vary", b"accept"))
            # Some statuses may be kept without being asked (RFC 9110, 15.1); none of the gate's is worth it.
            fields.append((b"cache-control", b"no-store"))
        return ResponseHead(status, [*fields, *extra, (b"x-request-id", request_id)]), body
