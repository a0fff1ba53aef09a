"""What hostile peers try: requests that a backend would read otherwise, responses that a client would, broken rules.

Each attack is against the role that meets it; where both do, both are tried. What one stream's message gets wrong costs
that stream, and what one frame gets wrong the connection, never more. Floods are in `test_http2_errors.py`.
"""

from __future__ import annotations

import pytest

from h2gate.errors import ErrorCode, Reason
from h2gate.protocol.contract import Http2Settings
from h2gate.protocol.events import (
    DataReceived,
    Fields,
    GoAwayReceived,
    InterimReceived,
    RequestHead,
    RequestRejected,
    ResponseHead,
    ResponseReceived,
    StreamReset,
    TrailersReceived,
)
from tests.support.http2_engine import (
    GET,
    OK,
    POST,
    PREFACE,
    BackendSide,
    ClientSide,
    Make,
    data,
    failure_of,
    goaway,
    goaway_of,
    ping,
    raw,
    reset_of,
    rst_stream,
    settings_frame,
    window_update,
)

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
PADDED = 8
SPLIT = [b"\r\nx-evil: 1", b"\nx-evil: 1", b"\rx-evil: 1", b"\0"]
"""Ways to end a line for somebody behind us (CVE-2025-57804, CVE-2023-38709)."""


def with_field(name: bytes, value: bytes) -> Fields:
    return [(name, value) if field[0] == name else field for field in GET]


def check_refused(client: ClientSide, fields: Fields) -> None:
    """Assert that the request costs its stream and nothing else."""
    reset = reset_of(client.receive(client.headers(1, fields)))
    assert (reset.stream_id, reset.code, reset.by_peer) == (1, ErrorCode.PROTOCOL_ERROR, False)
    assert reset.detail
    assert client.resets() == [(1, ErrorCode.PROTOCOL_ERROR)]
    client.request(3)


# Requests


@pytest.mark.parametrize("end", SPLIT)
@pytest.mark.parametrize("name", [b":method", b":scheme", b":authority", b":path"])
def test_no_pseudo_field_has_a_line_end(client: ClientSide, name: bytes, end: bytes) -> None:
    check_refused(client, with_field(name, dict(GET)[name] + end))


@pytest.mark.parametrize("end", SPLIT)
@pytest.mark.parametrize("place", ["name", "value"])
def test_no_field_has_a_line_end(client: ClientSide, place: str, end: bytes) -> None:
    check_refused(client, [*GET, (b"a" + end, b"b") if place == "name" else (b"a", b"b" + end)])


INJECTIONS: dict[str, Fields] = {
    "a request line for a method": with_field(b":method", b"GET / HTTP/1.1\r\nhost: evil\r\n\r\n"),
    "a target behind the method": with_field(b":method", b"GET /admin"),
    "a URL for a scheme": with_field(b":scheme", b"http://evil/?"),
    "a colon in the scheme": with_field(b":scheme", b"http:"),
    "two authorities": [*GET, (b":authority", b"example.com")],
    "the same authority twice": [*GET, (b":authority", b"example.org")],
    "two paths": [*GET, (b":path", b"/admin")],
    "a path for an authority": with_field(b":authority", b"example.org/admin"),
    "a query for an authority": with_field(b":authority", b"example.org?x"),
    "a fragment for an authority": with_field(b":authority", b"example.org#x"),
    "a list for an authority": with_field(b":authority", b"example.org, example.com"),
    "an absolute path": with_field(b":path", b"http://example.com/"),
    "a path relative to nothing": with_field(b":path", b"admin"),
    "a version behind the path": with_field(b":path", b"/ HTTP/1.1"),
    "a tab in the path": with_field(b":path", b"/\t"),
    "a space before the method": with_field(b":method", b" GET"),
    "a pseudo-field of a response": [*GET, (b":status", b"200")],
    "a pseudo-field with a space": [*GET, (b":path ", b"/admin")],
    "a pseudo-field in capitals": [*GET, (b":PATH", b"/admin")],
    "a pseudo-field behind a field": [*GET, (b"a", b"b"), (b":path", b"/admin")],
    "no name but a colon": [*GET, (b":", b"x")],
    "a colon in a name": [*GET, (b"host:", b"evil")],
}


