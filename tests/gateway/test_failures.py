"""What a client sees of a backend that fails, and how often the backend saw the request."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from h2.errors import ErrorCodes
from hyperframe.frame import DataFrame

from tests.support.certificates import Authority, Site
from tests.support.gate import Gate
from tests.support.house import Client, House, house_in
from tests.support.http2_client import Http2Client
from tests.support.messages import Response
from tests.support.ports import refusing_port
from tests.support.scripted_backend import Connection, ScriptedBackend

numbers = count()


@pytest.fixture(scope="module")
def house(
    engine: str, tmp_path_factory: pytest.TempPathFactory, authority: Authority, localhost: Site
) -> Iterator[House]:
    directory = tmp_path_factory.mktemp("house")
    timeouts = {"response_head": "1s", "response_idle": "1s"}
    # Most requests here fail: a share of all would soon be used up.
    retries = {"budget": "100%"}
    with house_in(directory, authority, localhost, timeouts=timeouts, retries=retries) as house:
        yield house


def ask(house: House, client: Client, path: str, method: str = "GET") -> tuple[Response, int, dict[str, Any]]:
    """Return the response, how often the request ran, and its line in the access log."""
    name = f"failure-{next(numbers)}"
    body = b"x" if method == "POST" else None
    response = client.request(method, path, [("x-id", name), ("x-request-id", name)], body)
    line = house.gate.wait_for_line(f"the line of {name}", lambda line: line["id"] == name)
    return response, len(house.node.runs(name)), line


# Before the head


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_reset_before_the_head_is_502_and_runs_once(house: House, client: Client, method: str) -> None:
    response, runs, line = ask(house, client, "/rstbeforehead", method)
    assert (response.status, runs) == (502, 1)
    assert (line["status"], line["reason"], line["retries"]) == (502, "backend_reset", 0)
    assert client.request("GET", "/hello").status == 200


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_silence_is_504_after_the_head_timeout_and_runs_once(house: House, client: Client, method: str) -> None:
    response, runs, line = ask(house, client, "/silence", method)
    assert (response.status, runs) == (504, 1)
    assert (line["status"], line["reason"]) == (504, "head_timeout")
    assert 1 <= line["total_seconds"] < 2
    assert client.request("GET", "/hello").status == 200


def test_a_post_on_a_connection_that_dies_is_502_and_runs_once(house: House, client: Client) -> None:
    assert client.request("GET", "/hello").status == 200
    response, runs, line = ask(house, client, "/diebeforehead", "POST")
    assert (response.status, runs) == (502, 1)
    assert line["reason"] == "backend_closed"


def test_a_get_on_a_reused_connection_that_dies_is_tried_once_more(tmp_path: Path) -> None:
    def script(connection: Connection) -> None:
        connection.begin()
        stream, fields, _ = connection.next_request()
        connection.respond(stream, f"{fields[':path']} on {connection.number}\n".encode())
        if connection.number == 1:
            connection.next_request()
            connection.close()
        connection.wait_for_end()

    with ScriptedBackend(script) as backend, Gate(tmp_path, backend.url) as gate, gate.http1() as client:
        assert client.request("GET", "/a").body == b"/a on 1\n"
        assert client.request("GET", "/b").body == b"/b on 2\n"
        assert gate.wait_for_line("the second request", lambda line: line["target"] == "/b")["retries"] == 1


def test_a_refused_stream_runs_again(tmp_path: Path) -> None:
    def script(connection: Connection) -> None:
        connection.begin()
        refused = connection.number == 1
        while True:
            stream, _, is_whole = connection.next_request()
            if refused:
                connection.reset(stream, ErrorCodes.REFUSED_STREAM)
                refused = False
                continue
            body = b""
            while not is_whole:
                frame = connection.next_frame()
                if isinstance(frame, DataFrame):
                    body += frame.data
                    is_whole = "END_STREAM" in frame.flags
            connection.respond(stream, b"got " + body)

    with ScriptedBackend(script) as backend, Gate(tmp_path, backend.url) as gate:
        with gate.http2() as client:
            assert client.request("POST", "/", body=b"it all").body == b"got it all"
        assert gate.wait_for_line("the request", lambda line: line["status"] == 200)["retries"] == 1


def test_a_stream_that_is_always_refused_is_502_after_the_tries(house: House, client: Client) -> None:
    response, runs, line = ask(house, client, "/refused")
    assert (response.status, runs) == (502, 3)
    assert (line["reason"], line["retries"]) == ("refused_stream", 2)


# In the body


@pytest.mark.parametrize("path", ["/rstmidbody", "/rstmidstream", "/diemidbody", "/diemidstream", "/silentbody"])
def test_a_response_that_breaks_in_the_body_is_never_ended_cleanly(house: House, client: Client, path: str) -> None:
    response, runs, line = ask(house, client, path)
    # The gate may break off before it has sent what came with the break.
    assert response.status in (0, 200)
    assert not response.is_complete
    assert runs == 1
    assert response.body == b"x" * response.size
    if isinstance(client, Http2Client):
        assert response.broken == "RST_STREAM INTERNAL_ERROR"
        # One stream was lost, not the connection.
        assert client.request("GET", "/hello").status == 200
    else:
        assert response.broken
    word = {"/silentbody": "idle_timeout"}.get(path, "backend_reset" if "rst" in path else "backend_closed")
    assert (line["status"], line["reason"], line["bytes_sent"]) == (200, word, response.size)


# No connection


def test_a_refused_connection_is_502(tmp_path: Path) -> None:
    with refusing_port() as port, Gate(tmp_path, f"h2c://127.0.0.1:{port}") as gate, gate.http1() as client:
        assert client.request("GET", "/").status == 502
        assert client.request("POST", "/", body=b"x").status in (502, 503)
        line = gate.wait_for_line("the first request", lambda line: line["method"] == "GET")
        assert line["reason"] == "connect_refused"


def test_an_endpoint_that_refuses_connections_is_passed_over(tmp_path: Path) -> None:
    def script(connection: Connection) -> None:
        connection.begin()
        while True:
            stream, _, _ = connection.next_request()
            connection.respond(stream)

    with refusing_port() as port, ScriptedBackend(script) as backend:
        backends = {"app": {"endpoints": [f"h2c://127.0.0.1:{port}", backend.url]}}
        with Gate(tmp_path, "app", sections={"backends": backends}) as gate, gate.http1() as client:
            answers = [client.request("POST", "/", body=b"x").status for _ in range(20)]
            assert answers == [200] * 20


# No room


def test_a_full_queue_is_503_at_once(tmp_path: Path, authority: Authority, localhost: Site) -> None:
    pool = {"max_connections": 1, "max_streams": 1, "queue": 1}
    with house_in(tmp_path, authority, localhost, pool=pool) as house, house.gate.http2() as client:
        assert client.request("GET", "/hello").status == 200
        running = client.open("GET", "/silence", [("x-id", "running")])
        house.node.wait_for_run("running", "started")
        waiting = client.open("GET", "/hello")
        assert client.request("GET", "/hello").status == 503
        line = house.gate.wait_for_line("the refused request", lambda line: line["status"] == 503)
        assert line["reason"] == "queue_full"
        client.reset(running)
        assert client.response(waiting).status == 200


def test_a_request_that_waits_too_long_for_a_stream_is_503(
    tmp_path: Path, authority: Authority, localhost: Site
) -> None:
    pool = {"max_connections": 1, "max_streams": 1, "queue_timeout": "500ms"}
    with house_in(tmp_path, authority, localhost, pool=pool) as house, house.gate.http2() as client:
        assert client.request("GET", "/hello").status == 200
        client.open("GET", "/silence", [("x-id", "running")])
        house.node.wait_for_run("running", "started")
        assert client.request("GET", "/hello", [("x-id", "waiting")]).status == 503
        line = house.gate.wait_for_line("the late request", lambda line: line["status"] == 503)
        assert line["reason"] == "queue_timeout"
        assert 0.5 <= line["total_seconds"] < 1.5
        assert house.node.runs("waiting") == []
