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
    is_token,
    parse_content_length,
)

_KNOWN_SCHEMES = frozenset({b"http", b"https"})
# What has to be looked at beyond its characters.
_SINGULAR = frozenset({b"content-length", b"cookie", b"host"})
_REQUEST_PSEUDO = frozenset({b":method", b":scheme", b":authority", b":path"})
_EXTENDED_PSEUDO = _REQUEST_PSEUDO | {b":protocol"}


def read_request(fields: Fields, takes_connect: bool = False) -> RequestHead:
    """Return the head that a request's field list makes; raise Malformed.

    CONNECT has an empty scheme and path (RFC 9113, 8.5). With `:protocol` it has both (RFC 8441, 4); that is refused
    unless `takes_connect`: it was not announced (3).
    """
    pseudo, regular = _split(fields)
    protocol = None
    if not pseudo.keys() <= _REQUEST_PSEUDO:
        if not (takes_connect and pseudo.keys() <= _EXTENDED_PSEUDO):
            raise Malformed("unknown pseudo-field")
        protocol = pseudo[b":protocol"]
        if not is_token(protocol):
            raise Malformed("bad :protocol")
        if pseudo.get(b":method") != b"CONNECT":
            raise Malformed(":protocol without CONNECT")
        # RFC 8441, 4: no Host in its place, as nghttp2 has it.
        if b":authority" not in pseudo:
            raise Malformed("bad or missing :authority")
    method = pseudo.get(b":method", b"")
    scheme = pseudo.get(b":scheme", b"")
    authority = pseudo.get(b":authority")
    path = pseudo.get(b":path", b"")
    if not is_method(method):
        raise Malformed("bad or missing :method")
    if method == b"CONNECT" and protocol is None:
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
        if protocol is not None and content_length is not None:
            regular, content_length = _without_length(regular, content_length), None
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
    return RequestHead(method, scheme, authority, path, regular, b"HTTP/2.0", content_length, target, protocol or b"")


def read_response(fields: Fields, is_to_connect: bool = False) -> tuple[ResponseHead, int | None]:
    """Return the head that a response's field list makes, and the length it states; raise Malformed.

    `is_to_connect`: 2xx is then followed by a tunnel, and no length is one of its (RFC 9110, 9.3.6).
    """
    pseudo, regular = _split(fields)
    status = pseudo.get(b":status", b"")
    # RFC 9110, 15: three digits. What is above 599 is left to the client, who takes it for 500.
    if len(pseudo) != 1 or len(status) != 3 or not status.isdigit() or status < b"100":
        raise Malformed("bad or missing :status")
    if status == b"101":
        raise Malformed("status 101")  # RFC 9113, 8.6
    code = int(status)
    regular, content_length = _with_one_length(regular)
    is_tunnel = is_to_connect and is_successful(code)
    if content_length is not None and (code < 200 or code == 204 or is_tunnel):
        # Not allowed there, and a lie about the framing on HTTP/1.1 (RFC 9110, 8.6).
        regular = [field for field in regular if field[0] != b"content-length"]
    return ResponseHead(code, regular), None if is_tunnel else content_length


def is_successful(status: int) -> bool:
    """Whether the status is 2xx: of CONNECT, that there is a tunnel now (RFC 9110, 9.3.6)."""
    return 200 <= status < 300


def request_fields(head: RequestHead) -> Fields:
    """Return the field list of a request: `:method`, `:scheme`, `:authority`, `:path`, `:protocol`, then the others.

    Pseudo-fields may come in any order (RFC 9113, 8.3); one order for all keeps them in the peer's table.
    """
    pseudo = [(b":method", head.method), (b":scheme", head.scheme), (b":path", head.path)]
    if head.authority:
        pseudo.insert(2, (b":authority", head.authority))
    if head.protocol:
        pseudo.append((b":protocol", head.protocol))
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


def _without_length(regular: Fields, content_length: int) -> Fields:
    """Return an extended CONNECT's fields without its length.

    CONNECT has no content (RFC 9110, 9.3.6). 0 says so, as what came from HTTP/1.1 may; Envoy drops it too. Any other
    would end the tunnel for whoever believes it, as nghttp2 does.
    """
    if content_length:
        raise Malformed("content-length of CONNECT")
    return [field for field in regular if field[0] != b"content-length"]


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
