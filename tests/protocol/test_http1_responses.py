"""Responses as an HTTP/1.1 engine writes them, read back by http.client and by h11's client."""

from __future__ import annotations

import h11
import pytest

from h2gate.protocol.contract import Http1ServerEngine
from h2gate.protocol.events import Fields, ResponseHead
from tests.support.http1_engine import (
    GET,
    GET_10,
    GET_10_KEEP,
    GET_TRAILERS,
    HEAD,
    MAKES,
    SETTINGS,
    Make,
    begin,
    by_h11,
    by_http_client,
    lines_of,
    sent,
)


@pytest.fixture(params=MAKES.values(), ids=list(MAKES))
def make(request: pytest.FixtureRequest) -> Make:
    made: Make = request.param
    return made


@pytest.fixture
def engine(make: Make) -> Http1ServerEngine:
    return make(SETTINGS, b"http")


# framing


FRAMINGS: dict[str, tuple[bytes, int, Fields, bytes, bool, list[bytes], bytes]] = {
    # name: request, status, fields, body, ended by the head, lines, bytes behind the head
    "a length": (GET, 200, [(b"content-length", b"5")], b"hello", False, [b"Content-Length: 5"], b"hello"),
    "repeated lengths that agree": (
        GET, 200, [(b"content-length", b"5"), (b"content-length", b"5")], b"hello", False,
        [b"Content-Length: 5"], b"hello",
    ),
    "lengths that differ": (
        GET, 200, [(b"content-length", b"5"), (b"content-length", b"6")], b"hello", False,
        [b"Transfer-Encoding: chunked"], b"5\r\nhello\r\n0\r\n\r\n",
    ),
    "a bad length": (
        GET, 200, [(b"content-length", b"+5")], b"hello", False,
        [b"Transfer-Encoding: chunked"], b"5\r\nhello\r\n0\r\n\r\n",
    ),
    "no length": (GET, 200, [], b"hello", False, [b"Transfer-Encoding: chunked"], b"5\r\nhello\r\n0\r\n\r\n"),
    "no length, no bytes": (GET, 200, [], b"", False, [b"Transfer-Encoding: chunked"], b"0\r\n\r\n"),
    "ended by the head": (GET, 200, [], b"", True, [b"Content-Length: 0"], b""),
    "ended by the head, with a length": (GET, 200, [(b"content-length", b"0")], b"", True, [b"Content-Length: 0"], b""),
    "HTTP/1.0, a length": (
        GET_10, 200, [(b"content-length", b"5")], b"hello", False,
        [b"Content-Length: 5", b"Connection: close"], b"hello",
    ),
    "HTTP/1.0, no length": (GET_10, 200, [], b"hello", False, [b"Connection: close"], b"hello"),
    "HTTP/1.0 keep-alive, a length": (
        GET_10_KEEP, 200, [(b"content-length", b"5")], b"hello", False,
        [b"Content-Length: 5", b"Connection: keep-alive"], b"hello",
    ),
    "HTTP/1.0 keep-alive, no length": (GET_10_KEEP, 200, [], b"hello", False, [b"Connection: close"], b"hello"),
    "HEAD, a length": (HEAD, 200, [(b"content-length", b"5")], b"hello", False, [b"Content-Length: 5"], b""),
    "HEAD, a length, no body": (HEAD, 200, [(b"content-length", b"5")], b"", True, [b"Content-Length: 5"], b""),
    "HEAD, no length": (HEAD, 200, [], b"hello", False, [], b""),
    "HEAD, ended by the head": (HEAD, 200, [], b"", True, [], b""),
    "204": (GET, 204, [], b"hello", False, [], b""),
    "204 with a length": (GET, 204, [(b"content-length", b"5")], b"hello", False, [], b""),
    "304": (GET, 304, [], b"", True, [], b""),
    "304 with a length": (GET, 304, [(b"content-length", b"5")], b"hello", False, [b"Content-Length: 5"], b""),
}  # fmt: skip


@pytest.mark.parametrize(
    ("data", "status", "fields", "body", "ended", "lines", "behind"), FRAMINGS.values(), ids=FRAMINGS
)
def test_the_engine_chooses_the_framing(
    engine: Http1ServerEngine,
    data: bytes,
    status: int,
    fields: Fields,
    body: bytes,
    ended: bool,
    lines: list[bytes],
    behind: bytes,
) -> None:
    stream = begin(engine, data)
    engine.send_head(stream, ResponseHead(status, fields), ended)
    if not ended:
        assert not engine.response_complete
        engine.send_data(stream, body, True)
    out = sent(engine)
    assert lines_of(out)[1:] == (lines, behind)
    assert engine.response_complete
    assert not engine.broken
    assert engine.keeps_alive is (b"Connection: close" not in lines)
    response, read, rest = by_http_client(out, data.split()[0].decode())
    assert response.status == status
    assert (read, rest) == (b"" if behind == b"" else body, b"")
    assert response.will_close is not engine.keeps_alive
    events = by_h11(data, out)
    assert isinstance(events[0], h11.Response)
    assert isinstance(events[-1], h11.EndOfMessage)
    assert b"".join(event.data for event in events if isinstance(event, h11.Data)) == read


