"""A WebSocket's exchange: how it is asked for, when it is open, and how each direction ends."""

from __future__ import annotations

from typing import Any

import pytest

from h2gate.errors import ErrorCode, Failure, Reason
from h2gate.protocol.events import Fields, RequestHead, ResponseHead
from h2gate.proxy.tunnel import HALF_CLOSED_SECONDS, Tunnel, accept_of, is_key
from tests.proxy.fakes import BackSide, ClientSide, House

# RFC 6455, 1.3
KEY, ACCEPT = b"dGhlIHNhbXBsZSBub25jZQ==", b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
OPEN = ResponseHead(200, [(b"sec-websocket-protocol", b"chat")])


def upgrade(house: House, *fields: tuple[bytes, bytes]) -> tuple[ClientSide, Tunnel]:
    """Begin as an HTTP/1.1 client does."""
    standing: Fields = [
        (b"connection", b"Upgrade"), (b"upgrade", b"websocket"), (b"sec-websocket-version", b"13"),
    ]  # fmt: skip
    head = RequestHead(
        b"GET", b"http", b"site.example", b"/chat", [*standing, *(fields or [(b"sec-websocket-key", KEY)])],
        b"HTTP/1.1", None, b"/chat", b"websocket",
    )  # fmt: skip
    return begin(house, head)


def connect(house: House, protocol: bytes = b"websocket") -> tuple[ClientSide, Tunnel]:
    """Begin as an HTTP/2 client does (RFC 8441)."""
    fields = [(b"sec-websocket-version", b"13"), (b"origin", b"http://site.example")]
    return begin(
        house,
        RequestHead(b"CONNECT", b"http", b"site.example", b"/chat", fields, b"HTTP/2.0", None, b"/chat", protocol),
    )


def begin(house: House, head: RequestHead) -> tuple[ClientSide, Tunnel]:
    client = ClientSide()
    exchange = house.proxy.begin(client, head, False)
    assert isinstance(exchange, Tunnel)
    return client, exchange


def opened(house: House, *, over: str = "http2") -> tuple[ClientSide, Tunnel, BackSide]:
    client, exchange = connect(house) if over == "http2" else upgrade(house)
    back = house.pool.streams[-1]
    back.sink.on_response(ResponseHead(200, []), False)
    return client, exchange, back


def test_the_accept_field_answers_the_key_of_the_rfc() -> None:
    assert accept_of(KEY) == ACCEPT


@pytest.mark.parametrize("key", [b"", b"dGhl", b"dGhlIHNhbXBsZSBub25jZQ=", b"dGhlIHNhbXBsZSBub25jZ*==", KEY + b"AAAA"])
def test_a_key_is_16_bytes_in_base64(key: bytes) -> None:
    assert is_key(KEY)
    assert not is_key(key)


@pytest.mark.parametrize("ask", [upgrade, connect])
def test_both_forms_are_one_extended_connect_to_the_backend(ask: Any) -> None:
    house = House()
    ask(house)
    head = house.pool.streams[0].head
    assert (head.method, head.protocol, head.path, head.scheme) == (b"CONNECT", b"websocket", b"/chat", b"http")
    names = [name for name, _ in head.fields]
    assert b"sec-websocket-version" in names
    assert not {b"sec-websocket-key", b"connection", b"upgrade"} & set(names)
    assert not house.pool.streams[0].has_ended


def test_an_http1_client_gets_101_with_the_answer_to_its_key() -> None:
    house = House()
    client, _ = upgrade(house)
    house.pool.streams[0].sink.on_response(ResponseHead(200, [*OPEN.fields, (b"content-length", b"0")]), False)
    assert client.head is not None
    assert client.head.status == 101
    fields = dict(client.head.fields)
    assert fields[b"sec-websocket-accept"] == ACCEPT
    assert fields[b"sec-websocket-protocol"] == b"chat"
    assert b"content-length" not in fields


def test_an_http2_client_gets_the_backends_200() -> None:
    house = House()
    client, _ = connect(house)
    house.pool.streams[0].sink.on_response(OPEN, False)
    assert client.head is not None
    assert client.head.status == 200
    assert b"sec-websocket-accept" not in dict(client.head.fields)


@pytest.mark.parametrize(
    "fields", [[(b"x", b"y")], [(b"sec-websocket-key", b"short")], [(b"sec-websocket-key", KEY)] * 2]
)
def test_an_upgrade_without_one_good_key_is_refused(fields: Fields) -> None:
    house = House()
    client, _ = upgrade(house, *fields)
    assert client.status == 400
    assert house.pool.streams == []


def test_bytes_flow_both_ways_and_are_credited_when_they_have_moved_on() -> None:
    house = House()
    client, exchange, back = opened(house)
    exchange.on_request_data(b"ping", 4, False)
    back.sink.on_response_data(b"pong", False)
    assert (back.body, client.body) == (b"ping", b"pong")
    exchange.on_request_framed(4)
    exchange.on_response_framed(4)
    assert (client.credited, back.credited) == (4, 4)


