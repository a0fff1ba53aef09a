"""What a field of a request or a parameter of its query is compared with."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, Self

from h2gate.config.patterns import compile_regex
from h2gate.config.written import Scalar


@dataclass(frozen=True, slots=True)
class ValuePattern(Scalar):
    """What a value must be: exactly `text`, or one that a `regex` is found in."""

    kind: Literal["exact", "regex"]
    text: str
    regex: re.Pattern[bytes] | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        kind, colon, rest = text.partition(":")
        if not colon or kind != "regex":
            return cls("exact", text)
        if not rest:
            raise ValueError("write a regular expression behind regex:")
        return cls("regex", rest, compile_regex(rest))

    def matches(self, value: bytes) -> bool:
        return value == self.text.encode("utf-8") if self.regex is None else self.regex.search(value) is not None

    def covers(self, later: ValuePattern) -> bool:
        """Tell whether every value that `later` matches is matched by this one, as far as can be told."""
        return self == later or (later.kind == "exact" and self.matches(later.text.encode("utf-8")))

    def __str__(self) -> str:
        return self.text if self.kind == "exact" else f"regex:{self.text}"
