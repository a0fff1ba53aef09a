"""A worker's slot: its lifecycle, and when a lost worker is replaced.

Owns the table, the back-off and the decision of the next step; the supervisor does what it says. The rule: a
slot's state is what the master knows (it forked, it reaped, it told the worker to leave), the phase on the
scoreboard is what the worker claims, and only `next_step` brings the two together.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from h2gate.lifecycle import Lifecycle
from h2gate.master.scoreboard import Phase, Seat, Standing

# A hub that has not run for so long serves nobody; less could be a long garbage collection or a swapped-out page.
STUCK_SECONDS = 10.0

# Between ABRT and KILL: time for faulthandler to write the stacks.
DUMP_SECONDS = 1.0

# The back-off of a slot whose worker keeps dying: 0.5, 1, 2 ... 30 s.
BACKOFF_FIRST_SECONDS = 0.5
BACKOFF_MAX_SECONDS = 30.0

# A worker that served for so long is healthy: whatever killed it is not what killed the ones before.
HEALTHY_SECONDS = 60.0

# How often the scoreboard is read. A look costs 2 us a worker; boots are rare, and a replacement is waited for.
LOOK_SECONDS = 1.0
BOOT_LOOK_SECONDS = 0.02


class State(Enum):
    BACKOFF = "backoff"
    BOOTING = "booting"
    SERVING = "serving"
    DRAINING = "draining"
    GONE = "gone"


class Event(Enum):
    FORKED = "forked"
    SERVES = "serves"
    RETIRED = "retired"
    EXITED = "exited"


LIFECYCLE = Lifecycle(
    "worker slot",
    State.BACKOFF,
    {
        # A new slot is one whose back-off is over: a fork that fails has somewhere to return to.
        (State.BACKOFF, Event.FORKED): State.BOOTING,
        (State.BACKOFF, Event.RETIRED): State.GONE,
        (State.BOOTING, Event.SERVES): State.SERVING,
        (State.BOOTING, Event.EXITED): State.BACKOFF,
        (State.BOOTING, Event.RETIRED): State.DRAINING,
        (State.SERVING, Event.EXITED): State.BACKOFF,
        (State.SERVING, Event.RETIRED): State.DRAINING,
        # Only from here does a process end without another one in its place.
        (State.DRAINING, Event.EXITED): State.GONE,
    },
)

LIVE = frozenset({State.BOOTING, State.SERVING, State.DRAINING})


@dataclass(slots=True)
class BackOff:
    """How long a slot stays empty after a death."""

    strikes: int = 0
    spared: bool = False
    # Half to whole: workers that died together do not come back together.
    jitter: Callable[[], float] = field(default=lambda: random.uniform(0.5, 1.0), repr=False)

    def after_death(self, served: float) -> float:
        """Return the seconds until the next fork; `served` is how long the worker had been serving, 0 if never.

        The first death of a worker that did serve is an accident and costs nothing.
        """
        if served >= HEALTHY_SECONDS:
            self.strikes, self.spared = 0, False
        if served > 0 and self.strikes == 0 and not self.spared:
            self.spared = True
            return 0.0
        # The exponent is bounded because 2.0 ** 1024 overflows.
        ceiling = min(BACKOFF_MAX_SECONDS, BACKOFF_FIRST_SECONDS * 2.0 ** min(self.strikes, 16))
        self.strikes += 1
        return ceiling * self.jitter()


@dataclass(slots=True, eq=False)
class Slot:
    """One numbered seat of a generation. Times are of `time.monotonic()`: `since` is when the state began."""

    number: int
    since: float
    forked_at: float = 0.0
    due: float = 0.0
    state: State = LIFECYCLE.initial
    pid: int = 0
    seat: Seat | None = None
    backoff: BackOff = field(default_factory=BackOff)
    kill_at: float = math.inf
    is_aborted: bool = False
    is_killed: bool = False
    # The logs were reopened while the worker was booting, when it could not be told.
    missed_reopen: bool = False

    def happen(self, event: Event, now: float) -> None:
        """Move along the table. Raises InvalidTransition."""
        self.state = LIFECYCLE.next(self.state, event)
        self.since = now

    @property
    def is_live(self) -> bool:
        return self.state in LIVE

    def occupy(self, seat: Seat, pid: int, now: float) -> None:
        """Take in a worker that was just forked."""
        self.seat, self.pid, self.forked_at = seat, pid, now
        self.kill_at = math.inf
        self.is_aborted = self.is_killed = self.missed_reopen = False
        self.happen(Event.FORKED, now)

    def served(self, now: float) -> float:
        """Return how long the worker has been serving; 0 if it never did, or no longer does."""
        return max(now - self.since, 1e-9) if self.state is State.SERVING else 0.0

    def __repr__(self) -> str:
        return f"worker {self.number} (pid {self.pid}) {self.state.value}"


class Step(Enum):
    """What the supervisor is to do with a slot."""

    FORK = "fork"
    GREET = "greet"  # the worker serves: note it
    REPLACE = "replace"  # the worker drains of its own accord: give its number to a new slot
    DUMP = "dump"  # no sign of life: ABRT, then KILL
    KILL = "kill"


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a worker may take, in seconds."""

    boot: float
    stuck: float = STUCK_SECONDS


def next_step(slot: Slot, standing: Standing | None, now: float, patience: Patience) -> Step | None:
    """Return what is to be done now; `standing` is the live worker's row, None where there is no worker."""
    if standing is None:
        return Step.FORK if slot.state is State.BACKOFF and now >= slot.due else None
    if slot.is_killed:
        return None
    if now >= slot.kill_at:
        return Step.KILL
    if slot.state is State.BOOTING:
        # One that drains already did serve: the look in between was missed.
        if standing.phase is not Phase.BOOTING:
            return Step.GREET
        is_overdue = now - slot.since > patience.boot
        return Step.DUMP if is_overdue and not slot.is_aborted else None
    # A worker that was retired while it booted has never beaten; its drain deadline ends it.
    is_silent = now - standing.beat > patience.stuck and standing.phase is not Phase.BOOTING
    if is_silent and not slot.is_aborted:
        return Step.DUMP
    if slot.state is State.SERVING and standing.phase is Phase.DRAINING:
        return Step.REPLACE
    return None


def wake_at(slot: Slot, now: float) -> float:
    """Return when to look at this slot again at the latest."""
    if slot.state is State.BACKOFF:
        return slot.due
    if slot.state is State.BOOTING:
        # The scoreboard has no bell.
        return now + BOOT_LOOK_SECONDS
    return min(math.inf if slot.is_killed else slot.kill_at, now + LOOK_SECONDS)
