from __future__ import annotations

from pathlib import Path
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from h2gate.errors import ErrorCode, Failure, Reason
from h2gate.lifecycle import InvalidTransition
from h2gate.protocol.events import RequestHead, ResponseHead
from h2gate.proxy.exchange_state import SIDE, SideEvent, SideState
from tests.proxy.fakes import ClientSide, House

OK = ResponseHead(200, [(b"content-type", b"text/plain")])


def test_a_request_without_body_ends_with_its_head() -> None:
    house = House()
    house.begin()
    assert house.pool.streams[0].has_ended
    assert house.pool.streams[0].head.authority == b"backend:9000"
    assert house.pool.streams[0].head.scheme == b"http"


def test_a_response_passes_piece_by_piece_and_is_logged_once_its_last_byte_is_framed() -> None:
    house = House()
    client, exchange = house.begin()
    back = house.pool.streams[0]
    back.sink.on_response(OK, False)
    back.sink.on_response_data(b"hello", False)
    back.sink.on_response_data(b" world", True)
    assert client.status == 200
    assert client.body == b"hello world"
    assert client.has_ended
    exchange.on_response_framed(5)
    assert house.log == []
    exchange.on_response_framed(6)
    assert house.log == [exchange]
    assert (exchange.status, exchange.bytes_sent, exchange.failure) == (200, 11, None)


def test_the_backend_gets_credit_only_for_what_the_client_has_taken() -> None:
    house = House()
    _, exchange = house.begin()
    back = house.pool.streams[0]
    back.sink.on_response(OK, False)
    back.sink.on_response_data(b"x" * 1000, False)
    assert back.credited == 0
    exchange.on_response_framed(400)
    assert back.credited == 400


def test_the_client_gets_credit_only_for_what_the_backend_has_taken_and_padding_at_once() -> None:
    house = House()
    client, exchange = house.begin(b"POST", end_stream=False)
    exchange.on_request_data(b"y" * 1000, 1010, False)
    assert client.credited == 10
    exchange.on_request_framed(300)
    assert client.credited == 310


def test_a_body_that_came_before_the_lease_is_sent_with_it() -> None:
    house = House()
    house.pool.is_full = True
    _, exchange = house.begin(b"POST", end_stream=False)
    exchange.on_request_data(b"one ", 4, False)
    exchange.on_request_data(b"two", 3, True)
    house.pool.lease(exchange)
    back = house.pool.streams[0]
    assert (back.body, back.has_ended) == (b"one two", True)


def test_request_trailers_end_the_request_before_and_after_the_lease() -> None:
    house = House()
    _, exchange = house.begin(b"POST", end_stream=False)
    exchange.on_request_trailers([(b"checksum", b"1")])
    assert house.pool.streams[0].trailers == [(b"checksum", b"1")]

    house.pool.is_full = True
    _, exchange = house.begin(b"POST", end_stream=False)
    exchange.on_request_data(b"body", 4, False)
    exchange.on_request_trailers([(b"checksum", b"2")])
    house.pool.lease(exchange)
    back = house.pool.streams[1]
    assert (back.body, back.trailers, back.has_ended) == (b"body", [(b"checksum", b"2")], True)


def test_response_trailers_end_the_response() -> None:
    house = House()
    client, exchange = house.begin()
    sink = house.pool.streams[0].sink
    sink.on_response(OK, False)
    sink.on_response_trailers([(b"grpc-status", b"0")])
    assert client.trailers == [(b"grpc-status", b"0")]
    assert house.log == [exchange]


# Failure before and after the head


def test_a_failure_before_the_head_is_answered_with_its_status() -> None:
    house = House()
    client, exchange = house.begin()
    house.pool.streams[0].sink.on_backend_failure(Failure(Reason.BACKEND_RESET, "INTERNAL_ERROR"))
    assert client.status == 502
    assert client.has_ended
    assert len(house.pool.streams) == 1
    exchange.on_response_framed(len(client.body))
    assert house.log[0].failure == Failure(Reason.BACKEND_RESET, "INTERNAL_ERROR")


