"""Routes: where they lead, what has no effect there, and which are never reached."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from h2gate.config.addresses import EndpointUrl
from h2gate.config.checks_backends import shown_path
from h2gate.config.model import ErrorPage, FieldRules, Redirect, Respond, Rewrite, Route
from h2gate.config.parts import Finding, Parts
from h2gate.config.patterns import check_groups
from h2gate.config.problems import KeyPath, did_you_mean
from h2gate.config.reach import covers
from h2gate.config.resolved import is_url

_WAYS = ("backend", "weights", "respond", "redirect")

# What is done to a request or response on its way to a backend and back.
_FOR_BACKENDS = (
    "preserve_host",
    "rewrite",
    "request_headers",
    "cookie_domain",
    "cookie_path",
    "timeouts",
    "retries",
    "max_body",
    "error_override",
    "mirror",
    "websocket",
    "early_hints",
)


def check_routes(parts: Parts) -> Iterator[Finding]:
    for index, route in enumerate(parts.routes):
        if route is None:
            continue
        path: KeyPath = ("routes", index)
        yield from _check_ways(path, route, parts)
        if route.respond is not None:
            yield from _check_respond((*path, "respond"), route.respond)
        if route.redirect is not None:
            yield from _check_redirect((*path, "redirect"), route.redirect)
        if route.rewrite is not None:
            yield from _check_rewrite((*path, "rewrite"), route, route.rewrite)
        for key in ("request_headers", "response_headers"):
            yield from _check_rules((*path, key), getattr(route, key))
        for key in ("cookie_domain", "cookie_path"):
            for old, new in getattr(route, key).items():
                if old == new:
                    yield Finding((*path, key), f"{old} stays what it is: leave it out")
        yield from _check_answers(path, route, parts)


def _check_ways(path: KeyPath, route: Route, parts: Parts) -> Iterator[Finding]:
    """Check that a route leads somewhere, and has no key that means nothing there."""
    given = [key for key in _WAYS if getattr(route, key) is not None and key in route.model_fields_set]
    if len(given) != 1:
        have = f"not {' and '.join(given)}" if given else "this one has none of them"
        yield Finding(path, f"a route leads to exactly one of {', '.join(_WAYS)}: {have}")
    if "backend" not in given and "weights" not in given:
        for key in _FOR_BACKENDS:
            if key in route.model_fields_set:
                yield Finding((*path, key), "has no effect without a backend")
        if "error_pages" in route.model_fields_set and not _answers_with_a_page(route):
            yield Finding((*path, "error_pages"), "has no effect: this route answers with no error but its own text")
    for name in _names(route):
        yield from _check_target(path, route, name, parts)
    yield from _check_weights((*path, "weights"), route, parts)


def _answers_with_a_page(route: Route) -> bool:
    # A route that leads nowhere has been told so already.
    respond = route.respond
    return route.redirect is None and (respond is None or (respond.status >= 400 and not respond.body))


class _Name(NamedTuple):
    """A name or URL of a backend, and the key that has it."""

    key: KeyPath
    text: str


def _names(route: Route) -> Iterator[_Name]:
    if route.backend is not None:
        yield _Name(("backend",), route.backend)
    for name in route.weights:
        yield _Name(("weights", name), name)
    if route.mirror is not None:
        yield _Name(("mirror", "backend"), route.mirror.backend)


def _check_target(path: KeyPath, route: Route, name: _Name, parts: Parts) -> Iterator[Finding]:
    path = (*path, *name.key)
    if is_url(name.text):
        try:
            EndpointUrl.parse(name.text)
        except ValueError as failure:
            yield Finding(path, str(failure))
            return
    elif name.text not in parts.backends:
        if parts.is_whole:
            yield Finding(path, f"there is no backend `{name.text}`{did_you_mean(name.text, parts.backends)}")
        return
    url = _url_of(name.text, parts)
    if url is None or url.base_path is None:
        return
    shown = shown_path(url)
    if route.match.path.kind == "regex":
        yield Finding(
            path, f"a regex leaves no prefix that {shown} could replace: match a prefix, or take the path away"
        )
    elif route.rewrite is not None:
        yield Finding(path, f"`rewrite` says the whole path, and {shown} nothing: take it away, or the rewrite")


def _url_of(name: str, parts: Parts) -> EndpointUrl | None:
    """Return a backend's first URL; None if it is not known."""
    if is_url(name):
        try:
            return EndpointUrl.parse(name)
        except ValueError:
            return None
    backend = parts.backends.get(name)
    return None if backend is None else backend.endpoints[0].url


def _check_weights(path: KeyPath, route: Route, parts: Parts) -> Iterator[Finding]:
    if "weights" not in route.model_fields_set:
        return
    if len(route.weights) < 2:
        have = f"write `backend: {next(iter(route.weights))}`" if route.weights else "name two at least"
        yield Finding(path, f"there is nothing to share out: {have}")
    elif not any(route.weights.values()):
        yield Finding(path, "all are 0: no backend would get a request")
    seen: dict[EndpointUrl, str] = {}
    for name in filter(is_url, route.weights):
        url = _url_of(name, parts)
        if url is not None and seen.setdefault(url, name) != name:
            yield Finding((*path, name), f"{seen[url]} is the same: add the two up")


