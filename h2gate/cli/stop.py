"""`h2gate stop`: let the gate finish what runs, and wait until it is gone."""

from __future__ import annotations

import argparse

from h2gate.cli.gate import Gate, control_path
from h2gate.cli.options import add_control
from h2gate.errors import ExitCode, StartError


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "stop",
        help="drain and stop the gate",
        description="Accept nothing new, finish what runs, and wait until the gate is gone.",
    )
    add_control(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Wait until the gate is gone. Raises StartError where no gate answers."""
    with Gate(control_path(args)) as gate:
        answer = gate.ask("stop")
        if not answer["ok"]:
            raise StartError("; ".join(answer["errors"]))
        gate.wait_until_gone()
    print("stopped")
    return ExitCode.OK
