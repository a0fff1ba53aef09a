"""A worker that has served a million exchanges, many of them broken off, is no bigger than after fifty thousand."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from bench.processes import connections_to, pss
from tests.support.gate import Gate
from tests.support.ports import HeldPort, is_listening
from tests.support.processes import Process, resident_bytes
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.large, pytest.mark.timeout(600)]

# Debian puts nghttpd where only root's path leads.
NGHTTPD = shutil.which("nghttpd", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
# After one that warms up: what grows to the size of the load has it then. A million exchanges, and of the python make
# as many as take no longer.
ROUNDS = {"native": 20, "python": 4}
HTTP2_REQUESTS, HTTP1_REQUESTS = 30_000, 19_800
# In each half of a round so many clients of HTTP/2 leave, with four requests, and four times as many of HTTP/1.1.
LEAVERS = 25
LEFT = 2 * LEAVERS * (4 + 4)
ROUND = HTTP2_REQUESTS + HTTP1_REQUESTS + LEFT
# Two bytes for each of a million exchanges. Measured: 0.3 MB native, 0.03 MB python; 27 MB in every round when each
# connection was a cycle with its deadlines, which the collector came to only after a minute.
GROWTH = 2_000_000
CONNECTIONS = 8  # the default of pool.max_connections
LONG = "/long"


@dataclass(frozen=True)
class Standing:
    """What a gate has, with no client and no request left. `descriptors` leaves out connections to the backend."""

    resident: int
    proportional: int
    descriptors: int
    connections: int
    master: int
    requests: int


@pytest.fixture
def gate(engine: str, tmp_path: Path) -> Iterator[Gate]:
    assert NGHTTPD is not None
    root = tmp_path / "root"
    root.mkdir()
    (root / "short").write_bytes(b"x" * 1024)
    (root / LONG[1:]).write_bytes(b"x" * 1_000_000)
    port = HeldPort()
    number = port.number
    # nghttpd binds without SO_REUSEADDR beside a holder of the port.
    port.release()
    command: list[str | Path] = [NGHTTPD, "--no-tls", "--address=127.0.0.1", f"--htdocs={root}", str(number)]
    sections: dict[str, Any] = {
        "control": str(tmp_path / "control.sock"),
        # Written as ever, but a million lines are of no use.
        "access_log": {"path": "/dev/null", "format": "json"},
    }
    with Process(command, tmp_path) as backend:
        wait_until("nghttpd listens", lambda: backend.exit_code is None and is_listening(("127.0.0.1", number)))
        with Gate(tmp_path, f"h2c://127.0.0.1:{number}", sections=sections) as gate:
            yield gate


def test_exchanges_leave_memory_and_descriptors_as_they_were(gate: Gate, engine: str) -> None:
    worker = gate.worker
    play_a_round(gate)
    before = standing(gate)
    for _ in range(ROUNDS[engine]):
        play_a_round(gate)
    after = standing(gate)
    assert gate.worker == worker
    assert after.requests - before.requests == ROUND * ROUNDS[engine]
    assert after.descriptors == before.descriptors
    assert after.connections <= CONNECTIONS
    assert after.resident - before.resident < GROWTH
    assert after.proportional - before.proportional < GROWTH
    assert after.master - before.master < GROWTH


def play_a_round(gate: Gate) -> None:
    """Ask over HTTP/2 and HTTP/1.1, with clients among them that leave before their answers end."""
    for requests, options in ((HTTP2_REQUESTS, ["-c10", "-m9"]), (HTTP1_REQUESTS, ["-c32", "--h1"])):
        command = ["h2load", *options, f"-n{requests}", f"{gate.url}/short"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as load:
            for _ in range(LEAVERS):
                leave_http2(gate)
                for _ in range(4):
                    leave_http1(gate)
            output, _ = load.communicate(timeout=120)
        assert f"{requests} succeeded, 0 failed, 0 errored" in output, output


def leave_http1(gate: Gate) -> None:
    with gate.http1() as client:
        client.send_head("GET", LONG)
        assert client.read_head().status == 200
        client.abort()


def leave_http2(gate: Gate) -> None:
    """Reset a response that has begun and an upload, and leave without a word from two more."""
    with gate.http2(stream_window=65_535) as client:
        # The upload first: once the others are answered the gate has read it too, and has counted four requests.
        upload = client.open("POST", LONG, [("content-length", "100000")], end_stream=False)
        client.send_data(upload, b"x" * 1000)
        reset, *left = [client.open("GET", LONG, stalls=True) for _ in range(3)]
        for stream in (reset, *left):
            assert client.head(stream).status == 200
        client.reset(reset)
        client.reset(upload)
        client.abort()


def standing(gate: Gate) -> Standing:
    row = gate.idle_row()
    worker = gate.worker
    connections = connections_to(urlsplit(gate.config["routes"][0]["backend"]).port or 0, [worker])
    return Standing(
        resident=resident_bytes(worker),
        proportional=pss([worker]),
        descriptors=len(os.listdir(f"/proc/{worker}/fd")) - connections,
        connections=connections,
        master=resident_bytes(gate.process.pid),
        requests=row["requests"],
    )
