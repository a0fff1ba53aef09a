"""GOAWAY: an announcement, after which running streams finish (RFC 9113, 6.8)."""

from __future__ import annotations

from hyperframe.frame import DataFrame, GoAwayFrame, HeadersFrame

from h2gate.errors import ErrorCode
from h2gate.protocol.contract import Http2Settings
from h2gate.protocol.events import DataReceived, GoAwayReceived, ResponseHead, ResponseReceived
from tests.support.http2_engine import (
    GET,
    OK,
    POST,
    BackendSide,
    ClientSide,
    Make,
    data,
    goaway,
    goaway_of,
    ping,
    rst_stream,
    window_update,
)

MAX_STREAM_ID = 2**31 - 1


def test_running_streams_finish_behind_a_goaway_received(backend: BackendSide) -> None:
    backend.ask(b"POST", end_stream=False)
    backend.ask()
    assert backend.receive(goaway(3, 0, b"bye")) == [GoAwayReceived(3, 0, b"bye")]
    backend.engine.send_data(1, b"rest", end_stream=True)
    (frame,) = backend.sent()
    assert isinstance(frame, DataFrame)
    events = backend.receive(
        backend.headers(1, OK, end_stream=True), backend.headers(3, OK), data(3, b"x", end_stream=True)
    )
    assert [type(event) for event in events] == [ResponseReceived, ResponseReceived, DataReceived]
    assert backend.engine.open_streams == 0


def test_a_goaway_received_does_not_wipe_what_is_unsent(backend: BackendSide) -> None:
    backend.engine.ping(b"unsent!!")
    backend.receive(goaway(0))
    (frame,) = backend.sent()
    assert frame.opaque_data == b"unsent!!"  # type: ignore[attr-defined]


def test_goaway_may_come_again_with_a_lower_id_and_an_unknown_code(backend: BackendSide) -> None:
    events = backend.receive(goaway(MAX_STREAM_ID, 0), goaway(1, 0xDEADBEEF))
    assert events == [GoAwayReceived(MAX_STREAM_ID, 0, b""), GoAwayReceived(1, 0xDEADBEEF, b"")]


def test_a_server_hears_goaway_and_goes_on(client: ClientSide) -> None:
    client.request(1, POST, end_stream=False)
    assert client.receive(goaway(0)) == [GoAwayReceived(0, 0, b"")]
    assert client.receive(data(1, b"x", end_stream=True)) == [DataReceived(1, b"x", 1, True)]
    client.engine.send_head(1, ResponseHead(200), end_stream=False)
    client.engine.send_data(1, b"answer", end_stream=True)
    assert [type(frame) for frame in client.sent()] == [HeadersFrame, DataFrame]


def test_a_last_call_stops_nothing(client: ClientSide) -> None:
    client.request(1)
    client.engine.goaway(None, ErrorCode.NO_ERROR)
    assert goaway_of(client.sent()) == (MAX_STREAM_ID, ErrorCode.NO_ERROR)
    client.request(3)
    assert client.engine.last_peer_stream_id == 3


def test_a_final_goaway_ignores_later_streams_and_finishes_the_others(http2_make: Make) -> None:
    client = ClientSide(http2_make, Http2Settings(connection_window=65_535))
    client.request(1, POST, end_stream=False)
    client.engine.goaway(None, ErrorCode.NO_ERROR)
    client.engine.goaway(client.engine.last_peer_stream_id, ErrorCode.NO_ERROR, b"drained")
    first, second = client.sent()
    assert isinstance(first, GoAwayFrame)
    assert isinstance(second, GoAwayFrame)
    assert (second.last_stream_id, second.additional_data) == (1, b"drained")
    late = client.headers(3, [*POST, (b"x-new", b"in the table")])
    assert client.receive(late, data(3, bytes(16_384)), data(3, bytes(16_384), end_stream=True)) == []
    assert client.updates() == {0: 32_768}
    assert client.receive(client.headers(3, GET), window_update(3, 1), rst_stream(3, 8)) == []
    trailers = client.headers(1, [(b"x-new", b"in the table")], end_stream=True)
    (event,) = client.receive(trailers)
    assert event.fields == [(b"x-new", b"in the table")]  # type: ignore[union-attr]
    client.engine.send_head(1, ResponseHead(200), end_stream=True)
    (frame,) = client.sent()
    assert isinstance(frame, HeadersFrame)
    assert client.engine.last_peer_stream_id == 1


def test_a_final_id_only_goes_down(client: ClientSide) -> None:
    client.request(1)
    client.engine.goaway(1, ErrorCode.NO_ERROR)
    client.engine.goaway(5, ErrorCode.NO_ERROR)
    client.sent()
    assert client.receive(client.headers(3, GET)) == []


def test_a_client_says_goaway_too(backend: BackendSide) -> None:
    backend.ask()
    backend.engine.goaway(0, ErrorCode.NO_ERROR)
    assert goaway_of(backend.sent()) == (0, ErrorCode.NO_ERROR)
    assert len(backend.receive(backend.headers(1, OK, end_stream=True), ping())) == 1
    assert len(backend.sent()) == 1
