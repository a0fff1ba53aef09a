"""What the types cannot see."""

from __future__ import annotations

import pytest

from h2gate.config.checks import Parts, check
from h2gate.config.model import AccessLog, Backend, ErrorPage, Limits, Listener, Retries, Route, Timeouts
from h2gate.config.problems import key_text


def said(listeners=(), backends=None, routes=(), **others) -> list[str]:
    """Return the findings as `key: message`; parts are given as an operator writes them, None for broken ones."""
    backends = backends or {}
    # Not about whether backends are used, unless the test says so.
    used = others.pop("is_whole", False)
    parts = Parts(
        [None if one is None else Listener.model_validate(one) for one in listeners],
        {name: None if one is None else Backend.model_validate(one) for name, one in backends.items()},
        [None if one is None else Route.model_validate(one) for one in routes],
        is_whole=used,
        **others,
    )
    return [f"{key_text(finding.path)}: {finding.message}" for finding in check(parts)]


def backend(*urls: str, **others) -> dict:
    return {"endpoints": urls or ("h2c://a",), **others}


@pytest.mark.parametrize(
    ("one", "other", "collide"),
    [
        ("127.0.0.1:80", "127.0.0.1:80", True),
        ("*:80", "127.0.0.1:80", True),
        ("[::1]:80", "[::]:80", True),
        ("unix:/a", "unix:/a", True),
        ("*:0", "*:0", True),
        ("*:80", "[::]:80", False),
        ("*:80", "127.0.0.1:81", False),
        ("127.0.0.1:80", "127.0.0.2:80", False),
        ("*:0", "127.0.0.1:0", False),
        ("unix:/a", "unix:/b", False),
        ("unix:/a", "*:80", False),
        ("*:80", "unix:/a", False),
    ],
)
def test_two_listeners_have_two_addresses(one, other, collide):
    found = said(listeners=[{"address": one}, None, {"address": other}])
    assert [line.partition(": ")[0] for line in found] == (["listeners[2].address"] if collide else [])


def test_the_proxy_protocol_is_for_proxies_that_are_named():
    message = "nobody may connect: name in `trusted_proxies` who sends the PROXY header"
    assert said(listeners=[{"address": "*:80", "proxy_protocol": "any"}]) == [f"listeners[0].proxy_protocol: {message}"]
    assert said(listeners=[{"address": "unix:/a", "proxy_protocol": "any"}]) == []
    assert said(listeners=[{"address": "*:80", "proxy_protocol": "v1", "trusted_proxies": ("::1",)}]) == []


def test_clients_show_certificates_of_a_ca(tmp_path):
    file = tmp_path / "a.pem"
    file.write_text("x")
    tls = {"certificates": ({"cert": file, "key": file},), "client_auth": "require"}
    assert said(listeners=[{"address": "*:80", "tls": tls}]) == [
        "listeners[0].tls.client_auth: needs `client_ca`: no client is asked for a certificate"
    ]
    assert said(listeners=[{"address": "*:80", "tls": {**tls, "client_ca": file}}]) == []


@pytest.mark.parametrize("name", ["", "a b", "a:b", "-a", ".a", "ä"])
def test_a_backends_name_is_a_word(name):
    found = said(backends={name: backend()})
    assert found == [f"backends.{name}: a backend's name has letters, digits, and _ . - within"]
    assert said(backends={"App_1.v-2": backend(), "broken": None}) == []


def test_an_endpoint_is_there_once():
    assert said(backends={"a": backend("h2c://a", "h2c://b", "h2c://a:80")}) == [
        "backends.a.endpoints[2].url: endpoints[0] is the same: give that one a weight instead"
    ]


@pytest.mark.parametrize(("first", "shown"), [("h2c://a/x", "/x"), ("h2c://a", "none")])
def test_endpoints_of_a_backend_have_one_path(first, shown):
    assert said(backends={"a": backend(first, "h2://b/y")}) == [
        "backends.a.endpoints[1].url: all endpoints of a backend have one path: "
        f"{shown} as endpoints[0], or a backend each"
    ]
    assert said(backends={"a": backend("h2c://a/x", "h2://b/x")}) == []