def test_a_failure_after_the_head_resets_the_client_and_adds_no_byte() -> None:
    house = House()
    client, exchange = house.begin()
    sink = house.pool.streams[0].sink
    sink.on_response(OK, False)
    sink.on_response_data(b"half", False)
    sink.on_backend_failure(Failure(Reason.BACKEND_CLOSED))
    assert client.broken_by == Failure(Reason.BACKEND_CLOSED)
    assert client.body == b"half"
    assert not client.has_ended
    assert house.log == [exchange]
    assert exchange.status == 200


def test_a_refused_stream_is_sent_again_with_its_whole_body_and_credited_once() -> None:
    house = House()
    client, exchange = house.begin(b"POST", end_stream=False)
    exchange.on_request_data(b"payload", 7, True)
    first = house.pool.streams[0]
    first.sink.on_request_framed(7)
    first.sink.on_backend_failure(Failure(Reason.REFUSED_STREAM))
    house.loop.run()
    second = house.pool.streams[1]
    assert (second.body, second.has_ended) == (b"payload", True)
    second.sink.on_request_framed(7)
    assert client.credited == 7
    second.sink.on_response(OK, True)
    assert client.status == 200
    assert exchange.retries == 1


def test_a_body_larger_than_the_replay_buffer_is_not_sent_again() -> None:
    house = House(limits={"replay_buffer": 1000})
    client, exchange = house.begin(b"POST", end_stream=False)
    exchange.on_request_data(b"x" * 1001, 1001, True)
    house.pool.streams[0].sink.on_backend_failure(Failure(Reason.REFUSED_STREAM))
    house.loop.run()
    assert client.status == 502
    assert len(house.pool.streams) == 1


def test_tries_end_and_prefer_endpoints_not_tried() -> None:
    house = House("h2c://a:1", "h2c://b:1", "h2c://c:1")
    client, exchange = house.begin()
    for pool in house.pools:
        assert len(pool.streams) == 1
        pool.streams[0].sink.on_backend_failure(Failure(Reason.REFUSED_STREAM))
        house.loop.run()
    assert client.status == 502
    assert exchange.retries == 2


def test_goaway_sends_a_request_back_to_the_head_of_the_queue_without_counting_as_a_try() -> None:
    house = House()
    client, _ = house.begin(b"POST")
    for turn in range(20):
        house.pool.streams[turn].sink.on_backend_failure(Failure(Reason.GOAWAY_REFUSED))
    assert house.pool.firsts == [False] + [True] * 20
    house.pool.streams[20].sink.on_response(OK, True)
    assert client.status == 200


def test_a_lost_connection_is_retried_only_if_it_had_served_and_the_method_is_idempotent() -> None:
    for is_reused, method, streams in ((True, b"GET", 2), (True, b"POST", 1), (False, b"GET", 1)):
        house = House()
        house.pool.is_reused = is_reused
        house.begin(method)
        house.pool.streams[0].sink.on_backend_failure(Failure(Reason.BACKEND_CLOSED))
        house.loop.run()
        assert len(house.pool.streams) == streams, (is_reused, method)


def test_a_queue_that_is_full_is_answered_with_503() -> None:
    house = House()
    house.pool.is_full = True
    client, exchange = house.begin()
    house.pool.waiting.clear()
    exchange.on_lease_failed(Failure(Reason.QUEUE_FULL))
    assert client.status == 503


# Clients that leave


def test_a_client_that_leaves_while_waiting_cancels_the_backend_stream() -> None:
    house = House()
    _, exchange = house.begin()
    exchange.on_client_gone(Failure(Reason.CLIENT_RESET))
    assert house.pool.streams[0].reset_by is ErrorCode.CANCEL
    assert house.log == [exchange]
    assert exchange.status == 499


def test_a_client_that_leaves_the_queue_gives_up_its_place() -> None:
    house = House()
    house.pool.is_full = True
    _, exchange = house.begin()
    exchange.on_client_gone(Failure(Reason.CLIENT_CLOSED))
    assert house.pool.waiting == []
    assert house.pool.streams == []
    assert house.log[0].failure == Failure(Reason.CLIENT_CLOSED)


