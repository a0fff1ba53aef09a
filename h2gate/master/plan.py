"""What a generation needs before its first fork: config, bound listeners, TLS contexts.

The rule: whatever can fail because of what the operator wrote fails here, and changes nothing.
"""

from __future__ import annotations

import math
import os
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from h2gate.config.loader import load, told_by_place
from h2gate.config.model import Config
from h2gate.config.tls import backend_contexts, listener_contexts
from h2gate.handover import BoundListener, EngineChoice
from h2gate.master.sockets import Sockets

# What a container may use of the machine's CPUs (cgroup v2): `150000 100000` is one and a half.
CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")


@dataclass(frozen=True, slots=True)
class Plan:
    config: Config
    engine: EngineChoice
    listeners: tuple[BoundListener, ...]
    backend_tls: dict[str, ssl.SSLContext]


def prepare(
    config_path: Path, environ: Mapping[str, str], sockets: Sockets, choose_engine: Callable[[Config], EngineChoice]
) -> Plan:
    """Load, validate, choose the engine, build TLS contexts, and bind last: binding is what others can see.

    Raises StartError, ConfigError among them; then no socket was opened.
    """
    config = load(config_path, environ)
    with told_by_place(config_path, environ):
        engine = choose_engine(config)
        tls = listener_contexts(config)
        backend_tls = backend_contexts(config)
    bound = sockets.open(config.listeners)
    listeners = tuple(map(BoundListener, config.listeners, bound, tls))
    return Plan(config, engine, listeners, backend_tls)


def worker_count(config: Config) -> int:
    """Return how many workers to run; `auto` is one for each CPU this process may use."""
    if config.workers != "auto":
        return config.workers
    return max(1, min(len(os.sched_getaffinity(0)), _quota(CPU_QUOTA)))


def _quota(path: Path) -> int:
    try:
        quota, period = path.read_text(encoding="ascii").split()
        return math.ceil(int(quota) / int(period))
    except (OSError, ValueError, ZeroDivisionError):
        return os.cpu_count() or 1  # `max`, or no cgroup v2