def test_another_answer_than_2xx_is_an_ordinary_response() -> None:
    house = House()
    client, exchange = upgrade(house)
    back = house.pool.streams[0]
    back.sink.on_response(ResponseHead(403, []), False)
    assert back.has_ended  # nothing will be sent on it
    back.sink.on_response_data(b"no", True)
    assert (client.status, client.body, client.has_ended) == (403, b"no", True)
    exchange.on_response_framed(2)
    assert house.log == [exchange]


def test_a_backend_without_extended_connect_is_501() -> None:
    house = House()
    house.pool.takes_connect = False
    client, exchange = upgrade(house)
    assert client.status == 501
    assert exchange.failure == Failure(Reason.NO_EXTENDED_CONNECT)
    assert house.pool.streams == []


@pytest.mark.parametrize("over", [upgrade, connect])
def test_an_endpoint_that_takes_no_extended_connect_is_passed_over(over: Any) -> None:
    house = House("h2c://old:1", "h2c://new:2")
    house.pools[0].takes_connect = False
    client, _ = over(house)
    house.pools[1].streams[0].sink.on_response(ResponseHead(200, []), False)
    assert client.status in (101, 200)
    house.pools[1].takes_connect = False
    client, exchange = over(house)
    assert client.status == 501
    assert exchange.retries == 0


@pytest.mark.parametrize("over", [upgrade, connect])
def test_a_backend_that_does_not_answer_a_tunnel_is_504(over: Any) -> None:
    house = House(timeouts={"response_head": "5s", "request_body": "2s"})
    client, exchange = over(house)
    house.pass_time(4)
    assert client.status is None
    house.pass_time(2)
    assert client.status == 504
    assert exchange.failure == Failure(Reason.HEAD_TIMEOUT)


def test_a_tunnel_is_no_body_that_could_be_too_large() -> None:
    house = House(routes=[{"backend": "app", "max_body": "1KiB"}])
    client, exchange, back = opened(house)
    exchange.on_request_data(b"x" * 3000, 3000, False)
    assert client.broken_by is None
    assert len(back.body) == 3000


def test_a_client_that_ended_its_side_before_the_answer_leaves_half_a_tunnel() -> None:
    house = House()
    client, exchange = connect(house)
    exchange.on_request_data(b"", 0, True)
    house.pool.streams[0].sink.on_response(ResponseHead(200, []), False)
    house.pass_time(HALF_CLOSED_SECONDS + 1)
    assert client.broken_by == Failure(Reason.TUNNEL_IDLE)


@pytest.mark.parametrize(("over", "status"), [(upgrade, 200), (connect, 501)])
def test_a_route_without_a_backend_opens_no_tunnel(over: Any, status: int) -> None:
    gates_own = {"match": {"path": "/chat"}, "respond": {"status": 200, "body": "hello"}}
    house = House(routes=[gates_own, {"backend": "app"}])
    client, _ = over(house)
    assert client.status == status
    assert client.has_ended


def test_it_waits_for_the_backends_settings() -> None:
    house = House()
    house.pool.takes_connect = None
    upgrade(house)
    assert house.pool.streams == []
    house.pool.takes_connect = True
    (settled,) = house.pool.settling
    settled(None)
    assert house.pool.streams[0].head.protocol == b"websocket"


def test_a_connection_that_fails_before_its_settings_fails_it() -> None:
    house = House(retries={"tries": 0})
    house.pool.takes_connect = None
    client, _ = upgrade(house)
    house.pool.settling[0](Failure(Reason.CONNECT_TIMEOUT, "no SETTINGS from the backend"))
    assert client.status == 504


def test_a_client_that_left_meanwhile_is_not_connected() -> None:
    house = House()
    house.pool.takes_connect = None
    _, exchange = upgrade(house)
    exchange.on_client_gone(Failure(Reason.CLIENT_CLOSED))
    house.pool.takes_connect = True
    house.pool.settling[0](None)
    assert house.pool.streams == []
    assert house.log == [exchange]


def test_other_protocols_than_websocket_are_501() -> None:
    house = House()
    client, exchange = connect(house, b"connect-udp")
    assert client.status == 501
    assert exchange.failure == Failure(Reason.PROTOCOL_NOT_SERVED, "connect-udp")


def test_a_route_without_websockets_takes_an_upgrade_as_a_plain_request() -> None:
    house = House(routes=[{"backend": "app", "websocket": False}])
    client, _ = upgrade(house)
    back = house.pool.streams[0]
    assert (back.head.method, back.head.protocol, back.has_ended) == (b"GET", b"", True)
    back.sink.on_response(ResponseHead(200, []), True)
    assert client.status == 200


def test_a_route_without_websockets_refuses_extended_connect() -> None:
    house = House(routes=[{"backend": "app", "websocket": False}])
    client, _ = connect(house)
    assert client.status == 501


def test_routes_for_get_are_for_websockets_of_both_forms() -> None:
    house = House(routes=[{"match": {"methods": ["GET"]}, "backend": "app"}])
    upgrade(house)
    connect(house)
    assert len(house.pool.streams) == 2


