"""What of a response's Links is pushed."""

from __future__ import annotations

import pytest

from h2gate.protocol.events import RequestHead, ResponseHead
from h2gate.proxy.early_hints import preloads, promised
from tests.proxy.fakes import House


@pytest.mark.parametrize(
    ("link", "paths"),
    [
        (b"</a.css>; rel=preload; as=style", [b"/a.css"]),
        (b'</a.css>; rel="preload"', [b"/a.css"]),
        (b'</a.css>; rel="next Preload"; as=style', [b"/a.css"]),
        (b"</a.css>; rel=preload, </b.js>;rel=preload", [b"/a.css", b"/b.js"]),
        (b'</a.css>; title="a, b; rel=x"; rel=preload, </b.js>; rel=next', [b"/a.css"]),
        (rb'</a.css>; title="a\", <b>; rel=x"; rel=preload', [b"/a.css"]),
        (b"</a.css>; rel=preload; nopush", []),
        (b"</a.css>; nopush; rel=preload", []),
        (b"</a.css>; rel=next; rel=preload", []),
        (b"</a.css>; rel=prefetch", []),
        (b"</a.css>", []),
        (b"<a.css>; rel=preload", []),
        (b"<//cdn.example/a.css>; rel=preload", []),
        (b"<https://cdn.example/a.css>; rel=preload", []),
        (b"<http://site.example/a.css>; rel=preload", [b"/a.css"]),
        (b"<http://site.example.evil/a.css>; rel=preload", []),
        (b"</a.svg#x>; rel=preload", [b"/a.svg"]),
        (b"</a b>; rel=preload", []),
        (b"<*>; rel=preload", []),
    ],
)
def test_preloads_of_the_clients_own_origin_are_found(link: bytes, paths: list[bytes]) -> None:
    fields = [(b"content-type", b"text/html"), (b"link", link)]
    assert list(preloads(fields, b"http", b"site.example")) == paths


def test_a_long_line_of_links_takes_no_long_time() -> None:
    """A regular expression that goes back and forth would take years for this one."""
    assert list(preloads([(b"link", b"</a>;" + b" x;" * 20_000)], b"http", b"h")) == []
    assert list(preloads([(b"link", b"</a>; x=" + b'"\\' * 20_000)], b"http", b"h")) == []
    assert list(preloads([(b"link", b"<" * 1_000_000)], b"http", b"h")) == []


def test_a_promise_is_a_get_with_the_clients_taste_and_none_of_its_secrets() -> None:
    fields = [(b"accept-encoding", b"br"), (b"cookie", b"a=b"), (b"authorization", b"x"), (b"user-agent", b"u")]
    head = promised(RequestHead(b"HEAD", b"https", b"site.example", b"/", fields), b"/a.css")
    assert (head.method, head.scheme, head.authority, head.path) == (b"GET", b"https", b"site.example", b"/a.css")
    assert head.fields == [(b"accept-encoding", b"br"), (b"user-agent", b"u")]


HINT = ResponseHead(103, [(b"link", b"</base/a.css>; rel=preload")])


def hinted(mode: str, *, can_push: bool, method: bytes = b"GET"):
    route = {"match": {"path": "/app/"}, "backend": "app", "early_hints": mode}
    house = House("h2c://backend:9000/base/", routes=[route])
    client, _ = house.begin(method, b"/app/")
    client.can_push = can_push
    sink = house.pool.streams[0].sink
    sink.on_interim(ResponseHead(103, list(HINT.fields)))
    sink.on_response(ResponseHead(200, [(b"link", b"</base/b.js>; rel=preload")]), True)
    assert client.status == 200
    return client


def test_push_promises_what_hint_and_head_preload_by_the_clients_paths() -> None:
    client = hinted("push", can_push=True)
    assert [head.path for head in client.pushed] == [b"/app/a.css", b"/app/b.js"]
    assert [head.status for head in client.interims] == [103]


def test_without_push_hints_are_forwarded() -> None:
    for mode, can_push in (("push", False), ("forward", True)):
        client = hinted(mode, can_push=can_push)
        assert client.pushed == []
        assert [head.fields[0][1] for head in client.interims] == [b"</app/a.css>; rel=preload"]


def test_off_drops_hints_and_no_other_interim_head() -> None:
    client = hinted("off", can_push=True)
    assert (client.pushed, client.interims) == ([], [])


def test_nothing_is_pushed_for_what_is_no_page() -> None:
    assert hinted("push", can_push=True, method=b"DELETE").pushed == []
