"""Bodies on their way out: framing, fairness, windows, limits, ends."""

from __future__ import annotations

import pytest
from hyperframe.frame import DataFrame, HeadersFrame, RstStreamFrame

from h2gate.errors import ErrorCode
from h2gate.protocol.contract import Http2Settings
from h2gate.protocol.events import ResponseHead
from tests.support.http2_engine import (
    LIMIT,
    POST,
    BackendSide,
    ClientSide,
    Make,
    data,
    parse,
    ping,
    rst_stream,
    settings_frame,
    window_update,
)

FRAME = 16_384
INITIAL_WINDOW = 4
MAX_FRAME_SIZE = 5


def answering(client: ClientSide, *stream_ids: int) -> None:
    """Open streams and send their response heads."""
    for stream_id in stream_ids:
        client.request(stream_id)
        client.engine.send_head(stream_id, ResponseHead(200), end_stream=False)
    client.sent()


def flow(client: ClientSide, limit: int = LIMIT) -> list[tuple[int, int, bool]]:
    """Return the DATA frames that go out now: stream, length, whether it is the end."""
    return [
        (frame.stream_id, len(frame.data), "END_STREAM" in frame.flags)
        for frame in client.sent(limit)
        if isinstance(frame, DataFrame)
    ]


def test_the_end_rides_on_the_last_frame_and_chunks_share_frames(client: ClientSide) -> None:
    answering(client, 1)
    for piece in (b"a" * 10, b"b" * 20_000, b"c" * 10):
        client.engine.send_data(1, piece, end_stream=False)
    client.engine.send_data(1, b"d", end_stream=True)
    assert client.engine.queued(1) == 20_021
    assert flow(client) == [(1, FRAME, False), (1, 20_021 - FRAME, True)]
    assert client.bodies[1] == b"a" * 10 + b"b" * 20_000 + b"c" * 10 + b"d"
    assert client.engine.queued(1) == 0
    assert client.engine.open_streams == 0


def test_an_empty_end_behind_what_waits_rides_along(client: ClientSide) -> None:
    answering(client, 1)
    client.engine.send_data(1, b"abc", end_stream=False)
    client.engine.send_data(1, b"", end_stream=True)
    assert flow(client) == [(1, 3, True)]


def test_an_empty_end_alone_is_an_empty_frame(client: ClientSide) -> None:
    answering(client, 1)
    client.engine.send_data(1, b"abc", end_stream=False)
    assert flow(client) == [(1, 3, False)]
    client.engine.send_data(1, b"", end_stream=False)
    assert flow(client) == []
    client.engine.send_data(1, b"", end_stream=True)
    assert flow(client) == [(1, 0, True)]


def test_an_empty_end_needs_no_window(http2_make: Make) -> None:
    client = ClientSide(http2_make, theirs={INITIAL_WINDOW: 0})
    answering(client, 1)
    client.engine.send_data(1, b"", end_stream=True)
    assert flow(client) == [(1, 0, True)]


def test_trailers_follow_the_last_byte_and_end_the_stream(client: ClientSide) -> None:
    answering(client, 1)
    client.engine.send_data(1, b"a" * FRAME + b"b", end_stream=False)
    client.engine.send_trailers(1, [(b"grpc-status", b"0")])
    first, second, trailers = client.sent()
    assert isinstance(first, DataFrame)
    assert isinstance(second, DataFrame)
    assert "END_STREAM" not in second.flags
    assert isinstance(trailers, HeadersFrame)
    assert trailers.fields == [(b"grpc-status", b"0")]  # type: ignore[attr-defined]
    assert "END_STREAM" in trailers.flags
    assert client.engine.open_streams == 0


def test_trailers_without_a_body_follow_the_head(client: ClientSide) -> None:
    answering(client, 1)
    client.engine.send_trailers(1, [(b"grpc-status", b"0")])
    (trailers,) = client.sent()
    assert "END_STREAM" in trailers.flags


def test_empty_trailers_are_an_end(client: ClientSide) -> None:
    answering(client, 1, 3)
    client.engine.send_trailers(1, [])
    client.engine.send_data(3, b"abc", end_stream=False)
    client.engine.send_trailers(3, [])
    assert flow(client) == [(1, 0, True), (3, 3, True)]


def test_trailer_blocks_are_made_in_the_order_they_leave(client: ClientSide) -> None:
    answering(client, 1, 3)
    client.engine.send_data(1, b"abc", end_stream=False)
    client.engine.send_trailers(1, [(b"x-one", b"shared"), (b"x-two", b"shared")])
    client.request(5)
    client.engine.send_head(5, ResponseHead(200, [(b"x-two", b"shared"), (b"x-one", b"shared")]), end_stream=True)
    head, _, trailers = client.sent()
    assert (head.stream_id, trailers.stream_id) == (5, 1)
    assert trailers.fields == [(b"x-one", b"shared"), (b"x-two", b"shared")]  # type: ignore[attr-defined]


