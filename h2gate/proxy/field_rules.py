"""The operator's own changes to a head's fields.

They run last, over what the gate has put on itself. `config.fields` refuses the names that no rule may touch: those
that say where a message ends or goes, and those for one hop.
"""

from __future__ import annotations

from h2gate.config.model import FieldRules
from h2gate.protocol.events import Fields


class CompiledFieldRules:
    """Fields taken off, and then put on: `set` is both."""

    __slots__ = ("_off", "_on")

    def __init__(self, rules: FieldRules) -> None:
        put = (*rules.set.items(), *rules.add.items())
        self._on: Fields = [(name.lower().encode("ascii"), value.encode("utf-8")) for name, value in put]
        self._off = frozenset(name.lower().encode("ascii") for name in (*rules.remove, *rules.set))

    def apply(self, fields: Fields) -> Fields:
        """Return a list of its own."""
        off = self._off
        return [field for field in fields if field[0] not in off] + self._on


def compile_rules(rules: FieldRules) -> CompiledFieldRules | None:
    """Return None where there is nothing to do, so that nobody does it."""
    return CompiledFieldRules(rules) if rules.remove or rules.set or rules.add else None
