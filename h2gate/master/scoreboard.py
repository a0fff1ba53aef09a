"""The scoreboard: shared memory, one row per worker process.

Owns an anonymous mapping made before the first fork. The rule: a field has one writer (the worker, once it
runs) and is one aligned 64-bit word, so that a store is never seen half done and nobody needs a lock.

A row belongs to a process and not to a slot number: while two generations overlap, both have a worker 1.
"""

from __future__ import annotations

import mmap
import time
from dataclasses import dataclass
from enum import IntEnum

# 4096 rows are four overlapping generations of 1024 workers, the most a config can ask for. 256 KiB of address
# space; the kernel provides only the pages that are touched.
ROWS = 4096

# One row is a cache line: workers do not slow each other down by counting.
_WORDS_PER_ROW = 8
_WORD_BYTES = 8
# How many free rows in a row (a generation that has left) end the look for others of a generation. To miss some costs
# no more than an even spread of connections.
_WIDEST_HOLE = 64
_PID, _GENERATION, _PHASE, _BEAT_NS, _CONNECTIONS, _ACTIVE, _REQUESTS = range(7)


class Phase(IntEnum):
    """What a worker says of itself."""

    BOOTING = 0
    SERVING = 1
    DRAINING = 2


@dataclass(frozen=True, slots=True)
class Standing:
    """A row as read at one moment. `beat` is a time of `time.monotonic()`, in seconds."""

    pid: int
    generation: int
    phase: Phase
    beat: float
    connections: int
    active: int
    requests: int


class Seat:
    """One row: the worker writes it as a `handover.Row`, the master reads it."""

    __slots__ = ("_first", "_others", "_words", "index")

    def __init__(self, words: memoryview, index: int) -> None:
        self.index = index
        self._words = words
        self._first = index * _WORDS_PER_ROW
        # Where the rows of the generation's other workers begin, as of the last beat.
        self._others: list[int] = []

    # written by the worker

    def beat(self) -> None:
        self._words[self._first + _BEAT_NS] = time.monotonic_ns()
        self._others = self._find_others()

    def serving(self) -> None:
        self.beat()
        self._words[self._first + _PHASE] = Phase.SERVING

    def draining(self) -> None:
        self._words[self._first + _PHASE] = Phase.DRAINING

    def count(self, active: int, requests: int) -> None:
        words, first = self._words, self._first
        words[first + _ACTIVE] = active
        words[first + _REQUESTS] = requests

    def connected(self, connections: int) -> None:
        self._words[self._first + _CONNECTIONS] = connections

    def is_ahead(self) -> bool:
        words, own = self._words, self._words[self._first + _CONNECTIONS]
        return any(
            words[other + _CONNECTIONS] < own and words[other + _PHASE] == Phase.SERVING for other in self._others
        )

    def _find_others(self) -> list[int]:
        """Look through the rows that are in use: they are taken from the first on, and freed ones are taken again."""
        words, generation = self._words, self._words[self._first + _GENERATION]
        others: list[int] = []
        free = 0
        for first in range(0, len(words), _WORDS_PER_ROW):
            if words[first + _PID] == 0:
                free += 1
                if free > _WIDEST_HOLE:
                    break
                continue
            free = 0
            if words[first + _GENERATION] == generation and first != self._first:
                others.append(first)
        return others

    # written by the master, before the worker runs

    def occupy(self, generation: int) -> None:
        """Take the row, a clear one, for a new worker, whose first beat is its birth."""
        self._words[self._first + _GENERATION] = generation
        self.beat()

    def clear(self) -> None:
        for word in range(_WORDS_PER_ROW):
            self._words[self._first + word] = 0

    def name(self, pid: int) -> None:
        self._words[self._first + _PID] = pid

    # read by the master

    def read(self) -> Standing:
        row = self._words[self._first : self._first + _WORDS_PER_ROW].tolist()
        return Standing(
            pid=row[_PID],
            generation=row[_GENERATION],
            phase=Phase(row[_PHASE]),
            beat=row[_BEAT_NS] / 1e9,
            connections=row[_CONNECTIONS],
            active=row[_ACTIVE],
            requests=row[_REQUESTS],
        )


class Scoreboard:
    """All rows, and which of them are taken. Only the master takes and frees them."""

    def __init__(self, rows: int = ROWS) -> None:
        self._memory = mmap.mmap(-1, rows * _WORDS_PER_ROW * _WORD_BYTES)
        self._words = memoryview(self._memory).cast("q")
        self._rows = rows
        self._taken: set[int] = set()

    def take(self, generation: int) -> Seat | None:
        """Return a cleared row, or None where every one is taken."""
        index = next((i for i in range(self._rows) if i not in self._taken), None)
        if index is None:
            return None
        self._taken.add(index)
        seat = Seat(self._words, index)
        seat.occupy(generation)
        return seat

    def free(self, seat: Seat) -> None:
        """Give a row back, once its worker has been reaped: no late store can reach the next one."""
        self._taken.remove(seat.index)
        seat.clear()

    def close(self) -> None:
        self._words.release()
        self._memory.close()
