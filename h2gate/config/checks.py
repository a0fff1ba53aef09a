"""What the model's types cannot see: keys that contradict each other, lead nowhere or do nothing.

Pure: parts of a configuration in, findings out. Parts that are broken themselves are None, and are given the benefit of
the doubt. The rule: a finding is certain; what may make sense to somebody is let through.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from h2gate.config.addresses import EndpointUrl, ListenAddress
from h2gate.config.model import (
    AccessLog,
    Backend,
    BackendTls,
    Config,
    Limits,
    Listener,
    Pool,
    Redirect,
    Respond,
    Retries,
    Route,
    Timeouts,
)
from h2gate.config.problems import KeyPath, did_you_mean
from h2gate.config.reach import covers
from h2gate.config.resolved import is_url
from h2gate.config.units import format_duration
from h2gate.config.uri import parse_host


class Finding(NamedTuple):
    path: KeyPath
    message: str


@dataclass(frozen=True, slots=True)
class Parts:
    """A configuration, of which parts may be broken (None). `is_whole`: no file of it is missing."""

    listeners: Sequence[Listener | None]
    backends: Mapping[str, Backend | None]
    routes: Sequence[Route | None]
    timeouts: Timeouts | None = field(default_factory=Timeouts)
    limits: Limits | None = field(default_factory=Limits)
    retries: Retries | None = field(default_factory=Retries)
    access_log: AccessLog | None = field(default_factory=AccessLog)
    is_whole: bool = True

    @classmethod
    def of(cls, config: Config, is_whole: bool = True) -> Parts:
        return cls(
            config.listeners,
            config.backends,
            config.routes,
            config.timeouts,
            config.limits,
            config.retries,
            config.access_log,
            is_whole,
        )


def check(parts: Parts) -> list[Finding]:
    """Return all findings."""
    checks: tuple[Callable[[Parts], Iterator[Finding]], ...] = (
        _check_listeners,
        _check_backends,
        _check_routes,
        _check_reach,
        _check_use,
        _check_timeouts,
        _check_limits,
        _check_retries,
        _check_access_log,
    )
    return [finding for part in checks for finding in part(parts)]


# Listeners


def _check_listeners(parts: Parts) -> Iterator[Finding]:
    seen: list[tuple[int, ListenAddress]] = []
    for index, listener in enumerate(parts.listeners):
        if listener is None:
            continue
        for other, address in seen:
            if _collide(address, listener.address):
                yield Finding(
                    ("listeners", index, "address"), f"listeners[{other}] ({address}) has this address already"
                )
                break
        seen.append((index, listener.address))


def _collide(one: ListenAddress, other: ListenAddress) -> bool:
    if one == other:
        return True
    # 0.0.0.0 and [::] take their port on all addresses of the family; a free port (0) is not the same twice.
    return (
        one.path is None
        and other.path is None
        and one.port == other.port != 0
        and one.family == other.family
        and not {one.host, other.host}.isdisjoint({"0.0.0.0", "::"})
    )


# Backends


def _check_backends(parts: Parts) -> Iterator[Finding]:
    for name, backend in parts.backends.items():
        path: KeyPath = ("backends", name)
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name, re.ASCII):
            yield Finding(path, "a backend's name has letters, digits, and _ . - within")
        if backend is not None:
            yield from _check_endpoints(path, backend)
            yield from _check_tls(path, backend)
            yield from _check_pool((*path, "pool"), backend.pool)


def _check_endpoints(path: KeyPath, backend: Backend) -> Iterator[Finding]:
    first = backend.endpoints[0].url
    seen: dict[EndpointUrl, int] = {}
    for index, endpoint in enumerate(backend.endpoints):
        here = (*path, "endpoints", index, "url")
        address = endpoint.url.without_path()
        if address in seen:
            yield Finding(here, f"endpoints[{seen[address]}] is the same: give that one a weight instead")
        seen.setdefault(address, index)
        if endpoint.url.base_path != first.base_path:
            message = (
                f"all endpoints of a backend have one path: {_shown_path(first)} as endpoints[0], or a backend each"
            )
            yield Finding(here, message)


def _shown_path(url: EndpointUrl) -> str:
    return "none" if url.base_path is None else url.base_path.decode("ascii")


def _check_tls(path: KeyPath, backend: Backend) -> Iterator[Finding]:
    tls = backend.tls
    path = (*path, "tls")
    if "tls" in backend.model_fields_set and not any(endpoint.url.tls for endpoint in backend.endpoints):
        yield Finding(path, "no endpoint speaks TLS: write h2:// URLs, or leave this out")
    yield from _check_client_certificate(path, tls)
    if tls.ca is not None and not tls.verify:
        yield Finding((*path, "ca"), "has no effect with `verify: false`")
    if tls.server_name is not None:
        try:
            parse_host(tls.server_name)
        except ValueError as failure:
            yield Finding((*path, "server_name"), str(failure))


def _check_client_certificate(path: KeyPath, tls: BackendTls) -> Iterator[Finding]:
    if tls.client_cert is not None and tls.client_key is None:
        yield Finding((*path, "client_cert"), "needs its `client_key`")
    if tls.client_key is not None and tls.client_cert is None:
        yield Finding((*path, "client_key"), "needs its `client_cert`")


def _check_pool(path: KeyPath, pool: Pool) -> Iterator[Finding]:
    written = pool.model_fields_set
    if "target_streams" in written and pool.target_streams > pool.max_streams:
        message = f"is never reached: a connection has {pool.max_streams} streams at most (max_streams)"
        yield Finding((*path, "target_streams"), message)
    if "queue_timeout" in written and pool.queue == 0:
        yield Finding((*path, "queue_timeout"), "has no effect with `queue: 0`: nothing waits")
    yield from _check_windows(path, pool)


def _check_windows(path: KeyPath, windows: Pool | Limits) -> Iterator[Finding]:
    if "stream_window" in windows.model_fields_set and windows.stream_window > windows.connection_window:
        message = f"is never filled: connection_window is {windows.connection_window}"
        yield Finding((*path, "stream_window"), message)


# Routes


def _check_routes(parts: Parts) -> Iterator[Finding]:
    for index, route in enumerate(parts.routes):
        if route is None:
            continue
        path: KeyPath = ("routes", index)
        given = [key for key in ("backend", "respond", "redirect") if getattr(route, key) is not None]
        if len(given) != 1:
            have = f"not {' and '.join(given)}" if given else "this one has none of them"
            yield Finding(path, f"a route leads to exactly one of backend, respond, redirect: {have}")
        if route.backend is not None:
            yield from _check_target(path, route, route.backend, parts)
        elif route.preserve_host:
            yield Finding((*path, "preserve_host"), "has no effect without a backend")
        if route.respond is not None:
            yield from _check_respond((*path, "respond"), route.respond)
        if route.redirect is not None:
            yield from _check_redirect((*path, "redirect"), route.redirect)


def _check_target(path: KeyPath, route: Route, name: str, parts: Parts) -> Iterator[Finding]:
    path = (*path, "backend")
    if is_url(name):
        try:
            url = EndpointUrl.parse(name)
        except ValueError as failure:
            yield Finding(path, str(failure))
            return
    elif name not in parts.backends:
        if parts.is_whole:
            yield Finding(path, f"there is no backend `{name}`{did_you_mean(name, parts.backends)}")
        return
    else:
        backend = parts.backends[name]
        if backend is None:
            return
        url = backend.endpoints[0].url
    if route.match.path.kind == "regex" and url.base_path is not None:
        message = (
            f"a regex leaves no prefix that {_shown_path(url)} could replace: match a prefix, or take the path away"
        )
        yield Finding(path, message)


def _check_respond(path: KeyPath, respond: Respond) -> Iterator[Finding]:
    # RFC 9110, 15.3.5, 15.3.6 and 15.4.5: these have no content.
    if respond.body and respond.status in (204, 205, 304):
        yield Finding((*path, "body"), f"a {respond.status} has no body")


def _check_redirect(path: KeyPath, redirect: Redirect) -> Iterator[Finding]:
    path = (*path, "to")
    if not redirect.to or not re.fullmatch(r"[!-~]*", redirect.to):
        yield Finding(path, "write a location as it is on the wire: ASCII, without spaces")
    for found in re.findall(r"\{[^}]*\}?|\}", redirect.to.replace("{path}", "").replace("{query}", "")):
        yield Finding(
            path, f"{found} stands for nothing: write {{path}} or {{query}}{did_you_mean(found, _PLACEHOLDERS)}"
        )


_PLACEHOLDERS = ("{path}", "{query}")


def _check_reach(parts: Parts) -> Iterator[Finding]:
    for index, route in enumerate(parts.routes):
        for other, earlier in enumerate(parts.routes[:index]):
            if route is not None and earlier is not None and covers(earlier.match, route.match):
                yield Finding(
                    ("routes", index), f"is never reached: routes[{other}] takes all its requests: move or remove it"
                )
                break


def _check_use(parts: Parts) -> Iterator[Finding]:
    if not parts.is_whole or None in parts.routes:
        return
    used = {route.backend for route in parts.routes if route is not None}
    if "" in used:
        return  # the name of one could not be read
    for name in parts.backends:
        if name not in used:
            yield Finding(("backends", name), "no route leads here: add one, or remove it")


# The rest


def _check_timeouts(parts: Parts) -> Iterator[Finding]:
    if parts.timeouts is None:
        return
    last_call, drain = parts.timeouts.last_call, parts.timeouts.drain
    if "last_call" in parts.timeouts.model_fields_set and last_call > drain / 2:
        shown = f"last_call ({format_duration(last_call)}) is more than half of drain ({format_duration(drain)})"
        yield Finding(("timeouts", "last_call"), f"{shown}: what begins late would have no time to finish")
    if not parts.is_whole or None in parts.listeners:
        return
    has_tls = any(listener is not None and listener.tls is not None for listener in parts.listeners)
    if "tls_handshake" in parts.timeouts.model_fields_set and not has_tls:
        yield Finding(("timeouts", "tls_handshake"), "has no effect: no listener has tls")


def _check_limits(parts: Parts) -> Iterator[Finding]:
    if parts.limits is not None:
        yield from _check_windows(("limits",), parts.limits)


def _check_retries(parts: Parts) -> Iterator[Finding]:
    retries = parts.retries
    if retries is None:
        return
    if retries.tries == 0:
        for key in ("budget", "backoff_min", "backoff_max"):
            if key in retries.model_fields_set:
                yield Finding(("retries", key), "has no effect with `tries: 0`")
    elif retries.backoff_min > retries.backoff_max:
        least, most = format_duration(retries.backoff_min), format_duration(retries.backoff_max)
        key = "backoff_min" if "backoff_min" in retries.model_fields_set else "backoff_max"
        yield Finding(("retries", key), f"backoff_min ({least}) is more than backoff_max ({most})")


def _check_access_log(parts: Parts) -> Iterator[Finding]:
    log = parts.access_log
    if log is not None and log.path == "off" and "format" in log.model_fields_set:
        yield Finding(("access_log", "format"), "has no effect with `path: off`")
