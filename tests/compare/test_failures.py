"""What becomes of failures behind Apache's mod_proxy_http2 and behind h2gate.

Each class is one thing that Apache 2.4.71 gets wrong: what it does is asserted first, then what h2gate does. Outcomes
are those of Apache and of h2gate on both makes of its engines. `Timeout 4`, `ProxyTimeout 2`, and h2gate's alike.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from h2.errors import ErrorCodes
from hyperframe.frame import DataFrame, Frame, GoAwayFrame, RstStreamFrame

from tests.compare.sides import (
    BACKEND_SECONDS,
    CLIENT_SECONDS,
    Apache,
    Arena,
    Outcome,
    Seen,
    Side,
    one_of_each,
)
from tests.support.certificates import Authority, Site
from tests.support.gate import Gate
from tests.support.http1_client import Http1Client
from tests.support.http2_client import Http2Client
from tests.support.messages import Response
from tests.support.ports import refusing_port
from tests.support.processes import children, is_alive
from tests.support.scripted_backend import Connection, PeerGone, ScriptedBackend
from tests.support.waiting import wait_until

Client = Http1Client | Http2Client
CLIENTS = ["http1", "http2"]


def client_of(side: Side, kind: str) -> Client:
    return side.http1() if kind == "http1" else side.http2()


def get(kind: str) -> Callable[[Side], Response]:
    def ask(side: Side) -> Response:
        with client_of(side, kind) as client:
            return client.request("GET", side.path)

    return ask


def take_request(connection: Connection, seen: Seen) -> int:
    """Return the stream of the next whole request; `seen` gets its method."""
    stream, fields, is_whole = connection.next_request()
    while not is_whole:
        is_whole = "END_STREAM" in connection.next_frame().flags
    seen.append(fields[":method"])
    return stream


class TestTruncatedResponses:
    """Apache adds an error page to what has come of the body, and ends it as if that were all."""

    def half(
        self, then: Callable[[Connection, int], None], *fields: tuple[str, str]
    ) -> Callable[[Connection, Seen], None]:
        def script(connection: Connection, seen: Seen) -> None:
            connection.begin()
            stream = take_request(connection, seen)
            connection.send(connection.headers(stream, (":status", "200"), *fields), DataFrame(stream, data=b"half"))
            then(connection, stream)
            connection.wait_for_end()

        return script

    def stops(self, connection: Connection, stream: int) -> None:
        pass

    def is_reset(self, connection: Connection, stream: int) -> None:
        connection.reset(stream, ErrorCodes.INTERNAL_ERROR)

    def closes(self, connection: Connection, stream: int) -> None:
        connection.close()

    def assert_broken(self, gates: list[Outcome[Response]], kind: str, reason: str) -> None:
        for h2gate in gates:
            assert not h2gate.answer.is_complete
            # What came with the break may be lost with the connection; nothing is ever added.
            assert b"half".startswith(h2gate.answer.body)
            if kind == "http2":
                assert h2gate.answer.broken == "RST_STREAM INTERNAL_ERROR"
            assert h2gate.side.reason == reason

    @pytest.mark.parametrize("kind", CLIENTS)
    def test_a_response_that_stops_looks_whole_behind_apache_and_broken_behind_h2gate(
        self, arena: Arena, kind: str
    ) -> None:
        apache, *gates = arena.compare(self.half(self.stops), get(kind))
        assert (apache.answer.status, apache.answer.is_complete) == (200, True)
        assert apache.answer.body.startswith(b"half<!DOCTYPE HTML")
        # Its log tells another status than the one the client saw.
        arena.apache.wait_for_line(f"GET {apache.side.path} 503 200")
        self.assert_broken(gates, kind, "idle_timeout")

    @pytest.mark.parametrize("kind", CLIENTS)
    def test_a_response_whose_connection_ends_looks_whole_behind_apache_and_broken_behind_h2gate(
        self, arena: Arena, kind: str
    ) -> None:
        apache, *gates = arena.compare(self.half(self.closes), get(kind))
        assert (apache.answer.status, apache.answer.is_complete) == (200, True)
        assert apache.answer.body.startswith(b"half<!DOCTYPE HTML")
        self.assert_broken(gates, kind, "backend_closed")

    def test_a_response_that_is_reset_looks_whole_to_http1_behind_apache_and_broken_behind_h2gate(
        self, arena: Arena
    ) -> None:
        apache, *gates = arena.compare(self.half(self.is_reset), get("http1"))
        assert (apache.answer.status, apache.answer.is_complete) == (200, True)
        assert apache.answer.body == b"half"
        self.assert_broken(gates, "http1", "backend_reset")

    def test_a_response_that_is_reset_is_reset_for_http2_by_both(self, arena: Arena) -> None:
        apache, *gates = arena.compare(self.half(self.is_reset), get("http2"))
        assert apache.answer.broken == "RST_STREAM STREAM_CLOSED"
        self.assert_broken(gates, "http2", "backend_reset")

    @pytest.mark.parametrize("how", ["stops", "is_reset", "closes"])
    def test_a_body_of_known_length_is_filled_up_by_apache_and_cut_off_by_h2gate(self, arena: Arena, how: str) -> None:
        apache, *gates = arena.compare(self.half(getattr(self, how), ("content-length", "10")), get("http1"))
        # Ten bytes were promised, ten come: the last six are of the error page.
        assert (apache.answer.body, apache.answer.is_complete) == (b"half<!DOCT", True)
        reason = {"stops": "idle_timeout", "is_reset": "backend_reset", "closes": "backend_closed"}[how]
        self.assert_broken(gates, "http1", reason)


class TestExpectations:
    """Apache waits for 100 for ever: a thread never comes back, and a graceful restart never ends."""

    def test_a_silent_backend_costs_apache_a_thread_for_good_and_h2gate_a_second(self, tmp_path: Path) -> None:
        def silent(connection: Connection) -> None:
            connection.begin()
            connection.wait_for_end()

        with ScriptedBackend(silent) as backend, ExitStack() as stack:
            # The gate waits a second for the backend's 100, and the client owes no body meanwhile.
            timeouts = {"response_head": f"{BACKEND_SECONDS}s", "request_body": f"{BACKEND_SECONDS + 1}s"}
            apache, gates = one_of_each(
                stack,
                tmp_path,
                f"ProxyPass / {backend.url}/",
                # Two threads, so that those which never come back are soon missed.
                threads=2,
                backend=backend.url,
                sections={"timeouts": timeouts},
            )
            with ThreadPoolExecutor(3) as pool:
                futures = [
                    pool.submit(self.apache_hangs, apache),
                    *(pool.submit(self.gate_ends, gate) for gate in gates),
                ]
                for future in futures:
                    future.result()

    def expect(self, client: Http1Client) -> None:
        client.send_head("POST", "/", [("Expect", "100-continue"), ("Content-Length", "4")])

    def apache_hangs(self, apache: Apache) -> None:
        (child,) = children(apache.process.pid)
        with Http1Client(apache.port) as first, Http1Client(apache.port) as second:
            for client in (first, second):
                self.expect(client)
            # Neither Timeout nor ProxyTimeout ends it.
            first.socket.settimeout(CLIENT_SECONDS + 1)
            with pytest.raises(TimeoutError):
                first.read_head()
        # The clients have left, their threads have not: nobody is there to serve.
        with Http1Client(apache.port) as third:
            third.send_head("GET", "/")
            third.socket.settimeout(2 * BACKEND_SECONDS + 1)
            with pytest.raises(TimeoutError):
                third.read_head()
        apache.process.send_signal(signal.SIGUSR1)
        # The next generation serves, and the old child is still there: it waits for threads that wait for ever.
        wait_until("another child is there", lambda: len(children(apache.process.pid)) > 1, 15)
        with Http1Client(apache.port) as fourth:
            self.expect(fourth)
            fourth.socket.settimeout(CLIENT_SECONDS + 1)
            with pytest.raises(TimeoutError):
                fourth.read_head()
        assert is_alive(child)

    def gate_ends(self, gate: Gate) -> None:
        worker = gate.worker
        with gate.http1() as client, gate.http1() as leaving:
            self.expect(leaving)
            began = time.monotonic()
            self.expect(client)
            assert client.read_head().status == 100
            assert 0.9 < time.monotonic() - began < 2
            leaving.close()
            client.send(b"body")
            assert client.read_response("POST").status == 504
        gate.wait_for_line("the client that left", lambda line: line["reason"] == "client_closed")
        gate.reload()
        wait_until("the old worker has left", lambda: not is_alive(worker))


class TestDoubleExecution:
    """Apache sends a request again that the backend may well have executed, whatever its method."""

    def never_answers(self, connection: Connection, seen: Seen) -> None:
        connection.begin()
        while True:
            take_request(connection, seen)

    def fails(self, connection: Connection, seen: Seen) -> None:
        connection.begin()
        while True:
            connection.reset(take_request(connection, seen), ErrorCodes.INTERNAL_ERROR)

    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_a_request_that_is_not_answered_runs_twice_behind_apache_and_once_behind_h2gate(
        self, arena: Arena, method: str
    ) -> None:
        apache, *gates = arena.compare(self.never_answers, self.ask(method))
        assert (apache.seen, apache.answer) == ([method, method], 503)
        for h2gate in gates:
            assert (h2gate.seen, h2gate.answer) == ([method], 504)

    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_a_request_that_failed_runs_twice_behind_apache_and_once_behind_h2gate(
        self, arena: Arena, method: str
    ) -> None:
        apache, *gates = arena.compare(self.fails, self.ask(method))
        assert (apache.seen, apache.answer) == ([method, method], 502)
        for h2gate in gates:
            assert (h2gate.seen, h2gate.answer) == ([method], 502)

    def ask(self, method: str) -> Callable[[Side], int]:
        def ask(side: Side) -> int:
            with side.http1() as client:
                fields = [("Content-Length", "0")] if method == "POST" else []
                return client.request(method, side.path, fields).status

        return ask


class TestStatuses:
    """Apache has one status for all that goes wrong before the answer, and none for what comes too late."""

    def test_every_failure_is_503_behind_apache_and_tells_itself_behind_h2gate(
        self, tmp_path: Path, authority: Authority, localhost: Site
    ) -> None:
        def silent(connection: Connection) -> None:
            connection.begin()
            connection.wait_for_end()

        def closes(connection: Connection) -> None:
            connection.begin()
            connection.next_request()
            connection.close()

        expected = {
            "refused": (503, 502, "connect_refused"),
            "name": (503, 502, "dns_failed"),
            "silent": (503, 504, "head_timeout"),
            "closed": (503, 502, "backend_closed"),
            "alpn": (503, 502, "alpn_http1"),
            "verify": (503, 502, "tls_verify"),
        }
        with ExitStack() as stack:
            urls = {
                "refused": f"h2c://127.0.0.1:{stack.enter_context(refusing_port())}",
                "name": "h2c://nobody.invalid:80",
                "silent": stack.enter_context(ScriptedBackend(silent)).url,
                "closed": stack.enter_context(ScriptedBackend(closes)).url,
                "alpn": stack.enter_context(
                    ScriptedBackend(silent, authority.server_context(localhost, "http/1.1"))
                ).url,
                "verify": stack.enter_context(
                    ScriptedBackend(silent, authority.server_context(authority.site("other.test"), "h2"))
                ).url,
            }
            assert list(urls) == list(expected)
            more = f"SSLProxyEngine on\nSSLProxyVerify require\nSSLProxyCACertificateFile {authority.cert}\n"
            more += "".join(f"<Location /{name}/>\nProxyPass {url}/\n</Location>\n" for name, url in urls.items())
            tls = {"ca": str(authority.cert)}
            apache, gates = one_of_each(
                stack,
                tmp_path,
                more,
                routes=[{"match": {"path": f"/{name}/"}, "backend": name} for name in urls],
                sections={
                    "backends": {
                        name: {"endpoints": [f"{url}/"], **({"tls": tls} if url.startswith("h2:") else {})}
                        for name, url in urls.items()
                    },
                    "timeouts": {"response_head": f"{BACKEND_SECONDS}s"},
                },
            )

            def ask(port: int, name: str) -> int:
                with Http1Client(port) as client:
                    return client.request("GET", f"/{name}/").status

            pool = stack.enter_context(ThreadPoolExecutor(18))
            answers = [{name: pool.submit(ask, proxy.port, name) for name in urls} for proxy in (apache, *gates)]
            statuses = [{name: future.result() for name, future in each.items()} for each in answers]
            assert statuses[0] == {name: status for name, (status, _, _) in expected.items()}
            for gate, got in zip(gates, statuses[1:], strict=True):
                assert got == {name: status for name, (_, status, _) in expected.items()}
                for name, (_, _, reason) in expected.items():
                    line = gate.wait_for_line(name, lambda line, name=name: line["target"] == f"/{name}/")
                    assert line["reason"] == reason


class TestClientsThatLeave:
    """Apache's thread reads from the backend, and looks for nothing else meanwhile."""

    def notes_the_end(self, connection: Connection, seen: Seen) -> None:
        connection.begin()
        take_request(connection, seen)
        frame: Frame | None = None
        with contextlib.suppress(PeerGone):
            frame = connection.next_frame()
        seen.append((time.monotonic(), frame))
        connection.wait_for_end()

    def end(self, seen: Seen) -> Any:
        # Apache may have sent the request once more before the first of its connections has ended.
        return next((one for one in seen if isinstance(one, tuple)), None)

    @pytest.mark.parametrize("kind", CLIENTS)
    def test_a_client_that_leaves_is_noticed_late_by_apache_and_at_once_by_h2gate(
        self, arena: Arena, kind: str
    ) -> None:
        def ask(side: Side) -> float:
            """Return after how many seconds the backend learned of it."""
            with client_of(side, kind) as client:
                if isinstance(client, Http2Client):
                    stream = client.open("GET", side.path)
                else:
                    client.send_head("GET", side.path)
                wait_until("the request runs", lambda: side.seen)
                left = time.monotonic()
                if isinstance(client, Http2Client):
                    client.reset(stream)
                else:
                    client.close()
                when, _ = wait_until("the backend learns of it", lambda: self.end(side.seen))
                return float(when - left)

        apache, *gates = arena.compare(self.notes_the_end, ask)
        assert apache.answer > BACKEND_SECONDS - 0.5
        for h2gate in gates:
            assert h2gate.answer < 0.5
            _, frame = self.end(h2gate.seen)
            assert isinstance(frame, RstStreamFrame)
            assert frame.error_code == ErrorCodes.CANCEL

    def test_an_upload_that_stops_has_no_timeout_behind_apache_and_408_behind_h2gate(self, arena: Arena) -> None:
        def takes_what_comes(connection: Connection, seen: Seen) -> None:
            connection.begin()
            connection.next_request()
            connection.wait_for_end()

        def ask(side: Side) -> int:
            """Return the status, 0 where none came in time."""
            with side.http1() as client:
                client.send_head("POST", side.path, [("Content-Length", "1000")])
                client.send(b"the beginning")
                client.socket.settimeout(CLIENT_SECONDS + BACKEND_SECONDS + 1)
                try:
                    return client.read_response("POST").status
                except TimeoutError:
                    return 0

        apache, *gates = arena.compare(takes_what_comes, ask)
        assert apache.answer == 0
        for h2gate in gates:
            assert h2gate.answer == 408
            assert h2gate.side.reason == "body_timeout"


