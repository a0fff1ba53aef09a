"""Fixtures of the tests of a whole gate."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.certificates import Authority, Site
from tests.support.house import KINDS, Client, House, house_in
from tests.support.http1_client import Http1Client
from tests.support.http2_client import Http2Client


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, authority: Authority, localhost: Site) -> Iterator[House]:
    """A house for the whole module: its tests leave nothing running in it."""
    with house_in(tmp_path_factory.mktemp("house"), authority, localhost) as house:
        yield house


@pytest.fixture(params=KINDS)
def client(request: pytest.FixtureRequest, house: House) -> Iterator[Client]:
    with house.client(request.param) as client:
        yield client


@pytest.fixture
def http1(house: House) -> Iterator[Http1Client]:
    with house.gate.http1() as client:
        yield client


@pytest.fixture
def http2(house: House) -> Iterator[Http2Client]:
    with house.gate.http2() as client:
        yield client
