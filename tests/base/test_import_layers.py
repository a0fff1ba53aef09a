"""Who may import whom: every module's imports, read without running it, against one table.

Imports within functions and under TYPE_CHECKING count too: a room that needs another's types knows it. So do those of
Cython modules.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "h2gate"

# The modules that stand alone, by the layer they are of.
BASE = {"errors", "lifecycle"}
NO_GEVENT = {"gevent", "greenlet"}

# What of the house each room may import beside itself. A name with a dot is that module only.
PROTOCOL_WORDS = {"protocol.events", "protocol.contract"}
# What is open to those who drive an engine. Which make it is of, `protocol.engines` decides alone.
PROTOCOL = PROTOCOL_WORDS | {"protocol.engines", "protocol.fields", "protocol.preface"}
ROOMS: dict[str, set[str]] = {
    "errors": set(),
    "lifecycle": set(),
    "config": BASE,
    "contract": BASE | PROTOCOL_WORDS,
    "errorlog": BASE | {"config"},
    "handover": BASE | {"config"},
    "protocol": BASE | {"config"},
    "net": BASE | {"config"} | PROTOCOL,
    "frontend": BASE | {"config", "contract", "net"} | PROTOCOL,
    "backend": BASE | {"config", "contract", "net"} | PROTOCOL,
    "proxy": BASE | {"config", "contract", "net", "backend"} | PROTOCOL,
    "telemetry": BASE | {"config", "contract", "errorlog"} | PROTOCOL_WORDS,
    "worker": BASE
    | {"config", "contract", "errorlog", "handover", "net", "frontend", "backend", "proxy", "telemetry"}
    | PROTOCOL,
    "master": BASE | {"config", "errorlog", "handover"},
}
ROOMS["cli"] = set(ROOMS) - {"protocol"} | PROTOCOL
ROOMS["__main__"] = {"cli"}
ROOMS["__init__"] = set()

# What from outside of the house each room may import beside the standard library.
PACKAGES: dict[str, set[str]] = {
    "config": {"yaml", "pydantic", "pydantic_core", "cryptography"},
    "protocol": {"h2", "hpack", "hyperframe", "h11", "httptools"},
    "net": NO_GEVENT | {"cryptography"},
    "frontend": NO_GEVENT,
    "backend": NO_GEVENT,
    "proxy": NO_GEVENT,
    "telemetry": set(),
    "worker": NO_GEVENT | {"setproctitle"},
    "master": {"setproctitle"},
    "cli": NO_GEVENT | {"yaml", "pydantic", "pydantic_core"},
}

# Who may import what is not always there, or not always wanted.
MAKES: dict[str, set[str]] = {
    "httptools": {"http1_native"},
    "h2gate.protocol.http1_native": {"engines"},
    "h2gate.protocol.http2_native": {"engines"},
    "h2gate.protocol.http2": {"engines"},
}

# What of the standard library a room may not import: an engine has no socket, clock or log.
FORBIDDEN: dict[str, set[str]] = {
    "protocol": {"asyncio", "datetime", "logging", "os", "random", "select", "selectors", "socket", "ssl"}
    | {"subprocess", "threading", "time"},
}


def modules() -> list[Path]:
    return sorted(path for suffix in ("py", "pyx", "pxi") for path in PACKAGE.rglob(f"*.{suffix}"))


def imports_of(path: Path, source: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the full name of everything that is imported."""
    here = path.relative_to(ROOT).parent.parts
    if path.suffix != ".py":
        # No Python to its parser; a module's own C is its own business (`cimport`).
        for line, text in enumerate(source.splitlines(), 1):
            if found := re.match(r"\s*(?:from\s+([\w.]+)\s+import|import\s+([\w.]+))\b", text):
                yield line, found[1] or found[2]
        return
    for node in ast.walk(ast.parse(source, str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([*here[: len(here) - node.level + 1], *filter(None, [node.module])])
            for alias in node.names:
                yield node.lineno, f"{base}.{alias.name}"


def room_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def offences(path: Path, source: str) -> list[str]:
    """Return a line for each import that the table does not allow."""
    room = room_of(path)
    assert room in ROOMS, f"{path}: {room} is no room of the table"
    allowed = ROOMS[room] | {room}
    found = []
    for line, name in imports_of(path, source):
        top, _, rest = name.partition(".")
        if top == "h2gate":
            words = rest.split(".")
            if words[0] == "__version__":
                continue
            is_allowed = any(words[: len(entry.split("."))] == entry.split(".") for entry in allowed)
        elif top in sys.stdlib_module_names:
            is_allowed = top not in FORBIDDEN.get(room, set())
        else:
            is_allowed = top in PACKAGES.get(room, set())
        if not is_allowed:
            found.append(f"{path.relative_to(ROOT)}:{line}: {room} may not import {name}")
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_what_its_layer_may(path: Path) -> None:
    assert offences(path, path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_make_is_imported_only_where_it_is_chosen(path: Path) -> None:
    for line, name in imports_of(path, path.read_text(encoding="utf-8")):
        for make, importers in MAKES.items():
            if name == make or name.startswith(f"{make}."):
                assert path.parent.name == "protocol", f"{path}:{line}"
                assert path.stem in importers, f"{path}:{line}"


def test_nobody_patches_the_standard_library() -> None:
    for path in modules():
        names = {name for _, name in imports_of(path, path.read_text(encoding="utf-8"))}
        assert not {name for name in names if name.startswith("gevent.monkey")}, path


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("protocol/http2.py", "import gevent"),
        ("protocol/http2_native.pyx", "    import gevent"),
        ("protocol/http2_native.pyx", "from time import monotonic"),
        ("worker/main.py", "from h2gate.protocol import http2"),
        ("worker/main.py", "import httptools"),
        ("cli/sample_backend.py", "from h2gate.protocol.http2_native import server_engine"),
        ("protocol/http2.py", "from time import monotonic"),
        ("protocol/http2.py", "def f():\n    import socket"),
        ("protocol/http2.py", "import logging.handlers"),
        ("protocol/http2.py", "from h2gate.net import tls"),
        ("frontend/http1.py", "from h2gate.backend.pool import Pool"),
        ("backend/pool.py", "if TYPE_CHECKING:\n    from h2gate.frontend.http1 import Http1Session"),
        ("backend/pool.py", "from h2gate import frontend"),
        ("backend/pool.py", "from ..frontend import http1"),
        ("proxy/exchange.py", "from h2gate.frontend.serve import serve"),
        ("worker/main.py", "import h2gate.master.sockets"),
        ("master/arbiter.py", "import gevent"),
        ("master/arbiter.py", "from h2gate.worker.main import run_worker"),
        ("telemetry/access_log.py", "from h2gate.protocol.http2 import server_engine"),
        ("net/transport.py", "import h2"),
        ("errors.py", "from h2gate.config import model"),
    ],
)
def test_the_table_catches_what_it_must(module: str, source: str) -> None:
    (offence,) = offences(PACKAGE / module, source)
    assert offence.startswith(f"h2gate/{module}:")
    assert "may not import" in offence


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("backend/pool.py", "from h2gate.net.flush import FlushQueue"),
        ("backend/pool.py", "from . import dial"),
        ("proxy/exchange.py", "from h2gate.backend.pool import Pool"),
        ("telemetry/formats.py", "from h2gate.protocol.events import RequestHead"),
        ("cli/main.py", "from h2gate import __version__"),
        ("protocol/http1_native.pyx", "import httptools"),
        ("protocol/http2_native.pyx", "from libc.string cimport memcpy"),
        ("protocol/http2_native.pyx", "from h2gate.protocol.fields import Malformed"),
    ],
)
def test_the_table_lets_through_what_is_allowed(module: str, source: str) -> None:
    assert offences(PACKAGE / module, source) == []
