"""What the HTTP/1.1 server engines cost: one request read and answered, and bodies both ways.

Run: .venv/bin/python bench/engines_http1.py [--profile] [python|native ...]
"""

from __future__ import annotations

import cProfile
import pstats
import sys
import time
from collections.abc import Callable

from h2gate.protocol import http1
from h2gate.protocol.contract import Http1ServerEngine, Http1Settings
from h2gate.protocol.events import ResponseHead

MAKES = {"python": http1.server_engine}
try:
    from h2gate.protocol import http1_native
except ImportError as missing:
    print(f"without the native make: {missing}", file=sys.stderr)
else:
    MAKES["native"] = http1_native.server_engine

REQUEST = (
    b"GET /path/to/something?with=query HTTP/1.1\r\nHost: app.example.org\r\nUser-Agent: curl/8.14.1\r\nAccept: */*\r\n"
    b"Accept-Encoding: gzip, deflate\r\nAccept-Language: en\r\nCookie: session=0123456789abcdef\r\n"
    b"Referer: http://app.example.org/\r\nX-Request-Id: 0123456789abcdef\r\n\r\n"
)
HEAD = ResponseHead(
    200,
    [
        (b"server", b"sample"),
        (b"date", b"Fri, 25 Jul 2025 12:00:00 GMT"),
        (b"content-type", b"text/plain"),
        (b"content-length", b"1024"),
        (b"via", b"2 h2gate"),
        (b"x-request-id", b"0123456789abcdef"),
    ],
)
BODY = b"x" * 1024
PIECE = b"x" * 65_536
CHUNK = b"4000\r\n" + b"x" * 16_384 + b"\r\n"


def exchange(engine: Http1ServerEngine, stream: int) -> None:
    engine.receive(REQUEST)
    engine.send_head(stream, HEAD, False)
    engine.send_data(stream, BODY, True)
    engine.data_to_send(65_536)
    engine.take_framed()
    engine.next_request()


def upload(engine: Http1ServerEngine, stream: int) -> None:
    engine.receive(PIECE)


def chunked_upload(engine: Http1ServerEngine, stream: int) -> None:
    engine.receive(CHUNK)


def chunked_download(engine: Http1ServerEngine, stream: int) -> None:
    engine.send_data(1, CHUNK, False)
    engine.data_to_send(65_536)
    engine.take_framed()


def begun(*lines: bytes) -> bytes:
    return b"\r\n".join([b"POST / HTTP/1.1", b"Host: a", *lines, b"", b""])


CASES: dict[str, tuple[Callable[[Http1ServerEngine, int], None], bytes, int]] = {
    # name: step, what opens the connection, bytes of body a step
    "exchange, 1 KiB": (exchange, b"", 0),
    "upload by length, 64 KiB": (upload, begun(b"Content-Length: 999999999999"), len(PIECE)),
    "upload by chunks, 16 KiB": (chunked_upload, begun(b"Transfer-Encoding: chunked"), len(CHUNK)),
    "download by chunks, 16 KiB": (chunked_download, begun(b"Transfer-Encoding: chunked"), len(CHUNK)),
}


def run(name: str, make: str, steps: int) -> float:
    """Return seconds a step."""
    step, opening, _ = CASES[name]
    engine = MAKES[make](Http1Settings(), b"http")
    if opening:
        engine.receive(opening)
        engine.send_head(1, ResponseHead(200), False)
        engine.data_to_send(65_536)
    start = time.perf_counter()
    for stream in range(1, steps + 1):
        step(engine, stream)
    return (time.perf_counter() - start) / steps


def main() -> None:
    arguments = [argument for argument in sys.argv[1:] if argument != "--profile"]
    makes = arguments or list(MAKES)
    if unknown := [make for make in makes if make not in MAKES]:
        sys.exit(f"no such make here: {', '.join(unknown)}; there is {', '.join(MAKES)}")
    if "--profile" in sys.argv:
        with cProfile.Profile() as profile:
            run("exchange, 1 KiB", makes[0], 5000)
        pstats.Stats(profile).sort_stats("tottime").print_stats(25)
        return
    for make in makes:
        for name, (_, _, size) in CASES.items():
            # The shortest of many short runs: what else the machine does lengthens the others.
            seconds = min(run(name, make, 30) for _ in range(300))
            speed = f"{size / seconds / 1e9:7.1f} GB/s" if size else ""
            print(f"{make:8} {name:28} {seconds * 1e6:8.2f} us {speed}")


if __name__ == "__main__":
    main()
