"""The pidfile: where the master's process id is written, if the operator wants it.

The rule: it appears whole (a temporary file, renamed) and is removed only by the process it names.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from h2gate.errors import ExitCode, StartError


class Pidfile:
    """Written at once, removed at the end.

    Raises StartError where another living process is named in the file, or it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._owner = os.getpid()
        other = read(path)
        if other is not None and other != self._owner and is_alive(other) and may_be_a_gate(other):
            raise StartError(
                f"{path} names process {other}, which is alive: stop it or change pidfile",
                ExitCode.CANNOT_CREATE,
            )
        self._write()

    def _write(self) -> None:
        path = self._path
        try:
            descriptor, temporary = tempfile.mkstemp(prefix=path.name, dir=path.parent)
            try:
                with open(descriptor, "w", encoding="ascii") as file:
                    file.write(f"{self._owner}\n")
                    os.fchmod(descriptor, 0o644)
                os.rename(temporary, path)
            except OSError:
                os.unlink(temporary)
                raise
        except OSError as failure:
            denied = isinstance(failure, PermissionError)
            raise StartError(
                f"{path}: cannot write the pidfile ({failure.strerror}): change pidfile",
                ExitCode.NO_PERMISSION if denied else ExitCode.CANNOT_CREATE,
            ) from None

    def remove(self) -> None:
        """Remove the file if it still names this process."""
        if os.getpid() == self._owner and read(self._path) == self._owner:
            with contextlib.suppress(OSError):
                os.unlink(self._path)


def read(path: Path) -> int | None:
    """Return the process id in the file, or None where there is none."""
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def may_be_a_gate(pid: int) -> bool:
    """Whether a living process may be a gate: after a crash, or a reboot, its number may be anybody's."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return True  # hidden from us
    return b"h2gate" in words


def is_alive(pid: int) -> bool:
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True  # somebody else's, and alive
    except (ProcessLookupError, OverflowError):
        return False
    return True
