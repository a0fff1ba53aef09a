"""What grows with size: memory, idle connections, routes, endpoints, workers."""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from bench.cost import Say
from bench.gates import Gate
from bench.idle_clients import KINDS, idle_clients
from bench.processes import Failed, pss
from bench.rows import BY_KEY, Row
from bench.stand import Run, Running, Stand

ROW = BY_KEY["h2c-10x9"]
ALONE = BY_KEY["h2c-1x1"]
# TLS handshakes are slow, and what one costs in memory shows with fewer.
TLS_SHARE = 5
# Two workers need so many clients that the kernel's choice among them does not decide the figure.
WORKERS_ROW = Row("workers", "h2c, 1 KiB, 64 connections x 2 streams", 64, 2)
LONG_LIVED: dict[str, Any] = {"timeouts": {"keepalive_http1": "1h", "keepalive_http2": "1h"}}
# Keys of the config and of the backend's pool; the first of each row is what the others are compared with.
SETTINGS: dict[Row, dict[str, tuple[dict[str, Any], dict[str, Any]]]] = {
    ROW: {
        "defaults": ({}, {}),
        "access_log: {path: off}": ({"access_log": {"path": "off"}}, {}),
        "access_log: {format: json}": ({"access_log": {"format": "json"}}, {}),
        "pool: {target_streams: 8}": ({}, {"target_streams": 8}),
        "pool: {target_streams: 100}": ({}, {"target_streams": 100}),
    },
    BY_KEY["h2c-1m"]: {
        "defaults": ({}, {}),
        "pool: {stream_window: 65535}": ({}, {"stream_window": 65_535}),
        "pool: {stream_window: 1MiB}": ({}, {"stream_window": "1MiB"}),
    },
}
Name = TypeVar("Name", int, str)


def measure_memory(stand: Stand, gates: Sequence[Gate], idle: int, seconds: float, say: Say) -> list[dict[str, Any]]:
    """Return the memory of each gate, alone on the machine: at ten connections, and with idle ones."""
    results = []
    for gate in gates:
        result: dict[str, Any] = {"gate": gate.key, "idle": []}
        results.append(result)
        settings: dict[str, Any] = LONG_LIVED if gate.title.startswith("h2gate") else {}
        for kind in KINDS:
            count = idle // TLS_SHARE if kind == "tls h2" else idle
            entry: dict[str, Any] = {"kind": kind, "clients": count}
            result["idle"].append(entry)
            try:
                with stand.running(gate, **settings) as running:
                    # What is made for the first requests is not an idle connection's.
                    run = stand.run(running, ROW, seconds)
                    result.setdefault("pss_at_10", run.pss)
                    before = pss(running.workers)
                    with idle_clients(running, kind, count):
                        entry["bytes_each"] = (pss(running.workers) - before) / count
            except Failed as error:
                entry["error"] = str(error)
            shown = entry.get("error") or f"{entry['bytes_each'] / 1000:.1f} KB each"
            say(f"memory     {gate.title:14} {count} idle, {kind}: {shown}")
    return results


def measure_idle(stand: Stand, gate: Gate, counts: Sequence[int], rounds: int, seconds: float, say: Say) -> Any:
    """Return the cost of a request beside idle HTTP/2 connections."""

    @contextlib.contextmanager
    def start(count: int) -> Iterator[Running]:
        with stand.running(gate, **LONG_LIVED) as running, idle_clients(running, "h2c", count):
            yield running

    return _varied(stand, start, (ROW,), counts, rounds, seconds, say, "idle")


def measure_routes(stand: Stand, gate: Gate, counts: Sequence[int], rounds: int, seconds: float, say: Say) -> Any:
    """Return the cost of a request that the last route takes."""

    def start(count: int) -> AbstractContextManager[Running]:
        routes = [{"match": {"path": f"/route/{number}/"}, "backend": "b"} for number in range(1, count)]
        return stand.running(gate, routes=[*routes, {"match": {"path": "/"}, "backend": "b"}])

    return _varied(stand, start, (ROW,), counts, rounds, seconds, say, "routes")


def measure_endpoints(stand: Stand, gate: Gate, counts: Sequence[int], rounds: int, seconds: float, say: Say) -> Any:
    """Return the cost of a request that goes to one of many endpoints in turn.

    All of loopback is this machine, and the backend listens on every address: each endpoint is an address of its own.
    """

    def start(count: int) -> AbstractContextManager[Running]:
        addresses = [f"127.1.{number // 250}.{number % 250 + 1}" for number in range(count)]
        endpoints = [f"h2c://{address}:{stand.backend_port}" for address in addresses]
        return stand.running(gate, backends={"b": {"endpoints": endpoints}})

    return _varied(stand, start, (ROW, ALONE), counts, rounds, seconds, say, "endpoints")