def test_a_retry_goes_out_when_its_time_comes() -> None:
    house = House()
    house.begin()
    house.pool.streams[0].sink.on_backend_failure(Failure(Reason.REFUSED_STREAM))
    assert len(house.pool.streams) == 1
    house.loop.run()
    assert len(house.pool.streams) == 2


def test_an_error_of_our_own_at_the_beginning_costs_one_request(caplog: pytest.LogCaptureFixture) -> None:
    house = House()
    house.pool.lease = Mock(side_effect=ZeroDivisionError)  # type: ignore[method-assign]
    client, exchange = house.begin(b"POST", end_stream=False)
    assert "internal error" in caplog.text
    assert client.status == 500
    exchange.on_response_framed(len(client.body))
    assert house.log == [exchange]
    assert len(house.deadlines) == 0


def test_a_client_that_leaves_before_a_retry_stops_it() -> None:
    house = House()
    _, exchange = house.begin()
    house.pool.streams[0].sink.on_backend_failure(Failure(Reason.REFUSED_STREAM))
    exchange.on_client_gone(Failure(Reason.CLIENT_CLOSED))
    house.loop.run()
    assert len(house.pool.streams) == 1
    assert house.log == [exchange]


def test_a_client_that_leaves_in_mid_download_keeps_the_status_and_gets_a_reason() -> None:
    house = House()
    _, exchange = house.begin()
    sink = house.pool.streams[0].sink
    sink.on_response(OK, False)
    sink.on_response_data(b"x" * 100, True)
    exchange.on_response_framed(50)
    exchange.on_client_gone(Failure(Reason.CLIENT_CLOSED))
    assert (exchange.status, exchange.bytes_sent) == (200, 50)
    assert exchange.failure == Failure(Reason.CLIENT_CLOSED)
    assert house.log == [exchange]


# Early answers


def test_an_early_answer_ends_the_upload_and_discards_the_rest() -> None:
    house = House()
    client, exchange = house.begin(b"POST", end_stream=False)
    back = house.pool.streams[0]
    exchange.on_request_data(b"begin", 5, False)
    back.sink.on_response(ResponseHead(413, []), True)
    assert back.reset_by is ErrorCode.CANCEL
    assert client.status == 413
    exchange.on_request_data(b"more", 4, False)
    assert back.body == b"begin"
    assert client.credited == 4


def test_a_body_that_breaks_is_answered_and_cancels_the_backend_stream() -> None:
    house = House()
    client, exchange = house.begin(b"POST", end_stream=False)
    exchange.on_request_broken(Failure(Reason.BAD_REQUEST, "bad chunk"))
    assert client.status == 400
    assert house.pool.streams[0].reset_by is ErrorCode.CANCEL


def test_a_body_that_breaks_behind_its_answer_takes_nothing_back() -> None:
    house = House()
    client, exchange = house.begin(b"POST", end_stream=False)
    sink = house.pool.streams[0].sink
    sink.on_response(OK, False)
    sink.on_response_data(b"whole", True)
    exchange.on_request_broken(Failure(Reason.BAD_REQUEST, "bad chunk"))
    assert client.broken_by is None
    exchange.on_response_framed(5)
    assert house.log == [exchange]
    assert exchange.failure is None


# 1xx


def test_the_gate_tells_a_client_to_continue_when_the_backend_is_silent_for_a_second() -> None:
    house = House()
    client, exchange = house.begin(b"POST", fields=[(b"expect", b"100-continue")], end_stream=False)
    house.pass_time(0.7)
    assert client.interims == []
    house.pass_time(0.4)
    assert [head.status for head in client.interims] == [100]
    # The backend's own is not passed a second time.
    house.pool.streams[0].sink.on_interim(ResponseHead(100))
    assert len(client.interims) == 1
    exchange.on_request_data(b"body", 4, True)
    assert house.pool.streams[0].body == b"body"


def test_a_client_that_has_its_answer_is_not_told_to_continue() -> None:
    house = House()
    client, exchange = house.begin(b"POST", fields=[(b"expect", b"100-continue")], end_stream=False)
    house.pool.streams[0].sink.on_backend_failure(Failure(Reason.BACKEND_RESET))
    house.pass_time(2)
    assert (client.status, client.interims) == (502, [])
    exchange.on_response_framed(len(client.body))
    assert house.log == [exchange]


