"""What becomes of a message on its way, behind Apache's mod_proxy_http2 and behind h2gate.

Each class is one thing that Apache 2.4.71 gets wrong: what it does is asserted first, then what h2gate does. Outcomes
are those of Apache and of h2gate on both makes of its engines.
"""

from __future__ import annotations

import pytest
from hyperframe.frame import DataFrame, HeadersFrame, WindowUpdateFrame

from tests.compare.sides import Arena, Seen, Side
from tests.support.messages import Response
from tests.support.scripted_backend import Connection


def notes_requests(connection: Connection, seen: Seen) -> None:
    connection.begin()
    while True:
        stream, fields, is_whole = connection.next_request()
        seen.append(fields)
        while not is_whole:
            is_whole = "END_STREAM" in connection.next_frame().flags
        connection.respond(stream)


class TestInterimResponses:
    """Apache decides by the client that opened the backend connection, not by the one that asks."""

    LINK = "</style.css>; rel=preload"

    def hints(self, connection: Connection, seen: Seen) -> None:
        connection.begin()
        while True:
            stream, _, is_whole = connection.next_request()
            while not is_whole:
                is_whole = "END_STREAM" in connection.next_frame().flags
            connection.send(connection.headers(stream, (":status", "103"), ("x-hint", "1"), ("link", self.LINK)))
            connection.respond(stream)

    def test_early_hints_depend_on_a_stranger_behind_apache_and_on_nobody_behind_h2gate(self, arena: Arena) -> None:
        def ask_after(first: str) -> list[tuple[int, int]]:
            """Return how many 103 each client got: one that speaks HTTP/1.1, one that speaks HTTP/2."""

            def ask(side: Side) -> tuple[int, int]:
                with side.http1() as http1, side.http2() as http2:
                    (http1 if first == "http1" else http2).request("GET", side.path)
                    return tuple(len(one.request("GET", side.path).interim) for one in (http1, http2))  # type: ignore[return-value]

            return [outcome.answer for outcome in arena.compare(self.hints, ask)]

        apache, *gates = ask_after("http1")
        assert apache == (0, 0)
        assert gates == [(1, 1)] * 2
        apache, *gates = ask_after("http2")
        assert apache == (1, 1)
        assert gates == [(1, 1)] * 2

    def test_fields_of_early_hints_leak_into_the_answer_behind_apache_and_never_behind_h2gate(
        self, arena: Arena
    ) -> None:
        def ask(side: Side) -> Response:
            with side.http1() as client:
                return client.request("GET", side.path)

        apache, *gates = arena.compare(self.hints, ask)
        assert apache.answer.interim == []
        assert apache.answer["x-hint"] == "1"
        assert apache.answer["link"] == self.LINK
        for h2gate in gates:
            (hint,) = h2gate.answer.interim
            assert hint["x-hint"] == "1"
            assert h2gate.answer.get("x-hint") is None
            assert h2gate.answer.get("link") is None


class TestFieldsForOneHop:
    """Apache's HTTP/2 proxy has its own rules for fields beside those of mod_proxy."""

    FIELDS = (
        ("Connection", "close, X-Secret"),
        ("X-Secret", "of one hop"),
        ("Proxy-Authorization", "Basic eDp5"),
        ("Via", "1.0 before"),
    )

    def ask(self, host: str):  # type: ignore[no-untyped-def]
        def ask(side: Side) -> None:
            with side.http1() as client:
                assert client.request("GET", side.path, [*self.FIELDS], host=host).status == 200

        return ask

    def test_fields_that_connection_names_pass_apache_and_not_h2gate(self, arena: Arena) -> None:
        apache, *gates = arena.compare(notes_requests, self.ask("front.test"))
        (fields,) = apache.seen
        assert fields["x-secret"] == "of one hop"
        for h2gate in gates:
            (fields,) = h2gate.seen
            assert "x-secret" not in fields

    def test_credentials_for_the_proxy_pass_apache_and_not_h2gate(self, arena: Arena) -> None:
        apache, *gates = arena.compare(notes_requests, self.ask("front.test"))
        assert apache.seen[0]["proxy-authorization"] == "Basic eDp5"
        for h2gate in gates:
            assert "proxy-authorization" not in h2gate.seen[0]

    @pytest.mark.parametrize("host", ["front.test", "block.test"], ids=["proxyvia_on", "proxyvia_block"])
    def test_via_passes_apache_as_it_came_whatever_proxyvia_says_and_tells_of_h2gate(
        self, arena: Arena, host: str
    ) -> None:
        apache, *gates = arena.compare(notes_requests, self.ask(host))
        assert apache.seen[0]["via"] == "1.0 before"
        for h2gate in gates:
            assert h2gate.seen[0]["via"] == "1.0 before, 1.1 h2gate"


