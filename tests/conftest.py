"""Fixtures of all tests, and the marker `large`."""

from __future__ import annotations

import pytest

from tests.support.certificates import Authority, Site


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "large: takes minutes; runs only by `pytest -m large`")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the large tests out unless a marker expression decides."""
    if config.option.markexpr:
        return
    large = [item for item in items if item.get_closest_marker("large")]
    if large:
        config.hook.pytest_deselected(items=large)
        items[:] = [item for item in items if item not in set(large)]


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def localhost(authority: Authority) -> Site:
    """A certificate for what tests connect to."""
    return authority.site("localhost", "gate.test", "IP:127.0.0.1")
