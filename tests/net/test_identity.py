"""X-Forwarded-Client-Cert: Envoy's form, and nothing of a certificate that could be taken for more."""

from __future__ import annotations

import datetime
import hashlib
import re

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from h2gate.net.identity import VALUE_BYTES, identity_of

KEY = ec.generate_private_key(ec.SECP256R1())
NAME = [(NameOID.ORGANIZATION_NAME, "Example, Inc."), (NameOID.COMMON_NAME, "client 7")]


def certificate(
    subject: list[tuple[x509.ObjectIdentifier, str]] = NAME, names: list[x509.GeneralName] | bytes | None = None
) -> bytes:
    now = datetime.datetime(2026, 1, 1)
    name = x509.Name([x509.NameAttribute(oid, value) for oid, value in subject])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(KEY.public_key())
        .serial_number(7)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
    )
    if isinstance(names, bytes):
        unread = x509.UnrecognizedExtension(x509.OID_SUBJECT_ALTERNATIVE_NAME, names)
        builder = builder.add_extension(unread, critical=False)
    elif names is not None:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(KEY, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def parts(value: bytes) -> list[tuple[bytes, bytes]]:
    """Read one element as a backend does: quotes, and backslashes within them, as in a quoted-string."""
    pattern = rb'([A-Za-z]+)=("(?:[^"\\]|\\.)*"|[^",;=\\]*)(;|$)'
    found, at = [], 0
    while at < len(value):
        match = re.compile(pattern).match(value, at)
        assert match, value[at:]
        found.append((match[1], match[2]))
        at = match.end()
    return found


def test_hash_subject_and_names_are_told_in_envoys_order() -> None:
    data = certificate(
        names=[
            x509.DNSName("client.test"),
            x509.UniformResourceIdentifier("spiffe://example.test/ns/a"),
            x509.DNSName("*.client.test"),
        ]
    )
    digest = hashlib.sha256(data).hexdigest().encode()
    assert identity_of(data) == (
        b"Hash=" + digest + b';Subject="CN=client 7,O=Example\\, Inc."'
        b";URI=spiffe://example.test/ns/a;DNS=client.test;DNS=*.client.test"
    )


def test_without_names_there_is_the_subject() -> None:
    assert [name for name, _ in parts(identity_of(certificate()))] == [b"Hash", b"Subject"]


@pytest.mark.parametrize(
    "evil", ['a";Hash=0', 'a\\";Hash=0', "a\r\nx: y", 'a",Hash=0;Subject="b', "a\x00b", "ü\u2028", "a\\", "a,b;c=d"]
)
def test_a_subject_cannot_say_more_than_its_own(evil: str) -> None:
    value = identity_of(certificate([(NameOID.COMMON_NAME, evil)]))
    assert [name for name, _ in parts(value)] == [b"Hash", b"Subject"]
    assert all(0x20 <= octet < 0x7F for octet in value)


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("https://a.test/b?c=d;e,f", b'"https://a.test/b?c=d;e,f"'),
        ('urn:a";Hash=0', b'"urn:a%22;Hash=0"'),
        ("urn:a\\", b"urn:a%5C"),
        ("urn:a\r\nb c", b"urn:a%0D%0Ab%20c"),
    ],
)
def test_a_uri_is_quoted_or_escaped(uri: str, told: bytes) -> None:
    value = identity_of(certificate(names=[x509.UniformResourceIdentifier(uri)]))
    assert parts(value)[2] == (b"URI", told)


@pytest.mark.parametrize("name", ["a;b", 'a"', "a,b", "a b", "a\r\nb", ""])
def test_what_is_no_dns_name_is_left_out(name: str) -> None:
    value = identity_of(certificate(names=[x509.DNSName(name), x509.DNSName("good.test")]))
    assert parts(value)[2:] == [(b"DNS", b"good.test")]


def test_names_without_end_are_cut_between_two() -> None:
    value = identity_of(certificate(names=[x509.DNSName(f"name-{number}.client.test") for number in range(1000)]))
    assert VALUE_BYTES - 40 < len(value) <= VALUE_BYTES
    assert value.endswith(b".client.test")


def test_what_cannot_be_read_is_told_by_its_hash() -> None:
    assert parts(identity_of(b"no certificate")) == [(b"Hash", hashlib.sha256(b"no certificate").hexdigest().encode())]


def test_what_cryptography_cannot_read_costs_its_names_only() -> None:
    """An X.400 address, which OpenSSL takes, and bits in a name that has none."""
    names = bytes.fromhex("3004a302 3000")
    assert [name for name, _ in parts(identity_of(certificate(names=names)))] == [b"Hash", b"Subject"]
    odd = certificate().replace(b"\x0c\x08client 7", b"\x03\x08client 7")
    assert [name for name, _ in parts(identity_of(odd))] == [b"Hash"]
