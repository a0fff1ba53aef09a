"""Whether the native make of the engines is there to be tested.

The rule: CI has it. A test of it that is skipped there would never be missed.
"""

from __future__ import annotations

import os

import pytest

from h2gate.protocol.engines import choose


def need_native() -> None:
    """Skip the test where the native make is missing; in CI (`CI=true`, as most services set) fail it."""
    missing = choose("auto").native_is_missing
    if missing and os.environ.get("CI") == "true":
        pytest.fail(f"CI tests the native engine, which is missing: {missing}")
    if missing:
        pytest.skip(f"the native engine is missing: {missing}; make native")
