"""The flush queue: everybody once per round, whoever is marked meanwhile too, and one that raises alone pays."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from h2gate.net.flush import FlushQueue
from h2gate.net.reactor import Reactor
from h2gate.net.transport import Transport
from tests.net.support import Owner, connect


class Connection:
    def __init__(self, transport: Transport | None = None, action: Callable[[], None] | None = None) -> None:
        self.is_marked = False
        self.flushed = 0
        self.action = action
        self._transport = transport

    @property
    def transport(self) -> Transport:
        assert self._transport is not None
        return self._transport

    def flush(self) -> None:
        self.flushed += 1
        if self.action is not None:
            self.action()


def test_a_connection_marked_twice_is_flushed_once() -> None:
    queue, connection = FlushQueue(), Connection()
    queue.mark(connection)
    queue.mark(connection)
    queue.run()
    queue.run()
    assert connection.flushed == 1


def test_what_a_flush_marks_is_flushed_in_the_same_run() -> None:
    queue, second = FlushQueue(), Connection()
    first = Connection(action=lambda: queue.mark(second))
    queue.mark(first)
    queue.run()
    assert second.flushed == 1
    assert len(queue) == 0


def test_a_run_within_a_flush_leaves_the_rest_to_the_run_under_way() -> None:
    queue, order = FlushQueue(), list[str]()
    second = Connection(action=lambda: order.append("second"))

    def run_again() -> None:
        queue.mark(second)
        queue.run()
        order.append("first")

    queue.mark(Connection(action=run_again))
    queue.run()
    assert order == ["first", "second"]


def test_a_flush_that_raises_costs_its_connection_and_no_other(
    reactor: Reactor, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> None:
        raise RuntimeError("out of order")

    queue = FlushQueue()
    transport, owner, peer = connect(reactor)
    before, after = Connection(), Connection()
    for connection in (before, Connection(transport, broken), after):
        queue.mark(connection)
    with caplog.at_level(logging.ERROR, "h2gate"):
        queue.run()
    assert (before.flushed, after.flushed) == (1, 1)
    assert owner.ends == ["internal error"]
    assert transport.is_closed
    assert len(caplog.records) == 1
    with pytest.raises(ConnectionResetError):
        peer.recv(1)
    peer.close()


def test_the_queue_runs_again_after_something_worse_than_an_error() -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    queue, second = FlushQueue(), Connection()
    queue.mark(Connection(action=stop))
    queue.mark(second)
    with pytest.raises(KeyboardInterrupt):
        queue.run()
    queue.run()
    assert second.flushed == 1


def test_an_owner_is_told_of_a_failed_flush_while_the_queue_runs(reactor: Reactor) -> None:
    queue, other = FlushQueue(), Connection()
    transport, _, peer = connect(reactor)

    class Marking(Owner):
        def on_end(self, error: str) -> None:
            queue.mark(other)
            queue.run()

    transport.change_owner(Marking())

    def broken() -> None:
        raise RuntimeError("out of order")

    queue.mark(Connection(transport, broken))
    queue.run()
    assert other.flushed == 1
    peer.close()
