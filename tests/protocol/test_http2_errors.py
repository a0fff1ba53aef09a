"""What breaks a stream, what breaks the connection, and what breaks nothing (RFC 9113, 5.1, 5.4 and 6)."""

from __future__ import annotations

import pytest
from hyperframe.frame import HeadersFrame

from h2gate.errors import ErrorCode, Reason
from h2gate.protocol.contract import Http2Settings
from h2gate.protocol.events import (
    DataReceived,
    PingAcked,
    RequestHead,
    RequestReceived,
    ResponseHead,
    SettingsReceived,
    StreamReset,
)
from tests.support.http2_engine import (
    GET,
    LIMIT,
    OK,
    POST,
    PREFACE,
    BackendSide,
    ClientSide,
    Make,
    data,
    failure_of,
    goaway_of,
    parse,
    ping,
    raw,
    reset_of,
    rst_stream,
    settings_frame,
    window_update,
)

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)


@pytest.mark.parametrize("begin", [b"GET / HTTP/1.1\r\n", b"P", b"PRI * HTTP/2.0\r\n\r\nXX", b"\x16\x03\x01"])
def test_a_client_without_the_preface_is_told_nothing(http2_make: Make, begin: bytes) -> None:
    engine = http2_make.server(Http2Settings())
    engine.data_to_send(1 << 20)
    events = engine.receive(begin + b"QQ")
    failure = failure_of(events)
    assert (failure.code, failure.reason) == (ErrorCode.PROTOCOL_ERROR, Reason.CLIENT_PROTOCOL)
    assert engine.data_to_send(1 << 20) == b""
    assert engine.receive(PREFACE) == []


def test_a_client_that_sends_another_frame_first_is_told_nothing(http2_make: Make) -> None:
    engine = http2_make.server(Http2Settings())
    assert failure_of(engine.receive(PREFACE + ping())).reason is Reason.CLIENT_PROTOCOL


BREAKS_CONNECTION: dict[str, tuple[bytes, ErrorCode]] = {
    "DATA on stream 0": (raw(DATA, 0, 0, b"x"), ErrorCode.PROTOCOL_ERROR),
    "HEADERS on stream 0": (raw(HEADERS, 5, 0, b"\x82"), ErrorCode.PROTOCOL_ERROR),
    "PRIORITY on stream 0": (raw(PRIORITY, 0, 0, bytes(5)), ErrorCode.PROTOCOL_ERROR),
    "RST_STREAM on stream 0": (raw(RST_STREAM, 0, 0, bytes(4)), ErrorCode.PROTOCOL_ERROR),
    "SETTINGS on stream 1": (raw(SETTINGS, 0, 1, b""), ErrorCode.PROTOCOL_ERROR),
    "PUSH_PROMISE": (raw(PUSH_PROMISE, 4, 1, b"\0\0\0\2\x82"), ErrorCode.PROTOCOL_ERROR),
    "PING on stream 1": (raw(PING, 0, 1, bytes(8)), ErrorCode.PROTOCOL_ERROR),
    "GOAWAY on stream 1": (raw(GOAWAY, 0, 1, bytes(8)), ErrorCode.PROTOCOL_ERROR),
    "CONTINUATION alone": (raw(CONTINUATION, 4, 1, b"\x82"), ErrorCode.PROTOCOL_ERROR),
    "short PRIORITY": (raw(PRIORITY, 0, 1, bytes(4)), ErrorCode.FRAME_SIZE_ERROR),
    "short RST_STREAM": (raw(RST_STREAM, 0, 1, bytes(3)), ErrorCode.FRAME_SIZE_ERROR),
    "cut SETTINGS": (raw(SETTINGS, 0, 0, bytes(7)), ErrorCode.FRAME_SIZE_ERROR),
    "acknowledgement with settings": (raw(SETTINGS, 1, 0, bytes(6)), ErrorCode.FRAME_SIZE_ERROR),
    "long PING": (raw(PING, 0, 0, bytes(9)), ErrorCode.FRAME_SIZE_ERROR),
    "short GOAWAY": (raw(GOAWAY, 0, 0, bytes(7)), ErrorCode.FRAME_SIZE_ERROR),
    "short WINDOW_UPDATE": (raw(WINDOW_UPDATE, 0, 0, bytes(3)), ErrorCode.FRAME_SIZE_ERROR),
    "frame too large": (raw(DATA, 0, 1, bytes(16_385)), ErrorCode.FRAME_SIZE_ERROR),
    "unknown frame too large": (raw(0xFA, 0, 0, bytes(16_385)), ErrorCode.FRAME_SIZE_ERROR),
    "HEADERS too short for priority": (raw(HEADERS, 0x25, 1, bytes(4)), ErrorCode.FRAME_SIZE_ERROR),
    "padding too long": (raw(DATA, 8, 1, b"\x04abc"), ErrorCode.PROTOCOL_ERROR),
    "padding without its length": (raw(DATA, 8, 1, b""), ErrorCode.PROTOCOL_ERROR),
    "padding too long in HEADERS": (raw(HEADERS, 0xD, 1, b"\x02\x82"), ErrorCode.PROTOCOL_ERROR),
    "DATA on an idle stream": (data(9, b"x"), ErrorCode.PROTOCOL_ERROR),
    "RST_STREAM on an idle stream": (rst_stream(9, 8), ErrorCode.PROTOCOL_ERROR),
    "WINDOW_UPDATE on an idle stream": (window_update(9, 1), ErrorCode.PROTOCOL_ERROR),
    "WINDOW_UPDATE on an even stream": (window_update(2, 1), ErrorCode.PROTOCOL_ERROR),
    "WINDOW_UPDATE of 0": (raw(WINDOW_UPDATE, 0, 0, bytes(4)), ErrorCode.PROTOCOL_ERROR),
    "connection window overflow": (window_update(0, 2**31 - 1), ErrorCode.FLOW_CONTROL_ERROR),
    "HEADERS on an even stream": (raw(HEADERS, 5, 2, b"\x82"), ErrorCode.PROTOCOL_ERROR),
    "index out of the table": (raw(HEADERS, 5, 3, b"\xff\xff\x7f"), ErrorCode.COMPRESSION_ERROR),
    "cut field": (raw(HEADERS, 5, 3, b"\x40\x0aabc"), ErrorCode.COMPRESSION_ERROR),
    "window setting too large": (settings_frame({4: 2**31}), ErrorCode.FLOW_CONTROL_ERROR),
    "frame size setting too small": (settings_frame({5: 100}), ErrorCode.PROTOCOL_ERROR),
    "push setting of 2": (settings_frame({2: 2}), ErrorCode.PROTOCOL_ERROR),
}


