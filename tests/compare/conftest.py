"""Fixtures of the comparisons."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.compare.sides import Arena
from tests.support.makes import need_native

COMPARISONS = 40
"""A module's at most."""


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    need_native()
    with Arena(tmp_path_factory.mktemp("arena"), COMPARISONS) as arena:
        yield arena
