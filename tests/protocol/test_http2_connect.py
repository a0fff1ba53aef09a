"""Extended CONNECT (RFC 8441): tunnels over a stream, as WebSockets need them, in both roles."""

from __future__ import annotations

import pytest
from hyperframe.frame import DataFrame, HeadersFrame, SettingsFrame

from h2gate.errors import ErrorCode, Reason
from h2gate.protocol.contract import Http2Settings
from h2gate.protocol.events import (
    DataReceived,
    Fields,
    InterimReceived,
    RequestHead,
    RequestReceived,
    RequestRejected,
    ResponseHead,
    ResponseReceived,
    SettingsReceived,
)
from tests.support.http2_engine import (
    GET,
    OK,
    PREFACE,
    WEBSOCKET,
    BackendSide,
    ClientSide,
    Make,
    data,
    failure_of,
    reset_of,
    rst_stream,
    settings_frame,
)

MAX_STREAMS, INITIAL_WINDOW, HEADER_LIST, ENABLE_CONNECT = 3, 4, 6, 8
TUNNEL = RequestHead(b"CONNECT", b"https", b"example.org", b"/chat", [(b"a", b"b")], protocol=b"websocket")


@pytest.fixture
def client(http2_make: Make) -> ClientSide:
    """A raw client that talks to a server engine which takes extended CONNECT."""
    return ClientSide(http2_make, Http2Settings(enable_connect=True))


# A server


def test_a_server_announces_that_it_takes_extended_connect(client: ClientSide) -> None:
    first = client.greeting[0]
    assert isinstance(first, SettingsFrame)
    assert first.settings == {MAX_STREAMS: 100, INITIAL_WINDOW: 65_535, HEADER_LIST: 32_768, ENABLE_CONNECT: 1}


def test_a_client_announces_nothing_of_it(http2_make: Make) -> None:
    """RFC 8441, 3: it would mean nothing."""
    first = BackendSide(http2_make, Http2Settings(enable_connect=True)).greeting[0]
    assert isinstance(first, SettingsFrame)
    assert ENABLE_CONNECT not in first.settings


def test_an_extended_connect_is_a_request_with_its_protocol(client: ClientSide) -> None:
    head = client.request(1, [*WEBSOCKET, (b"sec-websocket-version", b"13")], end_stream=False)
    assert head == RequestHead(
        b"CONNECT",
        b"http",
        b"example.org",
        b"/",
        [(b"sec-websocket-version", b"13")],
        target=b"/",
        protocol=b"websocket",
    )


def test_other_requests_have_no_protocol(client: ClientSide) -> None:
    assert client.request(1).protocol == b""


def test_protocol_may_come_anywhere_among_the_pseudo_fields(client: ClientSide) -> None:
    assert client.request(1, WEBSOCKET[::-1], end_stream=False).protocol == b"websocket"


def test_host_may_repeat_the_authority_of_a_tunnel(client: ClientSide) -> None:
    assert client.request(1, [*WEBSOCKET, (b"host", b"example.org")], end_stream=False).fields == []


def test_cookie_crumbs_of_a_tunnel_become_one_cookie(client: ClientSide) -> None:
    head = client.request(1, [*WEBSOCKET, (b"cookie", b"a=1"), (b"cookie", b"b=2")], end_stream=False)
    assert head.fields == [(b"cookie", b"a=1; b=2")]


def without(name: bytes) -> Fields:
    return [field for field in WEBSOCKET if field[0] != name]


def changed(name: bytes, value: bytes) -> Fields:
    return [(name, value) if field[0] == name else field for field in WEBSOCKET]


