"""State machines as tables.

Every lifecycle of the gate is an Enum of states, an Enum of events and one dict. This module turns
such a dict into something that can be asked for the next state, and drawn: the diagrams in `docs/`
come from the same tables the code runs on.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Generic, TypeVar

S = TypeVar("S", bound=Enum)
E = TypeVar("E", bound=Enum)


class InvalidTransition(Exception):
    """An event met a state in which it must not happen: a bug of the caller, never of a peer."""


class Lifecycle(Generic[S, E]):
    """A state table: `(state, event) -> state`."""

    __slots__ = ("initial", "name", "rows")

    def __init__(self, name: str, initial: S, rows: Mapping[tuple[S, E], S]) -> None:
        self.name = name
        self.initial = initial
        self.rows = dict(rows)

    def next(self, state: S, event: E) -> S:
        """Return the state that follows `event` in `state`.

        Raises InvalidTransition where the table has no such row.
        """
        try:
            return self.rows[state, event]
        except KeyError:
            raise InvalidTransition(f"{self.name}: {event.name} in {state.name}") from None

    def allows(self, state: S, event: E) -> bool:
        return (state, event) in self.rows

    def mermaid(self) -> str:
        """Draw the table as a Mermaid state diagram, rows in the order they are written."""
        lines = ["stateDiagram-v2", f"    [*] --> {self.initial.name}"]
        lines += [
            f"    {state.name} --> {target.name}: {event.name.lower().replace('_', ' ')}"
            for (state, event), target in self.rows.items()
        ]
        leaving = {state for state, _ in self.rows if self._leaves(state)}
        ends = [s for s in type(self.initial) if s not in leaving]
        lines += [f"    {state.name} --> [*]" for state in ends]
        return "\n".join(lines)

    def _leaves(self, state: S) -> bool:
        return any(source is state and target is not state for (source, _), target in self.rows.items())
