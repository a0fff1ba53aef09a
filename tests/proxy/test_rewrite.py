from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from h2gate.config.model import FieldRules, Forwarding
from h2gate.contract import Client
from h2gate.protocol.events import Fields, RequestHead, ResponseHead
from h2gate.proxy import rewrite
from h2gate.proxy.field_rules import compile_rules
from h2gate.proxy.mapping import ReverseMapping
from h2gate.proxy.rewrite import Rewriter

STRANGER = Client("203.0.113.7", 40000, 8443, b"https", is_trusted=False, tls="TLSv1.3")
PROXY = Client("127.0.0.1", 40000, 8080, b"http", is_trusted=True)
SOCKET = Client("unix:", 0, 0, b"http", is_trusted=False)
ID = b"0123456789abcdef"
DATE = b"Mon, 23 Nov 2026 12:00:00 GMT"
USUAL = Forwarding()
NO_RULES = FieldRules()
MAPPING = ReverseMapping(b"10.0.0.1:9000", b"http", b"/base/", b"/app/", b"www.example", b"https")


def rewritten(
    fields: Fields,
    client: Client = STRANGER,
    preserve_host: bool = False,
    forwarding: Forwarding = USUAL,
    rules: FieldRules = NO_RULES,
    **changes: Any,
) -> RequestHead:
    # What stands for a client is worked out once, by the first of its requests.
    client.standing_fields.clear()
    facts: dict[str, Any] = {
        "method": b"GET",
        "scheme": b"https",
        "authority": b"www.example",
        "path": b"/app/x",
        "version": b"HTTP/1.1",
    }
    head = RequestHead(fields=list(fields), **facts | changes)
    route: Any = SimpleNamespace(preserve_host=preserve_host, request_rules=compile_rules(rules))
    result = Rewriter(forwarding).request(head, route, b"/base/x", client, ID)
    assert head.fields == fields, "the client's head stays as it was, for the log"
    return result


def values(head: RequestHead | ResponseHead, name: bytes) -> list[bytes]:
    return [value for field, value in head.fields if field == name]


def forwarded(head: RequestHead) -> dict[bytes, list[bytes]]:
    return {
        name: values(head, b"x-forwarded-" + name)
        for name in (b"for", b"host", b"proto", b"port")
        if values(head, b"x-forwarded-" + name)
    }


def responded(
    fields: Fields, status: int = 200, forwarding: Forwarding = USUAL, rules: FieldRules = NO_RULES
) -> ResponseHead:
    date: Any = SimpleNamespace(now=lambda: DATE)
    head = ResponseHead(status, list(fields))
    return Rewriter(forwarding).response(head, lambda: MAPPING, date, compile_rules(rules))


# Requests


def test_end_to_end_fields_pass_in_order() -> None:
    fields: Fields = [
        (b"accept", b"*/*"),
        (b"cookie", b"a=b"),
        (b"expect", b"100-continue"),
        (b"trailer", b"x-sum"),
        (b"authorization", b"Basic x"),
        (b"x-more", b"c=d"),
        (b"cache-control", b"no-cache"),
    ]
    assert rewritten(fields).fields[: len(fields)] == fields


@pytest.mark.parametrize(
    "name",
    [
        b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade", b"http2-settings",
        b"proxy-authorization",
    ],
)  # fmt: skip
def test_fields_for_one_hop_do_not_pass(name: bytes) -> None:
    assert values(rewritten([(name, b"x-nothing")]), name) == []


def test_what_connection_names_does_not_pass() -> None:
    head = rewritten(
        [
            (b"x-first", b"1"),
            (b"connection", b"close, X-First ,,x-second"),
            (b"x-second", b"2"),
            (b"connection", b"\tX-Third\t"),
            (b"x-third", b"3"),
            (b"x-last", b"4"),
        ]
    )
    assert [name for name, _ in head.fields if name not in OURS] == [b"x-last"]


