"""Host and path patterns."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from h2gate.config.units import HostPattern, PathPattern
from h2gate.config.uri import parse_path
from h2gate.proxy.path import normalize


def refusal(kind, text: str) -> str:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # the text is what the tests compare
        kind.parse(text)
    return str(caught.value)


@pytest.mark.parametrize("text", ["app.example.com", "*.example.com", "[::1]", "192.0.2.7", "_x.example"])
def test_a_host_pattern_is_read_and_written_alike(text):
    assert str(HostPattern.parse(text)) == text


@pytest.mark.parametrize(
    ("pattern", "host", "is_match"),
    [
        ("app.example.com", b"app.example.com", True),
        ("App.Example.com", b"aPP.example.COM.", True),
        ("app.example.com.", b"app.example.com", True),
        ("app.example.com", b"x.app.example.com", False),
        ("app.example.com", b"", False),
        ("*.example.com", b"app.example.com", True),
        ("*.example.com", b"a.b.EXAMPLE.com", True),
        ("*.example.com", b"example.com", False),
        ("*.example.com", b"badexample.com", False),
        ("[0:0::1]", b"[::1]", True),
    ],
)
def test_a_host_matches_without_regard_to_case_and_a_wildcard_all_names_below(pattern, host, is_match):
    assert HostPattern.parse(pattern).matches(host) is is_match


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("*", "leave `host` out for any host"),
        ("a.*.com", "a * may only stand for whole labels in front, as *.example.com"),
        ("*example.com", "a * may only stand for whole labels in front, as *.example.com"),
        ("app:8080", "a host is matched without its port: write app"),
        ("[::1]:8080", "a host is matched without its port: write [::1]"),
        ("::1", "write an IPv6 address in brackets, as [::1]"),
        ("bücher.example", "write the name as it is on the wire, xn--bcher-kva.example"),
        ("ü..example", "write the name as it is on the wire, as xn--bcher-kva.example"),
        ("a/b", "a/b is no host: write a name, an IPv4 address or [an IPv6 address]"),
    ],
)
def test_what_is_no_host_pattern_is_told_what_to_write(text, hint):
    assert refusal(HostPattern, text) == hint


@given(st.text())
def test_any_text_is_a_host_pattern_or_a_value_error(text):
    try:
        pattern = HostPattern.parse(text)
    except ValueError:
        return
    assert HostPattern.parse(str(pattern)) == pattern


@pytest.mark.parametrize(
    ("text", "kind", "path"),
    [
        ("/", "prefix", "/"),
        ("/app/", "prefix", "/app/"),
        ("/a%20b~", "prefix", "/a%20b~"),
        ("/[a|b]", "prefix", "/[a|b]"),
        ("exact:/x", "exact", "/x"),
        ("regex:^/x[0-9]+$", "regex", "^/x[0-9]+$"),
    ],
)
def test_a_path_pattern_is_read_and_written_alike(text, kind, path):
    pattern = PathPattern.parse(text)
    assert (pattern.kind, pattern.text) == (kind, path)
    assert str(pattern) == text
    assert hash(pattern) == hash(PathPattern.parse(text))
    assert (pattern.regex is not None) == (kind == "regex")


def test_a_regex_is_one_of_bytes():
    regex = PathPattern.parse("regex:^/x[0-9]+$").regex
    assert regex is not None
    assert regex.search(b"/x12")
    assert not regex.search(b"/x")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("app", "write a prefix that begins with /, as /app/, or exact:/path, or regex:^/x[0-9]+$"),
        ("exact:x", "a path begins with /"),
        ("/a?b", "write the path alone, without ? and #: the query goes through as it is"),
        ("/a#b", "write the path alone, without ? and #: the query goes through as it is"),
        ("/a b", "' ' cannot stand in a path: write %20"),
        ("/ä", "'ä' cannot stand in a path: write %C3%A4"),
        ("/%", "% is no escape: write % and two digits of 0-9A-F, or %25 for % itself"),
        ("/%c3", "%c3 is no escape: write % and two digits of 0-9A-F, or %25 for % itself"),
        ("/a%2Fb", "no request with %2F in its path is let through"),
        ("/a%5Cb", "no request with %5C in its path is let through"),
        ("/a\\b", "no request with a backslash in its path is let through"),
        ("/a%00b", "no request with %00 in its path is let through"),
        ("/%41", "no path has %41 once it is normalized: write A"),
        ("//a", "no path has //, /./ or /../ once it is normalized: write it without"),
        ("/a/../b", "no path has //, /./ or /../ once it is normalized: write it without"),
        ("/a/.", "no path has //, /./ or /../ once it is normalized: write it without"),
        ("regex:", "write a regular expression behind regex:"),
        ("regex:a(", "bad regular expression: missing ), unterminated subpattern at position 1"),
        ("regex:a{99999999999}", "bad regular expression: the repetition number is too large"),
    ],
)
def test_what_matches_no_normalized_path_is_told_what_to_write(text, hint):
    assert refusal(PathPattern, text) == hint


def test_a_regex_that_python_warns_of_is_refused():
    assert refusal(PathPattern, "regex:[[a]").startswith("bad regular expression: Possible nested set")


@given(st.text(), st.sampled_from(["", "exact:", "regex:", "/"]))
def test_any_text_is_a_path_pattern_or_a_value_error(text, before):
    try:
        pattern = PathPattern.parse(before + text)
    except ValueError:
        return
    assert PathPattern.parse(str(pattern)) == pattern


@given(st.text(st.sampled_from("/ab.%2F5Cc3|[\\;~ä"), max_size=12))
def test_every_path_that_is_taken_is_one_that_requests_have(text):
    """What the router compares is normal already."""
    try:
        path = parse_path("/" + text)
    except ValueError:
        return
    if not re.search(rb"/\.\.?;", path):
        assert normalize(path) == (path, b"")
