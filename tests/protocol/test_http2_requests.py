"""Requests as an HTTP/2 server engine reads them: what passes, in which form, and what does not."""

from __future__ import annotations

import pytest
from hyperframe.frame import HeadersFrame

from h2gate.errors import ErrorCode, Reason
from h2gate.protocol.contract import Http2Settings
from h2gate.protocol.events import (
    DataReceived,
    Fields,
    RequestHead,
    RequestReceived,
    RequestRejected,
    ResponseHead,
    StreamReset,
    TrailersReceived,
)
from tests.support.http2_engine import GET, POST, ClientSide, Make, data, failure_of, raw, reset_of


def test_a_request_becomes_a_head_without_pseudo_fields(client: ClientSide) -> None:
    head = client.request(1, [*GET[:3], (b":path", b"/a?b=c"), (b"accept", b"*/*"), (b"te", b"Trailers")])
    assert head == RequestHead(
        b"GET",
        b"http",
        b"example.org",
        b"/a?b=c",
        [(b"accept", b"*/*"), (b"te", b"Trailers")],
        b"HTTP/2.0",
        None,
        b"/a?b=c",
    )


def test_a_request_may_have_no_other_fields(client: ClientSide) -> None:
    assert client.request(1).fields == []


def test_host_stands_in_for_authority(client: ClientSide) -> None:
    head = client.request(1, [GET[0], GET[1], GET[3], (b"host", b"Example.org:8080")])
    assert (head.authority, head.fields) == (b"Example.org:8080", [])


def test_host_may_repeat_authority_in_other_letters(client: ClientSide) -> None:
    head = client.request(1, [*GET, (b"host", b"EXAMPLE.org")])
    assert (head.authority, head.fields) == (b"example.org", [])


def test_cookie_crumbs_become_one_cookie_where_the_first_was(client: ClientSide) -> None:
    head = client.request(1, [*GET, (b"cookie", b"a=1"), (b"x", b"y"), (b"cookie", b"b=2"), (b"cookie", b"c=3")])
    assert head.fields == [(b"cookie", b"a=1; b=2; c=3"), (b"x", b"y")]


def test_one_cookie_stays_as_it_is(client: ClientSide) -> None:
    assert client.request(1, [*GET, (b"cookie", b"a=1")]).fields == [(b"cookie", b"a=1")]


@pytest.mark.parametrize("lengths", [[b"5"], [b"5", b"5"], [b"5, 5"]])
def test_a_length_is_stated_once(client: ClientSide, lengths: list[bytes]) -> None:
    head = client.request(1, [*POST, *[(b"content-length", length) for length in lengths]], end_stream=False)
    assert (head.content_length, head.fields) == (5, [(b"content-length", b"5")])


def test_options_may_ask_for_the_server_itself(client: ClientSide) -> None:
    assert client.request(1, [(b":method", b"OPTIONS"), *GET[1:3], (b":path", b"*")]).path == b"*"


def test_other_schemes_are_schemes(client: ClientSide) -> None:
    assert client.request(1, [GET[0], (b":scheme", b"coap+tcp"), *GET[2:]]).scheme == b"coap+tcp"


def test_a_body_and_trailers_follow(client: ClientSide) -> None:
    client.request(1, POST, end_stream=False)
    trailers = client.headers(1, [(b"grpc-status", b"0"), (b"content-type", b"dropped")], end_stream=True)
    assert client.receive(data(1, b"hello"), trailers) == [
        DataReceived(1, b"hello", 5, False),
        TrailersReceived(1, [(b"grpc-status", b"0")]),
    ]


def test_an_empty_end_is_an_event(client: ClientSide) -> None:
    client.request(1, POST, end_stream=False)
    assert client.receive(data(1, b""), data(1, b"", end_stream=True)) == [DataReceived(1, b"", 0, True)]


def test_a_head_may_come_in_pieces_with_padding_and_priority(client: ClientSide) -> None:
    block = client.encoder.encode(GET)
    first = HeadersFrame(1, block[:5], flags=["PRIORITY", "PADDED", "END_STREAM"])
    first.pad_length = 7
    last = raw(9, 4, 1, block[5:])
    (event,) = client.receive(first.serialize(), raw(9, 0, 1, b""), last)
    assert isinstance(event, RequestReceived)
    assert (event.head.authority, event.end_stream) == (b"example.org", True)