@pytest.mark.parametrize("fields", INJECTIONS.values(), ids=INJECTIONS)
def test_what_would_be_another_request_on_http1_is_refused(client: ClientSide, fields: Fields) -> None:
    """CVE-2021-33193, CVE-2021-39240 and their like."""
    check_refused(client, fields)


TWO_NAMES: dict[str, Fields] = {
    "host differs": [*GET, (b"host", b"example.com")],
    "host differs by its port": [*GET, (b"host", b"example.org:81")],
    "host differs by a dot": [*GET, (b"host", b"example.org.")],
    "host is empty": [*GET, (b"host", b"")],
    "two hosts, one of them right": [*GET, (b"host", b"example.org"), (b"host", b"example.com")],
    "the same host twice": [*GET, (b"host", b"example.org"), (b"host", b"example.org")],
    "two hosts and no authority": [*GET[:2], GET[3], (b"host", b"example.org"), (b"host", b"example.com")],
    "a list of hosts": [*GET[:2], GET[3], (b"host", b"example.org, example.com")],
    "an empty authority beside host": [*with_field(b":authority", b""), (b"host", b"example.org")],
}


@pytest.mark.parametrize("fields", TWO_NAMES.values(), ids=TWO_NAMES)
def test_a_request_has_one_name(client: ClientSide, fields: Fields) -> None:
    """CVE-2026-71554; what goes on is `:authority` alone."""
    check_refused(client, fields)


LENGTHS = [
    b"", b" ", b"+5", b"-5", b"0x5", b"0_5", b"5 5", b"5, 6", b"5,", b",5", b"5;", b"5.0", b"5e0", b'"5"',
    "\N{ARABIC-INDIC DIGIT FIVE}".encode(), b"\xb2", b"9" * 19, b"18446744073709551621",
]  # fmt: skip


@pytest.mark.parametrize("length", LENGTHS, ids=repr)
def test_a_length_that_python_would_take_is_none(client: ClientSide, length: bytes) -> None:
    check_refused(client, [*POST, (b"content-length", length)])


@pytest.mark.parametrize("length", LENGTHS, ids=repr)
def test_nor_is_it_in_a_response(backend: BackendSide, length: bytes) -> None:
    backend.ask()
    reset = reset_of(backend.receive(backend.headers(1, [*OK, (b"content-length", length)])))
    assert (reset.code, reset.by_peer) == (ErrorCode.PROTOCOL_ERROR, False)


@pytest.mark.parametrize("end", ["head", "data", "trailers"])
@pytest.mark.parametrize("padding", [None, 0, 3])
def test_a_request_that_ends_before_its_length_never_ends(client: ClientSide, end: str, padding: int | None) -> None:
    """Whoever is behind would wait for the rest and take the next request for it. Padding is no body."""
    head = client.headers(1, [*POST, (b"content-length", b"5")], end_stream=end == "head")
    body = data(1, b"12", end_stream=end == "data", padding=padding)
    events = client.receive(head, *([] if end == "head" else [body]))
    if end == "trailers":
        events += client.receive(client.headers(1, [(b"a", b"b")], end_stream=True))
    assert isinstance(events[-1], StreamReset)
    assert events[-1].code == ErrorCode.PROTOCOL_ERROR
    assert not any(getattr(event, "end_stream", False) for event in events)
    assert not any(isinstance(event, TrailersReceived) for event in events)


@pytest.mark.parametrize("pieces", [[b"123456"], [b"12345", b"6"], [b"12345", b"6789"]])
def test_what_is_beyond_a_requests_length_is_not_passed_on(client: ClientSide, pieces: list[bytes]) -> None:
    client.request(1, [*POST, (b"content-length", b"5")], end_stream=False)
    events = client.receive(*(data(1, piece) for piece in pieces))
    assert b"".join(event.data for event in events if isinstance(event, DataReceived)) in (b"", b"12345")
    assert isinstance(events[-1], StreamReset)


@pytest.mark.parametrize("value", [b"chunked", b"identity", b"xchunked", b""])
def test_no_request_is_chunked(client: ClientSide, value: bytes) -> None:
    check_refused(client, [*POST, (b"content-length", b"5"), (b"transfer-encoding", value)])