def test_streams_take_turns_frame_by_frame(http2_make: Make) -> None:
    client = ClientSide(http2_make, theirs={INITIAL_WINDOW: 10 * FRAME})
    answering(client, 1, 3, 5)
    client.receive(window_update(0, 100 * FRAME))
    for stream_id, frames in ((1, 4), (3, 2), (5, 1)):
        client.engine.send_data(stream_id, bytes(frames * FRAME), end_stream=True)
    assert [stream_id for stream_id, _, _ in flow(client)] == [1, 3, 5, 1, 3, 1, 1]


def test_turns_go_on_where_the_limit_stopped_them(client: ClientSide) -> None:
    answering(client, 1, 3)
    for stream_id in (1, 3):
        client.engine.send_data(stream_id, bytes(2 * FRAME), end_stream=False)
    client.receive(window_update(0, 100 * FRAME))
    assert [flow(client, 1)[0][0] for _ in range(4)] == [1, 3, 1, 3]


@pytest.mark.parametrize("limit", [1, 100, FRAME, FRAME + 9, 40_000])
def test_no_more_than_the_limit_and_one_frame_goes_out(client: ClientSide, limit: int) -> None:
    answering(client, 1, 3)
    for stream_id in (1, 3):
        client.engine.send_data(stream_id, bytes(30_000), end_stream=True)
    sizes = []
    while sent := client.engine.data_to_send(limit):
        sizes.append(len(sent))
    assert max(sizes) < limit + FRAME + 9
    assert sum(size for _, size in client.engine.take_framed()) == 60_000


def test_control_frames_and_heads_go_before_bodies_and_within_the_limit(client: ClientSide) -> None:
    answering(client, 1)
    client.engine.send_data(1, b"body", end_stream=True)
    client.request(3)
    client.engine.send_head(3, ResponseHead(200), end_stream=True)
    client.receive(ping())
    sent = []
    while piece := client.engine.data_to_send(5):
        assert len(piece) <= 5 + 9 + 4
        sent.append(piece)
    assert [type(frame).__name__ for frame in parse(b"".join(sent))] == ["HeadersFrame", "PingFrame", "DataFrame"]


def test_a_stream_waits_for_its_window(http2_make: Make) -> None:
    client = ClientSide(http2_make, theirs={INITIAL_WINDOW: 10})
    answering(client, 1, 3)
    client.engine.send_data(1, bytes(25), end_stream=True)
    client.engine.send_data(3, bytes(5), end_stream=True)
    assert flow(client) == [(1, 10, False), (3, 5, True)]
    assert flow(client) == []
    assert client.engine.queued(1) == 15
    client.receive(window_update(1, 10))
    assert flow(client) == [(1, 10, False)]
    client.receive(window_update(1, 10))
    assert flow(client) == [(1, 5, True)]


def test_all_streams_wait_for_the_connections_window(client: ClientSide) -> None:
    answering(client, 1, 3)
    client.receive(window_update(1, 100_000))
    client.engine.send_data(1, bytes(65_535), end_stream=False)
    assert sum(size for _, size, _ in flow(client)) == 65_535
    client.engine.send_data(3, b"abc", end_stream=True)
    client.engine.send_data(1, b"abc", end_stream=True)
    assert flow(client) == []
    client.receive(window_update(0, 4))
    assert flow(client) == [(3, 3, True), (1, 1, False)]
    client.receive(window_update(0, 100))
    assert flow(client) == [(1, 2, True)]


def test_settings_open_and_shut_the_windows_of_running_streams(http2_make: Make) -> None:
    client = ClientSide(http2_make, theirs={INITIAL_WINDOW: 10})
    answering(client, 1)
    client.engine.send_data(1, bytes(30), end_stream=True)
    assert flow(client, 1) == [(1, 10, False)]
    client.receive(settings_frame({INITIAL_WINDOW: 20}))
    client.receive(settings_frame({INITIAL_WINDOW: 5}))
    # 10 of 5 are used: the window is negative, and has to come up first (RFC 9113, 6.9.2).
    assert flow(client) == []
    client.receive(window_update(1, 5))
    assert flow(client) == []
    client.receive(window_update(1, 1))
    assert flow(client) == [(1, 1, False)]


def test_frames_stay_small_whatever_the_peer_would_take(http2_make: Make) -> None:
    client = ClientSide(http2_make, theirs={MAX_FRAME_SIZE: 1 << 20})
    answering(client, 1)
    client.engine.send_data(1, bytes(40_000), end_stream=True)
    assert [size for _, size, _ in flow(client)] == [FRAME, FRAME, 40_000 - 2 * FRAME]


def test_what_was_framed_is_told_once_for_each_stream(client: ClientSide) -> None:
    answering(client, 1, 3)
    client.engine.send_data(1, bytes(20_000), end_stream=False)
    client.engine.send_data(3, b"abc", end_stream=True)
    assert client.engine.take_framed() == []
    client.sent()
    assert sorted(client.engine.take_framed()) == [(1, 20_000), (3, 3)]
    assert client.engine.take_framed() == []


