"""A request's head, read by h11, and what follows from it; `http1_native` reads the plain ones faster, to the same end.

The one rule: h11 sees only what `http1_strict` admits, and what it makes of that is checked again where it is
lenient. It joins repeated lengths, and prefers Transfer-Encoding where Content-Length is there as well; either,
read differently by a backend, is a request smuggled (RFC 9112, 11.2).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import h11

from h2gate.errors import Failure, Reason
from h2gate.protocol.contract import Http1Settings
from h2gate.protocol.events import Fields, RequestHead
from h2gate.protocol.fields import Malformed, is_authority, is_path, is_token, parse_content_length
from h2gate.protocol.http1_body import ChunkedReader, LengthReader
from h2gate.protocol.http1_input import Fault

_CONTENT_LENGTH_LINE = re.compile(rb"\r\ncontent-length:[ \t]*([^\r]*)")
# RFC 9112, 3.2.2. The authority is checked apart.
_ABSOLUTE_FORM = re.compile(rb"([A-Za-z][A-Za-z0-9+.\-]*)://([^/?]*)(.*)")
_DEFAULT_PORT = {b"http": b":80", b"https": b":443"}
_TRANSFER_ENCODING_LINE = re.compile(rb"\r\ntransfer-encoding:([^\r]*)")

KNOWN_EXPECTATIONS = frozenset({b"100-continue", b""})
"""What a request may expect (RFC 9110, 10.1.1); an empty item is none (RFC 9110, 5.6.1)."""

# Why well-framed requests are not passed on.
UNKNOWN_EXPECTATION = Failure(Reason.EXPECTATION_FAILED, "expectation other than 100-continue")
_CONNECT = Failure(Reason.BAD_REQUEST, "CONNECT is not served")
_OTHER_SCHEME = Failure(Reason.BAD_REQUEST, "request-target with another scheme than the connection's")


@dataclass(slots=True)
class Request:
    """A head and what it says about its body and its connection.

    `body` is None if there is none. `refusal`, if there is one, is why a well-framed request must not be passed on.
    """

    head: RequestHead
    body: LengthReader | ChunkedReader | None
    keeps_alive: bool
    accepts_trailers: bool
    refusal: Failure | None


_REQUEST_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([\x21-\x7e]+)(?: (HTTP/[0-9]\.[0-9]))?")


def guess_head(line: bytes) -> RequestHead | None:
    """Return what the first line of a request that cannot be served says, for the log alone; it may be cut off."""
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        return None
    method, target, version = match.groups()
    return RequestHead(method, b"", b"", target, [], version or b"-", None, target)


def parse_head(data: bytes, scheme: bytes, settings: Http1Settings) -> Request:
    """Read a whole and strict head, as `Input` cuts it. `scheme` is the connection's.

    Raises Fault.
    """
    if data.count(b"\r\n") - 2 > settings.fields:
        raise Fault(Reason.HEAD_TOO_LARGE, f"more than {settings.fields} fields")
    parser = h11.Connection(h11.SERVER, max_incomplete_event_size=settings.header_list)
    try:
        parser.receive_data(data)
        event = parser.next_event()
    except h11.RemoteProtocolError as error:
        # What is left for h11 to refuse: lengths, codings, the number of Hosts.
        reason = Reason.UNKNOWN_CODING if _has_unknown_coding(data) else Reason.BAD_REQUEST
        raise Fault(reason, str(error)[:200]) from None
    assert isinstance(event, h11.Request)  # a whole head makes a request or an error
    try:
        return _digest(event, data, scheme, settings)
    except Malformed as error:
        raise Fault(Reason.BAD_REQUEST, str(error)) from None


def _has_unknown_coding(data: bytes) -> bool:
    """Whether a refused head is one of a body that is chunked in the end and coded by something else before.

    RFC 9112, 6.1: that is for 501. Where `chunked` is not the last, or there is a length, the end of the body is in
    doubt (RFC 9112, 6.3).
    """
    lower = data.lower()
    items = b",".join(_TRANSFER_ENCODING_LINE.findall(lower)).split(b",")
    codings = [item.partition(b";")[0].strip(b" \t") for item in items]
    return (
        len(codings) > 1
        and codings[-1] == b"chunked"
        and codings.count(b"chunked") == 1
        and all(map(is_token, codings))
        and b"\r\ncontent-length:" not in lower
        and not lower.partition(b"\r\n")[0].endswith(b"1.0")
    )


def _digest(event: h11.Request, data: bytes, scheme: bytes, settings: Http1Settings) -> Request:
    host: bytes | None = None
    length: int | None = None
    is_chunked = accepts_trailers = expects_more = False
    options: set[bytes] = set()
    upgrades: list[bytes] = []
    fields: Fields = []
    for name, value in event.headers:
        if name == b"host":
            host = value
            continue
        if name == b"transfer-encoding":
            # Here it is `chunked`, alone: h11 admits nothing else.
            is_chunked = True
            continue
        if name == b"content-length":
            # As written, because h11 has joined what was repeated. RFC 9112, 6.3 would let equal ones pass.
            stated = _CONTENT_LENGTH_LINE.findall(data.lower())
            if len(stated) > 1 or b"," in stated[0]:
                raise Malformed("more than one content-length")
            length = parse_content_length(stated)
        elif name == b"connection":
            options |= list_items(value)
        elif name == b"te":
            accepts_trailers = accepts_trailers or b"trailers" in list_items(value)
        elif name == b"upgrade":
            upgrades.append(value.lower())
        elif name == b"expect":
            expects_more = expects_more or not list_items(value) <= KNOWN_EXPECTATIONS
        fields.append((name, value))
    is_http10 = event.http_version == b"1.0"
    if is_chunked and length is not None:
        raise Malformed("content-length with transfer-encoding")
    if is_chunked and is_http10:
        raise Malformed("transfer-encoding in HTTP/1.0")
    body: LengthReader | ChunkedReader | None = None
    if is_chunked:
        body = ChunkedReader(settings)
    elif length:
        body = LengthReader(length)
    authority, path, refusal = resolve(event.method, event.target, host, scheme)
    if refusal is None and expects_more and not is_http10:
        refusal = UNKNOWN_EXPECTATION
    is_upgrade = (
        upgrades == [b"websocket"]
        and b"upgrade" in options
        and event.method == b"GET"
        and not is_http10
        and body is None
        and refusal is None
    )
    return Request(
        head=RequestHead(
            event.method,
            scheme,
            authority,
            path,
            fields,
            b"HTTP/1.0" if is_http10 else b"HTTP/1.1",
            length,
            event.target,
            b"websocket" if is_upgrade else b"",
        ),
        body=body,
        # What follows a CONNECT that we refuse may be the tunnel's first bytes, never a request.
        keeps_alive=b"close" not in options
        and (not is_http10 or b"keep-alive" in options)
        and event.method != b"CONNECT",
        accepts_trailers=accepts_trailers,
        refusal=refusal,
    )


def resolve(method: bytes, target: bytes, host: bytes | None, scheme: bytes) -> tuple[bytes, bytes, Failure | None]:
    """Return authority, path and refusal of a request-target (RFC 9112, 3.2 and 3.3).

    Raises Malformed.
    """
    if host is not None and not is_authority(host):
        raise Malformed(f"bad Host {host[:64]!r}")
    authority = host or b""
    if method == b"CONNECT":
        if not is_authority(target):
            raise Malformed("CONNECT with a target that is no authority")
        return target, b"", _CONNECT
    if target[0] == 0x2F or target == b"*":
        if not is_path(target):
            raise Malformed("bad request-target")
        if target == b"*" and method != b"OPTIONS":
            raise Malformed("`*` is a target for OPTIONS alone")
        return authority, target, None
    form = _ABSOLUTE_FORM.fullmatch(target)
    if form is None:
        raise Malformed("bad request-target")
    target_scheme, authority, path = form[1].lower(), form[2], form[3]
    if not is_authority(authority):
        raise Malformed(f"bad authority in the request-target {authority[:64]!r}")
    if not path and method == b"OPTIONS":
        path = b"*"  # RFC 9112, 3.2.4: this is how a proxy is asked for `*`
    elif path[:1] != b"/":
        path = b"/" + path
    if not is_path(path):
        raise Malformed("bad request-target")
    # The target wins (RFC 9112, 3.2.2), but a Host that says otherwise is meant for somebody who believes it.
    if host is not None and _origin(host, target_scheme) != _origin(authority, target_scheme):
        raise Malformed("Host differs from the authority of the request-target")
    return authority, path, None if target_scheme == scheme else _OTHER_SCHEME


def _origin(authority: bytes, scheme: bytes) -> bytes:
    """Return what makes two authorities the same (RFC 9110, 4.2.3)."""
    return authority.lower().removesuffix(_DEFAULT_PORT.get(scheme, b":")).removesuffix(b":")


def list_items(value: bytes) -> set[bytes]:
    """Return the items of a field's list, in lower case (RFC 9110, 5.6.1)."""
    return {item.strip(b" \t") for item in value.lower().split(b",")}