def without(name: bytes) -> Fields:
    return [field for field in GET if field[0] != name]


def changed(name: bytes, value: bytes) -> Fields:
    return [(name, value) if field[0] == name else field for field in GET]


MALFORMED: dict[str, Fields] = {
    "no method": without(b":method"),
    "no scheme": without(b":scheme"),
    "no path": without(b":path"),
    "no authority": without(b":authority"),
    "bad method": changed(b":method", b"GE T"),
    "empty method": changed(b":method", b""),
    "bad scheme": changed(b":scheme", b"1http"),
    "empty authority": changed(b":authority", b""),
    "userinfo": changed(b":authority", b"me@example.org"),
    "port out of range": changed(b":authority", b"example.org:65536"),
    "empty path": changed(b":path", b""),
    "path without slash": changed(b":path", b"index.html"),
    "space in path": changed(b":path", b"/a b"),
    "fragment in path": changed(b":path", b"/a#b"),
    "asterisk for GET": changed(b":path", b"*"),
    "method twice": [GET[0], *GET],
    "unknown pseudo-field": [*GET, (b":query", b"x")],
    "status": [*GET, (b":status", b"200")],
    "protocol not announced": [(b":method", b"CONNECT"), *GET[1:], (b":protocol", b"websocket")],
    "pseudo-field behind a field": [*GET[:3], (b"a", b"b"), GET[3]],
    "connect with a path": [(b":method", b"CONNECT"), GET[2], GET[3]],
    "connect with a scheme": [(b":method", b"CONNECT"), GET[1], GET[2]],
    "connect with host": [(b":method", b"CONNECT"), (b"host", b"example.org:443")],
    "host differs": [*GET, (b"host", b"example.com")],
    "host twice": [*without(b":authority"), (b"host", b"example.org"), (b"host", b"example.org")],
    "host with a path": [*without(b":authority"), (b"host", b"example.org/")],
    "upper case": [*GET, (b"Accept", b"*/*")],
    "empty name": [*GET, (b"", b"x")],
    "space in name": [*GET, (b"a b", b"x")],
    "colon in name": [*GET, (b"a:b", b"x")],
    "line feed in value": [*GET, (b"a", b"b\nc: d")],
    "carriage return in value": [*GET, (b"a", b"b\rc")],
    "nul in value": [*GET, (b"a", b"\0")],
    "leading space": [*GET, (b"a", b" b")],
    "trailing tab": [*GET, (b"a", b"b\t")],
    "connection": [*GET, (b"connection", b"close")],
    "keep-alive": [*GET, (b"keep-alive", b"1")],
    "proxy-connection": [*GET, (b"proxy-connection", b"close")],
    "transfer-encoding": [*GET, (b"transfer-encoding", b"chunked")],
    "upgrade": [*GET, (b"upgrade", b"h2c")],
    "te": [*GET, (b"te", b"trailers, gzip")],
    "length with a sign": [*GET, (b"content-length", b"+5")],
    "two lengths": [*GET, (b"content-length", b"5"), (b"content-length", b"6")],
    "a list of lengths": [*GET, (b"content-length", b"5, 6")],
}


