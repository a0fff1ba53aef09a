"""What a route says of its exchanges: how large, how long, how often, and who else hears of them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.gate import Gate
from tests.support.house import Client
from tests.support.http1_client import Http1Client
from tests.support.http2_client import Http2Client
from tests.support.node_backend import NodeBackend
from tests.support.waiting import wait_until

LIMIT = 100_000
LINKS = "<{0}/hello>; rel=preload, <{0}/status/204>; rel=preload; as=x, <{0}/hello?no>; rel=preload; nopush"
# As the backend says it, and as the client sees it.
PAGE, LINK = {"link": LINKS.format("")}, LINKS.format("/push")


@pytest.fixture(scope="module")
def directory(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("routes")


@pytest.fixture(scope="module")
def node(directory: Path) -> Iterator[NodeBackend]:
    with NodeBackend(directory) as node:
        yield node


@pytest.fixture(scope="module")
def shadow(directory: Path) -> Iterator[NodeBackend]:
    (directory / "shadow").mkdir()
    with NodeBackend(directory / "shadow") as node:
        yield node


@pytest.fixture(scope="module")
def gate(directory: Path, node: NodeBackend, shadow: NodeBackend) -> Iterator[Gate]:
    url = node.url
    routes: list[dict[str, Any]] = [
        {"match": {"path": "/small/"}, "backend": f"{url}/", "max_body": LIMIT},
        {"match": {"path": "/large/"}, "backend": f"{url}/", "max_body": 3 * LIMIT},
        {"match": {"path": "/mirrored/"}, "backend": f"{url}/", "mirror": {"backend": f"{shadow.url}/copy/"}},
        {"match": {"path": "/nowhere/"}, "backend": f"{url}/", "mirror": {"backend": "h2c://127.0.0.1:9"}},
        {
            "match": {"path": "/quick/"},
            "backend": f"{url}/",
            "timeouts": {"response_head": "1s", "response_idle": "1s"},
        },
        {"match": {"path": "/once/"}, "backend": f"{url}/", "retries": {"tries": 0}},
        {"match": {"path": "/unlogged/"}, "backend": f"{url}/", "access_log": False},
        {"match": {"path": "/push/"}, "backend": f"{url}/", "early_hints": "push"},
        {"match": {"path": "/quiet/"}, "backend": f"{url}/", "early_hints": "off"},
        {"backend": url},
    ]
    with Gate(directory, routes=routes, sections={"limits": {"max_body": 2 * LIMIT}}) as gate:
        yield gate


@pytest.fixture(params=["http1", "http2"])
def client(request: pytest.FixtureRequest, gate: Gate) -> Iterator[Client]:
    with gate.http1() if request.param == "http1" else gate.http2() as client:
        yield client


# How large


@pytest.mark.parametrize(
    ("path", "limit"), [("/small/upload", LIMIT), ("/upload", 2 * LIMIT), ("/large/upload", 3 * LIMIT)]
)
def test_a_body_of_the_limit_passes_and_a_larger_one_is_413(
    gate: Gate, node: NodeBackend, client: Client, path: str, limit: int
) -> None:
    assert client.request("POST", path, body=b"x" * limit).json()["bytes"] == limit
    name = f"too large {path} {type(client).__name__}"
    # An HTTP/1.1 client says its length by itself.
    length = [("content-length", str(limit + 1))] if isinstance(client, Http2Client) else []
    response = client.request("POST", path, [("x-id", name), *length], body=b"x" * (limit + 1))
    assert response.status == 413
    assert node.runs(name) == []
    gate.wait_for_line("its reason", lambda line: line["status"] == 413 and line["reason"] == "body_too_large")


def test_a_body_that_did_not_say_its_length_never_ends_at_the_backend(
    gate: Gate, node: NodeBackend, client: Client
) -> None:
    name = f"grows {type(client).__name__} {gate.engine}"
    if isinstance(client, Http2Client):
        stream = client.open("POST", "/small/silence", [("x-id", name)], end_stream=False)
        client.send_data(stream, b"x" * (LIMIT + 1), end_stream=True)
        response = client.response(stream)
    else:
        client.send_head("POST", "/small/silence", [("Transfer-Encoding", "chunked"), ("x-id", name)])
        client.send_chunk(b"x" * LIMIT)
        client.send_chunk(b"x")
        client.send_last_chunk()
        response = client.read_response("POST")
    assert response.status == 413
    run = node.wait_for_run(name, "closed")
    assert run["received"] <= LIMIT
    assert run.get("aborted") is True
    assert "requestEnded" not in run or run["aborted"]


def test_an_http1_client_whose_body_is_refused_is_told_that_its_connection_ends(gate: Gate) -> None:
    with gate.http1() as client:
        client.send_head("POST", "/small/upload", [("content-length", str(10**9))])
        head = client.read_head()
        assert head.status == 413
        assert head["connection"] == "close"


# How long, how often


def test_a_route_has_deadlines_of_its_own(gate: Gate, client: Client) -> None:
    assert client.request("GET", "/quick/stall").status == 504
    gate.wait_for_line("its reason", lambda line: line["target"] == "/quick/stall" and line["reason"] == "head_timeout")
    with gate.http2() as other:
        stream = other.open("GET", "/quick/silentbody")
        assert other.response(stream).broken == "RST_STREAM INTERNAL_ERROR"


def test_a_route_has_a_number_of_tries_of_its_own(gate: Gate, node: NodeBackend, client: Client) -> None:
    once, usual = (f"{what} {type(client).__name__}" for what in ("once", "usual"))
    assert client.request("GET", "/once/refused", [("x-id", once)]).status == 502
    assert client.request("GET", "/refused", [("x-id", usual)]).status == 502
    assert (len(node.runs(once)), len(node.runs(usual))) == (1, 3)


# Who else hears of it


def test_a_mirror_gets_a_copy_and_the_client_nothing_of_its_answer(
    node: NodeBackend, shadow: NodeBackend, client: Client
) -> None:
    name = f"mirrored {type(client).__name__}"
    body = b"y" * 30_000
    response = client.request("POST", "/mirrored/request?q=1", [("x-id", name)], body=body)
    assert response.json()["headers"][":path"] == "/request?q=1"
    copy = shadow.wait_for_run(name, "closed")
    assert (copy["path"], copy["received"]) == ("/copy/request?q=1", len(body))
    assert len(node.runs(name)) == 1


def test_a_mirror_that_is_not_there_costs_the_client_nothing(client: Client) -> None:
    for _ in range(3):
        assert client.request("GET", "/nowhere/hello").body == b"hello\n"


def test_a_route_may_stay_out_of_the_access_log(gate: Gate, client: Client) -> None:
    assert client.request("GET", "/unlogged/hello").status == 200
    assert client.request("GET", "/hello?logged").status == 200
    gate.wait_for_line("the other exchange", lambda line: line["target"] == "/hello?logged")
    assert all("/unlogged/" not in line["target"] for line in gate.lines())


# Early hints


def test_hints_are_kept_from_the_client_if_wanted(client: Client) -> None:
    response = client.request("GET", "/quiet/earlyhints")
    assert (response.interim, response.body) == ([], b"final\n")


def test_preloads_are_pushed_to_a_client_that_takes_them(gate: Gate) -> None:
    """nghttp takes pushes, and says what was promised and what came."""
    command = ["nghttp", "-v", "--timeout=10", "-H", f"x-respond: {json.dumps(PAGE)}", f"{gate.url}/push/respond"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
    assert said.count("recv PUSH_PROMISE") == 2
    for path in ("/push/hello", "/push/status/204"):
        assert f":path: {path}\n" in said
    assert ":path: /push/hello?no" not in said
    pushed = said[said.index("recv (stream_id=2) :status: 200") :]
    assert "hello\n" in pushed
    line = gate.wait_for_line("the pushed exchange", lambda line: line["target"] == "/push/hello")
    assert (line["status"], line["bytes_sent"]) == (200, 6)


def test_a_connection_is_pushed_a_thing_once(gate: Gate) -> None:
    command = [
        "nghttp", "-v", "--timeout=10", "-H", f"x-respond: {json.dumps(PAGE)}",
        f"{gate.url}/push/respond", f"{gate.url}/push/respond?again",
    ]  # fmt: skip
    said = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
    assert said.count("recv PUSH_PROMISE") == 2
    assert said.count("</push/hello>; rel=preload") >= 2


def test_nothing_is_pushed_to_a_client_that_does_not_take_it(gate: Gate) -> None:
    fields = [("x-respond", json.dumps(PAGE))]
    with gate.http2() as client:
        response = client.request("GET", "/push/respond", fields)
        assert response["link"] == LINK
        assert client.request("GET", "/hello").status == 200
    with gate.http1() as client1:
        assert isinstance(client1, Http1Client)
        assert client1.request("GET", "/push/respond", fields)["link"] == LINK


# In the log


def test_the_log_is_written_in_apaches_directives(tmp_path: Path, node: NodeBackend) -> None:
    log = tmp_path / "custom.log"
    form = '%h %l %u [%{sec}t] "%r" %>s %b "%{Referer}i" %{proxy-source-port}n %{proxy-status}n %{X-Method}o %{reason}n'
    sections = {"access_log": {"path": str(log), "format": form}}
    with Gate(tmp_path, node.url, sections=sections) as gate, gate.http2() as client:
        assert client.request("HEAD", "/head?a", [("referer", 'http://x/"y')]).status == 200
        assert client.request("GET", "/rstbeforehead").status == 502
        lines = wait_until("both lines are there", lambda: _two_lines(log))
    first, second = (line.split(" ") for line in lines)
    assert first[:3] == ["127.0.0.1", "-", "-"]
    assert first[4:9] == ['"HEAD', "/head?a", 'HTTP/2.0"', "200", "-"]
    assert first[9] == r'"http://x/\"y"'
    assert 1024 < int(first[10]) < 65536
    assert first[11:] == ["200", "HEAD", "-"]
    assert second[7] == "502"
    assert second[11:] == ["-", "-", "backend_reset"]


def _two_lines(path: Path) -> list[str]:
    lines = path.read_text().splitlines() if path.exists() else []
    return lines if len(lines) == 2 else []
