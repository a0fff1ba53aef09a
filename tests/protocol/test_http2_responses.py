"""Responses as an HTTP/2 client engine reads them, and requests as it writes them."""

from __future__ import annotations

import pytest
from hyperframe.frame import ContinuationFrame, HeadersFrame

from h2gate.errors import ErrorCode, Reason
from h2gate.protocol.contract import Http2Settings
from h2gate.protocol.events import (
    DataReceived,
    Fields,
    InterimReceived,
    RequestHead,
    ResponseHead,
    ResponseReceived,
    StreamReset,
    TrailersReceived,
)
from tests.support.http2_engine import OK, BackendSide, Make, data, failure_of, raw, reset_of, rst_stream


def test_a_request_is_written_with_its_pseudo_fields_first(backend: BackendSide) -> None:
    head = RequestHead(b"POST", b"https", b"example.org", b"/a?b", [(b"a", b"b"), (b"cookie", b"c=d")])
    assert backend.engine.open_stream(head, end_stream=False) == 1
    (frame,) = backend.sent()
    assert frame.fields == [  # type: ignore[attr-defined]
        (b":method", b"POST"),
        (b":scheme", b"https"),
        (b":authority", b"example.org"),
        (b":path", b"/a?b"),
        (b"a", b"b"),
        (b"cookie", b"c=d"),
    ]
    assert "END_STREAM" not in frame.flags


def test_a_request_without_a_body_ends_with_its_head_and_without_authority_has_none(backend: BackendSide) -> None:
    backend.engine.open_stream(RequestHead(b"GET", b"http", b"", b"/"), end_stream=True)
    (frame,) = backend.sent()
    assert [name for name, _ in frame.fields] == [b":method", b":scheme", b":path"]  # type: ignore[attr-defined]
    assert "END_STREAM" in frame.flags


def test_a_large_head_goes_over_continuations(backend: BackendSide) -> None:
    fields = [(b"a%d" % number, b"b" * 4_000) for number in range(10)]
    backend.engine.open_stream(RequestHead(b"GET", b"http", b"example.org", b"/", fields), end_stream=True)
    first, *others = backend.sent()
    assert isinstance(first, HeadersFrame)
    assert "END_STREAM" in first.flags
    assert len(others) == 2
    assert all(isinstance(other, ContinuationFrame) for other in others)
    assert others[-1].fields[4:] == fields  # type: ignore[attr-defined]


def test_stream_ids_are_odd_and_rising_and_counted_down(backend: BackendSide) -> None:
    assert backend.engine.ids_left == 2**30
    assert [backend.ask() for _ in range(3)] == [1, 3, 5]
    assert backend.engine.ids_left == 2**30 - 3
    assert backend.engine.open_streams == 3
    assert backend.engine.last_peer_stream_id == 0


def test_a_response_with_body_and_trailers(backend: BackendSide) -> None:
    backend.ask()
    events = backend.receive(
        backend.headers(1, [*OK, (b"a", b"b")]), data(1, b"hello"), backend.headers(1, [(b"c", b"d")], end_stream=True)
    )
    assert events == [
        ResponseReceived(1, ResponseHead(200, [(b"a", b"b")]), False),
        DataReceived(1, b"hello", 5, False),
        TrailersReceived(1, [(b"c", b"d")]),
    ]
    assert backend.engine.open_streams == 0


def test_interim_responses_come_before_the_final_one(backend: BackendSide) -> None:
    backend.ask(b"POST", end_stream=False)
    early = [(b":status", b"103"), (b"link", b"</a>"), (b"content-length", b"5")]
    events = backend.receive(
        backend.headers(1, [(b":status", b"100")]),
        backend.headers(1, early),
        backend.headers(1, OK, end_stream=True),
    )
    assert events == [
        InterimReceived(1, ResponseHead(100)),
        InterimReceived(1, ResponseHead(103, [(b"link", b"</a>")])),
        ResponseReceived(1, ResponseHead(200), True),
    ]
    # The request's body may still be on its way.
    assert backend.engine.open_streams == 1
    backend.engine.send_data(1, b"x", end_stream=True)
    backend.sent()
    assert backend.engine.open_streams == 0


