import os
import signal

import pytest

from h2gate.master.signals import TABLE, Order, SignalPipe, held_back, restore_defaults
from tests.support.forked import in_child


@pytest.fixture
def pipe():
    pipe = SignalPipe()
    yield pipe
    pipe.close()


def test_every_signal_of_the_table_becomes_its_order_in_the_order_of_arrival(pipe):
    for number in TABLE:
        os.kill(os.getpid(), number)
    assert pipe.orders() == list(TABLE.values())
    assert pipe.orders() == []


def test_term_drains_and_int_and_quit_do_not():
    assert TABLE[signal.SIGTERM] is Order.DRAIN
    assert TABLE[signal.SIGINT] is TABLE[signal.SIGQUIT] is Order.QUIT


def test_a_signal_that_is_held_back_arrives_afterwards(pipe):
    with held_back():
        os.kill(os.getpid(), signal.SIGHUP)
        assert pipe.orders() == []
    assert pipe.orders() == [Order.RELOAD]


def test_close_puts_back_what_was_there():
    before = signal.getsignal(signal.SIGTERM)
    SignalPipe().close()
    assert signal.getsignal(signal.SIGTERM) is before
    assert signal.set_wakeup_fd(-1) == -1


def child_ends(number) -> int:
    """Return the wait status of a child that was forked as a worker is, and got `number` at once."""

    def child():
        os.kill(os.getpid(), number)  # held back still
        signal.set_wakeup_fd(-1)
        restore_defaults()

    with held_back():
        return in_child(child)


def test_a_term_between_fork_and_first_breath_ends_the_child_and_not_the_master(pipe):
    assert os.waitstatus_to_exitcode(child_ends(signal.SIGTERM)) == -signal.SIGTERM
    assert set(pipe.orders()) <= {Order.REAP}


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1, signal.SIGTTIN, signal.SIGTTOU])
def test_what_means_nothing_to_a_worker_does_not_end_it(pipe, number):
    assert child_ends(number) == 0


def test_no_signal_is_blocked_in_a_child(pipe):
    def child():
        signal.set_wakeup_fd(-1)
        restore_defaults()
        return not signal.pthread_sigmask(signal.SIG_BLOCK, ()) & set(TABLE)

    with held_back():
        assert in_child(child) == 0