def test_tls_is_for_endpoints_that_speak_it():
    assert said(backends={"a": backend("h2c://a", tls={})}) == [
        "backends.a.tls: no endpoint speaks TLS: write h2:// URLs, or leave this out"
    ]
    assert said(backends={"a": backend("h2c://a", "h2://b", tls={"server_name": "b"})}) == []


def test_a_client_certificate_and_its_key_go_together(tmp_path):
    file = tmp_path / "a.pem"
    file.write_text("x")
    tls = {"client_cert": file}
    assert said(backends={"a": backend("h2://a", tls=tls)}) == ["backends.a.tls.client_cert: needs its `client_key`"]
    tls = {"client_key": file}
    assert said(backends={"a": backend("h2://a", tls=tls)}) == ["backends.a.tls.client_key: needs its `client_cert`"]
    assert said(backends={"a": backend("h2://a", tls={"client_key": file, "client_cert": file})}) == []


def test_a_ca_is_for_verifying_and_a_server_name_is_a_host(tmp_path):
    file = tmp_path / "a.pem"
    file.write_text("x")
    assert said(backends={"a": backend("h2://a", tls={"ca": file, "verify": False})}) == [
        "backends.a.tls.ca: has no effect with `verify: false`"
    ]
    assert said(backends={"a": backend("h2://a", tls={"crl": file, "verify": False})}) == [
        "backends.a.tls.crl: has no effect with `verify: false`"
    ]
    assert said(backends={"a": backend("h2://a", tls={"server_name": "a b"})}) == [
        "backends.a.tls.server_name: a b is no host: write a name, an IPv4 address or [an IPv6 address]"
    ]


def test_streams_and_windows_of_a_pool_fit_into_each_other():
    pool = {"target_streams": 50, "max_streams": 10, "queue": 0, "queue_timeout": 1.0}
    pool |= {"stream_window": 100_000, "connection_window": 70_000}
    assert said(backends={"a": backend(pool=pool)}) == [
        "backends.a.pool.target_streams: is never reached: a connection has 10 streams at most (max_streams)",
        "backends.a.pool.queue_timeout: has no effect with `queue: 0`: nothing waits",
        "backends.a.pool.stream_window: is never filled: connection_window is 70000",
    ]


def test_times_of_a_pool_fit_into_each_other():
    pool = {"max_age": 10.0, "idle_timeout": 11.5, "ping_after": 12.0, "ping_interval": 11.0}
    message = "is never reached: connections are retired at the age of 10s (max_age)"
    assert said(backends={"a": backend(pool=pool)}) == [
        f"backends.a.pool.idle_timeout: {message}",
        f"backends.a.pool.ping_after: {message}",
    ]
    assert said(backends={"a": backend(pool={"max_age": 1.0})}) == []


@pytest.mark.parametrize(
    ("pool", "found"),
    [
        ({"ping_interval": 1.0}, ["ping_interval: the next PING (1s) would be due before the last has failed (1s)"]),
        (
            {"ping_interval": 5.0, "ping_timeout": 6.0},
            ["ping_timeout: the next PING (5s) would be due before the last has failed (6s)"],
        ),
        (
            {"ping_interval": 5.0, "ping_after": 7.0},
            ["ping_after: is never reached: ping_interval (5s) lets no connection be quiet"],
        ),
        ({"ping_interval": 5.0, "ping_after": 6.0}, []),
        ({"ping_interval": 5.0}, []),
        ({"ping_interval": None}, []),
    ],
)
def test_pings_fit_into_each_other(pool, found):
    assert said(backends={"a": backend(pool=pool)}) == [f"backends.a.pool.{one}" for one in found]


