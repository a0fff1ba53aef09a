"""The control socket: one line of JSON in, one line of JSON out.

Owns the socket file and its clients. The rule: nothing here blocks and nothing here decides; it turns lines
into requests, and the supervise loop answers each when it knows the outcome.

    {"command": "reload"}
    {"ok": false, "errors": ["h2gate.yaml:3:5: ..."]}
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import select
import socket
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from h2gate.errors import ExitCode, StartError
from h2gate.master.sockets import inode_of, unlink_if_same, unlink_stale

# A command is some thirty bytes; a client that sends more than this has lost its way.
LINE_BYTES = 4096

# For a client that says nothing or takes nothing, so that it does not hold a descriptor for ever.
SILENCE_SECONDS = 10.0

# One operator, some scripts and a monitor.
CLIENTS = 32

# Without a descriptor to accept with, the waiting client keeps the socket readable: look away for a while.
NO_DESCRIPTOR_SECONDS = 1.0


@dataclass(slots=True, eq=False)
class Client:
    socket: socket.socket
    deadline: float
    line: bytearray = field(default_factory=bytearray)
    output: bytearray = field(default_factory=bytearray)
    has_asked: bool = False
    # The answer is queued, and the connection ends once it is out; or it stays for as long as the master does.
    is_answered: bool = False
    stays: bool = False

    @property
    def is_done(self) -> bool:
        return self.is_answered and not self.output and not self.stays


@dataclass(slots=True, eq=False)
class Request:
    """One command; `answer` or `refuse` may be called at once or much later."""

    command: str
    client: Client

    def answer(self, **words: Any) -> None:
        self._reply({"ok": True, **words})

    def answer_and_stay(self, **words: Any) -> None:
        """Answer, and let the client learn by EOF that the master is gone."""
        self.client.stays = True
        self.answer(**words)

    def refuse(self, errors: Collection[str]) -> None:
        self._reply({"ok": False, "errors": list(errors)})

    def _reply(self, words: dict[str, Any]) -> None:
        client = self.client
        client.output += json.dumps(words).encode() + b"\n"
        client.is_answered = True
        # Most answers fit into the socket's buffer: written here, so that the last one of a master goes out, too.
        _write(client)


class Control:
    """Raises StartError where another gate answers on the path, or the socket cannot be made."""

    def __init__(self, path: Path, commands: Collection[str]) -> None:
        self.path = path
        self._commands = commands
        self._clients: list[Client] = []
        self._accept_at = 0.0
        # /run is emptied at boot. Where the directory cannot be made either, bind() says what is wrong.
        with contextlib.suppress(OSError):
            path.parent.mkdir(mode=0o755)
        unlink_stale(path, "control")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.setblocking(False)
        # 0600 from its first moment on; umask() is the process's, and the master has one thread.
        umask = os.umask(0o177)
        try:
            self._socket.bind(str(path))
            self._socket.listen(CLIENTS)
        except OSError as failure:
            self._socket.close()
            raise _explained(failure, path) from None
        finally:
            os.umask(umask)
        self._inode = inode_of(path)

    def waiting(self, now: float) -> list[tuple[int, int]]:
        """Return the descriptors to wait on, each with the events of `select.poll`."""
        wanted = [
            (
                client.socket.fileno(),
                (0 if client.has_asked else select.POLLIN) | (select.POLLOUT if client.output else 0),
            )
            for client in self._clients
        ]
        if self._may_accept(now):
            wanted.append((self._socket.fileno(), select.POLLIN))
        # A client that has asked is not listened to: poll() would report its hang-up again and again.
        return [(descriptor, events) for descriptor, events in wanted if events]

    def wake_at(self) -> float:
        """Return when to call `requests` at the latest."""
        deadlines = [client.deadline for client in self._clients if not client.has_asked or client.output]
        return min([*deadlines, self._accept_at if self._accept_at else math.inf])

    def requests(self, now: float) -> list[Request]:
        """Accept, read and write what is ready, and return the commands that are whole."""
        self._accept(now)
        found = []
        for client in self._clients[:]:
            is_here = client.has_asked or _read(client)
            if is_here and not client.has_asked and b"\n" in client.line:
                client.has_asked = True
                client.deadline = now + SILENCE_SECONDS
                request = self._parse(client)
                if request is not None:
                    found.append(request)
            is_here = is_here and _write(client)
            is_late = now > client.deadline and (not client.has_asked or bool(client.output))
            if not is_here or is_late or client.is_done:
                self._end(client)
        return found

    def close(self) -> None:
        """End: the file goes first, then the clients learn by EOF that the gate is gone."""
        unlink_if_same(self.path, self._inode)
        self.leave()

    def leave(self) -> None:
        """Close everything and touch no file: in a child."""
        self._socket.close()
        for client in self._clients:
            client.socket.close()
        self._clients.clear()

    def _may_accept(self, now: float) -> bool:
        return len(self._clients) < CLIENTS and now >= self._accept_at

    def _accept(self, now: float) -> None:
        while self._may_accept(now):
            self._accept_at = 0.0
            try:
                sock, _ = self._socket.accept()
            except (BlockingIOError, ConnectionError):
                return
            except OSError:
                self._accept_at = now + NO_DESCRIPTOR_SECONDS
                return
            sock.setblocking(False)
            self._clients.append(Client(sock, now + SILENCE_SECONDS))

    def _parse(self, client: Client) -> Request | None:
        line = bytes(client.line.partition(b"\n")[0])
        request = Request("", client)
        try:
            words = json.loads(line)
        except (ValueError, RecursionError):
            words = None
        command = words.get("command") if isinstance(words, dict) else None
        if isinstance(command, str) and command in self._commands:
            request.command = command
            return request
        known = ", ".join(self._commands)
        request.refuse([f'write one line {{"command": "..."}} with one of: {known}'])
        return None

    def _end(self, client: Client) -> None:
        self._clients.remove(client)
        client.socket.close()


def _read(client: Client) -> bool:
    """Take what has arrived; return False where the client has left before it asked, or asks too much."""
    try:
        data = client.socket.recv(LINE_BYTES)
    except BlockingIOError:
        return True
    except OSError:
        return False
    # A last line without its end is a command, too: `printf ... | nc -U` sends nothing more.
    client.line += data or b"\n"
    return len(client.line) <= LINE_BYTES and client.line != b"\n"


def _write(client: Client) -> bool:
    """Send what the client takes now; return False where it is gone."""
    if not client.output:
        return True
    try:
        sent = client.socket.send(client.output)
    except BlockingIOError:
        return True
    except OSError:
        client.output.clear()
        return False
    del client.output[:sent]
    return True


def _explained(failure: OSError, path: Path) -> StartError:
    if isinstance(failure, FileNotFoundError):
        what = "its directory does not exist: create it or change control"
    elif isinstance(failure, PermissionError):
        what = "no permission: change its directory's owner or control"
    else:
        # "AF_UNIX path too long" has no strerror.
        what = f"{failure.strerror or failure}: change control"
    return StartError(
        f"{path}: cannot make the control socket: {what}",
        ExitCode.NO_PERMISSION if isinstance(failure, PermissionError) else ExitCode.CANNOT_CREATE,
    )