def test_a_backends_100_passes_at_once_and_other_interims_with_their_fields() -> None:
    house = House()
    client, _ = house.begin(b"POST", fields=[(b"expect", b"100-continue")], end_stream=False)
    sink = house.pool.streams[0].sink
    sink.on_interim(ResponseHead(100))
    sink.on_interim(ResponseHead(103, [(b"link", b"</a.css>; rel=preload")]))
    assert [head.status for head in client.interims] == [100, 103]
    sink.on_response(OK, True)
    assert client.head is not None
    assert b"link" not in dict(client.head.fields)
    house.pass_time(3)
    assert len(client.interims) == 2


# Time


def test_a_silent_backend_is_answered_with_504_and_its_stream_cancelled() -> None:
    house = House(timeouts={"response_head": "2s"})
    client, exchange = house.begin()
    house.pass_time(1.5)
    assert client.status is None
    house.pass_time(0.5)
    assert client.status == 504
    assert house.pool.streams[0].reset_by is ErrorCode.CANCEL
    assert len(house.pool.streams) == 1
    assert exchange.failure == Failure(Reason.HEAD_TIMEOUT)


def test_the_head_timeout_begins_with_the_last_byte_of_the_upload_that_moved() -> None:
    house = House(timeouts={"response_head": "2s", "request_body": "2s"})
    client, exchange = house.begin(b"POST", end_stream=False)
    for _ in range(5):
        house.pass_time(1)
        exchange.on_request_data(b"x", 1, False)
        exchange.on_request_framed(1)
    assert client.status is None
    exchange.on_request_data(b"x", 1, True)
    exchange.on_request_framed(1)
    house.pass_time(2.5)
    assert client.status == 504


def test_a_client_that_stops_uploading_is_answered_with_408() -> None:
    house = House(timeouts={"request_body": "1s"})
    client, exchange = house.begin(b"POST", end_stream=False)
    exchange.on_request_data(b"x", 1, False)
    exchange.on_request_framed(1)
    house.pass_time(1.5)
    assert client.status == 408
    assert exchange.failure == Failure(Reason.BODY_TIMEOUT)
    assert house.pool.streams[0].reset_by is ErrorCode.CANCEL


def test_a_response_that_stops_in_the_middle_is_reset() -> None:
    house = House(timeouts={"response_idle": "2s"})
    client, exchange = house.begin()
    sink = house.pool.streams[0].sink
    sink.on_response(OK, False)
    house.pass_time(1.5)
    sink.on_response_data(b"x", False)
    exchange.on_response_framed(1)
    house.pass_time(1.5)
    assert client.broken_by is None
    house.pass_time(1)
    assert client.broken_by == Failure(Reason.IDLE_TIMEOUT)


def test_no_deadline_is_left_when_an_exchange_is_over() -> None:
    house = House()
    house.begin()
    house.pool.streams[0].sink.on_response(OK, True)
    assert len(house.deadlines) == 0
    assert house.proxy.active == 0


# Requests that go nowhere


def test_a_request_without_a_route_gets_404_and_with_another_method_405() -> None:
    house = House(routes=[{"match": {"path": "exact:/only", "methods": ["GET"]}, "backend": "app"}])
    assert house.begin(path=b"/other")[0].status == 404
    client, _ = house.begin(b"POST", b"/only")
    assert client.status == 405
    assert client.head is not None
    assert (b"allow", b"GET") in client.head.fields


@pytest.mark.parametrize("path", [b"/a%2fb", b"/a%00", b"/%zz"])
def test_a_path_that_backends_could_read_differently_gets_400(path: bytes) -> None:
    assert House().begin(path=path)[0].status == 400


def test_connect_is_refused() -> None:
    assert House().begin(b"CONNECT")[0].status == 400


