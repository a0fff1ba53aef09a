"""What a client gets where the gate answers for itself: bodies by Accept, the operator's pages, gRPC, Proxy-Status."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.test_routing import ask
from tests.support.gate import Gate
from tests.support.house import Client
from tests.support.http1_client import Http1Client
from tests.support.messages import Response
from tests.support.node_backend import NodeBackend
from tests.support.ports import HeldPort
from tests.support.waiting import wait_until

CLIENTS = ["http1", "http2"]
BROWSER = ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")


@pytest.fixture(scope="module")
def directory(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("errors")


@pytest.fixture(scope="module")
def node(directory: Path) -> Iterator[NodeBackend]:
    with NodeBackend(directory) as node:
        yield node


@pytest.fixture(scope="module")
def gate(directory: Path, node: NodeBackend) -> Iterator[Gate]:
    (directory / "down.html").write_text("<h1>Sorry: {status}</h1><p>{request_id}</p>\n")
    (directory / "down.json").write_text('{"sorry": {status}, "id": "{request_id}"}\n')
    (directory / "shop.html").write_text("<h1>The shop is closed</h1>\n")
    nobody = HeldPort()
    dead = f"h2c://127.0.0.1:{nobody.number}"
    routes: list[dict[str, Any]] = [
        {"match": {"path": "/dead/"}, "backend": dead},
        {
            "match": {"path": "/shop/"},
            "backend": dead,
            "error_pages": [{"status": [502], "html": "shop.html"}],
            "response_headers": {"set": {"X-Shop": "closed"}},
        },
        {"match": {"path": "/all/"}, "backend": f"{node.url}/", "error_override": True},
        {"match": {"path": "/some/"}, "backend": f"{node.url}/", "error_override": [404, 503]},
        {"match": {"path": "/get/", "methods": ["GET"]}, "backend": f"{node.url}/"},
        {"match": {"path": "/closed/"}, "respond": {"status": 503}},
    ]
    sections = {
        "error_pages": [{"status": [502, 503], "html": "down.html", "json": "down.json"}],
        "forwarding": {"proxy_status": True},
        "retries": {"tries": 0},
    }
    try:
        with Gate(directory, routes=routes, sections=sections) as gate:
            yield gate
    finally:
        nobody.release()


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest, gate: Gate) -> Iterator[Client]:
    with gate.http1() if request.param == "http1" else gate.http2() as client:
        yield client


def told(
    client: Client, path: str, status: int, *more: tuple[str, str], method: str = "GET", **fields: Any
) -> Response:
    answer = {":status": status, "content-type": "text/html", **fields}
    return ask(client, path, method=method, fields=[("x-respond", json.dumps(answer)), *more])


# Which body


def test_an_error_comes_as_the_client_likes_it(client: Client) -> None:
    text = ask(client, "/none")
    assert (text.status, text["content-type"], text.body) == (404, "text/plain; charset=utf-8", b"404 Not Found\n")
    page = ask(client, "/none", fields=[BROWSER])
    assert (page.status, page["content-type"]) == (404, "text/html; charset=utf-8")
    assert b"<h1>404 Not Found</h1>" in page.body
    problem = ask(client, "/none", fields=[("accept", "application/json"), ("x-request-id", 'my"id')])
    assert (problem.status, problem["content-type"]) == (404, "application/problem+json")
    assert problem.json() == {"type": "about:blank", "title": "Not Found", "status": 404, "request_id": 'my"id'}
    for response in (text, page, problem):
        assert response["vary"] == "accept"
        assert response["cache-control"] == "no-store"
        assert response["x-request-id"]
        assert response["content-length"] == str(len(response.body))


def test_the_operators_page_is_filled_in(client: Client) -> None:
    fields = [("x-request-id", "<i>")]
    page = ask(client, "/dead/x", fields=[*fields, BROWSER])
    assert (page.status, page.body) == (502, b"<h1>Sorry: 502</h1><p>&lt;i&gt;</p>\n")
    assert ask(client, "/dead/x", fields=fields).body == page.body
    body = ask(client, "/dead/x", fields=[*fields, ("accept", "application/json")]).json()
    assert body == {"sorry": 502, "id": "<i>"}
    assert ask(client, "/dead/x", fields=[("accept", "text/plain")]).body == b"502 Bad Gateway\n"


def test_an_error_that_the_operator_answers_with_has_its_page(client: Client) -> None:
    response = ask(client, "/closed/x", fields=[BROWSER, ("x-request-id", "closed-1")])
    assert (response.status, response.body) == (503, b"<h1>Sorry: 503</h1><p>closed-1</p>\n")


def test_a_routes_own_page_comes_first(client: Client) -> None:
    page = ask(client, "/shop/x", fields=[BROWSER])
    assert (page.status, page.body, page["x-shop"]) == (502, b"<h1>The shop is closed</h1>\n", "closed")
    assert ask(client, "/shop/x", fields=[("accept", "application/json")]).json()["sorry"] == 502


def test_a_head_request_gets_the_head_alone(client: Client) -> None:
    response = ask(client, "/dead/x", method="HEAD", fields=[BROWSER])
    assert (response.status, response.body, response.is_complete) == (502, b"", True)
    assert int(response["content-length"]) > 0
    assert ask(client, "/none").status == 404


def test_a_405_says_what_is_allowed_in_any_format(client: Client) -> None:
    response = ask(client, "/get/x", method="DELETE", fields=[BROWSER])
    assert (response.status, response["allow"]) == (405, "GET")
    assert b"<h1>405" in response.body


def test_a_client_that_breaks_the_rules_is_told_in_its_format(client: Client) -> None:
    response = ask(client, "/dead/x", method="POST", fields=[("content-length", "1"), ("content-length", "2"), BROWSER])
    if isinstance(client, Http1Client):
        assert (response.status, response["content-type"]) == (400, "text/plain; charset=utf-8")
    else:
        assert response.broken


def test_pages_were_read_with_the_config(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("<p>first")
    routes = [{"match": {"path": "/x/"}, "respond": {"status": 200}}]
    with Gate(tmp_path, routes=routes, sections={"error_pages": [{"html": "page.html"}]}) as gate:
        gate.wait_for_error("generation 1 serves")
        (tmp_path / "page.html").unlink()
        # A worker that is started later has what the master has read.
        worker = gate.worker
        os.kill(worker, signal.SIGKILL)
        wait_until("another worker serves", lambda: gate.workers() not in ([], [worker]))
        with gate.http2() as client:
            assert client.request("GET", "/none").body == b"<p>first"
        (tmp_path / "page.html").write_text("<p>second")
        worker = gate.worker
        gate.reload()
        wait_until("the new generation serves alone", lambda: gate.workers() and worker not in gate.workers())
        with gate.http1() as client:
            assert client.request("GET", "/none").body == b"<p>second"


# In the place of the backend's


def test_an_error_of_the_backend_is_overridden(client: Client, gate: Gate) -> None:
    more = {"retry-after": "7", "x-trace": "stack", "set-cookie": "a=1; Path=/x", "etag": '"1"'}
    response = told(client, "/all/respond", 503, BROWSER, ("x-request-id", "over-1"), **more)
    assert (response.status, response.body) == (503, b"<h1>Sorry: 503</h1><p>over-1</p>\n")
    assert response["retry-after"] == "7"
    assert response["set-cookie"] == "a=1; Path=/all/x"
    assert response["proxy-status"] == "h2gate; received-status=503"
    for name in ("x-trace", "etag"):
        assert response.get(name) is None
    assert gate.wait_for_line("the overridden one", lambda line: line["id"] == "over-1")["status"] == 503


@pytest.mark.parametrize("status", [200, 302, 399])
def test_what_is_no_error_is_not_overridden(client: Client, status: int) -> None:
    assert told(client, "/all/respond", status).body == b"as told\n"


def test_only_the_statuses_that_are_named_are_overridden(client: Client) -> None:
    assert told(client, "/some/respond", 404).body == b"404 Not Found\n"
    assert told(client, "/some/respond", 500).body == b"as told\n"


def test_a_large_body_that_is_overridden_holds_up_nobody(client: Client) -> None:
    for _ in range(5):
        response = told(client, "/all/respond", 401, **{"www-authenticate": "Basic"})
        assert (response.status, response.body) == (401, b"401 Unauthorized\n")
        assert response["www-authenticate"] == "Basic"
    assert told(client, "/all/respond", 200).status == 200


def test_an_overridden_head_has_no_body(client: Client) -> None:
    response = told(client, "/all/respond", 404, method="HEAD")
    assert (response.status, response.body, response["content-length"]) == (404, b"", "14")


# Why


def test_proxy_status_says_why(client: Client) -> None:
    assert ask(client, "/dead/x")["proxy-status"].startswith(
        'h2gate; error=connection_refused; details="connect_refused'
    )
    assert ask(client, "/none")["proxy-status"].startswith("h2gate; error=destination_not_found;")
    assert ask(client, "/%00")["proxy-status"].startswith("h2gate; error=http_request_error;")
    assert told(client, "/some/respond", 200).get("proxy-status") is None


def test_nobody_is_told_why_unless_the_operator_says_so(tmp_path: Path, node: NodeBackend) -> None:
    with Gate(tmp_path, routes=[{"match": {"path": "/x/"}, "backend": node.url}]) as gate, gate.http1() as client:
        assert client.request("GET", "/none").get("proxy-status") is None


# gRPC

GRPC = [("content-type", "application/grpc+proto"), ("te", "trailers")]


@pytest.mark.parametrize(
    ("path", "http_status", "grpc_status", "message"),
    [
        ("/dead/x", 502, "14", "502 Bad Gateway"),
        ("/none", 404, "12", "404 Not Found"),
        ("/get/x", 405, "2", "405 Method Not Allowed"),
        ("/%00", 400, "13", "400 Bad Request"),
    ],
)
def test_a_grpc_client_gets_a_status_of_grpc(
    gate: Gate, path: str, http_status: int, grpc_status: str, message: str
) -> None:
    number = f"grpc-{http_status}"
    with gate.http2() as client:
        response = client.request("POST", path, [*GRPC, ("x-request-id", number)], b"\0\0\0\0\0")
        assert (response.status, response.body, response.trailers, response.is_complete) == (200, b"", [], True)
        assert response["content-type"] == "application/grpc"
        assert response["grpc-status"] == grpc_status
        assert response["grpc-message"] == message
        assert response.get("content-length") is None
    # What happened is in the log, as of any other request.
    line = gate.wait_for_line("the call", lambda line: line["id"] == number)
    assert line["status"] == http_status


def test_a_grpc_call_whose_backend_answers_in_html_gets_a_status_of_grpc(gate: Gate) -> None:
    with gate.http2() as client:
        fields = [*GRPC, ("x-respond", json.dumps({":status": 503, "content-type": "text/html"}))]
        response = client.request("POST", "/all/respond", fields, b"")
        assert (response.status, response["grpc-status"], response.body) == (200, "14", b"")


def test_grpc_over_http1_is_no_grpc(gate: Gate) -> None:
    with gate.http1() as client:
        assert client.request("POST", "/none", GRPC, b"").status == 404
