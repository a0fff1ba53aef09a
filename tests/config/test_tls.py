"""TLS contexts: what they choose, what they refuse, and how they say it."""

from __future__ import annotations

import datetime
import os
import socket
import ssl
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from h2gate.config.model import BackendTls, Certificate, Config, ListenerTls
from h2gate.config.tls import (
    ServerConnection,
    ServerContext,
    _load_chain,
    _names_of,
    backend_context,
    backend_contexts,
    chosen,
    listener_context,
    listener_contexts,
)
from h2gate.errors import ExitCode, StartError


def openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, check=True)


@pytest.fixture(scope="session")
def odd(authority, tmp_path_factory) -> dict[str, Path]:
    """Files that are not what they should be."""
    directory = tmp_path_factory.mktemp("odd")
    key = authority.site("a.example").key
    names = ("text", "encrypted", "expired", "future", "nameless", "small", "small_key")
    files = {name: directory / f"{name}.pem" for name in names}
    files["text"].write_text("not a certificate\n")
    openssl("pkey", "-in", key, "-aes256", "-passout", "pass:secret", "-out", files["encrypted"])
    openssl("req", "-x509", "-key", key, "-subj", "/CN=nameless", "-days", "9", "-out", files["nameless"])
    small = ("-newkey", "rsa:512", "-nodes", "-keyout", files["small_key"])
    openssl("req", "-x509", *small, "-subj", "/CN=small", "-days", "9", "-out", files["small"])
    now = datetime.datetime.now(datetime.UTC)
    for name, days in (("expired", -30), ("future", 30)):
        # By hand: `openssl x509` has no start date before OpenSSL 3.4.
        signer = serialization.load_pem_private_key(key.read_bytes(), None)
        assert isinstance(signer, ec.EllipticCurvePrivateKey)
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        start = now + datetime.timedelta(days=days)
        certificate = (
            x509.CertificateBuilder(subject, subject, signer.public_key(), x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + datetime.timedelta(days=9))
            .sign(signer, hashes.SHA256())
        )
        files[name].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return files


def listener(*sites, **others) -> ListenerTls:
    return ListenerTls(certificates=tuple(Certificate(cert=site.cert, key=site.key) for site in sites), **others)


def pair(cert: Path, key: Path, **others) -> ListenerTls:
    return ListenerTls(certificates=(Certificate(cert=cert, key=key),), **others)


