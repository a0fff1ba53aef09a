"""Fixtures of the tests of a whole gate."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.certificates import Authority, Site
from tests.support.gate import Gate
from tests.support.house import KINDS, Client, House, house_in
from tests.support.http1_client import Http1Client
from tests.support.http2_client import Http2Client
from tests.support.makes import need_native


@pytest.fixture(scope="module", params=["native", "python"], autouse=True)
def engine(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run every test on both makes of the engines: all of a module on one, then on the other."""
    if request.param == "native":
        need_native()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Gate, "engine", request.param)
        yield request.param
        # A fixture of the module that starts a gate has to ask for `engine`: else pytest keeps it for the other make.
        assert not Gate.running, "a gate outlives the make it was started for"


@pytest.fixture(scope="module")
def house(
    engine: str, tmp_path_factory: pytest.TempPathFactory, authority: Authority, localhost: Site
) -> Iterator[House]:
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