def test_names_are_title_case_and_the_rest_is_as_given(engine: Http1ServerEngine) -> None:
    stream = begin(engine, GET)
    fields = [(b"x-request-id", b"A b"), (b"www-authenticate", b""), (b"set-cookie", b"a"), (b"set-cookie", b"\xff")]
    engine.send_head(stream, ResponseHead(200, fields), True)
    first, lines, _ = lines_of(sent(engine))
    assert first == b"HTTP/1.1 200 OK"
    expected = [b"X-Request-Id: A b", b"Www-Authenticate: ", b"Set-Cookie: a", b"Set-Cookie: \xff"]
    assert lines == [*expected, b"Content-Length: 0"]


def test_fields_of_framing_and_connection_are_the_engines_own(engine: Http1ServerEngine) -> None:
    stream = begin(engine, GET)
    fields = [
        (b"connection", b"x"),
        (b"keep-alive", b"timeout=5"),
        (b"transfer-encoding", b"gzip"),
        (b"proxy-connection", b"close"),
        (b"upgrade", b"h2c"),
    ]
    engine.send_head(stream, ResponseHead(200, fields), False)
    assert lines_of(sent(engine))[1] == [b"Transfer-Encoding: chunked"]


@pytest.mark.parametrize(
    ("status", "line"),
    [(200, b"HTTP/1.1 200 OK"), (431, b"HTTP/1.1 431 Request Header Fields Too Large"), (299, b"HTTP/1.1 299 ")],
)
def test_the_status_line_has_the_phrase_of_the_status(engine: Http1ServerEngine, status: int, line: bytes) -> None:
    engine.send_head(begin(engine, GET), ResponseHead(status), True)
    assert lines_of(sent(engine))[0] == line


# interim responses


def test_interim_responses_go_before_the_final_one(engine: Http1ServerEngine) -> None:
    stream = begin(engine, GET)
    hints = [(b"link", b"</a>"), (b"content-length", b"5"), (b"connection", b"x")]
    engine.send_interim(stream, ResponseHead(103, hints))
    assert engine.data_to_send(1000) == b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    engine.send_interim(stream, ResponseHead(100))
    engine.send_head(stream, ResponseHead(200), True)
    out = sent(engine)
    assert out.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")
    kinds = [type(event) for event in by_h11(GET, out)]
    assert kinds == [h11.InformationalResponse, h11.Response, h11.EndOfMessage]


def test_no_interim_response_goes_to_http_1_0(engine: Http1ServerEngine) -> None:
    engine.send_interim(begin(engine, GET_10), ResponseHead(103, [(b"link", b"</a>")]))
    assert engine.data_to_send(1000) == b""


def test_no_interim_response_goes_out_behind_the_final_head(engine: Http1ServerEngine) -> None:
    stream = begin(engine, GET)
    engine.send_head(stream, ResponseHead(200), False)
    sent(engine)
    engine.send_interim(stream, ResponseHead(103))
    assert engine.data_to_send(1000) == b""


def test_101_is_never_written(engine: Http1ServerEngine) -> None:
    engine.send_interim(begin(engine, GET), ResponseHead(101, [(b"upgrade", b"h2c")]))
    assert engine.data_to_send(1000) == b""


def test_a_final_head_has_a_final_status(engine: Http1ServerEngine) -> None:
    engine.send_head(begin(engine, GET), ResponseHead(103), True)
    assert engine.data_to_send(1000) == b""
    assert not engine.response_complete


# trailers


def test_trailers_go_to_a_client_that_takes_them(engine: Http1ServerEngine) -> None:
    stream = begin(engine, GET_TRAILERS)
    engine.send_head(stream, ResponseHead(200), False)
    engine.send_data(stream, b"hello", False)
    engine.send_trailers(stream, [(b"grpc-status", b"0"), (b"content-length", b"5")])
    out = sent(engine)
    assert out.endswith(b"\r\n\r\n5\r\nhello\r\n0\r\nGrpc-Status: 0\r\n\r\n")
    assert engine.response_complete
    end = by_h11(GET_TRAILERS, out)[-1]
    assert isinstance(end, h11.EndOfMessage)
    assert list(end.headers) == [(b"grpc-status", b"0")]


