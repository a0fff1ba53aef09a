"""Extended CONNECT on a backend's connection: what the backend takes, and two directions that end one by one."""

from __future__ import annotations

import gc
import logging

import pytest

from h2gate.backend.connection import BackendConnection
from h2gate.errors import ErrorCode, Failure, Reason
from h2gate.net.transport import HIGH_WATER_BYTES
from h2gate.protocol.contract import Http2Settings
from h2gate.protocol.events import RequestHead, ResponseHead
from tests.backend.fake_backend import FakeBackend
from tests.backend.house import House, Request
from tests.net.support import run_until, turn

TUNNELS = Http2Settings(enable_connect=True)


class Tunnel(Request):
    def on_lease(self, connection: BackendConnection) -> None:
        head = RequestHead(b"CONNECT", b"http", b"test", b"/", protocol=b"websocket")
        self.stream = connection.open_stream(head, False, self)

    def on_request_framed(self, size: int) -> None:
        # Also behind the end of the backend's direction.
        self.framed += size


class Asking(Request):
    """Wants to know what the backend takes before it opens a stream."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: list[Failure | None] = []
        self.connection: BackendConnection | None = None

    def on_lease(self, connection: BackendConnection) -> None:
        self.connection = connection
        connection.when_settled(self.answers.append)


def opened(house: House, status: int = 200) -> tuple[FakeBackend, BackendConnection, Tunnel]:
    """A tunnel whose head is back, on a connection whose SETTINGS are here."""
    fake = house.fake(settings=TUNNELS)
    pool = house.pool(fake.url)
    pool.preconnect()
    run_until(lambda: pool.connections and pool.connections[0].has_settings)
    tunnel = Tunnel()
    house.request(pool, tunnel)
    run_until(lambda: fake.requests == 1)
    fake.only.engine.send_head(1, ResponseHead(status), False)
    fake.only.flush()
    run_until(lambda: tunnel.head is not None)
    return fake, pool.connections[0], tunnel


def send(house: House, tunnel: Tunnel, data: bytes, end_stream: bool) -> None:
    assert tunnel.stream is not None
    tunnel.stream.send_data(data, end_stream)
    house.flush_queue.run()


def answer(fake: FakeBackend, data: bytes, end_stream: bool) -> None:
    fake.only.engine.send_data(1, data, end_stream)
    fake.only.flush()


# What the backend takes


@pytest.mark.parametrize("takes", [True, False])
def test_a_connection_knows_after_the_settings_whether_it_takes_extended_connect(house: House, takes: bool) -> None:
    fake = house.fake(settings=Http2Settings(enable_connect=takes))
    fake.is_deaf = True
    pool = house.pool(fake.url)
    request = Asking()
    house.request(pool, request)
    run_until(lambda: request.connection is not None and fake.connections)
    assert request.connection is not None
    assert not request.connection.takes_connect
    assert request.answers == []
    fake.is_deaf = False
    fake.only.hear()
    run_until(lambda: request.answers)
    assert request.answers == [None]
    assert request.connection.takes_connect is takes
    late: list[Failure | None] = []
    request.connection.when_settled(late.append)
    assert late == [None]


def test_who_waits_for_settings_hears_that_the_connection_is_lost(house: House) -> None:
    fake = house.fake()
    fake.is_deaf = True
    pool = house.pool(fake.url)
    request = Asking()
    house.request(pool, request)
    run_until(lambda: request.connection is not None and fake.connections)
    fake.only.abort()
    run_until(lambda: request.answers)
    (failure,) = request.answers
    assert failure is not None
    assert failure.reason is Reason.BACKEND_CLOSED
    assert request.connection is not None
    request.connection.when_settled(request.answers.append)
    assert request.answers[1] == Failure(Reason.BACKEND_CLOSED, "closed before the backend's SETTINGS")


def test_who_waits_for_settings_that_never_come_hears_of_it(house: House) -> None:
    fake = house.fake()
    fake.is_deaf = True
    pool = house.pool(fake.url, connect_timeout=1.0)
    request = Asking()
    house.request(pool, request)
    run_until(lambda: request.connection is not None)
    house.pass_time(1.2)
    assert request.answers == [Failure(Reason.CONNECT_TIMEOUT, "no SETTINGS from the backend")]


def test_who_waits_for_settings_hears_that_the_connection_was_given_up(house: House) -> None:
    fake = house.fake()
    fake.is_deaf = True
    pool = house.pool(fake.url)
    request = Asking()
    house.request(pool, request)
    run_until(lambda: request.connection is not None)
    pool.close()
    assert request.answers == [Failure(Reason.BACKEND_CLOSED, "closed before the backend's SETTINGS")]


def test_a_waiter_for_settings_that_raises_costs_nobody_else(house: House, caplog: pytest.LogCaptureFixture) -> None:
    def broken(failure: Failure | None) -> None:
        raise RuntimeError("out of order")

    fake = house.fake()
    fake.is_deaf = True
    pool = house.pool(fake.url)
    request = Asking()
    house.request(pool, request)
    run_until(lambda: request.connection is not None and fake.connections)
    assert request.connection is not None
    heard: list[Failure | None] = []
    request.connection.when_settled(broken)
    request.connection.when_settled(heard.append)
    fake.is_deaf = False
    with caplog.at_level(logging.ERROR, "h2gate"):
        fake.only.hear()
        run_until(lambda: heard)
    assert heard == [None]
    assert len(caplog.records) == 1


# Two directions


def test_bytes_flow_both_ways_and_the_backends_end_leaves_ours_open(house: House) -> None:
    fake, connection, tunnel = opened(house)
    answer(fake, b"from the backend", True)
    run_until(lambda: tunnel.is_done)
    assert tunnel.data == b"from the backend"
    assert 1 in connection.streams
    send(house, tunnel, b"from ", False)
    send(house, tunnel, b"the client", True)
    run_until(lambda: 1 in fake.only.ended)
    assert fake.only.bodies[1] == b"from the client"
    assert not connection.streams
    assert not fake.only.resets
    assert connection.engine.open_streams == 0


def test_our_end_leaves_the_backends_direction_open(house: House) -> None:
    fake, connection, tunnel = opened(house)
    send(house, tunnel, b"all", True)
    run_until(lambda: 1 in fake.only.ended)
    answer(fake, b"one ", False)
    answer(fake, b"two", True)
    run_until(lambda: tunnel.is_done)
    assert tunnel.data == b"one two"
    run_until(lambda: not connection.streams)
    assert not fake.only.resets


def test_a_tunnel_counts_until_the_last_of_ours_is_framed(house: House) -> None:
    fake, connection, tunnel = opened(house)
    fake.credits = False
    answer(fake, b"", True)
    run_until(lambda: tunnel.is_done)
    send(house, tunnel, b"x" * 100_000, True)
    run_until(lambda: len(fake.only.bodies[1]) == 65_535)
    assert 1 in connection.streams
    assert tunnel.framed == 65_535
    fake.only.engine.credit_connection(65_535)
    fake.only.engine.credit(1, 65_535)
    fake.only.flush()
    run_until(lambda: 1 in fake.only.ended)
    assert tunnel.framed == 100_000
    run_until(lambda: not connection.streams)
    assert not fake.only.resets


def test_a_connection_that_drains_does_not_leave_before_an_end_that_waits_for_room(house: House) -> None:
    """An end of its own is no queued byte."""
    fake, connection, tunnel = opened(house)
    connection.retire()
    answer(fake, b"", True)
    run_until(lambda: tunnel.is_done)
    sock = connection.transport._socket
    fake.only.transport._read_watcher.stop()
    # As if the backend took nothing: the transport is full.
    connection.transport.pending, room = HIGH_WATER_BYTES, connection.transport.pending
    send(house, tunnel, b"", True)
    assert sock.fileno() != -1
    assert 1 in connection.streams
    connection.transport.pending = room
    connection.mark()
    house.flush_queue.run()
    fake.only.transport._read_watcher.start(fake.only.transport._readable)
    run_until(lambda: 1 in fake.only.ended)
    run_until(lambda: fake.only.is_over)


@pytest.mark.parametrize("answered", [True, False])
def test_a_tunnel_may_be_reset_at_any_time(house: House, answered: bool) -> None:
    fake, connection, tunnel = opened(house)
    if answered:
        answer(fake, b"", True)
        run_until(lambda: tunnel.is_done)
    assert tunnel.stream is not None
    tunnel.stream.reset(ErrorCode.CANCEL)
    house.flush_queue.run()
    run_until(lambda: fake.only.resets == {1: ErrorCode.CANCEL})
    assert not connection.streams


def test_a_tunnel_whose_both_ends_came_may_be_lost_before_all_is_framed(house: House) -> None:
    fake, connection, tunnel = opened(house)
    fake.credits = False
    answer(fake, b"", True)
    run_until(lambda: tunnel.is_done)
    tunnel.is_done = False
    send(house, tunnel, b"x" * 100_000, True)
    fake.only.reset(1, ErrorCode.CANCEL)
    run_until(lambda: tunnel.failure is not None)
    assert tunnel.failure == Failure(Reason.BACKEND_RESET, "CANCEL")
    house.flush_queue.run()
    assert not connection.streams
    assert not connection._ending_tunnels


def test_a_refused_tunnel_is_a_response_as_any_other(house: House) -> None:
    fake, connection, tunnel = opened(house, status=403)
    answer(fake, b"no", True)
    run_until(lambda: tunnel.is_done)
    assert not connection.streams
    run_until(lambda: fake.only.resets == {1: ErrorCode.NO_ERROR})


def test_a_connection_that_drains_waits_for_its_tunnels(house: House) -> None:
    fake, connection, tunnel = opened(house)
    connection.retire()
    answer(fake, b"", True)
    run_until(lambda: tunnel.is_done)
    turn(5)
    assert not fake.only.is_over
    send(house, tunnel, b"", True)
    run_until(lambda: fake.only.is_over)


def test_no_callback_keeps_a_closed_connection_alive(house: House) -> None:
    def alive() -> int:
        return sum(isinstance(each, BackendConnection) for each in gc.get_objects())

    fake = house.fake()
    pool = house.pool(fake.url)
    request = Asking()
    house.request(pool, request)
    run_until(lambda: request.answers)
    gc.collect()
    gc.disable()
    try:
        request.connection = None
        pool.connections[0].retire()
        run_until(lambda: not alive())
    finally:
        gc.enable()
