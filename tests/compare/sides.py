"""The same requests behind a real Apache 2.4 and behind h2gate: both started, a backend of each, both asked.

Each comparison has scripted backends of its own, one for each side, and a path that leads there (`Side.path`). Rule:
what is asked of one side is asked of all of them at the same time, so that a comparison takes no longer than its
slowest side.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from tests.support.gate import Gate
from tests.support.http1_client import Http1Client
from tests.support.http2_client import Http2Client
from tests.support.ports import HeldPort, is_listening
from tests.support.processes import Process, session_members
from tests.support.scripted_backend import Connection, ScriptedBackend
from tests.support.waiting import wait_until

# Of both proxies. Apache's ProxyTimeout takes whole seconds only.
BACKEND_SECONDS = 1
CLIENT_SECONDS = 2

Seen = list[Any]
Script = Callable[[Connection, Seen], None]
"""What a backend does on each of its connections; what it notes in `Seen` is for the test."""

T = TypeVar("T")

MODULES = Path("/usr/lib/apache2/modules")
_LOADED = ("mpm_event", "authz_core", "socache_shmcb", "ssl", "http2", "proxy", "proxy_http2")
# One child, so that all requests share its pools.
_CONFIG = """\
ServerRoot {directory}
PidFile {directory}/apache.pid
DefaultRuntimeDir {directory}
ErrorLog {directory}/apache.error.log
LogLevel warn proxy:info http2:info proxy_http2:info
ServerName front.test
{user}
StartServers 1
ServerLimit 4
ThreadLimit 64
ThreadsPerChild {threads}
MinSpareThreads 1
MaxSpareThreads 200
MaxRequestWorkers {threads}
H2MinWorkers 8
H2MaxWorkers 32
KeepAliveTimeout 5
Timeout {client_seconds}
ProxyTimeout {backend_seconds}
Protocols h2c http/1.1
LogFormat "%m %U %>s %{{proxy-status}}n" plain
CustomLog {directory}/apache.access.log plain
ProxyPreserveHost Off
{more}
"""


# What a user writes who has read the manual.
_PASS = """\
<Location {place}>
ProxyPass {url}/
ProxyPassReverse {http}/
ProxyPassReverseCookiePath / {place}
</Location>
"""
_HOSTS = """\
<VirtualHost *:*>
ServerName front.test
ProxyVia On
H2EarlyHints on
H2Push off
</VirtualHost>
<VirtualHost *:*>
ServerName block.test
ProxyVia Block
</VirtualHost>
<VirtualHost *:*>
ServerName kept.test
ProxyPreserveHost On
</VirtualHost>
"""


class Apache:
    """A running Apache on 127.0.0.1:`port`, a child of the test. `more` is the rest of its configuration."""

    def __init__(self, directory: Path, more: str, threads: int = 32) -> None:
        self._port = HeldPort()
        self.port = self._port.number
        self._directory = directory
        program = shutil.which("apache2", path="/usr/sbin:/usr/bin:/usr/local/sbin")
        assert program is not None, "apache2 is missing: tests/install-peers.sh"
        self._program = program
        self.path = directory / "apache.conf"
        loaded = "".join(f"LoadModule {name}_module {MODULES}/mod_{name}.so\n" for name in _LOADED)
        config = _CONFIG.format(
            directory=directory,
            # Children of root need another user; others keep their own.
            user="User nobody\nGroup nogroup" if os.geteuid() == 0 else "",
            threads=threads,
            backend_seconds=BACKEND_SECONDS,
            client_seconds=CLIENT_SECONDS,
            more=more,
        )
        self.path.write_text(f"{loaded}Listen 127.0.0.1:{self.port}\n{config}")

    def __enter__(self) -> Apache:
        argv: list[str | Path] = [self._program, "-DFOREGROUND", "-f", self.path]
        self.process = Process(argv, self._directory, name="apache")
        try:
            wait_until("Apache serves", self._is_serving, timeout=20)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        # Not all its children end by TERM: some are stuck, as a comparison shows. They are found by their session.
        self.process.stop(timeout=2.0)
        self._port.release()

    def _is_serving(self) -> bool:
        assert self.process.exit_code is None, f"Apache did not start\n{self.process.describe()}\n{self.error_log}"
        return is_listening(("127.0.0.1", self.port)) and len(session_members(self.process.pid)) > 1

    @property
    def error_log(self) -> str:
        path = self._directory / "apache.error.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def wait_for_line(self, line: str) -> None:
        """Wait for a line of the access log: method, path, status, status of the backend."""
        path = self._directory / "apache.access.log"
        wait_until(f"Apache logs {line!r}", lambda: line in path.read_text().splitlines())


class NativeGate(Gate):
    engine = "native"


class PythonGate(Gate):
    engine = "python"


@dataclass
class Side:
    """A proxy in front of a backend that runs the comparison's script. `seen` is what the script noted."""

    name: str
    proxy: Apache | Gate
    port: int
    path: str
    backend: ScriptedBackend
    seen: Seen

    def http1(self) -> Http1Client:
        return Http1Client(self.port)

    def http2(self) -> Http2Client:
        return Http2Client(self.port)

    @property
    def reason(self) -> str:
        """Return why the gate says that this comparison's first request failed."""
        assert isinstance(self.proxy, Gate)
        line = self.proxy.wait_for_line("the request", lambda line: line["target"].startswith(self.path))
        return str(line["reason"])


