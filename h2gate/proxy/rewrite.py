"""Heads as they leave the gate: what is taken off, put on and mapped back, in both directions.

Owns the list of fields that do not pass. The rule: what a backend may believe of a request (X-Forwarded-*,
X-Request-Id) is put on last, after all that the client could do to it by `Connection` or by sending its own
(CVE-2022-31813). Only the operator's own rules for a route run behind it.

To add a field to requests, append it in `Rewriter.request`; to responses, in `Rewriter.response`.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable

from h2gate.config.model import Forwarding
from h2gate.contract import Client
from h2gate.protocol.events import Fields, RequestHead, ResponseHead
from h2gate.protocol.fields import is_authority
from h2gate.proxy import forwarded
from h2gate.proxy.answers import SERVER, DateField
from h2gate.proxy.field_rules import CompiledFieldRules
from h2gate.proxy.mapping import ReverseMapping
from h2gate.proxy.router import CompiledRoute

WayBack = Callable[[], ReverseMapping]

HOP_BY_HOP = frozenset(
    {
        # RFC 9110, 7.6.1, and RFC 9113, 8.2.2
        b"connection", b"keep-alive", b"proxy-connection", b"te", b"transfer-encoding", b"upgrade",
        # only in an upgrade to h2c, which is gone (RFC 9113, 3.1)
        b"http2-settings",
        # for the next hop only, and that is the gate (RFC 9110, 11.7)
        b"proxy-authorization", b"proxy-authenticate", b"proxy-authentication-info",
    }
)  # fmt: skip
"""Fields for one hop. `trailer` is not among them: trailers pass, and so does what announces them (RFC 9110, 6.6.2)."""

FORWARDED = frozenset(
    {
        b"forwarded", b"x-real-ip", b"x-forwarded-by", b"x-forwarded-client-cert", b"x-forwarded-for",
        b"x-forwarded-host", b"x-forwarded-method", b"x-forwarded-port", b"x-forwarded-prefix", b"x-forwarded-proto",
        b"x-forwarded-protocol", b"x-forwarded-scheme", b"x-forwarded-server", b"x-forwarded-ssl", b"x-forwarded-uri",
        # who the user is, as proxies that log in tell it
        b"x-forwarded-access-token", b"x-forwarded-email", b"x-forwarded-groups", b"x-forwarded-preferred-username",
        b"x-forwarded-user",
    }
)  # fmt: skip
"""Who the client is, as the last proxy tells it: believed of a trusted one, else dropped."""


def _disguises(name: bytes) -> set[bytes]:
    """Return `name` with some dashes as underscores: CGI and WSGI backends take them for the same variable."""
    parts = [(b"-", b"_") if octet == 0x2D else (bytes((octet,)),) for octet in name]
    return {b"".join(spelling) for spelling in itertools.product(*parts)} - {name}


_DISGUISED = frozenset().union(*(_disguises(name) for name in (*FORWARDED, b"x-request-id")))

_REQUEST = (
    HOP_BY_HOP | FORWARDED | _DISGUISED | {b"x-request-id", b"via", b"content-length", b"expect", b"max-forwards"}
)
"""Request fields that do not just pass."""

# Of a trusted proxy these pass even where the gate sends no X-Forwarded-*.
_NOT_X_FORWARDED = frozenset({b"forwarded", b"x-forwarded-client-cert"})

_MAPPED = frozenset({b"location", b"content-location", b"destination", b"uri", b"refresh", b"link", b"set-cookie"})

_RESPONSE = HOP_BY_HOP | _MAPPED | {b"alt-svc", b"via"}
"""Response fields that do not just pass. Alt-Svc names the backend's own ways in (RFC 7838), not the gate's."""

# RFC 9110, 7.6.3: the version in which the message came in, and a pseudonym.
_VIA = {b"HTTP/1.0": b"1.0 " + SERVER, b"HTTP/1.1": b"1.1 " + SERVER, b"HTTP/2.0": b"2.0 " + SERVER}
_VIA_BACKEND = _VIA[b"HTTP/2.0"]
_VIA_BACKEND_FIELD = (b"via", _VIA_BACKEND)
_SERVER_FIELD = (b"server", SERVER)

_TE_TRAILERS = (b"te", b"trailers")

# What `Connection` usually says: nothing to look for then.
_USUAL_OPTIONS = frozenset({b"keep-alive", b"close", b"te", b"upgrade", b"http2-settings", b""})

REQUEST_ID_BYTES = 128
_VISIBLE = bytes(range(0x21, 0x7F))


class Rewriter:
    """The heads of a config's exchanges, as `forwarding` says."""

    __slots__ = ("_believed", "_is_usual", "_sends_forwarded", "_sends_x_forwarded", "_via")

    def __init__(self, forwarding: Forwarding) -> None:
        self._sends_x_forwarded = forwarding.x_forwarded
        self._sends_forwarded = forwarding.forwarded
        self._via = forwarding.via
        self._believed = FORWARDED if forwarding.x_forwarded else _NOT_X_FORWARDED
        # With the defaults most requests take the short way.
        self._is_usual = forwarding.x_forwarded and not forwarding.forwarded and forwarding.via == "on"

    def request(
        self, head: RequestHead, route: CompiledRoute, path: bytes, client: Client, request_id: bytes
    ) -> RequestHead:
        """Return the head for the backend: no `scheme`, and without `preserve_host` no `authority`, until the lease.

        Most requests have no field that does not just pass: one look at the names, and what is put on (2 us).
        """
        standing = client.standing_fields
        if not standing:
            standing.extend(_standing(client, self._sends_x_forwarded))
        names = [field[0] for field in head.fields]
        if self._is_usual and head.authority and _REQUEST.isdisjoint(names):
            fields = [
                *head.fields,
                *standing,
                (b"x-forwarded-host", head.authority),
                (b"x-request-id", request_id),
                (b"via", _VIA[head.version]),
            ]
        else:
            fields = self._request_fields(head, client, request_id)
        if names.count(b"cookie") > 1:
            fields = _with_one_cookie(fields)
        if route.request_rules is not None:
            fields = route.request_rules.apply(fields)
        authority = head.authority if route.preserve_host else b""
        return RequestHead(head.method, b"", authority, path, fields, b"HTTP/2.0", head.content_length, head.target)

    def _request_fields(self, head: RequestHead, client: Client, request_id: bytes) -> Fields:
        """Return the fields for the backend: those that just pass, and what becomes of the others."""
        fields: Fields = []
        ours: Fields = []
        options = via = b""
        said: dict[bytes, bytes] = {}
        for field in head.fields:
            name, value = field
            if name not in _REQUEST:
                fields.append(field)
            elif name == b"connection":
                options = options + value + b","
            elif name == b"te":
                # RFC 9113, 8.2.2: nothing but `trailers`, which the gate does pass on.
                if _has_token(value, b"trailers") and _TE_TRAILERS not in ours:
                    ours.append(_TE_TRAILERS)
            elif name == b"via":
                via = _listed(via, value)
            elif name == b"expect":
                # RFC 9110, 10.1.1: there is no other, and HTTP/1.0 has none.
                if value.lower() == b"100-continue" and head.version != b"HTTP/1.0":
                    fields.append(field)
            elif name == b"max-forwards":
                fields.append((name, hops_left(head.method, value)))
            elif client.is_trusted and name in self._believed:
                if name in _LISTS:
                    said[name] = _listed(said.get(name, b""), value)
                else:
                    said.setdefault(name, value)
        if options:
            fields = _without_named(fields, options)
        if head.content_length is not None:
            # Once, as the engine understood it, however the client wrote it.
            ours.append((b"content-length", b"%d" % head.content_length))
        ours += self._describe(head, client, said)
        ours.append((b"x-request-id", request_id))
        if self._via == "on":
            ours.append((b"via", _listed(via, _VIA[head.version])))
        elif self._via == "off" and via:
            ours.append((b"via", via))
        return fields + ours

    def _describe(self, head: RequestHead, client: Client, said: dict[bytes, bytes]) -> Fields:
        """Return who the client is: what the trusted proxy before the gate `said`, and what the gate sees itself."""
        standing = dict(client.standing_fields)
        if self._sends_x_forwarded and head.authority:
            standing[b"x-forwarded-host"] = head.authority
        if self._sends_x_forwarded and b"forwarded" in said:
            for name, value in _translated(said[b"forwarded"]):
                said.setdefault(name, value)
        if self._sends_forwarded:
            standing[b"forwarded"] = forwarded.element(client, head.authority)
        fields: Fields = []
        for name, value in said.items():
            seen = standing.pop(name, b"")
            fields.append((name, _listed(value, seen) if name in _LISTS or not value else value))
        return [*fields, *standing.items()]

    def response(
        self, head: ResponseHead, way_back: WayBack, date: DateField, rules: CompiledFieldRules | None = None
    ) -> ResponseHead:
        """Return a backend's final head for the client, made of `head` itself, which is nobody else's.

        `date` gives the Date field's value to one that has none. `rules` are the route's.
        """
        fields, via = head.fields, b""
        names = [field[0] for field in fields]
        if not _RESPONSE.isdisjoint(names):
            fields, via = _mapped(fields, way_back)
            head.fields = fields
            names = [field[0] for field in fields]
        if b"server" not in names:
            fields.append(_SERVER_FIELD)
        if b"date" not in names:
            fields.append((b"date", date.now()))
        if self._via == "on":
            fields.append((b"via", _listed(via, _VIA_BACKEND)) if via else _VIA_BACKEND_FIELD)
        elif self._via == "off" and via:
            fields.append((b"via", via))
        if rules is not None:
            head.fields = rules.apply(fields)
        return head


