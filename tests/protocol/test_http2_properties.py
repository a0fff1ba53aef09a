"""What holds for an HTTP/2 engine whatever comes, in whatever pieces."""

from __future__ import annotations

from hyperframe.frame import WindowUpdateFrame
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from h2gate.errors import ErrorCode
from h2gate.protocol.contract import Http2Settings
from h2gate.protocol.events import (
    ConnectionFailed,
    DataReceived,
    Event,
    Fields,
    RequestHead,
    RequestReceived,
    ResponseHead,
    ResponseReceived,
    TrailersReceived,
)
from tests.support.http2_engine import (
    GET,
    LIMIT,
    MAKES,
    OK,
    POST,
    PREFACE,
    WEBSOCKET,
    BackendSide,
    ClientSide,
    Make,
    data,
    goaway,
    parse,
    ping,
    raw,
    rst_stream,
    settings_ack,
    settings_frame,
    window_update,
)

makes = st.sampled_from(list(MAKES.values()))

NAMES = [b"a", b"accept", b"cookie", b"x-long-name-of-a-field", b"te", b"host", b"content-length", b":path", b"Upper"]
VALUES = [b"", b"0", b"5", b"trailers", b"example.org", b"/", b"a b", b"b\n", b"c" * 300]
field = st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES))
head = st.one_of(
    st.builds(lambda more: GET + more, st.lists(field, max_size=5)),
    st.builds(lambda more: POST + more, st.lists(field, max_size=5)),
    st.builds(lambda more: WEBSOCKET + more, st.lists(field, max_size=5)),
    st.builds(lambda more: OK + more, st.lists(field, max_size=5)),
    st.lists(field, max_size=5),
)
stream_ids = st.sampled_from([0, 1, 2, 3, 5, 7, 9])


@st.composite
def frame(draw: st.DrawFn, client: ClientSide | BackendSide) -> bytes:
    """A frame, more often sensible than not; its field blocks follow each other as one peer's."""
    stream_id = draw(stream_ids)
    kind = draw(st.integers(0, 11))
    if kind <= 2 and stream_id:
        return client.headers(stream_id, draw(head), draw(st.booleans()))
    if kind <= 4 and stream_id:
        padding = draw(st.none() | st.integers(0, 40))
        return data(stream_id, draw(st.binary(max_size=40)), draw(st.booleans()), padding)
    if kind == 5 and stream_id:
        return rst_stream(stream_id, draw(st.integers(0, 15)))
    if kind == 6:
        return window_update(stream_id, draw(st.sampled_from([1, 100, 65_535, 2**31 - 1])))
    if kind == 7:
        return settings_frame(draw(st.dictionaries(st.integers(0, 10), st.sampled_from([0, 1, 100, 16_384, 2**31]))))
    if kind == 8:
        return draw(st.sampled_from([ping(), ping(ack=True), goaway(3), settings_ack()]))
    if kind == 9 and stream_id:
        return client.pieces(stream_id, client.encoder.encode(draw(head)) or b"\x82", draw(st.integers(1, 30)))
    return raw(draw(st.integers(0, 12)), draw(st.integers(0, 255)), stream_id, draw(st.binary(max_size=20)))


def drive(peer: ClientSide | BackendSide, events: list[Event]) -> None:
    """Do with the events what the engine's owner does."""
    for event in events:
        if isinstance(event, DataReceived):
            peer.engine.credit(event.stream_id, event.credit)
            peer.engine.credit_connection(event.credit)
        elif isinstance(event, RequestReceived) and isinstance(peer, ClientSide):
            peer.engine.send_head(event.stream_id, ResponseHead(200), end_stream=False)
            peer.engine.send_data(event.stream_id, b"body", end_stream=event.end_stream)
            promised = peer.engine.push(event.stream_id, RequestHead(b"GET", b"http", b"example.org", b"/a"))
            assert not promised or promised % 2 == 0
            peer.engine.send_head(promised, ResponseHead(200), end_stream=False)
            peer.engine.send_data(promised, b"body", end_stream=event.end_stream)


TUNNELS = Http2Settings(enable_connect=True)


