"""Clients that send garbage get the right status, and disturb nobody."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import pytest
from h2.errors import ErrorCodes
from hyperframe.frame import ContinuationFrame, DataFrame, Frame, GoAwayFrame, HeadersFrame, PingFrame

from tests.support.certificates import Authority, Site
from tests.support.house import House, house_in
from tests.support.http1_client import Closed, Http1Client
from tests.support.http2_client import Http2Client
from tests.support.messages import Fields

numbers = count()


@pytest.fixture(autouse=True)
def bystanders(house: House) -> Iterator[None]:
    """While a test misbehaves, a request of each kind runs; each must come through."""
    with ExitStack() as stack:
        http1 = stack.enter_context(house.client("http1"))
        http2 = [stack.enter_context(house.client("h2c")), stack.enter_context(house.client("h2"))]
        assert isinstance(http1, Http1Client)
        names = [f"bystander {next(numbers)}" for _ in range(3)]
        http1.send_head("POST", "/upload", [("Content-Length", "5"), ("X-Id", names[0])])
        streams = []
        for client, name in zip(http2, names[1:], strict=True):
            assert isinstance(client, Http2Client)
            streams.append((client, client.open("POST", "/upload", [("x-id", name)], end_stream=False)))
        for name in names:
            house.node.wait_for_run(name, "started")
        yield
        http1.send(b"12345")
        assert http1.read_response("POST").json()["bytes"] == 5
        for client, stream in streams:
            client.send_data(stream, b"12345", end_stream=True)
            assert client.response(stream).json()["bytes"] == 5


def requests_at_backend(house: House) -> int:
    return house.node.stats()["streams"]


# HTTP/1.1

HOST = b"Host: gate.test\r\n"
BAD_HTTP1 = {
    "no_host": (b"GET /hello HTTP/1.1\r\n\r\n", 400),
    "two_hosts": (b"GET /hello HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    "two_lengths": (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nx", 400),
    "length_and_chunked": (
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "negative_length": (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: -1\r\n\r\n", 400),
    "list_of_lengths": (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 5, 6\r\n\r\nhello", 400),
    "length_in_other_digits": (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: \xd9\xa5\r\n\r\nhello", 400),
    "empty_length": (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length:\r\n\r\n", 400),
    "disguised_chunked": (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
    "unknown_coding": (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
    "unknown_expectation": (b"POST / HTTP/1.1\r\n" + HOST + b"Expect: 200-ok\r\nContent-Length: 5\r\n\r\nhello", 417),
    "pseudo_field": (b"GET / HTTP/1.1\r\n" + HOST + b":path: /evil\r\n\r\n", 400),
    "user_in_host": (b"GET / HTTP/1.1\r\nHost: user@gate.test\r\n\r\n", 400),
    "path_in_host": (b"GET / HTTP/1.1\r\nHost: gate.test/x\r\n\r\n", 400),
    "host_that_differs_from_the_target": (b"GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n", 400),
    "http2_line": (b"GET / HTTP/2.0\r\n" + HOST + b"\r\n", 400),
    "fragment": (b"GET /hello#x HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "space_before_colon": (b"GET / HTTP/1.1\r\n" + HOST + b"X-A : 1\r\n\r\n", 400),
    "folded_field": (b"GET / HTTP/1.1\r\n" + HOST + b"X-A: 1\r\n 2\r\n\r\n", 400),
    "nul_in_value": (b"GET / HTTP/1.1\r\n" + HOST + b"X-A: 1\x002\r\n\r\n", 400),
    "bare_cr_in_value": (b"GET / HTTP/1.1\r\n" + HOST + b"X-A: 1\r2\r\n\r\n", 400),
    "bare_lf": (b"GET / HTTP/1.1\n" + HOST + b"\r\n", 400),
    "no_version": (b"GET /hello\r\n\r\n", 400),
    "wrong_version": (b"GET / HTTP/7.1\r\n" + HOST + b"\r\n", 400),
    "binary": (bytes(range(128, 256)) * 10 + b"\r\n\r\n", 400),
    "tls_hello": (bytes.fromhex("16030100c8010000c40303") + b"\x00" * 200 + b"\r\n\r\n", 400),
    "connect": (b"CONNECT other.test:443 HTTP/1.1\r\nHost: other.test:443\r\n\r\n", 400),
    "long_target": (b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
    "long_head": (b"GET / HTTP/1.1\r\n" + HOST + b"X-Long: " + b"x" * 40_000 + b"\r\n\r\n", 431),
    "many_fields": (b"GET / HTTP/1.1\r\n" + HOST + b"".join(b"X-%d: 1\r\n" % n for n in range(150)) + b"\r\n", 431),
}


@pytest.mark.parametrize("name", BAD_HTTP1)
def test_a_bad_http1_request_gets_its_status_and_a_closed_connection(house: House, name: str) -> None:
    data, status = BAD_HTTP1[name]
    before = requests_at_backend(house)
    with house.gate.http1() as client:
        client.send(data)
        response = client.read_response()
        assert (response.status, response.is_complete) == (status, True)
        assert response["connection"] == "close"
        assert client.is_closed_by_peer()
    assert requests_at_backend(house) == before


BAD_CHUNKS = {
    "no_hex": b"zz\r\nbad\r\n",
    "plus": b"+3\r\nbad\r\n",
    "0x": b"0x3\r\nbad\r\n",
    "17_digits": b"00000000000000003\r\nbad\r\n",
    "endless_size": b"0" * 1000,
    "bare_lf_behind_an_extension": b"3;a\nbad\r\n0\r\n\r\n",
    "bare_cr_in_an_extension": b"3;a\rb\r\nbad\r\n",
    "something_for_crlf": b"3\r\nbadXX0\r\n\r\n",
    "extensions_without_end": (b"1;" + b"a" * 200 + b"\r\nx\r\n") * 100,
    "length_in_trailers": b"0\r\nContent-Length: 5\r\n\r\n",
    "coding_in_trailers": b"0\r\nTransfer-Encoding: chunked\r\n\r\n",
    "pseudo_field_in_trailers": b"0\r\n:path: /evil\r\n\r\n",
    "bare_lf_in_trailers": b"0\r\nX: a\nY: b\r\n\r\n",
}


@pytest.mark.parametrize("name", BAD_CHUNKS)
def test_a_bad_chunk_breaks_the_request_off(house: House, name: str) -> None:
    run = f"bad chunk {name} {next(numbers)}"
    with house.gate.http1() as client:
        client.send_head("POST", "/upload", [("Transfer-Encoding", "chunked"), ("X-Id", run)])
        client.send_chunk(b"good")
        house.node.wait_for_run(run, "received")
        client.send(BAD_CHUNKS[name])
        assert client.read_response("POST").status == 400
        assert client.is_closed_by_peer()
    assert house.node.wait_for_run(run, "closed")["aborted"]


@pytest.mark.parametrize(
    "fields", [[("Content-Length", "1000")], [("Transfer-Encoding", "chunked")]], ids=["length", "chunked"]
)
def test_a_truncated_upload_is_never_a_whole_one(house: House, fields: Fields) -> None:
    """RFC 9112, 8."""
    run = f"truncated {next(numbers)}"
    with house.gate.http1() as client:
        client.send_head("POST", "/upload", [*fields, ("X-Id", run)])
        client.send_chunk(b"begin")
        house.node.wait_for_run(run, "received")
        client.socket.shutdown(socket.SHUT_WR)
        assert house.node.wait_for_run(run, "closed")["aborted"]
        with pytest.raises(Closed):
            client.read_head()


def test_the_preface_behind_a_request_is_400(house: House) -> None:
    with house.gate.http1() as client:
        assert client.request("GET", "/hello").status == 200
        client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000"))
        assert client.read_response().status == 400
        assert client.is_closed_by_peer()


def test_what_follows_an_answer_instead_of_100_is_never_a_request(house: House) -> None:
    """A body that a client holds back is as long as it said, and the connection ends with the answer ("0.CL")."""
    smuggled = b"GET /hello HTTP/1.1\r\nHost: a\r\nX-Id: behind expect\r\n\r\n"
    with house.gate.http1() as client:
        client.send_head(
            "POST", "/nowhere/%2f", [("Expect", "100-continue"), ("Content-Length", str(len(smuggled) + 1))]
        )
        response = client.read_response("POST")
        assert response.status == 400
        assert response["connection"] == "close"
        client.send(smuggled)
        assert client.is_closed_by_peer()
    assert house.node.runs("behind expect") == []


IGNORED_UPGRADES: dict[str, tuple[str, str, Fields]] = {
    "h2c": (
        "GET", "HTTP/1.1", [("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "h2c"), ("HTTP2-Settings", "AA")],
    ),
    "websocket_and_h2c": ("GET", "HTTP/1.1", [("Connection", "Upgrade"), ("Upgrade", "websocket, h2c")]),
    "websocket_by_post": ("POST", "HTTP/1.1", [("Connection", "Upgrade"), ("Upgrade", "websocket")]),
    "websocket_with_a_body": (
        "GET", "HTTP/1.1", [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Transfer-Encoding", "chunked")],
    ),
    "websocket_in_http10": (
        "GET", "HTTP/1.0", [("Connection", "Upgrade, keep-alive"), ("Upgrade", "websocket")],
    ),
    "not_named_by_connection": ("GET", "HTTP/1.1", [("Connection", "keep-alive"), ("Upgrade", "websocket")]),
}  # fmt: skip


@pytest.mark.parametrize("name", IGNORED_UPGRADES)
def test_an_upgrade_that_is_not_served_is_ignored_and_no_bytes_pass_around_the_gate(house: House, name: str) -> None:
    method, version, fields = IGNORED_UPGRADES[name]
    with house.gate.http1() as client:
        client.send_head(method, "/hello", fields, version=version)
        if ("Transfer-Encoding", "chunked") in fields:
            client.send_last_chunk()
        # In a tunnel this would reach the backend as it is; here it is the next request, and a bad one.
        client.send(b"GET /hello HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
        assert client.read_response(method).status == 200
        assert client.read_response().status == 400
        assert client.is_closed_by_peer()


def test_bytes_behind_a_declined_websocket_are_a_request_like_others(house: House) -> None:
    """No byte passes before the backend has agreed (CVE-2019-17567, CVE-2024-36387)."""
    upgrade = [("Connection", "Upgrade"), ("Upgrade", "websocket")]
    with house.gate.http1() as client:
        # Without a key it is no WebSocket.
        client.send_head("GET", "/hello", upgrade)
        client.send_head("GET", "/hello")
        assert client.read_response().status == 400
        assert client.read_response().status == 200
        client.send_head("GET", "/hello", upgrade)
        client.send(bytes.fromhex("8185a1b2c3d4c9d7afb8ce"))
        assert client.read_response().status == 400
        assert client.read_response().status == 400
        assert client.is_closed_by_peer()


def test_a_request_smuggled_behind_another_is_not_run(house: House) -> None:
    """RFC 9112, 6.3: what follows a message whose framing is in doubt is never read as a request."""
    with house.gate.http1() as client:
        client.send(
            b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"0\r\n\r\nGET /hello HTTP/1.1\r\nHost: a\r\nX-Id: smuggled\r\n\r\n"
        )
        assert client.read_response("POST").status == 400
        with pytest.raises(Closed):
            client.read_head()
    assert house.node.runs("smuggled") == []


def test_a_head_that_never_ends_is_408(tmp_path: Path, authority: Authority, localhost: Site) -> None:
    timeouts = {"request_head": "1s", "request_body": "1s"}
    with house_in(tmp_path, authority, localhost, timeouts=timeouts) as slow:
        with slow.gate.http1() as client:
            client.send(b"GET /hello HTTP/1.1\r\nHost: ")
            assert client.read_response().status == 408
            assert client.is_closed_by_peer()
        for kind in ("http1", "h2c"):
            with slow.client(kind) as client:
                if isinstance(client, Http2Client):
                    stream = client.open("POST", "/upload", [("x-id", kind)], end_stream=False)
                    client.send_data(stream, b"x")
                    response = client.response(stream)
                else:
                    client.send_head("POST", "/upload", [("Content-Length", "5"), ("X-Id", kind)])
                    client.send(b"x")
                    response = client.read_response("POST")
                assert response.status == 408
                assert slow.node.wait_for_run(kind, "closed")["aborted"]


# HTTP/2

BAD_HTTP2: dict[str, Fields] = {
    "upper_case_name": [("X-Upper", "1")],
    "connection_field": [("connection", "close")],
    "transfer_encoding": [("transfer-encoding", "chunked")],
    "te_gzip": [("te", "gzip")],
    "newline_in_value": [("x-a", "1\r\nx-b: 2")],
    "nul_in_value": [("x-a", "1\x002")],
    "space_in_name": [("x a", "1")],
    "host_that_differs": [("host", "other.test")],
    "pseudo_field_behind": [("x-a", "1"), (":path", "/other")],
    "unknown_pseudo_field": [(":unknown", "1")],
    "second_path": [(":path", "/second")],
}


@pytest.mark.parametrize("name", BAD_HTTP2)
def test_a_malformed_http2_request_is_reset_and_costs_its_stream_only(house: House, name: str) -> None:
    before = requests_at_backend(house)
    with house.gate.http2() as client:
        other = client.open("GET", "/delay/50")
        stream = client.open("GET", "/hello", BAD_HTTP2[name])
        assert client.response(stream).broken == "RST_STREAM PROTOCOL_ERROR"
        assert client.response(other).status == 200
    assert requests_at_backend(house) == before + 1


def test_too_large_a_head_is_431(house: House) -> None:
    with house.gate.http2() as client:
        response = client.request("GET", "/hello", [(f"x-{number}", "x" * 4000) for number in range(12)])
        assert response.status == 431
        assert client.request("GET", "/hello", [(f"x-{number}", "1") for number in range(150)]).status == 431
        assert client.request("GET", "/hello").status == 200


BAD_FRAMES: dict[str, list[Frame] | bytes] = {
    "data_on_an_idle_stream": [DataFrame(7, data=b"x")],
    "headers_on_stream_zero": b"\x00\x00\x01\x01\x05\x00\x00\x00\x00\x82",
    "headers_on_an_even_stream": [HeadersFrame(2, data=b"\x82", flags=["END_HEADERS"])],
    "broken_compression": [HeadersFrame(1, data=b"\xff\xff\xff\xff\xff\xff", flags=["END_HEADERS", "END_STREAM"])],
    "continuation_alone": [ContinuationFrame(1, data=b"\x82", flags=["END_HEADERS"])],
    "ping_of_seven_bytes": b"\x00\x00\x07\x06\x00\x00\x00\x00\x00" + b"x" * 7,
    "window_of_nothing": b"\x00\x00\x04\x08\x00\x00\x00\x00\x00" + b"\x00" * 4,
    "frame_too_large": b"\xff\xff\xff\x00\x00\x00\x00\x00\x01",
    "garbage": b"\xde\xad\xbe\xef" * 100,
    "http1_behind_the_preface": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 10,
}


@pytest.mark.parametrize("name", BAD_FRAMES)
@pytest.mark.parametrize("kind", ["h2c", "h2"])
def test_broken_framing_ends_the_connection_with_goaway(house: House, kind: str, name: str) -> None:
    frames = BAD_FRAMES[name]
    data = frames if isinstance(frames, bytes) else b"".join(frame.serialize() for frame in frames)
    with house.client(kind) as client:  # type: ignore[arg-type]
        assert isinstance(client, Http2Client)
        client.wait("the gate's SETTINGS", lambda: client.engine.remote_settings.max_concurrent_streams < 2**31)
        client.socket.sendall(data)
        while not client.closed:
            client.read()
        assert client.goaway is not None
        assert client.goaway.error_code != 0


def test_a_client_that_asks_for_answers_and_takes_none_is_told_to_calm_down(house: House) -> None:
    """CVE-2019-9512: pings, whose answers pile up in the gate."""
    with house.gate.http2(receive_buffer=4096) as client:
        flood = PingFrame(0, opaque_data=b"12345678").serialize() * 1000
        with contextlib.suppress(ConnectionError):
            for _ in range(300):
                client.socket.sendall(flood)
            client.socket.shutdown(socket.SHUT_WR)
        received = b"".join(iter(lambda: client.socket.recv(65_536), b""))
        *_, last = frames_of(received)
        assert isinstance(last, GoAwayFrame)
        assert last.error_code == ErrorCodes.ENHANCE_YOUR_CALM


def frames_of(data: bytes) -> Iterator[Frame]:
    view = memoryview(data)
    while view:
        frame, length = Frame.parse_frame_header(view[:9])
        frame.parse_body(view[9 : 9 + length])
        yield frame
        view = view[9 + length :]
