from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from h2gate.config.model import AccessLog as AccessLogConfig
from h2gate.errors import ExitCode, StartError
from h2gate.telemetry import access_log
from h2gate.telemetry.access_log import BATCH_BYTES, KEPT_BYTES, PIPE_BYTES, AccessLog
from tests.telemetry.entries import Line, request


def opened(path: Path | str) -> AccessLog:
    return AccessLog(AccessLogConfig.model_validate({"path": path, "format": "json"}))


def entry(number: int, size: int = 10) -> Line:
    return Line(retries=number, request=request(b"/" + b"x" * size))


def numbers(data: bytes) -> list[int]:
    return [json.loads(line)["retries"] for line in data.splitlines()]


@pytest.fixture
def said() -> Iterator[list[str]]:
    """Yield what the gate says in the error log."""
    messages: list[str] = []

    class Ears(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    logger, ears = logging.getLogger("h2gate"), Ears()
    level = logger.level
    logger.addHandler(ears)
    logger.setLevel(logging.INFO)
    yield messages
    logger.removeHandler(ears)
    logger.setLevel(level)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    os.close(writer)
    with contextlib.suppress(OSError):
        # A test may have closed it.
        os.close(reader)


def test_lines_are_written_at_the_flush(tmp_path: Path) -> None:
    log = opened(tmp_path / "access.log")
    for number in range(3):
        log.write(entry(number))
    assert (tmp_path / "access.log").read_bytes() == b""
    log.flush()
    assert numbers((tmp_path / "access.log").read_bytes()) == [0, 1, 2]
    log.close()


def test_a_full_batch_does_not_wait_for_the_flush(tmp_path: Path) -> None:
    log = opened(tmp_path / "access.log")
    for number in range(3):
        log.write(entry(number, BATCH_BYTES // 2))
    assert numbers((tmp_path / "access.log").read_bytes()) == [0, 1]
    log.close()
    assert numbers((tmp_path / "access.log").read_bytes()) == [0, 1, 2]


def test_a_log_is_appended_to(tmp_path: Path) -> None:
    for number in range(2):
        log = opened(tmp_path / "access.log")
        log.write(entry(number))
        log.close()
    assert numbers((tmp_path / "access.log").read_bytes()) == [0, 1]


def test_the_format_is_the_one_configured(tmp_path: Path) -> None:
    log = AccessLog(AccessLogConfig.model_validate({"path": tmp_path / "access.log"}))
    log.write(Line())
    log.close()
    assert (tmp_path / "access.log").read_bytes().startswith(b"203.0.113.7 - - [")


def test_off_opens_and_writes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_log, "_open", None)
    log = opened("off")
    assert not log.is_on
    log.write(None)  # type: ignore[arg-type]
    log.flush()
    log.reopen()
    log.close()
    assert log.lost == 0
    assert "off" in repr(log)


def test_batches_of_several_workers_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "access.log"

    def work(worker: int) -> None:
        log = opened(path)
        for number in range(300):
            log.write(entry(worker * 1000 + number, size=(number * 37 + worker) % 900))
            if number % 7 == 0:
                log.flush()
        log.close()

    workers = [threading.Thread(target=work, args=(worker,)) for worker in range(4)]
    for thread in workers:
        thread.start()
    for thread in workers:
        thread.join()
    found = numbers(path.read_bytes())
    for worker in range(4):
        assert [number % 1000 for number in found if number // 1000 == worker] == list(range(300))


def test_reopen_follows_a_file_that_was_moved(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    log = opened(path)
    log.write(entry(1))
    path.rename(tmp_path / "access.log.1")
    log.reopen()
    log.write(entry(2))
    log.close()
    assert numbers((tmp_path / "access.log.1").read_bytes()) == [1]
    assert numbers(path.read_bytes()) == [2]


def test_a_reopen_that_fails_goes_on_with_the_old_file(tmp_path: Path, said: list[str]) -> None:
    path = tmp_path / "access.log"
    log = opened(path)
    path.rename(tmp_path / "access.log.1")
    path.mkdir()
    log.reopen()
    log.write(entry(1))
    log.close()
    assert numbers((tmp_path / "access.log.1").read_bytes()) == [1]
    assert said == [
        f"{path}: cannot open the log (Is a directory): change access_log.path; still writing to the old file"
    ]


def test_a_file_that_cannot_be_opened_is_a_start_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StartError, match="cannot open the log") as raised:
        opened(tmp_path / "none" / "access.log")
    assert raised.value.exit_code is ExitCode.CANNOT_CREATE
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(StartError, match="No such device or address"):
        opened(tmp_path / "fifo")

    def refuse(*_: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(StartError, match="no permission") as raised:
        opened(tmp_path / "access.log")
    assert raised.value.exit_code is ExitCode.NO_PERMISSION


def test_a_full_disk_is_said_once_and_costs_lines_only(said: list[str]) -> None:
    log = opened("/dev/full")
    size = 10_000
    count = KEPT_BYTES // size + 20
    for number in range(count):
        log.write(entry(number, size))
        if number % 10 == 0:
            log.flush()
    assert said == ["access log /dev/full: No space left on device; lines beyond 1024 KiB are lost until it works"]
    assert 0 < log.lost < 30
    assert "failing" in repr(log)
    log.close()
    assert log.lost == count
    assert len(said) == 2


def test_what_waited_is_written_once_the_log_works_again(
    tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    log = opened(tmp_path / "access.log")
    write = os.write

    def short(fd: int, data: bytes) -> int:
        """A disk that has room for a few bytes more."""
        if len(data) > 100:
            return write(fd, data[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", short)
        for number in range(5):
            log.write(entry(number))
        log.flush()
        log.flush()
    assert len(said) == 1
    log.write(entry(5))
    log.flush()
    log.flush()
    assert numbers((tmp_path / "access.log").read_bytes()) == list(range(6))
    assert said[1:] == [f"access log {tmp_path / 'access.log'} works again; 0 lines lost since the start"]
    log.close()


def test_standard_output_as_a_file_is_written_to_and_left_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open(tmp_path / "out", "wb") as out:
        monkeypatch.setattr(access_log, "STDOUT", out.fileno())
        log = opened("-")
        log.write(entry(1))
        log.reopen()
        log.close()
        os.write(out.fileno(), b"")
    assert numbers((tmp_path / "out").read_bytes()) == [1]


def read_waiting(fd: int) -> bytes:
    os.set_blocking(fd, False)
    data = b""
    while True:
        try:
            chunk = os.read(fd, 1 << 20)
        except BlockingIOError:
            return data
        if not chunk:
            return data
        data += chunk


@pytest.mark.parametrize("can_open_again", [True, False], ids=["opened again", "asked first"])
def test_a_slow_reader_of_standard_output_delays_nobody_and_loses_nothing_soon(
    pipe: tuple[int, int], said: list[str], monkeypatch: pytest.MonkeyPatch, can_open_again: bool
) -> None:
    reader, writer = pipe
    monkeypatch.setattr(access_log, "STDOUT", writer)
    with monkeypatch.context() as patched:
        if not can_open_again:

            def refuse(*_: object) -> int:
                raise PermissionError(errno.EACCES, "Permission denied")

            patched.setattr(os, "open", refuse)
        log = opened("-")
    # Other processes have this pipe too: they rely on it to block.
    assert not fcntl.fcntl(writer, fcntl.F_GETFL) & os.O_NONBLOCK
    for number in range(500):
        log.write(entry(number, size=number))
    log.flush()
    assert log.lost == 0
    data = b""
    for _ in range(10):
        data += read_waiting(reader)
        log.flush()
    assert numbers(data) == list(range(500))
    assert [message.partition(";")[0] for message in said] == [
        "access log -: Resource temporarily unavailable",
        "access log - works again",
    ]
    log.close()


def test_batches_for_a_pipe_are_whole_lines_of_at_most_pipe_buf(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[bytes] = []

    def write(_: int, data: bytes) -> int:
        written.append(data)
        return len(data)

    monkeypatch.setattr(access_log, "STDOUT", pipe[1])
    log = opened("-")
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", write)
        for number in range(60):
            log.write(entry(number, size=6000 if number == 30 else 300))
        log.flush()
    assert numbers(b"".join(written)) == list(range(60))
    assert all(batch.endswith(b"\n") for batch in written)
    assert [numbers(batch) for batch in written if len(batch) > PIPE_BYTES] == [[30]]
    log.close()


def test_a_reader_that_left_costs_lines_only(
    pipe: tuple[int, int], said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = pipe
    monkeypatch.setattr(access_log, "STDOUT", writer)
    log = opened("-")
    os.close(reader)
    log.write(entry(1))
    log.flush()
    log.flush()
    assert [message.partition(";")[0] for message in said] == ["access log -: Broken pipe"]
    log.close()
    assert log.lost == 1


def test_standard_output_as_a_socket_never_blocks(said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        monkeypatch.setattr(access_log, "STDOUT", ours.fileno())
        log = opened("-")
        for number in range(1000):
            log.write(entry(number, size=200))
        theirs.setblocking(False)
        data = b""
        # As much as the socket takes at a time, until the last line is there.
        for _ in range(100):
            log.flush()
            with contextlib.suppress(BlockingIOError):
                while True:
                    data += theirs.recv(1 << 20)
            if b'"retries":999,' in data:
                break
        assert numbers(data) == list(range(1000))
        assert said
        log.close()
        os.fstat(ours.fileno())


def test_a_closed_standard_output_is_a_start_error(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    os.close(writer)
    monkeypatch.setattr(access_log, "STDOUT", writer)
    with pytest.raises(StartError, match="standard output is closed"):
        opened("-")
