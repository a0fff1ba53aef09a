"""What docs/from-apache.md says of single requests and responses, where no other test says so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateway.test_tls import respond
from tests.support.certificates import Authority, Site
from tests.support.gate import Gate
from tests.support.house import Client
from tests.support.http1_client import Http1Client
from tests.support.http2_client import Http2Client
from tests.support.node_backend import NodeBackend
from tests.support.scripted_backend import Connection, ScriptedBackend


@pytest.fixture(scope="module")
def directory(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rows")


@pytest.fixture(scope="module")
def node(directory: Path) -> Iterator[NodeBackend]:
    with NodeBackend(directory) as node:
        yield node


@pytest.fixture(scope="module")
def gate(directory: Path, node: NodeBackend) -> Iterator[Gate]:
    routes = [
        {"match": {"host": "gate.test", "path": "/app/"}, "backend": f"{node.url}/"},
        {"match": {"path": "/kept/"}, "backend": f"{node.url}/", "preserve_host": True},
    ]
    with Gate(directory, routes=routes) as gate:
        yield gate


@pytest.fixture(params=["http1", "http2"])
def client(request: pytest.FixtureRequest, gate: Gate) -> Iterator[Client]:
    with gate.http1() if request.param == "http1" else gate.http2() as client:
        yield client


# The request


def test_a_kept_host_that_the_client_did_not_send_is_the_endpoints(gate: Gate, node: NodeBackend) -> None:
    with gate.http1() as client:
        response = client.request("GET", "/kept/request", host="", version="HTTP/1.0")
        assert response.json()["headers"][":authority"] == f"127.0.0.1:{node.port}"


def test_the_name_in_tls_is_the_endpoints_also_where_the_clients_host_is_kept(
    tmp_path: Path, authority: Authority, localhost: Site
) -> None:
    asked: list[str | None] = []
    context = authority.server_context(localhost, "h2")
    context.sni_callback = lambda _, name, __: asked.append(name)
    with ScriptedBackend(respond, context) as backend:
        routes = [{"backend": "app", "preserve_host": True}]
        backends = {"app": {"endpoints": [backend.url], "tls": {"ca": str(authority.cert)}}}
        with Gate(tmp_path, routes=routes, sections={"backends": backends}) as gate, gate.http2() as client:
            for host in ("one.test", "two.test"):
                assert client.request("GET", "/", authority=host).status == 200
    assert asked == ["localhost"]


@pytest.mark.parametrize("together", [False, True])
def test_each_request_may_have_a_connection_of_its_own(tmp_path: Path, together: bool) -> None:
    with NodeBackend(tmp_path) as node:
        backends = {"app": {"endpoints": [node.url], "pool": {"max_streams": 1, "max_requests": 1}}}
        with Gate(tmp_path, "app", sections={"backends": backends}) as gate, gate.http2() as client:
            for count in [3] if together else [1, 1, 1]:
                streams = [client.open("GET", "/delay/50") for _ in range(count)]
                assert [client.response(stream).status for stream in streams] == [200] * count
        stats = node.stats()
        assert (stats["streams"], stats["sessions"]) == (3, 3)


def test_a_length_passes_as_it_came_and_chunks_have_none(gate: Gate) -> None:
    with gate.http1() as client:
        known = client.request("POST", "/app/request", body=b"12345").json()["headers"]
        assert known["content-length"] == "5"
        unknown = client.request("POST", "/app/request", chunks=[b"12345"]).json()["headers"]
        assert "content-length" not in unknown
        assert "transfer-encoding" not in unknown


@pytest.mark.parametrize("query", ["a=%0a%2F&&b", "a='{}|", "a=%zz"])
def test_a_query_is_nobodys_to_change(client: Client, query: str) -> None:
    response = client.request("GET", f"/app/request?{query}")
    assert response.json()["headers"][":path"] == f"/request?{query}"


def test_line_ends_in_a_path_stay_escaped(client: Client) -> None:
    """CVE-2023-25690: Apache took them for text in a rewritten path."""
    response = client.request("GET", "/app/request/%0d%0aX-A:%201%20HTTP/1.1")
    # The backend repeats the path that it does not know.
    assert response.body == b"no such path: /request/%0D%0AX-A:%201%20HTTP/1.1\n"


def test_visible_octets_of_a_path_pass_as_they_came(client: Client) -> None:
    assert client.request("GET", "/app/request/a|b[c]").json()["headers"][":path"] == "/request/a|b[c]"


@pytest.mark.parametrize("target", ["/app/a b", "/app/\x01", "/app/a#b"])
def test_octets_that_no_path_has_are_400(gate: Gate, target: str) -> None:
    with gate.http1() as client:
        assert client.request("GET", target).status == 400


# No open proxy


def test_an_absolute_form_leads_only_where_a_route_does(gate: Gate) -> None:
    with gate.http1() as client:
        assert client.request("GET", "http://gate.test/app/hello", host="gate.test").body == b"hello\n"
        assert client.request("GET", "http://other.test/app/hello", host="other.test").status == 404
        # RFC 9112, 3.2.2: the target wins over Host.
        assert client.request("GET", "http://other.test/app/hello", host="gate.test").status in (400, 404)


@pytest.mark.parametrize(
    "target", ["@other.test/app/hello", "unix:/tmp/x.sock|http://other.test/", "ftp://gate.test/app/hello"]
)
def test_a_target_that_is_no_path_leads_nowhere(gate: Gate, node: NodeBackend, target: str) -> None:
    """CVE-2011-3368, CVE-2021-40438."""
    before = node.stats()["streams"]
    with gate.http1() as client:
        assert client.request("GET", target).status == 400
    assert node.stats()["streams"] == before


def test_a_coding_that_the_gate_does_not_know_is_refused(gate: Gate) -> None:
    with gate.http1() as client:
        client.send_head("POST", "/app/upload", [("Transfer-Encoding", "gzip, chunked")])
        assert client.read_response("POST").status == 501


# The response


def answers(connection: Connection) -> None:
    """Answer each request by what its path says: a status, of which an interim one has a final one behind it."""
    connection.begin()
    while True:
        stream, fields, _ = connection.next_request()
        status = int(fields[":path"].removeprefix("/"))
        if status < 200:
            connection.send(connection.headers(stream, (":status", str(status)), ("x-interim", "1")))
            status = 200
        connection.respond(stream, b"body\n", status, ("x-lower-case", "1"))


@pytest.fixture(scope="module")
def statuses(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    with ScriptedBackend(answers) as backend, Gate(tmp_path_factory.mktemp("statuses"), backend.url) as gate:
        yield gate


@pytest.mark.parametrize("status", [299, 499, 599, 999])
@pytest.mark.parametrize("kind", ["http1", "http2"])
def test_a_status_that_nobody_knows_passes_as_it_is(statuses: Gate, kind: str, status: int) -> None:
    with statuses.http1() if kind == "http1" else statuses.http2() as client:
        response = client.request("GET", f"/{status}")
        assert (response.status, response.body) == (status, b"body\n")


@pytest.mark.parametrize("kind", ["http1", "http2"])
def test_102_reaches_the_client(statuses: Gate, kind: str) -> None:
    with statuses.http1() if kind == "http1" else statuses.http2() as client:
        response = client.request("GET", "/102")
        assert [head.status for head in response.interim] == [102]
        assert (response.status, response.get("x-interim")) == (200, None)


def test_names_are_in_title_case_for_http1_and_in_lower_case_for_http2(statuses: Gate) -> None:
    with Http1Client(statuses.port) as client:
        client.send_head("GET", "/200")
        assert b"\r\nX-Lower-Case: 1\r\n" in client.read_some()
    with Http2Client(statuses.port) as http2:
        assert ("x-lower-case", "1") in http2.request("GET", "/200").fields
