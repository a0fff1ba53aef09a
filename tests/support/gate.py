"""A real gate: its config written, its processes started, its logs read, its end checked.

Rule: leaving the `with` block proves that the gate ended by itself with exit code 0, left no process, and logged no
traceback. A test that expects otherwise says so before.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

import yaml

from tests.support.certificates import Site
from tests.support.http1_client import Http1Client
from tests.support.http2_client import Http2Client
from tests.support.ports import HeldPort, is_listening
from tests.support.processes import Process, children, session_members
from tests.support.waiting import wait_until

Line = dict[str, Any]
# A test's clients are gone when its gate stops; what still runs then is cut off after this.
DRAIN = "3s"
STOP_SECONDS = 15.0


class Gate:
    """A running gate on 127.0.0.1:`port`, with `sites` also over TLS on `tls_port`, with `unix` also there.

    `backend` is a URL, or a name of `sections["backends"]`, that one route sends everything to; `routes` are the routes
    themselves. `listener` adds keys to every listener, `sections` are further top-level keys of the config.
    `command` takes the place of `h2gate`, `options` are added to its `run`.
    """

    # The make it runs on. Tests of a whole gate run on each: tests/gateway/conftest.py.
    engine = "auto"
    # The config files of those that run.
    running: ClassVar[set[Path]] = set()

    def __init__(
        self,
        directory: Path,
        backend: str | None = None,
        *,
        routes: list[dict[str, Any]] | None = None,
        workers: int = 1,
        sites: list[Site] | None = None,
        unix: Path | None = None,
        listener: dict[str, Any] | None = None,
        sections: dict[str, Any] | None = None,
        command: Sequence[str] = (sys.executable, "-m", "h2gate"),
        options: Sequence[str] = (),
    ) -> None:
        if routes is None:
            assert backend is not None
            routes = [{"match": {"path": "/"}, "backend": backend}]
        self._ports = [HeldPort()]
        self.port = self._ports[0].number
        self.tls_port = 0
        self.unix = unix
        listeners = [{"address": f"127.0.0.1:{self.port}"}]
        if sites:
            self._ports.append(HeldPort())
            self.tls_port = self._ports[1].number
            certificates = [site.config for site in sites]
            listeners.append({"address": f"127.0.0.1:{self.tls_port}", "tls": {"certificates": certificates}})  # type: ignore[dict-item]
        if unix is not None:
            listeners.append({"address": f"unix:{unix}"})
        self._access_log = directory / "access.log"
        self.config: dict[str, Any] = {
            "workers": workers,
            "engine": self.engine,
            "listeners": [{**one, **(listener or {})} for one in listeners],
            "routes": routes,
            "access_log": {"path": str(self._access_log), "format": "json"},
            **(sections or {}),
        }
        self.config["timeouts"] = {"drain": DRAIN, **self.config.get("timeouts", {})}
        self.path = directory / "h2gate.yaml"
        self.write_config(self.config)
        self._directory = directory
        self._command = command
        self._options = options
        self.process: Process
        self._is_stopped = False

    def __enter__(self) -> Self:
        self.running.add(self.path)
        argv = [*self._command, "run", "-c", self.path, *self._options]
        self.process = Process(argv, self._directory, name="h2gate")
        try:
            wait_until("the gate serves", self._is_serving, timeout=20)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if error is not None:
                error.add_note(f"the gate's error log:\n{self.error_log}")
            elif not self._is_stopped:
                assert self.process.exit_code is None, f"the gate died\n{self.process.describe()}"
                self.stop()
        finally:
            self._end()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End the gate, or wait for the end that was begun, and check that it was a good one."""
        if self.process.exit_code is None:
            self.process.send_signal(number)
        code = self.process.wait(STOP_SECONDS)
        assert code == 0, f"the gate did not end well\n{self.process.describe()}"
        left = session_members(self.process.pid)
        assert not left, f"processes {left} are left\n{self.process.describe()}"
        self.assert_no_internal_error()
        self._is_stopped = True

    def _end(self) -> None:
        self.running.discard(self.path)
        self.process.stop()
        for port in self._ports:
            port.release()

    def _is_serving(self) -> bool:
        code = self.process.exit_code
        assert code is None, f"the gate did not start\n{self.process.describe()}"
        return is_listening(("127.0.0.1", self.port)) and len(self.workers()) >= self.config["workers"]

    # What a test does with it

    def write_config(self, config: dict[str, Any] | str) -> None:
        """Write the config file; a running gate reads it at the next `reload`."""
        text = config if isinstance(config, str) else yaml.safe_dump(config, sort_keys=False)
        self.path.write_text(text)

    def reload(self) -> None:
        self.process.send_signal(signal.SIGHUP)

    def http1(self, **options: Any) -> Http1Client:
        return Http1Client(self.port, **options)

    def http2(self, **options: Any) -> Http2Client:
        return Http2Client(self.port, **options)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def tls_url(self) -> str:
        return f"https://localhost:{self.tls_port}"

    # Its processes

    def workers(self) -> list[int]:
        """Return the pids of the master's children."""
        return children(self.process.pid)

    @property
    def worker(self) -> int:
        (pid,) = self.workers()
        return pid

    def idle_row(self) -> Line:
        """Return what `h2gate status` says of the one worker, once no client is left; needs `control`."""

        def found() -> Line | None:
            command = [sys.executable, "-m", "h2gate", "status", "--json", "-c", str(self.path)]
            result = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
            (row,) = json.loads(result.stdout)["workers"]
            return row if row["connections"] == row["active"] == 0 else None

        row = wait_until("all clients have left", found, timeout=20)
        assert row is not None
        return row

    # Its logs

    @property
    def error_log(self) -> str:
        return self.process.stderr

    def wait_for_error(self, text: str, timeout: float = 10.0) -> str:
        """Wait for a line of the error log with `text`, and return it."""

        def found() -> str:
            return next((line for line in self.error_log.splitlines() if text in line), "")

        return wait_until(f"the error log says {text!r}", found, timeout)

    def assert_no_internal_error(self) -> None:
        for word in ("Traceback", "internal error"):
            assert word not in self.error_log, f"the gate's error log:\n{self.error_log}"

    def lines(self) -> list[Line]:
        """Return the access log's whole lines."""
        if not self._access_log.exists():
            return []
        text = self._access_log.read_text()
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]

    def wait_for_line(self, what: str, predicate: Callable[[Line], object], timeout: float = 5.0) -> Line:
        """Wait for the access log's line that `predicate` is true of; `what` names it."""

        def found() -> Line | None:
            return next((line for line in self.lines() if predicate(line)), None)

        line = wait_until(f"the access log has {what}", found, timeout)
        assert line is not None
        return line
