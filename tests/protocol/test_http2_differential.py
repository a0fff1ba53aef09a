"""Both makes of the HTTP/2 engine do the same: events, words and bytes."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from h2gate.errors import ErrorCode
from h2gate.protocol.contract import Http2Engine, Http2Settings
from h2gate.protocol.events import Event, Fields, RequestHead, RequestReceived, ResponseHead
from tests.fuzz.__main__ import corpus_of
from tests.support.http2_engine import (
    GET,
    LIMIT,
    MAKES,
    OK,
    PREFACE,
    WEBSOCKET,
    Make,
    data,
    raw,
    settings_ack,
    settings_frame,
)
from tests.support.makes import need_native

HEADERS, END_STREAM, END_HEADERS = 1, 1, 4


@pytest.fixture(autouse=True)
def native() -> Make:
    need_native()
    return MAKES["native"]


def both_give(is_client: bool, *steps: bytes, limits: Http2Settings | None = None) -> list[Event]:
    """Give both makes the same bytes; return the events, which are the same as are the bytes that both send."""
    results: list[tuple[list[Event], bytes]] = []
    for make in MAKES.values():
        engine: Http2Engine
        if is_client:
            engine = client = make.client(limits or Http2Settings())
            for method in (b"GET", b"HEAD"):
                client.open_stream(RequestHead(method, b"http", b"example.org", b"/"), end_stream=True)
            tunnel = RequestHead(b"CONNECT", b"http", b"example.org", b"/", protocol=b"websocket")
            client.open_stream(tunnel, end_stream=False)
        else:
            engine = make.server(limits or Http2Settings())
        results.append(([event for step in steps for event in engine.receive(step)], engine.data_to_send(LIMIT)))
    first, *others = results
    for other in others:
        assert other == first
    return first[0]


def literal(name: bytes, value: bytes, kind: int = 0) -> bytes:
    assert len(name) < 127
    assert len(value) < 127
    return bytes([kind, len(name)]) + name + bytes([len(value)]) + value


def request(stream_id: int, *fields: tuple[bytes, bytes]) -> bytes:
    return raw(HEADERS, END_HEADERS | END_STREAM, stream_id, b"".join(literal(*field) for field in fields))


@settings(max_examples=300, deadline=None)
@given(st.randoms(use_true_random=False))
def test_frames_and_calls_of_all_sorts_have_the_same_outcome(random: Random) -> None:
    # Not before: it needs the native make.
    from tests.fuzz.http2 import one_case

    one_case(random, CORPUS)


def test_a_difference_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.fuzz import http2 as fuzz

    monkeypatch.setattr(
        fuzz.http2_native, "server_engine", lambda limits: MAKES["native"].server(Http2Settings(fields=0))
    )
    monkeypatch.setattr(fuzz, "LIMITS", [Http2Settings()])

    def many_cases() -> None:
        for seed in range(200):
            fuzz.one_case(Random(seed), CORPUS)

    with pytest.raises(AssertionError, match="events"):
        many_cases()


CORPUS = corpus_of("http2")


@pytest.mark.parametrize("is_client", [False, True], ids=["server", "client"])
@pytest.mark.parametrize("stream", CORPUS, ids=range(len(CORPUS)))
def test_conversations_octet_by_octet_have_the_same_outcome(stream: bytes, is_client: bool) -> None:
    limits = Http2Settings(enable_connect=True)
    octets = (bytes([octet]) for octet in stream)
    assert both_give(is_client, stream, limits=limits) == both_give(is_client, *octets, limits=limits)


@pytest.mark.parametrize("place", ["alone", "first", "middle", "last"])
@pytest.mark.parametrize(
    "name", [b"", b"x-a", b"te", b"cookie", b"host", b":method", b":scheme", b":authority", b":path", b":protocol"]
)
def test_every_octet_is_judged_alike(name: bytes, place: str) -> None:
    """In a field's name if none is given, else in that field's value."""
    around = {"alone": (b"", b""), "first": (b"", b"a"), "middle": (b"a", b"b"), "last": (b"a", b"")}
    before, behind = around[place]
    if name == b":path":
        before = b"/" + before
    rest = [field for field in (WEBSOCKET if name == b":protocol" else GET) if field[0] != name]
    for octet in range(256):
        text = before + bytes([octet]) + behind
        field = (name, text) if name else (text, b"v")
        fields = [field, *rest] if name[:1] == b":" else [*rest, field]
        both_give(False, PREFACE + settings_frame(), request(1, *fields), limits=Http2Settings(enable_connect=True))


def test_every_status_is_judged_alike() -> None:
    for status in [*(b"%03d" % number for number in range(1_000)), b"", b"1", b"20", b"2000", b"2 0", b"+20"]:
        for stream_id in (1, 5):
            block = literal(b":status", status) + literal(b"content-length", b"5")
            both_give(True, settings_frame(), raw(HEADERS, END_HEADERS, stream_id, block))


@pytest.mark.parametrize(
    "authority",
    [
        b"a:1",
        b"a:0",
        b"a:",
        b":1",
        b"a:99999",
        b"a:65535",
        b"a:65536",
        b"a:000000",
        b"a:1:2",
        b"1.2.3.4:80",
        b"[::1]:80",
        b"a..b",
    ],
)
def test_authorities_are_judged_alike(authority: bytes) -> None:
    fields = [field for field in GET if field[0] != b":authority"]
    both_give(False, PREFACE + settings_frame(), request(1, (b":authority", authority), *fields))


names = st.sampled_from(
    [
        b":path",
        b"accept",
        b"age",
        b"authorization",
        b"cookie",
        b"date",
        b"x-a",
        b"x-b",
        b"server",
        b"n" * 200,
        b"set-cookie",
    ]
)
values = st.sampled_from([b"", b"/", b"gzip, deflate", b"v" * 126, b"v" * 127, b"v" * 300, b"w" * 1_020, b"w" * 1_500])
lists = st.lists(st.lists(st.tuples(names, values), max_size=12), min_size=1, max_size=12)


@settings(max_examples=200, deadline=None)
@given(lists, st.lists(st.lists(st.sampled_from([0, 31, 64, 300, 1_500, 4_096, 1 << 30]), max_size=3), max_size=12))
def test_heads_are_compressed_alike_while_tables_change(heads: list[Fields], sizes: list[list[int]]) -> None:
    engines = [make.client(Http2Settings()) for make in MAKES.values()]
    for engine in engines:
        engine.receive(settings_frame())
    for number, fields in enumerate(heads):
        for size in sizes[number] if number < len(sizes) else ():
            for engine in engines:
                engine.receive(settings_frame({1: size}))
        protocol = b"websocket" if number % 3 == 2 else b""
        for engine in engines:
            engine.open_stream(RequestHead(b"GET", b"http", b"example.org", b"/", fields, protocol=protocol), True)
        first, *others = [engine.data_to_send(LIMIT) for engine in engines]
        assert others == [first] * len(others)


@settings(max_examples=100, deadline=None)
@given(lists, st.sampled_from([16_384, 20_000, 16_777_215]))
def test_promises_and_responses_are_compressed_alike(heads: list[Fields], frame_size: int) -> None:
    sent: list[list[object]] = []
    for make in MAKES.values():
        engine = make.server(Http2Settings())
        engine.receive(PREFACE + settings_frame({5: frame_size}) + request(1, *GET))
        outcome: list[object] = []
        for fields in heads:
            # Beyond one frame, too.
            large = [*fields, (b"x-large", b"v" * 9_000), (b"x-large", b"w" * 9_000)]
            for some in (fields, large):
                promised = engine.push(1, RequestHead(b"GET", b"http", b"example.org", b"/", some))
                outcome.append(promised)
                engine.send_head(promised, ResponseHead(200, some), end_stream=len(fields) % 2 == 0)
                outcome.append(engine.data_to_send(LIMIT))
        sent.append([*outcome, engine.can_push, engine.open_streams])
    assert sent == [sent[0]] * len(sent)


@settings(max_examples=400, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=40),
            st.lists(
                st.sampled_from([0x20, 0x3F, 0x40, 0x00, 0x10, 0x01, 0x7F, 0x80, 0x82, 0xBE, 0xBF, 0xFF]), max_size=20
            ).map(bytes),
        ),
        max_size=5,
    )
)
def test_field_blocks_of_any_octets_are_read_alike(blocks: list[bytes]) -> None:
    steps = [raw(HEADERS, END_HEADERS | END_STREAM, 2 * number + 1, block) for number, block in enumerate(blocks)]
    both_give(False, PREFACE + settings_frame(), *steps)


@pytest.mark.parametrize("size", [65_536, 65_537])
def test_a_string_beyond_64_kib_ends_the_connection_of_both(size: int) -> None:
    """libnghttp2 takes no longer ones, and so no make does."""
    block = b"".join(literal(*field) for field in GET) + b"\x00\x01a\x7f" + _rest(size) + b"v" * size
    frames = [raw(HEADERS, END_STREAM, 1, block[:16_384])]
    frames += [raw(9, 0, 1, block[begin : begin + 16_384]) for begin in range(16_384, len(block), 16_384)]
    events = both_give(False, PREFACE + settings_frame(), b"".join([*frames, raw(9, END_HEADERS, 1, b"")]))
    assert type(events[-1]).__name__ == ("RequestRejected" if size == 65_536 else "ConnectionFailed")


def _rest(size: int) -> bytes:
    """The octets of an integer behind a prefix of seven bits (RFC 7541, 5.1)."""
    size -= 127
    octets = b""
    while size >= 128:
        octets += bytes([size & 0x7F | 0x80])
        size >>= 7
    return octets + bytes([size])


def test_large_bodies_are_cut_alike_whatever_the_limit() -> None:
    sent: list[list[bytes]] = []
    for make in MAKES.values():
        engine = make.server(Http2Settings())
        engine.receive(PREFACE + settings_frame({4: 1 << 20}))
        engine.receive(request(1, *GET) + request(3, *GET) + raw(8, 0, 0, (1 << 20).to_bytes(4, "big")))
        for stream_id in (1, 3):
            engine.send_data(stream_id, b"a" * 100_000, end_stream=False)
            for _ in range(300):
                engine.send_data(stream_id, b"b" * 100, end_stream=False)
        engine.send_trailers(1, [(b"x-end", b"1")])
        engine.send_data(3, b"", end_stream=True)
        pieces: list[bytes] = []
        while piece := engine.data_to_send(20_000):
            pieces.append(piece)
        sent.append([*pieces, repr(engine.take_framed()).encode()])
    assert sent[0] == sent[-1]


def test_responses_without_content_are_read_alike() -> None:
    for fields in (
        OK,
        [(b":status", b"204"), (b"content-length", b"5")],
        [(b":status", b"304"), (b"content-length", b"5")],
    ):
        for stream_id in (1, 3, 5):
            block = b"".join(literal(*field) for field in fields)
            frames = raw(HEADERS, END_HEADERS, stream_id, block) + data(stream_id, b"12345", end_stream=True)
            both_give(True, settings_frame(), settings_ack(), frames)


def test_streams_closed_long_ago_are_treated_alike() -> None:
    """More of them than are remembered, several times over: each make keeps them in its own way."""
    # The native make's ring has just come round, twice (every 256).
    count = 1_100

    def outcome(make: Make, stream_id: int) -> object:
        engine = make.server(Http2Settings())
        engine.receive(PREFACE + settings_frame())
        for opened in range(1, 2 * count, 2):
            engine.receive(request(opened, *GET))
            if opened % 3 == 0:
                engine.receive(raw(3, 0, opened, bytes(4)))
            elif opened % 3 == 1:
                engine.reset(opened, ErrorCode.CANCEL)
            else:
                engine.send_head(opened, ResponseHead(200), end_stream=True)
            engine.data_to_send(LIMIT)
        return engine.receive(data(stream_id, b"x")), engine.data_to_send(LIMIT)

    # Those that have just been closed, the last that are remembered and the first that are not, and the oldest.
    for closed_ago in (1, 2, 3, 4, 254, 255, 256, 257, 258, 259, 511, 512, 513, 514, count - 1, count):
        first, *others = [outcome(make, 2 * (count - closed_ago) + 1) for make in MAKES.values()]
        assert others == [first] * len(others)


@pytest.mark.parametrize("value", [b"secret", b"", b"gzip, deflate"])
def test_fields_never_indexed_stay_so_through_both(value: bytes) -> None:
    """RFC 7541, 7.1.3. The second one would be found in the table if the first had come into it."""
    name = b"accept-encoding"
    sent: list[bytes] = []
    for make in MAKES.values():
        server, client = make.server(Http2Settings()), make.client(Http2Settings())
        client.data_to_send(LIMIT)
        block = b"".join(literal(*field) for field in GET) + literal(name, value, 0x10)
        frames = [raw(HEADERS, END_HEADERS | END_STREAM, stream_id, block) for stream_id in (1, 3)]
        for event in server.receive(PREFACE + settings_frame() + b"".join(frames)):
            if isinstance(event, RequestReceived):
                client.open_stream(event.head, end_stream=True)
        sent.append(client.data_to_send(LIMIT))
    assert sent == [sent[0]] * len(sent)
    # 16 is the name's index; only a field that the static table has as a whole is written as that.
    assert sent[0].count(b"\x1f\x01" + bytes([len(value)]) + value) == (0 if value == b"gzip, deflate" else 2)
