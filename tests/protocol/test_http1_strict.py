"""What an HTTP/1.1 engine must not read: every known way to hide a request in another, by name."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from h2gate.errors import RULES, Reason
from h2gate.protocol.contract import Http1Settings
from h2gate.protocol.events import ConnectionFailed, DataReceived, RequestReceived, RequestRejected, ResponseHead
from tests.support.http1_engine import MAKES, SETTINGS, Make, failure_of, feed, joined, request, sent


@pytest.fixture(params=MAKES.values(), ids=list(MAKES))
def make(request: pytest.FixtureRequest) -> Make:
    made: Make = request.param
    return made


CHUNKED = (b"POST / HTTP/1.1", b"Transfer-Encoding: chunked")

# name: (bytes, a word of the detail)
BAD_HEADS: dict[str, tuple[bytes, str]] = {
    # two ways to end one message
    "length and chunked": (request(*CHUNKED, b"Content-Length: 5", body=b"0\r\n\r\n"), "transfer-encoding"),
    "chunked and length": (
        request(b"POST / HTTP/1.1", b"Content-Length: 5", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
        "content-length",
    ),
    "two lengths that differ": (request(b"POST / HTTP/1.1", b"Content-Length: 5", b"Content-Length: 6"), "ength"),
    "two lengths that agree": (
        request(b"POST / HTTP/1.1", b"Content-Length: 5", b"content-length: 5"),
        "more than one",
    ),
    "list of lengths": (request(b"POST / HTTP/1.1", b"Content-Length: 5, 6"), "ength"),
    "list of equal lengths": (request(b"POST / HTTP/1.1", b"Content-Length: 5, 5"), "more than one"),
    "length with a plus": (request(b"POST / HTTP/1.1", b"Content-Length: +5"), "ength"),
    "length below zero": (request(b"POST / HTTP/1.1", b"Content-Length: -5"), "ength"),
    "length in hex": (request(b"POST / HTTP/1.1", b"Content-Length: 0x5"), "ength"),
    "length with an underscore": (request(b"POST / HTTP/1.1", b"Content-Length: 0_5"), "ength"),
    "length in other digits": (request(b"POST / HTTP/1.1", b"Content-Length: \xd9\xa5"), "ength"),
    "length with a space": (request(b"POST / HTTP/1.1", b"Content-Length: 5 5"), "ength"),
    "empty length": (request(b"POST / HTTP/1.1", b"Content-Length:"), "ength"),
    "length of 19 digits": (request(b"POST / HTTP/1.1", b"Content-Length: " + b"1" * 19), "number"),
    "length of 21 digits": (request(b"POST / HTTP/1.1", b"Content-Length: " + b"1" * 21), "ength"),
    # Transfer-Encoding other than exactly chunked
    "chunked twice": (request(*CHUNKED, b"Transfer-Encoding: chunked"), "Transfer-Encoding"),
    "chunked, chunked": (request(b"POST / HTTP/1.1", b"Transfer-Encoding: chunked, chunked"), "Transfer-Encoding"),
    "gzip": (request(b"POST / HTTP/1.1", b"Transfer-Encoding: gzip"), "Transfer-Encoding"),
    "gzip, chunked, in HTTP/1.0": (
        request(b"POST / HTTP/1.0", b"Transfer-Encoding: gzip, chunked"),
        "Transfer-Encoding",
    ),
    "gzip, chunked, and a length": (
        request(b"POST / HTTP/1.1", b"Transfer-Encoding: gzip, chunked", b"Content-Length: 5"),
        "Transfer-Encoding",
    ),
    "chunked, gzip, chunked": (
        request(b"POST / HTTP/1.1", b"Transfer-Encoding: chunked, gzip, chunked"),
        "Transfer-Encoding",
    ),
    "a coding that is no token": (request(b"POST / HTTP/1.1", b"Transfer-Encoding: a b, chunked"), "Transfer-Encoding"),
    "a coding that is empty": (request(b"POST / HTTP/1.1", b"Transfer-Encoding: , chunked"), "Transfer-Encoding"),
    "chunked, identity": (request(b"POST / HTTP/1.1", b"Transfer-Encoding: chunked, identity"), "Transfer-Encoding"),
    "identity": (request(b"POST / HTTP/1.1", b"Transfer-Encoding: identity"), "Transfer-Encoding"),
    "empty coding": (request(b"POST / HTTP/1.1", b"Transfer-Encoding:"), "Transfer-Encoding"),
    "xchunked": (request(b"POST / HTTP/1.1", b"Transfer-Encoding: xchunked"), "Transfer-Encoding"),
    "quoted chunked": (request(b"POST / HTTP/1.1", b'Transfer-Encoding: "chunked"'), "Transfer-Encoding"),
    "chunked with a parameter": (request(b"POST / HTTP/1.1", b"Transfer-Encoding: chunked;a=b"), "Transfer-Encoding"),
    "chunked behind a vertical tab": (request(b"POST / HTTP/1.1", b"Transfer-Encoding: \x0bchunked"), "control"),
    "chunked before a NUL": (request(b"POST / HTTP/1.1", b"Transfer-Encoding: chunked\x00"), "control"),
    "chunked in HTTP/1.0": (request(b"POST / HTTP/1.0", b"Transfer-Encoding: chunked"), "HTTP/1.0"),
    # lines
    "bare LF ends all lines": (b"GET / HTTP/1.1\nHost: a\n\n", "bare LF"),
    "bare LF ends one line": (b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", "bare LF"),
    "bare LF in a value": (request(b"GET / HTTP/1.1", b"X: a\nTransfer-Encoding: chunked"), "bare LF"),
    "bare LF ends the head": (b"GET / HTTP/1.1\r\nHost: a\r\n\n", "bare LF"),
    "bare CR in a value": (request(b"GET / HTTP/1.1", b"X: a\rTransfer-Encoding: chunked"), "bare CR"),
    "bare CR in the request line": (b"GET /\r HTTP/1.1\r\nHost: a\r\n\r\n", "bare CR"),
    "two CR before LF": (b"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", "bare CR"),
    "folded line": (request(b"GET / HTTP/1.1", b"X: a", b" b"), "folded"),
    "folded line with a tab": (request(b"GET / HTTP/1.1", b"Transfer-Encoding:", b"\tchunked"), "folded"),
    "fold before the first field": (request(b"GET / HTTP/1.1", b" X: a", b"Host: a"), "folded"),
    "space before the colon": (request(b"POST / HTTP/1.1", b"Content-Length : 5"), "before the colon"),
    "tab before the colon": (request(b"POST / HTTP/1.1", b"Transfer-Encoding\t: chunked"), "before the colon"),
    "no colon": (request(b"GET / HTTP/1.1", b"Host example.org", b"Host: a"), "without a colon"),
    "empty name": (request(b"GET / HTTP/1.1", b": a"), "field name"),
    "pseudo-field": (request(b"GET / HTTP/1.1", b":path: /evil"), "field name"),
    "space in a name": (request(b"GET / HTTP/1.1", b"X Y: a"), "field name"),
    "quote in a name": (request(b"GET / HTTP/1.1", b'X": a'), "field name"),
    "NUL in a name": (request(b"GET / HTTP/1.1", b"X\x00: a"), "field name"),
    "high octet in a name": (request(b"GET / HTTP/1.1", b"Host\xe2\x84\xaa: a", b"Host: a"), "field name"),
    "NUL in a value": (request(b"GET / HTTP/1.1", b"X: a\x00b"), "control"),
    "DEL in a value": (request(b"GET / HTTP/1.1", b"X: a\x7fb"), "control"),
    "form feed in a value": (request(b"GET / HTTP/1.1", b"X: a\x0cb"), "control"),
    # Host
    "no Host": (b"GET / HTTP/1.1\r\n\r\n", "Host"),
    "two Hosts": (request(b"GET / HTTP/1.1", b"Host: a", b"Host: b"), "Host"),
    "two equal Hosts": (request(b"GET / HTTP/1.1", b"Host: a", b"host: a"), "Host"),
    "two Hosts in HTTP/1.0": (request(b"GET / HTTP/1.0", b"Host: a", b"Host: a"), "Host"),
    "empty Host": (request(b"GET / HTTP/1.1", b"Host:"), "Host"),
    "user in Host": (request(b"GET / HTTP/1.1", b"Host: user@a"), "Host"),
    "path in Host": (request(b"GET / HTTP/1.1", b"Host: a/b"), "Host"),
    "list in Host": (request(b"GET / HTTP/1.1", b"Host: a, b"), "Host"),
    "port out of range in Host": (request(b"GET / HTTP/1.1", b"Host: a:65536"), "Host"),
    # the request line
    "version 2.0": (request(b"GET / HTTP/2.0"), "version"),
    "version 2": (request(b"GET / HTTP/2"), "version"),
    "version 1.2": (request(b"GET / HTTP/1.2"), "version"),
    "version 0.9": (request(b"GET / HTTP/0.9"), "version"),
    "version 1.10": (request(b"GET / HTTP/1.10"), "version"),
    "lower-case version": (request(b"GET / http/1.1"), "request line"),
    "no version": (request(b"GET /"), "request line"),
    "version with a space behind": (request(b"GET / HTTP/1.1 "), "request line"),
    "two spaces": (request(b"GET  / HTTP/1.1"), "request line"),
    "tab for a space": (request(b"GET\t/ HTTP/1.1"), "request line"),
    "space in the target": (request(b"GET /a b HTTP/1.1"), "request line"),
    "high octet in the target": (request(b"GET /\xc3\xa4 HTTP/1.1"), "request line"),
    "control octet in the target": (request(b"GET /\x01 HTTP/1.1"), "request line"),
    "separator in the method": (request(b"GE(T / HTTP/1.1"), "request line"),
    "preface in mid-connection": (b"PRI * HTTP/2.0\r\n\r\n", "version"),
    "leading space": (b" " + request(b"GET / HTTP/1.1"), "begin with a method"),
    "leading NUL": (b"\0" + request(b"GET / HTTP/1.1"), "begin with a method"),
    "TLS handshake": (bytes.fromhex("1603010200010001fc0303"), "begin with a method"),
    "leading LF": (b"\n" + request(b"GET / HTTP/1.1"), "bare LF"),
    "leading CR": (b"\r" + request(b"GET / HTTP/1.1"), "bare CR"),
    "too many empty lines before": (b"\r\n" * 5 + request(b"GET / HTTP/1.1"), "empty lines"),
    # request-targets
    "fragment": (request(b"GET /a#b HTTP/1.1"), "request-target"),
    "fragment in absolute form": (request(b"GET http://example.org/#b HTTP/1.1"), "request-target"),
    "fragment without a path": (request(b"GET http://example.org#b HTTP/1.1"), "authority"),
    "relative path": (request(b"GET a/b HTTP/1.1"), "request-target"),
    "no scheme": (request(b"GET ://a/ HTTP/1.1"), "request-target"),
    "asterisk for GET": (request(b"GET * HTTP/1.1"), "OPTIONS"),
    "asterisk and more": (request(b"OPTIONS *a HTTP/1.1"), "request-target"),
    "authority form for GET": (request(b"GET example.org:80 HTTP/1.1"), "request-target"),
    "user in the target": (request(b"GET http://user@example.org/ HTTP/1.1"), "authority"),
    "user and password in the target": (request(b"GET http://u:p@example.org/ HTTP/1.1"), "authority"),
    "no authority in the target": (request(b"GET http:///a HTTP/1.1"), "authority"),
    "backslash in the authority": (request(b"GET http://a\\b/ HTTP/1.1"), "authority"),
    "Host differs from the target": (request(b"GET http://example.com/ HTTP/1.1"), "differs"),
    "port of Host differs": (request(b"GET http://example.org:8080/ HTTP/1.1"), "differs"),
    "CONNECT to a path": (request(b"CONNECT / HTTP/1.1"), "CONNECT"),
    "CONNECT to a user": (request(b"CONNECT u@example.org:443 HTTP/1.1"), "CONNECT"),
}


@pytest.mark.parametrize(("data", "word"), BAD_HEADS.values(), ids=BAD_HEADS)
def test_a_head_in_doubt_fails_the_connection_and_nothing_of_it_is_passed_on(
    make: Make, data: bytes, word: str
) -> None:
    engine = make(SETTINGS, b"http")
    events = engine.receive(data + b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
    failure = failure_of(events)
    assert len(events) == 1
    assert failure.reason is Reason.BAD_REQUEST
    assert word in failure.detail
    assert engine.current_stream == 1
    assert not engine.keeps_alive
    assert not engine.request_complete
    assert engine.receive(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n") == []
    assert engine.next_request() == []
    assert engine.buffered == 0


UNKNOWN_CODINGS: dict[str, bytes] = {
    "gzip, chunked": request(b"POST / HTTP/1.1", b"Transfer-Encoding: gzip, chunked"),
    "on two lines": request(b"POST / HTTP/1.1", b"Transfer-Encoding: gzip", b"transfer-encoding:\tChunked "),
    "with a parameter": request(b"POST / HTTP/1.1", b"Transfer-Encoding: x-a ;q=1, deflate,chunked"),
    "identity": request(b"POST / HTTP/1.1", b"Transfer-Encoding: identity, chunked"),
}


@pytest.mark.parametrize("data", UNKNOWN_CODINGS.values(), ids=UNKNOWN_CODINGS)
def test_a_coding_before_chunked_is_not_implemented_and_nothing_behind_it_is_read(make: Make, data: bytes) -> None:
    """RFC 9112, 6.1."""
    for pieces in ([data + b"0\r\n\r\n"], [bytes([octet]) for octet in data]):
        engine = make(SETTINGS, b"http")
        events = feed(engine, pieces)
        assert len(events) == 1
        failure = failure_of(events)
        assert failure.reason is Reason.UNKNOWN_CODING
        assert RULES[failure.reason].status == 501
        assert not engine.keeps_alive
        assert engine.receive(request(b"GET / HTTP/1.1")) == []


UNKNOWN_EXPECTATIONS = [b"200-ok", b"100-continue, x", b"y 100-continue", b"100-continue=x", b"100-continu", b"\xe4"]


@pytest.mark.parametrize("value", UNKNOWN_EXPECTATIONS)
def test_an_unknown_expectation_is_rejected_and_the_body_is_still_body(make: Make, value: bytes) -> None:
    """RFC 9110, 10.1.1."""
    engine = make(SETTINGS, b"http")
    smuggled = request(b"GET /smuggled HTTP/1.1")
    head = request(b"POST / HTTP/1.1", b"Expect: " + value, b"Content-Length: %d" % len(smuggled))
    (event,) = engine.receive(head + smuggled)
    assert isinstance(event, RequestRejected)
    assert event.reason is Reason.EXPECTATION_FAILED
    assert RULES[event.reason].status == 417
    assert event.head is not None
    assert event.head.path == b"/"
    assert engine.request_complete
    assert engine.buffered == 0


@pytest.mark.parametrize(
    "data",
    [
        request(b"POST / HTTP/1.1", b"Expect: 100-Continue", b"Content-Length: 5"),
        request(b"POST / HTTP/1.1", b"Expect: 100-continue, 100-continue,", b"Content-Length: 5"),
        request(b"POST / HTTP/1.1", b"Expect:", b"Content-Length: 5"),
        # A server that knows no expectations serves HTTP/1.0 clients.
        request(b"POST / HTTP/1.0", b"Expect: x", b"Content-Length: 5"),
    ],
    ids=["other case", "list", "empty", "HTTP/1.0"],
)
def test_a_known_expectation_is_the_backends_to_answer(make: Make, data: bytes) -> None:
    assert isinstance(make(SETTINGS, b"http").receive(data)[0], RequestReceived)


@pytest.mark.parametrize(
    "option", [b"Transfer-Encoding", b"Content-Length", b"Host", b"TE", b"Expect", b"close", b"X-Forwarded-For"]
)
def test_what_connection_names_changes_no_framing(make: Make, option: bytes) -> None:
    """The hop-by-hop rule is applied behind the framing (CVE-2026-26365, CVE-2022-31813)."""
    hello = b"5\r\nhello\r\n0\r\n\r\n"
    for line, body in ((b"Transfer-Encoding: chunked", hello), (b"Content-Length: 5", b"hello")):
        engine = make(SETTINGS, b"http")
        events = engine.receive(request(b"POST / HTTP/1.1", b"Connection: " + option, line, body=body))
        assert isinstance(events[0], RequestReceived)
        assert events[0].head.authority == b"example.org"
        assert events[1:] == [DataReceived(1, b"hello", 5, True)]


def test_the_preface_behind_a_request_is_a_bad_request(make: Make) -> None:
    """RFC 9113, 3.4: it begins a connection and nothing else."""
    engine = make(SETTINGS, b"http")
    engine.receive(request(b"GET / HTTP/1.1") + b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    engine.send_head(1, ResponseHead(200), True)
    sent(engine)
    failure = failure_of(engine.next_request())
    assert (failure.reason, failure.detail) == (Reason.BAD_REQUEST, "not a version of HTTP/1")


@pytest.mark.parametrize(("data", "word"), BAD_HEADS.values(), ids=BAD_HEADS)
def test_a_head_in_doubt_fails_the_same_octet_by_octet(make: Make, data: bytes, word: str) -> None:
    whole = make(SETTINGS, b"http").receive(data)
    engine = make(SETTINGS, b"http")
    assert feed(engine, [data[place : place + 1] for place in range(len(data))]) == whole


# name: (chunked body, a word of the detail)
BAD_BODIES: dict[str, tuple[bytes, str]] = {
    "empty size": (b"\r\nhello\r\n", "size line"),
    "size with a plus": (b"+5\r\nhello\r\n", "size line"),
    "size below zero": (b"-5\r\nhello\r\n", "size line"),
    "size with 0x": (b"0x5\r\nhello\r\n", "size line"),
    "size with an underscore": (b"0_5\r\nhello\r\n", "size line"),
    "space before the size": (b" 5\r\nhello\r\n", "size line"),
    "space behind the size": (b"5 \r\nhello\r\n", "size line"),
    "tab behind the size": (b"5\t\r\nhello\r\n", "size line"),
    "size of 17 digits": (b"00000000000000005\r\nhello\r\n", "size line"),
    "size line without end": (b"0" * 1_000_000, "too long"),
    "size with bare LF": (b"5\nhello\r\n", "size line"),
    "size with bare CR": (b"5\rhello\r\n0\r\n\r\n", "size line"),
    "two CR behind the size": (b"5\r\r\nhello\r\n", "size line"),
    "extension with bare LF": (b"5;a\nhello\r\n", "size line"),
    "extension with bare CR": (b"5;a\rb\r\nhello\r\n", "size line"),
    "extension with NUL": (b"5;a=\x00\r\nhello\r\n", "size line"),
    "extension without a name": (b"5;\r\nhello\r\n", "size line"),
    "extension with a space": (b"5; a\r\nhello\r\n", "size line"),
    "extension with an open quote": (b'5;a="b\r\nhello\r\n', "size line"),
    "extension with LF in quotes": (b'5;a="\n"\r\nhello\r\n', "size line"),
    "extension too long": (b"5;" + b"a" * 300 + b"\r\nhello\r\n", "too long"),
    "extensions without end": ((b"1;" + b"a" * 200 + b"\r\nx\r\n") * 100, "extensions"),
    "chunk longer than its size": (b"5\r\nhelloXX0\r\n\r\n", "longer"),
    "chunk ends with bare LF": (b"5\r\nhello\n0\r\n\r\n", "longer"),
    "chunk ends with CR alone": (b"5\r\nhello\rX", "longer"),
    "trailer: Content-Length": (b"0\r\nContent-Length: 5\r\n\r\n", "content-length"),
    "trailer: Transfer-Encoding": (b"0\r\nTransfer-Encoding: chunked\r\n\r\n", "transfer-encoding"),
    "trailer: Host": (b"0\r\nHost: evil\r\n\r\n", "host"),
    "trailer: bad length": (b"0\r\nContent-Length: x\r\n\r\n", "bad trailers"),
    "trailer: pseudo-field": (b"0\r\n:path: /\r\n\r\n", "field name"),
    "trailer: folded": (b"0\r\nX: a\r\n b\r\n\r\n", "folded"),
    "trailer: bare LF": (b"0\r\nX: a\nY: b\r\n\r\n", "control"),
    "trailer: bare CR": (b"0\r\nX: a\rY: b\r\n\r\n", "control"),
    "trailer: NUL": (b"0\r\nX: \x00\r\n\r\n", "control"),
    "trailer: no colon": (b"0\r\nX\r\n\r\n", "without a colon"),
}


@pytest.mark.parametrize(("body", "word"), BAD_BODIES.values(), ids=BAD_BODIES)
def test_a_body_in_doubt_fails_the_connection_and_never_ends(make: Make, body: bytes, word: str) -> None:
    engine = make(SETTINGS, b"http")
    events = engine.receive(request(*CHUNKED, body=body))
    assert isinstance(events[0], RequestReceived)
    failure = failure_of(events)
    assert failure.reason is Reason.BAD_REQUEST
    assert word in failure.detail
    assert all(isinstance(event, DataReceived) and not event.end_stream for event in events[1:-1])
    assert not engine.request_complete
    assert not engine.keeps_alive
    assert engine.receive(b"0\r\n\r\n") == []


@pytest.mark.parametrize(
    "body",
    [body for body, _ in BAD_BODIES.values() if len(body) < 1000],
    ids=[n for n in BAD_BODIES if "out end" not in n],
)
def test_a_body_in_doubt_fails_the_same_octet_by_octet(make: Make, body: bytes) -> None:
    data = request(*CHUNKED, body=body)
    whole = make(SETTINGS, b"http").receive(data)
    engine = make(SETTINGS, b"http")
    assert joined(feed(engine, [data[place : place + 1] for place in range(len(data))])) == joined(whole)


LIMITED = Http1Settings(header_list=200, fields=5, request_line=50)

TOO_LARGE: dict[str, tuple[bytes, Reason]] = {
    "request line": (b"GET /" + b"a" * 37 + b" HTTP/1.1\r\n", Reason.URI_TOO_LONG),
    "request line without end": (b"GET /" + b"a" * 1000, Reason.URI_TOO_LONG),
    "method without end": (b"A" * 1000, Reason.URI_TOO_LONG),
    "head": (request(b"GET / HTTP/1.1", b"X: " + b"a" * 200), Reason.HEAD_TOO_LARGE),
    "head without end": (request(b"GET / HTTP/1.1", b"X: " + b"a" * 200)[:-4], Reason.HEAD_TOO_LARGE),
    "fields": (request(b"GET / HTTP/1.1", b"A:", b"B:", b"C:", b"D:", b"E:"), Reason.HEAD_TOO_LARGE),
}


@pytest.mark.parametrize(("data", "reason"), TOO_LARGE.values(), ids=TOO_LARGE)
def test_a_head_beyond_its_limits_fails_the_connection_however_it_is_cut(
    make: Make, data: bytes, reason: Reason
) -> None:
    whole = make(LIMITED, b"http").receive(data)
    assert failure_of(whole).reason is reason
    assert len(whole) == 1
    assert feed(make(LIMITED, b"http"), [data[place : place + 1] for place in range(len(data))]) == whole


@pytest.mark.parametrize(
    ("settings", "data"),
    [
        (Http1Settings(request_line=14), request(b"GET / HTTP/1.1")),
        (Http1Settings(header_list=len(request(b"GET / HTTP/1.1"))), request(b"GET / HTTP/1.1")),
        (Http1Settings(fields=3), request(b"GET / HTTP/1.1", b"A:", b"B:")),
    ],
    ids=["request line", "head", "fields"],
)
def test_a_head_exactly_at_its_limit_is_read(make: Make, settings: Http1Settings, data: bytes) -> None:
    assert isinstance(make(settings, b"http").receive(data)[0], RequestReceived)
    octets = [data[place : place + 1] for place in range(len(data))]
    assert isinstance(feed(make(settings, b"http"), octets)[0], RequestReceived)


@pytest.mark.parametrize(("size", "is_read"), [(256, True), (257, False)])
def test_a_chunk_size_line_has_256_bytes_at_most(make: Make, size: int, is_read: bool) -> None:
    line = b"5;" + b"a" * (size - 4) + b"\r\n"
    data = request(*CHUNKED, body=line + b"hello\r\n")
    for pieces in ([data], [data[place : place + 1] for place in range(len(data))]):
        events = joined(feed(make(SETTINGS, b"http"), pieces))
        assert (events[1:] == [DataReceived(1, b"hello", 5, False)]) is is_read
        assert isinstance(events[-1], ConnectionFailed) is not is_read


@pytest.mark.parametrize("octet", [b"\r", b"\n"])
@pytest.mark.parametrize("place", range(45, 55))
def test_a_fault_next_to_the_request_lines_limit_is_the_same_however_it_is_cut(
    make: Make, place: int, octet: bytes
) -> None:
    data = b"GET /" + b"a" * (place - 5) + octet + b"a" * 20
    whole = make(LIMITED, b"http").receive(data)
    assert feed(make(LIMITED, b"http"), [data[cut : cut + 1] for cut in range(len(data))]) == whole
    for cut in range(len(data)):
        assert feed(make(LIMITED, b"http"), [data[:cut], data[cut:]]) == whole


@pytest.mark.parametrize(
    "trailers",
    [b"X: " + b"a" * 300 + b"\r\n\r\n", b"X: " + b"a" * 300, b"A:\r\nB:\r\nC:\r\nD:\r\nE:\r\nF:\r\n\r\n"],
    ids=["long", "without end", "many"],
)
def test_trailers_have_the_limits_of_the_head(make: Make, trailers: bytes) -> None:
    events = make(LIMITED, b"http").receive(request(*CHUNKED, body=b"5\r\nhello\r\n0\r\n" + trailers))
    assert events[1] == DataReceived(1, b"hello", 5, False)
    assert failure_of(events).reason is Reason.HEAD_TOO_LARGE


def test_the_fault_that_comes_first_is_the_one_reported(make: Make) -> None:
    late = b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 300
    assert failure_of(make(LIMITED, b"http").receive(late + b"\nb")).reason is Reason.HEAD_TOO_LARGE
    assert failure_of(make(LIMITED, b"http").receive(b"GET / HTTP/1.1\n" + late)).detail == "bare LF"


def test_connect_is_rejected_and_nothing_behind_it_is_read_as_a_request(make: Make) -> None:
    engine = make(SETTINGS, b"http")
    data = b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n"
    (event,) = engine.receive(data + request(b"GET /tunnelled HTTP/1.1"))
    assert isinstance(event, RequestRejected)
    assert event.reason is Reason.BAD_REQUEST
    assert event.head is not None
    assert (event.head.method, event.head.authority) == (b"CONNECT", b"example.org:443")
    assert not engine.keeps_alive
    assert engine.next_request() == []


def test_a_target_of_another_scheme_is_rejected_and_its_body_discarded(make: Make) -> None:
    engine = make(SETTINGS, b"http")
    (event,) = engine.receive(request(b"POST https://example.org/ HTTP/1.1", b"Content-Length: 10", body=b"hello"))
    assert isinstance(event, RequestRejected)
    assert "scheme" in event.detail
    assert engine.receive(b"world") == []
    assert engine.request_complete
    assert engine.keeps_alive


def test_a_rejected_requests_body_can_still_fail_the_connection(make: Make) -> None:
    engine = make(SETTINGS, b"http")
    data = request(b"POST https://example.org/ HTTP/1.1", b"Transfer-Encoding: chunked", body=b"5\r\nhello\r\nx\r\n")
    events = engine.receive(data)
    assert [type(event) for event in events] == [RequestRejected, ConnectionFailed]


LINES = [b"Host: a\r\n", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n"]
CHUNKS = [b"5\r\nhello\r\n", b"0\r\n\r\n", b"0\r\nX: y\r\n\r\n"]
WORDS = [
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET ",
    b"POST ",
    b" HTTP/1.1",
    b" HTTP/1.0",
    b"http://a/",
    b"hello",
    b"a" * 60,
]
OCTETS = [b"/", b"*", b":", b" ", b"\0", b"\r", b"\n", b"\r\n", b"\r\n\r\n"]
FRAGMENTS = st.sampled_from([*LINES, *CHUNKS, *WORDS, *OCTETS])


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"GET /a HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", (b"GET", b"/a", b"HTTP/1.1")),
        (b"GET /a HTTP/1.1\r\nbare\n", (b"GET", b"/a", b"HTTP/1.1")),
        (b"GET /a HTTP/3.1\r\nHost: a\r\n\r\n", (b"GET", b"/a", b"HTTP/3.1")),
        (b"GET /" + b"a" * 20_000, (b"GET", b"/" + b"a" * 16_379, b"-")),
        (b"GET /a\nHost: a\r\n\r\n", None),
        (b"\x16\x03\x01 x\r\n", None),
    ],
)
def test_a_request_that_fails_tells_the_log_what_its_first_line_said(
    data: bytes, said: tuple[bytes, bytes, bytes] | None
) -> None:
    for make in MAKES.values():
        failed = make(Http1Settings(), b"http").receive(data)[-1]
        assert isinstance(failed, ConnectionFailed)
        head = failed.head
        assert (None if head is None else (head.method, head.target, head.version)) == said


@given(pieces=st.lists(st.binary(max_size=20) | FRAGMENTS, max_size=20))
def test_no_bytes_raise_and_what_fails_stays_failed(pieces: list[bytes]) -> None:
    for make in MAKES.values():
        engine = make(LIMITED, b"http")
        has_failed = False
        for piece in pieces:
            events = engine.receive(piece)
            assert not (has_failed and events)
            assert not any(isinstance(event, ConnectionFailed) for event in events[:-1])
            has_failed = has_failed or (bool(events) and isinstance(events[-1], ConnectionFailed))
            assert sent(engine) == b""


@given(pieces=st.lists(FRAGMENTS, max_size=12), cuts=st.lists(st.integers(0, 400), max_size=8))
def test_bytes_cut_anywhere_make_the_same_events(pieces: list[bytes], cuts: list[int]) -> None:
    data = b"".join(pieces)
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    for make in MAKES.values():
        whole = make(LIMITED, b"http").receive(data)
        split = feed(make(LIMITED, b"http"), [data[a:b] for a, b in pairwise(places)])
        assert joined(split) == joined(whole)
