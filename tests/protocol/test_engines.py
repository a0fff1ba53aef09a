"""The choice of a make. What the makes do is in the other tests of `protocol/`, which run over both."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from types import ModuleType

import pytest

from h2gate.protocol import http1, http2
from h2gate.protocol.engines import choose
from tests.support.makes import need_native

NATIVE = ("h2gate.protocol.http1_native", "h2gate.protocol.http2_native")
PYTHON = ("h2", "h2gate.protocol.http2", "h2gate.protocol.http2_engine")


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> dict[str, ModuleType]:
    """Stand in for the native modules, whether they are built or not."""
    modules = {name: ModuleType(name) for name in NATIVE}
    for name, module in modules.items():
        for function in ("server_engine", "client_engine"):
            setattr(module, function, lambda *_: None)
        monkeypatch.setitem(sys.modules, name, module)
    return modules


@pytest.fixture(params=NATIVE)
def lost(request: pytest.FixtureRequest, built: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch) -> str:
    """Let one of the native modules be missing."""
    # None in sys.modules stops an import as a module that is not there does.
    monkeypatch.setitem(sys.modules, request.param, None)
    name: str = request.param
    return name


def test_auto_is_the_native_make_where_it_is_built(built: dict[str, ModuleType]) -> None:
    for made in (choose("auto"), choose("native")):
        assert made.name == "native"
        assert made.http1_server is built[NATIVE[0]].server_engine
        assert made.http2_server is built[NATIVE[1]].server_engine
        assert made.http2_client is built[NATIVE[1]].client_engine
        assert made.native_is_missing == ""


def test_auto_is_the_python_make_as_a_whole_where_half_of_the_native_one_is_missing(lost: str) -> None:
    made = choose("auto")
    assert made.name == "python"
    assert made.http1_server is http1.server_engine
    assert made.http2_server is http2.server_engine
    assert made.http2_client is http2.client_engine
    assert lost in made.native_is_missing


def test_native_is_never_replaced_in_silence(lost: str) -> None:
    with pytest.raises(ImportError, match=lost):
        choose("native")


def test_python_is_the_python_make_whatever_is_built(built: dict[str, ModuleType]) -> None:
    made = choose("python")
    assert (made.name, made.native_is_missing) == ("python", "")


def imported_by(wanted: str) -> set[str]:
    """Return the modules of a process that has chosen a make."""
    program = f"import sys; from h2gate.protocol.engines import choose; choose({wanted!r}); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    return set(done.stdout.split())


def test_the_python_make_needs_nothing_of_the_native_one() -> None:
    assert not imported_by("python") & {*NATIVE, "httptools"}


def test_the_native_make_leaves_the_python_one_out_of_memory() -> None:
    need_native()
    assert not imported_by("native") & set(PYTHON)


def test_ci_has_the_native_make() -> None:
    """What else needs it is skipped where it is missing, so that `make test` passes on a machine without a compiler."""
    if os.environ.get("CI") == "true":
        assert choose("auto").native_is_missing == ""


def test_where_it_is_missing_a_test_is_skipped_but_in_ci_it_fails(lost: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def outcome() -> Callable[..., object] | type[BaseException]:
        with pytest.raises(BaseException) as raised:  # noqa: PT011 (pytest's own are no Exceptions)
            need_native()
        return raised.type

    monkeypatch.delenv("CI", raising=False)
    assert outcome() is pytest.skip.Exception
    monkeypatch.setenv("CI", "true")
    assert outcome() is pytest.fail.Exception
