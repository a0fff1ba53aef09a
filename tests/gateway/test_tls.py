"""TLS at both ends: certificates by SNI, protocols by ALPN, backends verified."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.certificates import Authority, Site
from tests.support.gate import Gate
from tests.support.house import Client
from tests.support.http1_client import Http1Client, connect
from tests.support.http2_client import Http2Client
from tests.support.node_backend import NodeBackend
from tests.support.scripted_backend import Connection, ScriptedBackend
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def node(engine: str, tmp_path_factory: pytest.TempPathFactory, localhost: Site) -> Iterator[NodeBackend]:
    with NodeBackend(tmp_path_factory.mktemp("node"), site=localhost) as node:
        yield node


@pytest.fixture(scope="module")
def gate(
    tmp_path_factory: pytest.TempPathFactory, node: NodeBackend, authority: Authority, localhost: Site
) -> Iterator[Gate]:
    sites = [localhost, authority.site("a.test", "www.a.test"), authority.site("*.wild.test")]
    with Gate(tmp_path_factory.mktemp("gate"), node.url, sites=sites) as gate:
        yield gate


# Clients


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("a.test", "a.test"),
        ("www.a.test", "a.test"),
        ("A.TEST", "a.test"),
        ("x.wild.test", "*.wild.test"),
        ("localhost", "localhost"),
        ("unknown.test", "localhost"),
        (None, "localhost"),
    ],
)
def test_the_certificate_is_chosen_by_the_servers_name(
    gate: Gate, authority: Authority, asked: str | None, expected: str
) -> None:
    context = authority.client_context()
    context.check_hostname = False
    with connect(gate.tls_port) as sock, context.wrap_socket(sock, server_hostname=asked) as secured:
        certificate = secured.getpeercert()
        assert certificate is not None
        assert certificate["subject"][0][0] == ("commonName", expected)


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [(("h2", "http/1.1"), "h2"), (("http/1.1", "h2"), "h2"), (("http/1.1",), "http/1.1"), (("h2",), "h2"), ((), None)],
)
def test_alpn_prefers_http2(gate: Gate, authority: Authority, offered: tuple[str, ...], chosen: str | None) -> None:
    context = authority.client_context(*offered)
    with connect(gate.tls_port, context) as secured:
        assert isinstance(secured, ssl.SSLSocket)
        assert secured.selected_alpn_protocol() == chosen
    client: Client
    with (Http2Client if chosen == "h2" else Http1Client)(gate.tls_port, context) as client:
        assert client.request("GET", "/hello").body == b"hello\n"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_tls_versions_are_served(gate: Gate, authority: Authority, version: ssl.TLSVersion) -> None:
    context = authority.client_context("h2")
    context.minimum_version = context.maximum_version = version
    with Http2Client(gate.tls_port, context) as client:
        assert client.request("GET", "/hello").status == 200


def test_tls_requests_say_so_to_the_backend(gate: Gate, authority: Authority) -> None:
    with Http2Client(gate.tls_port, authority.client_context("h2")) as client:
        headers = client.request("GET", "/request").json()["headers"]
        assert (headers["x-forwarded-proto"], headers["x-forwarded-port"]) == ("https", str(gate.tls_port))
        # The backend is asked in clear: that is the scheme of this hop.
        assert headers[":scheme"] == "http"


def test_a_session_is_resumed(gate: Gate, authority: Authority) -> None:
    context = authority.client_context("http/1.1")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with connect(gate.tls_port, context) as first:
        assert isinstance(first, ssl.SSLSocket)
        session = first.session
    with (
        connect(gate.tls_port) as sock,
        context.wrap_socket(sock, server_hostname="localhost", session=session) as second,
    ):
        assert second.session_reused


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=lambda version: version.name)
@pytest.mark.parametrize("name", ["localhost", "a.test"])
def test_a_session_is_resumed_by_every_worker(
    tmp_path: Path, node: NodeBackend, authority: Authority, localhost: Site, version: ssl.TLSVersion, name: str
) -> None:
    sites = [localhost, authority.site("a.test")]
    context = authority.client_context("http/1.1")
    context.minimum_version = context.maximum_version = version
    request = f"GET /hello HTTP/1.1\r\nHost: {name}\r\n\r\n".encode()
    with Gate(tmp_path, node.url, sites=sites, workers=2) as gate:
        session = None
        before = {worker: open_sockets(worker) for worker in gate.workers()}
        with ExitStack() as stack:
            # All of them stay, so that the workers share them; one that has just begun may leave many to the other.
            for number in range(200):
                sock = stack.enter_context(connect(gate.tls_port))
                secured = stack.enter_context(context.wrap_socket(sock, server_hostname=name, session=session))
                secured.sendall(request)
                assert secured.recv(1000).startswith(b"HTTP/1.1 200")
                assert secured.session_reused == (number > 0)
                session = secured.session
                # Of the backend there is one in each, or two.
                grown = [open_sockets(worker) - count for worker, count in before.items()]
                if min(grown) > 4:
                    break
            assert min(grown) > 4, grown


def open_sockets(pid: int) -> int:
    count = 0
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        # One may be closed while the others are looked at.
        with contextlib.suppress(FileNotFoundError):
            count += os.readlink(entry).startswith("socket:")
    return count


def served_certificate(port: int, name: str = "localhost") -> bytes:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with connect(port) as sock, context.wrap_socket(sock, server_hostname=name) as secured:
        certificate = secured.getpeercert(binary_form=True)
        assert certificate is not None
        return certificate


def der(site: Site) -> bytes:
    return ssl.PEM_cert_to_DER_cert(site.cert.read_text())


def test_a_reload_reads_the_certificates_again(
    tmp_path: Path, node: NodeBackend, authority: Authority, localhost: Site
) -> None:
    first, second = authority.site("localhost", "DNS:first.test"), authority.site("localhost", "DNS:second.test")
    site = Site(tmp_path / "site.crt", tmp_path / "site.key")

    def write(source: Site) -> None:
        site.cert.write_bytes(source.cert.read_bytes())
        site.key.write_bytes(source.key.read_bytes())

    write(first)
    with Gate(tmp_path, node.url, sites=[site]) as gate:
        assert served_certificate(gate.tls_port) == der(first)
        with Http1Client(gate.tls_port, authority.client_context("http/1.1")) as old:
            assert old.request("GET", "/hello", host="localhost").status == 200
            # Under way while the new generation takes its place.
            old.send_head("POST", "/upload", [("Content-Length", "5")], host="localhost")
            write(second)
            gate.reload()
            wait_until("new connections get the new one", lambda: served_certificate(gate.tls_port) == der(second))
            old.send(b"12345")
            assert old.read_response("POST").json()["bytes"] == 5
        for broken in (b"no certificate\n", b""):
            site.cert.write_bytes(broken)
            generations = gate.error_log.count("site.crt")
            gate.reload()
            wait_until("it says so", lambda before=generations: gate.error_log.count("site.crt") > before)
            assert served_certificate(gate.tls_port) == der(second)
        # A key that is not the certificate's.
        site.cert.write_bytes(first.cert.read_bytes())
        gate.reload()
        gate.wait_for_error("it is not the key of")
        assert served_certificate(gate.tls_port) == der(second)
        write(first)
        gate.reload()
        wait_until("the next good one is taken", lambda: served_certificate(gate.tls_port) == der(first))


# Backends


def respond(connection: Connection) -> None:
    connection.begin()
    while True:
        stream, _, _ = connection.next_request()
        connection.respond(stream)


def status_and_reason(tmp_path: Path, backend_url: str, tls: dict[str, object]) -> tuple[int, str | None, str | None]:
    backends = {"app": {"endpoints": [backend_url], "tls": tls}}
    with Gate(tmp_path, "app", sections={"backends": backends}) as gate, gate.http1() as client:
        status = client.request("POST", "/", body=b"x").status
        line = gate.wait_for_line("the request", lambda line: line["method"] == "POST")
        return status, line["reason"], line["detail"]


@pytest.mark.parametrize(
    ("alpn", "detail"), [(["http/1.1"], "h2"), ([], "h2")], ids=["offers_http1_only", "knows_no_alpn"]
)
def test_a_backend_that_does_not_choose_h2_is_502(
    tmp_path: Path, authority: Authority, localhost: Site, alpn: list[str], detail: str
) -> None:
    with ScriptedBackend(respond, authority.server_context(localhost, *alpn)) as backend:
        status, reason, text = status_and_reason(tmp_path, backend.url, {"ca": str(authority.cert)})
    assert (status, reason) == (502, "alpn_http1")
    assert text is not None
    assert detail in text


def test_a_certificate_for_another_name_is_502(tmp_path: Path, authority: Authority) -> None:
    context = authority.server_context(authority.site("other.test"), "h2")
    with ScriptedBackend(respond, context) as backend:
        status, reason, text = status_and_reason(tmp_path, backend.url, {"ca": str(authority.cert)})
    assert (status, reason) == (502, "tls_verify")
    assert text is not None
    assert "hostname mismatch" in text.lower()


def test_server_name_is_what_is_verified_and_asked_for(tmp_path: Path, authority: Authority) -> None:
    asked: list[str | None] = []
    context = authority.server_context(authority.site("other.test"), "h2")
    context.sni_callback = lambda _, name, __: asked.append(name)
    with ScriptedBackend(respond, context) as backend:
        tls: dict[str, object] = {"ca": str(authority.cert), "server_name": "other.test"}
        assert status_and_reason(tmp_path, backend.url, tls)[0] == 200
    assert asked == ["other.test"]


def test_a_certificate_of_an_unknown_authority_is_502_unless_verification_is_off(
    tmp_path: Path, authority: Authority, localhost: Site
) -> None:
    with ScriptedBackend(respond, authority.server_context(localhost, "h2")) as backend:
        assert status_and_reason(tmp_path, backend.url, {})[:2] == (502, "tls_verify")
        assert status_and_reason(tmp_path, backend.url, {"verify": False})[0] == 200


def test_a_backend_without_tls_is_502(tmp_path: Path, authority: Authority) -> None:
    def script(connection: Connection) -> None:
        connection.send_bytes(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        connection.wait_for_end()

    with ScriptedBackend(script) as backend:
        url = f"h2://localhost:{backend.port}"
        assert status_and_reason(tmp_path, url, {"ca": str(authority.cert)})[:2] == (502, "tls_failed")


def test_a_backend_silent_in_the_handshake_is_504(tmp_path: Path, authority: Authority) -> None:
    with ScriptedBackend(Connection.wait_for_end) as backend:
        pool = {"connect_timeout": "1s"}
        backends = {"app": {"endpoints": [f"h2://localhost:{backend.port}"], "pool": pool}}
        with Gate(tmp_path, "app", sections={"backends": backends}) as gate, gate.http1() as client:
            assert client.request("GET", "/").status == 504
            assert gate.wait_for_line("it", lambda line: line["status"] == 504)["reason"] == "connect_timeout"


def test_clear_text_on_the_tls_port_disturbs_nobody(gate: Gate, authority: Authority) -> None:
    with Http2Client(gate.tls_port, authority.client_context("h2")) as client:
        stream = client.open("GET", "/delay/300")
        with socket.create_connection(("127.0.0.1", gate.tls_port), timeout=10) as other:
            other.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            while other.recv(1000):
                pass
        assert client.response(stream).status == 200