OURS = [b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-forwarded-port", b"x-request-id", b"via"]


@pytest.mark.parametrize("client", [STRANGER, PROXY], ids=["stranger", "proxy"])
@pytest.mark.parametrize("name", [*OURS, b"content-length", b"te"])
def test_connection_takes_nothing_away_that_the_gate_says(name: bytes, client: Client) -> None:
    fields: Fields = [(b"te", b"trailers"), (b"content-length", b"5")]
    before = rewritten(fields, client, content_length=5)
    after = rewritten([*fields, (b"connection", name)], client, content_length=5)
    assert after.fields == before.fields
    assert len(values(after, name)) == 1


def test_connection_takes_nothing_away_that_a_trusted_proxy_said() -> None:
    said: Fields = [
        (b"x-forwarded-for", b"198.51.100.1"),
        (b"x-forwarded-host", b"public.example"),
        (b"x-forwarded-proto", b"https"),
        (b"x-forwarded-port", b"443"),
        (b"x-forwarded-client-cert", b"Hash=1"),
    ]
    names = b", ".join(name for name, _ in said)
    assert rewritten([*said, (b"connection", names)], PROXY).fields == rewritten(said, PROXY).fields


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"trailers", [b"trailers"]),
        (b"Trailers", [b"trailers"]),
        (b"gzip;q=0.5, trailers", [b"trailers"]),
        (b"trailers;q=0.5", [b"trailers"]),
        (b"gzip", []),
        (b"x-trailers", []),
    ],
)
def test_te_says_trailers_or_nothing(value: bytes, expected: list[bytes]) -> None:
    assert values(rewritten([(b"te", value), (b"connection", b"TE")]), b"te") == expected


def test_two_te_fields_become_one() -> None:
    assert values(rewritten([(b"te", b"trailers"), (b"te", b"trailers")]), b"te") == [b"trailers"]


def test_nothing_says_te_that_the_client_did_not() -> None:
    assert values(rewritten([]), b"te") == []


def test_a_stranger_is_described_by_what_the_gate_sees() -> None:
    assert forwarded(rewritten([])) == {
        b"for": [b"203.0.113.7"],
        b"host": [b"www.example"],
        b"proto": [b"https"],
        b"port": [b"8443"],
    }


def test_nothing_a_stranger_says_of_itself_passes() -> None:
    fields: Fields = [
        (b"x-forwarded-for", b"10.0.0.1"),
        (b"x-forwarded-for", b"10.0.0.2"),
        (b"x-forwarded-host", b"evil.example"),
        (b"x-forwarded-proto", b"http"),
        (b"x-forwarded-port", b"1"),
        (b"x-forwarded-prefix", b"/evil"),
        (b"x-forwarded-client-cert", b"Subject=admin"),
        (b"x-forwarded-protocol", b"https"),
        (b"x-forwarded-user", b"admin"),
        (b"x-forwarded_preferred-username", b"admin"),
        (b"x-real-ip", b"10.0.0.1"),
        (b"forwarded", b"for=10.0.0.1"),
    ]
    assert rewritten(fields).fields == rewritten([]).fields


@pytest.mark.parametrize("client", [STRANGER, PROXY], ids=["stranger", "proxy"])
@pytest.mark.parametrize(
    "name", [b"x_forwarded_for", b"x-forwarded_for", b"x_forwarded-proto", b"x_real_ip", b"x_request_id"]
)
def test_no_field_passes_that_a_backend_could_take_for_one_of_the_gates(name: bytes, client: Client) -> None:
    assert rewritten([(name, b"10.0.0.1")], client).fields == rewritten([], client).fields


def test_a_trusted_proxy_is_believed_and_appended_to() -> None:
    fields: Fields = [
        (b"x-forwarded-for", b"198.51.100.1"),
        (b"x-forwarded-for", b"198.51.100.2, 198.51.100.3"),
        (b"x-forwarded-host", b"public.example"),
        (b"x-forwarded-proto", b"https"),
        (b"x-forwarded-port", b"443"),
        (b"forwarded", b"for=198.51.100.1"),
    ]
    head = rewritten(fields, PROXY)
    assert forwarded(head) == {
        b"for": [b"198.51.100.1, 198.51.100.2, 198.51.100.3, 127.0.0.1"],
        b"host": [b"public.example"],
        b"proto": [b"https"],
        b"port": [b"443"],
    }
    assert values(head, b"forwarded") == [b"for=198.51.100.1"]


def test_what_a_trusted_proxy_does_not_say_the_gate_says() -> None:
    assert forwarded(rewritten([(b"x-forwarded-proto", b"https"), (b"x-forwarded-for", b"")], PROXY)) == {
        b"for": [b"127.0.0.1"],
        b"host": [b"www.example"],
        b"proto": [b"https"],
        b"port": [b"8080"],
    }


