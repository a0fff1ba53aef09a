"""Answers to failures: which body, which fields, and how gRPC clients are told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from h2gate.config.model import ErrorPage
from h2gate.config.pages import Page
from h2gate.errors import Failure, Origin, Reason
from h2gate.protocol.events import Fields, RequestHead, ResponseHead
from h2gate.proxy import grpc, proxy_status
from h2gate.proxy.answers import DateField, Errors
from h2gate.proxy.error_pages import ACCEPT_BYTES, ErrorPages, parse_accept, phrase_of, quality

BROWSER = b"text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"
REFUSED = Failure(Reason.CONNECT_REFUSED, "nobody listens")


def page(*statuses: int, **files: bytes) -> ErrorPage:
    contents: dict[str, Any] = {name: Page(Path(f"/errors/{name}"), content) for name, content in files.items()}
    return ErrorPage(status=statuses, **contents)


def answered(
    fields: Fields | None = None,
    failure: Failure = REFUSED,
    pages: ErrorPages | None = None,
    tells_why: bool = False,
    extra: Fields | None = None,
    **request: Any,
) -> tuple[ResponseHead, bytes]:
    facts = {"method": b"GET", "scheme": b"http", "authority": b"a", "path": b"/", **request}
    head = RequestHead(fields=fields or [], **facts)
    return Errors(DateField(), tells_why).of_failure(head, b"id-1", pages or ErrorPages(()), failure, extra or [])


def value(head: ResponseHead, name: bytes) -> bytes | None:
    values = [value for field, value in head.fields if field == name]
    assert len(values) <= 1
    return values[0] if values else None


def body_for(accept: bytes, pages: ErrorPages | None = None, status: int = 502) -> tuple[bytes, bytes]:
    return (pages or ErrorPages(())).body(status, accept, b"id-1")


# Which body


def test_an_error_is_one_line_of_text_to_a_client_that_says_nothing() -> None:
    head, body = answered()
    assert (head.status, body) == (502, b"502 Bad Gateway\n")
    assert value(head, b"content-type") == b"text/plain; charset=utf-8"
    assert value(head, b"content-length") == b"16"
    assert value(head, b"x-request-id") == b"id-1"
    assert value(head, b"server") == b"h2gate"
    assert value(head, b"date") is not None


def test_no_cache_may_keep_an_error_and_all_know_what_it_depends_on() -> None:
    head, _ = answered()
    assert value(head, b"cache-control") == b"no-store"
    assert value(head, b"vary") == b"accept"


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        (b"", b"text/plain; charset=utf-8"),
        (b"*/*", b"text/plain; charset=utf-8"),
        (BROWSER, b"text/html; charset=utf-8"),
        (b"application/json", b"application/problem+json"),
        (b"application/problem+json, */*;q=0.1", b"application/problem+json"),
        (b"application/*", b"application/problem+json"),
        (b"text/html;q=0.2, application/json;q=0.9", b"application/problem+json"),
        (b"text/html;q=0.9;level=1, application/json;q=0.2", b"text/html; charset=utf-8"),
        (b"TEXT/HTML; Q=1.000", b"text/html; charset=utf-8"),
        # the more specific range decides, not the larger weight
        (b"text/*;q=0.9, text/plain;q=0.1", b"text/html; charset=utf-8"),
        (b"*/*, text/plain;q=0", b"text/html; charset=utf-8"),
        # nothing of ours: what it gets is better than no word at all
        (b"image/png", b"text/plain; charset=utf-8"),
        (b"nonsense;;q=x,", b"text/plain; charset=utf-8"),
    ],
)
def test_the_body_is_what_the_client_likes_best(accept: bytes, media_type: bytes) -> None:
    assert body_for(accept)[0] == media_type


def test_a_long_accept_field_is_read_in_part() -> None:
    assert parse_accept(b"a/b," * ACCEPT_BYTES + b"text/html").keys() == {b"a/b", b""}
    assert body_for(b" " * ACCEPT_BYTES + b",text/html")[0] == b"text/plain; charset=utf-8"


def test_quality_is_0_for_what_is_not_named() -> None:
    assert quality(parse_accept(b"text/html, image/*;q=0.5"), b"image/png") == 0.5
    assert quality(parse_accept(b"text/html"), b"text/plain") == 0.0


def test_the_json_body_is_a_problem_as_the_rfc_has_it() -> None:
    assert json.loads(body_for(b"application/json", status=404)[1]) == {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "request_id": "id-1",
    }


def test_the_html_body_says_status_and_request() -> None:
    body = body_for(BROWSER)[1].decode()
    assert "<h1>502 Bad Gateway</h1>" in body
    assert "id-1" in body


def test_the_words_of_a_client_cannot_break_out_of_a_body() -> None:
    request_id = b'"}<script>{status}</script>'
    _, page_in_html = ErrorPages(()).body(404, BROWSER, request_id)
    assert b"<script>" not in page_in_html
    own = ErrorPages([page(html=b"{request_id}", json=b'{"id": "{request_id}"}')])
    assert own.body(404, BROWSER, request_id)[1] == b"&quot;}&lt;script&gt;{status}&lt;/script&gt;"
    assert json.loads(own.body(404, b"application/json", request_id)[1]) == {"id": request_id.decode()}


def test_a_page_of_the_operators_comes_before_the_built_in_ones() -> None:
    pages = ErrorPages([page(404, 502, html=b"<p>{status} {reason} {request_id} {other}"), page(503, text=b"later\n")])
    expected = (b"text/html; charset=utf-8", b"<p>502 Bad Gateway id-1 {other}")
    assert body_for(b"", pages) == body_for(b"*/*", pages) == body_for(BROWSER, pages) == expected
    # but not over what the client says
    assert body_for(b"text/plain", pages) == (b"text/plain; charset=utf-8", b"502 Bad Gateway\n")
    assert body_for(b"", pages, 503) == (b"text/plain; charset=utf-8", b"later\n")
    assert body_for(b"", pages, 500) == (b"text/plain; charset=utf-8", b"500 Internal Server Error\n")


def test_for_each_format_the_first_page_that_has_it_is_taken() -> None:
    pages = ErrorPages([page(502, json=b"[1]"), page(json=b"[2]", html=b"<p>"), page(html=b"<p>late")])
    assert body_for(b"application/json", pages) == (b"application/json", b"[1]")
    assert body_for(b"application/json", pages, 404) == (b"application/json", b"[2]")
    assert body_for(BROWSER, pages) == (b"text/html; charset=utf-8", b"<p>")


def test_a_status_without_a_name_is_an_error_all_the_same() -> None:
    assert phrase_of(599) == "Error"


# An error in the place of the backend's


def test_of_an_overridden_response_only_what_the_client_needs_is_kept() -> None:
    fields: Fields = [
        (b"www-authenticate", b"Basic"),
        (b"retry-after", b"5"),
        (b"allow", b"GET"),
        (b"set-cookie", b"a=; Max-Age=0"),
        (b"access-control-allow-origin", b"*"),
        (b"content-type", b"text/html"),
        (b"content-length", b"5"),
        (b"content-encoding", b"gzip"),
        (b"etag", b'"1"'),
        (b"cache-control", b"public"),
        (b"x-powered-by", b"stack trace"),
    ]
    request = RequestHead(b"GET", b"http", b"a", b"/")
    errors = Errors(DateField(), tells_why=True)
    head, body = errors.of_override(request, b"id-1", ErrorPages(()), ResponseHead(401, fields))
    assert (head.status, body) == (401, b"401 Unauthorized\n")
    assert [field for field in head.fields if field in fields] == fields[:5]
    assert value(head, b"content-length") == b"17"
    assert value(head, b"proxy-status") == b"h2gate; received-status=401"


# Proxy-Status


def test_why_is_only_told_if_asked_for() -> None:
    assert value(answered()[0], b"proxy-status") is None
    told = answered(tells_why=True)[0]
    assert (
        value(told, b"proxy-status") == b'h2gate; error=connection_refused; details="connect_refused: nobody listens"'
    )


def test_details_are_a_string_as_structured_fields_have_them() -> None:
    failure = Failure(Reason.TLS_VERIFY, 'name "a\\b"\r\nx: \x00ü')
    assert proxy_status.of_failure(failure).endswith(b'details="tls_verify: name \\"a\\\\b\\"x: ?"')


@pytest.mark.parametrize(
    ("reason", "detail", "told"),
    [
        (
            Reason.TLS_VERIFY,
            "IP address mismatch, certificate is not valid for '10.0.0.2'",
            b"tls_verify: IP address mismatch",
        ),
        (Reason.CONNECT_FAILED, "source_address 10.0.0.2: Cannot assign requested address", b"connect_failed"),
    ],
)
def test_details_tell_nothing_of_the_inner_network(reason: Reason, detail: str, told: bytes) -> None:
    assert proxy_status.of_failure(Failure(reason, detail)).endswith(b'details="' + told + b'"')


def test_each_reason_has_an_error_type_of_the_rfc() -> None:
    known = {
        b"dns_timeout", b"dns_error", b"destination_not_found", b"destination_unavailable", b"connection_refused",
        b"connection_terminated", b"connection_timeout", b"connection_read_timeout", b"connection_write_timeout",
        b"connection_limit_reached", b"tls_protocol_error", b"tls_certificate_error", b"tls_alert_received",
        b"http_request_error", b"http_request_denied", b"http_response_incomplete", b"http_response_timeout",
        b"http_upgrade_failed", b"http_protocol_error", b"proxy_internal_response", b"proxy_internal_error",
    }  # fmt: skip
    for reason in Reason:
        error = proxy_status.of_failure(Failure(reason)).split(b"error=")[1].split(b";")[0]
        assert error in known
        if Failure(reason).rule.origin is Origin.CLIENT:
            assert error == b"http_request_error"
        elif Failure(reason).rule.origin is Origin.BACKEND:
            assert reason in proxy_status.ERROR_TYPES, f"{reason} has a type of its own in RFC 9209, 2.3"


# gRPC


def grpc_request(content_type: bytes = b"application/grpc", **facts: Any) -> dict[str, Any]:
    return {"method": b"POST", "fields": [(b"content-type", content_type), (b"te", b"trailers")], **facts}


@pytest.mark.parametrize(
    "content_type", [b"application/grpc", b"application/grpc+proto", b"Application/gRPC;x=y", b"application/grpc ;x=y"]
)
def test_a_grpc_client_is_answered_by_fields_alone(content_type: bytes) -> None:
    head, body = answered(tells_why=True, **grpc_request(content_type))
    assert (head.status, body) == (200, b"")
    assert value(head, b"content-type") == b"application/grpc"
    assert value(head, b"grpc-status") == b"14"
    assert value(head, b"grpc-message") == b"502 Bad Gateway"
    assert value(head, b"content-length") is None
    assert value(head, b"x-request-id") == b"id-1"
    assert value(head, b"proxy-status") is not None


@pytest.mark.parametrize(
    "request_facts",
    [
        grpc_request(b"application/grpc-web"),
        grpc_request(b"application/grpcx"),
        grpc_request(b"application/json"),
        grpc_request(version=b"HTTP/1.1"),
        {**grpc_request(), "method": b"GET"},
        {"method": b"POST"},
    ],
)
def test_no_other_client_is(request_facts: dict[str, Any]) -> None:
    assert answered(**request_facts)[0].status == 502


@pytest.mark.parametrize(
    ("status", "expected"),
    [(400, 13), (401, 16), (403, 7), (404, 12), (429, 14), (502, 14), (503, 14), (504, 14), (413, 2), (500, 2)],
)
def test_statuses_are_told_as_grpcs_own_table_has_them(status: int, expected: int) -> None:
    assert (b"grpc-status", b"%d" % expected) in grpc.fields_of(status, "")


def test_a_message_is_percent_encoded() -> None:
    assert grpc.percent_encoded("100% ü\n~") == b"100%25 %C3%BC%0A~"
