"""The PROXY header: both versions as proxies write them, cut anywhere, and everything that is none."""

from __future__ import annotations

import struct
from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from h2gate.net.proxy_protocol import (
    V1_BYTES,
    V2_BYTES,
    Accepts,
    BadProxyHeader,
    ProxyHeader,
    read_proxy_header,
)

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
TCP4, UDP4, TCP6, UDP6, UNIX = 0x11, 0x12, 0x21, 0x22, 0x31


def v2(family: int, block: bytes, *, command: int = 0x21) -> bytes:
    return SIGNATURE + bytes((command, family)) + struct.pack("!H", len(block)) + block


def block4(source: str = "192.0.2.7", destination: str = "198.51.100.1") -> bytes:
    packed = [ip_address(address).packed for address in (source, destination)]
    return b"".join(packed) + struct.pack("!HH", 50312, 443)


def tlv(kind: int, value: bytes) -> bytes:
    return bytes((kind,)) + struct.pack("!H", len(value)) + value


def crc32c(data: bytes) -> int:
    """The checksum as RFC 3720 defines it, a bit at a time."""
    crc = 0xFFFFFFFF
    for octet in data:
        for bit in range(8):
            low = (crc ^ octet >> bit) & 1
            crc = crc >> 1 ^ (0x82F63B78 if low else 0)
    return crc ^ 0xFFFFFFFF


def with_checksum(family: int, block: bytes, error: int = 0) -> bytes:
    header = v2(family, block + tlv(3, bytes(4)))
    return header[:-4] + struct.pack("!I", crc32c(header) ^ error)


FOUR = ProxyHeader(0, ("192.0.2.7", 50312), ("198.51.100.1", 443))
SIX = ProxyHeader(0, ("2001:db8::7", 50312), ("2001:db8::1", 443))
BLOCK6 = ip_address("2001:db8::7").packed + ip_address("2001:db8::1").packed + struct.pack("!HH", 50312, 443)
NOBODY = ProxyHeader(0)
THE_PROXY = ProxyHeader(0, is_own=True)

