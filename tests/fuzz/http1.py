"""Cases for the HTTP/1.1 engines: bytes of clients, good and broken, cut anywhere, and an owner who answers somehow.

A case costs some 100 us, most of it in the python make: one request or two, a body of a few bytes, a few calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from h2gate.protocol import http1, http1_native
from h2gate.protocol.contract import Http1Settings
from h2gate.protocol.events import Fields, ResponseHead
from tests.support.http1_engine import Step, play

SETTINGS = (
    *(Http1Settings(),) * 6,
    Http1Settings(header_list=200, fields=5, request_line=50),
    Http1Settings(header_list=90, fields=3, request_line=30),
)
METHODS = (
    b"GET",
    b"GET",
    b"GET",
    b"POST",
    b"HEAD",
    b"PUT",
    b"OPTIONS",
    b"CONNECT",
    b"PRI",
    b"BREW",
    b"get",
    b"M-SEARCH",
)
TARGETS = (
    b"/", b"/a?b=c", b"//a/%2e", b"*", b"/a#b", b"http://a/", b"http://a:80/x", b"HTTP://A?q", b"https://a/",
    b"x+y://a/", b"http://u@a/", b"a:443", b"a/b", b"/{|}\"<>\\^`", b"/" + b"p" * 40, b"http://[::1]:8/",
)  # fmt: skip
VERSIONS = (*(b"HTTP/1.1",) * 8, b"HTTP/1.0", b"HTTP/1.0", b"HTTP/1.2", b"HTTP/2.0", b"HTTP/0.9", b"http/1.1")
UPGRADE = (b"Upgrade: websocket", b"Connection: Upgrade")
LINES = (
    b"Accept: */*", b"User-Agent: x y", b"X-A:", b"X-B:  a\t b \t", b"cookie: a=b; c=d", b"Cookie: e",
    b"x-high: \xe4\xff", b"Connection: close", b"Connection: keep-alive", b"connection: Keep-Alive, Upgrade",
    b"Connection: TE , CLOSE", b"Proxy-Connection: close", b"Proxy-Connection: keep-alive", b"Upgrade: h2c",
    b"Upgrade: websocket", b"TE: trailers", b"te: gzip;q=0.5, Trailers", b"Expect: 100-continue",
    b"Keep-Alive: timeout=5", b"Trailer: X", b"Host: b", b"Host:", b"host: a:8080", b"Host: a b", b"HOST: a",
    b"Content-Length: 0", b"Content-Length: 5", b"content-length: 5 ", b"Content-Length: 05", b"Content-Length:",
    b"Content-Length: +5", b"Content-Length: 5, 5", b"Content-Length: 5,6", b"Content-Length: 999999999999999999",
    b"Content-Length: 1000000000000000000", b"Content-Length: 18446744073709551621", b"Transfer-Encoding: chunked",
    b"transfer-encoding:CHUNKED\t", b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: identity",
    b"Transfer-Encoding:", b"Transfer-Encoding: deflate;q=1", b"Expect: 100-Continue, x", b"Expect: ,100-continue",
    b"UPGRADE: WebSocket\t", b"Upgrade: websocket, h2c", b"Connection: keep-alive ,\tUPGRADE", b" folded: x",
    b"X : y", b"no colon", b": empty", b"X\x00: y", b"X: \x00", b"X: \x7f",
    b"X: a\nY: b", b"X: a\rb", b"X" * 30 + b": y", b"X-Long: " + b"v" * 120, b"M\xfc: x",
)  # fmt: skip
PLAIN_LINES = 16
CHUNKS = (
    b"5\r\nhello\r\n", b"1;a=b;c=\"d\"\r\nx\r\n", b"0005\r\nworld\r\n", b"A\r\n0123456789\r\n", b"5\nhello\r\n",
    b"5 \r\nhello\r\n", b"6\r\nhello\r\n", b"x\r\n", b"5;\r\nhello\r\n", b"-1\r\n", b"11111111111111111\r\n",
)  # fmt: skip
ENDS = (
    b"0\r\n\r\n", b"0\r\n\r\n", b"0\r\nX: y\r\n\r\n", b"00;e\r\nGrpc-Status:\t0 \r\nx-a:b\r\n\r\n",
    b"0\r\nCookie: x\r\n\r\n", b"0\r\nHost: a\r\n\r\n", b"0\r\nContent-Length: 5, 6\r\n\r\n",
    b"0\r\nTransfer-Encoding: gzip\r\n\r\n", b"0\r\n:x: y\r\n\r\n", b"0\r\nX: a\nb\r\n\r\n",
    b"0\r\nX: " + b"a" * 250 + b"\r\n\r\n", b"0\r\n" + b"X:\r\n" * 7 + b"\r\n", b"0\n\n",
)  # fmt: skip
OCTETS = (
    b"\r\n",
    b"\r",
    b"\n",
    b"\r\n\r\n",
    b" ",
    b"\t",
    b":",
    b"\0",
    b"\x7f",
    b"\x80",
    b",",
    b"0",
    b"a",
    b"/",
    b"#",
    b"\x0b",
)

STATUSES = (200, 200, 200, 404, 204, 304, 500, 299, 103, 101, 101, 101, 100, 600)
FIELDS: tuple[tuple[bytes, bytes], ...] = (
    (b"content-type", b"text/plain"), (b"server", b"s"), (b"set-cookie", b"a"), (b"x-9a'b", b""),
    (b"X-Upper", b"\xff\t"), (b"date", b"now"), (b"connection", b"close"), (b"transfer-encoding", b"chunked"),
    (b"upgrade", b"x"), (b"upgradf", b"x"), (b"keep-alive", b"1"), (b"proxy-connection", b"x"),
    (b"content-length", b"5"), (b"content-length", b"10"), (b"content-length", b"007"), (b"content-length", b"5, 5"),
    (b"content-length", b"+5"), (b"content-length", b"0"), (b"content-length", b"1" * 19), (b"", b"x"),
    (b"x y", b"z"), (b"x", b"a\r\nb"), (b"connection", b"\0"), (b":status", b"200"),
)  # fmt: skip
PLAIN_FIELDS = 6
BODIES = (b"", b"hello", b"hello", b"0123456789", b"x" * 40)
LIMITS = (65_536, 65_536, 65_536, 1, 7, 40, 0)


def one_case(random: Random, corpus: Sequence[bytes], is_alone: bool = False) -> None:
    """Make one case and play it on both makes, or twice on the native one if that is alone.

    Raises AssertionError, with the case, where they differ.
    """
    settings = random.choice(SETTINGS)
    scheme = b"https" if random.random() < 0.1 else b"http"
    steps = _steps(random, _client(random, corpus))
    reference = play((http1_native if is_alone else http1).server_engine(settings, scheme), steps)
    native = play(http1_native.server_engine(settings, scheme), steps)
    if reference != native:
        place = next((at for at, pair in enumerate(zip(reference, native, strict=True)) if pair[0] != pair[1]))
        raise AssertionError(
            f"{settings!r}, {scheme!r}\nsteps = {steps!r}\nstep {place}: {steps[place]!r}\n"
            f"python: {reference[place]!r}\nnative: {native[place]!r}"
        )


def _client(random: Random, corpus: Sequence[bytes]) -> bytes:
    """Return what a client sends."""
    data = b""
    for _ in range(1 if random.random() < 0.8 else 2):
        data += random.choice(corpus) if corpus and random.random() < 0.3 else _request(random)
    while random.random() < 0.2:
        place = random.randrange(len(data) + 1)
        match random.randrange(4):
            case 0:
                data = data[:place] + random.choice(OCTETS) + data[place:]
            case 1:
                data = data[:place] + data[place + random.randrange(1, 4) :]
            case 2:
                data = data[:place] + bytes([random.randrange(256)]) + data[place + 1 :]
            case _:
                data = data[:place] + data[place - random.randrange(20) : place] + data[place:]
    return data


def _request(random: Random) -> bytes:
    is_plain = random.random() < 0.7
    method = METHODS[int(random.random() * (5 if is_plain else len(METHODS)))]
    target = TARGETS[int(random.random() * (3 if is_plain else len(TARGETS)))]
    version = VERSIONS[int(random.random() * (10 if is_plain else len(VERSIONS)))]
    lines = random.choices(LINES[:PLAIN_LINES] if is_plain else LINES, k=int(random.random() * 6))
    if random.random() < 0.15:
        lines += UPGRADE
        method, version = (b"GET", b"HTTP/1.1") if random.random() < 0.9 else (method, version)
    if random.random() < 0.95:
        lines.insert(int(random.random() * 2), b"Host: a")
    body = b""
    kind = random.random() if UPGRADE[0] not in lines or random.random() < 0.2 else 1
    if kind < 0.2:
        lines.append(b"Content-Length: 10")
        body = b"0123456789"[: int(random.random() * 14)]
    elif kind < 0.45:
        lines.append(b"Transfer-Encoding: chunked")
        chunks = random.choices(CHUNKS[:4] if random.random() < 0.8 else CHUNKS, k=int(random.random() * 3))
        body = b"".join(chunks) + random.choice(ENDS)
    start = b"\r\n" * int(random.random() * 6) if random.random() < 0.1 else b""
    return b"%b%b %b %b\r\n%b\r\n\r\n%b" % (start, method, target, version, b"\r\n".join(lines), body)


def _steps(random: Random, data: bytes) -> list[Step]:
    """Return the calls that bring the data in pieces, and an owner's between them."""
    kind = random.random()
    if kind < 0.5 or len(data) < 2:
        pieces = [data]
    elif kind < 0.95:
        places = sorted(random.randrange(len(data) + 1) for _ in range(1 if kind < 0.8 else 3))
        pieces = [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]
    else:
        pieces = [data[place : place + 1] for place in range(min(len(data), 60))] + [data[60:]]
    steps: list[Step] = []
    for piece in pieces:
        steps.append(("receive", piece))
        if len(piece) > 1 or random.random() < 0.05:
            _owner(random, steps)
    return steps


