import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from h2gate.lifecycle import InvalidTransition
from h2gate.master.scoreboard import Phase, Standing
from h2gate.master.slots import (
    BACKOFF_MAX_SECONDS,
    BOOT_LOOK_SECONDS,
    HEALTHY_SECONDS,
    LIFECYCLE,
    LIVE,
    LOOK_SECONDS,
    BackOff,
    Event,
    Patience,
    Slot,
    State,
    Step,
    next_step,
    wake_at,
)

# What the supervisor does to the slot for each step; the others leave its state alone.
EVENT_OF = {Step.FORK: Event.FORKED, Step.GREET: Event.SERVES, Step.REPLACE: Event.RETIRED}


def standing(phase=Phase.SERVING, beat=0.0):
    return Standing(pid=1, generation=1, phase=phase, beat=beat, connections=0, active=0, requests=0)


def slot_in(state, since=0.0, **words):
    return Slot(1, since, state=state, **words)


@given(st.sampled_from(State), st.sampled_from(Event))
def test_every_event_has_a_row_or_is_a_bug(state, event):
    slot = slot_in(state)
    if LIFECYCLE.allows(state, event):
        slot.happen(event, 5.0)
        assert slot.state is LIFECYCLE.next(state, event)
        assert slot.since == 5.0
    else:
        with pytest.raises(InvalidTransition):
            slot.happen(event, 5.0)
        assert slot.state is state


@given(st.sampled_from(State))
def test_only_a_process_can_exit_and_only_an_empty_slot_can_be_forked(state):
    assert LIFECYCLE.allows(state, Event.EXITED) == (state in LIVE)
    assert LIFECYCLE.allows(state, Event.FORKED) == (state is State.BACKOFF)


def test_a_slot_ends_only_when_it_was_retired():
    ends = {(state, event) for (state, event), target in LIFECYCLE.rows.items() if target is State.GONE}
    assert ends == {(State.BACKOFF, Event.RETIRED), (State.DRAINING, Event.EXITED)}
    assert not any(state is State.GONE for state, _ in LIFECYCLE.rows)


times = st.floats(0, 1000, allow_nan=False)


@given(
    state=st.sampled_from(sorted(LIVE, key=lambda state: state.value)),
    phase=st.sampled_from(Phase),
    since=times,
    beat=times,
    kill_at=times | st.just(math.inf),
    is_aborted=st.booleans(),
    is_killed=st.booleans(),
    now=times,
)
def test_a_step_is_always_one_the_table_allows_and_that_changes_something(
    state, phase, since, beat, kill_at, is_aborted, is_killed, now
):
    slot = slot_in(state, since, kill_at=kill_at, is_aborted=is_aborted, is_killed=is_killed)
    step = next_step(slot, standing(phase, beat), now, Patience(boot=30))
    if step in EVENT_OF:
        assert LIFECYCLE.allows(state, EVENT_OF[step])
    assert not (step is Step.DUMP and is_aborted)
    assert not (is_killed and step is not None)
    assert (step is Step.KILL) == (now >= kill_at and not is_killed)
    assert step is not Step.FORK


@given(state=st.sampled_from([State.BACKOFF, State.GONE]), due=times, now=times)
def test_an_empty_slot_is_forked_once_its_back_off_is_over(state, due, now):
    step = next_step(slot_in(state, due=due), None, now, Patience(boot=30))
    assert step is (Step.FORK if state is State.BACKOFF and now >= due else None)


@pytest.mark.parametrize(
    ("state", "phase", "beat", "now", "step"),
    [
        (State.BOOTING, Phase.BOOTING, 0, 29, None),
        (State.BOOTING, Phase.BOOTING, 0, 31, Step.DUMP),
        (State.BOOTING, Phase.SERVING, 31, 31, Step.GREET),
        (State.BOOTING, Phase.DRAINING, 1, 1, Step.GREET),
        (State.SERVING, Phase.SERVING, 50, 59, None),
        (State.SERVING, Phase.SERVING, 50, 61, Step.DUMP),
        (State.SERVING, Phase.DRAINING, 50, 51, Step.REPLACE),
        (State.SERVING, Phase.DRAINING, 50, 61, Step.DUMP),
        (State.DRAINING, Phase.DRAINING, 50, 51, None),
        (State.DRAINING, Phase.DRAINING, 50, 61, Step.DUMP),
        # Retired while it booted: the drain deadline ends it, it has never beaten.
        (State.DRAINING, Phase.BOOTING, 0, 61, None),
    ],
)
def test_what_is_done_follows_from_phase_and_beat(state, phase, beat, now, step):
    assert next_step(slot_in(state), standing(phase, beat), now, Patience(boot=30, stuck=10)) is step


@given(state=st.sampled_from(State), due=times, kill_at=times | st.just(math.inf), now=times)
def test_a_live_slot_is_looked_at_soon_and_never_after_its_kill(state, due, kill_at, now):
    slot = slot_in(state, due=due, kill_at=kill_at)
    look = wake_at(slot, now)
    if state is State.BACKOFF:
        assert look == due
    elif state is State.BOOTING:
        assert look <= now + BOOT_LOOK_SECONDS
    else:
        assert look <= min(kill_at, now + LOOK_SECONDS)


def whole():
    return BackOff(jitter=lambda: 1.0)


def test_the_first_death_of_a_worker_that_served_costs_nothing_the_next_ones_more_and_more():
    backoff = whole()
    assert [backoff.after_death(1.0) for _ in range(5)] == [0.0, 0.5, 1.0, 2.0, 4.0]


def test_a_worker_that_never_served_is_not_replaced_at_once():
    assert whole().after_death(0.0) == 0.5


def test_a_minute_of_service_forgives_everything():
    backoff = whole()
    for _ in range(10):
        backoff.after_death(0.0)
    assert backoff.after_death(HEALTHY_SECONDS) == 0.0
    assert backoff.after_death(1.0) == 0.5


@given(st.lists(st.floats(0, 2 * HEALTHY_SECONDS), max_size=100))
def test_the_back_off_is_bounded_and_half_of_it_is_certain(lives):
    backoff, ceiling = BackOff(), whole()
    for served in lives:
        pause, most = backoff.after_death(served), ceiling.after_death(served)
        assert most / 2 <= pause <= most <= BACKOFF_MAX_SECONDS


def test_a_slot_shows_who_sits_in_it():
    assert repr(slot_in(State.SERVING, pid=77)) == "worker 1 (pid 77) serving"