@pytest.mark.parametrize("fields", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_request_is_reset_and_costs_one_stream(client: ClientSide, fields: Fields) -> None:
    reset = reset_of(client.receive(client.headers(1, fields, end_stream=False)))
    assert (reset.stream_id, reset.code, reset.by_peer) == (1, ErrorCode.PROTOCOL_ERROR, False)
    assert reset.detail
    assert client.resets() == [(1, ErrorCode.PROTOCOL_ERROR)]
    assert client.engine.open_streams == 0
    assert client.engine.last_peer_stream_id == 0
    client.request(3)


def test_an_end_before_the_stated_length_is_malformed(client: ClientSide) -> None:
    fields = [*POST, (b"content-length", b"1")]
    assert "content-length" in reset_of(client.receive(client.headers(1, fields, end_stream=True))).detail


def test_a_body_shorter_than_stated_is_malformed(client: ClientSide) -> None:
    client.request(1, [*POST, (b"content-length", b"5")], end_stream=False)
    events = client.receive(data(1, b"1234"), data(1, b"", end_stream=True))
    assert events[0] == DataReceived(1, b"1234", 4, False)
    assert reset_of(events[1:]).code == ErrorCode.PROTOCOL_ERROR


def test_a_body_longer_than_stated_is_malformed_and_not_passed_on(client: ClientSide) -> None:
    client.request(1, [*POST, (b"content-length", b"5")], end_stream=False)
    assert reset_of(client.receive(data(1, b"123456"))).code == ErrorCode.PROTOCOL_ERROR


def test_a_body_as_long_as_stated_passes(client: ClientSide) -> None:
    client.request(1, [*POST, (b"content-length", b"5")], end_stream=False)
    assert client.receive(data(1, b"12345", end_stream=True)) == [DataReceived(1, b"12345", 5, True)]


@pytest.mark.parametrize(
    ("trailers", "end_stream"),
    [
        ([(b"a", b"b")], False),
        ([(b":path", b"/")], True),
        ([(b"A", b"b")], True),
        ([(b"content-length", b"0")], True),
        ([(b"transfer-encoding", b"chunked")], True),
    ],
    ids=["not the end", "pseudo-field", "upper case", "length", "connection-specific"],
)
def test_malformed_trailers_reset_the_stream(client: ClientSide, trailers: Fields, end_stream: bool) -> None:
    client.request(1, POST, end_stream=False)
    assert reset_of(client.receive(client.headers(1, trailers, end_stream))).code == ErrorCode.PROTOCOL_ERROR
    assert client.resets() == [(1, ErrorCode.PROTOCOL_ERROR)]


def test_trailers_before_the_stated_length_are_malformed(client: ClientSide) -> None:
    client.request(1, [*POST, (b"content-length", b"5")], end_stream=False)
    assert "content-length" in reset_of(client.receive(client.headers(1, [(b"a", b"b")], end_stream=True))).detail


def test_connect_is_rejected_and_can_be_answered(client: ClientSide) -> None:
    fields = [(b":method", b"CONNECT"), (b":authority", b"example.org:443")]
    (event,) = client.receive(client.headers(1, fields, end_stream=False))
    assert isinstance(event, RequestRejected)
    assert event.reason is Reason.BAD_REQUEST
    assert event.head is not None
    assert (event.head.authority, event.head.target) == (b"example.org:443", b"example.org:443")
    client.engine.send_head(1, ResponseHead(405), end_stream=True)
    assert client.sent()[0].fields == [(b":status", b"405")]  # type: ignore[attr-defined]


def test_a_head_with_too_many_fields_is_rejected_crumbs_counted(http2_make: Make) -> None:
    client = ClientSide(http2_make, Http2Settings(fields=10))
    assert len(client.request(1, [*GET, *[(b"cookie", b"a=b")] * 10]).fields) == 1
    (event,) = client.receive(client.headers(3, [*GET, *[(b"cookie", b"a=b")] * 11], end_stream=True))
    assert isinstance(event, RequestRejected)
    assert event.reason is Reason.HEAD_TOO_LARGE
    assert client.engine.last_peer_stream_id == 3


def test_a_head_with_too_many_bytes_is_rejected_with_its_head(http2_make: Make) -> None:
    client = ClientSide(http2_make, Http2Settings(header_list=1_000))
    client.request(1, [*GET, (b"a", b"b" * 700)])
    (event,) = client.receive(client.headers(3, [*GET, (b"a", b"b" * 900)], end_stream=True))
    assert isinstance(event, RequestRejected)
    assert event.reason is Reason.HEAD_TOO_LARGE
    assert event.head is not None
    assert event.head.path == b"/"


def test_the_body_of_a_rejected_request_is_discarded_with_its_credit(http2_make: Make) -> None:
    client = ClientSide(http2_make, Http2Settings(fields=1, connection_window=65_535))
    client.receive(client.headers(1, [*POST, (b"a", b"b"), (b"c", b"d")]))
    assert client.receive(data(1, bytes(16_384)), data(1, bytes(16_384))) == []
    # Half of the connection's window; the stream's stays shut.
    assert client.updates() == {0: 32_768}
    assert client.receive(client.headers(1, [(b"a", b"b")], end_stream=True)) == []
    client.engine.send_head(1, ResponseHead(431), end_stream=True)
    assert client.engine.open_streams == 0


def test_a_head_far_too_large_ends_the_connection(http2_make: Make) -> None:
    client = ClientSide(http2_make, Http2Settings(header_list=1_000))
    # One octet for each field after the first: small as it arrives, large as it is.
    block = client.encoder.encode([*GET, (b"a", b"b" * 200), *[(b"a", b"b" * 200)] * 20])
    failure = failure_of(client.receive(client.block(1, block)))
    assert (failure.code, failure.reason) == (ErrorCode.ENHANCE_YOUR_CALM, Reason.CLIENT_PROTOCOL)


def test_a_head_far_too_large_is_not_even_collected(http2_make: Make) -> None:
    client = ClientSide(http2_make, Http2Settings(header_list=1_000))
    first = raw(1, 0, 1, bytes(2_001))
    assert client.receive(first) == []
    assert failure_of(client.receive(raw(9, 0, 1, bytes(2_000)))).code == ErrorCode.ENHANCE_YOUR_CALM


def test_trailers_too_large_reset_the_stream(http2_make: Make) -> None:
    client = ClientSide(http2_make, Http2Settings(fields=2))
    client.request(1, POST, end_stream=False)
    trailers = client.headers(1, [(b"a", b"b")] * 3, end_stream=True)
    assert reset_of(client.receive(trailers)).code == ErrorCode.ENHANCE_YOUR_CALM


def test_more_continuations_than_allowed_end_the_connection(http2_make: Make) -> None:
    client = ClientSide(http2_make, Http2Settings(continuations=3))
    block = client.encoder.encode(GET)
    assert isinstance(client.receive(client.pieces(1, block, -(-len(block) // 4)))[0], RequestReceived)
    begin = raw(1, 0, 3, b"") + raw(9, 0, 3, b"") * 3
    assert client.receive(begin) == []
    failure = failure_of(client.receive(raw(9, 0, 3, b"")))
    assert (failure.code, failure.reason) == (ErrorCode.ENHANCE_YOUR_CALM, Reason.CLIENT_PROTOCOL)


def test_streams_beyond_the_limit_are_refused_and_hpack_stays_in_step(http2_make: Make) -> None:
    client = ClientSide(http2_make, Http2Settings(max_streams=2))
    client.request(1, POST, end_stream=False)
    client.request(3)
    refused = client.headers(5, [*POST, (b"x-new", b"only in the table")])
    assert client.receive(refused, data(5, b"body"), client.headers(5, [(b"t", b"v")], end_stream=True)) == []
    assert client.resets() == [(5, ErrorCode.REFUSED_STREAM)]
    assert client.engine.last_peer_stream_id == 3
    client.engine.send_head(3, ResponseHead(200), end_stream=True)
    assert client.request(7, [*GET, (b"x-new", b"only in the table")]).fields == [(b"x-new", b"only in the table")]


def test_closed_streams_make_room_for_new_ones(http2_make: Make) -> None:
    client = ClientSide(http2_make, Http2Settings(max_streams=1))
    for stream_id in range(1, 2_001, 2):
        client.request(stream_id)
        client.engine.send_head(stream_id, ResponseHead(204), end_stream=True)
        client.sent()
    assert client.engine.open_streams == 0


def test_a_stream_reset_by_the_client_makes_room(http2_make: Make) -> None:
    client = ClientSide(http2_make, Http2Settings(max_streams=1))
    client.request(1)
    assert client.receive(raw(3, 0, 1, b"\0\0\0\x08")) == [StreamReset(1, 8, by_peer=True)]
    client.request(3)
