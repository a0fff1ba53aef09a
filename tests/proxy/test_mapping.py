from __future__ import annotations

from time import perf_counter
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from h2gate.proxy.mapping import CookieMaps, ReverseMapping, split_authority
from h2gate.proxy.router import map_path


def mapping(**changes: Any) -> ReverseMapping:
    """Return the mapping of `/app/` to `h2c://10.0.0.1:9000/base/` for a client of https://www.example."""
    facts: dict[str, Any] = {
        "backend_authority": b"10.0.0.1:9000",
        "backend_scheme": b"http",
        "base_path": b"/base/",
        "matched": b"/app/",
        "client_authority": b"www.example",
        "client_scheme": b"https",
    }
    return ReverseMapping(**facts | changes)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        # the backend's own name, however it writes it
        (b"http://10.0.0.1:9000/base/x?y#z", b"https://www.example/app/x?y#z"),
        (b"HTTP://10.0.0.1:9000/base/x", b"https://www.example/app/x"),
        (b"https://10.0.0.1:9000/base/x", b"https://www.example/app/x"),
        (b"http://10.0.0.1:9000/base/", b"https://www.example/app/"),
        # the client's
        (b"https://www.example/base/x", b"https://www.example/app/x"),
        (b"http://www.example/base/x", b"https://www.example/app/x"),
        (b"https://WWW.example:443/base/x", b"https://www.example/app/x"),
        (b"//www.example/base/x", b"//www.example/app/x"),
        (b"//10.0.0.1:9000/base/x", b"//www.example/app/x"),
        # outside of the base path there is nothing to map but the name
        (b"http://10.0.0.1:9000/other", b"https://www.example/other"),
        (b"http://10.0.0.1:9000/base", b"https://www.example/base"),
        (b"http://10.0.0.1:9000", b"https://www.example/"),
        (b"http://10.0.0.1:9000?q", b"https://www.example/?q"),
        # paths
        (b"/base/x", b"/app/x"),
        (b"/base/", b"/app/"),
        (b"/base/../x", b"/app/../x"),
        (b"/other/base/x", b"/other/base/x"),
        (b"/", b"/"),
    ],
)
def test_a_backends_url_comes_back_in_the_clients_terms(value: bytes, expected: bytes) -> None:
    assert mapping().location(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"x",
        b"x/base/y",
        b"../base/x",
        b"?base=/base/",
        b"#/base/x",
        b"mailto:a@10.0.0.1:9000",
        b"https://other.example/base/x",
        b"http://10.0.0.1/base/x",
        b"http://10.0.0.1:90000/base/x",
        b"http://10.0.0.1:9000.evil.example/base/x",
        b"http://10.0.0.1:9000@evil.example/base/x",
        b"http://user@10.0.0.1:9000/base/x",
        b"http://10.0.0.1:9000\\@evil.example/base/x",
        b"http://www.example.evil/base/x",
        b"ftp://10.0.0.1:9000/base/x",
        b"//other.example/base/x",
        b"/\\other.example/base/x",
        b"http:///base/x",
        b"http:/base/x",
        b"https://www.example:8443/base/x",
    ],
)
def test_a_foreign_or_relative_reference_stays_as_it_is(value: bytes) -> None:
    assert mapping().location(value) == value


def test_a_host_without_port_is_the_same_for_both_schemes() -> None:
    tls = mapping(backend_authority=b"app.internal", backend_scheme=b"https")
    assert tls.location(b"http://app.internal/base/x") == b"https://www.example/app/x"
    assert tls.location(b"https://app.internal:443/base/x") == b"https://www.example/app/x"
    assert tls.location(b"http://app.internal:8080/base/x") == b"http://app.internal:8080/base/x"


def test_a_redirect_from_clear_to_tls_is_not_turned_back() -> None:
    clear = mapping(client_scheme=b"http", client_authority=b"www.example")
    assert clear.location(b"https://www.example/base/x") == b"https://www.example/base/x"
    assert clear.location(b"http://www.example/base/x") == b"http://www.example/app/x"


def test_a_redirect_to_tls_on_a_name_that_both_sides_use_is_not_turned_back() -> None:
    clear = mapping(client_scheme=b"http", client_authority=b"app.example", backend_authority=b"app.example")
    assert clear.location(b"https://app.example/x") == b"https://app.example/x"


def test_ipv6_authorities_are_compared_with_their_default_ports() -> None:
    six = mapping(backend_authority=b"[fd00::1]")
    assert six.location(b"http://[FD00::1]:80/base/x") == b"https://www.example/app/x"
    assert six.location(b"http://[fd00::1]:81/base/x") == b"http://[fd00::1]:81/base/x"


