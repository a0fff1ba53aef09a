"""TLS to backends: what is spoken, and for each way in which it fails its own words in the access log."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.certificates import Authority, Site
from tests.support.gate import Gate
from tests.support.node_backend import NodeBackend
from tests.support.odd_certificates import issue, revocations, self_signed
from tests.support.ports import HeldPort
from tests.support.scripted_backend import Connection, Script, ScriptedBackend

# A ServerHello of TLS 1.1: a server that knows nothing newer does not read `supported_versions`.
TLS_1_1_HELLO = bytes.fromhex("160302002a 02000026 0302") + bytes(32) + bytes.fromhex("00 c013 00")


def answers(connection: Connection) -> None:
    connection.begin()
    while True:
        stream, _, _ = connection.next_request()
        connection.respond(stream)


def says(data: bytes) -> Script:
    def script(connection: Connection) -> None:
        connection.send_bytes(data)
        connection.wait_for_end()

    return script


def is_silent(connection: Connection) -> None:
    connection.wait_for_end()


def closes(connection: Connection) -> None:
    connection.read(5)
    connection.socket.shutdown(socket.SHUT_WR)
    connection.wait_for_end()


def resets(connection: Connection) -> None:
    connection.read(5)
    connection.abort()


@dataclass
class Case:
    """A backend that cannot be spoken with, and what the log says of it."""

    reason: str
    detail: str
    status: int = 502
    script: Script = answers
    # Its TLS; None: what the script does is no TLS.
    server: ssl.SSLContext | None = None
    host: str = "localhost"
    tls: dict[str, Any] = field(default_factory=dict)


def cases(directory: Path, authority: Authority, localhost: Site) -> dict[str, Case]:
    (directory / "other").mkdir()
    other = Authority(directory / "other")
    ca = {"ca": str(authority.cert)}

    def server(site: Site = localhost, **attributes: Any) -> ssl.SSLContext:
        context = authority.server_context(site, "h2")
        for name, value in attributes.items():
            setattr(context, name, value)
        return context

    def asking(**attributes: Any) -> ssl.SSLContext:
        context = server(verify_mode=ssl.CERT_REQUIRED, **attributes)
        context.load_verify_locations(authority.cert)
        return context

    def verify(detail: str, site: Site, host: str = "localhost", **tls: Any) -> Case:
        return Case("tls_verify", detail, server=server(site), host=host, tls={**ca, **tls})

    def fails(detail: str, context: ssl.SSLContext, **tls: Any) -> Case:
        return Case("tls_failed", detail, server=context, tls={**ca, **tls})

    def no_tls(detail: str, script: Script) -> Case:
        return Case("tls_failed", detail, script=script, tls=ca)

    expired = issue(authority, localhost, directory / "expired.crt", starts=-9, ends=-1)
    future = issue(authority, localhost, directory / "future.crt", starts=9, ends=99)
    alone = self_signed(localhost, directory / "alone.crt", "localhost")
    revoked = issue(authority, localhost, directory / "revoked.crt", starts=-9, ends=9)
    stranger = other.site("stranger.test")
    stranger_pair = {"client_cert": str(stranger.cert), "client_key": str(stranger.key)}
    tls_1_2 = ssl.TLSVersion.TLSv1_2
    wants = "the backend wants a client certificate"
    return {
        "expired": verify("certificate has expired", expired),
        "not_yet_valid": verify("certificate is not yet valid", future),
        "self_signed": verify("self-signed certificate", alone),
        "unknown_ca": verify("unable to get local issuer certificate", localhost, ca=str(other.cert)),
        "hostname": verify(
            "hostname mismatch, certificate is not valid for 'localhost'", authority.site("elsewhere.test")
        ),
        "address": verify(
            "IP address mismatch, certificate is not valid for '127.0.0.1'",
            authority.site("localhost"),
            host="127.0.0.1",
        ),
        "server_name": verify(
            "hostname mismatch, certificate is not valid for 'app.internal'", localhost, server_name="app.internal"
        ),
        "revoked": verify(
            "certificate revoked", revoked, crl=str(revocations(authority, directory / "crl.pem", revoked))
        ),
        "list_of_another_ca": verify(
            "CRL signature failure", localhost, crl=str(revocations(other, directory / "other.pem"))
        ),
        "wants_a_certificate_1_3": fails(wants, asking()),
        "wants_a_certificate_1_2": fails(
            "the backend refused the handshake: no common cipher, or it wants a client certificate",
            asking(maximum_version=tls_1_2),
        ),
        "refuses_the_certificate_1_3": fails(
            "the backend refused the client certificate: unknown ca", asking(), **stranger_pair
        ),
        "refuses_the_certificate_1_2": fails(
            "the backend refused the client certificate: unknown ca", asking(maximum_version=tls_1_2), **stranger_pair
        ),
        "refuses_the_version": fails(
            "no common TLS version: the backend refused ours", server(maximum_version=tls_1_2), min_version="1.3"
        ),
        "speaks_tls_1_1": no_tls("no common TLS version: the backend's is below tls.min_version", says(TLS_1_1_HELLO)),
        "no_alpn": Case(
            "alpn_http1",
            "the backend chose no protocol, not h2",
            server=authority.server_context(localhost),
            tls=ca,
        ),
        "clear_http2": no_tls("the backend speaks in clear", says(bytes.fromhex("000000 04 00 00000000"))),
        "clear_http1": no_tls("the backend speaks in clear", says(b"HTTP/1.1 400 Bad Request\r\n\r\n")),
        "silent": Case("connect_timeout", "TLS handshake", 504, script=is_silent, tls=ca),
        "closes": no_tls("closed in the middle", closes),
        "resets": no_tls("Connection reset by peer", resets),
    }


NAMES = (
    *("expired", "not_yet_valid", "self_signed", "unknown_ca", "hostname", "address", "server_name", "revoked"),
    *("list_of_another_ca", "wants_a_certificate_1_3", "wants_a_certificate_1_2", "refuses_the_certificate_1_3"),
    *("refuses_the_certificate_1_2", "refuses_the_version", "speaks_tls_1_1", "no_alpn", "clear_http2"),
    *("clear_http1", "silent", "closes", "resets"),
)


@pytest.fixture(scope="module")
def failing(
    engine: str, tmp_path_factory: pytest.TempPathFactory, authority: Authority, localhost: Site
) -> Iterator[tuple[Gate, dict[str, Case]]]:
    """A gate with a route to a backend of each case."""
    directory = tmp_path_factory.mktemp("failing")
    table = cases(directory, authority, localhost)
    with contextlib.ExitStack() as stack:
        backends, routes = {}, []
        for name, case in table.items():
            backend = stack.enter_context(ScriptedBackend(case.script, case.server))
            backends[name] = {
                "endpoints": [f"h2://{case.host}:{backend.port}"],
                "pool": {"connect_timeout": "1s"},
                "tls": case.tls,
            }
            routes.append({"match": {"path": f"/{name}/"}, "backend": name})
        sections = {"backends": backends, "retries": {"tries": 0}}
        yield stack.enter_context(Gate(directory, routes=routes, sections=sections)), table


@pytest.mark.parametrize("name", NAMES)
def test_each_failure_of_tls_has_its_own_words(failing: tuple[Gate, dict[str, Case]], name: str) -> None:
    gate, table = failing
    assert set(NAMES) == set(table)
    case = table[name]
    with gate.http2() as client:
        assert client.request("GET", f"/{name}/").status == case.status
    line = gate.wait_for_line("the request", lambda line: line["target"] == f"/{name}/")
    assert (line["status"], line["reason"], line["detail"]) == (case.status, case.reason, case.detail)


def test_a_backend_that_refuses_h2_by_an_alert_says_so(tmp_path: Path, authority: Authority, localhost: Site) -> None:
    port = HeldPort()
    server = subprocess.Popen(
        [
            *("openssl", "s_server", "-accept", f"127.0.0.1:{port.number}", "-alpn", "http/1.1", "-www"),
            *("-cert", localhost.cert, "-key", localhost.key),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert server.stdout is not None
    try:
        while b"ACCEPT" not in server.stdout.readline():
            pass
        backends = {"app": {"endpoints": [f"h2://localhost:{port.number}"], "tls": {"ca": str(authority.cert)}}}
        with Gate(tmp_path, "app", sections={"backends": backends}) as gate, gate.http1() as client:
            assert client.request("GET", "/").status == 502
            line = gate.wait_for_line("the request", lambda line: line["status"] == 502)
            assert (line["reason"], line["detail"]) == ("alpn_http1", "the backend refused h2")
    finally:
        server.kill()
        server.wait()
        server.stdout.close()
        port.release()


# What works


Seen = Callable[[ssl.SSLSocket], object]


@contextlib.contextmanager
def serving(directory: Path, context: ssl.SSLContext, seen: Seen, **config: Any) -> Iterator[tuple[Gate, list[object]]]:
    """A gate before a TLS backend that notes of each connection what `seen` tells of it."""
    found: list[object] = []

    def script(connection: Connection) -> None:
        assert isinstance(connection.socket, ssl.SSLSocket)
        found.append(seen(connection.socket))
        answers(connection)

    with ScriptedBackend(script, context) as backend:
        backends = {"app": {"endpoints": [backend.url], **config}}
        with Gate(directory, "app", sections={"backends": backends}) as gate:
            yield gate, found


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def test_a_later_connection_resumes_the_session_of_the_first(
    tmp_path: Path, authority: Authority, localhost: Site, version: ssl.TLSVersion
) -> None:
    context = authority.server_context(localhost, "h2")
    context.minimum_version = context.maximum_version = version
    one_each = {"tls": {"ca": str(authority.cert)}, "pool": {"max_requests": 1}}
    with serving(tmp_path, context, lambda sock: sock.session_reused, **one_each) as (gate, resumed):
        with gate.http1() as client:
            for _ in range(3):
                assert client.request("GET", "/").status == 200
        assert resumed == [False, True, True]


def test_the_client_certificate_is_shown_and_taken(tmp_path: Path, authority: Authority, localhost: Site) -> None:
    context = authority.server_context(localhost, "h2")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.cert)
    site = authority.site("gate.test")
    tls = {"ca": str(authority.cert), "client_cert": str(site.cert), "client_key": str(site.key)}

    def name(sock: ssl.SSLSocket) -> object:
        certificate = sock.getpeercert()
        return certificate and certificate["subjectAltName"]

    with serving(tmp_path, context, name, tls=tls) as (gate, names), gate.http1() as client:
        assert client.request("GET", "/").status == 200
        assert names == [(("DNS", "gate.test"),)]


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_the_lowest_version_lets_the_others_through(
    tmp_path: Path, authority: Authority, localhost: Site, version: str
) -> None:
    context = authority.server_context(localhost, "h2")
    tls = {"ca": str(authority.cert), "min_version": version}
    with serving(tmp_path, context, lambda sock: sock.version(), tls=tls) as (gate, versions), gate.http1() as client:
        assert client.request("GET", "/").status == 200
        assert versions == ["TLSv1.3"]


def test_a_certificate_that_is_not_on_the_list_is_taken(tmp_path: Path, authority: Authority, localhost: Site) -> None:
    crl = revocations(authority, tmp_path / "crl.pem", authority.site("revoked.test"))
    with NodeBackend(tmp_path, site=localhost) as node:
        backends = {"app": {"endpoints": [node.tls_url], "tls": {"ca": str(authority.cert), "crl": str(crl)}}}
        with Gate(tmp_path, "app", sections={"backends": backends}) as gate, gate.http1() as client:
            assert client.request("GET", "/hello").status == 200


def test_without_verification_any_certificate_will_do(tmp_path: Path, authority: Authority, localhost: Site) -> None:
    context = authority.server_context(self_signed(localhost, tmp_path / "alone.crt", "elsewhere.test"), "h2")
    with serving(tmp_path, context, lambda _: None, tls={"verify": False}) as (gate, _), gate.http1() as client:
        assert client.request("GET", "/").status == 200
