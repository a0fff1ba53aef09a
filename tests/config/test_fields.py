"""What an operator writes of fields, cookies and addresses."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from h2gate.config.model import FieldRules, Match, Pool, Rewrite, Route


def rules(**words: object) -> FieldRules:
    return FieldRules.model_validate(words)


def refused(model: type, **words: object) -> str:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(words)
    (error,) = caught.value.errors()
    return str(error["ctx"]["error"])


def test_names_are_in_lower_case_and_values_without_spaces_around_them():
    made = rules(remove=("X-A",), set={"X-B": " b  c\t"}, add={"x-c": "\u00e4", "X-D": ""})
    assert made == FieldRules(remove=("x-a",), set={"x-b": "b  c"}, add={"x-c": "\u00e4", "x-d": ""})


@pytest.mark.parametrize("name", ["", "a b", "a:", "\u00e4", "a\n"])
def test_a_name_is_a_token(name):
    found = f"{name or 'nothing'} is no name of a field: write it without colon and spaces, as X-Name"
    assert refused(FieldRules, remove=(name,)) == found
    assert refused(FieldRules, set={name: "x"}) == found


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        (":path", "`rewrite`"),
        ("Host", "`preserve_host`"),
        ("Via", "`forwarding.via`"),
        ("Upgrade", "`websocket`"),
        ("Connection", "for one connection"),
        ("keep-alive", "for one connection"),
        ("proxy-connection", "for one connection"),
        ("http2-settings", "for one connection"),
        ("TE", "goes on by itself"),
        ("Transfer-Encoding", "frames"),
        ("Content-Length", "leave it out"),
        ("Proxy-Authorization", "write authorization"),
        ("Proxy-Authenticate", "for one hop"),
        ("Proxy-Authentication-Info", "for one hop"),
    ],
)
def test_what_is_not_the_operators_to_change_is_told_with_what_to_do_instead(name, instead):
    for key in ("set", "add"):
        assert instead in refused(FieldRules, **{key: {name: "x"}})
    assert instead in refused(FieldRules, remove=(name,))


@pytest.mark.parametrize("name", ["X-Forwarded-Proto", "Forwarded", "X-Request-Id", "Server", "Trailer", "Alt-Svc"])
def test_what_the_gate_says_of_the_client_and_itself_may_be_changed(name):
    """The rules run last: some know better, as behind a TLS proxy that writes no fields."""
    assert rules(set={name: "x"}).set == {name.lower(): "x"}


@pytest.mark.parametrize("value", ["a\nb", "a\r\nX-B: c", "\0", "\x7f", "a\n"])
def test_a_value_is_one_line(value):
    assert "one line of text" in refused(FieldRules, set={"x-a": value})


def test_two_spellings_of_a_name_are_one_field():
    assert refused(FieldRules, set={"X-A": "1", "x-a": "2"}) == "X-A and x-a are one field: leave one of them"
    assert refused(FieldRules, remove=("x-a", "X-A")) == "x-a and X-A are one field: leave one of them"
    assert refused(FieldRules, remove=("x-a", "x-a")) == "x-a and x-a are one field: leave one of them"
    assert refused(Match, headers={"X-A": "1", "x-a": "2"}) == "X-A and x-a are one field: leave one of them"


def test_rules_that_are_no_list_or_mapping_are_told(problems):
    text = """\
        listeners: [{address: "*:80"}]
        routes: [{backend: h2c://a, request_headers: {set: X-A, remove: X-B, add: {X-C: 1}}}]
    """
    assert problems(text) == [
        "h2gate.yaml:2:52: routes[0].request_headers.set: write keys and values, not `X-A`, as in "
        "`set: {X-Frame-Options: DENY}`",
        "h2gate.yaml:2:65: routes[0].request_headers.remove: write a list, not `X-B`: [X-B]",
        'h2gate.yaml:2:81: routes[0].request_headers.add.X-C: write text, not `1`: in quotes, "1"',
    ]


def test_a_field_that_is_refused_is_told_at_its_place(problems):
    text = """\
        listeners: [{address: "*:80"}]
        routes:
          - backend: h2c://a
            request_headers:
              set:
                X-Fine: x
                Host: a.example
              remove: [X-Fine-Too, Connection]
    """
    assert [problem[:62] for problem in problems(text)] == [
        "h2gate.yaml:7:15: routes[0].request_headers.set.Host: host is ",
        "h2gate.yaml:8:28: routes[0].request_headers.remove[1]: connect",
    ]


def test_requests_are_told_apart_by_fields_that_may_not_be_changed():
    made = Match.model_validate({"headers": {"Via": "x", "Content-Length": "0"}})
    assert list(made.headers) == ["via", "content-length"]
    for name in ("Host", ":path", ":authority", ":method"):
        assert refused(Match, headers={name: "x"}) == f"{name} is matched by `methods`, `path` or `host`"
    assert "is no name of a field" in refused(Match, headers={":x": "x"})


def test_cookies_domains_are_hosts_and_paths_begin_with_a_slash():
    made = Route.model_validate({"cookie_domain": {".A.Example": "B.example"}, "cookie_path": {"/a%20b/": "/"}})
    assert made.cookie_domain == {"a.example": "b.example"}
    assert made.cookie_path == {"/a%20b/": "/"}
    assert "is no host" in refused(Route, cookie_domain={"a b": "c"})
    assert "nothing is no host" in refused(Route, cookie_domain={"a": ""})
    assert refused(Route, cookie_path={"a": "/b"}) == "a cookie's path begins with /"
    assert refused(Route, cookie_path={"/a": "/b;c"}) == "';' cannot stand in a cookie's path (RFC 6265, 4.1.1)"
    assert refused(Route, cookie_path={"/a": "/b c"}) == "' ' cannot stand in a cookie's path (RFC 6265, 4.1.1)"


@pytest.mark.parametrize(
    ("text", "address"), [("10.0.0.7", "10.0.0.7"), ("[::1]", "::1"), ("2001:DB8:0::7", "2001:db8::7")]
)
def test_a_source_address_is_an_address(text, address):
    assert Pool.model_validate({"source_address": text}).source_address == address


def test_a_source_address_is_no_name():
    expected = "write an IP address of this machine, as 192.0.2.7 or 2001:db8::7"
    assert refused(Pool, source_address="localhost") == expected


@pytest.mark.parametrize("to", ["/people/\\1", "\\1", "/x/\\g<name>.webp", "", "x", "/\\1/\\2"])
def test_a_replacement_is_part_of_a_path_and_groups(to):
    assert Rewrite.model_validate({"to": to}).to == to


@pytest.mark.parametrize(
    ("to", "found"),
    [
        ("/a\\n", "a backslash may only stand before a group"),
        ("/a\\0", "a backslash may only stand before a group"),
        ("/a/$1", r"a group is written \1: write that, or %24 for the dollar itself"),
        ("/a?b=\\1", "write the path alone"),
        ("/a b", "cannot stand in a path"),
        ("//a", "no path has //"),
        ("/../\\1", "no path has //"),
    ],
)
def test_a_replacement_that_no_path_could_have_is_refused(to, found):
    assert found in refused(Rewrite, to=to)


def test_a_regex_is_compiled_and_a_prefix_is_a_path():
    assert Rewrite.model_validate({"regex": "^/a([0-9]+)"}).regex == "^/a([0-9]+)"
    assert refused(Rewrite, regex="") == "write a regular expression, as ^/user/([0-9]+)"
    assert refused(Rewrite, regex="(").startswith("bad regular expression: ")
    assert Rewrite.model_validate({"prefix": "/a/"}).prefix == "/a/"
    assert refused(Rewrite, prefix="a") == "a path begins with /"


def test_pages_are_called_json_as_operators_write_it(problems, files):
    files.write("page", "x")
    text = """\
        listeners: [{address: "*:80"}]
        routes: [{backend: h2c://a}]
        error_pages:
          - {json: none}
          - {text: page, status: [501], json_: page}
          - {html: page, status: [502], jsom: page}
          - {json: page, status: [200]}
    """
    assert [problem.partition(": ")[2].replace(str(files.directory), "") for problem in problems(text)] == [
        "error_pages[0].json: /none is not there",
        "error_pages[1].json_: unknown key; did you mean `json`?",
        "error_pages[2].jsom: unknown key; did you mean `json`?",
        "error_pages[3].status[0]: write 400 or more, not `200`",
    ]
    good = text.replace("none", "page").replace(", json_: page", "").replace(", jsom: page", "")
    config = files.load(good.replace("[200]", "[500]").replace("{json: page}", "{json: page, status: [503]}"))
    assert [page.json_ is not None for page in config.error_pages] == [True, False, False, True]


def test_a_page_that_is_never_taken_is_told_at_its_place(problems, files):
    files.write("page", "x")
    text = """\
        listeners: [{address: "*:80"}]
        routes: [{backend: h2c://a}]
        error_pages:
          - {json: page}
          - {json: page, status: [500]}
          - 7
    """
    assert problems(text) == [
        "h2gate.yaml:5:12: error_pages[1].json: is never taken: error_pages[0] has one for all its statuses",
        "h2gate.yaml:6:5: error_pages[2]: write keys and values, not `7`",
    ]
