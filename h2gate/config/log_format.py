"""The access log's format in the directives of Apache's LogFormat, taken apart.

The rule: a directive that h2gate cannot fill is refused with what comes nearest, never written as a dash for ever.
"""

from __future__ import annotations

import re
from typing import NamedTuple

NICKNAMES = {
    "common": '%h %l %u %t "%r" %>s %b',
    "vhost_combined": '%v:%p %h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i"',
}
"""Names of Apache's own configuration for formats; `combined` and `json` are the gate's."""

NOTES = frozenset(
    {
        # as in mod_proxy_http2
        "proxy-source-port", "proxy-status",
        # the gate's own
        "backend-protocol", "bytes-received", "detail", "endpoint", "head-time", "queue-time", "reason", "request-id",
        "retries", "route", "tls",
    }
)  # fmt: skip
"""What `%{...}n` knows."""


class Directive(NamedTuple):
    """One `%` of a format. `argument` is what stood in braces, b"" for nothing.

    `statuses`: only of exchanges with one of these (`is_negated`: with none of them); a dash for others.
    """

    letter: str
    argument: str
    statuses: frozenset[int]
    is_negated: bool


_DIRECTIVE = re.compile(
    r"""% (?P<negated>!)? (?P<statuses>[0-9]{3}(?:,[0-9]{3})*)? [<>]? (?:\{(?P<argument>[^}]*)\})?
        (?P<letter>%|\^t[io]|[a-zA-Z])""",
    re.VERBOSE,
)
# Backslashes as in Apache's configuration, whose formats stand in quotes.
_ESCAPES = {'\\"': '"', "\\\\": "\\", "\\n": "\n", "\\t": "\t"}

_WITHOUT_ARGUMENT = frozenset("%aBbDhHlLmpqrsTtuUvV")
_WITH_ARGUMENT = {
    "a": frozenset({"c"}),
    "p": frozenset({"canonical", "local", "remote"}),
    "P": frozenset({"pid"}),
    "T": frozenset({"s", "ms", "us"}),
    "n": NOTES,
}
# Any argument: names of fields and cookies, formats of strftime.
_WITH_ANY = frozenset({"i", "o", "C", "t", "^ti", "^to"})

_INSTEAD = {
    "A": "the gate does not log its own address: write %p for its port",
    "e": "there is no environment of a request: write what is meant as text",
    "f": "the gate serves no files: write %U",
    "I": "bytes of heads are not counted: write %{bytes-received}n for the body",
    "k": "requests of a connection are not counted: write %{request-id}n",
    "O": "bytes of heads are not counted: write %B for the body",
    "R": "there are no handlers: write %{route}n or %{endpoint}n",
    "S": "bytes of heads are not counted: write %B and %{bytes-received}n",
    "X": "write %{reason}n: it says how the exchange ended",
    "x": "write %{tls}n for the version of TLS, no more is known of it",
}


def parse_log_format(text: str) -> tuple[str | Directive, ...]:
    """Return the format's literal texts and directives, in their order.

    Raises ValueError, which says what to write instead.
    """
    text = NICKNAMES.get(text, text)
    if "%" not in text:
        raise ValueError("write combined, json, common or a format with Apache's directives, as '%h \"%r\" %>s %b'")
    parts: list[str | Directive] = []
    end = 0
    while (start := text.find("%", end)) >= 0:
        if start > end:
            parts.append(_literal(text[end:start]))
        match = _DIRECTIVE.match(text, start)
        if match is None:
            shown = re.match(r"%[^ {]{,9}(?:\{[^}]*\}?)?", text[start:])
            word = "" if shown is None else shown[0]
            raise ValueError(f"{word!r} is no directive, which ends with a letter: write %% for a percent sign")
        parts.append(_directive(match))
        end = match.end()
    if end < len(text):
        parts.append(_literal(text[end:]))
    return tuple(parts)


def _literal(text: str) -> str:
    text = re.sub(r'\\["\\nt]', lambda escape: _ESCAPES[escape[0]], text)
    if "\n" in text or "\r" in text:
        raise ValueError("one exchange is one line: take the line break out")
    return text


def _directive(match: re.Match[str]) -> Directive:
    letter, argument = match["letter"], match["argument"] or ""
    if letter in _INSTEAD:
        raise ValueError(f"{match[0]}: {_INSTEAD[letter]}")
    if letter not in _WITHOUT_ARGUMENT and letter not in _WITH_ARGUMENT and letter not in _WITH_ANY:
        raise ValueError(f"{match[0]} is no directive of h2gate: docs/logging.md has them all")
    if argument:
        known = _WITH_ARGUMENT.get(letter)
        if known is not None and argument not in known:
            raise ValueError(f"{match[0]}: write {', '.join(f'%{{{word}}}{letter}' for word in sorted(known))}")
        if known is None and letter not in _WITH_ANY:
            raise ValueError(f"{match[0]}: %{letter} takes no {{{argument}}}")
    elif letter not in _WITHOUT_ARGUMENT and letter != "P":
        raise ValueError(f"{match[0]}: say which one, as %{{name}}{letter}")
    statuses = frozenset(int(word) for word in (match["statuses"] or "").split(",") if word)
    if match["negated"] and not statuses:
        raise ValueError(f"{match[0]}: write the statuses behind the !, as %!200,304{letter}")
    return Directive(letter, argument, statuses, bool(match["negated"]))


def check_log_format(text: str) -> str:
    """Return `text` if it is the name of a format or a sound one. Raises ValueError."""
    if text not in ("combined", "json"):
        parse_log_format(text)
    return text
