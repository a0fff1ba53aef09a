"""Keys of the configuration whose effect no other test shows on a running gate: see tests/config/test_effects.py.

Each test asks twice: with the key, and with its default or just below what the key allows.
"""

from __future__ import annotations

import socket
import ssl
import time
from pathlib import Path
from typing import Any

import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from hyperframe.frame import Frame, SettingsFrame, WindowUpdateFrame

from tests.support.certificates import Authority, Site
from tests.support.gate import Gate
from tests.support.http2_client import Http2Client
from tests.support.scripted_backend import PREFACE, Connection, ScriptedBackend
from tests.support.waiting import wait_until

KINDS = ["http1", "http2"]


def answers(connection: Connection) -> None:
    """Answer each request with the fields it asks for: `x-size` bytes in one, `x-count` of them."""
    connection.begin()
    while True:
        stream, fields, _ = connection.next_request()
        added = [("x-large", "x" * int(fields.get("x-size", "0")))]
        added += [(f"x-{number}", "y") for number in range(int(fields.get("x-count", "0")))]
        connection.respond(stream, b"", 200, *added)


def status_of(gate: Gate, kind: str, fields: list[tuple[str, str]], path: str = "/") -> int:
    with gate.http1() if kind == "http1" else gate.http2() as client:
        return client.request("GET", path, fields).status


@pytest.mark.parametrize("kind", KINDS)
def test_a_requests_fields_are_bounded_in_bytes_and_in_number(tmp_path: Path, kind: str) -> None:
    limits = {"header_list": "4KiB", "fields": 20}
    with ScriptedBackend(answers) as backend, Gate(tmp_path, backend.url, sections={"limits": limits}) as gate:
        assert status_of(gate, kind, [("x-long", "x" * 3000)]) == 200
        assert status_of(gate, kind, [("x-long", "x" * 5000)]) == 431
        assert status_of(gate, kind, [(f"x-{number}", "x") for number in range(10)]) == 200
        assert status_of(gate, kind, [(f"x-{number}", "x") for number in range(30)]) == 431


def test_a_request_line_is_bounded(tmp_path: Path) -> None:
    sections = {"limits": {"request_line": "1KiB"}}
    with Gate(tmp_path, routes=[{"respond": {"status": 204}}], sections=sections) as gate:
        assert status_of(gate, "http1", [], "/" + "x" * 900) == 204
        assert status_of(gate, "http1", [], "/" + "x" * 1100) == 414


def test_a_route_has_its_own_patience_with_an_upload(tmp_path: Path) -> None:
    routes = [
        {"match": {"path": "/fast/"}, "timeouts": {"request_body": "200ms"}},
        {"match": {"path": "/"}},
    ]
    with ScriptedBackend(answers_nobody) as backend:
        urls = [{**route, "backend": backend.url} for route in routes]
        sections = {"timeouts": {"request_body": "1h"}}
        with Gate(tmp_path, routes=urls, sections=sections) as gate, gate.http2() as client:
            slow = client.open("POST", "/", end_stream=False)
            fast = client.open("POST", "/fast/", end_stream=False)
            assert client.response(fast).status == 408
            assert client.responses[slow].status == 0
            client.reset(slow)


def answers_nobody(connection: Connection) -> None:
    connection.begin()
    connection.wait_for_end()


