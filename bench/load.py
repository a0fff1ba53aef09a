"""What makes the load, and how to read what it says: h2load, and wrk for HTTP/1.1.

HAProxy answers HTTP/1.1 clients of HTTP/2 backends with an empty reason phrase, which h2load's parser refuses. wrk
takes it, so the whole HTTP/1.1 row is measured with wrk, where it is installed.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.rows import Row

# The same suite for every gate, whichever it would prefer.
TLS_CIPHER = "TLS_AES_128_GCM_SHA256"
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


@dataclass(frozen=True)
class Load:
    """What a run of the load generator did. Latencies are seconds, None where it does not tell them."""

    requests: int
    failed: int
    seconds: float
    p50: float | None = None
    p99: float | None = None

    @property
    def rate(self) -> float:
        return self.requests / self.seconds if self.seconds else 0.0


def uses_wrk(row: Row) -> bool:
    return row.protocol == "http/1.1" and shutil.which("wrk") is not None


def generator(row: Row) -> str:
    return "wrk" if uses_wrk(row) else "h2load"


def command(
    row: Row, url: str, seconds: float, *, requests: int = 0, log: Path | None = None, rps: int = 0
) -> list[str]:
    """Return the command for one run: `requests` of them, or what can be done in `seconds`.

    A number is better for h2load: a run that ends by time leaves streams half done, which cost and do not count. wrk
    has no such option; it leaves 32 requests of many thousands.
    """
    if uses_wrk(row):
        # wrk takes whole seconds.
        return ["wrk", "-t1", f"-c{row.clients}", f"-d{max(1, round(seconds))}s", "--latency", url]
    argv = ["h2load", f"-c{row.clients}", f"-m{row.streams}"]
    argv += [f"-n{requests}"] if requests else [f"-D{max(1, round(seconds))}"]
    if row.protocol == "http/1.1":
        argv.append("--h1")
    if row.tls:
        argv.append(f"--tls13-ciphers={TLS_CIPHER}")
    if rps:
        argv.append(f"--rps={rps}")
    if log:
        argv.append(f"--log-file={log}")
    return [*argv, url]


def parse(row: Row, output: str, requests: int = 0) -> Load:
    return parse_wrk(output) if uses_wrk(row) else parse_h2load(output, requests)


def parse_h2load(output: str, requests: int = 0) -> Load:
    """Read h2load's summary; `requests` is the number that was asked for, 0 for a run by time.

    Raises ValueError where there is none.
    """
    counts = re.search(r"requests: \d+ total, \d+ started, (\d+) done, \d+ succeeded", output)
    codes = re.search(r"status codes: (\d+) 2xx", output)
    finish = re.search(r"finished in ([\d.]+)(us|ms|s|m)\b", output)
    if not (counts and codes and finish):
        raise ValueError(f"h2load said: {output.strip()[-200:]!r}")
    done, good = int(counts[1]), int(codes[1])
    return Load(good, max(requests or done, done) - good, float(finish[1]) * _UNITS[finish[2]])


def parse_wrk(output: str) -> Load:
    """Read wrk's summary, with `--latency`. Raises ValueError where there is none."""
    counts = re.search(r"(\d+) requests in ([\d.]+)(us|ms|s|m)\b", output)
    if not counts:
        raise ValueError(f"wrk said: {output.strip()[-200:]!r}")
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", output)
    refused = int(bad[1]) if bad else 0
    failed = refused + (sum(map(int, broken.groups())) if broken else 0)
    return Load(
        int(counts[1]) - refused,
        failed,
        float(counts[2]) * _UNITS[counts[3]],
        _wrk_percentile(output, 50),
        _wrk_percentile(output, 99),
    )


def _wrk_percentile(output: str, percent: int) -> float | None:
    found = re.search(rf"^\s*{percent}%\s+([\d.]+)(us|ms|s|m)\s*$", output, re.MULTILINE)
    return float(found[1]) * _UNITS[found[2]] if found else None


def latencies(log: str) -> list[float]:
    """Read h2load's --log-file (start, status, microseconds): the seconds of what was answered with 2xx."""
    seconds = []
    for line in log.splitlines():
        columns = line.split("\t")
        # The last line of a run by time may be cut off.
        if len(columns) >= 3 and columns[1].startswith("2") and columns[2].isdigit():
            seconds.append(int(columns[2]) * 1e-6)
    return seconds


def percentile(values: Sequence[float], share: float) -> float | None:
    """Return the smallest value that at least `share` of the values do not exceed (nearest rank)."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * round(share * 1000) // 1000) - 1)]
