"""The state tables of connection and endpoint: every state with every event, and every walk through them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from h2gate.backend.connection_state import CONNECTION, ConnectionEvent, ConnectionState
from h2gate.backend.endpoint import EJECT_MAX_SECONDS, ENDPOINT, Endpoint, EndpointEvent, EndpointState
from h2gate.config.model import Endpoint as EndpointConfig
from h2gate.config.units import EndpointUrl
from h2gate.errors import Failure, Reason
from h2gate.lifecycle import InvalidTransition

FAILURE = Failure(Reason.CONNECT_REFUSED)


def make_endpoint() -> Endpoint:
    return Endpoint(EndpointConfig(url=EndpointUrl.parse("h2c://127.0.0.1:9000")))


@given(st.sampled_from(ConnectionState), st.sampled_from(ConnectionEvent))
def test_a_connection_never_returns_to_an_earlier_state(state: ConnectionState, event: ConnectionEvent) -> None:
    if CONNECTION.allows(state, event):
        assert CONNECTION.next(state, event) >= state
    else:
        with pytest.raises(InvalidTransition):
            CONNECTION.next(state, event)


@given(st.sampled_from(ConnectionEvent))
def test_nothing_happens_to_a_closed_connection(event: ConnectionEvent) -> None:
    assert not CONNECTION.allows(ConnectionState.CLOSED, event)


@given(st.sampled_from(ConnectionState))
def test_every_connection_can_be_lost_until_it_is_closed(state: ConnectionState) -> None:
    ends = [event for event in ConnectionEvent if CONNECTION.allows(state, event)]
    targets = {CONNECTION.next(state, event) for event in ends}
    assert (ConnectionState.CLOSED in targets) == (state is not ConnectionState.CLOSED)


def test_only_a_draining_connection_is_emptied() -> None:
    """An open one without streams is idle, and stays."""
    states = [state for state in ConnectionState if CONNECTION.allows(state, ConnectionEvent.EMPTIED)]
    assert states == [ConnectionState.DRAINING]


@given(st.sampled_from(EndpointState))
def test_a_dial_may_end_in_any_state_of_its_endpoint(state: EndpointState) -> None:
    assert ENDPOINT.next(state, EndpointEvent.DIALED) is EndpointState.UP
    assert ENDPOINT.next(state, EndpointEvent.DIAL_FAILED) is EndpointState.EJECTED


def test_only_an_ejected_endpoint_has_a_pause_that_ends() -> None:
    states = [state for state in EndpointState if ENDPOINT.allows(state, EndpointEvent.PAUSE_OVER)]
    assert states == [EndpointState.EJECTED]


Steps = st.lists(st.sampled_from(["dialing", "dialed", "failed", "ask"]) | st.floats(0, 60))


@given(Steps)
def test_an_endpoint_survives_any_order_of_dials_and_is_usable_again_after_its_pause(steps: list[str | float]) -> None:
    endpoint, now = make_endpoint(), 1000.0
    for step in steps:
        match step:
            case "dialing":
                endpoint.on_dialing()
            case "dialed":
                endpoint.on_dialed()
                assert endpoint.is_usable(now)
            case "failed":
                endpoint.on_dial_failed(now, FAILURE)
                assert not endpoint.is_usable(now)
            case "ask":
                endpoint.is_usable(now)
            case seconds:
                assert isinstance(seconds, float)
                now += seconds
    if endpoint.state is EndpointState.EJECTED:
        assert endpoint.is_usable(now + EJECT_MAX_SECONDS * 1.1)


def test_pauses_grow_to_a_limit_and_are_forgotten_after_a_success() -> None:
    endpoint, now = make_endpoint(), 0.0
    pauses = []
    for _ in range(2000):
        endpoint.on_dial_failed(now, FAILURE)
        pauses.append(endpoint._skip_until - now)
    assert pauses[0] <= 1.1
    assert 1.8 <= pauses[1] <= 2.2
    assert 0.9 * EJECT_MAX_SECONDS <= pauses[-1] <= 1.1 * EJECT_MAX_SECONDS
    endpoint.on_dialed()
    endpoint.on_dial_failed(now, FAILURE)
    assert endpoint._skip_until - now <= 1.1


def test_a_probed_endpoint_takes_no_second_request_until_the_probe_is_answered() -> None:
    endpoint = make_endpoint()
    endpoint.on_dial_failed(0.0, FAILURE)
    assert endpoint.is_usable(5.0)
    assert endpoint.is_usable(5.0), "asking alone is no probe"
    endpoint.on_dialing()
    assert not endpoint.is_usable(5.0)
    endpoint.on_dialed()
    assert endpoint.is_usable(5.0)
