"""Requests of many clients share few backend connections."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

from tests.support.gate import Gate
from tests.support.node_backend import NodeBackend

CLIENTS = 100
SECONDS = 2.0
CONNECTIONS = 8


def test_a_hundred_clients_and_a_hundred_streams_share_eight_connections(tmp_path: Path) -> None:
    with NodeBackend(tmp_path) as node, Gate(tmp_path, node.url) as gate, ExitStack() as stack:
        began = time.monotonic()
        http1 = [stack.enter_context(gate.http1()) for _ in range(CLIENTS)]
        http2 = stack.enter_context(gate.http2())
        for client in http1:
            client.send_head("GET", "/delay/400")
        streams = [http2.open("GET", "/delay/400") for _ in range(CLIENTS)]
        responses = [client.read_response() for client in http1] + [http2.response(stream) for stream in streams]
        took = time.monotonic() - began

        assert {response.body for response in responses} == {b"late\n"}
        stats = node.stats()
        assert stats["streams"] == 2 * CLIENTS
        assert stats["sessions"] <= CONNECTIONS, stats
        assert took < SECONDS


def test_both_protocols_use_the_same_connection(tmp_path: Path) -> None:
    with NodeBackend(tmp_path) as node, Gate(tmp_path, node.url) as gate:
        for _ in range(5):
            with gate.http1() as http1, gate.http2() as http2:
                assert http1.request("GET", "/hello").status == 200
                assert http2.request("GET", "/hello").status == 200
        assert node.stats()["sessions"] == 1


def test_a_backend_that_runs_one_stream_at_a_time_gets_one_at_a_time(tmp_path: Path) -> None:
    pool = {"max_streams": 1, "max_connections": 2}
    with NodeBackend(tmp_path) as node:
        backends = {"app": {"endpoints": [node.url], "pool": pool}}
        with Gate(tmp_path, "app", sections={"backends": backends}) as gate, gate.http2() as client:
            streams = [client.open("GET", "/delay/20") for _ in range(20)]
            assert {client.response(stream).status for stream in streams} == {200}
            stats = node.stats()
            assert (stats["sessions"], stats["maxConcurrent"]) == (2, 2)


def test_the_backends_own_limit_of_streams_is_kept(tmp_path: Path) -> None:
    with NodeBackend(tmp_path, max_streams=3) as node:
        backends = {"app": {"endpoints": [node.url], "pool": {"max_connections": 1}}}
        with Gate(tmp_path, "app", sections={"backends": backends}) as gate, gate.http2() as client:
            assert client.request("GET", "/hello").status == 200
            streams = [client.open("GET", "/delay/20") for _ in range(30)]
            assert {client.response(stream).status for stream in streams} == {200}
            assert node.stats()["maxConcurrent"] <= 3
