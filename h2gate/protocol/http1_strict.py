"""The grammar of a head as this gate takes it, in one regular expression, and words for what breaks it.

The one rule: CRLF ends a line and nothing else does, a field is on one line, its name touches the colon, and
nothing has control characters (RFC 9112, 2.2 and 5). So a head that matches reads the same to every parser
behind it. h11 alone would take bare line feeds, folded lines and most control characters.
"""

from __future__ import annotations

import re

from h2gate.protocol.events import Fields
from h2gate.protocol.fields import is_token

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
# Possessive throughout, so that a mismatch costs no more than a match.
_FIELD_LINE = rb"(?:" + _TOKEN + rb"++:[\t\x20-\x7e\x80-\xff]*+\r\n)"

STRICT_HEAD = re.compile(_TOKEN + rb"++ [\x21-\x7e]++ HTTP/1\.[01]\r\n" + _FIELD_LINE + rb"*+\r\n")
"""A request line and fields, with the empty line that ends them (RFC 9112, 3 and 5, without obs-fold)."""

STRICT_FIELDS = re.compile(_FIELD_LINE + rb"*+\r\n")
"""Trailers, with the empty line that ends them (RFC 9112, 7.1.2)."""


def split_fields(block: bytes) -> Fields:
    """Return the fields of a strict block, its empty line included. This is all there is to read in one."""
    parts = [line.partition(b":") for line in block.split(b"\r\n")[:-2]]
    return [(name.lower(), value.strip(b" \t")) for name, _, value in parts]


def explain_head(data: bytes) -> str:
    """Say what is wrong with a head that is not strict."""
    line, *lines = data.split(b"\r\n")[:-2]
    if re.fullmatch(_TOKEN + rb"+ [\x21-\x7e]+ HTTP/1\.[01]", line) is None:
        if re.fullmatch(_TOKEN + rb"+ [\x21-\x7e]+ HTTP/[0-9]+(?:\.[0-9]+)?", line) is not None:
            return "not a version of HTTP/1"
        return "bad request line"
    return _explain_lines(lines)


def explain_fields(block: bytes) -> str:
    """Say what is wrong with a block of fields that is not strict, its empty line included."""
    return _explain_lines(block.split(b"\r\n")[:-2])


def _explain_lines(lines: list[bytes]) -> str:
    """Say what is wrong with the first field line that is not strict."""
    line = next(line for line in lines if re.fullmatch(_FIELD_LINE, line + b"\r\n") is None)
    name, colon, _ = line.partition(b":")
    if line[0] in b" \t":
        return "folded field line"
    if not colon:
        return "field line without a colon"
    if is_token(name):
        return f"control character in the value of {name[:64]!r}"
    return "space before the colon" if is_token(name.rstrip(b" \t")) else f"bad field name {name[:64]!r}"
