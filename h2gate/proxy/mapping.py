"""The way back: what a backend says about its own URLs, in the client's terms.

Owns `ReverseMapping`, one per response. The one rule holds for Location, Content-Location, URI, Refresh, Link and the
attributes of Set-Cookie alike, with `preserve_host` or without: an authority that is the backend's (or the client's
own, as a backend behind `preserve_host` says it) becomes the client's, and the backend URL's path becomes the prefix
that the route matched. Everything else is somebody else's URL and stays as it is, byte for byte.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping

_DEFAULT_PORTS = {b"http": b"80", b"https": b"443"}
# The authority ends as RFC 3986, 3.2 says. A backslash stays in it: `http://backend\@evil` is not ours.
_ABSOLUTE = re.compile(rb"(?:([Hh][Tt][Tt][Pp][Ss]?):)?//([^/?#]*)")
# A link's target or a quoted string, which may contain `<`. Possessive: linear, whatever a backend sends.
_LINK_PART = re.compile(rb'<([^<>]*)>|"(?:[^"\\]|\\.)*+"?', re.DOTALL)
# HTML, "shared declarative refresh steps": seconds, `;` or `,`, an optional `url=`, an optional quote.
_REFRESH = re.compile(rb"""([ \t]*[0-9.]+[ \t]*[;,][ \t]*(?:url[ \t]*=[ \t]*)?)(["']?)([^"']*)(.*)""", re.I | re.S)
_COOKIE_HOST = re.compile(rb"[A-Za-z0-9.\-_]+")


class CookieMaps:
    """What the operator says of cookies: other domains and paths than those that follow from the route.

    Where one applies it is the last word: the rule for all fields is not asked. A domain is compared as a whole, a path
    by whole segments, the longest first: Apache's "begins with" takes `/application` for one below `/app`.
    """

    __slots__ = ("domains", "paths")

    def __init__(self, domains: Mapping[str, str], paths: Mapping[str, str]) -> None:
        self.domains = {
            name.removeprefix(".").lower().encode("ascii"): to.encode("ascii") for name, to in domains.items()
        }
        self.paths = sorted(
            ((start.encode("utf-8"), to.encode("utf-8")) for start, to in paths.items()),
            key=lambda pair: -len(pair[0].rstrip(b"/")),
        )

    def domain(self, text: bytes) -> bytes | None:
        """Return what takes the place of a Domain, None if none of the maps is about it."""
        return self.domains.get(text.strip().lower().removeprefix(b"."))

    def path(self, text: bytes) -> bytes | None:
        """As `domain`, for a Path."""
        text = text.strip()
        for start, to in self.paths:
            if text == start:
                return to
            # A cookie for `/app` is for what is below `/app/`, too (RFC 6265, 5.1.4).
            stem = start.rstrip(b"/")
            if text == stem or text.startswith(stem + b"/"):
                return to.rstrip(b"/") + text[len(stem) :] or b"/"
        return None


class ReverseMapping:
    """A response's way back. `base_path` of its target, `matched` and `cookies` of its route.

    Authorities may have a port. `client_authority` is empty if an HTTP/1.0 client sent none: then absolute URLs become
    path-only ones.
    """

    __slots__ = (
        "backend_authority",
        "backend_scheme",
        "base_path",
        "client_authority",
        "client_scheme",
        "cookies",
        "matched",
    )

    def __init__(
        self,
        backend_authority: bytes,
        backend_scheme: bytes,
        base_path: bytes | None,
        matched: bytes,
        client_authority: bytes,
        client_scheme: bytes,
        cookies: CookieMaps | None = None,
    ) -> None:
        # Nothing is worked out before it is asked for: most responses have none of these fields.
        self.backend_authority = backend_authority
        self.backend_scheme = backend_scheme
        self.base_path = base_path
        self.matched = matched
        self.client_authority = client_authority
        self.client_scheme = client_scheme
        self.cookies = cookies

    def location(self, value: bytes) -> bytes:
        """Map one URI reference. Relative ones (`x`, `../x`, `?x`) are right as they are."""
        if value[:1] == b"/" and value[1:2] not in _SLASHES:
            return self._path(value)
        match = _ABSOLUTE.match(value)
        if match is None:
            return value
        scheme, authority = match[1], match[2]
        if not self._is_ours(None if scheme is None else scheme.lower(), authority):
            return value
        rest = value[match.end() :]
        if self.base_path is not None:
            rest = self._path(rest if rest[:1] == b"/" else b"/" + rest)
        if not self.client_authority:
            return rest if rest[:1] == b"/" and rest[1:2] not in _SLASHES else b"/" + rest.lstrip(b"/\\\t")
        origin = b"//" + self.client_authority
        return origin + rest if scheme is None else self.client_scheme + b":" + origin + rest

    def link(self, value: bytes) -> bytes:
        """Map each `<target>` of a Link field (RFC 8288, 3); parameters stay as they are."""
        return _LINK_PART.sub(lambda part: part[0] if part[1] is None else b"<" + self.location(part[1]) + b">", value)

    def uri(self, value: bytes) -> bytes:
        """Map a URI field, with `<>` (RFC 2068, 19.6.2.5) or without."""
        return self.link(value) if value[:1] == b"<" else self.location(value)

    def refresh(self, value: bytes) -> bytes:
        """Map the URL of a Refresh field: `5; url=/x`."""
        match = _REFRESH.fullmatch(value)
        return value if match is None else match[1] + match[2] + self.location(match[3]) + match[4]

    def cookie(self, value: bytes) -> bytes:
        """Map Domain and Path of one Set-Cookie field (RFC 6265, 4.1.2)."""
        if b";" not in value:
            return value
        pair, *attributes = value.split(b";")
        # A `__Host-` cookie is refused unless its Path is `/` (RFC 6265bis, 4.1.3.2).
        is_bound = pair.lstrip()[:7].lower() == b"__host-"
        result = [pair]
        for attribute in attributes:
            name, equals, text = attribute.partition(b"=")
            word = name.strip().lower()
            mapped = None if self.cookies is None or is_bound else _map_attribute(self.cookies, word, text)
            if mapped is not None:
                attribute = name + equals + mapped
            elif word == b"path" and not is_bound:
                attribute = name + equals + self._cookie_path(text)
            elif word == b"domain" and self._is_backend_host(text):
                host = split_authority(self.client_authority)[0]
                if not _may_be_domain(host):
                    # Without Domain the cookie is the client's host's alone, which is what was meant.
                    continue
                attribute = name + equals + host
            result.append(attribute)
        return b";".join(result)

    def _is_ours(self, scheme: bytes | None, authority: bytes) -> bool:
        """Whether an absolute URL leads here: its authority is the client's own or the backend's."""
        if _is_same(scheme, authority, self.client_scheme, self.client_authority):
            # An `https` of the backend's own making sends the client from clear to TLS: to map it would make a loop.
            return scheme != b"https" or self.client_scheme == b"https"
        return _is_same(scheme, authority, self.backend_scheme, self.backend_authority)

    def _path(self, path: bytes) -> bytes:
        """Put the matched prefix in the base path's place. `path` begins with a slash and may have a query."""
        base, matched = self.base_path, self.matched
        if base is None or not path.startswith(base):
            return path
        rest = path[len(base) :]
        if not base.endswith(b"/"):
            if not matched.endswith(b"/") and rest[:1] not in _ENDS:
                # `/base` is no prefix of `/based`.
                return path
        elif not matched.endswith(b"/") and rest[:1] not in _ENDS:
            rest = b"/" + rest
        mapped = matched + rest
        if mapped[:1] != b"/":
            mapped = b"/" + mapped
        if mapped[1:2] in _SLASHES:
            # `/base//host` must not become `//host`, which is another site.
            mapped = b"/" + mapped.lstrip(b"/\\\t")
        return mapped

    def _cookie_path(self, path: bytes) -> bytes:
        """As `_path`, but `/base` stands for all under `/base/` too (RFC 6265, 5.1.4)."""
        bare = path.strip()
        base = self.base_path
        if base is not None and base == bare + b"/":
            return self.matched.rstrip(b"/") or b"/"
        return self._path(bare) if bare[:1] == b"/" else path

    def _is_backend_host(self, domain: bytes) -> bool:
        host = split_authority(self.backend_authority)[0].lower()
        return domain.strip().lower().removeprefix(b".") == host


def _map_attribute(cookies: CookieMaps, word: bytes, text: bytes) -> bytes | None:
    if word == b"domain":
        return cookies.domain(text)
    return cookies.path(text) if word == b"path" else None


# What makes a leading slash the start of a host to browsers, which read `\\` as `/` and skip tabs.
_SLASHES = (b"/", b"\\", b"\t")
_ENDS = (b"", b"/", b"?", b"#")


def split_authority(authority: bytes) -> tuple[bytes, bytes]:
    """Return host and port, b"" for no port. Brackets of an IPv6 address stay."""
    host, colon, port = authority.rpartition(b":")
    if not colon or b"]" in port:
        return authority, b""
    return host, port


def _is_same(scheme: bytes | None, authority: bytes, our_scheme: bytes, our_authority: bytes) -> bool:
    """Compare two authorities, with their schemes' default ports, without regard to case (RFC 9110, 4.2.3).

    Two without a port are the same whatever the schemes: a backend that is spoken to in clear behind a TLS listener
    does not know better.
    """
    if not authority or not our_authority:
        return False
    authority, our_authority = authority.lower(), our_authority.lower()
    if authority == our_authority:
        return True
    host, port = split_authority(authority)
    our_host, our_port = split_authority(our_authority)
    scheme = our_scheme if scheme is None else scheme
    return host == our_host and (port or _DEFAULT_PORTS[scheme]) == (our_port or _DEFAULT_PORTS[our_scheme])


def _may_be_domain(host: bytes) -> bool:
    """Whether a cookie's Domain may say `host`: a name, not an IP address (RFC 6265, 5.1.3)."""
    if _COOKIE_HOST.fullmatch(host) is None:
        return False
    try:
        ipaddress.ip_address(host.decode("ascii"))
    except ValueError:
        return True
    return False
