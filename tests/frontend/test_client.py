from __future__ import annotations

import pytest

from h2gate.contract import SERVED_AUTHORITIES, Client

NAMES = frozenset({b"a.test", b"*.wild.test", b"192.0.2.1", b"2001:db8::1"})


def client(server_name: bytes = b"", names: frozenset[bytes] | None = NAMES) -> Client:
    return Client("192.0.2.7", 4711, 443, b"https", False, tls="TLSv1.3", server_name=server_name, names=names)


@pytest.mark.parametrize(
    ("server_name", "authority", "is_served"),
    [
        (b"a.test", b"a.test", True),
        (b"a.test", b"A.TEST:8443", True),
        (b"a.test", b"a.test.", True),
        (b"a.test", b"x.wild.test", True),
        (b"a.test", b"192.0.2.1:8443", True),
        (b"a.test", b"[2001:db8::1]:8443", True),
        (b"a.test", b"[2001:db8::1]", True),
        (b"a.test", b"b.test", False),
        (b"a.test", b"wild.test", False),
        (b"a.test", b"x.y.wild.test", False),
        (b"a.test", b"192.0.2.2", False),
        (b"a.test", b"a.test.b.test", False),
        # The name of no certificate: it got the default one, and asks for what it named.
        (b"b.test", b"b.test", True),
        (b"b.test", b"c.test", False),
        # Without a name
        (b"", b"a.test", True),
        (b"", b"b.test", False),
        (b"", b"192.0.2.99", True),
        (b"", b"[::1]:8443", True),
        (b"", b"", True),
        (b"a.test", b"", False),
    ],
)
def test_a_connection_serves_the_name_that_was_asked_for_and_those_of_its_certificate(
    server_name: bytes, authority: bytes, is_served: bool
) -> None:
    found = client(server_name)
    assert [found.serves(authority) for _ in range(2)] == [is_served, is_served]


def test_a_certificate_without_names_serves_whoever_gave_none() -> None:
    assert client(names=frozenset()).serves(b"any.test")
    assert not client(b"a.test", frozenset()).serves(b"b.test")


def test_in_clear_all_is_served() -> None:
    assert client(names=None).serves(b"any.test")


def test_a_client_that_invents_names_does_not_fill_the_memory() -> None:
    found = client(b"a.test")
    assert all(found.serves(b"%d.wild.test" % number) for number in range(1000))
    assert len(found._served) <= SERVED_AUTHORITIES
