from __future__ import annotations

import pytest

from h2gate.config.values import ValuePattern


@pytest.mark.parametrize(
    ("text", "value", "matches"),
    [
        ("beta", b"beta", True),
        ("beta", b"beta2", False),
        ("grün", "grün".encode(), True),
        ("", b"", True),
        ("a:b", b"a:b", True),
        ("regex", b"regex", True),
        ("regex:^beta", b"beta2", True),
        ("regex:^beta", b"abeta", False),
        ("regex:.", b"", False),
    ],
)
def test_a_value_is_compared_as_a_whole_or_searched(text: str, value: bytes, matches: bool) -> None:
    pattern = ValuePattern.parse(text)
    assert pattern.matches(value) == matches
    assert str(pattern) == text
    assert ValuePattern.parse(str(pattern)) == pattern


@pytest.mark.parametrize("text", ["regex:", "regex:(", "regex:*"])
def test_a_bad_expression_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="regular expression"):
        ValuePattern.parse(text)


@pytest.mark.parametrize(
    ("earlier", "later", "covers"),
    [
        ("a", "a", True),
        ("a", "b", False),
        ("regex:^a", "ab", True),
        ("regex:^a", "b", False),
        ("regex:^a", "regex:^a", True),
        ("regex:^a", "regex:^ab", False),
        ("a", "regex:^a$", False),
    ],
)
def test_it_covers_another_only_where_that_is_sure(earlier: str, later: str, covers: bool) -> None:
    assert ValuePattern.parse(earlier).covers(ValuePattern.parse(later)) == covers
