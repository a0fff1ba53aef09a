"""Measure h2gate and its peers under the same loads, and show the figures.

    python -m bench [--quick] [--output DIR] [--rows ...] [--gates ...] [--parts ...]
    python -m bench --publish RAW.json

Writes raw.json, tables.md and cost.svg. `--publish` fills the tables of docs/performance.md from a raw.json, and
redraws its picture. Needs Linux, two cores with nothing else to do, h2load and nghttpd; `make bench-peers` installs the
peers.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from bench import gates, machine, plot, publish, rows, scale, tables
from bench.cost import measure_cost
from bench.gates import Gate
from bench.latency import measure_latency
from bench.processes import REPOSITORY, Failed
from bench.stand import Stand

PARTS = ("cost", "latency", "memory", "idle", "routes", "endpoints", "tuning", "workers", "engines")
QUICK_PARTS = ("cost", "memory")
COUNTS = (1, 10, 100, 1_000)
IDLE_COUNTS = (0, 10, 1_000, 10_000)


def main() -> int:
    options = _options()
    if options.publish:
        publish.publish(json.loads(options.publish.read_text()), REPOSITORY / "docs")
        return 0
    signal.signal(signal.SIGTERM, _end)  # the processes started are ended on the way out
    try:
        return run(options)
    except Failed as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1


def run(options: argparse.Namespace) -> int:
    begin = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - begin:6.0f} s  {line}", file=sys.stderr, flush=True)

    quick = options.quick
    rounds = options.rounds or (2 if quick else 5)
    seconds = options.seconds or (1.5 if quick else 2.5)
    parts = options.parts or (QUICK_PARTS if quick else PARTS)
    chosen = [gates.BY_KEY[key] for key in options.gates or gates.BY_KEY]
    loads = [row for row in rows.ROWS if (row.key in options.rows if options.rows else row.is_quick or not quick)]
    os.sched_setaffinity(0, options.cpus[1])
    output: Path = options.output or REPOSITORY / "bench" / "results" / datetime.date.today().isoformat()
    output.mkdir(parents=True, exist_ok=True)
    raw: dict[str, Any] = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "settings": {"quick": quick, "rounds": rounds, "seconds": seconds, "cpus": list(map(list, options.cpus))},
        "machine": machine.describe(),
        "commit": machine.commit(),
        "versions": machine.versions(chosen),
        "load_before": os.getloadavg()[0],
        "missing": {},
        "commands": {},
        "configs": {},
    }
    if raw["load_before"] > 0.5:
        say(f"this machine is busy (load {raw['load_before']:.1f}): the figures will be noisy")
    with Stand(*options.cpus) as stand:
        present = _look(stand, chosen, raw, say)
        ours = next((gate for gate in present if isinstance(gate, gates.H2gate)), None)
        shared: dict[str, Callable[[Any], Any]] = {
            "cost": lambda running: measure_cost(stand, running, loads, rounds, seconds, say),
            "latency": lambda running: measure_latency(stand, running, max(1, rounds - 2), 4.0, say),
        }
        idle = 1_000 if quick else 10_000
        own: dict[str, Callable[[Gate], Any]] = {
            "idle": lambda gate: scale.measure_idle(stand, gate, IDLE_COUNTS, 3, seconds, say),
            "routes": lambda gate: scale.measure_routes(stand, gate, COUNTS, 3, seconds, say),
            "endpoints": lambda gate: scale.measure_endpoints(stand, gate, COUNTS, 3, seconds, say),
            "tuning": lambda gate: scale.measure_settings(stand, gate, 3, seconds, say),
            "workers": lambda gate: scale.measure_workers(stand, gate, 3, seconds, say),
        }
        for part in parts:
            try:
                if part in shared:
                    with contextlib.ExitStack() as stack:
                        raw[part] = shared[part]([stack.enter_context(stand.running(gate)) for gate in present])
                elif part == "memory":
                    raw[part] = scale.measure_memory(stand, present, idle, 1.0, say)
                elif part == "engines":
                    raw[part] = machine.engines(stand.gate_cpus[0])
                elif ours:
                    raw[part] = own[part](ours)
                    raw.setdefault("scale_gate", ours.key)
            except Failed as error:
                say(f"{part}: {error}")
                raw.setdefault("failed_parts", {})[part] = str(error)
            raw["minutes"] = (time.monotonic() - begin) / 60
            # After each part: a run that is broken off has what it has.
            (output / "raw.json").write_text(json.dumps(raw, indent=1) + "\n", encoding="utf-8")
    (output / "tables.md").write_text(tables.page(raw), encoding="utf-8")
    if raw.get("cost"):
        (output / "cost.svg").write_text(plot.cost(raw), encoding="utf-8")
    print((output / "tables.md").read_text())
    say(f"written to {output}")
    return 0


def _look(stand: Stand, chosen: Sequence[Gate], raw: dict[str, Any], say: Callable[[str], None]) -> list[Gate]:
    """Start each gate once: who is not there, or does not start, is said so in every table."""
    present = []
    for gate in chosen:
        try:
            with stand.running(gate) as running:
                directory = running.place.directory
                # What DIR was is of no use to anyone.
                hidden = {str(directory): "DIR", str(stand.directory): "DIR", str(REPOSITORY): "."}
                raw["commands"][gate.key] = [_replaced(part, hidden) for part in running.process.argv]
                raw["configs"][gate.key] = {
                    path.name: _replaced(path.read_text(), hidden)
                    for path in sorted(directory.iterdir())
                    if path.suffix in {".yaml", ".conf", ".cfg"}
                }
            present.append(gate)
        except Failed as error:
            raw["missing"][gate.key] = str(error)
            say(f"{gate.title}: {error}")
    return present


def _replaced(text: str, names: dict[str, str]) -> str:
    for path, name in names.items():
        text = text.replace(path, name)
    return text


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a few minutes: fewer rows, rounds and tables")
    parser.add_argument("--output", type=Path, metavar="DIR", help="where to write; default bench/results/DATE")
    parser.add_argument("--rows", nargs="+", choices=rows.BY_KEY, metavar="ROW", help=", ".join(rows.BY_KEY))
    parser.add_argument("--gates", nargs="+", choices=gates.BY_KEY, metavar="GATE", help=", ".join(gates.BY_KEY))
    parser.add_argument("--parts", nargs="+", choices=PARTS, metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--rounds", type=int, help="measured runs of each row and gate")
    parser.add_argument("--seconds", type=float, help="length of each")
    parser.add_argument("--cpus", type=_cpus, metavar="GATE,LOAD", help="the two cores; default the first two")
    parser.add_argument(
        "--publish", type=Path, metavar="RAW", help="write docs/performance.md's tables from a raw.json"
    )
    options = parser.parse_args()
    if not (options.cpus or options.publish):
        allowed = sorted(os.sched_getaffinity(0))
        if len(allowed) < 2:
            parser.error("two cores are needed: one for the gate, one for load and backend")
        options.cpus = ([allowed[0]], [allowed[1]])
    return options


def _cpus(text: str) -> tuple[list[int], list[int]]:
    gate, load = text.split(",")
    return [int(gate)], [int(load)]


def _end(number: int, frame: object) -> NoReturn:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
