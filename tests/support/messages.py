"""What a test client got: one shape for HTTP/1.1 and HTTP/2."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

Fields = list[tuple[str, str]]


@dataclass
class Head:
    """A status and its fields, final or interim; field names in lower case."""

    status: int
    fields: Fields = field(default_factory=list)

    def __getitem__(self, name: str) -> str:
        """Return the field's only value."""
        (value,) = self.all(name)
        return value

    def get(self, name: str) -> str | None:
        values = self.all(name)
        assert len(values) <= 1, f"{name} came {len(values)} times"
        return values[0] if values else None

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key == name.lower()]


@dataclass
class Response(Head):
    """A response, as far as it came.

    `is_complete` is a clean end by the protocol's framing; otherwise `broken` says how it broke. `body` is kept only if
    the client was not told to hash it; `size` and `sha256` are always there.
    """

    interim: list[Head] = field(default_factory=list)
    body: bytes = b""
    size: int = 0
    trailers: Fields = field(default_factory=list)
    is_complete: bool = False
    broken: str = ""
    keeps_body: bool = True
    digest: Any = field(default_factory=hashlib.sha256, repr=False)

    def add(self, data: bytes) -> None:
        self.size += len(data)
        self.digest.update(data)
        if self.keeps_body:
            self.body += data

    @property
    def sha256(self) -> str:
        return str(self.digest.hexdigest())

    def json(self) -> Any:
        return json.loads(self.body)
