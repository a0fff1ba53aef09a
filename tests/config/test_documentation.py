"""docs/configuration.md is what the model says, and its example works."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from docs.generate_configuration import EXAMPLE, FILE, render
from h2gate.config.document import Items, Leaf, Node, read
from h2gate.config.loader import load
from h2gate.config.model import Config
from h2gate.config.resolved import backends_of
from tests.config.conftest import Files
from tests.config.keys import entries_of

ROOT = Path(__file__).parents[2]


def test_the_page_is_not_stale():
    assert FILE.read_text(encoding="utf-8") == render(), "run: python -m docs.generate_configuration"


def test_the_first_config_of_the_readme_is_loaded_without_a_problem(files):
    (example,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    files.write("tls/site.crt", "x")
    files.write("tls/site.key", "x")
    assert list(backends_of(files.load(example))) == ["app", "h2://api.internal:8443"]


def test_all_that_the_starter_config_has_in_comments_may_be_put_to_use(files):
    starter = (ROOT / "etc" / "h2gate.yaml").read_text(encoding="utf-8")
    # What explains begins with one space, what may be put to use with two.
    text = re.sub(r"^#(?=  )", "", starter, flags=re.MULTILINE)
    for name in ("tls/site.crt", "tls/site.key", "tls/clients.pem", "tls/backend-ca.pem", "errors/down.html"):
        files.write(name, "x")
    config = files.load(text)
    assert [listener.tls is not None for listener in config.listeners] == [False, True]
    assert list(config.backends) == ["sample", "app", "canary"]
    assert len(config.routes) == text.count("- match:") == 6


def test_the_example_on_the_page_is_loaded_without_a_problem(files):
    page = FILE.read_text(encoding="utf-8")
    example = re.findall(r"^```yaml\n(.*?)```", page, re.DOTALL | re.MULTILINE)[0]
    assert example == EXAMPLE
    for name in ("tls/site.crt", "tls/site.key", "tls/backend-ca.pem", "errors/down.html", "errors/any.json"):
        files.write(name, "x")
    config = load(files.write("h2gate.yaml", example), {})
    assert list(backends_of(config)) == ["app", "canary", "accounts", "h2c://127.0.0.1:9002"]
    assert str(config.control) == "/run/h2gate/control.sock"


ENTRIES = [(path, info) for path, info in entries_of(Config)]


@pytest.mark.parametrize(("path", "info"), ENTRIES, ids=[path for path, _ in ENTRIES])
def test_every_key_says_what_it_does_and_why_its_default_is_what_it_is(path, info):
    name = path.rpartition(".")[2].removesuffix("[]")
    assert info.description
    assert info.json_schema_extra["why"]
    example = info.json_schema_extra["example"]
    assert re.search(rf"(^|\{{|, ){name}:", example, re.MULTILINE), example
    assert f"- **`{name}`**: " in FILE.read_text(encoding="utf-8")


@pytest.mark.parametrize(("path", "info"), ENTRIES, ids=[path for path, _ in ENTRIES])
def test_every_example_is_loaded_and_says_something_else_than_the_default(files, path, info):
    found: Any = files.load(json.dumps(around(files, path, info.json_schema_extra["example"])))
    for part in path.split("."):
        if isinstance(found, tuple):
            found = found[0]
        name = part.removesuffix("[]")
        found = next(iter(found.values())) if part == "NAME" else getattr(found, ATTRIBUTES.get(name, name))
    assert found != info.default


ATTRIBUTES = {"json": "json_"}

# What a section needs beside an example that does not say it.
NEEDED: dict[str, Any] = {
    "listeners[]": {"address": "127.0.0.1:8080"},
    "listeners[].tls": {"certificates": [{"cert": "site.crt", "key": "site.key"}]},
    "backends.NAME": {"endpoints": ["h2c://127.0.0.1:9000"]},
    "backends.NAME.endpoints[]": {"url": "h2c://127.0.0.1:9000"},
    "routes[]": {"backend": "h2c://127.0.0.1:9000"},
    "routes[].respond": {"status": 200},
    "routes[].redirect": {"to": "/"},
    "routes[].mirror": {"backend": "h2c://127.0.0.1:9009"},
    "error_pages[]": {"html": "any.html"},
    "routes[].error_pages[]": {"html": "any.html"},
}
WAYS = {"backend", "weights", "respond", "redirect"}


def around(files: Files, path: str, example: str) -> dict[str, Any]:
    """Return a whole configuration with a key's example in it."""
    document = read(files.write("example.yaml", example), {})
    assert document.root is not None
    assert not document.problems
    sections = path.split(".")[:-1]
    inner: Any = written(document.root)
    for depth in range(len(sections), -1, -1):
        key = ".".join(sections[:depth])
        needed = dict(NEEDED.get(key, {}))
        if WAYS & inner.keys():
            needed.pop("backend", None)
        if key == "backends.NAME" and "tls" in inner:
            needed["endpoints"] = ["h2://127.0.0.1:9000"]
        inner = {**needed, **inner}
        if depth:
            part = sections[depth - 1]
            if part == "NAME":
                inner = {"app": inner}
            else:
                inner = {part.removesuffix("[]"): [inner] if part.endswith("[]") else inner}
    # One more, so that there is TLS to time out.
    tls = {"certificates": [{"cert": "site.crt", "key": "site.key"}]}
    inner.setdefault("listeners", []).append({"address": "127.0.0.1:9999", "tls": tls})
    routes = inner.setdefault("routes", [{"backend": next(iter(inner.get("backends", {})), "h2c://127.0.0.1:9000")}])
    for route in routes:
        named = {route.get("backend"), route.get("mirror", {}).get("backend"), *route.get("weights", {})}
        for name in named - {None}:
            if ":" not in name:
                inner.setdefault("backends", {}).setdefault(name, {"endpoints": ["h2c://127.0.0.1:9000"]})
    for name in re.findall(r'"([^"]*\.(?:crt|key|pem|html|json|txt))"', json.dumps(inner)):
        if not name.startswith("/"):
            files.write(name, "x")
    text = json.dumps(inner).replace("/run/credentials/h2gate.service", str(files.directory))
    files.write("site.key", "x")
    return json.loads(text)


def written(node: Node) -> Any:
    """Return values as `json` takes them."""
    if isinstance(node, Leaf):
        return str(node.value) if isinstance(node.value, str) else node.value
    if isinstance(node, Items):
        return [written(item) for item in node.items]
    return {key: written(entry.node) for key, entry in node.entries.items()}


def test_defaults_are_in_the_operators_units():
    page = FILE.read_text(encoding="utf-8")
    for entry in (
        "**`queue_timeout`**: duration. Default `5s`.",
        "**`backoff_min`**: duration, may be 0. Default `25ms`.",
    ):
        assert entry in page
    assert "**`stream_window`**: size, from 65535 to 2147483647. Default `256KiB`." in page
    assert "**`budget`**: share. Default `20%`." in page
    assert "**`error_override`**: `true` or `false` or list of whole numbers, from 400 to 599. Default `false`." in page
    assert "**`weights`**: whole number, from 0 to 1000, by name.\\" in page
    assert yaml.safe_load(EXAMPLE)["retries"]["budget"] == "10%"