def _owner(random: Random, steps: list[Step]) -> None:
    kind = random.random()
    if kind < 0.15:
        return
    if kind < 0.25:
        steps += [("send_head", 0, ResponseHead(101, _fields(random)), random.random() < 0.1), ("take_tunnelled",)]
        return
    if kind < 0.65:
        ends = random.random() < 0.3
        steps.append(("send_head", 0, _head(random), ends))
        if not ends:
            steps.append(("send_data", 0, random.choice(BODIES), True))
        steps += [("data_to_send", 65_536), ("take_framed",), ("next_request",)]
        return
    for _ in range(int(random.random() * 6)):
        stream = 0 if random.random() < 0.95 else random.choice((-1, 1))
        match int(random.random() * 13):
            case 0:
                steps.append(("send_interim", stream, _head(random)))
            case 1 | 2 | 3:
                steps.append(("send_head", stream, _head(random), random.random() < 0.2))
            case 4 | 5:
                steps.append(("send_data", stream, random.choice(BODIES), random.random() < 0.4))
            case 6:
                steps.append(("send_trailers", stream, _fields(random)))
            case 7 | 8:
                steps.append(("data_to_send", random.choice(LIMITS)))
            case 9:
                steps.append(("take_framed",))
            case 10:
                steps.append(("next_request",))
            case 11:
                steps.append(("take_tunnelled",))
            case _:
                steps.append(("abandon_request",) if random.random() < 0.3 else ("close_after_response",))


def _head(random: Random) -> ResponseHead:
    return ResponseHead(random.choice(STATUSES), _fields(random))


def _fields(random: Random) -> Fields:
    return random.choices(FIELDS[:PLAIN_FIELDS] if random.random() < 0.7 else FIELDS, k=int(random.random() * 4))
