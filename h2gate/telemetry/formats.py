"""An exchange as one line of the access log: `combined` or `json`.

The rule: nothing a peer sent can make a second line, end a quoted string or reach a terminal as a control character.

`combined` begins with Apache's combined format byte for byte, `%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i"`,
so that what reads Apache's logs reads these; `name=value` pairs follow, `-` for what there is not.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache
from json.encoder import encode_basestring_ascii as _quote
from typing import Protocol

from h2gate.contract import Client
from h2gate.errors import Failure
from h2gate.protocol.events import Fields, RequestHead, ResponseHead

BACKEND_PROTOCOL = "HTTP/2.0"


class Entry(Protocol):
    """What the log wants to know of an exchange that is over.

    `began` is wall-clock time in seconds since the epoch; `queued_seconds` was waited for a stream, `head_seconds` is
    the time until the backend's head, `total_seconds` until the last byte. `request` is as the client sent it.
    """

    @property
    def client(self) -> Client: ...

    @property
    def request(self) -> RequestHead: ...

    @property
    def request_id(self) -> bytes: ...

    @property
    def response(self) -> ResponseHead | None:
        """The final head that the client got."""

    @property
    def request_trailers(self) -> Fields: ...

    @property
    def response_trailers(self) -> Fields: ...

    @property
    def backend_status(self) -> int | None:
        """What the endpoint said, whatever the client got."""

    @property
    def source_port(self) -> int | None:
        """The local port of the connection to the endpoint."""

    @property
    def status(self) -> int: ...

    @property
    def bytes_sent(self) -> int: ...

    @property
    def bytes_received(self) -> int: ...

    @property
    def began(self) -> float: ...

    @property
    def queued_seconds(self) -> float | None: ...

    @property
    def head_seconds(self) -> float | None: ...

    @property
    def total_seconds(self) -> float: ...

    @property
    def route(self) -> str | None: ...

    @property
    def endpoint(self) -> str | None: ...

    @property
    def retries(self) -> int: ...

    @property
    def failure(self) -> Failure | None: ...


Format = Callable[[Entry], bytes]


def combined(entry: Entry) -> bytes:
    """Return the line, its newline included."""
    request = entry.request
    method, target, request_id = request.method, request.target or request.path, entry.request_id
    referer = user_agent = b"-"
    for name, value in request.fields:
        if name == b"user-agent":
            user_agent = value
        elif name == b"referer":
            referer = value
    # One look at all that the client wrote: 0.3 us, where five are 0.9.
    if b"".join((method, target, referer, user_agent, request_id)).translate(None, _PLAIN):
        method, target, request_id = escape(method), escape(target), escape(request_id)
        referer, user_agent = escape(referer), escape(user_agent)
    failure, endpoint = entry.failure, entry.endpoint
    head_seconds, queued_seconds, sent = entry.head_seconds, entry.queued_seconds, entry.bytes_sent
    return (b'%b - - %b "%b %b %b" %d %b "%b" "%b" rt=%b ht=%b qt=%b ep=%b retries=%d id=%b reason=%b\n') % (
        entry.client.log_address,
        apache_time(int(entry.began)),
        method,
        target,
        request.version,
        entry.status,
        # Apache's %b: a dash where there was no body.
        b"%d" % sent if sent else b"-",
        referer,
        user_agent,
        _seconds(entry.total_seconds),
        b"-" if head_seconds is None else _seconds(head_seconds),
        b"-" if queued_seconds is None else _seconds(queued_seconds),
        b"-" if endpoint is None else _endpoint_word(endpoint),
        entry.retries,
        request_id,
        b"-" if failure is None else _word(failure.word),
    )


def json(entry: Entry) -> bytes:
    """Return the line, its newline included: one object, always with all keys, times in seconds.

    Bytes that are not UTF-8 appear as `\\xhh`.
    """
    request, client, failure, endpoint = entry.request, entry.client, entry.failure, entry.endpoint
    referer = user_agent = "null"
    for name, value in request.fields:
        if name == b"user-agent":
            user_agent = _text(value)
        elif name == b"referer":
            referer = _text(value)
    return (
        f'{{"time":"{_rfc3339(entry.began)}","id":{_text(entry.request_id)},"client":{_quote(client.address)},'
        f'"client_port":{client.port},"tls":{_optional(client.tls)},"protocol":{_text(request.version)},'
        f'"method":{_text(request.method)},"scheme":{_text(client.scheme)},"authority":{_text(request.authority)},'
        f'"target":{_text(request.target or request.path)},"status":{entry.status},'
        f'"bytes_sent":{entry.bytes_sent},"bytes_received":{entry.bytes_received},'
        f'"referer":{referer},"user_agent":{user_agent},"total_seconds":{entry.total_seconds:.6f},'
        f'"head_seconds":{_number(entry.head_seconds)},"queued_seconds":{_number(entry.queued_seconds)},'
        f'"route":{_optional(entry.route)},"endpoint":{_optional(endpoint)},'
        f'"backend_protocol":{"null" if endpoint is None else _BACKEND_PROTOCOL},"retries":{entry.retries},'
        f'"backend_status":{_integer(entry.backend_status)},"source_port":{_integer(entry.source_port)},'
        f'"reason":{"null" if failure is None else _quote(failure.reason.value)},'
        f'"detail":{"null" if failure is None or not failure.detail else _quote(failure.detail)}}}\n'
    ).encode("ascii")


FORMATS: dict[str, Format] = {"combined": combined, "json": json}

# As Apache's ap_escape_logitem.
_ESCAPES = [bytes((octet,)) if 0x20 <= octet < 0x7F else b"\\x%02x" % octet for octet in range(256)]
_ESCAPES[0x22], _ESCAPES[0x5C] = b'\\"', b"\\\\"
for _octet, _letter in zip(b"\b\n\r\t\v", b"bnrtv", strict=True):
    _ESCAPES[_octet] = b"\\" + bytes((_letter,))
_PLAIN = bytes(octet for octet in range(0x20, 0x7F) if octet not in b'"\\')


def escape(value: bytes) -> bytes:
    # 0.1 us for a value that needs nothing, which nearly all are.
    if not value.translate(None, _PLAIN):
        return value
    return b"".join([_ESCAPES[octet] for octet in value])


def _word(text: str) -> bytes:
    """Return `text` as the value of a `name=value` pair, quoted if it would not be one word."""
    value = escape(text.encode("utf-8", "backslashreplace"))
    return b'"' + value + b'"' if b" " in value or b'"' in value or not value else value


# Times are mostly short; to look one up takes a third of formatting it.
_MILLISECONDS = [b"%.3f" % (count / 1000) for count in range(1000)]


def _seconds(value: float) -> bytes:
    milliseconds = int(value * 1000 + 0.5)
    return _MILLISECONDS[milliseconds] if milliseconds < 1000 else b"%.3f" % value


# There are few endpoints, and each line names one.
_endpoint_word = lru_cache(maxsize=256)(_word)


def _integer(value: int | None) -> str:
    return "null" if value is None else str(value)


def _number(value: float | None) -> str:
    return "null" if value is None else f"{value:.6f}"


def _text(value: bytes) -> str:
    return _quote(value.decode("utf-8", "backslashreplace"))


def _optional(value: str | None) -> str:
    return "null" if value is None else _quote(value)


_BACKEND_PROTOCOL = _quote(BACKEND_PROTOCOL)

# strftime's %b follows the locale; Apache's does not.
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
# Exchanges end out of order, so that a few seconds are in use at a time: longest of common request times, roughly.
_SECONDS_KEPT = 64
_apache_times: dict[int, bytes] = {}
_rfc3339_times: dict[int, str] = {}


def apache_time(second: int) -> bytes:
    """Return `[10/Oct/2000:13:55:36 -0700]`, in the local time zone."""
    found = _apache_times.get(second)
    if found is None:
        local = time.localtime(second)
        month = _MONTHS[local.tm_mon - 1]
        offset = abs(local.tm_gmtoff) // 60
        found = (
            f"[{local.tm_mday:02d}/{month}/{local.tm_year}:{local.tm_hour:02d}:{local.tm_min:02d}:{local.tm_sec:02d} "
            f"{'-' if local.tm_gmtoff < 0 else '+'}{offset // 60:02d}{offset % 60:02d}]"
        ).encode("ascii")
        if len(_apache_times) >= _SECONDS_KEPT:
            _apache_times.clear()
        _apache_times[second] = found
    return found


def _rfc3339(seconds: float) -> str:
    """Return `2026-11-23T12:00:00.123456Z`."""
    second, micros = divmod(round(seconds * 1_000_000), 1_000_000)
    found = _rfc3339_times.get(second)
    if found is None:
        found = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        if len(_rfc3339_times) >= _SECONDS_KEPT:
            _rfc3339_times.clear()
        _rfc3339_times[second] = found
    return f"{found}.{micros:06d}Z"
