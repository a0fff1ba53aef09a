from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from h2gate.config.model import Backend, Config, Endpoint, Listener, Match, Redirect, Respond, Route
from h2gate.config.units import EndpointUrl, HostPattern, ListenAddress, PathPattern
from h2gate.proxy.router import Found, Router, map_path, redirect_location

LISTENERS = (Listener(address=ListenAddress.parse("127.0.0.1:8080")),)


def route(
    path: str = "/", *, host: str | None = None, methods: tuple[str, ...] | None = None, **leads: object
) -> Route:
    match = Match(host=None if host is None else HostPattern.parse(host), path=PathPattern.parse(path), methods=methods)
    return Route.model_validate({"match": match, **(leads or {"respond": Respond(status=200)})})


def router(*routes: Route, backends: dict[str, Backend] | None = None) -> Router:
    return Router(Config(listeners=LISTENERS, routes=routes, backends=backends or {}))


def found_index(routes: Router, path: bytes, authority: bytes = b"a.example", method: bytes = b"GET") -> int | None:
    found = routes.find(method, authority, path)
    return None if found is None else found.route.index


def mapped(pattern: str, backend: str, path: bytes, query: bytes = b"") -> bytes:
    found = router(route(pattern, backend=backend)).find(b"GET", b"a.example", path)
    assert found is not None
    return map_path(found, path, query)


def redirected(pattern: str, to: str, path: bytes, query: bytes = b"") -> bytes:
    found = router(route(pattern, redirect=Redirect(to=to))).find(b"GET", b"a.example", path)
    assert found is not None
    return redirect_location(found, query)


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("/", b"/", True),
        ("/", b"/x", True),
        ("/", b"*", False),
        ("/app/", b"/app/", True),
        ("/app/", b"/app/x", True),
        ("/app/", b"/app", False),
        ("/app/", b"/apple", False),
        ("/app", b"/app", True),
        ("/app", b"/app/", True),
        ("/app", b"/app/x", True),
        ("/app", b"/apple", False),
        ("/app", b"/App", False),
        ("/app", b"/x/app", False),
        ("exact:/app", b"/app", True),
        ("exact:/app", b"/app/", False),
        ("exact:/app", b"/app/x", False),
        ("regex:^/x[0-9]+$", b"/x12", True),
        ("regex:^/x[0-9]+$", b"/x12/", False),
        ("regex:[.]php$", b"/a/b.php", True),
        ("regex:[.]php$", b"/a/b.phps", False),
    ],
)
def test_a_pattern_matches_whole_segments_only(pattern: str, path: bytes, matches: bool) -> None:
    assert (found_index(router(route(pattern)), path) is not None) == matches


@pytest.mark.parametrize(
    ("host", "authority", "matches"),
    [
        ("app.example", b"app.example", True),
        ("app.example", b"App.Example:8080", True),
        ("app.example", b"app.example.", True),
        ("app.example", b"xapp.example", False),
        ("app.example", b"", False),
        ("*.example", b"app.example:80", True),
        ("*.example", b"a.b.example", True),
        ("*.example", b"example", False),
        ("[::1]", b"[::1]:8080", True),
        ("[::1]", b"[::1]", True),
        ("[::1]", b"[::2]", False),
    ],
)
def test_a_host_is_compared_without_its_port_and_case(host: str, authority: bytes, matches: bool) -> None:
    assert (found_index(router(route("/", host=host)), b"/", authority) is not None) == matches


def test_the_first_route_that_matches_wins() -> None:
    routes = router(
        route("/app/private/"), route("/app/", methods=("GET",)), route("/app/", host="b.example"), route("/app/")
    )
    assert found_index(routes, b"/app/private/x") == 0
    assert found_index(routes, b"/app/x") == 1
    assert found_index(routes, b"/app/x", method=b"POST") == 3
    assert found_index(routes, b"/app/x", b"b.example", b"POST") == 2
    assert found_index(routes, b"/other") is None


def test_methods_are_compared_with_their_case() -> None:
    assert found_index(router(route("/", methods=("GET",))), b"/", method=b"get") is None


def test_allowed_methods_are_those_of_routes_that_match_but_for_the_method() -> None:
    routes = router(
        route("/a", methods=("PUT", "GET")),
        route("/a/b", methods=("DELETE",)),
        route("/a", host="other.example", methods=("PATCH",)),
    )
    assert routes.allowed_methods(b"a.example", b"/a") == (b"GET", b"PUT")
    assert routes.allowed_methods(b"a.example:1", b"/a/b") == (b"DELETE", b"GET", b"PUT")
    assert routes.allowed_methods(b"a.example", b"/c") == ()


