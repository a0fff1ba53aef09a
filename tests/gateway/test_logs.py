"""Each exchange has one line in the access log, whatever became of it."""

from __future__ import annotations

import re
import signal
from itertools import count
from pathlib import Path

import pytest

from tests.support.gate import Gate
from tests.support.house import KINDS, House, Kind
from tests.support.http1_client import Http1Client
from tests.support.http2_client import Http2Client
from tests.support.node_backend import NodeBackend
from tests.support.ports import refusing_port
from tests.support.waiting import wait_until

numbers = count()


@pytest.mark.parametrize("kind", KINDS)
def test_a_line_tells_what_an_exchange_was(house: House, kind: Kind) -> None:
    name = f"line-{next(numbers)}"
    with house.client(kind) as client:
        fields = [("x-request-id", name), ("user-agent", 'te"st\\1'), ("referer", "http://a.test/")]
        response = client.request("POST", "/upload?x=%20", fields, b"12345")
    line = house.gate.wait_for_line("it", lambda line: line["id"] == name)
    assert line["client"] == "127.0.0.1"
    assert line["protocol"] == ("HTTP/1.1" if kind == "http1" else "HTTP/2.0")
    assert line["backend_protocol"] == "HTTP/2.0"
    assert line["tls"] == ("TLSv1.3" if kind == "h2" else None)
    assert line["scheme"] == ("https" if kind == "h2" else "http")
    assert (line["method"], line["target"], line["authority"]) == ("POST", "/upload?x=%20", "gate.test")
    assert (line["status"], line["bytes_sent"], line["bytes_received"]) == (200, response.size, 5)
    assert (line["user_agent"], line["referer"]) == ('te"st\\1', "http://a.test/")
    assert line["endpoint"] is not None
    assert str(house.node.port) in line["endpoint"]
    assert (line["retries"], line["reason"], line["detail"]) == (0, None, None)
    assert 0 < line["head_seconds"] <= line["total_seconds"] < 5
    assert 0 <= line["queued_seconds"] <= line["head_seconds"]


@pytest.mark.parametrize("kind", KINDS)
def test_there_is_exactly_one_line_for_each_exchange(house: House, kind: Kind) -> None:
    prefix = f"one-{next(numbers)}-"
    wanted = {}
    with house.client(kind) as client:
        for path, status in [("/hello", 200), ("/status/204", 204), ("/head", 200), ("/nowhere", 404)]:
            name = prefix + path.rpartition("/")[2]
            wanted[name] = status
            client.request("HEAD" if path == "/head" else "GET", path, [("x-request-id", name)])
        name = f"{prefix}last"
        wanted[name] = 499
        if isinstance(client, Http2Client):
            stream = client.open("GET", "/silence", [("x-request-id", name), ("x-id", name)])
            house.node.wait_for_run(name, "started")
            client.reset(stream)
        else:
            client.send_head("GET", "/silence", [("X-Request-Id", name), ("X-Id", name)])
            house.node.wait_for_run(name, "started")
    house.gate.wait_for_line("the last one", lambda line: line["id"] == name)
    lines = [(line["id"], line["status"]) for line in house.gate.lines() if line["id"].startswith(prefix)]
    assert sorted(lines) == sorted(wanted.items())


def test_an_abort_in_mid_response_is_logged_with_what_was_sent(house: House) -> None:
    name = f"abort-{next(numbers)}"
    with house.gate.http1() as client:
        client.send_head("GET", "/bytes/100000000", [("X-Request-Id", name)])
        assert client.read_head().status == 200
        assert client.read_some()
    line = house.gate.wait_for_line("the abort", lambda line: line["id"] == name)
    assert (line["status"], line["reason"]) == (200, "client_closed")
    assert 0 < line["bytes_sent"] < 100_000_000


def test_what_the_gate_refuses_is_logged_too(house: House) -> None:
    with house.gate.http1() as client:
        client.send(b"GET /refused-by-the-gate HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
        assert client.read_response().status == 400
    line = house.gate.wait_for_line("the refusal", lambda line: line["status"] == 400)
    assert line["reason"] in ("bad_request", "client_protocol")
    assert line["endpoint"] is None


COMBINED = re.compile(
    r'127\.0\.0\.1 - - \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "GET /hello\?q=1 HTTP/(1\.1|2\.0)" 200 6 '
    r'"http://a\.test/" "te\\"st" rt=\d+\.\d{3} ht=\d+\.\d{3} qt=\d+\.\d{3} ep=\S+ retries=0 id=combined-\d reason=-'
)


def test_the_combined_form_is_apaches_with_more_behind(tmp_path: Path) -> None:
    path = tmp_path / "combined.log"
    sections = {"access_log": {"path": str(path), "format": "combined"}}
    with NodeBackend(tmp_path) as node, Gate(tmp_path, node.url, sections=sections) as gate:
        fields = [("referer", "http://a.test/"), ("user-agent", 'te"st')]
        with gate.http1() as http1, gate.http2() as http2:
            clients: list[Http1Client | Http2Client] = [http1, http2]
            for number, client in enumerate(clients):
                client.request("GET", "/hello?q=1", [*fields, ("x-request-id", f"combined-{number}")])
        lines = wait_until("both lines are there", lambda: two_lines(path))
        for line in lines:
            assert COMBINED.fullmatch(line), line


def two_lines(path: Path) -> list[str]:
    lines = path.read_text().splitlines() if path.exists() else []
    return lines if len(lines) == 2 else []


def test_logs_are_opened_anew_on_usr1(tmp_path: Path) -> None:
    path, moved = tmp_path / "access.log", tmp_path / "access.log.1"
    with NodeBackend(tmp_path) as node, Gate(tmp_path, node.url, workers=2) as gate:
        with gate.http1() as client:
            client.request("GET", "/hello", [("x-request-id", "before")])
            gate.wait_for_line("the first", lambda line: line["id"] == "before")
            path.rename(moved)
            gate.process.send_signal(signal.SIGUSR1)
            wait_until("the log is there again", path.exists)
            client.request("GET", "/hello", [("x-request-id", "after")])
        wait_until("the second is in one of the files", lambda: "after" in path.read_text() + moved.read_text())


def test_a_failing_backend_says_so_in_one_line_of_the_error_log(tmp_path: Path) -> None:
    """However many requests fail for it."""
    with refusing_port() as port, Gate(tmp_path, f"h2c://127.0.0.1:{port}") as gate, gate.http1() as client:
        for _ in range(5):
            assert client.request("GET", "/").status in (502, 503)
        about = [line for line in gate.error_log.splitlines() if str(port) in line]
        assert len(about) <= 1, about
