"""`status`, `reload` and `stop` against a real master with stub workers."""

import json
import os
import socket
import threading

import pytest

from h2gate.cli.main import main
from h2gate.cli.status import duration, shown
from tests.support.processes import is_alive
from tests.support.stub import StubGate, config


@pytest.fixture
def gate(tmp_path):
    started = StubGate(tmp_path, config(workers=2))
    yield started.serving()
    started.end()


@pytest.fixture
def ask(gate, capsys):
    def run(command, *options):
        code = main([command, "-c", str(gate.config_path), *options])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_status_shows_listeners_and_workers(gate, ask):
    code, out, err = ask("status")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith("h2gate ")
    assert f"(pid {gate.process.pid}) serving: generation 1, up " in lines[0]
    assert lines[1:5] == [
        f"config       {gate.config_path}",
        "engine       python",
        f"listeners    {gate.address}",
        "last reload  none",
    ]
    assert lines[6].split() == ["slot", "pid", "generation", "state", "connections", "active", "requests", "age"]
    assert [line.split()[0] for line in lines[7:]] == ["1", "2"]
    assert all(line.split()[3] == "serving" for line in lines[7:])


def test_status_as_json_is_for_scripts(gate, ask):
    code, out, _ = ask("status", "--json")
    assert code == 0
    status = json.loads(out)
    assert status["pid"] == gate.process.pid
    assert status["generation"] == 1
    assert status["config"] == str(gate.config_path)
    assert status["engine"] == "python"
    assert status["listeners"] == [{"address": gate.address, "tls": False}]
    assert [worker["slot"] for worker in status["workers"]] == [1, 2]
    assert "ok" not in status


def test_reload_waits_until_the_new_generation_serves(gate, ask):
    assert ask("reload") == (0, "reloaded: generation 2 serves\n", "")
    gate.wait_line("generation 2 serves")
    assert "generation 2 serves" in ask("status")[1]


def test_reload_tells_what_is_wrong_and_what_needs_a_restart(gate, ask):
    gate.config_path.write_text(config(more="drain: 3\n"))
    code, out, err = ask("reload")
    assert (code, out) == (1, "")
    assert "gate.yaml:8:1: drain: " in err
    assert err.endswith("h2gate: not reloaded: what served before goes on\n")
    assert "failed, generation 1 stays: " in ask("status")[1]
    gate.config_path.write_text(config(more="user: nobody\n"))
    code, out, err = ask("reload")
    assert (code, out) == (0, "reloaded: generation 2 serves\n")
    assert err.startswith("warning: user has changed: restart the gate")


def test_a_file_that_is_no_yaml_any_more_does_not_hide_the_gate(gate, ask, monkeypatch):
    gate.config_path.write_text("listeners: [\n")
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(gate.directory))
    code, _, err = ask("reload")
    assert code == 1
    assert "gate.yaml:2:1: not YAML" in err
    assert err.endswith("what served before goes on\n")


def test_the_control_socket_can_be_given(gate, capsys):
    assert main(["status", "--control", str(gate.directory / "control.sock")]) == 0
    assert "generation 1" in capsys.readouterr().out


def test_stop_waits_until_clients_are_served_and_the_master_is_gone(gate, ask):
    client = gate.connect()
    result = []
    asking = threading.Thread(target=lambda: result.append(ask("stop")))
    asking.start()
    gate.wait_line("stopping: drain")
    assert client.echo("in peace") == "in peace"
    assert asking.is_alive()
    client.close()
    asking.join(20)
    assert result == [(0, "stopped\n", "")]
    assert not is_alive(gate.process.pid)
    assert gate.wait() == 0


@pytest.mark.parametrize("command", ["status", "reload", "stop"])
def test_without_a_gate_it_says_so(capsys, tmp_path, command):
    path = tmp_path / "control.sock"
    assert main([command, "--control", str(path)]) == 1
    assert capsys.readouterr().err == f"h2gate: no gate is running: nobody answers on {path}\n"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    assert main([command, "--control", str(path)]) == 1
    assert capsys.readouterr().err == f"h2gate: no gate is running: nobody answers on {path}\n"


def test_a_config_without_control_says_what_to_do(capsys, tmp_path):
    path = tmp_path / "gate.yaml"
    path.write_text("listeners: [{address: 127.0.0.1:0}]\n")
    assert main(["status", "-c", str(path)]) == 1
    assert capsys.readouterr().err == (
        f"h2gate: {path} names no control socket: set control and restart the gate, or use signals\n"
    )


def answering(path, answer):
    """Answer one client on `path` with these bytes."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def serve():
        with listener, listener.accept()[0] as client:
            client.recv(4096)
            client.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"", "ended before it answered"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "what answers there is no gate"),
        (b"[1]\n", "what answers there is no gate"),
        (b'{"ok": false, "errors": ["no"]}\n', "h2gate: no\n"),
    ],
)
def test_what_answers_otherwise_is_told(capsys, tmp_path, answer, said):
    path = tmp_path / "control.sock"
    thread = answering(path, answer)
    assert main(["status", "--control", str(path)]) == 1
    thread.join(20)
    assert said in capsys.readouterr().err


def test_a_socket_that_is_not_ours_is_77(capsys, tmp_path, monkeypatch):
    def refuse(_, address):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert main(["status", "--control", str(tmp_path / "control.sock")]) == 77
    assert "no permission: ask as root or as the gate's user" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0s"), (59.9, "59s"), (60, "1m 0s"), (3_725, "1h 2m"), (90_061, "1d 1h"), (86_400, "1d 0h")],
)
def test_durations_have_their_two_largest_units(seconds, text):
    assert duration(seconds) == text


def test_a_slot_without_a_process_and_a_failed_reload_are_shown():
    last = {"ok": False, "at": "2026-01-01T00:00:00Z", "generation": 3, "errors": ["a\nb", "c", "d"], "warnings": []}
    worker = dict.fromkeys(("connections", "active", "requests"), 0)
    lines = list(
        shown(
            {
                "version": "1",
                "pid": os.getpid(),
                "state": "stopping",
                "generation": 3,
                "uptime": 1.0,
                "config": "/x",
                "engine": None,
                "listeners": [],
                "workers": [{**worker, "slot": 1, "pid": None, "generation": 3, "state": "backoff", "age": 0.0}],
                "last_reload": last,
            }
        )
    )
    assert lines[2:4] == ["engine       none yet", "listeners    none"]
    assert lines[4] == "last reload  2026-01-01T00:00:00Z: failed, generation 3 stays: a (and 2 more)"
    assert lines[-1].split()[:4] == ["1", "-", "3", "backoff"]


def test_a_file_that_cannot_be_read_is_told_rather_than_that_no_gate_runs(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path / "none"))
    path = tmp_path / "gate.yaml"
    path.write_text("listeners: [\n")
    assert main(["status", "-c", str(path)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"h2gate: cannot tell where the gate listens: {path}:2:1: not YAML: ")
    assert line.endswith("; correct that or give --control PATH")
