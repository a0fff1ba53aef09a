"""An exchange that is over, as the log sees it."""

from __future__ import annotations

from dataclasses import dataclass, field

from h2gate.contract import Client
from h2gate.errors import Failure
from h2gate.protocol.events import Fields, RequestHead, ResponseHead


def request(
    target: bytes = b"/app/x?y=1", fields: list[tuple[bytes, bytes]] | None = None, version: bytes = b"HTTP/1.1"
) -> RequestHead:
    return RequestHead(b"GET", b"http", b"a.example:8080", b"/app/x?y=1", fields or [], version, None, target)


@dataclass
class Line:
    client: Client = field(default_factory=lambda: Client("203.0.113.7", 40000, 8080, b"http", False))
    request: RequestHead = field(default_factory=request)
    request_id: bytes = b"0123456789abcdef"
    response: ResponseHead | None = None
    request_trailers: Fields = field(default_factory=list)
    response_trailers: Fields = field(default_factory=list)
    backend_status: int | None = 200
    source_port: int | None = 40001
    status: int = 200
    bytes_sent: int = 1234
    bytes_received: int = 5
    began: float = 1_700_000_000.123456
    queued_seconds: float | None = 0.0004
    head_seconds: float | None = 0.0101
    total_seconds: float = 0.0123456
    route: str | None = "/app/"
    endpoint: str | None = "h2c://127.0.0.1:9000"
    retries: int = 1
    failure: Failure | None = None
