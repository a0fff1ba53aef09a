from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from h2gate.errors import Failure, Reason
from h2gate.frontend.http1 import PIPELINE_BYTES, Http1Session
from h2gate.protocol.events import ResponseHead
from tests.frontend.house import House, Sink

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture
def house() -> Iterator[House]:
    house = House()
    yield house
    house.close()


def read_until(client: object, end: bytes) -> bytes:
    data = b""
    while not data.endswith(end):
        piece = client.recv(65536)  # type: ignore[attr-defined]
        assert piece, data
        data += piece
    return data


def read_all(client: object) -> bytes:
    data = b""
    while piece := client.recv(65536):  # type: ignore[attr-defined]
        data += piece
    return data


def test_requests_follow_each_other_on_one_connection(house: House) -> None:
    client = house.connect()
    for number in range(3):
        client.sendall(GET)
        house.request(number).answer(200, b"hello")
        house.flush()
        assert read_until(client, b"0\r\n\r\n").startswith(b"HTTP/1.1 200 OK\r\n")
        assert house.handler.sinks[number].framed == 5


def test_pipelined_requests_are_begun_one_after_another(house: House) -> None:
    client = house.connect()
    client.sendall(GET * 3)
    house.request(0)
    assert len(house.handler.sinks) == 1
    for number in range(3):
        house.request(number).answer(204)
        house.flush()
    data = b""
    while data.count(b"204 No Content") < 3:
        data += client.recv(65536)


def test_pipelined_requests_may_be_answered_at_once(house: House) -> None:
    house.handler.on_begin = lambda sink: sink.answer(204)
    client = house.connect()
    client.sendall(GET * 200)
    data = b""
    while data.count(b"204 No Content") < 200:
        data += client.recv(65536)


def test_a_body_that_nobody_takes_is_not_read(house: House) -> None:
    client = house.connect()
    size = 8_000_000
    client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
    sink = house.request()
    sink.gives_credit = False
    client.setblocking(False)
    sent = 0
    idle = 0
    while idle < 20:
        try:
            sent += client.send(b"x" * 65536)
            idle = 0
        except BlockingIOError:
            idle += 1
            house.turn()
    assert len(sink.body) < 4 * house.limits.stream_window
    client.setblocking(True)
    client.settimeout(10)
    sink.gives_credit = True
    sink.stream.credit(len(sink.body))
    while sent < size:
        sent += client.send(b"x" * min(65536, size - sent))
    house.wait_for(lambda: sink.end_stream, "the whole body")
    assert len(sink.body) == size


def test_a_client_that_leaves_while_its_body_is_not_read_is_noticed(house: House) -> None:
    client = house.connect()
    client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
    sink = house.request()
    sink.gives_credit = False
    client.sendall(b"x" * 200_000)
    client.close()
    house.wait_for(lambda: sink.gone, "the client is gone")
    assert sink.gone is not None
    assert sink.gone.reason is Reason.CLIENT_CLOSED


def test_a_client_that_leaves_while_it_waits_is_noticed(house: House) -> None:
    client = house.connect()
    client.sendall(GET)
    sink = house.request()
    client.close()
    house.wait_for(lambda: sink.gone, "the client is gone")


def test_a_broken_response_ends_without_its_last_chunk(house: House) -> None:
    client = house.connect()
    client.sendall(GET)
    sink = house.request()
    sink.stream.send_head(ResponseHead(200, []), False)
    sink.stream.send_data(b"half", False)
    house.flush()
    read_until(client, b"half\r\n")
    sink.stream.reset(Failure(Reason.BACKEND_CLOSED))
    rest = b""
    with contextlib.suppress(ConnectionResetError):
        # TCP says RST here; a socket pair may say EOF.
        rest = read_all(client)
    assert b"0\r\n\r\n" not in rest


def test_garbage_is_answered_with_400_and_the_connection_closed(house: House) -> None:
    client = house.connect()
    client.sendall(b"\x16\x03\x01 what\r\n\r\n")
    data = read_all(client)
    assert data.startswith(b"HTTP/1.1 400 ")
    assert b"Connection: close\r\n" in data
    rejected = house.handler.sinks[0].rejected
    assert rejected is not None
    assert rejected.reason is Reason.BAD_REQUEST


