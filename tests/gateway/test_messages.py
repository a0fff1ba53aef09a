"""Messages keep their shape on the way: trailers, interim responses, no body, early answers, both ways at once."""

from __future__ import annotations

from itertools import count

import pytest

from tests.support.house import Client, House
from tests.support.http1_client import Http1Client
from tests.support.http2_client import Http2Client
from tests.support.messages import Response

TE = ("te", "trailers")
numbers = count()


def identity() -> tuple[str, tuple[str, str]]:
    """Return a new request's id, and the field that tells the backend."""
    name = f"message {next(numbers)}"
    return name, ("x-id", name)


# Trailers


def test_response_trailers_reach_the_client(client: Client) -> None:
    response = client.request("GET", "/trailers", [TE])
    assert response.trailers == [("x-checksum", "abc123"), ("x-second", "two")]
    assert response["trailer"] == "x-checksum"
    assert response.json()["te"] == "trailers"


def test_trailers_without_a_body_reach_the_client(client: Client) -> None:
    response = client.request("GET", "/trailersonly", [TE])
    assert (response.body, response.trailers) == (b"", [("grpc-status", "0")])


def test_an_http1_client_that_did_not_ask_for_trailers_gets_a_clean_end(http1: Http1Client) -> None:
    response = http1.request("GET", "/trailers")
    assert response.is_complete
    assert response.trailers == []
    assert "te" not in response.json()
    assert http1.request("GET", "/hello").status == 200


def test_request_trailers_reach_the_backend(client: Client) -> None:
    trailers = [("x-sum", "42"), ("x-more", "yes")]
    if isinstance(client, Http2Client):
        stream = client.open("POST", "/trailers", [TE], end_stream=False)
        client.send_data(stream, b"body")
        client.send_trailers(stream, trailers)
        response = client.response(stream)
    else:
        client.send_head("POST", "/trailers", [("Transfer-Encoding", "chunked")])
        client.send_chunk(b"body")
        client.send_last_chunk(trailers)
        response = client.read_response("POST")
    assert response.json()["bytes"] == 4
    assert response.json()["trailers"] == {"x-sum": "42", "x-more": "yes"}


# Interim responses


def test_early_hints_reach_the_client_before_the_answer(client: Client) -> None:
    response = client.request("GET", "/earlyhints")
    assert [head.status for head in response.interim] == [103, 103]
    assert [head["link"] for head in response.interim] == ["</a.css>; rel=preload", "</b.js>; rel=preload"]
    assert response.body == b"final\n"
    assert response.get("link") is None
    assert response.get("x-interim") is None


def test_an_http10_client_gets_no_early_hints(http1: Http1Client) -> None:
    response = http1.request("GET", "/earlyhints", version="HTTP/1.0")
    assert (response.interim, response.status, response.body) == ([], 200, b"final\n")


def upload_after_100(client: Client, path: str, field: tuple[str, str]) -> Response:
    """Send a request that expects 100, and its body only once 100 or an answer is here."""
    fields = [("expect", "100-continue"), field]
    if isinstance(client, Http2Client):
        stream = client.open("POST", path, fields, end_stream=False)
        response = client.responses[stream]
        client.wait("100 or an answer", lambda: response.interim or response.status or response.broken)
        if not response.status:
            client.send_data(stream, b"12345", end_stream=True)
        return client.response(stream)
    client.send_head("POST", path, [*fields, ("content-length", "5")])
    head = client.read_head()
    if head.status != 100:
        response = Response(head.status, head.fields)
        response.is_complete = True
        return response
    client.send(b"12345")
    response = client.read_response("POST")
    response.interim.insert(0, head)
    return response


def test_the_backends_100_is_what_starts_the_upload(house: House, client: Client) -> None:
    name, field = identity()
    response = upload_after_100(client, "/continue", field)
    assert [head.status for head in response.interim] == [100]
    assert response.json()["bytes"] == 5
    run = house.node.wait_for_run(name, "closed")
    assert run["expect"] == "100-continue"
    assert run["receivedBeforeContinue"] == 0


