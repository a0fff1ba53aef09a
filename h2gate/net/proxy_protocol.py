"""The PROXY protocol, versions 1 and 2: who the client of a proxy before us is, said once, before all else.

Bytes in, what they say out; no socket. The rules, and the numbers of sections, are those of HAProxy's
proxy-protocol.txt. The first of them: who expects a header takes no connection without one. Where it may be left out,
anybody could write it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Literal

Accepts = Literal["v1", "v2", "any"]

# Section 2.1: the longest line, of two IPv6 addresses, with its CRLF.
V1_BYTES = 107
# Section 2.2 would allow 65551. Behind the addresses may be a client's certificate; nginx takes as much as this.
V2_BYTES = 4096

_V1 = b"PROXY "
_V2 = b"\r\n\r\n\x00\r\nQUIT\n"
_V2_HEAD_BYTES = 16
_V2_LOCAL, _V2_PROXY = 0x20, 0x21
_V2_UNSPEC = 0x00
# Over TCP, and over UDP: there the client spoke QUIC to the proxy.
_V2_IPV4, _V2_IPV6, _V2_UNIX = (0x11, 0x12), (0x21, 0x22), (0x31, 0x32)
_V2_UNIX_BYTES = 216
_TYPE_CRC32C, _TLV_HEAD_BYTES = 0x03, 3

Address = tuple[str, int]


class BadProxyHeader(Exception):
    """What came is no PROXY header; the text says why."""


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """`source` and `destination` are of the client's connection to the proxy; None where the proxy speaks for itself,
    which `is_own` says, or does not know: then the connection's own count. The header took `size` bytes.
    """

    size: int
    source: Address | None = None
    destination: Address | None = None
    is_own: bool = False


def read_proxy_header(data: bytes, accepts: Accepts) -> ProxyHeader | None:
    """Read the header that `data`, all bytes that came so far, begins with; None asks for more.

    Raises BadProxyHeader as soon as the bytes can become no header.
    """
    if accepts != "v1" and _begins(data, _V2):
        return _read_v2(data)
    if accepts != "v2" and _begins(data, _V1):
        return _read_v1(data)
    raise BadProxyHeader("no PROXY header" if accepts == "any" else f"no PROXY header {accepts}")


def _begins(data: bytes, signature: bytes) -> bool:
    return data.startswith(signature) if len(data) >= len(signature) else signature.startswith(data)


# Version 1: `PROXY TCP4 192.0.2.7 198.51.100.1 50312 443\r\n`


def _read_v1(data: bytes) -> ProxyHeader | None:
    end = data.find(b"\r\n", 0, V1_BYTES)
    if end == -1:
        if len(data) >= V1_BYTES:
            raise BadProxyHeader(f"no end of the line in {V1_BYTES} bytes")
        return None
    size = end + 2
    words = data[len(_V1) : end].split(b" ")
    # Behind UNKNOWN anything may follow, and is to be ignored.
    if words[0] == b"UNKNOWN":
        return ProxyHeader(size)
    if len(words) != 5 or words[0] not in (b"TCP4", b"TCP6"):
        raise BadProxyHeader("no TCP4, TCP6 or UNKNOWN with two addresses and two ports")
    _, source, destination, source_port, destination_port = words
    read = _ipv4 if words[0] == b"TCP4" else _ipv6
    return ProxyHeader(size, (read(source), _v1_port(source_port)), (read(destination), _v1_port(destination_port)))


def _ipv4(text: bytes) -> str:
    try:
        return str(IPv4Address(text.decode("ascii")))
    except (UnicodeDecodeError, AddressValueError):
        raise BadProxyHeader("a bad IPv4 address") from None


def _ipv6(text: bytes) -> str:
    try:
        address = IPv6Address(text.decode("ascii"))
    except (UnicodeDecodeError, AddressValueError):
        raise BadProxyHeader("a bad IPv6 address") from None
    if address.scope_id is not None:
        raise BadProxyHeader("a bad IPv6 address")
    return _shown(address)


def _shown(address: IPv6Address) -> str:
    """Return the address as the gate writes it: an IPv4 client of an IPv6 socket is an IPv4 client."""
    return str(address.ipv4_mapped or address)


def _v1_port(text: bytes) -> int:
    # Digits only, and no zeros before them (2.1); int() takes more.
    if not (text.isdigit() and len(text) <= 5 and (text == b"0" or text[:1] != b"0")) or int(text) > 65_535:
        raise BadProxyHeader("a bad port")
    return int(text)


# Version 2: twelve bytes of signature, command, family, length; addresses, TLVs


def _read_v2(data: bytes) -> ProxyHeader | None:
    if len(data) < _V2_HEAD_BYTES:
        return None
    command, family, length = data[12], data[13], int.from_bytes(data[14:16])
    if command not in (_V2_LOCAL, _V2_PROXY):
        raise BadProxyHeader(f"unknown version and command 0x{command:02x}")
    size = _V2_HEAD_BYTES + length
    if size > V2_BYTES:
        raise BadProxyHeader(f"{size} bytes of header: {V2_BYTES} at most")
    if len(data) < size:
        return None
    header = data[:size]
    # The proxy speaks for itself (a health check): whatever follows is not looked at (2.2).
    if command == _V2_LOCAL:
        return ProxyHeader(size, is_own=True)
    if family == _V2_UNSPEC:
        return ProxyHeader(size)
    if family in _V2_IPV4:
        found, end = _v2_addresses(header, 4)
    elif family in _V2_IPV6:
        found, end = _v2_addresses(header, 16)
    elif family in _V2_UNIX:
        # A path says nothing about who is behind it.
        found, end = ProxyHeader(size), _V2_HEAD_BYTES + _V2_UNIX_BYTES
    else:
        raise BadProxyHeader(f"unknown family 0x{family:02x}")
    _check_tlvs(header, end)
    return found


def _v2_addresses(header: bytes, width: int) -> tuple[ProxyHeader, int]:
    end = _V2_HEAD_BYTES + 2 * width + 4
    if len(header) < end:
        raise BadProxyHeader("too short for its addresses")
    source, destination, source_port, destination_port = struct.unpack_from(
        f"!{width}s{width}sHH", header, _V2_HEAD_BYTES
    )
    told = [str(IPv4Address(octets)) if width == 4 else _shown(IPv6Address(octets)) for octets in (source, destination)]
    return ProxyHeader(len(header), (told[0], source_port), (told[1], destination_port)), end


def _check_tlvs(header: bytes, start: int) -> None:
    """Read over what follows the addresses (2.2); of all that it may say only the checksum is looked at."""
    while start < len(header):
        value = start + _TLV_HEAD_BYTES
        end = value + int.from_bytes(header[start + 1 : value])
        if value > len(header) or end > len(header):
            raise BadProxyHeader("a TLV beyond the end")
        if header[start] == _TYPE_CRC32C:
            # 2.2.4: of the header with zeros in the checksum's place.
            if end - value != 4:
                raise BadProxyHeader("a checksum of another length than 4")
            if _crc32c(header[:value] + bytes(4) + header[end:]) != int.from_bytes(header[value:end]):
                raise BadProxyHeader("a wrong checksum")
        start = end
    if start > len(header):
        raise BadProxyHeader("too short for its addresses")


def _crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for octet in data:
        crc = _CRC_TABLE[(crc ^ octet) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def _crc_row(value: int) -> int:
    for _ in range(8):
        value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)  # RFC 3720, appendix B.4
    return value


_CRC_TABLE = [_crc_row(value) for value in range(256)]
