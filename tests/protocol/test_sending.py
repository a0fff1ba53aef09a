"""Rule 4 of the contract, for each make of each engine: how much comes from one call, and that less than asked is all.

Whoever flushes stops at the first call that gives less than its limit. An engine that held something back there would
hold it until something else happens: a response that hangs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from h2gate.errors import ErrorCode
from h2gate.protocol.contract import Http1ServerEngine, Http2Engine, Http2ServerEngine
from h2gate.protocol.events import RequestHead, ResponseHead
from tests.support import http1_engine, http2_engine
from tests.support.http2_engine import BackendSide, ClientSide, ping, settings_frame, window_update

FRAME = 16_384 + 9
PUSHED = [RequestHead(b"GET", b"http", b"a", b"/", fields) for fields in ([], [(b"x-long", b"v" * 40_000)])]
TRAILERS = [(b"x-short", b"1")], [(b"x-long", b"v" * 40_000)]
# Of a server, and of a client: one of the server's is pushed.
SERVER_STREAMS, CLIENT_STREAMS = (1, 3, 2), (1, 3, 5)
PLACES = 0, 1, 2

limits = st.sampled_from([1, 9, 10, 11, 500, FRAME - 9, FRAME, 65_536])
sizes = st.sampled_from([0, 1, 2, 500, FRAME - 9, FRAME, 70_000])

# What an owner or a peer may do to an engine of HTTP/2 that has three streams, named by their places, -1 being the
# connection; the last three end a stream's body.
http2_steps = st.one_of(
    st.tuples(st.just("data"), st.sampled_from(PLACES), sizes),
    st.tuples(st.just("window"), st.sampled_from([-1, *PLACES]), st.sampled_from([1, 10, 20_000, 100_000])),
    st.tuples(st.just("settings"), st.just(0), st.sampled_from([0, 10, 20_000, 100_000])),
    st.tuples(st.just("ping"), st.just(0), st.just(0)),
    st.tuples(st.just("push"), st.just(0), st.integers(0, 1)),
    st.tuples(st.just("end"), st.sampled_from(PLACES), sizes),
    st.tuples(st.just("trailers"), st.sampled_from(PLACES), st.integers(0, 1)),
    st.tuples(st.just("reset"), st.sampled_from(PLACES), st.just(0)),
)


def check(engine: Http2Engine | Http1ServerEngine, limit: int, more: int) -> None:
    """Assert that one call keeps the rule; `more` is how much a frame, or what is sent with one, may take."""
    sent = engine.data_to_send(limit)
    assert len(sent) < limit + more
    if len(sent) < limit:
        assert engine.data_to_send(1) == b""


def server(make: http2_engine.Make) -> Http2ServerEngine:
    peer = ClientSide(make)
    for stream_id in SERVER_STREAMS:
        if stream_id % 2:
            peer.request(stream_id)
        else:
            assert peer.engine.push(1, PUSHED[0]) == stream_id
        peer.engine.send_head(stream_id, ResponseHead(200), end_stream=False)
    return peer.engine


def client(make: http2_engine.Make) -> Http2Engine:
    engine = BackendSide(make).engine
    for _ in CLIENT_STREAMS:
        engine.open_stream(RequestHead(b"POST", b"http", b"example.org", b"/"), end_stream=False)
    return engine


@pytest.mark.parametrize("start", [server, client])
@settings(max_examples=150, deadline=None)
@given(
    make=st.sampled_from(list(http2_engine.MAKES.values())),
    steps=st.lists(st.tuples(http2_steps, st.none() | limits), max_size=40),
)
def test_less_than_asked_is_all_that_http2_can_send_now(
    start: Callable[[http2_engine.Make], Http2Engine],
    make: http2_engine.Make,
    steps: list[tuple[tuple[str, int, int], int | None]],
) -> None:
    engine = start(make)
    streams = SERVER_STREAMS if start is server else CLIENT_STREAMS
    with_body = set(streams)
    for (name, place, value), limit in steps:
        stream_id = 0 if place < 0 else streams[place]
        if name == "window":
            engine.receive(window_update(stream_id, value))
        elif name == "settings":
            engine.receive(settings_frame({4: value}))
        elif name == "ping":
            engine.receive(ping())
        elif name == "push":
            if start is server:
                cast("Http2ServerEngine", engine).push(1, PUSHED[value])
        elif stream_id in with_body:
            if name == "trailers":
                engine.send_trailers(stream_id, TRAILERS[value])
            elif name == "reset":
                engine.reset(stream_id, ErrorCode.CANCEL)
            else:
                engine.send_data(stream_id, bytes(value), end_stream=name == "end")
            if name != "data":
                with_body.remove(stream_id)
        if limit:
            check(engine, limit, FRAME + 45_000)


def test_a_window_that_settings_shut_holds_up_no_other_stream(http2_make: http2_engine.Make) -> None:
    engine = server(http2_make)
    for stream_id in SERVER_STREAMS:
        engine.send_data(stream_id, b"abc", end_stream=False)
    engine.receive(settings_frame({4: 0}) + window_update(2, 10))
    check(engine, 65_536, FRAME)
    assert engine.take_framed() == [(2, 3)]


# What an owner may do with one response of HTTP/1.1; the head comes first.
http1_steps = st.one_of(
    st.tuples(st.just("send_data"), sizes.map(bytes), st.booleans()),
    st.tuples(st.just("send_trailers"), st.sampled_from(TRAILERS)),
)
requests = st.sampled_from(
    [
        http1_engine.GET,
        http1_engine.GET_TRAILERS,
        http1_engine.HEAD,
        http1_engine.GET_10,
        http1_engine.GET_10_KEEP,
    ]
)
heads = st.sampled_from(
    [
        ResponseHead(200),
        ResponseHead(204),
        ResponseHead(200, [(b"content-length", b"3")]),
        ResponseHead(200, [(b"content-length", b"70500")]),
        ResponseHead(200, [(b"x-long", b"v" * 2_000)]),
    ]
)


@settings(max_examples=300, deadline=None)
@given(
    make=st.sampled_from(list(http1_engine.MAKES.values())),
    request=requests,
    head=heads,
    steps=st.lists(st.tuples(http1_steps, st.none() | limits), max_size=20),
    first=st.none() | limits,
)
def test_less_than_asked_is_all_that_http1_can_send_now(
    make: http1_engine.Make,
    request: bytes,
    head: ResponseHead,
    steps: list[tuple[tuple[Any, ...], int | None]],
    first: int | None,
) -> None:
    engine = make(http1_engine.SETTINGS, b"http")
    stream = http1_engine.begin(engine, request)
    calls = [(partial(engine.send_interim, stream, ResponseHead(103)), None)]
    calls.append((partial(engine.send_head, stream, head, end_stream=False), first))
    calls += [(partial(getattr(engine, name), stream, *arguments), limit) for (name, *arguments), limit in steps]
    for call, limit in calls:
        call()
        if limit:
            check(engine, limit, 45_000)
