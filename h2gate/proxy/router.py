"""Which route a request takes, and the path it has behind it.

Owns the compiled routes. The rule: the first route in the operator's order that matches wins, on the normalized path
(`path.normalize`) and nothing else: what was matched is what the backend gets. To find it not all are asked but
those that an index by host and path leaves: the cost is the same for one route and for a thousand.

Paths are mapped as Apache's ProxyPass does: the matched prefix is replaced by the backend URL's path, or by `rewrite`'s
`prefix`, as plain text, no slash is added or taken away (`/app/` to `/base/`). A `regex:` route has no such prefix: the
whole path is `rest`, and config.checks lets its backend have no path.

What a route inherits from the top level is worked out here, once, and not for each request.
"""

from __future__ import annotations

import random as _random
import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Literal, NamedTuple

from h2gate.config.model import Config, Redirect, Rewrite, Route, RouteTimeouts, Timeouts
from h2gate.config.resolved import mirror_of, targets_of
from h2gate.proxy.conditions import Conditions
from h2gate.proxy.error_pages import ErrorPages
from h2gate.proxy.field_rules import compile_rules
from h2gate.proxy.mapping import CookieMaps, split_authority
from h2gate.proxy.path import BadPath, normalize

HostTest = Callable[[bytes], bool]
_Fields = Sequence[tuple[bytes, bytes]]

_ALL_ERRORS = frozenset(range(400, 600))


class Target(NamedTuple):
    """A backend's name, and the path that takes the matched prefix's place (None: the path stays)."""

    backend: str
    base_path: bytes | None


class MirrorTarget(NamedTuple):
    """Where a `share`, 0 to 1, of the route's requests is copied to."""

    backend: str
    base_path: bytes | None
    share: float


class Patience(NamedTuple):
    """How long nothing may move, in seconds. `head` is the shorter of the two before the response's head."""

    request_body: float
    response_head: float
    response_idle: float
    tunnel_idle: float
    head: float

    @classmethod
    def of(cls, general: Timeouts, own: RouteTimeouts | None = None) -> Patience:
        """Return the times of a route, or of what has none yet."""
        own = own or _NO_TIMEOUTS
        request_body = own.request_body or general.request_body
        response_head = own.response_head or general.response_head
        return cls(
            request_body,
            response_head,
            own.response_idle or general.response_idle,
            own.tunnel_idle or general.tunnel_idle,
            min(request_body, response_head),
        )


_NO_TIMEOUTS = RouteTimeouts()


class CompiledRespond(NamedTuple):
    """An answer without a backend."""

    status: int
    body: bytes


class CompiledRedirect(NamedTuple):
    """A redirect's template in pieces: literal, placeholder, literal, placeholder... `slash` as told at `_compile`."""

    status: int
    pieces: tuple[bytes, ...]
    slash: bool


class CompiledRewrite(NamedTuple):
    """What is searched for in a path, and what takes its place."""

    regex: re.Pattern[bytes]
    replacement: bytes


