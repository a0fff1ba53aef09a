"""What tests of connections need: a reactor whose clock stands still, an owner that remembers, socket pairs."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterator

import gevent
import pytest
from gevent import socket as gevent_socket
from gevent.event import Event

from h2gate.net.deadlines import Deadlines
from h2gate.net.reactor import Reactor
from h2gate.net.transport import Transport

PATIENCE_SECONDS = 10.0


class Clock:
    """Time that passes only when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Owner:
    """Writes down what a transport says."""

    def __init__(self) -> None:
        self.data = b""
        self.ends: list[str] = []
        self.writable = 0
        self.secured: list[str | None] = []

    def on_bytes(self, data: bytes) -> None:
        self.data += data

    def on_end(self, error: str) -> None:
        self.ends.append(error)

    def on_writable(self) -> None:
        self.writable += 1

    def on_secured(self, alpn: str | None) -> None:
        self.secured.append(alpn)


def run_until(condition: Callable[[], object], patience: float = PATIENCE_SECONDS) -> None:
    """Run the hub until `condition` holds; it is asked after each turn of the loop."""
    if condition():
        return
    done = Event()
    loop = gevent.get_hub().loop
    # Asked before the loop would sleep, and woken from there: by then what happened in the turn is mostly over.
    watcher = loop.prepare()
    watcher.start(lambda: loop.run_callback_threadsafe(done.set) if condition() else None)
    # Callbacks that the loop runs after the question would be seen in its next turn only: this one makes it turn.
    turning = loop.timer(0.002, 0.002)
    turning.start(lambda: None)
    try:
        assert done.wait(patience), "it did not happen"
    finally:
        for each in (watcher, turning):
            each.stop()
            each.close()


def turn(times: int = 3) -> None:
    """Let the hub handle what is there already."""
    for _ in range(times):
        gevent.sleep(0)


def open_descriptors() -> set[str]:
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found.add(f"{name}: {os.readlink(f'/proc/self/fd/{name}')}")
    # The loop's own, which it makes when it first runs.
    return {entry for entry in found if "anon_inode" not in entry and "/proc/" not in entry}


@contextlib.contextmanager
def watched_reactor() -> Iterator[Reactor]:
    """A reactor that must be left as it was: no descriptor, watcher or deadline remains."""
    hub = gevent.get_hub()
    turn()
    descriptors = open_descriptors()
    reactor = Reactor(hub.loop, Deadlines(Clock()))
    active = hub.loop.activecnt
    yield reactor
    turn()
    assert len(reactor.deadlines) == 0
    assert len(reactor.hangups) == 0
    assert reactor.open_transports == 0
    # Fewer are no leak: what an earlier test left to the collector may go meanwhile.
    for _ in range(100):
        if hub.loop.activecnt <= active:
            break
        turn()
    else:
        pytest.fail("a watcher is left")
    reactor.close()
    assert open_descriptors() <= descriptors


def pass_time(reactor: Reactor, seconds: float) -> None:
    """Let time pass by the tenth of a second, as a worker's timer does."""
    clock = reactor.deadlines.clock
    assert isinstance(clock, Clock)
    for _ in range(round(seconds * 10)):
        clock.now += 0.1
        reactor.deadlines.sweep()


def tcp_pair() -> tuple[socket.socket, gevent_socket.socket]:
    """A connection over loopback: our non-blocking end, and the peer's, on which a test may wait."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        peer = gevent_socket.socket()
        peer.connect(server.getsockname())
        ours, _ = server.accept()
    ours.setblocking(False)
    ours.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return ours, peer


def connect(reactor: Reactor) -> tuple[Transport, Owner, gevent_socket.socket]:
    """A started transport, its owner, and the peer."""
    ours, peer = tcp_pair()
    transport, owner = Transport(reactor, ours), Owner()
    transport.start(owner)
    return transport, owner, peer


def read_to_end(peer: gevent_socket.socket) -> bytes:
    """Read until the other side closes; raises ConnectionResetError if it does so by a reset."""
    chunks = []
    while data := peer.recv(65_536):
        chunks.append(data)
    return b"".join(chunks)
