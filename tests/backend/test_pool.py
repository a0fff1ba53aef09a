"""Leases: which connection, when to dial, who waits how long, and that no order of events loops or forgets anybody."""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from h2gate.backend.connection import BackendConnection
from h2gate.backend.endpoint import EndpointState
from h2gate.backend.pool import decide
from h2gate.config.model import Pool as PoolConfig
from h2gate.errors import ErrorCode, Failure, Reason
from h2gate.net.reactor import Reactor
from h2gate.net.transport import Transport
from h2gate.protocol.contract import Http2Settings
from tests.backend.fake_backend import Connection
from tests.backend.house import House, Request
from tests.net.support import run_until, turn
from tests.support.ports import refusing_port


def answer_all(connection: Connection, stream_id: int) -> None:
    connection.respond(stream_id, b"hello")


# The decision


def connections(*loads: int, limit: int = 100) -> list[BackendConnection]:
    return [
        SimpleNamespace(streams=range(load), stream_limit=limit)  # type: ignore[misc]
        for load in loads
    ]


def test_the_busiest_connection_below_the_target_takes_the_request() -> None:
    made = connections(1, 31, 3, 32)
    assert decide(made, 0, 0, PoolConfig()) == (made[1], False)


def test_beyond_the_target_the_least_busy_one_does() -> None:
    made = connections(40, 33, 100)
    assert decide(made, 0, 0, PoolConfig(max_connections=3)) == (made[1], False)


def test_beyond_the_target_on_all_of_them_another_is_dialled_while_they_fill() -> None:
    made = connections(32, 33)
    assert decide(made, 0, 0, PoolConfig()) == (made[0], True)
    assert decide(made, 1, 0, PoolConfig()) == (made[0], False), "one dial for it is under way"


def test_at_the_most_connections_they_fill_and_then_requests_wait() -> None:
    made = connections(99, 40)
    assert decide(made, 0, 0, PoolConfig(max_connections=2)) == (made[1], False)
    assert decide(connections(100, 100), 0, 5, PoolConfig(max_connections=2)) == (None, False)


def test_one_stream_at_a_time_dials_for_each_request() -> None:
    config = PoolConfig(max_streams=1)
    assert decide(connections(1, limit=1), 0, 0, config) == (None, True)
    assert decide(connections(1, limit=1), 1, 0, config) == (None, False)
    assert decide(connections(1, limit=1), 1, 1, config) == (None, True)


@given(
    st.lists(st.integers(0, 100), max_size=9),
    st.integers(0, 9),
    st.integers(0, 2000),
    st.integers(1, 8),
    st.integers(1, 100),
    st.integers(1, 100),
)
def test_a_decision_never_exceeds_a_limit_and_never_leaves_a_first_request_without_a_dial(
    loads: list[int], dialing: int, waiting: int, max_connections: int, target: int, limit: int
) -> None:
    config = PoolConfig(max_connections=max_connections, target_streams=target, max_streams=limit)
    made = connections(*loads, limit=limit)
    connection, dial = decide(made, dialing, waiting, config)
    if connection is not None:
        assert len(connection.streams) < connection.stream_limit
        below = [load for load in loads if load < min(target, limit)]
        assert len(connection.streams) == (max(below) if below else min(loads))
    if dial:
        assert len(made) + dialing < max_connections
    if connection is None and not dial:
        assert dialing or len(made) >= max_connections


# Leases over real connections


def test_requests_share_connections_past_the_target_and_up_to_the_limits(house: House) -> None:
    fake = house.fake()
    pool = house.pool(fake.url, max_connections=2, target_streams=2, max_streams=3)
    requests = [house.request(pool) for _ in range(8)]
    run_until(lambda: fake.requests == 6)
    turn()
    assert [len(connection.requests) for connection in fake.connections] == [3, 3]
    assert pool.waiting == 2
    assert pool.endpoint.in_use == 8
    fake.answer = answer_all
    for connection in fake.connections:
        for stream_id in list(connection.requests):
            connection.respond(stream_id, b"hello")
    house.settled(*requests)
    assert all(request.data == b"hello" for request in requests)
    assert len(fake.connections) == 2
    assert pool.endpoint.in_use == 0