@pytest.mark.parametrize(
    ("urls", "source", "found"),
    [
        (["h2c://a"], "10.0.0.1", []),
        (["h2c://10.0.0.2"], "10.0.0.1", []),
        (["h2c+unix:/a", "h2c://a"], "10.0.0.1", []),
        (["h2c+unix:/a"], "10.0.0.1", ["has no effect: no endpoint has an IP address"]),
        (["h2c://[::2]", "h2c://10.0.0.2"], "10.0.0.1", ["no connection from IPv4 reaches h2c://[::2]"]),
        (["h2c://10.0.0.2"], "::1", ["no connection from IPv6 reaches h2c://10.0.0.2"]),
    ],
)
def test_a_source_address_is_of_its_endpoints_family(urls, source, found):
    backends = {"a": backend(*urls, pool={"source_address": source})}
    assert said(backends=backends) == [f"backends.a.pool.source_address: {one}" for one in found]


def test_a_default_never_contradicts_what_was_written():
    pool = {"max_streams": 1, "queue": 0, "connection_window": 70_000}
    assert said(backends={"a": backend(pool=pool)}) == []


@pytest.mark.parametrize(
    ("route", "found"),
    [
        ({}, "this one has none of them"),
        ({"backend": "h2c://a", "respond": {"status": 200}}, "not backend and respond"),
        ({"respond": {"status": 200}, "redirect": {"to": "/"}}, "not respond and redirect"),
        ({"backend": "h2c://a", "weights": {"h2c://a": 1, "h2c://b": 1}}, "not backend and weights"),
    ],
)
def test_a_route_leads_to_exactly_one_thing(route, found):
    assert said(routes=[None, route]) == [
        f"routes[1]: a route leads to exactly one of backend, weights, respond, redirect: {found}"
    ]


def test_a_routes_backend_is_a_name_or_a_url():
    routes = [
        {"match": {"path": f"/{n}"}, "backend": name} for n, name in enumerate(["app", "ap", "http://a", "h2c://a"])
    ]
    assert said(backends={"app": backend()}, routes=routes, is_whole=True) == [
        "routes[1].backend: there is no backend `ap`; did you mean `app`?",
        "routes[2].backend: backends speak HTTP/2 only: write h2c://a",
    ]


def test_an_unknown_name_may_be_in_a_file_that_was_not_read():
    assert said(routes=[{"backend": "app"}]) == []


@pytest.mark.parametrize("target", ["h2c://b/base/", "b"])
def test_a_regex_has_no_prefix_for_a_backend_with_a_path(target):
    backends = {"b": backend("h2c://b/base/")}
    match = {"path": "regex:^/x"}
    message = "a regex leaves no prefix that /base/ could replace: match a prefix, or take the path away"
    assert said(backends=backends, routes=[{"match": match, "backend": target}]) == [f"routes[0].backend: {message}"]
    assert said(backends=backends, routes=[{"match": {"path": "exact:/x"}, "backend": target}]) == []
    assert said(backends={"b": None}, routes=[{"match": match, "backend": "b"}]) == []
    assert said(backends={"b": backend()}, routes=[{"match": match, "backend": "b"}]) == []


def test_what_has_no_effect_in_a_route_is_said():
    assert said(routes=[{"respond": {"status": 204, "body": "x"}, "preserve_host": True}]) == [
        "routes[0].preserve_host: has no effect without a backend",
        "routes[0].respond.body: a 204 has no body",
    ]
    assert said(routes=[{"respond": {"status": 404, "body": "x"}}]) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("preserve_host", False),
        ("rewrite", {"prefix": "/x/"}),
        ("request_headers", {"remove": ("x-a",)}),
        ("cookie_domain", {"a.example": "b.example"}),
        ("cookie_path", {"/a": "/b"}),
        ("timeouts", {"response_head": 1.0}),
        ("retries", {"tries": 1}),
        ("max_body", 10),
        ("error_override", True),
        ("mirror", {"backend": "h2c://m"}),
        ("websocket", False),
        ("early_hints", "off"),
    ],
)
def test_what_is_done_on_the_way_to_a_backend_needs_one(key, value):
    for way in ({"respond": {"status": 404}}, {"redirect": {"to": "/x"}}):
        assert said(routes=[{**way, key: value}]) == [f"routes[0].{key}: has no effect without a backend"]
    for way in ({"backend": "h2c://a"}, {"weights": {"h2c://a": 1, "h2c://b": 0}}):
        assert said(routes=[{**way, key: value}]) == []
    assert said(routes=[{"respond": {"status": 404}, "response_headers": {"set": {"x-a": "b"}}}]) == []


