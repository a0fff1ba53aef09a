"""The stand a measurement runs on: cores, ports, files, certificate, backend, and gates started on demand.

The gates run on the first core, the load and the backend on the second. So the backend takes time from the load, and a
fast gate waits for both: what is compared is what a request costs the gate, not who is busier.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import resource
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench import load
from bench.gates import SEARCH_PATH, Gate, Place
from bench.load import Load
from bench.processes import Failed, Process, connections_to, cpu_clocks, family, pss
from bench.rows import ROWS, Row

START_SECONDS = 20.0
# Below the ports that the kernel gives to clients: a load of thousands of connections never takes a gate's port.
PORTS = range(20_000, 32_000)
DESCRIPTORS = 65_536


@dataclass
class Running:
    """A gate that serves."""

    gate: Gate
    place: Place
    process: Process

    @property
    def pids(self) -> list[int]:
        return family(self.process.pid)

    @property
    def workers(self) -> list[int]:
        """Return who does the work: all but the parent, or the process itself where there is no other."""
        return self.pids[1:] or self.pids

    def url(self, row: Row) -> str:
        scheme, port = ("https", self.place.tls_port) if row.tls else ("http", self.place.clear_port)
        return f"{scheme}://127.0.0.1:{port}/{row.file}"


@dataclass(frozen=True)
class Run:
    """One run of the load, and what it cost the gate."""

    load: Load
    cpu: dict[int, float]
    wall: float
    pss: int
    connections: int

    @property
    def cost(self) -> float:
        """Return seconds of CPU per request."""
        return sum(self.cpu.values()) / self.load.requests if self.load.requests else 0.0

    def as_json(self) -> dict[str, Any]:
        return {
            "requests": self.load.requests,
            "failed": self.load.failed,
            "seconds": self.load.seconds,
            "cpu_seconds": sum(self.cpu.values()),
            "wall_seconds": self.wall,
            "pss": self.pss,
            "backend_connections": self.connections,
        }


class Stand:
    """Owns everything that a run starts or writes, and removes it at the end."""

    def __init__(self, gate_cpus: Sequence[int], load_cpus: Sequence[int]) -> None:
        self.gate_cpus = list(gate_cpus)
        self.load_cpus = list(load_cpus)
        self._directory = tempfile.TemporaryDirectory(prefix="h2gate-bench-")
        self.directory = Path(self._directory.name)
        self._ports = iter(PORTS)
        self._numbers = itertools.count(1)
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        raise_descriptors()
        os.chmod(self.directory, 0o755)  # Apache's children are not root
        self.cert, self.key = self.directory / "site.crt", self.directory / "site.key"
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
                *("-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
                *("-keyout", str(self.key), "-out", str(self.cert)),
            ],
            check=True,
            capture_output=True,
        )
        files = self.directory / "files"
        files.mkdir()
        for size in {row.size for row in ROWS}:
            (files / f"{size}.bin").write_bytes(bytes(range(256)) * (size // 256))
        self.backend_port = self.free_port()
        nghttpd = shutil.which("nghttpd", path=SEARCH_PATH)
        if not (nghttpd and shutil.which("h2load")):
            raise Failed(
                "nghttpd or h2load is not installed: `make bench-peers`, or packages nghttp2-server, nghttp2-client"
            )
        argv = [nghttpd, "--no-tls", "-n1", "-d", str(files), str(self.backend_port)]
        self.backend = Process(argv, "nghttpd", self.directory, self.load_cpus)
        self._stack.callback(self.backend.stop)
        _await_ports(self.backend, [self.backend_port])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()
        self._directory.cleanup()

    def free_port(self) -> int:
        for port in self._ports:
            with socket.socket() as probe, contextlib.suppress(OSError):
                probe.bind(("0.0.0.0", port))
                return port
        raise Failed("no free port")

    @contextlib.contextmanager
    def running(self, gate: Gate, cpus: Sequence[int] = (), **h2gate: Any) -> Iterator[Running]:
        """Start the gate, wait until it serves, and stop it at the end. Raises Failed with its last words."""
        if reason := gate.missing():
            raise Failed(reason)
        name = f"{gate.key}-{next(self._numbers)}"
        directory = self.directory / name
        directory.mkdir()
        place = Place(
            directory, self.free_port(), self.free_port(), self.backend_port, self.cert, self.key, h2gate=h2gate
        )
        process = Process(gate.command(place), gate.key, directory, cpus or self.gate_cpus, gate.stop_by)
        try:
            _await_ports(process, [place.clear_port, place.tls_port])
            yield Running(gate, place, process)
        finally:
            process.stop()

    def run(
        self,
        running: Running,
        row: Row,
        seconds: float,
        *,
        requests: int = 0,
        log: Path | None = None,
        load_cpus: Sequence[int] = (),
    ) -> Run:
        """Make the load once and read what it cost the gate. Raises Failed where that cannot be told."""
        pids = running.pids
        argv = load.command(row, running.url(row), seconds, requests=requests, log=log)
        before, begin = cpu_clocks(pids), time.monotonic()
        generator = Process(argv, f"load-{next(self._numbers)}", self.directory, load_cpus or self.load_cpus)
        try:
            # In the middle of the run, when all connections are there.
            time.sleep(seconds / 2)
            memory, connections = pss(running.workers), connections_to(running.place.backend_port, pids)
            generator.wait(60 + 20 * seconds)
            wall, after = time.monotonic() - begin, cpu_clocks(pids)
            done = load.parse(row, generator.stdout.read_text(errors="replace"), requests)
        except ValueError:
            raise Failed(f"{argv[0]}: {generator.last_words()}") from None
        finally:
            generator.stop()
            generator.stdout.unlink()
            generator.stderr.unlink()
        running.process.forget_output()
        if running.process.has_ended() or set(after) != set(pids):
            raise Failed(f"{running.gate.title} lost a process: {running.process.last_words()}")
        if not done.requests:
            raise Failed(f"no request succeeded ({done.failed} failed)")
        spent = {pid: after[pid] - before[pid] for pid in pids}
        return Run(done, spent, wall, memory, connections)

    def rate(self, running: Running, row: Row, seconds: float = 1.0, **how: Any) -> int:
        """Warm the gate up, and return how many requests it does in a second."""
        self.run(running, row, seconds, **how)
        return max(1, round(self.run(running, row, seconds, **how).load.rate))


def raise_descriptors() -> None:
    """Allow what a table of 10 000 idle connections needs; the gates inherit it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Above the hard limit only where this may be raised.
    for wanted in (max(hard, DESCRIPTORS), hard):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
            return
        except (ValueError, OSError):
            continue


def _await_ports(process: Process, ports: Sequence[int]) -> None:
    deadline = time.monotonic() + START_SECONDS
    for port in ports:
        while True:
            if process.has_ended():
                raise Failed(f"{process.name} did not start: {process.last_words()}")
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise Failed(f"{process.name} does not listen: {process.last_words()}") from None
                time.sleep(0.02)
