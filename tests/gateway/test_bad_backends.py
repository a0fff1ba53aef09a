"""Backends that speak HTTP/1.1, garbage, or nothing: 502 or 504, a clear word in the log, the others undisturbed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hyperframe.frame import DataFrame, GoAwayFrame, HeadersFrame, PushPromiseFrame, SettingsFrame

from tests.support.gate import Gate
from tests.support.node_backend import NodeBackend
from tests.support.scripted_backend import Connection, Script, ScriptedBackend


def speaks_http1(connection: Connection) -> None:
    connection.read(24)
    connection.send_bytes(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
    connection.close()


def speaks_garbage(connection: Connection) -> None:
    connection.read(24)
    connection.send_bytes(b"\xde\xad\xbe\xef" * 1000)
    connection.wait_for_end()


def speaks_smtp(connection: Connection) -> None:
    connection.send_bytes(b"220 mail.test ESMTP\r\n")
    connection.wait_for_end()


def closes_at_once(connection: Connection) -> None:
    connection.close()


def closes_after_the_request(connection: Connection) -> None:
    connection.begin()
    connection.next_request()
    connection.close()


def aborts_after_the_request(connection: Connection) -> None:
    connection.begin()
    connection.next_request()
    connection.abort()


def says_goaway_with_an_error(connection: Connection) -> None:
    connection.begin()
    stream, _, _ = connection.next_request()
    connection.send(GoAwayFrame(0, last_stream_id=stream, error_code=2))
    connection.close()


def sends_an_upper_case_field(connection: Connection) -> None:
    connection.begin()
    while True:
        stream, _, _ = connection.next_request()
        connection.send(connection.headers(stream, (":status", "200"), ("X-Upper", "1"), flags=("END_STREAM",)))


def sends_no_status(connection: Connection) -> None:
    connection.begin()
    while True:
        stream, _, _ = connection.next_request()
        connection.send(connection.headers(stream, ("x-a", "1"), flags=("END_STREAM",)))


def splits_the_response(connection: Connection) -> None:
    connection.begin()
    while True:
        stream, _, _ = connection.next_request()
        connection.send(connection.headers(stream, (":status", "200"), ("x-a", "1\r\nx-b: 2"), flags=("END_STREAM",)))


def sends_data_first(connection: Connection) -> None:
    connection.begin()
    while True:
        stream, _, _ = connection.next_request()
        connection.send(DataFrame(stream, data=b"x"))


def sends_interim_heads_without_end(connection: Connection) -> None:
    connection.begin()
    while True:
        stream, _, _ = connection.next_request()
        for _ in range(2_000):
            connection.send(connection.headers(stream, (":status", "103"), ("link", "<a>; rel=preload")))


def breaks_the_compression(connection: Connection) -> None:
    connection.begin()
    stream, _, _ = connection.next_request()
    connection.send(HeadersFrame(stream, data=b"\xff" * 20, flags=["END_HEADERS", "END_STREAM"]))
    connection.wait_for_end()


def pushes_all_the_same(connection: Connection) -> None:
    connection.begin()
    stream, _, _ = connection.next_request()
    connection.send(PushPromiseFrame(stream, promised_stream_id=2, data=b"\x82", flags=["END_HEADERS"]))
    connection.wait_for_end()


BAD: dict[Script, tuple[int, set[str]]] = {
    speaks_http1: (502, {"backend_http1"}),
    speaks_garbage: (502, {"backend_protocol"}),
    speaks_smtp: (502, {"backend_protocol", "backend_http1"}),
    closes_at_once: (502, {"backend_closed"}),
    closes_after_the_request: (502, {"backend_closed"}),
    aborts_after_the_request: (502, {"backend_closed"}),
    says_goaway_with_an_error: (502, {"backend_closed"}),
    sends_an_upper_case_field: (502, {"bad_response"}),
    sends_no_status: (502, {"bad_response"}),
    splits_the_response: (502, {"bad_response"}),
    sends_interim_heads_without_end: (502, {"bad_response"}),
    sends_data_first: (502, {"bad_response", "backend_protocol"}),
    breaks_the_compression: (502, {"backend_protocol"}),
    pushes_all_the_same: (502, {"backend_protocol"}),
}


@pytest.mark.parametrize("script", BAD, ids=lambda script: script.__name__)
def test_a_backend_that_breaks_the_protocol_is_502_and_disturbs_nobody(tmp_path: Path, script: Script) -> None:
    status, reasons = BAD[script]
    with NodeBackend(tmp_path) as node, ScriptedBackend(script) as backend:
        routes = [
            {"match": {"path": "/bad/"}, "backend": backend.url},
            {"match": {"path": "/"}, "backend": node.url},
        ]
        with Gate(tmp_path, routes=routes) as gate, gate.http2() as client, gate.http1() as other:
            running = client.open("GET", "/delay/100")
            assert client.request("POST", "/bad/", body=b"x").status == status
            assert other.request("POST", "/bad/", body=b"x").status in (status, 503)
            assert client.response(running).body == b"late\n"
            line = gate.wait_for_line("the request", lambda line: line["target"] == "/bad/")
            assert line["status"] == status
            assert line["reason"] in reasons


@pytest.mark.parametrize("greets", [False, True], ids=["not_a_byte", "no_settings"])
def test_a_backend_without_settings_is_504(tmp_path: Path, greets: bool) -> None:
    def script(connection: Connection) -> None:
        if greets:
            # The beginning of a SETTINGS frame, and no more.
            connection.send_bytes(SettingsFrame(0, settings={3: 100}).serialize()[:10])
        connection.wait_for_end()

    with ScriptedBackend(script) as backend:
        backends = {"app": {"endpoints": [backend.url], "pool": {"connect_timeout": "1s"}}}
        with Gate(tmp_path, "app", sections={"backends": backends}) as gate, gate.http1() as client:
            assert client.request("GET", "/").status == 504
            line = gate.wait_for_line("the request", lambda line: line["status"] == 504)
            assert line["reason"] == "connect_timeout"
            assert "SETTINGS" in line["detail"]


def length_too_long(connection: Connection, stream: int) -> None:
    connection.send(
        connection.headers(stream, (":status", "200"), ("content-length", "10")),
        DataFrame(stream, data=b"short", flags=["END_STREAM"]),
    )


def length_too_short(connection: Connection, stream: int) -> None:
    connection.send(
        connection.headers(stream, (":status", "200"), ("content-length", "2")),
        DataFrame(stream, data=b"too long", flags=["END_STREAM"]),
    )


@pytest.mark.parametrize("answer", [length_too_long, length_too_short], ids=lambda answer: answer.__name__)
def test_a_body_that_is_not_as_long_as_it_said_is_never_ended_cleanly(
    tmp_path: Path, answer: Callable[[Connection, int], None]
) -> None:
    def script(connection: Connection) -> None:
        connection.begin()
        while True:
            stream, _, _ = connection.next_request()
            answer(connection, stream)

    with ScriptedBackend(script) as backend, Gate(tmp_path, backend.url) as gate:
        with gate.http1() as http1, gate.http2() as http2:
            for client in (http1, http2):
                response = client.request("GET", "/")
                assert response.status == 502 or not response.is_complete
        for line in gate.lines():
            assert line["reason"] == "bad_response"


def test_a_backend_that_comes_back_is_used_again(tmp_path: Path) -> None:
    def script(connection: Connection) -> None:
        connection.begin()
        stream, _, _ = connection.next_request()
        connection.respond(stream)
        connection.close()

    # Each may meet a connection whose end has not been noticed yet.
    sections = {"retries": {"budget": "100%"}}
    with (
        ScriptedBackend(script) as backend,
        Gate(tmp_path, backend.url, sections=sections) as gate,
        gate.http1() as client,
    ):
        for _ in range(10):
            assert client.request("GET", "/").status == 200
