"""`h2gate check`: whether a configuration would start, and what it would take. Nothing is bound."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator

from h2gate.cli.engine import add_engine, chooser
from h2gate.cli.options import add_config, config_path
from h2gate.config.loader import load, told_by_place
from h2gate.config.model import Backend, Config, Listener
from h2gate.config.resolved import backends_of
from h2gate.config.tls import backend_contexts, listener_contexts
from h2gate.config.units import format_size
from h2gate.errors import ExitCode
from h2gate.master import account
from h2gate.master.plan import worker_count


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "check",
        help="check a configuration",
        description="Check a configuration with its certificates and keys, and print what it would take.",
    )
    add_config(parser)
    add_engine(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the facts. Raises ConfigError."""
    path = config_path(args)
    config = load(path, os.environ)
    with told_by_place(path, os.environ):
        engine = chooser(args)(config)
        listener_contexts(config)
        backend_contexts(config)
        if config.user is not None:
            account.look_up(config.user)
    print(f"OK {path}")
    print(f"  engine: {engine.name}" + (f": {engine.lacks}" if engine.lacks else ""))
    for line in facts(config, worker_count(config)):
        print(f"  {line}")
    return ExitCode.OK


def facts(config: Config, workers: int) -> Iterator[str]:
    """Yield what the configuration comes to, a line for each thing."""
    yield f"workers: {workers}"
    for listener in config.listeners:
        yield f"listener {listener.address}: {_protocols(listener)}"
    limits = config.limits
    per_client = _on_the_way(limits.streams, limits.stream_window, limits.connection_window)
    yield f"uploads: {per_client} at most for each client connection"
    all_connections = all_bytes = 0
    for name, backend in backends_of(config).items():
        connections, size = ceiling(backend, workers)
        all_connections += connections
        all_bytes += size
        pool = backend.pool
        per_connection = f"{pool.max_streams} streams x {format_size(pool.stream_window)}"
        yield f"backend {name}: {', '.join(str(endpoint.url) for endpoint in backend.endpoints)}"
        yield (
            f"  connections: {_counted(workers, 'worker')} x {_counted(len(backend.endpoints), 'endpoint')}"
            f" x {pool.max_connections} = {connections} at most"
        )
        yield f"  responses: {_counted(connections, 'connection')} x {per_connection} = {format_size(size)} at most"
    yield f"backend connections: {all_connections} at most"
    yield f"memory ceiling of responses: {format_size(all_bytes)}"


def ceiling(backend: Backend, workers: int) -> tuple[int, int]:
    """Return how many connections there can be to a backend, and how many bytes of responses on their way.

    The streams' windows bound those: the connection's is given back as bytes arrive (`backend/connection.py`).
    """
    pool = backend.pool
    connections = workers * len(backend.endpoints) * pool.max_connections
    return connections, connections * pool.max_streams * pool.stream_window


def _on_the_way(streams: int, stream_window: int, connection_window: int) -> str:
    """Write what a client connection may have on its way: all its streams, or less where its own window is smaller."""
    if streams * stream_window <= connection_window:
        return f"{streams} streams x {format_size(stream_window)}"
    return f"{format_size(connection_window)} (connection_window)"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _protocols(listener: Listener) -> str:
    return "HTTP/1.1 and HTTP/2" + (" over TLS" if listener.tls is not None else "")
