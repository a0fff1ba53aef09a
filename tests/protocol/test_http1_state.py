"""The state tables of an HTTP/1.1 exchange."""

from __future__ import annotations

from enum import Enum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from h2gate.lifecycle import InvalidTransition, Lifecycle
from h2gate.protocol.http1_state import READING, WRITING, Read, Reading, Writing, Written

TABLES: list[tuple[Lifecycle[Any, Any], type[Enum], type[Enum]]] = [
    (READING, Reading, Read),
    (WRITING, Writing, Written),
]


@pytest.mark.parametrize(("table", "states", "_events"), TABLES)
def test_every_state_can_be_reached(table: Lifecycle[Any, Any], states: type[Enum], _events: type[Enum]) -> None:
    assert {table.initial, *table.rows.values()} == set(states)


@given(reads=st.lists(st.sampled_from(Read)))
def test_after_a_fault_nothing_is_read(reads: list[Read]) -> None:
    state = Reading.HEAD
    for read in reads:
        if READING.allows(state, read):
            state = READING.next(state, read)
        else:
            with pytest.raises(InvalidTransition):
                READING.next(state, read)
    if Read.FAULT in reads and state is Reading.FAILED:
        assert not any(READING.allows(state, read) for read in Read)


@given(steps=st.lists(st.sampled_from(Written)))
def test_a_broken_response_never_ends(steps: list[Written]) -> None:
    state = Writing.HEAD
    was_broken = False
    for step in steps:
        if WRITING.allows(state, step):
            state = WRITING.next(state, step)
        was_broken = was_broken or state is Writing.BROKEN
        assert not (was_broken and state is not Writing.BROKEN)


def test_the_next_request_comes_only_behind_a_complete_one() -> None:
    assert [state for state in Reading if READING.allows(state, Read.NEXT)] == [Reading.COMPLETE]