# What a proxy adds to, and does not replace: who the client is goes on the left.
_LISTS = frozenset({b"x-forwarded-for", b"forwarded", b"x-forwarded-client-cert"})


def _translated(value: bytes) -> Fields:
    """Return what a Forwarded field says, as X-Forwarded-*: else the gate's own would gainsay it."""
    elements = forwarded.parse(value)
    if not elements:
        return []
    fields = []
    addresses = [address for item in elements if (address := forwarded.address_of(item.get(b"for", b"")))]
    if addresses:
        fields.append((b"x-forwarded-for", b", ".join(addresses)))
    # The element next to the client tells what the client asked for.
    if is_authority(elements[0].get(b"host", b"")):
        fields.append((b"x-forwarded-host", elements[0][b"host"]))
    if elements[0].get(b"proto", b"").lower() in _SCHEMES:
        fields.append((b"x-forwarded-proto", elements[0][b"proto"].lower()))
    return fields


def _with_one_cookie(fields: Fields) -> Fields:
    """Return `fields` with the crumbs of a client's cookies joined, where the first one stood (RFC 9113, 8.2.3).

    HTTP/2 backends ought to do so themselves. Hypercorn 0.18 does not, and frameworks behind it see one crumb.
    """
    cookie = b"; ".join([value for name, value in fields if name == b"cookie"])
    joined: Fields = []
    for field in fields:
        if field[0] != b"cookie":
            joined.append(field)
        elif cookie:
            joined.append((b"cookie", cookie))
            cookie = b""
    return joined


