"""Clients that show a certificate (mTLS): who may come in, and what the backend is told of them."""

from __future__ import annotations

import datetime
import hashlib
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support.certificates import Authority, Site
from tests.support.gate import Gate
from tests.support.http1_client import Http1Client, connect
from tests.support.http2_client import Http2Client
from tests.support.node_backend import NodeBackend

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
NAMES = ("client.test", "URI:spiffe://a.test/client", "DNS:other.test")


@pytest.fixture(scope="module")
def node(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeBackend]:
    with NodeBackend(tmp_path_factory.mktemp("node")) as node:
        yield node


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The authority of clients, another one than that of the gate's own certificates."""
    return Authority(tmp_path_factory.mktemp("clients"))


def strict_gate(directory: Path, node: NodeBackend, sites: list[Site], clients: Authority, client_auth: str) -> Gate:
    gate = Gate(directory, node.url, sites=sites)
    gate.config["listeners"][1]["tls"] |= {"client_ca": str(clients.cert), "client_auth": client_auth}
    gate.write_config(gate.config)
    return gate


@pytest.fixture(scope="module")
def strict(
    tmp_path_factory: pytest.TempPathFactory,
    node: NodeBackend,
    authority: Authority,
    localhost: Site,
    clients: Authority,
) -> Iterator[Gate]:
    sites = [localhost, authority.site("second.test")]
    with strict_gate(tmp_path_factory.mktemp("strict"), node, sites, clients, "require") as gate:
        yield gate


@pytest.fixture(scope="module")
def lenient(
    tmp_path_factory: pytest.TempPathFactory, node: NodeBackend, localhost: Site, clients: Authority
) -> Iterator[Gate]:
    with strict_gate(tmp_path_factory.mktemp("lenient"), node, [localhost], clients, "optional") as gate:
        yield gate


def context_of(
    authority: Authority, alpn: str, site: Site | None, version: ssl.TLSVersion | None = None
) -> ssl.SSLContext:
    context = authority.client_context(alpn)
    if site is not None:
        context.load_cert_chain(site.cert, site.key)
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context


def told_of(client: Http1Client | Http2Client, *fields: tuple[str, str]) -> str | None:
    headers = client.request("GET", "/request", list(fields)).json()["headers"]
    value = headers.get("x-forwarded-client-cert")
    assert value is None or isinstance(value, str)
    return value


def identity(site: Site) -> str:
    der = ssl.PEM_cert_to_DER_cert(site.cert.read_text())
    return (
        f'Hash={hashlib.sha256(der).hexdigest()};Subject="CN=client.test"'
        ";URI=spiffe://a.test/client;DNS=client.test;DNS=other.test"
    )


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
@pytest.mark.parametrize("alpn", ["http/1.1", "h2"])
@pytest.mark.parametrize("server_name", ["localhost", "second.test"])
def test_the_backend_is_told_the_verified_identity(
    strict: Gate, authority: Authority, clients: Authority, alpn: str, version: ssl.TLSVersion, server_name: str
) -> None:
    site = clients.site(*NAMES)
    context = context_of(authority, alpn, site, version)
    make = Http2Client if alpn == "h2" else Http1Client
    client: Http1Client | Http2Client
    with make(strict.tls_port, context, server_name=server_name) as client:
        host = {"authority" if alpn == "h2" else "host": server_name}
        for _ in range(2):
            response = client.request("GET", "/request", [("x-forwarded-client-cert", "Hash=forged")], **host)
            assert response.json()["headers"]["x-forwarded-client-cert"] == identity(site)


def test_a_resumed_session_keeps_its_identity(strict: Gate, authority: Authority, clients: Authority) -> None:
    site = clients.site(*NAMES)
    context = context_of(authority, "http/1.1", site)
    request = b"GET /request HTTP/1.1\r\nHost: localhost\r\n\r\n"
    session = None
    for number in range(3):
        with (
            connect(strict.tls_port) as sock,
            context.wrap_socket(sock, server_hostname="localhost", session=session) as secured,
        ):
            secured.sendall(request)
            received = b""
            while b"}" not in received:
                received += secured.recv(65_536)
            # In JSON a quote has a backslash before it.
            assert identity(site).replace('"', '\\"').encode() in received
            assert secured.session_reused == (number > 0)
            session = secured.session