def shake(client: ssl.SSLContext, server: ssl.SSLContext, name: str | None, session=None):
    """Shake hands in memory; return both sides."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    one = client.wrap_bio(down, up, server_hostname=name, session=session)
    other = server.wrap_bio(up, down, server_side=True)
    done = set()
    for _ in range(4):
        for side in (one, other):
            try:
                side.do_handshake()
                done.add(side)
            except ssl.SSLWantReadError:
                pass
    assert done == {one, other}
    return one, other


def names_served(client: ssl.SSLContext, server: ssl.SSLContext, name: str | None) -> list[str]:
    certificate = shake(client, server, name)[0].getpeercert()
    assert certificate is not None
    return [value for _, value in certificate["subjectAltName"]]


def refusal(call, *arguments) -> str:
    with pytest.raises(StartError) as caught:
        call(*arguments)
    assert caught.value.exit_code is ExitCode.BAD_CONFIG
    return str(caught.value)


def test_the_certificate_is_chosen_by_sni_and_the_first_serves_all_other_names(authority):
    sites = [
        authority.site(*names) for names in (("a.example", "b.example"), ("*.c.example",), ("x.c.example", "b.example"))
    ]
    server = listener_context(listener(*sites))
    client = authority.client_context()
    client.check_hostname = False
    for name, served in {
        "a.example": "a.example",
        "B.example": "a.example",
        "y.c.example": "*.c.example",
        "x.c.example": "x.c.example",
        "z.y.c.example": "a.example",
        "c.example": "a.example",
        "other.example": "a.example",
        None: "a.example",
    }.items():
        assert names_served(client, server, name)[0] == served, name


def test_a_connection_knows_the_name_it_was_asked_for_and_those_of_its_certificate(authority):
    server = listener_context(
        listener(authority.site("a.example"), authority.site("B.example", "*.b.example", "IP:192.0.2.1", "IP:::1"))
    )
    client = authority.client_context()
    client.check_hostname = False
    for asked, names in (("x.b.example", {b"b.example", b"*.b.example", b"192.0.2.1", b"::1"}), (None, {b"a.example"})):
        _, connection = shake(client, server, asked)
        assert isinstance(connection, ServerConnection)
        assert connection.asked_name == asked
        assert isinstance(connection.context, ServerContext)
        assert connection.context.names == names


def test_a_listeners_context_serves_sockets_too(authority):
    site = authority.site("a.example")
    ours, theirs = socket.socketpair()
    server = listener_context(listener(site))
    with ours, theirs, ThreadPoolExecutor() as pool:
        served = pool.submit(server.wrap_socket, ours, server_side=True)
        with authority.client_context().wrap_socket(theirs, server_hostname="a.example"), served.result(10):
            pass


def test_a_client_that_offers_nothing_served_is_refused(authority):
    server = listener_context(listener(authority.site("a.example")))
    client, up, down = authority.client_context("ftp"), ssl.MemoryBIO(), ssl.MemoryBIO()
    one = client.wrap_bio(down, up, server_hostname="a.example")
    other = server.wrap_bio(up, down, server_side=True)
    assert isinstance(other, ServerConnection)
    other.offers_nothing_served = True
    with pytest.raises(ssl.SSLWantReadError):
        one.do_handshake()
    with pytest.raises(ssl.SSLError):
        other.do_handshake()
    # Fatal, no_application_protocol.
    assert down.read()[5:] == b"\x02\x78"


@pytest.mark.parametrize(("client_auth", "mode"), [("require", ssl.CERT_REQUIRED), ("optional", ssl.CERT_OPTIONAL)])
def test_clients_are_asked_for_a_certificate_of_their_authority(authority, client_auth, mode):
    site = authority.site("a.example")
    others = {"client_ca": authority.cert, "client_auth": client_auth}
    server = listener_context(listener(site, authority.site("b.example"), **others))
    assert server.verify_mode == mode
    client = authority.client_context()
    client.load_cert_chain(site.cert, site.key)
    for name in ("a.example", "b.example"):
        _, connection = shake(client, server, name)
        assert connection.getpeercert(binary_form=True) == ssl.PEM_cert_to_DER_cert(site.cert.read_text())
    assert listener_context(listener(site)).verify_mode == ssl.CERT_NONE


def test_a_client_ca_that_is_none_is_refused_by_its_key(authority, odd):
    tls = listener(authority.site("a.example"), client_ca=odd["text"])
    said = f"listeners[3].tls.client_ca: {odd['text']}: it holds no CA certificate in PEM"
    assert refusal(listener_context, tls, "listeners[3].tls").startswith(said)


def test_one_certificate_serves_every_name(authority):
    client = authority.client_context()
    client.check_hostname = False
    assert names_served(client, listener_context(listener(authority.site("a.example"))), "z") == ["a.example"]


def test_a_server_name_is_looked_up_without_regard_to_case():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    by_name = {"a.example": context, "*.b.example": context}
    assert chosen(by_name, "A.Example") is context
    assert chosen(by_name, "x.B.example") is context
    assert chosen(by_name, "x.y.b.example") is None
    assert chosen(by_name, None) is None


@pytest.mark.parametrize(("offer", "alpn"), [(["h2", "http/1.1"], "h2"), (["http/1.1"], "http/1.1"), ([], None)])
def test_a_listener_speaks_both_protocols_on_every_certificate(authority, offer, alpn):
    server = listener_context(listener(authority.site("a.example"), authority.site("b.example")))
    for name in ("a.example", "b.example"):
        assert shake(authority.client_context(*offer), server, name)[0].selected_alpn_protocol() == alpn


def test_tls_1_2_has_only_ephemeral_keys_and_authenticated_encryption(authority):
    for context in (listener_context(listener(authority.site("a.example"))), backend_context(BackendTls())):
        old = [cipher for cipher in context.get_ciphers() if cipher["protocol"] != "TLSv1.3"]
        assert old
        assert all(cipher["aead"] and cipher["kea"] == "kx-ecdhe" for cipher in old)
        assert context.options & ssl.OP_NO_COMPRESSION
        assert context.options & ssl.OP_NO_RENEGOTIATION
        assert context.minimum_version == ssl.TLSVersion.TLSv1_2


def test_the_lowest_version_is_the_operators(authority):
    client = authority.client_context()
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    site = authority.site("a.example")
    assert shake(client, listener_context(listener(site)), "a.example")[0].version() == "TLSv1.2"
    with pytest.raises(ssl.SSLError, match="UNSUPPORTED_PROTOCOL"):
        shake(client, listener_context(listener(site, min_version="1.3")), "a.example")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("name", ["a.example", "b.example"])
def test_a_session_goes_on_in_another_worker(authority, version, name):
    """Each connection is served by a process of its own, forked after the context was built."""
    server = listener_context(listener(authority.site("a.example"), authority.site("b.example")))
    client = authority.client_context()
    client.maximum_version = version
    first = visit(client, server, name, None)
    assert not first[1]
    assert visit(client, server, name, first[0])[1]


def visit(client, server, name, session):
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            ours.close()
            with server.wrap_socket(theirs, server_side=True) as connection:
                connection.sendall(b"x")
                connection.recv(1)
            status = 0
        finally:
            os._exit(status)
    theirs.close()
    ours.settimeout(10)
    with client.wrap_socket(ours, server_hostname=name, session=session) as connection:
        assert connection.recv(1) == b"x"
        connection.sendall(b"y")
        found = connection.session, connection.session_reused
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    return found


def test_a_certificate_that_no_client_would_get_is_refused(authority, odd):
    a, b = authority.site("a.example"), authority.site("a.example", "b.example")
    assert refusal(listener_context, listener(b, a)) == (
        f"tls.certificates[1].cert: {a.cert}: no client would get it: its names are served by the certificates before "
        "it; remove it"
    )
    nameless = ListenerTls(
        certificates=(Certificate(cert=a.cert, key=a.key), Certificate(cert=odd["nameless"], key=a.key))
    )
    assert refusal(listener_context, nameless).endswith(
        "nameless.pem: it has no DNS names (subjectAltName) that clients could ask for: remove it or issue it anew"
    )
    listener_context(pair(odd["nameless"], a.key))


def test_each_bad_file_is_named_by_key_and_path_with_what_to_do(authority, odd):
    a, b = authority.site("a.example"), authority.site("b.example")
    text, encrypted = odd["text"], odd["encrypted"]
    assert refusal(listener_context, pair(text, a.key)) == (
        f"tls.certificates[0].cert: {text}: it holds no certificate in PEM: "
        "give the file with BEGIN CERTIFICATE, leaf first"
    )
    assert refusal(listener_context, pair(a.cert, text)) == (
        f"tls.certificates[0].key: {text}: it holds no private key in PEM: give the file with BEGIN PRIVATE KEY"
    )
    assert refusal(listener_context, pair(a.cert, b.key)) == (
        f"tls.certificates[0].key: {b.key}: it is not the key of {a.cert} "
        "(whose first certificate must be the gate's own)"
    )
    assert refusal(listener_context, pair(a.cert, encrypted)) == (
        f"tls.certificates[0].key: {encrypted}: it is encrypted: "
        "decrypt it with `openssl pkey -in encrypted.pem -out FILE`"
    )
    assert refusal(listener_context, pair(odd["small"], odd["small_key"])) == (
        f"tls.certificates[0].cert: {odd['small']}: OpenSSL refuses it: ee key too small"
    )


def test_a_file_that_went_away_since_is_named_too(authority, tmp_path):
    a = authority.site("a.example")
    gone = tmp_path / "gone.pem"
    gone.write_text("x")
    listen, cert = pair(a.cert, gone), pair(gone, a.key)
    backend = BackendTls(ca=gone)
    gone.unlink()
    said = f"{gone}: cannot read it: No such file or directory"
    assert refusal(listener_context, listen) == f"tls.certificates[0].key: {said}"
    assert refusal(listener_context, cert) == f"tls.certificates[0].cert: {said}"
    assert refusal(backend_context, backend) == f"tls.ca: {said}"


@pytest.mark.parametrize("names", [b"\x30\x7f", b"\x30\x04\xa3\x02\x30\x00"], ids=["no_end", "x400_address"])
def test_extensions_that_cannot_be_read_are_refused(tmp_path, names):
    signer = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])
    now = datetime.datetime.now(datetime.UTC)
    broken = x509.UnrecognizedExtension(x509.ExtensionOID.SUBJECT_ALTERNATIVE_NAME, names)
    certificate = (
        x509.CertificateBuilder(subject, subject, signer.public_key(), x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(broken, critical=False)
        .sign(signer, hashes.SHA256())
    )
    cert = tmp_path / "broken.pem"
    cert.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    assert refusal(_names_of, cert, "k").startswith(f"k: {cert}: its extensions cannot be read: ")


def test_a_certificate_out_of_date_is_a_warning_only(authority, odd, caplog):
    key = authority.site("a.example").key
    for name, said in (("expired", "it expired on"), ("future", "it is not valid before")):
        caplog.clear()
        _load_chain(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ("k.cert", odd[name]), ("k.key", key))
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert caplog.text.count(f"k.cert: {odd[name]}: {said}") == 1


def test_a_backend_is_verified_by_chain_and_name(authority):
    server = listener_context(listener(authority.site("a.example")))
    trusting = backend_context(BackendTls(ca=authority.cert))
    assert shake(trusting, server, "a.example")[0].selected_alpn_protocol() == "h2"
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        shake(trusting, server, "b.example")
    with pytest.raises(ssl.SSLCertVerificationError, match="unable to get local issuer"):
        shake(backend_context(BackendTls()), server, "a.example")
    shake(backend_context(BackendTls(verify=False)), server, "b.example")


def test_a_backend_is_shown_the_client_certificate(authority):
    site = authority.site("gate.example")
    server = listener_context(listener(authority.site("a.example")))
    server.verify_mode = ssl.CERT_REQUIRED
    server.load_verify_locations(authority.cert)
    client = backend_context(BackendTls(ca=authority.cert, client_cert=site.cert, client_key=site.key))
    assert ("DNS", "gate.example") in shake(client, server, "a.example")[1].getpeercert()["subjectAltName"]


def test_bad_files_of_a_backend_are_named_by_its_keys(authority, odd):
    a = authority.site("a.example")
    assert refusal(backend_context, BackendTls(ca=odd["text"]), "backends.app.tls") == (
        f"backends.app.tls.ca: {odd['text']}: it holds no CA certificate in PEM: give the CA's certificate, "
        "BEGIN CERTIFICATE"
    )
    assert refusal(backend_context, BackendTls(client_cert=a.cert, client_key=odd["text"])).startswith(
        f"tls.client_key: {odd['text']}: it holds no private key"
    )


def test_a_config_has_a_context_for_each_tls_listener_and_each_backend_with_tls(authority, odd):
    a = authority.site("a.example")
    config = Config(
        listeners=(
            {"address": "*:80"},
            {"address": "*:443", "tls": {"certificates": ({"cert": a.cert, "key": a.key},)}},
        ),
        backends={"app": {"endpoints": ("h2c://a", "h2://a")}, "clear": {"endpoints": ("h2c://b",)}},
        routes=({"backend": "app"}, {"backend": "clear"}, {"backend": "h2://c/x"}),
    )
    clear, tls = listener_contexts(config)
    assert clear is None
    assert tls is not None
    assert list(backend_contexts(config)) == ["app", "h2://c"]
    broken = config.listeners[1].model_copy(update={"tls": pair(odd["text"], a.key)})
    config = config.model_copy(update={"listeners": (config.listeners[0], broken)})
    assert refusal(listener_contexts, config).startswith("listeners[1].tls.certificates[0].cert: ")
