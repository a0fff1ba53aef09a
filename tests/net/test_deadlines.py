"""Deadlines: never early, a tick late at most, whatever callbacks do to each other."""

from __future__ import annotations

import logging
from collections.abc import Callable
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from h2gate.net.deadlines import TICK_SECONDS, Deadline, Deadlines, Timed
from tests.net.support import Clock


def make() -> tuple[Clock, Deadlines, list[str]]:
    clock = Clock()
    return clock, Deadlines(clock), []


def advance(clock: Clock, deadlines: Deadlines, seconds: float) -> None:
    for _ in range(round(seconds / TICK_SECONDS)):
        clock.now += TICK_SECONDS
        deadlines.sweep()


def test_a_deadline_expires_once_and_not_before_its_time() -> None:
    clock, deadlines, seen = make()
    deadlines.arm(Deadline(lambda: seen.append("expired")), 1.0)
    advance(clock, deadlines, 0.9)
    assert seen == []
    advance(clock, deadlines, 0.3)
    assert seen == ["expired"]
    advance(clock, deadlines, 5)
    assert seen == ["expired"]
    assert len(deadlines) == 0


def test_a_deadline_moved_later_expires_later() -> None:
    clock, deadlines, seen = make()
    deadline = Deadline(lambda: seen.append("expired"))
    deadlines.arm(deadline, 1.0)
    advance(clock, deadlines, 0.9)
    deadlines.arm(deadline, 1.0)
    advance(clock, deadlines, 0.9)
    assert seen == []
    advance(clock, deadlines, 0.3)
    assert seen == ["expired"]


def test_a_deadline_moved_earlier_expires_earlier() -> None:
    clock, deadlines, seen = make()
    deadline = Deadline(lambda: seen.append("expired"))
    deadlines.arm(deadline, 60.0)
    deadlines.arm(deadline, 1.0)
    advance(clock, deadlines, 1.2)
    assert seen == ["expired"]
    assert len(deadlines) == 0


def test_a_cancelled_deadline_is_let_go_at_once() -> None:
    clock, deadlines, seen = make()
    deadline = Deadline(lambda: seen.append("expired"))
    deadlines.arm(deadline, 1.0)
    deadlines.cancel(deadline)
    assert len(deadlines) == 0
    assert not deadline.is_armed
    advance(clock, deadlines, 2)
    assert seen == []


def test_a_cancelled_deadline_can_be_armed_again() -> None:
    clock, deadlines, seen = make()
    deadline = Deadline(lambda: seen.append("expired"))
    deadlines.arm(deadline, 1.0)
    deadlines.cancel(deadline)
    deadlines.arm(deadline, 2.0)
    advance(clock, deadlines, 1.8)
    assert seen == []
    advance(clock, deadlines, 0.4)
    assert seen == ["expired"]


def test_one_sweep_after_a_long_pause_expires_everything_that_was_due_in_order() -> None:
    clock, deadlines, seen = make()
    for seconds in (3600.0, 1.0, 60.0, 86_400.0):
        deadlines.arm(Deadline(lambda seconds=seconds: seen.append(seconds)), seconds)  # type: ignore[misc]
    clock.now += 10_000_000.0
    deadlines.sweep()
    assert seen == [1.0, 60.0, 3600.0, 86_400.0]
    assert len(deadlines) == 0


@pytest.mark.parametrize("seconds", [0.0, -5.0, 0.05])
def test_what_is_armed_by_an_expiring_deadline_expires_in_a_later_sweep(seconds: float) -> None:
    clock, deadlines, seen = make()

    def again() -> None:
        seen.append("expired")
        if len(seen) < 3:
            deadlines.arm(deadline, seconds)

    deadline = Deadline(again)
    deadlines.arm(deadline, 1.0)
    clock.now += 50
    deadlines.sweep()
    assert seen == ["expired"]
    advance(clock, deadlines, 0.5)
    assert seen == ["expired"] * 3


