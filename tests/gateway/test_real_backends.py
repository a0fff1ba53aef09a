"""nghttpd, Node's http2, Hypercorn and Apache's mod_http2 as backends, in clear and over TLS."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import pattern
from tests.support.certificates import Authority
from tests.support.gate import Gate
from tests.support.house import KINDS, Client, Kind
from tests.support.http1_client import Http1Client
from tests.support.http2_client import Http2Client
from tests.support.messages import Fields, Response
from tests.support.peers import MIB, SIZES, SMALL, Apache, Hypercorn, Nghttpd, NodeSite, Peer

PEERS: dict[str, type[Peer]] = {"nghttpd": Nghttpd, "node": NodeSite, "hypercorn": Hypercorn, "apache": Apache}
AT_ONCE = 100


@dataclass
class Row:
    """A gate, and all backends behind it: each by a host of its own, in clear and over TLS."""

    gate: Gate
    peers: dict[str, Peer]
    authority: Authority

    def client(self, kind: Kind) -> Client:
        if kind == "http1":
            return Http1Client(self.gate.port)
        if kind == "h2c":
            return Http2Client(self.gate.port)
        return Http2Client(self.gate.tls_port, self.authority.client_context("h2"))


@dataclass
class Place:
    """One backend, as clients reach it."""

    peer: Peer
    host: str
    port: int


@pytest.fixture(scope="module")
def row(engine: str, tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Row]:
    directory = tmp_path_factory.mktemp("row")
    hosts = [f"{name}-{scheme}.test" for name in PEERS for scheme in ("h2c", "h2")]
    site = authority.site("localhost", *hosts)
    backends = {}
    peers = {}
    with contextlib.ExitStack() as stack:
        for name, kind in PEERS.items():
            peer = peers[name] = kind()
            stack.enter_context(peer.running(directory, site))
            backends[f"{name}-h2c"] = {"endpoints": [peer.url]}
            backends[f"{name}-h2"] = {"endpoints": [peer.tls_url], "tls": {"ca": str(authority.cert)}}
        routes = [{"match": {"host": f"{name}.test", "path": "/"}, "backend": name} for name in backends]
        with Gate(directory, routes=routes, sites=[site], sections={"backends": backends}) as gate:
            yield Row(gate, peers, authority)


@pytest.fixture(params=[f"{name}-{scheme}" for name in PEERS for scheme in ("h2c", "h2")])
def place(request: pytest.FixtureRequest, row: Row) -> Place:
    name, scheme = request.param.split("-")
    peer = row.peers[name]
    return Place(peer, f"{request.param}.test", peer.port if scheme == "h2c" else peer.tls_port)


@pytest.fixture(params=KINDS)
def client(request: pytest.FixtureRequest, row: Row) -> Iterator[Client]:
    with row.client(request.param) as client:
        yield client


def ask(client: Client, place: Place, method: str, path: str, fields: Fields | None = None) -> Response:
    """Return a response of which no body is kept that is longer than the small file."""
    if isinstance(client, Http1Client):
        return client.request(method, path, fields, host=place.host, keeps_body=path == place.peer.small)
    return client.request(method, path, fields, authority=place.host, keeps_body=path == place.peer.small)


def post(client: Client, place: Place, body: bytes) -> Response:
    """Send `body` to be echoed, and read meanwhile: neither end has to hold all of it."""
    if isinstance(client, Http2Client):
        return client.request("POST", place.peer.echo, body=body, authority=place.host, keeps_body=False)
    client.send_head("POST", place.peer.echo, [("Content-Length", str(len(body)))], host=place.host)
    with ThreadPoolExecutor(1) as sender:
        sent = sender.submit(client.send, body)
        response = client.read_response("POST", keeps_body=False)
        sent.result()
    return response


def connections_to(port: int) -> set[int]:
    """Return the local ports of the connections to `port` of 127.0.0.1."""
    found = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        # proc(5): sl, local address, remote address, state (01 is ESTABLISHED)...
        _, local, remote, state, *_ = line.split()
        if state == "01" and remote == f"0100007F:{port:04X}":
            found.add(int(local.rpartition(":")[2], 16))
    return found


def test_a_file_and_its_head(client: Client, place: Place) -> None:
    response = ask(client, place, "GET", place.peer.small)
    assert (response.status, response.body, response.is_complete) == (200, SMALL, True)
    head = ask(client, place, "HEAD", place.peer.small)
    assert (head.status, head.size, head.is_complete) == (200, 0, True)
    assert head["content-length"] == str(len(SMALL))


@pytest.mark.parametrize("size", SIZES)
def test_a_large_body(client: Client, place: Place, size: int) -> None:
    response = ask(client, place, "GET", place.peer.large.format(size=size))
    assert (response.status, response.size, response.sha256) == (200, size, pattern.sha256(size))


@pytest.mark.parametrize("size", [0, 1000, MIB, 10 * MIB])
def test_a_post_comes_back(client: Client, place: Place, size: int) -> None:
    response = post(client, place, pattern.body(size))
    assert (response.status, response.size, response.sha256) == (200, size, pattern.sha256(size))


def test_a_post_of_unknown_length_comes_back(row: Row, place: Place) -> None:
    with Http1Client(row.gate.port) as http1:
        response = http1.request("POST", place.peer.echo, chunks=pattern.pieces(100_000), host=place.host)
    assert (response.status, response.sha256) == (200, pattern.sha256(100_000))


def test_what_is_not_there(client: Client, place: Place) -> None:
    response = ask(client, place, "GET", "/missing")
    assert (response.status, response.is_complete) == (404, True)


def test_what_the_client_has_already(client: Client, place: Place) -> None:
    first = ask(client, place, "GET", place.peer.small)
    etag, modified = first.get("etag"), first.get("last-modified")
    condition = ("if-none-match", etag) if etag else ("if-modified-since", str(modified))
    response = ask(client, place, "GET", place.peer.small, [condition])
    assert (response.status, response.size, response.is_complete) == (304, 0, True)
    # The connection goes on behind a response that has no body by its status.
    assert ask(client, place, "GET", place.peer.small).body == SMALL


@pytest.mark.parametrize("kind", KINDS)
def test_a_hundred_requests_at_once(row: Row, place: Place, kind: Kind) -> None:
    path = place.peer.small
    responses: list[Response] = []
    with contextlib.ExitStack() as stack:
        if kind == "http1":
            http1 = [stack.enter_context(Http1Client(row.gate.port)) for _ in range(AT_ONCE)]
            for one in http1:
                one.send_head("GET", path, host=place.host)
            responses += [one.read_response("GET") for one in http1]
        else:
            http2 = stack.enter_context(row.client(kind))
            assert isinstance(http2, Http2Client)
            streams = [http2.open("GET", path, authority=place.host) for _ in range(AT_ONCE)]
            responses += [http2.response(stream) for stream in streams]
    assert [(one.status, one.body) for one in responses] == [(200, SMALL)] * AT_ONCE


def test_large_bodies_at_once(row: Row, place: Place) -> None:
    with row.client("h2c") as http2:
        assert isinstance(http2, Http2Client)
        path = place.peer.large.format(size=MIB)
        streams = [http2.open("GET", path, authority=place.host, keeps_body=False) for _ in range(10)]
        digests = {http2.response(stream).sha256 for stream in streams}
    assert digests == {pattern.sha256(MIB)}


def test_the_connection_is_kept_from_request_to_request(row: Row, place: Place) -> None:
    seen = set()
    for _ in range(3):
        for kind in KINDS:
            with row.client(kind) as client:
                for _ in range(3):
                    assert ask(client, place, "GET", place.peer.small).status == 200
                    seen.add(frozenset(connections_to(place.port)))
    (connections,) = seen
    assert connections
