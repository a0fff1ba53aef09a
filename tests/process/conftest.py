from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.stub import StubGate, config


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Callable[..., StubGate]]:
    """Start a gate with stub workers; all are ended with the test."""
    gates: list[StubGate] = []

    def start(text: str | None = None, **options: Any) -> StubGate:
        directory = tmp_path / f"gate{len(gates)}"
        directory.mkdir()
        if "mood" in options:
            (directory / "mood").write_text(options.pop("mood"))
        gates.append(StubGate(directory, config() if text is None else text, **options))
        return gates[-1]

    yield start
    for started in gates:
        started.end()
