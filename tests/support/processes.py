"""Run a process for a test: started, ready by an event, ended by its pid, its output kept for the failure message.

Rule: every process gets a session of its own, so that whatever it leaves behind is found by that session's id.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

REPOSITORY = Path(__file__).resolve().parents[2]
STOP_SECONDS = 10.0


class Process:
    """A running program. Its stderr goes to a file, its stdout too unless `reads_stdout`."""

    def __init__(
        self,
        argv: list[str | Path],
        directory: Path,
        *,
        name: str | None = None,
        reads_stdout: bool = False,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.name = name or Path(argv[0]).name
        self.argv = [str(part) for part in argv]
        self._stdout_path = directory / f"{self.name}.stdout"
        self._stderr_path = directory / f"{self.name}.stderr"
        with open(self._stdout_path, "ab") as stdout, open(self._stderr_path, "ab") as stderr:
            self._popen = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if reads_stdout else stdout,
                stderr=stderr,
                cwd=REPOSITORY,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def stderr(self) -> str:
        return self._stderr_path.read_text(errors="replace")

    @property
    def stdout(self) -> str:
        return self._stdout_path.read_text(errors="replace")

    @property
    def exit_code(self) -> int | None:
        return self._popen.poll()

    def send_signal(self, number: signal.Signals) -> None:
        self._popen.send_signal(number)

    def read_line(self, timeout: float = 10.0) -> str:
        """Return the next line of stdout (of a process that `reads_stdout`)."""
        stream = self._popen.stdout
        assert stream is not None
        deadline = time.monotonic() + timeout
        line = b""
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([stream], [], [], max(0.0, deadline - time.monotonic()))
            byte = os.read(stream.fileno(), 1) if ready else b""
            if not byte:
                raise AssertionError(f"{self.name} printed no line within {timeout} s\n{self.describe()}")
            line += byte
        return line.decode().rstrip("\n")

    def wait(self, timeout: float = STOP_SECONDS) -> int:
        """Return the exit code."""
        try:
            return self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} did not end within {timeout} s\n{self.describe()}") from None

    def stop(self, number: signal.Signals = signal.SIGTERM, timeout: float = STOP_SECONDS) -> int:
        """End the process if it still runs, by KILL if `number` is not enough, and whatever it left."""
        try:
            if self._popen.poll() is None:
                self._popen.send_signal(number)
                try:
                    self._popen.wait(timeout)
                except subprocess.TimeoutExpired:
                    self._popen.kill()
            code = self._popen.wait()
        finally:
            for pid in session_members(self.pid):
                kill(pid)
            if self._popen.stdout is not None:
                self._popen.stdout.close()
        return code

    def describe(self) -> str:
        """Return what a failure message should say about the process."""
        return f"{' '.join(self.argv)}\nexit code: {self.exit_code}\nstdout:\n{self.stdout}\nstderr:\n{self.stderr}"


def session_members(session: int) -> list[int]:
    """Return the living processes of a session."""
    members = []
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            state = _stat(int(entry))
            if state is not None and state[0] != "Z" and int(state[3]) == session:
                members.append(int(entry))
    return members


def children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def is_alive(pid: int) -> bool:
    state = _stat(pid)
    return state is not None and state[0] != "Z"


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def resident_bytes(pid: int) -> int:
    """Return the memory a process has in use now."""
    return _status_bytes(pid, "VmRSS")


def peak_bytes(pid: int) -> int:
    """Return the most memory a process has had in use since `forget_peak`."""
    return _status_bytes(pid, "VmHWM")


def forget_peak(pid: int) -> None:
    # proc(5), clear_refs: 5 resets the peak resident set size to the current one.
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def _status_bytes(pid: int, key: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"process {pid} has no {key}")


def _stat(pid: int) -> list[str] | None:
    """Return the fields of /proc/PID/stat from the state on: state, parent, group, session..."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name in parentheses may contain anything.
    return text[text.rindex(")") + 2 :].split()
