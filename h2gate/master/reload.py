"""A reload under way: who waits for it, what came of it.

The rule: HUPs and commands that come during a reload are one more reload afterwards, however many there were; each
command is answered by the first reload that began after it came.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from h2gate.config.model import Config
from h2gate.config.problems import ConfigError
from h2gate.errors import StartError
from h2gate.master.control import Request
from h2gate.master.generation import Generation


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the last reload; `at` is a time of `time.time()`."""

    generation: int
    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    at: float

    @property
    def is_good(self) -> bool:
        return not self.problems

    def shown(self) -> dict[str, Any]:
        return {
            "ok": self.is_good,
            "generation": self.generation,
            "errors": list(self.problems),
            "warnings": list(self.warnings),
            "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.at)),
        }


class Reloads:
    """The reload that is wanted next, the one that runs, the one that was last."""

    def __init__(self) -> None:
        self.is_wanted = False
        self.incoming: Generation | None = None
        self.last: Outcome | None = None
        self._waiting: list[Request] = []
        self._served: list[Request] = []
        self._warnings: tuple[str, ...] = ()

    @property
    def can_begin(self) -> bool:
        return self.is_wanted and self.incoming is None

    def want(self, requests: Sequence[Request] = ()) -> None:
        self.is_wanted = True
        self._waiting.extend(requests)

    def begin(self) -> None:
        self.is_wanted = False
        self._served, self._waiting = self._waiting, []
        self._warnings = ()

    def boots(self, incoming: Generation, warnings: Sequence[str]) -> None:
        self.incoming = incoming
        self._warnings = tuple(warnings)

    def succeed(self, generation: int) -> None:
        self._decide(Outcome(generation, (), self._warnings, time.time()))

    def fail(self, generation: int, problems: Sequence[str]) -> None:
        """`generation` is the one that stays."""
        self._decide(Outcome(generation, tuple(problems), self._warnings, time.time()))

    def give_up(self) -> None:
        """Refuse everybody who waits: the gate stops."""
        self.is_wanted = False
        self.incoming = None
        for request in self._served + self._waiting:
            request.refuse(["the gate is stopping"])
        self._served, self._waiting = [], []

    def _decide(self, outcome: Outcome) -> None:
        self.incoming = None
        self.last = outcome
        for request in self._served:
            if outcome.is_good:
                request.answer(generation=outcome.generation, warnings=list(outcome.warnings))
            else:
                request.refuse(outcome.problems)
        self._served = []


def problems_of(failure: StartError) -> list[str]:
    """Return a text for each thing that is wrong; a config's have their snippet in further lines."""
    if isinstance(failure, ConfigError):
        return [str(problem) for problem in failure.problems]
    return [str(failure)]


def restart_only(old: Config, new: Config) -> list[str]:
    """Return a warning for each key that changed and cannot change while the gate runs."""
    return [
        f"{key} has changed: restart the gate for that; until then it stays {before or 'unset'}"
        for key, before, after in (
            ("control", old.control, new.control),
            ("pidfile", old.pidfile, new.pidfile),
            ("user", old.user, new.user),
        )
        if before != after
    ]
