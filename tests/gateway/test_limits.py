"""Clients that take more than their share: each attack meets its limit, while another client is served.

What `test_bad_clients.py` proves is not here: fields, request lines, PING floods, heads and bodies without end.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from h2.errors import ErrorCodes
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from tests.support.certificates import Authority, Site
from tests.support.gate import Gate
from tests.support.house import House, house_in
from tests.support.http1_client import Http1Client, connect
from tests.support.http2_client import Http2Client
from tests.support.waiting import wait_until

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SettingsFrame(0).serialize()
TIMEOUTS = {
    "request_head": "1s",
    "request_body": "1s",
    "tls_handshake": "1s",
    "client_write": "1s",
    "keepalive_http2": "2s",
}


@pytest.fixture(scope="module")
def quick(
    engine: str, tmp_path_factory: pytest.TempPathFactory, authority: Authority, localhost: Site
) -> Iterator[House]:
    """A house of short deadlines and small limits."""
    limits = {"reset_burst": 20, "reset_rate": 5, "streams": 20}
    with house_in(tmp_path_factory.mktemp("quick"), authority, localhost, timeouts=TIMEOUTS, limits=limits) as house:
        yield house


class Bystander:
    """A client of the same worker; `check` says that it is served, and how long that may take."""

    def __init__(self, gate: Gate) -> None:
        self._client = Http1Client(gate.port)
        self.check()

    def check(self) -> None:
        began = time.monotonic()
        assert self._client.request("GET", "/hello").status == 200
        assert time.monotonic() - began < 2

    def close(self) -> None:
        self._client.close()


@pytest.fixture
def bystander(quick: House) -> Iterator[Bystander]:
    found = Bystander(quick.gate)
    yield found
    found.check()
    found.close()


def until_closed(sock: socket.socket) -> bytes:
    """Return all that comes before the end of the connection."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while data := sock.recv(65_536):
            received += data
    return received


# Slow clients

SLOW: dict[str, tuple[bool, bytes]] = {
    "nothing": (False, b""),
    "half_a_preface": (False, b"PRI * HTTP/2.0\r\n"),
    "half_a_head": (False, b"GET /hello HTTP/1.1\r\nHost: "),
    "a_preface_and_no_request": (False, PREFACE),
    "half_an_http2_head": (False, PREFACE + HeadersFrame(1, data=b"\x82\x86").serialize()),
    "no_tls_hello": (True, b""),
    "half_a_tls_hello": (True, bytes.fromhex("16030100c8010000c40303") + bytes(20)),
}


@pytest.mark.parametrize("name", SLOW)
def test_whoever_says_too_little_is_gone_in_time(quick: House, bystander: Bystander, name: str) -> None:
    is_tls, data = SLOW[name]
    with ExitStack() as stack:
        socks = [stack.enter_context(connect(quick.gate.tls_port if is_tls else quick.gate.port)) for _ in range(20)]
        began = time.monotonic()
        for sock in socks:
            sock.sendall(data)
        bystander.check()
        for sock in socks:
            until_closed(sock)
        assert 0.8 < time.monotonic() - began < 6


def test_a_head_in_single_bytes_gets_no_more_time(quick: House, bystander: Bystander) -> None:
    head = b"GET /hello HTTP/1.1\r\nHost: gate.test\r\nX-Slow: " + b"x" * 10_000
    with connect(quick.gate.port) as sock:
        began = time.monotonic()
        sock.settimeout(0.05)
        for octet in head:
            sock.send(bytes((octet,)))
            with contextlib.suppress(TimeoutError):
                assert sock.recv(1000).startswith(b"HTTP/1.1 408")
                break
        assert 0.8 < time.monotonic() - began < 5
        bystander.check()


def test_a_reader_that_takes_nothing_is_cut_off(quick: House, bystander: Bystander) -> None:
    with quick.gate.http1(receive_buffer=4096) as client:
        client.send_head("GET", "/bytes/50000000", [("X-Id", "no reader")])
        bystander.check()
        line = quick.gate.wait_for_line("the stall", lambda line: line["reason"] == "client_stall")
        assert line["target"] == "/bytes/50000000"


