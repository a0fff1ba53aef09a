"""Write the corpus of HTTP/2: what clients and servers send, whole conversations in small files.

    python -m tests.fuzz.http2_corpus

The name of a file says whose bytes they are. The fuzzer damages them and gives them to either side.
"""

from __future__ import annotations

from pathlib import Path

from hpack import Encoder
from hpack.struct import NeverIndexedHeaderTuple

from h2gate.protocol.events import Fields
from tests.support.http2_engine import (
    GET,
    POST,
    PREFACE,
    WEBSOCKET,
    data,
    goaway,
    ping,
    raw,
    rst_stream,
    settings_ack,
    settings_frame,
    window_update,
)

FOLDER = Path(__file__).parent / "corpus" / "http2"
HEADERS, CONTINUATION = 1, 9
END_STREAM, END_HEADERS = 1, 4

BROWSER: Fields = [
    (b":method", b"GET"), (b":path", b"/assets/site.css?v=3"), (b":authority", b"www.example.com"),
    (b":scheme", b"https"), (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
    (b"accept", b"*/*"), (b"accept-encoding", b"gzip, deflate, br"), (b"cookie", b"a=b"), (b"cookie", b"c=d"),
    (b"te", b"trailers"), (b"sec-fetch-mode", b"cors"), (b"priority", b"u=2"),
]  # fmt: skip
RESPONSE: Fields = [
    (b":status", b"200"), (b"content-type", b"text/html"), (b"content-length", b"5"), (b"server", b"backend/1.0"),
    (b"date", b"Mon, 01 Jan 2024 00:00:00 GMT"), (b"set-cookie", b"a=b"),
]  # fmt: skip
GRPC: Fields = [
    *POST[:1], (b":scheme", b"http"), (b":path", b"/greeter/Hello"), (b":authority", b"localhost:50051"),
    (b"te", b"trailers"), (b"content-type", b"application/grpc"), (b"user-agent", b"grpc-python/1.60"),
    (b"grpc-timeout", b"1S"),
]  # fmt: skip


class Peer:
    """What one side sends: its field blocks follow each other."""

    def __init__(self) -> None:
        self.encoder = Encoder()

    def head(self, stream_id: int, fields: Fields, end_stream: bool = False, huffman: bool = True) -> bytes:
        block = self.encoder.encode(fields, huffman=huffman)
        return raw(HEADERS, END_HEADERS | (END_STREAM if end_stream else 0), stream_id, block)

    def pieces(self, stream_id: int, fields: Fields, size: int) -> bytes:
        block = self.encoder.encode(fields)
        parts = [block[begin : begin + size] for begin in range(0, len(block), size)]
        frames = [
            raw(CONTINUATION if number else HEADERS, 0, stream_id, part) for number, part in enumerate(parts[:-1])
        ]
        return b"".join([*frames, raw(CONTINUATION, END_HEADERS, stream_id, parts[-1])])


def conversations() -> dict[str, bytes]:
    hello = PREFACE + settings_frame({3: 100, 4: 1 << 20, 2: 0}) + window_update(0, 1 << 24)
    found: dict[str, bytes] = {}

    peer = Peer()
    found["client-browser"] = hello + peer.head(1, BROWSER, True) + settings_ack() + peer.head(3, BROWSER, True)
    peer = Peer()
    found["client-many"] = hello + b"".join(peer.head(stream_id, GET, True) for stream_id in range(1, 13, 2))
    peer = Peer()
    found["client-plain-text"] = hello + peer.head(1, BROWSER, True, huffman=False)
    peer = Peer()
    upload = [*POST, (b"content-length", b"10")]
    found["client-upload"] = (
        hello + peer.head(1, upload) + data(1, b"hello", padding=3) + data(1, b"world", end_stream=True)
    )
    peer = Peer()
    found["client-trailers"] = (
        hello + peer.head(1, GRPC) + data(1, b"\0\0\0\0\2hi") + peer.head(1, [(b"x-end", b"1")], True) + settings_ack()
    )
    peer = Peer()
    found["client-pieces"] = hello + peer.pieces(1, BROWSER, 40) + data(1, b"", end_stream=True)
    peer = Peer()
    secret = [*GET, NeverIndexedHeaderTuple(b"authorization", b"Basic eDp5"), (b"host", b"example.org")]
    found["client-secret"] = hello + peer.head(1, secret, True)
    peer = Peer()
    found["client-leaves"] = hello + peer.head(1, POST) + rst_stream(1, 8) + data(1, b"late") + goaway(0, 0, b"bye")
    peer = Peer()
    found["client-small-table"] = hello + peer.head(1, BROWSER, True)
    peer.encoder.header_table_size = 64
    found["client-small-table"] += peer.head(3, BROWSER, True)
    peer = Peer()
    found["client-connect"] = hello + peer.head(1, [(b":method", b"CONNECT"), (b":authority", b"example.org:443")])
    peer = Peer()
    found["client-websocket"] = (
        hello
        + peer.head(1, [*WEBSOCKET, (b"sec-websocket-version", b"13"), (b"origin", b"https://example.org")])
        + data(1, b"\x81\x85\0\0\0\0hello")
        + data(1, b"\x88\x80\0\0\0\0", end_stream=True)
    )
    peer = Peer()
    found["client-bad-tunnels"] = hello + b"".join(
        peer.head(2 * number + 1, fields)
        for number, fields in enumerate(
            [
                WEBSOCKET[1:],
                [*GET, *WEBSOCKET[-1:]],
                [*WEBSOCKET, *WEBSOCKET[-1:]],
                [*WEBSOCKET, (b"content-length", b"0")],
                [*WEBSOCKET, (b"content-length", b"5")],
            ]
        )
    )
    found["client-bad-tunnels"] += peer.head(7, [(b"x-end", b"1")], True)
    peer = Peer()
    found["client-takes-pushes"] = (
        PREFACE
        + settings_frame({2: 1, 3: 1})
        + peer.head(1, GET, True)
        + settings_ack()
        + window_update(2, 100)
        + rst_stream(2, 8)
        + settings_frame({2: 0})
        + peer.head(3, GET, True)
    )
    peer = Peer()
    found["client-writes-on-pushes"] = hello + peer.head(1, GET, True) + data(2, b"x") + peer.head(2, GET, True)
    peer = Peer()
    found["client-bad-heads"] = hello + b"".join(
        peer.head(2 * number + 1, [*GET, field], True)
        for number, field in enumerate(
            [(b"Upper", b"a"), (b"connection", b"close"), (b"a", b"b\nc"), (b":path", b"/"), (b"a", b" b")]
        )
    )
    peer = Peer()
    found["client-windows"] = (
        hello + peer.head(1, GET, True) + window_update(1, 100) + settings_frame({4: 10}) + window_update(1, 2**31 - 1)
    )
    found["client-pings"] = hello + ping() + ping(b"abcdefgh", ack=True) + settings_frame({1: 0, 5: 16_385, 99: 7})
    found["client-http1"] = b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n"

    hello = settings_frame({3: 128, 4: 65_536, 5: 16_777_215})
    peer = Peer()
    found["server-answers"] = hello + settings_ack() + peer.head(1, RESPONSE) + data(1, b"hello", end_stream=True)
    peer = Peer()
    found["server-hints"] = (
        hello
        + peer.head(1, [(b":status", b"103"), (b"link", b"</a.css>")])
        + peer.head(1, [(b":status", b"304")], True)
    )
    peer = Peer()
    found["server-grpc"] = (
        hello
        + peer.head(1, [(b":status", b"200"), (b"content-type", b"application/grpc")])
        + data(1, b"\0\0\0\0\2hi")
        + peer.head(1, [(b"grpc-status", b"0"), (b"grpc-message", b"")], True)
    )
    hello_connect = settings_frame({3: 128, 8: 1})
    peer = Peer()
    found["server-tunnel"] = (
        hello_connect
        + peer.head(1, [(b":status", b"200"), (b"content-length", b"3"), (b"sec-websocket-protocol", b"chat")])
        + data(1, b"\x81\x05hello")
        + peer.head(1, [(b"x-end", b"1")], True)
    )
    found["server-takes-connect-back"] = hello_connect + settings_frame({3: 5}) + settings_frame({8: 0})
    peer = Peer()
    found["server-goes"] = (
        hello + goaway(1) + peer.head(1, RESPONSE) + data(1, b"hel") + rst_stream(1, 2) + goaway(0, 11)
    )
    peer = Peer()
    found["server-too-much"] = hello + peer.head(1, RESPONSE) + data(1, b"hello!") + data(1, b"", end_stream=True)
    peer = Peer()
    found["server-empty"] = hello + peer.head(1, [(b":status", b"204"), (b"content-length", b"0")], True)
    found["server-pushes"] = hello + raw(5, 4, 1, b"\0\0\0\2\x82\x86\x84")
    found["server-http1"] = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"
    return found


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, stream in conversations().items():
        (FOLDER / name).write_bytes(stream)


if __name__ == "__main__":
    main()