BAD_TRAILERS: dict[str, Fields] = {
    "content-length": [(b"content-length", b"5")],
    "transfer-encoding": [(b"transfer-encoding", b"chunked")],
    "host": [(b"host", b"example.com")],
    "trailer": [(b"trailer", b"x")],
    "connection": [(b"connection", b"close")],
    "path": [(b":path", b"/admin")],
    "status": [(b":status", b"200")],
    "protocol": [(b":protocol", b"websocket")],
    "line feed": [(b"a", b"b\nc: d")],
    "line feed in the name": [(b"a\nc", b"d")],
    "upper case": [(b"A", b"b")],
    "empty name": [(b"", b"b")],
    "behind a good one": [(b"grpc-status", b"0"), (b":path", b"/admin")],
}


@pytest.mark.parametrize("trailers", BAD_TRAILERS.values(), ids=BAD_TRAILERS)
@pytest.mark.parametrize("role", ["server", "client"])
def test_trailers_change_nothing_of_the_message(http2_make: Make, role: str, trailers: Fields) -> None:
    peer: ClientSide | BackendSide
    if role == "server":
        peer = ClientSide(http2_make)
        peer.request(1, POST, end_stream=False)
    else:
        peer = BackendSide(http2_make)
        peer.ask()
        peer.receive(peer.headers(1, OK))
    assert reset_of(peer.receive(peer.headers(1, trailers, end_stream=True))).code == ErrorCode.PROTOCOL_ERROR


@pytest.mark.parametrize("role", ["server", "client"])
def test_trailers_that_come_too_late_to_be_heeded_are_dropped(http2_make: Make, role: str) -> None:
    """RFC 9110, 6.5.1: routing, authentication, and how to read what has been read."""
    trailers = [
        (b"authorization", b"Basic eDp5"), (b"cookie", b"a=b"), (b"set-cookie", b"a=b"), (b"x-forwarded-for", b"::1"),
        (b"te", b"trailers"), (b"content-type", b"text/html"), (b"content-encoding", b"gzip"), (b"via", b"1.1 x"),
        (b"grpc-status", b"0"), (b"location", b"/"), (b"cache-control", b"public"), (b"expect", b"100-continue"),
    ]  # fmt: skip
    peer: ClientSide | BackendSide
    if role == "server":
        peer = ClientSide(http2_make)
        peer.request(1, POST, end_stream=False)
    else:
        peer = BackendSide(http2_make)
        peer.ask()
        peer.receive(peer.headers(1, OK))
    events = peer.receive(peer.headers(1, trailers, end_stream=True))
    assert events == [TrailersReceived(1, [(b"grpc-status", b"0")])]


def test_endless_trailers_end_the_connection(http2_make: Make) -> None:
    client = ClientSide(http2_make, Http2Settings(header_list=1_000))
    client.request(1, POST, end_stream=False)
    block = client.encoder.encode([(b"a", b"b" * 200)] * 100)
    failure = failure_of(client.receive(client.block(1, block, end_stream=True)))
    assert failure.code == ErrorCode.ENHANCE_YOUR_CALM


def test_an_upload_that_breaks_off_never_looks_whole(client: ClientSide) -> None:
    client.request(1, POST, end_stream=False)
    events = client.receive(data(1, b"half"), rst_stream(1, ErrorCode.NO_ERROR))
    assert events == [DataReceived(1, b"half", 4, False), StreamReset(1, ErrorCode.NO_ERROR, by_peer=True)]


def test_connect_is_never_passed_on(http2_make: Make) -> None:
    """Nor with a protocol that nobody announced."""
    client = ClientSide(http2_make)
    (event,) = client.receive(client.headers(1, [(b":method", b"CONNECT"), (b":authority", b"example.org:25")]))
    assert isinstance(event, RequestRejected)
    reset = reset_of(client.receive(client.headers(3, [(b":method", b"CONNECT"), *GET[1:], (b":protocol", b"x")])))
    assert reset.code == ErrorCode.PROTOCOL_ERROR


# Responses


