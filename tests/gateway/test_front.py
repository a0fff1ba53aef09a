"""What connections may ask for: hosts that their certificate is for, protocols that are served."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator
from subprocess import PIPE, STDOUT, Popen

import pytest

from tests.support.certificates import Authority, Site
from tests.support.gate import Gate
from tests.support.http1_client import Http1Client, connect
from tests.support.http2_client import Http2Client
from tests.support.messages import Response
from tests.support.node_backend import NodeBackend


@pytest.fixture(scope="module")
def node(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeBackend]:
    with NodeBackend(tmp_path_factory.mktemp("node")) as node:
        yield node


@pytest.fixture(scope="module")
def gate(
    tmp_path_factory: pytest.TempPathFactory, node: NodeBackend, authority: Authority, localhost: Site
) -> Iterator[Gate]:
    sites = [localhost, authority.site("a.test", "*.wild.test")]
    with Gate(tmp_path_factory.mktemp("gate"), node.url, sites=sites) as gate:
        yield gate


# 421


def asked(gate: Gate, authority: Authority, kind: str, server_name: str | None, host: str) -> Response:
    context = authority.client_context("h2" if kind == "h2" else "http/1.1")
    context.check_hostname = False
    client: Http1Client | Http2Client
    if kind == "h2":
        with Http2Client(gate.tls_port, context, server_name=server_name) as client:  # type: ignore[arg-type]
            return client.request("GET", "/hello", authority=host)
    with Http1Client(gate.tls_port, context, server_name=server_name) as client:  # type: ignore[arg-type]
        return client.request("GET", "/hello", host=host)


@pytest.mark.parametrize("kind", ["http1", "h2"])
@pytest.mark.parametrize(
    ("server_name", "host", "status"),
    [
        ("a.test", "a.test", 200),
        ("a.test", "A.test:8443", 200),
        ("a.test", "x.wild.test", 200),
        ("x.wild.test", "a.test", 200),
        ("localhost", "gate.test", 200),
        ("unknown.test", "unknown.test", 200),
        ("a.test", "localhost", 421),
        ("localhost", "a.test", 421),
        ("a.test", "x.y.wild.test", 421),
        ("unknown.test", "a.test", 421),
        (None, "localhost", 200),
        (None, "127.0.0.1:8443", 200),
        (None, "192.0.2.1", 200),
        (None, "a.test", 421),
    ],
)
def test_a_request_for_a_host_that_the_certificate_is_not_for_is_421(
    gate: Gate, authority: Authority, kind: str, server_name: str | None, host: str, status: int
) -> None:
    response = asked(gate, authority, kind, server_name, host)
    assert (response.status, response.is_complete) == (status, True)


def test_a_misdirected_request_costs_itself_only_and_says_why(gate: Gate, authority: Authority) -> None:
    with Http2Client(gate.tls_port, authority.client_context("h2"), server_name="a.test") as client:
        other = client.open("GET", "/delay/50", authority="a.test")
        assert client.request("GET", "/misdirected", authority="b.test").status == 421
        assert client.response(other).status == 200
        assert client.request("GET", "/hello", authority="a.test").status == 200
    line = gate.wait_for_line("it", lambda line: "misdirected" in str(line["target"]))
    assert (line["status"], line["reason"]) == (421, "misdirected")
    with Http1Client(gate.tls_port, authority.client_context("http/1.1"), server_name="a.test") as http1:
        assert http1.request("GET", "/hello", host="b.test").status == 421
        assert http1.request("GET", "/hello", host="a.test").status == 200


@pytest.mark.parametrize("kind", ["http1", "h2c"])
def test_in_clear_every_host_is_served(gate: Gate, kind: str) -> None:
    if kind == "http1":
        with gate.http1() as client:
            assert client.request("GET", "/hello", host="any.test").status == 200
    else:
        with gate.http2() as client:
            assert client.request("GET", "/hello", authority="any.test").status == 200


# What is not served


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=lambda version: version.name)
@pytest.mark.parametrize("offered", [["acme-tls/1"], ["h3", "http/1.0"], ["ftp"]])
def test_a_client_that_offers_only_other_protocols_is_refused(
    gate: Gate, authority: Authority, offered: list[str], version: ssl.TLSVersion
) -> None:
    """RFC 7301, 3.2."""
    context = authority.client_context(*offered)
    context.minimum_version = context.maximum_version = version
    with connect(gate.tls_port) as sock:
        name = f"client 127.0.0.1:{sock.getsockname()[1]}: no TLS: "
        with pytest.raises(ssl.SSLError) as caught:
            context.wrap_socket(sock, server_hostname="localhost")
        # Python has no name for it: OpenSSL's words, or its number.
        assert "no application protocol" in str(caught.value) or "1120" in str(caught.value)
        assert gate.wait_for_error(name).endswith(
            "TLS: none of the protocols that it offers by ALPN is served, or its server name is not ASCII"
        )
    # One that also offers what is served gets that.
    with connect(gate.tls_port, authority.client_context(*offered, "http/1.1")) as secured:
        assert isinstance(secured, ssl.SSLSocket)
        assert secured.selected_alpn_protocol() == "http/1.1"


@pytest.mark.parametrize(("size", "status"), [(100, 200), (5, 0)])
def test_a_hello_in_more_pieces_than_anybody_sends_is_refused(
    gate: Gate, authority: Authority, size: int, status: int
) -> None:
    """It could hide what is offered, as its records are not authenticated."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = authority.client_context("http/1.1").wrap_bio(incoming, outgoing, server_hostname="localhost")
    found = 0
    with connect(gate.tls_port) as sock, contextlib.suppress(ssl.SSLError, ConnectionResetError):
        with contextlib.suppress(ssl.SSLWantReadError):
            client.do_handshake()
        hello = outgoing.read()
        pieces = [hello[start : start + size] for start in range(5, len(hello), size)]
        sock.sendall(b"".join(hello[:3] + len(piece).to_bytes(2) + piece for piece in pieces))
        shake(client, sock, incoming, outgoing)
        client.write(b"GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n")
        sock.sendall(outgoing.read())
        while not found:
            incoming.write(received(sock))
            with contextlib.suppress(ssl.SSLWantReadError):
                found = int(client.read(1000).split()[1])
    assert found == status


