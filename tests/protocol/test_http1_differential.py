"""The two makes of the HTTP/1.1 engine side by side: the same bytes and the same calls give the same of everything."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from h2gate.protocol import http1
from h2gate.protocol.contract import Http1Settings
from h2gate.protocol.events import Fields, RequestReceived, ResponseHead
from h2gate.protocol.http1_response import field_lines
from tests.support.http1_engine import MAKES, SETTINGS, Step, play, request
from tests.support.makes import need_native

CORPUS = [path.read_bytes() for path in sorted((Path(__file__).parents[1] / "fuzz/corpus/http1").iterdir())]
LIMITED = Http1Settings(header_list=200, fields=5, request_line=50)


@pytest.fixture(scope="module", autouse=True)
def _native() -> None:
    if "native" not in MAKES:
        need_native()


def same(settings: Http1Settings, scheme: bytes, steps: list[Step]) -> list[object]:
    """Play the steps on both makes; return what they agree on."""
    reference = play(http1.server_engine(settings, scheme), steps)
    assert play(MAKES["native"](settings, scheme), steps) == reference
    return reference


LINES = st.sampled_from(
    [
        b"Host: example.org", b"Host: example.org", b"Host: a b", b"Accept: */*", b"x-a: \xff \t", b"Cookie: a",
        b"TE: trailers", b"Connection: close", b"Connection: keep-alive, x", b"Proxy-Connection: close",
        b"Upgrade: h2c", b"Connection: Upgrade", b"Content-Length: 5", b"Content-Length: 0", b"Content-Length: 5,5",
        b"Content-Length: x", b"Content-Length: 1000000000000000000", b"Transfer-Encoding: chunked",
        b"transfer-encoding: Chunked ", b"Transfer-Encoding: gzip", b"X\0: a", b"X : a", b" a: b", b"a", b"X: \x01",
        b"X: a\rb", b"X: a\nb",
    ]
)  # fmt: skip
METHODS = st.sampled_from([b"GET", b"POST", b"HEAD", b"OPTIONS", b"CONNECT", b"BREW", b"M-SEARCH", b"G(T"])
TARGETS = st.sampled_from(
    [b"/", b"/a?b", b"/#a", b"*", b"http://example.org/a", b"https://example.org", b"x+y://a/", b"a:443", b"/\xff"]
)
VERSIONS = st.sampled_from([b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0"])
BODIES = st.sampled_from(
    [
        b"", b"hello", b"hello more", b"5\r\nhello\r\n0\r\n\r\n", b"1;a=b\r\nx\r\n0\r\nX: y \r\nCookie: z\r\n\r\n",
        b"0\r\nHost: a\r\n\r\n", b"5\nhello", b"5\r\nhelloX",
    ]
)  # fmt: skip


@st.composite
def whole_requests(draw: st.DrawFn) -> bytes:
    line = b" ".join((draw(METHODS), draw(TARGETS), draw(VERSIONS)))
    return b"\r\n".join([line, *draw(st.lists(LINES, max_size=5)), b"", draw(BODIES)])


SENT = st.lists(
    st.one_of(whole_requests(), st.sampled_from(CORPUS), st.sampled_from([b"\r\n", b"\r", b"\n", b"\0"])),
    min_size=1,
    max_size=4,
).map(b"".join)

NAMES = st.sampled_from([b"server", b"x-a", b"X-B1c", b"content-length", b"connection", b"upgrade", b"", b"a b", b":c"])
VALUES = st.sampled_from([b"", b"a", b"5", b"10", b"007", b"5, 5", b"9" * 19, b"\xff\t", b"\r\n", b"\0"])
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=4)
HEADS = st.builds(ResponseHead, st.sampled_from([200, 200, 404, 204, 304, 100, 101, 103, 599]), FIELDS)
DATA = st.sampled_from([b"", b"hello", b"0123456789"])
STREAMS = st.sampled_from([0, 0, 0, 0, -1, 1])
ANSWER: list[Step] = [
    ("send_head", 0, ResponseHead(200), True),
    ("data_to_send", 65_536),
    ("take_framed",),
    ("next_request",),
]
CALLS = st.one_of(
    st.just(ANSWER),
    st.lists(
        st.one_of(
            st.tuples(st.just("send_interim"), STREAMS, HEADS),
            st.tuples(st.just("send_head"), STREAMS, HEADS, st.booleans()),
            st.tuples(st.just("send_data"), STREAMS, DATA, st.booleans()),
            st.tuples(st.just("send_trailers"), STREAMS, FIELDS),
            st.tuples(st.just("data_to_send"), st.sampled_from([0, 1, 7, 50, 65_536])),
            st.sampled_from([("take_framed",), ("next_request",), ("abandon_request",), ("close_after_response",)]),
        ),
        max_size=5,
    ),
)


@given(
    data=SENT,
    cuts=st.lists(st.integers(0, 400), max_size=5),
    calls=st.lists(CALLS, max_size=6),
    settings=st.sampled_from([SETTINGS, LIMITED]),
    scheme=st.sampled_from([b"http", b"https"]),
)
def test_the_same_bytes_and_calls_give_the_same_events_bytes_and_state(
    data: bytes, cuts: list[int], calls: list[list[Step]], settings: Http1Settings, scheme: bytes
) -> None:
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    steps: list[Step] = []
    for number, (start, end) in enumerate(pairwise(places)):
        steps.append(("receive", data[start:end]))
        if calls:
            steps += calls[number % len(calls)]
    same(settings, scheme, steps)


@pytest.mark.parametrize("data", CORPUS, ids=lambda data: repr(data[:20]))
def test_every_cut_of_the_corpus_gives_the_same(data: bytes) -> None:
    for place in range(len(data)):
        same(SETTINGS, b"http", [("receive", data[:place]), *ANSWER, ("receive", data[place:]), *ANSWER, *ANSWER])
    same(SETTINGS, b"http", [("receive", bytes([octet])) for octet in data])


@pytest.mark.parametrize("octet", range(256))
def test_each_octet_means_the_same_in_each_place_of_a_head(octet: int) -> None:
    it = bytes([octet])
    for data in (
        request(b"G" + it + b" / HTTP/1.1"),
        request(b"GET /" + it + b" HTTP/1.1"),
        request(b"GET / HTTP/1." + it),
        request(b"GET / HTTP/1.1", b"X" + it + b": y"),
        request(b"GET / HTTP/1.1", b"X" + it, b"Y: z"),
        request(b"GET / HTTP/1.1", b"X: a" + it + b"b"),
        request(b"GET / HTTP/1.1", b"X:" + it),
        request(b"GET / HTTP/1.1", b"X: a" + it),
        request(b"GET / HTTP/1.1", b"Host: a" + it),
        request(b"POST / HTTP/1.1", b"Content-Length: 5" + it),
        request(b"POST / HTTP/1.1", b"Transfer-Encoding: chunked" + it),
        request(b"GET / HTTP/1.1") + it,
    ):
        same(SETTINGS, b"http", [("receive", data), *ANSWER])


@given(fields=st.lists(st.tuples(st.binary(max_size=20) | NAMES, st.binary(max_size=20) | VALUES), max_size=6))
def test_field_lines_are_written_the_same(fields: Fields) -> None:
    from h2gate.protocol.http1_native import field_lines as native_lines

    assert native_lines(fields) == field_lines(fields)


@pytest.mark.parametrize("octet", range(256))
def test_each_octet_is_written_or_refused_the_same(octet: int) -> None:
    from h2gate.protocol.http1_native import field_lines as native_lines

    for fields in ([(bytes([octet]), b"")], [(b"x" + bytes([octet]) + b"y", b"")], [(b"x", bytes([octet]))]):
        assert native_lines(fields) == field_lines(fields)


@pytest.mark.parametrize(
    "before",
    [
        request(b"GET / HTTP/1.1", b"Proxy-Connection: close"),
        request(b"GET / HTTP/1.1", b"Connection: upgrade", b"Upgrade: h2c"),
        request(b"POST / HTTP/1.1", b"Content-Length: 5", body=b"hello"),
        request(b"POST / HTTP/1.1", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
        request(b"BREW / HTTP/1.1"),
        request(b"GET x+y://a/ HTTP/1.1"),
        request(b"GET / HTTP/1.0", b"Connection: keep-alive"),
    ],
    ids=["proxy-connection", "upgrade", "length", "chunked", "method", "target", "HTTP/1.0"],
)
def test_a_request_leaves_nothing_to_the_next_one(before: bytes) -> None:
    get = request(b"GET /next HTTP/1.1", b"X: y")
    engine = MAKES["native"](SETTINGS, b"http")
    play(engine, [("receive", before), *ANSWER])
    assert [type(event) for event in engine.receive(get)][:1] == ([RequestReceived] if engine.keeps_alive else [])
    same(SETTINGS, b"http", [("receive", before), *ANSWER, ("receive", get), *ANSWER, ("receive", get)])
    # Nor to another connection, with whom it shares the parser.
    same(SETTINGS, b"http", [("receive", get), *ANSWER])


@pytest.mark.parametrize("seed", range(20))
def test_cases_of_make_fuzz_give_the_same(seed: int) -> None:
    from tests.fuzz.http1 import one_case

    random = Random(seed)
    for _ in range(50):
        one_case(random, CORPUS)