@pytest.mark.parametrize("end", SPLIT)
@pytest.mark.parametrize("kind", ["final", "interim", "trailers", "name"])
def test_no_response_is_split(backend: BackendSide, kind: str, end: bytes) -> None:
    backend.ask()
    field = (b"a" + end, b"b") if kind == "name" else (b"a", b"b" + end)
    if kind == "trailers":
        backend.receive(backend.headers(1, OK))
        frame = backend.headers(1, [field], end_stream=True)
    else:
        frame = backend.headers(1, [(b":status", b"103") if kind == "interim" else OK[0], field])
    reset = reset_of(backend.receive(frame))
    assert (reset.code, reset.by_peer) == (ErrorCode.PROTOCOL_ERROR, False)
    backend.ask()


@pytest.mark.parametrize(
    "status",
    [b"", b"0", b"20", b"2000", b"+20", b" 200", b"200 OK", b"200\r\n", b"2e2", b"-20", b"099", b"000", b"101"],
)
def test_a_status_is_three_digits_and_no_upgrade(backend: BackendSide, status: bytes) -> None:
    backend.ask()
    assert reset_of(backend.receive(backend.headers(1, [(b":status", status)]))).code == ErrorCode.PROTOCOL_ERROR


RESPONSES: dict[str, Fields] = {
    "a request's pseudo-field": [*OK, (b":path", b"/")],
    "no status": [(b"content-type", b"text/html")],
    "two statuses": [*OK, (b":status", b"404")],
    "a status behind a field": [(b"a", b"b"), *OK],
    "protocol": [*OK, (b":protocol", b"websocket")],
    "connection": [*OK, (b"connection", b"close")],
    "keep-alive": [*OK, (b"keep-alive", b"timeout=5")],
    "upgrade": [*OK, (b"upgrade", b"h2c")],
    "transfer-encoding": [*OK, (b"transfer-encoding", b"chunked")],
    "differing lengths": [*OK, (b"content-length", b"5"), (b"content-length", b"6")],
    "upper case": [*OK, (b"Content-Type", b"text/html")],
    "space in a name": [*OK, (b"content-length ", b"5")],
    "space before a value": [*OK, (b"a", b" b")],
}


@pytest.mark.parametrize("fields", RESPONSES.values(), ids=RESPONSES)
def test_a_malformed_response_costs_its_stream(backend: BackendSide, fields: Fields) -> None:
    backend.ask()
    backend.ask()
    assert reset_of(backend.receive(backend.headers(1, fields))).code == ErrorCode.PROTOCOL_ERROR
    assert backend.resets() == [(1, ErrorCode.PROTOCOL_ERROR)]
    assert backend.receive(backend.headers(3, OK, end_stream=True)) == [ResponseReceived(3, ResponseHead(200), True)]


@pytest.mark.parametrize("end", ["head", "data", "trailers"])
def test_a_response_that_ends_before_its_length_never_ends(backend: BackendSide, end: str) -> None:
    backend.ask()
    events = backend.receive(backend.headers(1, [*OK, (b"content-length", b"5")], end_stream=end == "head"))
    if end != "head":
        events += backend.receive(data(1, b"12", end_stream=end == "data"))
    if end == "trailers":
        events += backend.receive(backend.headers(1, [(b"a", b"b")], end_stream=True))
    assert isinstance(events[-1], StreamReset)
    assert events[-1].code == ErrorCode.PROTOCOL_ERROR
    assert not any(getattr(event, "end_stream", False) for event in events)
    assert not any(isinstance(event, TrailersReceived) for event in events)


def test_what_is_beyond_a_responses_length_is_not_passed_on(backend: BackendSide) -> None:
    backend.ask()
    events = backend.receive(backend.headers(1, [*OK, (b"content-length", b"5")]), data(1, b"12345"), data(1, b"6"))
    assert events[1] == DataReceived(1, b"12345", 5, False)
    assert reset_of(events[2:]).code == ErrorCode.PROTOCOL_ERROR


def test_a_response_that_breaks_off_never_looks_whole(backend: BackendSide) -> None:
    backend.ask()
    events = backend.receive(backend.headers(1, OK), data(1, b"half"), rst_stream(1, ErrorCode.NO_ERROR))
    assert events[1:] == [DataReceived(1, b"half", 4, False), StreamReset(1, ErrorCode.NO_ERROR, by_peer=True)]