@pytest.mark.parametrize(
    ("data", "fields", "end"),
    [(GET, [], b"hello\r\n0\r\n\r\n"), (GET_TRAILERS, [(b"content-length", b"5")], b"hello"), (GET_10, [], b"hello")],
    ids=["not asked for", "with a length", "HTTP/1.0"],
)
def test_trailers_are_dropped_where_they_cannot_go_and_the_body_just_ends(
    engine: Http1ServerEngine, data: bytes, fields: Fields, end: bytes
) -> None:
    stream = begin(engine, data)
    engine.send_head(stream, ResponseHead(200, fields), False)
    engine.send_data(stream, b"hello", False)
    engine.send_trailers(stream, [(b"x", b"y")])
    out = sent(engine)
    assert out.endswith(end)
    assert b"X: y" not in out
    assert engine.response_complete


# what is not as declared


def test_bytes_beyond_the_length_are_cut_and_break_the_response(engine: Http1ServerEngine) -> None:
    stream = begin(engine, GET)
    engine.send_head(stream, ResponseHead(200, [(b"content-length", b"5")]), False)
    engine.send_data(stream, b"hel", False)
    assert not engine.broken
    engine.send_data(stream, b"lo world", True)
    assert engine.broken
    assert lines_of(sent(engine))[2] == b"hello"
    assert sum(size for _, size in engine.take_framed()) == 11
    assert not engine.response_complete
    assert not engine.keeps_alive
    assert engine.next_request() == []


@pytest.mark.parametrize("trailers", [False, True])
def test_fewer_bytes_than_the_length_break_the_response(engine: Http1ServerEngine, trailers: bool) -> None:
    stream = begin(engine, GET)
    engine.send_head(stream, ResponseHead(200, [(b"content-length", b"5")]), False)
    engine.send_data(stream, b"hel", False)
    if trailers:
        engine.send_trailers(stream, [])
    else:
        engine.send_data(stream, b"", True)
    assert engine.broken
    assert lines_of(sent(engine))[2] == b"hel"
    assert not engine.response_complete


def test_a_length_without_a_body_breaks_the_response(engine: Http1ServerEngine) -> None:
    engine.send_head(begin(engine, GET), ResponseHead(200, [(b"content-length", b"5")]), True)
    assert engine.broken


def test_a_body_given_up_in_the_middle_never_looks_complete(engine: Http1ServerEngine) -> None:
    stream = begin(engine, GET)
    engine.send_head(stream, ResponseHead(200), False)
    engine.send_data(stream, b"hello", False)
    out = sent(engine)
    assert not engine.response_complete
    with pytest.raises(h11.RemoteProtocolError):
        by_h11(GET, out)


SPLITTERS: dict[str, Fields] = {
    "CR LF in a value": [(b"x", b"a\r\nset-cookie: b")],
    "LF in a value": [(b"x", b"a\nb")],
    "CR in a value": [(b"x", b"a\rb")],
    "NUL in a value": [(b"x", b"a\0b")],
    "LF in a name": [(b"x\ny", b"a")],
    "colon in a name": [(b"x:y", b"a")],
    "pseudo-field": [(b":status", b"200")],
    "empty name": [(b"x", b"a"), (b"", b"a")],
    "LF in a field that is dropped": [(b"connection", b"a\n")],
}


@pytest.mark.parametrize("fields", SPLITTERS.values(), ids=SPLITTERS)
def test_a_field_that_would_be_more_than_a_line_breaks_the_response(engine: Http1ServerEngine, fields: Fields) -> None:
    stream = begin(engine, GET)
    engine.send_head(stream, ResponseHead(200, fields), True)
    assert engine.broken
    assert sent(engine) == b""
    engine.send_head(stream, ResponseHead(200), True)
    assert sent(engine) == b""
    assert not engine.keeps_alive


@pytest.mark.parametrize("fields", SPLITTERS.values(), ids=SPLITTERS)
def test_so_does_one_in_an_interim_response(engine: Http1ServerEngine, fields: Fields) -> None:
    engine.send_interim(begin(engine, GET), ResponseHead(103, fields))
    assert engine.broken
    assert sent(engine) == b""


@pytest.mark.parametrize("fields", SPLITTERS.values(), ids=SPLITTERS)
def test_so_does_one_in_trailers_and_the_body_has_no_end(engine: Http1ServerEngine, fields: Fields) -> None:
    stream = begin(engine, GET_TRAILERS)
    engine.send_head(stream, ResponseHead(200), False)
    engine.send_data(stream, b"hello", False)
    engine.send_trailers(stream, fields)
    assert engine.broken
    assert sent(engine).endswith(b"5\r\nhello\r\n")
