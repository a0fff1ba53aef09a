"""Whether a route can be reached at all: does an earlier one take every request that it would?

Pure set questions on patterns. The rule: `covers` says yes only where it is sure; a doubt is a no.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from h2gate.config.model import Match
from h2gate.config.patterns import HostPattern, PathPattern
from h2gate.config.values import ValuePattern


def covers(earlier: Match, later: Match) -> bool:
    """Tell whether every request that `later` matches is matched by `earlier`."""
    return (
        _covers_hosts(earlier.host, later.host)
        and _covers_methods(earlier.methods, later.methods)
        and _covers_paths(earlier.path, later.path)
        and _covers_values(earlier.headers, later.headers)
        and _covers_values(earlier.query, later.query)
    )


def _covers_hosts(earlier: HostPattern | None, later: HostPattern | None) -> bool:
    if earlier is None or earlier == later:
        return True
    # A name below *.b.example is below *.example too.
    return later is not None and earlier.is_wildcard and earlier.matches(later.name)


def _covers_methods(earlier: Sequence[str] | None, later: Sequence[str] | None) -> bool:
    return earlier is None or (later is not None and set(later) <= set(earlier))


def _covers_paths(earlier: PathPattern, later: PathPattern) -> bool:
    if earlier == later:
        return True
    if later.regex is not None:
        # All paths begin with a slash but one: that of `OPTIONS *` (RFC 9112, 3.2.4).
        return earlier.kind == "prefix" and earlier.text == "/" and later.regex.search(b"*") is None
    if earlier.regex is not None:
        return later.kind == "exact" and earlier.regex.search(later.text.encode("ascii")) is not None
    return earlier.kind == "prefix" and is_below(earlier.text, later.text)


def _covers_values(earlier: Mapping[str, ValuePattern], later: Mapping[str, ValuePattern]) -> bool:
    return all(name in later and pattern.covers(later[name]) for name, pattern in earlier.items())


def is_below(prefix: str, path: str) -> bool:
    """Tell whether `path` begins with the whole segments of `prefix`."""
    return path == prefix or path.startswith(prefix if prefix.endswith("/") else prefix + "/")
