"""Which protocol a clear connection speaks: the HTTP/2 client preface, or anything else.

The one rule: HTTP/1.1 is chosen only once the bytes can no longer become the preface, and HTTP/2 only once
all 24 of them are there. The preface looks like an HTTP/1.1 request on purpose (RFC 9113, 3.4), so a
shorter look would hand a broken preface to the wrong engine.
"""

from __future__ import annotations

from enum import Enum

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""The 24 octets that open every HTTP/2 client connection (RFC 9113, 3.4)."""


class Preface(Enum):
    """What the first bytes of a connection say."""

    MATCH = "match"
    PARTIAL = "partial"
    MISMATCH = "mismatch"


def match_preface(data: bytes) -> Preface:
    """Compare `data`, all bytes that came so far, with the preface; PARTIAL asks for more."""
    if data.startswith(PREFACE):
        return Preface.MATCH
    return Preface.PARTIAL if PREFACE.startswith(data) else Preface.MISMATCH
