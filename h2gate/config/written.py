"""How a value comes out of a file: where its text stood, and how it becomes its type."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Self

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, PydanticKnownError, core_schema

# Validation context of the loader: the values were written by an operator, so that bare numbers need a unit.
FROM_FILE: dict[str, Any] = {"from_file": True}


class Written(str):
    """Text of a file; relative paths in it start from the file's `directory`."""

    __slots__ = ("directory",)

    directory: Path

    def __new__(cls, text: str, directory: Path) -> Self:
        written = super().__new__(cls, text)
        written.directory = directory
        return written


class Scalar(ABC):
    """A value that is written as one text: `parse(str(value)) == value`."""

    __slots__ = ()

    @classmethod
    @abstractmethod
    def parse(cls, text: str) -> Self:
        """Read the operator's text. Raises ValueError, which says what to write instead."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: type, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls._read,
            serialization=core_schema.to_string_ser_schema(),
            json_schema_input_schema=core_schema.str_schema(),
        )

    @classmethod
    def _read(cls, value: object) -> Self:
        if isinstance(value, cls):
            return value
        if isinstance(value, (dict, tuple)):
            raise PydanticKnownError("string_type")
        # What YAML took for a number can be no address, but its text gives the better hint.
        return cls.parse("" if value is None else str(value))