def test_a_route_says_in_the_log_what_it_matches() -> None:
    assert router(route("/a/")).routes[0].name == "/a/"
    assert router(route("exact:/a", host="*.example")).routes[0].name == "*.example exact:/a"
    assert router(route("/", methods=("GET", "PUT"))).routes[0].name == "GET|PUT /"


def test_a_route_knows_where_it_leads() -> None:
    backend = Backend(endpoints=(Endpoint(url=EndpointUrl.parse("h2c://127.0.0.1:9000")),))
    routes = router(
        route("/a/", backend="app", preserve_host=True),
        route("/b/", backend="h2c://127.0.0.1:9001/base/"),
        route("/c/", respond=Respond(status=404, body="grüß")),
        backends={"app": backend},
    ).routes
    assert (routes[0].backend, routes[0].base_path, routes[0].preserve_host) == ("app", None, True)
    assert (routes[1].backend, routes[1].base_path, routes[1].preserve_host) == (
        "h2c://127.0.0.1:9001",
        b"/base/",
        False,
    )
    assert routes[2].backend is None
    assert routes[2].respond == (404, "grüß".encode())


@pytest.mark.parametrize(
    ("pattern", "backend", "path", "expected"),
    [
        ("/app/", "h2c://b:1", b"/app/x", b"/app/x"),
        ("/app/", "h2c://b:1/", b"/app/x", b"/x"),
        ("/app/", "h2c://b:1/", b"/app/", b"/"),
        ("/app/", "h2c://b:1/base/", b"/app/x/y", b"/base/x/y"),
        ("/app", "h2c://b:1/base", b"/app", b"/base"),
        ("/app", "h2c://b:1/base", b"/app/x", b"/base/x"),
        # As ProxyPass: no slash is added, none taken away.
        ("/app", "h2c://b:1/base/", b"/app/x", b"/base//x"),
        ("/app/", "h2c://b:1/base", b"/app/x", b"/basex"),
        ("exact:/a", "h2c://b:1/base/y", b"/a", b"/base/y"),
        ("regex:^/x", "h2c://b:1", b"/x1", b"/x1"),
    ],
)
def test_the_matched_prefix_is_replaced_as_plain_text(pattern: str, backend: str, path: bytes, expected: bytes) -> None:
    assert mapped(pattern, backend, path) == expected


def test_the_query_goes_through_untouched() -> None:
    query = b'?a=%0a"<>&b=/app/../x?y'
    assert mapped("/app/", "h2c://b:1/base/", b"/app/x", query) == b"/base/x" + query
    assert mapped("/app/", "h2c://b:1", b"/app/x", query) == b"/app/x" + query


@pytest.mark.parametrize(
    ("pattern", "to", "path", "query", "expected"),
    [
        ("/old/", "https://new.example/", b"/old/x", b"?q", b"https://new.example/"),
        ("/old/", "https://new.example/{path}{query}", b"/old/x", b"?q", b"https://new.example/x?q"),
        ("/old", "https://new.example{path}{query}", b"/old/x", b"", b"https://new.example/x"),
        ("/", "https://a.example/{path}{query}", b"/x/y", b"?a=b", b"https://a.example/x/y?a=b"),
        ("/old/", "/new/{path}", b"/old/x", b"?q", b"/new/x"),
        ("regex:^/old", "/new{path}{query}", b"/old1", b"?q", b"/new/old1?q"),
        ("/old/", "/{path}?was={path}", b"/old/x", b"", b"/x?was=x"),
    ],
)
def test_a_redirect_puts_path_and_query_into_its_template(
    pattern: str, to: str, path: bytes, query: bytes, expected: bytes
) -> None:
    assert redirected(pattern, to, path, query) == expected


