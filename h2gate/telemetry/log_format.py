"""An exchange as a line in the operator's own format, made of Apache's LogFormat directives.

The rule is that of `formats`: nothing a peer sent can make a second line, end a quoted string or reach a terminal.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable

from h2gate.config.log_format import Directive, parse_log_format
from h2gate.protocol.events import Fields
from h2gate.telemetry.formats import BACKEND_PROTOCOL, Entry, Format, apache_time, escape

Value = Callable[[Entry], bytes]


def compile_format(text: str) -> Format:
    """Return what writes an entry's line, its newline included. Raises ValueError as `parse_log_format` does."""
    values = [_literal(part) if isinstance(part, str) else _value(part) for part in parse_log_format(text)]

    def line(entry: Entry) -> bytes:
        return b"".join([value(entry) for value in values]) + b"\n"

    return line


def _literal(text: str) -> Value:
    data = text.encode("utf-8")
    return lambda entry: data


def _value(directive: Directive) -> Value:
    value = _VALUES[directive.letter](directive.argument)
    if not directive.statuses:
        return value
    statuses, is_negated = directive.statuses, directive.is_negated
    return lambda entry: value(entry) if (entry.status in statuses) is not is_negated else b"-"


def _plain(value: Value) -> Callable[[str], Value]:
    return lambda argument: value


def _or_dash(value: bytes) -> bytes:
    return escape(value) if value else b"-"


def _request_line(entry: Entry) -> bytes:
    request = entry.request
    return b" ".join((escape(request.method), escape(request.target or request.path), request.version))


def _query(entry: Entry) -> bytes:
    _, mark, query = (entry.request.target or entry.request.path).partition(b"?")
    return mark + escape(query)


def _path(entry: Entry) -> bytes:
    return _or_dash((entry.request.target or entry.request.path).partition(b"?")[0])


def _host(entry: Entry) -> bytes:
    authority = entry.request.authority
    host, colon, port = authority.rpartition(b":")
    return _or_dash(host if colon and port.isdigit() else authority)


def _field(fields: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes:
    # RFC 9110, 5.3: lines of one name are one list.
    return _or_dash(b", ".join([value for known, value in fields if known == name]))


def _request_field(argument: str) -> Value:
    name = argument.lower().encode("latin-1", "replace")
    if name == b"host":
        return lambda entry: _or_dash(entry.request.authority)
    return lambda entry: _field(entry.request.fields, name)


def _response_field(argument: str) -> Value:
    name = argument.lower().encode("latin-1", "replace")
    return lambda entry: b"-" if entry.response is None else _field(entry.response.fields, name)


def _trailer(of: Callable[[Entry], Fields]) -> Callable[[str], Value]:
    def make(argument: str) -> Value:
        name = argument.lower().encode("latin-1", "replace")
        return lambda entry: _field(of(entry), name)

    return make


def _cookie(argument: str) -> Value:
    name = argument.encode("latin-1", "replace")

    def value(entry: Entry) -> bytes:
        for known, crumbs in entry.request.fields:
            if known == b"cookie":
                for crumb in crumbs.split(b";"):
                    key, equals, text = crumb.strip(b" \t").partition(b"=")
                    if equals and key == name:
                        return _or_dash(text)
        return b"-"

    return value


def _port(argument: str) -> Value:
    if argument == "remote":
        return lambda entry: b"%d" % entry.client.port
    return lambda entry: b"%d" % entry.client.local_port


def _duration(argument: str) -> Value:
    factor = {"": 1, "s": 1, "ms": 1000, "us": 1_000_000}[argument]
    return lambda entry: b"%d" % int(entry.total_seconds * factor)


def _time(argument: str) -> Value:
    """Apache's %t: a format of strftime, or `sec`, `msec`...; `begin` or `end` in front says which moment."""
    moment, _, form = argument.partition(":")
    if moment not in ("begin", "end"):
        moment, form = "begin", argument
    at_end = moment == "end"
    write = _TIMES.get(form) or _strftime(form)
    return lambda entry: write(entry.began + (entry.total_seconds if at_end else 0.0))


def _strftime(form: str) -> Callable[[float], bytes]:
    return lambda seconds: escape(time.strftime(form, time.localtime(seconds)).encode("utf-8", "backslashreplace"))


_TIMES: dict[str, Callable[[float], bytes]] = {
    "": lambda seconds: apache_time(int(seconds)),
    "sec": lambda seconds: b"%d" % int(seconds),
    "msec": lambda seconds: b"%d" % int(seconds * 1000),
    "usec": lambda seconds: b"%d" % int(seconds * 1_000_000),
    "msec_frac": lambda seconds: b"%03d" % (int(seconds * 1000) % 1000),
    "usec_frac": lambda seconds: b"%06d" % (int(seconds * 1_000_000) % 1_000_000),
}


def _number(value: int | None) -> bytes:
    return b"-" if value is None else b"%d" % value


def _seconds(value: float | None) -> bytes:
    return b"-" if value is None else b"%.6f" % value


def _text(value: str | None) -> bytes:
    return b"-" if not value else escape(value.encode("utf-8", "backslashreplace"))


_NOTES: dict[str, Value] = {
    "proxy-source-port": lambda entry: _number(entry.source_port),
    "proxy-status": lambda entry: _number(entry.backend_status),
    "backend-protocol": lambda entry: b"-" if entry.endpoint is None else BACKEND_PROTOCOL.encode("ascii"),
    "bytes-received": lambda entry: b"%d" % entry.bytes_received,
    "detail": lambda entry: _text(None if entry.failure is None else entry.failure.detail),
    "endpoint": lambda entry: _text(entry.endpoint),
    "head-time": lambda entry: _seconds(entry.head_seconds),
    "queue-time": lambda entry: _seconds(entry.queued_seconds),
    "reason": lambda entry: _text(None if entry.failure is None else entry.failure.reason.value),
    "request-id": lambda entry: escape(entry.request_id),
    "retries": lambda entry: b"%d" % entry.retries,
    "route": lambda entry: _text(entry.route),
    "tls": lambda entry: _text(entry.client.tls),
}

_VALUES: dict[str, Callable[[str], Value]] = {
    "%": _plain(lambda entry: b"%"),
    "a": _plain(lambda entry: entry.client.log_address),
    "h": _plain(lambda entry: entry.client.log_address),
    "B": _plain(lambda entry: b"%d" % entry.bytes_sent),
    "b": _plain(lambda entry: b"%d" % entry.bytes_sent if entry.bytes_sent else b"-"),
    "C": _cookie,
    "D": _plain(lambda entry: b"%d" % int(entry.total_seconds * 1_000_000)),
    "H": _plain(lambda entry: entry.request.version),
    "i": _request_field,
    "l": _plain(lambda entry: b"-"),
    "L": _plain(lambda entry: escape(entry.request_id)),
    "m": _plain(lambda entry: _or_dash(entry.request.method)),
    "n": lambda argument: _NOTES[argument],
    "o": _response_field,
    "p": _port,
    "P": _plain(lambda entry: b"%d" % os.getpid()),
    "q": _plain(_query),
    "r": _plain(_request_line),
    "s": _plain(lambda entry: b"%d" % entry.status),
    "t": _time,
    "T": _duration,
    "u": _plain(lambda entry: b"-"),
    "U": _plain(_path),
    "v": _plain(_host),
    "V": _plain(_host),
    "^ti": _trailer(lambda entry: entry.request_trailers),
    "^to": _trailer(lambda entry: entry.response_trailers),
}
