"""How a worker ended, in the words an operator greps for. Pure."""

from __future__ import annotations

import os
import signal


def describe(status: int, killed_by_us: bool = False) -> str:
    """Return what a wait status means, as `was killed by SIGKILL; out of memory?`."""
    code = os.waitstatus_to_exitcode(status)
    if code == 0:
        return "exited"
    if code > 0:
        return f"exited with code {code}"
    text = f"was killed by {signal_name(-code)}"
    # SIGKILL from nobody knows where is most often the kernel's, for want of memory.
    if -code == signal.SIGKILL and not killed_by_us:
        text += "; out of memory?"
    if os.WCOREDUMP(status):
        text += " (core dumped)"
    return text


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
