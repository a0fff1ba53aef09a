from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from h2gate.config.model import Retries
from h2gate.errors import Again, Failure, Reason
from h2gate.proxy.retry import GOAWAY_LIMIT, RetryBudget, TryFacts, backoff, counts, may_retry

FRESH = TryFacts(
    tries=1,
    limit=2,
    head_passed=False,
    body_replayable=True,
    was_reused=False,
    was_touched=False,
    method=b"POST",
)
REUSED = FRESH._replace(was_reused=True, method=b"GET")

REFUSED = Failure(Reason.REFUSED_STREAM)
CLOSED = Failure(Reason.BACKEND_CLOSED)
GOAWAY = Failure(Reason.GOAWAY_REFUSED)


@pytest.mark.parametrize(
    "reason", [Reason.REFUSED_STREAM, Reason.CONNECT_REFUSED, Reason.GOAWAY_REFUSED, Reason.PING_TIMEOUT]
)
def test_what_was_provably_not_processed_is_sent_again_whatever_the_method(reason: Reason) -> None:
    assert may_retry(Failure(reason), FRESH)


TIMEOUTS = [reason for reason in Reason if reason.value.endswith("timeout") and reason is not Reason.PING_TIMEOUT]


@pytest.mark.parametrize("reason", TIMEOUTS)
def test_a_timeout_is_never_retried(reason: Reason) -> None:
    assert not may_retry(Failure(reason), REUSED)


@pytest.mark.parametrize(
    "reason", [Reason.BACKEND_RESET, Reason.BAD_RESPONSE, Reason.BACKEND_PROTOCOL, Reason.INTERNAL]
)
def test_what_may_have_been_processed_is_not_sent_again(reason: Reason) -> None:
    assert not may_retry(Failure(reason), REUSED)


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"TRACE"])
def test_an_idempotent_request_survives_a_reused_connection_that_died(method: bytes) -> None:
    assert may_retry(CLOSED, REUSED._replace(method=method))


@pytest.mark.parametrize(
    "facts",
    [
        REUSED._replace(method=b"POST"),
        REUSED._replace(method=b"PATCH"),
        REUSED._replace(method=b"get"),
        REUSED._replace(was_reused=False),
        REUSED._replace(was_touched=True),
    ],
)
def test_a_connection_that_died_is_not_retried_unless_all_conditions_hold(facts: TryFacts) -> None:
    assert not may_retry(CLOSED, facts)


def test_an_interim_response_does_not_forbid_a_refused_stream_to_be_sent_again() -> None:
    assert may_retry(REFUSED, FRESH._replace(was_touched=True))


def test_limit_is_how_many_tries_may_follow_the_first() -> None:
    assert [may_retry(REFUSED, FRESH._replace(tries=tries)) for tries in (1, 2, 3)] == [True, True, False]
    assert not may_retry(REFUSED, FRESH._replace(limit=0))


def test_goaway_is_no_try_but_does_not_go_on_for_ever() -> None:
    assert not counts(GOAWAY)
    assert counts(REFUSED)
    assert may_retry(GOAWAY, FRESH._replace(limit=0))
    assert may_retry(GOAWAY, FRESH._replace(tries=9, goaways=GOAWAY_LIMIT - 1))
    assert not may_retry(GOAWAY, FRESH._replace(goaways=GOAWAY_LIMIT))


@settings(deadline=None)
@given(
    st.sampled_from(Reason),
    st.builds(
        TryFacts,
        tries=st.integers(0, 12),
        limit=st.integers(0, 10),
        head_passed=st.booleans(),
        body_replayable=st.booleans(),
        was_reused=st.booleans(),
        was_touched=st.booleans(),
        method=st.sampled_from([b"GET", b"POST", b"PUT"]),
    ),
)
def test_no_request_runs_twice_that_must_not(reason: Reason, facts: TryFacts) -> None:
    failure = Failure(reason)
    if not may_retry(failure, facts):
        return
    again = failure.rule.again
    assert again is not Again.NEVER
    assert not facts.head_passed
    assert facts.body_replayable
    if again is Again.IF_REUSED:
        assert facts.was_reused
        assert not facts.was_touched
        assert facts.method != b"POST"
    if again is not Again.UNPROCESSED_GOAWAY:
        assert facts.tries <= facts.limit


def test_backoff_doubles_up_to_its_ceiling_and_jitters_from_zero() -> None:
    retries = Retries()
    assert [backoff(tries, retries, lambda: 1.0) for tries in range(1, 7)] == [0.025, 0.05, 0.1, 0.2, 0.25, 0.25]
    assert backoff(3, retries, lambda: 0.0) == 0.0
    assert backoff(3, retries, lambda: 0.5) == pytest.approx(0.05)
    assert 0.0 <= backoff(1, retries) < 0.025


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def taken(budget: RetryBudget, wanted: int) -> int:
    return sum(budget.take() for _ in range(wanted))


def test_the_config_says_how_long_the_first_and_the_longest_pause_are() -> None:
    retries = Retries(backoff_min=1.0, backoff_max=3.0)
    assert [backoff(tries, retries, lambda: 1.0) for tries in range(1, 4)] == [1.0, 2.0, 3.0]


def test_three_retries_are_always_allowed() -> None:
    assert taken(RetryBudget(0.0, Clock()), 10) == 3
    assert taken(RetryBudget(0.2, Clock()), 10) == 3


def test_retries_are_a_share_of_the_requests() -> None:
    budget = RetryBudget(0.2, Clock())
    for _ in range(100):
        budget.on_request(budget._clock())
    assert taken(budget, 50) == 20


def test_old_requests_and_retries_fade() -> None:
    clock = Clock()
    budget = RetryBudget(0.2, clock)
    for _ in range(100):
        budget.on_request(budget._clock())
    assert taken(budget, 20) == 20
    clock.now += 5.0
    assert not budget.take()
    # The window's elder half counts half.
    clock.now += 10.0
    for _ in range(100):
        budget.on_request(budget._clock())
    assert taken(budget, 50) == 20
    clock.now += 1000.0
    assert taken(budget, 10) == 3


def test_after_a_quiet_time_nothing_is_left() -> None:
    clock = Clock()
    budget = RetryBudget(1.0, clock)
    for _ in range(1000):
        budget.on_request(budget._clock())
    clock.now += 25.0
    budget.on_request(budget._clock())
    assert taken(budget, 10) == 3


@settings(deadline=None)
@given(
    st.floats(0.0, 1.0),
    st.lists(st.tuples(st.floats(0.0, 30.0), st.integers(0, 20), st.integers(0, 20)), max_size=12),
)
def test_the_budget_holds_over_the_sum(share: float, steps: list[tuple[float, int, int]]) -> None:
    clock = Clock()
    budget = RetryBudget(share, clock)
    requests = retries = 0
    began = clock.now
    for pause, asked, wanted in steps:
        clock.now += pause
        for _ in range(asked):
            budget.on_request(budget._clock())
        requests += asked
        retries += taken(budget, wanted)
    windows = 1 + int((clock.now - began) / 5.0) + 1
    # Each window may use its three, and a share of requests that two windows count.
    assert retries <= 3 * windows + 2 * share * requests + 1


def test_a_request_costs_one_look_at_the_clock() -> None:
    looks = itertools.count()
    budget = RetryBudget(0.2, lambda: float(next(looks)) * 0.0)
    before = next(looks)
    budget.on_request(budget._clock())
    assert next(looks) - before == 2
