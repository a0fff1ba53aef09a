from __future__ import annotations

import json as json_module
import re
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from h2gate.contract import Client
from h2gate.errors import Failure, Reason
from h2gate.telemetry import formats
from h2gate.telemetry.formats import combined, json
from tests.telemetry.entries import Line, request

# What tools that read Apache's logs use, and our own tail behind it.
QUOTED = rb'"((?:[^"\\]|\\.)*)"'
APACHE = re.compile(rb"(\S+) (\S+) (\S+) \[([^\]]+)\] " + QUOTED + rb" (\d{3}) (\d+|-) " + QUOTED + b" " + QUOTED)
PAIR = re.compile(rb' ([a-z]+)=(?:"((?:[^"\\]|\\.)*)"|(\S*))')
ESCAPE = re.compile(rb"\\(x[0-9a-f]{2}|.)")
LETTERS = {b"b": b"\b", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}


def unescape(value: bytes) -> bytes:
    def one(match: re.Match[bytes]) -> bytes:
        code = match[1]
        return bytes.fromhex(code[1:].decode()) if code[:1] == b"x" else LETTERS.get(code, code)

    return ESCAPE.sub(one, value)


def parsed(line: bytes) -> tuple[list[bytes], dict[str, bytes]]:
    """Return Apache's fields and the pairs behind them."""
    assert line.endswith(b"\n")
    head = APACHE.match(line)
    assert head is not None
    pairs = {}
    at = head.end()
    while at < len(line) - 1:
        pair = PAIR.match(line, at)
        assert pair is not None, line[at:]
        pairs[pair[1].decode()] = unescape(pair[2] if pair[2] is not None else pair[3])
        at = pair.end()
    return [unescape(group) for group in head.groups()], pairs


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    monkeypatch.setattr(formats, "_apache_times", {})
    yield monkeypatch
    monkeypatch.undo()
    time.tzset()


def in_zone(zone: pytest.MonkeyPatch, name: str) -> None:
    zone.setenv("TZ", name)
    time.tzset()


def test_a_combined_line_is_apaches_and_a_tail(zone: pytest.MonkeyPatch) -> None:
    in_zone(zone, "UTC")
    fields = [(b"user-agent", b"curl/8"), (b"accept", b"*/*"), (b"referer", b"http://a.example/")]
    assert combined(Line(request=request(fields=fields))) == (
        b'203.0.113.7 - - [14/Nov/2023:22:13:20 +0000] "GET /app/x?y=1 HTTP/1.1" 200 1234 "http://a.example/" "curl/8"'
        b" rt=0.012 ht=0.010 qt=0.000 ep=h2c://127.0.0.1:9000 retries=1 id=0123456789abcdef reason=-\n"
    )


def test_what_there_is_not_is_a_dash() -> None:
    line = Line(bytes_sent=0, queued_seconds=None, head_seconds=None, endpoint=None, status=404, retries=0)
    apache, pairs = parsed(combined(line))
    assert apache[5:] == [b"404", b"-", b"-", b"-"]
    assert pairs == {
        "rt": b"0.012",
        "ht": b"-",
        "qt": b"-",
        "ep": b"-",
        "retries": b"0",
        "id": b"0123456789abcdef",
        "reason": b"-",
    }


def test_the_target_is_logged_as_the_client_wrote_it() -> None:
    assert b'"GET /app/../%61 HTTP/1.1"' in combined(Line(request=request(b"/app/../%61")))
    assert b'"GET /app/x?y=1 HTTP/2.0"' in combined(Line(request=request(b"", version=b"HTTP/2.0")))


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (Failure(Reason.GOAWAY_REFUSED), b" reason=goaway_refused\n"),
        (Failure(Reason.TLS_VERIFY, "hostname mismatch"), b' reason="tls_verify: hostname mismatch"\n'),
        (Failure(Reason.BACKEND_RESET, 'a"b\nc\\'), b' reason="backend_reset: a\\"b\\nc\\\\"\n'),
    ],
)
def test_a_reason_of_several_words_is_quoted(failure: Failure, expected: bytes) -> None:
    assert combined(Line(failure=failure)).endswith(expected)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("America/Phoenix", b"[14/Nov/2023:15:13:20 -0700]"),
        ("Asia/Kolkata", b"[15/Nov/2023:03:43:20 +0530]"),
        # POSIX turns the sign around.
        ("XXX3:30", b"[14/Nov/2023:18:43:20 -0330]"),
        ("UTC", b"[14/Nov/2023:22:13:20 +0000]"),
    ],
)
def test_apaches_time_is_local_with_its_offset(zone: pytest.MonkeyPatch, name: str, expected: bytes) -> None:
    in_zone(zone, name)
    assert expected in combined(Line())