def test_respond_and_redirect_answer_without_a_backend() -> None:
    routes = [
        {"match": {"path": "/no/"}, "respond": {"status": 410, "body": "gone\n"}},
        {"match": {"path": "/old/"}, "redirect": {"to": "/new/{path}{query}"}},
        {"backend": "app"},
    ]
    house = House(routes=routes)
    client, _ = house.begin(path=b"/no/x")
    assert (client.status, client.body) == (410, b"gone\n")
    client, exchange = house.begin(path=b"/old/x?y=1")
    assert client.head is not None
    assert client.status == 308
    assert (b"location", b"/new/x?y=1") in client.head.fields
    assert exchange.endpoint is None
    assert house.pool.streams == []


def test_an_error_that_a_route_answers_with_has_its_page_where_it_has_no_text(tmp_path: Path) -> None:
    page = tmp_path / "gone.html"
    page.write_text("<h1>{status}</h1>")
    house = House(
        routes=[
            {"match": {"path": "/gone/"}, "respond": {"status": 410}, "error_pages": [{"html": str(page)}]},
            {"match": {"path": "/told/"}, "respond": {"status": 410, "body": "told\n"}},
            {"match": {"path": "/ok/"}, "respond": {"status": 200}},
            {"match": {"path": "/none/"}, "respond": {"status": 404}},
            {"backend": "app"},
        ]
    )
    asked = {path: house.begin(path=path)[0] for path in (b"/gone/", b"/told/", b"/ok/", b"/none/")}
    assert [(client.status, client.body) for client in asked.values()] == [
        (410, b"<h1>410</h1>"),
        (410, b"told\n"),
        (200, b""),
        (404, b"404 Not Found\n"),
    ]


def test_a_rejected_request_is_answered_and_logged_even_if_it_could_not_be_read() -> None:
    house = House()
    client, _ = house.begin()
    house.log.clear()
    exchange = house.proxy.reject(client.__class__(), None, Failure(Reason.BAD_REQUEST, "bare LF"))
    exchange.on_response_framed(len(b"400 Bad Request\n"))
    assert house.log[-1].status == 400
    assert house.log[-1].failure == Failure(Reason.BAD_REQUEST, "bare LF")


# The table


@given(st.sampled_from(SideState), st.lists(st.sampled_from(SideEvent), max_size=8))
def test_a_side_that_is_over_stays_over(state: SideState, events: list[SideEvent]) -> None:
    for event in events:
        try:
            following = SIDE.next(state, event)
        except InvalidTransition:
            continue
        if state in (SideState.DONE, SideState.RESET):
            assert following is state
        assert following >= state
        state = following


# What a route says of its exchanges


def test_a_body_that_says_it_is_too_large_never_reaches_the_backend() -> None:
    house = House(routes=[{"backend": "app", "max_body": 10}])
    client = ClientSide()
    head = RequestHead(b"POST", b"http", b"site.example", b"/", [], b"HTTP/1.1", 11, b"/")
    house.proxy.begin(client, head, False)
    assert client.status == 413
    assert house.pool.streams == []


def test_a_body_that_grows_too_large_never_ends_at_the_backend() -> None:
    house = House(limits={"max_body": 10})
    client, exchange = house.begin(b"POST", end_stream=False)
    exchange.on_request_data(b"123456", 6, False)
    exchange.on_request_data(b"78901", 7, True)
    back = house.pool.streams[0]
    assert (back.body, back.has_ended, back.reset_by) == (b"123456", False, ErrorCode.CANCEL)
    assert client.status == 413
    # What is not wanted is owed to the client all the same.
    assert client.credited == 7
    exchange.on_response_framed(len(client.body))
    assert house.log[0].failure == Failure(Reason.BODY_TOO_LARGE)


def test_a_body_of_just_the_limit_passes_and_a_routes_own_limit_counts() -> None:
    house = House(limits={"max_body": 5}, routes=[{"backend": "app", "max_body": 10}])
    _, exchange = house.begin(b"POST", end_stream=False)
    exchange.on_request_data(b"1234567890", 10, True)
    assert house.pool.streams[0].has_ended


