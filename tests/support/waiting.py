"""Wait for a thing that has no event of its own, by asking again."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(what: str, condition: Callable[[], T], timeout: float = 10.0, pause: float = 0.01) -> T:
    """Return the first true result of `condition`. `what` completes "waited in vain until ..."."""
    deadline = time.monotonic() + timeout
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout} s in vain until {what}; the last answer was {result!r}")
        time.sleep(pause)
