"""Credit: what the engine gives back to the peer, when, and for what."""

from __future__ import annotations

from hyperframe.frame import SettingsFrame, WindowUpdateFrame

from h2gate.errors import ErrorCode, Reason
from h2gate.protocol.contract import Http2Settings
from h2gate.protocol.events import DataReceived, ResponseReceived
from tests.support.http2_engine import (
    OK,
    POST,
    PREFACE,
    BackendSide,
    ClientSide,
    Make,
    data,
    failure_of,
    reset_of,
    settings_ack,
    settings_frame,
)

FRAME = 16_384


def test_a_server_announces_its_limits_and_opens_the_connections_window(http2_make: Make) -> None:
    settings = Http2Settings(max_streams=7, stream_window=100_000, connection_window=300_000, header_list=9_999)
    first, second = ClientSide(http2_make, settings).greeting
    assert isinstance(first, SettingsFrame)
    assert first.settings == {3: 7, 4: 100_000, 6: 9_999}
    assert isinstance(second, WindowUpdateFrame)
    assert (second.stream_id, second.window_increment) == (0, 300_000 - 65_535)


def test_a_client_announces_that_it_takes_no_push(http2_make: Make) -> None:
    settings = Http2Settings(stream_window=100_000, connection_window=65_535, header_list=9_999)
    (frame,) = BackendSide(http2_make, settings).greeting
    assert isinstance(frame, SettingsFrame)
    assert frame.settings == {2: 0, 4: 100_000, 6: 9_999}


def test_credit_is_saved_up_to_half_of_the_window(client: ClientSide) -> None:
    client.request(1, POST, end_stream=False)
    client.receive(*[data(1, bytes(FRAME))] * 3)
    client.engine.credit(1, 32_000)
    assert client.updates() == {}
    client.engine.credit(1, 1_000)
    assert client.updates() == {1: 33_000}


def test_credit_goes_out_early_where_the_window_is_used_up(client: ClientSide) -> None:
    client.request(1, POST, end_stream=False)
    client.receive(*[data(1, bytes(FRAME))] * 3, data(1, bytes(FRAME - 1)))
    client.engine.credit(1, 2_000)
    assert client.updates() == {1: 2_000}


def test_the_connection_has_its_own_account(http2_make: Make) -> None:
    client = ClientSide(http2_make, Http2Settings(connection_window=90_000))
    client.request(1, POST, end_stream=False)
    client.receive(*[data(1, bytes(FRAME))] * 3)
    client.engine.credit(1, 3 * FRAME)
    assert client.updates() == {1: 3 * FRAME}
    client.engine.credit_connection(44_999)
    assert client.updates() == {}
    client.engine.credit_connection(1)
    assert client.updates() == {0: 45_000}


def test_padding_counts_as_credit(client: ClientSide) -> None:
    client.request(1, POST, end_stream=False)
    events = client.receive(data(1, b"abc", padding=10), data(1, b"", padding=0), data(1, b"", True, padding=255))
    assert events == [
        DataReceived(1, b"abc", 14, False),
        DataReceived(1, b"", 1, False),
        DataReceived(1, b"", 256, True),
    ]


def test_a_side_that_has_ended_gets_no_window(client: ClientSide) -> None:
    client.request(1, POST, end_stream=False)
    client.receive(*[data(1, bytes(FRAME))] * 3, data(1, b"", end_stream=True))
    client.engine.credit(1, 3 * FRAME)
    assert client.updates() == {}


def test_a_body_beyond_the_streams_window_resets_the_stream(http2_make: Make) -> None:
    client = ClientSide(http2_make, Http2Settings(stream_window=1_000))
    client.request(1, POST, end_stream=False)
    events = client.receive(data(1, bytes(999)), data(1, bytes(2)))
    reset = reset_of(events[1:])
    assert (reset.code, reset.by_peer) == (ErrorCode.FLOW_CONTROL_ERROR, False)


def test_a_body_beyond_the_connections_window_ends_the_connection(http2_make: Make) -> None:
    client = ClientSide(http2_make, Http2Settings(connection_window=65_535, stream_window=1 << 20))
    client.request(1, POST, end_stream=False)
    assert len(client.receive(*[data(1, bytes(FRAME))] * 3, data(1, bytes(FRAME - 1)))) == 4
    failure = failure_of(client.receive(data(1, b"x")))
    assert (failure.code, failure.reason) == (ErrorCode.FLOW_CONTROL_ERROR, Reason.CLIENT_PROTOCOL)


def test_a_smaller_window_counts_only_once_the_peer_knows_it(http2_make: Make) -> None:
    client = ClientSide.__new__(ClientSide)
    super(ClientSide, client).__init__()
    client.engine = http2_make.server(Http2Settings(stream_window=1_000))
    client.receive(PREFACE, settings_frame(), client.headers(1, POST))
    # Sent before our SETTINGS arrived: 65 535 bytes are the client's right (RFC 9113, 6.9.2).
    assert client.receive(data(1, bytes(2_000))) == [DataReceived(1, bytes(2_000), 2_000, False)]
    client.receive(settings_ack())
    assert reset_of(client.receive(data(1, b"x"))).code == ErrorCode.FLOW_CONTROL_ERROR


def test_an_end_without_bytes_needs_no_window(http2_make: Make) -> None:
    """RFC 9113, 6.9.1: not even where SETTINGS have made the window negative."""
    client = ClientSide(http2_make)
    client.engine = http2_make.server(Http2Settings(stream_window=1_000))
    client.receive(PREFACE, settings_frame(), client.headers(1, POST), data(1, bytes(2_000)), settings_ack())
    assert client.receive(data(1, b""), data(1, b"", end_stream=True)) == [DataReceived(1, b"", 0, True)]


def test_a_larger_window_is_there_at_once(http2_make: Make) -> None:
    backend = BackendSide(http2_make, Http2Settings(stream_window=200_000))
    backend.ask()
    events = backend.receive(backend.headers(1, OK), *[data(1, bytes(FRAME))] * 12)
    assert isinstance(events[0], ResponseReceived)
    assert len(events) == 13


def test_bytes_for_streams_that_we_reset_cost_the_connection_nothing(http2_make: Make) -> None:
    client = ClientSide(http2_make, Http2Settings(connection_window=65_535))
    client.request(1, POST, end_stream=False)
    client.engine.reset(1, ErrorCode.CANCEL)
    client.sent()
    for _ in range(10):
        assert client.receive(data(1, bytes(FRAME)), data(1, bytes(FRAME - 100), padding=99)) == []
        assert client.updates() == {0: 2 * FRAME}


def test_bytes_of_a_malformed_body_cost_the_connection_nothing(http2_make: Make) -> None:
    client = ClientSide(http2_make, Http2Settings(connection_window=65_535))
    client.request(1, [*POST, (b"content-length", b"5")], end_stream=False)
    client.receive(data(1, bytes(FRAME)), data(1, bytes(FRAME)))
    assert client.updates() == {0: 2 * FRAME}