@pytest.mark.parametrize(
    ("pattern", "to", "path", "expected"),
    [
        # the host stays what the operator wrote
        ("/old/", "https://new.example{path}", b"/old/.evil.example", b"https://new.example/.evil.example"),
        ("/old/", "https://new.example{path}", b"/old/@evil.example", b"https://new.example/@evil.example"),
        ("/old/", "https://new.example:8443{path}", b"/old/1", b"https://new.example:8443/1"),
        ("/old/", "{path}", b"/old/https:/evil.example", b"/https:/evil.example"),
        ("/old/", "//new.example{path}", b"/old/.evil", b"//new.example/.evil"),
        # and a path stays a path
        ("/old", "/{path}", b"/old/evil.example", b"/evil.example"),
        ("/old", "{path}", b"/old/\\evil.example", b"/evil.example"),
        ("/old/", "/{path}", b"/old/\\evil.example", b"/evil.example"),
    ],
)
def test_a_redirect_leads_to_no_host_of_the_clients_choice(pattern: str, to: str, path: bytes, expected: bytes) -> None:
    assert redirected(pattern, to, path) == expected


def test_only_a_redirect_has_a_location() -> None:
    found = router(route("/")).find(b"GET", b"", b"/")
    assert found is not None
    with pytest.raises(ValueError, match="no redirect"):
        redirect_location(found, b"")


# The oracle knows segments and nothing of prefixes.


def oracle(routes: list[tuple[str, str | None, tuple[str, ...] | None]], method: str, host: str, path: str) -> int:
    for index, (pattern, wanted, methods) in enumerate(routes):
        if methods is not None and method not in methods:
            continue
        if wanted is not None and not names(wanted, host.partition(":")[0].lower()):
            continue
        if pattern.startswith("regex:^"):
            if path.startswith(pattern.removeprefix("regex:^")):
                return index
            continue
        if pattern.startswith("exact:"):
            if path == pattern.removeprefix("exact:"):
                return index
            continue
        have, want = path.split("/")[1:], pattern.split("/")[1:]
        if want[-1] == "":
            # `/app/` is everything with at least one more, maybe empty, segment.
            if len(have) >= len(want) and have[: len(want) - 1] == want[:-1]:
                return index
        elif have[: len(want)] == want:
            return index
    return -1


def names(wanted: str, host: str) -> bool:
    if wanted.startswith("*."):
        have, want = host.split("."), wanted.split(".")[1:]
        return len(have) > len(want) and have[-len(want) :] == want
    return wanted == host


segments = st.lists(st.sampled_from(["a", "ab", "b", "%41"]), max_size=3)
paths = st.builds(
    lambda parts, slash: ("/" + "/".join(parts)) + ("/" if slash and parts else ""), segments, st.booleans()
)
patterns = st.builds(lambda kind, path: kind + path, st.sampled_from(["", "exact:", "regex:^"]), paths).filter(
    lambda text: "%41" not in text
)
methods = st.sampled_from(["GET", "PUT", "POST"])
hosts = st.sampled_from(["a.example", "b.example", "x.a.example"])
wanted_hosts = hosts | st.sampled_from(["*.example", "*.a.example"])
tables = st.lists(
    st.tuples(
        patterns,
        st.none() | wanted_hosts,
        st.none() | st.lists(methods, min_size=1, max_size=2, unique=True).map(tuple),
    ),
    min_size=1,
    max_size=6,
)


@settings(deadline=None)
@given(tables, methods, hosts, st.sampled_from(["", ":80", ":8443"]), st.booleans(), paths)
def test_the_router_agrees_with_a_naive_one(
    table: list[tuple[str, str | None, tuple[str, ...] | None]],
    method: str,
    host: str,
    port: str,
    is_upper: bool,
    path: str,
) -> None:
    authority = (host.upper() if is_upper else host) + port
    routes = router(*(route(pattern, host=wanted, methods=allowed) for pattern, wanted, allowed in table))
    found = routes.find(method.encode(), authority.encode(), path.encode())
    assert (-1 if found is None else found.route.index) == oracle(table, method, authority, path)
    if found is None:
        others = {m for m in ("GET", "PUT", "POST") if oracle(table, m, authority, path) >= 0}
        assert {m.decode() for m in routes.allowed_methods(authority.encode(), path.encode())} == others


@settings(deadline=None)
@given(patterns, paths)
def test_what_matched_and_the_rest_are_the_path(pattern: str, path: str) -> None:
    found = router(route(pattern, backend="h2c://b:1/base/")).find(b"GET", b"", path.encode())
    if found is None:
        return
    assert isinstance(found, Found)
    assert found.matched + found.rest == path.encode()
    assert map_path(found, path.encode(), b"?q") == b"/base/" + found.rest + b"?q"
