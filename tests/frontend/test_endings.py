"""What a client's connection leaves behind: nothing that waits for the collector, which runs rarely in a worker."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from h2gate.protocol.contract import Http1Settings, Http2Settings
from h2gate.protocol.engines import Engines, choose
from tests.frontend.house import House
from tests.support.makes import need_native

HTTP1 = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
# SETTINGS, and a GET whose fields stand in the static table but for the authority.
HTTP2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0\0\0\6\1\5\0\0\0\1\x82\x86\x84\x41\x01a"


@pytest.fixture
def house() -> Iterator[House]:
    house = House()
    yield house
    house.close()


@pytest.fixture(params=["native", "python"])
def engines(request: pytest.FixtureRequest) -> Engines:
    if request.param == "native":
        need_native()
    return choose(request.param)


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.set_debug(0)
    gc.garbage.clear()
    gc.enable()


def left_to_the_collector() -> list[str]:
    gc.set_debug(gc.DEBUG_SAVEALL)
    gc.collect()
    return [type(found).__qualname__ for found in gc.garbage if type(found).__module__.startswith(("h2gate", "h2."))]


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize(
    "sent",
    [b"", HTTP1[:9], HTTP1, HTTP2[:24], HTTP2],
    ids=["nothing", "half a head", "HTTP/1.1", "a preface", "HTTP/2"],
)
@pytest.mark.parametrize("by_client", [True, False], ids=["client leaves", "gate leaves"])
def test_a_connection_that_is_over_leaves_nothing_to_the_collector(
    house: House, engines: Engines, sent: bytes, by_client: bool
) -> None:
    house.front.make_http1 = lambda scheme: engines.http1_server(Http1Settings(), scheme)
    house.front.make_http2 = lambda: engines.http2_server(Http2Settings())
    client = house.connect()
    client.sendall(sent)
    if sent in (HTTP1, HTTP2):
        house.request().answer(200, b"hello")
        house.wait_for(lambda: house.handler.sinks[0].framed == 5, "the answer")
        house.handler.sinks.clear()
    if by_client:
        client.close()
    else:
        house.front.shut_down()
        client.close()
    house.wait_for(lambda: not house.reactor.open_transports, "all closed")
    assert not house.front.sessions
    assert left_to_the_collector() == []


@pytest.mark.usefixtures("no_collector")
def test_a_client_that_leaves_before_an_answers_last_byte_leaves_nothing_to_the_collector(
    house: House, engines: Engines
) -> None:
    house.front.make_http2 = lambda: engines.http2_server(Http2Settings())
    client = house.connect()
    client.sendall(HTTP2)
    house.request().answer(200, b"y" * 100_000)
    house.wait_for(lambda: house.handler.sinks[0].framed == 65_535, "a full window")
    house.handler.sinks.clear()
    client.close()
    house.wait_for(lambda: not house.reactor.open_transports, "all closed")
    assert left_to_the_collector() == []