def test_an_answer_instead_of_100_ends_the_upload(house: House, client: Client) -> None:
    name, field = identity()
    response = upload_after_100(client, "/refusecontinue", field)
    assert (response.interim, response.status) == ([], 417)
    assert house.node.wait_for_run(name, "closed")["received"] == 0


def test_a_backend_that_never_says_100_gets_the_body_all_the_same(house: House, client: Client) -> None:
    name, field = identity()
    response = upload_after_100(client, "/nocontinue", field)
    assert [head.status for head in response.interim] == [100]
    assert response.json()["bytes"] == 5
    assert house.node.wait_for_run(name, "closed")["expect"] == "100-continue"


# No body


def test_head_gets_the_head_alone(client: Client) -> None:
    response = client.request("HEAD", "/head")
    assert (response.status, response["content-length"], response["x-method"]) == (200, "12345", "HEAD")
    assert (response.size, response.is_complete) == (0, True)
    # What comes next on the connection proves that no byte of a body came.
    assert len(client.request("GET", "/head").body) == 12345


@pytest.mark.parametrize("status", [204, 304])
def test_a_response_without_a_body_stays_one(client: Client, status: int) -> None:
    response = client.request("GET", f"/status/{status}")
    assert (response.status, response["etag"], response.size) == (status, '"v1"', 0)
    assert response.get("transfer-encoding") is None
    assert response.get("content-length") is None
    assert client.request("GET", "/hello").body == b"hello\n"


# Early answers


@pytest.mark.parametrize("path", ["/early413", "/early413open"])
def test_an_early_answer_reaches_an_http2_client_in_mid_upload(house: House, http2: Http2Client, path: str) -> None:
    name, field = identity()
    stream = http2.open("POST", path, [field, ("content-length", "100000000")], end_stream=False)
    http2.send_data(stream, b"x" * 1000)
    response = http2.response(stream)
    assert (response.status, response.body, response.is_complete) == (413, b"too much\n", True)
    house.node.wait_for_run(name, "closed")
    # RFC 9113, 8.1: RST_STREAM with NO_ERROR asks the client to stop.
    http2.wait("the upload is called off", lambda: stream in http2.resets)
    assert http2.resets[stream] == 0
    assert http2.request("GET", "/hello").status == 200


@pytest.mark.parametrize("path", ["/early413", "/early413open"])
def test_an_early_answer_reaches_an_http1_client_in_mid_upload(house: House, http1: Http1Client, path: str) -> None:
    name, field = identity()
    http1.send_head("POST", path, [field, ("content-length", "100000000")])
    http1.send(b"x" * 1000)
    response = http1.read_response("POST")
    assert (response.status, response.body, response.is_complete) == (413, b"too much\n", True)
    house.node.wait_for_run(name, "closed")


# Both directions at once


def test_each_message_is_echoed_before_the_next_is_sent(client: Client) -> None:
    messages = [b"message %d;" % number * (number + 1) for number in range(50)]
    if isinstance(client, Http2Client):
        stream = client.open("POST", "/echo", end_stream=False)
        response = client.responses[stream]
        expected = 0
        for message in messages:
            client.send_data(stream, message)
            expected += len(message)
            client.wait("the message is back", lambda expected=expected: response.size == expected)
            assert response.body.endswith(message)
        client.send_data(stream, b"", end_stream=True)
        assert client.response(stream).body == b"".join(messages)
    else:
        client.send_head("POST", "/echo", [("Transfer-Encoding", "chunked")])
        assert client.read_head()["transfer-encoding"] == "chunked"
        for message in messages:
            client.send_chunk(message)
            echoed = b""
            while len(echoed) < len(message):
                echoed += client.read_chunk()
            assert echoed == message
        client.send_last_chunk()
        assert client.read_chunk() == b""


def test_pipelined_requests_are_answered_in_their_order(http1: Http1Client) -> None:
    delays = [100, 0, 50, 0]
    for delay in delays:
        http1.send_head("GET", f"/delay/{delay}")
    http1.send_head("GET", "/hello")
    bodies = [http1.read_response().body for _ in range(5)]
    assert bodies == [b"late\n"] * 4 + [b"hello\n"]
