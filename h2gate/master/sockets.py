"""The listening sockets: bound by the master, kept over reloads, handed to every worker.

Owns each listener's descriptor for as long as some config names its address. The rule: an address that stays
in the config keeps its socket, and with it the connections in its backlog; nothing is closed before the
generation that replaces it serves.

Not SO_REUSEPORT: closing one socket of such a group drops the connections queued on it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Iterable, MutableMapping
from dataclasses import dataclass
from pathlib import Path

from h2gate.config.model import Listener
from h2gate.config.units import ListenAddress
from h2gate.errors import ExitCode, StartError

# The first descriptor systemd passes (sd_listen_fds(3)).
LISTEN_FDS_START = 3

_FAMILIES = (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)

# (family, address and port packed, or path): what makes two listeners the same.
Identity = tuple[socket.AddressFamily, object]


@dataclass(slots=True)
class _Held:
    socket: socket.socket
    # Of the socket file this process made; None where it made none.
    inode: tuple[int, int] | None


class Sockets:
    """All listening sockets of the master, by identity."""

    def __init__(self, passed: Iterable[socket.socket] = ()) -> None:
        """`passed` are sockets that came with the start (`from_systemd`)."""
        self._held = {_identity_of(sock): _Held(sock, None) for sock in passed}
        self._owner = os.getpid()

    def open(self, listeners: Iterable[Listener]) -> list[socket.socket]:
        """Return a listening socket for each listener, in their order: the held one, or a new one.

        Raises StartError for the first that cannot be had; then no new socket stays open.
        """
        made: list[Identity] = []
        sockets = []
        try:
            for index, listener in enumerate(listeners):
                identity = _identity(listener.address)
                if identity not in self._held:
                    self._held[identity] = _bind(listener.address, f"listeners[{index}].address")
                    made.append(identity)
                sock = self._held[identity].socket
                _listen(sock, listener, f"listeners[{index}].address")
                sockets.append(sock)
        except StartError:
            for identity in made:
                self._drop(identity)
            raise
        return sockets

    def keep_only(self, listeners: Iterable[Listener]) -> list[str]:
        """Close every socket that none of `listeners` names, and return their addresses."""
        wanted = {_identity(listener.address) for listener in listeners}
        dropped = [identity for identity in self._held if identity not in wanted]
        return [self._drop(identity) for identity in dropped]

    def addresses(self) -> list[str]:
        """Return where the sockets really listen: port 0 has become one, in the order they were bound."""
        return [address_of(held.socket) for held in self._held.values()]

    def close(self) -> None:
        self.keep_only(())

    def close_others(self, kept: Iterable[socket.socket]) -> None:
        """In a child: close the sockets that are not the child's, and leave their files alone."""
        numbers = {sock.fileno() for sock in kept}
        for held in self._held.values():
            if held.socket.fileno() not in numbers:
                held.socket.close()

    def _drop(self, identity: Identity) -> str:
        held = self._held.pop(identity)
        address = address_of(held.socket)
        held.socket.close()
        if held.inode is not None and os.getpid() == self._owner:
            unlink_if_same(Path(address.removeprefix("unix:")), held.inode)
        return address


def from_systemd(environ: MutableMapping[str, str]) -> list[socket.socket]:
    """Return the sockets systemd passed to this very process, and remove its variables (sd_listen_fds(3)).

    They are told apart by their address: a socket's name says nothing its address does not.
    """
    pid = environ.pop("LISTEN_PID", "")
    count = environ.pop("LISTEN_FDS", "0")
    environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdecimal():
        return []
    sockets = []
    for descriptor in range(LISTEN_FDS_START, LISTEN_FDS_START + int(count)):
        os.set_inheritable(descriptor, False)
        try:
            sock = socket.socket(fileno=descriptor)
        except OSError:
            raise StartError(
                f"systemd passed descriptor {descriptor}, which is no socket: check the .socket unit",
                ExitCode.OS_ERROR,
            ) from None
        if sock.type != socket.SOCK_STREAM or sock.family not in _FAMILIES:
            sock.close()
            raise StartError(
                f"systemd passed descriptor {descriptor}, which is no TCP or unix stream socket: use ListenStream=",
                ExitCode.OS_ERROR,
            )
        sock.setblocking(False)
        sockets.append(sock)
    return sockets


