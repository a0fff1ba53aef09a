"""The one form of a path."""

from __future__ import annotations

import re
from urllib.parse import urljoin

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from h2gate.proxy.path import BadPath, normalize

NORMAL = {
    "root": b"/",
    "segments": b"/a/b/c",
    "slash at the end": b"/a/",
    "dots within names": b"/.well-known/a.b/..c/d../...",
    "one dot more than two": b"/...",
    "dots and parameters within names": b"/a;b/c.;d/.e;f",
    "characters that clients send unescaped": b"/!\"$&'()*+,-:;<=>@[]^_`{|}~",
    "an escape in upper case": b"/a%20b%C3%A4",
    "an escaped percent sign": b"/%2541",
    "an escaped reserved character": b"/%3Fa%23b%3B",
}


@pytest.mark.parametrize("path", NORMAL.values(), ids=NORMAL)
def test_a_normal_path_stays(path: bytes) -> None:
    assert normalize(path) == (path, b"")


CHANGED = {
    # dot segments: the examples of RFC 3986, 5.2.4 and 5.4 first
    "rfc, first example": (b"/a/b/c/./../../g", b"/a/g"),
    "rfc, dot at the end": (b"/b/c/.", b"/b/c/"),
    "rfc, two dots at the end": (b"/b/c/..", b"/b/"),
    "rfc, two dots and a slash at the end": (b"/b/c/../", b"/b/"),
    "rfc, above the root": (b"/b/c/../../../g", b"/g"),
    "rfc, a dot first": (b"/./g", b"/g"),
    "rfc, two dots first": (b"/../g", b"/g"),
    "only a dot": (b"/.", b"/"),
    "only two dots": (b"/..", b"/"),
    "far above the root": (b"/../../../../etc/passwd", b"/etc/passwd"),
    "above the root and down again": (b"/a/../../b/..", b"/"),
    "escaped dots": (b"/a/%2e%2E/b", b"/b"),
    "a dot and an escaped one": (b"/a/.%2e/b", b"/b"),
    "an escaped dot alone": (b"/a/%2e/b", b"/a/b"),
    "an escaped dot at the end": (b"/a/%2e", b"/a/"),
    # slashes
    "two slashes": (b"/a//b", b"/a/b"),
    "slashes first": (b"///a", b"/a"),
    "slashes last": (b"/a//", b"/a/"),
    "only slashes": (b"//", b"/"),
    "slashes before two dots": (b"/a//../b", b"/b"),
    "slashes made by dots": (b"/a/.//b", b"/a/b"),
    "what looks like an authority": (b"//evil.example/a", b"/evil.example/a"),
    # escapes
    "escaped letters": (b"/%61%5A%30%2d%5F%7e", b"/aZ0-_~"),
    "lower-case escapes": (b"/%c3%a4%3a", b"/%C3%A4%3A"),
    "escaped twice, and a dot": (b"/a/./%252e%252e/b", b"/a/%252e%252e/b"),
    "an escaped name of dots": (b"/%2e%2e%2e/a", b"/.../a"),
}


@pytest.mark.parametrize(("path", "expected"), CHANGED.values(), ids=CHANGED)
def test_a_path_takes_its_normal_form(path: bytes, expected: bytes) -> None:
    assert normalize(path) == (expected, b"")
    assert normalize(expected) == (expected, b"")


BAD = {
    "escaped slash": (b"/a%2fb", "slash"),
    "escaped slash in upper case": (b"/a%2Fb", "slash"),
    "escaped slash before dots": (b"/a/..%2f..%2fb", "slash"),
    "escaped NUL": (b"/a%00", "NUL"),
    "escaped backslash": (b"/a%5c..%5Cb", "backslash"),
    "backslash": (b"/a\\..\\b", "backslash"),
    "percent at the end": (b"/a%", "hex digits"),
    "one digit": (b"/a%2", "hex digits"),
    "one digit and a slash": (b"/a%2/b", "hex digits"),
    "no hex digit": (b"/a%2g", "hex digits"),
    "digits of unicode.org": (b"/%u002e", "hex digits"),
    "percent of a percent": (b"/%%32%65", "hex digits"),
    "two dots with parameters": (b"/a/..;/b", "parameters"),
    "two dots with a name": (b"/a/..;x=y/b", "parameters"),
    "a dot with parameters": (b"/.;/b", "parameters"),
    "escaped dots with parameters": (b"/%2e%2e;/b", "parameters"),
    "fragment": (b"/a#b", "octet"),
    "space": (b"/a b", "octet"),
    "line feed": (b"/a\n", "octet"),
    "high octet": (b"/\xe4", "octet"),
    "empty": (b"", "slash"),
    "relative": (b"a/b", "slash"),
    "query alone": (b"?a", "slash"),
    "asterisk and more": (b"*a", "slash"),
    "asterisk with a query": (b"*?a", "slash"),
    "absolute form": (b"http://a/", "slash"),
}


@pytest.mark.parametrize(("path", "word"), BAD.values(), ids=BAD)
def test_a_path_with_two_meanings_is_refused_with_its_reason(path: bytes, word: str) -> None:
    with pytest.raises(BadPath, match=word):
        normalize(path)


def test_the_asterisk_stays() -> None:
    assert normalize(b"*") == (b"*", b"")


@pytest.mark.parametrize("query", [b"?", b"?a=b", b"?a?b", b"?%2f%00%zz", b"?/../..//", b"?\\", b"?a=http://b/../c"])
@pytest.mark.parametrize(("path", "expected"), [(b"/a/b", b"/a/b"), (b"/a/../b", b"/b")])
def test_the_query_goes_through_untouched(path: bytes, expected: bytes, query: bytes) -> None:
    assert normalize(path + query) == (expected, query)


ESCAPES = [b"%2e", b"%2E", b"%41", b"%3a", b"%25", b"%2", b"%"]
PIECES = st.sampled_from([*ESCAPES, b"/", b"//", b".", b"..", b";", b"a", b"5", b"\\", b"?", b"#"]) | st.binary(
    max_size=3
)
TARGETS = st.lists(PIECES, max_size=12).map(lambda pieces: b"/" + b"".join(pieces))


def normal_or_none(target: bytes) -> tuple[bytes, bytes] | None:
    try:
        return normalize(target)
    except BadPath:
        return None


@given(target=TARGETS)
def test_a_normal_path_is_within_the_root_and_normal(target: bytes) -> None:
    result = normal_or_none(target)
    assume(result is not None)
    assert result is not None
    path, query = result
    assert path.startswith(b"/")
    segments = path.split(b"/")[1:]
    assert b"" not in segments[:-1]
    assert not {b".", b".."} & set(segments)
    assert re.fullmatch(rb"(?:[!-$&-~]|%[0-9A-F]{2})+", path)
    assert not re.search(rb"[\\#?]|%(?:2F|5C|00|2E|41)|/\.\.?;", path)
    assert query == target.partition(b"?")[1] + target.partition(b"?")[2]
    assert normalize(path + query) == (path, query)


@given(parts=st.lists(st.sampled_from([b"a", b"bc", b".", b".."]), max_size=8), ends_with_slash=st.booleans())
def test_dot_segments_are_resolved_as_the_rfc_does(parts: list[bytes], ends_with_slash: bool) -> None:
    target = b"/" + b"/".join(parts) + (b"/" if ends_with_slash and parts else b"")
    expected = urljoin("http://h/", target.decode()).removeprefix("http://h")
    assert normalize(target)[0].decode() == expected
