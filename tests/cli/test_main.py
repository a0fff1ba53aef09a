"""Exit codes, and that whatever happens is told in lines an operator can use."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from h2gate import __version__
from h2gate.cli import check, main
from h2gate.config.model import Timeouts
from h2gate.errors import ExitCode, StartError
from h2gate.master.generation import GRACE_SECONDS

ROOT = Path(__file__).parents[2]


def h2gate(*args, **options):
    return subprocess.run(
        [sys.executable, "-m", "h2gate", *map(str, args)], capture_output=True, text=True, timeout=30, **options
    )


def test_the_commands_are_listed():
    done = h2gate("--help", cwd=ROOT)
    assert done.returncode == 0
    for command in ("run", "check", "status", "reload", "stop", "backend"):
        assert f"\n    {command} " in done.stdout


def test_the_version_is_told(capsys):
    with pytest.raises(SystemExit) as leaving:
        main.main(["--version"])
    assert leaving.value.code == 0
    assert capsys.readouterr().out == f"h2gate {__version__}\n"


@pytest.mark.parametrize("argv", [[], ["chek"], ["check", "--nonsense"], ["status", "--js"]])
def test_wrong_usage_is_2(capsys, argv):
    with pytest.raises(SystemExit) as leaving:
        main.main(argv)
    assert leaving.value.code == 2
    assert "usage: h2gate" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("failure", "code", "said"),
    [
        (StartError("the port is busy", ExitCode.OS_ERROR), 71, "h2gate: the port is busy\n"),
        (KeyboardInterrupt(), 130, ""),
        (ZeroDivisionError("by\nzero"), 1, None),
    ],
)
def test_what_a_command_raises_is_a_line_and_a_code(capsys, monkeypatch, failure, code, said):
    def run(args):
        raise failure

    monkeypatch.setattr(check, "run", run)
    assert main.main(["check"]) == code
    err = capsys.readouterr().err
    if said is None:
        assert err.startswith(r"h2gate: internal error: ZeroDivisionError: by\nzero at ")
        assert err.count("\n") == 1
    else:
        assert err == said


def test_a_reader_that_leaves_early_costs_no_traceback():
    done = subprocess.run(
        ["/bin/sh", "-c", '"$0" -m h2gate check -c "$1" | true', sys.executable, str(ROOT / "etc" / "h2gate.yaml")],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.stderr == ""


def test_the_checkouts_config_comes_before_the_systems(tmp_path, monkeypatch):
    from h2gate.cli import options

    monkeypatch.chdir(tmp_path)
    nothing = type("Args", (), {"config": None})()
    assert options.config_path(nothing) == Path("/etc/h2gate/h2gate.yaml")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "h2gate.yaml").write_text("")
    assert options.config_path(nothing) == Path("etc/h2gate.yaml")
    given = type("Args", (), {"config": Path("x.yaml")})()
    assert options.config_path(given) == Path("x.yaml")


def test_the_gate_runs_in_the_foreground_until_ctrl_c_and_leaves_no_process(tmp_path):
    config = tmp_path / "gate.yaml"
    config.write_text(
        "workers: 2\ncontrol: control.sock\nlisteners: [{address: 127.0.0.1:0}]\nroutes: [{respond: {status: 204}}]\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "h2gate", "run", "-c", str(config)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stderr is not None
        lines = iter(process.stderr)
        assert any("generation 1 serves" in line for line in lines)
        # As a terminal does: to the master and its workers alike.
        os.killpg(process.pid, signal.SIGINT)
        rest = list(lines)  # ends once no process has the pipe any more
        assert process.wait(20) == 0
        assert "Traceback" not in "".join(rest)
        assert not (tmp_path / "control.sock").exists()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(20)
        process.stderr.close()


def test_the_starter_config_loads_and_the_units_are_right(tmp_path):
    done = h2gate("check", "-c", ROOT / "etc" / "h2gate.yaml")
    assert (done.returncode, done.stderr) == (0, "")
    unit = (ROOT / "systemd" / "h2gate.service").read_text()
    # systemd's patience must outlast the gate's own.
    stop = re.search(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)
    assert stop is not None
    assert int(stop[1]) > Timeouts().drain + GRACE_SECONDS
    for line in unit.splitlines():
        if line.startswith("Exec"):
            command = line.partition("=/opt/h2gate/bin/h2gate ")[2].split()
            # Every command of the unit is one that there is.
            assert main._parser().parse_args(command).config == Path("/etc/h2gate/h2gate.yaml")


def test_a_closed_standard_stream_is_no_mistake_of_ours():
    command = f'"{sys.executable}" -m h2gate check -c etc/h2gate.yaml'
    for closed in (">&-", "<&- >&-", "2>&-", "<&- >&- 2>&-"):
        done = subprocess.run(["bash", "-c", f"{command} {closed}"], capture_output=True, cwd=ROOT, timeout=30)
        assert (done.returncode, done.stderr) == (0, b""), closed
