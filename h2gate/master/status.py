"""What the master says of itself: to `h2gate status`, and in its title. Pure."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from h2gate import __version__
from h2gate.master.generation import Generation
from h2gate.master.plan import Plan
from h2gate.master.reload import Outcome
from h2gate.master.sockets import address_of
from h2gate.master.stopping import Stop


def report(
    *,
    config_path: Path,
    uptime: float,
    stop: Stop,
    current: Generation | None,
    generations: Iterable[Generation],
    listeners: list[dict[str, Any]],
    last_reload: Outcome | None,
    now: float,
) -> dict[str, Any]:
    """Return what `h2gate status --json` prints. Times are seconds, `at` of the reload is in UTC."""
    return {
        "pid": os.getpid(),
        "version": __version__,
        "state": _state(stop, current),
        "generation": current.number if current is not None else 0,
        "uptime": round(uptime, 3),
        "config": str(config_path.absolute()),
        "engine": current.plan.engine.name if current is not None else None,
        "listeners": listeners,
        "workers": [row for generation in generations for row in generation.rows(now)],
        "last_reload": last_reload.shown() if last_reload is not None else None,
    }


def listeners_of(plan: Plan) -> list[dict[str, Any]]:
    return [{"address": address_of(bound.socket), "tls": bound.tls is not None} for bound in plan.listeners]


def title(stop: Stop, current: Generation | None, generations: Iterable[Generation]) -> str:
    """Return the process title, as `h2gate: master [gen 3, 4 workers]`."""
    if stop:
        return f"h2gate: master [stopping, {workers(sum(generation.live for generation in generations))}]"
    if current is None:
        return "h2gate: master [starting]"
    return f"h2gate: master [gen {current.number}, {workers(current.size)}]"


def workers(count: int) -> str:
    return f"{count} worker" if count == 1 else f"{count} workers"


def _state(stop: Stop, current: Generation | None) -> str:
    if stop:
        return "stopping"
    return "starting" if current is None else "serving"
