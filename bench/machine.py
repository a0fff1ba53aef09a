"""What the figures were taken on: machine, versions, commit."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from typing import Any

from bench.gates import SEARCH_PATH, Gate
from bench.processes import REPOSITORY

LIBRARIES = ("gevent", "h2", "h11", "httptools")


def describe() -> dict[str, Any]:
    return {
        "cpu": _cpu_model(),
        "cpus": os.cpu_count(),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": platform.release(),
        "system": _system(),
        "python": platform.python_version(),
    }


def versions(gates: Sequence[Gate]) -> dict[str, str]:
    found = {gate.key: gate.version() for gate in gates if gate.missing() is None}
    for program, option in (("h2load", "--version"), ("nghttpd", "--version"), ("wrk", "-v")):
        if path := shutil.which(program, path=SEARCH_PATH):
            done = subprocess.run([path, option], capture_output=True, text=True, check=False)
            line = (done.stdout + done.stderr).splitlines()[0]
            found[program] = line.partition(" [")[0]
    for library in LIBRARIES:
        try:
            found[library] = f"{library} {metadata.version(library)}"
        except metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str:
    """Return the commit measured, with `+` where files were changed since; nothing outside of git."""
    git = ["git", "-C", str(REPOSITORY)]
    try:
        head = subprocess.run([*git, "rev-parse", "--short=10", "HEAD"], capture_output=True, text=True, check=True)
        changes = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return head.stdout.strip() + ("+" if changes.stdout.strip() else "")


def engines(cpu: int) -> list[str]:
    """Return what the engines cost by themselves: the lines of the two programs that measure them in memory."""
    lines = []
    for module in ("bench.engines", "bench.engines_http1"):
        done = subprocess.run(
            [sys.executable, "-m", module],
            capture_output=True,
            text=True,
            check=False,
            cwd=REPOSITORY,
            preexec_fn=lambda: os.sched_setaffinity(0, {cpu}),
        )
        lines += (done.stdout if done.returncode == 0 else f"{module} failed").splitlines()
    return lines


def _cpu_model() -> str:
    with open("/proc/cpuinfo") as file:
        found = re.search(r"^model name\s*:\s*(.+)$", file.read(), re.MULTILINE)
    return found[1] if found else platform.machine()


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.system()