def test_interim_heads_never_leak_into_the_final_one(backend: BackendSide) -> None:
    backend.ask()
    flood = [backend.headers(1, [(b":status", b"103"), (b"link", b"</%d>" % number)]) for number in range(200)]
    events = backend.receive(*flood, backend.headers(1, OK, end_stream=True))
    assert [type(event) for event in events] == [InterimReceived] * 200 + [ResponseReceived]
    assert events[-1] == ResponseReceived(1, ResponseHead(200), True)


# Frames


BAD_SETTINGS: dict[str, tuple[dict[int, int], ErrorCode]] = {
    "frames of 0 bytes": ({5: 0}, ErrorCode.PROTOCOL_ERROR),
    "frames of less than 2^14 bytes": ({5: 16_383}, ErrorCode.PROTOCOL_ERROR),
    "frames of 2^24 bytes": ({5: 16_777_216}, ErrorCode.PROTOCOL_ERROR),
    "a window of 2^31 bytes": ({4: 2**31}, ErrorCode.FLOW_CONTROL_ERROR),
    "the largest window": ({4: 2**32 - 1}, ErrorCode.FLOW_CONTROL_ERROR),
    "push that is neither on nor off": ({2: 2}, ErrorCode.PROTOCOL_ERROR),
    "CONNECT that is neither on nor off": ({8: 2}, ErrorCode.PROTOCOL_ERROR),
}


@pytest.mark.parametrize("role", ["server", "client"])
@pytest.mark.parametrize(("values", "code"), BAD_SETTINGS.values(), ids=BAD_SETTINGS)
def test_bad_settings_end_the_connection(http2_make: Make, role: str, values: dict[int, int], code: ErrorCode) -> None:
    """As the first frame and later (a frame size of 0 was an endless loop: CVE-2026-33814)."""
    begin = PREFACE if role == "server" else b""
    for first in (b"", settings_frame()):
        make = http2_make.server if role == "server" else http2_make.client
        engine = make(Http2Settings())
        engine.data_to_send(1 << 20)
        assert failure_of(engine.receive(begin + first + settings_frame(values))).code == code


def test_of_a_setting_said_twice_the_last_holds(backend: BackendSide) -> None:
    twice = raw(SETTINGS, 0, 0, b"\0\4\0\0\0\5\0\4\0\0\0\7\0\5\0\0\0\0\0\5\0\0\x40\0")
    assert len(backend.receive(twice)) == 1
    backend.engine.open_stream(RequestHead(b"POST", b"http", b"example.org", b"/"), end_stream=False)
    backend.engine.send_data(1, bytes(20), end_stream=True)
    assert backend.sent()[-1].body_len == 7


def test_a_backend_may_not_turn_push_on_and_may_turn_it_off(backend: BackendSide) -> None:
    assert len(backend.receive(settings_frame({2: 0}))) == 1
    assert failure_of(backend.receive(settings_frame({2: 1}))).code == ErrorCode.PROTOCOL_ERROR


@pytest.mark.parametrize("role", ["server", "client"])
def test_a_push_promise_from_either_side_ends_the_connection(http2_make: Make, role: str) -> None:
    peer: ClientSide | BackendSide
    if role == "server":
        peer = ClientSide(http2_make)
        peer.request(1, POST, end_stream=False)
    else:
        peer = BackendSide(http2_make)
        peer.ask()
    frame = raw(PUSH_PROMISE, 4, 1, b"\0\0\0\2" + peer.encoder.encode(GET))
    failure = failure_of(peer.receive(frame))
    assert failure.code == ErrorCode.PROTOCOL_ERROR
    assert failure.reason is (Reason.CLIENT_PROTOCOL if role == "server" else Reason.BACKEND_PROTOCOL)


def test_windows_that_overflow_cost_what_they_are_of(backend: BackendSide) -> None:
    """In steps and at once (golang/go#77331 was a deadlock)."""
    backend.ask(b"POST", end_stream=False)
    backend.ask()
    assert backend.receive(window_update(1, 2**31 - 1 - 65_535)) == []
    assert reset_of(backend.receive(window_update(1, 1))).code == ErrorCode.FLOW_CONTROL_ERROR
    assert backend.receive(window_update(0, 2**31 - 1 - 65_535)) == []
    assert failure_of(backend.receive(window_update(0, 1))).code == ErrorCode.FLOW_CONTROL_ERROR