GOOD: dict[str, tuple[bytes, ProxyHeader]] = {
    "v1_tcp4": (b"PROXY TCP4 192.0.2.7 198.51.100.1 50312 443\r\n", FOUR),
    "v1_tcp6": (b"PROXY TCP6 2001:db8::7 2001:DB8::1 50312 443\r\n", SIX),
    "v1_mapped": (b"PROXY TCP6 ::ffff:192.0.2.7 ::ffff:c633:6401 50312 443\r\n", FOUR),
    "v1_port_zero": (
        b"PROXY TCP4 192.0.2.7 198.51.100.1 0 65535\r\n",
        ProxyHeader(0, ("192.0.2.7", 0), ("198.51.100.1", 65535)),
    ),
    "v1_unknown": (b"PROXY UNKNOWN\r\n", NOBODY),
    "v1_unknown_with_addresses": (b"PROXY UNKNOWN ffff::1 ffff::2 65535 x\r\n", NOBODY),
    "v1_longest": (b"PROXY UNKNOWN " + b"f" * (V1_BYTES - 16) + b"\r\n", NOBODY),
    "v2_tcp4": (v2(TCP4, block4()), FOUR),
    "v2_udp4": (v2(UDP4, block4()), FOUR),
    "v2_tcp6": (v2(TCP6, BLOCK6), SIX),
    "v2_udp6": (v2(UDP6, BLOCK6), SIX),
    "v2_tlvs": (v2(TCP4, block4() + tlv(1, b"h2") + tlv(4, b"") + tlv(0xEE, b"x" * 300)), FOUR),
    "v2_checksum": (with_checksum(TCP4, block4() + tlv(2, b"a.test")), FOUR),
    "v2_local": (v2(0, b"", command=0x20), THE_PROXY),
    "v2_local_with_addresses": (v2(TCP4, block4(), command=0x20), THE_PROXY),
    "v2_local_of_no_known_family": (v2(0xFF, b"?", command=0x20), THE_PROXY),
    "v2_unspec": (v2(0, b"anything"), NOBODY),
    "v2_unix": (v2(UNIX, b"/run/a.sock".ljust(216, b"\x00")), NOBODY),
    "v2_longest": (v2(TCP4, block4() + tlv(4, bytes(V2_BYTES - 16 - 12 - 3))), FOUR),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_header_is_read_wherever_it_is_cut(name: str) -> None:
    data, expected = GOOD[name]
    header = replace(expected, size=len(data))
    version: Accepts = "v1" if name.startswith("v1") else "v2"
    accepts: Accepts
    for accepts in (version, "any"):
        # What follows is not the header's: a request, or the end of another line.
        assert read_proxy_header(data + b"GET / HTTP/1.1\r\n", accepts) == header
        assert read_proxy_header(data, accepts) == header
        for end in range(len(data)):
            assert read_proxy_header(data[:end], accepts) is None


BAD: dict[str, bytes] = {
    "nothing_of_it": b"GET / HTTP/1.1\r\n",
    "http2_preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "tls_hello": bytes.fromhex("1603010200"),
    "v1_lower_case": b"proxy TCP4 ",
    "v1_two_spaces": b"PROXY  TCP4 192.0.2.7 198.51.100.1 1 2\r\n",
    "v1_space_at_the_end": b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2 \r\n",
    "v1_tab": b"PROXY TCP4\t192.0.2.7 198.51.100.1 1 2\r\n",
    "v1_no_ports": b"PROXY TCP4 192.0.2.7 198.51.100.1\r\n",
    "v1_udp": b"PROXY UDP4 192.0.2.7 198.51.100.1 1 2\r\n",
    "v1_empty": b"PROXY \r\n",
    "v1_lf_only": b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2\n".ljust(V1_BYTES, b"x"),
    "v1_too_long": b"PROXY UNKNOWN " + b"f" * (V1_BYTES - 15) + b"\r\n",
    "v1_without_end": b"PROXY UNKNOWN " + b"f" * 200,
    "v1_short_ipv4": b"PROXY TCP4 192.0.2 198.51.100.1 1 2\r\n",
    "v1_octal_ipv4": b"PROXY TCP4 192.0.02.7 198.51.100.1 1 2\r\n",
    "v1_large_ipv4": b"PROXY TCP4 192.0.256.7 198.51.100.1 1 2\r\n",
    "v1_ipv6_as_ipv4": b"PROXY TCP4 ::1 ::2 1 2\r\n",
    "v1_ipv4_as_ipv6": b"PROXY TCP6 192.0.2.7 198.51.100.1 1 2\r\n",
    "v1_ipv6_with_zone": b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
    "v1_bad_ipv6": b"PROXY TCP6 2001:db8::1::2 ::1 1 2\r\n",
    "v1_binary_ipv4": b"PROXY TCP4 \xd9\xa1.0.0.1 198.51.100.1 1 2\r\n",
    "v1_binary_ipv6": b"PROXY TCP6 \xff::1 ::1 1 2\r\n",
    "v1_port_too_large": b"PROXY TCP4 192.0.2.7 198.51.100.1 1 65536\r\n",
    "v1_port_with_zero": b"PROXY TCP4 192.0.2.7 198.51.100.1 01 2\r\n",
    "v1_port_with_sign": b"PROXY TCP4 192.0.2.7 198.51.100.1 +1 2\r\n",
    "v1_port_of_six_digits": b"PROXY TCP4 192.0.2.7 198.51.100.1 100000 2\r\n",
    "v1_port_with_underscore": b"PROXY TCP4 192.0.2.7 198.51.100.1 1_0 2\r\n",
    "v1_no_port": b"PROXY TCP4 192.0.2.7 198.51.100.1  2\r\n",
    "v2_bad_signature": b"\r\n\r\n\x00\r\nQUIT\r",
    "v2_version_1": v2(TCP4, block4(), command=0x11),
    "v2_unknown_command": v2(TCP4, block4(), command=0x22),
    "v2_unknown_family": v2(0x41, block4()),
    "v2_unknown_transport": v2(0x13, block4()),
    "v2_unspec_transport": v2(0x10, block4()),
    "v2_short_ipv4": v2(TCP4, block4()[:-1]),
    "v2_short_ipv6": v2(TCP6, block4()),
    "v2_short_unix": v2(UNIX, b"/run/a.sock"),
    "v2_too_long": SIGNATURE + bytes((0x21, TCP4)) + struct.pack("!H", V2_BYTES - 15),
    "v2_longest_of_all": SIGNATURE + bytes((0x21, TCP4, 0xFF, 0xFF)),
    "v2_tlv_without_length": v2(TCP4, block4() + b"\x01\x00"),
    "v2_tlv_beyond_the_end": v2(TCP4, block4() + b"\x01\x00\x05h2"),
    "v2_wrong_checksum": with_checksum(TCP4, block4(), error=1),
    "v2_checksum_of_three_bytes": v2(TCP4, block4() + tlv(3, bytes(3))),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_header_is_refused(name: str) -> None:
    with pytest.raises(BadProxyHeader) as refusal:
        read_proxy_header(BAD[name], "any")
    assert str(refusal.value)


@pytest.mark.parametrize(("name", "accepts"), [("v1_tcp4", "v2"), ("v2_tcp4", "v1")])
def test_the_other_version_is_refused_at_its_first_byte_that_differs(name: str, accepts: Accepts) -> None:
    with pytest.raises(BadProxyHeader, match=f"no PROXY header {accepts}"):
        read_proxy_header(GOOD[name][0][:1], accepts)


@given(st.sampled_from(sorted(GOOD)), st.data())
def test_no_bytes_raise_anything_else(name: str, data: st.DataObject) -> None:
    header = bytearray(GOOD[name][0])
    for _ in range(data.draw(st.integers(1, 4))):
        header[data.draw(st.integers(0, len(header) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = read_proxy_header(bytes(header), "any")
    except BadProxyHeader:
        return
    assert found is None or found.size <= len(header)
