from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from h2gate.config.model import (
    Backend,
    Config,
    Endpoint,
    ErrorPage,
    FieldRules,
    Limits,
    Listener,
    Match,
    Mirror,
    Redirect,
    Respond,
    Retries,
    Rewrite,
    Route,
    RouteRetries,
    RouteTimeouts,
    Timeouts,
)
from h2gate.config.pages import Page
from h2gate.config.units import EndpointUrl, HostPattern, ListenAddress, PathPattern
from h2gate.contract import Client
from h2gate.protocol.events import RequestHead
from h2gate.proxy.path import BadPath
from h2gate.proxy.router import CompiledRewrite, CompiledRoute, Patience, Router, map_path, redirect_location
from tests.proxy.fakes import ClientSide, House

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
    return None if found is None else found.index


def mapped(pattern: str, backend: str, path: bytes, query: bytes = b"") -> bytes:
    found = router(route(pattern, backend=backend)).find(b"GET", b"a.example", path)
    assert found is not None
    target = found.choose()
    assert target is not None
    return map_path(found, target.base_path, path, query)


def redirected(pattern: str, to: str, path: bytes, query: bytes = b"") -> bytes:
    found = router(route(pattern, redirect=Redirect(to=to))).find(b"GET", b"a.example", path)
    assert found is not None
    return redirect_location(found, path, query)


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
    assert (routes[0].choose(), routes[0].preserve_host) == (("app", None), True)
    assert (routes[1].choose(), routes[1].preserve_host) == (("h2c://127.0.0.1:9001", b"/base/"), False)
    assert routes[2].choose() is None
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
        redirect_location(found, b"/", b"")


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
    assert (-1 if found is None else found.index) == oracle(table, method, authority, path)
    if found is None:
        others = {m for m in ("GET", "PUT", "POST") if oracle(table, m, authority, path) >= 0}
        assert {m.decode() for m in routes.allowed_methods(authority.encode(), path.encode())} == others


@settings(deadline=None)
@given(patterns, paths)
def test_what_matched_and_the_rest_are_the_path(pattern: str, path: str) -> None:
    found = router(route(pattern, backend="h2c://b:1/base/")).find(b"GET", b"", path.encode())
    if found is None:
        return
    assert isinstance(found, CompiledRoute)
    assert path.encode().startswith(found.matched)
    assert map_path(found, b"/base/", path.encode(), b"?q") == b"/base/" + path.encode()[len(found.matched) :] + b"?q"


# Fields and parameters


def conditional(path: str = "/", **match: object) -> Route:
    return Route.model_validate(
        {"match": Match.model_validate({"path": path, **match}), "respond": Respond(status=200)}
    )


def taken(routes: Router, fields: list[tuple[bytes, bytes]], query: bytes = b"", path: bytes = b"/") -> int | None:
    found = routes.find(b"GET", b"a.example", path, fields, query)
    return None if found is None else found.index


@pytest.mark.parametrize(
    ("headers", "fields", "matches"),
    [
        ({"X-Stage": "beta"}, [(b"x-stage", b"beta")], True),
        ({"X-Stage": "beta"}, [(b"x-stage", b"Beta")], False),
        ({"X-Stage": "beta"}, [(b"x-stage", b"alpha"), (b"x-stage", b"beta")], True),
        ({"X-Stage": "regex:^b"}, [(b"x-stage", b"beta")], True),
        ({"X-Stage": "regex:^b"}, [(b"x-other", b"beta")], False),
        ({"X-A": "1", "X-B": "2"}, [(b"x-a", b"1")], False),
        ({"X-A": "1", "X-B": "2"}, [(b"x-b", b"2"), (b"x-a", b"1")], True),
        # HTTP/2 clients send cookies in crumbs.
        ({"Cookie": "regex:a=1; b=2"}, [(b"cookie", b"a=1"), (b"cookie", b"b=2")], True),
        ({"Cookie": "regex:^"}, [], False),
    ],
)
def test_a_route_may_ask_for_fields(headers: dict[str, str], fields: list[tuple[bytes, bytes]], matches: bool) -> None:
    assert (taken(router(conditional(headers=headers)), fields) == 0) == matches


@pytest.mark.parametrize(
    ("wanted", "query", "matches"),
    [
        ({"v": "2"}, b"?v=2", True),
        ({"v": "2"}, b"?a=1&v=2&b", True),
        ({"v": "2"}, b"?v=1&v=2", True),
        ({"v": "2"}, b"?v=22", False),
        ({"v": "2"}, b"", False),
        ({"v": ""}, b"?v", True),
        ({"v": "a b&"}, b"?v=a+b%26", True),
        ({"grün": "ü"}, b"?gr%C3%BCn=%c3%bc", True),
        ({"v": "regex:^[0-9]+$"}, b"?v=15", True),
        ({"v": "1", "w": "2"}, b"?v=1", False),
        ({"v": "?x"}, b"?v=?x", True),
    ],
)
def test_a_route_may_ask_for_parameters_of_the_query(wanted: dict[str, str], query: bytes, matches: bool) -> None:
    assert (taken(router(conditional(query=wanted)), [], query) == 0) == matches


