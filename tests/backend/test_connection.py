"""A backend connection: what reaches which sink, windows, and every way in which streams and the connection end."""

from __future__ import annotations

import gc
import logging
from typing import Any

import pytest

from h2gate.backend.connection import BackendConnection
from h2gate.backend.connection_state import ConnectionState
from h2gate.backend.endpoint import EndpointState
from h2gate.backend.pool import Pool
from h2gate.errors import ErrorCode, Failure, Reason, code_name
from h2gate.protocol.contract import Http2ClientEngine, Http2Settings
from h2gate.protocol.events import RequestHead, ResponseHead
from tests.backend.fake_backend import Connection, FakeBackend
from tests.backend.house import House, Request
from tests.net.support import run_until, turn


def start(house: House, *requests: Request, **config: int) -> tuple[FakeBackend, Pool, BackendConnection]:
    """Requests that have reached the backend on one connection, whose SETTINGS are here."""
    fake = house.fake()
    pool = house.pool(fake.url, max_connections=1, **config)
    for request in requests:
        house.request(pool, request)
    if not requests:
        pool.preconnect()
    run_until(lambda: pool.connections and pool.connections[0].has_settings and fake.requests == len(requests))
    return fake, pool, pool.connections[0]


# Responses


def test_a_whole_response_reaches_its_sink_piece_by_piece(house: House) -> None:
    request = Request()
    fake, _, connection = start(house, request)
    engine = fake.only.engine
    engine.send_interim(1, ResponseHead(103, [(b"link", b"</a>")]))
    engine.send_head(1, ResponseHead(200, [(b"a", b"b")]), False)
    engine.send_data(1, b"hello ", False)
    engine.send_data(1, b"world", False)
    engine.send_trailers(1, [(b"grpc-status", b"0")])
    fake.only.flush()
    house.settled(request)
    assert request.interim == [103]
    assert request.head == ResponseHead(200, [(b"a", b"b")])
    assert request.data == b"hello world"
    assert request.trailers == [(b"grpc-status", b"0")]
    assert connection.answered == 1
    assert not connection.streams


def test_a_request_body_goes_out_and_is_told_as_it_is_framed(house: House) -> None:
    request = Request(body=b"x" * 300_000)
    fake, _, _ = start(house, request)
    run_until(lambda: 1 in fake.only.ended)
    assert fake.only.bodies[1] == request.body
    run_until(lambda: request.framed == 300_000)


def test_a_backend_that_gives_no_credit_stops_one_upload_and_not_the_others(house: House) -> None:
    fake = house.fake(settings=Http2Settings(stream_window=65_535, connection_window=1_048_576))
    fake.credits = False
    pool = house.pool(fake.url, max_connections=1)
    big = house.request(pool, Request(body=b"x" * 300_000))
    small = house.request(pool, Request(body=b"y" * 1000))
    run_until(lambda: fake.connections and 3 in fake.only.ended and big.framed == 65_535)
    assert small.framed == 1000
    turn()
    assert big.framed == 65_535


def test_a_stalled_response_is_held_to_its_window_and_delays_no_other(house: House) -> None:
    stalled, other = Request(), Request()
    stalled.credits = False
    fake, _, _ = start(house, stalled, other)
    fake.only.respond(1, b"s" * 2_000_000)
    fake.only.respond(3, b"o" * 2_000_000)
    house.settled(other)
    assert other.data == b"o" * 2_000_000
    assert len(stalled.data) == 262_144
    assert stalled.stream is not None
    stalled.credits = True
    stalled.stream.credit(len(stalled.data))
    house.flush_queue.run()
    house.settled(stalled)
    assert stalled.data == b"s" * 2_000_000


def test_padding_costs_no_window_for_ever(house: House) -> None:
    """Padding takes window and reaches nobody who could give it back (RFC 9113, 6.1)."""
    request = Request()
    fake, pool, _ = start(house, request)
    (connection,) = pool.connections
    fake.only.engine.send_head(1, ResponseHead(200), False)
    frame = b"\x00\x01\x00\x00\x08\x00\x00\x00\x01" + b"\xff" + bytes(255)
    for count in range(1, 9):
        # Each round is half of the stream window in padding alone: as much as is kept back before it is given back.
        before = connection.transport.bytes_in
        fake.only.send_raw(frame * 500)
        run_until(lambda: connection.transport.bytes_in >= before + len(frame) * 500)  # noqa: B023
        assert not request.is_over, count
    fake.only.send_raw(b"\x00\x00\x01\x00\x01\x00\x00\x00\x01x")
    house.settled(request)
    assert request.data == b"x"


