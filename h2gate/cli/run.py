"""`h2gate run`: the gate itself, in the foreground."""

from __future__ import annotations

import argparse
import os

from h2gate.cli.engine import add_engine, chooser
from h2gate.cli.options import add_config, config_path
from h2gate.master import Master


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "run",
        help="run the gate",
        description="Run the gate in the foreground.",
        epilog="Signals: TERM drain and leave, INT and QUIT leave at once, HUP reload, USR1 reopen logs, "
        "TTIN and TTOU one worker more or less.",
    )
    add_config(parser)
    add_engine(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until told to stop. Raises StartError."""
    # Imported before the first fork, so that the workers share the memory; only this command needs it.
    from h2gate.worker.main import run_worker

    return Master(config_path(args), run_worker, chooser(args), os.environ).run()
