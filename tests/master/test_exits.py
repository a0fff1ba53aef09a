import os
import signal

import pytest

from h2gate.master.exits import describe, signal_name
from tests.support.forked import in_child


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (0, "exited"),
        (3 << 8, "exited with code 3"),
        (signal.SIGTERM, "was killed by SIGTERM"),
        (signal.SIGKILL, "was killed by SIGKILL; out of memory?"),
        (signal.SIGSEGV | 0x80, "was killed by SIGSEGV (core dumped)"),
    ],
)
def test_a_wait_status_is_told_in_words(status, words):
    assert describe(status) == words


def test_a_kill_of_ours_is_no_want_of_memory():
    assert describe(signal.SIGKILL, killed_by_us=True) == "was killed by SIGKILL"


def test_real_ends_are_told_as_well():
    assert describe(in_child(lambda: os._exit(7))) == "exited with code 7"
    assert describe(in_child(lambda: os.kill(os.getpid(), signal.SIGKILL))) == "was killed by SIGKILL; out of memory?"


def test_a_signal_without_a_name_has_its_number():
    assert signal_name(signal.SIGRTMIN + 3) == f"signal {signal.SIGRTMIN + 3}"
