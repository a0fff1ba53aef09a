"""Responses over time: back-pressure, the connection's end, answers to what was not read, and calls that cross."""

from __future__ import annotations

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from h2gate.errors import Reason
from h2gate.protocol.contract import Http1ServerEngine
from h2gate.protocol.events import ResponseHead
from tests.support.http1_engine import (
    GET,
    GET_10,
    GET_10_KEEP,
    GET_TRAILERS,
    HEAD,
    MAKES,
    SETTINGS,
    Make,
    begin,
    by_h11,
    by_http_client,
    failure_of,
    lines_of,
    request,
    sent,
)


@pytest.fixture(params=MAKES.values(), ids=list(MAKES))
def make(request: pytest.FixtureRequest) -> Make:
    made: Make = request.param
    return made


@pytest.fixture
def engine(make: Make) -> Http1ServerEngine:
    return make(SETTINGS, b"http")


# back-pressure


def test_a_body_is_framed_only_as_far_as_the_limit_goes(engine: Http1ServerEngine) -> None:
    stream = begin(engine, GET)
    engine.send_head(stream, ResponseHead(200), False)
    head = engine.data_to_send(10)
    assert head.endswith(b"chunked\r\n\r\n")
    engine.send_data(stream, b"0123456789", False)
    engine.send_data(stream, b"abcdefghij", True)
    assert engine.queued(stream) == 20
    assert engine.take_framed() == []
    assert engine.data_to_send(4) == b"4\r\n0123\r\n"
    assert (engine.queued(stream), engine.take_framed()) == (16, [(stream, 4)])
    assert engine.data_to_send(8) == b"8\r\n456789ab\r\n"
    assert engine.data_to_send(3) == b"3\r\ncde\r\n"
    assert engine.take_framed() == [(stream, 8 + 3)]
    assert not engine.response_complete
    assert engine.data_to_send(100) == b"5\r\nfghij\r\n0\r\n\r\n"
    assert engine.response_complete
    assert (engine.queued(stream), engine.take_framed()) == (0, [(stream, 5)])
    assert engine.data_to_send(100) == b""
    assert engine.take_framed() == []


def test_no_chunk_is_begun_where_the_head_takes_the_whole_limit(engine: Http1ServerEngine) -> None:
    stream = begin(engine, GET)
    engine.send_head(stream, ResponseHead(200), False)
    engine.send_data(stream, b"hello", False)
    assert engine.data_to_send(10).endswith(b"chunked\r\n\r\n")
    assert engine.take_framed() == []
    assert engine.data_to_send(10) == b"5\r\nhello\r\n"


def test_a_whole_piece_of_a_body_with_a_length_goes_out_uncopied(engine: Http1ServerEngine) -> None:
    stream = begin(engine, GET)
    engine.send_head(stream, ResponseHead(200, [(b"content-length", b"1000")]), False)
    sent(engine)
    piece = b"x" * 1000
    engine.send_data(stream, piece, True)
    assert engine.data_to_send(1000) is piece
    assert engine.response_complete


def test_bytes_that_have_no_place_count_as_gone(engine: Http1ServerEngine) -> None:
    stream = begin(engine, HEAD)
    engine.send_head(stream, ResponseHead(200), False)
    engine.send_data(stream, b"hello", True)
    assert engine.queued(stream) == 0
    assert engine.take_framed() == [(stream, 5)]


def test_what_was_framed_for_a_request_is_told_even_behind_the_next(engine: Http1ServerEngine) -> None:
    engine.receive(GET + GET)
    engine.send_head(1, ResponseHead(200, [(b"content-length", b"5")]), False)
    engine.send_data(1, b"hello", True)
    sent(engine)
    engine.next_request()
    engine.send_head(2, ResponseHead(200, [(b"content-length", b"3")]), False)
    engine.send_data(2, b"abc", True)
    sent(engine)
    assert engine.take_framed() == [(1, 5), (2, 3)]


BODIES = st.lists(st.binary(max_size=40), max_size=6)


