"""Copies of requests for a mirror, and that they cost the client nothing."""

from __future__ import annotations

from typing import Any

from h2gate.errors import ErrorCode, Failure, Reason
from h2gate.protocol.events import ResponseHead
from h2gate.proxy import mirror
from tests.proxy.fakes import FakePool, House


def house_with_mirror(**more: Any) -> tuple[House, FakePool]:
    route = {"match": {"path": "/app/"}, "backend": "app", "mirror": {"backend": "h2c://shadow:1/copy/"}, **more}
    house = House(routes=[route])
    return house, house.add_backend("h2c://shadow:1")


def test_a_request_without_body_is_copied_with_the_mirrors_path() -> None:
    house, shadow = house_with_mirror()
    house.begin(path=b"/app/x?q=1", fields=[(b"x-a", b"1")])
    (copy,) = shadow.streams
    assert (copy.head.path, copy.head.authority, copy.has_ended) == (b"/copy/x?q=1", b"shadow:1", True)
    assert (b"x-a", b"1") in copy.head.fields
    assert house.pool.streams[0].head.path == b"/app/x?q=1"


def test_a_body_is_copied_when_it_is_complete() -> None:
    house, shadow = house_with_mirror()
    _, exchange = house.begin(b"POST", b"/app/", end_stream=False)
    exchange.on_request_data(b"one ", 4, False)
    assert shadow.streams == []
    exchange.on_request_data(b"two", 3, True)
    (copy,) = shadow.streams
    assert (copy.body, copy.has_ended) == (b"one two", True)


def test_trailers_are_copied() -> None:
    house, shadow = house_with_mirror()
    _, exchange = house.begin(b"POST", b"/app/", end_stream=False)
    exchange.on_request_data(b"body", 4, False)
    exchange.on_request_trailers([(b"checksum", b"1")])
    (copy,) = shadow.streams
    assert (copy.body, copy.trailers) == (b"body", [(b"checksum", b"1")])


def test_a_body_that_was_answered_before_its_end_has_no_copy() -> None:
    house, shadow = house_with_mirror()
    _, exchange = house.begin(b"POST", b"/app/", end_stream=False)
    exchange.on_request_data(b"one", 3, False)
    house.pool.streams[0].sink.on_response(ResponseHead(200, []), False)
    exchange.on_request_data(b"two", 3, True)
    assert shadow.streams == []


def test_the_mirrors_answer_and_failure_reach_nobody() -> None:
    house, shadow = house_with_mirror()
    client, exchange = house.begin(path=b"/app/")
    sink = shadow.streams[0].sink
    sink.on_interim(ResponseHead(103, []))
    sink.on_response(ResponseHead(500, []), False)
    sink.on_response_data(b"shadow", False)
    assert shadow.streams[0].credited == 6
    sink.on_backend_failure(Failure(Reason.BACKEND_CLOSED))
    assert client.head is None
    assert client.interims == []
    house.pool.streams[0].sink.on_response(ResponseHead(200, []), True)
    assert client.status == 200
    assert house.log == [exchange]
    assert house.proxy.copies == 0
    assert len(house.deadlines) == 0


def test_a_mirror_that_does_not_answer_is_given_up() -> None:
    house, shadow = house_with_mirror()
    house.begin(path=b"/app/")
    house.pool.streams[0].sink.on_response(ResponseHead(200, []), True)
    assert house.proxy.copies == 1
    house.pass_time(61)
    assert shadow.streams[0].reset_by is ErrorCode.CANCEL
    assert house.proxy.copies == 0


def test_a_copy_that_waits_for_a_stream_is_given_up_too() -> None:
    house, shadow = house_with_mirror()
    shadow.is_full = True
    house.begin(path=b"/app/")
    assert len(shadow.waiting) == 1
    house.pass_time(61)
    assert shadow.waiting == []
    assert house.proxy.copies == 0


def test_no_share_of_the_requests_means_no_copy() -> None:
    house, shadow = house_with_mirror(mirror={"backend": "h2c://shadow:1/copy/", "share": "0%"})
    house.begin(path=b"/app/")
    assert shadow.streams == []


def test_there_are_no_more_copies_at_once_than_a_worker_can_hold(monkeypatch) -> None:
    monkeypatch.setattr("h2gate.proxy.mirror.COPIES", 2)
    house, shadow = house_with_mirror()
    for _ in range(3):
        house.begin(path=b"/app/")
    assert len(shadow.streams) == 2
    shadow.streams[0].sink.on_response(ResponseHead(200, []), True)
    house.begin(path=b"/app/")
    assert len(shadow.streams) == 3
    assert mirror.COPIES >= 2


def test_requests_that_were_begun_before_count_when_they_are_complete(monkeypatch) -> None:
    monkeypatch.setattr("h2gate.proxy.mirror.COPIES", 2)
    house, shadow = house_with_mirror()
    exchanges = [house.begin(b"POST", b"/app/", end_stream=False)[1] for _ in range(3)]
    for exchange in exchanges:
        exchange.on_request_data(b"body", 4, True)
    assert len(shadow.streams) == 2
    assert house.proxy.copies == 2


def test_an_answer_without_end_holds_no_place_for_ever() -> None:
    house, shadow = house_with_mirror()
    house.begin(path=b"/app/")
    (copy,) = shadow.streams
    copy.sink.on_response(ResponseHead(200, []), False)
    for _ in range(62):
        house.pass_time(1)
        if copy.reset_by is None:
            copy.sink.on_response_data(b"event", False)
    assert copy.reset_by is ErrorCode.CANCEL
    assert house.proxy.copies == 0
