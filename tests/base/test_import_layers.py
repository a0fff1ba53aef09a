"""Who may import whom: every module's imports, read without running it, against one table.

Imports within functions and under TYPE_CHECKING count too: a room that needs another's types knows it.
"""

from __future__ import annotations

import ast
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
ROOMS: dict[str, set[str]] = {
    "errors": set(),
    "lifecycle": set(),
    "config": BASE,
    "contract": BASE | PROTOCOL_WORDS,
    "errorlog": BASE | {"config"},
    "handover": BASE | {"config"},
    "protocol": BASE | {"config"},
    "net": BASE | {"config", "protocol"},
    "frontend": BASE | {"config", "contract", "protocol", "net"},
    "backend": BASE | {"config", "contract", "protocol", "net"},
    "proxy": BASE | {"config", "contract", "protocol", "net", "backend"},
    "telemetry": BASE | {"config", "contract", "errorlog"} | PROTOCOL_WORDS,
    "worker": BASE
    | {"config", "contract", "errorlog", "handover", "protocol", "net", "frontend", "backend", "proxy", "telemetry"},
    "master": BASE | {"config", "errorlog", "handover"},
}
ROOMS["cli"] = set(ROOMS)
ROOMS["__main__"] = {"cli"}
ROOMS["__init__"] = set()

# What from outside of the house each room may import beside the standard library.
PACKAGES: dict[str, set[str]] = {
    "config": {"yaml", "pydantic", "pydantic_core", "cryptography"},
    "protocol": {"h2", "hpack", "hyperframe", "h11"},
    "net": NO_GEVENT,
    "frontend": NO_GEVENT,
    "backend": NO_GEVENT,
    "proxy": NO_GEVENT,
    "telemetry": set(),
    "worker": NO_GEVENT | {"setproctitle"},
    "master": {"setproctitle"},
    "cli": NO_GEVENT | {"yaml", "pydantic", "pydantic_core", "h2", "hpack", "hyperframe"},
}

# What of the standard library a room may not import: an engine has no socket, clock or log.
FORBIDDEN: dict[str, set[str]] = {
    "protocol": {"asyncio", "datetime", "logging", "os", "random", "select", "selectors", "socket", "ssl"}
    | {"subprocess", "threading", "time"},
}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def imports_of(path: Path, source: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the full name of everything that is imported."""
    here = path.relative_to(ROOT).parent.parts
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


def test_nobody_patches_the_standard_library() -> None:
    for path in modules():
        names = {name for _, name in imports_of(path, path.read_text(encoding="utf-8"))}
        assert not {name for name in names if name.startswith("gevent.monkey")}, path


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("protocol/http2.py", "import gevent"),
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
    ],
)
def test_the_table_lets_through_what_is_allowed(module: str, source: str) -> None:
    assert offences(PACKAGE / module, source) == []