MALFORMED: dict[str, Fields] = {
    "another method": changed(b":method", b"GET"),
    "no method": without(b":method"),
    "no scheme": without(b":scheme"),
    "no path": without(b":path"),
    "no authority": without(b":authority"),
    "host for authority": [*without(b":authority"), (b"host", b"example.org")],
    "host differs": [*WEBSOCKET, (b"host", b"example.com")],
    "empty scheme": changed(b":scheme", b""),
    "empty path": changed(b":path", b""),
    "asterisk": changed(b":path", b"*"),
    "empty authority": changed(b":authority", b""),
    "protocol twice": [*WEBSOCKET, (b":protocol", b"websocket")],
    "empty protocol": changed(b":protocol", b""),
    "protocol that is no token": changed(b":protocol", b"web socket"),
    "line feed in the protocol": changed(b":protocol", b"websocket\r\nx: y"),
    "protocol behind a field": [*without(b":protocol"), (b"a", b"b"), (b":protocol", b"websocket")],
    "another pseudo-field": [*WEBSOCKET, (b":query", b"x")],
    "upgrade": [*WEBSOCKET, (b"upgrade", b"websocket")],
    "connection": [*WEBSOCKET, (b"connection", b"upgrade")],
    "content-length": [*WEBSOCKET, (b"content-length", b"5")],
    "two lengths": [*WEBSOCKET, (b"content-length", b"0"), (b"content-length", b"1")],
}


