"""Latency at half of saturation: what a request waits for in a gate that is busy but keeps up.

h2load gives each connection its --rps in steps of 10 ms. Connections that begin together would send bursts together, so
they begin one after the other, 7 ms apart, and every tenth of the steps has its share.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

from bench import load
from bench.cost import Say
from bench.processes import Failed, Process, cpu_clocks
from bench.rows import BY_KEY
from bench.stand import Running, Stand

ROW = BY_KEY["h2c-10x9"]
CLIENTS = 40
APART = "7ms"
# A gate that does less than this share of the rate asked for does not keep up, and its latency is that of a queue.
KEEPS_UP = 0.9


def measure_latency(
    stand: Stand, gates: Sequence[Running], rounds: int, seconds: float, say: Say
) -> list[dict[str, Any]]:
    """Return latencies of each gate at half of its own saturation, and at half of the first gate's."""
    rates = {}
    for running in gates:
        try:
            rates[running.gate.key] = stand.rate(running, ROW, 2.0)
        except Failed as error:
            say(f"latency    {running.gate.title:14} {error}")
    if not rates:
        return []
    first = next(iter(rates))
    taken: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for _ in range(rounds):
        for running in gates:
            key = running.gate.key
            if key not in rates:
                continue
            taken.setdefault((key, "own"), []).append(_paced(stand, running, rates[key] // 2, seconds))
            # More than two thirds of what it can do is no longer a gate that keeps up with ease.
            if key != first and rates[first] // 2 < rates[key] * 2 // 3:
                taken.setdefault((key, "shared"), []).append(_paced(stand, running, rates[first] // 2, seconds))
    for (key, kind), runs in taken.items():
        median = sorted(run["p99"] or math.inf for run in runs)[len(runs) // 2]
        say(f"latency    {key:14} {kind:7} {runs[0]['asked']:7}/s  p99 {median * 1e6:.0f} us")
    return [{"gate": key, "at": kind, "saturation": rates[key], "rounds": runs} for (key, kind), runs in taken.items()]


def _paced(stand: Stand, running: Running, rate: int, seconds: float) -> dict[str, Any]:
    rps = max(1, round(rate / CLIENTS))
    log = stand.directory / "paced.log"
    argv = ["h2load", f"-c{CLIENTS}", f"-m{ROW.streams}", f"--rps={rps}", "-r1", f"--rate-period={APART}"]
    argv += [f"-n{round(rps * CLIENTS * seconds)}", f"--log-file={log}", running.url(ROW)]
    before, begin = sum(cpu_clocks(running.pids).values()), time.monotonic()
    process = Process(argv, "paced", stand.directory, stand.load_cpus)
    process.wait(60 + 10 * seconds)
    spent, wall = sum(cpu_clocks(running.pids).values()) - before, time.monotonic() - begin
    running.process.forget_output()
    process.stdout.unlink()
    process.stderr.unlink()
    latencies = load.latencies(log.read_text())
    log.unlink()
    done = len(latencies) / wall
    return {
        "asked": rps * CLIENTS,
        "done": done,
        "kept_up": done >= KEEPS_UP * rps * CLIENTS * seconds / (seconds + CLIENTS * 0.007),
        "p50": load.percentile(latencies, 0.5),
        "p99": load.percentile(latencies, 0.99),
        "utilization": spent / wall,
    }
