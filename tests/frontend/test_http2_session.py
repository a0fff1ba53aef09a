from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    PushedStreamReceived,
    RemoteSettingsChanged,
    ResponseReceived,
    StreamEnded,
    StreamReset,
)
from h2.settings import SettingCodes
from hyperframe.frame import DataFrame, Frame, GoAwayFrame, HeadersFrame, PingFrame, RstStreamFrame
from hypothesis import given
from hypothesis import strategies as st

from h2gate.errors import Failure, Reason
from h2gate.frontend.http2 import LAST_CALL_PING, Http2Session
from h2gate.frontend.session_state import SESSION, SessionEvent, SessionState
from h2gate.lifecycle import InvalidTransition
from h2gate.protocol.contract import Http2Settings
from h2gate.protocol.engines import choose
from h2gate.protocol.events import RequestHead, ResponseHead
from tests.frontend.house import House, Sink

T = TypeVar("T", bound=Event)

HEAD = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")]
POST = [(":method", "POST"), *HEAD[1:]]


def head_frame(stream_id: int) -> bytes:
    """A GET without the compression's memory, so that it may be sent at any time."""
    block = b"\x82\x86\x84\x01\x01a"
    return HeadersFrame(stream_id, block, flags=["END_HEADERS", "END_STREAM"]).serialize()


