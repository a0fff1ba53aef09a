"""Server push (RFC 9113, 8.4): when a server may promise, what goes out, and what a client may do with it."""

from __future__ import annotations

import pytest
from hyperframe.frame import ContinuationFrame, DataFrame, Frame, HeadersFrame, PushPromiseFrame, RstStreamFrame

from h2gate.errors import ErrorCode, Reason
from h2gate.protocol.contract import Http2Settings
from h2gate.protocol.events import RequestHead, ResponseHead, StreamReset
from h2gate.protocol.http2 import server_engine
from tests.support.http2_engine import (
    GET,
    POST,
    PREFACE,
    WEBSOCKET,
    ClientSide,
    Make,
    data,
    failure_of,
    goaway,
    goaway_of,
    raw,
    reset_of,
    rst_stream,
    settings_frame,
    window_update,
)

ENABLE_PUSH, MAX_STREAMS, INITIAL_WINDOW = 2, 3, 4
PRIORITY = 2
STYLE = RequestHead(b"GET", b"https", b"example.org", b"/style.css", [(b"accept", b"text/css")])


def pushing(client: ClientSide, head: RequestHead = STYLE) -> int:
    """Let the server push on stream 1, which is opened first if it is not there; return the promised id."""
    if not client.engine.open_streams:
        client.request(1)
    promised = client.engine.push(1, head)
    assert promised
    client.sent()
    return promised


def described(frames: list[Frame]) -> list[tuple[str, int]]:
    return [(type(frame).__name__.removesuffix("Frame"), frame.stream_id) for frame in frames]


def test_a_promise_goes_out_on_the_clients_stream_with_the_request(client: ClientSide) -> None:
    client.request(1)
    assert client.engine.can_push
    assert client.engine.push(1, STYLE) == 2
    (frame,) = client.sent()
    assert isinstance(frame, PushPromiseFrame)
    assert (frame.stream_id, frame.promised_stream_id, set(frame.flags)) == (1, 2, {"END_HEADERS"})
    assert frame.fields == [  # type: ignore[attr-defined]
        (b":method", b"GET"),
        (b":scheme", b"https"),
        (b":authority", b"example.org"),
        (b":path", b"/style.css"),
        (b"accept", b"text/css"),
    ]


def test_promised_ids_are_even_and_rising(client: ClientSide) -> None:
    assert [pushing(client) for _ in range(3)] == [2, 4, 6]
    client.engine.reset(2, ErrorCode.CANCEL)
    assert pushing(client) == 8


def test_a_promised_stream_is_answered_as_any_other(client: ClientSide) -> None:
    pushed = pushing(client)
    engine = client.engine
    engine.send_interim(pushed, ResponseHead(103, [(b"link", b"</a>")]))
    engine.send_head(pushed, ResponseHead(200, [(b"content-type", b"text/css")]), end_stream=False)
    engine.send_data(pushed, b"body", end_stream=False)
    assert engine.queued(pushed) == 4
    engine.send_trailers(pushed, [(b"x-end", b"1")])
    interim, head, body, trailers = client.sent()
    assert interim.fields[0] == (b":status", b"103")  # type: ignore[attr-defined]
    assert head.fields == [(b":status", b"200"), (b"content-type", b"text/css")]  # type: ignore[attr-defined]
    assert isinstance(body, DataFrame)
    assert (body.stream_id, body.data) == (2, b"body")
    assert trailers.fields == [(b"x-end", b"1")]  # type: ignore[attr-defined]
    assert "END_STREAM" in trailers.flags
    assert engine.take_framed() == [(2, 4)]
    assert engine.queued(pushed) == 0


