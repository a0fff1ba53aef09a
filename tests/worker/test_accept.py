from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from h2gate.config.model import Listener
from h2gate.contract import Client
from h2gate.frontend.front import counted_as
from h2gate.handover import BoundListener
from h2gate.worker import accept
from h2gate.worker.accept import Acceptor
from tests.frontend.house import House
from tests.support.configs import config_of


class Row:
    """Only what an acceptor asks."""

    def __init__(self, *ahead: bool) -> None:
        self.ahead = list(ahead)

    def is_ahead(self) -> bool:
        return self.ahead.pop(0) if self.ahead else False


@pytest.fixture
def house() -> Iterator[House]:
    house = House()
    yield house
    house.close()


def listener(address: str, *trusted: str) -> Listener:
    return config_of({"listeners": [{"address": address, "trusted_proxies": trusted}]}).listeners[0]


def listening(family: int, address: Any) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.bind(address)
    sock.listen()
    sock.setblocking(False)
    return sock


def accepted(house: House, acceptor: Acceptor, sock: socket.socket) -> Client:
    """Connect to `sock`, and return what the gate knows of us."""
    acceptor.start()
    with socket.socket(sock.family, socket.SOCK_STREAM) as client:
        client.connect(sock.getsockname())
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        found = house.request().stream.client
    acceptor.close()
    return found


def test_a_clients_facts_come_from_its_socket(house: House) -> None:
    sock = listening(socket.AF_INET, ("127.0.0.1", 0))
    port = sock.getsockname()[1]
    client = accepted(house, Acceptor(house.front, BoundListener(listener("127.0.0.1:1"), sock, None), Row()), sock)
    assert (client.address, client.local_port, client.scheme) == ("127.0.0.1", port, b"http")
    assert client.port > 0
    assert not client.is_trusted


@pytest.mark.parametrize(("network", "is_trusted"), [("127.0.0.0/8", True), ("127.0.0.2", False), ("::1", False)])
def test_only_peers_in_the_listed_networks_are_trusted(house: House, network: str, is_trusted: bool) -> None:
    sock = listening(socket.AF_INET, ("127.0.0.1", 0))
    acceptor = Acceptor(house.front, BoundListener(listener("127.0.0.1:1", network), sock, None), Row())
    assert accepted(house, acceptor, sock).is_trusted is is_trusted


def test_an_ipv4_client_of_an_ipv6_listener_is_told_by_its_ipv4_address(house: House) -> None:
    sock = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    sock.bind(("::", 0))
    sock.listen()
    sock.setblocking(False)
    acceptor = Acceptor(house.front, BoundListener(listener("[::]:1", "127.0.0.0/8"), sock, None), Row())
    acceptor.start()
    with socket.create_connection(("127.0.0.1", sock.getsockname()[1])) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        found = house.request().stream.client
    acceptor.close()
    assert (found.address, found.is_trusted) == ("127.0.0.1", True)


def test_a_unix_client_has_no_address(house: House, tmp_path: Path) -> None:
    path = str(tmp_path / "gate.sock")
    sock = listening(socket.AF_UNIX, path)
    client = accepted(house, Acceptor(house.front, BoundListener(listener(f"unix:{path}"), sock, None), Row()), sock)
    assert (client.address, client.port, client.local_port, client.is_trusted) == ("unix:", 0, 0, False)


