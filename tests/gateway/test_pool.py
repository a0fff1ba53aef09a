"""The pool's keys, each by its effect, and how connections are proved, kept and given up.

More of it: test_sharing (`target_streams`, `max_connections`, `max_streams`), test_failures (`queue`, `queue_timeout`),
test_goaway, test_bad_backends (`connect_timeout`), test_routing (unix sockets).
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from h2.errors import ErrorCodes
from hyperframe.frame import (
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from tests.support.gate import Gate
from tests.support.node_backend import NodeBackend
from tests.support.scripted_backend import PREFACE, Connection, PeerGone, Script, ScriptedBackend
from tests.support.waiting import wait_until

QUIET_SECONDS = 0.02
QUIET = {"ping_after": "20ms", "ping_timeout": "500ms"}


def be_quiet() -> None:
    """Let the time pass after which a connection is quiet; there is nothing else to wait for."""
    began = time.monotonic()
    wait_until("the connection is quiet", lambda: time.monotonic() - began > 2 * QUIET_SECONDS)


def pooled(url: str, **pool: Any) -> dict[str, Any]:
    """Return the sections of a gate with the backend `app`. Many requests here are sent again."""
    return {"backends": {"app": {"endpoints": [url], "pool": pool}}, "retries": {"budget": "100%"}}


def frames(connection: Connection) -> Callable[[], Frame]:
    """Return what reads the next frame of `connection`, whatever it is; nothing is answered."""

    def next_frame() -> Frame:
        frame, length = Frame.parse_frame_header(memoryview(connection.read(9)))
        frame.parse_body(memoryview(connection.read(length)))
        return frame

    return next_frame


def answers(connection: Connection) -> None:
    """Answer each request, when it has come whole, by the number of its connection."""
    connection.begin({SettingsFrame.INITIAL_WINDOW_SIZE: 2**31 - 1})
    connection.send(WindowUpdateFrame(0, window_increment=2**30))
    while True:
        stream, _, is_whole = connection.next_request()
        while not is_whole:
            is_whole = "END_STREAM" in connection.next_frame().flags
        connection.respond(stream, b"%d" % connection.number)


class Silence:
    """The first connection answers one request, and then nothing, PING neither; the others answer. Notes the frames."""

    def __init__(self, *, answers_ping: bool = False) -> None:
        self.heard: list[Frame] = []
        self.answers_ping = answers_ping
        self.is_over = threading.Event()

    def __call__(self, connection: Connection) -> None:
        if connection.number > 1:
            answers(connection)
            return
        connection.begin()
        stream, _, _ = connection.next_request()
        connection.respond(stream)
        next_frame = frames(connection)
        try:
            while True:
                frame = next_frame()
                if not isinstance(frame, SettingsFrame | WindowUpdateFrame):
                    self.heard.append(frame)
                if isinstance(frame, PingFrame) and self.answers_ping:
                    connection.send(PingFrame(0, opaque_data=frame.opaque_data, flags=["ACK"]))
        except PeerGone:
            self.is_over.set()

    def kinds(self) -> list[type]:
        return [type(frame) for frame in self.heard]


# Proof


@pytest.mark.parametrize("size", [10_000, 1_000_000], ids=["small", "large"])
@pytest.mark.parametrize("protocol", ["http1", "http2"])
def test_a_body_never_goes_to_a_dead_connection_and_the_request_is_answered_by_another(
    tmp_path: Path, protocol: str, size: int
) -> None:
    silence = Silence()
    with (
        ScriptedBackend(silence) as backend,
        Gate(tmp_path, "app", sections=pooled(backend.url, **QUIET)) as gate,
        getattr(gate, protocol)() as client,
    ):
        assert client.request("GET", "/first").status == 200
        be_quiet()
        response = client.request("POST", "/second", body=b"x" * size)
        assert (response.status, response.body) == (200, b"2")
        line = gate.wait_for_line("the second request", lambda line: line["target"] == "/second")
        assert (line["status"], line["retries"], line["bytes_received"]) == (200, 1, size)
        assert line["total_seconds"] >= 0.5
        assert silence.is_over.wait(10)
    assert silence.kinds() == [HeadersFrame, PingFrame, RstStreamFrame, GoAwayFrame]
    assert silence.heard[2].error_code == ErrorCodes.CANCEL


def test_a_request_that_no_connection_takes_is_504_with_its_reason(tmp_path: Path) -> None:
    silence = Silence()
    sections = pooled("", **QUIET) | {"retries": {"tries": 0}}
    with ScriptedBackend(silence) as backend:
        sections["backends"]["app"]["endpoints"] = [backend.url]
        with Gate(tmp_path, "app", sections=sections) as gate, gate.http2() as client:
            assert client.request("GET", "/first").status == 200
            be_quiet()
            assert client.request("POST", "/second", body=b"x").status == 504
            line = gate.wait_for_line("the second request", lambda line: line["target"] == "/second")
            assert line["reason"] == "ping_timeout"
            assert client.request("POST", "/third", body=b"x").status == 200


@pytest.mark.parametrize(
    ("method", "status", "reason", "retries"), [("GET", 200, None, 1), ("POST", 504, "head_timeout", 0)]
)
def test_a_request_without_a_body_leaves_a_silent_connection_only_if_it_is_safe_to_repeat(
    tmp_path: Path, method: str, status: int, reason: str | None, retries: int
) -> None:
    """The backend may be at work on it all the while."""
    silence = Silence()
    sections = pooled("", **QUIET) | {"timeouts": {"response_head": "2s"}}
    with ScriptedBackend(silence) as backend:
        sections["backends"]["app"]["endpoints"] = [backend.url]
        with Gate(tmp_path, "app", sections=sections) as gate, gate.http2() as client:
            assert client.request("GET", "/first").status == 200
            be_quiet()
            assert client.request(method, "/second").status == status
            line = gate.wait_for_line("the second request", lambda line: line["target"] == "/second")
            assert (line["reason"], line["retries"]) == (reason, retries)
    assert silence.heard[0].flags >= {"END_STREAM"}


def test_a_live_connection_gets_the_body_as_soon_as_it_has_answered(tmp_path: Path) -> None:
    order: list[str] = []

    def script(connection: Connection) -> None:
        connection.begin()
        next_frame = frames(connection)
        while True:
            frame = next_frame()
            match frame:
                case SettingsFrame() if "ACK" not in frame.flags:
                    connection.send(SettingsFrame(0, flags=["ACK"]))
                case PingFrame():
                    order.append("PING")
                    connection.send(PingFrame(0, opaque_data=frame.opaque_data, flags=["ACK"]))
                case HeadersFrame():
                    order.append("HEADERS")
                    if "END_STREAM" in frame.flags:
                        connection.respond(frame.stream_id)
                case DataFrame():
                    order.append("DATA")
                    connection.respond(frame.stream_id)

    with (
        ScriptedBackend(script) as backend,
        Gate(tmp_path, "app", sections=pooled(backend.url, **QUIET)) as gate,
        gate.http2() as client,
    ):
        for _ in range(2):
            assert client.request("POST", "/", body=b"x").status == 200
            be_quiet()
        assert {line["retries"] for line in gate.lines()} <= {0}
    # The first one's came with the preface.
    assert order == ["HEADERS", "DATA", "HEADERS", "PING", "DATA"]


def test_a_real_server_behind_a_quiet_connection_gets_every_body_whole(tmp_path: Path) -> None:
    body = bytes(range(256)) * 2_000
    with (
        NodeBackend(tmp_path) as node,
        Gate(tmp_path, "app", sections=pooled(node.url, **QUIET)) as gate,
        gate.http2() as client,
    ):
        for _ in range(5):
            assert client.request("POST", "/echo", body=body).body == body
            be_quiet()
        assert node.stats()["sessions"] == 1


def test_a_worker_that_was_stopped_takes_no_connection_for_dead_that_has_answered_meanwhile(tmp_path: Path) -> None:
    asked, may_answer, has_answered = threading.Event(), threading.Event(), threading.Event()

    def script(connection: Connection) -> None:
        connection.begin()
        connection.respond(connection.next_request()[0])
        next_frame = frames(connection)
        while not isinstance(frame := next_frame(), PingFrame):
            pass
        asked.set()
        assert may_answer.wait(10)
        connection.send(PingFrame(0, opaque_data=frame.opaque_data, flags=["ACK"]))
        has_answered.set()
        while not isinstance(frame := next_frame(), DataFrame):
            pass
        connection.respond(frame.stream_id)
        connection.wait_for_end()

    with (
        ScriptedBackend(script) as backend,
        Gate(tmp_path, "app", sections=pooled(backend.url, ping_after="20ms", ping_timeout="700ms")) as gate,
        gate.http1() as client,
    ):
        assert client.request("GET", "/first").status == 200
        be_quiet()
        (worker,) = gate.workers()
        client.send(b"POST /second HTTP/1.1\r\nHost: app\r\nContent-Length: 1\r\n\r\nx")
        assert asked.wait(10)
        os.kill(worker, signal.SIGSTOP)
        may_answer.set()
        assert has_answered.wait(10)
        began = time.monotonic()
        wait_until("the time for the answer is over", lambda: time.monotonic() - began > 1)
        os.kill(worker, signal.SIGCONT)
        assert client.read_response("POST").status == 200
        assert gate.wait_for_line("the second request", lambda line: line["target"] == "/second")["retries"] == 0
        assert backend.connections == 1


def test_an_idle_connection_is_asked_at_the_interval_and_dropped_if_it_is_dead(tmp_path: Path) -> None:
    silence = Silence(answers_ping=True)
    pool = {"ping_interval": "600ms", "ping_timeout": "500ms"}
    with (
        ScriptedBackend(silence) as backend,
        Gate(tmp_path, "app", sections=pooled(backend.url, **pool)) as gate,
        gate.http1() as client,
    ):
        assert client.request("GET", "/").status == 200
        wait_until("it was asked twice", lambda: silence.kinds() == [PingFrame] * 2)
        silence.answers_ping = False
        assert silence.is_over.wait(10)
        assert silence.kinds() == [PingFrame] * 3 + [GoAwayFrame]
        assert client.request("POST", "/", body=b"x").body == b"2"


# The connection


def test_what_is_announced_to_the_backend_is_as_configured(tmp_path: Path) -> None:
    found: list[Frame] = []

    def script(connection: Connection) -> None:
        assert connection.read(len(PREFACE)) == PREFACE
        next_frame = frames(connection)
        while not found or not isinstance(found[-1], HeadersFrame):
            found.append(next_frame())
        connection.send(SettingsFrame(0))
        connection.respond(found[-1].stream_id)
        connection.wait_for_end()

    sections = pooled("", stream_window="100KiB", connection_window="1MiB")
    sections["limits"] = {"response_header_list": "20KiB"}
    with ScriptedBackend(script) as backend:
        sections["backends"]["app"]["endpoints"] = [backend.url]
        with Gate(tmp_path, "app", sections=sections) as gate, gate.http1() as client:
            assert client.request("GET", "/").status == 200
    settings, window, _ = found
    assert isinstance(settings, SettingsFrame)
    assert settings.settings == {
        SettingsFrame.ENABLE_PUSH: 0,
        SettingsFrame.INITIAL_WINDOW_SIZE: 102_400,
        SettingsFrame.MAX_HEADER_LIST_SIZE: 20_480,
    }
    assert isinstance(window, WindowUpdateFrame)
    assert (window.stream_id, window.window_increment) == (0, 1_048_576 - 65_535)


def test_connections_come_from_the_source_address(tmp_path: Path) -> None:
    peers: list[str] = []

    def script(connection: Connection) -> None:
        peers.append(connection.socket.getpeername()[0])
        answers(connection)

    with ScriptedBackend(script) as backend:
        sections = pooled(backend.url, source_address="127.0.0.7")
        with Gate(tmp_path, "app", sections=sections) as gate, gate.http1() as client:
            assert client.request("GET", "/").status == 200
    assert peers == ["127.0.0.7"]


def test_a_connection_is_there_before_the_first_request_if_wanted(tmp_path: Path) -> None:
    with (
        ScriptedBackend(answers) as backend,
        Gate(tmp_path, "app", workers=2, sections=pooled(backend.url, preconnect=True)) as gate,
    ):
        wait_until("each worker has connected", lambda: backend.connections == 2)
        with gate.http1() as client:
            assert client.request("GET", "/").status == 200
        assert backend.connections == 2


def test_a_connection_drains_after_its_requests(tmp_path: Path) -> None:
    with (
        ScriptedBackend(answers) as backend,
        Gate(tmp_path, "app", sections=pooled(backend.url, max_requests=3)) as gate,
        gate.http1() as client,
    ):
        bodies = [client.request("POST", "/", body=b"x").body for _ in range(9)]
    assert bodies == [b"1"] * 3 + [b"2"] * 3 + [b"3"] * 3


def test_a_connection_drains_at_its_age_and_finishes_what_runs(tmp_path: Path) -> None:
    may_answer = threading.Event()
    goaways: list[GoAwayFrame] = []

    def script(connection: Connection) -> None:
        if connection.number > 1:
            answers(connection)
            return
        connection.begin()
        stream, _, _ = connection.next_request()
        assert may_answer.wait(20)
        connection.respond(stream, b"old")
        while not isinstance(frame := connection.next_frame(), GoAwayFrame):
            pass
        goaways.append(frame)

    with (
        ScriptedBackend(script) as backend,
        Gate(tmp_path, "app", sections=pooled(backend.url, max_age="1s")) as gate,
        gate.http2() as client,
    ):
        old = client.open("GET", "/old")
        wait_until("the connection is there", lambda: backend.connections)
        # The old one does not answer: these are served when another has taken its place.
        new = client.open("GET", "/new")
        client.reset(new)
        wait_until("another is dialled", lambda: _asks(client, backend))
        may_answer.set()
        assert client.response(old).body == b"old"
        wait_until("the old one has been told", lambda: goaways)
    assert [frame.error_code for frame in goaways] == [ErrorCodes.NO_ERROR]


def _asks(client: Any, backend: ScriptedBackend) -> bool:
    client.reset(client.open("GET", "/again"))
    return backend.connections > 1


def test_idle_connections_are_closed_but_for_one_that_stays_warm(tmp_path: Path) -> None:
    with NodeBackend(tmp_path) as node:
        sections = pooled(node.url, target_streams=1, idle_timeout="1s")
        with Gate(tmp_path, "app", sections=sections) as gate, gate.http2() as client:
            streams = [client.open("GET", "/delay/100") for _ in range(4)]
            assert {client.response(stream).status for stream in streams} == {200}
            opened = node.stats()["openSessions"]
            assert opened > 1
            wait_until("the others are closed", lambda: node.stats()["openSessions"] == 1)
            assert client.request("GET", "/hello").status == 200
            assert node.stats()["sessions"] == opened


def test_a_close_of_an_idle_connection_is_noticed_before_the_next_request(tmp_path: Path) -> None:
    closed = threading.Event()

    def script(connection: Connection) -> None:
        connection.begin()
        stream, _, _ = connection.next_request()
        connection.next_frame()
        connection.respond(stream, b"%d" % connection.number)
        connection.socket.shutdown(1)
        # The gate's end: it has seen ours.
        connection.wait_for_end()
        closed.set()

    with ScriptedBackend(script) as backend, Gate(tmp_path, backend.url) as gate, gate.http1() as client:
        for number in range(1, 4):
            # Not idempotent: it could not be sent again.
            assert client.request("POST", "/", body=b"x").body == b"%d" % number
            assert closed.wait(10)
            closed.clear()
        assert {line["retries"] for line in gate.lines()} <= {0}


# Streams


def resets(connection: Connection, stream: int) -> None:
    connection.reset(stream, ErrorCodes.INTERNAL_ERROR)


def malforms(connection: Connection, stream: int) -> None:
    connection.send(connection.headers(stream, (":status", "200"), ("Upper", "x")))


def breaks_off(connection: Connection, stream: int) -> None:
    connection.send(connection.headers(stream, (":status", "200")), DataFrame(stream, data=b"half"))
    connection.reset(stream, ErrorCodes.INTERNAL_ERROR)


@pytest.mark.parametrize("error", [resets, malforms, breaks_off], ids=lambda error: error.__name__)
def test_a_stream_error_costs_one_stream(tmp_path: Path, error: Callable[[Connection, int], None]) -> None:
    def script(connection: Connection) -> None:
        connection.begin()
        good, _, _ = connection.next_request()
        bad, _, _ = connection.next_request()
        error(connection, bad)
        connection.respond(good)
        last, _, _ = connection.next_request()
        connection.respond(last)
        connection.wait_for_end()

    with ScriptedBackend(script) as backend, Gate(tmp_path, backend.url) as gate, gate.http2() as client:
        good = client.open("GET", "/good")
        bad = client.open("POST", "/bad")
        response = client.response(bad)
        assert response.status == 502 or response.broken
        assert client.response(good).body == b"hello\n"
        assert client.request("GET", "/last").status == 200
        assert backend.connections == 1


def test_a_limit_that_the_backend_lowers_at_runtime_is_kept(tmp_path: Path) -> None:
    most: list[int] = []

    def script(connection: Connection) -> None:
        connection.begin({SettingsFrame.MAX_CONCURRENT_STREAMS: 8})
        connection.respond(connection.next_request()[0])
        running = [connection.next_request()[0] for _ in range(8)]
        connection.send(SettingsFrame(0, settings={SettingsFrame.MAX_CONCURRENT_STREAMS: 2}))
        # Answered one by one: each stream that opens beyond the limit would come before this.
        while True:
            connection.send(PingFrame(0, opaque_data=b"a tester"))
            next_frame = frames(connection)
            while not isinstance(frame := next_frame(), PingFrame):
                if isinstance(frame, HeadersFrame):
                    running.append(frame.stream_id)
                    most.append(len(running))
            if running:
                connection.respond(running.pop(0))

    with (
        ScriptedBackend(script) as backend,
        Gate(tmp_path, "app", sections=pooled(backend.url, max_connections=1)) as gate,
        gate.http2() as client,
    ):
        assert client.request("GET", "/").status == 200
        streams = [client.open("GET", "/") for _ in range(20)]
        assert {client.response(stream).status for stream in streams} == {200}
    assert len(most) == 12
    assert max(most) <= 2


def one_by_one(connection: Connection) -> None:
    connection.begin()
    next_frame = frames(connection)
    while True:
        frame = next_frame()
        if isinstance(frame, HeadersFrame):
            # What comes behind a PING's answer was sent by who did not wait.
            connection.send(PingFrame(0, opaque_data=b"a tester"))
            while not isinstance(other := next_frame(), PingFrame):
                assert not isinstance(other, HeadersFrame), "two streams at once"
            connection.respond(frame.stream_id)


def test_a_backend_that_runs_streams_in_turn_never_gets_two_on_a_connection(tmp_path: Path) -> None:
    script: Script = one_by_one
    with ScriptedBackend(script) as backend:
        sections = pooled(backend.url, max_streams=1, max_connections=3)
        with Gate(tmp_path, "app", sections=sections) as gate, gate.http2() as client:
            streams = [client.open("GET", "/") for _ in range(50)]
            assert {client.response(stream).status for stream in streams} == {200}
        assert backend.connections == 3
