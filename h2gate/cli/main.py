"""`h2gate COMMAND`: finds the command's module and turns what it raises into one line and an exit code.

The rule: no traceback reaches an operator.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from h2gate import __version__, errorlog
from h2gate.cli import backend, check, reload, run, status, stop
from h2gate.config.problems import ConfigError
from h2gate.errors import ExitCode, StartError

COMMANDS = (run, check, status, reload, stop, backend)

# What a shell says of a command that SIGINT ended.
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    _have_standard_streams()
    args = _parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int] = args.run
    try:
        code = command(args)
        sys.stdout.flush()
        return code
    except ConfigError as failure:
        _complain(str(failure), f"h2gate: {_counted(len(failure.problems))} to correct")
        return failure.exit_code
    except StartError as failure:
        _complain(f"h2gate: {failure}")
        return failure.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # `h2gate status | head -1`: the interpreter must not fail at its last flush, either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.FAILED
    except Exception as failure:
        _complain(f"h2gate: internal error: {errorlog.summary(failure)}")
        return ExitCode.FAILED


def _have_standard_streams() -> None:
    """Let /dev/null stand for a standard stream that is closed (`h2gate run >&-`).

    Else the next file or socket opened would get its number, and what is meant for the operator.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, os.O_RDWR)
            if descriptor != number:
                os.dup2(descriptor, number)
                os.close(descriptor)
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115 (for good)


class _Parser(argparse.ArgumentParser):
    """Options are written out: an abbreviation in a script would change its meaning with the next option we add."""

    def __init__(self, **words: Any) -> None:
        super().__init__(**words, allow_abbrev=False)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="h2gate", description="A reverse proxy whose backends speak HTTP/2 only.")
    parser.add_argument("-V", "--version", action="version", version=f"h2gate {__version__}")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add_parser(subparsers)
    return parser


def _counted(problems: int) -> str:
    return "1 problem" if problems == 1 else f"{problems} problems"


def _complain(*lines: str) -> None:
    for line in lines:
        print(line, file=sys.stderr)
