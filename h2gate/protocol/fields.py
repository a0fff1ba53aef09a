"""What a field, a method, a target and a length may look like: pure functions over bytes, for both engines.

The one rule: everything that is compared or converted here is bytes against an explicit set of octets.
`int()`, `str.strip()` and `str.lower()` accept more than HTTP does (`+5`, `0_5`, U+212A), and every such
difference between us and a backend is a request smuggled.

Predicates answer True for what may pass. Functions that have something to explain raise `Malformed`, whose
text is for the log.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from h2gate.protocol.events import Fields


class Malformed(ValueError):
    """The message breaks a rule of HTTP and must not be passed on."""


# RFC 9110, 5.6.2: token = 1*tchar.
_TCHAR = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
# RFC 9113, 8.2.1: upper-case characters in a name make the message malformed.
_TCHAR_LOWER = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
# RFC 9110, 5.5: VCHAR, obs-text, SP and HTAB. The other controls are "invalid but may be retained": refused here.
_VALUE = b"\t" + bytes(range(0x20, 0x7F)) + bytes(range(0x80, 0x100))
# Wider than RFC 3986's pchar, as clients send `|`, `"`, `{` and `[` unescaped; `#` would start a fragment.
_PATH = bytes(octet for octet in range(0x21, 0x7F) if octet != 0x23)

# RFC 3986, 3.2.2, without userinfo (RFC 9110, 4.2.4). The port is checked for its range apart.
_AUTHORITY = re.compile(
    rb"(?:\[[0-9A-Fa-f:.]{2,45}\]|(?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})+)(?::([0-9]{0,5}))?"
)
_SCHEME = re.compile(rb"[A-Za-z][A-Za-z0-9+.\-]*")
# 18 digits stay below 2^63 - 1, whatever a backend counts with.
_LENGTH = re.compile(rb"[0-9]{1,18}")

CONNECTION_SPECIFIC = frozenset({b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"})
"""Fields about one connection, malformed in HTTP/2 (RFC 9113, 8.2.2). `te` may say `trailers` and no more."""

FRAMING = frozenset({b"content-length", b"transfer-encoding", b"host", b"trailer"})
"""Fields that say where a message ends or goes: trailers that have one are refused (RFC 9110, 6.5.1)."""

NOT_IN_TRAILERS = frozenset(
    {
        # authentication
        b"authorization", b"proxy-authorization", b"www-authenticate", b"proxy-authenticate",
        b"authentication-info", b"proxy-authentication-info", b"cookie", b"set-cookie",
        # request modifiers and routing
        b"expect", b"max-forwards", b"range", b"te", b"if-match", b"if-none-match", b"if-modified-since",
        b"if-unmodified-since", b"if-range", b"forwarded", b"x-forwarded-for", b"x-forwarded-host",
        b"x-forwarded-proto", b"x-forwarded-port", b"x-real-ip", b"via",
        # response control and how to read the content
        b"age", b"cache-control", b"expires", b"date", b"location", b"retry-after", b"vary", b"warning", b"pragma",
        b"content-encoding", b"content-type", b"content-range",
    }
)  # fmt: skip
"""Fields that must be known before the body: dropped from trailers (RFC 9110, 6.5.1)."""


def is_token(value: bytes) -> bool:
    """Whether `value` is a token: a field name, a method (RFC 9110, 5.6.2)."""
    return value != b"" and not value.translate(None, _TCHAR)


def is_lower_name(name: bytes) -> bool:
    """Whether `name` is a field name as HTTP/2 has them: a token without upper case (RFC 9113, 8.2.1)."""
    return name != b"" and not name.translate(None, _TCHAR_LOWER)


def is_value(value: bytes) -> bool:
    """Whether `value` has no NUL, CR, LF or other control character (RFC 9110, 5.5). Empty is a value."""
    return not value.translate(None, _VALUE)


def is_trimmed(value: bytes) -> bool:
    """Whether `value` has no space or tab at its ends (RFC 9113, 8.2.1)."""
    return value == b"" or (value[0] not in b" \t" and value[-1] not in b" \t")


def is_method(method: bytes) -> bool:
    return is_token(method)


def is_scheme(scheme: bytes) -> bool:
    """Whether `scheme` follows RFC 3986, 3.1."""
    return _SCHEME.fullmatch(scheme) is not None


def is_authority(authority: bytes) -> bool:
    """Whether `authority` is `host` or `host:port`: no userinfo, space, path; the host is not empty."""
    match = _AUTHORITY.fullmatch(authority)
    return match is not None and (not match[1] or int(match[1]) <= 65_535)


def is_path(path: bytes) -> bool:
    """Whether `path` is origin form with its query, or `*` (RFC 9112, 3.2): visible ASCII and no `#`."""
    return path == b"*" or (path[:1] == b"/" and not path.translate(None, _PATH))


def parse_content_length(values: Iterable[bytes]) -> int | None:
    """Return the one length that `content-length` lines state, None if there are none.

    Repeats of the same value, on lines or in a list, count once (RFC 9110, 8.6).
    """
    values = list(values)
    if len(values) == 1 and _LENGTH.fullmatch(values[0]) is not None:
        return int(values[0])  # nearly always, and 1 us sooner
    stated: set[bytes] = set()
    for line in values:
        stated.update(item.strip(b" \t") for item in line.split(b","))
    if not stated:
        return None
    if len(stated) > 1:
        raise Malformed("differing content-length values")
    (value,) = stated
    if _LENGTH.fullmatch(value) is None:
        raise Malformed("content-length is not a number")
    return int(value)


def list_size(fields: Iterable[tuple[bytes, bytes]]) -> int:
    """Return the size of a field list in bytes: names, values and 32 for each (RFC 9113, 6.5.2)."""
    return sum(len(name) + len(value) + 32 for name, value in fields)


def check_http2_fields(fields: Fields) -> None:
    """Raise Malformed unless regular fields are as HTTP/2 has them (RFC 9113, 8.2.1 and 8.2.2).

    All names, then all values, are tested at once, and looked at one by one only to name the culprit: 100 fields cost
    little more than one. A line feed, which no value may have, stands between the values.
    """
    if not fields:
        return
    names = [name for name, _ in fields]
    if b"".join(names).translate(None, _TCHAR_LOWER) or b"" in names:
        bad = next(name for name in names if not is_lower_name(name))
        raise Malformed(f"bad field name {bad[:64]!r}")
    values = [value for _, value in fields]
    lines = b"\n%b\n" % b"\n".join(values)
    if len(lines.translate(None, _VALUE)) != len(values) + 1:
        bad = next(name for name, value in fields if not is_value(value))
        raise Malformed(f"control character in the value of {bad[:64]!r}")
    if b" \n" in lines or b"\n " in lines or b"\t\n" in lines or b"\n\t" in lines:
        bad = next(name for name, value in fields if not is_trimmed(value))
        raise Malformed(f"space around the value of {bad[:64]!r}")
    if not CONNECTION_SPECIFIC.isdisjoint(names):
        bad = next(name for name in names if name in CONNECTION_SPECIFIC)
        raise Malformed(f"connection-specific field {bad!r}")
    if b"te" in names and any(name == b"te" and value.lower() != b"trailers" for name, value in fields):
        raise Malformed("te other than trailers")


def clean_trailers(fields: Fields) -> Fields:
    """Return `fields` without those that mean nothing after a body; raise Malformed for framing ones.

    A sender MUST NOT generate either sort (RFC 9110, 6.5.1); the first sort is harmless once dropped,
    the second is an attack.
    """
    for name, _ in fields:
        if name in FRAMING or name[:1] == b":":
            raise Malformed(f"{name[:64]!r} in trailers")
    return [field for field in fields if field[0] not in NOT_IN_TRAILERS]
