"""What the model's types cannot see: keys that contradict each other, lead nowhere or do nothing.

Pure: parts of a configuration in, findings out. Parts that are broken themselves are None, and are given the benefit of
the doubt. The rule: a finding is certain; what may make sense to somebody is let through.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from h2gate.config.addresses import ListenAddress
from h2gate.config.checks_backends import check_backends, check_windows
from h2gate.config.checks_routes import check_pages, check_reach, check_routes, check_use
from h2gate.config.model import Limits, Listener, ListenerTls, Retries, Route
from h2gate.config.parts import Finding, Parts
from h2gate.config.problems import KeyPath
from h2gate.config.units import format_duration, format_size

__all__ = ["Finding", "Parts", "check"]


def check(parts: Parts) -> list[Finding]:
    """Return all findings."""
    checks: tuple[Callable[[Parts], Iterator[Finding]], ...] = (
        _check_listeners,
        check_backends,
        check_routes,
        check_reach,
        check_use,
        _check_timeouts,
        _check_limits,
        _check_retries,
        _check_error_pages,
        _check_access_log,
    )
    return [finding for part in checks for finding in part(parts)]


# Listeners


def _check_listeners(parts: Parts) -> Iterator[Finding]:
    seen: list[tuple[int, ListenAddress]] = []
    for index, listener in enumerate(parts.listeners):
        if listener is None:
            continue
        path: KeyPath = ("listeners", index)
        for other, address in seen:
            if _collide(address, listener.address):
                yield Finding((*path, "address"), f"listeners[{other}] ({address}) has this address already")
                break
        seen.append((index, listener.address))
        yield from _check_proxies(path, listener)
        if listener.tls is not None:
            yield from _check_clients((*path, "tls"), listener.tls)


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


def _check_proxies(path: KeyPath, listener: Listener) -> Iterator[Finding]:
    # Who connects to a unix socket is on this machine, and has no address to be told by.
    if listener.proxy_protocol != "off" and not listener.trusted_proxies and listener.address.path is None:
        message = "nobody may connect: name in `trusted_proxies` who sends the PROXY header"
        yield Finding((*path, "proxy_protocol"), message)


def _check_clients(path: KeyPath, tls: ListenerTls) -> Iterator[Finding]:
    if "client_auth" in tls.model_fields_set and tls.client_ca is None:
        yield Finding((*path, "client_auth"), "needs `client_ca`: no client is asked for a certificate")


# The rest


def _check_timeouts(parts: Parts) -> Iterator[Finding]:
    if parts.timeouts is None:
        return
    written = parts.timeouts.model_fields_set
    last_call, drain = parts.timeouts.last_call, parts.timeouts.drain
    if "last_call" in written and last_call > drain / 2:
        shown = f"last_call ({format_duration(last_call)}) is more than half of drain ({format_duration(drain)})"
        yield Finding(("timeouts", "last_call"), f"{shown}: what begins late would have no time to finish")
    if "tunnel_idle" in written and not _may_have_tunnels(parts.all_routes()):
        yield Finding(("timeouts", "tunnel_idle"), "has no effect: no route lets WebSockets through")
    if not parts.is_whole or None in parts.listeners:
        return
    has_tls = any(listener is not None and listener.tls is not None for listener in parts.listeners)
    if "tls_handshake" in written and not has_tls:
        yield Finding(("timeouts", "tls_handshake"), "has no effect: no listener has tls")


def _may_have_tunnels(routes: Sequence[Route] | None) -> bool:
    if routes is None:
        return True
    return any(route.websocket and (route.backend is not None or route.weights) for route in routes)


def _check_limits(parts: Parts) -> Iterator[Finding]:
    limits = parts.limits
    if limits is None:
        return
    path: KeyPath = ("limits",)
    yield from check_windows(path, limits)
    most, each = limits.connections, limits.connections_per_address
    if most is not None and each is not None and each >= most:
        message = f"is never reached: a worker has {most} connections at most (limits.connections)"
        yield Finding((*path, "connections_per_address"), message)
    yield from _check_replay(path, limits, parts)


def _check_replay(path: KeyPath, limits: Limits, parts: Parts) -> Iterator[Finding]:
    routes = parts.all_routes()
    if "replay_buffer" not in limits.model_fields_set or routes is None:
        return
    largest = [limits.max_body if route.max_body is None else route.max_body for route in routes]
    known = [size for size in largest if size is not None]
    if known and len(known) == len(largest) and limits.replay_buffer > max(known):
        yield Finding((*path, "replay_buffer"), f"is never filled: a body has {format_size(max(known))} at most")


def _check_retries(parts: Parts) -> Iterator[Finding]:
    retries = parts.retries
    if retries is None:
        return
    # A route may say otherwise, and one that is not known too.
    routes = parts.all_routes()
    is_never = routes is not None and not any(route.retries is not None and route.retries.tries for route in routes)
    if retries.tries == 0 and is_never:
        for key in ("budget", "backoff_min", "backoff_max"):
            if key in retries.model_fields_set:
                yield Finding(("retries", key), "has no effect with `tries: 0`")
    elif retries.backoff_min > retries.backoff_max:
        yield from _check_backoff(retries)


def _check_backoff(retries: Retries) -> Iterator[Finding]:
    least, most = format_duration(retries.backoff_min), format_duration(retries.backoff_max)
    key = "backoff_min" if "backoff_min" in retries.model_fields_set else "backoff_max"
    yield Finding(("retries", key), f"backoff_min ({least}) is more than backoff_max ({most})")


def _check_error_pages(parts: Parts) -> Iterator[Finding]:
    yield from check_pages(("error_pages",), parts.error_pages)


def _check_access_log(parts: Parts) -> Iterator[Finding]:
    log = parts.access_log
    if log is not None and log.path == "off" and "format" in log.model_fields_set:
        yield Finding(("access_log", "format"), "has no effect with `path: off`")
