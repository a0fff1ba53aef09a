"""A client's verified certificate, as backends are told of it: X-Forwarded-Client-Cert, in Envoy's form.

Rule: whatever stands in a certificate, the value is one element of visible ASCII, in which nothing of the certificate
can be taken for a key of ours or for another element.
"""

from __future__ import annotations

import hashlib
import re

from cryptography import x509

from h2gate.config.tls import UNREADABLE

# Names beyond this are left out, whole ones: a backend takes only so much in a field, and the hash tells them all.
VALUE_BYTES = 4096


def identity_of(certificate: bytes) -> bytes:
    """Return `Hash=...;Subject="...";URI=...;DNS=...` of a certificate in DER."""
    value = b"Hash=" + hashlib.sha256(certificate).hexdigest().encode("ascii")
    for part in _parts(certificate):
        if len(value) + 1 + len(part) > VALUE_BYTES:
            break
        value += b";" + part
    return value


def _parts(certificate: bytes) -> list[bytes]:
    # OpenSSL verified it; what cryptography finds wrong with its names costs those names only.
    try:
        parsed = x509.load_der_x509_certificate(certificate)
        parts = [b'Subject="' + _subject(parsed.subject.rfc4514_string()) + b'"']
    except UNREADABLE:
        return []
    try:
        names = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
        dns = names.get_values_for_type(x509.DNSName)
    except (x509.ExtensionNotFound, *UNREADABLE):
        return parts
    return [*parts, *(b"URI=" + _uri(uri) for uri in uris), *(b"DNS=" + name for name in map(_dns, dns) if name)]


def _subject(text: str) -> bytes:
    """Return a distinguished name of RFC 4514, in which `"` and `\\` are escaped, with all but visible ASCII in hex."""
    return b"".join(bytes((octet,)) if 0x20 <= octet < 0x7F else b"\\%02X" % octet for octet in text.encode("utf-8"))


def _uri(text: str) -> bytes:
    # No URI holds other octets than visible ASCII, nor `"` and `\` (RFC 3986, 2).
    value = b"".join(
        bytes((octet,)) if 0x20 < octet < 0x7F and octet not in b'"\\' else b"%%%02X" % octet
        for octet in text.encode("utf-8")
    )
    return b'"' + value + b'"' if re.search(rb"[,;=]", value) else value


def _dns(text: str) -> bytes:
    return text.encode("ascii") if re.fullmatch(r"[A-Za-z0-9.*_-]+", text, re.ASCII) else b""
