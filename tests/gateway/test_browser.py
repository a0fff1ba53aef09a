"""Chromium before the gate: a page with 100 assets, an EventSource and a WebSocket, all at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.browser import browser_on
from tests.support.certificates import Authority, Site
from tests.support.gate import Gate
from tests.support.peers import NodeSite
from tests.support.processes import Process
from tests.support.waiting import wait_until


@dataclass
class Visit:
    """A browser on the page, and what the page has told the backend."""

    kind: str
    gate: Gate
    site: NodeSite
    browser: Process

    def result(self, part: str) -> dict[str, Any]:
        """Wait for what came of one part of the page."""

        def found() -> dict[str, Any] | None:
            code = self.browser.exit_code
            assert code is None, f"the browser ended\n{self.browser.describe()}"
            return next((line for line in self.site.lines() if line.get("part") == part), None)

        result = wait_until(f"the page says what came of its {part}", found, timeout=30)
        assert result is not None
        return result


@pytest.fixture(scope="module", params=["h2", "http/1.1"])
def visit(
    engine: str,
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    authority: Authority,
    localhost: Site,
) -> Iterator[Visit]:
    directory = tmp_path_factory.mktemp("visit")
    site = NodeSite()
    with site.running(directory, localhost), Gate(directory, site.url, sites=[localhost]) as gate:
        # A browser speaks HTTP/2 only over TLS.
        url = gate.tls_url if request.param == "h2" else gate.url
        with browser_on(f"{url}/", directory, localhost) as browser:
            yield Visit(request.param, gate, site, browser)


def test_a_page_has_all_of_its_assets(visit: Visit) -> None:
    result = visit.result("assets")
    assert result["loaded"] == 100
    assert (result["page"], result["assets"]) == (visit.kind, [visit.kind])


def test_an_event_source_gets_each_event_at_once(visit: Visit) -> None:
    assert visit.result("events")["events"] == [f"event {number}" for number in range(1, 6)]


def test_a_websocket_talks_and_is_closed_cleanly(visit: Visit) -> None:
    result = visit.result("websocket")
    assert result["heard"] == ["text", "long text", "0,1,255"]
    assert result["subprotocol"] == "chat"
    assert result["closed"] == [4000, "as told", True]
    # The stream at the backend ends with it, and not by a reset.
    assert visit.result("websocket over")["code"] == 0
    line = visit.gate.wait_for_line("the WebSocket", lambda line: line["target"] == "/websocket")
    # On the page's own connection where that speaks HTTP/2 (RFC 8441), else by Upgrade.
    expected = ("HTTP/2.0", "CONNECT", 200) if visit.kind == "h2" else ("HTTP/1.1", "GET", 101)
    assert (line["protocol"], line["method"], line["status"]) == expected