def test_a_client_without_a_name_gets_paths() -> None:
    nameless = mapping(client_authority=b"")
    assert nameless.location(b"http://10.0.0.1:9000/base/x?y") == b"/app/x?y"
    assert nameless.location(b"http://10.0.0.1:9000") == b"/"
    assert nameless.location(b"http://10.0.0.1:9000//evil.example") == b"/evil.example"
    assert mapping(client_authority=b"", base_path=None).location(b"http://10.0.0.1:9000?q") == b"/?q"


def test_without_a_base_path_only_the_authority_changes() -> None:
    plain = mapping(base_path=None)
    assert plain.location(b"http://10.0.0.1:9000/base/x") == b"https://www.example/base/x"
    assert plain.location(b"http://10.0.0.1:9000?q") == b"https://www.example?q"
    assert plain.location(b"/base/x") == b"/base/x"


@pytest.mark.parametrize(
    ("base", "matched", "value", "expected"),
    [
        (b"/base", b"/app", b"/base", b"/app"),
        (b"/base", b"/app", b"/base/x", b"/app/x"),
        (b"/base", b"/app", b"/base?q", b"/app?q"),
        (b"/base", b"/app", b"/based", b"/based"),
        (b"/base/", b"/app", b"/base//x", b"/app/x"),
        (b"/base/", b"/app", b"/base/x", b"/app/x"),
        (b"/base/", b"/app", b"/base/", b"/app"),
        (b"/base", b"/app/", b"/basex", b"/app/x"),
        (b"/", b"/app/", b"/x", b"/app/x"),
        (b"/base/", b"/", b"/base/x", b"/x"),
        # no prefix
        (b"/base", b"", b"/base/x1", b"/x1"),
        (b"/base", b"", b"/base", b"/"),
        (b"/base", b"", b"/based", b"/based"),
        (b"", b"", b"/x1", b"/x1"),
    ],
)
def test_slashes_come_back_as_the_router_put_them(base: bytes, matched: bytes, value: bytes, expected: bytes) -> None:
    assert mapping(base_path=base, matched=matched).location(value) == expected


@pytest.mark.parametrize(
    "value",
    [b"/base//evil.example/x", b"/base/\\evil.example/x", b"/base///evil.example/x", b"/base/\t/evil.example/x"],
)
def test_a_path_never_becomes_a_host(value: bytes) -> None:
    assert mapping(matched=b"/").location(value) == b"/evil.example/x"


def test_each_target_of_a_link_is_mapped_and_nothing_else() -> None:
    value = b'</base/a.css>; rel=preload; title="</base/no>, \\"</base/no>", <http://10.0.0.1:9000/base/b.js>; rel="x"'
    assert mapping().link(value) == (
        b'</app/a.css>; rel=preload; title="</base/no>, \\"</base/no>", <https://www.example/app/b.js>; rel="x"'
    )
    assert mapping().link(b"<https://cdn.example/base/x>; rel=preload") == b"<https://cdn.example/base/x>; rel=preload"
    assert mapping().link(b'"</base/x>') == b'"</base/x>'


def test_a_uri_field_is_mapped_with_and_without_brackets() -> None:
    assert mapping().uri(b"</base/x>") == b"</app/x>"
    assert mapping().uri(b"/base/x") == b"/app/x"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"5; url=/base/x", b"5; url=/app/x"),
        (b"0;URL=http://10.0.0.1:9000/base/x", b"0;URL=https://www.example/app/x"),
        (b"5, /base/x", b"5, /app/x"),
        (b'5; url="/base/x"', b'5; url="/app/x"'),
        (b"5; url='/base/x' ", b"5; url='/app/x' "),
        (b"5", b"5"),
        (b"5; url=https://other.example/base/", b"5; url=https://other.example/base/"),
        (b"nonsense", b"nonsense"),
    ],
)
def test_the_url_of_a_refresh_is_mapped(value: bytes, expected: bytes) -> None:
    assert mapping().refresh(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"a=/base/", b"a=/base/"),
        (b"a=b; Path=/base/; HttpOnly", b"a=b; Path=/app/; HttpOnly"),
        (b"a=b; path=/base/x;Secure", b"a=b; path=/app/x;Secure"),
        # A cookie's `/base` stands for all below it.
        (b"a=b; Path=/base", b"a=b; Path=/app"),
        (b"a=b; Path=/", b"a=b; Path=/"),
        (b"a=b; Path=/based", b"a=b; Path=/based"),
        (b"a=b; Path=", b"a=b; Path="),
        (b"a=b; Path", b"a=b; Path"),
        (b"a=b; Domain=app.internal; Path=/base/", b"a=b; Domain=www.example; Path=/app/"),
        (b"a=b; DOMAIN=.App.Internal", b"a=b; DOMAIN=www.example"),
        (b"a=b; Domain=other.example", b"a=b; Domain=other.example"),
        (b"a=b; Domain=internal", b"a=b; Domain=internal"),
        (b"a=Domain=app.internal; Secure", b"a=Domain=app.internal; Secure"),
        # `__Host-` is bound to the root, and refused elsewhere.
        (b"__Host-a=b; Path=/base/; Secure", b"__Host-a=b; Path=/base/; Secure"),
    ],
)
def test_domain_and_path_of_a_cookie_are_mapped(value: bytes, expected: bytes) -> None:
    assert (
        mapping(backend_authority=b"app.internal:9000", client_authority=b"www.example:8443").cookie(value) == expected
    )


