"""From the operator's files to a `Config`, or to all that is wrong with them at once.

The rule: `load` raises nothing but ConfigError, whatever the files hold.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from h2gate.config.checks import Parts, check
from h2gate.config.document import plain
from h2gate.config.include import Tree, read_tree
from h2gate.config.model import AccessLog, Backend, Config, ErrorPage, Limits, Listener, Retries, Route, Timeouts
from h2gate.config.problems import BadValue, ConfigError, KeyPath, Problem, key_text
from h2gate.config.wording import is_unknown_key, key_path_of, place_of, place_of_key, problems_of
from h2gate.config.written import FROM_FILE

__all__ = ["ConfigError", "Problem", "load", "told_by_place"]

M = TypeVar("M", bound=BaseModel)


def load(path: Path, environ: Mapping[str, str]) -> Config:
    """Load the file at `path` and those it includes; `${NAME}` comes from `environ`.

    Raises ConfigError with every problem of every file.
    """
    tree = read_tree(path, environ)
    problems = list(tree.problems)
    config, parts, found = _validate(tree)
    # What is said of a key already, as that its variable is not set, is not said again in other words.
    said = {problem.key for problem in problems if problem.key}
    problems += [problem for problem in found if problem.key not in said]
    said |= {problem.key for problem in found}
    for finding in check(parts):
        key = key_text(finding.path)
        if key not in said:
            problems.append(Problem(place_of(tree.root, finding.path), key, finding.message))
    if config is None or problems:
        files = {problem.place.file: None for problem in problems}
        order = list(files)
        raise ConfigError(
            sorted(problems, key=lambda one: (order.index(one.place.file), one.place.line, one.place.column))
        )
    return config


@contextlib.contextmanager
def told_by_place(path: Path, environ: Mapping[str, str]) -> Iterator[None]:
    """Turn a BadValue into a ConfigError, which says where in the files of `path` the value stands."""
    try:
        yield
    except BadValue as failure:
        # Read once more: this is rare, and a Config does not know its files.
        root = read_tree(path, environ).root
        raise ConfigError([Problem(place_of_key(root, failure.key), failure.key, failure.message)]) from None


def _validate(tree: Tree) -> tuple[Config | None, Parts, list[Problem]]:
    """Return the config if it is valid, what of it can be checked further, and the problems."""
    try:
        config = Config.model_validate(plain(tree.root), context=FROM_FILE)
    except ValidationError as failure:
        errors = failure.errors(include_url=False, include_input=False)
        if not tree.is_whole:
            errors = [error for error in errors if error["type"] != "missing" or len(error["loc"]) > 1]
        unknown = frozenset(key_path_of(tree.root, error) for error in errors if is_unknown_key(error))
        return None, _parts(tree, unknown), list(problems_of(tree.root, errors))
    return config, Parts.of(config, tree.is_whole), []


def _parts(tree: Tree, unknown: frozenset[KeyPath]) -> Parts:
    data = plain(tree.root, without=unknown)
    listeners, backends, routes = (data.get(key) for key in ("listeners", "backends", "routes"))
    return Parts(
        listeners=[_valid(Listener, item) for item in _if(tuple, listeners)],
        backends={name: _valid(Backend, item) for name, item in _if(dict, backends).items()},
        routes=[_valid(Route, item) for item in _if(tuple, routes)],
        timeouts=_valid(Timeouts, data.get("timeouts", {})),
        limits=_valid(Limits, data.get("limits", {})),
        retries=_valid(Retries, data.get("retries", {})),
        error_pages=[_valid(ErrorPage, item) for item in _if(tuple, data.get("error_pages"))],
        access_log=_valid(AccessLog, data.get("access_log", {})),
        is_whole=tree.is_whole and isinstance(backends or {}, dict) and isinstance(routes, tuple),
    )


def _valid(model: type[M], data: Any) -> M | None:
    try:
        return model.model_validate(data, context=FROM_FILE)
    except ValidationError:
        return None


def _if(kind: type, data: Any) -> Any:
    return data if isinstance(data, kind) else kind()
