"""Bodies of errors: the operator's pages and the built-in ones, by status and the client's Accept.

The rule: an error always has a body that its client can read. Of a client that says nothing it is text, unless the
operator has written a page; and one that says it reads nothing of ours gets that too (RFC 9110, 12.4.1).
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import NamedTuple

from h2gate.config.model import ErrorPage

ACCEPT_BYTES = 1024
"""As much of an Accept field is read: browsers send 150, and each error of a flood would cost what 32 KiB take."""


def phrase_of(status: int) -> str:
    """Return the reason phrase."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


class _Facts(NamedTuple):
    """What a body may say; `request_id` is visible ASCII, and the client's own words perhaps."""

    status: int
    reason: str
    request_id: str


class _Format(NamedTuple):
    """A sort of body. `types` are media types that ask for it; `quoted` makes text safe to stand in it."""

    types: tuple[bytes, ...]
    built_in_type: bytes
    page_type: bytes
    built_in: Callable[[_Facts], str]
    quoted: Callable[[str], str]


def _text(facts: _Facts) -> str:
    return f"{facts.status} {facts.reason}\n"


def _html(facts: _Facts) -> str:
    title = f"{facts.status} {html.escape(facts.reason)}"
    return (
        f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{title}</title>\n<h1>{title}</h1>\n'
        f"<p>Request {html.escape(facts.request_id)}</p>\n"
    )


def _json(facts: _Facts) -> str:
    """Return problem details (RFC 9457); `about:blank` says that the status tells it all (4.2.1)."""
    problem = {
        "type": "about:blank",
        "title": facts.reason,
        "status": facts.status,
        "request_id": facts.request_id,
    }
    return json.dumps(problem) + "\n"


_FORMATS = {
    "text": _Format(
        (b"text/plain",), b"text/plain; charset=utf-8", b"text/plain; charset=utf-8", _text, lambda text: text
    ),
    "html": _Format(
        (b"text/html",),
        b"text/html; charset=utf-8",
        b"text/html; charset=utf-8",
        _html,
        html.escape,
    ),
    "json": _Format(
        (b"application/json", b"application/problem+json"),
        b"application/problem+json",
        b"application/json",
        _json,
        lambda text: json.dumps(text)[1:-1],
    ),
}
_PLACEHOLDER = re.compile(rb"\{(status|reason|request_id)\}")


class _Page(NamedTuple):
    """An operator's page in pieces: literal, placeholder's name, literal..."""

    pieces: tuple[bytes, ...]

    def filled(self, form: _Format, facts: _Facts) -> bytes:
        words = facts._asdict()
        return b"".join(
            form.quoted(str(words[piece.decode("ascii")])).encode("utf-8") if index % 2 else piece
            for index, piece in enumerate(self.pieces)
        )


class ErrorPages:
    """The pages of a route, or of the top level: for each status and format the first one in the operator's order."""

    __slots__ = ("_pages",)

    def __init__(self, pages: Sequence[ErrorPage]) -> None:
        self._pages: list[tuple[frozenset[int], dict[str, _Page]]] = []
        for page in pages:
            files = {"html": page.html, "json": page.json_, "text": page.text}
            compiled = {
                name: _Page(tuple(_PLACEHOLDER.split(file.content))) for name, file in files.items() if file is not None
            }
            self._pages.append((frozenset(page.status), compiled))

    def body(self, status: int, accept: bytes, request_id: bytes) -> tuple[bytes, bytes]:
        """Return the media type and the body for an error; `accept` is empty where the client sent no such field."""
        facts = _Facts(status, phrase_of(status), request_id.decode("ascii"))
        own = self._own(status)
        # Among those that the client likes as well, the operator's; `sorted` and `max` keep the order of equals.
        names = sorted(_FORMATS, key=lambda name: name not in own)
        if accept:
            ranges = parse_accept(accept)
            names.sort(key=lambda name: -max(quality(ranges, media_type) for media_type in _FORMATS[name].types))
        form = _FORMATS[names[0]]
        page = own.get(names[0])
        if page is None:
            return form.built_in_type, form.built_in(facts).encode("utf-8")
        return form.page_type, page.filled(form, facts)

    def _own(self, status: int) -> dict[str, _Page]:
        found: dict[str, _Page] = {}
        for statuses, page in self._pages:
            if not statuses or status in statuses:
                found = page | found
        return found


_QUALITY = re.compile(rb"[ \t]*[Qq][ \t]*=[ \t]*(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)[ \t]*")


def parse_accept(accept: bytes) -> dict[bytes, float]:
    """Return the quality of each media range (RFC 9110, 12.5.1), without other parameters: nothing of ours has any."""
    ranges: dict[bytes, float] = {}
    for item in accept[:ACCEPT_BYTES].split(b","):
        media_range, *parameters = item.split(b";")
        weights = [float(match[1]) for parameter in parameters if (match := _QUALITY.fullmatch(parameter)) is not None]
        ranges[media_range.strip(b" \t").lower()] = weights[0] if weights else 1.0
    return ranges


def quality(ranges: dict[bytes, float], media_type: bytes) -> float:
    """Return how much a client likes `media_type`, 0 for not at all: the most specific range decides."""
    for media_range in (media_type, media_type.partition(b"/")[0] + b"/*", b"*/*"):
        if media_range in ranges:
            return ranges[media_range]
    return 0.0
