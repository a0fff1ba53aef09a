from __future__ import annotations

from h2gate.net.token_bucket import TokenBucket


def test_so_many_at_once_and_so_many_a_second_after_that() -> None:
    bucket = TokenBucket(3, 2, now=100.0)
    assert [bucket.take(100.0) for _ in range(4)] == [True, True, True, False]
    assert not bucket.refill(100.25)
    assert bucket.take(100.5)
    assert not bucket.take(100.5)
    assert [bucket.take(200.0) for _ in range(4)] == [True, True, True, False]
