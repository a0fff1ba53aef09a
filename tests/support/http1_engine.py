"""Driving HTTP/1.1 server engines: the makes under test, and short words for what tests do with them."""

from __future__ import annotations

import http.client
import io
from collections.abc import Callable, Iterable
from typing import Any

import h11

from h2gate.protocol import http1
from h2gate.protocol.contract import Http1ServerEngine, Http1Settings
from h2gate.protocol.events import (
    ConnectionFailed,
    DataReceived,
    Event,
    RequestHead,
    RequestReceived,
    TrailersReceived,
)

Make = Callable[[Http1Settings, bytes], Http1ServerEngine]

MAKES: dict[str, Make] = {"python": http1.server_engine}
"""Each test of the contract runs over all of these."""

try:
    from h2gate.protocol import http1_native
except ImportError:  # httptools or the extension is not there
    pass
else:
    MAKES["native"] = http1_native.server_engine

SETTINGS = Http1Settings()


def request(*lines: bytes, body: bytes = b"") -> bytes:
    """Join a request's lines; a Host is there unless the lines say something about it."""
    head = list(lines)
    if not any(line[:4].lower() == b"host" for line in head):
        head.insert(1, b"Host: example.org")
    return b"\r\n".join([*head, b"", body])


GET = request(b"GET / HTTP/1.1")
HEAD = request(b"HEAD / HTTP/1.1")
GET_TRAILERS = request(b"GET / HTTP/1.1", b"TE: gzip;q=0.5, Trailers")
GET_10 = request(b"GET / HTTP/1.0")
GET_10_KEEP = request(b"GET / HTTP/1.0", b"Connection: keep-alive")


def feed(engine: Http1ServerEngine, pieces: Iterable[bytes]) -> list[Event]:
    return [event for piece in pieces for event in engine.receive(piece)]


def head_of(engine: Http1ServerEngine, data: bytes) -> RequestHead:
    """Feed one whole request and return the head it makes."""
    event = engine.receive(data)[0]
    assert isinstance(event, RequestReceived), event
    return event.head


def failure_of(events: list[Event]) -> ConnectionFailed:
    failure = events[-1]
    assert isinstance(failure, ConnectionFailed), events
    return failure


def joined(events: list[Event]) -> list[object]:
    """Return events with the data of a stream joined, so that runs that cut it differently compare equal."""
    result: list[object] = []
    for event in events:
        if isinstance(event, DataReceived):
            assert event.credit == len(event.data)
            if result and isinstance(result[-1], DataReceived):
                last = result.pop()
                assert isinstance(last, DataReceived)
                assert not last.end_stream
                data = last.data + event.data
                result.append(DataReceived(event.stream_id, data, len(data), event.end_stream))
                continue
            if not event.data and not event.end_stream:
                continue
        elif isinstance(event, TrailersReceived) and result and isinstance(result[-1], DataReceived):
            assert not result[-1].end_stream
        result.append(event)
    return result


def sent(engine: Http1ServerEngine, limit: int = 65_536) -> bytes:
    """Drain the engine."""
    out = []
    while piece := engine.data_to_send(limit):
        out.append(piece)
    return b"".join(out)


def begin(engine: Http1ServerEngine, data: bytes) -> int:
    event = engine.receive(data)[0]
    assert isinstance(event, RequestReceived)
    return event.stream_id


Step = tuple[Any, ...]
"""A call of an engine: a method's name and its arguments. A stream's id is told from `current_stream` on."""

_FOR_A_STREAM = frozenset({"send_interim", "send_head", "send_data", "send_trailers"})


def play(engine: Http1ServerEngine, steps: Iterable[Step]) -> list[object]:
    """Make the calls; return what each gave, and what the engine said of itself afterwards."""
    seen: list[object] = []
    for name, *arguments in steps:
        if name in _FOR_A_STREAM:
            arguments[0] += engine.current_stream
        given = getattr(engine, name)(*arguments)
        current = engine.current_stream
        seen.append(
            (
                given,
                current,
                engine.keeps_alive,
                engine.request_complete,
                engine.response_complete,
                engine.broken,
                engine.buffered,
                engine.queued(current),
            )
        )
    return seen


def lines_of(data: bytes) -> tuple[bytes, list[bytes], bytes]:
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    return first, lines, body


class Received(io.BytesIO):
    """What came over a socket. It stays open behind a response, so that what follows can be seen."""

    def close(self) -> None:
        pass

    def makefile(self, mode: str) -> Received:
        assert mode == "rb"
        return self


def by_http_client(data: bytes, method: str = "GET") -> tuple[http.client.HTTPResponse, bytes, bytes]:
    """Read a response; return it, its body, and what follows it."""
    received = Received(data)
    response = http.client.HTTPResponse(received, method=method)  # type: ignore[arg-type]
    response.begin()
    return response, response.read(), received.read()


def by_h11(request_data: bytes, data: bytes) -> list[h11.Event]:
    """Read responses as a client that sent `request_data`; the end of the data is the connection's end."""
    line, *lines = request_data.split(b"\r\n\r\n")[0].split(b"\r\n")
    method, target, _ = line.split(b" ")
    fields = [(name, value.strip()) for name, _, value in (line.partition(b":") for line in lines)]
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target=target, headers=fields))
    client.send(h11.EndOfMessage())
    client.receive_data(data)
    client.receive_data(b"")
    events: list[h11.Event] = []
    while True:
        event = client.next_event()
        if isinstance(event, h11.ConnectionClosed) or event in (h11.NEED_DATA, h11.PAUSED):
            return events
        assert isinstance(event, h11.Event)
        events.append(event)