class Peer:
    """A client made of the h2 library."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.socket: Any = house.connect()
        self.h2 = H2Connection(H2Configuration(client_side=True))
        self.h2.initiate_connection()
        self.events: list[Event] = []
        self.is_closed = False
        self.send()

    def send(self) -> None:
        self.socket.sendall(self.h2.data_to_send())

    def get(self, fields: list[tuple[str, str]] = HEAD, *, end_stream: bool = True) -> int:
        stream_id = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream_id, fields, end_stream=end_stream)
        self.send()
        return stream_id

    def read(self) -> None:
        data = self.socket.recv(65536)
        if data:
            self.events += self.h2.receive_data(data)
            self.send()
        else:
            self.is_closed = True

    def frames(self) -> Iterator[Frame]:
        """Read frames as they are: h2 takes nothing any more once it has seen GOAWAY."""
        data = b""
        while piece := self.socket.recv(65536):
            data += piece
            while len(data) >= 9:
                frame, size = Frame.parse_frame_header(memoryview(data[:9]))
                if len(data) < 9 + size:
                    break
                frame.parse_body(memoryview(data[9 : 9 + size]))
                data = data[9 + size :]
                yield frame

    def expect(self, kind: type[T], condition: Callable[[T], object] = lambda event: True) -> T:
        """Return the first event of that kind, reading until it is there."""
        while True:
            for event in self.events:
                if isinstance(event, kind) and condition(event):
                    self.events.remove(event)
                    return event
            assert not self.is_closed, self.events
            self.read()


@pytest.fixture
def house() -> Iterator[House]:
    house = House()
    yield house
    house.close()


def test_streams_are_answered_in_any_order(house: House) -> None:
    peer = Peer(house)
    ids = [peer.get() for _ in range(3)]
    house.request(2)
    for number in (2, 0, 1):
        house.request(number).answer(200, b"%d" % number)
    house.flush()
    for number in range(3):
        stream_id = ids[number]
        assert peer.expect(DataReceived, lambda event, i=stream_id: event.stream_id == i).data == b"%d" % number
    assert [sink.framed for sink in house.handler.sinks] == [1, 1, 1]


def test_the_session_waits_for_its_client_when_the_stream_window_is_used_up(house: House) -> None:
    peer = Peer(house)
    stream_id = peer.get()
    sink = house.request()
    sink.answer(200, b"x" * 200_000)
    house.flush()
    house.wait_for(lambda: sink.framed == 65_535, "a full window")
    received = 0
    while received < 200_000:
        event = peer.expect(DataReceived)
        received += len(event.data)
        peer.h2.acknowledge_received_data(event.flow_controlled_length, stream_id)
        peer.send()
    peer.expect(StreamEnded)
    assert sink.framed == 200_000


def test_an_upload_gets_no_more_window_than_the_handler_gives_back() -> None:
    house = House(limits={"stream_window": "64KiB", "connection_window": "1MiB"})
    peer = Peer(house)
    stream_id = peer.get(POST, end_stream=False)
    sink = house.request()
    sink.gives_credit = False
    house.turn()
    while peer.h2.local_flow_control_window(stream_id):
        size = min(16_384, peer.h2.local_flow_control_window(stream_id))
        peer.h2.send_data(stream_id, b"y" * size)
        peer.send()
    house.wait_for(lambda: len(sink.body) >= 65_535, "the first window")
    sink.stream.credit(len(sink.body))
    house.flush()
    while not peer.h2.local_flow_control_window(stream_id):
        peer.read()
    house.close()


def test_what_a_finished_stream_was_not_credited_for_goes_back_to_the_connection() -> None:
    house = House(limits={"stream_window": "64KiB", "connection_window": "64KiB"})
    house.handler.on_begin = lambda sink: setattr(sink, "gives_credit", False)
    peer = Peer(house)
    for number in range(5):
        stream_id = peer.get(POST, end_stream=False)
        sent = 0
        while sent < 60_000:
            while not peer.h2.local_flow_control_window(stream_id):
                peer.read()
            size = min(16_000, peer.h2.local_flow_control_window(stream_id), 60_000 - sent)
            peer.h2.send_data(stream_id, b"y" * size)
            peer.send()
            sent += size
        sink = house.request(number)
        house.wait_for(lambda sink=sink: len(sink.body) == 60_000, "the body")
        sink.answer(200)
        house.flush()
        peer.expect(ResponseReceived)
    house.close()


def test_a_reset_stream_is_told_and_leaves_the_others_alone(house: House) -> None:
    peer = Peer(house)
    first, second = peer.get(), peer.get()
    house.request(1)
    peer.h2.reset_stream(first, ErrorCodes.CANCEL)
    peer.send()
    house.wait_for(lambda: house.handler.sinks[0].gone, "the reset")
    assert house.handler.sinks[0].gone == Failure(Reason.CLIENT_RESET, "CANCEL")
    house.handler.sinks[1].answer(204)
    house.flush()
    assert peer.expect(ResponseReceived).stream_id == second


def test_all_requests_of_a_client_that_leaves_are_told(house: House) -> None:
    peer = Peer(house)
    for _ in range(3):
        peer.get()
    house.request(2)
    peer.socket.close()
    house.wait_for(lambda: all(sink.gone for sink in house.handler.sinks), "all are told")


def test_a_broken_response_is_reset(house: House) -> None:
    peer = Peer(house)
    peer.get()
    sink = house.request()
    sink.stream.send_head(ResponseHead(200, []), False)
    sink.stream.send_data(b"half", False)
    house.flush()
    sink.stream.reset(Failure(Reason.BACKEND_CLOSED))
    house.flush()
    assert peer.expect(StreamReset).error_code == ErrorCodes.INTERNAL_ERROR
    assert not any(isinstance(event, StreamEnded) for event in peer.events)


def test_an_early_answer_ends_the_upload_without_an_error(house: House) -> None:
    peer = Peer(house)
    stream_id = peer.get(POST, end_stream=False)
    house.request().answer(413, b"too large")
    house.flush()
    peer.expect(StreamEnded)
    reset = peer.expect(StreamReset)
    assert (reset.stream_id, reset.error_code) == (stream_id, ErrorCodes.NO_ERROR)


def test_a_window_that_stays_shut_costs_its_stream_only() -> None:
    house = House({"client_write": "400ms"})
    peer = Peer(house)
    stalled = peer.get()
    sink = house.request()
    sink.answer(200, b"x" * 100_000)
    house.flush()
    house.wait_for(lambda: sink.gone, "the stall is noticed")
    assert sink.gone is not None
    assert sink.gone.reason is Reason.CLIENT_STALL
    assert peer.expect(StreamReset).stream_id == stalled
    peer.h2.increment_flow_control_window(100_000)
    peer.get()
    house.request(1).answer(204)
    house.flush()
    peer.expect(ResponseReceived, lambda event: event.stream_id != stalled)
    house.close()


def test_a_client_that_takes_no_answers_is_not_read_any_more() -> None:
    house = House(limits={"streams": 10})
    house.handler.on_begin = lambda sink: sink.answer(204, fields=[(b"x-noise", os.urandom(3000).hex().encode())])
    peer = Peer(house)
    for number in range(100):
        first = 20 * number + 1
        peer.socket.sendall(b"".join(map(head_frame, range(first, first + 20, 2))))
        house.turn()
    assert len(house.handler.sinks) < 200
    # Once it reads again, so does the session; what was sent beyond the limit is refused.
    ends = 0
    for frame in peer.frames():
        ends += isinstance(frame, HeadersFrame | RstStreamFrame)
        if ends == 1000:
            break
    house.close()


def test_a_download_that_fills_the_transport_does_not_keep_other_streams_that_are_done(house: House) -> None:
    house.front.make_http2 = lambda: choose("auto").http2_server(Http2Settings(max_streams=100))
    peer = Peer(house)
    peer.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 2**31 - 1})
    peer.h2.increment_flow_control_window(2**30)
    peer.get()
    download = house.request(0)
    download.answer(200, b"x" * 50_000_000)
    house.flush()
    for number in range(1, 21):
        peer.get()
        house.request(number).answer(204)
        house.flush()
    (session,) = house.front.sessions
    assert isinstance(session, Http2Session)
    while download.framed < 2_000_000:
        peer.socket.recv(65_536)
    assert list(session.streams) == [1]
    assert download.framed < 50_000_000


def test_a_malformed_request_is_reset_and_the_session_lives(house: House, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "h2gate")
    peer = Peer(house)
    peer.h2.config.validate_outbound_headers = False
    peer.h2.config.normalize_outbound_headers = False
    bad = peer.get([*HEAD, ("X-Upper", "1")])
    assert peer.expect(StreamReset).stream_id == bad
    again = peer.get([*HEAD, ("X-Upper", "1")])
    assert peer.expect(StreamReset).stream_id == again
    # One line for a connection, however often.
    (record,) = caplog.records
    assert record.getMessage() == "client 192.0.2.7:4711: malformed request: bad field name b'X-Upper'"
    peer.get()
    house.request(0).answer(204)
    house.flush()
    peer.expect(ResponseReceived)


def test_a_head_that_is_too_large_is_answered_with_431(house: House) -> None:
    peer = Peer(house)
    peer.get([*HEAD, *((f"x-{number}", "1") for number in range(150))])
    response = peer.expect(ResponseReceived)
    assert dict(response.headers)[b":status"] == b"431"
    assert house.handler.sinks[0].rejected is not None


def test_garbage_behind_the_preface_ends_the_session_with_goaway(house: House) -> None:
    peer = Peer(house)
    peer.get()
    sink = house.request()
    peer.socket.sendall(b"\x00\x00\x01\x00\x00\x00\x00\x00\x00x")
    assert peer.expect(ConnectionTerminated).error_code == ErrorCodes.PROTOCOL_ERROR
    house.wait_for(lambda: sink.gone, "the request is told")
    assert sink.gone is not None
    assert sink.gone.reason is Reason.CLIENT_PROTOCOL


# Cancelling


def cancelled(stream_id: int) -> bytes:
    return head_frame(stream_id) + RstStreamFrame(stream_id, error_code=ErrorCodes.CANCEL).serialize()


def test_a_client_that_cancels_too_much_is_told_to_calm_down_and_begins_nothing_more(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "h2gate")
    house = House(limits={"reset_burst": 3, "reset_rate": 1})
    peer = Peer(house)
    waiting = peer.get()
    house.request(0)
    # All of it is one read: what comes behind the breach is not begun.
    peer.socket.sendall(b"".join(map(cancelled, range(waiting + 2, waiting + 20, 2))))
    (goaway,) = (frame for frame in peer.frames() if isinstance(frame, GoAwayFrame))
    assert goaway.error_code == ErrorCodes.ENHANCE_YOUR_CALM
    assert len(house.handler.sinks) == 5
    assert [sink.gone.reason for sink in house.handler.sinks if sink.gone] == [
        Reason.CLIENT_PROTOCOL,
        *[Reason.CLIENT_RESET] * 3,
        Reason.CLIENT_PROTOCOL,
    ]
    (record,) = caplog.records
    assert record.getMessage() == (
        "client 192.0.2.7:4711: HTTP/2 connection ended by ENHANCE_YOUR_CALM: 3 cancelled requests, and 1 each second"
    )
    house.close()


def test_to_cancel_what_has_been_answered_is_no_offence() -> None:
    house = House(limits={"reset_burst": 1, "reset_rate": 1})
    peer = Peer(house)
    for number in range(4):
        stream_id = peer.get()
        # More than the window: it is given to the engine, and not yet on its way.
        house.request(number).answer(200, b"x" * 70_000)
        peer.h2.reset_stream(stream_id, ErrorCodes.CANCEL)
        peer.send()
        house.wait_for(lambda number=number: house.handler.sinks[number].gone, "the reset")
    assert house.front.sessions
    house.close()


def test_a_client_that_makes_us_reset_too_often_is_told_to_calm_down(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("h2gate.frontend.http2.OWN_RESETS", 3)
    peer = Peer(house)
    house.turn()
    bad = b"".join(
        HeadersFrame(number, b"\x82\x86\x84\x00\x01X\x011", flags=["END_HEADERS", "END_STREAM"]).serialize()
        for number in range(1, 20, 2)
    )
    peer.socket.sendall(bad + head_frame(21))
    (goaway,) = (frame for frame in peer.frames() if isinstance(frame, GoAwayFrame))
    assert goaway.error_code == ErrorCodes.ENHANCE_YOUR_CALM
    assert house.handler.sinks == []


# Pushing


STYLE = RequestHead(b"GET", b"http", b"a", b"/style")


def test_a_push_is_promised_and_answered_as_a_request_of_its_own(house: House) -> None:
    peer = Peer(house)
    parent = peer.get()
    page = house.request(0)
    assert page.stream.can_push
    page.stream.push(STYLE)
    style = house.request(1)
    assert (style.head, style.end_stream) == (STYLE, True)
    page.answer(200, b"page")
    style.answer(200, b"style")
    house.flush()
    pushed = peer.expect(PushedStreamReceived)
    assert (pushed.parent_stream_id, pushed.pushed_stream_id) == (parent, 2)
    assert pushed.headers is not None
    assert (b":path", b"/style") in list(pushed.headers)
    assert peer.expect(DataReceived, lambda event: event.stream_id == 2).data == b"style"
    assert peer.expect(DataReceived, lambda event: event.stream_id == parent).data == b"page"
    assert (page.framed, style.framed) == (4, 5)
    house.wait_for(lambda: not session_of(house).streams, "both are over")


def session_of(house: House) -> Http2Session:
    (session,) = house.front.sessions
    assert isinstance(session, Http2Session)
    return session


def test_a_push_has_no_interim_heads(house: House) -> None:
    # h2 would end the connection.
    peer = Peer(house)
    peer.get()
    page = house.request()
    page.stream.push(STYLE)
    style = house.request(1)
    style.stream.send_interim(ResponseHead(103, [(b"link", b"</a>")]))
    style.answer(200, b"style")
    house.flush()
    assert peer.expect(ResponseReceived).stream_id == 2


def test_nothing_is_pushed_twice_on_a_connection(house: House) -> None:
    peer = Peer(house)
    for before, script in ((0, b"/one"), (3, b"/two")):
        peer.get()
        page = house.request(before)
        for head in (STYLE, STYLE, RequestHead(b"GET", b"http", b"a", script)):
            page.stream.push(head)
        for sink in house.handler.sinks[before:]:
            sink.answer(204)
        house.flush()
    paths = [sink.head.path for sink in house.handler.sinks if sink.head is not None]
    assert paths == [b"/", b"/style", b"/one", b"/", b"/two"]


def test_the_memory_of_pushes_ends(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("h2gate.frontend.http2.PUSH_MEMORY", 2)
    house.handler.on_begin = lambda sink: None if sink.head is None or sink.head.path == b"/" else sink.answer(204)
    peer = Peer(house)
    peer.get()
    page = house.request(0)
    for path in (b"/1", b"/2", b"/3", b"/2", b"/3", b"/1"):
        page.stream.push(RequestHead(b"GET", b"http", b"a", path))
        house.flush()
    paths = [sink.head.path for sink in house.handler.sinks if sink.head is not None]
    assert paths == [b"/", b"/1", b"/2", b"/3", b"/1"]


def test_a_pushed_response_may_be_cancelled_without_end() -> None:
    house = House(limits={"reset_burst": 1, "reset_rate": 1})
    peer = Peer(house)
    peer.get()
    page = house.request(0)
    for number in range(1, 6):
        page.stream.push(RequestHead(b"GET", b"http", b"a", b"/%d" % number))
        house.flush()
        pushed = peer.expect(PushedStreamReceived)
        peer.h2.reset_stream(pushed.pushed_stream_id, ErrorCodes.CANCEL)
        peer.send()
        sink = house.request(number)
        house.wait_for(lambda sink=sink: sink.gone, "the reset")
    page.answer(204)
    house.flush()
    peer.expect(ResponseReceived)
    house.close()


def test_to_a_client_that_wants_none_nothing_is_pushed(house: House) -> None:
    peer = Peer(house)
    peer.h2.update_settings({SettingCodes.ENABLE_PUSH: 0})
    peer.get()
    page = house.request(0)
    assert not page.stream.can_push
    page.stream.push(STYLE)
    page.answer(204)
    house.flush()
    peer.expect(ResponseReceived)
    assert len(house.handler.sinks) == 1
    assert not any(isinstance(event, PushedStreamReceived) for event in peer.events)


def test_nothing_is_pushed_on_a_pushed_an_answered_or_a_leaving_stream(house: House) -> None:
    peer = Peer(house)
    peer.get()
    peer.get()
    page, second = house.request(0), house.request(1)
    page.stream.push(STYLE)
    style = house.request(2)
    assert not style.stream.can_push
    page.answer(200, b"x" * 70_000)
    assert not page.stream.can_push
    assert second.stream.can_push
    house.front.drain()
    assert not second.stream.can_push
    second.stream.push(RequestHead(b"GET", b"http", b"a", b"/other"))
    assert len(house.handler.sinks) == 3


def test_pushes_are_no_more_than_the_streams_that_a_client_may_have() -> None:
    house = House(limits={"streams": 4})
    peer = Peer(house)
    peer.get()
    page = house.request(0)
    for number in range(10):
        page.stream.push(RequestHead(b"GET", b"http", b"a", b"/%d" % number))
    assert len(house.handler.sinks) == 4
    house.close()


# Tunnels


CONNECT = [
    (":method", "CONNECT"),
    (":protocol", "websocket"),
    (":scheme", "http"),
    (":authority", "a"),
    (":path", "/chat"),
]


def tunnel(house: House) -> tuple[Peer, int, Sink]:
    house.front.make_http2 = lambda: choose("auto").http2_server(Http2Settings(enable_connect=True))
    peer = Peer(house)
    peer.expect(RemoteSettingsChanged)
    stream_id = peer.get(CONNECT, end_stream=False)
    sink = house.request()
    assert sink.head is not None
    assert sink.head.protocol == b"websocket"
    return peer, stream_id, sink


def test_each_direction_of_a_tunnel_ends_by_itself_the_backends_first(house: House) -> None:
    peer, stream_id, sink = tunnel(house)
    sink.answer(200, b"bye")
    house.flush()
    peer.expect(StreamEnded)
    house.turn()
    peer.h2.send_data(stream_id, b"still here", end_stream=False)
    peer.send()
    house.wait_for(lambda: sink.body == b"still here", "the client's direction")
    assert not sink.end_stream
    peer.h2.send_data(stream_id, b"", end_stream=True)
    peer.send()
    house.wait_for(lambda: sink.end_stream, "its end")
    house.wait_for(lambda: not session_of(house).streams, "the stream is forgotten")
    assert not any(isinstance(event, StreamReset) for event in peer.events)


def test_each_direction_of_a_tunnel_ends_by_itself_the_clients_first(house: House) -> None:
    peer, stream_id, sink = tunnel(house)
    sink.stream.send_head(ResponseHead(200), False)
    house.flush()
    peer.h2.send_data(stream_id, b"bye", end_stream=True)
    peer.send()
    house.wait_for(lambda: sink.end_stream, "the client's end")
    assert session_of(house).streams
    sink.stream.send_data(b"still here", False)
    house.flush()
    assert peer.expect(DataReceived).data == b"still here"
    sink.stream.send_data(b"", True)
    house.flush()
    peer.expect(StreamEnded)
    house.wait_for(lambda: not session_of(house).streams, "the stream is forgotten")


def test_a_half_closed_tunnel_ends_when_the_exchange_resets_it(house: House) -> None:
    peer, stream_id, sink = tunnel(house)
    sink.answer(200, b"bye")
    house.flush()
    peer.expect(StreamEnded)
    sink.stream.reset(Failure(Reason.IDLE_TIMEOUT))
    house.flush()
    assert peer.expect(StreamReset).stream_id == stream_id
    assert not session_of(house).streams


def test_a_refused_tunnel_is_over_with_its_answer(house: House) -> None:
    peer, _, sink = tunnel(house)
    sink.answer(501, b"no")
    house.flush()
    peer.expect(StreamEnded)
    assert peer.expect(StreamReset).error_code == ErrorCodes.NO_ERROR
    assert not session_of(house).streams


def test_a_tunnel_whose_backend_wants_no_more_ends_without_an_error_behind_the_last_byte(house: House) -> None:
    peer, stream_id, sink = tunnel(house)
    sink.answer(200, b"y" * 100_000)
    sink.stream.refuse_rest()
    house.flush()
    received = 0
    while received < 100_000:
        event = peer.expect(DataReceived)
        received += len(event.data)
        peer.h2.acknowledge_received_data(event.flow_controlled_length, stream_id)
        peer.send()
    peer.expect(StreamEnded)
    assert peer.expect(StreamReset).error_code == ErrorCodes.NO_ERROR
    assert not session_of(house).streams


def test_a_tunnel_outlives_a_drain_until_it_is_over(house: House) -> None:
    peer, stream_id, sink = tunnel(house)
    sink.stream.send_head(ResponseHead(200), False)
    house.front.drain()
    session = session_of(house)
    house.wait_for(lambda: session.state is SessionState.DRAINING, "both calls")
    peer.socket.sendall(DataFrame(stream_id, data=b"going on").serialize())
    house.wait_for(lambda: sink.body == b"going on", "data")
    house.front.shut_down()
    assert sink.gone == Failure(Reason.DRAINING)


# Leaving


def test_a_drained_session_calls_twice_and_closes_when_its_streams_are_done(house: House) -> None:
    peer = Peer(house)
    first = peer.get()
    sink = house.request()
    house.front.drain()
    goaways: list[GoAwayFrame] = []
    body = b""
    for frame in peer.frames():
        if isinstance(frame, GoAwayFrame):
            goaways.append(frame)
        elif isinstance(frame, PingFrame) and "ACK" not in frame.flags:
            assert [goaway.last_stream_id for goaway in goaways] == [2**31 - 1]
            answer = PingFrame(0, opaque_data=frame.opaque_data)
            answer.flags.add("ACK")
            peer.socket.sendall(answer.serialize())
        elif isinstance(frame, DataFrame):
            body += frame.data
        if len(goaways) == 2 and sink.framed == 0 and not body:
            assert house.front.sessions
            sink.answer(200, b"done")
            house.flush()
    assert [(goaway.error_code, goaway.last_stream_id) for goaway in goaways[:2]] == [(0, 2**31 - 1), (0, first)]
    assert body == b"done"
    house.wait_for(lambda: not house.front.sessions, "the session is closed")


@pytest.mark.parametrize("last", ["the answer to the last call", "GOAWAY"])
def test_a_request_that_comes_together_with_what_would_end_the_session_is_still_answered(
    house: House, last: str
) -> None:
    peer = Peer(house)
    first = peer.get()
    house.request(0)
    ack = PingFrame(0, opaque_data=LAST_CALL_PING, flags=["ACK"]).serialize()
    house.front.drain()
    house.turn()
    house.handler.sinks[0].answer(204)
    house.flush()
    end = ack if last != "GOAWAY" else GoAwayFrame(0, 0, 0).serialize()
    peer.socket.sendall(end + head_frame(first + 2))
    house.request(1).answer(200, b"served")
    house.flush()
    assert b"served" in b"".join(frame.data for frame in peer.frames() if isinstance(frame, DataFrame))


def test_sessions_leave_spread_over_the_time_there_is_and_busy_ones_last(house: House) -> None:
    idle, busy = Peer(house), Peer(house)
    idle.get()
    house.request(0).answer(204)
    house.flush()
    idle.expect(ResponseReceived)
    busy.get()
    sink = house.request(1)
    started = house.reactor.deadlines.clock()
    house.front.drain(within=0.6)
    assert any(isinstance(frame, GoAwayFrame) for frame in idle.frames())
    assert not sink.framed
    # Until its time has come a busy session takes new requests.
    busy.get()
    sink.answer(204)
    house.request(2).answer(204)
    house.flush()
    assert any(isinstance(frame, GoAwayFrame) for frame in busy.frames())
    assert house.reactor.deadlines.clock() - started < 5


def test_a_session_between_two_requests_is_busy_still(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("h2gate.frontend.http2.random.random", lambda: 0.01)
    peer = Peer(house)
    house.handler.on_begin = lambda sink: sink.answer(204)
    peer.get()
    peer.expect(ResponseReceived)
    house.front.drain(within=0.7)
    started = house.reactor.deadlines.clock()
    assert any(isinstance(frame, GoAwayFrame) for frame in peer.frames())
    assert house.reactor.deadlines.clock() - started >= 0.6


def test_a_second_call_to_leave_hurries(house: House) -> None:
    peer = Peer(house)
    peer.get()
    house.request(0).answer(204)
    house.flush()
    peer.expect(ResponseReceived)
    house.front.drain(within=3600)
    house.front.drain(within=0)
    assert any(isinstance(frame, GoAwayFrame) for frame in peer.frames())


def test_an_idle_session_is_closed_after_a_while() -> None:
    house = House({"keepalive_http2": "300ms"})
    peer = Peer(house)
    peer.get()
    house.request().answer(204)
    house.flush()
    assert any(isinstance(frame, GoAwayFrame) for frame in peer.frames())
    house.wait_for(lambda: not house.front.sessions, "the session is closed")
    house.close()


def test_a_quick_stop_tells_all_requests(house: House) -> None:
    peer = Peer(house)
    peer.get()
    sink = house.request()
    house.front.shut_down()
    assert sink.gone == Failure(Reason.DRAINING)
    assert any(isinstance(frame, GoAwayFrame) for frame in peer.frames())


@given(st.sampled_from(SessionState), st.lists(st.sampled_from(SessionEvent), max_size=6))
def test_a_session_never_goes_back(state: SessionState, events: list[SessionEvent]) -> None:
    for event in events:
        try:
            following = SESSION.next(state, event)
        except InvalidTransition:
            continue
        assert following > state
        state = following