def test_settings_that_overflow_a_window_end_the_connection(backend: BackendSide) -> None:
    backend.ask(b"POST", end_stream=False)
    backend.receive(window_update(1, 2**31 - 1 - 65_535))
    assert failure_of(backend.receive(settings_frame({4: 2**31 - 1}))).code == ErrorCode.FLOW_CONTROL_ERROR


@pytest.mark.parametrize("role", ["server", "client"])
@pytest.mark.parametrize(
    "kind", [DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, 0x7F]
)
def test_nothing_comes_inside_a_block(http2_make: Make, role: str, kind: int) -> None:
    """CVE-2026-27135: also nothing that would be read over elsewhere, on this stream or another."""
    for stream_id in (0, 1, 3):
        peer: ClientSide | BackendSide = ClientSide(http2_make) if role == "server" else BackendSide(http2_make)
        if isinstance(peer, BackendSide):
            peer.ask()
        failure = failure_of(peer.receive(raw(HEADERS, 0, 1, b"\x82"), raw(kind, 0, stream_id, bytes(8))))
        assert failure.code == ErrorCode.PROTOCOL_ERROR


@pytest.mark.parametrize("role", ["server", "client"])
@pytest.mark.parametrize("kind", [DATA, HEADERS])
@pytest.mark.parametrize("payload", [b"", b"\x01", b"\x02\x82", b"\xff" + bytes(254)], ids=len)
def test_padding_is_never_longer_than_its_frame(http2_make: Make, role: str, kind: int, payload: bytes) -> None:
    peer: ClientSide | BackendSide
    if role == "server":
        peer = ClientSide(http2_make)
        peer.request(1, POST, end_stream=False)
    else:
        peer = BackendSide(http2_make)
        peer.ask()
        peer.receive(peer.headers(1, OK))
    assert failure_of(peer.receive(raw(kind, PADDED | 4, 1, payload))).code == ErrorCode.PROTOCOL_ERROR


def test_padding_alone_uses_up_the_window_and_no_length(backend: BackendSide) -> None:
    backend.ask()
    head = backend.headers(1, [*OK, (b"content-length", b"3")])
    events = backend.receive(head, data(1, b"", padding=255), data(1, b"abc", True, padding=255))
    assert events[1:] == [DataReceived(1, b"", 256, False), DataReceived(1, b"abc", 259, True)]


def test_padding_counts_against_the_window(http2_make: Make) -> None:
    backend = BackendSide(http2_make, Http2Settings(stream_window=300))
    backend.ask()
    events = backend.receive(backend.headers(1, OK), data(1, b"", padding=255), data(1, b"", padding=255))
    assert reset_of(events[2:]).code == ErrorCode.FLOW_CONTROL_ERROR


@pytest.mark.parametrize("is_connection", [False, True])
def test_a_backend_that_sends_more_than_its_window_is_cut_off(http2_make: Make, is_connection: bool) -> None:
    stream_window = 1 << 20 if is_connection else 20_000
    backend = BackendSide(http2_make, Http2Settings(stream_window=stream_window, connection_window=65_535))
    backend.ask()
    events = backend.receive(backend.headers(1, OK), *[data(1, bytes(16_384))] * 5)
    if is_connection:
        assert failure_of(events).code == ErrorCode.FLOW_CONTROL_ERROR
    else:
        resets = [event for event in events if isinstance(event, StreamReset)]
        assert [reset.code for reset in resets] == [ErrorCode.FLOW_CONTROL_ERROR]


@pytest.mark.parametrize("goaway_first", [True, False])
def test_a_reset_and_a_goaway_together_are_told_once_each(backend: BackendSide, goaway_first: bool) -> None:
    """CVE-2023-35945 was a leak."""
    backend.ask(b"POST", end_stream=False)
    backend.engine.send_data(1, b"unsent", end_stream=True)
    frames = [goaway(0, 0), rst_stream(1, ErrorCode.REFUSED_STREAM)]
    events = backend.receive(*(frames if goaway_first else frames[::-1]))
    told = [GoAwayReceived(0, 0, b""), StreamReset(1, ErrorCode.REFUSED_STREAM, by_peer=True)]
    assert events == (told if goaway_first else told[::-1])
    assert backend.engine.open_streams == 0
    assert backend.sent() == []


