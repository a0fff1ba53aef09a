"""What a request's host and path are compared with.

The rule: a pattern that no normalized request could match is refused, with the form that could.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import AfterValidator

from h2gate.config.uri import parse_host, parse_path, split_port
from h2gate.config.written import Scalar


@dataclass(frozen=True, slots=True)
class HostPattern(Scalar):
    """A host, or with `is_wildcard` all names below `name` (not itself). `name` is lower-case, IPv6 in brackets."""

    name: bytes
    is_wildcard: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        if text == "*":
            raise ValueError("leave `host` out for any host")
        if not text.isascii():
            raise ValueError(f"write the name as it is on the wire, {_on_the_wire(text)}")
        is_wildcard = text.startswith("*.")
        name = text.removeprefix("*.")
        if "*" in name:
            raise ValueError("a * may only stand for whole labels in front, as *.example.com")
        host, port = split_port(name)
        if port is not None and (":" not in host or host.endswith("]")):
            raise ValueError(f"a host is matched without its port: write {text.removesuffix(':' + port)}")
        host = parse_host(name).removesuffix(".")
        return cls((f"[{host}]" if ":" in host else host).encode("ascii"), is_wildcard)

    def matches(self, host: bytes) -> bool:
        """Tell whether `host`, an authority without its port, is meant."""
        host = host.lower().removesuffix(b".")
        return host.endswith(b"." + self.name) if self.is_wildcard else host == self.name

    def __str__(self) -> str:
        return ("*." if self.is_wildcard else "") + self.name.decode("ascii")


def _on_the_wire(name: str) -> str:
    try:
        return name.encode("idna").decode("ascii")
    except UnicodeError:
        return "as xn--bcher-kva.example"


@dataclass(frozen=True, slots=True)
class PathPattern(Scalar):
    """What a request's path must be: a `prefix` of whole segments, `exact`ly `text`, or a `regex` found in it.

    All are compared with the normalized path without its query. A regex is searched for: `^` and `$` anchor it.
    """

    kind: Literal["prefix", "exact", "regex"]
    text: str
    regex: re.Pattern[bytes] | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        if text.startswith("/"):
            return cls("prefix", parse_path(text).decode("ascii"))
        kind, _, rest = text.partition(":")
        if kind == "exact":
            return cls("exact", parse_path(rest).decode("ascii"))
        if kind == "regex":
            if not rest:
                raise ValueError("write a regular expression behind regex:")
            return cls("regex", rest, compile_regex(rest))
        raise ValueError("write a prefix that begins with /, as /app/, or exact:/path, or regex:^/x[0-9]+$")

    def __str__(self) -> str:
        return self.text if self.kind == "prefix" else f"{self.kind}:{self.text}"


def compile_regex(text: str) -> re.Pattern[bytes]:
    """Compile what is searched for in paths. Raises ValueError."""
    try:
        with warnings.catch_warnings():
            # What Python may read differently one day is refused today.
            warnings.simplefilter("error")
            return re.compile(text.encode("utf-8"))
    except (re.error, Warning, OverflowError, RecursionError, UnicodeEncodeError) as failure:
        raise ValueError(f"bad regular expression: {failure}") from None


def _read_regex(text: str) -> str:
    if not text:
        raise ValueError("write a regular expression, as ^/user/([0-9]+)")
    compile_regex(text)
    return str(text)


# A group of the regular expression, as `re.Match.expand` takes it.
_GROUP = re.compile(r"\\(?:[1-9][0-9]?|g<[A-Za-z0-9_]+>)")


def _read_replacement(text: str) -> str:
    """Let through what is put in a match's place: parts of a path, and groups. Whether these exist: `check_groups`."""
    literal = _GROUP.sub("x", text)
    if "\\" in literal:
        raise ValueError(r"a backslash may only stand before a group, as \1 or \g<name>")
    dollar = re.search(r"\$[0-9]", literal)
    if dollar is not None:
        raise ValueError(f"a group is written \\{dollar[0][1]}: write that, or %24 for the dollar itself")
    # What stands around the groups is part of a path; whether it begins one is the match's business.
    parse_path("/" + literal.removeprefix("/"))
    return str(text)


def check_groups(regex: str, replacement: str) -> None:
    """Raise ValueError if `replacement` names a group that `regex` has not."""
    try:
        # The template is read before anything is searched for.
        compile_regex(regex).sub(replacement.encode("ascii"), b"")
    except (re.error, IndexError) as failure:
        raise ValueError(f"{failure}: the regex has none of that name") from None


Regex = Annotated[str, AfterValidator(_read_regex)]
Replacement = Annotated[str, AfterValidator(_read_replacement)]


def _read_prefix(text: str) -> str:
    return parse_path(text).decode("ascii")


# A path as a normalized request has it.
PathPrefix = Annotated[str, AfterValidator(_read_prefix)]