def test_a_client_on_a_unix_socket_has_no_address_or_port() -> None:
    assert forwarded(rewritten([], SOCKET)) == {b"host": [b"www.example"], b"proto": [b"http"]}
    trusted = Client("unix:", 0, 0, b"http", is_trusted=True)
    assert forwarded(rewritten([(b"x-forwarded-for", b"::1")], trusted))[b"for"] == [b"::1"]


def test_no_host_is_invented_for_a_client_that_sent_none() -> None:
    assert b"host" not in forwarded(rewritten([], authority=b""))


@pytest.mark.parametrize(
    ("version", "via"),
    [(b"HTTP/1.0", b"1.0 h2gate"), (b"HTTP/1.1", b"1.1 h2gate"), (b"HTTP/2.0", b"2.0 h2gate")],
)
def test_via_tells_the_clients_version(version: bytes, via: bytes) -> None:
    assert values(rewritten([], version=version), b"via") == [via]


def test_via_is_appended_to() -> None:
    assert values(rewritten([(b"via", b"1.0 a"), (b"via", b"1.1 b (x, y)")]), b"via") == [
        b"1.0 a, 1.1 b (x, y), 1.1 h2gate"
    ]


def test_the_head_is_ready_but_for_what_the_lease_tells() -> None:
    head = rewritten([(b"content-length", b"5, 5")], content_length=5, target=b"/app/%78")
    assert (head.method, head.scheme, head.authority, head.path) == (b"GET", b"", b"", b"/base/x")
    assert (head.content_length, head.version, head.target) == (5, b"HTTP/2.0", b"/app/%78")
    assert values(head, b"content-length") == [b"5"]
    assert values(rewritten([]), b"content-length") == []


def test_preserve_host_keeps_the_clients_authority() -> None:
    assert rewritten([], preserve_host=True).authority == b"www.example"


def test_the_request_id_is_the_one_given() -> None:
    assert values(rewritten([(b"x-request-id", b"theirs"), (b"x-request-id", b"two")]), b"x-request-id") == [ID]


@pytest.mark.parametrize("value", [b"a", b"a" * 128, b'~!"\\'])
def test_a_sane_request_id_is_kept(value: bytes) -> None:
    assert rewrite.request_id_of(RequestHead(b"GET", b"", b"", b"/", [(b"x-request-id", value)])) == value


@pytest.mark.parametrize("value", [b"", b"a" * 129, b"a b", b"a\tb", b"a\x7f", b"\xc3\xa4"])
def test_another_request_id_is_replaced(value: bytes) -> None:
    made = rewrite.request_id_of(RequestHead(b"GET", b"", b"", b"/", [(b"x-request-id", value)]))
    assert made != value
    assert len(made) == 32
    int(made, 16)


def test_request_ids_differ() -> None:
    head = RequestHead(b"GET", b"", b"", b"/")
    assert len({rewrite.request_id_of(head) for _ in range(1000)}) == 1000


names = st.sampled_from(
    [*OURS, b"x-a", b"x-b", b"connection", b"te", b"forwarded", b"x_forwarded_for", b"cookie", b"upgrade"]
)
field_lists = st.lists(
    st.tuples(names, st.sampled_from([b"x-a", b"trailers", b"close, x-b", b"x-forwarded-for", b"via", b"1", b""])),
    max_size=12,
)


@settings(deadline=None)
@given(field_lists)
def test_a_stranger_cannot_change_what_the_gate_says_of_it(fields: Fields) -> None:
    head = rewritten(fields)
    assert forwarded(head) == forwarded(rewritten([]))
    assert values(head, b"x-request-id") == [ID]
    assert len(values(head, b"via")) == 1
    assert values(head, b"via")[0].endswith(b"1.1 h2gate")
    assert not {name for name, _ in head.fields} & (rewrite.HOP_BY_HOP - {b"te"})
    assert b"; ".join(values(head, b"cookie")) == b"; ".join(value for name, value in fields if name == b"cookie")


@pytest.mark.parametrize(
    ("fields", "client", "origin"),
    [
        ([], STRANGER, (b"https", b"www.example")),
        (
            [(b"x-forwarded-proto", b"http"), (b"x-forwarded-host", b"evil.example")],
            STRANGER,
            (b"https", b"www.example"),
        ),
        ([(b"x-forwarded-proto", b"HTTPS, http")], PROXY, (b"https", b"www.example")),
        ([(b"x-forwarded-host", b"public.example:8443, b")], PROXY, (b"http", b"public.example:8443")),
        ([(b"x-forwarded-proto", b"ftp"), (b"x-forwarded-host", b"a/b")], PROXY, (b"http", b"www.example")),
    ],
)
def test_the_clients_origin_is_what_a_trusted_proxy_forwards(
    fields: Fields, client: Client, origin: tuple[bytes, bytes]
) -> None:
    assert rewrite.client_origin(RequestHead(b"GET", b"https", b"www.example", b"/", fields), client) == origin


