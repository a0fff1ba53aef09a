"""The main file and those it includes, as one tree.

Included files add to `backends`, `listeners` and `routes`; any other key may be set once in all files together. The
rule: a broken file hides no problem of another one.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from h2gate.config.document import Entries, Entry, Items, Leaf, Node, read
from h2gate.config.problems import Place, Problem

_LISTS = ("listeners", "routes")


@dataclass(slots=True)
class Tree:
    """All files in one. `is_whole` is false if parts of it could not be read: what is missing may be in them."""

    root: Entries
    problems: list[Problem] = field(default_factory=list)
    is_whole: bool = True

    def add(self, place: Place, key: str, message: str) -> None:
        self.problems.append(Problem(place, key, message))


def read_tree(file: Path, environ: Mapping[str, str]) -> Tree:
    """Read `file` and what it includes; `${NAME}` comes from `environ`."""
    main = read(file, environ)
    if main.root is None:
        return Tree(Entries(Place(file), {}), main.problems, is_whole=False)
    root = Entries(main.root.place, dict(main.root.entries))
    tree = Tree(root, main.problems)
    include = root.entries.pop("include", None)
    if include is not None:
        for included in _files(file, include.node, tree):
            document = read(included, environ)
            tree.problems += document.problems
            if document.root is None:
                tree.is_whole = False
            else:
                _merge(tree, document.root)
    return tree


def _files(main: Path, include: Node, tree: Tree) -> list[Path]:
    """Return the included files, each once, in the order of the patterns and then of their names."""
    seen = {os.path.realpath(main)}
    files = []
    for pattern in _patterns(include, tree):
        # Joined to the main file's path as it was given: so problems name files as the operator does.
        found = sorted(glob.glob(str(main.parent / pattern.written)))
        if not found and not glob.has_magic(pattern.written):
            tree.add(pattern.place, "include", f"there is no file {pattern.written}")
            tree.is_whole = False
        for name in found:
            if os.path.isdir(name):
                tree.add(
                    pattern.place, "include", f"{name} is a directory: write {os.path.join(pattern.written, '*.yaml')}"
                )
                tree.is_whole = False
            elif os.path.realpath(name) not in seen:
                seen.add(os.path.realpath(name))
                files.append(Path(name))
    return files


def _patterns(include: Node, tree: Tree) -> Iterator[Leaf]:
    for item in include.items if isinstance(include, Items) else [include]:
        if isinstance(item, Leaf) and isinstance(item.value, str) and item.value and "\0" not in item.value:
            yield item
        else:
            tree.add(item.place, "include", "write a file or a pattern, as conf.d/*.yaml, or a list of them")
            tree.is_whole = False


def _merge(tree: Tree, root: Entries) -> None:
    for key, entry in root.entries.items():
        present = tree.root.entries.get(key)
        if key == "include":
            tree.add(entry.place, key, "only the main file includes others")
        elif present is None or (key in (*_LISTS, "backends") and _is_nothing(present.node)):
            tree.root.entries[key] = entry
        elif key in _LISTS and isinstance(present.node, Items) and isinstance(entry.node, Items):
            joined = Items(present.node.place, present.node.items + entry.node.items)
            tree.root.entries[key] = Entry(present.place, joined)
        elif key == "backends" and isinstance(present.node, Entries) and isinstance(entry.node, Entries):
            backends = _joined(tree, present.node, entry.node)
            tree.root.entries[key] = Entry(present.place, backends)
        elif key not in (*_LISTS, "backends"):
            tree.add(entry.place, key, f"already set in {_where(present)}")
        elif not _is_nothing(entry.node):
            what = "keys and values" if key == "backends" else "a list"
            tree.add(entry.place, key, f"write {what}, here and in {_where(present)}")
            tree.is_whole = False


def _joined(tree: Tree, present: Entries, added: Entries) -> Entries:
    entries = dict(present.entries)
    for name, entry in added.entries.items():
        if name in entries:
            tree.add(entry.place, f"backends.{name}", f"there is a backend of this name in {_where(entries[name])}")
        else:
            entries[name] = entry
    return Entries(present.place, entries)


def _is_nothing(node: Node) -> bool:
    """Tell whether a key stands there without a value, as when all below it is commented out."""
    return isinstance(node, Leaf) and node.value is None


def _where(entry: Entry) -> str:
    return f"{entry.place.file}:{entry.place.line}"
