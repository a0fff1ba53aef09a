"""HUP and the control socket's reload: what serves, serves on."""

import os
import signal
import socket

from tests.support.processes import is_alive
from tests.support.stub import Client, config, title_of
from tests.support.waiting import wait_until


def test_a_reload_replaces_all_workers_and_cuts_no_connection(gate):
    started = gate(config(workers=2)).serving()
    before = started.connect()
    started.signal(signal.SIGHUP)
    started.serving(2)
    wait_until("the new ones take the clients", lambda: started.taken_by(2))
    assert before.echo("old but well") == "old but well"
    assert before.generation == 1
    wait_until("the title tells", lambda: "[gen 2, 2 workers]" in title_of(started.process.pid))
    started.wait_line("got SIGRTMIN", count=2)
    assert "got SIGTERM" not in started.log
    before.close()
    wait_until("the old worker has left", lambda: not is_alive(before.pid))
    assert {worker["generation"] for worker in started.ask("status")["workers"]} == {2}


def test_no_connection_is_refused_or_lost_while_reloads_go_on(gate):
    started = gate(config(workers=2)).serving()
    address = started.address
    generations = set()
    for number in range(2, 6):
        started.signal(signal.SIGHUP)
        while f"generation {number} serves" not in started.log:
            with Client(address) as client:
                assert client.echo("x") == "x"
                generations.add(client.generation)
    assert len(generations) >= 3


def test_a_reload_may_change_the_engine_and_what_is_lacking_is_told(gate):
    started = gate(config(more="engine: native\n")).serving()
    assert started.wait_line("generation 1 serves").endswith(" with 1 worker, engine native")
    assert "is missing" not in started.log
    assert started.ask("status")["engine"] == "native"
    started.config_path.write_text(config())
    started.signal(signal.SIGHUP)
    assert started.wait_line("generation 2 serves").endswith(" with 1 worker, engine python")
    assert " WARNING the native engine is missing" in started.log
    assert started.ask("status")["engine"] == "python"


def test_a_broken_config_changes_nothing_and_every_problem_is_told(gate):
    started = gate().serving()
    before = started.connect()
    started.config_path.write_text(config().replace("workers", "wokers") + "drain: 3\n")
    started.signal(signal.SIGHUP)
    started.wait_line("reload failed: generation 1 stays")
    assert "wokers" in started.log
    assert "did you mean `workers`" in started.log
    assert "drain" in started.wait_line(r"gate.yaml:\d+:\d+: drain")
    assert before.echo("still here") == "still here"
    with started.connect() as client:
        assert client.pid == before.pid
    started.config_path.write_text(config())
    started.signal(signal.SIGHUP)
    started.serving(2)
    before.close()


def test_a_new_listener_that_cannot_be_bound_changes_nothing(gate, tmp_path):
    started = gate().serving()
    fresh = tmp_path / "fresh.sock"
    with socket.create_server(("127.0.0.1", 0)) as other:
        busy = f"127.0.0.1:{other.getsockname()[1]}"
        listeners = f"listeners:\n  - address: unix:{fresh}\n  - address: {busy}\n"
        started.config_path.write_text(config().replace("listeners:\n", listeners))
        answer = started.ask("reload")
    assert answer == {
        "ok": False,
        "errors": [f"{busy} is in use by another process: stop it or change listeners[1].address"],
    }
    assert not fresh.exists()
    with started.connect() as client:
        assert client.generation == 1


def test_a_generation_that_cannot_boot_is_ended_and_the_old_one_stays(gate, tmp_path):
    started = gate(config(workers=2)).serving()
    pids = {worker["pid"] for worker in started.workers()}
    fresh = tmp_path / "fresh.sock"
    started.config_path.write_text(
        config(workers=2).replace("listeners:\n", f"listeners:\n  - address: unix:{fresh}\n")
    )
    started.mood("raise")
    answer = started.ask("reload")
    assert not answer["ok"]
    assert "exited with code 1 before it served" in answer["errors"][0]
    wait_until("only the old ones are left", lambda: {w["pid"] for w in started.ask("status")["workers"]} == pids)
    assert not fresh.exists()
    status = started.ask("status")
    assert status["generation"] == 1
    assert status["last_reload"]["ok"] is False
    assert status["last_reload"]["generation"] == 1
    started.mood("")
    assert started.ask("reload")["ok"]


def test_a_generation_that_does_not_boot_in_time_is_ended_and_signals_are_heard_meanwhile(gate):
    started = gate(config(boot="500ms")).serving()
    started.mood("never")
    with started.ask_socket("reload") as asked:
        states = wait_until(
            "the new one boots",
            lambda: (s := {w["state"] for w in started.ask("status")["workers"]}) == {"serving", "booting"} and s,
        )
        assert states
        with asked.makefile("rb") as answer:
            assert b"before it served" in answer.readline()
    wait_until("it is gone", lambda: len(started.ask("status")["workers"]) == 1)


