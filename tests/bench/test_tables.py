"""What is made of the raw results: figures, tables, the page, the picture."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest

from bench import plot, publish, tables
from bench.processes import REPOSITORY
from tests.bench.results import cell, raw, run


def test_the_cost_of_a_cell_is_the_median_of_its_rounds() -> None:
    results = raw(cost=[cell("h2c-10x9", "native", run(9.0), run(7.0), run(30.0))])

    assert tables.median_cost(results, "h2c-10x9", "native") == pytest.approx(9.0)


def test_a_cell_that_failed_has_no_cost() -> None:
    results = raw(cost=[cell("h2c-10x9", "native", run(9.0), error="h2load said no")])

    assert tables.median_cost(results, "h2c-10x9", "native") is None
    assert "h2load said no" in tables.cost_table(results)


def test_failed_requests_are_said_beside_the_figure() -> None:
    results = raw(cost=[cell("h2c-10x9", "envoy", run(20.0, failed=4), run(20.0, failed=3))])

    written = tables.cost_table(results)

    assert "20.0 [1]" in written
    assert "7 requests failed" in written


def test_a_gate_that_is_not_there_keeps_its_column_and_its_reason_is_told() -> None:
    results = raw(cost=[cell("h2c-10x9", "native", run(9.0))], missing={"envoy": "envoy is not installed"})

    assert "| **9.00** | not there |" in tables.cost_table(results)
    assert "**Envoy was not measured:** envoy is not installed." in tables.about(results)


@pytest.mark.parametrize(("own", "met"), [(10.0, "yes"), (10.1, "**no**")])
def test_a_target_is_met_up_to_its_limit(own: float, met: str) -> None:
    results = raw(cost=[cell("http1-32", "native", run(own)), cell("http1-32", "envoy", run(10.0))])

    (line,) = [line for line in tables.target_table(results).splitlines() if "native against Envoy" in line]

    assert line.endswith(f"| {met} |")


def test_tls_with_large_bodies_is_held_to_half_of_haproxy() -> None:
    results = raw(cost=[cell("tls-1m", "native", run(600.0)), cell("tls-1m", "haproxy", run(1_000.0))])

    assert "| 0.60 × | 0.5 × | **no** |" in tables.target_table(results)  # noqa: RUF001


@pytest.mark.parametrize(("shares", "factor"), [([0.5], 2.0), ([0.8], 1.25)])
def test_two_workers_give_what_the_busier_one_allows(shares: list[float], factor: float) -> None:
    entries = [
        {"count": 1, "rounds": [run(10.0)], "busiest_share": [1.0]},
        {"count": 2, "rounds": [run(10.0)], "busiest_share": shares},
    ]

    assert tables.speedup(entries) == pytest.approx(factor)


def test_two_workers_that_cost_more_give_less() -> None:
    entries = [
        {"count": 1, "rounds": [run(10.0)], "busiest_share": [1.0]},
        {"count": 2, "rounds": [run(12.5)], "busiest_share": [0.5]},
    ]

    assert tables.speedup(entries) == pytest.approx(1.6)


def test_a_gate_that_does_not_keep_up_has_no_latency() -> None:
    paced = {"asked": 1000, "done": 500, "kept_up": False, "p50": 0.1, "p99": 0.9, "utilization": 1.0}
    results = raw(latency=[{"gate": "apache", "at": "own", "saturation": 2000, "rounds": [paced]}])

    assert "| cannot | cannot |" in tables.latency_table(results)


@pytest.mark.parametrize(
    ("value", "written"),
    [(None, "–"), (4.567, "4.57"), (9.999, "10.0"), (45.67, "45.7"), (99.96, "100"), (456.7, "457"), (2732.6, "2733")],  # noqa: RUF001
)
def test_a_figure_has_three_digits(value: float | None, written: str) -> None:
    assert tables.figure(value) == written


def test_publishing_fills_the_blocks_and_nothing_else() -> None:
    page = "before\n<!-- bench: cost -->\nold figures\n<!-- end -->\nafter <!-- end -->\n"
    results = raw(cost=[cell("h2c-10x9", "native", run(9.0))])

    once = publish.filled(page, results)

    assert once.startswith("before\n<!-- bench: cost -->\n")
    assert once.endswith("<!-- end -->\nafter <!-- end -->\n")
    assert "old figures" not in once
    assert "**9.00**" in once
    assert publish.filled(once, results) == once


def test_each_block_of_the_page_has_a_table() -> None:
    page = (REPOSITORY / "docs" / publish.PAGE).read_text(encoding="utf-8")

    filled = publish.filled(page, raw())

    assert page.count("<!-- bench: ") == filled.count("<!-- bench: ") == page.count("<!-- end -->")
    assert filled.count(tables.NOT_MEASURED) == len(tables.TABLES) - 1  # all but what it was measured on


def test_a_part_that_was_not_measured_is_said_so() -> None:
    for name in ("cost", "latency", "memory", "idle", "routes", "endpoints", "workers", "engines", "details"):
        assert tables.TABLES[name](raw()) == tables.NOT_MEASURED


def test_the_picture_has_a_bar_for_each_figure() -> None:
    results = raw(
        cost=[
            cell("h2c-10x9", "native", run(5.0)),
            cell("h2c-10x9", "apache", run(100.0)),
            cell("tls-1m", "native", run(900.0)),
            cell("tls-1m", "apache", error="it crashed"),
        ]
    )

    picture = ElementTree.fromstring(plot.cost(results))

    titles = [title.text for title in picture.iter("{http://www.w3.org/2000/svg}title")]
    assert titles == ["h2gate native: 5.00 us", "Apache: 100 us", "h2gate native: 900 us"]
    texts = [text.text for text in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert "Apache: not measured" in texts


def test_each_decade_of_the_picture_is_as_wide_as_the_other() -> None:
    costs = {"native": 10.0, "envoy": 100.0, "apache": 1_000.0}
    results = raw(cost=[cell("h2c-10x9", gate, run(cost)) for gate, cost in costs.items()])

    picture = ElementTree.fromstring(plot.cost(results))

    bars = [
        float(bar.attrib["width"])
        for bar in picture.iter("{http://www.w3.org/2000/svg}rect")
        if bar.find("{http://www.w3.org/2000/svg}title") is not None
    ]
    assert bars[1] - bars[0] == pytest.approx(bars[2] - bars[1], abs=0.2)
    assert bars[2] > bars[1] > bars[0] > 10
