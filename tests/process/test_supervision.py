"""Workers that die, hang, crash in a loop or lose their master."""

import os
import signal
import time

from tests.support.processes import is_alive
from tests.support.stub import config, title_of
from tests.support.waiting import wait_until


def test_a_killed_worker_is_replaced_and_serves_within_a_second_and_the_others_notice_nothing(gate):
    started = gate(config(workers=2)).serving()
    address = started.address
    # Until both workers have a client: which one accepts is the kernel's choice.
    clients = []
    while {client.slot for client in clients} != {1, 2}:
        clients.append(started.connect(address))
    victim = clients[0].pid
    spared = next(client for client in clients if client.pid != victim)
    began = time.monotonic()
    os.kill(victim, signal.SIGKILL)
    workers = wait_until(
        "both places are taken",
        lambda: (now := started.workers()) and len(now) == 2 and victim not in {w["pid"] for w in now} and now,
    )
    assert time.monotonic() - began < 1.0
    assert {worker["slot"] for worker in workers} == {1, 2}
    assert spared.echo("unhurt") == "unhurt"
    started.wait_line(r"worker \d \[gen 1\] \(pid \d+\) was killed by SIGKILL; out of memory\?; replaced at once")
    for client in clients:
        client.close()


def test_a_crash_loop_backs_off_and_leaves_the_healthy_slot_alone(gate):
    started = gate(config(workers=2)).serving()
    first, second = started.workers()
    started.mood("crash")
    os.kill(first["pid"], signal.SIGKILL)
    # At once, then after 0.25 to 0.5 s, then after 0.5 to 1 s.
    line = started.wait_line(r"exited with code 9; replaced in", count=2)
    assert 0.5 <= float(line.rpartition(" in ")[2].removesuffix(" s")) <= 1.0
    assert "worker 2 [" not in started.log
    (healthy,) = started.workers()
    assert healthy["pid"] == second["pid"]
    started.mood("")
    wait_until("the slot has recovered", lambda: len(started.workers()) == 2)


def test_a_worker_that_breaks_says_so_in_one_line_and_is_replaced(gate):
    started = gate().serving()
    with started.connect() as client:
        client.send("raise")
        line = started.wait_line("broke")
    assert "ERROR worker 1 broke: RuntimeError: told\\nto at " in line
    assert "stub_gate.py:" in line
    started.wait_line("exited with code 1; replaced at once")
    with started.connect() as client:
        assert client.echo("back") == "back"
    assert "Traceback" not in started.log


def test_a_stuck_worker_is_dumped_killed_and_replaced(gate):
    # Silence for ten seconds is what the master waits for; the test's gate is told to be less patient.
    started = gate(environ={"STUB_STUCK_SECONDS": "0.5"}).serving()
    with started.connect() as client:
        client.send("hang")
        started.wait_line("gave no sign of life for [0-9.]+ s: its stacks follow, then it is killed")
        started.wait_line("Fatal Python error: Aborted")
        started.wait_line(r'stub_gate.py", line \d+ in read')
        started.wait_line(r"was killed by SIGABRT.*; replaced at once")
    with started.connect() as client:
        assert client.pid != 0
        assert client.echo("back") == "back"


def test_a_worker_stopped_so_that_it_cannot_even_dump_is_killed(gate):
    started = gate(environ={"STUB_STUCK_SECONDS": "0.5"}).serving()
    (worker,) = started.workers()
    os.kill(worker["pid"], signal.SIGSTOP)
    started.wait_line("gave no sign of life")
    started.wait_line(r"was killed by SIGKILL; replaced at once")
    assert not is_alive(worker["pid"])


def test_workers_whose_master_is_gone_finish_and_leave(gate):
    started = gate(config(workers=2)).serving()
    client = started.connect()
    pids = [worker["pid"] for worker in started.workers()]
    started.signal(signal.SIGKILL)
    started.process.wait(10)
    other = next(pid for pid in pids if pid != client.pid)
    wait_until("the idle worker has left", lambda: not is_alive(other))
    assert client.echo("still served") == "still served"
    client.close()
    wait_until("the other one has left", lambda: not is_alive(client.pid))


def test_a_worker_that_drains_of_its_own_accord_is_replaced_before_it_is_gone(gate):
    started = gate().serving()
    with started.connect() as client:
        os.kill(client.pid, signal.SIGTERM)
        started.wait_line("drains of its own accord")
        with started.connect() as other:
            assert other.pid != client.pid
            assert client.echo("finishing") == "finishing"
        states = {worker["pid"]: worker["state"] for worker in started.ask("status")["workers"]}
        assert states[client.pid] == "draining"
        leaving = client.pid
    wait_until("it has left", lambda: not is_alive(leaving))
    assert len(started.workers()) == 1


def test_ttin_adds_a_worker_and_ttou_drains_the_last_but_never_the_only_one(gate):
    started = gate().serving()
    started.signal(signal.SIGTTIN)
    wait_until("there are two", lambda: len(started.workers()) == 2)
    started.signal(signal.SIGTTIN)
    wait_until("there are three", lambda: len(started.workers()) == 3)
    wait_until("the title tells", lambda: "[gen 1, 3 workers]" in title_of(started.process.pid))
    first = min(started.workers(), key=lambda worker: worker["slot"])
    started.signal(signal.SIGTTOU)
    started.wait_line("is to have 2 workers", count=2)
    for count in (1, 2):
        started.signal(signal.SIGTTOU)
        started.wait_line("is to have 1 worker", count)
    wait_until("the others have left", lambda: len(started.ask("status")["workers"]) == 1)
    assert started.workers()[0]["pid"] == first["pid"]


def test_usr1_reopens_the_log_in_the_master_and_in_the_workers(gate, tmp_path):
    log, old = tmp_path / "error.log", tmp_path / "error.log.1"
    started = gate(config(more=f"error_log: {{path: {log}}}\n"))
    wait_until("it serves", lambda: log.exists() and "serves on" in log.read_text())
    os.rename(log, old)
    started.signal(signal.SIGUSR1)
    wait_until("the master has reopened", lambda: log.exists() and "logs reopened" in log.read_text())
    (worker,) = started.workers()
    files = f"/proc/{worker['pid']}/fd"
    wait_until(
        "the worker has reopened",
        lambda: str(log) in {os.readlink(f"{files}/{name}") for name in os.listdir(files)},
    )
    assert "logs reopened" not in old.read_text()
