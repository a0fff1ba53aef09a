"""The soak's clients: HTTP/2 and HTTP/1.1 connections that ask, compare, cancel and leave, all by a seed.

The rule: an answer is right, or visibly broken; one that is broken although nothing was to break it counts as failed.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

import httptools

from h2gate.errors import ErrorCode
from h2gate.protocol.contract import Http2Settings
from h2gate.protocol.engines import choose
from h2gate.protocol.events import (
    ConnectionFailed,
    DataReceived,
    Event,
    Fields,
    GoAwayReceived,
    InterimReceived,
    RequestHead,
    ResponseReceived,
    StreamReset,
    TrailersReceived,
)
from tests.soak.ids import BIG_REPEATS, REPEATS, Body, fields_of, make_id, strangers

CHUNK = 65_536
# Of a thousand requests, how many are answered in each way.
MIX = {"ok": 500, "hints": 80, "trailers": 120, "empty": 60, "slow": 60, "big": 10, "early": 60, "refuse": 60,
       "reset": 44, "goaway": 4, "close": 2}  # fmt: skip
# Of a thousand requests: cancelled, and with its whole connection.
CANCELLED, LEFT = 30, 5
STREAMS = 12

_make_engine = choose("auto").http2_client


class Tally:
    """What is asked next, and what came of it."""

    def __init__(self, exchanges: int, seed: int, first: int = 0) -> None:
        """`first` is the number of the first id: two tallies of one gate share none."""
        self.random = Random(seed)
        self._numbers = iter(range(first, first + exchanges))
        self._kinds = [kind for kind, count in MIX.items() for _ in range(count)]
        self.outcomes: Counter[str] = Counter()
        self.mixed: list[str] = []
        self.failed: list[str] = []
        self.is_over = False

    def next(self) -> Asked | None:
        number = next(self._numbers, None)
        if number is None:
            self.is_over = True
            return None
        return Asked(self, make_id(number), self.random.choice(self._kinds), self.random.random() * 1000)


class Asked:
    """One request, and its answer so far."""

    __slots__ = ("_body", "_lot", "_tally", "has_trailers", "id", "kind", "status")

    def __init__(self, tally: Tally, one: bytes, kind: str, lot: float) -> None:
        self._tally = tally
        self._lot = lot
        self.id = one
        self.kind = kind
        self.status = 0
        self.has_trailers = False
        self._body = Body(one)

    @property
    def is_cancelled(self) -> bool:
        return self._lot < CANCELLED

    @property
    def is_left(self) -> bool:
        return self._lot < LEFT

    @property
    def path(self) -> bytes:
        return b"/%b/%b?%b" % (self.kind.encode(), self.id, self.id)

    @property
    def body(self) -> bytes:
        """A third of the requests have one."""
        return self.id * (REPEATS * int(self.id[:2], 16)) if int(self.id[-1:], 16) % 3 == 0 else b""

    def has_head(self, status: int, fields: Fields) -> None:
        self.status = status
        if status < 500 or self.kind not in ("close", "goaway", "reset"):
            self._compare(f"head {status}", fields)

    def has_interim(self, fields: Fields) -> None:
        self._compare("interim", fields)

    def has_data(self, data: bytes) -> None:
        if self.status < 400 and not self._body.takes(data):
            self._mixed("body", data[:64])

    def ended(self, trailers: Fields | None) -> None:
        tally = self._tally
        if trailers is not None:
            self._compare("trailers", trailers)
        size = (BIG_REPEATS if self.kind == "big" else REPEATS) * len(self.id) if self.status == 200 else 0
        if self.status >= 500:
            self.broke(f"status {self.status}")
        elif self._body.size != size or self.kind in ("reset", "close"):
            tally.failed.append(f"{self.kind} {self.id.decode()}: looks whole with {self._body.size} bytes")
        elif self.kind == "trailers" and trailers is None:
            tally.failed.append(f"{self.kind} {self.id.decode()}: no trailers")
        else:
            tally.outcomes["whole"] += 1

    def broke(self, why: str) -> None:
        """The answer is visibly broken: by its own kind, or by a neighbour's that took the connection."""
        self._tally.outcomes[f"broken: {why}" if self.kind not in ("reset", "close") else "broken as asked"] += 1

    def cancelled(self) -> None:
        self._tally.outcomes["cancelled"] += 1

    def _compare(self, where: str, fields: Fields) -> None:
        if self.status >= 400:
            # The gate's own answer: no field of anybody's.
            for name, value in fields:
                if name in (b"x-id", b"x-long", b"x-twice", b"x-hint"):
                    self._mixed(where, (name, value))
            return
        for field in strangers(self.id, fields):
            self._mixed(where, field)
        if where != "interim" and any(name == b"x-hint" for name, _ in fields):
            self._mixed(where, "a field of an interim head")

    def _mixed(self, where: str, what: object) -> None:
        self._tally.mixed.append(f"response {self.kind} {self.id.decode()}: {where} {what!r}")


class Client(asyncio.Protocol):
    """A connection; `done` is called once, when it is over and asks no more."""

    def __init__(self, tally: Tally, done: Callable[[], None]) -> None:
        self.tally = tally
        self._done = done
        self.transport: Any = None

    def connection_lost(self, error: Exception | None) -> None:
        self._done()