def test_a_broken_body_is_answered_with_400(house: House) -> None:
    client = house.connect()
    client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nnot hex\r\n")
    assert read_all(client).startswith(b"HTTP/1.1 400 ")
    broken = house.handler.sinks[0].broken
    assert broken is not None
    assert broken.reason is Reason.BAD_REQUEST


def test_a_slow_head_is_answered_with_408() -> None:
    house = House({"request_head": "200ms"})
    client = house.connect()
    client.sendall(b"GET / HT")
    assert read_all(client).startswith(b"HTTP/1.1 408 ")
    house.close()


def test_a_connection_without_a_request_is_closed_in_silence() -> None:
    house = House({"request_head": "200ms", "keepalive_http1": "200ms"})
    assert read_all(house.connect()) == b""
    client = house.connect()
    client.sendall(GET)
    house.request().answer(204)
    house.flush()
    assert read_all(client).count(b"HTTP/1.1") == 1
    house.close()


def test_an_error_before_the_end_of_the_body_closes_the_connection_and_says_so(house: House) -> None:
    client = house.connect()
    client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nbegin")
    house.request().answer(413)
    house.flush()
    data = read_all(client)
    assert data.startswith(b"HTTP/1.1 413 ")
    assert b"Connection: close" in data


def test_a_small_rest_of_an_answered_request_is_dropped_and_the_connection_goes_on(house: House) -> None:
    client = house.connect()
    client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 20000\r\n\r\nbegin")
    house.request().answer(404)
    house.flush()
    assert b"Connection: close" not in read_until(client, b"\r\n\r\n")
    client.sendall(b"x" * 19_995 + GET)
    house.request(1).answer(204)
    house.flush()
    assert read_until(client, b"\r\n\r\n").startswith(b"HTTP/1.1 204 ")
    assert house.handler.sinks[0].body == b"begin"


def test_a_large_rest_of_an_answered_request_ends_the_connection(house: House) -> None:
    client = house.connect()
    client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 20000000\r\n\r\nbegin")
    house.request().answer(200)
    house.flush()
    assert read_until(client, b"\r\n\r\n").startswith(b"HTTP/1.1 200 ")
    client.sendall(b"x" * 100_000)
    house.wait_for(lambda: not house.front.sessions, "the connection is given up")


def test_a_rest_that_ends_in_a_drain_ends_the_connection(house: House) -> None:
    client = house.connect()
    client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 20000\r\n\r\nbegin")
    house.request().answer(200)
    house.flush()
    read_until(client, b"\r\n\r\n")
    house.front.drain()
    client.sendall(b"x" * 19_995 + GET)
    house.wait_for(lambda: not house.front.sessions, "the connection is closed")
    assert read_all(client) == b""
    assert len(house.handler.sinks) == 1


def test_a_rest_that_breaks_ends_the_connection_without_a_second_answer(house: House) -> None:
    client = house.connect()
    client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegin\r\n")
    house.request().answer(200)
    house.flush()
    read_until(client, b"\r\n\r\n")
    client.sendall(b"not hex\r\n")
    assert read_all(client) == b""


def test_a_reader_that_takes_nothing_is_cut_off() -> None:
    house = House({"client_write": "300ms"})
    client = house.connect()
    client.sendall(GET)
    sink = house.request()
    sink.answer(200, b"x" * 50_000_000)
    house.flush()
    house.wait_for(lambda: sink.gone, "the reader is cut off")
    assert sink.gone == Failure(Reason.CLIENT_STALL)
    house.close()


def test_a_slow_reader_is_not_cut_off() -> None:
    house = House({"client_write": "300ms"})
    client = house.connect()
    client.sendall(GET)
    sink = house.request()
    size = 5_000_000
    sink.answer(200, b"x" * size, [(b"content-length", b"%d" % size)])
    house.flush()
    received = len(client.recv(65536))
    while received < size:
        house.turn()
        received += len(client.recv(65536))
    assert sink.gone is None
    house.close()


