"""What the types cannot see."""

from __future__ import annotations

import pytest

from h2gate.config.checks import Parts, check
from h2gate.config.model import AccessLog, Backend, Limits, Listener, Retries, Route, Timeouts
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


def test_a_default_never_contradicts_what_was_written():
    pool = {"max_streams": 1, "queue": 0, "connection_window": 70_000}
    assert said(backends={"a": backend(pool=pool)}) == []


@pytest.mark.parametrize(
    ("route", "found"),
    [
        ({}, "this one has none of them"),
        ({"backend": "h2c://a", "respond": {"status": 200}}, "not backend and respond"),
        ({"respond": {"status": 200}, "redirect": {"to": "/"}}, "not respond and redirect"),
    ],
)
def test_a_route_leads_to_exactly_one_thing(route, found):
    assert said(routes=[None, route]) == [
        f"routes[1]: a route leads to exactly one of backend, respond, redirect: {found}"
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


@pytest.mark.parametrize("to", ["", "/a b", "/ä", "/a\r\nb"])
def test_a_location_is_as_on_the_wire(to):
    assert said(routes=[{"redirect": {"to": to}}]) == [
        "routes[0].redirect.to: write a location as it is on the wire: ASCII, without spaces"
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


def test_windows_of_clients_fit_into_each_other():
    limits = Limits(stream_window=100_000, connection_window=70_000)
    assert said(limits=limits) == ["limits.stream_window: is never filled: connection_window is 70000"]
    assert said(limits=None) == []


@pytest.mark.parametrize(
    ("retries", "found"),
    [
        (Retries(tries=0), []),
        (Retries(tries=0, budget=0.1), ["retries.budget: has no effect with `tries: 0`"]),
        (Retries(backoff_min=1.0), ["retries.backoff_min: backoff_min (1s) is more than backoff_max (250ms)"]),
        (Retries(backoff_max=0.01), ["retries.backoff_max: backoff_min (25ms) is more than backoff_max (10ms)"]),
        (Retries(backoff_min=0.0, backoff_max=0.0), []),
        (None, []),
    ],
)
def test_retries_make_sense_together(retries, found):
    assert said(retries=retries) == found


def test_a_log_that_is_off_has_no_format():
    assert said(access_log=AccessLog(path="off", format="json")) == [
        "access_log.format: has no effect with `path: off`"
    ]
    assert said(access_log=AccessLog(path="off")) == []
    assert said(access_log=AccessLog(format="json")) == []
    assert said(access_log=None) == []
