"""Which of a response's Links can be pushed to the client, and as what request. Pure.

The rule: only what is the client's own origin's, and would be asked for by a plain GET, is promised (RFC 9113, 8.4).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from h2gate.protocol.events import Fields, RequestHead
from h2gate.protocol.fields import is_path

# RFC 8288, 3: `<target>` and its parameters, whose quoted strings may hold commas and semicolons. Linear, whatever a
# backend sends: 64 KiB of `<` took 20 s where a target could hold one.
_LINK = re.compile(rb'<([^<>]*)>((?:[ \t]*;[ \t]*[^\s=;,]+(?:[ \t]*=[ \t]*(?:"(?:[^"\\]|\\.)*+"|[^\s",;]*))?)*)')
_PARAMETER = re.compile(rb'([^\s=;]+)(?:[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*+)"|([^\s",;]*)))?')

# Fields that choose among representations; what names the user stays out, as in Apache: a push is nobody's request.
_NEGOTIATION = frozenset({b"accept-encoding", b"accept-language", b"user-agent"})


def preloads(fields: Fields, scheme: bytes, authority: bytes) -> Iterator[bytes]:
    """Return the paths of `Link: rel=preload` without `nopush`, in their order. `fields` say what the client sees."""
    origin = scheme + b"://" + authority
    for name, value in fields:
        if name != b"link":
            continue
        for target, parameters in _LINK.findall(value):
            if _is_preload(parameters):
                path = target.removeprefix(origin) if authority else target
                path = path.partition(b"#")[0]
                # `//host/x` is another site's.
                if path[:2] != b"//" and is_path(path) and path != b"*":
                    yield path


def _is_preload(parameters: bytes) -> bool:
    relations: set[bytes] = set()
    for name, quoted, token in _PARAMETER.findall(parameters):
        if name.lower() == b"nopush":
            return False
        if name.lower() == b"rel" and not relations:
            # RFC 8288, 3.3: the first one counts; relations stand side by side.
            relations = set((quoted or token).lower().split())
    return b"preload" in relations


def promised(request: RequestHead, path: bytes) -> RequestHead:
    """Return the request that the client would make for `path`, as it made `request`."""
    fields = [field for field in request.fields if field[0] in _NEGOTIATION]
    return RequestHead(b"GET", request.scheme, request.authority, path, fields, request.version, None, path)
