from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import pytest

from h2gate.errors import RULES
from h2gate.telemetry import formats
from tests.telemetry.entries import Line

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_diagrams", ROOT / "docs" / "generate_diagrams.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_diagrams_are_those_of_the_tables_the_code_runs_on() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert generator().draw(page) == page


def test_a_table_without_a_place_in_the_page_is_an_error() -> None:
    with pytest.raises(ValueError, match="no place for"):
        generator().draw("# empty\n")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_modules_that_pages_name_exist(page: Path) -> None:
    for name in re.findall(r"`([a-z_0-9]+/[a-z_0-9/]+\.py)`", page.read_text(encoding="utf-8")):
        assert (ROOT / "h2gate" / name).exists() or (ROOT / name).exists(), name


def rows_of(page: str, heading: str) -> list[list[str]]:
    """Return the cells of the first table behind a heading."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8").partition(f" {heading}\n")[2]
    table = re.search(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert table is not None
    return [row.strip("|").split(" | ") for row in table[0].splitlines()[2:]]


def test_the_reasons_of_the_access_log_are_those_of_the_table_of_failures() -> None:
    written = [[cell.strip(" `") for cell in row[:4]] for row in rows_of("logging.md", "Reasons")]
    assert written == [
        [reason.value, str(rule.status), rule.code.name, rule.origin.value] for reason, rule in RULES.items()
    ]


def test_the_fields_of_the_access_log_are_all_described() -> None:
    keys = [key for row in rows_of("logging.md", "`format: json`") for key in re.findall(r"`(\w+)`", row[0])]
    assert sorted(keys) == sorted(json.loads(formats.json(Line())))
    pairs = [row[0].strip(" `") for row in rows_of("logging.md", "`format: combined`")]
    tail = re.findall(r"(\w+)=", formats.combined(Line()).decode().rpartition('"')[2])
    assert pairs[-len(tail) :] == tail
