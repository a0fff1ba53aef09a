"""Fixtures of the HTTP/2 engine tests."""

from __future__ import annotations

import pytest

from tests.support.http2_engine import MAKES, BackendSide, ClientSide, Make


@pytest.fixture(params=MAKES.values(), ids=MAKES)
def http2_make(request: pytest.FixtureRequest) -> Make:
    made: Make = request.param
    return made


@pytest.fixture
def client(http2_make: Make) -> ClientSide:
    """A raw client that talks to a server engine with default settings."""
    return ClientSide(http2_make)


@pytest.fixture
def backend(http2_make: Make) -> BackendSide:
    """A raw server that talks to a client engine with default settings."""
    return BackendSide(http2_make)
