"""Which route a request takes, and the path it has behind it.

Owns the compiled routes. The rule: the first route in the operator's order that matches wins, on the normalized path
(`path.normalize`) and nothing else: what was matched is what the backend gets. To find it not all are asked but
those that an index by host and path leaves: the cost is the same for one route and for a thousand.

Paths are mapped as Apache's ProxyPass does: the matched prefix is replaced by the backend URL's path as plain text, no
slash is added or taken away (`/app/` to `/base/`). A `regex:` route has no such prefix: the whole path is `rest`, and
config.checks lets its backend have no path.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from h2gate.config.model import Config, Redirect, Route
from h2gate.config.resolved import target_of
from h2gate.proxy.mapping import split_authority

HostTest = Callable[[bytes], bool]


class CompiledRespond(NamedTuple):
    """An answer without a backend."""

    status: int
    body: bytes


class CompiledRedirect(NamedTuple):
    """A redirect's template in pieces: literal, placeholder, literal, placeholder... `slash` as told at `_compile`."""

    status: int
    pieces: tuple[bytes, ...]
    slash: bool


class CompiledRoute:
    """A route as the hot path wants it. `name` is for the log; `backend` names a `Target` of `config.resolved`."""

    __slots__ = (
        "backend",
        "base_path",
        "exact",
        "host_matches",
        "index",
        "methods",
        "name",
        "path_matches",
        "prefix",
        "preserve_host",
        "redirect",
        "respond",
        "segment",
    )

    def __init__(self, config: Config, route: Route, index: int) -> None:
        match, path = route.match, route.match.path
        target = target_of(config, route)
        self.index = index
        # Such as `GET|HEAD app.example.com /app/`.
        self.name = " ".join(str(part) for part in ("|".join(match.methods or ()), match.host or "", path) if part)
        self.backend: str | None = None if target is None else target.name
        self.base_path: bytes | None = None if target is None else target.base_path
        self.preserve_host = route.preserve_host
        self.respond = (
            None if route.respond is None else CompiledRespond(route.respond.status, route.respond.body.encode())
        )
        self.redirect = None if route.redirect is None else _compile(route.redirect)
        self.methods = None if match.methods is None else frozenset(m.encode("ascii") for m in match.methods)
        self.host_matches: HostTest | None = None if match.host is None else match.host.matches
        # Exactly one of the three is set.
        self.exact: bytes | None = None
        self.prefix: bytes | None = None
        self.path_matches: Callable[[bytes], object] | None = None
        if path.kind == "exact":
            self.exact = path.text.encode("ascii")
        elif path.kind == "prefix":
            self.prefix = path.text.encode("ascii")
        else:
            self.path_matches = None if path.regex is None else path.regex.search
        # `/app` as a prefix ends at a segment's end; `/app/` and `/` bring the end along.
        self.segment = self.prefix is not None and not self.prefix.endswith(b"/")

    def __repr__(self) -> str:
        return f"<route {self.index} {self.name}>"


class Found(NamedTuple):
    """A route and how it matched: `matched + rest` is the path. `matched` is empty for a `regex:` route."""

    route: CompiledRoute
    matched: bytes
    rest: bytes


# What follows a prefix of whole segments: nothing, or the next segment.
_SEGMENT_ENDS = (b"", b"/")


class _PathIndex:
    """Routes by what their paths must be. Each list is in the operator's order."""

    __slots__ = ("_exact", "_lengths", "_prefixes", "_searched")

    def __init__(self) -> None:
        self._exact: dict[bytes, list[CompiledRoute]] = {}
        self._prefixes: dict[bytes, list[CompiledRoute]] = {}
        # Of the prefixes: few, however many routes there are.
        self._lengths: list[int] = []
        # Regular expressions have to be tried one by one.
        self._searched: list[CompiledRoute] = []

    def add(self, route: CompiledRoute) -> None:
        if route.prefix is not None:
            self._prefixes.setdefault(route.prefix, []).append(route)
            if len(route.prefix) not in self._lengths:
                self._lengths.append(len(route.prefix))
        elif route.exact is not None:
            self._exact.setdefault(route.exact, []).append(route)
        else:
            self._searched.append(route)

    def first(self, method: bytes, path: bytes, best: CompiledRoute | None) -> CompiledRoute | None:
        """Return the first route for the request, or `best` if that stands before it."""
        for size in self._lengths:
            routes = self._prefixes.get(path[:size])
            # `/app` as a prefix ends at a segment's end; `/app/` and `/` bring the end along.
            if routes is not None and (path[size - 1 : size] == b"/" or path[size : size + 1] in _SEGMENT_ENDS):
                best = _first_of(routes, method, best)
        if self._exact and path in self._exact:
            best = _first_of(self._exact[path], method, best)
        for route in self._searched:
            if best is not None and best.index < route.index:
                break
            assert route.path_matches is not None
            if (route.methods is None or method in route.methods) and route.path_matches(path):
                return route
        return best


