"""TLS contexts, from the files the configuration names.

Built in the master before it forks: so all workers share the keys of session tickets, and a file that is no good never
replaces one that is. The rule: what OpenSSL would say in its own words is said here by key and file.

Certificates are read by `cryptography`: the standard library tells a certificate's names only to who verifies it.
"""

from __future__ import annotations

import datetime
import logging
import re
import ssl
from pathlib import Path
from typing import NoReturn

from cryptography import x509

from h2gate.config.model import BackendTls, Certificate, Config, ListenerTls
from h2gate.config.problems import BadValue
from h2gate.config.resolved import backends_of

_LOG = logging.getLogger("h2gate")

# TLS 1.2: ephemeral keys and authenticated encryption only; HTTP/2 forbids all else (RFC 9113, 9.2.2 and appendix A).
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"

_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


# What `cryptography` raises for certificates that it does not like, though OpenSSL may.
UNREADABLE = (ValueError, TypeError, x509.InvalidVersion, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)


class ServerConnection(ssl.SSLObject):
    """A client's TLS connection, with what OpenSSL does not remember of its hello."""

    asked_name: str | None = None
    # Set before the handshake where none of the protocols that the client offers by ALPN is served.
    offers_nothing_served = False


class ServerContext(ssl.SSLContext):
    """The context of one certificate of a listener.

    `names` are those that the certificate is for, in lower case: DNS names and IP addresses.
    """

    sslobject_class = ServerConnection  # type: ignore[mutable-override]
    names: frozenset[bytes] = frozenset()


SERVED_PROTOCOLS = ("h2", "http/1.1")
# The alert of RFC 7301, 3.2; `ssl` has no name for it.
NO_APPLICATION_PROTOCOL = 120


def listener_contexts(config: Config) -> list[ssl.SSLContext | None]:
    """Return a context for each listener, None for those in clear.

    Raises BadValue, which names the key and the file.
    """
    return [
        None if listener.tls is None else listener_context(listener.tls, f"listeners[{index}].tls")
        for index, listener in enumerate(config.listeners)
    ]


