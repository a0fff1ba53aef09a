"""Draw the state tables into `docs/architecture.md`: `python -m docs.generate_diagrams` (`--check`: only compare).

Each diagram stands between `<!-- diagram: NAME -->` and `<!-- end -->`; NAME is the lifecycle's own.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from h2gate.backend.connection_state import CONNECTION
from h2gate.backend.endpoint import ENDPOINT
from h2gate.frontend.session_state import SESSION
from h2gate.lifecycle import Lifecycle
from h2gate.master.slots import LIFECYCLE as SLOT
from h2gate.protocol.http1_state import READING, WRITING
from h2gate.proxy.exchange_state import SIDE

PAGE = Path(__file__).parent / "architecture.md"
TABLES: list[Lifecycle[Any, Any]] = [SIDE, CONNECTION, ENDPOINT, SESSION, READING, WRITING, SLOT]

_PLACE = re.compile(r"(<!-- diagram: (?P<name>[^>]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def draw(page: str) -> str:
    """Return `page` with each diagram drawn anew.

    Raises KeyError for a name that no table has, ValueError for a table that has no place.
    """
    tables = {table.name: table for table in TABLES}
    places = {match["name"] for match in _PLACE.finditer(page)}
    missing = tables.keys() - places
    if missing:
        raise ValueError(f"no place for {', '.join(sorted(missing))}")
    return _PLACE.sub(lambda match: f"{match[1]}```mermaid\n{tables[match['name']].mermaid()}\n```\n{match[3]}", page)


def main() -> int:
    page = PAGE.read_text(encoding="utf-8")
    drawn = draw(page)
    if "--check" in sys.argv[1:]:
        if page != drawn:
            print("docs/architecture.md is stale: run python -m docs.generate_diagrams", file=sys.stderr)
        return int(page != drawn)
    PAGE.write_text(drawn, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