def test_a_host_cookie_keeps_its_root() -> None:
    assert mapping(base_path=b"/").cookie(b"__Host-a=b; Path=/; Secure") == b"__Host-a=b; Path=/; Secure"
    assert mapping(base_path=b"/").cookie(b"a=b; Path=/; Secure") == b"a=b; Path=/app/; Secure"


def test_a_cookie_path_that_would_be_empty_is_the_root() -> None:
    assert mapping(matched=b"/").cookie(b"a=b; Path=/base") == b"a=b; Path=/"


@pytest.mark.parametrize("client", [b"127.0.0.1:8080", b"[::1]:8080", b"", b"a;HttpOnly", b"a,b"])
def test_a_domain_goes_where_the_clients_host_cannot_be_one(client: bytes) -> None:
    named = mapping(backend_authority=b"app.internal", client_authority=client)
    assert named.cookie(b"a=b; Domain=app.internal; Secure") == b"a=b; Secure"


@pytest.mark.parametrize(
    ("authority", "parts"),
    [
        (b"a.example", (b"a.example", b"")),
        (b"a.example:80", (b"a.example", b"80")),
        (b"[::1]", (b"[::1]", b"")),
        (b"[::1]:80", (b"[::1]", b"80")),
        (b"", (b"", b"")),
    ],
)
def test_an_authority_is_split_at_its_port(authority: bytes, parts: tuple[bytes, bytes]) -> None:
    assert split_authority(authority) == parts


# Properties

prefixes = st.lists(st.sampled_from([b"a", b"b", b"base", b"app"]), max_size=3).map(
    lambda parts: b"/" + b"".join(part + b"/" for part in parts)
)
rests = st.lists(st.sampled_from([b"a", b"b", b"base", b"app", b"%41", b";x"]), max_size=4).map(b"/".join)
queries = st.sampled_from([b"", b"?", b"?q=/base/"])


@settings(deadline=None)
@given(prefixes, prefixes, rests, queries, st.booleans(), st.booleans())
def test_what_the_router_maps_there_comes_back(
    matched: bytes, base: bytes, rest: bytes, query: bytes, has_slash: bool, is_absolute: bool
) -> None:
    if not has_slash and matched != b"/" and base != b"/":
        matched, base, rest = matched[:-1], base[:-1], b"/" + rest if rest else b""
    path = matched + rest
    there = map_path(SimpleNamespace(rewrite=None, matched=matched), base, path, query)  # type: ignore[arg-type]
    back = mapping(base_path=base, matched=matched)
    if is_absolute:
        assert back.location(b"http://10.0.0.1:9000" + there) == b"https://www.example" + path + query
    else:
        assert back.location(there) == path + query


references = st.lists(
    st.sampled_from(
        [
            b"http:",
            b"https:",
            b"//",
            b"/",
            b"\\",
            b"10.0.0.1:9000",
            b"www.example",
            b"evil",
            b"base",
            b"?",
            b"#",
            b"x",
            b"@",
        ]
    ),
    max_size=7,
).map(b"".join)


@settings(deadline=None)
@given(references)
def test_mapping_without_a_base_path_is_idempotent(value: bytes) -> None:
    plain = mapping(base_path=None)
    once = plain.location(value)
    assert plain.location(once) == once


@settings(deadline=None)
@given(
    references, st.sampled_from([b"/app/", b"/", b"", b"/app"]), st.sampled_from([b"/base/", b"/base", b"/", b"", None])
)
def test_nothing_becomes_a_reference_to_another_site(value: bytes, matched: bytes, base: bytes | None) -> None:
    result = mapping(matched=matched, base_path=base).location(value)
    if result == value:
        return
    assert result.startswith((b"https://www.example", b"//www.example")) or (
        result[:1] == b"/" and result[1:2] not in (b"/", b"\\")
    )
    assert result.removeprefix(b"https:").removeprefix(b"//www.example")[:1] in (b"", b"/", b"?", b"#")