def test_a_stream_whose_window_stays_shut_is_reset_alone(quick: House, bystander: Bystander) -> None:
    with quick.gate.http2(stream_window=0) as client:
        stalled = [client.open("GET", "/bytes/1000000", [("x-id", f"shut {number}")]) for number in range(10)]
        for stream in stalled:
            assert client.response(stream).broken == "RST_STREAM CANCEL"
        bystander.check()
        # The connection lives.
        assert client.request("HEAD", "/hello").status == 200
    for number in range(10):
        quick.node.wait_for_run(f"shut {number}", "closed")


# Resets


def get_frame(stream_id: int, path: bytes = b"/delay/2000") -> bytes:
    """A GET without the compression's memory."""
    block = b"\x82\x86\x01\x09gate.test\x04" + bytes((len(path),)) + path
    return HeadersFrame(stream_id, data=block, flags=["END_HEADERS", "END_STREAM"]).serialize()


def frames_of(data: bytes) -> Iterator[Frame]:
    view = memoryview(data)
    while len(view) >= 9:
        frame, length = Frame.parse_frame_header(view[:9])
        if len(view) < 9 + length:
            return
        frame.parse_body(view[9 : 9 + length])
        yield frame
        view = view[9 + length :]


def goaway_of(data: bytes) -> ErrorCodes:
    *_, last = (frame for frame in frames_of(data) if isinstance(frame, GoAwayFrame))
    return ErrorCodes(last.error_code)


def attack(gate: Gate, data: bytes) -> bytes:
    """Send `data` behind the preface; return what comes until the gate ends the connection."""
    with connect(gate.port) as sock:
        with contextlib.suppress(ConnectionError):
            sock.sendall(PREFACE + data)
        return until_closed(sock)


def test_rapid_reset_ends_the_connection_and_its_work(quick: House, bystander: Bystander) -> None:
    """CVE-2023-44487."""
    before = quick.node.stats()["streams"]
    flood = b"".join(
        get_frame(stream) + RstStreamFrame(stream, error_code=ErrorCodes.CANCEL).serialize()
        for stream in range(1, 2001, 2)
    )
    with connect(quick.gate.port) as sock:
        name = f"client 127.0.0.1:{sock.getsockname()[1]}: HTTP/2 connection ended by ENHANCE_YOUR_CALM: 20 cancelled"
        with contextlib.suppress(ConnectionError):
            sock.sendall(PREFACE + flood)
        assert goaway_of(until_closed(sock)) == ErrorCodes.ENHANCE_YOUR_CALM
    quick.gate.wait_for_error(name)
    assert quick.gate.error_log.count(name) == 1
    bystander.check()
    # Of a thousand requests no more came to the backend than the burst, and none of them runs on.
    assert quick.node.stats()["streams"] - before <= 25
    wait_until("nothing runs at the backend", lambda: quick.node.stats()["openStreams"] == 0)


def test_a_client_that_cancels_now_and_then_is_served_on(quick: House) -> None:
    with quick.gate.http2() as client:
        for _ in range(15):
            client.reset(client.open("GET", "/delay/2000"))
        # Whoever has its answer may reset as often as it likes: nothing was cancelled.
        assert client.request("GET", "/hello").status == 200
        assert client.goaway is None


MADE_RESETS = {
    "window_update_of_nothing": WindowUpdateFrame(1, window_increment=1),
    "window_overflow": WindowUpdateFrame(1, window_increment=2**31 - 1),
    "data_behind_the_end": DataFrame(1, data=b"x"),
}


@pytest.mark.parametrize("name", MADE_RESETS)
def test_a_client_that_makes_the_gate_reset_is_ended_as_well(quick: House, bystander: Bystander, name: str) -> None:
    """CVE-2025-8671. Some of it breaks the connection at once, which is as good."""
    data = b""
    for stream in range(1, 1001, 2):
        frame = MADE_RESETS[name]
        frame.stream_id = stream
        broken = frame.serialize()
        if name == "window_update_of_nothing":
            broken = broken[:-4] + bytes(4)
        data += get_frame(stream) + broken
    goaway_of(attack(quick.gate, data))
    bystander.check()
    wait_until("nothing runs at the backend", lambda: quick.node.stats()["openStreams"] == 0)


def test_malformed_requests_without_end_are_ended(quick: House, bystander: Bystander) -> None:
    """CVE-2019-9514."""
    before = quick.node.stats()["streams"]
    block = b"\x82\x86\x84\x00\x01X\x011"  # a name in upper case
    heads = (HeadersFrame(stream, data=block, flags=["END_HEADERS", "END_STREAM"]) for stream in range(1, 2001, 2))
    received = attack(quick.gate, b"".join(head.serialize() for head in heads))
    assert goaway_of(received) == ErrorCodes.ENHANCE_YOUR_CALM
    bystander.check()
    assert quick.node.stats()["streams"] - before <= 2