def test_an_answer_may_end_with_its_head_or_an_empty_frame(client: ClientSide) -> None:
    for _ in range(2):
        pushing(client)
    client.engine.send_head(2, ResponseHead(304), end_stream=True)
    client.engine.send_head(4, ResponseHead(200), end_stream=False)
    client.engine.send_data(4, b"", end_stream=True)
    assert [(kind, "END_STREAM" in frame.flags) for (kind, _), frame in zip_frames(client.sent())] == [
        ("Headers", True),
        ("Headers", False),
        ("Data", True),
    ]
    # Whole as they are, they are gone.
    client.engine.send_data(2, b"more", end_stream=True)
    client.engine.send_trailers(4, [(b"a", b"b")])
    client.engine.reset(4, ErrorCode.CANCEL)
    client.engine.credit(2, 100_000)
    assert client.sent() == []


def zip_frames(frames: list[Frame]) -> list[tuple[tuple[str, int], Frame]]:
    return list(zip(described(frames), frames, strict=True))


def test_the_promise_leaves_before_what_could_make_the_client_ask(client: ClientSide) -> None:
    """RFC 9113, 8.4.1: in the order of the calls, and before any body."""
    client.request(1)
    engine = client.engine
    engine.send_interim(1, ResponseHead(103))
    engine.push(1, STYLE)
    engine.send_head(1, ResponseHead(200), end_stream=False)
    engine.send_data(1, b"<link rel=stylesheet>", end_stream=False)
    engine.push(1, STYLE)
    engine.send_head(2, ResponseHead(200), end_stream=True)
    frames = client.sent()
    assert described(frames) == [
        ("Headers", 1),
        ("PushPromise", 1),
        ("Headers", 1),
        ("PushPromise", 1),
        ("Headers", 2),
        ("Data", 1),
    ]


def test_a_push_may_come_while_the_body_of_its_stream_waits(client: ClientSide) -> None:
    client.request(1)
    client.engine.send_head(1, ResponseHead(200), end_stream=False)
    client.engine.send_data(1, bytes(100_000), end_stream=True)
    client.sent()
    assert client.engine.push(1, STYLE) == 2
    assert described(client.sent()) == [("PushPromise", 1)]


def test_a_large_promise_goes_over_continuations(client: ClientSide) -> None:
    client.request(1)
    fields = [(b"a%d" % number, b"b" * 4_000) for number in range(10)]
    assert client.engine.push(1, RequestHead(b"GET", b"https", b"example.org", b"/", fields)) == 2
    first, *others = client.sent()
    assert isinstance(first, PushPromiseFrame)
    assert first.promised_stream_id == 2
    assert set(first.flags) == set()
    assert len(others) == 2
    assert all(isinstance(other, ContinuationFrame) and other.stream_id == 1 for other in others)
    assert others[-1].fields[4:] == fields  # type: ignore[attr-defined]
    client.engine.send_head(2, ResponseHead(200, fields), end_stream=True)
    assert client.sent()[-1].fields[1:] == fields  # type: ignore[attr-defined]


@pytest.mark.parametrize("size", range(16_384 - 4 - 5, 16_384 - 4 + 5))
def test_a_promise_of_just_one_frame_is_cut_where_it_must_be(client: ClientSide, size: int) -> None:
    """The promised id is a part of the first frame's payload."""
    client.request(1)
    client.engine.push(1, RequestHead(b"GET", b"https", b"a", b"/", [(b"a", b"b" * (size - 20))]))
    frames = client.sent()
    assert len(frames) == 1 or len(frames[1].data) < 20  # type: ignore[attr-defined]
    assert all(frame.body_len <= 16_384 for frame in frames)
    assert frames[-1].fields[-1] == (b"a", b"b" * (size - 20))  # type: ignore[attr-defined]


def test_nothing_is_pushed_to_a_client_that_takes_none(http2_make: Make) -> None:
    client = ClientSide(http2_make, theirs={ENABLE_PUSH: 0})
    client.request(1)
    assert not client.engine.can_push
    assert client.engine.push(1, STYLE) == 0
    assert client.sent() == []