def test_a_route_has_its_own_patience_with_a_silent_websocket(tmp_path: Path) -> None:
    def agrees(connection: Connection) -> None:
        connection.begin({SettingCodes.ENABLE_CONNECT_PROTOCOL: 1})
        stream, fields, _ = connection.next_request()
        assert fields[":protocol"] == "websocket"
        connection.send(connection.headers(stream, (":status", "200")))
        connection.wait_for_end()

    upgrade = [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")]
    with ScriptedBackend(agrees) as backend:
        routes = [{"backend": backend.url, "timeouts": {"tunnel_idle": "300ms"}}]
        with Gate(tmp_path, routes=routes) as gate, gate.http1() as client:
            client.send_head("GET", "/", [*upgrade, ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")])
            assert client.read_head().status == 101
            assert client.is_closed_by_peer()


def test_a_responses_fields_are_bounded_in_bytes_and_in_number(tmp_path: Path) -> None:
    limits = {"response_header_list": "4KiB", "response_fields": 20}
    with ScriptedBackend(answers) as backend, Gate(tmp_path, backend.url, sections={"limits": limits}) as gate:
        assert status_of(gate, "http1", [("x-size", "3000")]) == 200
        assert status_of(gate, "http1", [("x-size", "5000")]) == 502
        assert status_of(gate, "http1", [("x-count", "10")]) == 200
        assert status_of(gate, "http1", [("x-count", "30")]) == 502


def test_an_http2_client_is_told_its_streams_and_windows(tmp_path: Path) -> None:
    limits = {"streams": 7, "stream_window": "128KiB", "connection_window": "2MiB", "header_list": "4KiB"}
    routes = [{"respond": {"status": 204}}]
    with Gate(tmp_path, routes=routes, sections={"limits": limits}) as gate, gate.http2() as client:
        assert client.request("GET", "/").status == 204
        told = client.engine.remote_settings
        assert told.max_concurrent_streams == 7
        assert told.initial_window_size == 128 * 1024
        assert told.max_header_list_size == 4096
        assert client.engine.outbound_flow_control_window == 2 * 1024 * 1024


def test_a_client_that_opens_more_streams_than_it_may_is_refused(tmp_path: Path) -> None:
    def holds(connection: Connection) -> None:
        connection.begin()
        connection.wait_for_end()

    limits = {"streams": 3}
    with (
        ScriptedBackend(holds) as backend,
        Gate(tmp_path, backend.url, sections={"limits": limits}) as gate,
        gate.http2() as client,
    ):
        streams = [client.open("GET", "/") for _ in range(4)]
        client.wait("one is refused", lambda: client.resets)
        assert client.resets == {streams[3]: ErrorCodes.REFUSED_STREAM}


def test_a_backend_is_told_the_windows_of_its_pool(tmp_path: Path) -> None:
    told: dict[str, int] = {}

    def reads(connection: Connection) -> None:
        assert connection.read(len(PREFACE)) == PREFACE
        connection.send(SettingsFrame(0))
        while len(told) < 2:
            frame, length = Frame.parse_frame_header(memoryview(connection.read(9)))
            frame.parse_body(memoryview(connection.read(length)))
            if isinstance(frame, SettingsFrame) and frame.settings:
                told["stream"] = frame.settings[SettingCodes.INITIAL_WINDOW_SIZE]
            elif isinstance(frame, WindowUpdateFrame):
                told["connection"] = 65_535 + frame.window_increment
        connection.wait_for_end()

    with ScriptedBackend(reads) as backend:
        pool = {"stream_window": "128KiB", "connection_window": "1MiB", "preconnect": True}
        backends = {"app": {"endpoints": [backend.url], "pool": pool}}
        with Gate(tmp_path, "app", sections={"backends": backends}) as gate, gate.http1() as client:
            client.send_head("GET", "/")
            # The request is behind both of them.
            wait_until("the backend was told both", lambda: len(told) == 2)
    assert told == {"stream": 128 * 1024, "connection": 1024 * 1024}


def test_a_ping_without_an_answer_sends_the_body_elsewhere(tmp_path: Path) -> None:
    def script(connection: Connection) -> None:
        connection.begin()
        stream, _, _ = connection.next_request()
        connection.respond(stream)
        # Nothing is read any more as HTTP/2: no PING is answered.
        connection.wait_for_end()

    pool = {"ping_after": "1ms", "ping_timeout": "200ms", "max_connections": 1}
    with ScriptedBackend(script) as backend:
        backends = {"app": {"endpoints": [backend.url], "pool": pool}}
        with Gate(tmp_path, "app", sections={"backends": backends}) as gate, gate.http1() as client:
            assert client.request("GET", "/").status == 200
            # Its line is written later than the connection is quiet; the next request could come within that 1 ms.
            gate.wait_for_line("the first request", lambda line: line["method"] == "GET")
            began = time.monotonic()
            assert client.request("POST", "/", body=b"x").status == 200
            # With the defaults it would be sent at once, and be lost, or wait for a second.
            assert 0.1 < time.monotonic() - began < 0.9
            assert backend.connections == 2


@pytest.mark.parametrize("tries", [0, 1])
def test_a_refused_request_is_sent_again_so_often(tmp_path: Path, tries: int) -> None:
    runs: list[int] = []

    def refuses(connection: Connection) -> None:
        connection.begin()
        while True:
            stream, _, _ = connection.next_request()
            runs.append(stream)
            connection.reset(stream, ErrorCodes.REFUSED_STREAM)

    with ScriptedBackend(refuses) as backend:
        sections = {"retries": {"tries": tries}}
        with Gate(tmp_path, backend.url, sections=sections) as gate, gate.http1() as client:
            assert client.request("GET", "/").status == 502
    assert len(runs) == 1 + tries


def test_the_budget_is_a_share_of_the_requests_beyond_three_retries(tmp_path: Path) -> None:
    """10 requests that are always refused: 3 retries with no budget; with all of it, 2 of each request."""
    runs: list[int] = []

    def refuses(connection: Connection) -> None:
        connection.begin()
        while True:
            stream, _, _ = connection.next_request()
            runs.append(stream)
            connection.reset(stream, ErrorCodes.REFUSED_STREAM)

    def retries_of(**retries: Any) -> int:
        runs.clear()
        directory = tmp_path / str(retries["budget"])
        directory.mkdir()
        sections = {"retries": {"backoff_min": "0s", "backoff_max": "0s", **retries}}
        with (
            ScriptedBackend(refuses) as backend,
            Gate(directory, backend.url, sections=sections) as gate,
            gate.http1() as client,
        ):
            assert {client.request("GET", "/").status for _ in range(10)} == {502}
        return len(runs) - 10

    assert retries_of(budget="0%") == 3
    # A request is counted before its retries: of the first ones fewer are allowed.
    assert retries_of(budget="100%") > 8


def test_a_handshake_that_never_comes_ends_in_time(tmp_path: Path, localhost: Site) -> None:
    sections = {"timeouts": {"tls_handshake": "500ms", "request_head": "1h", "keepalive_http1": "1h"}}
    routes = [{"respond": {"status": 204}}]
    with (
        Gate(tmp_path, routes=routes, sites=[localhost], sections=sections) as gate,
        socket.create_connection(("127.0.0.1", gate.tls_port), timeout=10) as sock,
        pytest.raises(ConnectionResetError),
    ):
        sock.recv(1)


@pytest.mark.parametrize(("version", "is_served"), [("TLSv1_2", False), ("TLSv1_3", True)])
def test_a_client_below_the_lowest_version_is_not_served(
    tmp_path: Path, authority: Authority, localhost: Site, version: str, is_served: bool
) -> None:
    tls = {"certificates": [localhost.config], "min_version": "1.3"}
    with Gate(tmp_path, routes=[{"respond": {"status": 204}}], sites=[localhost]) as gate:
        gate.config["listeners"][1]["tls"] = tls
        gate.write_config(gate.config)
        first = gate.workers()
        gate.reload()
        wait_until("the reload is done", lambda: not set(first) & set(gate.workers()))
        context = authority.client_context("h2")
        context.maximum_version = ssl.TLSVersion[version]
        if is_served:
            with Http2Client(gate.tls_port, context) as client:
                assert client.request("GET", "/").status == 204
        else:
            with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"):
                Http2Client(gate.tls_port, context)


def test_the_error_log_has_what_is_of_its_level_at_least(tmp_path: Path) -> None:
    sections = {"error_log": {"path": str(tmp_path / "error.log"), "level": "warning"}}
    with Gate(tmp_path, routes=[{"respond": {"status": 204}}], sections=sections) as gate:
        assert status_of(gate, "http1", []) == 204
    assert (tmp_path / "error.log").read_text() == ""
