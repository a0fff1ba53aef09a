"""CPU per request: the gates under the same loads, in turns, so that a slow minute of the machine is everybody's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from bench import load
from bench.processes import Failed
from bench.rows import Row
from bench.stand import Running, Stand

WARM_UP_SECONDS = 1.0
LATENCY_SECONDS = 2.0
Say = Callable[[str], None]


def measure_cost(
    stand: Stand, gates: Sequence[Running], rows: Sequence[Row], rounds: int, seconds: float, say: Say
) -> list[dict[str, Any]]:
    """Return one cell for each row and gate."""
    cells = []
    for row in rows:
        here = {running.gate.key: _first_look(stand, running, row) for running in gates}
        for number in range(rounds):
            # Another gate goes first each time.
            turn = number % len(gates)
            for running in (*gates[turn:], *gates[:turn]):
                _one_round(stand, running, row, seconds, here[running.gate.key])
        for running in gates:
            cell = here[running.gate.key]
            say(f"{row.key:10} {running.gate.title:14} {_said(cell)}")
            cells.append(cell)
    return cells


def _first_look(stand: Stand, running: Running, row: Row) -> dict[str, Any]:
    """Warm up, and take latencies: in a run of their own, as a line for each request costs h2load time."""
    url = running.url(row)
    cell: dict[str, Any] = {"row": row.key, "gate": running.gate.key, "generator": load.generator(row), "rounds": []}
    try:
        stand.run(running, row, WARM_UP_SECONDS)
        log = stand.directory / "latency.log"
        run = stand.run(running, row, LATENCY_SECONDS, log=log)
        if load.uses_wrk(row):
            cell["p50"], cell["p99"] = run.load.p50, run.load.p99
        else:
            seconds = load.latencies(log.read_text())
            log.unlink()
            cell["p50"], cell["p99"] = load.percentile(seconds, 0.5), load.percentile(seconds, 0.99)
        cell["rate"] = run.load.rate
        cell["load"] = " ".join(load.command(row, url, LATENCY_SECONDS))
    except (Failed, OSError) as error:
        refused = row.protocol == "http/1.1" and running.gate.key == "haproxy" and not load.uses_wrk(row)
        cell["error"] = "needs wrk: h2load refuses HAProxy's empty reason phrase" if refused else str(error)
    return cell


def _one_round(stand: Stand, running: Running, row: Row, seconds: float, cell: dict[str, Any]) -> None:
    if "error" in cell:
        return
    # The same number for each client.
    requests = max(row.clients * row.streams * 2, round(cell["rate"] * seconds / row.clients) * row.clients)
    try:
        cell["rounds"].append(stand.run(running, row, seconds, requests=requests).as_json())
    except (Failed, OSError) as error:
        cell["error"] = str(error)


def _said(cell: dict[str, Any]) -> str:
    if "error" in cell:
        return str(cell["error"])
    costs = sorted(run["cpu_seconds"] / run["requests"] * 1e6 for run in cell["rounds"])
    failed = sum(run["failed"] for run in cell["rounds"])
    return f"{costs[len(costs) // 2]:8.1f} us {cell['rate']:9.0f}/s" + (f", {failed} FAILED" if failed else "")