def test_a_client_may_change_its_mind(client: ClientSide) -> None:
    pushed = pushing(client)
    client.receive(settings_frame({ENABLE_PUSH: 0}))
    client.sent()
    assert not client.engine.can_push
    client.engine.send_head(pushed, ResponseHead(200), end_stream=True)
    assert described(client.sent()) == [("Headers", 2)]
    client.receive(settings_frame({ENABLE_PUSH: 1}))
    assert pushing(client) == 4


def test_no_more_is_pushed_at_once_than_the_client_takes(http2_make: Make) -> None:
    client = ClientSide(http2_make, theirs={MAX_STREAMS: 2})
    assert [pushing(client), pushing(client)] == [2, 4]
    assert not client.engine.can_push
    assert client.engine.push(1, STYLE) == 0
    client.engine.send_head(2, ResponseHead(204), end_stream=True)
    assert pushing(client) == 6
    client.receive(rst_stream(4, ErrorCode.CANCEL))
    assert pushing(client) == 8
    client.receive(settings_frame({MAX_STREAMS: 1}))
    client.engine.reset(6, ErrorCode.CANCEL)
    assert not client.engine.can_push
    client.engine.reset(8, ErrorCode.CANCEL)
    assert client.engine.can_push


def test_the_clients_own_streams_do_not_count(http2_make: Make) -> None:
    client = ClientSide(http2_make, theirs={MAX_STREAMS: 1})
    for stream_id in (1, 3, 5):
        client.request(stream_id)
    assert client.engine.can_push


def test_pushes_take_nothing_from_the_clients_streams(http2_make: Make) -> None:
    client = ClientSide(http2_make, Http2Settings(max_streams=2))
    for _ in range(5):
        pushing(client)
    assert client.engine.open_streams == 1
    assert repr(client.engine) == "<HTTP/2 server engine, 1 streams>"
    client.request(3)
    assert client.receive(client.headers(5, GET, True)) == []
    assert client.resets() == [(5, ErrorCode.REFUSED_STREAM)]
    assert client.engine.last_peer_stream_id == 3


@pytest.mark.parametrize("last_stream_id", [None, 1])
def test_nothing_is_pushed_behind_our_goaway(client: ClientSide, last_stream_id: int | None) -> None:
    client.request(1)
    client.engine.goaway(last_stream_id, ErrorCode.NO_ERROR)
    client.sent()
    assert not client.engine.can_push
    assert client.engine.push(1, STYLE) == 0
    assert client.sent() == []


def test_nothing_is_pushed_behind_the_clients_goaway_and_what_runs_finishes(client: ClientSide) -> None:
    """RFC 9113, 6.8: whoever got a GOAWAY opens no stream."""
    pushed = pushing(client)
    client.receive(goaway(2))
    assert not client.engine.can_push
    assert client.engine.push(1, STYLE) == 0
    client.engine.send_head(pushed, ResponseHead(200), end_stream=True)
    assert described(client.sent()) == [("Headers", 2)]


def test_nothing_is_pushed_on_a_connection_that_failed(client: ClientSide) -> None:
    pushing(client)
    failure_of(client.receive(raw(6, 0, 1, bytes(8))))
    assert not client.engine.can_push
    assert client.engine.push(1, STYLE) == 0
    assert client.engine.open_streams == 0
    assert goaway_of(client.sent()) == (1, ErrorCode.PROTOCOL_ERROR)


def test_nothing_is_pushed_on_a_stream_that_is_not_there(client: ClientSide) -> None:
    assert client.engine.push(1, STYLE) == 0
    client.request(1)
    client.receive(rst_stream(1, ErrorCode.CANCEL))
    assert client.engine.push(1, STYLE) == 0
    assert client.sent() == []


def test_nothing_is_pushed_on_a_stream_whose_response_has_ended(client: ClientSide) -> None:
    client.request(1, POST, end_stream=False)
    assert client.engine.push(1, STYLE) == 2
    client.engine.send_head(1, ResponseHead(200), end_stream=True)
    assert client.engine.open_streams == 1
    assert client.engine.push(1, STYLE) == 0