# Ends


def test_the_clients_end_is_passed_on_and_the_backend_goes_on() -> None:
    house = House()
    client, exchange, back = opened(house)
    exchange.on_request_data(b"", 0, True)
    assert back.has_ended
    back.sink.on_response_data(b"bye", True)
    assert (client.body, client.has_ended) == (b"bye", True)
    assert house.log == []
    exchange.on_response_framed(3)
    assert house.log == [exchange]
    assert exchange.failure is None


def test_the_backends_end_is_passed_on_and_an_http2_client_goes_on() -> None:
    house = House()
    client, exchange, back = opened(house)
    back.sink.on_response_data(b"bye", True)
    exchange.on_response_framed(3)
    assert client.has_ended
    assert house.log == []
    assert back.reset_by is None
    exchange.on_request_data(b"late", 4, False)
    exchange.on_request_data(b"", 0, True)
    assert (back.body, back.has_ended) == (b"late", True)
    exchange.on_request_framed(4)
    assert house.log == [exchange]


def test_the_backends_end_ends_both_directions_of_an_http1_client() -> None:
    house = House()
    client, exchange, back = opened(house, over="http1")
    back.sink.on_response_data(b"", True)
    assert client.has_ended
    assert back.has_ended
    assert house.log == [exchange]


def test_a_backend_that_resets_behind_its_end_fails_nothing() -> None:
    house = House()
    client, exchange, back = opened(house)
    back.sink.on_response_data(b"", True)
    back.sink.on_backend_failure(Failure(Reason.BACKEND_RESET, "NO_ERROR"))
    assert client.broken_by is None
    assert client.refuses_rest
    exchange.on_request_data(b"late", 4, False)
    assert client.credited == 4
    assert house.log == [exchange]
    assert exchange.failure is None


@pytest.mark.parametrize("over", ["http1", "http2"])
def test_what_a_backend_said_before_it_resets_behind_its_end_still_arrives(over: str) -> None:
    house = House()
    client, exchange, back = opened(house, over=over)
    back.sink.on_response_data(b"bye", True)
    back.sink.on_backend_failure(Failure(Reason.BACKEND_RESET, "NO_ERROR"))
    assert client.broken_by is None
    assert house.log == []
    exchange.on_response_framed(3)
    assert house.log == [exchange]


def test_a_backend_that_takes_no_more_of_a_tunnel_both_sides_have_ended_is_given_up() -> None:
    house = House()
    _, exchange, back = opened(house)
    exchange.on_request_data(b"late", 4, False)
    back.sink.on_response_data(b"", True)
    exchange.on_request_data(b"", 0, True)
    house.pass_time(HALF_CLOSED_SECONDS - 1)
    assert (back.reset_by, house.log) == (None, [])
    house.pass_time(2)
    assert back.reset_by is ErrorCode.CANCEL
    assert exchange.failure == Failure(Reason.TUNNEL_IDLE)
    assert house.log == [exchange]


def test_a_tunnel_is_over_when_the_backend_has_taken_the_clients_last_bytes() -> None:
    house = House()
    _, exchange, back = opened(house)
    exchange.on_request_data(b"late", 4, True)
    back.sink.on_response_data(b"", True)
    assert house.log == []
    exchange.on_request_framed(4)
    assert house.log == [exchange]
    assert exchange.failure is None


def test_a_backend_that_resets_breaks_the_tunnel_visibly() -> None:
    house = House()
    client, exchange, back = opened(house)
    back.sink.on_backend_failure(Failure(Reason.BACKEND_RESET, "INTERNAL_ERROR"))
    assert client.broken_by == Failure(Reason.BACKEND_RESET, "INTERNAL_ERROR")
    assert house.log == [exchange]


def test_a_client_that_leaves_cancels_the_backends_stream() -> None:
    house = House()
    _, exchange, back = opened(house)
    exchange.on_client_gone(Failure(Reason.CLIENT_CLOSED))
    assert back.reset_by is ErrorCode.CANCEL
    assert house.log == [exchange]


def test_an_open_tunnel_has_an_idle_timeout_of_its_own() -> None:
    house = House(timeouts={"tunnel_idle": "400s", "response_idle": "1s", "response_head": "1s", "request_body": "1s"})
    client, exchange, back = opened(house)
    house.pass_time(390)
    assert client.broken_by is None
    exchange.on_request_data(b"x", 1, False)
    house.pass_time(390)
    assert client.broken_by is None
    house.pass_time(20)
    assert client.broken_by == Failure(Reason.TUNNEL_IDLE)
    assert back.reset_by is ErrorCode.CANCEL
    assert house.log == [exchange]


def test_a_half_closed_tunnel_is_cut_off_sooner() -> None:
    house = House()
    client, _, back = opened(house)
    back.sink.on_response_data(b"", True)
    house.pass_time(HALF_CLOSED_SECONDS - 1)
    assert client.broken_by is None
    house.pass_time(2)
    assert client.broken_by == Failure(Reason.TUNNEL_IDLE)
    assert back.reset_by is ErrorCode.CANCEL