def test_listeners_are_added_and_removed_by_a_reload_and_kept_ones_keep_their_backlog(gate, tmp_path):
    kept, gone, fresh = (tmp_path / name for name in ("kept.sock", "gone.sock", "fresh.sock"))
    text = "workers: 1\ncontrol: control.sock\nroutes: [{{respond: {{status: 204}}}}]\nlisteners: [{}]\n"

    def listening(*paths):
        return text.format(", ".join(f"{{address: 'unix:{path}'}}" for path in paths))

    started = gate(listening(kept, gone)).serving()
    inode = kept.stat().st_ino
    started.config_path.write_text(listening(kept, fresh))
    assert started.ask("reload")["ok"]
    assert kept.stat().st_ino == inode
    assert not gone.exists()
    with started.connect(f"unix:{fresh}") as client:
        assert client.generation == 2
    started.wait_line(f"no longer listening on unix:{gone}")
    assert [listener["address"] for listener in started.ask("status")["listeners"]] == [f"unix:{kept}", f"unix:{fresh}"]


def test_a_storm_of_hups_is_two_reloads_at_most(gate):
    started = gate().serving()
    started.mood("never")
    started.signal(signal.SIGHUP)
    wait_until("the reload is under way", lambda: len(started.ask("status")["workers"]) == 2)
    for _ in range(50):
        started.signal(signal.SIGHUP)
    booting = started.workers("booting")[0]
    started.mood("")
    os.kill(booting["pid"], signal.SIGKILL)
    started.wait_line("reload failed: generation 1 stays")
    started.serving(3)
    answer = started.ask("reload")
    assert answer["generation"] == 4
    assert started.log.count("reloading ") == 3


def test_commands_that_come_during_a_reload_are_answered_by_the_next_one(gate):
    started = gate().serving()
    started.mood("never")
    with started.ask_socket("reload") as first, first.makefile("rb") as first_answer:
        booting = wait_until("it boots", lambda: started.workers("booting"))
        with started.ask_socket("reload") as second, second.makefile("rb") as second_answer:
            # Answered by the same loop, after it has read the second reload.
            assert started.ask("status")["state"] == "serving"
            started.mood("")
            os.kill(booting[0]["pid"], signal.SIGKILL)
            assert b'"ok": false' in first_answer.readline()
            assert second_answer.readline() == b'{"ok": true, "generation": 3, "warnings": []}\n'


def test_what_cannot_change_is_told_and_what_can_does(gate, tmp_path):
    started = gate().serving()
    text = config(workers=3, more=f"pidfile: {tmp_path / 'gate.pid'}\nuser: nobody\n")
    started.config_path.write_text(text.replace("control.sock", "other.sock"))
    answer = started.ask("reload")
    assert answer["ok"]
    keys = [warning.partition(" ")[0] for warning in answer["warnings"]]
    assert keys == ["control", "pidfile", "user"]
    for key in keys:
        started.wait_line(f"WARNING {key} has changed: restart the gate for that")
    assert len(started.workers()) == 3
    assert not (tmp_path / "gate.pid").exists()
    assert not (started.directory / "other.sock").exists()


def test_the_error_log_moves_with_a_reload_and_stays_if_it_fails(gate, tmp_path):
    started = gate().serving()
    log = tmp_path / "error.log"
    started.config_path.write_text(config(more=f"error_log: {{path: {tmp_path / 'none' / 'error.log'}}}\n"))
    assert "cannot open the log" in started.ask("reload")["errors"][0]
    started.config_path.write_text(config(more=f"error_log: {{path: {log}}}\n"))
    started.mood("raise")
    assert not started.ask("reload")["ok"]
    started.wait_line("reload failed: generation 1 stays", count=2)
    started.mood("")
    assert started.ask("reload")["ok"]
    assert "generation 3 serves" in log.read_text()
    assert "generation 3 serves" not in started.log


def test_a_wrong_access_log_fails_the_reload_with_its_reason_before_a_worker_is_forked(gate, tmp_path):
    started = gate().serving()
    none = tmp_path / "none" / "access.log"
    started.config_path.write_text(config(more=f"access_log: {{path: {none}}}\n"))
    assert started.ask("reload")["errors"] == [
        f"{none}: cannot open the log (No such file or directory): change access_log.path"
    ]
    assert "before it served" not in started.log


def test_usr1_makes_a_new_access_log_for_the_workers(gate, tmp_path):
    log = tmp_path / "access.log"
    started = gate(config(more=f"access_log: {{path: {log}}}\n")).serving()
    log.rename(tmp_path / "access.1")
    started.process.send_signal(signal.SIGUSR1)
    started.wait_line("got SIGUSR1")
    assert log.exists()
