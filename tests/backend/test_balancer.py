"""Which endpoint is chosen."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from h2gate.backend.balancer import choose, least_requests, round_robin
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
    chosen = [endpoints.index(round_robin(endpoints)) for _ in range(7)]
    assert chosen == [0, 0, 1, 0, 2, 0, 0]


@given(st.lists(st.integers(1, 20), min_size=1, max_size=6))
def test_every_endpoint_gets_its_weight_of_each_round(weights: list[int]) -> None:
    endpoints = make(*weights)
    for _ in range(2):
        chosen = [round_robin(endpoints) for _ in range(sum(weights))]
        assert [chosen.count(endpoint) for endpoint in endpoints] == weights


def test_least_requests_goes_by_weight_and_takes_turns_among_equals() -> None:
    endpoints = make(1, 1, 2)
    first, second, strong = endpoints
    first.in_use, second.in_use, strong.in_use = 1, 1, 4
    assert [least_requests(endpoints) for _ in range(4)] == [first, second, first, second]
    strong.in_use = 1
    assert least_requests(endpoints) is strong


def test_tried_endpoints_are_avoided_while_there_are_others() -> None:
    endpoints = make(1, 1, 1)
    assert choose(round_robin, endpoints, endpoints[:2], 0.0) is endpoints[2]
    assert choose(round_robin, endpoints, endpoints, 0.0) in endpoints


def test_ejected_endpoints_are_avoided_even_for_a_tried_one() -> None:
    up, ejected = make(1, 1)
    ejected.on_dial_failed(0.0, Failure(Reason.CONNECT_REFUSED))
    assert choose(round_robin, [up, ejected], [up], 0.0) is up
    assert choose(round_robin, [up, ejected], [up], 10.0) is ejected


def test_if_all_are_ejected_they_are_asked_all_the_same() -> None:
    endpoints = make(1, 1)
    for endpoint in endpoints:
        endpoint.on_dial_failed(0.0, Failure(Reason.CONNECT_REFUSED))
    assert {choose(round_robin, endpoints, [], 0.0) for _ in range(2)} == set(endpoints)


def test_a_lone_endpoint_is_always_chosen() -> None:
    (endpoint,) = make(1)
    endpoint.on_dial_failed(0.0, Failure(Reason.CONNECT_REFUSED))
    assert choose(round_robin, [endpoint], [endpoint], 0.0) is endpoint
