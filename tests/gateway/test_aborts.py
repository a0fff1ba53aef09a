"""A client that resets or leaves: its stream at the backend is closed at once."""

from __future__ import annotations

import fcntl
import socket
import struct
import termios
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.support.certificates import Authority, Site
from tests.support.house import Client, House, Kind, house_in
from tests.support.http1_client import Http1Client
from tests.support.http2_client import Http2Client
from tests.support.waiting import wait_until

SECONDS = 0.2
CANCEL = 8
HUNDRED_MB = 100_000_000
BACKEND_WINDOW = 1024 * 1024

numbers = count()


def close(client: Client, stream: int) -> None:
    client.close()


def abort(client: Client, stream: int) -> None:
    client.abort()


def reset(client: Client, stream: int) -> None:
    assert isinstance(client, Http2Client)
    client.reset(stream)


Leave = Callable[[Client, int], None]
LEAVING = [
    pytest.param("http1", close, id="http1_closes"),
    pytest.param("http1", abort, id="http1_aborts"),
    pytest.param("h2c", reset, id="h2c_resets"),
    pytest.param("h2c", close, id="h2c_closes"),
    pytest.param("h2c", abort, id="h2c_aborts"),
    pytest.param("h2", reset, id="h2_resets"),
    pytest.param("h2", abort, id="h2_aborts"),
]
ways_to_leave = pytest.mark.parametrize(("kind", "leave"), LEAVING)


def begin(client: Client, method: str, path: str, name: str, body: bytes | None = None) -> int:
    """Send a request's head, and `body` as the beginning of a longer one; b"" waits for 100 first."""
    fields = [("x-id", name), ("x-request-id", name.replace(" ", "-"))]
    if body is not None:
        fields.append(("content-length", str(HUNDRED_MB)))
    if body == b"":
        fields.append(("expect", "100-continue"))
    if isinstance(client, Http1Client):
        client.send_head(method, path, fields)
        client.send(body or b"")
        return 0
    stream = client.open(method, path, fields, end_stream=body is None, stalls=True)
    if body:
        client.send_data(stream, body)
    return stream


def assert_cancelled(house: House, name: str, left: float) -> None:
    """The only run of the request was cancelled within `SECONDS` of `left`, and logged as the client's doing."""
    run = house.node.wait_for_run(name, "closed")
    assert run["closed"] - left < SECONDS
    assert run["aborted"]
    assert run["code"] == CANCEL
    line = house.gate.wait_for_line(f"the line of {name}", lambda line: line["id"] == name.replace(" ", "-"))
    assert line["reason"] in ("client_closed", "client_reset")


@ways_to_leave
def test_a_client_that_leaves_while_it_waits_cancels_the_stream(house: House, kind: Kind, leave: Leave) -> None:
    name = f"waiting {next(numbers)}"
    with house.client(kind) as client:
        stream = begin(client, "GET", "/silence", name)
        house.node.wait_for_run(name, "started")
        left = time.monotonic()
        leave(client, stream)
        assert_cancelled(house, name, left)


@ways_to_leave
@pytest.mark.parametrize("path", ["/upload", "/echo"])
def test_a_client_that_leaves_while_it_uploads_cancels_the_stream(
    house: House, kind: Kind, leave: Leave, path: str
) -> None:
    name = f"uploading {next(numbers)}"
    with house.client(kind) as client:
        stream = begin(client, "POST", path, name, b"x" * 1000)
        house.node.wait_for_run(name, "received")
        left = time.monotonic()
        leave(client, stream)
        assert_cancelled(house, name, left)


@ways_to_leave
def test_a_client_that_leaves_an_upload_nobody_reads_cancels_the_stream(house: House, kind: Kind, leave: Leave) -> None:
    """The backend's window is shut, so that the gate has stopped to read the client."""
    name = f"stuck {next(numbers)}"
    with house.client(kind) as client:
        stream = begin(client, "POST", "/stall", name, b"x" * 1000)
        house.node.wait_for_run(name, "started")
        fill(client, stream)
        left = time.monotonic()
        leave(client, stream)
        assert_cancelled(house, name, left)


def fill(client: Client, stream: int) -> None:
    """Upload more than the backend takes, and no more than the kernels between take: what leaves must get through."""
    if isinstance(client, Http1Client):
        # The backend's window, the gate's, and a bit that waits in the gate's socket.
        client.send(b"x" * (BACKEND_WINDOW + 100_000))
        wait_until("all is sent", lambda: unsent_bytes(client.socket) == 0)
        return
    while True:
        room = client.engine.local_flow_control_window(stream)
        client.send_data(stream, b"x" * room)
        client.read(timeout=0.5)
        if client.engine.local_flow_control_window(stream) <= 0:
            return


def unsent_bytes(sock: socket.socket) -> int:
    """Return how many bytes wait in the socket for the peer (tcp(7), SIOCOUTQ)."""
    return int(struct.unpack("i", fcntl.ioctl(sock, termios.TIOCOUTQ, b"\0" * 4))[0])


@ways_to_leave
def test_a_client_that_leaves_while_it_downloads_cancels_the_stream(house: House, kind: Kind, leave: Leave) -> None:
    name = f"downloading {next(numbers)}"
    with house.client(kind) as client:
        stream = begin(client, "GET", f"/bytes/{HUNDRED_MB}", name)
        if isinstance(client, Http1Client):
            assert client.read_head().status == 200
        else:
            client.wait("the body has begun", lambda: client.responses[stream].size)
        left = time.monotonic()
        leave(client, stream)
        assert_cancelled(house, name, left)


@pytest.fixture(scope="module")
def narrow(
    engine: str, tmp_path_factory: pytest.TempPathFactory, authority: Authority, localhost: Site
) -> Iterator[House]:
    """A house with one stream to its backend."""
    directory: Path = tmp_path_factory.mktemp("narrow")
    with house_in(directory, authority, localhost, pool={"max_connections": 1, "max_streams": 1}) as house:
        yield house


@ways_to_leave
def test_a_queued_request_whose_client_leaves_never_runs(narrow: House, kind: Kind, leave: Leave) -> None:
    number = next(numbers)
    name = f"queued {number}"
    with narrow.gate.http2() as other, narrow.client(kind) as client:
        running = other.open("GET", "/silence", [("x-id", f"running {number}")])
        narrow.node.wait_for_run(f"running {number}", "started")
        stream = begin(client, "POST", "/upload", name, b"")
        if isinstance(client, Http1Client):
            # The gate's own 100 after a second: it has read the request.
            assert client.read_head().status == 100
        else:
            # An answered PING: the gate has read all that came before it.
            pings = client.pings
            client.ping()
            client.wait("the gate has read the request", lambda: client.pings > pings)
        leave(client, stream)
        line = narrow.gate.wait_for_line(
            f"the line of {name}", lambda line: line["id"] == name.replace(" ", "-"), timeout=SECONDS * 5
        )
        assert line["reason"] in ("client_closed", "client_reset")
        other.reset(running)
        # Who stood behind it in the queue is served; it is not.
        assert other.request("GET", "/hello").status == 200
        assert narrow.node.runs(name) == []