def test_without_descriptors_accepting_pauses_and_says_so_once(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Exhausted:
        """A listening socket for which the process has no descriptor left, until it has."""

        def __init__(self, sock: socket.socket) -> None:
            self._sock = sock
            self.is_exhausted = True
            self.calls = 0

        def accept(self) -> Any:
            self.calls += 1
            if self.is_exhausted:
                raise OSError(24, "Too many open files")
            return self._sock.accept()

        def __getattr__(self, name: str) -> Any:
            return getattr(self._sock, name)

    monkeypatch.setattr(accept, "PAUSE_SECONDS", 0.2)
    sock = listening(socket.AF_INET, ("127.0.0.1", 0))
    exhausted = Exhausted(sock)
    acceptor = Acceptor(house.front, BoundListener(listener("127.0.0.1:1"), exhausted, None), Row())  # type: ignore[arg-type]
    acceptor.start()
    with caplog.at_level(logging.ERROR, "h2gate"), socket.create_connection(sock.getsockname()) as client:
        house.wait_for(lambda: exhausted.calls == 2, "a second look after the pause")
        exhausted.is_exhausted = False
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        house.request()
    acceptor.close()
    messages = [record.getMessage() for record in caplog.records]
    message = "127.0.0.1:1: cannot accept (Too many open files): raise LimitNOFILE or the memory limit"
    assert messages == [message]


def test_a_worker_that_is_ahead_lets_others_go_first_and_takes_what_they_leave(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accept, "YIELD_SECONDS", 0.05)
    sock = listening(socket.AF_INET, ("127.0.0.1", 0))
    row = Row(True, True, True)
    acceptor = Acceptor(house.front, BoundListener(listener("127.0.0.1:1"), sock, None), row)
    acceptor.start()
    clients = [socket.create_connection(sock.getsockname()) for _ in range(3)]
    started = monotonic()
    house.wait_for(lambda: house.counts[:3] == [1, 2, 3], "all of them")
    assert monotonic() - started > 0.12, "a pause before each of them"
    assert row.ahead == []
    acceptor.close()
    for client in clients:
        client.close()
    house.wait_for(lambda: house.counts[3:] == [2, 1, 0], "the end of their sessions")


def test_a_worker_that_is_ahead_stops_yielding_where_clients_come_fast(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Ahead(Row):
        def is_ahead(self) -> bool:
            return True

    # Longer than the test may take: one that yields for each client gets no further than the second.
    monkeypatch.setattr(accept, "YIELD_SECONDS", 0.5)
    monkeypatch.setattr(accept, "YIELDS", 1)
    sock = listening(socket.AF_INET, ("127.0.0.1", 0))
    acceptor = Acceptor(house.front, BoundListener(listener("127.0.0.1:1"), sock, None), Ahead())
    acceptor.start()
    clients = [socket.create_connection(sock.getsockname()) for _ in range(40)]
    house.wait_for(lambda: len(house.counts) == 40, "all of them")
    acceptor.close()
    for client in clients:
        client.close()


def test_a_worker_yields_only_to_a_client_that_waits(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accept, "YIELD_SECONDS", 60.0)
    sock = listening(socket.AF_INET, ("127.0.0.1", 0))
    # Ahead by the connection that it has just taken, until that ends.
    acceptor = Acceptor(house.front, BoundListener(listener("127.0.0.1:1"), sock, None), Row(False, True, False))
    acceptor.start()
    for number in range(2):
        with socket.create_connection(sock.getsockname()):
            house.wait_for(lambda number=number: house.counts[2 * number :] == [1], "the client")
        house.wait_for(lambda number=number: house.counts[2 * number :] == [1, 0], "its end")
    acceptor.close()


# Limits


def test_a_full_worker_accepts_again_when_a_client_leaves(caplog: pytest.LogCaptureFixture) -> None:
    house = House(limits={"connections": 2})
    socks = [listening(socket.AF_INET, ("127.0.0.1", 0)) for _ in range(2)]
    acceptors = [Acceptor(house.front, BoundListener(listener("127.0.0.1:1"), sock, None), Row()) for sock in socks]
    for acceptor in acceptors:
        acceptor.start()
    clients = []
    for number, sock in enumerate(socks, 1):
        clients.append(socket.create_connection(sock.getsockname()))
        house.wait_for(lambda number=number: len(house.counts) == number, "as many as there may be")
    clients += [socket.create_connection(sock.getsockname()) for sock in socks]
    house.turn()
    clients.pop(0).close()
    house.wait_for(lambda: house.counts == [1, 2, 1, 2], "the next one")
    house.turn()
    assert house.counts == [1, 2, 1, 2]
    # An acceptor that waits for room may be closed meanwhile.
    for acceptor in acceptors:
        acceptor.close()
    clients.pop(0).close()
    house.wait_for(lambda: house.counts[4:] == [1], "its end")
    house.turn()
    assert len(house.counts) == 5
    messages = [record.getMessage() for record in caplog.records]
    assert messages == ["limits.connections: 2 are open: further clients wait"]
    for client in clients:
        client.close()
    house.close()


def test_what_clients_make_the_gate_say_is_said_once_a_minute(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    house = House()
    now = house.reactor.deadlines.now
    for seconds in (0, 1, 59, 61, 62):
        monkeypatch.setattr(house.reactor.deadlines, "now", now + seconds)
        house.front.warn("limits.x: closed one", f" of {seconds}")
        house.front.warn("limits.y: other")
    assert [record.getMessage() for record in caplog.records] == [
        "limits.x: closed one of 0",
        "limits.y: other",
        "limits.x: closed one of 61 (2 times more since the last such line)",
        "limits.y: other (2 times more since the last such line)",
    ]
    house.close()


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("::1", "::/64"),
    ],
)
def test_ipv6_clients_are_counted_by_their_network(address: str, counted: str) -> None:
    assert counted_as(address) == counted


# PROXY protocol


def proxied(address: str, *trusted: str, version: str = "any") -> Listener:
    settings = {"address": address, "trusted_proxies": trusted, "proxy_protocol": version}
    return config_of({"listeners": [settings]}).listeners[0]


def test_a_peer_that_is_no_trusted_proxy_is_closed_and_logged(house: House, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "h2gate")
    sock = listening(socket.AF_INET, ("127.0.0.1", 0))
    acceptor = Acceptor(house.front, BoundListener(proxied("127.0.0.1:1", "192.0.2.1"), sock, None), Row())
    acceptor.start()
    with socket.create_connection(sock.getsockname()) as client:
        name = f"127.0.0.1:{client.getsockname()[1]}"
        house.wait_for(lambda: caplog.records, "the line")
        assert client.recv(1) == b""
    acceptor.close()
    message = f"client {name}: closed: not in trusted_proxies, and PROXY headers are expected here"
    assert [record.getMessage() for record in caplog.records] == [message]
    assert house.counts == []


def test_a_unix_peer_may_always_tell_for_whom_it_speaks(house: House, tmp_path: Path) -> None:
    path = str(tmp_path / "gate.sock")
    sock = listening(socket.AF_UNIX, path)
    acceptor = Acceptor(house.front, BoundListener(proxied(f"unix:{path}"), sock, None), Row())
    acceptor.start()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.connect(path)
        client.sendall(b"PROXY TCP6 2001:db8::7 2001:db8::1 50312 443\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")
        found = house.request().stream.client
    acceptor.close()
    assert (found.address, found.port, found.local_port, found.is_trusted) == ("2001:db8::7", 50312, 443, False)


def test_a_connection_that_says_nothing_of_its_client_is_drained_too(house: House) -> None:
    sock = listening(socket.AF_INET, ("127.0.0.1", 0))
    acceptor = Acceptor(house.front, BoundListener(proxied("127.0.0.1:1", "127.0.0.1"), sock, None), Row())
    acceptor.start()
    with socket.create_connection(sock.getsockname()), socket.create_connection(sock.getsockname()) as told:
        house.wait_for(lambda: house.counts == [1, 2], "both")
        house.front.drain()
        # The header may still come, and a request behind it, in the time that a drain leaves.
        told.sendall(b"PROXY UNKNOWN\r\n")
        house.wait_for(lambda: house.counts == [1, 2, 1, 0], "their end")
    acceptor.close()