# Too much at once


def test_more_streams_than_announced_are_refused_and_never_reach_the_backend(
    quick: House, bystander: Bystander
) -> None:
    before = quick.node.stats()["streams"]
    with connect(quick.gate.port) as sock:
        sock.sendall(PREFACE + b"".join(get_frame(stream) for stream in range(1, 121, 2)))
        received = b""
        while received.count(b"\x00\x00\x04\x03") < 40:  # RST_STREAM
            data = sock.recv(65_536)
            assert data
            received += data
        resets = [frame for frame in frames_of(received) if isinstance(frame, RstStreamFrame)]
        assert {frame.error_code for frame in resets} == {ErrorCodes.REFUSED_STREAM}
        bystander.check()
        assert quick.node.stats()["streams"] - before <= 22
    wait_until("nothing runs at the backend", lambda: quick.node.stats()["openStreams"] == 0)


FLOODS: dict[str, bytes] = {
    # CVE-2024-27316 and others
    "continuation": HeadersFrame(1, data=b"\x82").serialize() + ContinuationFrame(1, data=b"").serialize() * 1000,
    # CVE-2026-49975: empty cookies, each an octet
    "hpack_bomb": HeadersFrame(
        1,
        data=b"\x82\x86\x84\x01\x09gate.test" + b"\xa0" * 15_000,
        flags=["END_HEADERS", "END_STREAM"],
    ).serialize(),
    # CVE-2019-9515
    "settings": SettingsFrame(0, settings={4: 65_535}).serialize() * 100_000,
    "huge_integer": HeadersFrame(1, data=b"\xff" * 12_000, flags=["END_HEADERS"]).serialize(),
}


FLOODS_END = {ErrorCodes.ENHANCE_YOUR_CALM, ErrorCodes.COMPRESSION_ERROR}


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_ends_its_connection_only(quick: House, bystander: Bystander, name: str) -> None:
    before = quick.node.stats()["streams"]
    with connect(quick.gate.port, receive_buffer=4096) as sock:
        with contextlib.suppress(ConnectionError):
            sock.sendall(PREFACE + FLOODS[name])
            sock.shutdown(socket.SHUT_WR)
        received = until_closed(sock)
    bystander.check()
    assert goaway_of(received) in FLOODS_END
    assert quick.node.stats()["streams"] - before <= 2


def test_frames_that_mean_nothing_cost_little(quick: House, bystander: Bystander) -> None:
    """CVE-2019-9513, and unknown frames (RFC 9113, 5.5): read over."""
    noise = (
        PriorityFrame(1, depends_on=3, stream_weight=7).serialize() + b"\x00\x00\x08\x7f\x00\x00\x00\x00\x00noise..."
    )
    with quick.gate.http2() as client:
        assert client.request("GET", "/hello").status == 200
        client.socket.sendall(noise * 5000)
        bystander.check()
        assert client.request("GET", "/hello").status == 200


# Connections


def test_above_its_connections_a_worker_accepts_no_more_until_one_leaves(
    tmp_path: Path, authority: Authority, localhost: Site
) -> None:
    with house_in(tmp_path, authority, localhost, limits={"connections": 5}) as house, ExitStack() as stack:
        wait_until("the probes are gone", lambda: served(house.gate.port, 0.5))
        clients = [stack.enter_context(house.gate.http1()) for _ in range(5)]
        for client in clients:
            assert client.request("GET", "/hello").status == 200
        waiting = stack.enter_context(house.gate.http1())
        waiting.send_head("GET", "/hello")
        waiting.socket.settimeout(0.3)
        with pytest.raises(TimeoutError):
            waiting.socket.recv(1)
        waiting.socket.settimeout(10)
        house.gate.wait_for_error("limits.connections: 5 are open")
        assert clients[0].request("GET", "/hello").status == 200
        clients.pop().close()
        assert waiting.read_response().status == 200
        # Both listeners go on.
        tls = stack.enter_context(connect(house.gate.tls_port))
        clients.pop().close()
        with authority.client_context("http/1.1").wrap_socket(tls, server_hostname="localhost") as secured:
            assert isinstance(secured, ssl.SSLSocket)
        assert house.gate.error_log.count("limits.connections") == 1


