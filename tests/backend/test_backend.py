"""A backend of several endpoints: turns, failures, and the ways in which its config reaches its pools."""

from __future__ import annotations

from h2gate.backend.endpoint import EndpointState
from tests.backend.fake_backend import Connection
from tests.backend.house import House, Request
from tests.net.support import run_until
from tests.support.certificates import Authority
from tests.support.ports import refusing_port


def answer_all(connection: Connection, stream_id: int) -> None:
    connection.respond(stream_id, b"hello")


def test_endpoints_take_turns_by_weight(house: House) -> None:
    strong, weak = house.fake(), house.fake()
    backend = house.backend(f"{strong.url}*3", weak.url)
    chosen = [backend.choose([]).endpoint.name for _ in range(8)]
    assert chosen.count(strong.url) == 6
    assert chosen.count(weak.url) == 2


def test_least_requests_counts_those_that_wait_too(house: House) -> None:
    first, second = house.fake(), house.fake()
    backend = house.backend(first.url, second.url, balance="least_requests")
    requests = [house.request(backend.choose([])) for _ in range(10)]
    assert [pool.waiting for pool in backend.pools] == [5, 5]
    first.answer = second.answer = answer_all
    house.settled(*requests)


def test_a_request_goes_to_an_endpoint_that_it_has_not_tried(house: House) -> None:
    first, second = house.fake(), house.fake()
    backend = house.backend(first.url, second.url)
    for _ in range(4):
        assert backend.choose([backend.endpoints[0]]).endpoint is backend.endpoints[1]


def test_an_endpoint_that_refuses_is_skipped_and_found_again(house: House) -> None:
    fake = house.fake()
    fake.answer = answer_all
    with refusing_port() as port:
        backend = house.backend(f"h2c://127.0.0.1:{port}", fake.url)
        broken = backend.endpoints[0]
        house.settled(house.request(backend.pools[1]))
        while broken.state is EndpointState.UP:
            house.settled(house.request(backend.choose([])))
        assert all(backend.choose([]).endpoint is not broken for _ in range(20))
        house.later(2)
        probes = [request for _ in range(4) if (request := house.request(backend.choose([]))).stream is None]
        assert len(probes) == 1
        house.settled(*probes)
        assert broken.state is EndpointState.EJECTED


def test_if_all_endpoints_refuse_the_first_request_after_their_return_is_served(house: House) -> None:
    fake = house.fake()
    fake.answer = answer_all
    with refusing_port() as port, refusing_port() as other:
        backend = house.backend(f"h2c://127.0.0.1:{port}", f"h2c://127.0.0.1:{other}")
        for _ in range(4):
            house.settled(house.request(backend.choose([])))
        assert {endpoint.state for endpoint in backend.endpoints} == {EndpointState.EJECTED}
    backend.pools[0].endpoint.url = backend.pools[1].endpoint.url = type(backend.endpoints[0].url).parse(fake.url)
    request = house.request(backend.choose([]))
    house.settled(request)
    assert request.data == b"hello"


def test_preconnect_tidy_and_close_reach_every_pool(house: House) -> None:
    fakes = [house.fake(), house.fake()]
    backend = house.backend(*(fake.url for fake in fakes), pool={"max_age": 100.0})
    backend.preconnect()
    run_until(lambda: all(pool.connections and pool.connections[0].has_settings for pool in backend.pools))
    backend.tidy(house.clock.now + 111)
    assert not any(pool.connections for pool in backend.pools)
    backend.preconnect()
    run_until(lambda: all(pool.connections and pool.connections[0].has_settings for pool in backend.pools))
    backend.close()
    backend.close()
    assert not any(pool.connections for pool in backend.pools)


def test_tls_is_for_h2_endpoints_and_takes_the_configured_name(house: House, authority: Authority) -> None:
    secure = house.fake(tls=authority.server_context(authority.site("app.internal"), "h2"))
    clear = house.fake()
    secure.answer = clear.answer = answer_all
    backend = house.backend(secure.url, clear.url, tls=authority.client_context("h2"), server_name="app.internal")
    requests = [house.request(pool, Request()) for pool in backend.pools]
    house.settled(*requests)
    assert [request.data for request in requests] == [b"hello", b"hello"]
