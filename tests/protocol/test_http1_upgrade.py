"""A WebSocket's request, and the tunnel that a 101 makes of its connection (RFC 9110, 7.8; RFC 6455, 4)."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from h2gate.protocol.contract import Http1ServerEngine
from h2gate.protocol.events import DataReceived, RequestReceived, RequestRejected, ResponseHead
from tests.support.http1_engine import (
    MAKES,
    SETTINGS,
    Make,
    begin,
    feed,
    head_of,
    joined,
    lines_of,
    request,
    sent,
)

UPGRADE = request(b"GET /chat HTTP/1.1", b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Key: x")
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


@pytest.fixture(params=MAKES.values(), ids=list(MAKES))
def make(request: pytest.FixtureRequest) -> Make:
    made: Make = request.param
    return made


@pytest.fixture
def engine(make: Make) -> Http1ServerEngine:
    return make(SETTINGS, b"http")


@pytest.fixture
def tunnel(engine: Http1ServerEngine) -> Http1ServerEngine:
    engine.send_head(begin(engine, UPGRADE), ResponseHead(101), False)
    assert sent(engine) == SWITCHED
    assert engine.take_tunnelled() == []
    return engine


# The offer

OFFERS = {
    "as browsers write it": UPGRADE,
    "in other case": request(b"GET / HTTP/1.1", b"UPGRADE: WebSocket\t", b"connection: UPGRADE"),
    "among other options": request(b"GET / HTTP/1.1", b"Connection: keep-alive ,\tUpgrade", b"Upgrade: websocket"),
    "on two lines": request(b"GET / HTTP/1.1", b"Connection: TE", b"Connection: upgrade", b"Upgrade: websocket"),
    "with a length of nothing": request(
        b"GET / HTTP/1.1", b"Connection: upgrade", b"Upgrade: websocket", b"Content-Length: 0"
    ),
    "to an absolute target": request(
        b"GET http://example.org/ HTTP/1.1", b"Connection: upgrade", b"Upgrade: websocket"
    ),
}


@pytest.mark.parametrize("data", OFFERS.values(), ids=OFFERS)
def test_an_offer_of_websocket_comes_with_its_protocol_and_without_an_end(make: Make, data: bytes) -> None:
    for pieces in ([data], [bytes([octet]) for octet in data]):
        engine = make(SETTINGS, b"http")
        (event,) = feed(engine, pieces)
        assert isinstance(event, RequestReceived)
        assert (event.head.protocol, event.end_stream) == (b"websocket", False)
        assert {b"connection", b"upgrade"} <= {name for name, _ in event.head.fields}
        assert not engine.request_complete
        assert engine.keeps_alive


OTHERS = {
    "h2c": request(b"GET / HTTP/1.1", b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AA"),
    "two protocols": request(b"GET / HTTP/1.1", b"Connection: upgrade", b"Upgrade: websocket, h2c"),
    "two lines": request(b"GET / HTTP/1.1", b"Connection: upgrade", b"Upgrade: h2c", b"Upgrade: websocket"),
    "two lines that agree": request(
        b"GET / HTTP/1.1", b"Connection: upgrade", b"Upgrade: websocket", b"Upgrade: websocket"
    ),
    "a version of it": request(b"GET / HTTP/1.1", b"Connection: upgrade", b"Upgrade: websocket/13"),
    "part of its name": request(b"GET / HTTP/1.1", b"Connection: upgrade", b"Upgrade: websockets"),
    "nothing": request(b"GET / HTTP/1.1", b"Connection: upgrade", b"Upgrade:"),
    "not named by Connection": request(b"GET / HTTP/1.1", b"Connection: keep-alive", b"Upgrade: websocket"),
    "without Connection": request(b"GET / HTTP/1.1", b"Upgrade: websocket"),
    "named by Connection alone": request(b"GET / HTTP/1.1", b"Connection: upgrade"),
    "POST": request(b"POST / HTTP/1.1", b"Connection: upgrade", b"Upgrade: websocket"),
    "HEAD": request(b"HEAD / HTTP/1.1", b"Connection: upgrade", b"Upgrade: websocket"),
    "get": request(b"get / HTTP/1.1", b"Connection: upgrade", b"Upgrade: websocket"),
    "HTTP/1.0": request(b"GET / HTTP/1.0", b"Connection: upgrade", b"Upgrade: websocket"),
}


@pytest.mark.parametrize("data", OTHERS.values(), ids=OTHERS)
def test_any_other_upgrade_is_ignored_and_the_request_a_whole_one(engine: Http1ServerEngine, data: bytes) -> None:
    (event,) = engine.receive(data)
    assert isinstance(event, RequestReceived)
    assert (event.head.protocol, event.end_stream) == (b"", True)
    assert engine.request_complete


@pytest.mark.parametrize(
    ("line", "body"),
    [(b"Content-Length: 5", b"hello"), (b"Transfer-Encoding: chunked", b"5\r\nhello\r\n0\r\n\r\n")],
    ids=["length", "chunked"],
)
def test_an_upgrade_with_a_body_is_ignored_and_its_body_is_a_body(
    engine: Http1ServerEngine, line: bytes, body: bytes
) -> None:
    events = engine.receive(request(b"GET / HTTP/1.1", b"Connection: upgrade", b"Upgrade: websocket", line, body=body))
    assert isinstance(events[0], RequestReceived)
    assert events[0].head.protocol == b""
    assert events[1:] == [DataReceived(1, b"hello", 5, True)]


def test_an_upgrade_that_is_rejected_opens_no_tunnel(engine: Http1ServerEngine) -> None:
    (event,) = engine.receive(
        request(b"GET https://example.org/ HTTP/1.1", b"Connection: upgrade", b"Upgrade: websocket")
    )
    assert isinstance(event, RequestRejected)
    engine.send_head(1, ResponseHead(101), False)
    assert sent(engine) == b""
    assert engine.take_tunnelled() == []


@pytest.mark.parametrize("data", [*OTHERS.values(), request(b"GET / HTTP/1.1")], ids=[*OTHERS, "no upgrade at all"])
def test_101_is_never_written_where_no_websocket_was_offered(engine: Http1ServerEngine, data: bytes) -> None:
    stream = begin(engine, data)
    engine.send_head(stream, ResponseHead(101, [(b"upgrade", b"h2c")]), False)
    assert sent(engine) == b""
    assert engine.receive(b"raw") == []
    assert engine.take_tunnelled() == []
    engine.send_head(stream, ResponseHead(200), True)
    assert sent(engine).startswith(b"HTTP/1.1 200 OK\r\n")


def test_an_interim_101_opens_no_tunnel(engine: Http1ServerEngine) -> None:
    engine.send_interim(begin(engine, UPGRADE), ResponseHead(101))
    assert sent(engine) == b""
    assert engine.receive(b"raw") == []


# Declined


@pytest.mark.parametrize("status", [200, 204, 304, 403, 426, 501])
def test_any_other_final_head_answers_it_as_a_request_without_a_body(engine: Http1ServerEngine, status: int) -> None:
    stream = begin(engine, UPGRADE)
    following = request(b"GET /next HTTP/1.1")
    # A client that is sure of its tunnel sends at once; one that is not, sends the next request.
    assert engine.receive(following) == []
    assert engine.buffered == len(following)
    engine.send_head(stream, ResponseHead(status, [(b"sec-websocket-version", b"13")]), False)
    engine.send_data(stream, b"no", True)
    assert engine.request_complete
    out = sent(engine)
    assert out.startswith(b"HTTP/1.1 %d " % status)
    assert b"Sec-Websocket-Version: 13\r\n" in out
    assert b"Upgrade:" not in out
    assert engine.take_tunnelled() == []
    assert engine.keeps_alive
    (event,) = engine.next_request()
    assert isinstance(event, RequestReceived)
    assert (event.stream_id, event.head.path, event.head.protocol) == (2, b"/next", b"")


def test_what_waits_behind_a_declined_offer_is_read_strictly(engine: Http1ServerEngine) -> None:
    engine.receive(UPGRADE + b"\x81\x85")
    engine.send_head(1, ResponseHead(403), True)
    sent(engine)
    assert engine.next_request()
    assert not engine.keeps_alive


def test_an_interim_response_goes_before_either_answer(make: Make) -> None:
    for status in (101, 200):
        engine = make(SETTINGS, b"http")
        stream = begin(engine, UPGRADE)
        engine.send_interim(stream, ResponseHead(103, [(b"link", b"</a>")]))
        engine.send_head(stream, ResponseHead(status), True)
        assert sent(engine).startswith(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 %d " % status)


def test_one_offer_may_follow_another(engine: Http1ServerEngine) -> None:
    engine.receive(UPGRADE * 2 + b"raw")
    engine.send_head(1, ResponseHead(503), True)
    sent(engine)
    (event,) = engine.next_request()
    assert isinstance(event, RequestReceived)
    assert event.head.protocol == b"websocket"
    engine.send_head(2, ResponseHead(101), False)
    assert engine.take_tunnelled() == [DataReceived(2, b"raw", 3, False)]


# The tunnel


def test_101_has_the_heads_fields_and_the_connections(engine: Http1ServerEngine) -> None:
    fields = [
        (b"sec-websocket-accept", b"s3p="),
        (b"connection", b"close"),
        (b"upgrade", b"h2c"),
        (b"content-length", b"5"),
        (b"transfer-encoding", b"chunked"),
    ]
    engine.send_head(begin(engine, UPGRADE), ResponseHead(101, fields), False)
    first, lines, rest = lines_of(sent(engine))
    assert first == b"HTTP/1.1 101 Switching Protocols"
    assert lines == [b"Sec-Websocket-Accept: s3p=", b"Connection: Upgrade", b"Upgrade: websocket"]
    assert rest == b""
    assert not engine.keeps_alive
    assert not engine.request_complete
    assert not engine.response_complete
    assert not engine.broken


def test_what_waited_comes_once_and_first(engine: Http1ServerEngine) -> None:
    stream = begin(engine, UPGRADE)
    engine.receive(b"GET / HTTP/1.1\r\n")
    engine.receive(b"\x00")
    assert engine.take_tunnelled() == []
    engine.send_head(stream, ResponseHead(101), False)
    assert engine.buffered == 17
    assert engine.take_tunnelled() == [DataReceived(stream, b"GET / HTTP/1.1\r\n\x00", 17, False)]
    assert engine.buffered == 0
    assert engine.take_tunnelled() == []
    assert engine.receive(b"more") == [DataReceived(stream, b"more", 4, False)]


def test_what_waited_comes_first_even_if_nobody_asked_for_it(engine: Http1ServerEngine) -> None:
    engine.receive(UPGRADE + b"early ")
    engine.send_head(1, ResponseHead(101), False)
    assert engine.receive(b"late") == [DataReceived(1, b"early late", 10, False)]
    assert engine.take_tunnelled() == []


def test_bytes_of_a_tunnel_are_handed_on_uncopied_and_unread(tunnel: Http1ServerEngine) -> None:
    for data in (UPGRADE, b"\0" * 1000, b"0\r\n\r\n"):
        (event,) = tunnel.receive(data)
        assert isinstance(event, DataReceived)
        assert event.data is data
        assert (event.credit, event.end_stream) == (len(data), False)
    assert tunnel.receive(b"") == []
    assert tunnel.current_stream == 1


def test_bytes_to_a_tunnel_go_out_as_they_are_and_within_the_limit(tunnel: Http1ServerEngine) -> None:
    tunnel.send_data(1, b"0123456789", False)
    assert tunnel.queued(1) == 10
    assert tunnel.data_to_send(4) == b"0123"
    assert tunnel.take_framed() == [(1, 4)]
    tunnel.send_data(1, b"abc", False)
    assert tunnel.data_to_send(7) == b"456789a"
    assert tunnel.data_to_send(100) == b"bc"
    assert not tunnel.response_complete
    tunnel.send_data(1, b"end", True)
    assert not tunnel.response_complete
    assert sent(tunnel) == b"end"
    assert tunnel.response_complete
    assert not tunnel.broken
    assert not tunnel.keeps_alive
    assert tunnel.next_request() == []


def test_trailers_just_end_a_tunnel(tunnel: Http1ServerEngine) -> None:
    tunnel.send_trailers(1, [(b"x", b"y")])
    assert sent(tunnel) == b""
    assert tunnel.response_complete


def test_a_tunnel_may_end_with_its_head(engine: Http1ServerEngine) -> None:
    engine.send_head(begin(engine, UPGRADE), ResponseHead(101), True)
    assert not engine.response_complete
    assert sent(engine) == SWITCHED
    assert engine.response_complete


def test_the_client_goes_on_when_the_backends_direction_is_over(tunnel: Http1ServerEngine) -> None:
    tunnel.send_data(1, b"", True)
    assert tunnel.receive(b"bye") == [DataReceived(1, b"bye", 3, False)]


def test_a_drain_leaves_a_tunnel_alone(tunnel: Http1ServerEngine) -> None:
    tunnel.close_after_response()
    assert tunnel.receive(b"in") == [DataReceived(1, b"in", 2, False)]
    tunnel.send_data(1, b"out", False)
    assert sent(tunnel) == b"out"


def test_an_offer_in_a_drain_is_still_taken(engine: Http1ServerEngine) -> None:
    stream = begin(engine, UPGRADE)
    engine.close_after_response()
    engine.send_head(stream, ResponseHead(101), False)
    assert sent(engine) == SWITCHED


def test_a_101_that_would_be_more_than_its_lines_breaks_the_response(engine: Http1ServerEngine) -> None:
    engine.receive(UPGRADE + b"raw")
    engine.send_head(1, ResponseHead(101, [(b"x", b"a\r\nb: c")]), False)
    assert engine.broken
    assert sent(engine) == b""
    assert engine.take_tunnelled() == []


def test_behind_a_broken_interim_head_there_is_no_tunnel(engine: Http1ServerEngine) -> None:
    stream = begin(engine, UPGRADE)
    engine.send_interim(stream, ResponseHead(103, [(b"x", b"a\r\nb: c")]))
    engine.send_head(stream, ResponseHead(101), False)
    assert engine.broken
    assert sent(engine) == b""
    assert engine.receive(b"raw") == []


def test_an_offer_that_is_given_up_can_be_answered(engine: Http1ServerEngine) -> None:
    engine.receive(UPGRADE + b"raw")
    assert engine.abandon_request() == 1
    assert engine.buffered == 0
    engine.send_head(1, ResponseHead(101), False)
    assert sent(engine) == b""
    engine.send_head(1, ResponseHead(408), True)
    assert lines_of(sent(engine))[1] == [b"Content-Length: 0", b"Connection: close"]


def test_of_a_tunnel_that_is_given_up_nothing_more_is_read(tunnel: Http1ServerEngine) -> None:
    assert tunnel.abandon_request() == 1
    assert tunnel.receive(b"in") == []
    tunnel.send_data(1, b"out", True)
    assert sent(tunnel) == b"out"
    assert tunnel.response_complete


def test_a_tunnel_leaves_nothing_to_other_connections(make: Make) -> None:
    first = make(SETTINGS, b"http")
    first.send_head(begin(first, UPGRADE), ResponseHead(101), False)
    head = head_of(make(SETTINGS, b"http"), request(b"GET / HTTP/1.1"))
    assert head.protocol == b""


@given(early=st.binary(max_size=40), late=st.binary(max_size=40), cuts=st.lists(st.integers(0, 300), max_size=6))
def test_whatever_the_cuts_the_tunnel_has_all_bytes_in_order(early: bytes, late: bytes, cuts: list[int]) -> None:
    data = UPGRADE + early
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    for make in MAKES.values():
        engine = make(SETTINGS, b"http")
        (begun,) = feed(engine, [data[a:b] for a, b in pairwise(places)])
        assert isinstance(begun, RequestReceived)
        engine.send_head(1, ResponseHead(101), False)
        events = joined([*engine.take_tunnelled(), *engine.receive(late)])
        both = early + late
        assert events == ([DataReceived(1, both, len(both), False)] if both else [])