def test_error_pages_are_for_routes_that_can_answer_with_an_error():
    pages = {"error_pages": ({"status": (404,)},)}
    empty = "routes[0].error_pages[0]: has no body: write html, json or text"
    useless = "routes[0].error_pages: has no effect: this route answers with no error but its own text"
    for way in ({"redirect": {"to": "/x"}}, {"respond": {"status": 200}}, {"respond": {"status": 404, "body": "x"}}):
        assert said(routes=[{**way, **pages}]) == [useless, empty]
    assert said(routes=[{"respond": {"status": 404}, **pages}]) == [empty]


def test_a_redirect_has_no_groups():
    assert said(routes=[{"redirect": {"to": "/new/$1"}}]) == [
        "routes[0].redirect.to: $1 stands for nothing: {path} is what follows the matched prefix"
    ]


@pytest.mark.parametrize(
    ("weights", "found"),
    [
        ({}, [": there is nothing to share out: name two at least"]),
        ({"h2c://a": 1}, [": there is nothing to share out: write `backend: h2c://a`"]),
        ({"h2c://a": 0, "h2c://b": 0}, [": all are 0: no backend would get a request"]),
        ({"h2c://a": 0, "h2c://b": 1}, []),
        ({"h2c://a/x": 1, "h2c://a/y": 1}, []),
        ({"h2c://a": 1, "h2c://A:80": 1}, [".h2c://A:80: h2c://a is the same: add the two up"]),
        ({"http://a": 1, "h2c://b": 1}, [".http://a: backends speak HTTP/2 only: write h2c://a"]),
    ],
)
def test_weights_share_requests_out(weights, found):
    assert said(routes=[{"weights": weights}]) == [f"routes[0].weights{one}" for one in found]


def test_weights_and_mirrors_lead_to_names_and_urls():
    backends = {"app": backend(), "canary": backend(), "shadow": backend()}
    routes = [{"weights": {"app": 95, "canary": 5}, "mirror": {"backend": "shadow"}}]
    assert said(backends=backends, routes=routes, is_whole=True) == []
    routes = [{"weights": {"ap": 95, "canary": 5}, "mirror": {"backend": "shade"}}]
    assert said(backends=backends, routes=routes, is_whole=True) == [
        "routes[0].weights.ap: there is no backend `ap`; did you mean `app`?",
        "routes[0].mirror.backend: there is no backend `shade`; did you mean `shadow`?",
        "backends.app: no route leads here: add one, or remove it",
        "backends.shadow: no route leads here: add one, or remove it",
    ]


@pytest.mark.parametrize("way", [{"weights": {"h2c://a/x/": 1, "h2c://b": 1}}, {"backend": "h2c://a/x/"}])
def test_a_path_of_a_url_and_a_rewrite_do_not_go_together(way):
    (key,) = way
    where = "weights.h2c://a/x/" if key == "weights" else "backend"
    for rewrite in ({"prefix": "/y/"}, {"regex": "a", "to": "b"}):
        assert said(routes=[{**way, "rewrite": rewrite}]) == [
            f"routes[0].{where}: `rewrite` says the whole path, and /x/ nothing: take it away, or the rewrite"
        ]