def received(sock: socket.socket) -> bytes:
    data = sock.recv(65_536)
    if not data:
        raise ConnectionResetError
    return data


def shake(client: ssl.SSLObject, sock: socket.socket, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> None:
    while True:
        try:
            client.do_handshake()
        except ssl.SSLWantReadError:
            sock.sendall(outgoing.read())
            incoming.write(received(sock))
        else:
            sock.sendall(outgoing.read())
            return


def test_a_server_name_that_is_not_ascii_is_refused_and_one_line_in_the_log(gate: Gate, authority: Authority) -> None:
    """`ssl` would write a traceback for each."""
    outgoing = ssl.MemoryBIO()
    client = authority.client_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="xxxx.test")
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    with connect(gate.tls_port) as sock:
        sock.sendall(outgoing.read().replace(b"xxxx", b"\xff\xfe\xc3\xbc"))
        assert sock.recv(100)[:1] == b"\x15"
        gate.wait_for_error(f"client 127.0.0.1:{sock.getsockname()[1]}: no TLS: ")
    gate.assert_no_internal_error()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1], ids=lambda version: version.name)
def test_old_versions_of_tls_are_refused(gate: Gate, authority: Authority, version: ssl.TLSVersion) -> None:
    context = authority.client_context()
    # What OpenSSL's own level would refuse before the gate sees it.
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="deprecated"):
        context.minimum_version = context.maximum_version = version
    with connect(gate.tls_port) as sock, pytest.raises(ssl.SSLError) as caught:
        context.wrap_socket(sock, server_hostname="localhost")
    assert caught.value.reason == "TLSV1_ALERT_PROTOCOL_VERSION"


def test_http_on_the_tls_port_is_told_so_in_clear(gate: Gate) -> None:
    with Http1Client(gate.tls_port) as client:
        client.send_head("GET", "/hello")
        response = client.read_response()
        assert (response.status, response.is_complete) == (400, True)
        assert b"TLS" in response.body
        assert client.is_closed_by_peer()
        gate.wait_for_error(": no TLS: TLS: http request")


def test_http2_in_clear_on_the_tls_port_is_closed(gate: Gate) -> None:
    with connect(gate.tls_port) as sock:
        sock.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            while sock.recv(1000):
                pass


@pytest.mark.parametrize("kind", ["http1", "https"])
def test_an_upgrade_to_h2c_is_ignored(gate: Gate, authority: Authority, kind: str) -> None:
    """RFC 9113, 3.1: it is gone."""
    context = authority.client_context("http/1.1") if kind == "https" else None
    with Http1Client(gate.tls_port if context else gate.port, context) as client:
        fields = [
            ("Connection", "Upgrade, HTTP2-Settings"),
            ("Upgrade", "h2c"),
            ("HTTP2-Settings", "AAMAAABkAAQCAAAAAAIAAAAA"),
        ]
        for path, body in (("/request", None), ("/request", b"x")):
            response = client.request("GET" if body is None else "POST", path, fields, body)
            assert (response.status, response.interim) == (200, [])
            assert response.get("upgrade") is None
            sent = response.json()["headers"]
            assert not {"upgrade", "connection", "http2-settings"} & set(sent)


def test_the_client_cannot_renegotiate(gate: Gate, authority: Authority) -> None:
    """CVE-2011-1473: by openssl, as Python's ssl does not know how to ask."""
    argv = ["openssl", "s_client", "-connect", f"127.0.0.1:{gate.tls_port}", "-tls1_2", "-servername", "localhost"]
    with Popen([*argv, "-CAfile", str(authority.cert)], stdin=PIPE, stdout=PIPE, stderr=STDOUT) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        client.stdin.write(b"R\n")
        client.stdin.flush()
        output = client.stdout.read().decode()
    assert "RENEGOTIATING" in output
    assert "no renegotiation" in output.lower() or "handshake failure" in output.lower()
