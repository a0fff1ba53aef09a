"""The parts of a URI: host, port, path, each in the one form that equal ones share.

Raises ValueError with what to write instead. The rule: a path that no normalized request could have is refused.
"""

from __future__ import annotations

import ipaddress
import re

# A name (RFC 1123, with the underscore that real zones have).
_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(\.(?!-)[a-z0-9_-]{1,63}(?<!-))*\.?", re.ASCII | re.IGNORECASE)


def split_port(authority: str) -> tuple[str, str | None]:
    """Return host and port of an authority; None where it has no port."""
    host, colon, port = authority.rpartition(":")
    if not colon or authority.endswith("]"):
        return authority, None
    return host, port


def parse_port(text: str, lowest: int = 1) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text, re.ASCII) or not lowest <= int(text) <= 65535:
        raise ValueError(f"{text or 'nothing'} is no port: write a number from 1 to 65535")
    return int(text)


def parse_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the IP address of `host`, IPv6 in brackets; None if it is none."""
    try:
        if host.startswith("[") and host.endswith("]"):
            return ipaddress.IPv6Address(host[1:-1])
        return ipaddress.IPv4Address(host)
    except ValueError:
        return None


def parse_host(host: str) -> str:
    """Return a host in lower case, IPv6 without brackets."""
    address = parse_address(host)
    if address is not None:
        return str(address)
    if parse_address(f"[{host}]") is not None:
        raise ValueError(f"write an IPv6 address in brackets, as [{host}]")
    if not _NAME.fullmatch(host) or len(host) > 253:
        raise ValueError(f"{host or 'nothing'} is no host: write a name, an IPv4 address or [an IPv6 address]")
    if re.fullmatch(r"[0-9.]+", host, re.ASCII):
        raise ValueError(f"{host} is no IPv4 address")
    return host.lower()


def parse_path(path: str) -> bytes:
    """Return a path, which must be as those of requests are once they are normalized (RFC 3986, 6.2.2)."""
    if not path.startswith("/"):
        raise ValueError("a path begins with /")
    if "?" in path or "#" in path:
        raise ValueError("write the path alone, without ? and #: the query goes through as it is")
    if "\\" in path:
        raise ValueError("no request with a backslash in its path is let through")
    # What requests may have: all visible ASCII, as browsers send | and [ as they are.
    bad = re.search(r"[^!-~]", path)
    if bad is not None:
        escaped = "".join(f"%{byte:02X}" for byte in bad[0].encode("utf-8", "replace"))
        raise ValueError(f"{bad[0]!r} cannot stand in a path: write {escaped}")
    for found in re.finditer(r"%.{0,2}", path):
        _check_escape(found[0])
    if "//" in path or re.search(r"/\.\.?(/|$)", path):
        raise ValueError("no path has //, /./ or /../ once it is normalized: write it without")
    return path.encode("ascii")


def _check_escape(escape: str) -> None:
    if not re.fullmatch(r"%[0-9A-F]{2}", escape):
        raise ValueError(f"{escape} is no escape: write % and two digits of 0-9A-F, or %25 for % itself")
    character = chr(int(escape[1:], 16))
    if character in "/\\\0":
        raise ValueError(f"no request with {escape} in its path is let through")
    if re.fullmatch(r"[A-Za-z0-9._~-]", character):
        raise ValueError(f"no path has {escape} once it is normalized: write {character}")
