"""What only the native make could do wrong: memory, and arguments that are no bytes."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from random import Random

import pytest

from h2gate.errors import ErrorCode
from h2gate.protocol.contract import Http2Settings
from h2gate.protocol.events import DataReceived, Fields, RequestHead, RequestReceived, ResponseHead
from tests.support.http2_engine import (
    GET,
    LIMIT,
    MAKES,
    PREFACE,
    BackendSide,
    ClientSide,
    Make,
    data,
    settings_frame,
)
from tests.support.makes import need_native


@pytest.fixture
def native() -> Make:
    need_native()
    return MAKES["native"]


def resident() -> int:
    """Bytes of memory that the process has now."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * 4_096


def check_flat(work: Callable[[int], None], warm_up: int, count: int) -> None:
    """Assert that doing something `count` times leaves nothing behind: no object, no memory of C's."""
    for number in range(warm_up):
        work(number)
    gc.collect()
    blocks, memory = sys.getallocatedblocks(), resident()
    for number in range(count):
        work(number)
    gc.collect()
    assert sys.getallocatedblocks() - blocks < 500
    assert resident() - memory < 2 << 20


def test_200_000_exchanges_leave_nothing_behind(native: Make) -> None:
    client, server = native.client(Http2Settings()), native.server(Http2Settings())
    body = bytes(1_000)

    def exchange(number: int) -> None:
        fields = [(b"x-number", b"%d" % (number % 5_000)), (b"authorization", b"secret")]
        client.open_stream(
            RequestHead(b"GET", b"http", b"example.org", b"/%d" % (number % 7_000), fields), end_stream=True
        )
        for event in server.receive(client.data_to_send(LIMIT)):
            if isinstance(event, RequestReceived):
                assert not server.can_push
                server.send_head(event.stream_id, ResponseHead(200, fields), end_stream=False)
                server.send_data(event.stream_id, body, end_stream=number % 3 != 0)
                if number % 3 == 0:
                    server.send_trailers(event.stream_id, [(b"x-end", b"1")])
        for answer in client.receive(server.data_to_send(LIMIT)):
            if isinstance(answer, DataReceived):
                client.credit(answer.stream_id, answer.credit)
                client.credit_connection(answer.credit)
        server.take_framed()

    check_flat(exchange, 10_000, 200_000)
    assert (client.open_streams, server.open_streams) == (0, 0)


def test_engines_that_end_in_the_middle_leave_nothing_behind(native: Make) -> None:
    """With streams, queued bodies, a part of a frame and a part of a field block."""
    source = ClientSide(native)
    begun = PREFACE + settings_frame() + source.headers(1, GET) + source.headers(3, GET) + data(1, b"abc")

    def begin(number: int) -> None:
        server = native.server(Http2Settings())
        server.receive(begun + (b"\0\0\x09\0\0\0\0\0\3ab" if number % 2 else b"\0\0\2\1\0\0\0\0\5\x82\x86"))
        server.send_head(1, ResponseHead(200, [(b"x-a", b"%d" % number)]), end_stream=False)
        server.send_data(1, bytes(500), end_stream=False)
        server.send_data(1, bytes(70_000), end_stream=False)
        server.send_trailers(1, [(b"x-end", b"1")])
        server.data_to_send(1_000)
        server.send_data(3, bytes(500), end_stream=False)
        server.push(1, RequestHead(b"GET", b"http", b"a", b"/%d" % number, [(b"x-b", b"%d" % number)]))
        server.send_data(2, bytes(500), end_stream=False)

    check_flat(begin, 1_000, 10_000)


def test_50_000_pushes_and_tunnels_leave_nothing_behind(native: Make) -> None:
    client, server = native.client(Http2Settings()), native.server(Http2Settings(enable_connect=True))
    page = ClientSide(native)
    page.request(1)

    def exchange(number: int) -> None:
        fields = [(b"x-number", b"%d" % (number % 5_000))]
        stream_id = client.open_stream(
            RequestHead(b"CONNECT", b"http", b"a", b"/", fields, protocol=b"websocket"), end_stream=False
        )
        client.send_data(stream_id, b"ping", end_stream=True)
        server.receive(client.data_to_send(LIMIT))
        server.send_head(stream_id, ResponseHead(200, [(b"content-length", b"%d" % (number % 9))]), end_stream=False)
        server.send_data(stream_id, b"pong", end_stream=True)
        client.receive(server.data_to_send(LIMIT))
        client.take_framed()
        server.take_framed()
        promised = page.engine.push(1, RequestHead(b"GET", b"http", b"a", b"/%d" % (number % 7_000), fields))
        page.engine.send_head(promised, ResponseHead(200), end_stream=False)
        page.engine.send_data(promised, b"body", end_stream=number % 2 == 0)
        page.engine.data_to_send(LIMIT)
        page.engine.reset(promised, ErrorCode.CANCEL)
        page.engine.data_to_send(LIMIT)
        page.engine.take_framed()

    check_flat(exchange, 10_000, 50_000)
    assert (client.open_streams, server.open_streams, page.engine.open_streams) == (0, 0, 1)