class TestStreamErrors:
    """To Apache a stream that fails before its answer is a connection that fails."""

    def one_fails(self, how: Callable[[Connection, int], None]) -> Callable[[Connection, Seen], None]:
        def script(connection: Connection, seen: Seen) -> None:
            connection.begin()
            while True:
                stream = take_request(connection, seen)
                if len(seen) == 2:
                    how(connection, stream)
                else:
                    connection.respond(stream)

        return script

    def three_times(self, method: str) -> Callable[[Side], list[int]]:
        def ask(side: Side) -> list[int]:
            body = b"x" if method == "POST" else None
            answers = []
            for _ in range(3):
                with side.http1() as client:
                    answers.append(client.request(method, side.path, body=body).status)
            return answers

        return ask

    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_a_stream_that_is_not_answered_costs_apache_the_connection_and_h2gate_the_stream(
        self, arena: Arena, method: str
    ) -> None:
        apache, *gates = arena.compare(self.one_fails(lambda connection, stream: None), self.three_times(method))
        # The GET runs again, on the second connection.
        assert apache.answer == [200, 200 if method == "GET" else 503, 200]
        assert apache.connections == 2
        for h2gate in gates:
            assert (h2gate.answer, h2gate.connections) == ([200, 504, 200], 1)

    def test_a_stream_that_is_reset_costs_apache_the_connection_and_h2gate_the_stream(self, arena: Arena) -> None:
        def reset(connection: Connection, stream: int) -> None:
            connection.reset(stream, ErrorCodes.INTERNAL_ERROR)

        apache, *gates = arena.compare(self.one_fails(reset), self.three_times("GET"))
        assert (apache.answer, apache.connections) == ([200, 200, 200], 2)
        for h2gate in gates:
            assert (h2gate.answer, h2gate.connections) == ([200, 502, 200], 1)
        # 2.4.71 keeps the connection if a part of the body was sent: then it does not try again either.
        apache, *gates = arena.compare(self.one_fails(reset), self.three_times("POST"))
        assert (apache.answer, apache.connections) == ([200, 502, 200], 1)
        for h2gate in gates:
            assert (h2gate.answer, h2gate.connections) == ([200, 502, 200], 1)

    def test_a_refused_upload_fails_behind_apache_and_runs_behind_h2gate(self, arena: Arena) -> None:
        def refuse(connection: Connection, stream: int) -> None:
            connection.reset(stream, ErrorCodes.REFUSED_STREAM)

        # RFC 9113, 8.7: it was not processed, and may be sent again.
        apache, *gates = arena.compare(self.one_fails(refuse), self.three_times("POST"))
        assert apache.answer == [200, 502, 200]
        for h2gate in gates:
            assert (h2gate.answer, h2gate.connections) == ([200, 200, 200], 1)

    def test_a_goaway_of_apache_has_a_code_that_http2_does_not_know_and_h2gate_sends_none(self, arena: Arena) -> None:
        def notes_the_end(connection: Connection, seen: Seen) -> None:
            connection.begin()
            take_request(connection, [])
            frame = connection.next_frame()
            seen.append(frame)
            connection.wait_for_end()

        def ask(side: Side) -> int:
            with side.http1() as client:
                status = client.request("POST", side.path, body=b"x").status
            wait_until("the stream is given up", lambda: side.seen)
            return status

        apache, *gates = arena.compare(notes_the_end, ask)
        (goaway,) = apache.seen
        assert isinstance(goaway, GoAwayFrame)
        assert goaway.error_code not in list(ErrorCodes)
        for h2gate in gates:
            (reset,) = h2gate.seen
            assert isinstance(reset, RstStreamFrame)
            assert reset.error_code == ErrorCodes.CANCEL
