"""A backend that says GOAWAY all the time: no request fails, none runs twice."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hyperframe.frame import DataFrame, GoAwayFrame

from tests.support.gate import Gate
from tests.support.node_backend import NodeBackend
from tests.support.scripted_backend import Connection, ScriptedBackend

REQUESTS = 2000
CONCURRENCY = 50
EVERY = 3


@pytest.fixture
def node(tmp_path: Path) -> Iterator[NodeBackend]:
    with NodeBackend(tmp_path, goaway_every=EVERY) as node:
        yield node


@pytest.fixture
def gate(tmp_path: Path, node: NodeBackend) -> Iterator[Gate]:
    with Gate(tmp_path, node.url) as gate:
        yield gate


def assert_each_ran_once(node: NodeBackend, gate: Gate) -> None:
    counts = node.counts()
    assert set(counts) == {f"request {number}" for number in range(REQUESTS)}
    assert {name: times for name, times in counts.items() if times != 1} == {}
    # The test is one only if the backend did as it was told. What is in flight together may be answered together.
    assert node.stats()["goaways"] >= REQUESTS // CONCURRENCY
    assert [line for line in gate.lines() if line["status"] != 200] == []


def test_no_request_of_an_http2_client_fails_or_runs_twice(node: NodeBackend, gate: Gate) -> None:
    with gate.http2() as client:
        waiting: list[int] = []
        for number in range(REQUESTS):
            if len(waiting) == CONCURRENCY:
                response = client.response(waiting.pop(0))
                assert response.status == 200, response
                assert response.is_complete
            field = ("x-id", f"request {number}")
            if number % 2:
                waiting.append(client.open("GET", "/hello", [field]))
            else:
                stream = client.open("POST", "/upload", [field], end_stream=False)
                client.send_data(stream, b"x" * 100, end_stream=True)
                waiting.append(stream)
        for stream in waiting:
            assert client.response(stream).status == 200
    assert_each_ran_once(node, gate)


def test_no_request_of_http1_clients_fails_or_runs_twice(node: NodeBackend, gate: Gate) -> None:
    with ExitStack() as stack:
        clients = [stack.enter_context(gate.http1()) for _ in range(CONCURRENCY)]
        for number in range(REQUESTS + CONCURRENCY):
            client = clients[number % CONCURRENCY]
            if number >= CONCURRENCY:
                assert client.read_response().status == 200
            if number < REQUESTS:
                client.send_head("GET", "/hello", [("x-id", f"request {number}")])
    assert_each_ran_once(node, gate)


def test_h2load_sees_no_failure(node: NodeBackend, gate: Gate) -> None:
    command = ["h2load", "-n", str(REQUESTS), "-c", "5", "-m", str(CONCURRENCY // 5), f"{gate.url}/hello"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert re.search(rf"{REQUESTS} succeeded, 0 failed, 0 errored, 0 timeout", done.stdout), done.stdout
    assert node.stats()["streams"] == REQUESTS


def test_streams_above_the_last_id_run_elsewhere_and_those_below_finish(tmp_path: Path) -> None:
    ran: list[tuple[int, str]] = []

    def script(connection: Connection) -> None:
        connection.begin()
        if connection.number > 1:
            while True:
                stream, fields, _ = connection.next_request()
                ran.append((connection.number, fields[":path"]))
                connection.respond(stream, b"second\n")
        requests = [connection.next_request() for _ in range(4)]
        kept = requests[:2]
        connection.goaway(kept[-1][0])
        for stream, fields, _ in kept:
            ran.append((1, fields[":path"]))
            connection.respond(stream, b"first\n")
        connection.wait_for_end()

    with ScriptedBackend(script) as backend, Gate(tmp_path, backend.url) as gate, gate.http2() as client:
        streams = [client.open("GET", f"/{number}") for number in range(4)]
        bodies = [client.response(stream).body for stream in streams]
        assert bodies == [b"first\n", b"first\n", b"second\n", b"second\n"]
        assert sorted(ran) == [(1, "/0"), (1, "/1"), (2, "/2"), (2, "/3")]
        assert backend.connections == 2


def test_a_goaway_on_an_idle_connection_is_noticed_before_the_next_request(tmp_path: Path) -> None:
    def script(connection: Connection) -> None:
        connection.begin()
        stream, _, _ = connection.next_request()
        # In one piece: the gate has the GOAWAY before the client has the answer.
        connection.send(
            connection.headers(stream, (":status", "200")),
            DataFrame(stream, data=b"connection %d\n" % connection.number, flags=["END_STREAM"]),
            GoAwayFrame(0, last_stream_id=stream),
        )
        connection.wait_for_end()

    with ScriptedBackend(script) as backend, Gate(tmp_path, backend.url) as gate, gate.http1() as client:
        # Not idempotent: it could not be sent again.
        bodies = [client.request("POST", "/", body=b"x").body for _ in range(5)]
        assert bodies == [b"connection %d\n" % number for number in range(1, 6)]
        assert {line["retries"] for line in gate.lines()} <= {0}
