"""The book of connections: what limits count, from accept until the last bytes are sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from h2gate.frontend.front import Front
from h2gate.frontend.http1 import Http1Stream
from h2gate.frontend.serve import Arrival
from h2gate.frontend.session import DRAIN_GRACE_SECONDS
from tests.frontend.house import House

GET = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


@pytest.fixture
def house() -> Iterator[House]:
    house = House(limits={"connections": 3, "connections_per_address": 2})
    yield house
    house.close()


def counted(front: Front) -> tuple[int, dict[str, int]]:
    return front._connections, front._per_address


def test_a_client_that_does_not_take_its_last_bytes_is_counted_until_it_is_gone(house: House) -> None:
    """Else each address could have any number of connections, with an answer that just fits the kernel's buffer."""
    clients = [house.connect() for _ in range(2)]
    for number, client in enumerate(clients):
        client.sendall(GET)
        stream = house.request(number).stream
        assert isinstance(stream, Http1Stream)
        transport = stream.session.transport
        while not transport.pending:
            transport.write(bytes(1000))
        house.request(number).answer(200, b"x")
        house.flush()
    # The sessions are over; the end of the answers waits for the clients.
    house.wait_for(lambda: not house.front.sessions, "both are answered")
    assert counted(house.front) == (2, {"192.0.2.7": 2})
    with pytest.raises(ConnectionError):
        house.connect().sendall(GET)
    other = house.connect("192.0.2.8")
    assert house.front.is_full
    resumed: list[bool] = []
    house.front.wait_for_room(lambda: resumed.append(True))
    clients[0].close()
    house.wait_for(lambda: resumed, "there is room")
    assert counted(house.front) == (2, {"192.0.2.7": 1, "192.0.2.8": 1})
    for client in (clients[1], other):
        client.close()
    house.wait_for(lambda: counted(house.front) == (0, {}), "all are gone")


ENDS: dict[str, Callable[[House, object], None]] = {
    "by_the_client": lambda house, client: None,
    "by_a_quick_stop": lambda house, client: house.front.shut_down(),
    "by_a_drain": lambda house, client: house.front.drain(),
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("said", [b"", b"PRI * HT", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", GET, b"\x00\r\n\r\n"])
def test_however_a_connection_ends_it_is_counted_no_more(house: House, said: bytes, end: str) -> None:
    client = house.connect()
    assert counted(house.front) == (1, {"192.0.2.7": 1})
    client.sendall(said)
    house.turn()
    ENDS[end](house, client)
    client.close()
    house.wait_for(lambda: counted(house.front) == (0, {}), "it is gone")


def test_an_address_without_a_port_is_counted_and_a_unix_socket_has_none(house: House) -> None:
    house.connect("192.0.2.7", 0)
    assert counted(house.front) == (1, {"192.0.2.7": 1})
    house.connect("unix:", 0)
    assert counted(house.front) == (2, {"192.0.2.7": 1})


@pytest.mark.parametrize(("within", "seconds"), [(5.0, 5.0), (0.0, DRAIN_GRACE_SECONDS)])
def test_a_connection_that_has_not_said_what_it_speaks_may_use_the_time_of_a_reload(
    house: House, within: float, seconds: float
) -> None:
    house.connect().sendall(b"PRI * HT")
    house.turn()
    house.front.drain(within)
    (arrival,) = house.front.sessions
    assert isinstance(arrival, Arrival)
    assert arrival._deadline.when == pytest.approx(house.reactor.deadlines.now + seconds)