def _check_respond(path: KeyPath, respond: Respond) -> Iterator[Finding]:
    # RFC 9110, 15.3.5, 15.3.6 and 15.4.5: these have no content.
    if respond.body and respond.status in (204, 205, 304):
        yield Finding((*path, "body"), f"a {respond.status} has no body")


def _check_redirect(path: KeyPath, redirect: Redirect) -> Iterator[Finding]:
    path = (*path, "to")
    if not redirect.to or not re.fullmatch(r"[!-~]*", redirect.to):
        yield Finding(path, "write a location as it is on the wire: ASCII, without spaces")
    elif re.match(r"(?:https?:|[/\\]{2})[/\\]*(?:\{|$)", redirect.to, re.IGNORECASE):
        # `https:///evil.example` leads browsers to `evil.example`.
        yield Finding(path, "has no host: the first word of the path would be taken for it")
    group = re.search(r"\$[0-9]", redirect.to)
    if group is not None:
        yield Finding(path, f"{group[0]} stands for nothing: {{path}} is what follows the matched prefix")
    for found in re.findall(r"\{[^}]*\}?|\}", redirect.to.replace("{path}", "").replace("{query}", "")):
        yield Finding(
            path, f"{found} stands for nothing: write {{path}} or {{query}}{did_you_mean(found, _PLACEHOLDERS)}"
        )


_PLACEHOLDERS = ("{path}", "{query}")


def _check_rewrite(path: KeyPath, route: Route, rewrite: Rewrite) -> Iterator[Finding]:
    if rewrite.prefix is None and rewrite.regex is None and rewrite.to is None:
        yield Finding(path, "write `prefix`, or `regex` and `to`")
    elif rewrite.prefix is not None and (rewrite.regex is not None or rewrite.to is not None):
        yield Finding(path, "write `prefix`, or `regex` and `to`, not both")
    elif rewrite.prefix is not None:
        if route.match.path.kind == "regex":
            yield Finding((*path, "prefix"), "a regex leaves no prefix to replace: match a prefix, or rewrite by regex")
        elif rewrite.prefix == route.match.path.text:
            yield Finding((*path, "prefix"), "is the matched prefix itself: leave it out")
    elif rewrite.to is None:
        yield Finding((*path, "regex"), "needs `to`")
    elif rewrite.regex is None:
        yield Finding((*path, "to"), "needs `regex`")
    else:
        try:
            check_groups(rewrite.regex, rewrite.to)
        except ValueError as failure:
            yield Finding((*path, "to"), str(failure))


def _check_rules(path: KeyPath, rules: FieldRules) -> Iterator[Finding]:
    for name in rules.remove:
        if name in rules.set:
            yield Finding((*path, "remove"), f"{name} is set: that takes the place of what was there")


def _check_answers(path: KeyPath, route: Route, parts: Parts) -> Iterator[Finding]:
    yield from check_pages((*path, "error_pages"), route.error_pages)
    if route.error_override == ():
        yield Finding((*path, "error_override"), "names no status: write some, or `true` for all from 400 to 599")
    if not route.websocket and route.timeouts.tunnel_idle is not None:
        yield Finding((*path, "timeouts", "tunnel_idle"), "has no effect with `websocket: false`")
    log = parts.access_log
    if "access_log" in route.model_fields_set and log is not None and log.path == "off":
        yield Finding((*path, "access_log"), "has no effect: the access log is off")


def check_pages(path: KeyPath, pages: Sequence[ErrorPage | None]) -> Iterator[Finding]:
    """Check error pages: of each sort the first one for a status is taken."""
    for index, page in enumerate(pages):
        if page is None:
            continue
        bodies = _bodies(page)
        if not bodies:
            yield Finding((*path, index), "has no body: write html, json or text")
        for body in bodies:
            for other, earlier in enumerate(pages[:index]):
                if earlier is not None and body in _bodies(earlier) and _takes_all(earlier, page):
                    message = f"is never taken: error_pages[{other}] has one for all its statuses"
                    yield Finding((*path, index, body), message)
                    break


def _bodies(page: ErrorPage) -> list[str]:
    """Return which sorts of body a page has, as an operator calls them."""
    return [name for name, file in (("html", page.html), ("json", page.json_), ("text", page.text)) if file is not None]


def _takes_all(earlier: ErrorPage, later: ErrorPage) -> bool:
    return not earlier.status or (bool(later.status) and set(later.status) <= set(earlier.status))


def check_reach(parts: Parts) -> Iterator[Finding]:
    for index, route in enumerate(parts.routes):
        for other, earlier in enumerate(parts.routes[:index]):
            if route is not None and earlier is not None and covers(earlier.match, route.match):
                yield Finding(
                    ("routes", index), f"is never reached: routes[{other}] takes all its requests: move or remove it"
                )
                break


def check_use(parts: Parts) -> Iterator[Finding]:
    """Check that each backend is named by a route."""
    routes = parts.all_routes()
    if routes is None:
        return
    used = {name.text for route in routes for name in _names(route)}
    if "" in used:
        return  # the name of one could not be read
    for name in parts.backends:
        if name not in used:
            yield Finding(("backends", name), "no route leads here: add one, or remove it")