def ask(context: ssl.SSLContext, sock: socket.socket) -> None:
    with context.wrap_socket(sock, server_hostname="localhost") as secured:
        secured.sendall(b"GET /hello HTTP/1.1\r\nHost: localhost\r\nX-Id: refused\r\n\r\n")
        secured.recv(1000)


def refusal(gate: Gate, context: ssl.SSLContext) -> str:
    """Return the alert that a client gets; in TLS 1.3 its own handshake is over before it comes."""
    with connect(gate.tls_port) as sock:
        name = f"client 127.0.0.1:{sock.getsockname()[1]}: no TLS: "
        with pytest.raises(ssl.SSLError) as caught:
            ask(context, sock)
    line = gate.wait_for_error(name)
    assert gate.error_log.count(name) == 1
    return f"{caught.value.reason}: {line.partition(name)[2]}"


def expired(clients: Authority, directory: Path) -> Site:
    signer = serialization.load_pem_private_key(clients.key.read_bytes(), None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    issuer = x509.load_pem_x509_certificate(clients.cert.read_bytes()).subject
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "old")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=9))
        .not_valid_after(now - datetime.timedelta(days=1))
        .sign(signer, hashes.SHA256())
    )
    site = Site(directory / "old.crt", directory / "old.key")
    site.cert.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    site.key.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return site


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
@pytest.mark.parametrize(
    ("kind", "alert", "said"),
    [
        ("unknown", "TLSV1_ALERT_UNKNOWN_CA", "self-signed certificate in certificate chain"),
        ("expired", "SSLV3_ALERT_CERTIFICATE_EXPIRED", "certificate has expired"),
        ("none", "", "peer did not return a certificate"),
    ],
)
def test_others_are_refused_with_an_alert_and_a_line(
    strict: Gate,
    node: NodeBackend,
    authority: Authority,
    clients: Authority,
    tmp_path: Path,
    version: ssl.TLSVersion,
    kind: str,
    alert: str,
    said: str,
) -> None:
    site = {
        # Of the authority that vouches for the gate, not for clients.
        "unknown": lambda: authority.site(*NAMES),
        "expired": lambda: expired(clients, tmp_path),
        "none": lambda: None,
    }[kind]()
    found = refusal(strict, context_of(authority, "http/1.1", site, version))
    if not alert:
        # RFC 8446, 6.2; TLS 1.2 has no alert of its own for it.
        is_new = version is ssl.TLSVersion.TLSv1_3
        alert = "TLSV13_ALERT_CERTIFICATE_REQUIRED" if is_new else "SSLV3_ALERT_HANDSHAKE_FAILURE"
    assert found.startswith(f"{alert}: TLS: {said}")
    assert node.runs("refused") == []


def test_where_it_is_optional_a_client_without_one_is_served_and_nothing_is_told(
    lenient: Gate, authority: Authority, clients: Authority
) -> None:
    with Http2Client(lenient.tls_port, context_of(authority, "h2", None)) as client:
        assert told_of(client, ("x-forwarded-client-cert", "Hash=forged")) is None
    site = clients.site(*NAMES)
    with Http2Client(lenient.tls_port, context_of(authority, "h2", site)) as client:
        assert told_of(client) == identity(site)
    found = refusal(lenient, context_of(authority, "http/1.1", authority.site(*NAMES)))
    assert "self-signed certificate in certificate chain" in found


def test_in_clear_nothing_is_told(strict: Gate) -> None:
    with strict.http2() as client:
        assert told_of(client, ("x-forwarded-client-cert", "Hash=forged")) is None
