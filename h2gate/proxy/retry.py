"""May a request be sent again, and when? Pure decisions: the exchange does what they say.

The rule (architecture, section 7): a request is sent again only where the failure proves that the backend did not
process it, or where processing it twice cannot matter, and never once the client has seen any of an answer.
"""

from __future__ import annotations

import random as _random
import time
from collections.abc import Callable
from typing import NamedTuple

from h2gate.config.model import Retries
from h2gate.errors import Again, Failure

IDEMPOTENT = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"})
"""RFC 9110, 9.2.2: the safe methods, PUT and DELETE. No other method is known to be."""

GOAWAY_LIMIT = 100
"""How often GOAWAY may send one request back. Such failures are no tries, but a backend that refuses everything in
this way must not keep the gate dialling for ever. Where 3 of 16 streams are served, one request in 10^9 gets there."""

WINDOW_SECONDS = 10.0
ALWAYS_ALLOWED = 3


class TryFacts(NamedTuple):
    """What the exchange knows of the try that failed.

    `tries`: tries made, the failed one included, but none that GOAWAY sent back. `limit`: how many may follow the
    first. `head_passed`: a final head went to the client. `body_replayable`: the request's body is empty or still whole
    in the replay buffer. `was_reused`: the connection had served before. `was_touched`: something of this stream came
    back. `goaways`: how often GOAWAY has sent the request back before.
    """

    tries: int
    limit: int
    head_passed: bool
    body_replayable: bool
    was_reused: bool
    was_touched: bool
    method: bytes
    goaways: int = 0


def may_retry(failure: Failure, facts: TryFacts) -> bool:
    """Return whether the request may be sent again; the budget is asked after this, by `RetryBudget.take`.

    Interim heads that went to the client forbid nothing: a client takes any number of them before the final one
    (RFC 9110, 15.2), so a second 100 or 103 is harmless. They are `was_touched` all the same: a backend that sent
    one has begun to work, and only its own word (REFUSED_STREAM, GOAWAY) says that it did nothing.
    """
    if facts.head_passed or not facts.body_replayable:
        return False
    again = failure.rule.again
    if again is Again.UNPROCESSED_GOAWAY:
        return facts.goaways < GOAWAY_LIMIT
    if again is Again.NEVER or facts.tries > facts.limit:
        return False
    if again is Again.ALWAYS:
        return True
    return facts.was_reused and not facts.was_touched and facts.method in IDEMPOTENT


def counts(failure: Failure) -> bool:
    """Whether a retry after `failure` is a try and is paid from the budget."""
    return failure.rule.again is not Again.UNPROCESSED_GOAWAY


def backoff(tries: int, config: Retries, random: Callable[[], float] = _random.random) -> float:
    """Return the seconds to wait before the next retry, after `tries` tries, one or more.

    Full jitter: anything from 0 to a ceiling that doubles, so that many requests that failed together do
    not come back together.
    """
    return random() * min(config.backoff_max, config.backoff_min * 2.0 ** (tries - 1))


class RetryBudget:
    """What keeps retries from doubling the load of a backend that is already down: a share of recent requests.

    One per worker. The window is two halves, the elder one fading: no list of times, one clock call per request.
    """

    __slots__ = ("_clock", "_elder_requests", "_elder_retries", "_requests", "_retries", "_since", "share")

    def __init__(self, share: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.share = share
        self._clock = clock
        self._since = clock()
        self._requests = self._retries = 0
        self._elder_requests = self._elder_retries = 0

    def __repr__(self) -> str:
        return f"<RetryBudget {self._retries} retries of {self._requests} requests since {self._since:.0f}>"

    def on_request(self, now: float) -> None:
        """Count a client's request; `now` is the clock's time."""
        if now - self._since >= WINDOW_SECONDS:
            self._roll()
        self._requests += 1

    def take(self) -> bool:
        """Return whether a retry may be made now, and count it if so."""
        age = self._clock() - self._since
        if age >= WINDOW_SECONDS:
            age = self._roll()
        fading = 1.0 - age / WINDOW_SECONDS
        retries = self._retries + self._elder_retries * fading
        requests = self._requests + self._elder_requests * fading
        if retries + 1 > max(float(ALWAYS_ALLOWED), self.share * requests):
            return False
        self._retries += 1
        return True

    def _roll(self) -> float:
        """Begin a new half, and return its age in seconds."""
        age = self._clock() - self._since
        if age < 2 * WINDOW_SECONDS:
            self._elder_requests, self._elder_retries = self._requests, self._retries
            self._since += WINDOW_SECONDS
            age -= WINDOW_SECONDS
        else:
            # Nothing was asked for a whole window: nothing is left of it.
            self._elder_requests = self._elder_retries = 0
            self._since += age
            age = 0.0
        self._requests = self._retries = 0
        return age