def test_the_first_requests_go_out_before_the_backends_settings(house: House) -> None:
    """RFC 9113, 3.4; sixteen of them, since nothing is known of its limit."""
    fake = house.fake()
    fake.is_deaf = True
    pool = house.pool(fake.url, max_connections=1)
    requests = [house.request(pool) for _ in range(20)]
    run_until(lambda: sum(request.stream is not None for request in requests) == 16)
    assert pool.waiting == 4
    fake.answer = answer_all
    fake.is_deaf = False
    fake.only.hear()
    house.settled(*requests)
    assert all(request.data == b"hello" for request in requests)


def test_a_lower_limit_than_what_runs_admits_nobody_until_enough_have_ended(house: House) -> None:
    fake = house.fake(settings=Http2Settings(max_streams=2))
    pool = house.pool(fake.url, max_connections=1)
    requests = [house.request(pool) for _ in range(4)]
    run_until(lambda: any(request.failure for request in requests))
    turn()
    # The engine refuses what is beyond its limit; those may be sent again.
    assert [request.failure for request in requests[2:]] == [Failure(Reason.REFUSED_STREAM)] * 2
    (connection,) = pool.connections
    assert connection.stream_limit == 2
    waiting = house.request(pool)
    assert waiting.stream is None
    fake.only.respond(1)
    house.settled(requests[0])
    assert waiting.stream is not None


