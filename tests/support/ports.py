"""Free ports that stay free: a port is held by a bound socket until its user is done.

A socket that is bound and does not listen keeps the port from everybody but those who bind it by number with
SO_REUSEADDR, as the gate does. So two test runs on one machine never meet.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterator


class HeldPort:
    """A port of 127.0.0.1 for one listener."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.bind(("127.0.0.1", 0))
        # After the bind: before it, the kernel might choose a port that another run holds in this way.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.number: int = self._socket.getsockname()[1]

    def release(self) -> None:
        self._socket.close()


@contextlib.contextmanager
def refusing_port() -> Iterator[int]:
    """Give a port on which nobody will listen."""
    port = HeldPort()
    try:
        yield port.number
    finally:
        port.release()


def is_listening(address: tuple[str, int] | str) -> bool:
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        code = probe.connect_ex(address)
    if code not in (0, errno.ECONNREFUSED, errno.ENOENT):
        raise OSError(code, f"connecting to {address}")
    return code == 0