class TestTheWayBack:
    """Apache maps some fields by one rule, others by another, and none where the client's host is kept."""

    def points_to_itself(self, connection: Connection, seen: Seen) -> None:
        connection.begin()
        while True:
            stream, _, _ = connection.next_request()
            port = connection.socket.getsockname()[1]
            fields = (
                ("location", f"http://127.0.0.1:{port}/next"),
                ("link", "</style.css>; rel=preload"),
                ("set-cookie", "a=1; Path=/"),
            )
            connection.respond(stream, b"", 302, *fields)

    def ask(self, side: Side, host: str) -> tuple[str, str, str]:
        with side.http1() as client:
            response = client.request("GET", side.path, host=host)
        return response["location"], response["link"], response["set-cookie"]

    def test_a_kept_host_switches_the_mapping_off_in_apache_and_not_in_h2gate(self, arena: Arena) -> None:
        apache, *gates = arena.compare(self.points_to_itself, lambda side: self.ask(side, "kept.test"))
        location = f"http://127.0.0.1:{apache.side.backend.port}/next"
        assert apache.answer == (location, "</style.css>; rel=preload", "a=1; Path=/")
        for h2gate in gates:
            path = h2gate.side.path
            expected = (f"http://kept.test{path}next", f"<{path}style.css>; rel=preload", f"a=1; Path={path}")
            assert h2gate.answer == expected

    def test_links_need_a_second_line_in_apache_and_one_rule_maps_all_in_h2gate(self, arena: Arena) -> None:
        apache, *gates = arena.compare(self.points_to_itself, lambda side: self.ask(side, "front.test"))
        path = apache.side.path
        assert apache.answer == (
            f"http://front.test{path}next",
            "</style.css>; rel=preload",  # nothing is there
            f"a=1; Path={path}",
        )
        for h2gate in gates:
            expected = (f"http://front.test{path}next", f"<{path}style.css>; rel=preload", f"a=1; Path={path}")
            assert h2gate.answer == expected


class TestRequestsWithoutABody:
    """Apache says with each request that a body may follow."""

    def notes_frames(self, connection: Connection, seen: Seen) -> None:
        connection.begin()
        stream = 0
        while True:
            frame = connection.next_frame()
            if isinstance(frame, HeadersFrame | DataFrame):
                seen.append((type(frame).__name__, "END_STREAM" in frame.flags))
                if "END_STREAM" in frame.flags:
                    stream = frame.stream_id
                    connection.respond(stream)
                elif isinstance(frame, HeadersFrame):
                    # Apache holds the DATA back until it has seen a frame.
                    connection.send(WindowUpdateFrame(0, window_increment=1))

    @pytest.mark.parametrize("method", ["GET", "DELETE"])
    def test_a_request_is_two_frames_behind_apache_and_one_behind_h2gate(self, arena: Arena, method: str) -> None:
        def ask(side: Side) -> int:
            with side.http2() as client:
                return client.request(method, side.path).status

        apache, *gates = arena.compare(self.notes_frames, ask)
        assert apache.seen == [("HeadersFrame", False), ("DataFrame", True)]
        for h2gate in gates:
            assert h2gate.seen == [("HeadersFrame", True)]
