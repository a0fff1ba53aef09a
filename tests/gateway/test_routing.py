"""Where requests go, and what of their heads and of the answers' heads is rewritten on the way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.gate import Gate
from tests.support.house import Client
from tests.support.http1_client import Http1Client
from tests.support.http2_client import Http2Client
from tests.support.messages import Response
from tests.support.node_backend import NodeBackend

CLIENTS = ["http1", "http2"]


@pytest.fixture(scope="module")
def directory(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("routing")


@pytest.fixture(scope="module")
def node(directory: Path) -> Iterator[NodeBackend]:
    with NodeBackend(directory, unix=directory / "backend.sock") as node:
        yield node


@pytest.fixture(scope="module")
def gate(directory: Path, node: NodeBackend) -> Iterator[Gate]:
    respond = {"status": 418, "body": "short and stout\n"}
    routes: list[dict[str, Any]] = [
        {"match": {"host": "tea.test"}, "respond": respond},
        {"match": {"host": "*.wild.test", "path": "/"}, "backend": f"{node.url}/wild/"},
        {"match": {"path": "/app/private/"}, "respond": {"status": 404}},
        {"match": {"path": "/app/"}, "backend": f"{node.url}/base/"},
        {"match": {"path": "exact:/one"}, "backend": f"{node.url}/exact/request"},
        {"match": {"path": "regex:^/r[0-9]+/"}, "backend": node.url},
        {"match": {"path": "/old/"}, "redirect": {"to": "/new/{path}{query}", "status": 301}},
        {"match": {"path": "/read/", "methods": ["GET", "HEAD"]}, "backend": f"{node.url}/"},
        {"match": {"path": "/kept/"}, "backend": f"{node.url}/base/", "preserve_host": True},
        {"match": {"path": "/unix/"}, "backend": f"h2c+unix:{directory / 'backend.sock'}"},
    ]
    with Gate(directory, routes=routes, unix=directory / "gate.sock") as gate:
        yield gate


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest, gate: Gate) -> Iterator[Client]:
    with gate.http1() if request.param == "http1" else gate.http2() as client:
        yield client


def ask(client: Client, path: str, host: str = "gate.test", method: str = "GET", **options: Any) -> Response:
    if isinstance(client, Http1Client):
        return client.request(method, path, host=host, **options)
    return client.request(method, path, authority=host, **options)


def seen(response: Response) -> dict[str, str]:
    """Return the request as the backend saw it."""
    assert response.status == 200, response
    headers: dict[str, str] = response.json()["headers"]
    return headers


# Where to


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/app/request", "/base/request"),
        ("/app/request?q=1&q=%2F", "/base/request?q=1&q=%2F"),
        ("/app/x/../request", "/base/request"),
        ("/app//request", "/base/request"),
        ("/one", "/exact/request"),
        ("/one?x", "/exact/request?x"),
        ("/r15/request", "/r15/request"),
        ("/read/request", "/request"),
    ],
)
def test_the_matched_prefix_is_replaced_by_the_backends_path(client: Client, path: str, expected: str) -> None:
    assert seen(ask(client, path))[":path"] == expected


@pytest.mark.parametrize("path", ["/", "/app", "/one/", "/rx/", "/app/private/request", "/app/./private/request"])
def test_what_no_route_serves_is_404(client: Client, path: str) -> None:
    response = ask(client, path)
    assert (response.status, response.get("server")) == (404, "h2gate")


def test_a_host_of_its_own_comes_first(client: Client) -> None:
    for host in ("tea.test", "TEA.test", "tea.test:8080"):
        response = ask(client, "/app/request", host)
        assert (response.status, response.body) == (418, b"short and stout\n")


def test_a_wildcard_serves_each_name_under_it(client: Client) -> None:
    assert seen(ask(client, "/request", "a.wild.test"))[":path"] == "/wild/request"
    assert ask(client, "/request", "wild.test").status == 404


def test_a_method_that_no_route_takes_is_405_and_says_which_are(client: Client) -> None:
    response = ask(client, "/read/request", method="POST", body=b"x")
    assert response.status == 405
    assert response["allow"] == "GET, HEAD"


def test_a_redirect_keeps_path_and_query(client: Client) -> None:
    response = ask(client, "/old/a/b?c=d")
    assert (response.status, response["location"]) == (301, "/new/a/b?c=d")


@pytest.mark.parametrize("path", ["/app/%2Frequest", "/app/%00request", "/app/%zz", "/app/%"])
def test_an_ambiguous_path_is_400(client: Client, path: str) -> None:
    assert ask(client, path).status == 400


def test_both_ends_may_be_socket_files(gate: Gate, directory: Path) -> None:
    assert gate.unix is not None
    with Http1Client(gate.unix) as http1, Http2Client(gate.unix) as http2:
        for client in (http1, http2):
            headers = seen(ask(client, "/unix/request"))
            assert headers[":authority"] == "localhost"
            assert "x-forwarded-for" not in headers
            assert "x-forwarded-port" not in headers
            assert headers["x-forwarded-host"] == "gate.test"


# The request's head


def test_the_backend_learns_of_client_and_gate(client: Client, gate: Gate, node: NodeBackend) -> None:
    headers = seen(ask(client, "/app/request", "gate.test:81"))
    assert headers[":authority"] == f"127.0.0.1:{node.port}"
    assert headers[":scheme"] == "http"
    assert headers["x-forwarded-for"] == "127.0.0.1"
    assert headers["x-forwarded-host"] == "gate.test:81"
    assert headers["x-forwarded-proto"] == "http"
    assert headers["x-forwarded-port"] == str(gate.port)
    assert headers["via"] == ("1.1 h2gate" if isinstance(client, Http1Client) else "2.0 h2gate")
    assert len(headers["x-request-id"]) == 32
    assert "host" not in headers


def test_a_client_cannot_say_who_it_is(client: Client) -> None:
    fields = [("x-forwarded-for", "1.2.3.4"), ("forwarded", "for=1.2.3.4"), ("x-forwarded-proto", "https")]
    headers = seen(ask(client, "/app/request", fields=[*fields, ("via", "1.0 before")]))
    assert headers["x-forwarded-for"] == "127.0.0.1"
    assert headers["x-forwarded-proto"] == "http"
    assert "forwarded" not in headers
    assert headers["via"].startswith("1.0 before, ")


def test_a_trusted_proxy_is_believed_and_added_to(tmp_path: Path, node: NodeBackend) -> None:
    with (
        Gate(tmp_path, node.url, listener={"trusted_proxies": ["127.0.0.0/8"]}) as gate,
        gate.http1() as client,
    ):
        fields = [("X-Forwarded-For", "192.0.2.7"), ("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "site.test")]
        headers = seen(client.request("GET", "/request", fields))
        assert headers["x-forwarded-for"] == "192.0.2.7, 127.0.0.1"
        assert headers["x-forwarded-proto"] == "https"
        assert headers["x-forwarded-host"] == "site.test"


def test_a_request_id_is_kept(client: Client) -> None:
    assert seen(ask(client, "/app/request", fields=[("x-request-id", "mine-1")]))["x-request-id"] == "mine-1"


def test_preserve_host_sends_the_clients_authority(client: Client) -> None:
    assert seen(ask(client, "/kept/request", "site.test:8080"))[":authority"] == "site.test:8080"


def test_fields_for_one_hop_stay_on_it(gate: Gate) -> None:
    with gate.http1() as client:
        fields = [
            ("Connection", "keep-alive, X-Secret"),
            ("X-Secret", "1"),
            ("Keep-Alive", "timeout=5"),
            ("TE", "gzip"),
            ("Proxy-Authorization", "Basic eDp5"),
            ("X-Open", "2"),
        ]
        headers = seen(client.request("GET", "/app/request", fields))
        assert headers["x-open"] == "2"
        for name in ("connection", "x-secret", "keep-alive", "te", "proxy-authorization", "transfer-encoding"):
            assert name not in headers


def test_crumbs_of_cookies_arrive_as_they_were_sent(client: Client) -> None:
    fields = [("cookie", "a=1"), ("cookie", "b=2")] if isinstance(client, Http2Client) else [("Cookie", "a=1; b=2")]
    assert seen(ask(client, "/app/request", fields=fields))["cookie"] == "a=1; b=2"


# The response's head


@pytest.mark.parametrize(
    ("prefix", "sent", "expected"),
    [
        ("/app", "/base/next", "/app/next"),
        ("/app", "/other", "/other"),
        ("/app", "next", "next"),
        ("/app", "http://{backend}/base/next?x#y", "http://gate.test/app/next?x#y"),
        ("/app", "https://elsewhere.test/base/next", "https://elsewhere.test/base/next"),
        ("/kept", "http://gate.test/base/next", "http://gate.test/kept/next"),
    ],
)
def test_location_is_mapped_back(client: Client, node: NodeBackend, prefix: str, sent: str, expected: str) -> None:
    told = {":status": 302, "location": sent.replace("{backend}", f"127.0.0.1:{node.port}")}
    response = ask(client, f"{prefix}/respond", fields=[("x-respond", json.dumps(told))])
    assert (response.status, response["location"]) == (302, expected)


def test_other_fields_with_urls_are_mapped_back_too(client: Client) -> None:
    told = {
        "content-location": "/base/here",
        "link": "</base/a.css>; rel=preload, </b.js>; rel=preload",
        "refresh": "5; url=/base/later",
        "set-cookie": ["a=1; Path=/base/; Domain=127.0.0.1; Secure", "b=2; HttpOnly"],
    }
    response = ask(client, "/app/respond", fields=[("x-respond", json.dumps(told))])
    assert response["content-location"] == "/app/here"
    assert response["link"] == "</app/a.css>; rel=preload, </b.js>; rel=preload"
    assert response["refresh"] == "5; url=/app/later"
    assert response.all("set-cookie") == ["a=1; Path=/app/; Domain=gate.test; Secure", "b=2; HttpOnly"]


def test_the_response_says_it_came_by_the_gate_and_keeps_the_rest(
    client: Client,
) -> None:
    told = {"server": "backend/1", "date": "Mon, 23 Nov 2026 12:00:00 GMT", "alt-svc": 'h2=":9000"', "x-own": "kept"}
    response = ask(client, "/app/respond", fields=[("x-respond", json.dumps(told))])
    assert response["via"] == "2.0 h2gate"
    assert response["server"] == "backend/1"
    assert response["date"] == "Mon, 23 Nov 2026 12:00:00 GMT"
    assert response["x-own"] == "kept"
    assert response.get("alt-svc") is None


def test_server_and_date_are_added_where_they_are_missing(client: Client) -> None:
    response = ask(client, "/app/hello")
    assert response["server"] == "h2gate"
    assert response["date"].endswith(" GMT")
