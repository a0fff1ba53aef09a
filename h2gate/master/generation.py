"""The workers of one plan: forked, greeted, replaced, retired.

Owns a slot for each worker and does what `slots.next_step` says. The rule: nothing here waits; `step` looks once at
every slot, and `wake_at` says when to look again.
"""

from __future__ import annotations

import logging
import math
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from h2gate.errorlog import LOGGER
from h2gate.errors import ExitCode
from h2gate.handover import RETIRE, Handover
from h2gate.master import exits
from h2gate.master.plan import Plan
from h2gate.master.scoreboard import Phase, Scoreboard, Standing
from h2gate.master.slots import DUMP_SECONDS, Event, Patience, Slot, State, Step, next_step, wake_at

LOG = logging.getLogger(LOGGER)

# At the drain deadline a worker breaks off what still runs, visibly for the clients. KILL is for one that does not.
GRACE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Nursery:
    """What every fork needs, whatever the generation."""

    spawn: Callable[[Handover], int]
    scoreboard: Scoreboard
    orphan_fd: int


@dataclass(frozen=True, slots=True)
class BootFailure:
    """Why a generation cannot serve."""

    message: str
    exit_code: int


class Generation:
    def __init__(self, number: int, plan: Plan, workers: int, nursery: Nursery, now: float) -> None:
        self.number = number
        self.plan = plan
        # Once all its workers have served together; from then on a death is an accident and not a wrong config.
        self.is_established = False
        self.boot_failure: BootFailure | None = None
        self._born = now
        self._nursery = nursery
        self._patience = Patience(boot=plan.config.timeouts.boot)
        self._slots = [Slot(number, now) for number in range(1, workers + 1)]

    # questions

    @property
    def is_serving(self) -> bool:
        """Whether every worker serves that is to."""
        return all(slot.state is State.SERVING for slot in self._slots if slot.state is not State.DRAINING)

    @property
    def is_gone(self) -> bool:
        return not self._slots

    @property
    def size(self) -> int:
        """How many workers it is to have."""
        return sum(slot.state is not State.DRAINING for slot in self._slots)

    @property
    def live(self) -> int:
        """How many processes it has."""
        return sum(slot.is_live for slot in self._slots)

    def wake_at(self, now: float) -> float:
        return min((wake_at(slot, now) for slot in self._slots), default=math.inf)

    def rows(self, now: float) -> list[dict[str, Any]]:
        """Return what `h2gate status` says of each worker."""
        return [self._row(slot, now) for slot in sorted(self._slots, key=lambda slot: slot.number)]

    # the loop

    def step(self, now: float) -> None:
        """Look at every slot and do what is due."""
        for slot in self._slots[:]:
            standing = slot.seat.read() if slot.seat is not None else None
            step = next_step(slot, standing, now, self._patience)
            if step is Step.FORK:
                self._fork(slot, now)
            elif step is not None and standing is not None:
                self._act(step, slot, standing, now)
        self.is_established = self.is_established or self.is_serving
        if not self.is_established and now - self._born > 2 * self._patience.boot + DUMP_SECONDS:
            # Workers that serve for a moment and die, in turn.
            self._cannot_boot(f"its workers did not serve together within {now - self._born:.0f} s", ExitCode.FAILED)

    def reap(self, pid: int, status: int, now: float) -> bool:
        """Take note of a worker's end; return False where the process is none of this generation's."""
        slot = next((slot for slot in self._slots if slot.is_live and slot.pid == pid), None)
        if slot is None or slot.seat is None:
            return False
        if slot.state is State.BOOTING and slot.seat.read().phase is not Phase.BOOTING:
            slot.happen(Event.SERVES, now)  # it came and went between two looks
        was, served = slot.state, slot.served(now)
        told = f"{self._name(slot)} {exits.describe(status, slot.is_killed)}"
        self._nursery.scoreboard.free(slot.seat)
        slot.seat = None
        slot.happen(Event.EXITED, now)
        if was is State.DRAINING:
            LOG.log(logging.WARNING if _is_accident(status) else logging.INFO, "%s", told)
            self._slots.remove(slot)
            return True
        pause = slot.backoff.after_death(served)
        slot.due = now + pause
        if self.is_established or was is State.SERVING:
            LOG.warning("%s; replaced %s", told, f"in {pause:.1f} s" if pause else "at once")
        else:
            code = os.waitstatus_to_exitcode(status)
            self._cannot_boot(f"{told} before it served", code if code > 0 else ExitCode.FAILED)
        return True

    # orders

    def retire(self, order: signal.Signals, patience: float, now: float) -> None:
        """Tell every worker to leave by `order` (RETIRE, TERM or QUIT), and kill those that stay longer."""
        for slot in self._slots[:]:
            self._retire(slot, order, patience, now)

    def kill(self, now: float) -> None:
        """End every process at the next step."""
        self.retire(signal.SIGQUIT, 0.0, now)

    def reopen(self) -> None:
        """Let the workers reopen their logs; one that boots is told once it listens."""
        for slot in self._slots:
            if slot.state is State.BOOTING:
                slot.missed_reopen = True
            elif slot.is_live:
                os.kill(slot.pid, signal.SIGUSR1)

    def resize(self, change: int, now: float) -> None:
        """Take `change` workers more, or fewer; one stays."""
        for _ in range(change):
            taken = {slot.number for slot in self._slots if slot.state is not State.DRAINING}
            number = next(number for number in range(1, len(taken) + 2) if number not in taken)
            self._slots.append(Slot(number, now))
        for _ in range(min(-change, self.size - 1)):
            last = max((slot for slot in self._slots if slot.state is not State.DRAINING), key=lambda slot: slot.number)
            self._retire(last, RETIRE, self.drain_patience, now)

    @property
    def drain_patience(self) -> float:
        return self.plan.config.timeouts.drain + GRACE_SECONDS

    # what is done to a slot

    def _fork(self, slot: Slot, now: float) -> None:
        seat = self._nursery.scoreboard.take(self.number)
        try:
            if seat is None:
                raise OSError("all rows of the scoreboard are taken: too many workers are draining")
            plan = self.plan
            handover = Handover(
                slot=slot.number,
                generation=self.number,
                config=plan.config,
                engine=plan.engine,
                listeners=plan.listeners,
                backend_tls=plan.backend_tls,
                row=seat,
                orphan_fd=self._nursery.orphan_fd,
            )
            pid = self._nursery.spawn(handover)
        except OSError as failure:
            if seat is not None:
                self._nursery.scoreboard.free(seat)
            slot.due = now + slot.backoff.after_death(0.0)
            message = f"worker {slot.number} [gen {self.number}] cannot be forked: {failure.strerror or failure}"
            if self.is_established:
                LOG.error("%s; next try in %.1f s", message, slot.due - now)
            else:
                self._cannot_boot(message, ExitCode.OS_ERROR)
            return
        seat.name(pid)
        slot.occupy(seat, pid, now)

    def _act(self, step: Step, slot: Slot, standing: Standing, now: float) -> None:
        match step:
            case Step.GREET:
                slot.happen(Event.SERVES, now)
                LOG.debug("%s serves", self._name(slot))
                if slot.missed_reopen:
                    slot.missed_reopen = False
                    os.kill(slot.pid, signal.SIGUSR1)
            case Step.REPLACE:
                due = now + slot.backoff.after_death(slot.served(now))
                LOG.info("%s drains of its own accord", self._name(slot))
                self._slots.append(Slot(slot.number, now, due=due, backoff=slot.backoff))
                slot.happen(Event.RETIRED, now)
                slot.kill_at = now + self.drain_patience
            case Step.DUMP:
                why = "did not serve" if slot.state is State.BOOTING else "gave no sign of life"
                silent = now - (slot.since if slot.state is State.BOOTING else standing.beat)
                LOG.error("%s %s for %.1f s: its stacks follow, then it is killed", self._name(slot), why, silent)
                slot.is_aborted = True
                slot.kill_at = min(slot.kill_at, now + DUMP_SECONDS)
                os.kill(slot.pid, signal.SIGABRT)
            case Step.KILL:
                slot.is_killed = True
                if not slot.is_aborted:
                    LOG.warning("%s is killed: it did not leave in time", self._name(slot))
                os.kill(slot.pid, signal.SIGKILL)

    def _retire(self, slot: Slot, order: signal.Signals, patience: float, now: float) -> None:
        if slot.state is State.BACKOFF:
            slot.happen(Event.RETIRED, now)
            self._slots.remove(slot)
            return
        if slot.state is State.BOOTING and slot.seat is not None and slot.seat.read().phase is Phase.BOOTING:
            # It has no clients to wait for. It may not listen yet, and the default of QUIT is a core dump.
            order, patience = signal.SIGTERM, min(patience, GRACE_SECONDS)
        if slot.state is not State.DRAINING:
            slot.happen(Event.RETIRED, now)
        slot.kill_at = min(slot.kill_at, now + patience)
        os.kill(slot.pid, order)

    def _cannot_boot(self, message: str, exit_code: int) -> None:
        # The first reason counts: those that follow are often its echo.
        LOG.error("%s", message)
        self.boot_failure = self.boot_failure or BootFailure(message, exit_code)

    def _name(self, slot: Slot) -> str:
        return f"worker {slot.number} [gen {self.number}] (pid {slot.pid})"

    def _row(self, slot: Slot, now: float) -> dict[str, Any]:
        standing = slot.seat.read() if slot.seat is not None else None
        return {
            "slot": slot.number,
            "pid": slot.pid if standing is not None else None,
            "generation": self.number,
            "state": slot.state.value,
            "connections": standing.connections if standing is not None else 0,
            "active": standing.active if standing is not None else 0,
            "requests": standing.requests if standing is not None else 0,
            "age": round(now - slot.forked_at, 3) if standing is not None else 0.0,
        }


def _is_accident(status: int) -> bool:
    """Whether a worker that was told to leave ended in another way than by leaving, or by a signal of ours."""
    code = os.waitstatus_to_exitcode(status)
    return code not in (0, -signal.SIGTERM, -signal.SIGQUIT, -signal.SIGKILL)
