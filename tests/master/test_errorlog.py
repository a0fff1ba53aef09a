import logging
import os
import re

import pytest

from h2gate import errorlog
from h2gate.config.model import ErrorLog
from h2gate.errors import ExitCode, StartError

LOG = logging.getLogger("h2gate")


@pytest.fixture(autouse=True)
def _restored():
    handlers, level, propagate = LOG.handlers[:], LOG.level, LOG.propagate
    LOG.handlers.clear()
    yield
    for handler in LOG.handlers:
        handler.close()
    LOG.handlers[:] = handlers
    LOG.setLevel(level)
    LOG.propagate = propagate


@pytest.fixture
def path(tmp_path):
    return tmp_path / "error.log"


def test_a_line_has_time_process_level_and_text(path):
    errorlog.configure(ErrorLog(path=path))
    LOG.warning("worker %d is late", 2)
    assert re.fullmatch(
        rf"\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{{3}}Z \[{os.getpid()}\] WARNING worker 2 is late\n", path.read_text()
    )


def test_lines_below_the_level_are_not_written(path):
    errorlog.configure(ErrorLog(path=path, level="error"))
    LOG.warning("no")
    LOG.error("yes")
    assert path.read_text().endswith("ERROR yes\n")
    assert path.read_text().count("\n") == 1


def test_a_peers_bytes_cannot_break_the_line_or_steer_a_terminal(path):
    errorlog.configure(ErrorLog(path=path))
    LOG.error("bad name %s", "x\r\n2026 [1] ERROR forged\x1b[2J\x00é\udcff")
    (line,) = path.read_text().splitlines()
    assert line.endswith(r"bad name x\r\n2026 [1] ERROR forged\x1b[2J\x00é\udcff")


def test_standard_error_is_the_default(capfd):
    errorlog.configure(ErrorLog())
    LOG.info("hello")
    assert capfd.readouterr().err.endswith("INFO hello\n")
    assert errorlog.descriptor() == 2
    errorlog.reopen()


def test_a_reopened_log_writes_to_the_new_file_under_the_same_descriptor(path):
    errorlog.configure(ErrorLog(path=path))
    LOG.info("one")
    descriptor = errorlog.descriptor()
    path.rename(path.with_suffix(".1"))
    errorlog.reopen()
    LOG.info("two")
    assert errorlog.descriptor() == descriptor
    assert not os.get_inheritable(descriptor)
    assert "two" in path.read_text()
    assert "two" not in path.with_suffix(".1").read_text()


def test_a_reopen_that_fails_keeps_the_old_file_and_says_so(path):
    path.parent.joinpath("logs").mkdir()
    path = path.parent / "logs" / "error.log"
    errorlog.configure(ErrorLog(path=path))
    moved = path.parent.rename(path.parent.with_name("moved"))
    errorlog.reopen()
    LOG.info("still here")
    text = (moved / "error.log").read_text()
    assert "cannot open the log (No such file or directory): change error_log.path; still writing to the old" in text
    assert "still here" in text


def test_a_log_that_cannot_be_opened_leaves_the_one_before(path, tmp_path):
    errorlog.configure(ErrorLog(path=path))
    with pytest.raises(StartError, match="cannot open the log") as failure:
        errorlog.configure(ErrorLog(path=tmp_path / "none" / "error.log"))
    assert failure.value.exit_code == ExitCode.CANNOT_CREATE
    LOG.info("here")
    assert "here" in path.read_text()


def test_a_log_without_permission_is_77(path, monkeypatch):
    def refuse(*args, **words):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(StartError, match="no permission to write the log") as failure:
        errorlog.configure(ErrorLog(path=path))
    assert failure.value.exit_code == ExitCode.NO_PERMISSION


def test_a_full_disk_loses_lines_and_nothing_else(capfd):
    errorlog.configure(ErrorLog(path="/dev/full"))
    LOG.error("lost")
    assert capfd.readouterr().err == ""


def break_down():
    try:
        raise KeyError("x")
    except KeyError:
        LOG.error("broke", exc_info=True)


def test_a_mistake_of_ours_is_one_line_with_its_place(path):
    errorlog.configure(ErrorLog(path=path))
    break_down()
    (line,) = path.read_text().splitlines()
    assert re.search(r"ERROR broke: KeyError: 'x' at .*test_errorlog\.py:\d+$", line)


def test_at_level_debug_its_traceback_follows(path):
    errorlog.configure(ErrorLog(path=path, level="debug"))
    break_down()
    first, second, *_ = path.read_text().splitlines()
    assert first.endswith("ERROR broke")
    assert second.startswith("Traceback")


def test_a_summary_is_one_line_with_the_place():
    try:
        raise ValueError("two\nlines")
    except ValueError as failure:
        summary = errorlog.summary(failure)
    assert re.fullmatch(r"ValueError: two\\nlines at .*test_errorlog\.py:\d+", summary)
    assert errorlog.summary(ValueError("x")) == "ValueError: x"


@pytest.fixture
def given(monkeypatch):
    """What has been given away, and to whom, as if by root."""
    found = []
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(
        os, "fchown", lambda descriptor, uid, gid: found.append((os.readlink(f"/proc/self/fd/{descriptor}"), uid, gid))
    )
    return found


def test_both_logs_are_made_for_the_user_that_workers_drop_to(path, tmp_path, given):
    errorlog.configure(ErrorLog(path=path), 1234)
    errorlog.make_access_log(tmp_path / "access.log", 1234)
    assert given == [(str(path), 1234, -1), (str(tmp_path / "access.log"), 1234, -1)]
    assert (tmp_path / "access.log").stat().st_mode & 0o777 == 0o640


def test_a_device_or_what_a_link_names_is_given_to_nobody(tmp_path, given):
    (tmp_path / "shadow").write_text("root")
    (tmp_path / "symbolic.log").symlink_to(tmp_path / "shadow")
    (tmp_path / "hard.log").hardlink_to(tmp_path / "shadow")
    for name in ("/dev/null", "symbolic.log", "hard.log"):
        errorlog.configure(ErrorLog(path=tmp_path / name), 1234)
        errorlog.make_access_log(tmp_path / name, 1234)
    assert given == []


def test_an_access_log_that_cannot_be_made_is_told(tmp_path):
    with pytest.raises(StartError, match=r"cannot open the log \(No such file.*: change access_log\.path") as failure:
        errorlog.make_access_log(tmp_path / "none" / "access.log")
    assert failure.value.exit_code == ExitCode.CANNOT_CREATE
    errorlog.make_access_log("-")
    errorlog.make_access_log("off")