class CompiledRoute:
    """A route as the hot path wants it; what is off is None, or empty.

    `name` is for the log. `matched` is what each path that it takes begins with, its prefix or all of it; empty for a
    `regex:` route. Where `choose` gives no target the gate answers itself, by `respond` or `redirect`; `target` is what
    it gives where there are no lots to draw. `max_body` is in bytes.
    """

    __slots__ = (
        "_weights",
        "conditions",
        "cookies",
        "early_hints",
        "error_override",
        "error_pages",
        "exact",
        "host_matches",
        "index",
        "logs",
        "matched",
        "max_body",
        "methods",
        "mirror",
        "name",
        "path_matches",
        "patience",
        "prefix",
        "preserve_host",
        "redirect",
        "request_rules",
        "respond",
        "response_rules",
        "rewrite",
        "segment",
        "target",
        "tries",
        "websocket",
    )

    def __init__(self, config: Config, route: Route, index: int) -> None:
        match, path = route.match, route.match.path
        self.index = index
        # Such as `GET|HEAD app.example.com /app/`.
        self.name = " ".join(str(part) for part in ("|".join(match.methods or ()), match.host or "", path) if part)
        self.conditions = Conditions(match) if match.headers or match.query else None
        self._lead(config, route)
        self.preserve_host = route.preserve_host
        self.request_rules = compile_rules(route.request_headers)
        self.response_rules = compile_rules(route.response_headers)
        self.cookies = CookieMaps(route.cookie_domain, route.cookie_path) if _has_cookie_maps(route) else None
        self.patience = Patience.of(config.timeouts, route.timeouts)
        self.tries = config.retries.tries if route.retries is None else route.retries.tries
        self.max_body = config.limits.max_body if route.max_body is None else route.max_body
        self.error_override = _statuses(route.error_override)
        self.error_pages = ErrorPages((*route.error_pages, *config.error_pages))
        self.websocket = route.websocket
        self.early_hints: Literal["forward", "push", "off"] = route.early_hints
        self.logs = route.access_log
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
        self.matched = self.prefix or self.exact or b""
        # `/app` as a prefix ends at a segment's end; `/app/` and `/` bring the end along.
        self.segment = self.prefix is not None and not self.prefix.endswith(b"/")

    def _lead(self, config: Config, route: Route) -> None:
        """Work out where the route leads."""
        rewrite = route.rewrite
        prefix = None if rewrite is None or rewrite.prefix is None else rewrite.prefix.encode("ascii")
        targets = [
            (Target(target.name, target.base_path if prefix is None else prefix), weight)
            for target, weight in targets_of(config, route)
        ]
        self.target: Target | None = targets[0][0] if len(targets) == 1 else None
        self._weights: Weights | None = Weights(targets) if len(targets) > 1 else None
        self.rewrite = _compile_rewrite(rewrite)
        mirror = mirror_of(config, route)
        self.mirror: MirrorTarget | None = None
        if mirror is not None and route.mirror is not None:
            base_path = mirror.base_path if prefix is None else prefix
            self.mirror = MirrorTarget(mirror.name, base_path, route.mirror.share)

    def choose(self) -> Target | None:
        """Return where a request goes, None if the gate answers it. Ask once for each: `weights` draw lots."""
        return self.target if self._weights is None else self._weights.choose()

    def __repr__(self) -> str:
        return f"<route {self.index} {self.name}>"


class Weights:
    """Backends and the share of requests that each gets."""

    __slots__ = ("_bounds", "_targets")

    def __init__(self, targets: Sequence[tuple[Target, int]]) -> None:
        targets = [(target, weight) for target, weight in targets if weight]
        self._targets = [target for target, _ in targets]
        self._bounds = list(accumulate(weight for _, weight in targets))

    def choose(self, random: Callable[[], float] = _random.random) -> Target:
        return self._targets[bisect_right(self._bounds, random() * self._bounds[-1])]


def _compile_rewrite(rewrite: Rewrite | None) -> CompiledRewrite | None:
    if rewrite is None or rewrite.regex is None:
        return None
    return CompiledRewrite(re.compile(rewrite.regex.encode("utf-8")), (rewrite.to or "").encode("utf-8"))


def _statuses(override: bool | tuple[int, ...]) -> frozenset[int]:
    if isinstance(override, bool):
        return _ALL_ERRORS if override else frozenset()
    return frozenset(override)


def _has_cookie_maps(route: Route) -> bool:
    return bool(route.cookie_domain or route.cookie_path)


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

    def first(
        self, method: bytes, path: bytes, fields: _Fields, query: bytes, best: CompiledRoute | None
    ) -> CompiledRoute | None:
        """Return the first route for the request, or `best` if that stands before it."""
        for size in self._lengths:
            routes = self._prefixes.get(path[:size])
            if routes is not None and (not routes[0].segment or path[size : size + 1] in _SEGMENT_ENDS):
                best = _first_of(routes, method, fields, query, best)
        if self._exact and path in self._exact:
            best = _first_of(self._exact[path], method, fields, query, best)
        for route in self._searched:
            if best is not None and best.index < route.index:
                break
            assert route.path_matches is not None
            if (
                (route.methods is None or method in route.methods)
                and route.path_matches(path)
                and (route.conditions is None or route.conditions.hold(fields, query))
            ):
                return route
        return best


