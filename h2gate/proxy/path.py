"""The one form of a request's path: the route is matched with it, and the backend gets it.

The one rule: what a backend might read in another way than the gate is refused, not guessed. So the path that
passed a route is the path that is served (CVE-2021-41773, CVE-2024-38473). The query is nobody's business here
and goes through untouched.
"""

from __future__ import annotations

import re

_UNRESERVED = rb"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"

# Whole segments of visible ASCII without `%`, `\`, `#`: no empty one but the last, none that begins as `.` or `..`
# does. Nearly every path is so, and this test takes 0.3 us where the whole work takes 4.
_NORMAL = re.compile(rb"(?:/(?!\.\.?(?:[/;]|\Z))[!\"$&-.0-\[\]-~]++)*+/?")
_OCTETS = re.compile(rb"[!\"$-\[\]-~]*+")
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})?")
_SLASHES = re.compile(rb"/{2,}")
# Java servers cut `;...` off a segment before they look for dots: `/a/..;/b` is `/b` to them.
_DOTS_WITH_PARAMETERS = re.compile(rb"/\.\.?;")

_REFUSED = {0x00: "an escaped NUL", 0x2F: "an escaped slash", 0x5C: "an escaped backslash"}


class BadPath(ValueError):
    """The path has no one meaning; the text says why."""


def normalize(target: bytes) -> tuple[bytes, bytes]:
    """Split a request-target into its normal path and its query, `?` included, or b"".

    Dot segments are resolved (RFC 3986, 5.2.4; never above the root), slashes merged, escapes of unreserved
    characters decoded and the others written in upper case (6.2.2). `*` stays as it is.

    Raises BadPath.
    """
    path, mark, query = target.partition(b"?")
    if path == b"*" and not mark:
        return path, b""
    if path[:1] != b"/":
        raise BadPath("the path does not begin with a slash")
    if _NORMAL.fullmatch(path) is None:
        path = _normal_form(path)
    return path, mark + query


def _normal_form(path: bytes) -> bytes:
    if b"\\" in path:
        raise BadPath("a backslash in the path")
    if _OCTETS.fullmatch(path) is None:
        raise BadPath("an octet in the path that must be escaped")
    path = _ESCAPE.sub(_normal_escape, path)
    if _DOTS_WITH_PARAMETERS.search(path) is not None:
        raise BadPath("a dot segment with parameters")
    # Merged first, as nginx and Apache do: a backend that merges sees what the gate has seen.
    return _remove_dot_segments(_SLASHES.sub(b"/", path))


def _normal_escape(escape: re.Match[bytes]) -> bytes:
    """Return what stands for an escape in a normal path. Decoded once: `%252e` is no dot."""
    if escape[1] is None:
        raise BadPath("a percent sign without two hex digits")
    octet = int(escape[1], 16)
    if octet in _REFUSED:
        raise BadPath(f"{_REFUSED[octet]} in the path")
    return bytes([octet]) if octet in _UNRESERVED else b"%%%02X" % octet


def _remove_dot_segments(path: bytes) -> bytes:
    """Resolve `.` and `..` as RFC 3986, 5.2.4 does, on whole segments."""
    *directories, last = path.split(b"/")[1:]
    kept: list[bytes] = []
    for segment in directories:
        if segment == b"..":
            del kept[-1:]
        elif segment != b".":
            kept.append(segment)
    if last in (b".", b".."):
        if last == b"..":
            del kept[-1:]
        last = b""
    return b"/" + b"/".join([*kept, last])
