"""Connections of proxies that say first for whom they speak (PROXY protocol)."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.certificates import Authority, Site
from tests.support.gate import Gate
from tests.support.http1_client import Http1Client, connect
from tests.support.http2_client import Http2Client
from tests.support.node_backend import NodeBackend

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
V1 = b"PROXY TCP4 192.0.2.7 198.51.100.1 50312 8443\r\n"
V1_SIX = b"PROXY TCP6 2001:db8::7 2001:db8::1 50312 8443\r\n"
V2 = (
    SIGNATURE
    + b"\x21\x11"
    + struct.pack("!H", 12 + 5)
    + socket.inet_aton("192.0.2.7")
    + socket.inet_aton("198.51.100.1")
    + struct.pack("!HH", 50312, 8443)
    + b"\x04\x00\x02??"
)
LOCAL = SIGNATURE + b"\x20\x00\x00\x00"
UNKNOWN = b"PROXY UNKNOWN\r\n"
UNSPEC = SIGNATURE + b"\x21\x00\x00\x00"
UNIX = SIGNATURE + b"\x21\x31\x00\xd8" + bytes(216)


@pytest.fixture(scope="module")
def node(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeBackend]:
    with NodeBackend(tmp_path_factory.mktemp("node")) as node:
        yield node


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory, node: NodeBackend, localhost: Site) -> Iterator[Gate]:
    """A gate whose proxies are this machine and 192.0.2.8, and that knows them within a second."""
    directory = tmp_path_factory.mktemp("gate")
    listener = {"proxy_protocol": "any", "trusted_proxies": ["127.0.0.1", "192.0.2.8"]}
    sections = {"timeouts": {"request_head": "1s", "tls_handshake": "1s"}}
    unix = directory / "gate.sock"
    with Gate(directory, node.url, sites=[localhost], unix=unix, listener=listener, sections=sections) as gate:
        yield gate


def forwarded(client: Http1Client | Http2Client, *fields: tuple[str, str]) -> dict[str, Any]:
    headers = client.request("GET", "/request", list(fields)).json()["headers"]
    return {name.removeprefix("x-forwarded-"): value for name, value in headers.items() if "x-forwarded" in name}


@pytest.mark.parametrize("header", [V1, V2], ids=["v1", "v2"])
@pytest.mark.parametrize("kind", ["http1", "h2c", "h2", "https"])
def test_the_client_is_whom_the_header_tells(gate: Gate, authority: Authority, kind: str, header: bytes) -> None:
    is_tls = kind in ("h2", "https")
    context = authority.client_context("h2" if kind == "h2" else "http/1.1") if is_tls else None
    make = Http1Client if kind in ("http1", "https") else Http2Client
    client: Http1Client | Http2Client
    with make(gate.tls_port if is_tls else gate.port, context, before=header) as client:
        found = forwarded(client, ("x-forwarded-for", "203.0.113.9"), ("x-id", kind))
        # The proxy is believed, its client's own X-Forwarded-For is not.
        assert found["for"] == "192.0.2.7"
        assert found["port"] == "8443"
        assert found["proto"] == ("https" if is_tls else "http")
        # Every request of the connection is of this client.
        assert forwarded(client)["for"] == "192.0.2.7"
    gate.wait_for_line("its client", lambda line: (line["client"], line["client_port"]) == ("192.0.2.7", 50312))


def test_ipv6_clients_are_told_too(gate: Gate) -> None:
    with gate.http1(before=V1_SIX) as client:
        assert forwarded(client)["for"] == "2001:db8::7"


def test_a_proxy_that_speaks_for_itself_is_the_client(gate: Gate) -> None:
    with gate.http1(before=LOCAL) as client:
        found = forwarded(client, ("x-forwarded-for", "203.0.113.9"))
        # It is trusted, so that what it forwards counts.
        assert (found["for"], found["port"]) == ("203.0.113.9, 127.0.0.1", str(gate.port))


@pytest.mark.parametrize("header", [UNKNOWN, UNSPEC, UNIX], ids=["unknown", "unspec", "unix"])
def test_a_client_that_the_proxy_does_not_know_is_not_believed(gate: Gate, header: bytes) -> None:
    """What it says need not be the proxy's words."""
    with gate.http1(before=header) as client:
        found = forwarded(client, ("x-forwarded-for", "203.0.113.9"))
        assert (found["for"], found["port"]) == ("127.0.0.1", str(gate.port))