@pytest.mark.parametrize("fields", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_extended_connect_is_reset_and_costs_one_stream(client: ClientSide, fields: Fields) -> None:
    reset = reset_of(client.receive(client.headers(1, fields)))
    assert (reset.stream_id, reset.code, reset.by_peer) == (1, ErrorCode.PROTOCOL_ERROR, False)
    assert reset.detail
    assert client.resets() == [(1, ErrorCode.PROTOCOL_ERROR)]
    client.request(3)


def test_without_the_announcement_protocol_is_malformed(http2_make: Make) -> None:
    client = ClientSide(http2_make)
    assert ENABLE_CONNECT not in client.greeting[0].settings  # type: ignore[attr-defined]
    assert reset_of(client.receive(client.headers(1, WEBSOCKET))).code == ErrorCode.PROTOCOL_ERROR


def test_a_length_of_0_is_dropped_and_ends_no_tunnel(client: ClientSide) -> None:
    """Proxies that make an extended CONNECT of an Upgrade leave it there; it would shut in what the tunnel carries."""
    head = client.request(1, [*WEBSOCKET, (b"content-length", b"0"), (b"a", b"b")], end_stream=False)
    assert (head.content_length, head.fields) == (None, [(b"a", b"b")])
    assert client.receive(data(1, b"hello")) == [DataReceived(1, b"hello", 5, False)]


def test_plain_connect_is_still_rejected(client: ClientSide) -> None:
    (event,) = client.receive(client.headers(1, [(b":method", b"CONNECT"), (b":authority", b"example.org:443")]))
    assert isinstance(event, RequestRejected)
    assert event.reason is Reason.BAD_REQUEST


def test_plain_connect_may_still_have_neither_scheme_nor_path(client: ClientSide) -> None:
    assert reset_of(client.receive(client.headers(1, without(b":protocol")))).code == ErrorCode.PROTOCOL_ERROR


def test_a_tunnels_head_may_be_too_large(http2_make: Make) -> None:
    client = ClientSide(http2_make, Http2Settings(enable_connect=True, fields=2))
    (event,) = client.receive(client.headers(1, [*WEBSOCKET, *[(b"a", b"b")] * 3]))
    assert isinstance(event, RequestRejected)
    assert event.reason is Reason.HEAD_TOO_LARGE
    client.request(3, [*WEBSOCKET, *[(b"a", b"b")] * 2], end_stream=False)


def test_bytes_go_both_ways_and_each_way_ends_alone(client: ClientSide) -> None:
    client.request(1, WEBSOCKET, end_stream=False)
    client.engine.send_head(1, ResponseHead(200), end_stream=False)
    client.engine.send_data(1, b"from the server", end_stream=True)
    head, body = client.sent()
    assert isinstance(head, HeadersFrame)
    assert isinstance(body, DataFrame)
    assert "END_STREAM" not in head.flags
    assert "END_STREAM" in body.flags
    assert client.receive(data(1, b"from"), data(1, b"the client", end_stream=True)) == [
        DataReceived(1, b"from", 4, False),
        DataReceived(1, b"the client", 10, True),
    ]
    assert client.engine.open_streams == 0


@pytest.mark.parametrize("is_answered", [True, False])
def test_trailers_in_a_clients_tunnel_are_a_stream_error(client: ClientSide, is_answered: bool) -> None:
    """RFC 9113, 8.5: nothing but DATA and the management of the stream."""
    client.request(1, WEBSOCKET, end_stream=False)
    if is_answered:
        client.engine.send_head(1, ResponseHead(200), end_stream=False)
    assert reset_of(client.receive(client.headers(1, [(b"a", b"b")], True))).code == ErrorCode.PROTOCOL_ERROR


def test_a_client_may_cut_off_a_tunnel(client: ClientSide) -> None:
    client.request(1, WEBSOCKET, end_stream=False)
    client.engine.send_head(1, ResponseHead(200), end_stream=False)
    assert reset_of(client.receive(rst_stream(1, ErrorCode.CANCEL))).by_peer
    assert client.engine.open_streams == 0


# A client


@pytest.mark.parametrize(
    ("values", "takes"),
    [({}, False), ({ENABLE_CONNECT: 0}, False), ({ENABLE_CONNECT: 1}, True)],
    ids=["unsaid", "0", "1"],
)
def test_whether_the_peer_takes_it_is_told(http2_make: Make, values: dict[int, int], takes: bool) -> None:
    engine = http2_make.client(Http2Settings())
    assert engine.receive(settings_frame(values)) == [SettingsReceived(2**31 - 1, connect_protocol=takes)]


def test_what_the_peer_takes_stays_when_other_settings_come(backend: BackendSide) -> None:
    assert backend.receive(settings_frame({ENABLE_CONNECT: 1})) == [SettingsReceived(2**31 - 1, True)]
    assert backend.receive(settings_frame({MAX_STREAMS: 5})) == [SettingsReceived(5, True)]
    assert backend.receive(settings_frame({ENABLE_CONNECT: 1})) == [SettingsReceived(5, True)]


@pytest.mark.parametrize("value", [2, 2**32 - 1])
def test_a_setting_that_is_neither_yes_nor_no_ends_the_connection(backend: BackendSide, value: int) -> None:
    failure = failure_of(backend.receive(settings_frame({ENABLE_CONNECT: value})))
    assert (failure.code, failure.reason) == (ErrorCode.PROTOCOL_ERROR, Reason.BACKEND_PROTOCOL)


def test_a_yes_that_is_taken_back_ends_the_connection(backend: BackendSide) -> None:
    assert backend.receive(settings_frame({ENABLE_CONNECT: 0}))
    assert backend.receive(settings_frame({ENABLE_CONNECT: 1}))
    failure = failure_of(backend.receive(settings_frame({ENABLE_CONNECT: 0})))
    assert (failure.code, failure.reason) == (ErrorCode.PROTOCOL_ERROR, Reason.BACKEND_PROTOCOL)


def test_a_client_that_takes_it_back_ends_the_connection_too(http2_make: Make) -> None:
    engine = http2_make.server(Http2Settings())
    assert engine.receive(PREFACE + settings_frame({ENABLE_CONNECT: 1})) == [SettingsReceived(2**31 - 1, True)]
    assert failure_of(engine.receive(settings_frame({ENABLE_CONNECT: 0}))).reason is Reason.CLIENT_PROTOCOL


def test_an_extended_connect_is_written_with_its_protocol_last(backend: BackendSide) -> None:
    assert backend.engine.open_stream(TUNNEL, end_stream=False) == 1
    (frame,) = backend.sent()
    assert frame.fields == [  # type: ignore[attr-defined]
        (b":method", b"CONNECT"),
        (b":scheme", b"https"),
        (b":authority", b"example.org"),
        (b":path", b"/chat"),
        (b":protocol", b"websocket"),
        (b"a", b"b"),
    ]
    assert "END_STREAM" not in frame.flags


def tunnel(backend: BackendSide) -> None:
    backend.engine.open_stream(TUNNEL, end_stream=False)
    backend.sent()


@pytest.mark.parametrize("status", [200, 201, 204, 299])
@pytest.mark.parametrize("length", [b"0", b"3", b"3, 3"])
def test_the_length_of_a_tunnel_is_dropped(backend: BackendSide, status: int, length: bytes) -> None:
    """RFC 9110, 9.3.6: a client must ignore it; any 2xx is the beginning of the tunnel."""
    tunnel(backend)
    fields = [(b":status", b"%d" % status), (b"content-length", length), (b"a", b"b")]
    assert backend.receive(backend.headers(1, fields), data(1, b"hello"), data(1, b"", end_stream=True)) == [
        ResponseReceived(1, ResponseHead(status, [(b"a", b"b")]), False),
        DataReceived(1, b"hello", 5, False),
        DataReceived(1, b"", 0, True),
    ]


def test_a_tunnel_may_end_with_its_head_whatever_length_that_states(backend: BackendSide) -> None:
    tunnel(backend)
    events = backend.receive(backend.headers(1, [*OK, (b"content-length", b"5")], end_stream=True))
    assert events == [ResponseReceived(1, ResponseHead(200), True)]


@pytest.mark.parametrize("status", [b"300", b"404", b"501"])
def test_a_refused_tunnel_is_answered_as_any_request(backend: BackendSide, status: bytes) -> None:
    tunnel(backend)
    fields = [(b":status", status), (b"content-length", b"5")]
    events = backend.receive(backend.headers(1, fields), data(1, b"hello!"))
    assert events[0] == ResponseReceived(1, ResponseHead(int(status), fields[1:]), False)
    assert reset_of(events[1:]).code == ErrorCode.PROTOCOL_ERROR


def test_a_refusal_may_have_trailers_and_a_tunnel_may_not(backend: BackendSide) -> None:
    tunnel(backend)
    assert (
        len(backend.receive(backend.headers(1, [(b":status", b"404")]), backend.headers(1, [(b"a", b"b")], True))) == 2
    )
    tunnel(backend)
    events = backend.receive(backend.headers(3, OK), backend.headers(3, [(b"a", b"b")], True))
    assert reset_of(events[1:]).code == ErrorCode.PROTOCOL_ERROR


def test_content_of_a_refusal_that_has_none_is_malformed(backend: BackendSide) -> None:
    tunnel(backend)
    events = backend.receive(backend.headers(1, [(b":status", b"304")]), data(1, b"x"))
    assert reset_of(events[1:]).code == ErrorCode.PROTOCOL_ERROR


def test_interim_heads_come_before_a_tunnel(backend: BackendSide) -> None:
    tunnel(backend)
    hints = backend.headers(1, [(b":status", b"103"), (b"content-length", b"5")])
    events = backend.receive(hints, backend.headers(1, [*OK, (b"content-length", b"5")]), data(1, b"any"))
    assert events == [
        InterimReceived(1, ResponseHead(103)),
        ResponseReceived(1, ResponseHead(200), False),
        DataReceived(1, b"any", 3, False),
    ]


def test_a_malformed_answer_to_a_tunnel_is_reset(backend: BackendSide) -> None:
    tunnel(backend)
    assert reset_of(backend.receive(backend.headers(1, [(b":status", b"101")]))).code == ErrorCode.PROTOCOL_ERROR


def test_a_tunnel_through_both_roles_carries_bytes_both_ways(http2_make: Make) -> None:
    front, back = http2_make.server(Http2Settings(enable_connect=True)), http2_make.client(Http2Settings())
    (settings,) = back.receive(front.data_to_send(1 << 20))
    assert isinstance(settings, SettingsReceived)
    assert settings.connect_protocol
    back.open_stream(TUNNEL, end_stream=False)
    back.send_data(1, b"ping", end_stream=False)
    _, request, body = front.receive(back.data_to_send(1 << 20))
    assert isinstance(request, RequestReceived)
    assert (request.head.protocol, request.head.path, request.head.fields) == (b"websocket", b"/chat", [(b"a", b"b")])
    assert body == DataReceived(1, b"ping", 4, False)
    front.send_head(1, ResponseHead(200), end_stream=False)
    front.send_data(1, b"pong", end_stream=True)
    response, answer = back.receive(front.data_to_send(1 << 20))
    assert isinstance(response, ResponseReceived)
    assert answer == DataReceived(1, b"pong", 4, True)
    back.send_data(1, b"bye", end_stream=True)
    assert front.receive(back.data_to_send(1 << 20))[-1] == DataReceived(1, b"bye", 3, True)
    assert (front.open_streams, back.open_streams) == (0, 0)


def test_a_get_on_the_same_connection_has_its_own_rules(client: ClientSide) -> None:
    client.request(1, WEBSOCKET, end_stream=False)
    client.request(3, [*GET, (b"content-length", b"0")], end_stream=True)
    assert client.engine.open_streams == 2
