"""The Forwarded field (RFC 7239): the gate's own element of it, and what those of trusted proxies say.

The rule: a field that is not well-formed as a whole says nothing. A part of it could be somebody else's words.
"""

from __future__ import annotations

import re

from h2gate.contract import Client
from h2gate.protocol.fields import is_token

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_PAIR = re.compile(rb'(%b)=(?:(%b)|"((?:[^"\\]|\\.)*+)")' % (_TOKEN, _TOKEN))
# Between pairs, and between elements.
_SEMICOLON = re.compile(rb"[ \t]*;[ \t]*")
_COMMA = re.compile(rb"[ \t]*,[ \t,]*")
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
# `192.0.2.7:4711`, `[2001:db8::1]`; not `unknown` or `_hidden` (6.3).
_NODE = re.compile(rb"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+))(?::[0-9_A-Za-z.\-]+)?")

# Which address a client came to is nobody's business (6.3: obfuscated).
_BY = b";by=_h2gate"


def element(client: Client, authority: bytes) -> bytes:
    """Return what the gate says of a request."""
    if not client.has_address:
        node = b"unknown"
    elif b":" in client.log_address:
        # 6: brackets and colons are for quoted strings only.
        node = b'"[%b]"' % client.log_address
    else:
        node = client.log_address
    host = b"" if not authority else b";host=" + (authority if is_token(authority) else b'"%b"' % authority)
    return b"for=" + node + host + b";proto=" + client.scheme + _BY


def parse(value: bytes) -> list[dict[bytes, bytes]]:
    """Return the elements of a field, first the one next to the client; none of them if one is not well-formed."""
    elements: list[dict[bytes, bytes]] = [{}]
    place = 0
    while (pair := _PAIR.match(value, place)) is not None:
        name = pair[1].lower()
        if name in elements[-1]:
            return []  # 4: each parameter once
        elements[-1][name] = pair[2] if pair[3] is None else _ESCAPED.sub(rb"\1", pair[3])
        place = pair.end()
        if place == len(value):
            return elements
        if (semicolon := _SEMICOLON.match(value, place)) is not None:
            place = semicolon.end()
        elif (comma := _COMMA.match(value, place)) is not None:
            elements.append({})
            place = comma.end()
        else:
            break
    return []


def address_of(node: bytes) -> bytes:
    """Return the IP address of `for`, as X-Forwarded-For has it: without port and brackets; b"" if it is none."""
    match = _NODE.fullmatch(node)
    return b"" if match is None else match[1] or match[2]
