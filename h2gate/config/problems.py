"""What is wrong with a configuration, said so that the operator can go to the place and knows what to write."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from h2gate.errors import ExitCode, StartError

# Longest snippet shown; a longer line is cut around the place.
SNIPPET_COLUMNS = 110

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a file: line and column from 1 (0: the file as a whole), and the line's text."""

    file: Path
    line: int = 0
    column: int = 0
    text: str = ""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to correct. `key` is a path as `listeners[0].tls`, empty where none is known."""

    place: Place
    key: str
    message: str

    def __str__(self) -> str:
        place = self.place
        where = f"{place.file}:{place.line}:{place.column}" if place.line else str(place.file)
        first = f"{where}: {self.key}: {self.message}" if self.key else f"{where}: {self.message}"
        return "\n".join([first, *_snippet(place)]) if place.text.strip() else first


def _snippet(place: Place) -> list[str]:
    start = max(0, place.column - SNIPPET_COLUMNS) if len(place.text) > SNIPPET_COLUMNS else 0
    text = place.text[start : start + SNIPPET_COLUMNS]
    # Tabs stay tabs, so that the caret stands below its character in any terminal.
    indent = "".join(character if character == "\t" else " " for character in text[: place.column - 1 - start])
    return [f"    {text}", f"    {indent}^"]


class ConfigError(StartError):
    """The configuration cannot be used; the text is all its problems."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems), ExitCode.BAD_CONFIG)


class BadValue(StartError):
    """What `key` says cannot be used, as was found only after the files were read: by what it names."""

    def __init__(self, key: str, message: str) -> None:
        self.key = key
        self.message = message
        super().__init__(f"{key}: {message}", ExitCode.BAD_CONFIG)


def key_text(path: KeyPath) -> str:
    """Write a path of keys and indexes as operators do: `listeners[0].tls.certificates[1].key`."""
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in path]
    return "".join(parts).removeprefix(".")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean ...?` for the nearest of `known`, or nothing if none is near."""
    by_form = {_form(name): name for name in known}
    near = difflib.get_close_matches(_form(word), by_form, n=1)
    return f"; did you mean `{by_form[near[0]]}`?" if near else ""


def _form(word: str) -> str:
    return word.lower().replace("-", "_")
