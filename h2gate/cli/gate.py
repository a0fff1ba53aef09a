"""The running gate, as the commands see it: its control socket.

The rule: a configuration that is broken now must not hide the gate that runs with the one before.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import socket
import struct
from pathlib import Path
from typing import Any, Self

from h2gate.cli.options import config_path
from h2gate.config.document import Leaf
from h2gate.config.include import read_tree
from h2gate.errors import ExitCode, StartError

# Where the configuration we ship puts the socket; for one that cannot be read at all.
USUAL_DIRECTORY = "/run/h2gate"
USUAL_NAME = "control.sock"


class Gate:
    """A connection to the gate on which one command is asked. Raises StartError where no gate answers."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.connect(str(path))
        except OSError as failure:
            self._socket.close()
            if isinstance(failure, PermissionError):
                raise StartError(
                    f"{path}: no permission: ask as root or as the gate's user", ExitCode.NO_PERMISSION
                ) from None
            if isinstance(failure, (FileNotFoundError, ConnectionRefusedError)):
                raise StartError(f"no gate is running: nobody answers on {path}") from None
            raise StartError(f"{path}: cannot reach the gate: {failure.strerror or failure}") from None
        self._answer = self._socket.makefile("rb")

    def ask(self, command: str) -> dict[str, Any]:
        """Return the gate's answer, once it has one. Raises StartError where the gate ends before."""
        try:
            self._socket.sendall(json.dumps({"command": command}).encode() + b"\n")
            line = self._answer.readline()
        except OSError:
            line = b""
        if not line:
            raise StartError(f"the gate on {self._path} ended before it answered")
        try:
            words = json.loads(line)
        except ValueError:
            words = None
        if not isinstance(words, dict):
            raise StartError(f"{self._path}: what answers there is no gate")
        return words

    def wait_until_gone(self) -> None:
        """Wait until the master has closed the connection, and then has really ended."""
        # Of the process that listens, in our own numbering; 0 if it cannot be seen from here.
        credentials = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        pid = struct.unpack("3i", credentials)[0]
        descriptor = None
        with contextlib.suppress(OSError):
            descriptor = os.pidfd_open(pid) if pid > 0 else None
        with contextlib.suppress(OSError):
            while self._answer.read(4096):
                pass
        if descriptor is not None:
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            poll.poll()
            os.close(descriptor)

    def close(self) -> None:
        self._answer.close()
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def control_path(args: argparse.Namespace) -> Path:
    """Return where the gate's control socket is: as told, as configured, or where it usually is."""
    if args.control is not None:
        return Path(args.control)
    path = config_path(args)
    # Not load(): the file may be wrong in all else.
    tree = read_tree(path, os.environ)
    entry = tree.root.entries.get("control")
    if entry is not None and isinstance(entry.node, Leaf) and entry.node.written:
        return Path(os.path.normpath(path.absolute().parent / entry.node.written))
    if not tree.is_whole:
        usual = Path(os.environ.get("RUNTIME_DIRECTORY", USUAL_DIRECTORY)) / USUAL_NAME
        if usual.exists():
            return usual
        # "No gate is running" would be a guess.
        first = str(tree.problems[0]).splitlines()[0]
        raise StartError(f"cannot tell where the gate listens: {first}; correct that or give --control PATH")
    raise StartError(f"{path} names no control socket: set control and restart the gate, or use signals")
