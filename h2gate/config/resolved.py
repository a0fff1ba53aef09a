"""Where routes lead, once names and URLs are told apart.

The rule: a route's URL makes an anonymous backend, named by the URL without its path, so that routes to one place share
its connections.
"""

from __future__ import annotations

from dataclasses import dataclass

from h2gate.config.addresses import EndpointUrl
from h2gate.config.model import Backend, Config, Endpoint, Route


@dataclass(frozen=True, slots=True)
class Target:
    """A route's backend, and the path that takes the matched prefix's place (None: the path stays)."""

    name: str
    base_path: bytes | None


def is_url(backend: str) -> bool:
    """Tell a route's URL from the name of a backend, which has no colon."""
    return ":" in backend


def target_of(config: Config, route: Route) -> Target | None:
    """Return where the route leads; None if the gate answers itself, or `weights` choose among several."""
    return None if route.backend is None else _target(config, route.backend)


def targets_of(config: Config, route: Route) -> tuple[tuple[Target, int], ...]:
    """Return where the route may lead and the weight of each; empty if the gate answers itself."""
    if route.backend is not None:
        return ((_target(config, route.backend), 1),)
    return tuple((_target(config, name), weight) for name, weight in route.weights.items())


def mirror_of(config: Config, route: Route) -> Target | None:
    """Return where copies of the route's requests go."""
    return None if route.mirror is None else _target(config, route.mirror.backend)


def _target(config: Config, backend: str) -> Target:
    if is_url(backend):
        url = EndpointUrl.parse(backend)
        return Target(str(url.without_path()), url.base_path)
    # One for all endpoints: config.checks sees to it.
    return Target(backend, config.backends[backend].endpoints[0].url.base_path)


def backends_of(config: Config) -> dict[str, Backend]:
    """Return the backends that routes lead to, by name, in the order of the routes."""
    found: dict[str, Backend] = {}
    for route in config.routes:
        mirror = mirror_of(config, route)
        targets = [target for target, _ in targets_of(config, route)]
        for target in targets if mirror is None else [*targets, mirror]:
            if target.name not in found:
                found[target.name] = config.backends.get(target.name) or _anonymous(target.name)
    return found


def _anonymous(url: str) -> Backend:
    return Backend(endpoints=(Endpoint(url=EndpointUrl.parse(url)),))
