"""One YAML file as a tree with places."""

from __future__ import annotations

import pytest

from h2gate.config import document
from h2gate.config.document import plain, read


@pytest.fixture
def parse(files):
    def parse(text, **environ):
        """Return the file's values and its problems as `line:column key message`."""
        found = read(files.write("a.yaml", text), environ)
        said = [f"{one.place.line}:{one.place.column} {one.key} {one.message}" for one in found.problems]
        return (None if found.root is None else plain(found.root)), said

    return parse


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None), ("~", None), ("null", None), ("true", True), ("False", False), ("10", 10), ("-1", -1), ("010", 10),
        ("0o17", 15), ("0x1F", 31), ("1.5", 1.5), (".5", 0.5), ("1e3", 1000.0), ("on", "on"), ("yes", "yes"),
        ("off", "off"), ("1:30", "1:30"), ("1_000", "1_000"), ("2026-01-01", "2026-01-01"), ("'10'", "10"),
        ('"true"', "true"), ("!!str 10", "10"), ("9" * 5000, "9" * 5000), ("10.0.0.1", "10.0.0.1"), ("! x", "x"),
        ("|\n  a\n  b\n", "a\nb\n"),
    ],
)  # fmt: skip
def test_a_scalar_is_what_yaml_1_2_says(parse, text, value):
    values, said = parse(f"a: {text}\n")
    assert said == []
    assert values == {"a": value}
    assert type(values["a"]) is type(value) or isinstance(value, str)


def test_a_byte_order_mark_and_windows_line_ends_are_nothing(parse):
    assert parse(b"\xef\xbb\xbfa: 1\r\nb: [2]\r\nb: 3\r\n") == (
        {"a": 1, "b": (2,)},
        ["3:1 b the key is there twice, first in line 2: leave one"],
    )


def test_a_duplicate_key_is_a_problem_at_the_second(parse):
    assert parse("a: {b: 1,\n  b: 2}\n")[1] == ["2:3 a.b the key is there twice, first in line 1: leave one"]


def test_a_key_is_a_word(parse):
    assert parse("? [1]\n: 2\n3: 4\n") == ({"3": 4}, ["1:3  a key must be a word"])


def test_anchors_aliases_and_merges_work(parse):
    values, said = parse("""\
        base: &base {x: 1, y: 1}
        more: &more {y: 2, z: 2}
        one: {<<: *base, x: 3}
        two: {<<: [*base, *more], w: *base}
        last: {x: 3, <<: *base}
        """)
    assert said == []
    assert values["one"] == values["last"] == {"y": 1, "x": 3}
    assert values["two"] == {"x": 1, "y": 1, "z": 2, "w": {"x": 1, "y": 1}}


def test_only_mappings_are_merged(parse):
    assert parse("a: {<<: 3, b: 1}\n") == ({"a": {"b": 1}}, ["1:9 a only keys and values can be merged by <<"])


def test_tags_are_refused(parse):
    assert parse("a: !foo 3\nb: !!binary x\n")[1] == [
        "1:4 a tags are not used here: leave !foo out",
        "2:4 b tags are not used here: leave tag:yaml.org,2002:binary out",
    ]


def test_aliases_that_repeat_too_much_end_the_reading(parse, monkeypatch):
    monkeypatch.setattr(document, "MOST_REPEATED", 50)
    bomb = "a0: &a0 [1, 1, 1]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}, *a{n - 1}]\n" for n in range(1, 6))
    values, (said,) = parse(bomb)
    assert values is None
    assert said.endswith("  aliases repeat too much")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${N}", 4), ('"${N}"', "4"), ("x${N}y", "x4y"), ("${UNSET:-7}", 7), ("${EMPTY:-7}", 7), ("${EMPTY}", None),
        ("${UNSET:-}", None), ("$$", "$"), ("$${N}", "${N}"), ("$N", "$N"), ("^/x$", "^/x$"), ("${L}", "[1]"),
        ("'${UNSET:-a b}'", "a b"), ("${N}${N}", 44), ("|\n  ${N}\n", "4\n"),
    ],
)  # fmt: skip
def test_the_environment_comes_in_as_if_it_stood_there(parse, text, value):
    assert parse(f"a: {text}\n", N="4", EMPTY="", L="[1]") == ({"a": value}, [])


def test_a_variable_that_is_not_set_is_a_problem_at_its_place(parse):
    assert parse("a: x${NO}y${NO2}\n") == (
        {"a": ""},
        [
            "1:5 a the environment has no NO: set it, or write ${NO:-default}",
            "1:11 a the environment has no NO2: set it, or write ${NO2:-default}",
        ],
    )


@pytest.mark.parametrize("reference", ["${", "${}", "${1A}", "${A-b}", "${A:-${B}}", "${A:=b}"])
def test_a_malformed_reference_is_told_how_one_is_written(parse, reference):
    assert parse(f"a: '{reference}'\n")[1] == ["1:5 a write ${NAME} or ${NAME:-default}; $$ is a plain $"]


def test_a_reference_in_folded_text_is_placed_at_the_text(parse):
    assert parse("a: >\n  x\n  ${NO}\n")[1] == ["1:4 a the environment has no NO: set it, or write ${NO:-default}"]


def test_half_a_character_is_refused_wherever_it_comes_from(parse):
    said = ["1:4 a half of a surrogate pair is no character"]
    assert parse('a: "\\ud800"\n') == ({"a": ""}, said)
    assert parse("a: ${A}\n", A="\udc80") == ({"a": ""}, said)
    assert parse('a: {"\\ud800": b}\n') == ({"a": {}}, ["1:5 a half of a surrogate pair is no character"])


def test_entries_can_be_left_out(files):
    root = read(files.write("a.yaml", "a: {b: 1, c: [{d: 2, e: 3}]}\n"), {}).root
    assert root is not None
    assert plain(root, frozenset({("a", "b"), ("a", "c", 0, "e")})) == {"a": {"c": ({"d": 2},)}}