def _first_of(routes: list[CompiledRoute], method: bytes, best: CompiledRoute | None) -> CompiledRoute | None:
    for route in routes:
        if best is not None and best.index < route.index:
            return best
        if route.methods is None or method in route.methods:
            return route
    return best


class Router:
    """The routes of a config, in order."""

    __slots__ = ("_any_host", "_hosts", "_wildcards", "routes")

    def __init__(self, config: Config) -> None:
        self.routes = tuple(CompiledRoute(config, route, index) for index, route in enumerate(config.routes))
        self._any_host = _PathIndex()
        self._hosts: dict[bytes, _PathIndex] = {}
        # `*.example.com` by `example.com`.
        self._wildcards: dict[bytes, _PathIndex] = {}
        for route, compiled in zip(config.routes, self.routes, strict=True):
            host = route.match.host
            if host is None:
                index = self._any_host
            else:
                index = (self._wildcards if host.is_wildcard else self._hosts).setdefault(host.name, _PathIndex())
            index.add(compiled)

    def find(self, method: bytes, authority: bytes, path: bytes) -> Found | None:
        """Return the first route for the request, None if there is none."""
        best = self._any_host.first(method, path, None)
        if self._hosts or self._wildcards:
            best = self._first_by_host(method, authority, path, best)
        if best is None:
            return None
        size = len(path) if best.exact is not None else len(best.prefix or b"")
        return Found(best, path[:size], path[size:])

    def _first_by_host(
        self, method: bytes, authority: bytes, path: bytes, best: CompiledRoute | None
    ) -> CompiledRoute | None:
        host = split_authority(authority)[0].lower().removesuffix(b".")
        index = self._hosts.get(host)
        if index is not None:
            best = index.first(method, path, best)
        if self._wildcards:
            while host:
                host = host.partition(b".")[2]
                index = self._wildcards.get(host)
                if index is not None:
                    best = index.first(method, path, best)
        return best

    def allowed_methods(self, authority: bytes, path: bytes) -> tuple[bytes, ...]:
        """Return the methods of routes that match but for the method: () means 404, others 405 with Allow."""
        host = split_authority(authority)[0]
        allowed: set[bytes] = set()
        for route in self.routes:
            if route.methods is not None and _match(route, host, path) is not None:
                allowed |= route.methods
        return tuple(sorted(allowed))


def map_path(found: Found, path: bytes, query: bytes) -> bytes:
    """Return the path and query for the backend. `query` as of `path.normalize`: with its `?`, or empty."""
    base = found.route.base_path
    return (path if base is None else base + found.rest) + query


def redirect_location(found: Found, query: bytes) -> bytes:
    """Return the Location of a `redirect` route.

    What the client wrote never gets into the authority: neither by `{path}` right behind a host, nor by
    a result that begins with two slashes where the template begins with one.
    """
    redirect = found.route.redirect
    if redirect is None:
        raise ValueError(f"{found.route!r} is no redirect")
    rest = found.rest
    if redirect.slash and rest[:1] != b"/":
        rest = b"/" + rest
    location = b"".join(
        rest if piece == b"{path}" else query if piece == b"{query}" else piece for piece in redirect.pieces
    )
    if location[:1] == b"/" and location[1:2] in _SLASHES and redirect.pieces[0][:2] != b"//":
        # Browsers take `/\host` for `//host`.
        return b"/" + location.lstrip(b"/\\")
    return location


_SLASHES = (b"/", b"\\")
_PLACEHOLDER = re.compile(rb"(\{path\}|\{query\})")
_NO_PATH_YET = re.compile(rb"(?:[A-Za-z][A-Za-z0-9+.\-]*:)?(?://[^/?#]*)?")


def _compile(redirect: Redirect) -> CompiledRedirect:
    """Split the template. `slash`: nothing before `{path}` has begun a path, so that it must begin with a slash."""
    pieces = tuple(piece for piece in _PLACEHOLDER.split(redirect.to.encode()) if piece)
    before = b"".join(pieces[: pieces.index(b"{path}")]) if b"{path}" in pieces else b"/"
    return CompiledRedirect(redirect.status, pieces, _NO_PATH_YET.fullmatch(before) is not None)


def _match(route: CompiledRoute, host: bytes, path: bytes) -> Found | None:
    """Test host and path."""
    prefix = route.prefix
    if prefix is not None:
        if not path.startswith(prefix):
            return None
        size = len(prefix)
        if route.segment and len(path) != size and path[size] != 0x2F:
            return None
    elif route.exact is not None:
        if path != route.exact:
            return None
        size = len(path)
    else:
        if route.path_matches is None or not route.path_matches(path):
            return None
        size = 0
    if route.host_matches is not None and not route.host_matches(host):
        return None
    return Found(route, path[:size], path[size:])