# Bodies that are awaited


WAITING = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 37\r\n\r\n"


@pytest.mark.parametrize("status", [200, 417])
def test_a_client_that_waits_for_100_and_gets_its_answer_is_told_that_it_was_the_last(
    house: House, status: int
) -> None:
    """What it sends next may be the body or a request: the one read as the other is a request smuggled ("0.CL")."""
    client = house.connect()
    client.sendall(WAITING)
    house.request().answer(status)
    house.flush()
    client.sendall(GET.replace(b"/", b"/smuggled", 1))
    data = read_all(client)
    assert data.startswith(b"HTTP/1.1 %d " % status)
    assert b"Connection: close\r\n" in data
    assert data.count(b"HTTP/1.1") == 1
    assert len(house.handler.sinks) == 1


def test_a_client_that_was_told_to_go_on_may_keep_its_connection(house: House) -> None:
    client = house.connect()
    client.sendall(WAITING)
    house.request().stream.send_interim(ResponseHead(100))
    house.flush()
    read_until(client, b"HTTP/1.1 100 Continue\r\n\r\n")
    house.request().answer(200)
    house.flush()
    assert b"Connection: close" not in read_until(client, b"\r\n\r\n")
    client.sendall(b"x" * 37 + GET)
    house.request(1).answer(204)
    house.flush()
    assert read_until(client, b"\r\n\r\n").startswith(b"HTTP/1.1 204 ")


def test_an_unknown_expectation_is_answered_with_417_and_never_begun(house: House) -> None:
    client = house.connect()
    client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: x\r\nContent-Length: 5\r\n\r\n")
    data = read_all(client)
    assert data.startswith(b"HTTP/1.1 417 ")
    assert b"Connection: close\r\n" in data
    rejected = house.handler.sinks[0].rejected
    assert rejected is not None
    assert rejected.reason is Reason.EXPECTATION_FAILED


# Tunnels


UPGRADE = b"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


def open_tunnel(house: House, early: bytes = b"") -> tuple[Any, Sink]:
    """Return the client's end of an open tunnel, and the exchange."""
    client = house.connect()
    client.sendall(UPGRADE + early)
    sink = house.request()
    assert sink.head is not None
    assert (sink.head.protocol, sink.end_stream) == (b"websocket", False)
    sink.stream.send_head(ResponseHead(101), False)
    house.flush()
    assert read_until(client, b"\r\n\r\n").startswith(b"HTTP/1.1 101 ")
    return client, sink


def test_a_tunnel_carries_bytes_both_ways(house: House) -> None:
    client, sink = open_tunnel(house)
    for number in range(3):
        client.sendall(b"ping %d;" % number)
        house.wait_for(lambda: sink.body.count(b";") == number + 1, "the client's bytes")  # noqa: B023
        sink.stream.send_data(b"pong %d;" % number, False)
        house.flush()
        assert read_until(client, b";") == b"pong %d;" % number
    assert sink.body == b"ping 0;ping 1;ping 2;"
    assert sink.framed == 21
    assert not sink.end_stream


def test_what_came_before_the_101_waits_and_comes_first(house: House) -> None:
    client = house.connect()
    client.sendall(UPGRADE + b"early ")
    sink = house.request()
    house.turn()
    assert sink.body == b""
    sink.stream.send_head(ResponseHead(101), False)
    client.sendall(b"late")
    house.wait_for(lambda: len(sink.body) == 10, "all bytes")
    assert sink.body == b"early late"


def test_a_tunnel_may_be_opened_while_the_request_is_begun(house: House) -> None:
    house.handler.on_begin = lambda sink: sink.stream.send_head(ResponseHead(101), False)
    client = house.connect()
    client.sendall(UPGRADE + b"early")
    house.wait_for(lambda: house.handler.sinks and house.handler.sinks[0].body == b"early", "early bytes")
    assert read_until(client, b"\r\n\r\n").startswith(b"HTTP/1.1 101 ")


