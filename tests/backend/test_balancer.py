"""Which endpoint is chosen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from h2gate.backend.balancer import COMPARED, LeastRequests, RoundRobin
from h2gate.backend.endpoint import Endpoint
from h2gate.config.model import Endpoint as EndpointConfig
from h2gate.config.units import EndpointUrl
from h2gate.errors import Failure, Reason


def make(*weights: int) -> list[Endpoint]:
    return [
        Endpoint(EndpointConfig(url=EndpointUrl.parse(f"h2c://127.0.0.1:{9000 + n}"), weight=weight))
        for n, weight in enumerate(weights)
    ]


def test_round_robin_is_smooth() -> None:
    endpoints = make(5, 1, 1)
    balancer = RoundRobin(endpoints)
    chosen = [endpoints.index(balancer.choose([], 0.0)) for _ in range(14)]
    assert chosen == [0, 0, 1, 2, 0, 0, 0] * 2


@given(st.lists(st.integers(1, 20), min_size=1, max_size=6))
def test_every_endpoint_gets_its_weight_of_each_round(weights: list[int]) -> None:
    endpoints = make(*weights)
    balancer = RoundRobin(endpoints)
    for _ in range(3):
        chosen = [balancer.choose([], 0.0) for _ in range(sum(weights))]
        assert [chosen.count(endpoint) for endpoint in endpoints] == weights


def test_least_requests_goes_by_weight_and_takes_turns_among_equals() -> None:
    endpoints = make(1, 1, 2)
    balancer = LeastRequests(endpoints)
    first, second, strong = endpoints
    first.in_use, second.in_use, strong.in_use = 1, 1, 4
    assert [balancer.choose([], 0.0) for _ in range(4)] == [first, second, first, second]
    strong.in_use = 1
    assert balancer.choose([], 0.0) is strong


def test_among_many_endpoints_the_requests_spread_nearly_evenly() -> None:
    endpoints = make(*[1] * 50, *[3] * 50)
    balancer = LeastRequests(endpoints)
    for _ in range(20_000):
        balancer.choose([], 0.0).in_use += 1
    # At random the lightest would have some 70 of 100.
    assert all(90 < endpoint.in_use / endpoint.weight < 110 for endpoint in endpoints)


def test_among_many_endpoints_one_that_is_neither_tried_nor_ejected_is_found() -> None:
    *others, last = endpoints = make(*[1] * (COMPARED * 2))
    for endpoint in others[:COMPARED]:
        endpoint.on_dial_failed(0.0, Failure(Reason.CONNECT_REFUSED))
    for balancer in (LeastRequests(endpoints), RoundRobin(endpoints)):
        assert all(balancer.choose(others[COMPARED:], 0.0) is last for _ in range(50))


BOTH = pytest.mark.parametrize("kind", [RoundRobin, LeastRequests])


@BOTH
def test_tried_endpoints_are_avoided_while_there_are_others(kind: type[RoundRobin | LeastRequests]) -> None:
    endpoints = make(1, 1, 1)
    balancer = kind(endpoints)
    assert all(balancer.choose(endpoints[:2], 0.0) is endpoints[2] for _ in range(9))
    assert balancer.choose(endpoints, 0.0) in endpoints


@BOTH
def test_ejected_endpoints_are_avoided_even_for_a_tried_one(kind: type[RoundRobin | LeastRequests]) -> None:
    up, ejected = endpoints = make(1, 1)
    ejected.on_dial_failed(0.0, Failure(Reason.CONNECT_REFUSED))
    balancer = kind(endpoints)
    assert all(balancer.choose([up], 0.0) is up for _ in range(9))
    assert balancer.choose([up], 10.0) is ejected


@BOTH
def test_if_all_are_ejected_they_are_asked_all_the_same(kind: type[RoundRobin | LeastRequests]) -> None:
    endpoints = make(1, 1)
    for endpoint in endpoints:
        endpoint.on_dial_failed(0.0, Failure(Reason.CONNECT_REFUSED))
    balancer = kind(endpoints)
    assert {balancer.choose([], 0.0) for _ in range(2)} == set(endpoints)
