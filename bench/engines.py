"""Measure the engines: one request and its response between a client and a server engine, in memory.

    python -m bench.engines [bytes of the body] [seconds] [python | native]

Prints microseconds of CPU per exchange, for both makes unless one is named: what a proxied HTTP/2 request pays for its
protocol, as it does each of four operations (read a request, write one, read a response, write one) once.
"""

from __future__ import annotations

import sys
import time

from h2gate.protocol.contract import Http2ClientEngine, Http2ServerEngine, Http2Settings
from h2gate.protocol.engines import choose
from h2gate.protocol.events import DataReceived, RequestHead, RequestReceived, ResponseHead

LIMIT = 65_536
ROUNDS = 5


def main() -> None:
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 1_024
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 1.0
    for name in sys.argv[3:] or ["python", "native"]:
        if name not in ("python", "native"):
            sys.exit(f"no such make: {name}")
        try:
            engines = choose(name)
        except ImportError as missing:
            print(f"HTTP/2 {name}: {missing}; make native")
            continue
        client = engines.http2_client(Http2Settings(stream_window=262_144, connection_window=16_777_216))
        server = engines.http2_server(Http2Settings())
        body = bytes(size)
        # So that each make runs for about the time asked for.
        count = max(1, int(seconds * 1e6 / run(client, server, body, 500) / ROUNDS))
        best = min(run(client, server, body, count) for _ in range(ROUNDS))
        print(f"HTTP/2 {name}: {best:.1f} us per exchange with {size} bytes")


def run(client: Http2ClientEngine, server: Http2ServerEngine, body: bytes, count: int) -> float:
    begin = time.process_time()
    for number in range(count):
        exchange(client, server, body, number)
    return (time.process_time() - begin) / count * 1e6


def exchange(client: Http2ClientEngine, server: Http2ServerEngine, body: bytes, number: int) -> None:
    """One GET; path, request id and date differ each time, as they do in life."""
    request = RequestHead(
        b"GET",
        b"http",
        b"app.example.com",
        b"/items/%d?page=1" % number,
        [
            (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
            (b"accept", b"text/html,application/xhtml+xml"),
            (b"accept-encoding", b"gzip, deflate, br"),
            (b"x-forwarded-for", b"192.0.2.%d" % (number % 250)),
            (b"x-forwarded-proto", b"https"),
            (b"x-request-id", b"%032x" % number),
        ],
    )
    response = ResponseHead(
        200,
        [
            (b"content-type", b"text/html; charset=utf-8"),
            (b"content-length", b"%d" % len(body)),
            (b"server", b"backend/1.0"),
            (b"date", b"Mon, 01 Jan 2024 00:%02d:%02d GMT" % (number // 60 % 60, number % 60)),
        ],
    )
    client.open_stream(request, end_stream=True)
    received = 0
    while received < len(body) or not received:
        for event in server.receive(client.data_to_send(LIMIT)):
            if isinstance(event, RequestReceived):
                server.send_head(event.stream_id, response, end_stream=not body)
                server.send_data(event.stream_id, body, end_stream=True)
        for answer in client.receive(server.data_to_send(LIMIT)):
            if isinstance(answer, DataReceived):
                received += answer.credit
                client.credit(answer.stream_id, answer.credit)
                client.credit_connection(answer.credit)
        server.take_framed()
        if not body:
            break


if __name__ == "__main__":
    main()