def test_too_much_before_the_101_is_left_to_the_kernel_and_nothing_is_lost(house: House) -> None:
    client = house.connect()
    client.sendall(UPGRADE)
    sink = house.request()
    data = bytes(range(256)) * 20_000
    client.setblocking(False)
    sent = idle = 0
    while idle < 20:
        try:
            sent += client.send(data[sent : sent + 65_536])
            idle = 0
        except BlockingIOError:
            idle += 1
            house.turn()
    (session,) = house.front.sessions
    assert isinstance(session, Http1Session)
    assert PIPELINE_BYTES <= session.engine.buffered < 4 * PIPELINE_BYTES
    client.setblocking(True)
    client.settimeout(10)
    sink.stream.send_head(ResponseHead(101), False)
    house.flush()
    client.sendall(data[sent:])
    client.shutdown(socket.SHUT_WR)
    house.wait_for(lambda: sink.end_stream, "the end")
    assert sink.body == data
    assert sink.gone is None


def test_a_tunnel_that_nobody_takes_is_not_read_and_its_end_waits_behind_it(house: House) -> None:
    client, sink = open_tunnel(house)
    sink.gives_credit = False
    data = bytes(range(256)) * 20_000
    client.setblocking(False)
    sent = idle = 0
    while idle < 20:
        try:
            sent += client.send(data[sent : sent + 65_536])
            idle = 0
        except BlockingIOError:
            idle += 1
            house.turn()
    assert len(sink.body) < 4 * house.limits.stream_window
    client.shutdown(socket.SHUT_WR)
    house.turn()
    assert sink.gone is None
    assert not sink.end_stream
    sink.gives_credit = True
    sink.stream.credit(len(sink.body))
    house.wait_for(lambda: sink.end_stream, "the end")
    assert sink.body == data[:sent]


def test_the_clients_fin_ends_its_direction_and_the_other_goes_on(house: House) -> None:
    """RFC 8441, 5."""
    client, sink = open_tunnel(house)
    client.sendall(b"bye")
    client.shutdown(socket.SHUT_WR)
    house.wait_for(lambda: sink.end_stream, "the end of the client's direction")
    assert sink.body == b"bye"
    size = 3_000_000
    sink.stream.send_data(b"x" * size, False)
    house.flush()
    received = 0
    while received < size:
        house.turn()
        received += len(client.recv(65_536))
    assert sink.gone is None
    sink.stream.send_data(b"last", True)
    house.flush()
    assert read_all(client) == b"last"
    house.wait_for(lambda: not house.front.sessions, "the connection is over")
    assert sink.gone is None


def test_a_fin_right_behind_the_first_bytes_comes_behind_them(house: House) -> None:
    client = house.connect()
    client.sendall(UPGRADE + b"early")
    sink = house.request()
    house.turn()
    sink.stream.send_head(ResponseHead(101), False)
    client.shutdown(socket.SHUT_WR)
    house.wait_for(lambda: sink.end_stream, "the end")
    assert sink.body == b"early"


def test_the_backends_end_is_the_connections(house: House) -> None:
    client, sink = open_tunnel(house)
    sink.stream.send_data(b"goodbye", True)
    house.flush()
    assert read_all(client) == b"goodbye"
    assert not house.front.sessions
    assert sink.framed == 7
    assert sink.gone is None


def test_trailers_are_the_end_of_a_tunnel_too(house: House) -> None:
    client, sink = open_tunnel(house)
    sink.stream.send_trailers([(b"x", b"y")])
    house.flush()
    assert read_all(client) == b""


def test_a_client_that_is_gone_after_its_fin_is_noticed(house: House) -> None:
    client, sink = open_tunnel(house)
    client.shutdown(socket.SHUT_WR)
    house.wait_for(lambda: sink.end_stream, "the end of the client's direction")
    client.close()
    house.wait_for(lambda: sink.gone, "the client is gone")
    assert sink.gone is not None
    assert sink.gone.reason is Reason.CLIENT_CLOSED
    assert not house.front.sessions


