import json
import os
import select
import socket
import stat
from pathlib import Path

import pytest

from h2gate.errors import ExitCode, StartError
from h2gate.master.control import CLIENTS, LINE_BYTES, NO_DESCRIPTOR_SECONDS, SILENCE_SECONDS, Control
from tests.support.forked import in_child


@pytest.fixture
def control(tmp_path):
    control = Control(tmp_path / "control.sock", ("status", "stop"))
    yield control
    control.close()


@pytest.fixture
def client(control):
    with connect(control) as sock:
        yield sock


def connect(control):
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(5)
    sock.connect(str(control.path))
    return sock


def is_over(sock):
    return sock.recv(1) == b""


def answer(sock):
    with sock.makefile("rb") as lines:
        return json.loads(lines.readline())


def test_a_line_becomes_a_request_and_its_answer_ends_the_connection(control, client):
    client.sendall(b'{"command": "status"}\n')
    (request,) = control.requests(0)
    assert request.command == "status"
    request.answer(workers=[1, 2])
    assert answer(client) == {"ok": True, "workers": [1, 2]}
    control.requests(0)
    assert is_over(client)


@pytest.mark.parametrize("cut", range(1, 21))
def test_a_line_may_come_in_pieces(control, client, cut):
    line = b'{"command": "status"}\n'
    client.sendall(line[:cut])
    assert control.requests(0) == []
    client.sendall(line[cut:])
    assert [request.command for request in control.requests(0)] == ["status"]


def test_a_client_that_ends_its_half_after_the_line_is_answered(control, client):
    client.sendall(b'{"command": "status"}')
    client.shutdown(socket.SHUT_WR)
    assert control.requests(0) == []
    (request,) = control.requests(0)
    # It is not listened to any more, or poll() would report its end for ever.
    assert len(control.waiting(0)) == 1
    request.answer()
    assert answer(client) == {"ok": True}


def test_an_answer_may_come_much_later(control, client):
    client.sendall(b'{"command": "status"}\n')
    (request,) = control.requests(0)
    assert control.requests(100 * SILENCE_SECONDS) == []
    request.refuse(["no", "never"])
    assert answer(client) == {"ok": False, "errors": ["no", "never"]}


@pytest.mark.parametrize(
    "line",
    [
        b"status\n",
        b'"status"\n',
        b"{}\n",
        b'{"command": "explode"}\n',
        b'{"command": ["status"]}\n',
        b"\xff\n",
        b"[" * 4000 + b"\n",
        b"1" * 4000 + b"\n",
    ],
)
def test_what_is_no_command_is_told_the_commands(control, client, line):
    client.sendall(line)
    assert control.requests(0) == []
    words = answer(client)
    assert words["ok"] is False
    assert words["errors"][0].endswith("with one of: status, stop")
    control.requests(0)
    assert is_over(client)


def test_a_line_without_end_is_cut_off(control, client):
    client.sendall(b"x" * LINE_BYTES)
    control.requests(0)
    client.sendall(b"x")
    control.requests(0)
    assert is_over(client)


def test_a_client_that_says_nothing_is_cut_off_in_time(control, client):
    control.requests(0)
    assert control.wake_at() == SILENCE_SECONDS
    control.requests(SILENCE_SECONDS)
    assert len(control.waiting(0)) == 2
    control.requests(SILENCE_SECONDS + 0.1)
    assert is_over(client)


def test_a_client_that_does_not_take_its_answer_is_cut_off_in_time(control, client):
    client.sendall(b'{"command": "status"}\n')
    (request,) = control.requests(0)
    request.answer(text="x" * 1_000_000)
    (waiting,) = [events for descriptor, events in control.waiting(1) if events & select.POLLOUT]
    assert waiting == select.POLLOUT
    control.requests(SILENCE_SECONDS + 0.1)
    assert control.wake_at() == float("inf")


def test_a_long_answer_goes_out_as_the_client_takes_it(control, client):
    client.sendall(b'{"command": "status"}\n')
    (request,) = control.requests(0)
    request.answer(text="x" * 1_000_000)
    taken = b""
    while not taken.endswith(b"\n"):
        taken += client.recv(65536)
        control.requests(0)
    assert len(json.loads(taken)["text"]) == 1_000_000
    assert is_over(client)


def test_a_client_that_stays_learns_of_the_end_by_eof(control, client):
    client.sendall(b'{"command": "stop"}\n')
    (request,) = control.requests(0)
    request.answer_and_stay(pid=5)
    assert answer(client) == {"ok": True, "pid": 5}
    control.requests(1000)
    client.setblocking(False)
    with pytest.raises(BlockingIOError):
        client.recv(1)
    client.settimeout(5)
    control.close()
    assert is_over(client)
    assert not control.path.exists()


def test_a_client_that_leaves_costs_nothing(control):
    for line in (b"", b'{"comm', b'{"command": "status"}\n'):
        with connect(control) as sock:
            sock.sendall(line)
    for request in control.requests(0):
        request.answer()
    control.requests(0)
    assert len(control.waiting(0)) == 1


def test_more_clients_than_places_wait_in_the_queue(control):
    clients = [connect(control) for _ in range(CLIENTS + 1)]
    control.requests(0)
    control.requests(0)
    assert len(control.waiting(0)) == CLIENTS
    clients[0].close()
    control.requests(0)
    control.requests(0)
    assert len(control.waiting(0)) == CLIENTS
    for client in clients:
        client.close()


def test_without_a_descriptor_the_loop_does_not_spin(control, client, monkeypatch):
    def refuse(_):
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(socket.socket, "accept", refuse)
        control.requests(50.0)
    assert control.waiting(50.0) == []
    assert control.wake_at() == 50.0 + NO_DESCRIPTOR_SECONDS
    assert len(control.waiting(50.0 + NO_DESCRIPTOR_SECONDS)) == 1
    control.requests(50.0 + NO_DESCRIPTOR_SECONDS)
    assert control.wake_at() == 50.0 + NO_DESCRIPTOR_SECONDS + SILENCE_SECONDS


def test_only_the_gates_user_may_connect_and_its_mask_is_untouched(control):
    assert stat.S_IMODE(os.stat(control.path).st_mode) == 0o600
    mask = os.umask(0o22)
    os.umask(mask)
    assert mask != 0o177


def test_a_second_gate_on_the_path_is_refused(control):
    with pytest.raises(StartError, match="is in use by another process: stop it or change control") as failure:
        Control(control.path, ())
    assert failure.value.exit_code == ExitCode.OS_ERROR
    with connect(control):
        pass


def test_a_directory_that_is_missing_is_made_but_not_its_parents(tmp_path):
    Control(tmp_path / "run" / "control.sock", ()).close()
    with pytest.raises(StartError, match="its directory does not exist: create it or") as failure:
        Control(tmp_path / "none" / "run" / "control.sock", ())
    assert failure.value.exit_code == ExitCode.CANNOT_CREATE


def test_a_path_too_long_for_a_socket_is_told():
    with pytest.raises(StartError, match="cannot make the control socket: AF_UNIX path too long: change control"):
        Control(Path("/tmp") / ("x" * 120), ())


def test_a_child_leaves_the_file_and_the_clients_to_the_master(control, client):
    control.requests(0)
    assert in_child(control.leave) == 0
    client.sendall(b'{"command": "status"}\n')
    assert len(control.requests(0)) == 1