# Responses


def test_a_response_keeps_server_and_date_and_gets_what_is_missing() -> None:
    assert responded([]).fields == [(b"server", b"h2gate"), (b"date", DATE), (b"via", b"2.0 h2gate")]
    own: Fields = [(b"date", b"yesterday"), (b"server", b"app/1")]
    assert responded(own).fields == [*own, (b"via", b"2.0 h2gate")]


def test_via_of_a_response_is_appended_to() -> None:
    assert values(responded([(b"via", b"1.1 inner")]), b"via") == [b"1.1 inner, 2.0 h2gate"]


def test_fields_for_one_hop_and_alt_svc_do_not_pass_back() -> None:
    fields: Fields = [
        (b"connection", b"x-gone"),
        (b"x-gone", b"1"),
        (b"keep-alive", b"timeout=5"),
        (b"alt-svc", b'h3=":443"'),
        (b"proxy-authenticate", b"Basic"),
        (b"upgrade", b"h2c"),
        (b"x-stays", b"1"),
    ]
    assert responded(fields).fields == [(b"x-stays", b"1"), *responded([]).fields]


def test_all_fields_with_urls_are_mapped_back() -> None:
    fields: Fields = [
        (b"location", b"http://10.0.0.1:9000/base/x"),
        (b"content-location", b"/base/x"),
        (b"destination", b"http://10.0.0.1:9000/base/y"),
        (b"uri", b"</base/x>"),
        (b"refresh", b"0; url=/base/x"),
        (b"link", b"</base/x>; rel=preload"),
        (b"set-cookie", b"a=1; Path=/base/"),
        (b"x-location", b"/base/x"),
        (b"set-cookie", b"b=2; Path=/base/"),
    ]
    assert responded(fields, 302).fields[: len(fields)] == [
        (b"location", b"https://www.example/app/x"),
        (b"content-location", b"/app/x"),
        (b"destination", b"https://www.example/app/y"),
        (b"uri", b"</app/x>"),
        (b"refresh", b"0; url=/app/x"),
        (b"link", b"</app/x>; rel=preload"),
        (b"set-cookie", b"a=1; Path=/app/"),
        (b"x-location", b"/base/x"),
        (b"set-cookie", b"b=2; Path=/app/"),
    ]


def test_an_interim_head_is_mapped_and_gets_nothing_added() -> None:
    fields: Fields = [(b"link", b"</base/x>; rel=preload"), (b"connection", b"close"), (b"content-length", b"5")]
    head = rewrite.interim(ResponseHead(103, fields), lambda: MAPPING)
    assert head == ResponseHead(103, [(b"link", b"</app/x>; rel=preload")])


def test_trailers_pass_without_what_is_for_one_hop_or_the_gates_to_say() -> None:
    fields: Fields = [
        (b"grpc-status", b"0"),
        (b"connection", b"close"),
        (b"x-forwarded-for", b"10.0.0.1"),
        (b"x_forwarded_for", b"10.0.0.1"),
        (b"x-request-id", b"1"),
        (b"x-sum", b"1"),
    ]
    assert rewrite.trailers(fields) == [(b"grpc-status", b"0"), (b"x-sum", b"1")]


# What `forwarding` chooses

NO_X = Forwarding(x_forwarded=False)
CERTIFIED = Client("203.0.113.7", 40000, 8443, b"https", is_trusted=False, certificate=b"Hash=ours")


def test_without_x_forwarded_nothing_is_said_and_nothing_the_client_said_passes() -> None:
    said: Fields = [(b"x-forwarded-for", b"1.2.3.4"), (b"x-forwarded-host", b"a"), (b"x-real-ip", b"1.2.3.4")]
    for client in (STRANGER, PROXY):
        assert rewritten(said, client, forwarding=NO_X).fields == [(b"x-request-id", ID), (b"via", b"1.1 h2gate")]


