"""Certificates with a date of one's choice or without an authority, and lists of revoked ones."""

from __future__ import annotations

import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support.certificates import Authority, Site


def issue(authority: Authority, site: Site, path: Path, *, starts: int, ends: int) -> Site:
    """Write a copy of `site`'s certificate that is valid from `starts` to `ends`, in days from now."""
    old = _read(site.cert)
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder(
            _read(authority.cert).subject, old.subject, old.public_key(), x509.random_serial_number()
        )
        .not_valid_before(now + datetime.timedelta(days=starts))
        .not_valid_after(now + datetime.timedelta(days=ends))
    )
    for extension in old.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    made = builder.sign(_key(authority.key), hashes.SHA256())
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return Site(path, site.key)


def self_signed(site: Site, path: Path, name: str) -> Site:
    """Write a certificate for `name` that vouches for itself, with the key of `site`."""
    key = _key(site.key)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=9))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return Site(path, site.key)


def revocations(authority: Authority, path: Path, *sites: Site, ends: int = 9) -> Path:
    """Write the authority's list of revoked certificates: those of `sites`. It is good for `ends` days."""
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateRevocationListBuilder(_read(authority.cert).subject)
        .last_update(now - datetime.timedelta(days=99))
        .next_update(now + datetime.timedelta(days=ends))
    )
    for site in sites:
        revoked = x509.RevokedCertificateBuilder(_read(site.cert).serial_number, now - datetime.timedelta(days=1))
        builder = builder.add_revoked_certificate(revoked.build())
    made = builder.sign(_key(authority.key), hashes.SHA256())
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return path


def _read(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def _key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key
