"""docs/from-apache.md: no row is lost, each names tests that exist, and its configuration is one."""

from __future__ import annotations

import ast
import functools
import re
from collections import Counter
from pathlib import Path

import pytest
from pydantic import BaseModel

from h2gate.config.loader import load
from h2gate.config.model import Config, Timeouts
from h2gate.config.model_backend import BackendTls, Pool

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "from-apache.md").read_text(encoding="utf-8")

# How many rows each section has: what Apache does is known, and none of it is forgotten.
ROWS = {
    "param": 32,  # parameters of ProxyPass, BalancerMember, ProxySet
    "dir": 37,  # directives of mod_proxy and mod_http2
    "tls": 12,  # SSLProxy...
    "conn": 10,  # schemes, ALPN, DNS
    "pool": 12,  # connections and their use
    "req": 16,  # requests to the backend
    "res": 10,  # responses to the client
    "mid": 14,  # interim and early responses, trailers, links
    "fail": 20,  # failures, retries, statuses
    "log": 6,  # notes and logs
    "map": 11,  # from path to backend, and back
    "safe": 17,  # open proxies, smuggling, CVEs
    "user": 19,  # what users report
    "weak": 13,  # what measuring found
}
ROW = re.compile(r"^\| ([a-z]+)-([0-9]+) \| (.+) \|$", re.MULTILINE)
TEST = re.compile(r"`(tests/[a-z0-9_/]+\.py)::((?:\w+::)?\w+)`")

# The id of each row, and its three cells: Apache, h2gate, tests. A bar within a cell is escaped.
CELLS = {f"{row[1]}-{row[2]}": re.split(r"(?<!\\) \| ", row[3]) for row in ROW.finditer(PAGE)}


def test_no_row_is_lost() -> None:
    ids = [(row[1], int(row[2])) for row in ROW.finditer(PAGE)]
    assert Counter(section for section, _ in ids) == ROWS
    assert sorted(ids) == sorted((section, number) for section, count in ROWS.items() for number in range(1, count + 1))


@pytest.mark.parametrize("row", CELLS)
def test_every_row_names_its_tests_or_says_why_it_differs(row: str) -> None:
    apache, h2gate, tests = CELLS[row]
    assert apache
    assert h2gate
    if tests == "difference":
        assert re.match(r"not (in h2gate|needed): .{15}", h2gate), "no reason"
    else:
        # Nothing but tests: no word that stands for one to come.
        assert TEST.search(tests)
        assert TEST.sub("", tests).strip() == ""


@pytest.mark.parametrize(("path", "name"), sorted(set(TEST.findall(PAGE))))
def test_every_named_test_exists(path: str, name: str) -> None:
    assert (ROOT / path).is_file()
    assert name in names_in(path)


@functools.cache
def names_in(path: str) -> set[str]:
    """Return the tests of a file: `function` and `Class::function`."""
    found = set()
    for node in ast.parse((ROOT / path).read_text(encoding="utf-8")).body:
        members, prefix = (node.body, f"{node.name}::") if isinstance(node, ast.ClassDef) else ([node], "")
        found |= {prefix + each.name for each in members if isinstance(each, ast.FunctionDef)}
    return {name for name in found if name.rpartition("::")[2].startswith("test_")}


def test_a_test_that_is_not_there_would_be_missed() -> None:
    names = names_in("tests/base/test_from_apache.py")
    assert "test_no_row_is_lost" in names
    assert "names_in" not in names


def test_the_example_is_loaded_without_a_problem(tmp_path: Path) -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    for name in ("ssl/app.crt", "ssl/app.key", "ssl/internal-ca.pem", "errors/down.html"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")
    (tmp_path / "h2gate.yaml").write_text(example, encoding="utf-8")
    config = load(tmp_path / "h2gate.yaml", {})
    assert list(config.backends) == ["app", "api"]
    assert len(config.routes) == 4


OWNERS: dict[str, type[BaseModel]] = {
    "pool": Pool,
    "tls": BackendTls,
    "timeouts": Timeouts,
    **{name: type(getattr(Config.model_fields[name], "default", None)) for name in ("limits", "retries", "forwarding")},
}


@pytest.mark.parametrize(("owner", "key"), sorted(set(re.findall(rf"`({'|'.join(OWNERS)})\.([a-z_0-9]+)", PAGE))))
def test_every_key_on_the_page_exists(owner: str, key: str) -> None:
    assert key in OWNERS[owner].model_fields