def test_broken_input_leaves_nothing_behind(native: Make) -> None:
    del native
    from tests.fuzz import http2 as fuzz

    # The first thousands still fill what is kept of fields and by the interpreter; then nothing more comes.
    check_flat(lambda number: fuzz.one_case(Random(number % 500), []), 3_000, 1_500)


@pytest.mark.parametrize(
    "fields",
    [
        [(b"a", b"b"), (b"a", "text")],
        [(b"a", b"b"), ("text", b"b")],
        [(b"a", b"b"), (b"a",)],
        [(b"a", b"b"), (b"a", b"b", b"c")],
        [(b"a", b"b"), [b"a", b"b"]],
        [(b"a", b"b"), None],
    ],
)
def test_fields_that_are_none_change_nothing(native: Make, fields: Fields) -> None:
    client, backend = ClientSide(native), BackendSide(native)
    client.request(1)
    stream_id = backend.ask(end_stream=False)
    calls: list[Callable[[], object]] = [
        lambda: client.engine.send_head(1, ResponseHead(200, fields), end_stream=True),
        lambda: client.engine.send_interim(1, ResponseHead(103, fields)),
        lambda: client.engine.send_trailers(1, fields),
        lambda: client.engine.push(1, RequestHead(b"GET", b"http", b"a", b"/", fields)),
        lambda: backend.engine.send_trailers(stream_id, fields),
        lambda: backend.engine.open_stream(RequestHead(b"GET", b"http", b"a", b"/", fields), end_stream=True),
    ]
    for call in calls:
        with pytest.raises(TypeError):
            call()
    assert client.engine.data_to_send(LIMIT) == backend.engine.data_to_send(LIMIT) == b""
    assert client.engine.open_streams == backend.engine.open_streams == 1
    assert client.engine.push(1, RequestHead(b"GET", b"http", b"a", b"/")) == 2
    client.sent()
    client.engine.send_head(1, ResponseHead(200, [(b"a", b"b")]), end_stream=True)
    assert len(client.sent()) == 1


@pytest.mark.parametrize("wrong", [None, "text", 1, bytearray(b"abc")])
def test_what_is_no_bytes_is_refused(native: Make, wrong: bytes) -> None:
    client = ClientSide(native)
    client.request(1)
    for call in (
        client.engine.receive,
        client.engine.ping,
        lambda data: client.engine.send_data(1, data, end_stream=True),
    ):
        with pytest.raises(TypeError):
            call(wrong)
    with pytest.raises(TypeError):
        client.engine.goaway(0, ErrorCode.NO_ERROR, wrong)
    assert client.engine.data_to_send(LIMIT) == b""


def test_a_window_beyond_the_largest_is_refused(native: Make) -> None:
    for limits in (Http2Settings(stream_window=2**31), Http2Settings(connection_window=2**31)):
        with pytest.raises(ValueError, match="window"):
            native.server(limits)


def test_too_long_debug_data_and_pings_of_other_lengths_are_refused(native: Make) -> None:
    engine = native.server(Http2Settings())
    with pytest.raises(ValueError, match="PING"):
        engine.ping(b"1234567")
    with pytest.raises(ValueError, match="debug"):
        engine.goaway(0, ErrorCode.NO_ERROR, bytes(20_000))


def test_an_engine_says_what_it_is(native: Make) -> None:
    client = ClientSide(native)
    client.request(1)
    assert repr(client.engine) == "<HTTP/2 server engine, 1 streams>"
    client.receive(b"\0\0\0\6\0\0\0\0\0")
    assert repr(client.engine) == "<HTTP/2 server engine, 0 streams, failed>"
    assert repr(native.client(Http2Settings())) == "<HTTP/2 client engine, 0 streams>"