@pytest.mark.parametrize(("frame", "code"), BREAKS_CONNECTION.values(), ids=BREAKS_CONNECTION)
def test_a_broken_rule_of_the_connection_ends_it(client: ClientSide, frame: bytes, code: ErrorCode) -> None:
    client.request(1, POST, end_stream=False)
    client.engine.send_head(1, ResponseHead(200), end_stream=False)
    client.sent()
    client.engine.send_data(1, b"never sent", end_stream=True)
    failure = failure_of(client.receive(frame, ping()))
    assert (failure.code, failure.reason) == (code, Reason.CLIENT_PROTOCOL)
    assert failure.detail
    frames = client.sent()
    assert goaway_of(frames) == (1, code)
    assert len(frames) == 1
    assert client.engine.open_streams == 0
    assert client.receive(client.headers(3, GET, end_stream=True)) == []
    assert client.engine.data_to_send(1 << 20) == b""


@pytest.mark.parametrize("kind", [DATA, HEADERS, PING, SETTINGS, 0xFA])
def test_nothing_may_come_between_the_parts_of_a_block(client: ClientSide, kind: int) -> None:
    begin = raw(HEADERS, 0, 1, b"\x82")
    assert failure_of(client.receive(begin, raw(kind, 0, 0, b""))).code == ErrorCode.PROTOCOL_ERROR


def test_a_continuation_of_another_stream_ends_the_connection(client: ClientSide) -> None:
    assert failure_of(client.receive(raw(HEADERS, 0, 1, b"\x82"), raw(CONTINUATION, 4, 3, b""))).code == 1


def test_unknown_frames_and_priority_are_read_over(client: ClientSide) -> None:
    frames = [raw(0xFA, 0xFF, 77, b"what"), raw(PRIORITY, 0, 5, bytes(5)), raw(0x0A, 0, 0, b"\0")]
    assert client.receive(*frames) == []
    client.request(1)


def test_the_reserved_bit_of_the_first_frame_is_read_over(http2_make: Make) -> None:
    assert http2_make.server(Http2Settings()).receive(PREFACE + raw(SETTINGS, 0, 1 << 31, b"")) == [
        SettingsReceived(2**31 - 1)
    ]


def test_flags_and_bits_without_meaning_are_read_over(client: ClientSide) -> None:
    client.request(1, POST, end_stream=False)
    assert client.receive(raw(DATA, 0xF6, 0x80000001, b"abc")) == [DataReceived(1, b"abc", 3, False)]


def test_an_older_stream_id_ends_the_connection(client: ClientSide) -> None:
    client.request(5)
    assert failure_of(client.receive(client.headers(3, GET))).code == ErrorCode.PROTOCOL_ERROR


