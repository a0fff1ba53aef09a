"""The soak's backend: HTTP/2 in clear on the gate's own engine, in one process: `python -m tests.soak.backend PORT`.

It answers as the path says (`ids.KINDS`), compares each part of each request with the request's id, counts how often
each was executed, and writes what it found as one JSON object to standard output at TERM.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from typing import Any

from h2gate.errors import ErrorCode
from h2gate.protocol.contract import Http2Settings
from h2gate.protocol.engines import choose
from h2gate.protocol.events import (
    ConnectionFailed,
    DataReceived,
    Event,
    Fields,
    RequestReceived,
    ResponseHead,
    StreamReset,
    TrailersReceived,
)
from tests.soak.ids import BIG_REPEATS, REPEATS, Body, fields_of, strangers

SLOW_SECONDS = 0.003
CHUNK = 65_536

_make_engine = choose("auto").http2_server


class Findings:
    """What went wrong: examples of mix-ups, and requests that were executed twice."""

    def __init__(self) -> None:
        self.requests = 0
        self.mixed: list[str] = []
        self.twice: list[str] = []
        self.refused: set[bytes] = set()
        self.executed: set[bytes] = set()

    def as_json(self) -> str:
        return json.dumps({"requests": self.requests, "mixed": self.mixed[:20], "twice": self.twice[:20]})


class Request:
    __slots__ = ("body", "id", "is_answered", "kind")

    def __init__(self, kind: str, one: bytes) -> None:
        self.kind = kind
        self.id = one
        self.body = Body(one)
        self.is_answered = False


class Connection(asyncio.Protocol):
    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._engine = _make_engine(Http2Settings(stream_window=1_048_576, connection_window=16_777_216))
        self._requests: dict[int, Request] = {}
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._flush()

    def data_received(self, data: bytes) -> None:
        for event in self._engine.receive(data):
            self._handle(event)
        self._flush()

    def _flush(self) -> None:
        if self._transport.is_closing():
            return
        while data := self._engine.data_to_send(CHUNK):
            self._transport.write(data)
        self._engine.take_framed()

    def _handle(self, event: Event) -> None:
        match event:
            case RequestReceived():
                self._begin(event)
            case DataReceived():
                self._engine.credit_connection(event.credit)
                self._engine.credit(event.stream_id, event.credit)
                request = self._requests.get(event.stream_id)
                if request is not None:
                    if not request.body.takes(event.data):
                        self._mixed(request, "body", event.data[:64])
                    if event.end_stream:
                        self._received(event.stream_id, request)
            case TrailersReceived():
                request = self._requests.get(event.stream_id)
                if request is not None:
                    for field in strangers(request.id, event.fields):
                        self._mixed(request, "trailer", field)
                    self._received(event.stream_id, request)
            case StreamReset():
                self._requests.pop(event.stream_id, None)
            case ConnectionFailed():
                self._findings.mixed.append(f"the gate broke HTTP/2: {event.detail}")
                self._transport.close()

    def _begin(self, event: RequestReceived) -> None:
        head = event.head
        _, kind, one, query = head.path.replace(b"?", b"/").split(b"/")
        findings = self._findings
        findings.requests += 1
        request = Request(kind.decode(), one)
        if query != one:
            self._mixed(request, "query", query)
        for field in strangers(one, head.fields):
            self._mixed(request, "field", field)
        if kind == b"refuse" and one not in findings.refused:
            findings.refused.add(one)
            self._engine.reset(event.stream_id, ErrorCode.REFUSED_STREAM)
            return
        # RFC 9110, 9.2.2: a GET may be sent again when its connection died.
        if one in findings.executed and head.method == b"POST":
            findings.twice.append(f"{request.kind} {one.decode()}")
        findings.executed.add(one)
        self._requests[event.stream_id] = request
        if kind == b"early":
            self._answer(event.stream_id, request)
        if event.end_stream:
            self._received(event.stream_id, request)

    def _received(self, stream_id: int, request: Request) -> None:
        del self._requests[stream_id]
        if request.is_answered:
            return
        if request.kind == "slow":
            asyncio.get_running_loop().call_later(SLOW_SECONDS, self._answer_late, stream_id, request)
        else:
            self._answer(stream_id, request)

    def _answer_late(self, stream_id: int, request: Request) -> None:
        self._answer(stream_id, request)
        self._flush()

    def _answer(self, stream_id: int, request: Request) -> None:
        request.is_answered = True
        engine, one, kind = self._engine, request.id, request.kind
        fields: Fields = fields_of(one)
        if kind == "hints":
            for _ in range(2):
                hint = [*fields, (b"link", b"</%b.css>; rel=preload" % one), (b"x-hint", one)]
                engine.send_interim(stream_id, ResponseHead(103, hint))
        if kind == "empty":
            engine.send_head(stream_id, ResponseHead(204, fields), True)
            return
        engine.send_head(stream_id, ResponseHead(200, fields), False)
        body = one * (BIG_REPEATS if kind == "big" else REPEATS)
        if kind in ("reset", "close"):
            engine.send_data(stream_id, body, False)
            self._flush()
            if kind == "reset":
                engine.reset(stream_id, ErrorCode.INTERNAL_ERROR)
            else:
                self._transport.close()
            return
        if kind == "trailers":
            engine.send_data(stream_id, body, False)
            engine.send_trailers(stream_id, [(b"x-trailer", one), (b"x-" + one, one)])
        else:
            engine.send_data(stream_id, body, True)
        if kind == "goaway":
            engine.goaway(engine.last_peer_stream_id, ErrorCode.NO_ERROR)

    def _mixed(self, request: Request, where: str, what: object) -> None:
        self._findings.mixed.append(f"request {request.kind} {request.id.decode()}: {where} {what!r}")


async def serve(port: int) -> None:
    findings = Findings()
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, told.set)
    await loop.create_server(lambda: Connection(findings), "127.0.0.1", port, backlog=1024)
    await told.wait()
    print(findings.as_json(), flush=True)


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