@pytest.mark.parametrize(
    ("path", "rewrite", "found"),
    [
        ("/a/", {"prefix": "/b/"}, []),
        ("/a/", {}, [": write `prefix`, or `regex` and `to`"]),
        ("/a/", {"prefix": "/b/", "to": "c"}, [": write `prefix`, or `regex` and `to`, not both"]),
        ("/a/", {"prefix": "/b/", "regex": "c"}, [": write `prefix`, or `regex` and `to`, not both"]),
        ("/a/", {"prefix": "/a/"}, [".prefix: is the matched prefix itself: leave it out"]),
        (
            "regex:^/a",
            {"prefix": "/b/"},
            [".prefix: a regex leaves no prefix to replace: match a prefix, or rewrite by regex"],
        ),
        ("regex:^/a", {"regex": "a", "to": "b"}, []),
        ("/a/", {"regex": "a"}, [".regex: needs `to`"]),
        ("/a/", {"to": "a"}, [".to: needs `regex`"]),
        ("/a/", {"regex": "(?P<n>a)b", "to": r"/\g<n>\1"}, []),
        (
            "/a/",
            {"regex": "ab", "to": r"/\1"},
            [".to: invalid group reference 1 at position 2: the regex has none of that name"],
        ),
        (
            "/a/",
            {"regex": "ab", "to": r"/\g<n>"},
            [".to: unknown group name 'n': the regex has none of that name"],
        ),
    ],
)
def test_a_rewrite_is_a_prefix_or_a_regex_and_its_replacement(path, rewrite, found):
    route = {"match": {"path": path}, "backend": "h2c://a", "rewrite": rewrite}
    assert said(routes=[route]) == [f"routes[0].rewrite{one}" for one in found]


def test_rules_that_change_nothing_are_said():
    route = {
        "backend": "h2c://a",
        "request_headers": {"remove": ("X-A", "X-B"), "set": {"x-a": "1"}, "add": {"x-b": "2"}},
        "response_headers": {"remove": ("x-a",)},
        "cookie_domain": {".A.example": "a.example", "b.example": "a.example"},
        "cookie_path": {"/a": "/a", "/b": "/a"},
    }
    assert said(routes=[route]) == [
        "routes[0].request_headers.remove: x-a is set: that takes the place of what was there",
        "routes[0].cookie_domain: a.example stays what it is: leave it out",
        "routes[0].cookie_path: /a stays what it is: leave it out",
    ]


def test_a_route_that_overrides_names_statuses_and_one_that_is_logged_needs_a_log():
    url = {"backend": "h2c://a"}
    assert said(routes=[{**url, "error_override": ()}]) == [
        "routes[0].error_override: names no status: write some, or `true` for all from 400 to 599"
    ]
    assert said(routes=[{**url, "error_override": (404,)}]) == []
    assert said(routes=[{**url, "access_log": False}], access_log=AccessLog(path="off")) == [
        "routes[0].access_log: has no effect: the access log is off"
    ]
    assert said(routes=[{**url, "access_log": False}]) == []
    assert said(routes=[{**url, "access_log": False}], access_log=None) == []
    assert said(routes=[url], access_log=AccessLog(path="off")) == []


@pytest.mark.parametrize(
    ("pages", "found"),
    [
        ([{"html": 1}], []),
        ([{}], ["[0]: has no body: write html, json or text"]),
        ([{"html": 1}, {"html": 1}], ["[1].html: is never taken: error_pages[0] has one for all its statuses"]),
        ([{"html": 1}, {"json": 1, "text": 1}], []),
        ([{"json": 1}, None, {"json": 1}], ["[2].json: is never taken: error_pages[0] has one for all its statuses"]),
        (
            [{"status": (502, 503), "text": 1}, {"status": (503,), "text": 1, "html": 1}],
            ["[1].text: is never taken: error_pages[0] has one for all its statuses"],
        ),
        ([{"status": (503,), "text": 1}, {"status": (502, 503), "text": 1}, {"text": 1}], []),
    ],
)
def test_an_error_page_is_for_something(tmp_path, pages, found):
    (tmp_path / "page").write_text("sorry")
    pages = [
        None if page is None else {key: tmp_path / "page" if value == 1 else value for key, value in page.items()}
        for page in pages
    ]
    made = [None if page is None else ErrorPage.model_validate(page) for page in pages]
    assert said(error_pages=made) == [f"error_pages{one}" for one in found]
    if None not in pages:
        routes = [{"backend": "h2c://a", "error_pages": tuple(pages)}]
        assert said(routes=routes) == [f"routes[0].error_pages{one}" for one in found]