def test_a_body_that_grows_too_large_behind_the_answers_head_breaks_it_off() -> None:
    house = House(limits={"max_body": 5})
    client, exchange = house.begin(b"POST", end_stream=False)
    house.pool.streams[0].sink.on_response(OK, False)
    exchange.on_request_data(b"123456", 6, True)
    assert client.broken_by == Failure(Reason.BODY_TOO_LARGE)


def test_a_routes_own_deadlines_count() -> None:
    routes = [
        {"match": {"path": "/slow"}, "backend": "app", "timeouts": {"response_head": "100s"}},
        {"match": {"path": "/fast"}, "backend": "app", "timeouts": {"response_head": "2s", "response_idle": "3s"}},
        {"backend": "app"},
    ]
    house = House(routes=routes, timeouts={"response_head": "10s"})
    slow, _ = house.begin(path=b"/slow")
    fast, _ = house.begin(path=b"/fast")
    streaming, _ = house.begin(path=b"/fast")
    other, _ = house.begin(path=b"/other")
    house.pool.streams[2].sink.on_response(OK, False)
    house.pass_time(2.5)
    assert (slow.status, fast.status, other.status) == (None, 504, None)
    house.pass_time(1)
    assert streaming.broken_by == Failure(Reason.IDLE_TIMEOUT)
    house.pass_time(10)
    assert (slow.status, other.status) == (None, 504)
    house.pass_time(90)
    assert slow.status == 504


def test_a_routes_own_number_of_tries_counts() -> None:
    house = House(routes=[{"backend": "app", "retries": {"tries": 0}}])
    client, _ = house.begin()
    house.pool.streams[0].sink.on_backend_failure(Failure(Reason.REFUSED_STREAM))
    assert client.status == 502
    assert len(house.pool.streams) == 1


def test_a_route_may_keep_its_exchanges_out_of_the_log() -> None:
    house = House(routes=[{"match": {"path": "/health"}, "backend": "app", "access_log": False}, {"backend": "app"}])
    for path in (b"/health", b"/x"):
        house.begin(path=path)
        house.pool.streams[-1].sink.on_response(OK, True)
    assert [exchange.request.path for exchange in house.log] == [b"/x"]
    assert house.proxy.active == 0


def test_an_overridden_error_keeps_its_status_and_what_the_client_has_to_act_on() -> None:
    house = House(routes=[{"backend": "app", "error_override": True}])
    client, exchange = house.begin()
    back = house.pool.streams[0]
    head = ResponseHead(401, [(b"www-authenticate", b"Basic"), (b"content-length", b"9"), (b"x-internal", b"1")])
    back.sink.on_response(head, False)
    assert back.reset_by is ErrorCode.CANCEL
    assert client.head is not None
    fields = dict(client.head.fields)
    assert client.head.status == 401
    assert fields[b"www-authenticate"] == b"Basic"
    assert b"x-internal" not in fields
    assert fields[b"content-length"] == b"%d" % len(client.body)
    assert client.has_ended
    exchange.on_response_framed(len(client.body))
    assert (house.log[0].status, house.log[0].failure, house.log[0].backend_status) == (401, None, 401)


def test_only_the_statuses_that_are_named_are_overridden() -> None:
    house = House(routes=[{"backend": "app", "error_override": [503]}])
    client, _ = house.begin()
    house.pool.streams[0].sink.on_response(ResponseHead(404, []), False)
    house.pool.streams[0].sink.on_response_data(b"theirs", True)
    assert (client.status, client.body) == (404, b"theirs")


def test_the_log_knows_what_the_backend_said_and_from_which_port_it_was_asked() -> None:
    house = House()
    _, exchange = house.begin()
    assert (exchange.backend_status, exchange.source_port) == (None, 40000)
    house.pool.streams[0].sink.on_response(OK, True)
    assert exchange.backend_status == 200


def test_an_expectation_that_nobody_meets_is_417_before_the_backend_hears_of_it() -> None:
    house = House()
    client, exchange = house.begin(b"POST", fields=[(b"expect", b"the unexpected")], end_stream=False)
    assert client.status == 417
    assert house.pool.streams == []
    assert exchange.failure is not None
    assert exchange.failure.reason is Reason.EXPECTATION_FAILED
