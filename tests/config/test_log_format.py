"""Apache's LogFormat taken apart: what is understood, and what is refused with what to write instead."""

from __future__ import annotations

import pytest

from h2gate.config.log_format import NICKNAMES, Directive, check_log_format, parse_log_format

NOTHING: frozenset[int] = frozenset()


def test_a_format_is_text_and_directives_in_their_order():
    assert parse_log_format("a %h b%%%{User-Agent}i.") == (
        "a ",
        Directive("h", "", NOTHING, False),
        " b",
        Directive("%", "", NOTHING, False),
        Directive("i", "User-Agent", NOTHING, False),
        ".",
    )


def test_a_format_may_end_with_a_directive_and_have_trailers():
    assert parse_log_format("%{x}^ti%{y}^to") == (
        Directive("^ti", "x", NOTHING, False),
        Directive("^to", "y", NOTHING, False),
    )


def test_which_of_two_requests_is_meant_does_not_matter():
    assert parse_log_format("%>s%<s") == (Directive("s", "", NOTHING, False),) * 2


def test_statuses_limit_a_directive():
    assert parse_log_format("%400,501{Referer}i %!200D") == (
        Directive("i", "Referer", frozenset({400, 501}), False),
        " ",
        Directive("D", "", frozenset({200}), True),
    )


def test_backslashes_are_those_of_apaches_configuration():
    parts = parse_log_format(r"\"%r\"\t\\")
    assert (parts[0], parts[2]) == ('"', '"\t\\')


@pytest.mark.parametrize("name", NICKNAMES)
def test_apaches_names_for_formats_are_known(name):
    assert len(parse_log_format(name)) > 5
    assert check_log_format(name) == name


@pytest.mark.parametrize("text", ["combined", "json", "%h"])
def test_the_gates_own_names_and_sound_formats_pass(text):
    assert check_log_format(text) == text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("comined", "write combined, json, common or a format"),
        ("100%", "'%' is no directive, which ends with a letter: write %% for a percent sign"),
        ("%{User-agent} %h", "'%{User-agent}' is no directive, which ends with a letter"),
        ("%{SSL_PROTOCOL}x", "%{SSL_PROTOCOL}x: write %{tls}n"),
        ("%é", "is no directive"),
        ("%h\n%u", "take the line break out"),
        (r"%h\n", "take the line break out"),
        ("%O", "bytes of heads are not counted: write %B"),
        ("%X", "%{reason}n"),
        ("%i", "say which one, as %{name}i"),
        ("%n", "say which one"),
        ("%z", "is no directive of h2gate"),
        ("%{x}z", "%{x}z is no directive of h2gate"),
        ("%{x}h", "%h takes no {x}"),
        ("%{proxy-stats}n", "%{proxy-status}n"),
        ("%{min}T", "%{ms}T"),
        ("%{x}P", "write %{pid}P"),
        ("%!s", "write the statuses behind the !"),
    ],
)
def test_what_cannot_be_filled_is_refused_with_what_to_write(text, says):
    with pytest.raises(ValueError, match=r".") as caught:
        check_log_format(text)
    assert says in str(caught.value)


@pytest.mark.parametrize("text", ["%P", "%{pid}P", "%t", "%{%H:%M}t", "%p", "%{remote}p", "%T", "%{ms}T"])
def test_some_directives_may_have_an_argument(text):
    assert len(parse_log_format(text)) == 1
