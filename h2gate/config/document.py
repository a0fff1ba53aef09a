"""One YAML file, read into a tree that knows where each value stands.

YAML 1.2's core schema, on PyYAML's parser: `on`, `off`, `yes` and `no` are text, `010` is ten. The rule: nothing here
raises for what a file holds; every problem is collected with its place, and the rest of the file is read on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from yaml.composer import Composer
from yaml.parser import Parser
from yaml.reader import Reader
from yaml.resolver import BaseResolver
from yaml.scanner import Scanner

from h2gate.config.problems import KeyPath, Place, Problem, key_text
from h2gate.config.written import Written

# The model is 7 deep; beyond this an alias stands within its own anchor, or somebody plays.
DEEPEST = 30
# Values that aliases may repeat in one file: enough for any table of routes, little enough for memory.
MOST_REPEATED = 100_000
NO_TEXT = "half of a surrogate pair is no character"

# What ends a line for PyYAML, so that our lines are its lines.
_LINE_END = re.compile("\r\n|[\n\r\x85\u2028\u2029]")

# Tag of a plain scalar, whose type its text decides, once the environment is filled in.
_PLAIN = "plain"
_TEXT = "tag:yaml.org,2002:str"
_MAPPING = "tag:yaml.org,2002:map"
_SEQUENCE = "tag:yaml.org,2002:seq"


@dataclass(frozen=True, slots=True)
class Leaf:
    """A scalar. `written` is its text after the environment was filled in."""

    place: Place
    value: Written | int | float | bool | None
    written: str


@dataclass(frozen=True, slots=True)
class Items:
    place: Place
    items: list[Node]


@dataclass(frozen=True, slots=True)
class Entry:
    place: Place
    node: Node


@dataclass(frozen=True, slots=True)
class Entries:
    place: Place
    entries: dict[str, Entry]


Node = Leaf | Items | Entries


@dataclass(slots=True)
class Document:
    """A file's top-level mapping, None if it has none, and the file's problems."""

    file: Path
    root: Entries | None = None
    problems: list[Problem] = field(default_factory=list)


def read(file: Path, environ: Mapping[str, str]) -> Document:
    """Read a file; `${NAME}` comes from `environ`."""
    document = Document(file)
    try:
        data = file.read_bytes()
    except OSError as failure:
        document.problems.append(Problem(Place(file), "", f"cannot read it: {failure.strerror}"))
        return document
    text = _decode(data, document)
    if text is None:
        return document
    builder = _Builder(document, _LINE_END.split(text), environ)
    node = builder.compose(text)
    if node is not None:
        document.root = builder.root(node)
    return document


def plain(node: Node, without: frozenset[KeyPath] = frozenset(), path: KeyPath = ()) -> Any:
    """Return the values alone: dicts, tuples and scalars; entries whose path is in `without` are left out."""
    if isinstance(node, Leaf):
        return node.value
    if isinstance(node, Items):
        return tuple(plain(item, without, (*path, index)) for index, item in enumerate(node.items))
    return {
        key: plain(entry.node, without, (*path, key))
        for key, entry in node.entries.items()
        if (*path, key) not in without
    }


def _decode(data: bytes, document: Document) -> str | None:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as failure:
        before = _LINE_END.split(data[: failure.start].decode("utf-8", "replace"))
        place = Place(document.file, len(before), len(before[-1]) + 1)
        document.problems.append(Problem(place, "", "this is not UTF-8: save the file in that encoding"))
        return None
    unprintable = Reader.NON_PRINTABLE.search(text)
    if unprintable is not None:
        before = _LINE_END.split(text[: unprintable.start()])
        place = Place(document.file, len(before), len(before[-1]) + 1)
        document.problems.append(Problem(place, "", f"the character {unprintable[0]!r} cannot stand in YAML"))
        return None
    return text


class _Composer(Reader, Scanner, Parser, Composer, BaseResolver):
    """PyYAML without its constructors and its YAML 1.1 types."""

    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)
        BaseResolver.__init__(self)

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> Any:
        if kind is yaml.ScalarNode:
            return _PLAIN if implicit[0] else _TEXT
        return _MAPPING if kind is yaml.MappingNode else _SEQUENCE


class _TooMuch(Exception):
    """The file cannot be read to its end."""

    def __init__(self, node: yaml.Node, message: str) -> None:
        super().__init__(message)
        self.node = node


class _Builder:
    """Turns PyYAML's nodes of one file into ours."""

    def __init__(self, document: Document, lines: list[str], environ: Mapping[str, str]) -> None:
        self._document = document
        self._lines = lines
        self._environ = environ
        self._directory = document.file.absolute().parent
        self._seen: set[int] = set()
        self._repeated = 0

    def compose(self, text: str) -> yaml.Node | None:
        composer = _Composer(text)
        try:
            node: yaml.Node | None = composer.get_single_node()
        except yaml.MarkedYAMLError as failure:
            mark = failure.problem_mark or composer.get_mark()
            said = ": ".join(part for part in (failure.context, failure.problem) if part)
            if "'\\t'" in said:
                said = "a tab, where YAML takes only spaces"
            self._add(self._place(mark.line, mark.column), (), f"not YAML: {said}")
            return None
        except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as failure:
            # PyYAML lets some through: an escape beyond Unicode, a version of 5000 digits, 1000 brackets.
            mark = composer.get_mark()
            said = "nested too deeply" if isinstance(failure, RecursionError) else str(failure)
            self._add(self._place(mark.line, mark.column), (), f"not YAML: {said}")
            return None
        if node is None:
            self._add(Place(self._document.file), (), "the file is empty")
        return node

    def root(self, node: yaml.Node) -> Entries | None:
        try:
            root = self._node(node, ())
        except _TooMuch as failure:
            self._add(self._place_of(failure.node), (), str(failure))
            return None
        if not isinstance(root, Entries):
            self._add(root.place, (), "the file must hold keys and values, as `listeners:`")
            return None
        return root

    def _node(self, node: yaml.Node, path: KeyPath) -> Node:
        if len(path) > DEEPEST:
            raise _TooMuch(node, "nested too deeply: is there an alias within its own anchor?")
        self._repeated += id(node) in self._seen
        if self._repeated > MOST_REPEATED:
            raise _TooMuch(node, "aliases repeat too much")
        self._seen.add(id(node))
        if node.tag not in (_PLAIN, _TEXT, _MAPPING, _SEQUENCE):
            self._add(self._place_of(node), path, f"tags are not used here: leave {node.tag} out")
        if isinstance(node, yaml.MappingNode):
            return Entries(self._place_of(node), self._entries(node, path))
        if isinstance(node, yaml.SequenceNode):
            return Items(
                self._place_of(node), [self._node(item, (*path, index)) for index, item in enumerate(node.value)]
            )
        return self._leaf(node, path)

    def _entries(self, mapping: yaml.MappingNode, path: KeyPath) -> dict[str, Entry]:
        entries: dict[str, Entry] = {}
        merged: dict[str, Entry] = {}
        for key, value in mapping.value:
            place = self._place_of(key)
            if not isinstance(key, yaml.ScalarNode):
                self._add(place, path, "a key must be a word")
            elif not _is_text(key.value):
                self._add(place, path, NO_TEXT)
            elif key.tag == _PLAIN and key.value == "<<":
                merged = {**self._merged(value, path), **merged}
            elif key.value in entries:
                first = entries[key.value].place.line
                self._add(place, (*path, key.value), f"the key is there twice, first in line {first}: leave one")
            else:
                entries[key.value] = Entry(place, self._node(value, (*path, key.value)))
        return {**merged, **entries}

    def _merged(self, value: yaml.Node, path: KeyPath) -> dict[str, Entry]:
        """Return what a merge key brings; of several mappings the first wins (yaml.org/type/merge.html)."""
        entries: dict[str, Entry] = {}
        for source in value.value if isinstance(value, yaml.SequenceNode) else [value]:
            node = self._node(source, (*path, "<<"))
            if isinstance(node, Entries):
                entries = {**node.entries, **entries}
            else:
                self._add(self._place_of(source), path, "only keys and values can be merged by <<")
        return entries

    def _leaf(self, node: yaml.Node, path: KeyPath) -> Leaf:
        place = self._place_of(node)
        text = self._filled_in(node, path)
        if text is not None and not _is_text(text):
            self._add(place, path, NO_TEXT)
            text = None
        if text is None:
            # Empty text, and not nothing: for the checks the key is there.
            return Leaf(place, Written("", self._directory), "")
        if node.tag == _PLAIN:
            return Leaf(place, _typed(text, self._directory), text)
        return Leaf(place, Written(text, self._directory), text)

    def _filled_in(self, node: yaml.Node, path: KeyPath) -> str | None:
        """Return a scalar's text with `$$`, `${NAME}` and `${NAME:-default}` replaced; None if one cannot be."""
        failed = False

        def replacement(found: re.Match[str]) -> str:
            nonlocal failed
            try:
                return self._value_of(found[0])
            except ValueError as failure:
                failed = True
                self._add(self._place_in(node, found[0]), path, str(failure))
                return ""

        text = re.sub(r"\$\$|\$\{[^}]*\}?", replacement, node.value)
        return None if failed else text

    def _value_of(self, reference: str) -> str:
        if reference == "$$":
            return "$"
        found = re.fullmatch(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-((?:(?!\$\{).)*))?\}", reference, re.ASCII | re.DOTALL)
        if found is None:
            raise ValueError("write ${NAME} or ${NAME:-default}; $$ is a plain $")
        name, default = found.groups()
        value = self._environ.get(name)
        if not value and default is not None:
            # As in a shell: a variable that is empty takes the default too.
            return str(default)
        if value is None:
            raise ValueError(f"the environment has no {name}: set it, or write ${{{name}:-default}}")
        return value

    def _add(self, place: Place, path: KeyPath, message: str) -> None:
        self._document.problems.append(Problem(place, key_text(path), message))

    def _place_of(self, node: yaml.Node) -> Place:
        return self._place(node.start_mark.line, node.start_mark.column)

    def _place_in(self, node: yaml.Node, part: str) -> Place:
        """Return where `part` stands in a scalar, or the scalar's own place if its text was folded."""
        line, column = node.start_mark.line, node.start_mark.column
        found = self._lines[line].find(part, column)
        return self._place(line, column if found < 0 else found)

    def _place(self, line: int, column: int) -> Place:
        text = self._lines[line] if line < len(self._lines) else ""
        return Place(self._document.file, line + 1, column + 1, text)


def _is_text(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _typed(text: str, directory: Path) -> Written | int | float | bool | None:
    """Return what a plain scalar stands for (YAML 1.2.2, 10.3.2)."""
    if text in ("", "~", "null", "Null", "NULL"):
        return None
    if text in ("true", "True", "TRUE", "false", "False", "FALSE"):
        return text.lower() == "true"
    # 18 digits: more are no number that a key takes, and int() refuses 5000 of them.
    if re.fullmatch(r"[-+]?[0-9]{1,18}", text, re.ASCII):
        return int(text)
    if re.fullmatch(r"0o[0-7]{1,18}|0x[0-9a-fA-F]{1,15}", text, re.ASCII):
        return int(text, 0)
    if re.fullmatch(r"[-+]?((\.[0-9]+|[0-9]+\.[0-9]*)([eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+)", text, re.ASCII):
        return float(text)
    return Written(text, directory)
