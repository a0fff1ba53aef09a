"""Fill docs/performance.md from a raw.json: no figure on that page is typed by hand."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from bench import plot, tables

PAGE = "performance.md"
_BLOCK = re.compile(r"(<!-- bench: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def publish(raw: dict[str, Any], docs: Path) -> None:
    page = docs / PAGE
    page.write_text(filled(page.read_text(encoding="utf-8"), raw), encoding="utf-8")
    if raw.get("cost"):
        (docs / tables.PICTURE).write_text(plot.cost(raw), encoding="utf-8")


def filled(text: str, raw: dict[str, Any]) -> str:
    """Return the page with each block's table. Raises KeyError for a block that no table is for."""
    return _BLOCK.sub(lambda block: f"{block[1]}\n{tables.written(block[2], raw)}\n\n{block[3]}", text)