@pytest.mark.parametrize("to", ["", "/a b", "/ä", "/a\r\nb"])
def test_a_location_is_as_on_the_wire(to):
    assert said(routes=[{"redirect": {"to": to}}]) == [
        "routes[0].redirect.to: write a location as it is on the wire: ASCII, without spaces"
    ]


@pytest.mark.parametrize(
    "to", ["https://{path}", "HTTP:{path}", "https:/{path}", "//{path}", "/\\{query}", "https://", "https:///{path}"]
)
def test_a_location_does_not_take_its_host_from_the_path(to):
    assert said(routes=[{"redirect": {"to": to}}]) == [
        "routes[0].redirect.to: has no host: the first word of the path would be taken for it"
    ]


def test_only_two_placeholders_stand_in_a_location():
    assert said(routes=[{"redirect": {"to": "https://a/{path}{query}"}}]) == []
    assert said(routes=[{"redirect": {"to": "/{paht}{"}}]) == [
        "routes[0].redirect.to: {paht} stands for nothing: write {path} or {query}; did you mean `{path}`?",
        "routes[0].redirect.to: { stands for nothing: write {path} or {query}",
    ]


def test_a_route_behind_one_that_takes_all_its_requests_is_never_reached():
    paths = ["/a", "/a/b", "/c", "/a", "/"]
    routes = [{"match": {"path": path}, "respond": {"status": 404}} for path in paths]
    assert said(routes=[*routes, None, {"match": {"host": "x"}, "respond": {"status": 404}}]) == [
        "routes[1]: is never reached: routes[0] takes all its requests: move or remove it",
        "routes[3]: is never reached: routes[0] takes all its requests: move or remove it",
        "routes[6]: is never reached: routes[4] takes all its requests: move or remove it",
    ]


def test_a_backend_without_a_route_is_said_unless_a_route_is_unreadable():
    backends = {"a": backend(), "b": backend()}
    assert said(backends=backends, routes=[{"backend": "a"}], is_whole=True) == [
        "backends.b: no route leads here: add one, or remove it"
    ]
    assert said(backends=backends, routes=[{"backend": "a"}, None], is_whole=True) == []
    assert said(backends=backends, routes=[{"backend": "a"}]) == []


def test_a_handshake_timeout_is_for_listeners_with_tls(tmp_path):
    file = tmp_path / "a.pem"
    file.write_text("x")
    timeouts = Timeouts(tls_handshake=3.0)
    clear = {"address": "*:80"}
    tls = {"address": "*:443", "tls": {"certificates": ({"cert": file, "key": file},)}}
    assert said([clear], timeouts=timeouts, is_whole=True) == [
        "timeouts.tls_handshake: has no effect: no listener has tls"
    ]
    assert said([clear], timeouts=timeouts) == []
    assert said([clear, None], timeouts=timeouts, is_whole=True) == []
    assert said([clear, tls], timeouts=timeouts, is_whole=True) == []
    assert said([clear], timeouts=None, is_whole=True) == []


def test_the_last_call_leaves_time_to_finish():
    assert said(timeouts=Timeouts(last_call=20.0)) == [
        "timeouts.last_call: last_call (20s) is more than half of drain (30s): "
        "what begins late would have no time to finish"
    ]
    assert said(timeouts=Timeouts(last_call=20.0, drain=40.0)) == []
    assert said(timeouts=Timeouts(drain=1.0)) == []


