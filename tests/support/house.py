"""The house most tests of a whole gate live in: a gate with one worker, a Node backend behind it, clients before it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tests.support.certificates import Authority, Site
from tests.support.gate import Gate
from tests.support.http1_client import Http1Client
from tests.support.http2_client import Http2Client
from tests.support.node_backend import NodeBackend

Kind = Literal["http1", "h2c", "h2"]
KINDS: tuple[Kind, ...] = ("http1", "h2c", "h2")
Client = Http1Client | Http2Client


@dataclass
class House:
    """A gate, the Node backend behind it, and clients for it. Route `/tls/` goes to the backend's TLS port."""

    gate: Gate
    node: NodeBackend
    authority: Authority

    def client(self, kind: Kind, **options: Any) -> Client:
        match kind:
            case "http1":
                return Http1Client(self.gate.port, **options)
            case "h2c":
                return Http2Client(self.gate.port, **options)
            case "h2":
                return Http2Client(self.gate.tls_port, self.authority.client_context("h2"), **options)


@contextlib.contextmanager
def house_in(directory: Path, authority: Authority, site: Site, **sections: Any) -> Iterator[House]:
    """Run a house in `directory`; `sections` are added to the config (`pool` to both its backends)."""
    pool = sections.pop("pool", {})
    workers = sections.pop("workers", 1)
    with NodeBackend(directory, site=site) as node:
        backends = {
            "clear": {"endpoints": [node.url], "pool": pool},
            "secure": {"endpoints": [node.tls_url], "pool": pool, "tls": {"ca": str(authority.cert)}},
        }
        routes = [
            {"match": {"path": "/tls/"}, "backend": "secure"},
            {"match": {"path": "/"}, "backend": "clear"},
        ]
        sections = {"backends": backends, **sections}
        with Gate(directory, routes=routes, workers=workers, sites=[site], sections=sections) as gate:
            yield House(gate, node, authority)
