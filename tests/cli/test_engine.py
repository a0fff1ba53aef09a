"""`engine` and `--engine`: which make a gate runs on, and how to get the native one."""

from __future__ import annotations

import json
import re
import signal
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

from h2gate import __version__
from h2gate.cli import engine
from h2gate.cli.gate import Gate as Running
from h2gate.cli.main import main
from tests.support.gate import Gate
from tests.support.makes import need_native

ROOT = Path(__file__).parents[2]
ANSWER = [{"respond": {"status": 204}}]
# As `h2gate`, on a machine where the native engine was not built.
WITHOUT_NATIVE = (
    sys.executable,
    "-c",
    "import sys; sys.modules['h2gate.protocol.http2_native'] = None; "
    "from h2gate.cli.main import main; sys.exit(main(sys.argv[1:]))",
)

Check = Callable[..., tuple[int, str, str]]


@pytest.fixture
def without_native(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h2gate.protocol.http2_native", None)


@pytest.fixture
def check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Check:
    def run(wanted: str, *options: str) -> tuple[int, str, str]:
        path = tmp_path / "gate.yaml"
        path.write_text(json.dumps({"listeners": [{"address": "127.0.0.1:0"}], "routes": ANSWER, "engine": wanted}))
        code = main(["check", "-c", str(path), *options])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


# check


def test_check_names_the_engine(check: Check) -> None:
    code, out, _ = check("python")
    assert (code, out.splitlines()[1]) == (0, "  engine: python")
    need_native()
    for wanted in ("native", "auto"):
        code, out, _ = check(wanted)
        assert (code, out.splitlines()[1]) == (0, "  engine: native")


@pytest.mark.usefixtures("without_native")
def test_check_says_what_auto_lacks_and_the_command_that_gives_it(check: Check) -> None:
    code, out, err = check("auto")
    assert (code, err) == (0, "")
    line = out.splitlines()[1]
    assert line.startswith("  engine: python: the native engine is missing (")
    assert "h2gate.protocol.http2_native" in line
    assert line.endswith(f"; this gives it: {engine.command()}")


@pytest.mark.usefixtures("without_native")
def test_check_says_nothing_of_the_native_engine_to_who_wants_the_python_one(check: Check) -> None:
    assert "missing" not in check("python")[1]


@pytest.mark.usefixtures("without_native")
def test_native_where_it_is_missing_is_an_error_of_the_config(check: Check) -> None:
    code, out, err = check("native")
    assert (code, out) == (78, "")
    assert "gate.yaml:1:" in err
    assert ": engine: the native engine is missing (" in err
    assert f"; this gives it: {engine.command()}; or take `auto`\n" in err


@pytest.mark.usefixtures("without_native")
def test_the_option_wins_over_the_config_and_is_named_if_it_is_to_blame(check: Check) -> None:
    assert check("native", "--engine", "python")[:1] == (0,)
    assert check("native", "--engine", "auto")[:1] == (0,)
    code, _, err = check("python", "--engine", "native")
    assert code == 78
    assert err.startswith("h2gate: --engine native: the native engine is missing (")


def test_an_engine_that_does_not_exist_is_told(check: Check, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = check("nativ")
    assert code == 78
    assert "engine: " in err
    with pytest.raises(SystemExit) as leaving:
        main(["run", "--engine", "fast"])
    assert leaving.value.code == 2
    assert re.search("auto'?, '?native'?, '?python", capsys.readouterr().err)


# A gate that runs


def status(gate: Gate) -> str:
    with Running(gate.path.parent / "control.sock") as running:
        return str(running.ask("status")["engine"])


def test_a_gate_without_the_native_engine_runs_and_says_what_it_lacks(tmp_path: Path) -> None:
    sections = {"control": "control.sock"}
    with Gate(tmp_path, routes=ANSWER, sections=sections, command=WITHOUT_NATIVE) as gate:
        told = gate.wait_for_error("engine python")
        assert told.endswith("with 1 worker, engine python")
        assert f"; this gives it: {engine.command()}" in gate.wait_for_error("WARNING the native engine is missing (")
        assert status(gate) == "python"
        with gate.http2() as client:
            assert client.request("GET", "/").status == 204
        # It cannot be had by a reload, either.
        gate.write_config({**gate.config, "engine": "native"})
        gate.reload()
        gate.wait_for_error("engine: the native engine is missing (")
        gate.wait_for_error("reload failed: generation 1 stays")


def test_a_reload_changes_the_engine(tmp_path: Path) -> None:
    need_native()
    with Gate(tmp_path, routes=ANSWER, sections={"control": "control.sock", "engine": "python"}) as gate:
        gate.wait_for_error("generation 1 serves")
        for number, name in ((2, "native"), (3, "python")):
            gate.write_config({**gate.config, "engine": name})
            gate.reload()
            assert gate.wait_for_error(f"generation {number} serves").endswith(f"engine {name}")
            assert status(gate) == name
            with gate.http1() as client:
                assert client.request("GET", "/").status == 204


def test_the_option_is_kept_over_reloads(tmp_path: Path) -> None:
    sections = {"control": "control.sock", "engine": "auto"}
    with Gate(tmp_path, routes=ANSWER, sections=sections, options=("--engine", "python")) as gate:
        gate.wait_for_error("generation 1 serves")
        gate.process.send_signal(signal.SIGHUP)
        assert gate.wait_for_error("generation 2 serves").endswith("engine python")
        assert status(gate) == "python"


# The command


@pytest.fixture
def user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)


class Installed:
    """A distribution, as pip noted where it came from."""

    def __init__(self, origin: object) -> None:
        self.origin = origin

    def read_text(self, name: str) -> str | None:
        assert name == "direct_url.json"
        return json.dumps(self.origin) if self.origin else None


@pytest.mark.usefixtures("user")
def test_in_a_checkout_the_command_is_make(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "prefix", str(ROOT / ".venv"))
    assert engine.command().endswith(f" libnghttp2-dev && make -C {ROOT} native")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert engine.command() == f"make -C {ROOT} native"
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr(sys, "prefix", "/opt/other")
    command = engine.command()
    assert command.startswith("sudo apt-get install -y gcc libc6-dev pkg-config libnghttp2-dev")
    assert command.endswith(f" && {sys.executable} -m pip install --editable {ROOT}")


@pytest.mark.parametrize(
    ("origin", "source"),
    [
        (None, f"--no-binary h2gate --no-cache-dir h2gate=={__version__}"),
        ({"url": "file:///tmp/h2%20gate", "dir_info": {}}, "'/tmp/h2 gate'"),
        (
            {"url": "https://host/h2gate.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}},
            "git+https://host/h2gate.git@abc",
        ),
        ({"url": "https://host/h2gate-1.tar.gz", "archive_info": {}}, "https://host/h2gate-1.tar.gz"),
        (
            {"url": "file:///tmp/h2gate-1-py3-none-any.whl", "archive_info": {}},
            f"--no-binary h2gate --no-cache-dir h2gate=={__version__}",
        ),
    ],
)
def test_elsewhere_it_is_pip_with_what_was_installed_from(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, origin: object, source: str
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(engine, "PACKAGE", tmp_path / "site-packages" / "h2gate")
    monkeypatch.setattr(metadata, "distribution", lambda name: Installed(origin))
    first, _, second = engine.command().partition(" && ")
    assert first.startswith("apt-get install -y gcc ")
    assert second == f"{sys.executable} -m pip install --force-reinstall --no-deps {source}"


def test_the_headers_of_python_are_named_where_they_are_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(engine, "PACKAGE", tmp_path / "site-packages" / "h2gate")
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    assert " python3-dev " in engine.command()
    (tmp_path / "Python.h").touch()
    assert "python3-dev" not in engine.command()


def test_a_package_that_pip_did_not_install_has_a_command_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def missing(name: str) -> object:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(engine, "PACKAGE", tmp_path / "h2gate")
    monkeypatch.setattr(metadata, "distribution", missing)
    assert engine.command().endswith(f"--no-cache-dir h2gate=={__version__}")
