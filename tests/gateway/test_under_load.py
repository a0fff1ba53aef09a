"""Reloads and a worker's death while requests come as fast as they are answered."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.gate import Gate
from tests.support.node_backend import NodeBackend
from tests.support.waiting import wait_until

# (seconds, reloads): in every run, and as the text has it.
SHORT = (6, 4)
LONG = (30, 20)
REPLACED_SECONDS = 1.0
BROKEN = "listeners: [{address: 127.0.0.1:99999}]\nnonsense: true\n"
PROTOCOLS = {"h2c": ["-m", "10"], "http1": ["--h1"]}
# h2load 1.52 counts a failure for each HTTP/2 connection that is told GOAWAY (it asks for one more stream and gives
# up), by any server: for it the old workers keep their connections as long as it likes. HTTP/1.1 has the defaults.
TIMEOUTS = {"h2c": {"last_call": "1h", "drain": "2h"}, "http1": {}}


@pytest.fixture
def protocol(request: pytest.FixtureRequest) -> str:
    """The protocol of h2load, where the test asks for several."""
    return str(getattr(request, "param", "http1"))


@pytest.fixture
def gate(tmp_path: Path, protocol: str) -> Iterator[Gate]:
    sections = {"timeouts": TIMEOUTS[protocol]}
    with NodeBackend(tmp_path) as node, Gate(tmp_path, node.url, workers=2, sections=sections) as gate:
        yield gate


def assert_reloads_lose_nothing(gate: Gate, options: list[str], seconds: int, reloads: int) -> None:
    command = ["h2load", "-c", "10", *options, "-D", str(seconds), f"{gate.url}/hello"]
    good = gate.path.read_text()
    before = set(gate.workers())
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as load:
        began = time.monotonic()
        for number in range(reloads):
            # Spread over the run, the last a while before its end.
            due = began + (number + 0.5) * (seconds - 1) / reloads
            with pytest.raises(subprocess.TimeoutExpired):
                load.wait(timeout=max(0.01, due - time.monotonic()))
            is_broken = number == reloads // 2
            gate.write_config(BROKEN if is_broken else good)
            gate.reload()
            if is_broken:
                gate.wait_for_error("99999")
        output, _ = load.communicate(timeout=seconds + 60)
    assert load.returncode == 0, output
    found = re.search(r"(\d+) total, \d+ started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored", output)
    assert found is not None, output
    _, done, succeeded, failed, errored = map(int, found.groups())
    assert (failed, errored, done - succeeded) == (0, 0, 0), output
    assert succeeded > 100 * seconds // 10
    assert re.search(r"status codes: \d+ 2xx, 0 3xx, 0 4xx, 0 5xx", output), output
    # The reloads did happen, and the old generations have left.
    wait_until("two new workers serve", lambda: len(gate.workers()) == 2 and not before & set(gate.workers()), 20)


@pytest.mark.parametrize("protocol", PROTOCOLS, indirect=True)
def test_reloads_under_load_fail_no_request(gate: Gate, protocol: str) -> None:
    assert_reloads_lose_nothing(gate, PROTOCOLS[protocol], *SHORT)


@pytest.mark.large
@pytest.mark.parametrize("protocol", PROTOCOLS, indirect=True)
def test_twenty_reloads_in_thirty_seconds_fail_no_request(gate: Gate, protocol: str) -> None:
    assert_reloads_lose_nothing(gate, PROTOCOLS[protocol], *LONG)


def test_reloads_fail_no_request_of_clients_that_heed_goaway(tmp_path: Path) -> None:
    seconds, reloads = SHORT
    sections = {"timeouts": {"last_call": "1s", "drain": "10s"}}
    with NodeBackend(tmp_path) as node, Gate(tmp_path, node.url, workers=2, sections=sections) as gate:
        began = time.monotonic()
        due = [began + (number + 0.5) * (seconds - 1) / reloads for number in range(reloads)]
        clients = [BusyClient(gate) for _ in range(5)]
        goaways = done = 0
        while clients:
            now = time.monotonic()
            if due and now >= due[0]:
                del due[0]
                gate.reload()
            readable, _, _ = select.select([client.http2.socket for client in clients], [], [], 0.05)
            for client in [client for client in clients if client.http2.socket in readable]:
                done += client.work(goes_on=now < began + seconds)
                if not client.waiting:
                    client.http2.close()
                    clients.remove(client)
                    if client.http2.goaway is not None:
                        goaways += 1
                    if now < began + seconds:
                        clients.append(BusyClient(gate))
        assert goaways >= 2
        assert done > 100 * seconds
        assert [line for line in gate.lines() if line["status"] != 200] == []


class BusyClient:
    """A client with ten streams at all times, until it is told GOAWAY."""

    def __init__(self, gate: Gate) -> None:
        self.http2 = gate.http2()
        self.waiting = [self.http2.open("GET", "/hello") for _ in range(10)]

    def work(self, goes_on: bool) -> int:
        """Read what is there, ask again for each answer; return how many answers there were."""
        http2 = self.http2
        http2.read()
        answered = 0
        for stream in list(self.waiting):
            response = http2.responses[stream]
            assert not response.broken, f"{response}, GOAWAY: {http2.goaway}"
            if response.is_complete:
                assert response.status == 200
                answered += 1
                self.waiting.remove(stream)
                if goes_on and http2.goaway is None:
                    self.waiting.append(http2.open("GET", "/hello"))
        return answered


def test_a_reload_that_fails_keeps_the_old_generation(gate: Gate) -> None:
    workers = gate.workers()
    gate.write_config(BROKEN)
    gate.reload()
    gate.wait_for_error("nonsense")
    with gate.http1() as client:
        assert client.request("GET", "/hello").status == 200
    assert gate.workers() == workers


def test_a_killed_worker_is_replaced_within_a_second_and_costs_the_others_nothing(gate: Gate) -> None:
    stop = threading.Event()
    failures: list[str] = []
    # Which worker a connection belongs to is found by its socket's inode among the worker's descriptors.
    clients = [gate.http1() for _ in range(16)]
    try:
        for client in clients:
            assert client.request("GET", "/hello").status == 200
        by_worker = {
            pid: [client for client in clients if owner(client.socket.getsockname()[1], gate.port, pid)]
            for pid in gate.workers()
        }
        # An idle gate may give all connections to one worker: that one lives.
        victim, survivor = sorted(by_worker, key=lambda pid: len(by_worker[pid]))
        theirs = by_worker[survivor]

        def ask() -> None:
            while not stop.is_set():
                for client in theirs:
                    try:
                        status = client.request("GET", "/hello").status
                    except OSError as error:
                        failures.append(repr(error))
                        return
                    if status != 200:
                        failures.append(str(status))

        thread = threading.Thread(target=ask)
        thread.start()
        try:
            killed = time.monotonic()
            os.kill(victim, signal.SIGKILL)
            workers = wait_until("there are two workers again", lambda: replaced(gate, victim), REPLACED_SECONDS)
            assert time.monotonic() - killed < REPLACED_SECONDS
            assert survivor in workers
            with gate.http1() as fresh:
                assert fresh.request("GET", "/hello").status == 200
        finally:
            stop.set()
            thread.join(30)
        assert failures == []
    finally:
        for client in clients:
            client.close()
    assert "SIGKILL" in gate.wait_for_error(str(victim))


def replaced(gate: Gate, victim: int) -> list[int]:
    workers = gate.workers()
    return workers if len(workers) == 2 and victim not in workers else []


def owner(client_port: int, gate_port: int, pid: int) -> bool:
    """Tell whether the connection from `client_port` to `gate_port` is accepted in process `pid`."""
    wanted = (f":{gate_port:04X}", f":{client_port:04X}")
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        columns = line.split()
        if (columns[1][8:], columns[2][8:]) == wanted:
            inode = columns[9]
            break
    else:
        raise AssertionError("no such connection")
    names = [os.readlink(f"/proc/{pid}/fd/{number}") for number in os.listdir(f"/proc/{pid}/fd")]
    return f"socket:[{inode}]" in names


def test_term_finishes_what_runs_and_leaves(tmp_path: Path) -> None:
    with (
        NodeBackend(tmp_path) as node,
        Gate(tmp_path, node.url, workers=2) as gate,
        gate.http1() as http1,
        gate.http2() as http2,
    ):
        http1.send_head("GET", "/delay/500", [("x-id", "one")])
        stream = http2.open("GET", "/delay/500", [("x-id", "two")])
        node.wait_for_run("one", "started")
        node.wait_for_run("two", "started")
        gate.process.send_signal(signal.SIGTERM)
        response = http1.read_response()
        assert (response.body, response["connection"]) == (b"late\n", "close")
        assert http2.response(stream).body == b"late\n"
        gate.stop()
