"""What an operator has rewritten: paths, fields, cookies, what is told of client and gate; which backend is chosen."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.test_routing import ask, seen
from tests.support.gate import Gate
from tests.support.house import Client
from tests.support.http1_client import Http1Client
from tests.support.messages import Response
from tests.support.node_backend import NodeBackend
from tests.support.scripted_backend import Connection, ScriptedBackend

CLIENTS = ["http1", "http2"]


@pytest.fixture(scope="module")
def directory(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rewriting")


@pytest.fixture(scope="module")
def node(directory: Path) -> Iterator[NodeBackend]:
    with NodeBackend(directory) as node:
        yield node


@pytest.fixture(scope="module")
def gate(directory: Path, node: NodeBackend) -> Iterator[Gate]:
    url = node.url
    routes: list[dict[str, Any]] = [
        {"match": {"path": "/v1/"}, "backend": url, "rewrite": {"prefix": "/api/v1/"}},
        {"match": {"path": "/user/"}, "backend": url, "rewrite": {"regex": "^/user/([a-z]+)", "to": r"/people/\1"}},
        {"match": {"path": "/escape/"}, "backend": url, "rewrite": {"regex": "^/escape/(..)", "to": r"/escape/%25\1"}},
        {"match": {"path": "/broken/"}, "backend": url, "rewrite": {"regex": "^/broken", "to": "/"}},
        {
            "match": {"path": "/ruled/"},
            "backend": f"{url}/",
            "request_headers": {"remove": ["X-Gone"], "set": {"X-Set": "gate"}, "add": {"X-Add": "gate"}},
            "response_headers": {"remove": ["X-Powered-By"], "set": {"X-Frame-Options": "DENY"}, "add": {"Vary": "x"}},
        },
        {
            "match": {"path": "/cookies/"},
            "backend": f"{url}/base/",
            "cookie_domain": {"internal.test": "example.test"},
            "cookie_path": {"/session": "/cookies/session"},
        },
        {"match": {"path": "/lots/"}, "weights": {f"{url}/one/": 1, f"{url}/two/": 1}},
        {"match": {"path": "/", "headers": {"X-Stage": "regex:^beta"}}, "backend": f"{url}/beta/"},
        {"match": {"path": "/", "query": {"version": "2"}}, "backend": f"{url}/second/"},
        {"match": {"path": "/own/"}, "respond": {"status": 200}, "response_headers": {"set": {"X-Own": "1"}}},
        {"match": {"path": "/read/", "methods": ["GET", "OPTIONS", "TRACE"]}, "backend": f"{url}/"},
        {"match": {"host": "served.test"}, "backend": url},
    ]
    with Gate(directory, routes=routes) as gate:
        yield gate


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest, gate: Gate) -> Iterator[Client]:
    with gate.http1() if request.param == "http1" else gate.http2() as client:
        yield client


def told(client: Client, path: str, **fields: Any) -> Response:
    return ask(client, path, fields=[("x-respond", json.dumps(fields))])


# Paths


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v1/request?q=/v1/", "/api/v1/request?q=/v1/"),
        ("/user/ann/request", "/people/ann/request"),
        ("/user/ann/../bob/request", "/people/bob/request"),
        ("/user/15/request", "/user/15/request"),
    ],
)
def test_a_path_is_rewritten_for_the_backend(client: Client, path: str, expected: str) -> None:
    assert seen(ask(client, path))[":path"] == expected


def test_a_location_comes_back_through_the_rewritten_prefix(client: Client) -> None:
    assert told(client, "/v1/respond", **{":status": 302, "location": "/api/v1/x"})["location"] == "/v1/x"


def test_a_rewrite_decodes_nothing_that_was_escaped(client: Client) -> None:
    assert seen(ask(client, "/escape/0d0a/request"))[":path"] == "/escape/%250d0a/request"


def test_a_rewrite_gives_a_normal_path(client: Client) -> None:
    # What it made, `//request`, would be a host to some backends.
    assert seen(ask(client, "/broken/request"))[":path"] == "/request"


@pytest.mark.parametrize("path", ["/v1/..;/request", "/v1/%2e%2e;x=y/request", "/v1/.;/request"])
def test_a_dot_segment_with_parameters_is_refused(client: Client, path: str) -> None:
    # Servlet containers take `/v1/..;/` for the root.
    assert ask(client, path).status == 400


def test_other_path_parameters_stay_as_they_are(client: Client) -> None:
    assert seen(ask(client, "/v1/a;x=y/request"))[":path"] == "/api/v1/a;x=y/request"


# Fields


def test_the_operators_rules_run_over_the_requests_fields(client: Client) -> None:
    fields = [("x-gone", "1"), ("x-set", "client"), ("x-add", "client"), ("x-stays", "1")]
    headers = seen(ask(client, "/ruled/request", fields=fields))
    assert "x-gone" not in headers
    assert headers["x-set"] == "gate"
    assert headers["x-add"] == "client, gate"
    assert headers["x-stays"] == "1"


def test_the_operators_rules_run_over_the_responses_fields(client: Client) -> None:
    fields = {"x-powered-by": "node", "x-frame-options": "ALLOWALL", "vary": "accept"}
    response = told(client, "/ruled/respond", **fields)
    assert response.get("x-powered-by") is None
    assert response["x-frame-options"] == "DENY"
    assert response.all("vary") == ["accept", "x"]


def test_they_run_over_the_gates_own_answers_too(client: Client) -> None:
    assert ask(client, "/own/x")["x-own"] == "1"
    assert ask(client, "/ruled/%00").status == 400


def test_cookies_get_the_domain_and_path_that_the_operator_says(client: Client, node: NodeBackend) -> None:
    sent = [
        "a=1; Domain=internal.test; Path=/session/x",
        "b=1; Domain=.internal.test; Path=/sessions",
        "c=1; Domain=127.0.0.1; Path=/base/",
    ]
    response = told(client, "/cookies/respond", **{"set-cookie": sent})
    assert response.all("set-cookie") == [
        "a=1; Domain=example.test; Path=/cookies/session/x",
        "b=1; Domain=example.test; Path=/sessions",
        "c=1; Domain=gate.test; Path=/cookies/",
    ]


def test_fields_of_one_response_never_show_in_another(client: Client) -> None:
    assert told(client, "/ruled/respond", **{"x-mine": "1"})["x-mine"] == "1"
    assert told(client, "/ruled/respond").get("x-mine") is None


def test_crumbs_of_cookies_come_as_one_field(tmp_path: Path) -> None:
    """Hypercorn does not join them, and who reads one field of an ASGI scope sees one crumb."""
    got: list[list[tuple[str, str]]] = []

    def script(connection: Connection) -> None:
        connection.begin()
        while True:
            stream, fields, _ = connection.next_request()
            got.append(list(fields.items()))
            connection.respond(stream)

    with ScriptedBackend(script) as backend, Gate(tmp_path, backend.url) as gate, gate.http2() as client:
        assert client.request("GET", "/", [("cookie", "a=1"), ("x-a", "1"), ("cookie", "b=2")]).status == 200
    # The script's dict would hold the last crumb alone.
    assert ("cookie", "a=1; b=2") in got[0]


# Which backend


def test_weights_send_requests_to_each_backend(client: Client) -> None:
    paths = {seen(ask(client, "/lots/request"))[":path"] for _ in range(60)}
    # 60 times the same one: once in 10^18 runs.
    assert paths == {"/one/request", "/two/request"}


def test_a_way_back_is_that_of_the_backend_that_was_chosen(client: Client) -> None:
    for _ in range(20):
        path = seen(ask(client, "/lots/request"))[":path"]
        assert path in ("/one/request", "/two/request")
        both = {"location": "/one/x", "content-location": "/two/x"}
        response = told(client, "/lots/respond", **{":status": 302, **both})
        mapped = [response["location"], response["content-location"]]
        assert mapped in (["/lots/x", "/two/x"], ["/one/x", "/lots/x"])


def test_fields_and_parameters_choose_a_route(client: Client) -> None:
    assert seen(ask(client, "/request", fields=[("x-stage", "beta-2")]))[":path"] == "/beta/request"
    assert seen(ask(client, "/request?a&version=%32"))[":path"] == "/second/request?a&version=%32"
    assert ask(client, "/request?version=3", fields=[("x-stage", "alpha")]).status == 404


# No open proxy


def test_absolute_form_is_served_by_routes_and_by_nothing_else(gate: Gate) -> None:
    with gate.http1() as client:
        served = client.request("GET", "http://served.test/request", host="served.test")
        assert (served.json()["headers"][":path"], served.json()["headers"]["x-forwarded-host"]) == (
            "/request",
            "served.test",
        )
        assert client.request("GET", "http://elsewhere.test/request", host="elsewhere.test").status == 404
        assert client.request("GET", "ftp://served.test/request", host="served.test").status in (400, 404)


def test_connect_without_a_protocol_opens_no_tunnel(client: Client, node: NodeBackend) -> None:
    streams = node.stats()["streams"]
    if isinstance(client, Http1Client):
        client.send_head("CONNECT", "served.test:443", host="served.test:443")
        assert client.read_response().status == 400
    else:
        stream = client.engine.get_next_available_stream_id()
        client.engine.send_headers(stream, [(":method", "CONNECT"), (":authority", "served.test:443")])
        client.responses[stream] = Response(0)
        client.flush()
        assert client.response(stream).status == 400
    assert node.stats()["streams"] == streams


@pytest.mark.parametrize("target", ["@elsewhere.test/", "unix:/run/x|h2c://x/", "//elsewhere.test/read/request"])
def test_no_target_leads_to_a_host_that_the_client_names(gate: Gate, target: str) -> None:
    # CVE-2011-3368, CVE-2021-40438
    with gate.http1() as client:
        assert client.request("GET", target).status in (400, 404)


# Hops


@pytest.mark.parametrize(("method", "sent", "arrives"), [("OPTIONS", "5", "4"), ("TRACE", "1", "0"), ("GET", "0", "0")])
def test_max_forwards_is_counted_down(client: Client, method: str, sent: str, arrives: str) -> None:
    headers = seen(ask(client, "/read/request", method=method, fields=[("max-forwards", sent)]))
    assert headers["max-forwards"] == arrives


def test_an_options_for_the_gate_is_answered_by_it(client: Client) -> None:
    response = ask(client, "/read/request", method="OPTIONS", fields=[("max-forwards", "0")])
    assert (response.status, response["allow"], response.body) == (200, "GET, OPTIONS, TRACE", b"")
    assert "PATCH" in ask(client, "/v1/request", method="OPTIONS", fields=[("max-forwards", "0")])["allow"]


def test_a_trace_for_the_gate_echoes_nothing(client: Client) -> None:
    fields = [("max-forwards", "0"), ("cookie", "secret=1")]
    response = ask(client, "/read/request", method="TRACE", fields=fields)
    assert response.status == 405
    assert response["allow"] == "GET, OPTIONS, TRACE"
    assert b"secret" not in response.body


def test_max_forwards_that_is_no_number_is_400(client: Client) -> None:
    assert ask(client, "/read/request", method="OPTIONS", fields=[("max-forwards", "many")]).status == 400
    assert ask(client, "/read/request", fields=[("max-forwards", "many")]).status == 200


# What is told of client and gate


def forwarding_gate(directory: Path, node: NodeBackend, **forwarding: Any) -> Gate:
    listener = {"trusted_proxies": ["127.0.0.2"]}
    return Gate(directory, node.url, listener=listener, sections={"forwarding": forwarding})


def test_forwarded_takes_the_place_of_x_forwarded(tmp_path: Path, node: NodeBackend) -> None:
    with forwarding_gate(tmp_path, node, forwarded=True, x_forwarded=False) as gate:
        for client in (gate.http1(), gate.http2()):
            with client:
                fields = [("forwarded", "for=1.2.3.4"), ("x-forwarded-for", "1.2.3.4")]
                headers = seen(ask(client, "/request", "gate.test:81", fields=fields))
                assert headers["forwarded"] == 'for=127.0.0.1;host="gate.test:81";proto=http;by=_h2gate'
                assert not any(name.startswith("x-forwarded") for name in headers)


@pytest.mark.parametrize(("via", "request_via", "response_via"), [("off", "1.0 a", "1.1 b"), ("block", None, None)])
def test_via_may_be_left_alone_or_blocked(
    tmp_path: Path, node: NodeBackend, via: str, request_via: str | None, response_via: str | None
) -> None:
    with forwarding_gate(tmp_path, node, via=via) as gate:
        for client in (gate.http1(), gate.http2()):
            with client:
                assert seen(ask(client, "/request", fields=[("via", "1.0 a")])).get("via") == request_via
                assert told(client, "/respond", via="1.1 b").get("via") == response_via


# Statuses


@pytest.fixture(scope="module")
def odd(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    """A gate before a backend that answers with the status that the path says, without a body and `!` with one."""

    def script(connection: Connection) -> None:
        connection.begin()
        while True:
            stream, fields, _ = connection.next_request()
            status = fields[":path"].removeprefix("/")
            if status.endswith("!"):
                connection.respond(stream, b"odd\n", int(status[:-1]))
            else:
                connection.send(connection.headers(stream, (":status", status), flags=("END_STREAM",)))

    directory = tmp_path_factory.mktemp("odd")
    with ScriptedBackend(script) as backend, Gate(directory, backend.url) as gate:
        yield gate


@pytest.fixture(params=CLIENTS)
def odd_client(request: pytest.FixtureRequest, odd: Gate) -> Iterator[Client]:
    with odd.http1() if request.param == "http1" else odd.http2() as client:
        yield client


@pytest.mark.parametrize("status", [600, 999])
def test_an_unknown_status_goes_to_the_client_as_it_is(odd_client: Client, status: int) -> None:
    """Apache says 500 to the client and 999 in its log. RFC 9110, 15: a client takes it for a 500 by itself."""
    response = odd_client.request("GET", f"/{status}!")
    assert (response.status, response.body, response.is_complete) == (status, b"odd\n", True)


@pytest.mark.parametrize("status", ["099", "101", "20", "2000", "abc", "", "+20"])
def test_a_status_that_is_none_is_502(odd_client: Client, status: str) -> None:
    assert odd_client.request("GET", f"/{status}").status == 502


@pytest.mark.parametrize("status", ["100", "103"])
def test_an_interim_status_cannot_end_a_response(odd_client: Client, status: str) -> None:
    assert odd_client.request("GET", f"/{status}").status == 502
