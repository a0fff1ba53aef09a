"""Processes under measurement: started on chosen cores, read from outside, ended by their ids."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO

REPOSITORY = Path(__file__).resolve().parent.parent
STOP_SECONDS = 10.0
_TROUBLE = re.compile("alert|error|fail|missing|refuse", re.IGNORECASE)
ESTABLISHED = "01"  # of the column `st` in /proc/net/tcp


class Failed(Exception):
    """A program did not do what the measurement needs; the message says which and how."""


class Process:
    """A program of its own session, bound to `cpus`; its output goes to two files in `directory`."""

    def __init__(
        self, argv: Sequence[str], name: str, directory: Path, cpus: Iterable[int], stop_by: int = signal.SIGTERM
    ) -> None:
        self.argv = list(argv)
        self.name = name
        self.stdout = directory / f"{name}.stdout"
        self.stderr = directory / f"{name}.stderr"
        self._stop_by = stop_by
        mask = frozenset(cpus)
        # Appended to, so that the file can be cut to nothing while the program writes.
        with open(self.stdout, "ab") as stdout, open(self.stderr, "ab") as stderr:
            self._popen = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                cwd=REPOSITORY,
                start_new_session=True,
                preexec_fn=lambda: os.sched_setaffinity(0, mask),
            )

    @property
    def pid(self) -> int:
        return self._popen.pid

    def has_ended(self) -> bool:
        return self._popen.poll() is not None

    def wait(self, seconds: float) -> int:
        """Wait for the end and return the exit code. Raises Failed after `seconds`."""
        try:
            return self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            self.stop()
            raise Failed(f"{self.name} did not end within {seconds:.0f} s") from None

    def last_words(self) -> str:
        """Return the line in which the program most likely said what went wrong, without this run's paths."""
        text = self.stderr.read_text(errors="replace") + self.stdout.read_text(errors="replace")[-10_000:]
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        telling = [line for line in lines if _TROUBLE.search(line)]
        line = (telling[:1] or lines[-1:] or ["it said nothing"])[0]
        for path in (self.stderr.parent, REPOSITORY):
            line = line.replace(f"{path}/", "").replace(str(path), ".")
        return line

    def forget_output(self) -> None:
        """Cut the output files: an access log of some million lines is of no use here."""
        os.truncate(self.stdout, 0)

    def stop(self) -> None:
        if not self.has_ended():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, self._stop_by)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(STOP_SECONDS)
        # The session is ours alone: what is left in it was left behind.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._popen.wait()


def family(pid: int) -> list[int]:
    """Return `pid` and all its descendants, in the order of their birth."""
    try:
        tasks = os.listdir(f"/proc/{pid}/task")
    except FileNotFoundError:
        return []
    born: list[int] = []
    for task in tasks:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            born += map(int, _read(f"/proc/{pid}/task/{task}/children").split())
    return [pid, *(member for child in sorted(born) for member in family(child))]


def cpu_clock(pid: int) -> float:
    """Return the seconds of CPU the process has had, user and system, its ended threads too.

    The POSIX CPU clock of another process: nanoseconds, where /proc/PID/stat counts in steps of 10 ms. The encoding of
    its id is the kernel's ABI, that of clock_getcpuclockid(3): ~pid << 3, and 2 for the scheduler's count.
    """
    return time.clock_gettime((~pid << 3) | 2)


def cpu_clocks(pids: Iterable[int]) -> dict[int, float]:
    clocks = {}
    for pid in pids:
        with contextlib.suppress(OSError):
            clocks[pid] = cpu_clock(pid)
    return clocks


def pss(pids: Iterable[int]) -> int:
    """Return the proportional set size of the processes together, in bytes."""
    total = 0
    for pid in pids:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            total += pss_of_rollup(_read(f"/proc/{pid}/smaps_rollup"))
    return total


def pss_of_rollup(text: str) -> int:
    for line in text.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise ValueError("no Pss line in smaps_rollup")


def connections_to(port: int, pids: Iterable[int]) -> int:
    """Count the established connections of the processes to a local port."""
    inodes = set()
    for pid in pids:
        with contextlib.suppress(FileNotFoundError):
            for descriptor in os.scandir(f"/proc/{pid}/fd"):
                with contextlib.suppress(FileNotFoundError):
                    target = os.readlink(descriptor.path)
                    if target.startswith("socket:["):
                        inodes.add(target[8:-1])
    return count_established(_read("/proc/net/tcp"), port, inodes)


def count_established(table: str, port: int, inodes: set[str]) -> int:
    """Count the lines of /proc/net/tcp with this remote port that belong to one of the sockets."""
    suffix = f":{port:04X}"
    count = 0
    for line in table.splitlines()[1:]:
        columns = line.split()
        if columns[3] == ESTABLISHED and columns[2].endswith(suffix) and columns[9] in inodes:
            count += 1
    return count


def _read(path: str) -> str:
    file: IO[str]
    with open(path) as file:
        return file.read()