def _first_of(
    routes: list[CompiledRoute], method: bytes, fields: _Fields, query: bytes, best: CompiledRoute | None
) -> CompiledRoute | None:
    for route in routes:
        if best is not None and best.index < route.index:
            return best
        if (route.methods is None or method in route.methods) and (
            route.conditions is None or route.conditions.hold(fields, query)
        ):
            return route
    return best


class Router:
    """The routes of a config, in order."""

    __slots__ = ("_any_host", "_hosts", "_wildcards", "nowhere", "routes")

    def __init__(self, config: Config) -> None:
        self.routes = tuple(CompiledRoute(config, route, index) for index, route in enumerate(config.routes))
        self.nowhere = CompiledRoute(config, Route(), -1)
        """What holds for requests that no route takes, or none has taken yet. It has no name."""
        self.nowhere.name = ""
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

    def find(
        self,
        method: bytes,
        authority: bytes,
        path: bytes,
        fields: _Fields = (),
        query: bytes = b"",
    ) -> CompiledRoute | None:
        """Return the first route for the request, None if there is none. `query` as of `path.normalize`."""
        best = self._any_host.first(method, path, fields, query, None)
        if self._hosts or self._wildcards:
            best = self._first_by_host(method, authority, path, fields, query, best)
        return best

    def _first_by_host(
        self,
        method: bytes,
        authority: bytes,
        path: bytes,
        fields: _Fields,
        query: bytes,
        best: CompiledRoute | None,
    ) -> CompiledRoute | None:
        host = split_authority(authority)[0].lower().removesuffix(b".")
        index = self._hosts.get(host)
        if index is not None:
            best = index.first(method, path, fields, query, best)
        if self._wildcards:
            while host:
                host = host.partition(b".")[2]
                index = self._wildcards.get(host)
                if index is not None:
                    best = index.first(method, path, fields, query, best)
        return best

    def allowed_methods(
        self, authority: bytes, path: bytes, fields: _Fields = (), query: bytes = b""
    ) -> tuple[bytes, ...]:
        """Return the methods of routes that match but for the method: () means 404, others 405 with Allow."""
        host = split_authority(authority)[0]
        allowed: set[bytes] = set()
        for route in self.routes:
            if (
                route.methods is not None
                and _matches(route, host, path)
                and (route.conditions is None or route.conditions.hold(fields, query))
            ):
                allowed |= route.methods
        return tuple(sorted(allowed))


def map_path(route: CompiledRoute, base_path: bytes | None, path: bytes, query: bytes) -> bytes:
    """Return the path and query for the backend: `base_path` of a target. `query` as of `path.normalize`.

    Raises BadPath where `rewrite` makes no path of what the client sent.
    """
    if route.rewrite is not None:
        return _rewritten(route.rewrite, path) + query
    return (path if base_path is None else base_path + path[len(route.matched) :]) + query


def _rewritten(rewrite: CompiledRewrite, path: bytes) -> bytes:
    """Replace the first match. The result is read as if a client had sent it: nothing gets in by a group that would not
    get in by itself, no space, control character, dot segment, query or fragment (CVE-2023-25690)."""
    result = rewrite.regex.sub(rewrite.replacement, path, count=1)
    if result == path:
        return path
    if b"?" in result:
        raise BadPath("a question mark in the rewritten path")
    return normalize(result)[0]


def redirect_location(route: CompiledRoute, path: bytes, query: bytes) -> bytes:
    """Return the Location of a `redirect` route.

    What the client wrote never gets into the authority: neither by `{path}` right behind a host, nor by
    a result that begins with two slashes where the template begins with one.
    """
    redirect = route.redirect
    if redirect is None:
        raise ValueError(f"{route!r} is no redirect")
    rest = path[len(route.matched) :]
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


def _matches(route: CompiledRoute, host: bytes, path: bytes) -> bool:
    """Test host and path."""
    if route.prefix is not None:
        size = len(route.prefix)
        if not path.startswith(route.prefix) or (route.segment and path[size : size + 1] not in _SEGMENT_ENDS):
            return False
    elif route.exact is not None:
        if path != route.exact:
            return False
    elif route.path_matches is None or not route.path_matches(path):
        return False
    return route.host_matches is None or bool(route.host_matches(host))
