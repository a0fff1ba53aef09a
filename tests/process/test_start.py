"""Starting: what is bound, what is written, and what stops the start."""

import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.stub import config, title_of
from tests.support.waiting import wait_until

LISTENERS = """\
listeners:
  - address: 127.0.0.1:0
  - address: "[::1]:0"
  - address: unix:{unix}
routes:
  - respond: {{status: 204}}
"""


def test_tcp_v4_v6_and_unix_listeners_serve_side_by_side(gate, tmp_path):
    started = gate(LISTENERS.format(unix=tmp_path / "front.sock")).serving()
    line = started.wait_line("serves on")
    addresses = line.partition("serves on ")[2].partition(" with ")[0].split(", ")
    assert len(addresses) == 3
    for address in addresses:
        with started.connect(address) as client:
            assert client.echo(address) == address
    started.signal(signal.SIGTERM)
    assert started.wait() == 0
    assert not (tmp_path / "front.sock").exists()


def test_a_busy_port_stops_the_start_with_one_line_and_71(gate):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        started = gate(config().replace("127.0.0.1:0", f"127.0.0.1:{port}"))
        assert started.wait() == 71
    assert started.log == (
        f"h2gate: 127.0.0.1:{port} is in use by another process: stop it or change listeners[0].address"
    )


def test_a_wrong_config_stops_the_start_with_78_and_binds_nothing(gate, tmp_path):
    unix = tmp_path / "front.sock"
    started = gate(LISTENERS.format(unix=unix) + "worker: 3\n")
    assert started.wait() == 78
    assert "did you mean `workers`" in started.log
    assert not unix.exists()


def test_a_second_gate_on_the_same_control_socket_is_told_so_and_disturbs_nothing(gate, tmp_path):
    text = config().replace("control.sock", str(tmp_path / "control.sock"))
    first = gate(text).serving()
    second = gate(text)
    assert second.wait() == 71
    assert second.log.count("\n") == 0
    assert "control.sock is in use by another process: stop it or change control" in second.log
    with first.connect() as client:
        assert client.echo("still here") == "still here"
    assert stat.S_ISSOCK(os.stat(tmp_path / "control.sock").st_mode)


def test_the_socket_files_of_a_killed_gate_do_not_stop_the_next_one(gate, tmp_path):
    text = LISTENERS.format(unix=tmp_path / "front.sock") + f"control: {tmp_path / 'control.sock'}\n"
    first = gate(text).serving()
    first.signal(signal.SIGKILL)
    first.wait()
    assert (tmp_path / "front.sock").exists()
    second = gate(text).serving()
    with second.connect(f"unix:{tmp_path / 'front.sock'}") as client:
        assert client.generation == 1


def test_the_pidfile_names_the_master_and_goes_with_it(gate, tmp_path):
    pidfile = tmp_path / "gate.pid"
    started = gate(config(more=f"pidfile: {pidfile}\n")).serving()
    assert pidfile.read_text() == f"{started.process.pid}\n"
    other = gate(config(more=f"pidfile: {pidfile}\n"))
    assert other.wait() == 73
    assert f"names process {started.process.pid}, which is alive" in other.log
    started.signal(signal.SIGTERM)
    assert started.wait() == 0
    assert not pidfile.exists()


def test_titles_say_who_is_who(gate):
    started = gate(config(workers=2)).serving()
    wait_until("the master has its title", lambda: "master [gen 1, 2 workers]" in title_of(started.process.pid))
    titles = {title_of(worker["pid"]) for worker in started.workers()}
    assert titles == {"h2gate: worker 1 [gen 1]", "h2gate: worker 2 [gen 1]"}


@pytest.mark.parametrize(
    ("mood", "code", "words"),
    [
        ("raise", 1, "worker 1 broke: RuntimeError: cannot boot at "),
        ("refuse", 73, "worker 1: cannot open its access log"),
        ("die", 1, "was killed by SIGKILL; out of memory? before it served"),
    ],
)
def test_workers_that_cannot_boot_stop_the_start(gate, mood, code, words):
    started = gate(mood=mood)
    assert started.wait() == code
    assert words in started.log
    assert "Traceback" not in started.log


