"""Installing from the sources: with a compiler, without one, and as a wheel.

Nothing is fetched: the build uses this interpreter's setuptools and Cython, and what is installed finds this
interpreter's libraries.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from tests.support.makes import need_native

ROOT = Path(__file__).parents[2]
LEFT_OUT = shutil.ignore_patterns(".*", "*.so", "*.egg-info", "__pycache__", "build", "dist", "run", "tests", "bench")
CONFIG = "{listeners: [{address: '127.0.0.1:0'}], routes: [{respond: {status: 204}}]}"
PIP = ("-m", "pip", "--disable-pip-version-check", "--verbose")

pytestmark = [pytest.mark.large, pytest.mark.timeout(300)]


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A copy of the checkout as it is cloned."""
    return Path(shutil.copytree(ROOT, tmp_path / "sources", ignore=LEFT_OUT))


@pytest.fixture
def no_compiler(tmp_path: Path) -> dict[str, str]:
    """An environment without a program but the interpreter's."""
    (tmp_path / "bin").mkdir()
    return {**os.environ, "PATH": str(tmp_path / "bin")}


def run(*argv: str | Path, cwd: Path, env: dict[str, str] | None = None, code: int = 0) -> str:
    """Return what a program says."""
    argv_text = list(map(str, argv))
    done = subprocess.run(
        argv_text, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=250
    )
    assert done.returncode == code, f"{' '.join(argv_text)}\n{done.stdout}"
    return done.stdout


def wheel(sources: Path, env: dict[str, str] | None = None) -> Path:
    """Build the wheel as `pip install .` does, and return it."""
    made = sources.parent / "wheels"
    run(sys.executable, *PIP, "wheel", "--no-deps", "--no-build-isolation", "-w", made, sources, cwd=sources, env=env)
    (path,) = made.iterdir()
    return path


def check(directory: Path, wheel: Path) -> str:
    """Install a wheel into an environment of its own, and return what `h2gate check` says there."""
    venv.create(directory / "venv", with_pip=False)
    python = directory / "venv" / "bin" / "python"
    site = sysconfig.get_path("purelib", vars={"base": str(directory / "venv")})
    run(sys.executable, *PIP, "--python", python, "install", "--no-deps", "--no-index", wheel, cwd=directory)
    # Libraries alone: the .pth files of a directory that a .pth file names are not read, this checkout's among them.
    Path(site, "libraries.pth").write_text(sysconfig.get_path("purelib"))
    config = directory / "gate.yaml"
    config.write_text(CONFIG)
    return run(python, "-m", "h2gate", "check", "-c", config, cwd=directory)


def modules(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def test_the_wheel_has_the_native_engines_and_they_run(sources: Path, tmp_path: Path) -> None:
    need_native()
    made = wheel(sources, {**os.environ, "H2GATE_NATIVE": "require"})
    assert made.name.endswith(f"-{sysconfig.get_platform().replace('-', '_')}.whl")
    names = modules(made)
    for name in ("http1_native", "http2_native"):
        assert [one for one in names if one.startswith(f"h2gate/protocol/{name}.") and one.endswith(".so")]
        assert f"h2gate/protocol/{name}.pyi" in names
    assert not [one for one in names if one.endswith((".pyx", ".pxi", ".c"))]
    assert "  engine: native\n" in check(tmp_path, made)


def test_the_source_distribution_has_all_that_the_wheel_is_built_from(sources: Path, tmp_path: Path) -> None:
    need_native()
    run(sys.executable, "-m", "build", "--no-isolation", sources, cwd=sources)
    # `build` makes the wheel from the source distribution.
    (made,) = (sources / "dist").glob("*.whl")
    assert "  engine: native\n" in check(tmp_path, made)


def test_without_a_compiler_and_headers_it_is_installed_and_says_what_it_lacks(
    sources: Path, tmp_path: Path, no_compiler: dict[str, str]
) -> None:
    made = wheel(sources, no_compiler)
    assert made.name.endswith("-py3-none-any.whl")
    told = check(tmp_path, made)
    assert "  engine: python: the native engine is missing (No module named 'h2gate.protocol." in told
    assert " -m pip install --force-reinstall --no-deps " in told


def test_what_is_missing_is_told_in_one_line(sources: Path, no_compiler: dict[str, str]) -> None:
    build = (sys.executable, "setup.py", "--quiet", "build_ext", "--inplace")
    told = run(*build, cwd=sources, env=no_compiler)
    (line,) = told.splitlines()
    assert line.startswith("h2gate: installed without the native engines, the python ones take their place; missing: ")
    assert " (gcc), " in line
    assert "pkg-config" in line
    assert "h2gate: the native engines cannot be built; missing: " in run(
        *build, cwd=sources, env={**no_compiler, "H2GATE_NATIVE": "require"}, code=1
    )


def test_a_compiler_that_fails_is_no_failure_unless_the_native_engines_are_required(sources: Path) -> None:
    need_native()
    build = (sys.executable, "setup.py", "--quiet", "build_ext", "--inplace")
    told = run(*build, cwd=sources, env={**os.environ, "CC": "false"})
    assert told.count("h2gate: installed without the native engines") == 1
    assert "Traceback" not in told
    run(*build, cwd=sources, env={**os.environ, "CC": "false", "H2GATE_NATIVE": "require"}, code=1)
