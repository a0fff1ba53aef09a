"""Requests as an HTTP/1.1 engine reads them: heads, bodies, trailers, pipelining."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from h2gate.errors import Reason
from h2gate.protocol.contract import Http1ServerEngine, Http1Settings
from h2gate.protocol.events import (
    DataReceived,
    Event,
    RequestHead,
    RequestReceived,
    ResponseHead,
    TrailersReceived,
)
from tests.support.http1_engine import MAKES, SETTINGS, Make, failure_of, feed, head_of, joined, request, sent


@pytest.fixture(params=MAKES.values(), ids=list(MAKES))
def make(request: pytest.FixtureRequest) -> Make:
    made: Make = request.param
    return made


@pytest.fixture
def engine(make: Make) -> Http1ServerEngine:
    return make(SETTINGS, b"http")


def answer(engine: Http1ServerEngine) -> None:
    engine.send_head(engine.current_stream, ResponseHead(200), True)
    sent(engine)


def test_a_request_without_a_body_is_one_event(engine: Http1ServerEngine) -> None:
    data = b"GET /a?b=c HTTP/1.1\r\nHost: Example.org:8080\r\nAccept:\t text/plain \r\nX-Empty:\r\nX-High: \xe4\r\n\r\n"
    head = RequestHead(
        method=b"GET",
        scheme=b"http",
        authority=b"Example.org:8080",
        path=b"/a?b=c",
        fields=[(b"accept", b"text/plain"), (b"x-empty", b""), (b"x-high", b"\xe4")],
        version=b"HTTP/1.1",
        content_length=None,
        target=b"/a?b=c",
    )
    assert engine.receive(data) == [RequestReceived(1, head, True)]
    assert engine.request_complete
    assert engine.current_stream == 1
    assert engine.buffered == 0


def test_names_and_values_are_bytes_and_not_something_like_it(engine: Http1ServerEngine) -> None:
    data = request(b"POST / HTTP/1.1", b"Transfer-Encoding: chunked", body=b"1\r\nx\r\n0\r\nT: u\r\n\r\n")
    received, body, trailers = engine.receive(data)
    assert isinstance(received, RequestReceived)
    assert isinstance(body, DataReceived)
    assert isinstance(trailers, TrailersReceived)
    head = received.head
    octets = [head.method, head.scheme, head.authority, head.path, head.version, head.target, body.data]
    octets += [part for field in head.fields + trailers.fields for part in field]
    assert {type(value) for value in octets} == {bytes}


def test_fields_of_the_connection_stay_but_host_and_transfer_encoding_do_not(engine: Http1ServerEngine) -> None:
    head = head_of(
        engine,
        request(
            b"POST / HTTP/1.1",
            b"Connection: Upgrade, TE",
            b"Upgrade: websocket",
            b"Keep-Alive: timeout=5",
            b"TE: trailers",
            b"Transfer-Encoding: Chunked",
            b"Expect: 100-continue",
        ),
    )
    assert [name for name, _ in head.fields] == [b"connection", b"upgrade", b"keep-alive", b"te", b"expect"]
    assert head.content_length is None


def test_expect_is_a_field_like_others_and_nothing_is_answered(engine: Http1ServerEngine) -> None:
    head = head_of(engine, request(b"PUT / HTTP/1.1", b"Expect: 100-continue", b"Content-Length: 5"))
    assert (b"expect", b"100-continue") in head.fields
    assert engine.data_to_send(1000) == b""
    assert engine.receive(b"hello") == [DataReceived(1, b"hello", 5, True)]


def test_a_repeated_field_keeps_its_lines_and_their_order(engine: Http1ServerEngine) -> None:
    head = head_of(engine, request(b"GET / HTTP/1.1", b"Cookie: b", b"X: 1", b"cookie: a"))
    assert head.fields == [(b"cookie", b"b"), (b"x", b"1"), (b"cookie", b"a")]


def test_http_1_0_needs_no_host(engine: Http1ServerEngine) -> None:
    head = head_of(engine, b"GET / HTTP/1.0\r\n\r\n")
    assert (head.version, head.authority) == (b"HTTP/1.0", b"")


TARGETS = {
    "origin form": (b"GET", b"/a/b?c", b"example.org", b"/a/b?c"),
    "two slashes": (b"GET", b"//a/b", b"example.org", b"//a/b"),
    "asterisk": (b"OPTIONS", b"*", b"example.org", b"*"),
    "absolute form": (b"GET", b"http://example.org/a?b", b"example.org", b"/a?b"),
    "absolute form without a path": (b"GET", b"http://example.org", b"example.org", b"/"),
    "absolute form, query without a path": (b"GET", b"http://example.org?a=/b", b"example.org", b"/?a=/b"),
    "absolute form of the asterisk": (b"OPTIONS", b"http://example.org", b"example.org", b"*"),
    "absolute form, OPTIONS of a path": (b"OPTIONS", b"http://example.org/", b"example.org", b"/"),
    "absolute form, OPTIONS of a query": (b"OPTIONS", b"http://example.org?a", b"example.org", b"/?a"),
    "absolute form in other case": (b"GET", b"HTTP://EXAMPLE.org/", b"EXAMPLE.org", b"/"),
    "absolute form with the default port": (b"GET", b"http://example.org:80/", b"example.org:80", b"/"),
    "absolute form with an empty port": (b"GET", b"http://example.org:/", b"example.org:", b"/"),
}


@pytest.mark.parametrize(("method", "target", "authority", "path"), TARGETS.values(), ids=TARGETS)
def test_each_form_of_target_gives_authority_and_path(
    engine: Http1ServerEngine, method: bytes, target: bytes, authority: bytes, path: bytes
) -> None:
    head = head_of(engine, request(method + b" " + target + b" HTTP/1.1"))
    assert (head.method, head.authority, head.path, head.target) == (method, authority, path, target)


def test_absolute_form_gives_an_http_1_0_request_its_authority(engine: Http1ServerEngine) -> None:
    head = head_of(engine, b"GET http://example.org:8080/ HTTP/1.0\r\n\r\n")
    assert head.authority == b"example.org:8080"


def test_the_scheme_is_the_connections(make: Make) -> None:
    head = head_of(make(SETTINGS, b"https"), request(b"GET https://example.org:443/ HTTP/1.1"))
    assert (head.scheme, head.authority) == (b"https", b"example.org:443")


@pytest.mark.parametrize("count", [1, 4])
def test_empty_lines_before_a_request_are_skipped(engine: Http1ServerEngine, count: int) -> None:
    assert engine.receive(b"\r\n" * count) == []
    assert head_of(engine, request(b"GET / HTTP/1.1")).method == b"GET"


def test_empty_lines_are_counted_for_each_request_alone(engine: Http1ServerEngine) -> None:
    for _ in range(3):
        assert len(engine.receive(b"\r\n\r\n\r\n" + request(b"GET / HTTP/1.1"))) == 1
        answer(engine)
        engine.next_request()


def test_nothing_comes_of_no_bytes(engine: Http1ServerEngine) -> None:
    assert engine.receive(b"") == []
    engine.receive(request(b"POST / HTTP/1.1", b"Content-Length: 1"))
    assert engine.receive(b"") == []
    assert not engine.request_complete


# bodies


def test_the_last_bytes_of_a_length_end_the_stream(engine: Http1ServerEngine) -> None:
    events = engine.receive(request(b"POST / HTTP/1.1", b"Content-Length: 10", body=b"hel"))
    assert isinstance(events[0], RequestReceived)
    assert events[0].head.content_length == 10
    assert (b"content-length", b"10") in events[0].head.fields
    assert not events[0].end_stream
    assert events[1] == DataReceived(1, b"hel", 3, False)
    assert engine.receive(b"lo") == [DataReceived(1, b"lo", 2, False)]
    assert not engine.request_complete
    assert engine.receive(b"world") == [DataReceived(1, b"world", 5, True)]
    assert engine.request_complete


def test_a_length_of_zero_is_no_body(engine: Http1ServerEngine) -> None:
    (event,) = engine.receive(request(b"POST / HTTP/1.1", b"Content-Length: 0"))
    assert isinstance(event, RequestReceived)
    assert event.end_stream
    assert event.head.content_length == 0


def test_pieces_of_a_body_are_handed_on_uncopied(engine: Http1ServerEngine) -> None:
    engine.receive(request(b"POST / HTTP/1.1", b"Content-Length: 20"))
    for _ in range(2):
        piece = bytes(bytearray(b"0123456789"))
        (event,) = engine.receive(piece)
        assert isinstance(event, DataReceived)
        assert event.data is piece


def test_chunks_of_one_read_are_one_event_and_the_last_ends_the_stream(engine: Http1ServerEngine) -> None:
    body = b'5\r\nhello\r\n1;a;b=c;d="e \\" \xe4"\r\n \r\n0005\r\nworld\r\n00\r\n\r\n'
    events = engine.receive(request(b"POST / HTTP/1.1", b"Transfer-Encoding: chunked", body=body))
    assert events[1:] == [DataReceived(1, b"hello world", 11, True)]
    assert engine.request_complete


def test_a_last_chunk_that_comes_alone_ends_the_stream_with_no_bytes(engine: Http1ServerEngine) -> None:
    engine.receive(request(b"POST / HTTP/1.1", b"Transfer-Encoding: chunked"))
    assert engine.receive(b"A\r\n0123456789\r\n") == [DataReceived(1, b"0123456789", 10, False)]
    assert engine.receive(b"0\r\n") == []
    assert engine.receive(b"\r") == []
    assert engine.receive(b"\n") == [DataReceived(1, b"", 0, True)]


def test_trailers_end_the_message(engine: Http1ServerEngine) -> None:
    body = b"5\r\nhello\r\n0\r\nGrpc-Status: 0\r\nX-Sum:  abc \r\n\r\n"
    events = engine.receive(request(b"POST / HTTP/1.1", b"Transfer-Encoding: chunked", body=body))
    trailers = TrailersReceived(1, [(b"grpc-status", b"0"), (b"x-sum", b"abc")])
    assert events[1:] == [DataReceived(1, b"hello", 5, False), trailers]
    assert engine.request_complete


def test_trailers_of_an_empty_body_come_alone(engine: Http1ServerEngine) -> None:
    body = b"0\r\nX: y\r\n\r\n"
    events = engine.receive(request(b"POST / HTTP/1.1", b"Transfer-Encoding: chunked", body=body))
    assert events[1:] == [TrailersReceived(1, [(b"x", b"y")])]


def test_trailers_that_mean_nothing_behind_a_body_are_dropped(engine: Http1ServerEngine) -> None:
    body = b"5\r\nhello\r\n0\r\nAuthorization: x\r\nX: y\r\n\r\n"
    events = engine.receive(request(b"POST / HTTP/1.1", b"Transfer-Encoding: chunked", body=body))
    assert events[-1] == TrailersReceived(1, [(b"x", b"y")])


def test_if_all_trailers_are_dropped_the_data_ends_the_stream(engine: Http1ServerEngine) -> None:
    body = b"5\r\nhello\r\n0\r\nAuthorization: x\r\n\r\n"
    events = engine.receive(request(b"POST / HTTP/1.1", b"Transfer-Encoding: chunked", body=body))
    assert events[1:] == [DataReceived(1, b"hello", 5, True)]


def test_extensions_within_their_budget_are_ignored(engine: Http1ServerEngine) -> None:
    body = (b"1;" + b"a" * 200 + b"\r\nx\r\n") * 80
    events = engine.receive(request(b"POST / HTTP/1.1", b"Transfer-Encoding: chunked", body=body))
    assert events[1] == DataReceived(1, b"x" * 80, 80, False)


# one request at a time


def test_pipelined_requests_wait_for_the_answer_to_the_one_before(engine: Http1ServerEngine) -> None:
    second, third = request(b"GET /2 HTTP/1.1"), request(b"GET /3 HTTP/1.1")
    first = request(b"POST /1 HTTP/1.1", b"Content-Length: 5", body=b"hello")
    assert len(engine.receive(first + second)) == 2
    assert engine.receive(third) == []
    assert engine.buffered == len(second) + len(third)
    for number, left in ((2, len(third)), (3, 0)):
        assert engine.next_request() == []
        engine.send_head(number - 1, ResponseHead(200), True)
        assert engine.next_request() == []
        sent(engine)
        (event,) = engine.next_request()
        assert isinstance(event, RequestReceived)
        assert (event.stream_id, event.head.path) == (number, b"/%d" % number)
        assert engine.buffered == left
    answer(engine)
    assert engine.next_request() == []
    assert engine.current_stream == 3


def test_a_request_cut_within_what_was_pipelined_goes_on_with_the_next_bytes(engine: Http1ServerEngine) -> None:
    data = request(b"POST /2 HTTP/1.1", b"Transfer-Encoding: chunked", body=b"5\r\nhello\r\n0\r\n\r\n")
    engine.receive(request(b"GET /1 HTTP/1.1") + data[:30])
    answer(engine)
    assert engine.next_request() == []
    assert engine.buffered == 30
    events = engine.receive(data[30:])
    assert isinstance(events[0], RequestReceived)
    assert events[1:] == [DataReceived(2, b"hello", 5, True)]


def test_the_next_request_waits_for_the_whole_body_even_if_it_is_answered(engine: Http1ServerEngine) -> None:
    engine.receive(request(b"POST /1 HTTP/1.1", b"Content-Length: 40"))
    answer(engine)
    assert engine.response_complete
    assert engine.next_request() == []
    smuggled = request(b"GET /2 HTTP/1.1")
    (event,) = engine.receive(smuggled)
    assert event == DataReceived(1, smuggled, len(smuggled), False)


def test_a_bad_head_behind_a_good_request_fails_only_when_its_turn_comes(engine: Http1ServerEngine) -> None:
    assert len(engine.receive(request(b"GET / HTTP/1.1") + b"\0")) == 1
    answer(engine)
    assert failure_of(engine.next_request()).reason is Reason.BAD_REQUEST
    assert engine.current_stream == 2


# the connection's end


KEPT_ALIVE = {
    "HTTP/1.1": (request(b"GET / HTTP/1.1"), True),
    "HTTP/1.1, close": (request(b"GET / HTTP/1.1", b"Connection: close"), False),
    "HTTP/1.1, close in other case among others": (request(b"GET / HTTP/1.1", b"Connection: TE , CLOSE"), False),
    "HTTP/1.1, close on a second line": (request(b"GET / HTTP/1.1", b"Connection: TE", b"Connection: close"), False),
    "HTTP/1.1, closed": (request(b"GET / HTTP/1.1", b"Connection: closed"), True),
    "HTTP/1.0": (request(b"GET / HTTP/1.0"), False),
    "HTTP/1.0, keep-alive": (request(b"GET / HTTP/1.0", b"Connection: Keep-Alive"), True),
    "HTTP/1.0, both": (request(b"GET / HTTP/1.0", b"Connection: keep-alive, close"), False),
}


@pytest.mark.parametrize(("data", "expected"), KEPT_ALIVE.values(), ids=KEPT_ALIVE)
def test_the_connection_is_kept_as_the_client_says(engine: Http1ServerEngine, data: bytes, expected: bool) -> None:
    assert engine.keeps_alive
    engine.receive(data)
    assert engine.keeps_alive is expected


def test_after_a_last_response_nothing_more_is_read(engine: Http1ServerEngine) -> None:
    engine.receive(request(b"GET / HTTP/1.1", b"Connection: close") + request(b"GET /2 HTTP/1.1"))
    answer(engine)
    assert engine.request_complete
    assert engine.response_complete
    assert engine.next_request() == []


# cuts


NAMES = st.sampled_from([b"X-A", b"Cookie", b"Accept", b"Te", b"Connection"])
VALUES = st.sampled_from([b"", b"a", b"b \t c", b"trailers", b"\xff" * 10])
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=4)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    lines = [name + draw(st.sampled_from([b":", b": ", b":\t "])) + value for name, value in draw(FIELDS)]
    line = draw(st.sampled_from([b"POST / HTTP/1.1", b"PUT http://example.org/a?b HTTP/1.1"]))
    body = draw(st.binary(max_size=60))
    match draw(st.sampled_from(["none", "length", "chunked"])):
        case "none":
            data = request(line, *lines)
        case "length":
            data = request(line, *lines, b"Content-Length: %d" % len(body), body=body)
        case _:
            chunks = [body[place : place + 7] for place in range(0, len(body), 7)]
            coded = b"".join(b"%x;e=1\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
            trailers = b"".join(b"T-" + name + b": " + value + b"\r\n" for name, value in draw(FIELDS))
            data = request(line, b"Transfer-Encoding: chunked", *lines, body=coded + b"0\r\n" + trailers + b"\r\n")
    return draw(st.sampled_from([b"", b"\r\n"])) + data


def run(engine: Http1ServerEngine, pieces: list[bytes]) -> list[Event]:
    """Feed the pieces, answering each request as soon as it is whole."""
    events: list[Event] = []
    for piece in pieces:
        new = engine.receive(piece)
        while new:
            events += new
            if not engine.request_complete:
                break
            answer(engine)
            new = engine.next_request()
    return events


@given(data=st.lists(requests(), min_size=1, max_size=3).map(b"".join), cuts=st.lists(st.integers(0, 600), max_size=10))
def test_good_requests_cut_anywhere_make_the_same_events(data: bytes, cuts: list[int]) -> None:
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    for make in MAKES.values():
        whole = run(make(SETTINGS, b"http"), [data])
        split = run(make(SETTINGS, b"http"), [data[a:b] for a, b in pairwise(places)])
        assert joined(split) == joined(whole)
        assert isinstance(whole[0], RequestReceived)


def test_every_request_cut_at_every_octet_makes_the_same_events(make: Make) -> None:
    data = request(b"POST / HTTP/1.1", b"Transfer-Encoding: chunked", body=b"5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n")
    whole = joined(make(SETTINGS, b"http").receive(data))
    for place in range(len(data)):
        assert joined(feed(make(SETTINGS, b"http"), [data[:place], data[place:]])) == whole
    assert joined(feed(make(SETTINGS, b"http"), [bytes([octet]) for octet in data])) == whole


def test_the_limit_is_for_each_head_and_not_for_the_connection(make: Make) -> None:
    data = request(b"GET / HTTP/1.1")
    engine = make(Http1Settings(header_list=len(data)), b"http")
    engine.receive(data * 3)
    for number in (2, 3):
        answer(engine)
        assert isinstance(engine.next_request()[0], RequestReceived)
        assert engine.current_stream == number