def test_a_worker_that_does_not_boot_in_time_is_dumped_and_stops_the_start(gate):
    started = gate(config(boot="300ms"), mood="never")
    assert started.wait() == 1
    assert "did not serve for 0.3 s: its stacks follow" in started.log
    assert "in run_worker" in started.log


ACTIVATED = """\
import os, sys
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.argv[1], sys.argv[1:])
"""


def test_sockets_passed_by_systemd_are_used_and_their_file_is_left_alone(gate, tmp_path):
    path = str(tmp_path / "front.sock")
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(path)
        unix.listen()
        port = tcp.getsockname()[1]
        # 3 and 4 in the child, by way of a shell that moves them there.
        move = f'exec 3<&{tcp.fileno()} 4<&{unix.fileno()}; exec "$@"'
        started = gate(
            f"listeners: [{{address: 127.0.0.1:{port}}}, {{address: 'unix:{path}'}}]\n"
            "routes: [{respond: {status: 204}}]\nworkers: 1\n",
            environ={"LISTEN_FDS": "2", "LISTEN_FDNAMES": "http:unix"},
            pass_fds=(tcp.fileno(), unix.fileno()),
            wrapper=("/bin/bash", "-c", move, "bash", sys.executable, "-c", ACTIVATED),
        ).serving()
    with started.connect(f"127.0.0.1:{port}") as client, started.connect(f"unix:{path}") as other:
        assert client.pid == other.pid
    started.signal(signal.SIGHUP)
    started.serving(2)
    wait_until("the new one takes all clients", lambda: started.taken_by(2, f"unix:{path}"))
    started.signal(signal.SIGQUIT)
    assert started.wait() == 0
    assert os.path.exists(path)


def test_a_user_that_does_not_exist_stops_the_start_with_78(gate):
    started = gate(config(more="user: h2gate-nobody\n"))
    assert started.wait() == 78
    assert "there is no user h2gate-nobody" in started.log


def test_workers_drop_to_the_user_and_the_log_becomes_theirs(gate, tmp_path):
    log = tmp_path / "error.log"
    started = gate(config(more=f"user: nobody\nerror_log: {{path: {log}}}\n"))
    if os.geteuid() != 0:
        assert started.wait() == 77
        assert "only root can drop to nobody" in started.log
        return
    wait_until("the gate serves", lambda: log.exists() and "generation 1 serves" in log.read_text())
    (worker,) = started.workers()
    status = Path(f"/proc/{worker['pid']}/status").read_text()
    nobody = os.stat(log).st_uid
    assert nobody != 0
    assert f"Uid:\t{nobody}\t{nobody}\t{nobody}\t{nobody}" in status
    assert "CapEff:\t0000000000000000" in status
    assert os.stat(f"/proc/{started.process.pid}").st_uid == 0


def test_the_master_never_makes_a_hub_and_has_one_thread(tmp_path):
    program = (
        "import threading, sys, os\n"
        "from pathlib import Path\n"
        "from h2gate.handover import EngineChoice\n"
        "from h2gate.master import Master\n"
        "def run_worker(handover):\n"
        "    handover.row.serving()\n"
        "    assert 'gevent' not in sys.modules and threading.active_count() == 1\n"
        "    os.kill(os.getppid(), 15)\n"
        "    import signal; signal.pause()\n"
        "code = Master(Path(sys.argv[1]), run_worker, lambda _: EngineChoice('python'), os.environ).run()\n"
        "assert 'gevent' not in sys.modules and threading.active_count() == 1\n"
        "sys.exit(code)\n"
    )
    path = tmp_path / "gate.yaml"
    path.write_text(config())
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, done.stderr
