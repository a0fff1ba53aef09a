"""Parts of messages that an operator writes: fields and their values, cookies' domains and paths, addresses.

Each becomes text in one form. The rule: what would break a message's framing, or what the gate itself decides by
another key, is refused with the name of that key.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator

from h2gate.config.uri import parse_host
from h2gate.config.values import ValuePattern

__all__ = ["CookieDomain", "CookiePath", "FieldNames", "Fields", "IpAddress", "MatchedFields"]

# RFC 9110, 5.6.2.
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

_ONE_HOP = "is for one connection (RFC 9113, 8.2.2), and those are the gate's"
_REFUSED = {
    "connection": _ONE_HOP,
    "keep-alive": _ONE_HOP,
    "proxy-connection": _ONE_HOP,
    "http2-settings": _ONE_HOP,
    "proxy-authenticate": "is for one hop (RFC 9110, 11.7), and that is the gate",
    "proxy-authentication-info": "is for one hop (RFC 9110, 11.7), and that is the gate",
    "proxy-authorization": "is for one hop (RFC 9110, 11.7), and that is the gate: write authorization",
    "te": f"{_ONE_HOP}: what the client says of trailers goes on by itself",
    "transfer-encoding": f"{_ONE_HOP}: the length of a body is told by its frames",
    "upgrade": f"{_ONE_HOP}: see `websocket`",
    "content-length": "is the length that the body has: leave it out",
    "host": "is no field of HTTP/2: `preserve_host` sends the client's authority, without it the backend's is sent",
    "via": "is written by `forwarding.via`",
}
"""Fields that no rule may touch, and what to do instead."""


def parse_field_name(text: str) -> str:
    """Return a field's name in lower case, as HTTP/2 has it (RFC 9113, 8.2.1)."""
    if not _TOKEN.fullmatch(text):
        raise ValueError(f"{text or 'nothing'} is no name of a field: write it without colon and spaces, as X-Name")
    return text.lower()


def parse_changed_name(text: str) -> str:
    """Return the name of a field that rules may change."""
    if text.startswith(":"):
        raise ValueError(f"{text} is no field: the route's `rewrite` and `preserve_host` change path and authority")
    name = parse_field_name(text)
    if name in _REFUSED:
        raise ValueError(f"{name} {_REFUSED[name]}")
    return name


def parse_matched_name(text: str) -> str:
    """Return the name of a field that requests are told apart by."""
    if text in (":method", ":path", ":authority") or text.lower() == "host":
        raise ValueError(f"{text} is matched by `methods`, `path` or `host`")
    return parse_field_name(text)


def parse_field_value(text: str) -> str:
    """Return a field's value without the spaces around it, which are no part of it (RFC 9110, 5.5)."""
    value = text.strip(" \t")
    bad = re.search(r"[\x00-\x08\x0a-\x1f\x7f]", value)
    if bad is not None:
        raise ValueError(f"a field's value is one line of text: {bad[0]!r} cannot stand in it")
    return value


def _refuse_twins(value: object) -> object:
    names: dict[str, object] = {}
    for name in value if isinstance(value, (Mapping, tuple)) else ():
        form = str(name).lower()
        if form in names:
            raise ValueError(f"{names[form]} and {name} are one field: leave one of them")
        names[form] = name
    return value


FieldName = Annotated[str, AfterValidator(parse_matched_name)]
ChangedName = Annotated[str, AfterValidator(parse_changed_name)]
FieldValue = Annotated[str, AfterValidator(parse_field_value)]
MatchedFields = Annotated[dict[FieldName, ValuePattern], BeforeValidator(_refuse_twins)]
# Names are compared without regard to case (RFC 9110, 5.1), keys of YAML are not.
FieldNames = Annotated[tuple[ChangedName, ...], BeforeValidator(_refuse_twins)]
Fields = Annotated[dict[ChangedName, FieldValue], BeforeValidator(_refuse_twins)]


def parse_cookie_domain(text: str) -> str:
    """Return a domain as cookies are compared: in lower case, without the dot in front (RFC 6265, 5.2.3)."""
    return parse_host(text.removeprefix("."))


def parse_cookie_path(text: str) -> str:
    if not text.startswith("/"):
        raise ValueError("a cookie's path begins with /")
    bad = re.search(r"[^!-~]|;", text)
    if bad is not None:
        raise ValueError(f"{bad[0]!r} cannot stand in a cookie's path (RFC 6265, 4.1.1)")
    return text


CookieDomain = Annotated[str, AfterValidator(parse_cookie_domain)]
CookiePath = Annotated[str, AfterValidator(parse_cookie_path)]


def parse_ip_address(text: str) -> str:
    """Return an IP address, IPv6 without brackets."""
    try:
        return str(ipaddress.ip_address(text.removeprefix("[").removesuffix("]")))
    except ValueError:
        raise ValueError("write an IP address of this machine, as 192.0.2.7 or 2001:db8::7") from None


IpAddress = Annotated[str, AfterValidator(parse_ip_address)]
