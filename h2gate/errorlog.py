"""What the gate says about itself: one line format, in the master and in every worker.

Owns the handler of the logger `h2gate`. The rule: a log file is replaced only once the new one is open, and under
the same descriptor, so that a failing reopen loses no line and whoever holds the descriptor (faulthandler) keeps it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat
import sys
import time
import traceback
from pathlib import Path
from typing import TextIO

from h2gate.config.model import ErrorLog
from h2gate.errors import ExitCode, StartError

LOGGER = "h2gate"
_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


class LineFormatter(logging.Formatter):
    """`2026-11-23T12:00:00.123Z [pid] LEVEL text`."""

    def format(self, record: logging.LogRecord) -> str:
        # os.getpid() and not record.process: what is logged after a fork names the child.
        second = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        text = _on_one_line(record.getMessage())
        line = f"{second}.{int(record.msecs):03d}Z [{os.getpid()}] {record.levelname} {text}"
        failure = record.exc_info[1] if record.exc_info else None
        if record.exc_info and failure is not None:
            # An operator gets one line; whoever looks for the bug turns on `level: debug`.
            if logging.getLogger(LOGGER).isEnabledFor(logging.DEBUG):
                line += "\n" + self.formatException(record.exc_info)
            else:
                line += f": {summary(failure)}"
        return line


def configure(log: ErrorLog, owner: int | None = None) -> None:
    """Send the logger `h2gate` where `log` says.

    `owner` is the user id that workers drop to: the file becomes theirs, so that they can reopen it.

    Raises StartError (73, or 77 without the permission) where the file cannot be opened; the log stays as it was.
    """
    handler = _Handler(log.path, owner)
    logger = logging.getLogger(LOGGER)
    logger.setLevel(_LEVELS[log.level])
    logger.propagate = False
    for old in logger.handlers[:]:
        logger.removeHandler(old)
        old.close()
    logger.addHandler(handler)


def make_access_log(path: Path | str, owner: int | None = None) -> None:
    """Make the access log's file, in the master: the workers open it themselves, but may not write in its directory.

    Raises StartError (73, or 77 without the permission) where that cannot be; so a wrong path is told before a fork.
    """
    if not isinstance(path, Path):
        return  # standard output, or off
    # O_NONBLOCK: a FIFO without a reader fails at once.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
    try:
        descriptor = os.open(path, flags, 0o640)
    except OSError as failure:
        raise _explained(failure, path, "access_log.path") from None
    _give(descriptor, path, owner)
    os.close(descriptor)


def reopen() -> None:
    """Open the log file anew, after it was moved away. Where that fails the old file stays in use, and says so."""
    for handler in logging.getLogger(LOGGER).handlers:
        if isinstance(handler, _Handler):
            try:
                handler.reopen()
            except StartError as failure:
                logging.getLogger(LOGGER).error("%s; still writing to the old file", failure)


def descriptor() -> int:
    """Return the log's descriptor, for writers that cannot call: it stays the same over `reopen`."""
    for handler in logging.getLogger(LOGGER).handlers:
        if isinstance(handler, _Handler) and handler.path is not None:
            return handler.stream.fileno()
    return 2


def summary(failure: BaseException) -> str:
    """Return one line for a mistake of ours: its kind, its text and where it happened."""
    frames = traceback.extract_tb(failure.__traceback__)
    place = f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    return _on_one_line(f"{type(failure).__name__}: {failure}{place}")


class _Handler(logging.StreamHandler[TextIO]):
    def __init__(self, path: Path | str, owner: int | None) -> None:
        self.path = None if path == "-" else Path(path)
        self._owner = owner
        super().__init__(sys.stderr if self.path is None else _open(self.path, owner))
        self.setFormatter(LineFormatter())

    def reopen(self) -> None:
        if self.path is None:
            return
        with self.lock or contextlib.nullcontext(), _open(self.path, self._owner) as new:
            self.stream.flush()
            os.dup2(new.fileno(), self.stream.fileno(), inheritable=False)

    def close(self) -> None:
        if self.path is not None:
            with contextlib.suppress(OSError):  # a full disk, with lines not yet written
                self.stream.close()
        super().close()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's name)
        """Lose the line: a full disk must not stop the gate, nor is there another place to say it."""


def _open(path: Path, owner: int | None) -> TextIO:
    try:
        file = open(path, "a", encoding="utf-8", errors="backslashreplace", buffering=1)  # noqa: SIM115 (kept)
    except OSError as failure:
        raise _explained(failure, path, "error_log.path") from None
    _give(file.fileno(), path, owner)
    return file


def _give(descriptor: int, path: Path, owner: int | None) -> None:
    """Make a log file the workers' own.

    Only a file that stands there itself, and no device: where the directory is the workers', a link of their making
    could name anybody's file, and they would be given that.
    """
    if owner is None or os.geteuid() != 0:
        return
    # A file system without owners is no reason not to log.
    with contextlib.suppress(OSError):
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode) and status.st_nlink == 1 and os.path.samestat(status, os.lstat(path)):
            os.fchown(descriptor, owner, -1)


def _explained(failure: OSError, path: Path, key: str) -> StartError:
    if isinstance(failure, PermissionError):
        return StartError(f"{path}: no permission to write the log: change its owner or {key}", ExitCode.NO_PERMISSION)
    return StartError(f"{path}: cannot open the log ({failure.strerror}): change {key}", ExitCode.CANNOT_CREATE)


def _on_one_line(text: str) -> str:
    """Escape what could break the line or steer a terminal: a peer's bytes may be quoted in it."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
