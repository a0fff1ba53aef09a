"""The loads: what the clients speak, how many they are, what they ask for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

KIB = 1024


@dataclass(frozen=True)
class Row:
    """One load. `tls` is the client's side; behind the gate it is always HTTP/2 in clear."""

    key: str
    title: str
    clients: int
    streams: int = 1
    size: int = KIB
    tls: bool = False
    protocol: Literal["h2", "http/1.1"] = "h2"
    is_quick: bool = False

    @property
    def file(self) -> str:
        return f"{self.size}.bin"


ROWS = (
    Row("h2c-10x9", "h2c, 1 KiB, 10 connections x 9 streams", 10, 9, is_quick=True),
    Row("h2c-100x1", "h2c, 1 KiB, 100 connections x 1 stream", 100),
    Row("h2c-1x1", "h2c, 1 KiB, 1 connection x 1 stream", 1),
    Row("tls-10x9", "TLS h2, 1 KiB, 10 connections x 9 streams", 10, 9, tls=True, is_quick=True),
    Row("http1-32", "HTTP/1.1, 1 KiB, 32 connections", 32, protocol="http/1.1", is_quick=True),
    Row("h2c-1m", "h2c, 1 MiB, 10 connections x 4 streams", 10, 4, KIB * KIB, is_quick=True),
    Row("tls-1m", "TLS h2, 1 MiB, 10 connections x 4 streams", 10, 4, KIB * KIB, tls=True),
)
BY_KEY = {row.key: row for row in ROWS}