@dataclass
class Outcome(Generic[T]):
    """What one side gave: `answer` is what the question returned."""

    side: Side
    answer: T

    @property
    def seen(self) -> Seen:
        return self.side.seen

    @property
    def connections(self) -> int:
        """How many connections the backend got."""
        return self.side.backend.connections


class _Slot:
    """A backend of each side whose script is set by the comparison that takes it."""

    def __init__(self, count: int) -> None:
        self.script: Script = lambda connection, seen: connection.close()
        self.seen: list[Seen] = [[] for _ in range(count)]
        self.backends = [ScriptedBackend(self._runner(seen)) for seen in self.seen]

    def _runner(self, seen: Seen) -> Callable[[Connection], None]:
        return lambda connection: self.script(connection, seen)


class Arena:
    """Apache and a gate on each make of the engines, which all lead `/N/` to the backend of the Nth comparison.

    Host `kept.test` has ProxyPreserveHost on, host `block.test` ProxyVia Block, all others ProxyVia On.
    """

    def __init__(self, directory: Path, comparisons: int) -> None:
        self._slots = [_Slot(3) for _ in range(comparisons)]
        self._taken = 0
        places = [f"/{number}/" for number in range(comparisons)]
        apache_directory, native_directory, python_directory = (directory / name for name in ("a", "n", "p"))
        for path in (apache_directory, native_directory, python_directory):
            path.mkdir()
        urls = [[slot.backends[side].url for slot in self._slots] for side in range(3)]
        passes = "".join(
            _PASS.format(place=place, url=url, http="http" + url.removeprefix("h2c"))
            for place, url in zip(places, urls[0], strict=True)
        )
        self.apache = Apache(apache_directory, passes + _HOSTS)
        timeouts = {
            "response_head": f"{BACKEND_SECONDS}s",
            "response_idle": f"{BACKEND_SECONDS}s",
            "request_body": f"{BACKEND_SECONDS}s",
        }
        self._gates = [
            make(
                path,
                routes=[
                    {"match": {"path": place, **match}, "backend": f"{url}/", **more}
                    for match, more in (({"host": "kept.test"}, {"preserve_host": True}), ({}, {}))
                    for place, url in zip(places, urls[side], strict=True)
                ],
                # Most requests here fail: a share of all would soon be used up.
                sections={"timeouts": timeouts, "retries": {"budget": "100%"}},
            )
            for side, make, path in ((1, NativeGate, native_directory), (2, PythonGate, python_directory))
        ]
        self._stack = ExitStack()

    def __enter__(self) -> Arena:
        with ExitStack() as stack:
            for slot in self._slots:
                for backend in slot.backends:
                    stack.enter_context(backend)
            stack.enter_context(self.apache)
            for gate in self._gates:
                stack.enter_context(gate)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def sides(self, script: Script) -> list[Side]:
        """Return new backends behind Apache and behind both gates, in this order."""
        number, self._taken = self._taken, self._taken + 1
        slot = self._slots[number]
        slot.script = script
        proxies: list[Apache | Gate] = [self.apache, *self._gates]
        return [
            Side(name, proxy, proxy.port, f"/{number}/", slot.backends[side], slot.seen[side])
            for side, (name, proxy) in enumerate(
                zip(("apache", "h2gate (native)", "h2gate (python)"), proxies, strict=True)
            )
        ]

    def compare(self, script: Script, ask: Callable[[Side], T]) -> list[Outcome[T]]:
        """Put `script` behind all sides, `ask` each of them, and return the outcomes: Apache's, then the gates'."""
        return ask_all(self.sides(script), ask)


def one_of_each(
    stack: ExitStack, directory: Path, apache: str, *, threads: int = 32, **gate: Any
) -> tuple[Apache, list[Gate]]:
    """Start an Apache with a configuration of its own, and a gate on each make of the engines, until `stack` ends."""
    directories = [directory / name for name in ("apache", "native", "python")]
    for each in directories:
        each.mkdir()
    gates: list[Gate] = [NativeGate(directories[1], **gate), PythonGate(directories[2], **gate)]
    return stack.enter_context(Apache(directories[0], apache, threads)), [stack.enter_context(one) for one in gates]


def ask_all(sides: Sequence[Side], ask: Callable[[Side], T]) -> list[Outcome[T]]:
    """Ask all sides at once."""
    with ThreadPoolExecutor(len(sides)) as pool:
        return [Outcome(side, answer) for side, answer in zip(sides, pool.map(ask, sides), strict=True)]
