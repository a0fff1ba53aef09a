"""`h2gate status`: what runs, as a table or as JSON."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from typing import Any

from h2gate.cli.gate import Gate, control_path
from h2gate.cli.options import add_control
from h2gate.errors import ExitCode, StartError

COLUMNS = ("slot", "pid", "generation", "state", "connections", "active", "requests", "age")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "status", help="show what runs", description="Show the gate's listeners and workers, and its last reload."
    )
    add_control(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object; times are seconds")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the status. Raises StartError where no gate answers."""
    with Gate(control_path(args)) as gate:
        answer = gate.ask("status")
    if not answer.pop("ok"):
        raise StartError("; ".join(answer["errors"]))
    if args.json:
        print(json.dumps(answer, indent=2))
    else:
        for line in shown(answer):
            print(line)
    return ExitCode.OK


def shown(status: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of a status for people."""
    yield (
        f"h2gate {status['version']} (pid {status['pid']}) {status['state']}:"
        f" generation {status['generation']}, up {duration(status['uptime'])}"
    )
    yield f"config       {status['config']}"
    yield f"engine       {status['engine'] or 'none yet'}"
    listeners = [listener["address"] + (" (TLS)" if listener["tls"] else "") for listener in status["listeners"]]
    yield f"listeners    {', '.join(listeners) or 'none'}"
    yield f"last reload  {_reload(status['last_reload'])}"
    yield ""
    rows = [
        [
            duration(worker[column]) if column == "age" else "-" if worker[column] is None else str(worker[column])
            for column in COLUMNS
        ]
        for worker in status["workers"]
    ]
    yield from table([COLUMNS, *rows])


def table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield rows with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def duration(seconds: float) -> str:
    """Write a duration in its two largest units, as `2h 5m`; below a minute, in seconds."""
    left = int(seconds)
    parts: list[str] = []
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count or parts or size == 1:
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2])


def _reload(last: dict[str, Any] | None) -> str:
    if last is None:
        return "none"
    if last["ok"]:
        return f"{last['at']}: generation {last['generation']} serves"
    first = last["errors"][0].splitlines()[0]
    more = f" (and {len(last['errors']) - 1} more)" if len(last["errors"]) > 1 else ""
    return f"{last['at']}: failed, generation {last['generation']} stays: {first}{more}"