def test_nothing_is_pushed_on_a_push(client: ClientSide) -> None:
    """RFC 9113, 8.4.1: on streams that the client opened."""
    pushed = pushing(client)
    assert client.engine.push(pushed, STYLE) == 0


@pytest.mark.parametrize("method", [b"POST", b"PUT", b"OPTIONS", b"CONNECT"])
def test_what_is_not_safe_and_cacheable_is_not_pushed(client: ClientSide, method: bytes) -> None:
    client.request(1)
    assert client.engine.push(1, RequestHead(method, b"https", b"example.org", b"/")) == 0
    assert client.sent() == []
    assert client.engine.push(1, RequestHead(b"HEAD", b"https", b"example.org", b"/")) == 2


def test_nothing_is_pushed_when_the_ids_are_used_up() -> None:
    """Of the python make: the other one's ids cannot be set, and counts the same."""
    client = ClientSide.__new__(ClientSide)
    super(ClientSide, client).__init__()
    engine = client.engine = server_engine(Http2Settings())
    client.sent()
    client.receive(PREFACE, settings_frame())
    client.request(1)
    engine._connection.highest_outbound_stream_id = 2**31 - 4  # type: ignore[attr-defined]
    assert engine.push(1, STYLE) == 2**31 - 2
    assert not engine.can_push
    assert engine.push(1, STYLE) == 0


# What the client does


def test_a_client_may_refuse_a_push(client: ClientSide) -> None:
    pushed = pushing(client)
    client.engine.send_head(pushed, ResponseHead(200), end_stream=False)
    client.engine.send_data(pushed, b"never sent", end_stream=True)
    assert client.receive(rst_stream(pushed, ErrorCode.CANCEL)) == [StreamReset(2, ErrorCode.CANCEL, by_peer=True)]
    assert client.engine.queued(pushed) == 0
    assert described(client.sent()) == [("Headers", 2)]
    # The page itself goes on.
    client.engine.send_head(1, ResponseHead(200), end_stream=True)
    assert described(client.sent()) == [("Headers", 1)]


def test_windows_and_priority_of_a_push_are_the_clients(http2_make: Make) -> None:
    client = ClientSide(http2_make, theirs={INITIAL_WINDOW: 10})
    pushed = pushing(client)
    assert client.receive(window_update(pushed, 5), raw(PRIORITY, 0, pushed, bytes(5))) == []
    client.engine.send_head(pushed, ResponseHead(200), end_stream=False)
    client.engine.send_data(pushed, bytes(40), end_stream=True)
    assert [frame.body_len for frame in client.sent()][1:] == [15]
    client.receive(settings_frame({INITIAL_WINDOW: 20}))
    client.receive(window_update(pushed, 15))
    assert [frame.body_len for frame in client.sent()][1:] == [25]


@pytest.mark.parametrize(
    ("increment", "code"), [(0, ErrorCode.PROTOCOL_ERROR), (2**31 - 1, ErrorCode.FLOW_CONTROL_ERROR)]
)
def test_a_bad_window_resets_the_push(client: ClientSide, increment: int, code: ErrorCode) -> None:
    pushed = pushing(client)
    update = raw(8, 0, pushed, increment.to_bytes(4, "big"))
    assert reset_of(client.receive(update)) == StreamReset(
        2, code, False, "WINDOW_UPDATE of 0" if not increment else "window above 2^31-1"
    )
    assert client.resets() == [(2, code)]
    assert client.engine.can_push


