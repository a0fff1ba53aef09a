"""Lines in the operator's own format."""

from __future__ import annotations

import os
import time
from dataclasses import replace

import pytest

from h2gate.config.log_format import NOTES, parse_log_format
from h2gate.contract import Client
from h2gate.errors import Failure, Reason
from h2gate.protocol.events import ResponseHead
from h2gate.telemetry import log_format
from h2gate.telemetry.log_format import compile_format
from tests.telemetry.entries import Line, request

FIELDS = [
    (b"user-agent", b'a "quoted" one'),
    (b"accept", b"text/html"),
    (b"accept", b"*/*"),
    (b"cookie", b"a=1; session=xyz; b"),
]


@pytest.fixture(autouse=True)
def utc(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def line() -> Line:
    return Line(
        request=request(fields=FIELDS),
        response=ResponseHead(200, [(b"content-type", b"text/html"), (b"set-cookie", b"a=b")]),
        request_trailers=[(b"checksum", b"1")],
        response_trailers=[(b"grpc-status", b"0")],
        client=Client("203.0.113.7", 40000, 8080, b"https", False, "TLSv1.3"),
    )


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("%h %a %l %u", b"203.0.113.7 203.0.113.7 - -"),
        ("%{c}a", b"203.0.113.7"),
        ("%t", b"[14/Nov/2023:22:13:20 +0000]"),
        ("%{%Y-%m-%d}t", b"2023-11-14"),
        ("%{begin:%S}t %{end:%S}t", b"20 20"),
        ("%{begin}t %{end:}t", b"[14/Nov/2023:22:13:20 +0000] [14/Nov/2023:22:13:20 +0000]"),
        ("%{sec}t %{msec}t %{usec}t", b"1700000000 1700000000123 1700000000123456"),
        ("%{msec_frac}t %{usec_frac}t %{end:msec_frac}t", b"123 123456 135"),
        ("%r", b"GET /app/x?y=1 HTTP/1.1"),
        ("%m %U%q %H", b"GET /app/x?y=1 HTTP/1.1"),
        ("%s %>s %b %B", b"200 200 1234 1234"),
        ("%D %T %{ms}T %{us}T %{s}T", b"12345 0 12 12345 0"),
        ("%v %V %p %{remote}p %{local}p", b"a.example a.example 8080 40000 8080"),
        ("%P %{pid}P", b"%d %d" % (os.getpid(), os.getpid())),
        ("%L", b"0123456789abcdef"),
        ("%{User-Agent}i|%{Accept}i|%{X}i|%{Host}i", rb"a \"quoted\" one|text/html, */*|-|a.example:8080"),
        ("%{Content-Type}o %{X}o", b"text/html -"),
        ("%{session}C %{b}C %{c}C", b"xyz - -"),
        ("%{Checksum}^ti %{Grpc-Status}^to %{x}^to", b"1 0 -"),
        ("%{proxy-source-port}n %{proxy-status}n", b"40001 200"),
        ("%{route}n %{endpoint}n %{retries}n", b"/app/ h2c://127.0.0.1:9000 1"),
        ("%{queue-time}n %{head-time}n %{bytes-received}n", b"0.000400 0.010100 5"),
        ("%{reason}n %{detail}n %{tls}n %{backend-protocol}n", b"- - TLSv1.3 HTTP/2.0"),
        ("100%% %404,500{X}i %!404{Accept}i %200s", b"100% - text/html, */* 200"),
        ("é", b"\xc3\xa9"),
    ],
)
def test_a_directive_writes_what_apache_would(text, written):
    assert compile_format(text + "%%")(line()) == written + b"%\n"


def test_what_there_is_not_is_a_dash():
    bare = Line(
        request=request(b""), bytes_sent=0, backend_status=None, source_port=None, endpoint=None, route=None,
        queued_seconds=None, head_seconds=None, failure=Failure(Reason.NO_ROUTE),
    )  # fmt: skip
    bare.request = replace(bare.request, path=b"*", authority=b"")
    text = (
        "%b %v %{X}o %{proxy-source-port}n %{proxy-status}n %{endpoint}n %{route}n %{queue-time}n %{backend-protocol}n"
    )
    assert compile_format(text + " %U%q %{reason}n")(bare) == b"- - - - - - - - - * no_route\n"


def test_nothing_a_peer_sent_makes_a_second_line_or_ends_a_quote():
    evil = b'x"\r\ny\x1b[2J\xff\\'
    entry = Line(
        request=replace(request(evil, [(b"referer", evil), (b"cookie", b"a=" + evil)]), authority=evil, method=evil),
        request_id=evil,
        response=ResponseHead(200, [(b"x", evil)]),
        failure=Failure(Reason.BAD_REQUEST, evil.decode("latin-1")),
        endpoint="h2c://x\n",
        route="\n",
    )
    directives = "%r %m %U %q %v %{Referer}i %{a}C %{x}o %L %{detail}n %{endpoint}n %{route}n %{request-id}n %{Host}i"
    written = compile_format(f'"{directives}"')(entry)
    assert written.count(b"\n") == 1
    assert written.endswith(b'"\n')
    assert b"\r" not in written
    assert b"\x1b" not in written
    assert written[1:-2].replace(b'\\"', b"").count(b'"') == 0


def test_every_directive_and_note_of_the_parser_has_a_value():
    assert set(log_format._NOTES) == NOTES
    for letter in "%aBbDhHlLmpPqrsTtuUvV":
        compile_format(f"%{letter}%%")(line())
    for letter in ("i", "o", "C", "^ti", "^to"):
        assert len(parse_log_format(f"%{{x}}{letter}")) == 1
        compile_format(f"%{{x}}{letter}")(line())
