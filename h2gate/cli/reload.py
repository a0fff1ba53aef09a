"""`h2gate reload`: load the configuration anew, and tell what came of it."""

from __future__ import annotations

import argparse
import sys

from h2gate.cli.gate import Gate, control_path
from h2gate.cli.options import add_control
from h2gate.errors import ExitCode


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "reload",
        help="load the configuration anew",
        description="Load the configuration anew and wait until it serves. If it cannot, the old one stays in use.",
    )
    add_control(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Wait for the reload to be decided. Raises StartError where no gate answers."""
    with Gate(control_path(args)) as gate:
        answer = gate.ask("reload")
    if answer["ok"]:
        for warning in answer["warnings"]:
            print(f"warning: {warning}", file=sys.stderr)
        print(f"reloaded: generation {answer['generation']} serves")
        return ExitCode.OK
    for error in answer["errors"]:
        print(error, file=sys.stderr)
    print("h2gate: not reloaded: what served before goes on", file=sys.stderr)
    return ExitCode.FAILED
