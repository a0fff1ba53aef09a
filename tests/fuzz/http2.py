"""One case of HTTP/2: the same bytes and the same calls for an engine of each make, and all that can be seen compared.

Both must give the same events and, as they also compress fields alike, the same bytes. The native engine gets its bytes
cut anywhere, the python one whole. Frames are put together from parts made once, so that the engines cost the most.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from struct import Struct
from types import ModuleType
from typing import TypeVar

from hpack import Encoder
from hpack.hpack import encode_integer

from h2gate.errors import ErrorCode
from h2gate.protocol import http2, http2_native
from h2gate.protocol.contract import Http2ClientEngine, Http2ServerEngine, Http2Settings
from h2gate.protocol.events import (
    DataReceived,
    Event,
    Fields,
    RequestHead,
    RequestReceived,
    RequestRejected,
    ResponseHead,
    StreamReset,
)
from h2gate.protocol.http2_frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HAS_PRIORITY,
    HEADERS,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    frame_header,
)

LIMIT = 1 << 20
_SETTING = Struct(">HL")
_LONG = Struct(">L")

NAMES = [
    b"accept", b"cookie", b"cookie", b"content-length", b"host", b"te", b"x-a", b"x-b", b"date", b"user-agent",
    b"authorization", b"set-cookie", b"connection", b"transfer-encoding", b":path", b":status", b":x", b"Upper", b"",
    b"trailer", b"content-type", b"grpc-status", b"a b", b"x" * 70, b"via",
]  # fmt: skip
VALUES = [
    b"", b"0", b"5", b"5, 5", b"05", b"trailers", b"Trailers", b"example.org", b"/", b"a b", b" a", b"a\t", b"b\n",
    b"\x00", b"c" * 300, b"gzip, deflate", b"\xff", b"v" * 130, b"EXAMPLE.org", b"999999999999999999",
    b"1000000000000000000", b"a=b", b"\x7f",
]  # fmt: skip
METHODS = [b"GET", b"GET", b"POST", b"POST", b"HEAD", b"OPTIONS", b"CONNECT", b"PUT", b"", b"G T"]
SCHEMES = [b"http", b"http", b"https", b"https", b"ftp", b"", b"HTTP"]
AUTHORITIES = [
    b"example.org", b"example.org", b"example.org:80", b"example.org:65535", b"example.org:65536", b"[::1]:1", b"a@b",
    b"", b"a:", b":1", b"a%41", b"a_b", b"1.2.3.4", b"a:00080", b"x y",
]  # fmt: skip
PROTOCOLS = [b"websocket", b"websocket", b"connect-udp", b"", b"web socket", b"WebSocket"]
PATHS = [b"/", b"/", b"/a?b=c", b"/index.html", b"*", b"", b"a", b"/a b", b"/#", b"/\xff", b'/{x}|"[]']
STATUSES = [
    b"200",
    b"200",
    b"204",
    b"304",
    b"404",
    b"100",
    b"103",
    b"101",
    b"99",
    b"600",
    b"999",
    b"2000",
    b"",
    b"2x0",
    b"099",
]


def _coded(name: bytes, value: bytes) -> list[bytes]:
    """The ways to write a field."""
    ways = [_literal(0x40, name, value), _literal(0x00, name, value), _literal(0x10, name, value)]
    ways.append(Encoder().encode([(name, value)]))
    return ways


def _literal(kind: int, name: bytes, value: bytes) -> bytes:
    return bytes([kind]) + bytes(encode_integer(len(name), 7)) + name + bytes(encode_integer(len(value), 7)) + value


def _parts(name: bytes, values: list[bytes]) -> list[bytes]:
    return [way for value in values for way in _coded(name, value)]


METHOD_PARTS = _parts(b":method", METHODS)
SCHEME_PARTS = _parts(b":scheme", SCHEMES)
AUTHORITY_PARTS = _parts(b":authority", AUTHORITIES)
PATH_PARTS = _parts(b":path", PATHS)
PROTOCOL_PARTS = _parts(b":protocol", PROTOCOLS)
STATUS_PARTS = _parts(b":status", STATUSES)
FIELD_PARTS = [way for name in NAMES for value in VALUES for way in _coded(name, value)]
GOOD_PARTS = [
    way
    for name in (b"accept", b"cookie", b"date", b"x-a", b"user-agent", b"authorization", b"server")
    for value in (b"", b"abc", b"a=b; c=d", b"v" * 100)
    for way in _coded(name, value)
]
CONNECT_PARTS = _parts(b":method", [b"CONNECT"])
LENGTH_PARTS = _parts(b"content-length", [b"0", b"3", b"10"])
GOOD_REQUESTS = [
    [b"\x82", b"\x86", _literal(0x40, b":authority", b"example.org"), b"\x84"],
    [b"\x83", b"\x87", _literal(0x00, b":authority", b"example.org:8080"), _literal(0x00, b":path", b"/a/b?c=d")],
    [b"\x82", b"\x86", b"\x41\x01a", b"\x85"],
    [_literal(0x40, b":method", b"HEAD"), b"\x86", b"\x84", _literal(0x40, b"host", b"example.org")],
    [
        _literal(0x40, b":method", b"CONNECT"),
        b"\x86",
        b"\x41\x01a",
        b"\x84",
        _literal(0x40, b":protocol", b"websocket"),
    ],
]
GOOD_RESPONSES = [[b"\x88"], [b"\x88"], [b"\x8d"], [b"\x89"], [b"\x8b"], [_literal(0x40, b":status", b"103")]]
# Indexes, sizes of tables, integers too long, strings cut off, a Huffman code that is none, EOS.
ODD_PARTS = [
    *(bytes([index]) for index in range(0x80, 0x100, 3)), *(bytes([index]) for index in (0xBE, 0xBF, 0xC0, 0xC1)),
    b"\x20", b"\x3f\xe1\x1f", b"\x3f\xe2\x1f", b"\x3f\x01", b"\x3f\x21", b"\x3f\xff\xff\xff\xff\x0f", b"\x7e\x01a",
    b"\x0f\x2f\x01a", b"\xff\x00", b"\xff\x80\x00", b"\xff\x80\x80\x80\x80\x00", b"\xff\x80\x80\x80\x80\x80\x00",
    b"\x40\x7f\xff\xff\xff\xff\x0f", b"\x40\x01", b"\x40", b"\x00\x83\xff\xff\xff\x01a", b"\x00\x01a\x81\xff",
    b"\x00\x01a\x81\x00", b"\x00\x01a\x84\xff\xff\xff\xff", b"\x00\x80\x80", b"\x10\x00\x00", b"\x04\x01/",
    b"\x0f\x01\x03abc", b"\x5f\x80\x00\x01a",
]  # fmt: skip

HEADS: list[Fields] = [
    [],
    [(b"server", b"a"), (b"date", b"today")],
    [(b"content-length", b"3"), (b"content-type", b"text/plain")],
    [(b"set-cookie", b"a=b"), (b"set-cookie", b"c=d"), (b"x-a", b"v" * 900)],
    [(b"x-large", b"v" * 1_100), (b"accept", b"")],
    [(b"x-%d" % number, b"w" * 100) for number in range(12)],
    [(b"x-huge", b"u" * 20_000)],
]
TRAILERS: list[Fields] = [[], [(b"grpc-status", b"0")], [(b"x-end", b"a"), (b"cookie", b"b")]]
BODIES = [b"", b"a", b"abc", b"d" * 10, b"e" * 1_000, b"f" * 17_000, b"g" * 70_000]
SETTINGS_VALUES = [
    0,
    1,
    2,
    50,
    100,
    4_095,
    4_096,
    16_384,
    65_535,
    65_536,
    16_777_215,
    16_777_216,
    2**31 - 1,
    2**31,
    2**32 - 1,
]
INCREMENTS = [0, 1, 10, 1_000, 65_535, 2**31 - 1, 2**31, 2**32 - 1]
LIMITS = [
    *[Http2Settings()] * 4,
    *[Http2Settings(enable_connect=True)] * 4,
    Http2Settings(max_streams=2),
    Http2Settings(header_list=300, fields=5, continuations=1),
    Http2Settings(
        max_streams=3, stream_window=100, connection_window=65_535, header_list=150, fields=3, continuations=2
    ),
    Http2Settings(stream_window=0, header_list=2_000, continuations=0, enable_connect=True),
    Http2Settings(stream_window=1_000_000, connection_window=2**31 - 1),
]

CODES = list(ErrorCode)
PARTS_OF_BODIES = [b"", b"a", b"abc", b"abc", b"d" * 10, b"e" * 120, b"f" * 1_000, b"g" * 16_000]
TRAILER_BLOCKS = [b"", b"\x40\x0bgrpc-status\x010", _literal(0x10, b"x-end", b"a") + _literal(0, b"cookie", b"b")]

T = TypeVar("T")
Engine = Http2ServerEngine | Http2ClientEngine


def one_case(random: Random, corpus: Sequence[bytes], is_alone: bool = False) -> None:
    """Make one case and compare the native make with the python one, or with itself.

    Raises AssertionError with all that was done.
    """
    _Case(random, http2_native if is_alone else http2).run(corpus)


class _Case:
    def __init__(self, random: Random, reference: ModuleType) -> None:
        self.random = random
        # What has been done, to be read by whoever mends it.
        self.story: list[object] = []
        self.is_client = random.random() < 0.5
        limits = LIMITS[int(random.random() * len(LIMITS))]
        self.story.append(("client" if self.is_client else "server", limits))
        self.python: Engine
        self.native: Engine
        if self.is_client:
            self.python, self.native = reference.client_engine(limits), http2_native.client_engine(limits)
        else:
            self.python, self.native = reference.server_engine(limits), http2_native.server_engine(limits)
        # What an owner may still do with a stream: 0 its head, 1 its body. Those that have ended are not there.
        self.streams: dict[int, int] = {}
        self.owed: list[tuple[int, int]] = []
        self.promised: list[int] = []
        # What the peer does: ids of a client, and the streams it has not ended: 0 its head is to come, 1 its body.
        self.next_id = 1
        self.theirs: dict[int, int] = {}

    def one(self, choices: Sequence[T]) -> T:
        """As `Random.choice`, at half its price."""
        return choices[int(self.random.random() * len(choices))]

    def run(self, corpus: Sequence[bytes]) -> None:
        random = self.random
        if random.random() < 0.15 and corpus:
            self.begin_client()
            stream = self.damage(self.one(corpus))
            half = random.randrange(len(stream) + 1)
            self.receive(stream[:half])
            self.act()
            self.receive(stream[half:])
        else:
            self.greet()
            self.begin_client()
            for _ in range(random.randrange(1, 4)):
                piece = b"".join([self.frame() for _ in range(random.randrange(1, 4))])
                if random.random() < 0.03:
                    piece = self.damage(piece)
                self.receive(piece)
                for _ in range(random.randrange(3)):
                    self.act()
        self.send(LIMIT)
        self.compare()

    # What comes from the peer

    def greet(self) -> None:
        random = self.random
        first = b"" if self.is_client else PREFACE
        values = b""
        if random.random() < 0.5:
            values = self.settings()
        first += frame_header(len(values), SETTINGS, 0, 0) + values
        if random.random() < 0.7:
            first += frame_header(0, SETTINGS, ACK, 0)
        self.receive(first)

    def settings(self) -> bytes:
        random = self.random
        kind = random.random()
        if kind < 0.6:
            return _SETTING.pack(4, self.one((0, 10, 100, 65_535, 1 << 20)))
        if kind < 0.75:
            # Whether and how many pushes the client takes, extended CONNECT, and smaller frames than one could send.
            return _SETTING.pack(*self.one(((2, 0), (2, 1), (3, 0), (3, 1), (8, 1), (8, 1), (8, 0), (5, 16_384))))
        return b"".join(
            [_SETTING.pack(random.randrange(10), self.one(SETTINGS_VALUES)) for _ in range(random.randrange(4))]
        )

    def frame(self) -> bytes:
        """A frame, more often sensible than not."""
        random = self.random
        kind = random.random()
        if kind < 0.72:
            return self.message()
        stream_id = self.some_id()
        if kind < 0.80:
            increment = self.one(INCREMENTS) if random.random() < 0.3 else random.randrange(1, 20_000)
            return frame_header(4, WINDOW_UPDATE, 0, 0 if random.random() < 0.3 else stream_id) + _LONG.pack(increment)
        if kind < 0.83:
            self.theirs.pop(stream_id, None)
            return frame_header(4, RST_STREAM, 0, stream_id) + _LONG.pack(random.randrange(16))
        if kind < 0.87:
            values = self.settings()
            return frame_header(len(values), SETTINGS, 0, 0) + values
        if kind < 0.89:
            return frame_header(8, PING, self.one((0, 0, ACK)), 0) + b"12345678"
        if kind < 0.91:
            return (
                frame_header(10, GOAWAY, 0, 0)
                + _LONG.pack(random.randrange(9))
                + _LONG.pack(random.randrange(20))
                + b"de"
            )
        if kind < 0.92:
            return frame_header(0, SETTINGS, ACK, 0)
        if kind < 0.93:
            return frame_header(5, PRIORITY, 0, stream_id) + bytes(5)
        if kind < 0.97:
            # Of any kind, where it may not belong.
            return self.data(stream_id) if random.random() < 0.5 else self.head(stream_id, random.random() < 0.5)
        payload = random.randbytes(self.one((0, 1, 4, 5, 6, 8, 12, 30)))
        return frame_header(len(payload), random.randrange(12), random.randrange(256), stream_id) + payload

    def message(self) -> bytes:
        """The next part of a message, as a peer that knows what it does would send it."""
        random = self.random
        theirs = self.theirs
        if not theirs or (not self.is_client and random.random() < 0.4):
            if self.is_client:
                return self.head(1, random.random() < 0.5)
            stream_id = self.next_id
            self.next_id += 2
            theirs[stream_id] = 0
        else:
            stream_id = self.one(list(theirs))
        if not theirs[stream_id]:
            is_interim = self.is_client and random.random() < 0.2
            end_stream = random.random() < 0.4 and not is_interim
            if not is_interim:
                theirs[stream_id] = 1
            if end_stream:
                del theirs[stream_id]
            return self.head(stream_id, end_stream, is_interim)
        if random.random() < 0.85:
            return self.data(stream_id)
        del theirs[stream_id]
        block = self.one(TRAILER_BLOCKS) if random.random() < 0.8 else self.block(False)
        return frame_header(len(block), HEADERS, END_HEADERS | END_STREAM, stream_id) + block

    def some_id(self) -> int:
        random = self.random
        if self.promised and random.random() < 0.3:
            return self.one(self.promised)
        if random.random() < 0.95 and (self.theirs or self.streams):
            return self.one([*self.theirs, *self.streams])
        if self.next_id > 1 and random.random() < 0.8:
            return random.randrange(1, self.next_id, 2)
        return self.one((0, 1, 2, 3, 5, 9, 2**31 - 1))

    def block(self, is_interim: bool) -> bytes:
        random = self.random
        kind = random.random()
        parts: list[bytes]
        if kind < 0.85:
            if is_interim:
                parts = [b"\x08\x03103"]
            else:
                parts = list(self.one(GOOD_RESPONSES if self.is_client else GOOD_REQUESTS))
            parts += random.choices(GOOD_PARTS, k=random.randrange(4))
            if random.random() < 0.2:
                parts.append(self.one(LENGTH_PARTS))
            if random.random() < 0.1:
                parts.append(self.one(FIELD_PARTS))
        elif kind < 0.95:
            if self.is_client:
                parts = [self.one(STATUS_PARTS)]
            else:
                parts = [self.one(each) for each in (METHOD_PARTS, SCHEME_PARTS, AUTHORITY_PARTS, PATH_PARTS)]
                if random.random() < 0.2:
                    parts.insert(random.randrange(5), self.one(PROTOCOL_PARTS))
                    if random.random() < 0.7:
                        parts[0] = self.one(CONNECT_PARTS)
                if random.random() < 0.2:
                    random.shuffle(parts)
                if random.random() < 0.1:
                    parts.pop()
            parts += random.choices(FIELD_PARTS, k=random.randrange(3))
        else:
            parts = random.choices(FIELD_PARTS, k=random.randrange(4))
        if random.random() < 0.06:
            parts.insert(random.randrange(len(parts) + 1), self.one(ODD_PARTS))
        return b"".join(parts)

    def head(self, stream_id: int, end_stream: bool, is_interim: bool = False) -> bytes:
        random = self.random
        block = self.block(is_interim)
        flags = END_STREAM if end_stream else 0
        kind = random.random()
        if kind < 0.1:
            return self.pieces(stream_id, block, flags)
        flags |= END_HEADERS
        if kind < 0.15:
            flags |= HAS_PRIORITY
            block = bytes(5) + block
        elif kind < 0.2:
            flags |= PADDED
            block = self.padded(block)
        return frame_header(len(block), HEADERS, flags, stream_id) + block

    def padded(self, payload: bytes) -> bytes:
        padding = self.one((0, 1, 20, 255))
        return bytes([padding]) + payload + bytes(self.one((padding, padding, padding, 0)))

    def pieces(self, stream_id: int, block: bytes, flags: int) -> bytes:
        """HEADERS and CONTINUATIONs."""
        random = self.random
        if random.random() < 0.1:
            block += _literal(0, b"x-long", b"v" * self.one((500, 9_000, 16_000)))
        cuts = sorted(random.randrange(len(block) + 1) for _ in range(random.randrange(1, 4)))
        frames = []
        for number, (begin, end) in enumerate(zip([0, *cuts], [*cuts, len(block)], strict=True)):
            if number:
                flags = 0
            if number == len(cuts) and random.random() < 0.95:
                flags |= END_HEADERS
            frames += [
                frame_header(end - begin, CONTINUATION if number else HEADERS, flags, stream_id),
                block[begin:end],
            ]
        return b"".join(frames)

    def data(self, stream_id: int) -> bytes:
        body = self.one(PARTS_OF_BODIES)
        flags = self.one((0, 0, END_STREAM))
        if flags:
            self.theirs.pop(stream_id, None)
        if self.random.random() < 0.1:
            flags |= PADDED
            body = self.padded(body)
        return frame_header(len(body), DATA, flags, stream_id) + body

    def damage(self, stream: bytes) -> bytes:
        random = self.random
        damaged = bytearray(stream)
        for _ in range(random.randrange(1, 4)):
            if not damaged:
                break
            place = random.randrange(len(damaged))
            kind = random.random()
            if kind < 0.6:
                damaged[place] = random.randrange(256)
            elif kind < 0.75:
                del damaged[place : place + random.randrange(1, 10)]
            elif kind < 0.9:
                damaged[place:place] = random.randbytes(random.randrange(1, 5))
            else:
                damaged[place:place] = damaged[random.randrange(len(damaged)) :][: random.randrange(1, 60)]
        return bytes(damaged)

    # Done to both

    def receive(self, data: bytes) -> None:
        random = self.random
        self.story.append(("receive", data))
        expected = self.python.receive(data)
        if random.random() < 0.3:
            events = self.native.receive(data)
        else:
            cuts = sorted([random.randrange(len(data) + 1) for _ in range(random.randrange(1, 4))])
            self.story.append(("cut at", cuts))
            events = []
            for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
                events += self.native.receive(data[begin:end])
        # Types too: `1 == True`, and a field that must not be indexed is equal to one that may.
        if events != expected or _kinds(events) != _kinds(expected):
            self.differ("events", expected, events)
        self.follow(expected)

    def follow(self, events: list[Event]) -> None:
        for event in events:
            match event:
                case RequestReceived(stream_id) | RequestRejected(stream_id):
                    self.streams[stream_id] = 0
                case DataReceived(stream_id, _, credit):
                    self.owed.append((stream_id, credit))
                case StreamReset(stream_id):
                    self.streams.pop(stream_id, None)

    def begin_client(self) -> None:
        if self.is_client:
            for _ in range(self.random.randrange(1, 4)):
                self.open_stream()

    def open_stream(self) -> None:
        random = self.random
        head = RequestHead(
            self.one((b"GET", b"GET", b"HEAD", b"POST", b"PATCH")),
            b"http",
            self.one((b"example.org", b"")),
            self.one((b"/", b"/a")),
            self.one(HEADS),
        )
        if random.random() < 0.2:
            head.method, head.protocol = b"CONNECT", self.one((b"websocket", b"websocket", b"connect-udp", b""))
        end_stream = random.random() < 0.5
        stream_id = self.call("open_stream", head, end_stream)
        assert isinstance(stream_id, int)
        self.theirs[stream_id] = 0
        self.next_id = stream_id + 2
        if not end_stream:
            self.streams[stream_id] = 1

    def act(self) -> None:
        """Do one thing that an owner does."""
        random = self.random
        kind = random.random()
        if kind < 0.3:
            self.send(self.one((1, 9, 60, 1_000, 16_384, LIMIT, LIMIT)))
            self.compare()
        elif kind < 0.45 and self.owed:
            stream_id, credit = self.owed.pop()
            self.call("credit", stream_id, self.one((credit, credit // 2)))
            self.call("credit_connection", credit)
        elif kind < 0.50:
            self.call("reset", self.some_id(), self.one(CODES))
        elif kind < 0.53:
            self.call("ping", b"abcdefgh")
        elif kind < 0.56:
            self.call("goaway", self.one((None, None, 0, 1, 3)), ErrorCode.NO_ERROR, b"bye")
        elif kind < 0.65 and self.is_client:
            self.open_stream()
        elif kind < 0.70 and not self.is_client:
            self.push()
        elif self.streams:
            self.answer(self.one(list(self.streams)))

    def push(self) -> None:
        """Promise a stream or two, on one of the client's more often than not; they are answered as any other."""
        random = self.random
        clients = [stream_id for stream_id in self.streams if stream_id % 2]
        stream_id = self.one(clients) if clients and random.random() < 0.9 else self.some_id()
        head = RequestHead(
            self.one((b"GET", b"GET", b"GET", b"HEAD", b"POST")),
            b"https",
            self.one((b"example.org", b"")),
            self.one((b"/", b"/a")),
            self.one(HEADS),
        )
        for _ in range(self.one((1, 1, 2))):
            promised = self.call("push", stream_id, head)
            assert isinstance(promised, int)
            if promised:
                self.streams[promised] = 0
                self.promised.append(promised)
                while promised in self.streams and random.random() < 0.7:
                    self.answer(promised)

    def answer(self, stream_id: int) -> None:
        """Send a part of a message."""
        random = self.random
        if not self.streams[stream_id]:
            if random.random() < 0.2:
                self.call("send_interim", stream_id, ResponseHead(103, self.one(HEADS[:3])))
                return
            end_stream = random.random() < 0.2
            self.call("send_head", stream_id, ResponseHead(self.one((200, 404)), self.one(HEADS)), end_stream)
            self.streams[stream_id] = 1
        elif random.random() < 0.8:
            end_stream = random.random() < 0.3
            self.call("send_data", stream_id, self.one(BODIES), end_stream)
        else:
            end_stream = True
            self.call("send_trailers", stream_id, self.one(TRAILERS))
        if end_stream:
            del self.streams[stream_id]

    def send(self, limit: int) -> None:
        while True:
            sent = self.call("data_to_send", limit)
            assert isinstance(sent, bytes)
            if not sent or limit < LIMIT:
                break

    def call(self, name: str, *arguments: object) -> object:
        self.story.append((name, *arguments))
        expected = _result(getattr(self.python, name), arguments)
        result = _result(getattr(self.native, name), arguments)
        if result != expected:
            self.differ(name, expected, result)
        return result

    def compare(self) -> None:
        python, native = self.python, self.native
        for name in ("open_streams", "last_peer_stream_id", "ids_left" if self.is_client else "can_push"):
            if getattr(python, name) != getattr(native, name):
                self.differ(name, getattr(python, name), getattr(native, name))
        self.call("take_framed")
        for stream_id in (1, 2, 3, 5):
            self.call("queued", stream_id)

    def differ(self, what: str, expected: object, result: object) -> None:
        story = "\n".join(map(repr, self.story))
        raise AssertionError(f"{what}\npython: {expected!r}\nnative: {result!r}\nafter:\n{story}")


def _kinds(events: list[Event]) -> list[object]:
    """What equality does not see."""
    kinds: list[object] = []
    for event in events:
        kinds.append(type(event))
        for name in event.__slots__:
            value = getattr(event, name)
            kinds.append(type(value))
            kinds += map(type, getattr(value, "fields", ()))
    return kinds


def _result(function: Callable[..., object], arguments: tuple[object, ...]) -> object:
    return function(*arguments)
