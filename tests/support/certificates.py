"""Certificates for tests, made by openssl: one authority, and sites it vouches for."""

from __future__ import annotations

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Site:
    """A certificate and its key, PEM."""

    cert: Path
    key: Path

    @property
    def config(self) -> dict[str, str]:
        """Return the pair as a listener's config names it."""
        return {"cert": str(self.cert), "key": str(self.key)}


class Authority:
    """A certificate authority whose files live in `directory`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._sites: dict[tuple[str, ...], Site] = {}
        self.cert = directory / "ca.crt"
        self.key = directory / "ca.key"
        _openssl(
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30"),
            *("-subj", "/CN=h2gate test authority", "-keyout", self.key, "-out", self.cert),
            *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),
        )

    def site(self, *names: str) -> Site:
        """Return a certificate for `names`: DNS names, or IP addresses as `IP:127.0.0.1`."""
        if names not in self._sites:
            base = self._directory / f"site{len(self._sites)}"
            request, cert, key = (base.with_suffix(suffix) for suffix in (".csr", ".crt", ".key"))
            alternatives = ",".join(name if ":" in name else f"DNS:{name}" for name in names)
            _openssl(
                *("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
                *("-subj", f"/CN={names[0]}", "-keyout", key, "-out", request),
                *("-addext", f"subjectAltName={alternatives}"),
            )
            _openssl(
                *("x509", "-req", "-in", request, "-CA", self.cert, "-CAkey", self.key, "-CAcreateserial"),
                *("-days", "30", "-copy_extensions", "copy", "-out", cert),
            )
            self._sites[names] = Site(cert, key)
        return self._sites[names]

    def client_context(self, *alpn: str) -> ssl.SSLContext:
        """Return a context that trusts this authority only, and offers `alpn`."""
        context = ssl.create_default_context(cafile=str(self.cert))
        if alpn:
            context.set_alpn_protocols(list(alpn))
        return context

    def server_context(self, site: Site, *alpn: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(site.cert, site.key)
        if alpn:
            context.set_alpn_protocols(list(alpn))
        return context


def _openssl(*arguments: str | Path) -> None:
    done = subprocess.run(
        ["openssl", *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"openssl {arguments[0]}: {done.stderr}"
