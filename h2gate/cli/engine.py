"""Which make of the engines a gate runs on, and the one command that gives the native one where it is missing.

The rule: `--engine` wins over the config, at the start and at every reload.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import sysconfig
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, get_args
from urllib.parse import unquote, urlsplit

from h2gate import __version__
from h2gate.config.model import Config
from h2gate.config.problems import BadValue
from h2gate.errors import ExitCode, StartError
from h2gate.handover import EngineChoice
from h2gate.protocol import engines

PACKAGE = Path(__file__).parents[1]


def add_engine(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--engine", choices=get_args(engines.Wanted), help="make of the engines, whatever the configuration says"
    )


def chooser(args: argparse.Namespace) -> Callable[[Config], EngineChoice]:
    """Return what chooses for a configuration.

    It imports the make as well: in the master, so that the workers share its memory. It raises BadValue, or StartError
    if the option is to blame.
    """
    given: engines.Wanted | None = args.engine

    def choose(config: Config) -> EngineChoice:
        try:
            made = engines.choose(given or config.engine)
        except ImportError as failure:
            message = f"{_missing(str(failure))}; or take `auto`"
            if given is None:
                raise BadValue("engine", message) from None
            raise StartError(f"--engine {given}: {message}", ExitCode.BAD_CONFIG) from None
        return EngineChoice(made.name, _missing(made.native_is_missing) if made.native_is_missing else "")

    return choose


def _missing(why: str) -> str:
    return f"the native engine is missing ({why}); this gives it: {command()}"


def command() -> str:
    """Return the one command that builds the native make for this interpreter, as it was installed."""
    root = PACKAGE.parent
    if (root / "setup.py").exists():
        if Path(sys.prefix) == root / ".venv":
            make = shlex.join(["make", "-C", str(root), "native"])
            # For root it installs what it needs by itself.
            return make if os.geteuid() == 0 else f"{_libraries()} && {make}"
        return f"{_libraries()} && {_pip('--editable', str(root))}"
    return f"{_libraries()} && {_pip('--force-reinstall', '--no-deps', *_source())}"


def _libraries() -> str:
    """Return what installs all that the build needs; `setup.py` looks for the same."""
    packages = ["gcc", "libc6-dev", "pkg-config", "libnghttp2-dev"]
    if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
        packages.append("python3-dev")
    return shlex.join([*([] if os.geteuid() == 0 else ["sudo"]), "apt-get", "install", "-y", *packages])


def _pip(*arguments: str) -> str:
    return shlex.join([sys.executable, "-m", "pip", "install", *arguments])


def _source() -> list[str]:
    """Return pip's arguments for the source that the package was installed from."""
    origin = _origin()
    url = str(origin.get("url", ""))
    if "dir_info" in origin:
        return [unquote(urlsplit(url).path)]
    if "vcs_info" in origin:
        return [f"{origin['vcs_info']['vcs']}+{url}@{origin['vcs_info']['commit_id']}"]
    if url and not url.endswith(".whl"):
        return [url]
    # From an index. pip keeps the wheels it has built, and would take the one without the engine again.
    return ["--no-binary", "h2gate", "--no-cache-dir", f"h2gate=={__version__}"]


def _origin() -> dict[str, Any]:
    """Return what pip noted of the installation (PEP 610)."""
    try:
        text = metadata.distribution("h2gate").read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        text = None
    origin = json.loads(text) if text else {}
    return origin if isinstance(origin, dict) else {}