def listener_context(tls: ListenerTls, key: str = "tls") -> ssl.SSLContext:
    """Return the context of a listener; it changes to another certificate's by SNI. `key` is for errors."""
    contexts: list[ServerContext] = []
    by_name: dict[str, ServerContext] = {}
    for index, certificate in enumerate(tls.certificates):
        here = f"{key}.certificates[{index}]"
        context = _server_context(tls, certificate, here)
        names, others = _names_of(certificate.cert, f"{here}.cert")
        context.names = frozenset(name.encode("ascii", "replace") for name in (*names, *others))
        if contexts and by_name.keys() >= set(names):
            _refuse(
                f"{here}.cert",
                certificate.cert,
                "no client would get it: its names are served by the certificates before it; remove it"
                if names
                else "it has no DNS names (subjectAltName) that clients could ask for: remove it or issue it anew",
            )
        contexts.append(context)
        for name in names:
            by_name.setdefault(name, context)
    default = contexts[0]

    # Called in each handshake, also of clients that give no name.
    def choose(connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> int | None:
        # The same callback for TLS over memory, whose connection this is, and over sockets.
        if isinstance(connection, ServerConnection):
            connection.asked_name = name
            if connection.offers_nothing_served:
                return NO_APPLICATION_PROTOCOL
        connection.context = chosen(by_name, name) or default
        return None

    default.sni_callback = choose
    return default


def chosen(by_name: dict[str, ServerContext], name: str | None) -> ServerContext | None:
    """Return the context for a server name: its own, or that of a wildcard for its first label (RFC 9525, 6.3)."""
    if name is None:
        return None
    name = name.lower()
    return by_name.get(name) or by_name.get("*." + name.partition(".")[2])


def _server_context(tls: ListenerTls, certificate: Certificate, key: str) -> ServerContext:
    context = ServerContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[tls.min_version]
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    _restrict(context)
    context.set_alpn_protocols(list(SERVED_PROTOCOLS))
    if tls.client_ca is not None:
        # In each of them: OpenSSL takes the mode of the first one and the authorities of the one chosen.
        _load_ca(context, tls.client_ca, f"{key.rpartition('.certificates')[0]}.client_ca")
        context.verify_mode = ssl.CERT_REQUIRED if tls.client_auth == "require" else ssl.CERT_OPTIONAL
    _load_chain(context, (f"{key}.cert", certificate.cert), (f"{key}.key", certificate.key))
    return context


def backend_contexts(config: Config) -> dict[str, ssl.SSLContext]:
    """Return a context for each backend with `h2://` endpoints, by its resolved name.

    Raises BadValue, which names the key and the file.
    """
    return {
        name: backend_context(backend.tls, f"backends.{name}.tls")
        for name, backend in backends_of(config).items()
        if any(endpoint.url.tls for endpoint in backend.endpoints)
    }


def backend_context(tls: BackendTls, key: str = "tls") -> ssl.SSLContext:
    """Return the context of connections to a backend. `key` is for errors."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = _VERSIONS[tls.min_version]
    context.set_ciphers(CIPHERS)
    _restrict(context)
    context.set_alpn_protocols(["h2"])
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif tls.ca is None:
        context.load_default_certs()
    else:
        _load_ca(context, tls.ca, f"{key}.ca")
    if tls.crl is not None:
        _load_crl(context, tls.crl, f"{key}.crl")
    if tls.client_cert is not None and tls.client_key is not None:
        _load_chain(context, (f"{key}.client_cert", tls.client_cert), (f"{key}.client_key", tls.client_key))
    return context


def _restrict(context: ssl.SSLContext) -> None:
    """Switch off what HTTP/2 forbids: compression and renegotiation (RFC 9113, 9.2.1)."""
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION


def _load_ca(context: ssl.SSLContext, ca: Path, key: str) -> None:
    try:
        context.load_verify_locations(cafile=ca)
    except ssl.SSLError:
        _refuse(key, ca, "it holds no CA certificate in PEM: give the CA's certificate, BEGIN CERTIFICATE")
    except OSError as failure:
        _refuse(key, ca, f"cannot read it: {failure.strerror}")


def _load_crl(context: ssl.SSLContext, crl: Path, key: str) -> None:
    """Refuse what the CRLs of a file revoke. Of the leaf alone: for the whole chain each CA would need one."""
    try:
        text = crl.read_bytes()
        # OpenSSL would take certificates in this file too, and trust them from then on.
        pieces = re.findall(rb"-----BEGIN [^-]*-----.*?-----END [^-]*-----", text, re.DOTALL)
        lists = [x509.load_pem_x509_crl(piece) for piece in pieces]
    except OSError as failure:
        _refuse(key, crl, f"cannot read it: {failure.strerror}")
    except ValueError:
        lists = []
    if not lists:
        _refuse(key, crl, "give a file of revocation lists in PEM alone, BEGIN X509 CRL")
    now = datetime.datetime.now(datetime.UTC)
    for revoked in lists:
        if revoked.next_update_utc is not None and revoked.next_update_utc < now:
            _LOG.warning(
                "%s: %s: a list of it was good until %s: all certificates of its CA are refused until it is renewed",
                *(key, crl, revoked.next_update_utc.date()),
            )
    context.load_verify_locations(cafile=crl)
    context.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF


class _Encrypted(Exception):
    """OpenSSL asked for the key's password."""


def _load_chain(context: ssl.SSLContext, cert: tuple[str, Path], key: tuple[str, Path]) -> None:
    """Load a certificate and its key, each given with the name of its config key."""
    _warn_of_dates(*cert, _read_certificate(*cert))
    try:
        context.load_cert_chain(cert[1], key[1], password=_ask)
    except _Encrypted:
        _refuse(*key, f"it is encrypted: decrypt it with `openssl pkey -in {key[1].name} -out FILE`")
    except ssl.SSLError as failure:
        if failure.reason == "KEY_VALUES_MISMATCH":
            _refuse(*key, f"it is not the key of {cert[1]} (whose first certificate must be the gate's own)")
        if failure.reason is not None:
            _refuse(*cert, f"OpenSSL refuses it: {failure.reason.lower().replace('_', ' ')}")
        _refuse(*key, "it holds no private key in PEM: give the file with BEGIN PRIVATE KEY")
    except OSError as failure:
        _refuse(*key, f"cannot read it: {failure.strerror}")


def _ask() -> str:
    # Without this OpenSSL would ask on the terminal, and a service has none.
    raise _Encrypted


def _names_of(cert: Path, key: str) -> tuple[list[str], list[str]]:
    """Return the DNS names of a certificate in lower case, and its IP addresses."""
    try:
        extension = _read_certificate(key, cert).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return [], []
    except UNREADABLE as failure:
        _refuse(key, cert, f"its extensions cannot be read: {failure}")
    names = extension.value.get_values_for_type(x509.DNSName)
    return [name.lower() for name in names], [str(ip) for ip in extension.value.get_values_for_type(x509.IPAddress)]


def _read_certificate(key: str, cert: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificates(cert.read_bytes())[0]
    except UNREADABLE:
        _refuse(key, cert, "it holds no certificate in PEM: give the file with BEGIN CERTIFICATE, leaf first")
    except OSError as failure:
        _refuse(key, cert, f"cannot read it: {failure.strerror}")


def _warn_of_dates(key: str, path: Path, certificate: x509.Certificate) -> None:
    # No error: an old certificate serves some clients, a gate that does not start serves none.
    now = datetime.datetime.now(datetime.UTC)
    if certificate.not_valid_after_utc < now:
        _LOG.warning("%s: %s: it expired on %s: renew it", key, path, certificate.not_valid_after_utc.date())
    if certificate.not_valid_before_utc > now:
        _LOG.warning("%s: %s: it is not valid before %s", key, path, certificate.not_valid_before_utc.date())


def _refuse(key: str, path: Path, what: str) -> NoReturn:
    raise BadValue(key, f"{path}: {what}") from None
