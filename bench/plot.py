"""The picture: CPU per request by load and gate, as SVG, on a logarithmic scale.

Written by hand rather than with a plotting library: it is bars and text, and nobody who only wants the figures has to
install 60 MB for them.
"""

from __future__ import annotations

import math
from typing import Any
from xml.sax.saxutils import escape

from bench.tables import TITLES, figure, gates_of, median_cost, rows_of

# Two shades of one colour for h2gate, and hues for the peers that stay apart for the colour-blind (Okabe and Ito).
COLOURS = {
    "native": "#0b5d1e",
    "python": "#7fbf8e",
    "envoy": "#cc79a7",
    "nghttpx": "#56b4e9",
    "haproxy": "#e69f00",
    "apache": "#d55e00",
}
WIDTH, LEFT, RIGHT, TOP = 960, 190, 70, 84
BAR, GAP, GROUP_GAP = 15, 2, 20
FONT = 'font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif"'


def cost(raw: dict[str, Any]) -> str:
    """Return the SVG."""
    rows = rows_of(raw)
    gates = [gate for gate in gates_of(raw) if gate not in raw["missing"]]
    values = {(row.key, gate): median_cost(raw, row.key, gate) for row in rows for gate in gates}
    present = [value for value in values.values() if value]
    # The shortest bar is long enough to be seen.
    low = 10 ** math.floor(math.log10(min(present, default=1) / 1.5))
    # Up to a whole decade, its half or its fifth.
    most = max(present, default=10) * 1.2
    decade = 10 ** math.floor(math.log10(most))
    high = next(decade * step for step in (2, 5, 10) if decade * step >= most)

    def x(value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * math.log(max(value, low) / low) / math.log(high / low)

    group = len(gates) * (BAR + GAP) + GROUP_GAP
    bottom = TOP + len(rows) * group
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {bottom + 34}" {FONT} font-size="12">',
        f'<rect width="{WIDTH}" height="{bottom + 34}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="26" font-size="17" font-weight="600" fill="#111111">CPU per request, microseconds</text>',
        f'<text x="{WIDTH - RIGHT}" y="26" text-anchor="end" fill="#555555">less is better; logarithmic scale</text>',
    ]
    parts += _legend(gates)
    decade = low
    while decade <= high:
        for step in range(1, 10):
            if decade * step <= high:
                shade = "#bbbbbb" if step == 1 else "#eeeeee"
                parts.append(_line(x(decade * step), TOP - 8, bottom - GROUP_GAP / 2, shade))
        parts.append(
            f'<text x="{x(decade):.1f}" y="{bottom + 8}" text-anchor="middle" fill="#555555">{decade:g}</text>'
        )
        decade *= 10
    for number, row in enumerate(rows):
        y = TOP + number * group
        middle = y + (group - GROUP_GAP) / 2
        protocol, _, rest = row.title.partition(", ")
        size, _, shape = rest.partition(", ")
        parts.append(_label(middle - 3, f"{protocol}, {size}", "600", "#111111"))
        parts.append(_label(middle + 13, shape.replace(" x ", " × "), "400", "#555555"))  # noqa: RUF001
        for place, gate in enumerate(gates):
            parts += _bar(y + place * (BAR + GAP), gate, values[row.key, gate], x)
    return "\n".join([*parts, "</svg>", ""])


def _bar(y: float, gate: str, value: float | None, x: Any) -> list[str]:
    weight = ' font-weight="600"' if gate == "native" else ""
    if value is None:
        return [f'<text x="{LEFT + 6}" y="{y + BAR - 3.5}" fill="#999999">{TITLES[gate]}: not measured</text>']
    end = x(value)
    return [
        f'<rect x="{LEFT}" y="{y}" width="{max(end - LEFT, 1):.1f}" height="{BAR}" fill="{COLOURS[gate]}">'
        f"<title>{escape(TITLES[gate])}: {figure(value)} us</title></rect>",
        f'<text x="{end + 5:.1f}" y="{y + BAR - 3.5}" fill="#111111"{weight}>{figure(value)}</text>',
    ]


def _legend(gates: list[str]) -> list[str]:
    parts, x = [], float(LEFT)
    for gate in gates:
        parts.append(f'<rect x="{x:.0f}" y="44" width="13" height="13" fill="{COLOURS[gate]}"/>')
        parts.append(f'<text x="{x + 18:.0f}" y="55" fill="#111111">{escape(TITLES[gate])}</text>')
        x += 18 + 7 * len(TITLES[gate]) + 22
    return parts


def _label(y: float, text: str, weight: str, colour: str) -> str:
    place = f'x="{LEFT - 10}" y="{y:.1f}" text-anchor="end"'
    return f'<text {place} font-weight="{weight}" fill="{colour}">{escape(text)}</text>'


def _line(x: float, top: float, bottom: float, colour: str) -> str:
    return f'<line x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{bottom}" stroke="{colour}"/>'
