"""What the load generators say, read."""

from __future__ import annotations

import pytest

from bench import load
from bench.rows import BY_KEY

H2LOAD = """\
starting benchmark...
finished in 2.05s, 48780.49 req/s, 54.31MB/s
requests: 100000 total, 100000 started, 100000 done, {good} succeeded, {bad} failed, 0 errored, 0 timeout
status codes: {good} 2xx, 0 3xx, 0 4xx, {bad} 5xx
traffic: 111.33MB (116739640) total, 2.67MB (2800820) headers (space savings 77.42%), 97.66MB (102400000) data
"""
WRK = """\
Running 3s test @ http://127.0.0.1:20000/1024.bin
  1 threads and 32 connections
  Latency Distribution
     50%  686.00us
     75%    1.24ms
     90%    2.18ms
     99%    7.22ms
  83085 requests in 3.00s, 97.30MB read
{trouble}Requests/sec:  27695.00
"""


def test_h2loads_summary_gives_requests_failures_and_seconds() -> None:
    assert load.parse_h2load(H2LOAD.format(good=99_990, bad=10)) == load.Load(99_990, 10, 2.05)


def test_what_h2load_was_asked_for_and_did_not_do_has_failed() -> None:
    cut_short = H2LOAD.format(good=100_000, bad=0)

    assert load.parse_h2load(cut_short, requests=100_500).failed == 500


@pytest.mark.parametrize(("written", "seconds"), [("803.12ms", 0.80312), ("1.50m", 90.0), ("950us", 0.00095)])
def test_h2loads_units_of_time_are_read(written: str, seconds: float) -> None:
    output = H2LOAD.format(good=100_000, bad=0).replace("2.05s", written)

    assert load.parse_h2load(output).seconds == pytest.approx(seconds)


def test_an_h2load_that_could_not_run_is_no_result() -> None:
    with pytest.raises(ValueError, match="Could not connect"):
        load.parse_h2load("Could not connect to host")


def test_wrks_summary_gives_requests_seconds_and_percentiles() -> None:
    done = load.parse_wrk(WRK.format(trouble=""))

    assert (done.requests, done.failed, done.seconds) == (83_085, 0, 3.0)
    assert (done.p50, done.p99) == (pytest.approx(686e-6), pytest.approx(7.22e-3))


def test_wrks_broken_sockets_and_other_answers_are_failures() -> None:
    trouble = "  Socket errors: connect 0, read 3, write 1, timeout 2\n  Non-2xx or 3xx responses: 85\n"

    done = load.parse_wrk(WRK.format(trouble=trouble))

    assert (done.requests, done.failed) == (83_000, 91)


def test_a_log_of_h2load_gives_the_latencies_of_good_answers() -> None:
    log = "1700000001\t200\t412\n1700000002\t503\t90\n1700000003\t-1\t7\n1700000004\t200\t1500\n17"

    assert load.latencies(log) == pytest.approx([412e-6, 1500e-6])


@pytest.mark.parametrize(("share", "value"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.001, 1)])
def test_a_percentile_is_the_value_that_so_many_do_not_exceed(share: float, value: int) -> None:
    assert load.percentile(list(range(100, 0, -1)), share) == value


def test_no_values_have_no_percentile() -> None:
    assert load.percentile([], 0.99) is None


def test_a_run_by_number_tells_h2load_the_number_and_one_by_time_the_seconds() -> None:
    row = BY_KEY["tls-10x9"]

    by_number = load.command(row, "https://127.0.0.1:1/", 3, requests=900)
    by_time = load.command(row, "https://127.0.0.1:1/", 3)

    assert "-n900" in by_number
    assert not any(part.startswith("-D") for part in by_number)
    assert "-D3" in by_time
    # All gates encrypt alike.
    assert f"--tls13-ciphers={load.TLS_CIPHER}" in by_time
