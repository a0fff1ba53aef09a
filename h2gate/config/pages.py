"""Bodies of errors: files that are read with the configuration.

The rule: a worker never opens one. It may run as a user who cannot, or be started long after the file has changed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator

from h2gate.config.units import read_existing_file

# It is held by each worker, once for each mention, and sent without regard to how fast the client takes it.
LARGEST_BYTES = 1_048_576


@dataclass(frozen=True, slots=True)
class Page:
    """A file and what was in it."""

    path: Path
    content: bytes = field(repr=False)

    def __str__(self) -> str:
        return str(self.path)


def _read_page(value: object) -> object:
    if isinstance(value, Page):
        return value
    path = read_existing_file(value)
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_BYTES + 1)
    except OSError as failure:
        raise ValueError(f"cannot read {path}: {failure.strerror}") from None
    if len(content) > LARGEST_BYTES:
        raise ValueError(f"{path} is larger than 1 MiB")
    return Page(path, content)


PageFile = Annotated[Page, BeforeValidator(_read_page, json_schema_input_type=str)]
