"""The options that several commands share."""

from __future__ import annotations

import argparse
from pathlib import Path

# In a checkout its own file, which a package does not have; else the system's.
CHECKOUT_CONFIG = Path("etc/h2gate.yaml")
SYSTEM_CONFIG = Path("/etc/h2gate/h2gate.yaml")


def add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-c",
        "--config",
        metavar="FILE",
        type=Path,
        help=f"configuration file; default {CHECKOUT_CONFIG} if it exists, else {SYSTEM_CONFIG}",
    )


def add_control(parser: argparse.ArgumentParser) -> None:
    add_config(parser)
    parser.add_argument("--control", metavar="PATH", type=Path, help="the gate's control socket; default as configured")


def config_path(args: argparse.Namespace) -> Path:
    given: Path | None = args.config
    if given is not None:
        return given
    return CHECKOUT_CONFIG if CHECKOUT_CONFIG.exists() else SYSTEM_CONFIG