@pytest.mark.parametrize("kind", ["DATA", "HEADERS"])
def test_a_frame_behind_the_end_resets_the_stream(client: ClientSide, kind: str) -> None:
    client.request(1)
    reset = reset_of(client.receive(data(1, b"x") if kind == "DATA" else client.headers(1, [(b"a", b"b")], True)))
    assert (reset.code, reset.by_peer) == (ErrorCode.STREAM_CLOSED, False)
    assert client.resets() == [(1, ErrorCode.STREAM_CLOSED)]


@pytest.mark.parametrize("kind", ["DATA", "HEADERS"])
def test_a_frame_on_a_finished_stream_ends_the_connection(client: ClientSide, kind: str) -> None:
    client.request(1)
    client.engine.send_head(1, ResponseHead(200), end_stream=True)
    frame = data(1, b"x") if kind == "DATA" else client.headers(1, [(b"a", b"b")], True)
    assert failure_of(client.receive(frame)).code == ErrorCode.STREAM_CLOSED


@pytest.mark.parametrize("kind", ["DATA", "HEADERS"])
def test_a_frame_behind_the_peers_own_reset_is_answered_with_a_reset(client: ClientSide, kind: str) -> None:
    client.request(1, POST, end_stream=False)
    client.receive(rst_stream(1, 8))
    frame = data(1, b"x") if kind == "DATA" else client.headers(1, [(b"a", b"b")], True)
    assert client.receive(frame) == []
    assert client.resets() == [(1, ErrorCode.STREAM_CLOSED)]
    client.request(3)


def test_frames_that_cross_our_reset_are_let_pass(client: ClientSide) -> None:
    client.request(1, POST, end_stream=False)
    client.engine.reset(1, ErrorCode.CANCEL)
    client.sent()
    trailers = client.headers(1, [(b"x-new", b"in the table")], end_stream=True)
    assert client.receive(data(1, b"x"), window_update(1, 1), trailers, rst_stream(1, 8)) == []
    assert client.sent() == []
    assert client.request(3, [*GET, (b"x-new", b"in the table")]).fields == [(b"x-new", b"in the table")]


def test_data_for_a_stream_closed_long_ago_is_let_pass(client: ClientSide) -> None:
    for stream_id in range(1, 801, 2):
        client.request(stream_id)
        client.engine.reset(stream_id, ErrorCode.CANCEL)
    client.sent()
    assert client.receive(data(1, b"x")) == []


def test_a_backends_late_frames_break_nothing(backend: BackendSide) -> None:
    backend.ask()
    backend.engine.reset(1, ErrorCode.CANCEL)
    backend.sent()
    head = backend.headers(1, [*OK, (b"x-new", b"in the table")])
    assert backend.receive(head, data(1, b"x", end_stream=True), rst_stream(1, 8)) == []
    backend.ask()
    (event,) = backend.receive(backend.headers(3, [*OK, (b"x-new", b"in the table")]))
    assert event.head.fields == [(b"x-new", b"in the table")]  # type: ignore[union-attr]


def test_a_window_update_of_0_resets_its_stream(client: ClientSide) -> None:
    client.request(1)
    assert reset_of(client.receive(raw(WINDOW_UPDATE, 0, 1, bytes(4)))).code == ErrorCode.PROTOCOL_ERROR


def test_a_window_too_large_resets_its_stream(client: ClientSide) -> None:
    client.request(1)
    assert reset_of(client.receive(window_update(1, 2**31 - 1))).code == ErrorCode.FLOW_CONTROL_ERROR
    client.request(3)


def test_a_window_too_large_by_settings_ends_the_connection(client: ClientSide) -> None:
    client.request(1)
    client.receive(window_update(1, 2**31 - 1 - 65_535))
    assert failure_of(client.receive(settings_frame({4: 65_536}))).code == ErrorCode.FLOW_CONTROL_ERROR


def test_pings_are_answered_and_answers_told(client: ClientSide) -> None:
    assert client.receive(ping(b"abcdefgh")) == []
    (frame,) = client.sent()
    assert (frame.opaque_data, "ACK" in frame.flags) == (b"abcdefgh", True)  # type: ignore[attr-defined]
    client.engine.ping(b"ABCDEFGH")
    (frame,) = client.sent()
    assert (frame.opaque_data, "ACK" in frame.flags) == (b"ABCDEFGH", False)  # type: ignore[attr-defined]
    assert client.receive(ping(b"ABCDEFGH", ack=True)) == [PingAcked(b"ABCDEFGH")]


