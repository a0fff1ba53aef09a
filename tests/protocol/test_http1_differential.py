"""The two makes of the HTTP/1.1 engine side by side: the same bytes and the same calls give the same of everything."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from h2gate.protocol import http1
from h2gate.protocol.contract import Http1Settings
from h2gate.protocol.events import Fields, RequestReceived, ResponseHead
from h2gate.protocol.http1_response import field_lines
from tests.fuzz.__main__ import corpus_of
from tests.support.http1_engine import MAKES, SETTINGS, Step, play, request
from tests.support.makes import need_native

CORPUS = corpus_of("http1")


@pytest.fixture(scope="module", autouse=True)
def _native() -> None:
    if "native" not in MAKES:
        need_native()


def same(settings: Http1Settings, scheme: bytes, steps: list[Step]) -> list[object]:
    """Play the steps on both makes; return what they agree on."""
    reference = play(http1.server_engine(settings, scheme), steps)
    assert play(MAKES["native"](settings, scheme), steps) == reference
    return reference


NAMES = st.sampled_from([b"server", b"x-a", b"X-B1c", b"content-length", b"connection", b"upgrade", b"", b"a b", b":c"])
VALUES = st.sampled_from([b"", b"a", b"5", b"10", b"007", b"5, 5", b"9" * 19, b"\xff\t", b"\r\n", b"\0"])
ANSWER: list[Step] = [
    ("send_head", 0, ResponseHead(200), True),
    ("data_to_send", 65_536),
    ("take_framed",),
    ("next_request",),
]
SWITCH: list[Step] = [
    ("send_head", 0, ResponseHead(101, [(b"sec-websocket-accept", b"x")]), False),
    ("take_tunnelled",),
    ("send_data", 0, b"to the client", False),
    ("data_to_send", 65_536),
    ("take_framed",),
]


@settings(max_examples=1000, deadline=None)
@given(st.integers(0, 2**63 - 1))
def test_requests_and_calls_of_all_sorts_have_the_same_outcome(seed: int) -> None:
    # Not before: it needs the native make.
    from tests.fuzz.http1 import one_case

    one_case(Random(seed), CORPUS)


def test_a_difference_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.fuzz import http1 as fuzz

    monkeypatch.setattr(
        fuzz.http1_native, "server_engine", lambda _, scheme: MAKES["native"](Http1Settings(fields=0), scheme)
    )

    def cases() -> None:
        for seed in range(100):
            fuzz.one_case(Random(seed), CORPUS)

    with pytest.raises(AssertionError, match="python:"):
        cases()


@pytest.mark.parametrize("data", CORPUS, ids=lambda data: repr(data[:20]))
def test_every_cut_of_the_corpus_gives_the_same(data: bytes) -> None:
    for place in range(len(data)):
        same(SETTINGS, b"http", [("receive", data[:place]), *ANSWER, ("receive", data[place:]), *ANSWER, *ANSWER])
        same(SETTINGS, b"http", [("receive", data[:place]), *SWITCH, ("receive", data[place:]), *SWITCH, *ANSWER])
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
        request(b"GET / HTTP/1.1", b"Connection: upgrade" + it, b"Upgrade: websocket"),
        request(b"GET / HTTP/1.1", b"Connection: upgrade", b"Upgrade:" + it + b"websocket"),
        request(b"GET / HTTP/1.1", b"Connection: upgrade", b"Upgrade: websocket" + it),
        request(b"POST / HTTP/1.1", b"Expect: 100-continue" + it),
        request(b"POST / HTTP/1.1", b"Transfer-Encoding: gzip" + it + b", chunked"),
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
        request(b"GET / HTTP/1.1", b"Connection: upgrade", b"Upgrade: websocket"),
        request(b"POST / HTTP/1.1", b"Expect: x"),
        request(b"POST / HTTP/1.1", b"Content-Length: 5", body=b"hello"),
        request(b"POST / HTTP/1.1", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
        request(b"BREW / HTTP/1.1"),
        request(b"GET x+y://a/ HTTP/1.1"),
        request(b"GET / HTTP/1.0", b"Connection: keep-alive"),
    ],
    ids=["proxy-connection", "upgrade", "websocket", "expect", "length", "chunked", "method", "target", "HTTP/1.0"],
)
def test_a_request_leaves_nothing_to_the_next_one(before: bytes) -> None:
    get = request(b"GET /next HTTP/1.1", b"X: y")
    engine = MAKES["native"](SETTINGS, b"http")
    play(engine, [("receive", before), *ANSWER])
    assert [type(event) for event in engine.receive(get)][:1] == ([RequestReceived] if engine.keeps_alive else [])
    same(SETTINGS, b"http", [("receive", before), *ANSWER, ("receive", get), *ANSWER, ("receive", get)])
    # Nor to another connection, with whom it shares the parser.
    same(SETTINGS, b"http", [("receive", get), *ANSWER])