@pytest.mark.parametrize(
    ("method", "fields"),
    [
        (b"HEAD", [*OK, (b"content-length", b"5")]),
        (b"GET", [(b":status", b"304"), (b"content-length", b"5")]),
        (b"GET", [(b":status", b"999")]),
        (b"GET", [*OK, (b"content-length", b"0")]),
    ],
)
def test_a_length_without_content_is_fine_where_there_is_none(
    backend: BackendSide, method: bytes, fields: Fields
) -> None:
    backend.ask(method)
    (event,) = backend.receive(backend.headers(1, fields, end_stream=True))
    assert event == ResponseReceived(1, ResponseHead(int(fields[0][1]), fields[1:]), True)


def test_204_says_no_length(backend: BackendSide) -> None:
    backend.ask()
    (event,) = backend.receive(
        backend.headers(1, [(b":status", b"204"), (b"content-length", b"5"), (b"a", b"b")], end_stream=True)
    )
    assert event == ResponseReceived(1, ResponseHead(204, [(b"a", b"b")]), True)


@pytest.mark.parametrize(
    ("method", "status"), [(b"HEAD", b"200"), (b"GET", b"204"), (b"GET", b"304")], ids=["HEAD", "204", "304"]
)
def test_content_where_there_is_none_is_malformed(backend: BackendSide, method: bytes, status: bytes) -> None:
    backend.ask(method)
    events = backend.receive(backend.headers(1, [(b":status", status)]), data(1, b"x"))
    assert reset_of(events[1:]).code == ErrorCode.PROTOCOL_ERROR


def test_an_empty_end_where_there_is_no_content_is_fine(backend: BackendSide) -> None:
    backend.ask(b"HEAD")
    events = backend.receive(backend.headers(1, [*OK, (b"content-length", b"5")]), data(1, b"", end_stream=True))
    assert events[1] == DataReceived(1, b"", 0, True)


MALFORMED: dict[str, tuple[Fields, bool]] = {
    "no status": ([(b"a", b"b")], True),
    "nothing": ([], True),
    "status of two digits": ([(b":status", b"20")], True),
    "status of four digits": ([(b":status", b"2000")], True),
    "status of letters": ([(b":status", b"2O0")], True),
    "status below 100": ([(b":status", b"099")], True),
    "status twice": ([*OK, *OK], True),
    "a request's field": ([*OK, (b":path", b"/")], True),
    "101": ([(b":status", b"101")], False),
    "interim with END_STREAM": ([(b":status", b"100")], True),
    "upper case": ([*OK, (b"Server", b"x")], True),
    "connection-specific": ([*OK, (b"connection", b"close")], True),
    "line feed": ([*OK, (b"a", b"b\n")], True),
    "two lengths": ([*OK, (b"content-length", b"1"), (b"content-length", b"2")], False),
    "no content for its length": ([*OK, (b"content-length", b"1")], True),
}