# What costs memory or time, from a backend: the mirror of what clients try


def test_a_response_head_may_not_grow_without_end(http2_make: Make) -> None:
    backend = BackendSide(http2_make, Http2Settings(header_list=1_000))
    backend.ask()
    block = backend.encoder.encode([*OK, *[(b"a", b"b" * 200)] * 100])
    failure = failure_of(backend.receive(backend.block(1, block)))
    assert (failure.code, failure.reason) == (ErrorCode.ENHANCE_YOUR_CALM, Reason.BACKEND_PROTOCOL)


@pytest.mark.parametrize("piece", [b"", b"\x88"])
def test_a_response_has_only_so_many_continuations(backend: BackendSide, piece: bytes) -> None:
    backend.ask()
    assert backend.receive(raw(HEADERS, 0, 1, piece), *[raw(CONTINUATION, 0, 1, piece)] * 8) == []
    failure = failure_of(backend.receive(raw(CONTINUATION, 0, 1, piece)))
    assert (failure.code, failure.reason) == (ErrorCode.ENHANCE_YOUR_CALM, Reason.BACKEND_PROTOCOL)


@pytest.mark.parametrize("crumb", [(b"cookie", b""), (b"cookie", b"a=b"), (b"a", b"")], ids=repr)
def test_tiny_fields_are_counted_before_they_are_joined(client: ClientSide, crumb: tuple[bytes, bytes]) -> None:
    """CVE-2026-49975: one octet each once they are in the table."""
    (event,) = client.receive(client.headers(1, [*GET, *[crumb] * 101]))
    assert isinstance(event, RequestRejected)
    assert event.reason is Reason.HEAD_TOO_LARGE
    assert failure_of(client.receive(client.headers(3, [*GET, *[crumb] * 4_000]))).code == ErrorCode.ENHANCE_YOUR_CALM


@pytest.mark.parametrize("flood", [ping(), settings_frame()], ids=["PING", "SETTINGS"])
def test_a_backend_that_floods_and_reads_nothing_is_cut_off(backend: BackendSide, flood: bytes) -> None:
    for _ in range(10):
        backend.receive(flood * 100)
    failure = failure_of(backend.receive(flood))
    assert (failure.code, failure.reason) == (ErrorCode.ENHANCE_YOUR_CALM, Reason.BACKEND_PROTOCOL)


def test_empty_frames_make_no_events_and_no_output(backend: BackendSide) -> None:
    backend.ask()
    backend.receive(backend.headers(1, OK))
    assert backend.receive(*[data(1, b"")] * 10_000) == []
    assert backend.sent() == []
    assert backend.receive(data(1, b"", end_stream=True)) == [DataReceived(1, b"", 0, True)]


@pytest.mark.parametrize(
    "block",
    [
        b"\xff" + b"\xff" * 12_000, b"\x7f" + b"\xff" * 20 + b"\x01", b"\x00\x7f" + b"\xff" * 12_000, b"\x80",
        b"\x00\x85\xff", b"\x00\x01a\x81\xff", b"\x00\x01a\x84\xff\xff\xff\xff", b"\x3f\xe2\x1f", b"\x82\x20", b"\xbe",
    ],
    ids=[
        "an endless index", "an endless name index", "an endless length", "index 0", "a cut Huffman code",
        "Huffman padding", "Huffman end of string", "a table beyond what we announced", "a table size behind a field",
        "an empty table's entry",
    ],
)  # fmt: skip
@pytest.mark.parametrize("role", ["server", "client"])
def test_blocks_that_cannot_be_read_end_the_connection(http2_make: Make, role: str, block: bytes) -> None:
    """CVE-2026-59980 (time), CVE-2018-20615 (memory)."""
    peer: ClientSide | BackendSide = ClientSide(http2_make) if role == "server" else BackendSide(http2_make)
    if isinstance(peer, BackendSide):
        peer.ask()
    failure = failure_of(peer.receive(peer.block(1, block)))
    assert failure.code == ErrorCode.COMPRESSION_ERROR
    last, code = goaway_of(peer.sent())
    assert (last, code) == (0, ErrorCode.COMPRESSION_ERROR)
