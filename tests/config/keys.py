"""All keys of the configuration, by their paths: `listeners[].tls.certificates[].key`, `backends.NAME.pool.queue`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from h2gate.config.model_base import keys_of
from h2gate.config.wording import model_in


def entries_of(model: type[BaseModel], section: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Yield each key's path and field, those of models within models too."""
    for name, info in keys_of(model).items():
        path = f"{section}.{name}".removeprefix(".")
        yield path, info
        child = model_in(info.annotation)
        if child is not None:
            yield from entries_of(child, path + {tuple: "[]", dict: ".NAME"}.get(get_origin(info.annotation), ""))
