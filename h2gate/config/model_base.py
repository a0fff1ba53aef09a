"""What all models of the configuration share.

The rule: a key is told where it is: what it does (`description`), why its default is what it is, and an example. A test
fails where one of the three is missing, or the example is refused.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, JsonValue
from pydantic.fields import FieldInfo


class Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, arbitrary_types_allowed=True)


def told(why: str, example: str) -> dict[str, JsonValue]:
    """Return a field's `json_schema_extra`.

    `why`: the reason of the default, or of there being none. `example`: YAML of the section that the key is in, with
    the keys that it needs beside it.
    """
    return {"why": why, "example": example}


def keys_of(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Return a model's fields by what operators write: `json`, where Python says `json_`."""
    return {info.alias or name: info for name, info in model.model_fields.items()}
