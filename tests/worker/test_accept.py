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