@given(
    pieces=BODIES,
    limits=st.lists(st.integers(1, 60), min_size=1, max_size=5),
    data=st.sampled_from([GET, GET_TRAILERS, GET_10, GET_10_KEEP, HEAD]),
    has_length=st.booleans(),
    drains_between=st.booleans(),
)
def test_a_body_comes_through_whatever_the_pieces_and_limits(
    pieces: list[bytes], limits: list[int], data: bytes, has_length: bool, drains_between: bool
) -> None:
    body = b"".join(pieces)
    for make in MAKES.values():
        engine = make(SETTINGS, b"http")
        stream = begin(engine, data)
        fields = [(b"content-length", b"%d" % len(body))] if has_length else []
        engine.send_head(stream, ResponseHead(200, fields), False)
        out = [engine.data_to_send(1)]
        for number, piece in enumerate(pieces):
            engine.send_data(stream, piece, False)
            if drains_between:
                out.append(engine.data_to_send(limits[number % len(limits)]))
        engine.send_data(stream, b"", True)
        number = 0
        while not engine.response_complete:
            limit = limits[number % len(limits)]
            out.append(engine.data_to_send(limit))
            # One chunk's frame and the end of the body are what may go beyond the limit.
            assert 0 < len(out[-1]) <= limit + len(b"28\r\n\r\n0\r\n\r\n")
            number += 1
        assert not engine.broken
        assert engine.data_to_send(1000) == b""
        assert sum(size for _, size in engine.take_framed()) == len(body)
        read = b"".join(event.data for event in by_h11(data, b"".join(out)) if isinstance(event, h11.Data))
        assert read == (b"" if data is HEAD else body)


# the connection's end


def test_close_after_response_is_said_in_the_head(engine: Http1ServerEngine) -> None:
    stream = begin(engine, GET)
    engine.close_after_response()
    engine.send_head(stream, ResponseHead(200), True)
    assert b"Connection: close" in lines_of(sent(engine))[1]
    assert not engine.keeps_alive


def test_close_after_response_holds_even_if_the_head_is_out(engine: Http1ServerEngine) -> None:
    stream = begin(engine, GET)
    engine.send_head(stream, ResponseHead(200), True)
    sent(engine)
    engine.close_after_response()
    assert not engine.keeps_alive
    assert engine.next_request() == []


def test_close_after_response_before_any_request_is_for_the_first(engine: Http1ServerEngine) -> None:
    engine.close_after_response()
    engine.send_head(begin(engine, GET), ResponseHead(200), True)
    assert b"Connection: close" in lines_of(sent(engine))[1]


def test_a_client_that_closes_is_told_so(engine: Http1ServerEngine) -> None:
    engine.send_head(begin(engine, request(b"GET / HTTP/1.1", b"Connection: close")), ResponseHead(200), True)
    assert b"Connection: close" in lines_of(sent(engine))[1]


# answers to what could not be read


@pytest.mark.parametrize("has_length", [True, False])
def test_a_head_that_could_not_be_read_is_answered_and_the_connection_closed(
    engine: Http1ServerEngine, has_length: bool
) -> None:
    failure = failure_of(engine.receive(b"garbage\0\r\n\r\n"))
    assert failure.reason is Reason.BAD_REQUEST
    stream = engine.current_stream
    assert stream == 1
    engine.send_head(stream, ResponseHead(400, [(b"content-length", b"4")] if has_length else []), False)
    engine.send_data(stream, b"Bad\n", True)
    out = sent(engine)
    assert out.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    # Without a length it ends with the connection: nobody knows what this client understands.
    assert b"chunked" not in out
    response, body, _ = by_http_client(out)
    assert (response.will_close, body) == (True, b"Bad\n")
    assert engine.response_complete
    assert not engine.keeps_alive


def test_so_is_the_second_request_of_a_connection(engine: Http1ServerEngine) -> None:
    engine.receive(HEAD + b"garbage\0\r\n\r\n")
    engine.send_head(1, ResponseHead(200), True)
    sent(engine)
    failure_of(engine.next_request())
    engine.send_head(2, ResponseHead(400, [(b"content-length", b"4")]), False)
    engine.send_data(2, b"Bad\n", True)
    assert lines_of(sent(engine))[2] == b"Bad\n"


