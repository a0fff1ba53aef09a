#!/usr/bin/env bash
# Run the fuzzer with the native engines under AddressSanitizer and UndefinedBehaviorSanitizer, then look for leaks.
#
#   tests/fuzz/sanitized.sh [arguments of python -m tests.fuzz]
#
# They are built in a copy, so that the tree keeps its own build. Python's objects come from malloc: the sanitizer sees
# nothing inside of Python's own arenas. Python leaves much behind when it ends; a leak of ours is one whose stack has the
# engines' code in it, but for what they made when they were imported. One is made on purpose.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
python=${PYTHON:-$here/.venv/bin/python}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

cp -r "$here"/{h2gate,tests,setup.py,pyproject.toml,README.md,LICENSE} "$scratch"
cd "$scratch"
rm -f h2gate/protocol/*.so
sanitize="-fsanitize=address,undefined"
H2GATE_NATIVE=require CFLAGS="$sanitize -fno-sanitize-recover=undefined -fno-omit-frame-pointer -g -O1" LDFLAGS=$sanitize \
    "$python" setup.py --quiet build_ext --inplace

# The libraries of the sanitizers must be there before Python.
preload="$(gcc -print-file-name=libasan.so):$(gcc -print-file-name=libubsan.so)"
export PYTHONMALLOC=malloc PYTHONPATH=$scratch UBSAN_OPTIONS=print_stacktrace=1

[ $# -gt 0 ] || set -- --cases 100000
ASAN_OPTIONS=detect_leaks=0 LD_PRELOAD=$preload "$python" -m tests.fuzz --alone "$@"

# Stacks through Python, which has no frame pointers, are slow to have: a few cases must do.
ASAN_OPTIONS=detect_leaks=1:exitcode=0:fast_unwind_on_malloc=0:malloc_context_size=12 LD_PRELOAD=$preload \
    "$python" -m tests.fuzz.leaks 2>leaks.txt
"$python" - leaks.txt <<'END'
import sys

text = open(sys.argv[1]).read()
leaks = [part for part in text.split("\n\n") if "leak of" in part and "_native" in part and "pymod_exec" not in part]
if "leak of 7777 byte(s)" not in text:
    sys.exit("what is leaked on purpose was not found:\n" + text[-2_000:])
if leaks:
    sys.exit("\n\n".join([f"{len(leaks)} leaks", *leaks[:10]]))
print("no leaks")
END