def test_a_tunnel_that_breaks_is_broken_off(house: House) -> None:
    client, sink = open_tunnel(house)
    sink.stream.send_data(b"half", False)
    sink.stream.reset(Failure(Reason.BACKEND_RESET))
    rest = b""
    with contextlib.suppress(ConnectionResetError):
        rest = read_all(client)
    assert rest in (b"", b"half")
    assert not house.front.sessions


def test_a_drain_leaves_a_tunnel_alone_until_its_time_is_up(house: House) -> None:
    client, sink = open_tunnel(house)
    house.front.drain()
    client.sendall(b"in;")
    house.wait_for(lambda: sink.body == b"in;", "the client's bytes")
    sink.stream.send_data(b"out;", False)
    house.flush()
    assert read_until(client, b";") == b"out;"
    house.front.shut_down()
    assert sink.gone == Failure(Reason.DRAINING)


def test_a_tunnel_that_takes_nothing_is_cut_off() -> None:
    house = House({"client_write": "300ms"})
    _, sink = open_tunnel(house)
    sink.stream.send_data(b"x" * 50_000_000, False)
    house.flush()
    house.wait_for(lambda: sink.gone, "the reader is cut off")
    assert sink.gone == Failure(Reason.CLIENT_STALL)
    house.close()


def test_a_tunnel_is_not_bound_by_the_times_of_requests() -> None:
    house = House({"request_head": "200ms", "keepalive_http1": "200ms"})
    client, sink = open_tunnel(house)
    idle = House({"request_head": "400ms", "keepalive_http1": "400ms"})
    # Another connection's time passes meanwhile.
    assert read_all(idle.connect()) == b""
    client.sendall(b"still here")
    house.wait_for(lambda: sink.body == b"still here", "the client's bytes")
    idle.close()
    house.close()


def test_a_declined_offer_keeps_the_connection_and_the_next_request_is_read(house: House) -> None:
    client = house.connect()
    client.sendall(UPGRADE + GET)
    house.request().answer(403, b"no")
    house.flush()
    data = read_until(client, b"0\r\n\r\n")
    assert data.startswith(b"HTTP/1.1 403 ")
    assert b"Connection: close" not in data
    house.request(1).answer(204)
    house.flush()
    assert read_until(client, b"\r\n\r\n").startswith(b"HTTP/1.1 204 ")


def test_a_client_that_leaves_before_its_tunnel_opens_is_gone(house: House) -> None:
    client = house.connect()
    client.sendall(UPGRADE)
    sink = house.request()
    client.shutdown(socket.SHUT_WR)
    house.wait_for(lambda: sink.gone, "the client is gone")


def test_101_to_a_request_that_offered_nothing_changes_nothing(house: House) -> None:
    client = house.connect()
    client.sendall(GET)
    sink = house.request()
    sink.stream.send_head(ResponseHead(101), False)
    sink.answer(204)
    house.flush()
    assert read_until(client, b"\r\n\r\n").startswith(b"HTTP/1.1 204 ")


# Leaving


def test_a_drained_connection_finishes_its_request_and_closes(house: House) -> None:
    client = house.connect()
    client.sendall(GET)
    sink = house.request()
    house.front.drain()
    sink.answer(200, b"done")
    house.flush()
    data = read_all(client)
    assert b"Connection: close\r\n" in data
    assert b"done" in data
    assert not house.front.sessions


def test_a_drained_idle_connection_still_serves_a_request_on_its_way(house: House) -> None:
    client = house.connect()
    client.sendall(GET)
    house.request().answer(204)
    house.flush()
    read_until(client, b"\r\n\r\n")
    house.front.drain()
    client.sendall(GET)
    house.request(1).answer(204)
    house.flush()
    assert b"Connection: close\r\n" in read_all(client)


def test_a_quick_stop_breaks_off_what_runs(house: House) -> None:
    client = house.connect()
    client.sendall(GET)
    sink = house.request()
    house.front.shut_down()
    assert sink.gone == Failure(Reason.DRAINING)
    with pytest.raises((ConnectionResetError, AssertionError)):
        read_until(client, b"never")