class Http2(Client):
    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self._engine = _make_engine(Http2Settings(stream_window=1_048_576, connection_window=16_777_216))
        self._asked: dict[int, Asked] = {}
        self._is_leaving = False
        self._fill()
        self._flush()

    def data_received(self, data: bytes) -> None:
        for event in self._engine.receive(data):
            self._handle(event)
        self._fill()
        self._flush()

    def connection_lost(self, error: Exception | None) -> None:
        for asked in self._asked.values():
            if asked.is_left:
                asked.cancelled()
            else:
                asked.broke("connection")
        super().connection_lost(error)

    def _flush(self) -> None:
        if self.transport.is_closing():
            return
        while data := self._engine.data_to_send(CHUNK):
            self.transport.write(data)
        self._engine.take_framed()
        if not self._asked:
            self.transport.close()

    def _fill(self) -> None:
        while not self._is_leaving and len(self._asked) < STREAMS:
            asked = self.tally.next()
            if asked is None:
                self._is_leaving = True
                return
            self._ask(asked)
            if asked.is_left:
                # All at once, and whatever runs with it.
                for one in self._asked.values():
                    one.cancelled()
                self._asked.clear()
                self._is_leaving = True
                self._flush()
                self.transport.abort()
            elif asked.is_cancelled:
                self._engine.reset(self._last, ErrorCode.CANCEL)
                del self._asked[self._last]
                asked.cancelled()

    def _ask(self, asked: Asked) -> None:
        engine, body = self._engine, asked.body
        head = RequestHead(
            b"POST" if body else b"GET",
            b"http",
            b"soak.example",
            asked.path,
            [*fields_of(asked.id), (b"te", b"trailers")],
        )
        stream_id = self._last = engine.open_stream(head, not body)
        self._asked[stream_id] = asked
        if body and asked.id[-2:-1] in b"01234567":
            engine.send_data(stream_id, body, False)
            engine.send_trailers(stream_id, [(b"x-trailer", asked.id)])
        elif body:
            engine.send_data(stream_id, body, True)

    def _handle(self, event: Event) -> None:
        if isinstance(event, GoAwayReceived):
            self._is_leaving = True
            return
        if isinstance(event, ConnectionFailed):
            self.tally.failed.append(f"the gate broke HTTP/2: {event.detail}")
            return
        stream_id = getattr(event, "stream_id", 0)
        asked = self._asked.get(stream_id)
        match event:
            case DataReceived():
                self._engine.credit_connection(event.credit)
                self._engine.credit(stream_id, event.credit)
                if asked is not None:
                    asked.has_data(event.data)
                    self._end_if(event.end_stream, stream_id, asked, None)
            case InterimReceived() if asked is not None:
                asked.has_interim(event.head.fields)
            case ResponseReceived() if asked is not None:
                asked.has_head(event.head.status, event.head.fields)
                self._end_if(event.end_stream, stream_id, asked, None)
            case TrailersReceived() if asked is not None:
                self._end_if(True, stream_id, asked, event.fields)
            case StreamReset() if asked is not None:
                del self._asked[stream_id]
                asked.broke("reset")

    def _end_if(self, end: bool, stream_id: int, asked: Asked, trailers: Fields | None) -> None:
        if end:
            del self._asked[stream_id]
            asked.ended(trailers)


class Http1(Client):
    """One request after another, at times two at once (pipelining)."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self._waiting: list[Asked] = []
        self._begin_message()
        self._ask()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.tally.failed.append(f"the gate broke HTTP/1.1: {error}: {data[:80]!r}")
            self.transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        for asked in self._waiting:
            asked.broke("connection")
        self._waiting.clear()
        super().connection_lost(error)

    def _ask(self) -> None:
        if self.transport.is_closing():
            return
        for _ in range(2 if self.tally.random.random() < 0.1 else 1):
            asked = self.tally.next()
            if asked is None:
                break
            if not self._send(asked):
                return
        if not self._waiting:
            self.transport.close()

    def _send(self, asked: Asked) -> bool:
        body = asked.body
        lines = [b"%b %b HTTP/1.1" % (b"POST" if body else b"GET", asked.path), b"Host: soak.example", b"TE: trailers",
                 b"Connection: TE"]  # fmt: skip
        lines += [b"%b: %b" % field for field in fields_of(asked.id)]
        if body and asked.id[-2:-1] in b"01234567":
            lines.append(b"Transfer-Encoding: chunked")
            body = b"%x\r\n%b\r\n0\r\nX-Trailer: %b\r\n\r\n" % (len(body), body, asked.id)
        elif body:
            lines.append(b"Content-Length: %d" % len(body))
        self.transport.write(b"\r\n".join(lines) + b"\r\n\r\n" + body)
        if asked.is_cancelled:
            for one in (*self._waiting, asked):
                one.cancelled()
            self._waiting.clear()
            self.transport.abort()
            return False
        self._waiting.append(asked)
        return True

    # httptools' callbacks

    def _begin_message(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._fields: Fields = []
        self._has_head = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        fields, self._fields = self._fields, []
        if not self._waiting:
            self.tally.failed.append(f"an answer to nothing: {status} {fields}")
        elif status < 200:
            self._waiting[0].has_interim(fields)
        else:
            self._waiting[0].has_head(status, fields)
        self._has_head = status >= 200

    def on_body(self, data: bytes) -> None:
        if self._waiting:
            self._waiting[0].has_data(data)

    def on_message_complete(self) -> None:
        if not self._has_head or not self._waiting:
            return
        self._has_head = False
        trailers, self._fields = self._fields, []
        self._waiting.pop(0).ended(trailers or None)
        if not self._waiting:
            self._ask()


async def play(port: int, tally: Tally, http2: int, http1: int) -> None:
    """Keep so many connections of each kind busy until all has been asked and answered."""
    loop = asyncio.get_running_loop()

    async def keep(kind: type[Client]) -> None:
        while not tally.is_over:
            over: asyncio.Future[None] = loop.create_future()
            await loop.create_connection(partial(kind, tally, partial(over.set_result, None)), "127.0.0.1", port)
            await over

    await asyncio.gather(*[keep(kind) for kind in (*[Http2] * http2, *[Http1] * http1)])
