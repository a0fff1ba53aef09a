"""Leaving: TERM drains, INT and QUIT are quick, and whoever asks twice is in a hurry."""

import os
import signal
import socket
import time

import pytest

from tests.support.processes import is_alive
from tests.support.stub import config, title_of
from tests.support.waiting import wait_until


def test_term_refuses_new_clients_finishes_the_old_ones_and_exits_with_0(gate):
    started = gate(config(workers=2)).serving()
    address = started.address
    client = started.connect()
    started.signal(signal.SIGTERM)
    wait_until("the title tells", lambda: "master [stopping, 1 worker]" in title_of(started.process.pid))
    started.wait_line("got SIGTERM", count=2)
    assert client.echo("in peace") == "in peace"
    host, port = address.split(":")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)))
    assert started.ask("status")["state"] == "stopping"
    assert started.ask("reload") == {"ok": False, "errors": ["the gate is stopping"]}
    client.close()
    assert started.wait() == 0
    assert not (started.directory / "control.sock").exists()
    assert started.log.endswith("h2gate has stopped")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_int_and_quit_do_not_wait_for_clients(gate, number):
    started = gate().serving()
    with started.connect():
        started.signal(number)
        assert started.wait() == 0


@pytest.mark.parametrize("again", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_while_draining_is_quick(gate, again):
    started = gate(config(drain="1h")).serving()
    with started.connect():
        started.signal(signal.SIGTERM)
        started.wait_line("stopping: drain")
        started.signal(again)
        started.wait_line("stopping: quick")
        assert started.wait() == 0


def test_a_worker_that_does_not_leave_is_killed_after_the_drain_deadline(gate):
    started = gate(config(drain="100ms")).serving()
    with started.connect() as client:
        began = time.monotonic()
        started.signal(signal.SIGTERM)
        started.wait_line("is killed: it did not leave in time")
        assert started.wait() == 0
        # The deadline, and two seconds in which a worker breaks off what runs.
        assert 2.0 <= time.monotonic() - began < 4.0
        assert not is_alive(client.pid)


def test_term_hastens_those_that_were_retired_by_a_reload(gate):
    started = gate().serving()
    client = started.connect()
    started.signal(signal.SIGHUP)
    started.serving(2)
    started.wait_line("stub 1 got SIGRTMIN")
    started.signal(signal.SIGTERM)
    started.wait_line("stub 1 got SIGTERM", count=2)
    client.close()
    assert started.wait() == 0


def test_a_third_signal_kills_what_is_left(gate):
    started = gate(config(drain="1h")).serving()
    with started.connect() as client:
        client.send("hang")
        wait_until("it hangs", lambda: started.workers()[0]["requests"] == 0)
        for word in ("drain", "quick", "kill"):
            started.signal(signal.SIGTERM)
            started.wait_line(f"stopping: {word}")
        assert started.wait() == 0


def test_a_stop_during_a_reload_ends_both_generations_and_refuses_the_reload(gate):
    started = gate().serving()
    started.mood("never")
    with started.ask_socket("reload") as asked, asked.makefile("rb") as answer:
        wait_until("it boots", lambda: started.workers("booting"))
        started.signal(signal.SIGTERM)
        assert answer.readline() == b'{"ok": false, "errors": ["the gate is stopping"]}\n'
        assert started.wait() == 0


def test_the_stop_command_ends_its_connection_when_the_master_is_gone(gate):
    started = gate().serving()
    client = started.connect()
    with started.ask_socket("stop") as asked, asked.makefile("rb") as answer:
        assert answer.readline() == b'{"ok": true, "pid": %d}\n' % started.process.pid
        # Another stop is no hurry.
        assert started.ask("stop")["ok"]
        assert client.echo("in peace") == "in peace"
        client.close()
        assert answer.read() == b""
    assert started.wait() == 0
    assert "quick" not in started.log


def test_the_quit_command_is_quick(gate):
    started = gate(config(drain="1h")).serving()
    with started.connect():
        assert started.ask("quit")["ok"]
        assert started.wait() == 0


def test_a_worker_in_backoff_does_not_hold_up_the_stop(gate):
    started = gate(config(workers=2)).serving()
    started.mood("crash")
    os.kill(started.workers()[0]["pid"], signal.SIGKILL)
    started.wait_line("exited with code 9; replaced in", count=2)
    started.signal(signal.SIGTERM)
    assert started.wait() == 0
