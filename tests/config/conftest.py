"""Files to load, and what is said of them."""

from __future__ import annotations

import contextlib
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from h2gate.config.loader import ConfigError, load
from h2gate.config.model import Config

GOOD = """\
listeners: [{address: "127.0.0.1:8080"}]
routes: [{backend: "h2c://127.0.0.1:9000"}]
"""


class Files:
    """A directory of configuration files."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def write(self, name: str, text: str | bytes) -> Path:
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else textwrap.dedent(text).encode())
        return path

    def load(self, text: str | bytes, **environ: str) -> Config:
        return load(self.write("h2gate.yaml", text), environ)

    def problems(self, text: str | bytes, **environ: str) -> list[str]:
        """Return the first line of each problem, without the directory."""
        return [str(problem).splitlines()[0] for problem in self.refused(text, **environ).problems]

    def refused(self, text: str | bytes, **environ: str) -> ConfigError:
        path = self.write("h2gate.yaml", text)
        # Named without its directory, as an operator may, so that places read the same everywhere.
        with contextlib.chdir(self.directory), pytest.raises(ConfigError) as caught:
            load(path.relative_to(self.directory), environ)
        return caught.value


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@pytest.fixture
def problems(files: Files) -> Callable[..., list[str]]:
    return files.problems
