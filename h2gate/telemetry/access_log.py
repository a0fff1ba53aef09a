"""The access log: one line for each exchange, written in batches.

Owns the log's descriptor and the lines that wait for it. The rule: a log that cannot be written costs lines, never a
request or a wait: nothing here raises, and only a regular file may block (as long as its disk does).

How lines of several workers stay whole: a regular file is opened with O_APPEND, and the kernel holds the file's lock
for the whole of a write (on a local file system), so that a batch goes in as one piece whatever its size. A pipe does
so up to PIPE_BUF, so that batches are cut there, between lines; a longer line may be mixed with another worker's.
"""

from __future__ import annotations

import errno
import logging
import os
import select
import socket
import stat
from collections.abc import Callable
from pathlib import Path

from h2gate.config.model import AccessLog as AccessLogConfig
from h2gate.errors import ExitCode, StartError
from h2gate.telemetry.formats import FORMATS, Entry
from h2gate.telemetry.log_format import compile_format

BATCH_BYTES = 65_536
"""Waiting lines are written when they are more than this; else at the worker's next `flush`."""

KEPT_BYTES = 1_048_576
"""What waits for a log that cannot be written now; lines beyond it are lost."""

# Linux, pipe(7): writes up to this size are atomic, and POLLOUT promises room for one.
PIPE_BYTES = select.PIPE_BUF

STDOUT = 1

_log = logging.getLogger("h2gate")


class AccessLog:
    """A worker's access log. With `off` each call returns at once; ask `is_on` to save even that."""

    __slots__ = ("_failing", "_format", "_lines", "_output", "_path", "_size", "is_on", "lost")

    def __init__(self, config: AccessLogConfig) -> None:
        """Open the log.

        Raises StartError (73, or 77 without the permission) where the file cannot be opened.
        """
        self._format = FORMATS.get(config.format) or compile_format(config.format)
        self._path = config.path
        self._lines: list[bytes] = []
        self._size = 0
        self._failing = False
        self.is_on = config.path != "off"
        self.lost = 0
        """Lines that could not be written, since the start."""
        self._output: _Output | None = _open(config.path) if self.is_on else None

    def __repr__(self) -> str:
        state = "failing" if self._failing else "on" if self.is_on else "off"
        return f"<access log {self._path} {state}, {self._size} bytes waiting, {self.lost} lines lost>"

    def write(self, entry: Entry) -> None:
        """Add the exchange's line."""
        if self._output is None:
            return
        if self._failing and self._size >= KEPT_BYTES:
            self.lost += 1
            return
        line = self._format(entry)
        self._lines.append(line)
        self._size += len(line)
        # While it fails, only the worker's flushes try: five a second and not one for each line.
        if self._size > BATCH_BYTES and not self._failing:
            self.flush()

    def flush(self) -> None:
        """Write what waits. What cannot be written goes on waiting."""
        if not self._lines or self._output is None:
            return
        data = b"".join(self._lines)
        sent, failure = self._output.write(data)
        self._lines = [data[sent:]] if sent < len(data) else []
        self._size = len(data) - sent
        if failure is None:
            self._recovered()
        else:
            self._failed(failure)

    def reopen(self) -> None:
        """Open the file anew, after it was moved away. Where that fails the old one stays in use, and says so."""
        if self._output is None or self._path == "-":
            return
        try:
            output = _open(self._path)
        except StartError as failure:
            _log.error("%s; still writing to the old file", failure)
            return
        # Lines from before the move belong to the old file.
        self.flush()
        self._output.close()
        self._output = output

    def close(self) -> None:
        """Write what waits, and close. What cannot be written now is lost."""
        if self._output is None:
            return
        self.flush()
        if self._lines:
            lines = self._lines[0].count(b"\n") + len(self._lines) - 1
            self.lost += lines
            _log.error("access log %s: closed with %d lines unwritten", self._path, lines)
            self._lines = []
            self._size = 0
        self._output.close()
        self._output = None

    def _failed(self, failure: OSError) -> None:
        if not self._failing and (self._size > BATCH_BYTES or failure.errno != errno.EAGAIN):
            # A reader that is a moment behind is no news.
            self._failing = True
            _log.error(
                "access log %s: %s; lines beyond %d KiB are lost until it works",
                self._path,
                failure.strerror,
                KEPT_BYTES // 1024,
            )

    def _recovered(self) -> None:
        if self._failing:
            self._failing = False
            _log.warning("access log %s works again; %d lines lost since the start", self._path, self.lost)