@settings(max_examples=300, deadline=None)
@given(make=makes, sample=st.data(), is_client=st.booleans())
def test_no_frames_raise_and_a_failure_is_the_last_event(make: Make, sample: st.DataObject, is_client: bool) -> None:
    peer: ClientSide | BackendSide = BackendSide(make) if is_client else ClientSide(make, TUNNELS)
    if isinstance(peer, BackendSide):
        for method in (b"GET", b"HEAD", b"POST", b"CONNECT"):
            peer.ask(method, end_stream=method not in (b"POST", b"CONNECT"))
    has_failed = False
    for _ in range(sample.draw(st.integers(1, 12))):
        events = peer.receive(sample.draw(frame(peer)))
        assert not (has_failed and events)
        assert not any(isinstance(event, ConnectionFailed) for event in events[:-1])
        has_failed = has_failed or any(isinstance(event, ConnectionFailed) for event in events)
        drive(peer, events)
        peer.sent()
    assert peer.engine.open_streams <= (4 if is_client else 100)


@settings(max_examples=200, deadline=None)
@given(make=makes, garbage=st.binary(max_size=300), is_client=st.booleans(), has_greeting=st.booleans())
def test_no_bytes_raise(make: Make, garbage: bytes, is_client: bool, has_greeting: bool) -> None:
    engine = make.client(Http2Settings()) if is_client else make.server(Http2Settings())
    greeting = (b"" if is_client else PREFACE) + settings_frame()
    engine.receive((greeting if has_greeting else b"") + garbage)
    engine.data_to_send(LIMIT)


