"""A real master with stub workers, in a process of its own (`tests/process/stub_gate.py`)."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PROGRAM = Path(__file__).parents[1] / "process" / "stub_gate.py"
ROOT = Path(__file__).parents[2]

# Of anything that is waited for: only a failing test reaches it.
PATIENCE_SECONDS = 20.0

CONFIG = """\
workers: {workers}
control: control.sock
listeners:
  - address: 127.0.0.1:0
routes:
  - respond: {{status: 204}}
timeouts: {{boot: {boot}, drain: {drain}}}
"""


def config(workers: int = 1, boot: str = "10s", drain: str = "10s", more: str = "") -> str:
    return CONFIG.format(workers=workers, boot=boot, drain=drain) + more


class StubGate:
    """Starts at once; `end` leaves no process behind, whatever happened."""

    def __init__(
        self,
        directory: Path,
        text: str,
        *,
        environ: Mapping[str, str] | None = None,
        pass_fds: tuple[int, ...] = (),
        wrapper: tuple[str, ...] = (),
    ) -> None:
        self.directory = directory
        self.config_path = directory / "gate.yaml"
        self.config_path.write_text(text)
        self.mood_path = directory / "mood"
        self._clients: list[Client] = []
        self._lines: list[str] = []
        self._changed = threading.Condition()
        self.process = subprocess.Popen(
            [*wrapper, sys.executable, str(PROGRAM), str(self.config_path)],
            cwd=directory,
            env={**os.environ, "PYTHONPATH": str(ROOT), "STUB_MOOD": str(self.mood_path), **(environ or {})},
            stderr=subprocess.PIPE,
            text=True,
            pass_fds=pass_fds,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    # what it says

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._changed:
                self._lines.append(line.rstrip("\n"))
                self._changed.notify_all()

    @property
    def log(self) -> str:
        with self._changed:
            return "\n".join(self._lines)

    def wait_line(self, pattern: str, count: int = 1) -> str:
        """Wait for the `count`-th line that matches."""
        with self._changed:
            found: list[str] = []

            def is_there() -> bool:
                found[:] = [line for line in self._lines if re.search(pattern, line)]
                return len(found) >= count

            there = self._changed.wait_for(is_there, PATIENCE_SECONDS)
            assert there, f"no {pattern!r} in:\n" + "\n".join(self._lines)
            return found[count - 1]

    def serving(self, generation: int = 1) -> StubGate:
        self.wait_line(f"generation {generation} serves")
        return self

    # what it is told

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)

    def ask_socket(self, command: str) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(PATIENCE_SECONDS)
        sock.connect(str(self.directory / "control.sock"))
        sock.sendall(json.dumps({"command": command}).encode() + b"\n")
        return sock

    def ask(self, command: str) -> dict[str, Any]:
        with self.ask_socket(command) as sock, sock.makefile("rb") as answer:
            words: dict[str, Any] = json.loads(answer.readline())
            return words

    def workers(self, state: str = "serving") -> list[dict[str, Any]]:
        return [worker for worker in self.ask("status")["workers"] if worker["state"] == state]

    def mood(self, mood: str) -> None:
        """Set what the workers booting from now on do."""
        self.mood_path.write_text(mood)

    # its clients

    @property
    def address(self) -> str:
        found = re.findall(r"serves on ([^, ]+)", self.log)
        return str(found[-1])

    def connect(self, address: str | None = None) -> Client:
        client = Client(address or self.address)
        self._clients.append(client)
        return client

    def taken_by(self, generation: int, address: str | None = None) -> bool:
        """Whether a new client is taken by that generation; an old one may be faster until it is told to leave."""
        with self.connect(address) as client:
            return client.generation == generation

    # its end

    def wait(self) -> int:
        """Wait for the master's end, and for the last line of all its processes."""
        code = self.process.wait(PATIENCE_SECONDS)
        self._reader.join(PATIENCE_SECONDS)
        assert not self._reader.is_alive(), "a worker outlived the master"
        return code

    def end(self) -> None:
        for client in self._clients:
            client.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(PATIENCE_SECONDS)
        self._reader.join(PATIENCE_SECONDS)
        assert self.process.stderr is not None
        self.process.stderr.close()


class Client:
    """A client of a stub worker, which says who it is."""

    def __init__(self, address: str) -> None:
        if address.startswith("unix:"):
            self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.socket.settimeout(PATIENCE_SECONDS)
            self.socket.connect(address.removeprefix("unix:"))
        else:
            host, _, port = address.rpartition(":")
            self.socket = socket.create_connection((host.strip("[]"), int(port)), PATIENCE_SECONDS)
        self._file = self.socket.makefile("rb")
        self.pid, self.generation, self.slot = map(int, self._file.readline().split())

    def send(self, text: str) -> None:
        self.socket.sendall(text.encode() + b"\n")

    def echo(self, text: str) -> str:
        self.send(text)
        return self._file.readline().decode().strip()

    def close(self) -> None:
        self._file.close()
        self.socket.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def title_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0")