def measure_settings(stand: Stand, gate: Gate, rounds: int, seconds: float, say: Say) -> list[dict[str, Any]]:
    """Return what settings that operators ask about do to the cost of a request."""
    entries = []
    for row, settings in SETTINGS.items():
        with contextlib.ExitStack() as stack:
            gates = {}
            for name, (top, pool) in settings.items():
                backend = {"endpoints": [f"h2c://127.0.0.1:{stand.backend_port}"], "pool": pool}
                gates[name] = stack.enter_context(stand.running(gate, **top, backends={"b": backend}))
            runs = _in_turns(stand, gates, row, rounds, seconds)
        for name, taken in runs.items():
            entries.append({"setting": name, "row": row.key, "rounds": [run.as_json() for run in taken]})
            say(f"tuning     {row.key:10} {name}: {_median_cost(taken):.1f} us")
    return entries


def measure_workers(stand: Stand, gate: Gate, rounds: int, seconds: float, say: Say) -> list[dict[str, Any]]:
    """Return what one worker and two cost a request, and how even two share the work.

    Where load and gate share two cores, the requests per second of two workers say nothing. Their CPU per request does:
    two cores that a gate has for itself give 2 x cost of one / cost of two, less what the busier worker has more
    than its half.
    """
    both = sorted({*stand.gate_cpus, *stand.load_cpus})
    runs: dict[int, list[Run]] = {1: [], 2: []}
    shares: dict[int, list[float]] = {1: [], 2: []}
    with stand.running(gate, workers=1) as one, stand.running(gate, both, workers=2) as two:
        places = {1: (one, stand.load_cpus), 2: (two, both)}
        rates = {count: stand.rate(running, WORKERS_ROW, load_cpus=cpus) for count, (running, cpus) in places.items()}
        for _ in range(rounds):
            for count, (running, cpus) in places.items():
                (run,) = _runs(stand, running, WORKERS_ROW, rates[count], 1, seconds, cpus)
                work = [run.cpu[pid] for pid in running.workers]
                runs[count].append(run)
                shares[count].append(max(work) / sum(work))
    for count, taken in runs.items():
        say(f"workers    {count}: {_median_cost(taken):.1f} us, busiest {statistics.median(shares[count]):.0%}")
    return [
        {"count": count, "rounds": [run.as_json() for run in taken], "busiest_share": shares[count]}
        for count, taken in runs.items()
    ]


def _varied(
    stand: Stand,
    start: Callable[[int], AbstractContextManager[Running]],
    rows: Sequence[Row],
    counts: Sequence[int],
    rounds: int,
    seconds: float,
    say: Say,
    what: str,
) -> list[dict[str, Any]]:
    """Measure one gate for each count, all of them up at once and in turns: else the machine's mood is in the ratio."""
    entries = []
    with contextlib.ExitStack() as stack:
        gates = {count: stack.enter_context(start(count)) for count in counts}
        for row in rows:
            for count, taken in _in_turns(stand, gates, row, rounds, seconds).items():
                entries.append({"count": count, "row": row.key, "rounds": [run.as_json() for run in taken]})
                say(f"{what:10} {count:6} {row.key:10} {_median_cost(taken):.1f} us")
    return entries


def _in_turns(
    stand: Stand, gates: Mapping[Name, Running], row: Row, rounds: int, seconds: float
) -> dict[Name, list[Run]]:
    rates = {name: stand.rate(running, row) for name, running in gates.items()}
    runs: dict[Name, list[Run]] = {name: [] for name in gates}
    for _ in range(rounds):
        for name, running in gates.items():
            runs[name] += _runs(stand, running, row, rates[name], 1, seconds)
    return runs


def _median_cost(runs: Sequence[Run]) -> float:
    return statistics.median(run.cost for run in runs) * 1e6


def _runs(
    stand: Stand, running: Running, row: Row, rate: int, rounds: int, seconds: float, load_cpus: Sequence[int] = ()
) -> list[Run]:
    requests = max(1, round(rate * seconds / row.clients)) * row.clients
    return [stand.run(running, row, seconds, requests=requests, load_cpus=load_cpus) for _ in range(rounds)]
