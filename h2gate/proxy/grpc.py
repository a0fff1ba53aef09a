"""Errors as gRPC has them: a 200 with the status in its only fields, as clients look for it nowhere else.

The statuses follow gRPC's "HTTP to gRPC Status Code Mapping", which is what a client would make of the HTTP status by
itself; so nobody is told anything else than without the gate. By it 504 is UNAVAILABLE too, not DEADLINE_EXCEEDED: that
is for the client's own deadline.
"""

from __future__ import annotations

from h2gate.protocol.events import Fields, RequestHead

_INTERNAL, _UNAUTHENTICATED, _PERMISSION_DENIED, _UNIMPLEMENTED, _UNAVAILABLE, _UNKNOWN = 13, 16, 7, 12, 14, 2

_STATUSES = {
    400: _INTERNAL,
    401: _UNAUTHENTICATED,
    403: _PERMISSION_DENIED,
    404: _UNIMPLEMENTED,
    429: _UNAVAILABLE,
    502: _UNAVAILABLE,
    503: _UNAVAILABLE,
    504: _UNAVAILABLE,
}

_MEDIA_TYPE = b"application/grpc"
_PLAIN = frozenset(range(0x20, 0x7F)) - {0x25}


def is_grpc(head: RequestHead) -> bool:
    """Whether the client speaks gRPC: on HTTP/2 only, and gRPC-Web, which reads HTTP statuses, is another protocol."""
    if head.method != b"POST" or head.version != b"HTTP/2.0":
        return False
    for name, value in head.fields:
        if name == b"content-type":
            value = value.lower()
            return value.startswith(_MEDIA_TYPE) and value[len(_MEDIA_TYPE) :][:1] in (b"", b"+", b";", b" ")
    return False


def fields_of(status: int, message: str) -> Fields:
    """Return the fields of a trailers-only answer for an HTTP status."""
    return [
        (b"content-type", _MEDIA_TYPE),
        (b"grpc-status", b"%d" % _STATUSES.get(status, _UNKNOWN)),
        (b"grpc-message", percent_encoded(message)),
    ]


def percent_encoded(message: str) -> bytes:
    """Return a message as gRPC over HTTP/2 carries it ("Percent-Encoded" of its protocol)."""
    return b"".join(
        bytes([octet]) if octet in _PLAIN else b"%%%02X" % octet for octet in message.encode("utf-8", "replace")
    )
