"""Which endpoint gets the next request. Pure but for the smooth weights kept on the endpoints."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from h2gate.backend.endpoint import Endpoint

Chooser = Callable[[Sequence[Endpoint]], Endpoint]


def round_robin(endpoints: Sequence[Endpoint]) -> Endpoint:
    """Choose by smooth weighted round robin: 5, 1, 1 gives a a b a c a a."""
    total = 0
    best = endpoints[0]
    for endpoint in endpoints:
        endpoint.current_weight += endpoint.weight
        total += endpoint.weight
        if endpoint.current_weight > best.current_weight:
            best = endpoint
    best.current_weight -= total
    return best


def least_requests(endpoints: Sequence[Endpoint]) -> Endpoint:
    """Choose the endpoint with the fewest requests under way for its weight; equals take turns."""
    least = min(endpoint.in_use / endpoint.weight for endpoint in endpoints)
    return round_robin([e for e in endpoints if e.in_use / e.weight == least])


CHOOSERS: dict[str, Chooser] = {"round_robin": round_robin, "least_requests": least_requests}


def choose(chooser: Chooser, endpoints: Sequence[Endpoint], tried: Sequence[Endpoint], now: float) -> Endpoint:
    """Choose among the usable endpoints not yet tried; else among the usable; else among all."""
    if len(endpoints) == 1:
        return endpoints[0]
    usable = [endpoint for endpoint in endpoints if endpoint.is_usable(now)] or endpoints
    fresh = [endpoint for endpoint in usable if endpoint not in tried] or usable
    return chooser(fresh)
