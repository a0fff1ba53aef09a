"""What fields may look like."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from h2gate.protocol.events import Fields
from h2gate.protocol.fields import (
    Malformed,
    check_http2_fields,
    clean_trailers,
    is_authority,
    is_lower_name,
    is_method,
    is_path,
    is_scheme,
    is_token,
    is_trimmed,
    is_value,
    list_size,
    parse_content_length,
)


@pytest.mark.parametrize("token", [b"GET", b"x-a", b"!#$%&'*+-.^_`|~09azAZ"])
def test_tokens_and_methods_pass(token: bytes) -> None:
    assert is_token(token)
    assert is_method(token)


@pytest.mark.parametrize("token", [b"", b"a b", b"a:", b"a\0", b"\xc3\xa4", b"a(", b"a\n"])
def test_what_is_no_token_does_not_pass(token: bytes) -> None:
    assert not is_token(token)
    assert not is_method(token)


@pytest.mark.parametrize(("name", "passes"), [(b"x-a", True), (b"X-a", False), (b"", False), (b":path", False)])
def test_names_are_lower_case(name: bytes, passes: bool) -> None:
    assert is_lower_name(name) is passes


@pytest.mark.parametrize("value", [b"", b"a\tb c", b"\x80\xff", b"!~"])
def test_visible_octets_space_tab_and_bytes_above_ascii_are_values(value: bytes) -> None:
    assert is_value(value)


@given(st.sampled_from([octet for octet in range(0x20) if octet != 9] + [0x7F]))
def test_control_characters_are_no_values(octet: int) -> None:
    assert not is_value(b"a%cb" % octet)


@pytest.mark.parametrize(
    ("value", "passes"),
    [(b"", True), (b"a", True), (b"a b", True), (b" a", False), (b"a ", False), (b"\ta", False), (b"a\t", False)],
)
def test_space_at_the_ends_is_told(value: bytes, passes: bool) -> None:
    assert is_trimmed(value) is passes


@pytest.mark.parametrize(("scheme", "passes"), [(b"http", True), (b"a+b-c.d", True), (b"", False), (b"1a", False)])
def test_schemes_follow_rfc_3986(scheme: bytes, passes: bool) -> None:
    assert is_scheme(scheme) is passes


@pytest.mark.parametrize(
    "authority",
    [b"example.org", b"example.org:80", b"example.org:", b"[::1]:8080", b"127.0.0.1", b"a_b", b"%41", b"h:65535"],
)
def test_authorities_pass(authority: bytes) -> None:
    assert is_authority(authority)


@pytest.mark.parametrize(
    "authority",
    [
        b"",
        b":80",
        b"a@b",
        b"a b",
        b"a/b",
        b"a:b",
        b"a:65536",
        b"[::1",
        b"[]",
        b"a,b c",
        b"%4",
        b"h:+8",
        b"a\n",
        b"h:123456",
    ],
)
def test_what_is_no_authority_does_not_pass(authority: bytes) -> None:
    assert not is_authority(authority)


@pytest.mark.parametrize("path", [b"/", b"*", b"/a?b=c&d", b'/a|b"{}[]', b"/%2F//../"])
def test_paths_pass(path: bytes) -> None:
    assert is_path(path)


@pytest.mark.parametrize("path", [b"", b"a", b"/a b", b"/a#b", b"/\x80", b"/\0", b"http://a/", b"*a", b"/a\n"])
def test_what_is_no_path_does_not_pass(path: bytes) -> None:
    assert not is_path(path)


@pytest.mark.parametrize(
    ("lines", "length"),
    [([], None), ([b"0"], 0), ([b"007"], 7), ([b"5", b"5"], 5), ([b"5, 5", b" 5\t"], 5), ([b"9" * 18], 10**18 - 1)],
)
def test_a_length_is_read(lines: list[bytes], length: int | None) -> None:
    assert parse_content_length(lines) == length


@pytest.mark.parametrize(
    "lines",
    [[b""], [b"+5"], [b"-5"], [b"0x5"], [b"5_0"], [b"5 0"], [b"5", b"6"], [b"5,"], [b"9" * 19], [b"\xb2"], [b"1.0"]],
)
def test_what_is_no_length_is_malformed(lines: list[bytes]) -> None:
    with pytest.raises(Malformed):
        parse_content_length(lines)


def test_a_list_is_as_large_as_its_table_entries() -> None:
    assert list_size([]) == 0
    assert list_size([(b"a", b"b"), (b"cd", b"")]) == 2 * 32 + 4


@pytest.mark.parametrize("fields", [[], [(b"a", b"b")], [(b"te", b"trailers"), (b"a", b""), (b"a", b"b c")]])
def test_fields_of_http2_pass(fields: Fields) -> None:
    check_http2_fields(fields)


@pytest.mark.parametrize(
    ("field", "word"),
    [
        ((b"A", b"b"), "name"),
        ((b"", b"b"), "name"),
        ((b":path", b"/"), "name"),
        ((b"a", b"b\nc"), "control"),
        ((b"a", b"\n"), "control"),
        ((b"a", b"\x7f"), "control"),
        ((b"a", b" b"), "space"),
        ((b"a", b"b "), "space"),
        ((b"a", b"\tb"), "space"),
        ((b"a", b"b\t"), "space"),
        ((b"upgrade", b"h2c"), "connection-specific"),
        ((b"te", b"gzip"), "te"),
        ((b"te", b"trailers, trailers"), "te"),
    ],
)
def test_a_bad_field_is_found_wherever_it_is(field: tuple[bytes, bytes], word: str) -> None:
    good = [(b"x-good", b"value"), (b"te", b"trailers")]
    for place in range(3):
        with pytest.raises(Malformed, match=word):
            check_http2_fields([*good[:place], field, *good[place:]])


names = st.sampled_from([b"a", b"A", b"", b"te", b"connection", b"x y"])
values = st.sampled_from([b"", b"b", b" ", b"\t", b"b ", b"\nb", b"\0", b"\n", b"trailers", b"Trailers"])


@given(st.lists(st.tuples(names, values), max_size=4))
def test_fields_pass_together_if_each_would_alone(fields: Fields) -> None:
    def passes(some: Fields) -> bool:
        try:
            check_http2_fields(some)
        except Malformed:
            return False
        return True

    assert passes(fields) == all(passes([field]) for field in fields)
    for name, value in fields:
        if passes([(name, value)]):
            assert is_lower_name(name)
            assert is_value(value)
            assert is_trimmed(value)


def test_trailers_keep_what_means_something_behind_a_body() -> None:
    fields = [(b"grpc-status", b"0"), (b"content-type", b"a/b"), (b"set-cookie", b"a=b"), (b"digest", b"x")]
    assert clean_trailers(fields) == [(b"grpc-status", b"0"), (b"digest", b"x")]


@pytest.mark.parametrize("name", [b"content-length", b"transfer-encoding", b"host", b"trailer", b":status"])
def test_framing_in_trailers_is_malformed(name: bytes) -> None:
    with pytest.raises(Malformed):
        clean_trailers([(b"a", b"b"), (name, b"x")])