def test_padding_alone_is_no_progress(house: House) -> None:
    """It must not keep an exchange from its deadlines."""
    request = Request()
    fake, pool, _ = start(house, request)
    (connection,) = pool.connections
    pieces: list[bytes] = []
    request.on_response_data = lambda data, end_stream: pieces.append(data)  # type: ignore[method-assign]
    fake.only.engine.send_head(1, ResponseHead(200), False)
    before = connection.transport.bytes_in
    fake.only.send_raw(b"\x00\x01\x00\x00\x08\x00\x00\x00\x01" + b"\xff" + bytes(255))
    fake.only.send_raw(b"\x00\x00\x01\x00\x01\x00\x00\x00\x01x")
    run_until(lambda: not connection.streams)
    assert connection.transport.bytes_in > before
    assert pieces == [b"x"]


def test_the_facts_for_a_retry_are_kept(house: House) -> None:
    first = Request()
    fake, pool, _ = start(house, first)
    assert first.stream is not None
    assert not first.stream.is_reused
    assert not first.stream.is_touched
    fake.only.respond(1)
    house.settled(first)
    assert first.stream.is_touched
    second = house.request(pool)
    assert second.stream is not None
    assert second.stream.is_reused


# Resets


def test_a_cancelled_stream_is_reset_at_the_backend_and_hears_nothing_more(house: House) -> None:
    request, other = Request(), Request()
    fake, pool, _ = start(house, request, other)
    assert request.stream is not None
    request.stream.reset(ErrorCode.CANCEL)
    request.stream.reset(ErrorCode.CANCEL)
    request.stream.credit(1)
    request.stream.send_data(b"late", True)
    request.stream.send_trailers([])
    house.flush_queue.run()
    run_until(lambda: fake.only.resets)
    assert fake.only.resets == {1: ErrorCode.CANCEL}
    fake.only.respond(1, b"too late")
    fake.only.respond(3, b"hello")
    house.settled(other)
    assert request.log == [" leased"]
    assert other.data == b"hello"
    assert pool.endpoint.in_use == 0


@pytest.mark.parametrize(
    ("code", "failure"),
    [
        (ErrorCode.REFUSED_STREAM, Failure(Reason.REFUSED_STREAM)),
        (ErrorCode.INTERNAL_ERROR, Failure(Reason.BACKEND_RESET, "INTERNAL_ERROR")),
        (ErrorCode.NO_ERROR, Failure(Reason.BACKEND_RESET, "NO_ERROR")),
    ],
)
def test_a_reset_by_the_backend_costs_one_stream(house: House, code: ErrorCode, failure: Failure) -> None:
    request, other = Request(), Request()
    fake, pool, connection = start(house, request, other)
    fake.only.reset(1, code)
    fake.only.respond(3)
    house.settled(request, other)
    assert request.failure == failure
    assert other.is_done
    assert pool.connections == [connection]


def test_a_refusal_after_the_response_began_is_no_proof_that_nothing_was_done(house: House) -> None:
    request = Request()
    fake, _, _ = start(house, request)
    fake.only.engine.send_head(1, ResponseHead(200), False)
    fake.only.reset(1, ErrorCode.REFUSED_STREAM)
    house.settled(request)
    assert request.failure == Failure(Reason.BACKEND_RESET, "REFUSED_STREAM")


def test_a_malformed_response_is_reset_and_costs_one_stream(house: House) -> None:
    request, other = Request(), Request()
    fake, _, _ = start(house, request, other)
    # HEADERS without :status
    fake.only.send_raw(b"\x00\x00\x05\x01\x05\x00\x00\x00\x01" + b"\x00\x01a\x01b")
    fake.only.respond(3)
    house.settled(request, other)
    assert request.failure is not None
    assert request.failure.reason is Reason.BAD_RESPONSE
    assert request.failure.detail
    run_until(lambda: fake.only.resets)
    assert other.is_done


def test_an_early_response_ends_an_upload_that_nobody_cut_off(house: House) -> None:
    """Otherwise the stream would count at the backend for as long as the connection lives (RFC 9113, 8.1)."""

    class Open(Request):
        def on_lease(self, connection: BackendConnection) -> None:
            self.stream = connection.open_stream(RequestHead(b"POST", b"http", b"test", b"/"), False, self)
            self.stream.send_data(b"half", False)

    request = Open()
    fake, _, connection = start(house, request)
    fake.only.respond(1, status=413)
    house.settled(request)
    run_until(lambda: fake.only.resets)
    assert fake.only.resets == {1: ErrorCode.NO_ERROR}
    assert connection.engine.open_streams == 0