@settings(deadline=None)
@given(st.binary(max_size=60), st.sampled_from(["location", "link", "uri", "refresh", "cookie"]))
def test_any_bytes_are_mapped_to_something(value: bytes, name: str) -> None:
    assert isinstance(getattr(mapping(), name)(value), bytes)


@pytest.mark.parametrize(
    "value", [b'"\\"' * 20_000, b"<" * 60_000, b"</base/>" * 8_000, b"1 ;" * 20_000, b'"' * 60_001]
)
@pytest.mark.parametrize("name", ["link", "refresh", "cookie", "location"])
def test_a_hostile_field_costs_no_more_than_its_length(name: str, value: bytes) -> None:
    began = perf_counter()
    getattr(mapping(), name)(value)
    # Quadratic would be seconds to minutes; linear is some milliseconds.
    assert perf_counter() - began < 1.0


# The operator's own maps for cookies


def mapped_cookie(value: bytes, domains: dict[str, str] | None = None, paths: dict[str, str] | None = None) -> bytes:
    maps = CookieMaps(domains or {}, paths or {})
    return ReverseMapping(b"app.internal:9000", b"http", b"/base/", b"/app/", b"www.example", b"https", maps).cookie(
        value
    )


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"a=1; Domain=internal", b"a=1; Domain=example.com"),
        (b"a=1; domain=.Internal; Secure", b"a=1; domain=example.com; Secure"),
        # whole labels: Apache's "begins with" would take these
        (b"a=1; Domain=internal.example", b"a=1; Domain=internal.example"),
        (b"a=1; Domain=internals", b"a=1; Domain=internals"),
        (b"a=1; Domain=x.internal", b"a=1; Domain=x.internal"),
        # the one rule still holds for what no map is about
        (b"a=1; Domain=app.internal", b"a=1; Domain=www.example"),
        (b"a=1", b"a=1"),
        (b"__Host-a=1; Domain=internal", b"__Host-a=1; Domain=internal"),
    ],
)
def test_a_cookies_domain_is_mapped_by_the_operators_word(sent: bytes, expected: bytes) -> None:
    assert mapped_cookie(sent, domains={"internal": "example.com"}) == expected


def test_the_operators_word_comes_before_the_one_rule() -> None:
    assert mapped_cookie(b"a=1; Domain=app.internal", {"app.internal": "example.com"}) == b"a=1; Domain=example.com"
    assert mapped_cookie(b"a=1; Path=/base/x", paths={"/base": "/y"}) == b"a=1; Path=/y/x"


@pytest.mark.parametrize(
    ("start", "to", "sent", "expected"),
    [
        ("/a", "/b", b"/a", b"/b"),
        ("/a", "/b", b"/a/", b"/b/"),
        ("/a", "/b", b"/a/x", b"/b/x"),
        # whole segments
        ("/a", "/b", b"/ab", b"/ab"),
        ("/a/", "/b/", b"/ab/", b"/ab/"),
        ("/a/", "/b/", b"/a", b"/b"),
        ("/a/", "/", b"/a/x", b"/x"),
        ("/a", "/", b"/a/x", b"/x"),
        ("/a", "/", b"/a", b"/"),
        ("/a/", "/", b"/a", b"/"),
        ("/", "/b", b"/", b"/b"),
        ("/", "/b", b"/x", b"/b/x"),
        ("/", "/b/", b"/x", b"/b/x"),
        ("/A", "/b", b"/a", b"/a"),
    ],
)
def test_a_cookies_path_is_mapped_by_whole_segments(start: str, to: str, sent: bytes, expected: bytes) -> None:
    assert (
        mapped_cookie(b"a=1; Path=" + sent + b"; Secure", paths={start: to}) == b"a=1; Path=" + expected + b"; Secure"
    )


def test_the_longest_of_several_paths_is_taken() -> None:
    paths = {"/": "/other", "/a": "/short", "/a/b/": "/long"}
    assert mapped_cookie(b"a=1; Path=/a/b/c", paths=paths) == b"a=1; Path=/long/c"
    assert mapped_cookie(b"a=1; Path=/a/c", paths=paths) == b"a=1; Path=/short/c"
    assert mapped_cookie(b"a=1; Path= /c", paths=paths) == b"a=1; Path=/other/c"


def test_a_cookie_bound_to_its_host_keeps_its_path() -> None:
    assert mapped_cookie(b"__Host-a=1; Path=/", paths={"/": "/b"}) == b"__Host-a=1; Path=/"
