"""The sample backend, asked by an HTTP/2 client."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.certificates import Authority, Site
from tests.support.http1_client import Http1Client
from tests.support.http2_client import Http2Client
from tests.support.ports import HeldPort
from tests.support.processes import REPOSITORY, Process

COMMAND = [sys.executable, "-m", "h2gate", "backend"]


def start(directory: Path, *arguments: str) -> tuple[Process, int]:
    """Start a sample backend on a free port and return it with the port."""
    process = Process([*COMMAND, "--listen", "127.0.0.1:0", *arguments], directory, name="backend", reads_stdout=True)
    try:
        line = process.read_line()
        assert line.startswith("listening on h2"), line
    except BaseException:
        process.stop()
        raise
    return process, int(line.rpartition(":")[2])


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    process, port = start(tmp_path_factory.mktemp("backend"))
    yield port
    assert process.stop() == 0
    assert process.stderr == ""


@pytest.fixture
def client(backend: int) -> Iterator[Http2Client]:
    with Http2Client(backend) as client:
        yield client


def test_the_greeting_shows_the_request(client: Http2Client) -> None:
    response = client.request("POST", "/?a=b", [("x-color", "blue")], b"12345")
    text = response.body.decode()
    assert response.status == 200
    assert "POST /?a=b HTTP/2.0\nscheme: http\nauthority: gate.test\n" in text
    assert "x-color: blue\n" in text
    assert "5 bytes of body" in text


def test_echo_sends_each_piece_back_before_the_next_one(client: Http2Client) -> None:
    stream = client.open("POST", "/echo", [("content-type", "text/x-test")], end_stream=False)
    assert client.head(stream)["content-type"] == "text/x-test"
    for size, piece in enumerate([b"one", b"two", b"three"]):
        client.send_data(stream, piece)
        client.wait(f"piece {size} is back", lambda piece=piece: client.responses[stream].body.endswith(piece))
    client.send_data(stream, b"", end_stream=True)
    assert client.response(stream).body == b"onetwothree"


def test_echo_holds_an_upload_back_while_nobody_reads_it(backend: int) -> None:
    with Http2Client(backend, stream_window=65_535) as client:
        stream = client.open("POST", "/echo", end_stream=False, stalls=True)
        client.head(stream)
        taken = 0
        # Its window for our body and our window for its echo: no more than these are on the way.
        while (room := client.engine.local_flow_control_window(stream)) > 0:
            size = min(room, 16_384)
            client.send_data(stream, b"x" * size)
            taken += size
            client.read(timeout=0.05)
        assert 262_144 <= taken <= 262_144 + 65_535 + 16_384


def test_a_delayed_answer_comes_late_and_holds_nobody_up(client: Http2Client) -> None:
    began = time.monotonic()
    slow = client.open("GET", "/delay/0.5")
    assert client.request("GET", "/").status == 200
    assert time.monotonic() - began < 0.4
    assert client.response(slow).body == b"answered after 0.5 s\n"
    assert time.monotonic() - began >= 0.5


@pytest.mark.parametrize("size", [0, 1, 65_536, 3_000_000])
def test_bytes_come_as_many_as_asked_for(client: Http2Client, size: int) -> None:
    response = client.request("GET", f"/bytes/{size}", keeps_body=False)
    assert response["content-length"] == str(size)
    assert (response.size, response.is_complete) == (size, True)


def test_a_stalled_reader_does_not_hold_up_another_stream(client: Http2Client) -> None:
    stalled = client.open("GET", "/bytes/10000000", stalls=True)
    client.head(stalled)
    assert client.request("GET", "/bytes/100000", keeps_body=False).size == 100_000
    assert not client.responses[stalled].is_complete


@pytest.mark.parametrize(("code", "body"), [(418, b"status 418\n"), (204, b""), (304, b"")])
def test_the_status_is_the_one_asked_for(client: Http2Client, code: int, body: bytes) -> None:
    response = client.request("GET", f"/status/{code}")
    assert (response.status, response.body) == (code, body)


def test_trailers_follow_the_body(client: Http2Client) -> None:
    response = client.request("GET", "/trailers")
    assert response.body == b"trailers follow\n"
    assert response.trailers == [("x-trailer", "the end"), ("x-body-bytes", "16")]


def test_an_early_hint_comes_before_the_answer(client: Http2Client) -> None:
    response = client.request("GET", "/early-hints")
    assert [(head.status, head["link"]) for head in response.interim] == [(103, "</style.css>; rel=preload; as=style")]
    assert response.status == 200


def test_expect_is_answered_by_100(client: Http2Client) -> None:
    stream = client.open("POST", "/", [("expect", "100-continue")], end_stream=False)
    client.wait("100 is here", lambda: client.responses[stream].interim)
    client.send_data(stream, b"body", end_stream=True)
    response = client.response(stream)
    assert [head.status for head in response.interim] == [100]
    assert b"4 bytes of body" in response.body


@pytest.mark.parametrize("path", ["/", "/echo", "/bytes/1000", "/trailers", "/nowhere"])
def test_head_has_no_body(client: Http2Client, path: str) -> None:
    response = client.request("HEAD", path)
    assert (response.size, response.trailers, response.is_complete) == (0, [], True)


@pytest.mark.parametrize("path", ["/nowhere", "/bytes/", "/bytes/-1", "/bytes/x", "/delay/inf", "/status/99", "//"])
def test_other_paths_are_not_found(client: Http2Client, path: str) -> None:
    assert client.request("GET", path).status == 404


def test_request_trailers_end_the_request(client: Http2Client) -> None:
    stream = client.open("POST", "/echo", end_stream=False)
    client.send_data(stream, b"body")
    client.send_trailers(stream, [("x-checksum", "1")])
    assert client.response(stream).body == b"body"


def test_a_reset_stream_leaves_the_others_alone(client: Http2Client) -> None:
    doomed = client.open("GET", "/bytes/100000000", stalls=True)
    client.head(doomed)
    client.reset(doomed)
    assert client.request("GET", "/").status == 200


def test_garbage_costs_only_its_connection(backend: int, client: Http2Client) -> None:
    with Http1Client(backend) as other:
        other.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + b"\xff" * 1000)
        while other.read_some():
            pass
    assert client.request("GET", "/").status == 200


def test_many_streams_run_at_once(client: Http2Client) -> None:
    began = time.monotonic()
    streams = [client.open("GET", "/delay/0.3") for _ in range(50)]
    assert {client.response(stream).status for stream in streams} == {200}
    assert time.monotonic() - began < 2


def test_it_serves_tls_with_a_certificate(tmp_path: Path, authority: Authority, localhost: Site) -> None:
    process, port = start(tmp_path, "--cert", str(localhost.cert), "--key", str(localhost.key))
    with process, Http2Client(port, authority.client_context("h2")) as client:
        assert b"scheme: https" in client.request("GET", "/").body


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_says_goaway_and_ends_cleanly_on_a_signal(tmp_path: Path, number: signal.Signals) -> None:
    process, port = start(tmp_path)
    with process, Http2Client(port) as client:
        assert client.request("GET", "/").status == 200
        process.send_signal(number)
        assert process.wait() == 0
        client.wait("the goodbye is here", lambda: client.goaway)
        assert process.stderr == ""


def test_it_serves_a_socket_file_and_removes_it(tmp_path: Path) -> None:
    path = tmp_path / "backend.sock"
    process = Process([*COMMAND, "--listen", f"unix:{path}"], tmp_path, name="backend", reads_stdout=True)
    with process:
        assert process.read_line() == f"listening on h2c+unix:{path}"
        with Http2Client(path) as client:
            assert client.request("GET", "/").status == 200
        assert process.stop() == 0
    assert not path.exists()


def test_what_cannot_start_says_why_in_one_line(backend: int, localhost: Site) -> None:
    port = HeldPort()
    wrong = [
        (["--listen", "nonsense"], 2),
        (["--listen", "192.0.2.1:0"], 71),
        (["--listen", f"127.0.0.1:{backend}"], 71),
        (["--cert", str(localhost.cert)], 2),
        (["--listen", f"127.0.0.1:{port.number}", "--cert", str(localhost.cert), "--key", "/missing.pem"], 1),
        (["--listen", f"127.0.0.1:{port.number}", "--cert", str(localhost.key), "--key", str(localhost.key)], 1),
    ]
    for arguments, code in wrong:
        done = subprocess.run(
            [*COMMAND, *arguments], cwd=REPOSITORY, capture_output=True, text=True, timeout=20, check=False
        )
        assert (done.returncode, len(done.stderr.splitlines()), done.stdout) == (code, 1, ""), done
    port.release()