def test_an_early_response_ends_an_upload_that_waits_for_window(house: House) -> None:
    fake = house.fake()
    fake.credits = False
    pool = house.pool(fake.url)
    request = house.request(pool, Request(body=b"x" * 1_000_000))
    run_until(lambda: fake.requests)
    fake.only.respond(1, status=413)
    house.settled(request)
    run_until(lambda: fake.only.resets)
    assert pool.connections[0].engine.open_streams == 0


# GOAWAY


def test_goaway_lets_the_lower_streams_finish_and_refuses_the_higher_ones(house: House) -> None:
    requests = [Request() for _ in range(3)]
    fake, pool, connection = start(house, *requests)
    fake.only.goaway(3)
    house.settled(requests[2])
    assert requests[2].failure == Failure(Reason.GOAWAY_REFUSED)
    assert connection.state is ConnectionState.DRAINING
    assert not pool.connections
    fake.only.respond(1, b"one")
    fake.only.respond(3, b"two")
    house.settled(*requests)
    assert [request.data for request in requests] == [b"one", b"two", b""]
    run_until(lambda: fake.only.is_over)
    assert fake.only.goaways == [ErrorCode.NO_ERROR]
    assert pool.endpoint.state is EndpointState.UP


def test_goaway_may_come_twice(house: House) -> None:
    first, second = Request(), Request()
    fake, _, connection = start(house, first, second)
    fake.only.goaway(None)
    run_until(lambda: connection.state is ConnectionState.DRAINING)
    assert not first.is_over
    fake.only.goaway(1)
    house.settled(second)
    assert second.failure == Failure(Reason.GOAWAY_REFUSED)
    fake.only.respond(1)
    house.settled(first)
    assert first.is_done


def test_goaway_closes_an_idle_connection_when_it_arrives(house: House) -> None:
    fake, pool, connection = start(house)
    fake.only.goaway(0)
    run_until(lambda: fake.only.is_over)
    assert connection.state is ConnectionState.CLOSED
    assert not pool.connections


def test_refused_streams_stand_before_those_that_wait_in_their_own_order(house: House) -> None:
    log: list[str] = []
    requests = [Request(f"running {n}", log) for n in range(2)]
    fake, pool, _ = start(house, *requests, max_streams=2)
    waiting = house.request(pool, Request("waiting", log))
    again = [Request("first", log), Request("second", log)]
    requests[0].then = lambda: pool.acquire(again[0], first=True)
    requests[1].then = lambda: pool.acquire(again[1], first=True)
    log.clear()
    fake.only.goaway(0)
    run_until(lambda: fake.requests == 4)
    for stream_id in (1, 3):
        fake.connections[1].respond(stream_id)
    run_until(lambda: fake.requests == 5)
    fake.connections[1].respond(5)
    house.settled(waiting, *again)
    leases = [line for line in log if "leased" in line]
    assert leases == ["first leased", "second leased", "waiting leased"]


def test_the_streams_that_a_goaway_with_an_error_takes_along_say_why(house: House) -> None:
    low, high = Request(), Request()
    fake, _, _ = start(house, low, high)
    fake.only.goaway(1, ErrorCode.ENHANCE_YOUR_CALM, b"too\nmany")
    fake.only.close()
    house.settled(low, high)
    assert high.failure == Failure(Reason.GOAWAY_REFUSED, "ENHANCE_YOUR_CALM")
    assert low.failure == Failure(Reason.BACKEND_CLOSED, "GOAWAY ENHANCE_YOUR_CALM: too\\nmany")


def test_a_goaway_whose_streams_reset_each_other_tells_each_once(house: House) -> None:
    first, second = Request(), Request()
    fake, pool, _ = start(house, first, second)

    def reset_second() -> None:
        assert second.stream is not None
        second.stream.reset(ErrorCode.CANCEL)

    first.then = reset_second
    fake.only.goaway(0)
    house.settled(first)
    run_until(lambda: fake.only.is_over)
    assert second.log == [" leased"]
    assert pool.endpoint.in_use == 0


# The connection's end


def test_frames_before_the_end_count(house: House) -> None:
    first, second = Request(), Request()
    fake, _, _ = start(house, first, second)
    fake.only.respond(1, b"hello")
    fake.only.close()
    house.settled(first, second)
    assert first.data == b"hello"
    assert second.failure == Failure(Reason.BACKEND_CLOSED)


def test_an_idle_connection_that_closes_is_noticed_at_once(house: House) -> None:
    fake, pool, connection = start(house)
    fake.only.close()
    run_until(lambda: not pool.connections)
    assert connection.state is ConnectionState.CLOSED
    assert pool.endpoint.state is EndpointState.UP