class _Output:
    """A descriptor and how to write to it without waiting. `batch` is the size that goes in as one piece, 0 for any."""

    __slots__ = ("_batch", "_close", "_send")

    def __init__(self, send: Callable[[bytes], int], batch: int, close: Callable[[], None]) -> None:
        self._send = send
        self._batch = batch
        self._close = close

    def write(self, data: bytes) -> tuple[int, OSError | None]:
        """Return how many bytes went out, and why not all."""
        sent = 0
        try:
            while sent < len(data):
                end = self._end_of_batch(data, sent)
                sent += self._send(data[sent:end])
        except OSError as failure:
            return sent, failure
        return sent, None

    def _end_of_batch(self, data: bytes, start: int) -> int:
        if not self._batch or len(data) - start <= self._batch:
            return len(data)
        end = data.rfind(b"\n", start, start + self._batch) + 1
        # A line longer than a batch goes alone.
        return end or data.index(b"\n", start) + 1

    def close(self) -> None:
        self._close()


def _open(path: Path | str) -> _Output:
    if path == "-":
        return _open_stdout()
    # O_NONBLOCK matters for a FIFO only: without a reader it fails at once, with a slow one it never waits.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
    try:
        fd = os.open(path, flags, 0o640)
    except PermissionError:
        raise StartError(
            f"{path}: no permission to write the log: change its owner or access_log.path", ExitCode.NO_PERMISSION
        ) from None
    except OSError as failure:
        raise StartError(
            f"{path}: cannot open the log ({failure.strerror}): change access_log.path", ExitCode.CANNOT_CREATE
        ) from None
    batch = 0 if stat.S_ISREG(os.fstat(fd).st_mode) else PIPE_BYTES
    return _Output(lambda data: os.write(fd, data), batch, lambda: os.close(fd))


def _open_stdout() -> _Output:
    """Return standard output. Its own flags stay as they are: other processes share them.

    So a pipe or terminal is opened once more, not to block; a socket (journald's) is told so with each write.
    """
    try:
        mode = os.fstat(STDOUT).st_mode
    except OSError as failure:
        raise StartError(
            f"standard output is closed ({failure.strerror}): change access_log.path", ExitCode.CANNOT_CREATE
        ) from None
    if stat.S_ISREG(mode):
        return _Output(lambda data: os.write(STDOUT, data), 0, _nothing)
    if stat.S_ISSOCK(mode):
        stream = socket.socket(fileno=os.dup(STDOUT))
        return _Output(lambda data: stream.send(data, socket.MSG_DONTWAIT), PIPE_BYTES, stream.close)
    try:
        fd = os.open(f"/proc/self/fd/{STDOUT}", os.O_WRONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        # Somebody else's pipe, after the user was dropped: each write asks for room first.
        return _Output(_write_if_ready, PIPE_BYTES, _nothing)
    return _Output(lambda data: os.write(fd, data), PIPE_BYTES, lambda: os.close(fd))


def _write_if_ready(data: bytes) -> int:
    """Write to standard output if that does not wait: POLLOUT promises room for PIPE_BUF bytes."""
    poll = select.poll()
    poll.register(STDOUT, select.POLLOUT)
    if not poll.poll(0):
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return os.write(STDOUT, data[:PIPE_BYTES])


def _nothing() -> None:
    """Standard output is not ours to close."""
