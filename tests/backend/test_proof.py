"""PING: what waits for the proof that a quiet connection lives, and what becomes of it if none comes."""

from __future__ import annotations

import gc

import pytest

from h2gate.backend.connection import BackendConnection
from h2gate.backend.connection_state import ConnectionState
from h2gate.backend.pool import Pool
from h2gate.errors import ErrorCode, Failure, Reason
from h2gate.protocol.events import RequestHead, ResponseHead
from tests.backend.fake_backend import Connection, FakeBackend
from tests.backend.house import House, Request
from tests.net.support import run_until, turn

QUIET = 10.0
DEAD = Failure(Reason.BACKEND_CLOSED, "no answer to PING")


def quiet(house: House, **config: object) -> tuple[FakeBackend, Pool, BackendConnection]:
    """A connection that has served one request, and from which nothing has come for 10 s."""
    fake = house.fake()
    pool = house.pool(fake.url, max_connections=1, **config)
    first = house.request(pool)
    run_until(lambda: fake.requests == 1)
    fake.only.respond(1)
    house.settled(first)
    # The acknowledgement of our SETTINGS is not the last to come: nothing may be on its way.
    turn(10)
    house.later(QUIET)
    return fake, pool, pool.connections[0]


class Pieces(Request):
    """A request whose body the test sends."""

    def on_lease(self, connection: BackendConnection) -> None:
        self.log.append(f"{self.name} leased")
        self.stream = connection.open_stream(RequestHead(b"POST", b"http", b"test", b"/"), False, self)


class Whole(Request):
    """A POST without a body."""

    def on_lease(self, connection: BackendConnection) -> None:
        self.stream = connection.open_stream(RequestHead(b"POST", b"http", b"test", b"/"), True, self)


