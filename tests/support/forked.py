"""Run a few lines in a child of the test itself."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable


def in_child(lines: Callable[[], object]) -> int:
    """Return the wait status of a fork that runs `lines`; it ends with 0 if they return something true or None."""
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            answer = lines()
            code = 0 if answer is None or answer else 1
        except BaseException:
            # Whatever it is must not get into the copy of the test runner.
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitpid(pid, 0)[1]
