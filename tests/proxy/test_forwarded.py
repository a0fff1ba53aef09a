from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from h2gate.contract import Client
from h2gate.proxy.forwarded import address_of, element, parse


def client(address: str, port: int = 4711) -> Client:
    return Client(address, port, 8443 if port else 0, b"https", is_trusted=False)


@pytest.mark.parametrize(
    ("address", "port", "authority", "expected"),
    [
        ("192.0.2.7", 4711, b"site.example", b"for=192.0.2.7;host=site.example;proto=https;by=_h2gate"),
        # RFC 7239, 4: a colon is no part of a token, so that ports and IPv6 addresses are quoted.
        ("192.0.2.7", 1, b"site.example:81", b'for=192.0.2.7;host="site.example:81";proto=https;by=_h2gate'),
        ("2001:db8::1", 1, b"[::1]:81", b'for="[2001:db8::1]";host="[::1]:81";proto=https;by=_h2gate'),
        ("unix:", 0, b"a", b"for=unknown;host=a;proto=https;by=_h2gate"),
        ("192.0.2.7", 1, b"", b"for=192.0.2.7;proto=https;by=_h2gate"),
    ],
)
def test_the_gate_says_what_it_sees_of_a_request(address: str, port: int, authority: bytes, expected: bytes) -> None:
    assert element(client(address, port), authority) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"for=192.0.2.7", [{b"for": b"192.0.2.7"}]),
        (b'For="[2001:db8::1]:4711"; Proto=https', [{b"for": b"[2001:db8::1]:4711", b"proto": b"https"}]),
        (b"for=192.0.2.7, for=10.0.0.1;by=_x", [{b"for": b"192.0.2.7"}, {b"for": b"10.0.0.1", b"by": b"_x"}]),
        (b'for=_a;host="a,b;\\"c"', [{b"for": b"_a", b"host": b'a,b;"c'}]),
        (b"for=1.2.3.4,,for=_b", [{b"for": b"1.2.3.4"}, {b"for": b"_b"}]),
    ],
)
def test_elements_are_read_with_their_quotes(value: bytes, expected: list[dict[bytes, bytes]]) -> None:
    assert parse(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        b"", b"for", b"for=", b"for=a b", b'for="a', b"for=a;", b"for=a,", b"for=[::1]", b"for=a;for=b",
        b'for="a"b', b"=a", b"for=192.0.2.7 proto=https",
    ],
)  # fmt: skip
def test_a_field_that_is_not_well_formed_says_nothing(value: bytes) -> None:
    assert parse(value) == []


@pytest.mark.parametrize(
    ("node", "address"),
    [
        (b"192.0.2.7", b"192.0.2.7"),
        (b"192.0.2.7:4711", b"192.0.2.7"),
        (b"[2001:db8::1]:_port", b"2001:db8::1"),
        (b"unknown", b""),
        (b"_hidden", b""),
        (b"", b""),
    ],
)
def test_the_address_of_a_node_is_without_port_and_brackets(node: bytes, address: bytes) -> None:
    assert address_of(node) == address


@given(st.sampled_from(["192.0.2.7", "::1"]), st.sampled_from([b"", b"a.example", b"a:1", b"[::1]:1", b"a%20b"]))
def test_what_the_gate_writes_it_can_read(address: str, authority: bytes) -> None:
    (said,) = parse(element(client(address), authority))
    assert address_of(said[b"for"]) == address.encode()
    assert said.get(b"host", b"") == authority
    assert said[b"proto"] == b"https"