def test_an_expiring_deadline_may_cancel_another_that_is_due_in_the_same_sweep() -> None:
    clock, deadlines, seen = make()
    first, second = Deadline(lambda: None), Deadline(lambda: None)
    first._callback = lambda: (seen.append("first"), deadlines.cancel(second))  # type: ignore[assignment,func-returns-value]
    second._callback = lambda: (seen.append("second"), deadlines.cancel(first))  # type: ignore[assignment,func-returns-value]
    deadlines.arm(first, 1.0)
    deadlines.arm(second, 1.0)
    clock.now += 2
    deadlines.sweep()
    assert len(seen) == 1
    assert len(deadlines) == 0


def test_an_expiring_deadline_may_move_another_that_is_due_in_the_same_sweep() -> None:
    clock, deadlines, seen = make()
    late = Deadline(lambda: seen.append("late"))
    early = Deadline(lambda: deadlines.arm(late, 1.0))
    deadlines.arm(early, 0.5)
    deadlines.arm(late, 0.9)
    clock.now += 2
    deadlines.sweep()
    assert seen == []
    advance(clock, deadlines, 1.3)
    assert seen == ["late"]


def test_a_deadline_that_raises_is_logged_once_and_stops_no_other(caplog: pytest.LogCaptureFixture) -> None:
    clock, deadlines, seen = make()

    def broken() -> None:
        raise RuntimeError("out of order")

    for _ in range(3):
        deadlines.arm(Deadline(lambda: seen.append("expired")), 1.0)
    deadlines.arm(Deadline(broken), 1.0)
    deadlines.arm(Deadline(lambda: seen.append("expired")), 1.5)
    clock.now += 2
    with caplog.at_level(logging.ERROR, "h2gate"):
        deadlines.sweep()
    assert seen == ["expired"] * 4
    assert len(caplog.records) == 1
    assert "out of order" in caplog.text


Steps = st.lists(
    st.one_of(
        st.tuples(st.just("arm"), st.integers(0, 4), st.floats(0, 3)),
        st.tuples(st.just("cancel"), st.integers(0, 4), st.just(0.0)),
        st.tuples(st.just("pass"), st.just(0), st.floats(0, 2)),
    )
)


@given(Steps)
def test_no_deadline_is_early_lost_or_more_than_a_tick_late(steps: list[tuple[str, int, float]]) -> None:
    clock = Clock()
    deadlines = Deadlines(clock)
    due: dict[int, float] = {}

    def expire(number: int) -> None:
        assert clock.now >= due.pop(number)

    made = [Deadline(lambda number=number: expire(number)) for number in range(5)]  # type: ignore[misc]
    for step, number, seconds in steps:
        match step:
            case "arm":
                deadlines.arm(made[number], seconds)
                due[number] = clock.now + seconds
            case "cancel":
                deadlines.cancel(made[number])
                due.pop(number, None)
            case _:
                clock.now += seconds
                deadlines.sweep()
                assert all(when > clock.now - TICK_SECONDS - 1e-6 for when in due.values())
        assert len(deadlines) == len(due)


class Running(Timed):
    """Something under way, as an exchange is."""

    def __init__(self, deadlines: Deadlines, when: float, then: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self.when = when
        self.times = 0
        self._then = then
        deadlines.run(self)

    def expired(self) -> None:
        self.times += 1
        self._then()


def test_what_runs_expires_once_at_its_time_until_it_sets_another() -> None:
    clock, deadlines, _ = make()
    running = Running(deadlines, clock.now + 1.0)
    advance(clock, deadlines, 0.9)
    assert running.times == 0
    advance(clock, deadlines, 5.0)
    assert running.times == 1
    running.when = clock.now + 1.0
    advance(clock, deadlines, 1.2)
    assert running.times == 2
    assert len(deadlines) == 1
    deadlines.stop(running)
    assert len(deadlines) == 0


@pytest.mark.parametrize("is_stopped", [True, False])
def test_what_runs_may_stop_or_move_another_that_is_due_in_the_same_sweep(is_stopped: bool) -> None:
    clock, deadlines, _ = make()
    pair: list[Running] = []

    def end(other: int) -> None:
        if is_stopped:
            deadlines.stop(pair[other])
        else:
            pair[other].when = inf

    pair += [
        Running(deadlines, clock.now + 1.0, lambda: end(1)),
        Running(deadlines, clock.now + 1.0, lambda: end(0)),
    ]
    advance(clock, deadlines, 1.2)
    assert sorted(running.times for running in pair) == [0, 1]