def test_formatted_seconds_do_not_pile_up(zone: pytest.MonkeyPatch) -> None:
    in_zone(zone, "UTC")
    zone.setattr(formats, "_rfc3339_times", {})
    for second in range(1000):
        when = f"{second // 60:02d}:{second % 60:02d}"
        assert f"[01/Jan/1970:00:{when} +0000]".encode() in combined(Line(began=second + 0.5))
        assert f'"1970-01-01T00:{when}.500000Z"'.encode() in json(Line(began=second + 0.5))
    assert len(formats._apache_times) <= 64
    assert len(formats._rfc3339_times) <= 64


def test_a_json_line_has_all_keys() -> None:
    fields = [(b"user-agent", b"curl/8.0"), (b"referer", b"https://a.example/")]
    failure = Failure(Reason.TLS_VERIFY, "hostname mismatch")
    entry = Line(request=request(fields=fields), failure=failure, client=Client("::1", 1, 2, b"https", True, "TLSv1.3"))
    assert json_module.loads(json(entry)) == {
        "time": "2023-11-14T22:13:20.123456Z",
        "id": "0123456789abcdef",
        "client": "::1",
        "client_port": 1,
        "tls": "TLSv1.3",
        "protocol": "HTTP/1.1",
        "method": "GET",
        "scheme": "https",
        "authority": "a.example:8080",
        "target": "/app/x?y=1",
        "status": 200,
        "bytes_sent": 1234,
        "bytes_received": 5,
        "referer": "https://a.example/",
        "user_agent": "curl/8.0",
        "total_seconds": 0.012346,
        "head_seconds": 0.0101,
        "queued_seconds": 0.0004,
        "route": "/app/",
        "endpoint": "h2c://127.0.0.1:9000",
        "backend_protocol": "HTTP/2.0",
        "retries": 1,
        "backend_status": 200,
        "source_port": 40001,
        "reason": "tls_verify",
        "detail": "hostname mismatch",
    }


def test_what_there_is_not_is_null_in_json_and_its_key_is_there() -> None:
    entry = Line(queued_seconds=None, head_seconds=None, endpoint=None, route=None)
    without = json_module.loads(json(entry))
    assert list(without) == list(json_module.loads(json(Line(failure=Failure(Reason.INTERNAL, "x")))))
    assert {key for key, value in without.items() if value is None} == {
        "tls", "referer", "user_agent", "head_seconds", "queued_seconds", "route", "endpoint", "backend_protocol",
        "reason", "detail",
    }  # fmt: skip


def test_a_time_that_rounds_up_carries_into_the_second() -> None:
    assert b'"2023-11-14T22:13:21.000000Z"' in json(Line(began=1_700_000_000.9999999))


def test_json_keeps_text_and_shows_other_bytes() -> None:
    entry = Line(request=request("/grüß".encode(), [(b"user-agent", b"\xff\x00\x1b")]))
    assert json_module.loads(json(entry))["target"] == "/grüß"
    assert json_module.loads(json(entry))["user_agent"] == "\\xff\x00\x1b"


hostile = st.binary(max_size=40) | st.sampled_from(
    [b'" 200 1 "', b"\n1.2.3.4 - - [", b"\\", b'\\"', b"\x1b[31m", b"\x85"]
)


@settings(deadline=None)
@given(hostile, hostile, hostile, hostile, st.text(max_size=20))
def test_nothing_a_peer_sent_gets_out_of_its_place(
    method: bytes, target: bytes, referer: bytes, user_agent: bytes, detail: str
) -> None:
    head = request(target or b"/", [(b"referer", referer), (b"user-agent", user_agent)])
    head.method = method
    entry = Line(request=head, failure=Failure(Reason.BACKEND_RESET, detail))
    line = combined(entry)
    assert not line[:-1].translate(None, bytes(range(0x20, 0x7F)))
    apache, pairs = parsed(line)
    assert apache[4] == method + b" " + (target or b"/") + b" HTTP/1.1"
    assert apache[5:] == [b"200", b"1234", referer, user_agent]
    assert pairs["reason"] == entry.failure.word.encode("utf-8", "backslashreplace")  # type: ignore[union-attr]
    assert len(pairs) == 7

    written = json(entry)
    assert not written[:-1].translate(None, bytes(range(0x20, 0x7F)))
    assert written.endswith(b"\n")
    values = json_module.loads(written)
    assert values["user_agent"] == user_agent.decode("utf-8", "backslashreplace")
    assert values["detail"] == (detail or None)
    assert len(values) == 26


def test_a_word_with_what_would_split_it_is_quoted() -> None:
    assert b' ep="h2c+unix:/run/my app.sock" ' in combined(Line(endpoint="h2c+unix:/run/my app.sock"))
    assert b' ep="a\\"b" ' in combined(Line(endpoint='a"b'))
