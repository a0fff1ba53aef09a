"""From files to a config, or to all that is wrong with them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from h2gate.config.loader import ConfigError, Problem, load, told_by_place
from h2gate.config.model import Config, Route
from h2gate.config.problems import BadValue
from h2gate.config.units import EndpointUrl, ListenAddress
from h2gate.errors import ExitCode, StartError
from tests.config.conftest import GOOD


def test_a_small_file_is_a_config_with_every_default(files):
    config = files.load(GOOD)
    assert config.listeners[0].address == ListenAddress("127.0.0.1", 8080)
    assert config.routes[0].backend == "h2c://127.0.0.1:9000"
    assert config.timeouts.drain == 30.0
    assert config == Config(listeners=({"address": "127.0.0.1:8080"},), routes=({"backend": "h2c://127.0.0.1:9000"},))


def test_an_endpoint_may_be_a_plain_url(files):
    config = files.load("""\
        listeners: [{address: "*:80"}]
        backends:
          app: {endpoints: [h2c://a, {url: h2c://b, weight: 2}]}
        routes: [{backend: app}]
        """)
    urls = [(str(endpoint.url), endpoint.weight) for endpoint in config.backends["app"].endpoints]
    assert urls == [("h2c://a", 1), ("h2c://b", 2)]
    assert config.backends["app"].endpoints[0].url == EndpointUrl(False, "a", 80)


def test_relative_paths_start_from_their_own_file(files, monkeypatch):
    files.write("sites/tls/a.crt", "cert")
    files.write("sites/tls/a.key", "key")
    files.write(
        "sites/a.yaml",
        """\
        listeners:
          - {address: "*:443", tls: {certificates: [{cert: tls/a.crt, key: tls/a.key}]}}
        """,
    )
    monkeypatch.chdir("/")
    config = files.load("include: sites/a.yaml\ncontrol: run/control\nroutes: [{respond: {status: 404}}]\n")
    assert config.control == files.directory / "run/control"
    assert config.listeners[0].tls.certificates[0].key == files.directory / "sites/tls/a.key"


def test_a_log_is_a_path_or_one_of_its_words(files):
    config = files.load(GOOD + 'access_log: {path: off}\nerror_log: {path: "-"}\n')
    assert (config.access_log.path, config.error_log.path) == ("off", "-")
    config = files.load(GOOD + "access_log: {path: log/a}\n")
    assert config.access_log.path == files.directory / "log/a"
    assert files.problems(GOOD + "access_log: {path: }\n") == [
        "h2gate.yaml:3:19: access_log.path: write the path of a file"
    ]


def test_all_problems_of_all_files_are_said_at_once(files):
    files.write("conf.d/a.yaml", "routes:\n  - backend: x\n\tfoo: bar\n")
    files.write("conf.d/b.yaml", "timeouts: {drain: 0, boots: 3s}\nworkers: 2\n")
    files.write("conf.d/c.yaml", "backends:\n  app: {endpoints: [h2c://a]}\n")
    assert files.problems("""\
        worker: 3
        workers: yes
        include: conf.d/*.yaml
        listeners:
          - address: localhost:80
            backlog: 0
            trusted_proxies: [fo, 10.0.0.1/8]
        backends:
          app:
            endpoints: [http://h:9, h2c://h:9]
            balance: least_request
            pool: {queue_timeout: 5, stream_window: 1KiB}
        routes:
          - match: {path: app, methods: GET}
            backend: other
          - backend: ${NOPE}
        error_log: {level: inf}
        user: 1000
        """) == [
        "h2gate.yaml:1:1: worker: unknown key; did you mean `workers`?",
        "h2gate.yaml:5:14: listeners[0].address: names are not looked up here: write 127.0.0.1:80 or [::1]:80",
        "h2gate.yaml:6:14: listeners[0].backlog: write 1 or more, not `0`",
        "h2gate.yaml:7:23: listeners[0].trusted_proxies[0]: write a network or an address, as 10.0.0.0/8, 192.0.2.7 "
        "or fd00::/8",
        "h2gate.yaml:7:27: listeners[0].trusted_proxies[1]: the address has bits beyond its mask: write 10.0.0.0/8",
        "h2gate.yaml:10:17: backends.app.endpoints[0]: backends speak HTTP/2 only: write h2c://h:9",
        "h2gate.yaml:11:14: backends.app.balance: write `round_robin` or `least_requests`, not `least_request`; "
        "did you mean `least_requests`?",
        "h2gate.yaml:12:27: backends.app.pool.queue_timeout: a duration needs a unit: write 5s or 5ms",
        "h2gate.yaml:12:45: backends.app.pool.stream_window: write 65535 or more, not `1KiB`",
        "h2gate.yaml:14:19: routes[0].match.path: write a prefix that begins with /, as /app/, or exact:/path, or "
        "regex:^/x[0-9]+$",
        "h2gate.yaml:14:33: routes[0].match.methods: write a list, not `GET`: [GET]",
        "h2gate.yaml:16:14: routes[1].backend: the environment has no NOPE: set it, or write ${NOPE:-default}",
        "h2gate.yaml:17:20: error_log.level: write `debug`, `info`, `warning` or `error`, not `inf`; did you mean "
        "`info`?",
        'h2gate.yaml:18:7: user: write text, not `1000`: in quotes, "1000"',
        "conf.d/a.yaml:3:1: not YAML: a tab, where YAML takes only spaces",
        "conf.d/b.yaml:1:19: timeouts.drain: 0 would end it before it began: write a longer time, as 1s",
        "conf.d/b.yaml:1:22: timeouts.boots: unknown key; did you mean `boot`?",
        "conf.d/b.yaml:2:1: workers: already set in h2gate.yaml:2",
        "conf.d/c.yaml:2:3: backends.app: there is a backend of this name in h2gate.yaml:9",
    ]


def test_a_problem_shows_its_line_and_a_caret_below_the_place(files):
    error = files.refused("listeners: [{address: '*:80'}]\nroutes:\n  - {respond: {status: 42}}\n")
    assert str(error) == (
        "h2gate.yaml:3:24: routes[0].respond.status: write 200 or more, not `42`\n"
        "      - {respond: {status: 42}}\n"
        "                           ^"
    )
    assert error.exit_code is ExitCode.BAD_CONFIG
    assert isinstance(error, StartError)
    assert isinstance(error.problems[0], Problem)
    assert (error.problems[0].place.line, error.problems[0].key) == (3, "routes[0].respond.status")


def test_a_long_line_is_cut_around_the_place_and_tabs_keep_their_width(files):
    error = files.refused(GOOD + f"user: {'x' * 300}\nerror_log: {{path: '{'x' * 200}\tb', level: 5}}\n")
    lines = str(error).splitlines()
    place = error.problems[-1].place
    text, caret = lines[-2], lines[-1]
    assert len(text) <= 4 + 110
    assert caret.endswith("^")
    assert text[len(caret) - 1] == place.text[place.column - 1] == "5"
    assert "\t" in caret


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "h2gate.yaml: the file is empty"),
        ("# nothing\n", "h2gate.yaml: the file is empty"),
        ("just text", "h2gate.yaml:1:1: the file must hold keys and values, as `listeners:`"),
        ("- 1", "h2gate.yaml:1:1: the file must hold keys and values, as `listeners:`"),
        (b"a: \xff\n", "h2gate.yaml:1:4: this is not UTF-8: save the file in that encoding"),
        (b"a: b\nc: \x00\n", "h2gate.yaml:2:4: the character '\\x00' cannot stand in YAML"),
        (
            "a: [1\n",
            "h2gate.yaml:2:1: not YAML: while parsing a flow sequence: expected ',' or ']', but got '<stream end>'",
        ),
        ('a: "\\UFFFFFFFF"', "h2gate.yaml:1:7: not YAML: Python int too large to convert to C int"),
        ("a: &x [*x]", "h2gate.yaml:1:4: nested too deeply: is there an alias within its own anchor?"),
        (
            "---\na: 1\n---\nb: 1\n",
            "h2gate.yaml:3:1: not YAML: expected a single document in the stream: but found another document",
        ),
    ],
)
def test_a_file_that_cannot_be_read_has_one_clear_line(problems, text, said):
    assert problems(text) == [said]


def test_brackets_nested_too_deeply_are_a_problem_in_their_line(problems):
    (said,) = problems("[" * 600)
    assert re.fullmatch(r"h2gate.yaml:1:\d+: not YAML: nested too deeply", said)


def test_a_missing_file_or_a_directory_has_one_clear_line(tmp_path):
    for path, why in ((tmp_path / "no.yaml", "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(ConfigError) as caught:
            load(path, {})
        assert str(caught.value) == f"{path}: cannot read it: {why}"


def test_what_is_missing_is_said_by_its_key(problems):
    assert problems("routes: [{respond: {}}]\nlisteners: []\n") == [
        "h2gate.yaml:1:11: routes[0].respond.status: this key is missing",
        "h2gate.yaml:2:1: listeners: write one at least, not an empty list",
    ]
    assert problems("workers: 2\n") == [
        "h2gate.yaml:1:1: listeners: this key is missing",
        "h2gate.yaml:1:1: routes: this key is missing",
    ]


def test_a_list_whose_items_are_wrong_is_not_called_empty(problems):
    assert problems("listeners: [{address: 3}]\nroutes: [{respond: {status: 404}}]\n") == [
        "h2gate.yaml:1:23: listeners[0].address: write an address and a port, as 127.0.0.1:8080, [::]:80, *:80 or "
        "unix:/path"
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("workers: two", "workers: write `auto` or a whole number, not `two`"),
        ("workers: atuo", "workers: write `auto` or a whole number, not `atuo`; did you mean `auto`?"),
        ("workers: 0", "workers: write 1 or more, not `0`"),
        ("workers: 5000", "workers: write 1024 at most, not `5000`"),
        ("workers: [2]", "workers: write `auto` or a whole number, not a list"),
        ("workers: {a: 1}", "workers: write `auto` or a whole number, not keys and values"),
        (
            "limits:",
            "limits: write keys and values, not nothing, as in `limits: {header_list: 16KiB, max_body: 100MiB}`",
        ),
        ("retries: 3", "retries: write keys and values, not `3`, as in `retries: {tries: 1, budget: 10%}`"),
        ("user: true", 'user: write text, not `true`: in quotes, "true"'),
        ("pidfile: 3", "pidfile: write the path of a file"),
    ],
)
def test_a_wrong_value_is_told_what_to_write(problems, line, said):
    assert [problem.partition(": ")[2] for problem in problems(GOOD + line + "\n")] == [said]


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (
            "error_override: on",
            "2:60: routes[0].error_override: write true or false or a list, not `on`, as in "
            "`error_override: [502, 503]`",
        ),
        ("error_override: 404", "2:60: routes[0].error_override: write true or false or a list, not `404`: [404]"),
        ("error_override: [502, 5xx]", "2:66: routes[0].error_override[1]: write a whole number, not `5xx`"),
        ("error_override: [200]", "2:61: routes[0].error_override[0]: write 400 or more, not `200`"),
        ("match: {host: [a, b]}", "2:52: routes[0].match.host: write text, not a list"),
        ("match: {path: {exact: /x}}", "2:52: routes[0].match.path: write text, not keys and values"),
        (
            "weights: [a, b]",
            "2:44: routes[0].weights: write keys and values, not a list, as in `weights: {app: 95, canary: 5}`",
        ),
        (
            "rewrite: /x/",
            "2:53: routes[0].rewrite: write keys and values, not `/x/`, as in `rewrite: {prefix: /api/v1/}`",
        ),
        ("max_body: 0", "2:54: routes[0].max_body: write 1 or more, not `0`"),
        ("mirror: {}", "2:44: routes[0].mirror.backend: this key is missing"),
        (
            "response_headers: {unset: [Server]}",
            "2:63: routes[0].response_headers.unset: unknown key; did you mean `remove`?",
        ),
    ],
)
def test_a_wrong_value_of_a_route_is_told_at_its_place(problems, keys, said):
    found = problems(f'listeners: [{{address: "*:80"}}]\nroutes: [{{backend: "h2c://127.0.0.1:9000", {keys}}}]\n')
    assert f"h2gate.yaml:{said}" in found


def test_a_backend_that_is_called_like_a_key_is_not_told_that_keys_example(problems):
    text = 'listeners: [{address: "*:80"}]\nroutes: [{backend: pool}]\nbackends: {pool: h2c://a}\n'
    assert problems(text) == ["h2gate.yaml:3:18: backends.pool: write keys and values, not `h2c://a`"]


@pytest.mark.parametrize(("word", "shown"), [("on", "on"), ("yes", "yes"), ("1", "1"), ("'true'", "true")])
def test_a_boolean_is_true_or_false_and_no_other_word(problems, word, shown):
    assert problems(f"""\
        listeners: [{{address: "*:80"}}]
        routes: [{{backend: a}}]
        backends: {{a: {{endpoints: [h2c://a], pool: {{preconnect: {word}}}}}}}
        """) == [f"h2gate.yaml:3:57: backends.a.pool.preconnect: write true or false, not `{shown}`"]


def test_a_choice_that_looks_like_a_number_is_told_its_quotes(files):
    files.write("a.pem", "x")
    found = files.problems("""\
        listeners:
          - address: "*:443"
            tls: {certificates: [{cert: a.pem, key: a.pem}], min_version: 1.2}
        routes: [{redirect: {to: /, status: 300}}]
        """)
    assert found == [
        'h2gate.yaml:3:67: listeners[0].tls.min_version: write `1.2` or `1.3`, not `1.2`: in quotes, "1.2"',
        "h2gate.yaml:4:37: routes[0].redirect.status: write `301`, `302`, `303`, `307` or `308`, not `300`; "
        "did you mean `308`?",
    ]


def test_an_unknown_key_within_a_backend_of_any_name_is_told_the_nearest(problems):
    assert problems(f"{GOOD}backends: {{pool: {{endpoints: [h2c://a], pool: {{max-streams: 3}}, nothing: 1}}}}\n") == [
        "h2gate.yaml:3:12: backends.pool: no route leads here: add one, or remove it",
        "h2gate.yaml:3:48: backends.pool.pool.max-streams: unknown key; did you mean `max_streams`?",
        "h2gate.yaml:3:65: backends.pool.nothing: unknown key; the keys here are endpoints, balance, tls, pool",
    ]


def test_checks_go_on_where_other_parts_are_broken(problems):
    """An unknown key hides no unknown backend, and a broken backend is still one that routes may name."""
    assert problems("""\
        listeners: [{address: "*:80"}, {address: "*:80"}]
        backends:
          app: {endpoints: 3}
          old: {endpoints: [h2c://a]}
        routes:
          - {match: {path: /a}, backend: app}
          - {match: {path: /b}, backend: apps, extra: 1}
        timeouts: 3
        """) == [
        "h2gate.yaml:1:42: listeners[1].address: listeners[0] (0.0.0.0:80) has this address already",
        "h2gate.yaml:3:20: backends.app.endpoints: write a list, not `3`, as in "
        "`endpoints: [h2c://10.0.0.2:9000, {url: h2c://10.0.0.3:9000, weight: 2}]`",
        "h2gate.yaml:4:3: backends.old: no route leads here: add one, or remove it",
        "h2gate.yaml:7:34: routes[1].backend: there is no backend `apps`; did you mean `app`?",
        f"h2gate.yaml:7:40: routes[1].extra: unknown key; the keys here are {', '.join(Route.model_fields)}",
        "h2gate.yaml:8:11: timeouts: write keys and values, not `3`, as in `timeouts: {response_head: 30s, drain: 1m}`",
    ]


def test_a_file_that_cannot_be_read_leaves_its_names_unquestioned(files):
    files.write("a.yaml", "backends: [\n")
    files.write("b.yaml", "workers: 0\n")
    found = files.problems(
        "include: [a.yaml, b.yaml]\nlisteners: [{address: '*:80'}]\nbackends: {b: {endpoints: [h2c://b]}}\n"
    )
    assert [problem.partition(": ")[0] for problem in found] == ["a.yaml:2:1", "b.yaml:1:10"]
    found = files.problems("include: a.yaml\nlisteners: [{address: '*:80'}]\nroutes: [{backend: app}]\n")
    assert [problem.partition(": ")[0] for problem in found] == ["a.yaml:2:1"]


def test_a_broken_list_of_routes_or_backends_leaves_the_rest_unquestioned(problems):
    assert problems("listeners: [{address: '*:80'}]\nroutes: 3\nbackends: {b: {endpoints: [h2c://b]}}\n") == [
        "h2gate.yaml:2:9: routes: write a list, not `3`, as in "
        "`routes: [{match: {path: /app/}, backend: h2c://10.0.0.2:9000}]`"
    ]
    assert problems("listeners: [{address: '*:80'}]\nroutes: [{backend: b}]\nbackends: b\n") == [
        "h2gate.yaml:3:11: backends: write keys and values, not `b`, as in "
        "`backends: {app: {endpoints: [h2c://10.0.0.2:9000, h2c://10.0.0.3:9000]}}`"
    ]


def test_what_is_said_of_a_key_is_not_said_again(problems):
    assert problems(
        "listeners: [{address: '${A}'}]\nbackends: {b: {endpoints: [h2c://b]}}\nroutes: [{backend: '${B}'}]\n"
    ) == [
        "h2gate.yaml:1:24: listeners[0].address: the environment has no A: set it, or write ${A:-default}",
        "h2gate.yaml:3:21: routes[0].backend: the environment has no B: set it, or write ${B:-default}",
    ]


WORDS = (
    "listeners routes backends include workers timeouts limits a *a &a << : : : - - [ ] { } , ' | > ${A} ${ $$ ! !!int "
    '!!binary null true 1 1.5 h2c://a *:80 /a regex:( # % @ ` ? --- ... \\u "'
)
SOUP = st.lists(st.sampled_from([*WORDS.split(), "\t", "\n", "\n  ", "\n- "]), max_size=25).map(" ".join)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300, deadline=None)
@given(st.one_of(st.text(), st.binary(), SOUP, SOUP.map(lambda soup: GOOD + soup)))
def test_whatever_a_file_holds_the_loader_raises_nothing_but_its_own_error(tmp_path: Path, text: str | bytes):
    path = tmp_path / "any.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    refused = None
    try:
        load(path, {"A": "x"})
    except ConfigError as error:
        refused = error
    assert refused is None or (refused.problems and str(refused))


def test_a_value_found_wrong_after_loading_is_told_by_its_place(files):
    files.write("a.yaml", "routes:\n  - match: {path: /a}\n    backend: h2c://a\n")
    path = files.write("h2gate.yaml", "include: a.yaml\nlisteners: [{address: '*:80'}]\n")
    with pytest.raises(ConfigError) as failure, told_by_place(path, {}):
        raise BadValue("routes[0].match.path", "is no good")
    place = f"{files.directory}/a.yaml:2:19"
    assert str(failure.value).splitlines()[0] == f"{place}: routes[0].match.path: is no good"
    assert failure.value.exit_code == ExitCode.BAD_CONFIG


def test_a_value_that_is_not_in_the_files_any_more_is_told_all_the_same(files):
    path = files.write("h2gate.yaml", "workers: 1\n")
    with pytest.raises(ConfigError, match=r"h2gate\.yaml:1:1: user: is no good"), told_by_place(path, {}):
        raise BadValue("user", "is no good")
    path.unlink()
    with pytest.raises(ConfigError, match=r"h2gate\.yaml: user: is no good"), told_by_place(path, {}):
        raise BadValue("user", "is no good")