def test_a_client_without_a_port_has_an_address_all_the_same(gate: Gate) -> None:
    """HAProxy's `http-request set-src` tells port 0."""
    with gate.http1(before=V1.replace(b" 50312 ", b" 0 ")) as client:
        assert forwarded(client, ("x-forwarded-for", "203.0.113.9"))["for"] == "192.0.2.7"


def test_a_told_client_that_is_a_trusted_proxy_is_believed(gate: Gate) -> None:
    header = V1.replace(b"192.0.2.7", b"192.0.2.8")
    with gate.http1(before=header) as client:
        assert forwarded(client, ("x-forwarded-for", "203.0.113.9"))["for"] == "203.0.113.9, 192.0.2.8"


def test_whoever_may_write_to_the_socket_file_is_believed(gate: Gate) -> None:
    assert gate.unix is not None
    with Http1Client(gate.unix, before=V1) as client:
        assert forwarded(client)["for"] == "192.0.2.7"


def test_the_header_may_come_in_pieces_and_together_with_what_follows(gate: Gate, authority: Authority) -> None:
    request = b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n"
    with gate.http1() as client:
        for octet in V2 + request:
            client.send(bytes((octet,)))
        assert client.read_response().status == 200
    with gate.http1() as client:
        client.send(V1 + request)
        assert client.read_response().status == 200


@pytest.mark.parametrize(
    "data",
    [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"PROXY TCP4 192.0.2.7\r\n", SIGNATURE + b"\x21\x11\xff\xff", b""],
    ids=["none", "malformed", "too_long", "nothing"],
)
@pytest.mark.parametrize("is_tls", [False, True], ids=["clear", "tls"])
def test_without_a_good_header_the_connection_is_closed_in_time(gate: Gate, is_tls: bool, data: bytes) -> None:
    with gate.http1(before=V1) as bystander, connect(gate.tls_port if is_tls else gate.port) as sock:
        assert bystander.request("GET", "/hello").status == 200
        sock.sendall(data)
        name = f"client 127.0.0.1:{sock.getsockname()[1]}: closed:"
        with contextlib.suppress(ConnectionResetError):
            assert sock.recv(1000) == b""
        assert bystander.request("GET", "/hello").status == 200
        if data:
            gate.wait_for_error(name)


def test_a_told_client_whose_handshake_never_comes_is_closed_in_time(gate: Gate) -> None:
    with connect(gate.tls_port) as sock:
        sock.sendall(V1 + b"\x16\x03")
        with contextlib.suppress(ConnectionResetError):
            assert sock.recv(1000) == b""


def test_others_than_trusted_proxies_may_not_connect(tmp_path: Path, node: NodeBackend) -> None:
    listener = {"proxy_protocol": "v1", "trusted_proxies": ["127.0.0.2"]}
    with Gate(tmp_path, node.url, listener=listener) as gate:
        with connect(gate.port) as sock:
            with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                sock.sendall(V1 + b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n")
                assert sock.recv(1000) == b""
            gate.wait_for_error(f"client 127.0.0.1:{sock.getsockname()[1]}: closed: not in trusted_proxies")
        with connect(gate.port, source="127.0.0.2", before=V1) as sock:
            sock.sendall(b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n")
            assert sock.recv(1000).startswith(b"HTTP/1.1 200")
        with connect(gate.port, source="127.0.0.2", before=V2) as sock, contextlib.suppress(ConnectionResetError):
            assert sock.recv(1000) == b"", "only v1 is allowed here"


def test_a_header_where_none_is_expected_is_a_bad_request(tmp_path: Path, node: NodeBackend) -> None:
    with Gate(tmp_path, node.url) as gate, gate.http1(before=V1) as client:
        client.send(b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.read_response().status == 400
