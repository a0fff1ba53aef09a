"""Where routes lead."""

from __future__ import annotations

from h2gate.config.model import Config
from h2gate.config.resolved import Target, backends_of, mirror_of, target_of, targets_of


def config(backends=None, *routes) -> Config:
    return Config(listeners=({"address": "*:80"},), backends=backends or {}, routes=routes)


def test_a_name_leads_to_its_backend_with_the_path_of_its_endpoints():
    one = config(
        {"a": {"endpoints": ("h2c://a/x/",)}, "b": {"endpoints": ("h2c://b",)}}, {"backend": "a"}, {"backend": "b"}
    )
    assert [target_of(one, route) for route in one.routes] == [Target("a", b"/x/"), Target("b", None)]
    assert backends_of(one) == one.backends


def test_routes_with_a_url_to_one_place_share_a_backend():
    urls = ["h2c://a:9000/x/", "h2c://A:9000/y", "h2c://a:9000", "h2://a:9000/"]
    one = config({}, *({"backend": url} for url in urls))
    assert [target_of(one, route) for route in one.routes] == [
        Target("h2c://a:9000", b"/x/"),
        Target("h2c://a:9000", b"/y"),
        Target("h2c://a:9000", None),
        Target("h2://a:9000", b"/"),
    ]
    found = backends_of(one)
    assert list(found) == ["h2c://a:9000", "h2://a:9000"]
    assert [str(endpoint.url) for endpoint in found["h2c://a:9000"].endpoints] == ["h2c://a:9000"]


def test_a_route_without_a_backend_leads_nowhere_and_unused_backends_are_not_there():
    one = config({"a": {"endpoints": ("h2c://a",)}}, {"respond": {"status": 404}}, {"backend": "h2c+unix:/run/b"})
    assert target_of(one, one.routes[0]) is None
    assert list(backends_of(one)) == ["h2c+unix:/run/b"]


def test_weights_and_mirrors_lead_to_names_and_urls_too():
    backends = {"a": {"endpoints": ("h2c://a/x/",)}, "m": {"endpoints": ("h2c://m",)}}
    one = config(
        backends,
        {"match": {"path": "/w/"}, "weights": {"a": 9, "h2c://b/y/": 1}, "mirror": {"backend": "m"}},
        {"match": {"path": "/u/"}, "backend": "a", "mirror": {"backend": "h2c://n/z/"}},
        {"respond": {"status": 404}},
    )
    weighted, plain, answered = one.routes
    assert target_of(one, weighted) is None
    assert targets_of(one, weighted) == ((Target("a", b"/x/"), 9), (Target("h2c://b", b"/y/"), 1))
    assert targets_of(one, plain) == ((Target("a", b"/x/"), 1),)
    assert targets_of(one, answered) == ()
    assert [mirror_of(one, route) for route in one.routes] == [Target("m", None), Target("h2c://n", b"/z/"), None]
    assert list(backends_of(one)) == ["a", "h2c://b", "m", "h2c://n"]
