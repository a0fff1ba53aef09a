"""Which endpoint gets the next request.

The rule: a choice costs the same for two endpoints and for a thousand, as long as nearly all of them are usable.
"""

from __future__ import annotations

import heapq
import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import accumulate
from math import lcm

from h2gate.backend.endpoint import Endpoint

# Up to so many endpoints the least loaded is looked for. Among more, the better of two drawn at random is nearly as
# good (the power of two choices; nginx, HAProxy and Envoy have it too).
COMPARED = 16


class Balancer(ABC):
    """Chooses among `endpoints`: usable ones not yet tried, else usable ones, else any."""

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        self._endpoints = endpoints
        # Earliest turn first: a weight of 2 has a turn every half round. Of two at once the lighter goes first, so that
        # 5, 1, 1 gives a a b c a a a. In whole numbers, so that no round differs from another.
        self._round = 2 * lcm(*(endpoint.weight for endpoint in endpoints))
        self._turns = [(self._round // (2 * e.weight), e.weight, n, e) for n, e in enumerate(endpoints)]
        heapq.heapify(self._turns)

    @abstractmethod
    def choose(self, tried: Sequence[Endpoint], now: float) -> Endpoint: ...

    def _next(self, among: Sequence[Endpoint] | None = None) -> Endpoint:
        """Return the endpoint whose turn it is, by weight; with `among`, of those."""
        while True:
            when, weight, number, endpoint = self._turns[0]
            heapq.heapreplace(self._turns, (when + self._round // weight, weight, number, endpoint))
            if among is None or endpoint in among:
                return endpoint

    def _candidates(self, tried: Sequence[Endpoint], now: float) -> Sequence[Endpoint]:
        usable = [endpoint for endpoint in self._endpoints if endpoint.is_usable(now)] or self._endpoints
        return [endpoint for endpoint in usable if endpoint not in tried] or usable


class RoundRobin(Balancer):
    """In turns by weight."""

    def choose(self, tried: Sequence[Endpoint], now: float) -> Endpoint:
        endpoint = self._next()
        if endpoint not in tried and endpoint.is_usable(now):
            return endpoint
        candidates = self._candidates(tried, now)
        return endpoint if endpoint in candidates else self._next(candidates)


class LeastRequests(Balancer):
    """The endpoint with the fewest requests under way for its weight; equals take turns."""

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        super().__init__(endpoints)
        self._weights = list(accumulate(endpoint.weight for endpoint in endpoints))

    def choose(self, tried: Sequence[Endpoint], now: float) -> Endpoint:
        if len(self._endpoints) > COMPARED:
            pair = random.choices(self._endpoints, cum_weights=self._weights, k=2)
            candidates: Sequence[Endpoint] = [e for e in pair if e not in tried and e.is_usable(now)]
            if candidates:
                return min(candidates, key=_load)
        candidates = self._candidates(tried, now)
        least = min(map(_load, candidates))
        equals = [endpoint for endpoint in candidates if _load(endpoint) == least]
        return equals[0] if len(equals) == 1 else self._next(equals)


def _load(endpoint: Endpoint) -> float:
    return endpoint.in_use / endpoint.weight


BALANCERS: dict[str, type[Balancer]] = {"round_robin": RoundRobin, "least_requests": LeastRequests}