def test_the_first_route_wins_among_those_whose_conditions_hold() -> None:
    routes = router(
        conditional("regex:^/x", headers={"x-a": "1"}),
        conditional("/", query={"v": "1"}),
        conditional("exact:/x", headers={"x-a": "2"}),
        conditional("/"),
    )
    assert taken(routes, [(b"x-a", b"1")], b"?v=1", b"/x") == 0
    assert taken(routes, [(b"x-a", b"2")], b"?v=1", b"/x") == 1
    assert taken(routes, [(b"x-a", b"2")], b"", b"/x") == 2
    assert taken(routes, [], b"", b"/x") == 3


@pytest.mark.parametrize(("is_trusted", "status"), [(True, 200), (False, 404)])
def test_what_a_stranger_says_of_itself_leads_to_no_route(is_trusted: bool, status: int) -> None:
    match = {"headers": {"X-Forwarded-Client-Cert": "regex:CN=admin", "X-Other": "1"}}
    house = House(backends={}, routes=[{"match": match, "respond": {"status": 200}}])
    client = ClientSide(client=Client("192.0.2.7", 5000, 80, b"http", is_trusted))
    fields = [(b"x-forwarded-client-cert", b'Subject="CN=admin"'), (b"x-other", b"1")]
    house.proxy.begin(client, RequestHead(b"GET", b"http", b"a.example", b"/", fields, b"HTTP/1.1"), end_stream=True)
    assert client.status == status


def test_the_methods_of_a_route_whose_conditions_do_not_hold_are_not_allowed() -> None:
    routes = router(conditional(methods=("PUT",), headers={"x-a": "1"}), conditional("/b", methods=("GET",)))
    assert routes.allowed_methods(b"a", b"/b", [(b"x-a", b"1")]) == (b"GET", b"PUT")
    assert routes.allowed_methods(b"a", b"/b", []) == (b"GET",)


# Another path


def rewritten(rule: dict[str, str], path: bytes, query: bytes = b"", pattern: str = "/", backend: str = "app") -> bytes:
    backends = {"app": Backend(endpoints=(Endpoint(url=EndpointUrl.parse("h2c://127.0.0.1:9000")),))}
    found = router(route(pattern, backend=backend, rewrite=Rewrite(**rule)), backends=backends).find(b"GET", b"a", path)
    assert found is not None
    target = found.choose()
    assert target is not None
    return map_path(found, target.base_path, path, query)


def test_a_prefix_takes_the_place_of_what_was_matched() -> None:
    assert rewritten({"prefix": "/api/v1/"}, b"/v1/x/y", b"?q=/v1/", "/v1/") == b"/api/v1/x/y?q=/v1/"


def test_a_way_back_knows_the_prefix() -> None:
    target = router(route("/v1/", backend="h2c://b:1", rewrite=Rewrite(prefix="/api/"))).routes[0].choose()
    assert target == ("h2c://b:1", b"/api/")


@pytest.mark.parametrize(
    ("regex", "to", "path", "expected"),
    [
        (r"^/user/([0-9]+)$", r"/people/\1/home", b"/user/15", b"/people/15/home"),
        (r"^/(?P<a>[a-z]+)/(?P<b>[a-z]+)", r"/\g<b>/\g<a>", b"/x/y/z", b"/y/x/z"),
        # only the first match, and nothing where there is none
        (r"a", r"b", b"/aa", b"/ba"),
        (r"^/none", r"/some", b"/x", b"/x"),
        (r"(x)|(y)", r"\1z", b"/y", b"/z"),
        # the result is a normal path again
        (r"^/a/(.*)", r"/b/./\1", b"/a/c", b"/b/c"),
        (r"^/a/(.)(.)$", r"/a/%\1\2", b"/a/41", b"/a/A"),
    ],
)
def test_a_regex_rewrites_the_path_with_its_groups(regex: str, to: str, path: bytes, expected: bytes) -> None:
    assert rewrite_by_hand(regex, to, path) == expected


@pytest.mark.parametrize(
    ("regex", "to", "path"),
    [
        # CVE-2023-25690: what is put together must not end the request line, nor become query or fragment.
        (r"^/a/(..)(..)$", r"/a/%\1\2", b"/a/0zzz"),
        (r"^/a/(.*)$", r"/a/%\1", b"/a/00"),
        (r"^/a/(.*)$", r"/a/%\1", b"/a/2f"),
        (r"^/a/(.*)$", r"/a/\1 HTTP/1.1", b"/a/x"),
        (r"^/a/(.*)$", "/a/\\1\r\nX: y", b"/a/x"),
        (r"^/a/(.*)$", r"/a?x=\1", b"/a/x"),
        (r"^/a/(.*)$", r"/a#\1", b"/a/x"),
        (r"^/a/(.*)$", r"/a\\\1", b"/a/x"),
        (r"^/a/(.*)$", r"/a/..;\1", b"/a/x"),
        (r"^/a/(.*)$", r"\1", b"/a/x"),
        (r"^/a/", r"", b"/a/x"),
        (r"^.*$", r"", b"/a/x"),
        (r"^/(.*)$", r"http://evil/\1", b"/x"),
    ],
)
def test_what_a_rewrite_makes_is_refused_like_what_a_client_sends(regex: str, to: str, path: bytes) -> None:
    with pytest.raises(BadPath):
        rewrite_by_hand(regex, to, path)


