"""What a client offers by ALPN, of hellos that OpenSSL made, and of others."""

from __future__ import annotations

import contextlib
import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from h2gate.net.client_hello import NoHello, offered_protocols


def hello(*protocols: str, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3, name: str = "a.test") -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = context.maximum_version = version
    if protocols:
        context.set_alpn_protocols(list(protocols))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname=name).do_handshake()
    return outgoing.read()


def in_records(data: bytes, size: int) -> bytes:
    """Cut the message of one record into records of `size` bytes."""
    message = data[5:]
    pieces = [message[start : start + size] for start in range(0, len(message), size)]
    return b"".join(data[:3] + len(piece).to_bytes(2) + piece for piece in pieces)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("protocols", [(), ("h2",), ("h2", "http/1.1"), ("acme-tls/1",)])
def test_the_offer_is_read_wherever_the_hello_is_cut(version: ssl.TLSVersion, protocols: tuple[str, ...]) -> None:
    data = hello(*protocols, version=version)
    expected = [protocol.encode() for protocol in protocols]
    assert offered_protocols(data) == expected
    for end in range(len(data)):
        assert offered_protocols(data[:end]) is None
    for size in (len(data) // 25 + 1, 100, 200):
        assert offered_protocols(in_records(data, size) + b"more") == expected


def test_a_hello_without_extensions_offers_nothing() -> None:
    body = b"\x03\x03" + bytes(32) + b"\x00" + b"\x00\x02\xc0\x2f" + b"\x01\x00"
    message = b"\x01" + len(body).to_bytes(3) + body
    assert offered_protocols(b"\x16\x03\x01" + len(message).to_bytes(2) + message) == []


NO_HELLOS = {
    "http": b"GET / HTTP/1.1\r\n",
    "an_alert": bytes.fromhex("15030300020228"),
    "an_empty_record": bytes.fromhex("1603010000"),
    "another_message": bytes.fromhex("16030100040200000a"),
    "a_huge_message": bytes.fromhex("160301000401ffffff"),
    "a_short_message": bytes.fromhex("160301000601000002" + "0303"),
}


def test_a_hello_in_single_bytes_is_not_put_together() -> None:
    data = in_records(hello("ftp"), 1)
    with pytest.raises(NoHello):
        offered_protocols(data)
    assert offered_protocols(data[: 6 * 31]) is None


@pytest.mark.parametrize("name", NO_HELLOS)
def test_what_is_no_hello_is_said_to_be_none(name: str) -> None:
    with pytest.raises(NoHello):
        offered_protocols(NO_HELLOS[name])


@given(st.data())
def test_no_bytes_raise_anything_else(data: st.DataObject) -> None:
    broken = bytearray(hello("h2", "x"))
    for _ in range(data.draw(st.integers(1, 4))):
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(NoHello):
        offered_protocols(bytes(broken))
