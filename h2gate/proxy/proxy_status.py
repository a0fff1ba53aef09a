"""Proxy-Status (RFC 9209): why the gate failed, in the words of its section 2.3, for clients that are to know.

`details` says what the access log does, but for names and addresses of the inner network: those are the operator's.
"""

from __future__ import annotations

from h2gate.errors import Failure, Origin, Reason

ERROR_TYPES: dict[Reason, bytes] = {
    Reason.CONNECT_REFUSED: b"connection_refused",
    Reason.CONNECT_FAILED: b"destination_unavailable",
    Reason.CONNECT_TIMEOUT: b"connection_timeout",
    Reason.DNS_FAILED: b"dns_error",
    Reason.TLS_FAILED: b"tls_protocol_error",
    Reason.TLS_VERIFY: b"tls_certificate_error",
    Reason.ALPN_HTTP1: b"tls_protocol_error",
    Reason.BACKEND_HTTP1: b"http_protocol_error",
    Reason.BACKEND_PROTOCOL: b"http_protocol_error",
    Reason.BACKEND_CLOSED: b"connection_terminated",
    Reason.BACKEND_RESET: b"http_response_incomplete",
    Reason.BAD_RESPONSE: b"http_protocol_error",
    Reason.GOAWAY_REFUSED: b"destination_unavailable",
    Reason.REFUSED_STREAM: b"destination_unavailable",
    Reason.HEAD_TIMEOUT: b"http_response_timeout",
    Reason.IDLE_TIMEOUT: b"connection_read_timeout",
    Reason.PING_TIMEOUT: b"connection_read_timeout",
    Reason.NO_EXTENDED_CONNECT: b"http_upgrade_failed",
    Reason.NO_ROUTE: b"destination_not_found",
    Reason.METHOD_NOT_ALLOWED: b"http_request_denied",
    Reason.PROTOCOL_NOT_SERVED: b"http_upgrade_failed",
    Reason.QUEUE_FULL: b"connection_limit_reached",
    Reason.QUEUE_TIMEOUT: b"connection_limit_reached",
    Reason.DRAINING: b"destination_unavailable",
    Reason.INTERNAL: b"proxy_internal_error",
}
"""What is not here is told by who did it: `_BY_ORIGIN`."""

_BY_ORIGIN = {
    Origin.CLIENT: b"http_request_error",
    Origin.BACKEND: b"http_protocol_error",
    Origin.GATE: b"proxy_internal_response",
}

# RFC 8941, 3.3.3: visible ASCII and space.
_NO_STRING = bytes(octet for octet in range(256) if not 0x20 <= octet <= 0x7E)


def of_failure(failure: Failure) -> bytes:
    error = ERROR_TYPES.get(failure.reason) or _BY_ORIGIN[failure.rule.origin]
    word = failure.word
    if failure.reason is Reason.TLS_VERIFY:
        # `hostname mismatch, certificate is not valid for 'app.internal'`
        word = word.partition(",")[0]
    elif failure.reason is Reason.CONNECT_FAILED:
        # `source_address 10.0.0.2: Cannot assign requested address`
        word = failure.reason.value
    return b"h2gate; error=%b; details=%b" % (error, _quoted(word))


def of_override(status: int) -> bytes:
    """Return what says that the backend's own words were replaced: the status alone is its."""
    return b"h2gate; received-status=%d" % status


def _quoted(text: str) -> bytes:
    octets = text.encode("ascii", "replace").translate(None, _NO_STRING)
    return b'"%b"' % octets.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