def unlink_stale(path: Path, what: str) -> None:
    """Remove a socket file on which nobody answers.

    Raises StartError where somebody does, or where the file is no socket; `what` names the key to change.
    """
    try:
        mode = os.stat(path, follow_symlinks=False).st_mode
    except OSError:
        return  # nothing there, or bind() will say why not
    if not stat.S_ISSOCK(mode):
        raise StartError(f"{path} exists and is no socket: remove it or change {what}", ExitCode.CANNOT_CREATE)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        # Non-blocking: an owner with a full backlog gives EAGAIN, and lives.
        probe.setblocking(False)
        refused = probe.connect_ex(str(path)) == errno.ECONNREFUSED
    if not refused:
        raise StartError(f"unix:{path} is in use by another process: stop it or change {what}", ExitCode.OS_ERROR)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def unlink_if_same(path: Path, inode: tuple[int, int]) -> None:
    """Remove a socket file unless another process has replaced it since."""
    with contextlib.suppress(OSError):
        if inode_of(path) == inode:
            os.unlink(path)


def inode_of(path: Path) -> tuple[int, int]:
    status = os.stat(path, follow_symlinks=False)
    return status.st_dev, status.st_ino


def _bind(address: ListenAddress, key: str) -> _Held:
    if address.path is not None:
        unlink_stale(Path(address.path), key)
    try:
        sock = socket.socket(address.family, socket.SOCK_STREAM)
    except OSError as failure:
        raise _explained(failure, address, key) from None
    try:
        sock.setblocking(False)
        if address.path is not None:
            sock.bind(str(address.path))
            # Whoever may enter the directory may connect, as with a port.
            os.chmod(address.path, 0o666)
            return _Held(sock, inode_of(Path(address.path)))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if address.family == socket.AF_INET6:
            # [::] is IPv6 only, whatever bindv6only says; 0.0.0.0 is a listener of its own.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((address.host, address.port))
    except OSError as failure:
        sock.close()
        raise _explained(failure, address, key) from None
    return _Held(sock, None)


def _listen(sock: socket.socket, listener: Listener, key: str) -> None:
    """Listen, or change the backlog of a socket that does so already."""
    try:
        sock.listen(listener.backlog)
    except OSError as failure:
        # Two binds with SO_REUSEADDR may both succeed; the second listen() does not.
        raise _explained(failure, listener.address, key) from None


def _explained(failure: OSError, address: ListenAddress, key: str) -> StartError:
    match failure.errno:
        case errno.EADDRINUSE:
            return StartError(f"{address} is in use by another process: stop it or change {key}", ExitCode.OS_ERROR)
        case errno.EACCES | errno.EPERM if address.path is None:
            return StartError(
                f"{address}: no permission to bind: ports below 1024 need root or CAP_NET_BIND_SERVICE;"
                f" or change {key}",
                ExitCode.NO_PERMISSION,
            )
        case errno.EACCES | errno.EPERM:
            return StartError(
                f"{address}: no permission to make the socket file: change its directory's owner or {key}",
                ExitCode.NO_PERMISSION,
            )
        case errno.EADDRNOTAVAIL:
            hint = "this machine has no such address"
        case errno.EAFNOSUPPORT:
            hint = "this machine has no IPv6" if address.family == socket.AF_INET6 else "not supported"
        case errno.ENOENT:
            hint = "its directory does not exist"
        case _:
            hint = failure.strerror or str(failure)
    return StartError(f"{address}: cannot bind: {hint}: change {key}", ExitCode.OS_ERROR)


def _identity(address: ListenAddress) -> Identity:
    if address.path is not None:
        return socket.AF_UNIX, str(address.path)
    # Packed: `::1` and `0:0::1` are one address.
    return address.family, (socket.inet_pton(address.family, address.host), address.port)


def _identity_of(sock: socket.socket) -> Identity:
    address = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        return socket.AF_UNIX, address
    # A link-local address comes with its zone, as fe80::1%eth0.
    host, port = address[0].partition("%")[0], address[1]
    return socket.AddressFamily(sock.family), (socket.inet_pton(sock.family, host), port)


def address_of(sock: socket.socket) -> str:
    """Return where a socket listens, as a config writes it."""
    address = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        # bytes: a name in the abstract namespace, which begins with a NUL.
        return f"unix:{address if isinstance(address, str) else '@' + address[1:].decode('utf-8', 'replace')}"
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
