"""How a WebSocket ends when its backend says that it is done in more than one way."""

from __future__ import annotations

from pathlib import Path

from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from hyperframe.frame import DataFrame, RstStreamFrame

from tests.support.gate import Gate
from tests.support.http1_client import Http1Client
from tests.support.scripted_backend import Connection, ScriptedBackend

# More than a slow client's socket takes, less than a stream's window.
LAST_WORDS = [b"bye " * 4_000] * 15
UPGRADE = [
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
]


def says_all_and_resets(connection: Connection) -> None:
    """End the answer and reset the stream in one go, as Go's server does where a handler has not read its request."""
    connection.begin({SettingCodes.ENABLE_CONNECT_PROTOCOL: 1})
    while True:
        stream, _, _ = connection.next_request()
        connection.send(
            connection.headers(stream, (":status", "200")),
            *(DataFrame(stream, data=words) for words in LAST_WORDS),
            DataFrame(stream, flags=["END_STREAM"]),
            RstStreamFrame(stream, error_code=ErrorCodes.NO_ERROR),
        )


def words_of(client: Http1Client) -> bytes:
    data = b""
    while piece := client.read_some():
        data += piece
    return data


def test_what_a_backend_said_before_it_reset_the_tunnel_arrives_whole(tmp_path: Path) -> None:
    said = b"".join(LAST_WORDS)
    with ScriptedBackend(says_all_and_resets) as backend, Gate(tmp_path, backend.url) as gate:
        with gate.http1(receive_buffer=4096) as client:
            client.send_head("GET", "/", UPGRADE)
            assert client.read_head().status == 101
            assert words_of(client) == said
        gate.wait_for_line("a response's end", lambda line: line["status"] == 101)
    # Now that the gate has stopped all lines are there.
    assert [(line["status"], line["bytes_sent"]) for line in gate.lines()] == [(101, len(said))]