def test_a_backend_that_breaks_the_protocol_costs_that_connection(house: House) -> None:
    request = Request()
    fake, pool, connection = start(house, request)
    fake.only.send_raw(b"\x00\x00\x05\x00\x00\x00\x00\x00\x00hello")  # DATA on stream 0
    house.settled(request)
    assert request.failure is not None
    assert request.failure.reason is Reason.BACKEND_PROTOCOL
    assert connection.state is ConnectionState.CLOSED
    assert not pool.connections
    run_until(lambda: fake.only.is_over)
    assert fake.only.goaways == [ErrorCode.PROTOCOL_ERROR]


def test_a_connection_that_is_reset_while_we_write_fails_its_streams_later_and_not_in_the_call(house: House) -> None:
    first, second = Request(), Request(body=b"x" * 100_000)
    fake, pool, _ = start(house, first)
    fake.only.abort()
    pool.acquire(second)
    house.flush_queue.run()
    house.flush_queue.run()
    assert second.failure is None
    house.settled(first, second)
    assert second.failure is not None
    assert second.failure.reason is Reason.BACKEND_CLOSED


# Errors of our own


@pytest.mark.parametrize("call", ["on_response", "on_response_data", "on_request_framed"])
def test_a_sink_that_raises_loses_its_stream_and_no_other(
    house: House, call: str, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("out of order")

    request, other = Request(body=b"x"), Request()
    setattr(request, call, broken)
    with caplog.at_level(logging.ERROR, "h2gate"):
        fake, pool, connection = start(house, request, other)
        if call != "on_request_framed":
            fake.only.respond(1, b"hello")
        fake.only.respond(3, b"hello")
        house.settled(other, request)
    assert request.failure == Failure(Reason.INTERNAL)
    assert other.data == b"hello"
    assert pool.connections == [connection]
    assert len(caplog.records) == 1


def test_a_sink_that_raises_at_a_failure_keeps_no_other_from_hearing_of_it(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("out of order")

    request, other = Request(), Request()
    request.on_backend_failure = broken  # type: ignore[method-assign]
    fake, _, _ = start(house, request, other)
    with caplog.at_level(logging.ERROR, "h2gate"):
        fake.only.abort()
        house.settled(other)
    assert other.failure is not None
    assert len(caplog.records) == 1


def test_an_engine_that_raises_costs_its_connection(house: House, caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        """An engine, but for what it has to send."""

        def __init__(self, engine: Http2ClientEngine) -> None:
            self._engine = engine

        def data_to_send(self, limit: int) -> bytes:
            raise RuntimeError("out of order")

        def __getattr__(self, name: str) -> Any:
            return getattr(self._engine, name)

    request = Request()
    fake, pool, connection = start(house, request)
    connection.engine = Broken(connection.engine)
    with caplog.at_level(logging.ERROR, "h2gate"):
        connection.mark()
        house.flush_queue.run()
    assert request.failure == Failure(Reason.INTERNAL)
    assert not pool.connections
    assert len(caplog.records) == 1
    run_until(lambda: fake.only.is_over)


def test_no_cycle_keeps_a_closed_connection_alive(house: House) -> None:
    """A worker's collector runs rarely."""

    def alive() -> int:
        return sum(isinstance(each, BackendConnection) for each in gc.get_objects())

    request = Request()
    fake, pool, connection = start(house, request)
    fake.only.respond(1)
    house.settled(request)
    del connection
    request.stream = None
    gc.collect()
    gc.disable()
    try:
        assert alive() == 1
        pool.connections[0].retire()
        run_until(lambda: fake.only.is_over)
        run_until(lambda: not alive())
    finally:
        gc.enable()


def test_error_codes_have_names() -> None:
    assert code_name(0x8) == "CANCEL"
    assert code_name(0x99) == "0x99"


def test_a_connection_tells_its_state_in_a_line(house: House) -> None:
    request = Request()
    fake, _, connection = start(house, request)
    assert repr(connection) == f"<BackendConnection {fake.url} OPEN 1/100 streams, 1 requests>"


def test_a_fresh_connection_serves_a_script_of_answers(house: House) -> None:
    """Many requests over one connection, so that nothing of one leaks into the next."""
    fake = house.fake()

    def answer(connection: Connection, stream_id: int) -> None:
        connection.respond(stream_id, str(stream_id).encode())

    fake.answer = answer
    pool = house.pool(fake.url)
    requests = [house.request(pool) for _ in range(300)]
    house.settled(*requests)
    assert all(request.stream and request.data == str(request.stream.id).encode() for request in requests)
