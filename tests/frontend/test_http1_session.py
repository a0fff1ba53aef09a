from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from h2gate.errors import Failure, Reason
from h2gate.protocol.events import ResponseHead
from tests.frontend.house import House

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
