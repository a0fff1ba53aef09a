"""The validator's findings in the operator's words.

Pydantic tells what was wrong in Python's terms and by a path; here each becomes what to write instead, at its place.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from h2gate.config.document import Entries, Items, Leaf, Node
from h2gate.config.model import Config
from h2gate.config.model_base import keys_of
from h2gate.config.problems import KeyPath, Place, Problem, did_you_mean, key_text

# What is wanted, by the type of the error: "write ..., not ...".
_WANTED: dict[str, Callable[[dict[str, Any]], str]] = {
    "bool_type": lambda context: "true or false",
    "int_type": lambda context: "a whole number",
    "string_type": lambda context: "text",
    "tuple_type": lambda context: "a list",
    "dict_type": lambda context: "keys and values",
    "model_type": lambda context: "keys and values",
    "literal_error": lambda context: _alternatives(_options(context["expected"])),
    "greater_than_equal": lambda context: f"{context['ge']} or more",
    "less_than_equal": lambda context: f"{context['le']} at most",
    "too_short": lambda context: "one at least",
}
_TYPE_ERRORS = frozenset({"bool_type", "int_type", "string_type", "literal_error"})


def problems_of(root: Entries, errors: Sequence[ErrorDetails]) -> Iterator[Problem]:
    """Turn a ValidationError's `errors()` into problems, one for each place in the tree."""
    errors = [error for error in errors if not _is_echo(root, error)]
    # The alternatives of a union come one after another, with the same place and a tail that names the alternative.
    for path, alternatives in groupby(errors, key=lambda error: key_path_of(root, error)):
        yield _problem(root, path, list(alternatives))


def _is_echo(root: Entries, error: ErrorDetails) -> bool:
    """Tell whether a list is only too short because its items are wrong, which is said of them already."""
    node = _walk(root, error["loc"])[0]
    return error["type"] == "too_short" and isinstance(node, Items) and bool(node.items)


def is_unknown_key(error: ErrorDetails) -> bool:
    return error["type"] == "extra_forbidden"


def key_path_of(root: Entries, error: ErrorDetails) -> KeyPath:
    """Return the keys and indexes of an error that are in the tree, and the key that is missing from it."""
    path = error["loc"][: _walk(root, error["loc"])[2]]
    return (*path, error["loc"][-1]) if error["type"] == "missing" else path


def place_of(root: Entries, path: KeyPath) -> Place:
    """Return where `path` stands: a value's own place, the key of a mapping or list; else what it is missing from."""
    return _walk(root, path)[1]


def place_of_key(root: Entries, key: str) -> Place:
    """Return where a key stands that is given as text, as `listeners[0].tls`; the file where it is not there."""
    return place_of(root, next((path for path in _paths(root, ()) if key_text(path) == key), ()))


def _paths(node: Node, path: KeyPath) -> Iterator[KeyPath]:
    yield path
    if isinstance(node, Entries):
        for name, entry in node.entries.items():
            yield from _paths(entry.node, (*path, name))
    elif isinstance(node, Items):
        for index, item in enumerate(node.items):
            yield from _paths(item, (*path, index))


def _walk(root: Entries, path: KeyPath) -> tuple[Node, Place, int]:
    """Follow `path` as far as the tree goes: the last node, its place, and how many steps."""
    node: Node = root
    place = root.place
    for steps, part in enumerate(path):
        if isinstance(node, Entries) and part in node.entries:
            entry = node.entries[part]
            node = entry.node
            place = node.place if isinstance(node, Leaf) else entry.place
        elif isinstance(node, Items) and isinstance(part, int) and part < len(node.items):
            node = node.items[part]
            place = node.place
        else:
            return node, place, steps
    return node, place, len(path)


def _problem(root: Entries, path: KeyPath, errors: list[ErrorDetails]) -> Problem:
    node, place, _ = _walk(root, path)
    first = errors[0]
    if is_unknown_key(first):
        *parents, word = path
        entry = _entries_at(root, tuple(parents)).entries[str(word)]
        known = keys_of(model_at(tuple(parents)))
        hint = did_you_mean(str(word), known) or f"; the keys here are {', '.join(known)}"
        return Problem(entry.place, key_text(path), f"unknown key{hint}")
    if first["type"] == "missing":
        return Problem(place, key_text(path), "this key is missing")
    return Problem(place, key_text(path), _message(node, errors))


def _entries_at(root: Entries, path: KeyPath) -> Entries:
    node = _walk(root, path)[0]
    assert isinstance(node, Entries)
    return node


def _message(node: Node, errors: list[ErrorDetails]) -> str:
    # An alternative that took the value's type, and then found fault with it, is the one that was meant.
    telling = [error for error in errors if error["type"] not in _TYPE_ERRORS] or errors
    for error in telling:
        if error["type"] == "value_error":
            return str(error["ctx"]["error"])
    wanted = [_WANTED[error["type"]](error.get("ctx", {})) for error in telling if error["type"] in _WANTED]
    if not wanted:
        return telling[0]["msg"]
    return f"write {' or '.join(wanted)}, not {_shown(node)}{_hint(node, telling)}"


def _shown(node: Node) -> str:
    if isinstance(node, Leaf):
        return "nothing" if node.value is None else f"`{node.written}`"
    if isinstance(node, Items):
        return "a list" if node.items else "an empty list"
    return "keys and values"


def _hint(node: Node, errors: list[ErrorDetails]) -> str:
    if not isinstance(node, Leaf) or node.value is None:
        return ""
    kind = errors[0]["type"]
    options = [option for error in errors if error["type"] == "literal_error" for option in _options_of(error)]
    if kind == "tuple_type":
        return f": [{node.written}]"
    if not isinstance(node.value, str) and (kind == "string_type" or node.written in options):
        return f': in quotes, "{node.written}"'
    return did_you_mean(node.written, options)


def _options_of(error: ErrorDetails) -> list[str]:
    return _options(error["ctx"]["expected"])


def _options(expected: str) -> list[str]:
    """Return the values in pydantic's `'a', 'b' or 'c'` or `301, 302 or 303`."""
    return [text or number for text, number in re.findall(r"'([^']*)'|(\d+)", expected)]


def _alternatives(options: list[str]) -> str:
    quoted = [f"`{option}`" for option in options]
    return " or ".join(filter(None, [", ".join(quoted[:-1]), quoted[-1]]))


def model_at(path: KeyPath) -> type[BaseModel]:
    """Return the model of the mapping at `path`."""
    model: type[BaseModel] = Config
    parts = iter(path)
    for part in parts:
        annotation = keys_of(model)[str(part)].annotation
        model = model_in(annotation) or model
        if get_origin(annotation) in (dict, tuple):
            # The name of a backend, or an index: it stays in the annotation.
            next(parts, None)
    return model


def model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the model in an annotation as `tuple[Route, ...]`, which has one at most; None if it has none."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(model_in, get_args(annotation))), None)