def test_forwarded_is_replaced_for_strangers_and_added_to_for_trusted_proxies() -> None:
    said: Fields = [(b"forwarded", b"for=1.2.3.4"), (b"forwarded", b"for=10.0.0.9")]
    for forwarding in (Forwarding(forwarded=True), Forwarding(forwarded=True, x_forwarded=False)):
        ours = b"for=203.0.113.7;host=www.example;proto=https;by=_h2gate"
        assert values(rewritten(said, forwarding=forwarding), b"forwarded") == [ours]
        ours = b"for=1.2.3.4, for=10.0.0.9, for=127.0.0.1;host=www.example;proto=http;by=_h2gate"
        assert values(rewritten(said, PROXY, forwarding=forwarding), b"forwarded") == [ours]


def test_connection_cannot_take_forwarded_away() -> None:
    forwarding = Forwarding(forwarded=True)
    fields: Fields = [(b"connection", b"forwarded, x-forwarded-client-cert")]
    assert len(values(rewritten(fields, CERTIFIED, forwarding=forwarding), b"forwarded")) == 1
    assert values(rewritten(fields, CERTIFIED), b"x-forwarded-client-cert") == [b"Hash=ours"]


def test_what_a_trusted_proxy_says_by_forwarded_is_said_by_x_forwarded_too() -> None:
    said: Fields = [(b"forwarded", b'for="[2001:db8::1]:99";proto=HTTPS;host="public.example:8443", for=_x;host=b')]
    assert forwarded(rewritten(said, PROXY)) == {
        b"for": [b"2001:db8::1, 127.0.0.1"],
        b"host": [b"public.example:8443"],
        b"proto": [b"https"],
        b"port": [b"8080"],
    }
    origin = rewrite.client_origin(RequestHead(b"GET", b"http", b"www.example", b"/", said), PROXY)
    assert origin == (b"https", b"public.example:8443")
    # its own X-Forwarded-* wins
    both = [(b"x-forwarded-proto", b"http"), *said]
    assert forwarded(rewritten(both, PROXY))[b"proto"] == [b"http"]
    assert rewrite.client_origin(RequestHead(b"GET", b"http", b"www.example", b"/", both), PROXY)[0] == b"http"


@pytest.mark.parametrize("value", [b"for=_hidden", b"for=1.2.3.4;host=a b", b'host="a/b";proto=ftp'])
def test_what_forwarded_does_not_say_well_the_gate_says(value: bytes) -> None:
    assert forwarded(rewritten([(b"forwarded", value)], PROXY)) == forwarded(rewritten([], PROXY))


def test_the_clients_certificate_goes_on_and_nobody_elses() -> None:
    theirs = (b"x-forwarded-client-cert", b"Hash=theirs")
    assert values(rewritten([], CERTIFIED), theirs[0]) == [b"Hash=ours"]
    assert values(rewritten([theirs], CERTIFIED), theirs[0]) == [b"Hash=ours"]
    assert values(rewritten([theirs], CERTIFIED, forwarding=NO_X), theirs[0]) == [b"Hash=ours"]
    assert values(rewritten([theirs]), theirs[0]) == []
    trusted = Client("127.0.0.1", 1, 1, b"https", is_trusted=True, certificate=b"Hash=ours")
    for forwarding in (USUAL, NO_X):
        assert values(rewritten([theirs], trusted, forwarding=forwarding), theirs[0]) == [b"Hash=theirs, Hash=ours"]
        assert values(rewritten([theirs], PROXY, forwarding=forwarding), theirs[0]) == [b"Hash=theirs"]


@pytest.mark.parametrize(
    ("via", "request_via", "response_via"),
    [
        ("on", [b"1.0 a, 1.1 h2gate"], [b"1.1 inner, 2.0 h2gate"]),
        ("off", [b"1.0 a"], [b"1.1 inner"]),
        ("block", [], []),
    ],
)
def test_via_is_added_to_left_alone_or_blocked(via: Any, request_via: list[bytes], response_via: list[bytes]) -> None:
    forwarding = Forwarding(via=via)
    assert values(rewritten([(b"via", b"1.0 a")], forwarding=forwarding), b"via") == request_via
    assert values(responded([(b"via", b"1.1 inner")], forwarding=forwarding), b"via") == response_via
    if via != "on":
        assert values(rewritten([], forwarding=forwarding), b"via") == []
        assert values(responded([], forwarding=forwarding), b"via") == []


