from enum import Enum

import pytest

from h2gate.lifecycle import InvalidTransition, Lifecycle


class Door(Enum):
    OPEN = 1
    SHUT = 2
    GONE = 3


class Act(Enum):
    PUSH = 1
    PULL = 2
    BREAK = 3


TABLE = Lifecycle(
    "door",
    Door.SHUT,
    {
        (Door.SHUT, Act.PULL): Door.OPEN,
        (Door.OPEN, Act.PUSH): Door.SHUT,
        (Door.OPEN, Act.PULL): Door.OPEN,
        (Door.OPEN, Act.BREAK): Door.GONE,
    },
)


def test_a_row_leads_to_its_state():
    assert TABLE.next(Door.SHUT, Act.PULL) is Door.OPEN
    assert TABLE.allows(Door.SHUT, Act.PULL)


def test_an_event_without_a_row_is_a_bug_and_says_which():
    assert not TABLE.allows(Door.SHUT, Act.BREAK)
    with pytest.raises(InvalidTransition, match="door: BREAK in SHUT"):
        TABLE.next(Door.SHUT, Act.BREAK)


def test_the_diagram_has_a_start_each_row_and_the_end():
    assert TABLE.mermaid().splitlines() == [
        "stateDiagram-v2",
        "    [*] --> SHUT",
        "    SHUT --> OPEN: pull",
        "    OPEN --> SHUT: push",
        "    OPEN --> OPEN: pull",
        "    OPEN --> GONE: break",
        "    GONE --> [*]",
    ]
