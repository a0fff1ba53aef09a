"""The backend on Node's http2 (`node_backend.js`), and what it saw."""

from __future__ import annotations

import http.client
import json
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from tests.support.certificates import Site
from tests.support.processes import Process
from tests.support.waiting import wait_until

SCRIPT = Path(__file__).with_name("node_backend.js")
Run = dict[str, Any]


class NodeBackend:
    """A running backend: h2c on `port`, with a `site` also h2 on `tls_port`, with `unix` also there."""

    def __init__(
        self,
        directory: Path,
        *,
        site: Site | None = None,
        unix: Path | None = None,
        max_streams: int = 100,
        goaway_every: int = 0,
    ) -> None:
        options: dict[str, Any] = {"maxStreams": max_streams, "goawayEvery": goaway_every}
        if site is not None:
            options |= {"cert": str(site.cert), "key": str(site.key)}
        if unix is not None:
            options["unix"] = str(unix)
        self.process = Process(["node", SCRIPT, json.dumps(options)], directory, name="node_backend", reads_stdout=True)
        try:
            ports = json.loads(self.process.read_line())
        except BaseException:
            self.process.stop()
            raise
        self.port: int = ports["clear"]
        self.tls_port: int | None = ports.get("tls")
        self._control: int = ports["control"]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.process.stop()
        if error is None:
            assert self.process.stderr == "", f"the Node backend complained:\n{self.process.stderr}"

    @property
    def url(self) -> str:
        return f"h2c://127.0.0.1:{self.port}"

    @property
    def tls_url(self) -> str:
        assert self.tls_port is not None
        return f"h2://localhost:{self.tls_port}"

    def stats(self) -> dict[str, int]:
        """Return sessions, openSessions, streams, openStreams, maxConcurrent, aborted, goaways."""
        found: dict[str, int] = self._ask("/stats")
        return found

    def counts(self) -> dict[str, int]:
        """Return how often each request ran, by its x-id."""
        found: dict[str, int] = self._ask("/runs")
        return found

    def runs(self, request: str) -> list[Run]:
        """Return what became of each run of the request with x-id `request`."""
        found: list[Run] = self._ask("/runs/" + quote(request, safe=""))
        return found

    def wait_for_run(self, request: str, *keys: str, timeout: float = 5.0) -> Run:
        """Return the only run of a request once it has all `keys` (`started`, `received`, `closed`...)."""

        def found() -> Run | None:
            runs = self.runs(request)
            assert len(runs) <= 1, f"{request} ran {len(runs)} times: {runs}"
            return runs[0] if runs and all(runs[0].get(key) for key in keys) else None

        run = wait_until(f"request {request} has {keys or 'begun'} at the backend", found, timeout)
        assert run is not None
        return run

    def _ask(self, path: str) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self._control, timeout=10)
        try:
            connection.request("GET", path)
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()
