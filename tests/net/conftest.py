from __future__ import annotations

from collections.abc import Iterator

import pytest

from h2gate.net.reactor import Reactor
from tests.net.support import watched_reactor


@pytest.fixture
def reactor() -> Iterator[Reactor]:
    with watched_reactor() as made:
        yield made