def test_a_tunnels_timeout_is_for_routes_that_have_them():
    timeouts = Timeouts(tunnel_idle=60.0)
    found = ["timeouts.tunnel_idle: has no effect: no route lets WebSockets through"]
    without = {"backend": "h2c://a", "websocket": False}
    assert said(routes=[without], timeouts=timeouts, is_whole=True) == found
    assert said(routes=[{"respond": {"status": 404}}], timeouts=timeouts, is_whole=True) == found
    assert said(routes=[without], timeouts=timeouts) == []
    assert said(routes=[without, None], timeouts=timeouts, is_whole=True) == []
    assert said(routes=[{"backend": "h2c://a"}], timeouts=timeouts, is_whole=True) == []
    assert said(routes=[{"weights": {"h2c://a": 1, "h2c://b": 2}}], timeouts=timeouts, is_whole=True) == []
    assert said(routes=[{**without, "timeouts": {"tunnel_idle": 5.0}}]) == [
        "routes[0].timeouts.tunnel_idle: has no effect with `websocket: false`"
    ]
    assert said(routes=[{"backend": "h2c://a", "timeouts": {"tunnel_idle": 5.0}}]) == []


def test_one_address_cannot_have_more_connections_than_all():
    message = "limits.connections_per_address: is never reached: a worker has 10 connections at most "
    assert said(limits=Limits(connections=10, connections_per_address=10)) == [f"{message}(limits.connections)"]
    assert said(limits=Limits(connections=10, connections_per_address=9)) == []
    assert said(limits=Limits(connections=10)) == []
    assert said(limits=Limits(connections_per_address=10)) == []


def test_a_replay_buffer_holds_no_more_than_a_body_may_have():
    limits = Limits(replay_buffer=2048, max_body=1024)
    url = {"backend": "h2c://a"}
    found = ["limits.replay_buffer: is never filled: a body has 1KiB at most"]
    assert said(routes=[url], limits=limits, is_whole=True) == found
    small = {"match": {"path": "/small"}, **url, "max_body": 10}
    assert said(routes=[small, url], limits=limits, is_whole=True) == found
    assert said(routes=[{**url, "max_body": 4096}], limits=limits, is_whole=True) == []
    assert said(routes=[url], limits=limits) == []
    assert said(routes=[url], limits=Limits(replay_buffer=2048), is_whole=True) == []
    assert said(routes=[url], limits=Limits(max_body=1024), is_whole=True) == []
    assert said(routes=[], limits=limits, is_whole=True) == []


def test_windows_of_clients_fit_into_each_other():
    limits = Limits(stream_window=100_000, connection_window=70_000)
    assert said(limits=limits) == ["limits.stream_window: is never filled: connection_window is 70000"]
    assert said(limits=None) == []


@pytest.mark.parametrize(
    ("retries", "found"),
    [
        (Retries(tries=0), []),
        (Retries(backoff_min=1.0), ["retries.backoff_min: backoff_min (1s) is more than backoff_max (250ms)"]),
        (Retries(backoff_max=0.01), ["retries.backoff_max: backoff_min (25ms) is more than backoff_max (10ms)"]),
        (Retries(backoff_min=0.0, backoff_max=0.0), []),
        (None, []),
    ],
)
def test_retries_make_sense_together(retries, found):
    assert said(retries=retries) == found


def test_without_tries_there_is_nothing_to_say_of_retries_unless_a_route_has_some():
    retries = Retries(tries=0, budget=0.1, backoff_min=1.0)
    found = ["retries.budget: has no effect with `tries: 0`", "retries.backoff_min: has no effect with `tries: 0`"]
    assert said(routes=[{"backend": "h2c://a"}], retries=retries, is_whole=True) == found
    assert said(routes=[{"backend": "h2c://a", "retries": {"tries": 0}}], retries=retries, is_whole=True) == found
    retries = Retries(tries=0, budget=0.1)
    assert said(routes=[{"backend": "h2c://a", "retries": {"tries": 1}}], retries=retries, is_whole=True) == []
    assert said(routes=[{"backend": "h2c://a"}, None], retries=retries, is_whole=True) == []
    assert said(routes=[{"backend": "h2c://a"}], retries=retries) == []


def test_a_log_that_is_off_has_no_format():
    assert said(access_log=AccessLog(path="off", format="json")) == [
        "access_log.format: has no effect with `path: off`"
    ]
    assert said(access_log=AccessLog(path="off")) == []
    assert said(access_log=AccessLog(format="json")) == []
    assert said(access_log=None) == []
