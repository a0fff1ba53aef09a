"""`python -m tests.soak [--exchanges N] [--engine MAKE] [--seed N]`: one soak, and what was found."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.soak.run import soak
from tests.support.gate import Gate


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--exchanges", type=int, default=1_000_000)
    parser.add_argument("--engine", choices=("native", "python"), default="native")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**9)
    options = parser.parse_args()
    Gate.engine = options.engine
    with tempfile.TemporaryDirectory() as directory:
        found = soak(Path(directory), options.exchanges, options.seed)
    print(f"{options.exchanges} exchanges in {found.seconds:.0f} s on the {options.engine} make, seed {options.seed}")
    for outcome, count in found.outcomes.most_common():
        print(f"{count:10} {outcome}")
    print(f"before: {found.before}\nafter:  {found.after}")
    for name in ("mixed", "twice", "failed"):
        examples = getattr(found, name)
        print(f"{name}: {len(examples)}", *examples[:10], sep="\n  ")
    return 1 if found.mixed or found.twice or found.failed else 0


if __name__ == "__main__":
    sys.exit(main())
