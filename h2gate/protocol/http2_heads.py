"""Heads of HTTP/2: field lists to heads and back (RFC 9113, 8.2 and 8.3).

The one rule: what a reader here returns has been checked field by field; it has no pseudo-fields and no Host, its
cookies are one field and its length is stated once.
"""

from __future__ import annotations

from h2gate.protocol.events import Fields, RequestHead, ResponseHead
from h2gate.protocol.fields import (
    Malformed,
    check_http2_fields,
    is_authority,
    is_method,
    is_path,
    is_scheme,
    parse_content_length,
)

_KNOWN_SCHEMES = frozenset({b"http", b"https"})
# What has to be looked at beyond its characters.
_SINGULAR = frozenset({b"content-length", b"cookie", b"host"})
_REQUEST_PSEUDO = frozenset({b":method", b":scheme", b":authority", b":path"})


def read_request(fields: Fields) -> RequestHead:
    """Return the head that a request's field list makes; raise Malformed.

    CONNECT has an empty scheme and path (RFC 9113, 8.5). `:protocol` is refused: it was not announced (RFC 8441, 3).
    """
    pseudo, regular = _split(fields)
    if not pseudo.keys() <= _REQUEST_PSEUDO:
        raise Malformed("unknown pseudo-field")
    method = pseudo.get(b":method", b"")
    scheme = pseudo.get(b":scheme", b"")
    authority = pseudo.get(b":authority")
    path = pseudo.get(b":path", b"")
    if not is_method(method):
        raise Malformed("bad or missing :method")
    if method == b"CONNECT":
        if b":scheme" in pseudo or b":path" in pseudo:
            raise Malformed("CONNECT with :scheme or :path")
    else:
        if scheme not in _KNOWN_SCHEMES and not is_scheme(scheme):
            raise Malformed("bad or missing :scheme")
        if not is_path(path) or (path == b"*" and method != b"OPTIONS"):
            raise Malformed("bad or missing :path")
    host = content_length = None
    names = [name for name, _ in regular]
    if not _SINGULAR.isdisjoint(names):
        regular, host = _without_host(regular)
        regular, content_length = _with_one_length(regular)
        if names.count(b"cookie") > 1:
            regular = with_one_cookie(regular)
    if authority is None:
        # RFC 9113, 8.3.1: one of them there must be. For CONNECT it must be :authority (8.5).
        authority = host if host is not None and method != b"CONNECT" else b""
    elif host is not None and host.lower() != authority.lower():
        raise Malformed(":authority differs from Host")
    if not is_authority(authority):
        raise Malformed("bad or missing :authority")
    target = path or authority
    return RequestHead(method, scheme, authority, path, regular, b"HTTP/2.0", content_length, target)


def read_response(fields: Fields) -> tuple[ResponseHead, int | None]:
    """Return the head that a response's field list makes, and the length it states; raise Malformed."""
    pseudo, regular = _split(fields)
    status = pseudo.get(b":status", b"")
    # RFC 9110, 15: three digits. What is above 599 is left to the client, who takes it for 500.
    if len(pseudo) != 1 or len(status) != 3 or not status.isdigit() or status < b"100":
        raise Malformed("bad or missing :status")
    if status == b"101":
        raise Malformed("status 101")  # RFC 9113, 8.6
    code = int(status)
    regular, content_length = _with_one_length(regular)
    if content_length is not None and (code < 200 or code == 204):
        # Not allowed there, and a lie about the framing on HTTP/1.1 (RFC 9110, 8.6).
        regular = [field for field in regular if field[0] != b"content-length"]
    return ResponseHead(code, regular), content_length


def request_fields(head: RequestHead) -> Fields:
    """Return the field list of a request."""
    pseudo = [(b":method", head.method), (b":scheme", head.scheme), (b":path", head.path)]
    if head.authority:
        pseudo.insert(2, (b":authority", head.authority))
    return pseudo + head.fields


def response_fields(head: ResponseHead) -> Fields:
    """Return the field list of a response."""
    return [(b":status", b"%d" % head.status), *head.fields]


def _split(fields: Fields) -> tuple[dict[bytes, bytes], Fields]:
    """Return the pseudo-fields and the checked others; a pseudo-field behind those is a bad name (RFC 9113, 8.3)."""
    pseudo: dict[bytes, bytes] = {}
    for name, value in fields:
        if name[:1] != b":":
            break
        if name in pseudo:
            raise Malformed(f"{name[:64]!r} twice")
        pseudo[name] = value
    regular = fields[len(pseudo) :]
    check_http2_fields(regular)
    return pseudo, regular


def _without_host(regular: Fields) -> tuple[Fields, bytes | None]:
    hosts = [value for name, value in regular if name == b"host"]
    if not hosts:
        return regular, None
    if len(hosts) > 1:
        raise Malformed("more than one Host")
    return [field for field in regular if field[0] != b"host"], hosts[0]


def _with_one_length(regular: Fields) -> tuple[Fields, int | None]:
    """Return the fields with the length stated once, and that; repeats of one value are one (RFC 9110, 8.6)."""
    lengths = [value for name, value in regular if name == b"content-length"]
    content_length = parse_content_length(lengths)
    if content_length is None:
        return regular, None
    if len(lengths) > 1 or b"," in lengths[0]:
        regular = [field for field in regular if field[0] != b"content-length"]
        regular.append((b"content-length", b"%d" % content_length))
    return regular, content_length


def with_one_cookie(regular: Fields) -> Fields:
    """RFC 9113, 8.2.3: crumbs are joined with "; " where the first was, before HTTP/1.1 or a backend sees them."""
    cookie = b"; ".join([value for name, value in regular if name == b"cookie"])
    joined: Fields = []
    for field in regular:
        if field[0] != b"cookie":
            joined.append(field)
        elif cookie:
            joined.append((b"cookie", cookie))
            cookie = b""
    return joined
