"""Whether an earlier route takes all requests of a later one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from h2gate.config.model import Match
from h2gate.config.reach import covers, is_below


@pytest.mark.parametrize(
    ("earlier", "later", "is_covered"),
    [
        ({}, {}, True),
        ({}, {"host": "a", "methods": ("GET",), "path": "exact:/x"}, True),
        ({"host": "a"}, {}, False),
        ({"host": "a"}, {"host": "A"}, True),
        ({"host": "a"}, {"host": "b"}, False),
        ({"host": "*.b"}, {"host": "a.b"}, True),
        ({"host": "*.b"}, {"host": "*.a.b"}, True),
        ({"host": "*.b"}, {"host": "*.b"}, True),
        ({"host": "*.b"}, {"host": "b"}, False),
        ({"host": "*.a.b"}, {"host": "*.b"}, False),
        ({"methods": ("GET",)}, {}, False),
        ({"methods": ("GET", "HEAD")}, {"methods": ("HEAD",)}, True),
        ({"methods": ("GET",)}, {"methods": ("GET", "HEAD")}, False),
        ({"path": "/a"}, {"path": "/a/"}, True),
        ({"path": "/a/"}, {"path": "/a"}, False),
        ({"path": "/a"}, {"path": "/ab"}, False),
        ({"path": "/a"}, {"path": "exact:/a"}, True),
        ({"path": "exact:/a"}, {"path": "/a"}, False),
        ({"path": "exact:/a"}, {"path": "exact:/a"}, True),
        ({"path": "exact:/a"}, {"path": "exact:/a/b"}, False),
        ({"path": "/"}, {"path": "regex:^/x"}, True),
        ({"path": "/"}, {"path": "regex:^[*]$"}, False),
        ({"path": "/x"}, {"path": "regex:^/x"}, False),
        ({"path": "exact:/"}, {"path": "regex:^/x"}, False),
        ({"path": "regex:^/x"}, {"path": "regex:^/x"}, True),
        ({"path": "regex:^/x"}, {"path": "exact:/xy"}, True),
        ({"path": "regex:^/x"}, {"path": "exact:/y"}, False),
        ({"path": "regex:^/x"}, {"path": "/x"}, False),
        ({}, {"headers": {"x-a": "1"}, "query": {"v": "2"}}, True),
        ({"headers": {"x-a": "1"}}, {}, False),
        ({"headers": {"x-a": "1"}}, {"headers": {"x-a": "2"}}, False),
        ({"headers": {"x-a": "regex:."}}, {"headers": {"x-a": "1", "x-b": "1"}}, True),
        ({"query": {"v": "1"}}, {"headers": {"v": "1"}}, False),
        ({"query": {"v": "1"}}, {"query": {"v": "1", "w": "1"}}, True),
    ],
)
def test_a_match_covers_another_only_where_it_is_certain(earlier, later, is_covered):
    assert covers(Match(**earlier), Match(**later)) is is_covered


SEGMENTS = st.lists(st.sampled_from(["a", "b", "ab"]), max_size=3).map("/".join).map(lambda path: f"/{path}")
PATHS = st.builds(lambda path, end: path if path.endswith("/") else path + end, SEGMENTS, st.sampled_from(["", "/"]))


@given(PATHS, PATHS, PATHS)
def test_what_is_below_a_covered_prefix_is_below_the_prefix_that_covers_it(earlier, later, path):
    if covers(Match(path=earlier), Match(path=later)) and is_below(later, path):
        assert is_below(earlier, path)