@pytest.mark.parametrize("state", ["promised", "answered", "whole", "reset", "refused"])
@pytest.mark.parametrize("kind", ["DATA", "HEADERS"])
def test_a_client_that_sends_on_a_push_breaks_the_connection(client: ClientSide, kind: str, state: str) -> None:
    """RFC 9113, 5.1: never was or will be its turn there."""
    pushed = pushing(client)
    if state in ("answered", "whole"):
        client.engine.send_head(pushed, ResponseHead(200), end_stream=state == "whole")
    elif state == "reset":
        client.engine.reset(pushed, ErrorCode.CANCEL)
    elif state == "refused":
        client.receive(rst_stream(pushed, ErrorCode.CANCEL))
    frame = data(pushed, b"x") if kind == "DATA" else client.headers(pushed, GET, True)
    failure = failure_of(client.receive(frame))
    assert (failure.code, failure.reason) == (ErrorCode.PROTOCOL_ERROR, Reason.CLIENT_PROTOCOL)
    assert goaway_of(client.sent()) == (1, ErrorCode.PROTOCOL_ERROR)


def test_what_crosses_the_end_of_a_push_is_let_pass(client: ClientSide) -> None:
    for _ in range(2):
        pushing(client)
    client.engine.send_head(2, ResponseHead(200), end_stream=True)
    client.engine.reset(4, ErrorCode.CANCEL)
    client.sent()
    for pushed in (2, 4):
        assert client.receive(window_update(pushed, 5), rst_stream(pushed, 8), raw(PRIORITY, 0, pushed, bytes(5))) == []
    assert client.sent() == []


@pytest.mark.parametrize(
    "frame", [window_update(4, 5), rst_stream(4, 8), data(4, b"")], ids=["window", "reset", "data"]
)
def test_what_was_not_promised_is_idle(client: ClientSide, frame: bytes) -> None:
    pushing(client)
    assert failure_of(client.receive(frame)).code == ErrorCode.PROTOCOL_ERROR


def test_a_push_outlives_its_stream(client: ClientSide) -> None:
    pushed = pushing(client)
    client.receive(rst_stream(1, ErrorCode.CANCEL))
    assert client.engine.open_streams == 0
    client.engine.send_head(pushed, ResponseHead(200), end_stream=False)
    client.engine.send_data(pushed, b"body", end_stream=True)
    assert described(client.sent()) == [("Headers", 2), ("Data", 2)]


def test_a_reset_of_ours_drops_what_waits_of_a_push(client: ClientSide) -> None:
    pushed = pushing(client)
    client.engine.send_head(pushed, ResponseHead(200), end_stream=False)
    client.engine.send_data(pushed, b"gone", end_stream=True)
    client.engine.reset(pushed, ErrorCode.INTERNAL_ERROR)
    head, reset = client.sent()
    assert isinstance(head, HeadersFrame)
    assert isinstance(reset, RstStreamFrame)
    assert (reset.stream_id, reset.error_code) == (2, ErrorCode.INTERNAL_ERROR)


def test_pushes_and_responses_have_their_turns(client: ClientSide) -> None:
    pushing(client)
    for stream_id in (1, 2):
        client.engine.send_head(stream_id, ResponseHead(200), end_stream=False)
        client.engine.send_data(stream_id, bytes(30_000), end_stream=True)
    assert [stream_id for _, stream_id in described(client.sent())] == [1, 2, 1, 2, 1, 2]


def test_a_thousand_pushes_leave_nothing_open(client: ClientSide) -> None:
    client.request(1)
    for number in range(1_000):
        promised = client.engine.push(1, STYLE)
        assert promised == 2 * number + 2
        client.engine.send_head(promised, ResponseHead(200), end_stream=number % 2 == 0)
        if number % 2:
            client.engine.reset(promised, ErrorCode.CANCEL)
        client.sent()
    client.receive(settings_frame({MAX_STREAMS: 1}))
    assert client.engine.can_push
    # Streams that the client has closed are remembered as without them.
    client.engine.send_head(1, ResponseHead(200), end_stream=True)
    assert failure_of(client.receive(data(1, b"late"))).code == ErrorCode.STREAM_CLOSED


def test_a_tunnel_can_be_pushed_on_as_any_stream(http2_make: Make) -> None:
    client = ClientSide(http2_make, Http2Settings(enable_connect=True))
    client.request(1, WEBSOCKET, end_stream=False)
    assert client.engine.push(1, STYLE) == 2