@settings(max_examples=200, deadline=None)
@given(make=makes, sample=st.data(), is_client=st.booleans())
def test_bytes_cut_anywhere_give_the_same_events(make: Make, sample: st.DataObject, is_client: bool) -> None:
    def begin() -> ClientSide | BackendSide:
        if not is_client:
            return ClientSide(make, TUNNELS)
        peer = BackendSide(make)
        for _ in range(2):
            peer.ask()
        return peer

    whole, cut = begin(), begin()
    stream = b"".join(sample.draw(st.lists(frame(whole), min_size=1, max_size=8)))
    places = sorted(sample.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    pieces = [stream[first:last] for first, last in zip([0, *places], [*places, len(stream)], strict=True)]
    assert [event for piece in pieces for event in cut.engine.receive(piece)] == whole.engine.receive(stream)
    assert cut.engine.data_to_send(LIMIT) == whole.engine.data_to_send(LIMIT)


def test_bytes_one_by_one_from_the_first_on_give_the_same_events(http2_make: Make) -> None:
    source = ClientSide(http2_make)
    stream = b"".join(
        [
            PREFACE,
            settings_frame(),
            source.pieces(1, source.encoder.encode(POST), 4),
            data(1, b"hello", padding=3),
            source.headers(1, [(b"a", b"b")], end_stream=True),
            source.headers(3, [(b"bad", b"head")]),
            ping(),
            raw(6, 0, 1, bytes(8)),
        ]
    )
    whole = http2_make.server(Http2Settings()).receive(stream)
    engine = http2_make.server(Http2Settings())
    assert [event for octet in stream for event in engine.receive(bytes([octet]))] == whole
    assert len(whole) == 6


class Conversation(RuleBasedStateMachine):
    """A client and a server engine that talk over two byte streams, in small windows and odd pieces.

    A body arrives as it was sent and once; no window is ever overrun (the engines would fail); when all has been
    carried over and credited, nothing is left waiting.
    """

    make: Make = next(iter(MAKES.values()))

    @initialize(stream_window=st.integers(1, 300), connection_window=st.sampled_from([65_535, 70_000]))
    def begin(self, stream_window: int, connection_window: int) -> None:
        limits = Http2Settings(stream_window=stream_window, connection_window=connection_window, enable_connect=True)
        self.client = self.make.client(limits)
        self.server = self.make.server(limits)
        self.to_server = self.to_client = b""
        # By stream: what was sent and what has arrived, requests and responses.
        self.requests: dict[int, bytes] = {}
        self.responses: dict[int, bytes] = {}
        self.requests_in: dict[int, bytes] = {}
        self.responses_in: dict[int, bytes] = {}
        # Extended CONNECTs, which have no trailers.
        self.tunnels: set[int] = set()
        self.asking: set[int] = set()
        self.answering: set[int] = set()
        self.over: set[tuple[str, int]] = set()
        self.owed: list[tuple[str, int, int]] = []

    @precondition(lambda self: len(self.requests) < 6)
    @rule(end_stream=st.booleans(), is_tunnel=st.booleans())
    def ask(self, end_stream: bool, is_tunnel: bool) -> None:
        request = RequestHead(b"POST", b"http", b"example.org", b"/", [(b"x-number", b"%d" % len(self.requests))])
        if is_tunnel:
            request.method, request.protocol = b"CONNECT", b"websocket"
        stream_id = self.client.open_stream(request, end_stream)
        self.requests[stream_id] = b""
        if is_tunnel:
            self.tunnels.add(stream_id)
        if not end_stream:
            self.asking.add(stream_id)

    @precondition(lambda self: self.asking)
    @rule(body=st.binary(max_size=400), end=st.sampled_from(["no", "data", "trailers"]), sample=st.data())
    def send_request_body(self, body: bytes, end: str, sample: st.DataObject) -> None:
        stream_id = sample.draw(st.sampled_from(sorted(self.asking)))
        self.requests[stream_id] += body
        end = self._end_of(stream_id, end)
        self.client.send_data(stream_id, body, end == "data")
        if end == "trailers":
            self.client.send_trailers(stream_id, [(b"x-end", b"%d" % stream_id)])
        if end != "no":
            self.asking.discard(stream_id)

    @precondition(lambda self: self.answering)
    @rule(body=st.binary(max_size=400), end=st.sampled_from(["no", "data", "trailers"]), sample=st.data())
    def send_response_body(self, body: bytes, end: str, sample: st.DataObject) -> None:
        stream_id = sample.draw(st.sampled_from(sorted(self.answering)))
        self.responses[stream_id] += body
        end = self._end_of(stream_id, end)
        self.server.send_data(stream_id, body, end == "data")
        if end == "trailers":
            self.server.send_trailers(stream_id, [(b"x-end", b"%d" % stream_id)])
        if end != "no":
            self.answering.discard(stream_id)

    def _end_of(self, stream_id: int, end: str) -> str:
        return "data" if end == "trailers" and stream_id in self.tunnels else end

    @rule(limit=st.integers(1, 2_000), size=st.integers(1, 500))
    def carry_to_server(self, limit: int, size: int) -> None:
        self.to_server += self.client.data_to_send(limit)
        piece, self.to_server = self.to_server[:size], self.to_server[size:]
        for event in self.server.receive(piece):
            if isinstance(event, RequestReceived):
                assert (event.head.protocol != b"") == (event.stream_id in self.tunnels)
                # Our client takes none.
                assert not self.server.can_push
                assert not self.server.push(event.stream_id, RequestHead(b"GET", b"http", b"example.org", b"/a"))
                self.requests_in[event.stream_id] = b""
                self.responses[event.stream_id] = b""
                self.server.send_head(event.stream_id, ResponseHead(200), end_stream=False)
                self.answering.add(event.stream_id)
                if event.end_stream:
                    self.over.add(("request", event.stream_id))
            self._take("request", self.requests_in, event)

    @rule(limit=st.integers(1, 2_000), size=st.integers(1, 500))
    def carry_to_client(self, limit: int, size: int) -> None:
        self.to_client += self.server.data_to_send(limit)
        piece, self.to_client = self.to_client[:size], self.to_client[size:]
        for event in self.client.receive(piece):
            if isinstance(event, ResponseReceived):
                self.responses_in[event.stream_id] = b""
            self._take("response", self.responses_in, event)

    def _take(self, direction: str, bodies: dict[int, bytes], event: Event) -> None:
        assert not isinstance(event, ConnectionFailed), event
        if isinstance(event, DataReceived):
            bodies[event.stream_id] += event.data
            self.owed.append((direction, event.stream_id, event.credit))
            if event.end_stream:
                self.over.add((direction, event.stream_id))
        elif isinstance(event, TrailersReceived):
            assert event.fields == [(b"x-end", b"%d" % event.stream_id)]
            self.over.add((direction, event.stream_id))

    @precondition(lambda self: self.owed)
    @rule()
    def give_credit(self) -> None:
        direction, stream_id, size = self.owed.pop(0)
        engine = self.server if direction == "request" else self.client
        engine.credit(stream_id, size)
        engine.credit_connection(size)

    @invariant()
    def bodies_arrive_as_they_were_sent(self) -> None:
        for arrived, sent in ((self.requests_in, self.requests), (self.responses_in, self.responses)):
            for stream_id, body in arrived.items():
                assert sent[stream_id].startswith(body)

    def teardown(self) -> None:
        if not hasattr(self, "client"):
            return
        for stream_id in sorted(self.asking):
            self.client.send_data(stream_id, b"", end_stream=True)
        # Credit and carry until a whole round moves nothing.
        before: tuple[object, ...] = ()
        while before != (before := self._progress()):
            for carry in (self.carry_to_server, self.carry_to_client, self.carry_to_server):
                while self.owed:
                    self.give_credit()
                carry(2_000, LIMIT)
            for stream_id in sorted(self.answering):
                self.server.send_data(stream_id, b"", end_stream=True)
            self.answering.clear()
        assert self.requests_in == self.requests
        assert self.responses_in == self.responses
        assert self.over == {(way, stream_id) for way in ("request", "response") for stream_id in self.requests}
        assert (self.client.open_streams, self.server.open_streams) == (0, 0)

    def _progress(self) -> tuple[object, ...]:
        return (
            sum(map(len, self.requests_in.values())),
            sum(map(len, self.responses_in.values())),
            len(self.over),
            len(self.requests_in),
            len(self.responses_in),
            self.client.open_streams,
            self.server.open_streams,
        )


TestConversation = Conversation.TestCase
TestConversation.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@settings(max_examples=100, deadline=None)
@given(make=makes, sizes=st.lists(st.integers(0, 16_384), max_size=40), sample=st.data())
def test_window_sums_hold(make: Make, sizes: list[int], sample: st.DataObject) -> None:
    """What has been given back never exceeds what came, and together they keep both windows open."""
    client = ClientSide(make, Http2Settings(connection_window=65_535))
    client.request(1, POST, end_stream=False)
    windows = {0: 65_535, 1: 65_535}
    for size in sizes:
        if size > min(windows.values()):
            continue
        events = client.receive(data(1, bytes(size)))
        assert [event.credit for event in events if isinstance(event, DataReceived)] == ([size] if size else [])
        for stream_id in windows:
            windows[stream_id] -= size
        part = sample.draw(st.integers(0, size))
        for piece in (part, size - part):
            client.engine.credit(1, piece)
            client.engine.credit_connection(piece)
        for update in client.sent():
            assert isinstance(update, WindowUpdateFrame)
            windows[update.stream_id] += update.window_increment
        # Less than half is held back, as all that came has been credited.
        assert all(65_535 // 2 <= window <= 65_535 for window in windows.values())


@settings(max_examples=60, deadline=None)
@given(make=makes, bodies=st.lists(st.integers(1, 100_000), min_size=1, max_size=6))
def test_turns_are_fair(make: Make, bodies: list[int]) -> None:
    """Of the streams that still have something to send, none has had two turns more than another; pushed ones too."""
    client = ClientSide(make, theirs={4: 1 << 20})
    client.receive(window_update(0, 1 << 24))
    turns = dict.fromkeys(range(1, len(bodies) + 1), 0)
    for stream_id in turns:
        if stream_id % 2:
            client.request(stream_id)
        else:
            assert client.engine.push(1, RequestHead(b"GET", b"http", b"example.org", b"/a")) == stream_id
    for stream_id in turns:
        client.engine.send_head(stream_id, ResponseHead(200), end_stream=False)
    client.sent()
    for stream_id, size in zip(turns, bodies, strict=True):
        client.engine.send_data(stream_id, bytes(size), end_stream=True)
    while sent := client.engine.data_to_send(1):
        (out,) = parse(sent)
        turns[out.stream_id] += 1
        waiting = [turns[stream_id] for stream_id in turns if client.engine.queued(stream_id)]
        assert not waiting or max(waiting) - min(waiting) <= 1
    assert sum(size for _, size in client.engine.take_framed()) == sum(bodies)


def fields_of(event: Event) -> Fields:
    assert isinstance(event, RequestReceived)
    return event.head.fields


def test_hpack_stays_in_step_over_thousands_of_heads(http2_make: Make) -> None:
    """Both tables turn over many times, with fields that are indexed, plain and secret."""
    client_engine, server = http2_make.client(Http2Settings()), http2_make.server(Http2Settings())
    for number in range(3_000):
        fields = [
            (b"accept", b"text/html"),
            (b"x-repeated", b"%d" % (number % 7)),
            (b"x-unique-%d" % number, b"v" * (number % 200)),
            (b"authorization", b"secret %d" % (number % 3)),
            (b"x-empty", b""),
        ]
        client_engine.open_stream(RequestHead(b"GET", b"https", b"example.org", b"/%d" % number, fields), True)
        events = server.receive(client_engine.data_to_send(LIMIT))
        assert fields_of(events[-1]) == fields
        server.reset(events[-1].stream_id, ErrorCode.CANCEL)  # type: ignore[union-attr]
        client_engine.receive(server.data_to_send(LIMIT))
