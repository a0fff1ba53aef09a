"""Some cases of each kind in this very process, for a tool that looks for leaks when it ends.

It leaks `CANARY` bytes itself, so that a tool that finds nothing is told from one that does not work.
"""

from __future__ import annotations

import ctypes
import sys
from random import Random

from tests.fuzz import http1, http2
from tests.fuzz.__main__ import corpus_of

CANARY = 7_777


def main(cases: int) -> None:
    for name, module in (("http1", http1), ("http2", http2)):
        corpus = corpus_of(name)
        for seed in range(cases):
            module.one_case(Random(seed), corpus)
    ctypes.CDLL(None).malloc(CANARY)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 300)