@settings(deadline=None)
@given(field_lists, st.booleans(), st.booleans(), st.sampled_from(["on", "off", "block"]))
def test_a_stranger_cannot_change_what_the_gate_says_whatever_is_chosen(
    fields: Fields, x_forwarded: bool, sends_forwarded: bool, via: Any
) -> None:
    forwarding = Forwarding(x_forwarded=x_forwarded, forwarded=sends_forwarded, via=via)
    head = rewritten(fields, CERTIFIED, forwarding=forwarding)
    alone = rewritten([], CERTIFIED, forwarding=forwarding)
    for name in (b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-client-cert", b"x-request-id"):
        assert values(head, name) == values(alone, name)


# Fields with a meaning for one hop


@pytest.mark.parametrize(
    ("value", "version", "passes"),
    [
        (b"100-continue", b"HTTP/1.1", True),
        (b"100-Continue", b"HTTP/2.0", True),
        (b"100-continue", b"HTTP/1.0", False),
        (b"x-other", b"HTTP/1.1", False),
        (b"100-continue, x-other", b"HTTP/1.1", False),
    ],
)
def test_only_100_continue_may_be_expected(value: bytes, version: bytes, passes: bool) -> None:
    assert values(rewritten([(b"expect", value)], version=version), b"expect") == [value] * passes


@pytest.mark.parametrize(
    ("method", "value", "expected"),
    [
        (b"OPTIONS", b"7", b"6"),
        (b"TRACE", b"1", b"0"),
        (b"TRACE", b"999999999999999999", b"999999999999999998"),
        (b"GET", b"7", b"7"),
        (b"GET", b"x", b"x"),
    ],
)
def test_max_forwards_is_counted_down_for_options_and_trace(method: bytes, value: bytes, expected: bytes) -> None:
    assert values(rewritten([(b"max-forwards", value)], method=method), b"max-forwards") == [expected]


@pytest.mark.parametrize("hops", [[b""], [b"-1"], [b"1", b"1"], [b"1,1"], [b"0x1"], [b"1" * 19], ["²".encode()]])
def test_max_forwards_that_is_no_number_is_an_error(hops: list[bytes]) -> None:
    fields: Fields = [(b"max-forwards", value) for value in hops]
    with pytest.raises(ValueError, match="Max-Forwards"):
        rewrite.hops_of(RequestHead(b"OPTIONS", b"", b"", b"/", fields))
    assert rewrite.hops_of(RequestHead(b"GET", b"", b"", b"/", fields)) is None


@pytest.mark.parametrize("version", [b"HTTP/1.1", b"HTTP/2.0"])
def test_crumbs_of_a_cookie_are_joined_where_the_first_one_stood(version: bytes) -> None:
    fields: Fields = [(b"cookie", b"a=1"), (b"accept", b"*/*"), (b"cookie", b"b=2"), (b"cookie", b"c=3; d=4")]
    assert rewritten(fields, version=version).fields[:2] == [(b"cookie", b"a=1; b=2; c=3; d=4"), (b"accept", b"*/*")]
    assert values(rewritten([(b"te", b"trailers"), *fields], version=version), b"cookie") == [b"a=1; b=2; c=3; d=4"]


# The operator's own rules


def test_fields_are_removed_set_and_added_last() -> None:
    rules = FieldRules(
        remove=("X-Gone", "x-request-id"), set={"X-Set": "new", "X-Forwarded-Proto": "wss"}, add={"X-Add": "ü"}
    )
    fields: Fields = [(b"x-gone", b"1"), (b"x-set", b"1"), (b"x-set", b"2"), (b"x-add", b"1"), (b"x-stays", b"1")]
    head = rewritten(fields, rules=rules)
    assert values(head, b"x-gone") == values(head, b"x-request-id") == []
    assert values(head, b"x-set") == [b"new"]
    assert values(head, b"x-forwarded-proto") == [b"wss"]
    assert values(head, b"x-add") == [b"1", "ü".encode()]
    assert head.fields[0] == (b"x-add", b"1")
    assert rewritten(fields).fields[: len(fields)] == fields


def test_rules_for_responses_run_last_too() -> None:
    rules = FieldRules(remove=("Server",), set={"Cache-Control": "no-transform"}, add={"Set-Cookie": "b=2"})
    head = responded([(b"cache-control", b"public"), (b"set-cookie", b"a=1")], rules=rules)
    assert values(head, b"server") == []
    assert values(head, b"cache-control") == [b"no-transform"]
    assert values(head, b"set-cookie") == [b"a=1", b"b=2"]
    assert values(head, b"via") == [b"2.0 h2gate"]


def test_rules_that_do_nothing_are_none() -> None:
    assert compile_rules(NO_RULES) is None
