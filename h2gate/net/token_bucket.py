"""How often something may happen: so many times at once, and so many times a second after that."""

from __future__ import annotations


class TokenBucket:
    """`burst` tokens, of which `rate` come back each second."""

    __slots__ = ("_at", "_burst", "_left", "_rate")

    def __init__(self, burst: float, rate: float, now: float) -> None:
        self._burst = burst
        self._rate = rate
        self._left = float(burst)
        self._at = now

    def refill(self, now: float) -> bool:
        """Count what has come back; return whether there is a token."""
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        return self._left >= 1

    def take(self, now: float) -> bool:
        """Take a token; return whether there was one."""
        if not self.refill(now):
            return False
        self._left -= 1
        return True