def test_another_settings_may_lower_and_raise_the_limit(house: House) -> None:
    fake = house.fake()
    pool = house.pool(fake.url, max_connections=1)
    first = house.request(pool)
    run_until(lambda: first.stream and fake.requests)
    turn()
    fake.only.send_raw(b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x01")
    (connection,) = pool.connections
    run_until(lambda: connection.stream_limit == 1)
    second = house.request(pool)
    assert second.stream is None
    fake.only.send_raw(b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x05")
    run_until(lambda: second.stream)
    fake.answer = answer_all
    for stream_id in (1, 3):
        fake.only.respond(stream_id)
    house.settled(first)


def test_waiters_are_served_in_order_and_first_ones_before_them(house: House) -> None:
    fake, log = house.fake(), list[str]()
    fake.answer = answer_all
    pool = house.pool(fake.url, max_connections=1, max_streams=1)
    requests = [house.request(pool, Request(name, log)) for name in "abc"]
    requests.append(house.request(pool, Request("first", log), first=True))
    house.settled(*requests)
    assert [line for line in log if "leased" in line] == ["first leased", "a leased", "b leased", "c leased"]


def test_a_request_for_which_there_is_room_is_leased_in_the_call(house: House) -> None:
    fake = house.fake()
    pool = house.pool(fake.url)
    house.request(pool)
    run_until(lambda: pool.connections)
    second = Request()
    pool.acquire(second)
    assert second.stream is not None


def test_a_waiter_that_opens_no_stream_leaves_the_lease_to_the_next(house: House) -> None:
    fake = house.fake()
    pool = house.pool(fake.url, max_connections=1, max_streams=1)
    idle, busy = Request(), Request()
    idle.opens = False
    house.request(pool, idle)
    house.request(pool, busy)
    run_until(lambda: busy.stream)
    assert idle.log == [" leased"]


def test_a_full_queue_refuses_at_once(house: House) -> None:
    fake = house.fake()
    pool = house.pool(fake.url, max_connections=1, max_streams=1, queue=2)
    running = house.request(pool)
    run_until(lambda: running.stream and not pool.dialing)
    waiting = [house.request(pool) for _ in range(2)]
    refused = house.request(pool)
    assert refused.lease_failure == Failure(Reason.QUEUE_FULL)
    assert [request.lease_failure for request in waiting] == [None, None]
    again = house.request(pool, first=True)
    assert again.lease_failure is None
    for request in (*waiting, again):
        pool.withdraw(request)


def test_requests_that_wait_for_the_first_dials_are_no_queue(house: House) -> None:
    fake = house.fake()
    fake.answer = answer_all
    pool = house.pool(fake.url, queue=0, max_connections=2)
    requests = [house.request(pool) for _ in range(40)]
    refused = [request for request in requests if request.lease_failure]
    assert len(refused) == 40 - 32
    house.settled(*requests)


def test_waiting_has_an_end(house: House) -> None:
    fake = house.fake()
    pool = house.pool(fake.url, max_connections=1, max_streams=1, queue_timeout=5.0)
    running = house.request(pool)
    run_until(lambda: running.stream)
    waiting = house.request(pool)
    run_until(lambda: pool.connections[0].has_settings)
    house.pass_time(4.8)
    assert waiting.lease_failure is None
    house.pass_time(0.5)
    assert waiting.lease_failure == Failure(Reason.QUEUE_TIMEOUT)
    assert pool.waiting == 0


def test_a_waiter_that_withdraws_hears_nothing_more(house: House) -> None:
    fake = house.fake()
    pool = house.pool(fake.url)
    request = house.request(pool)
    pool.withdraw(request)
    pool.withdraw(request)
    run_until(lambda: pool.connections)
    turn()
    house.pass_time(10)
    assert request.log == []
    assert pool.endpoint.in_use == 0


def test_a_waiter_that_raises_is_logged_and_costs_nobody_else(house: House, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Request):
        def on_lease(self, connection: BackendConnection) -> None:
            raise RuntimeError("out of order")

    fake = house.fake()
    fake.answer = answer_all
    pool = house.pool(fake.url)
    with caplog.at_level(logging.ERROR, "h2gate"):
        broken, well = house.request(pool, Broken()), house.request(pool)
        house.settled(broken, well)
    assert broken.lease_failure == Failure(Reason.INTERNAL)
    assert well.data == b"hello"
    assert len(caplog.records) == 1


# Re-entrancy: what is asked for or given up within the pool's own calls


def test_leases_that_end_at_once_are_served_in_a_flat_stack(house: House) -> None:
    class Quick(Request):
        def on_lease(self, connection: BackendConnection) -> None:
            super().on_lease(connection)
            assert self.stream is not None
            self.stream.reset(ErrorCode.CANCEL)
            self.is_done = True

    fake = house.fake()
    pool = house.pool(fake.url, max_connections=1, max_streams=1, queue=3000)
    requests = [house.request(pool, Quick()) for _ in range(2000)]
    house.settled(*requests)
    assert pool.endpoint.in_use == 0


def test_an_ending_stream_may_start_another_request_within_the_call(house: House) -> None:
    fake = house.fake()
    fake.answer = answer_all
    pool = house.pool(fake.url, max_connections=1, max_streams=1)
    first, second, third = Request(), Request(), Request()
    first.then = lambda: pool.acquire(second)
    second.then = lambda: pool.acquire(third)
    house.request(pool, first)
    house.settled(first, second, third)
    assert third.data == b"hello"


def test_a_refused_lease_may_make_other_waiters_withdraw(house: House) -> None:
    with refusing_port() as port:
        pool = house.pool(f"h2c://127.0.0.1:{port}")
        first, second, third = Request("1"), Request("2"), Request("3")
        first.then = lambda: pool.withdraw(second)
        for request in (first, second, third):
            house.request(pool, request)
        house.settled(first, third)
    assert second.log == []


def test_a_refused_lease_that_is_wanted_again_at_once_gets_a_dial_of_its_own(house: House) -> None:
    with refusing_port() as port:
        pool = house.pool(f"h2c://127.0.0.1:{port}")
        first, again = Request(), Request()
        first.then = lambda: pool.acquire(again)
        house.request(pool, first)
        house.settled(first, again)
    assert again.lease_failure == Failure(Reason.CONNECT_REFUSED)


def test_a_lost_connection_whose_requests_reset_each_other_tells_each_once(house: House) -> None:
    fake = house.fake()
    pool = house.pool(fake.url)
    first, second = house.request(pool), house.request(pool)
    run_until(lambda: fake.requests == 2)

    def reset_second() -> None:
        assert second.stream is not None
        second.stream.reset(ErrorCode.CANCEL)

    first.then = reset_second
    fake.only.abort()
    house.settled(first)
    turn()
    assert second.log == [" leased"]
    assert pool.endpoint.in_use == 0


# Backends that cannot be reached, or are none


def test_all_that_wait_for_a_refused_dial_fail_with_it(house: House, caplog: pytest.LogCaptureFixture) -> None:
    with refusing_port() as port, caplog.at_level(logging.WARNING, "h2gate"):
        pool = house.pool(f"h2c://127.0.0.1:{port}")
        requests = [house.request(pool) for _ in range(100)]
        house.settled(*requests)
        assert {request.lease_failure for request in requests} == {Failure(Reason.CONNECT_REFUSED)}
        assert pool.endpoint.state is EndpointState.EJECTED
        assert pool.dialing == 0
        again = house.request(pool)
        house.settled(again)
    assert [record.getMessage() for record in caplog.records] == [
        f"h2c://127.0.0.1:{port} does not answer: connect_refused"
    ]


def send(data: bytes, then: Callable[[Transport], None]) -> Callable[[Transport], None]:
    def greet(transport: Transport) -> None:
        transport.write(data)
        then(transport)

    return greet


HTTP1 = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize(
    ("greet", "reasons"),
    [
        (Transport.finish, {Reason.BACKEND_CLOSED}),
        (Transport.abort, {Reason.BACKEND_CLOSED}),
        (send(HTTP1, Transport.finish), {Reason.BACKEND_HTTP1}),
        (send(b"\x00\xffgarbage" * 40, Transport.finish), {Reason.BACKEND_PROTOCOL}),
        (send(b"SSH-2.0-OpenSSH_9.2\r\n", Transport.finish), {Reason.BACKEND_PROTOCOL, Reason.BACKEND_CLOSED}),
    ],
    ids=["closes", "resets", "http1", "garbage", "ssh"],
)
def test_what_is_no_http2_backend_fails_those_that_wait_and_is_not_dialled_for_each_of_them(
    house: House, greet: Callable[[Transport], None], reasons: set[Reason]
) -> None:
    fake = house.fake()
    fake.greet = greet
    pool = house.pool(fake.url, max_streams=1, max_connections=2)
    requests = [house.request(pool) for _ in range(50)]
    house.settled(*requests)
    found = {(request.failure or request.lease_failure or Failure(Reason.INTERNAL)).reason for request in requests}
    assert found <= reasons
    assert len(fake.connections) <= 2
    assert pool.endpoint.state is EndpointState.EJECTED


def test_settings_that_never_come_are_a_connect_timeout(house: House) -> None:
    fake = house.fake()
    fake.is_deaf = True
    pool = house.pool(fake.url, connect_timeout=3.0, queue_timeout=10.0, max_connections=1)
    requests = [house.request(pool) for _ in range(20)]
    run_until(lambda: requests[15].stream)
    house.pass_time(2.7)
    assert not any(request.is_over for request in requests)
    house.pass_time(0.5)
    expected = Failure(Reason.CONNECT_TIMEOUT, "no SETTINGS from the backend")
    assert {request.failure or request.lease_failure for request in requests} == {expected}
    assert pool.endpoint.state is EndpointState.EJECTED
    run_until(lambda: fake.only.is_over)


def test_a_dial_that_fails_while_others_serve_lets_the_waiting_wait(house: House) -> None:
    fake = house.fake()
    fake.answer = None
    pool = house.pool(fake.url, max_streams=1)
    running = house.request(pool)
    run_until(lambda: running.stream and pool.connections[0].has_settings and fake.requests)
    fake.stop_listening()
    waiting = house.request(pool)
    run_until(lambda: pool.endpoint.state is EndpointState.EJECTED)
    assert not waiting.is_over
    assert pool.dialing == 0
    more = house.request(pool)
    assert pool.dialing == 0, "not before the pause is over"
    house.later(2)
    last = house.request(pool)
    assert pool.dialing == 1, "one probe for all of them"
    fake.only.respond(1)
    fake.answer = answer_all
    house.settled(running, waiting, more, last)
    assert [request.data for request in (waiting, more, last)] == [b"hello"] * 3


def test_an_endpoint_is_up_again_once_its_settings_have_come(house: House) -> None:
    fake = house.fake()
    fake.answer = answer_all
    fake.greet = Transport.finish
    pool = house.pool(fake.url)
    house.settled(house.request(pool))
    assert pool.endpoint.state is EndpointState.EJECTED
    fake.greet, fake.is_deaf = None, False
    again = house.request(pool)
    house.settled(again)
    assert again.data == b"hello"
    assert pool.endpoint.state is EndpointState.UP


def test_a_probe_that_nobody_wants_any_more_leaves_the_endpoint_to_another(house: House) -> None:
    fake = house.fake()
    fake.is_deaf = True
    pool = house.pool(fake.url, max_requests=1)
    pool.endpoint.on_dial_failed(house.clock.now, Failure(Reason.CONNECT_REFUSED))
    house.later(2)
    assert pool.endpoint.is_usable(house.clock.now)
    request = house.request(pool)
    assert not pool.endpoint.is_usable(house.clock.now)
    run_until(lambda: request.stream)
    assert request.stream is not None
    request.stream.reset(ErrorCode.CANCEL)
    assert pool.endpoint.state is EndpointState.PROBING
    assert pool.endpoint.is_usable(house.clock.now)


def test_the_waiting_get_another_connection_when_a_proved_one_breaks(house: House) -> None:
    fake = house.fake()
    pool = house.pool(fake.url, max_connections=1, max_streams=1)
    running = house.request(pool)
    run_until(lambda: running.stream and pool.connections[0].has_settings and fake.requests)
    waiting = house.request(pool)
    fake.answer = answer_all
    fake.only.abort()
    house.settled(running, waiting)
    assert running.failure == Failure(Reason.BACKEND_CLOSED, "Connection reset by peer")
    assert waiting.data == b"hello"
    assert pool.endpoint.state is EndpointState.UP


# Housekeeping


def open_connections(house: House, count: int, **config: float) -> tuple[object, object]:
    fake = house.fake()
    pool = house.pool(fake.url, max_streams=1, **config)
    requests = [house.request(pool) for _ in range(count)]
    run_until(lambda: fake.requests == count)
    for connection in fake.connections:
        connection.respond(1)
    house.settled(*requests)
    return fake, pool


def test_idle_connections_are_closed_but_for_one(house: House) -> None:
    fake, pool = open_connections(house, 3, idle_timeout=60.0)
    pool.tidy(house.clock.now + 59)  # type: ignore[attr-defined]
    assert len(pool.connections) == 3  # type: ignore[attr-defined]
    pool.tidy(house.clock.now + 61)  # type: ignore[attr-defined]
    assert len(pool.connections) == 1  # type: ignore[attr-defined]
    run_until(lambda: sum(bool(c.goaways) for c in fake.connections) == 2)  # type: ignore[attr-defined]
    run_until(lambda: sum(c.is_over for c in fake.connections) == 2)  # type: ignore[attr-defined]


def test_a_connection_in_use_is_warm_enough(house: House) -> None:
    fake = house.fake()
    pool = house.pool(fake.url, max_streams=1, idle_timeout=60.0)
    first, second = house.request(pool), house.request(pool)
    run_until(lambda: fake.requests == 2)
    fake.connections[0].respond(1)
    run_until(lambda: first.is_over or second.is_over)
    pool.tidy(house.clock.now + 61)
    assert len(pool.connections) == 1
    assert pool.connections[0].streams


@pytest.mark.parametrize("limit", ["age", "requests"])
def test_an_old_connection_drains_and_another_takes_its_place(house: House, limit: str) -> None:
    fake = house.fake()
    config = {"max_age": 100.0} if limit == "age" else {"max_requests": 5}
    pool = house.pool(fake.url, **config)
    running = house.request(pool)
    run_until(lambda: fake.requests == 1)
    fake.answer = answer_all
    if limit == "age":
        house.later(111)
        pool.tidy(house.clock.now)
    else:
        # 5 +-10 %, one of which is running
        while pool.connections:
            house.settled(house.request(pool))
        assert 4 <= fake.requests <= 6
    assert not pool.connections
    later = house.request(pool)
    house.settled(later)
    assert len(fake.connections) == 2
    assert not running.is_over
    fake.connections[0].respond(1, b"at last")
    house.settled(running)
    assert running.data == b"at last"
    run_until(lambda: fake.connections[0].is_over)


def test_connections_opened_together_do_not_leave_together(house: House) -> None:
    _, pool = open_connections(house, 8, max_age=1000.0)
    moments = sorted(connection._retire_at - house.clock.now for connection in pool.connections)  # type: ignore[attr-defined]
    assert 900 <= moments[0] < moments[-1] <= 1100


def test_preconnect_dials_once(house: House) -> None:
    fake = house.fake()
    pool = house.pool(fake.url)
    pool.preconnect()
    pool.preconnect()
    run_until(lambda: pool.connections and pool.connections[0].has_settings)
    pool.preconnect()
    assert len(fake.connections) == 1
    assert pool.dialing == 0


def test_a_closing_pool_serves_what_still_comes_and_lets_idle_connections_go(house: House) -> None:
    fake = house.fake()
    pool = house.pool(fake.url)
    running = house.request(pool)
    run_until(lambda: fake.requests == 1)
    pool.close()
    assert len(pool.connections) == 1
    fake.answer = answer_all
    late = house.request(pool)
    house.settled(late)
    fake.only.respond(1)
    house.settled(running)
    assert not pool.connections
    run_until(lambda: fake.only.is_over)
    latest = house.request(pool)
    house.settled(latest)
    assert latest.data == b"hello"
    run_until(lambda: not pool.connections)


def test_a_closing_pool_gives_up_dials_nobody_waits_for(house: House) -> None:
    fake = house.fake()
    pool = house.pool(fake.url)
    pool.preconnect()
    pool.close()
    run_until(lambda: not pool.dialing)
    assert not pool.connections


def test_an_engine_that_cannot_be_made_costs_the_request_and_leaves_no_socket(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> object:
        raise RuntimeError("out of order")

    fake = house.fake()
    pool = house.pool(fake.url)
    pool._make_engine = broken  # type: ignore[assignment]
    with caplog.at_level(logging.ERROR, "h2gate"):
        request = house.request(pool)
        house.settled(request)
    assert request.lease_failure == Failure(Reason.INTERNAL)
    assert "out of order" in caplog.text


def test_a_pool_tells_its_state_in_a_line(house: House, reactor: Reactor) -> None:
    fake = house.fake()
    pool = house.pool(fake.url, max_connections=1, max_streams=1)
    requests = [house.request(pool) for _ in range(3)]
    run_until(lambda: requests[0].stream)
    assert repr(pool) == (
        f"<Pool {fake.url} [requests: 1 active, 2 queued | connections: 1 active, 0 idle, 0 dialing]>"
    )
    for request in requests[1:]:
        pool.withdraw(request)
