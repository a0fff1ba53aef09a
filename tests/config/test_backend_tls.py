"""TLS to backends: the versions spoken, and certificates that were revoked."""

from __future__ import annotations

import ssl

import pytest

from h2gate.config.model import BackendTls
from h2gate.config.tls import backend_context, listener_context
from tests.config.test_tls import listener, refusal, shake
from tests.support.odd_certificates import revocations


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_the_lowest_version_is_the_operators(authority, version):
    server = listener_context(listener(authority.site("a.example")))
    server.maximum_version = ssl.TLSVersion.TLSv1_2
    client = backend_context(BackendTls(ca=authority.cert, min_version=version))
    if version == "1.2":
        assert shake(client, server, "a.example")[0].version() == "TLSv1.2"
    else:
        with pytest.raises(ssl.SSLError, match="UNSUPPORTED_PROTOCOL"):
            shake(client, server, "a.example")


def test_a_revoked_certificate_is_refused_and_another_of_its_ca_is_not(authority, tmp_path):
    good, bad = authority.site("a.example"), authority.site("revoked.example")
    crl = revocations(authority, tmp_path / "crl.pem", bad)
    client = backend_context(BackendTls(ca=authority.cert, crl=crl))
    shake(client, listener_context(listener(good)), "a.example")
    with pytest.raises(ssl.SSLCertVerificationError, match="certificate revoked"):
        shake(client, listener_context(listener(bad)), "revoked.example")


def test_a_list_that_is_out_of_date_refuses_all_and_is_warned_of(authority, tmp_path, caplog):
    site = authority.site("a.example")
    crl = revocations(authority, tmp_path / "crl.pem", ends=-1)
    client = backend_context(BackendTls(ca=authority.cert, crl=crl), "backends.app.tls")
    assert f"backends.app.tls.crl: {crl}: a list of it was good until" in caplog.text
    with pytest.raises(ssl.SSLCertVerificationError, match="CRL has expired"):
        shake(client, listener_context(listener(site)), "a.example")


def test_a_file_that_holds_more_or_less_than_lists_is_refused(authority, tmp_path):
    crl = revocations(authority, tmp_path / "crl.pem")
    both, none, gone = (tmp_path / name for name in ("both.pem", "none.pem", "gone.pem"))
    both.write_bytes(crl.read_bytes() + authority.cert.read_bytes())
    none.write_text("nothing\n")
    gone.touch()
    for path in (both, none):
        assert refusal(backend_context, BackendTls(crl=path), "t") == (
            f"t.crl: {path}: give a file of revocation lists in PEM alone, BEGIN X509 CRL"
        )
    tls = BackendTls(crl=gone)
    gone.unlink()
    assert refusal(backend_context, tls, "t") == f"t.crl: {gone}: cannot read it: No such file or directory"