class Tap:
    """Counts the frames of each type that reach a backend, and may keep them from it."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.types: list[int] = []
        self.answers = True
        self._hear = connection.on_bytes
        connection.transport.change_owner(self)
        self.waiting = b""

    def on_bytes(self, data: bytes) -> None:
        rest = data
        while rest:
            size = int.from_bytes(rest[:3])
            self.types.append(rest[3])
            rest = rest[9 + size :]
        self.waiting += data
        if self.answers:
            self.go_on()

    def go_on(self) -> None:
        self.answers = True
        data, self.waiting = self.waiting, b""
        if data:
            self._hear(data)

    def on_end(self, error: str) -> None:
        self.connection.on_end(error)

    def on_writable(self) -> None:
        self.connection.on_writable()

    def on_secured(self, alpn: str | None) -> None:
        raise AssertionError


DATA, HEADERS, RESET, PING, GOAWAY = 0, 1, 3, 6, 7


def silent(fake: FakeBackend) -> Tap:
    tap = Tap(fake.only)
    tap.answers = False
    return tap


# What is sent


def test_a_body_waits_for_the_answer_to_a_ping_and_the_head_does_not(house: House) -> None:
    fake, pool, _ = quiet(house)
    tap = silent(fake)
    request = house.request(pool, Request(body=b"hello"))
    run_until(lambda: PING in tap.types)
    turn()
    assert tap.types == [HEADERS, PING]
    assert request.stream is not None
    assert request.stream.is_held
    assert request.framed == 0
    tap.go_on()
    run_until(lambda: 3 in fake.only.ended)
    assert fake.only.bodies[3] == b"hello"
    assert request.framed == 5
    assert not request.stream.is_held
    assert not request.is_over


def test_a_connection_that_is_not_quiet_sends_at_once_and_no_ping(house: House) -> None:
    fake, pool, _ = quiet(house)
    tap = Tap(fake.only)
    house.request(pool, Request(body=b"hello"))
    run_until(lambda: 3 in fake.only.ended)
    tap.types.clear()
    house.later(QUIET - 0.1)
    house.request(pool, Request(body=b"again"))
    run_until(lambda: 5 in fake.only.ended)
    assert tap.types == [HEADERS, DATA]


def test_a_fresh_connection_sends_the_first_body_before_the_backends_settings(house: House) -> None:
    fake = house.fake()
    fake.is_deaf = True
    pool = house.pool(fake.url)
    house.request(pool, Request(body=b"hello"))
    run_until(lambda: fake.connections and b"hello" in fake.only._unheard)


def test_a_request_without_a_body_goes_out_whole_with_a_ping(house: House) -> None:
    fake, pool, _ = quiet(house)
    tap = Tap(fake.only)
    request = house.request(pool)
    run_until(lambda: 3 in fake.only.ended)
    assert tap.types == [HEADERS, PING]
    fake.only.respond(3, b"hello")
    house.settled(request)
    house.pass_time(5)
    assert pool.connections


def test_all_bodies_wait_for_one_ping_and_go_in_their_order(house: House) -> None:
    fake, pool, _ = quiet(house)
    tap = silent(fake)
    requests = [house.request(pool, Pieces()) for _ in range(3)]
    for request in requests:
        assert request.stream is not None
        request.stream.send_data(b"one ", False)
        request.stream.send_data(b"two", False)
    assert requests[0].stream
    assert requests[1].stream
    assert requests[2].stream
    requests[0].stream.send_data(b"", True)
    requests[1].stream.send_trailers([(b"a", b"b")])
    house.flush_queue.run()
    run_until(lambda: tap.types.count(HEADERS) == 3)
    turn()
    assert tap.types.count(PING) == 1
    tap.go_on()
    run_until(lambda: fake.only.ended >= {3})
    run_until(lambda: fake.only.bodies[7] == b"one two")
    assert [fake.only.bodies[stream] for stream in (3, 5, 7)] == [b"one two"] * 3
    assert tap.types.count(PING) == 1


def test_trailers_without_a_body_wait_too(house: House) -> None:
    fake, pool, _ = quiet(house)
    tap = silent(fake)
    request = house.request(pool, Pieces())
    assert request.stream is not None
    request.stream.send_trailers([(b"a", b"b")])
    house.flush_queue.run()
    run_until(lambda: PING in tap.types)
    turn()
    assert tap.types == [HEADERS, PING]
    tap.go_on()
    run_until(lambda: tap.types.count(HEADERS) == 2)


def test_any_frame_is_proof(house: House) -> None:
    """An acknowledgement may stand behind megabytes of another response."""
    fake, pool, _ = quiet(house)
    tap = silent(fake)
    house.request(pool, Request(body=b"hello"))
    run_until(lambda: PING in tap.types)
    fake.only.send_raw(b"\x00\x00\x04\x08\x00\x00\x00\x00\x00\x00\x00\x00\x01")  # WINDOW_UPDATE
    run_until(lambda: DATA in tap.types)
    house.pass_time(5)
    assert pool.connections


def test_a_body_that_begins_when_the_connection_has_become_quiet_waits(house: House) -> None:
    fake, pool, connection = quiet(house)
    tap = Tap(fake.only)
    request = house.request(pool, Pieces())
    run_until(lambda: tap.types == [HEADERS, PING] and connection._proof is None)
    house.later(QUIET)
    tap.types.clear()
    tap.answers = False
    assert request.stream is not None
    request.stream.send_data(b"late", True)
    house.flush_queue.run()
    run_until(lambda: tap.types == [PING])
    tap.go_on()
    run_until(lambda: fake.only.bodies[3] == b"late")


def test_a_body_under_way_is_not_held_up(house: House) -> None:
    """There is nothing left to save: the request cannot be sent again."""
    fake, pool, _ = quiet(house)
    request = house.request(pool, Pieces())
    assert request.stream is not None
    request.stream.send_data(b"one ", False)
    run_until(lambda: fake.only.bodies.get(3) == b"one ")
    house.later(QUIET)
    tap = silent(fake)
    request.stream.send_data(b"two", True)
    house.flush_queue.run()
    run_until(lambda: tap.types)
    assert tap.types == [DATA]


def test_a_response_that_comes_first_takes_the_held_body_away(house: House) -> None:
    fake, pool, _ = quiet(house)
    tap = silent(fake)
    request = house.request(pool, Request(body=b"hello"))
    run_until(lambda: PING in tap.types)
    # The engine knows of no request yet: HEADERS with END_STREAM, `:status: 413` as it stands in no table.
    fake.only.send_raw(b"\x00\x00\x05\x01\x05\x00\x00\x00\x03\x08\x03413")
    house.settled(request)
    assert request.head is not None
    assert request.head.status == 413
    run_until(lambda: RESET in tap.types)
    assert DATA not in tap.types


def test_a_request_that_is_cancelled_meanwhile_sends_nothing(house: House) -> None:
    fake, pool, connection = quiet(house)
    tap = silent(fake)
    request = house.request(pool, Request(body=b"hello"))
    assert request.stream is not None
    request.stream.reset(ErrorCode.CANCEL)
    house.flush_queue.run()
    run_until(lambda: RESET in tap.types)
    tap.go_on()
    run_until(lambda: fake.only.resets)
    turn()
    assert DATA not in tap.types
    assert not connection.streams


def test_a_goaway_instead_of_the_answer_sends_the_request_back(house: House) -> None:
    fake, pool, _ = quiet(house)
    tap = silent(fake)
    request = house.request(pool, Request(body=b"hello"))
    run_until(lambda: PING in tap.types)
    fake.only.goaway(1)
    house.settled(request)
    assert request.failure == Failure(Reason.GOAWAY_REFUSED)
    run_until(lambda: fake.only.is_over)
    assert DATA not in tap.types


# No answer


def test_without_an_answer_the_body_has_not_gone_and_the_request_may_go_elsewhere(house: House) -> None:
    fake, pool, connection = quiet(house)
    tap = silent(fake)
    request = house.request(pool, Request(body=b"hello"))
    house.pass_time(0.9)
    assert not request.is_over
    house.pass_time(0.3)
    assert request.failure == Failure(Reason.PING_TIMEOUT)
    run_until(lambda: RESET in tap.types)
    run_until(lambda: fake.only.is_over)
    assert tap.types == [HEADERS, PING, RESET, GOAWAY]
    assert connection.state is ConnectionState.CLOSED
    assert not pool.connections


def test_without_an_answer_a_request_that_went_out_whole_fails_as_if_the_connection_had_closed(house: House) -> None:
    fake, pool, _ = quiet(house)
    silent(fake)
    request = house.request(pool)
    house.pass_time(1.2)
    assert request.failure == DEAD
    assert request.stream is not None
    assert request.stream.is_reused
    assert not request.stream.is_touched
    assert not pool.connections


def test_a_connection_that_has_stood_idle_counts_as_reused(house: House) -> None:
    fake = house.fake()
    pool = house.pool(fake.url)
    pool.preconnect()
    run_until(lambda: pool.connections and pool.connections[0].has_settings)
    turn(10)
    house.later(QUIET)
    request = house.request(pool)
    assert request.stream is not None
    assert request.stream.is_reused


def test_a_dead_connection_is_not_given_to_the_request_that_comes_back(house: House) -> None:
    fake, pool, connection = quiet(house)
    silent(fake)
    again = Request(body=b"hello")
    request = Request(body=b"hello")
    request.then = lambda: pool.acquire(again)
    house.request(pool, request)
    house.pass_time(1.2)
    run_until(lambda: len(fake.connections) == 2 and 1 in fake.connections[1].ended)
    assert again.stream is not None
    assert again.stream.connection is not connection
    assert not again.stream.is_reused


def test_what_ran_before_the_silence_goes_on(house: House) -> None:
    """A backend that stood still for a second must not cost the responses under way."""
    fake, pool, connection = quiet(house)
    old = house.request(pool)
    run_until(lambda: fake.requests == 2)
    run_until(lambda: connection._proof is None)
    fake.only.engine.send_head(3, ResponseHead(200), False)
    fake.only.flush()
    run_until(lambda: old.head is not None)
    house.later(QUIET)
    tap = silent(fake)
    new = house.request(pool, Request(body=b"hello"))
    house.pass_time(1.2)
    assert new.failure == Failure(Reason.PING_TIMEOUT)
    assert not old.is_over
    assert connection.state is ConnectionState.DRAINING
    tap.go_on()
    fake.only.engine.send_data(3, b"hello", True)
    fake.only.flush()
    house.settled(old)
    assert old.data == b"hello"
    run_until(lambda: fake.only.is_over)


def test_a_body_of_a_request_the_backend_has_begun_with_is_not_held_up(house: House) -> None:
    """It could not be sent again; and a tunnel whose client is the first to speak is no request to give up."""
    fake, pool, _ = quiet(house)
    request = house.request(pool, Pieces())
    run_until(lambda: fake.requests == 2)
    fake.only.engine.send_interim(3, ResponseHead(103))
    fake.only.flush()
    run_until(lambda: request.interim)
    house.later(QUIET)
    tap = silent(fake)
    assert request.stream is not None
    request.stream.send_data(b"hello", True)
    house.flush_queue.run()
    run_until(lambda: tap.types == [DATA])
    house.pass_time(1.2)
    assert not request.is_over


def test_a_request_that_went_out_whole_and_is_not_safe_to_repeat_stays(house: House) -> None:
    """A backend that computes for two seconds answers no PING meanwhile, and then the request."""
    fake, pool, connection = quiet(house)
    tap = silent(fake)
    post = house.request(pool, Whole())
    get, held = house.request(pool), house.request(pool, Request(body=b"hello"))
    house.pass_time(1.2)
    assert (get.failure, held.failure) == (DEAD, Failure(Reason.PING_TIMEOUT))
    assert not post.is_over
    assert connection.state is ConnectionState.DRAINING
    assert pool.endpoint.in_use == 1
    tap.go_on()
    run_until(lambda: 3 in fake.only.ended)
    fake.only.respond(3, b"done")
    house.settled(post)
    assert post.data == b"done"
    run_until(lambda: fake.only.is_over)


def test_an_answer_that_comes_with_goaway_sends_what_stays_and_gives_back_the_rest(house: House) -> None:
    fake, pool, connection = quiet(house)
    tap = silent(fake)
    stays, goes = (house.request(pool, Request(body=b"hello")) for _ in range(2))
    run_until(lambda: tap.types.count(HEADERS) == 2)
    fake.only.transport.write(
        b"\x00\x00\x08\x06\x01\x00\x00\x00\x00h2gate\0\0" + b"\x00\x00\x08\x07\x00" + bytes(7) + b"\x03" + bytes(4)
    )
    run_until(lambda: goes.is_over)
    assert goes.failure == Failure(Reason.GOAWAY_REFUSED)
    run_until(lambda: DATA in tap.types)
    tap.go_on()
    run_until(lambda: 3 in fake.only.ended)
    assert fake.only.bodies[3] == b"hello"
    assert connection.state is ConnectionState.DRAINING
    assert not stays.is_over


def test_requests_that_are_cancelled_leave_nothing_of_theirs_with_the_proof(house: House) -> None:
    fake, pool, connection = quiet(house)
    silent(fake)
    for _ in range(50):
        request = house.request(pool, Request(body=b"hello"))
        assert request.stream is not None
        request.stream.reset(ErrorCode.CANCEL)
    assert connection._proof is not None
    assert not connection._proof._streams
    assert not connection._proof.end()


# At an interval


def test_no_ping_goes_to_an_idle_connection_unless_asked_for(house: House) -> None:
    fake, pool, _ = quiet(house)
    tap = Tap(fake.only)
    pool.tidy(house.clock.now)
    house.flush_queue.run()
    turn(10)
    assert tap.types == []


def test_an_idle_connection_is_asked_at_the_interval_and_stays_while_it_answers(house: House) -> None:
    fake, pool, connection = quiet(house, ping_interval=QUIET)
    tap = Tap(fake.only)
    for count in range(1, 4):
        pool.tidy(house.clock.now)
        house.flush_queue.run()
        run_until(lambda: connection._proof is None)
        assert tap.types == [PING] * count
        house.later(QUIET - 1)
        pool.tidy(house.clock.now)
        house.flush_queue.run()
        assert connection._proof is None
        house.later(1)
    assert pool.connections == [connection]


def test_an_idle_connection_that_does_not_answer_is_dropped(house: House) -> None:
    fake, pool, connection = quiet(house, ping_interval=QUIET)
    silent(fake)
    pool.tidy(house.clock.now)
    house.flush_queue.run()
    house.pass_time(1.2)
    assert connection.state is ConnectionState.CLOSED
    assert not pool.connections


def test_a_connection_with_streams_is_not_asked_at_the_interval(house: House) -> None:
    fake, pool, connection = quiet(house, ping_interval=QUIET)
    house.request(pool)
    run_until(lambda: fake.requests == 2)
    run_until(lambda: connection._proof is None)
    house.later(QUIET)
    pool.tidy(house.clock.now)
    assert connection._proof is None


def test_a_ping_under_way_holds_the_bodies_that_come_meanwhile(house: House) -> None:
    fake, pool, _ = quiet(house, ping_interval=5.0, ping_after=60.0)
    tap = silent(fake)
    pool.tidy(house.clock.now)
    request = house.request(pool, Request(body=b"hello"))
    run_until(lambda: HEADERS in tap.types)
    assert tap.types == [PING, HEADERS]
    house.pass_time(1.2)
    assert request.failure == Failure(Reason.PING_TIMEOUT)


# What is left


@pytest.mark.parametrize("ends", ["answered", "unanswered", "lost"])
def test_no_cycle_of_a_ping_keeps_a_closed_connection_alive(house: House, ends: str) -> None:
    def alive() -> int:
        return sum(isinstance(each, BackendConnection) for each in gc.get_objects())

    fake, pool, connection = quiet(house)
    del connection
    tap = silent(fake)
    request = house.request(pool, Request(body=b"hello"))
    run_until(lambda: PING in tap.types)
    gc.collect()
    gc.disable()
    try:
        match ends:
            case "answered":
                tap.go_on()
                run_until(lambda: 3 in fake.only.ended)
                fake.only.respond(3)
                house.settled(request)
                pool.connections[0].retire()
            case "unanswered":
                house.pass_time(1.2)
            case "lost":
                fake.only.abort()
                house.settled(request)
        request.stream = None
        run_until(lambda: not alive())
    finally:
        gc.enable()