def rewrite_by_hand(regex: str, to: str, path: bytes) -> bytes:
    """As a config could say it that `config.checks` had let through."""
    compiled = router(route("/", backend="h2c://b:1")).find(b"GET", b"a", path)
    assert compiled is not None
    compiled.rewrite = CompiledRewrite(re.compile(regex.encode()), to.encode())
    return map_path(compiled, None, path, b"")


def test_nothing_of_the_query_gets_into_the_path() -> None:
    assert rewritten({"regex": "^/a/(.*)", "to": r"/b/\1"}, b"/a/x", b"?y#z %0a") == b"/b/x?y#z %0a"


# Several backends


def test_weights_choose_by_lot() -> None:
    routes = router(route("/a/", weights={"h2c://b:1/x/": 3, "h2c://c:1": 1, "h2c://d:1": 0})).routes[0]
    one, other = ("h2c://b:1", b"/x/"), ("h2c://c:1", None)
    assert routes._weights is not None
    lots = [0.0, 0.5, 0.7499, 0.75, 0.9999999]
    assert [routes._weights.choose(lambda lot=lot: lot) for lot in lots] == [one, one, one, other, other]
    assert {routes.choose() for _ in range(200)} == {one, other}


def test_a_rewrite_holds_for_all_backends_and_the_mirror() -> None:
    compiled = router(
        route(
            "/a/",
            weights={"h2c://b:1": 1, "h2c://c:1": 1},
            rewrite=Rewrite(prefix="/z/"),
            mirror=Mirror(backend="h2c://m:1/own/", share=0.5),
        )
    ).routes[0]
    assert {compiled.choose() for _ in range(100)} == {("h2c://b:1", b"/z/"), ("h2c://c:1", b"/z/")}
    assert compiled.mirror == ("h2c://m:1", b"/z/", 0.5)
    plain = router(route("/a/", backend="h2c://b:1", mirror=Mirror(backend="h2c://m:1/own/"))).routes[0]
    assert plain.mirror == ("h2c://m:1", b"/own/", 1.0)


# What a route inherits


def test_what_a_route_does_not_say_is_as_at_the_top() -> None:
    config = Config(
        listeners=LISTENERS,
        routes=(
            route("/a/"),
            route(
                "/b/",
                timeouts=RouteTimeouts(response_head=5.0, tunnel_idle=7.0),
                retries=RouteRetries(tries=0),
                max_body=1,
                error_override=(404,),
                websocket=False,
                early_hints="off",
                access_log=False,
                cookie_path={"/x": "/y"},
                request_headers=FieldRules(remove=("x-a",)),
                response_headers=FieldRules(remove=("x-a",)),
            ),
            route("/c/", error_override=True),
        ),
        timeouts=Timeouts(request_body=20.0, response_head=30.0, response_idle=40.0, tunnel_idle=50.0),
        retries=Retries(tries=4),
        limits=Limits(max_body=100),
    )
    general, own, all_errors = Router(config).routes
    assert general.patience == (20.0, 30.0, 40.0, 50.0, 20.0) == Patience.of(config.timeouts)
    assert own.patience == (20.0, 5.0, 40.0, 7.0, 5.0)
    assert (general.tries, own.tries) == (4, 0)
    assert (general.max_body, own.max_body) == (100, 1)
    assert (general.error_override, own.error_override) == (frozenset(), frozenset({404}))
    assert all_errors.error_override == frozenset(range(400, 600))
    assert (general.websocket, general.early_hints, general.logs) == (True, "forward", True)
    assert (own.websocket, own.early_hints, own.logs) == (False, "off", False)
    assert general.mirror is general.rewrite is general.request_rules is general.response_rules is None
    assert general.cookies is general.conditions is None
    assert own.cookies is not None
    assert own.request_rules is not None
    assert own.response_rules is not None


def test_a_routes_error_pages_come_before_those_of_the_top_level() -> None:
    def page(text: str) -> ErrorPage:
        return ErrorPage(text=Page(Path("/x"), text.encode()))

    config = Config(
        listeners=LISTENERS, routes=(route("/a/", error_pages=(page("own"),)), route("/b/")), error_pages=(page("top"),)
    )
    routes = Router(config)
    bodies = [pages.body(404, b"", b"")[1] for pages in (one.error_pages for one in (*routes.routes, routes.nowhere))]
    assert bodies == [b"own", b"top", b"top"]