def test_a_body_that_could_not_be_read_is_answered_as_its_request(engine: Http1ServerEngine) -> None:
    events = engine.receive(request(b"POST / HTTP/1.1", b"Transfer-Encoding: chunked", body=b"x\r\n"))
    failure_of(events)
    engine.send_head(1, ResponseHead(400), False)
    engine.send_data(1, b"Bad\n", True)
    _, lines, body = lines_of(sent(engine))
    assert lines == [b"Transfer-Encoding: chunked", b"Connection: close"]
    assert body == b"4\r\nBad\n\r\n0\r\n\r\n"
    assert engine.response_complete


# requests given up


@pytest.mark.parametrize("before", [0, 1])
def test_a_head_that_comes_too_slowly_is_answered_unread(engine: Http1ServerEngine, before: int) -> None:
    for stream in range(1, before + 1):
        engine.receive(GET)
        engine.send_head(stream, ResponseHead(200), True)
        sent(engine)
        engine.next_request()
    engine.receive(GET[:10])
    stream = engine.abandon_request()
    assert stream == engine.current_stream == before + 1
    engine.send_head(stream, ResponseHead(408), True)
    first, lines, _ = lines_of(sent(engine))
    assert first == b"HTTP/1.1 408 Request Timeout"
    assert lines == [b"Content-Length: 0", b"Connection: close"]
    assert engine.response_complete
    assert engine.receive(GET[10:]) == []
    assert engine.buffered == 0


def test_a_body_that_comes_too_slowly_is_answered_as_its_request(engine: Http1ServerEngine) -> None:
    stream = begin(engine, request(b"POST / HTTP/1.1", b"Content-Length: 5", body=b"he"))
    assert engine.abandon_request() == stream
    engine.send_head(stream, ResponseHead(408), True)
    assert lines_of(sent(engine))[1] == [b"Content-Length: 0", b"Connection: close"]
    assert engine.receive(b"llo") == []
    assert not engine.request_complete


def test_a_request_that_is_complete_is_given_up_by_not_following_it(engine: Http1ServerEngine) -> None:
    stream = begin(engine, GET)
    assert engine.abandon_request() == stream
    assert engine.abandon_request() == stream
    engine.send_head(stream, ResponseHead(200), True)
    assert b"Connection: close" in lines_of(sent(engine))[1]
    assert engine.next_request() == []


# calls that cross


def test_calls_for_a_stream_that_is_not_the_current_one_are_ignored(engine: Http1ServerEngine) -> None:
    engine.receive(GET + GET)
    engine.send_head(1, ResponseHead(200), True)
    out = sent(engine)
    assert out
    engine.next_request()
    for stream in (0, 1, 3):
        engine.send_interim(stream, ResponseHead(103))
        engine.send_head(stream, ResponseHead(200), False)
        engine.send_data(stream, b"hello", True)
        engine.send_trailers(stream, [])
        assert engine.queued(stream) == 0
    assert sent(engine) == b""
    assert engine.take_framed() == []
    assert not engine.response_complete


def test_calls_out_of_order_are_ignored(engine: Http1ServerEngine) -> None:
    stream = begin(engine, GET)
    engine.send_data(stream, b"early", True)
    engine.send_trailers(stream, [])
    assert sent(engine) == b""
    engine.send_head(stream, ResponseHead(200), False)
    engine.send_head(stream, ResponseHead(404), True)
    engine.send_data(stream, b"", False)
    engine.send_data(stream, b"hello", True)
    engine.send_data(stream, b"late", True)
    engine.send_trailers(stream, [(b"x", b"y")])
    first, _, body = lines_of(sent(engine))
    assert first == b"HTTP/1.1 200 OK"
    assert body == b"5\r\nhello\r\n0\r\n\r\n"


def test_a_response_may_be_over_before_its_request_and_the_other_way_round(engine: Http1ServerEngine) -> None:
    stream = begin(engine, request(b"POST / HTTP/1.1", b"Content-Length: 10", body=b"hello"))
    engine.send_head(stream, ResponseHead(200), False)
    engine.send_data(stream, b"echo", False)
    assert lines_of(sent(engine))[2] == b"4\r\necho\r\n"
    assert len(engine.receive(b"world")) == 1
    assert engine.request_complete
    assert not engine.response_complete
    engine.send_data(stream, b"", True)
    assert sent(engine) == b"0\r\n\r\n"
    assert engine.response_complete