_HOPS = re.compile(rb"[0-9]{1,18}")
COUNTS_HOPS = frozenset({b"OPTIONS", b"TRACE"})


def hops_left(method: bytes, value: bytes) -> bytes:
    """Return Max-Forwards for the next hop: of OPTIONS and TRACE one less, if it is a number (RFC 9110, 7.6.2)."""
    if method not in COUNTS_HOPS or _HOPS.fullmatch(value) is None:
        return value
    return b"%d" % max(0, int(value) - 1)


def hops_of(head: RequestHead) -> int | None:
    """Return the Max-Forwards of an OPTIONS or TRACE, None if it has none. Raises ValueError where it is no number."""
    values = [value for name, value in head.fields if name == b"max-forwards"]
    if not values or head.method not in COUNTS_HOPS:
        return None
    if len(values) > 1 or _HOPS.fullmatch(values[0]) is None:
        raise ValueError("Max-Forwards is not a number")
    return int(values[0])


def _standing(client: Client, x_forwarded: bool) -> Fields:
    """Return what each request of the client gets, unless it says so itself and is believed."""
    fields: Fields = []
    if x_forwarded:
        # A client on a unix socket has no address and came to no port.
        if client.has_address:
            fields.append((b"x-forwarded-for", client.log_address))
        fields.append((b"x-forwarded-proto", client.scheme))
        if client.local_port:
            fields.append((b"x-forwarded-port", b"%d" % client.local_port))
    if client.certificate:
        fields.append((b"x-forwarded-client-cert", client.certificate))
    return fields