def test_a_reset_drops_what_waits(client: ClientSide) -> None:
    answering(client, 1, 3)
    client.engine.send_data(1, b"gone", end_stream=True)
    client.engine.send_data(3, b"stays", end_stream=True)
    client.engine.reset(1, ErrorCode.CANCEL)
    assert client.engine.queued(1) == 0
    reset, frame = client.sent()
    assert isinstance(reset, RstStreamFrame)
    assert (reset.stream_id, reset.error_code) == (1, ErrorCode.CANCEL)
    assert frame.stream_id == 3
    assert client.engine.open_streams == 0


def test_a_reset_by_the_peer_drops_what_waits(client: ClientSide) -> None:
    answering(client, 1)
    client.engine.send_data(1, b"gone", end_stream=True)
    client.receive(rst_stream(1, 8))
    assert client.sent() == []


def test_calls_for_a_closed_stream_are_ignored(client: ClientSide) -> None:
    answering(client, 1)
    client.receive(rst_stream(1, 8))
    engine = client.engine
    engine.send_interim(1, ResponseHead(103))
    engine.send_head(1, ResponseHead(200), end_stream=True)
    engine.send_data(1, b"abc", end_stream=True)
    engine.send_trailers(1, [(b"a", b"b")])
    engine.credit(1, 100_000)
    engine.reset(1, ErrorCode.CANCEL)
    assert engine.queued(1) == 0
    assert client.sent() == []


def test_an_early_response_goes_out_whole_before_the_reset(client: ClientSide) -> None:
    client.request(1, POST, end_stream=False)
    client.engine.send_head(1, ResponseHead(413), end_stream=False)
    client.engine.send_data(1, b"too large", end_stream=True)
    assert [type(frame).__name__ for frame in client.sent()] == ["HeadersFrame", "DataFrame"]
    assert client.engine.queued(1) == 0
    assert client.engine.open_streams == 1
    client.engine.reset(1, ErrorCode.NO_ERROR)
    assert client.resets() == [(1, ErrorCode.NO_ERROR)]
    # What crosses the reset is no offence.
    assert client.receive(data(1, b"late"), window_update(1, 5), rst_stream(1, 8)) == []
    client.request(3)


def test_interim_heads_precede_the_final_one(client: ClientSide) -> None:
    client.request(1, POST, end_stream=False)
    client.engine.send_interim(1, ResponseHead(100))
    client.engine.send_interim(1, ResponseHead(103, [(b"link", b"</a>")]))
    client.engine.send_head(1, ResponseHead(200), end_stream=True)
    heads = [frame.fields for frame in client.sent()]  # type: ignore[attr-defined]
    assert heads == [[(b":status", b"100")], [(b":status", b"103"), (b"link", b"</a>")], [(b":status", b"200")]]


def test_a_request_body_goes_out_as_a_response_does(backend: BackendSide) -> None:
    backend.ask(b"POST", end_stream=False)
    backend.engine.send_data(1, b"abc", end_stream=False)
    backend.engine.send_trailers(1, [(b"a", b"b")])
    body, trailers = backend.sent()
    assert isinstance(body, DataFrame)
    assert trailers.fields == [(b"a", b"b")]  # type: ignore[attr-defined]
    assert backend.engine.open_streams == 1


def test_a_window_update_frees_its_stream_alone_of_a_thousand_that_wait(http2_make: Make) -> None:
    client = ClientSide(http2_make, Http2Settings(max_streams=1_001), theirs={INITIAL_WINDOW: 1})
    answering(client, *range(1, 2_002, 2))
    for stream_id in range(1, 2_002, 2):
        client.engine.send_data(stream_id, b"ab", end_stream=True)
    assert len(flow(client)) == 1_001
    client.receive(window_update(2_001, 1))
    assert flow(client) == [(2_001, 1, True)]


def test_a_window_that_settings_made_negative_stops_a_waiting_body_and_no_head(client: ClientSide) -> None:
    client.receive(settings_frame({4: 20_000}))
    client.request(1)
    client.request(3)
    client.engine.send_head(1, ResponseHead(200), end_stream=False)
    client.engine.send_data(1, bytes(19_990), end_stream=False)
    client.sent()
    client.engine.send_data(1, bytes(100), end_stream=True)
    client.receive(settings_frame({4: 1_000}))
    client.engine.send_head(3, ResponseHead(200, [(b"x-large", bytes(15_000).replace(b"\0", b"v"))]), end_stream=True)
    assert {frame.stream_id for frame in client.sent()} == {0, 3}
    assert client.engine.queued(1) == 100
    client.receive(window_update(1, 19_100))
    assert len(client.sent()) == 1
    assert len(client.bodies[1]) == 20_090
