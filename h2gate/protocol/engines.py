"""The makes of the engines, and the choice between them.

The python make needs no compiler and is always there; it is the reference. The native make is compiled and may be
missing. They behave alike (`contract.py`; the tests run over both), so that nobody outside of `protocol/` knows which
one it has. The one rule: only the make that is chosen is imported.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from h2gate.protocol.contract import (
    Http1ServerEngine,
    Http1Settings,
    Http2ClientEngine,
    Http2ServerEngine,
    Http2Settings,
)

Name = Literal["native", "python"]
Wanted = Literal["auto", "native", "python"]


@dataclass(frozen=True, slots=True)
class Engines:
    """One make: how to begin each kind of connection. The second argument of `http1_server` is the scheme."""

    name: Name
    http1_server: Callable[[Http1Settings, bytes], Http1ServerEngine]
    http2_server: Callable[[Http2Settings], Http2ServerEngine]
    http2_client: Callable[[Http2Settings], Http2ClientEngine]
    # Why `auto` did not take the native make.
    native_is_missing: str = ""


def choose(wanted: Wanted) -> Engines:
    """Return a make; `auto` is the native one if it can be imported. Raises ImportError where `native` cannot."""
    if wanted == "python":
        return _python()
    try:
        return _native()
    except ImportError as failure:
        if wanted == "native":
            raise
        return _python(str(failure))


def _native() -> Engines:
    # All or nothing: a gate that runs half of each make would be a third one that no test has seen.
    from h2gate.protocol.http1_native import server_engine as http1_server
    from h2gate.protocol.http2_native import client_engine, server_engine

    return Engines("native", http1_server, server_engine, client_engine)


def _python(native_is_missing: str = "") -> Engines:
    from h2gate.protocol.http1 import server_engine as http1_server
    from h2gate.protocol.http2 import client_engine, server_engine

    return Engines("python", http1_server, server_engine, client_engine, native_is_missing)