def served(port: int, timeout: float) -> bool:
    """Make a request, and wait for the end of its connection: it is not counted any more then."""
    # What is closed at once may be reset before `connect` has returned.
    with contextlib.suppress(TimeoutError, ConnectionError), connect(port) as sock:
        sock.settimeout(timeout)
        sock.sendall(b"GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        return b"".join(iter(lambda: sock.recv(1000), b"")).startswith(b"HTTP/1.1 200")
    return False


def closed_at_once(port: int) -> bool:
    """Connect, say nothing, and tell whether that is ended without a word, long before a deadline would."""
    with contextlib.suppress(ConnectionResetError), connect(port) as sock:
        sock.settimeout(5)
        return until_closed(sock) == b""
    return True


def test_one_address_gets_its_share_of_connections_and_others_theirs(
    tmp_path: Path, authority: Authority, localhost: Site
) -> None:
    with (
        house_in(tmp_path, authority, localhost, limits={"connections_per_address": 3}) as house,
        ExitStack() as stack,
    ):
        wait_until("the probes are gone", lambda: served(house.gate.port, 0.5))
        clients = [stack.enter_context(house.gate.http1()) for _ in range(3)]
        for client in clients:
            assert client.request("GET", "/hello").status == 200
        for _ in range(5):
            assert not served(house.gate.port, 5)
            assert closed_at_once(house.gate.tls_port)
        other = stack.enter_context(connect(house.gate.port, source="127.0.0.2"))
        other.sendall(b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n")
        assert other.recv(1000).startswith(b"HTTP/1.1 200")
        line = "limits.connections_per_address: closed one more of 127.0.0.1, which has 3 open"
        house.gate.wait_for_error(line)
        assert house.gate.error_log.count("connections_per_address") == 1
        clients.pop().close()
        wait_until("its place is free", lambda: served(house.gate.port, 5))


def test_told_addresses_are_counted_and_not_the_proxys(tmp_path: Path, house: House) -> None:
    def header(address: str) -> bytes:
        return f"PROXY TCP4 {address} 198.51.100.1 50312 8443\r\n".encode()

    listener = {"proxy_protocol": "v1", "trusted_proxies": ["127.0.0.1"]}
    sections: dict[str, Any] = {"limits": {"connections_per_address": 2}}
    with Gate(tmp_path, house.node.url, listener=listener, sections=sections) as gate, ExitStack() as stack:
        for address in ("192.0.2.7", "192.0.2.8", "192.0.2.9"):
            for _ in range(2):
                client = stack.enter_context(gate.http1(before=header(address)))
                assert client.request("GET", "/hello").status == 200
            with gate.http1(before=header(address)) as excess:
                assert excess.is_closed_by_peer()


def test_at_the_descriptor_limit_the_gate_waits_and_does_not_spin(tmp_path: Path, house: House) -> None:
    command = ["prlimit", "--nofile=64:64", "--", sys.executable, "-m", "h2gate"]
    with Gate(tmp_path, house.node.url, command=command) as gate, ExitStack() as stack:
        first = stack.enter_context(gate.http1())
        assert first.request("GET", "/hello").status == 200
        crowd = [stack.enter_context(gate.http1()) for _ in range(80)]
        gate.wait_for_error("cannot accept (Too many open files): raise LimitNOFILE")
        spent = cpu_seconds(gate.worker)
        began = time.monotonic()
        while time.monotonic() - began < 2:
            assert first.request("GET", "/hello").status == 200
            time.sleep(0.1)
        assert cpu_seconds(gate.worker) - spent < 0.7
        assert gate.error_log.count("cannot accept") == 1
        for client in crowd:
            client.close()
        wait_until("clients are accepted again", lambda: served(gate.port, 1))


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def test_http2_clients_count_once_however_they_begin(tmp_path: Path, house: House, authority: Authority) -> None:
    """An arrival becomes a session; the count goes with it."""
    sections: dict[str, Any] = {"limits": {"connections_per_address": 2}}
    with Gate(tmp_path, house.node.url, sections=sections) as gate:
        wait_until("the probes are gone", lambda: served(gate.port, 0.5))
        for _ in range(5):
            with gate.http2() as one, gate.http2() as two:
                for client in (one, two):
                    assert isinstance(client, Http2Client)
                    assert client.request("GET", "/hello").status == 200
            wait_until("their places are free", lambda: served(gate.port, 5))
