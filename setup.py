"""The part of the build that TOML cannot say: the native engines, where they can be built.

They are an option: where something is missing, that is told in one line, and the package is installed without them.
`H2GATE_NATIVE` changes that: `require` makes it an error, `off` builds nothing.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

MODE = os.environ.get("H2GATE_NATIVE", "")
PKG_CONFIG = os.environ.get("PKG_CONFIG", "pkg-config")
LIBRARY = "libnghttp2"
# What is linked with it.
LINKED = {"http2_native"}
# Hidden: a shared object exports its init function only, so that calls within it need no table. Python's own flags ask
# for -g, which would make the files five times as large. -O3 measures the same: 6.1 us for an HTTP/2 exchange, 3.8 for
# HTTP/1.1.
FLAGS = ["-O2", "-g0", "-fvisibility=hidden"]


def missing() -> list[str]:
    """Return what the build lacks, with the name of Debian's package."""
    lacks = []
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")[0]
    if shutil.which(compiler) is None:
        lacks.append(f"a C compiler, {compiler} (gcc)")
    if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
        lacks.append("the headers of Python (python3-dev)")
    if shutil.which(PKG_CONFIG) is None:
        lacks.append("pkg-config (pkg-config)")
    elif subprocess.run([PKG_CONFIG, "--exists", LIBRARY], check=False).returncode:
        lacks.append(f"the headers of {LIBRARY} ({LIBRARY}-dev)")
    try:
        import Cython  # noqa: F401
    except ImportError:
        lacks.append("Cython")
    return lacks


def pkg_config(option: str) -> list[str]:
    done = subprocess.run([PKG_CONFIG, option, LIBRARY], check=True, capture_output=True, text=True)
    return shlex.split(done.stdout)


def extensions() -> list[Extension]:
    """Return what is to be built: nothing, if it cannot be. Raises SystemExit if it is required."""
    if MODE == "off":
        return []
    lacks = missing()
    if lacks:
        give_up(f"missing: {', '.join(lacks)}")
        return []
    from Cython.Build import cythonize
    from Cython.Compiler.Errors import CompileError

    found = [
        Extension(
            f"h2gate.protocol.{path.stem}",
            [str(path)],
            extra_compile_args=[*FLAGS, *(pkg_config("--cflags") if path.stem in LINKED else [])],
            extra_link_args=pkg_config("--libs") if path.stem in LINKED else [],
        )
        for path in sorted(Path("h2gate/protocol").glob("*.pyx"))
    ]
    # C files go into build/: beside their sources they would be taken for ours.
    try:
        made: list[Extension] = cythonize(found, build_dir="build/cython", language_level=3, quiet=True)
    except CompileError as failure:
        give_up(str(failure))
        return []
    return made


def give_up(why: str) -> None:
    if MODE == "require":
        raise SystemExit(f"h2gate: the native engines cannot be built; {why}")
    print(f"h2gate: installed without the native engines, the python ones take their place; {why}", file=sys.stderr)


class BuildNative(build_ext):
    """build_ext, for which a compiler that fails is no failure."""

    def run(self) -> None:
        try:
            super().run()
        except Exception as failure:
            if MODE == "require":
                raise
            give_up(" ".join(str(failure).split()))
            self.extensions = []


setup(ext_modules=extensions(), cmdclass={"build_ext": BuildNative})
