"""The signal table, and the pipe through which signals reach the supervise loop.

Owns the master's signal dispositions. The rule: a handler does nothing; the interpreter writes the signal's
number into a pipe (`signal.set_wakeup_fd`) and the loop reads it there, between two steps and never within one.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from enum import Enum
from types import FrameType


class Order(Enum):
    """What a signal, or a line on the control socket, asks for."""

    DRAIN = "drain"
    QUIT = "quit"
    RELOAD = "reload"
    REOPEN = "reopen"
    MORE = "more"
    FEWER = "fewer"
    REAP = "reap"


# gunicorn's meanings and not nginx's: systemd, Docker and Kubernetes send TERM, which must lose no request.
TABLE: dict[signal.Signals, Order] = {
    signal.SIGTERM: Order.DRAIN,
    signal.SIGINT: Order.QUIT,
    signal.SIGQUIT: Order.QUIT,
    signal.SIGHUP: Order.RELOAD,
    signal.SIGUSR1: Order.REOPEN,
    signal.SIGTTIN: Order.MORE,
    signal.SIGTTOU: Order.FEWER,
    signal.SIGCHLD: Order.REAP,
}


class SignalPipe:
    """Turns signals into orders, in their order of arrival."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        # A full pipe holds 65536 signals not yet looked at: one more says nothing new.
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._before = {number: signal.signal(number, _note) for number in TABLE}

    def fileno(self) -> int:
        return self._read

    def orders(self) -> list[Order]:
        """Return what has arrived since the last call."""
        try:
            numbers = os.read(self._read, 4096)
        except BlockingIOError:
            return []
        return [TABLE[signal.Signals(number)] for number in numbers if number in TABLE]

    def close(self) -> None:
        """At the end of the master: put back what was there before."""
        for number, handler in self._before.items():
            # None: set by something other than Python, which could put it back itself.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self.leave()

    def leave(self) -> None:
        """Forget the pipe: in a child, before `restore_defaults`."""
        signal.set_wakeup_fd(-1)
        os.close(self._read)
        os.close(self._write)


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Hold all signals of the table back, around a fork.

    Until a child has left the pipe it shares with its master, a TERM meant for the child would be read by
    the master as its own.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, TABLE)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# What means nothing to a worker, or not yet: a terminal that closes, a USR1 sent before it can reopen its logs.
_IGNORED_BY_WORKERS = frozenset({signal.SIGHUP, signal.SIGUSR1, signal.SIGTTIN, signal.SIGTTOU})


def restore_defaults() -> None:
    """Take the master's handlers away and let the signals in: for a child, which has left the pipe."""
    for number in TABLE:
        signal.signal(number, signal.SIG_IGN if number in _IGNORED_BY_WORKERS else signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, TABLE)


def _note(number: int, frame: FrameType | None) -> None:
    # Without a Python handler the interpreter would not write to the pipe.
    pass
