"""One soak: a gate with one worker, the backend, the clients, and what was found."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.soak.clients import Tally, play
from tests.support.gate import Gate
from tests.support.ports import HeldPort, is_listening
from tests.support.processes import Process, resident_bytes
from tests.support.waiting import wait_until

HTTP2_CLIENTS, HTTP1_CLIENTS = 6, 12
# What grows to the size of the load has it after these.
WARM_UP = 20_000


@dataclass(frozen=True)
class Standing:
    """What a worker has with no client left. `descriptors` has the idle connections to the backend among them."""

    resident: int
    descriptors: int
    threads: int


@dataclass(frozen=True)
class Found:
    """`outcomes` by word; `mixed`, `twice` and `failed` are examples of what must not be."""

    outcomes: Counter[str]
    mixed: list[str]
    twice: list[str]
    failed: list[str]
    before: Standing
    after: Standing
    seconds: float


def soak(directory: Path, exchanges: int, seed: int) -> Found:
    """Run a soak on the make that `Gate.engine` says."""
    sections: dict[str, Any] = {
        "control": str(directory / "control.sock"),
        "access_log": {"path": "/dev/null", "format": "json"},
        # What the backend refuses on purpose has a budget, and the clients may cancel as often as they do.
        "retries": {"budget": "50%"},
        "limits": {"reset_burst": 100_000, "reset_rate": 10_000},
    }
    port = HeldPort()
    command: list[str | Path] = [sys.executable, "-m", "tests.soak.backend", str(port.number)]
    with Process(command, directory, name="backend") as backend:
        wait_until(
            "the backend listens", lambda: backend.exit_code is None and is_listening(("127.0.0.1", port.number))
        )
        with Gate(directory, f"h2c://127.0.0.1:{port.number}", sections=sections) as gate:
            warm = _play(gate, Tally(WARM_UP, seed))
            before = _standing(gate)
            began = time.monotonic()
            tally = _play(gate, Tally(exchanges, seed + 1, first=WARM_UP))
            seconds = time.monotonic() - began
            after = _standing(gate)
        backend.stop()
        findings = json.loads(backend.stdout)
    port.release()
    return Found(
        tally.outcomes,
        [*warm.mixed, *tally.mixed, *findings["mixed"]],
        findings["twice"],
        [*warm.failed, *tally.failed],
        before,
        after,
        seconds,
    )


def _play(gate: Gate, tally: Tally) -> Tally:
    asyncio.run(play(gate.port, tally, HTTP2_CLIENTS, HTTP1_CLIENTS))
    return tally


def _standing(gate: Gate) -> Standing:
    gate.idle_row()
    worker = gate.worker
    return Standing(
        resident_bytes(worker), len(os.listdir(f"/proc/{worker}/fd")), len(os.listdir(f"/proc/{worker}/task"))
    )