def test_settings_are_acknowledged_and_told(backend: BackendSide) -> None:
    assert backend.receive(settings_frame({3: 5})) == [SettingsReceived(5)]
    (frame,) = backend.sent()
    assert "ACK" in frame.flags
    # What is not said stays as it was; at first that is: no limit.
    assert backend.receive(settings_frame({4: 70_000})) == [SettingsReceived(5)]


def test_without_a_limit_the_peer_allows_all_ids(http2_make: Make) -> None:
    engine = http2_make.client(Http2Settings())
    assert engine.receive(settings_frame()) == [SettingsReceived(2**31 - 1)]


def test_unknown_settings_are_read_over(backend: BackendSide) -> None:
    unknown = raw(SETTINGS, 0, 0, b"".join(code.to_bytes(2, "big") + bytes(4) for code in range(0x100, 0x900)))
    assert len(backend.receive(unknown)) == 1


def test_a_backend_may_not_allow_us_to_push(backend: BackendSide) -> None:
    assert failure_of(backend.receive(settings_frame({2: 1}))).code == ErrorCode.PROTOCOL_ERROR


def test_a_huge_table_is_not_used(backend: BackendSide) -> None:
    """Otherwise our encoder would remember as much as the peer wants (here 4 GiB)."""
    backend.receive(settings_frame({1: 2**32 - 1}))
    for number in range(300):
        backend.ask(fields=[(b"x-%d" % number, b"y" * 100)])
    assert backend.decoder.header_table_size == 4_096


@pytest.mark.parametrize("table", [0, 100, 4_096])
def test_a_smaller_table_is_kept_to(backend: BackendSide, table: int) -> None:
    backend.decoder.max_allowed_table_size = table
    backend.receive(settings_frame({1: table}))
    fields = [(b"x-one", b"y" * 50), (b"x-two", b"y" * 50)]
    for _ in range(3):
        backend.ask(fields=fields)
    assert backend.decoder.header_table_size == table


@pytest.mark.parametrize("sizes", [(100, 100), (100, 4_096), (0, 300, 300), (300, 0, 200), (4_096, 4_096)], ids=repr)
def test_a_table_that_changed_several_times_is_told(backend: BackendSide, sizes: tuple[int, ...]) -> None:
    """The least size and the last (RFC 7541, 4.2), and also where the last SETTINGS changed nothing."""
    backend.ask(fields=[(b"x-a", b"b")])
    for size in sizes:
        backend.receive(settings_frame({1: size}))
    backend.sent()
    backend.engine.open_stream(RequestHead(b"GET", b"http", b"a", b"/", [(b"x-a", b"b")]), end_stream=True)
    (head,) = parse(backend.engine.data_to_send(LIMIT))
    assert isinstance(head, HeadersFrame)
    assert (head.data[0] & 0xE0 == 0x20) == (set(sizes) != {4_096})
    backend.decoder.decode(head.data)
    assert backend.decoder.header_table_size == sizes[-1]


@pytest.mark.parametrize("flood", [ping(), settings_frame(), data(1, b"")], ids=["PING", "SETTINGS", "DATA"])
def test_a_flood_that_wants_answers_and_reads_none_ends_the_connection(client: ClientSide, flood: bytes) -> None:
    client.request(1, POST, end_stream=False)
    client.receive(rst_stream(1, 8))
    for _ in range(10):
        assert all(not isinstance(event, StreamReset) for event in client.receive(flood * 100))
    failure = failure_of(client.receive(flood))
    assert (failure.code, failure.reason) == (ErrorCode.ENHANCE_YOUR_CALM, Reason.CLIENT_PROTOCOL)


def test_as_many_frames_that_are_answered_in_time_are_no_flood(client: ClientSide) -> None:
    for _ in range(30):
        client.receive(ping() * 100)
        assert len(client.sent()) == 100
    client.request(1)


def test_events_before_the_failure_are_told_with_it(client: ClientSide) -> None:
    events = client.receive(client.headers(1, GET, end_stream=True), raw(PING, 0, 1, bytes(8)))
    assert isinstance(events[0], RequestReceived)
    assert goaway_of(client.sent()) == (1, ErrorCode.PROTOCOL_ERROR)
    assert len(events) == 2
    failure_of(events)


def test_an_engine_tells_what_it_is(client: ClientSide, backend: BackendSide) -> None:
    client.request(1)
    assert repr(client.engine) == "<HTTP/2 server engine, 1 streams>"
    failure_of(client.receive(raw(PING, 0, 1, bytes(8))))
    assert repr(client.engine) == "<HTTP/2 server engine, 0 streams, failed>"
    assert repr(backend.engine) == "<HTTP/2 client engine, 0 streams>"