def request_id_of(head: RequestHead) -> bytes:
    """Return the request's X-Request-Id if it is fit to be logged and passed on, else a new one."""
    for name, value in head.fields:
        if name == b"x-request-id" and 0 < len(value) <= REQUEST_ID_BYTES and not value.translate(None, _VISIBLE):
            return value
    if not _fresh_ids:
        _make_ids()
    return _fresh_ids.pop()


# 128 random bits of the kernel's each. By the batch one takes 0.2 us and not 0.9, and no two workers share a counter.
_fresh_ids: list[bytes] = []
_IDS_AT_ONCE = 256
# A child of a fork would give out the same ones.
os.register_at_fork(after_in_child=_fresh_ids.clear)


def _make_ids() -> None:
    digits = os.urandom(16 * _IDS_AT_ONCE).hex().encode("ascii")
    _fresh_ids.extend(digits[start : start + 32] for start in range(0, len(digits), 32))


def client_origin(head: RequestHead, client: Client) -> tuple[bytes, bytes]:
    """Return scheme and authority as the client wrote them: those a trusted proxy forwards, else those that came in.

    This is what a backend's URLs are mapped back to; behind a proxy that ends TLS the scheme that came in is wrong.
    """
    scheme, authority = client.scheme, head.authority
    if client.is_trusted:
        fields = head.fields
        values = [value for name, value in fields if name == b"forwarded"]
        if values:
            # X-Forwarded-* stands behind it and wins, as towards the backend.
            fields = _translated(b", ".join(values)) + fields
        for name, value in fields:
            if name == b"x-forwarded-proto":
                # The first of a list is the client's own.
                word = value.partition(b",")[0].strip(b" \t").lower()
                scheme = word if word in _SCHEMES else scheme
            elif name == b"x-forwarded-host":
                word = value.partition(b",")[0].strip(b" \t")
                authority = word if is_authority(word) else authority
    return scheme, authority


_SCHEMES = (b"http", b"https")


def interim(head: ResponseHead, way_back: WayBack) -> ResponseHead:
    """Return a backend's interim head for the client."""
    fields, _ = _mapped(head.fields, way_back)
    # RFC 9110, 8.6: a length in a 1xx means nothing, and must not be taken for the final response's.
    return ResponseHead(head.status, [field for field in fields if field[0] != b"content-length"])


def trailers(fields: Fields) -> Fields:
    """Return closing fields without those for one hop, and without those only the gate may set; for both directions."""
    return [field for field in fields if field[0] not in _NOT_IN_TRAILERS]


_NOT_IN_TRAILERS = HOP_BY_HOP | FORWARDED | _DISGUISED | {b"x-request-id", b"via", b"alt-svc"}


def _mapped(fields: Fields, way_back: WayBack) -> tuple[Fields, bytes]:
    """Return the fields that pass, mapped back, and the backend's Via."""
    passed: Fields = []
    options = via = b""
    for field in fields:
        name = field[0]
        if name not in _RESPONSE:
            passed.append(field)
        elif name in _MAPPED:
            passed.append((name, _map(name, field[1], way_back())))
        elif name == b"via":
            via = _listed(via, field[1])
        elif name == b"connection":
            options = options + field[1] + b","
    if options:
        passed = _without_named(passed, options)
    return passed, via


def _map(name: bytes, value: bytes, mapping: ReverseMapping) -> bytes:
    match name:
        case b"set-cookie":
            return mapping.cookie(value)
        case b"link":
            return mapping.link(value)
        case b"refresh":
            return mapping.refresh(value)
        case b"uri":
            return mapping.uri(value)
    return mapping.location(value)


def _without_named(fields: Fields, options: bytes) -> Fields:
    """Return `fields` without those that `options`, of all Connection fields, name (RFC 9110, 7.6.1)."""
    named = {option.strip(b" \t") for option in options.lower().split(b",")}
    if named <= _USUAL_OPTIONS:
        return fields
    return [field for field in fields if field[0] not in named]


def _listed(line: bytes, value: bytes) -> bytes:
    """Return the list field `line` with `value` at its end: one line, as many backends read only one of several."""
    return line + b", " + value if line and value else line or value


def _has_token(value: bytes, token: bytes) -> bool:
    return any(item.partition(b";")[0].strip(b" \t").lower() == token for item in value.split(b","))
