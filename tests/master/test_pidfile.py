import os
import stat
import subprocess
from pathlib import Path

import pytest

from h2gate.errors import ExitCode, StartError
from h2gate.master.pidfile import Pidfile, is_alive, may_be_a_gate, read
from tests.support.forked import in_child
from tests.support.waiting import wait_until


@pytest.fixture
def path(tmp_path):
    return tmp_path / "gate.pid"


def dead_pid() -> int:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return pid


def test_the_file_names_this_process_and_everybody_may_read_it(path):
    Pidfile(path)
    assert path.read_text() == f"{os.getpid()}\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert os.listdir(path.parent) == [path.name]


def test_remove_takes_the_file_away_once(path):
    pidfile = Pidfile(path)
    pidfile.remove()
    assert not path.exists()
    pidfile.remove()


def test_a_file_that_names_another_process_by_now_stays(path):
    pidfile = Pidfile(path)
    path.write_text("1\n")
    pidfile.remove()
    assert path.read_text() == "1\n"


def test_a_child_does_not_remove_its_parents_file(path):
    pidfile = Pidfile(path)
    assert in_child(pidfile.remove) == 0
    assert path.exists()


def test_a_living_gate_in_the_file_refuses_the_start(path, monkeypatch):
    monkeypatch.setattr("h2gate.master.pidfile.may_be_a_gate", lambda pid: True)
    path.write_text(f"{os.getppid()}\n")
    with pytest.raises(StartError, match=rf"names process {os.getppid()}, which is alive: stop it") as failure:
        Pidfile(path)
    assert failure.value.exit_code == ExitCode.CANNOT_CREATE
    assert path.read_text() == f"{os.getppid()}\n"


@pytest.mark.parametrize("text", ["", "gate\n", "-5\n", "99999999999999999999\n"])
def test_a_file_that_names_nobody_is_replaced(path, text):
    path.write_text(text)
    Pidfile(path)
    assert read(path) == os.getpid()


def test_a_dead_process_in_the_file_is_replaced(path):
    path.write_text(f"{dead_pid()}\n")
    Pidfile(path)
    assert read(path) == os.getpid()


def test_a_directory_that_does_not_exist_is_told(tmp_path):
    with pytest.raises(StartError, match=r"cannot write the pidfile \(No such file or directory\)") as failure:
        Pidfile(tmp_path / "none" / "gate.pid")
    assert failure.value.exit_code == ExitCode.CANNOT_CREATE


def test_a_process_of_somebody_else_is_alive(monkeypatch):
    def refuse(pid, number):
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    assert is_alive(1)


def test_a_living_process_that_is_no_gate_does_not_refuse_the_start(path):
    other = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    try:
        path.write_text(f"{other.pid}\n")
        # Until exec() it is a copy of this one.
        wait_until("it is cat", lambda: Path(f"/proc/{other.pid}/cmdline").read_bytes() == b"cat\0")
        Pidfile(path)
    finally:
        other.communicate()
    assert read(path) == os.getpid()


def test_a_process_that_hides_its_name_may_be_a_gate():
    assert may_be_a_gate(dead_pid())
