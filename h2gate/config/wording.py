"""The validator's findings in the operator's words.

Pydantic tells what was wrong in Python's terms and by a path; here each becomes what to write instead, at its place.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby, takewhile
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
_TYPE_ERRORS = frozenset({"bool_type", "int_type", "string_type", "tuple_type", "literal_error"})
_CONTAINERS = frozenset({"tuple_type", "dict_type", "model_type"})

# What Apache and nginx call it: too far from ours to be found by the letters.
_ELSEWHERE = {"append": "add", "delete": "remove", "merge": "add", "unset": "remove"}


def problems_of(root: Entries, errors: Sequence[ErrorDetails]) -> Iterator[Problem]:
    """Turn a ValidationError's `errors()` into problems, one for each place in the tree."""
    paths = [key_path_of(root, error) for error in errors]
    errors = [error for error in errors if not _is_echo(root, error, paths)]
    # The alternatives of a union come one after another, with the same place and a tail that names the alternative.
    for path, alternatives in groupby(errors, key=lambda error: key_path_of(root, error)):
        yield _problem(root, path, list(alternatives))


def _is_echo(root: Entries, error: ErrorDetails, paths: Sequence[KeyPath]) -> bool:
    """Tell whether a list is only wrong because its items are, which is said of them already."""
    node, _, path = _walk(root, error["loc"])
    if not isinstance(node, Items):
        return False
    if error["type"] == "too_short":
        return bool(node.items)
    # Another alternative of the union took it for a list.
    return error["type"] in _TYPE_ERRORS and any(len(other) > len(path) == _common(other, path) for other in paths)


def _common(one: KeyPath, other: KeyPath) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def is_unknown_key(error: ErrorDetails) -> bool:
    return error["type"] == "extra_forbidden"


def key_path_of(root: Entries, error: ErrorDetails) -> KeyPath:
    """Return the keys and indexes of an error that are in the tree, and the key that is missing from it."""
    path = _walk(root, error["loc"])[2]
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


def _walk(root: Entries, path: KeyPath) -> tuple[Node, Place, KeyPath]:
    """Follow `path` as far as the tree goes: the last node, its place, and the path to it."""
    node: Node = root
    place = root.place
    walked: KeyPath = ()
    for part in path:
        if isinstance(node, Entries) and part in node.entries:
            entry = node.entries[part]
            node = entry.node
            place = node.place if isinstance(node, Leaf) else entry.place
        elif isinstance(node, Items) and isinstance(part, int) and part < len(node.items):
            node = node.items[part]
            place = node.place
        elif isinstance(node, Items) and isinstance(part, str):
            # The alternative of a union, as `tuple[int, ...]`: what is wrong within it comes behind.
            continue
        else:
            break
        walked = (*walked, part)
    return node, place, walked


def _problem(root: Entries, path: KeyPath, errors: list[ErrorDetails]) -> Problem:
    node, place, _ = _walk(root, path)
    first = errors[0]
    if is_unknown_key(first):
        *parents, word = path
        entry = _entries_at(root, tuple(parents)).entries[str(word)]
        known = keys_of(model_at(tuple(parents)))
        elsewhere = _ELSEWHERE.get(str(word))
        near = did_you_mean(str(word) if elsewhere not in known else elsewhere, known)
        hint = near or f"; the keys here are {', '.join(known)}"
        return Problem(entry.place, key_text(path), f"unknown key{hint}")
    if first["type"] == "missing":
        return Problem(place, key_text(path), "this key is missing")
    return Problem(place, key_text(path), _message(path, node, errors))


def _entries_at(root: Entries, path: KeyPath) -> Entries:
    node = _walk(root, path)[0]
    assert isinstance(node, Entries)
    return node


def _message(path: KeyPath, node: Node, errors: list[ErrorDetails]) -> str:
    # An alternative that took the value's type, and then found fault with it, is the one that was meant.
    telling = [error for error in errors if error["type"] not in _TYPE_ERRORS] or errors
    for error in telling:
        if error["type"] == "value_error":
            return str(error["ctx"]["error"])
    wanted = [_WANTED[error["type"]](error.get("ctx", {})) for error in telling if error["type"] in _WANTED]
    if not wanted:
        return telling[0]["msg"]
    return f"write {' or '.join(wanted)}, not {_shown(node)}{_hint(path, node, telling)}"


def _shown(node: Node) -> str:
    if isinstance(node, Leaf):
        return "nothing" if node.value is None else f"`{node.written}`"
    if isinstance(node, Items):
        return "a list" if node.items else "an empty list"
    return "keys and values"


def _hint(path: KeyPath, node: Node, errors: list[ErrorDetails]) -> str:
    kinds = {error["type"] for error in errors}
    model, example = _described_at(path)
    is_text = isinstance(node, Leaf) and isinstance(node.value, str)
    if isinstance(node, Leaf) and node.value is not None:
        options = [option for error in errors if error["type"] == "literal_error" for option in _options_of(error)]
        if "tuple_type" in kinds and model is None and (len(kinds) == 1 or not is_text):
            return f": [{node.written}]"
        if not is_text and ("string_type" in kinds or node.written in options):
            return f': in quotes, "{node.written}"'
        near = did_you_mean(node.written, options)
        if near:
            return near
    return f", as in `{example}`" if example and kinds & _CONTAINERS else ""


def _described_at(path: KeyPath) -> tuple[type[BaseModel] | None, str]:
    """Return the model that a key's value has within, and the line of the key's example that has it."""
    *parents, key = path
    if isinstance(key, int) or parents == ["backends"]:
        return None, ""  # an item, or a name that the operator has given
    info = keys_of(model_at(tuple(parents))).get(key)
    extra = None if info is None else info.json_schema_extra
    if info is None or not isinstance(extra, dict):
        return None, ""
    lines = str(extra["example"]).split("\n")
    return model_in(info.annotation), next((line for line in lines if line.startswith(f"{key}: ")), "")


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
