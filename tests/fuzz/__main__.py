"""Compare the makes of the engines for as long as wanted.

    python -m tests.fuzz [http1 | http2 ...] [--cases N | --seconds S] [--seed N] [--jobs N] [--alone]

Each case has a seed of its own, so that one which differs can be had again: `--seed` that number `--cases 1`. Exits
with 1 at the first difference. `--alone` puts the native make in the python one's place: the same cases in half of the
time, for tools that watch its memory.
"""

from __future__ import annotations

import argparse
import importlib
import multiprocessing
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from random import Random

KINDS = ("http1", "http2")
BLOCK = 500
"""Cases between two looks at the clock."""

Case = Callable[[Random, Sequence[bytes], bool], None]


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    for kind in options.kinds or KINDS:
        if not _fuzz(kind, options):
            return 1
    return 0


def corpus_of(kind: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted((Path(__file__).parent / "corpus" / kind).iterdir()) if path.is_file()]


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Compare the makes of the engines.")
    parser.add_argument("kinds", nargs="*", metavar="KIND", help="http1, http2; both if none is named")
    bound = parser.add_mutually_exclusive_group()
    bound.add_argument("--cases", type=int, help="of each kind; 100000 if nothing is said")
    bound.add_argument("--seconds", type=float, help="for each kind")
    parser.add_argument("--seed", type=int, help="of the first case; the time's if nothing is said")
    parser.add_argument("--alone", action="store_true", help="compare the native make with itself")
    parser.add_argument("--jobs", type=int, default=1, help="processes at once")
    options = parser.parse_args(arguments)
    for kind in options.kinds:
        if kind not in KINDS:
            parser.error(f"no such kind: {kind}")
    if options.cases is None and options.seconds is None:
        options.cases = 100_000
    if options.seed is None:
        options.seed = time.time_ns() // 1_000_000 * 1_000_000
    return options


def _fuzz(kind: str, options: argparse.Namespace) -> bool:
    """Run the cases of one kind, shared out among processes. Returns whether all were the same."""
    print(f"{kind}: from seed {options.seed}", flush=True)
    begin = time.monotonic()
    context = multiprocessing.get_context("fork")
    workers: dict[Connection, multiprocessing.process.BaseProcess] = {}
    for job in range(options.jobs):
        ours, theirs = context.Pipe(duplex=False)
        worker = context.Process(target=_work, args=(theirs, kind, job, options), daemon=True)
        worker.start()
        theirs.close()
        workers[ours] = worker
    cases = 0
    shown = begin
    difference = ""
    while workers and not difference:
        for ready in wait(list(workers), timeout=10):
            assert isinstance(ready, Connection)
            try:
                message = ready.recv()
            except EOFError:
                worker = workers.pop(ready)
                worker.join()
                if worker.exitcode:
                    difference = f"a process died: {worker.exitcode}"
                continue
            if isinstance(message, str):
                difference = message
                break
            cases += message
        if time.monotonic() - shown > 10:
            shown = time.monotonic()
            print(f"{kind}: {cases} cases", flush=True)
    for worker in workers.values():
        worker.terminate()
        worker.join()
    seconds = time.monotonic() - begin
    if difference:
        print(f"{kind}: after {cases} cases, {difference}", file=sys.stderr, flush=True)
        return False
    print(f"{kind}: {cases} cases without a difference in {seconds:.0f} s", flush=True)
    return True


def _work(results: Connection, kind: str, job: int, options: argparse.Namespace) -> None:
    """Run every `--jobs`th case; send how many were done, or the difference that ends it."""
    case: Case = importlib.import_module(f"tests.fuzz.{kind}").one_case
    corpus = corpus_of(kind)
    number = job
    until = None if options.seconds is None else time.monotonic() + options.seconds
    while (number < options.cases) if until is None else (time.monotonic() < until):
        done = 0
        while done < BLOCK and (until is not None or number < options.cases):
            try:
                case(Random(options.seed + number), corpus, options.alone)
            except Exception:
                again = f"python -m tests.fuzz {kind} --cases 1 --seed {options.seed + number}"
                results.send(f"a difference: {again}\n{traceback.format_exc()}")
                return
            number += options.jobs
            done += 1
        results.send(done)


if __name__ == "__main__":
    sys.exit(main())