@pytest.mark.parametrize(("fields", "end_stream"), MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_response_is_reset_and_costs_one_stream(
    backend: BackendSide, fields: Fields, end_stream: bool
) -> None:
    backend.ask()
    reset = reset_of(backend.receive(backend.headers(1, fields, end_stream)))
    assert (reset.stream_id, reset.code, reset.by_peer) == (1, ErrorCode.PROTOCOL_ERROR, False)
    assert reset.detail
    assert backend.resets() == [(1, ErrorCode.PROTOCOL_ERROR)]
    backend.ask()
    assert backend.receive(backend.headers(3, OK, end_stream=True)) == [ResponseReceived(3, ResponseHead(200), True)]


def test_an_interim_response_behind_the_final_one_is_malformed(backend: BackendSide) -> None:
    backend.ask()
    events = backend.receive(backend.headers(1, OK), backend.headers(1, [(b":status", b"103")]))
    assert reset_of(events[1:]).code == ErrorCode.PROTOCOL_ERROR


def test_data_before_a_head_is_a_stream_error_with_its_credit_given_back(http2_make: Make) -> None:
    backend = BackendSide(http2_make, Http2Settings(connection_window=65_535))
    backend.ask()
    events = backend.receive(backend.headers(1, [(b":status", b"100")]), data(1, bytes(16_384)))
    assert reset_of(events[1:]).code == ErrorCode.PROTOCOL_ERROR
    backend.ask()
    backend.receive(data(3, bytes(16_384)))
    assert backend.updates() == {0: 32_768}


def test_a_response_head_too_large_is_a_stream_error(http2_make: Make) -> None:
    backend = BackendSide(http2_make, Http2Settings(fields=2))
    backend.ask()
    reset = reset_of(backend.receive(backend.headers(1, [*OK, *[(b"a", b"b")] * 3])))
    assert (reset.code, reset.by_peer) == (ErrorCode.ENHANCE_YOUR_CALM, False)
    backend.ask()
    assert len(backend.receive(backend.headers(3, [*OK, *[(b"a", b"b")] * 2]))) == 1


def test_a_reset_is_told_with_its_code_even_if_unknown(backend: BackendSide) -> None:
    backend.ask()
    assert backend.receive(rst_stream(1, 0x7)) == [StreamReset(1, 0x7, by_peer=True)]
    backend.ask()
    assert backend.receive(rst_stream(3, 0xDEADBEEF)) == [StreamReset(3, 0xDEADBEEF, by_peer=True)]
    assert backend.engine.open_streams == 0


def test_no_error_behind_a_whole_response_is_told_while_the_request_runs(backend: BackendSide) -> None:
    backend.ask(b"POST", end_stream=False)
    backend.engine.send_data(1, b"unsent", end_stream=False)
    events = backend.receive(backend.headers(1, OK, end_stream=True), rst_stream(1, 0))
    assert events[1] == StreamReset(1, 0, by_peer=True)
    assert backend.sent() == []


@pytest.mark.parametrize(
    ("begin", "reason"),
    [
        (b"<!DOCTYPE HTML>\n<html>", Reason.BACKEND_HTTP1),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", Reason.BACKEND_HTTP1),
        (b"HTTP/1.0 200 OK\r\n\r\n", Reason.BACKEND_HTTP1),
        (b"SSH-2.0-OpenSSH_9.2\r\n", Reason.BACKEND_PROTOCOL),
        (b"\x15\x03\x01\x00\x02\x02\x16\x00\x00", Reason.BACKEND_PROTOCOL),
        (raw(6, 0, 0, bytes(8)), Reason.BACKEND_PROTOCOL),
        (raw(4, 1, 0, b""), Reason.BACKEND_PROTOCOL),
        (raw(4, 0, 1, b""), Reason.BACKEND_PROTOCOL),
    ],
    ids=["a page", "HTTP/1.1", "HTTP/1.0", "SSH", "TLS alert", "PING", "acknowledgement", "SETTINGS on a stream"],
)
def test_a_backend_that_does_not_speak_http2_is_told_apart(http2_make: Make, begin: bytes, reason: Reason) -> None:
    engine = http2_make.client(Http2Settings())
    engine.data_to_send(1 << 20)
    assert engine.receive(begin[:4]) == []
    failure = failure_of(engine.receive(begin[4:]))
    assert (failure.code, failure.reason) == (ErrorCode.PROTOCOL_ERROR, reason)
    # It would not understand a GOAWAY.
    assert engine.data_to_send(1 << 20) == b""


def test_a_backend_that_pushes_breaks_the_connection(backend: BackendSide) -> None:
    backend.ask()
    failure = failure_of(backend.receive(raw(5, 4, 1, b"\0\0\0\2" + backend.encoder.encode(OK))))
    assert (failure.code, failure.reason) == (ErrorCode.PROTOCOL_ERROR, Reason.BACKEND_PROTOCOL)


@pytest.mark.parametrize("stream_id", [2, 3], ids=["even", "not opened"])
def test_a_backend_that_opens_a_stream_breaks_the_connection(backend: BackendSide, stream_id: int) -> None:
    backend.ask()
    assert failure_of(backend.receive(backend.headers(stream_id, OK))).code == ErrorCode.PROTOCOL_ERROR
