"""Several files in one configuration."""

from __future__ import annotations

import pytest

ROUTES = "routes: [{respond: {status: 404}}]\n"
LISTENERS = "listeners: [{address: '*:80'}]\n"


def test_included_files_add_in_the_order_of_their_names(files):
    files.write("conf.d/10.yaml", "routes: [{match: {path: /b}, backend: b}]\nbackends: {b: {endpoints: [h2c://b]}}\n")
    files.write("conf.d/05.yaml", "routes: [{match: {path: /a}, backend: a}]\nbackends: {a: {endpoints: [h2c://a]}}\n")
    files.write("last.yaml", "routes: [{match: {path: /c}, respond: {status: 404}}]\n")
    files.write("conf.d/note.txt", "not: [yaml")
    config = files.load(
        "include: [conf.d/*.yaml, last.yaml]\n"
        + "listeners: [{address: '*:80'}]\nroutes: [{match: {path: /m}, respond: {status: 204}}]\n"
    )
    assert [route.match.path.text for route in config.routes] == ["/m", "/a", "/b", "/c"]
    assert list(config.backends) == ["a", "b"]


def test_a_file_is_included_once_and_never_by_itself(files):
    files.write("a.yaml", LISTENERS)
    config = files.load("include: ['*.yaml', a.yaml]\n" + ROUTES)
    assert len(config.listeners) == 1


def test_any_other_key_comes_from_one_file_only(files):
    files.write("a.yaml", LISTENERS + "workers: 2\nuser: a\n")
    config = files.load("include: a.yaml\n" + ROUTES)
    assert (config.workers, config.user) == (2, "a")
    assert files.problems("include: a.yaml\nworkers: 3\n" + ROUTES) == [
        "a.yaml:2:1: workers: already set in h2gate.yaml:2"
    ]


def test_a_key_without_a_value_is_filled_by_an_included_file(files):
    files.write("a.yaml", LISTENERS + "routes:\nbackends:\n")
    config = files.load("include: a.yaml\nlisteners:\n" + ROUTES + "backends: {}\n")
    assert len(config.listeners) == len(config.routes) == 1


def test_a_backend_of_the_same_name_is_a_problem_with_both_places(files):
    files.write("a.yaml", "backends:\n  app: {endpoints: [h2c://b]}\n")
    said = files.problems(
        "include: a.yaml\nbackends:\n  app: {endpoints: [h2c://a]}\nroutes: [{backend: app}]\n" + LISTENERS
    )
    assert said == ["a.yaml:2:3: backends.app: there is a backend of this name in h2gate.yaml:3"]


def test_lists_and_mappings_do_not_mix(files):
    files.write("a.yaml", "backends: [b]\nroutes: {a: 1}\n")
    assert files.problems("include: a.yaml\nbackends: {a: {endpoints: [h2c://a]}}\n" + LISTENERS + ROUTES) == [
        "a.yaml:1:1: backends: write keys and values, here and in h2gate.yaml:2",
        "a.yaml:2:1: routes: write a list, here and in h2gate.yaml:4",
    ]


def test_only_the_main_file_includes(files):
    files.write("a.yaml", "include: b.yaml\n")
    assert files.problems("include: a.yaml\n" + LISTENERS + ROUTES) == [
        "a.yaml:1:1: include: only the main file includes others"
    ]


def test_a_named_file_must_be_there_and_a_pattern_may_match_none(files):
    files.load("include: [conf.d/*.yaml]\n" + LISTENERS + ROUTES)
    assert files.problems("include: [conf.d/a.yaml]\n" + LISTENERS + ROUTES) == [
        "h2gate.yaml:1:11: include: there is no file conf.d/a.yaml"
    ]


@pytest.mark.parametrize("value", ["3", "''", "{a: b}", "[[a]]", "", '"a\\0b"'])
def test_include_is_a_file_or_a_list_of_files(problems, value):
    (said,) = problems(f"include: {value}\n" + LISTENERS + ROUTES)
    assert said.endswith("include: write a file or a pattern, as conf.d/*.yaml, or a list of them")


def test_an_included_file_may_come_from_the_environment(files):
    files.write("x/a.yaml", LISTENERS)
    assert files.load("include: ${SITE}/*.yaml\n" + ROUTES, SITE="x").listeners


def test_an_included_file_without_keys_is_a_problem_of_its_own(files):
    files.write("a.yaml", "")
    assert files.problems("include: a.yaml\n" + LISTENERS + ROUTES) == ["a.yaml: the file is empty"]


def test_a_directory_is_a_problem_where_it_is_included(files):
    files.write("conf.d/a.yaml", ROUTES)
    assert files.problems("include: [conf.d, conf.*]\n" + LISTENERS + ROUTES) == [
        "h2gate.yaml:1:11: include: conf.d is a directory: write conf.d/*.yaml",
        "h2gate.yaml:1:19: include: conf.d is a directory: write conf.*/*.yaml",
    ]
