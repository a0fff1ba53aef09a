"""Where the gate connects to and where it listens.

Owns the text forms of both. The rule: an address is written in one form only, so that equal ones compare equal.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from h2gate.config.uri import parse_address, parse_host, parse_path, parse_port, split_port
from h2gate.config.written import Scalar

# sockaddr_un.sun_path on Linux is 108 bytes with its NUL (unix(7)).
UNIX_PATH_BYTES = 107

# What `:authority` leaves out (RFC 9110, 4.2.1 and 4.2.2).
CLEAR_PORT = 80
TLS_PORT = 443


@dataclass(frozen=True, slots=True)
class EndpointUrl(Scalar):
    """Where a backend listens. `host` is without brackets, `localhost` (and `port` 0) for a unix socket.

    `base_path` is the URL's path, None if it has none. As in ProxyPass `/` is a path: it takes the matched prefix away.
    """

    tls: bool
    host: str
    port: int
    unix_path: str | None = None
    base_path: bytes | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        scheme, _, rest = text.partition(":")
        scheme = scheme.lower()
        if scheme == "h2c+unix":
            return cls(False, "localhost", 0, _parse_unix_path(rest.removeprefix("//"), "h2c+unix:"))
        if scheme not in ("h2", "h2c") or not rest.startswith("//"):
            raise ValueError(_scheme_hint(scheme, rest))
        authority, slash, path = rest[2:].partition("/")
        if "@" in authority:
            raise ValueError("a backend URL has no user: leave out what stands before the @")
        host, port = split_port(authority)
        tls = scheme == "h2"
        default = TLS_PORT if tls else CLEAR_PORT
        base_path = parse_path(slash + path) if slash else None
        return cls(tls, parse_host(host), default if port is None else parse_port(port), None, base_path)

    @property
    def authority(self) -> bytes:
        """`host:port` for `:authority`, without the scheme's own port (RFC 9113, 8.3.1)."""
        if self.unix_path is not None:
            return b"localhost"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return (host if self.port == (TLS_PORT if self.tls else CLEAR_PORT) else f"{host}:{self.port}").encode("ascii")

    def without_path(self) -> EndpointUrl:
        """Return the endpoint alone: what connections are shared by."""
        return EndpointUrl(self.tls, self.host, self.port, self.unix_path)

    def __str__(self) -> str:
        if self.unix_path is not None:
            return f"h2c+unix:{self.unix_path}"
        scheme = "h2" if self.tls else "h2c"
        return f"{scheme}://{self.authority.decode('ascii')}{(self.base_path or b'').decode('ascii')}"


def _scheme_hint(scheme: str, rest: str) -> str:
    match scheme:
        case "http":
            return f"backends speak HTTP/2 only: write h2c:{rest}"
        case "https":
            return f"backends speak HTTP/2 only: write h2:{rest}"
        case "unix":
            return f"write h2c+unix:{rest}"
        case "h2+unix":
            return f"TLS over a unix socket is not supported: write h2c+unix:{rest}"
    return "write h2c://host:port, h2://host:port (TLS) or h2c+unix:/path"


def _parse_unix_path(path: str, scheme: str) -> str:
    if not path.startswith("/") or path.endswith("/") or "\0" in path:
        raise ValueError(f"write an absolute path behind {scheme}, as {scheme}/run/app.sock")
    # surrogatepass: text from YAML may hold what is no character, and must not break the check.
    if len(path.encode("utf-8", "surrogatepass")) > UNIX_PATH_BYTES:
        raise ValueError(f"the path of a unix socket has {UNIX_PATH_BYTES} bytes at most")
    return os.path.normpath(path)


@dataclass(frozen=True, slots=True)
class ListenAddress(Scalar):
    """Where clients connect: an IP address (`host`, without brackets) and port, or a socket file's `path`.

    Never a name: what it stands for could change between two reloads, or not be there at boot. Port 0 takes a free one.
    """

    host: str
    port: int
    path: Path | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        if text.startswith("unix:"):
            return cls("", 0, Path(_parse_unix_path(text.removeprefix("unix:"), "unix:")))
        host, port = split_port(text)
        if port is None:
            raise ValueError("write an address and a port, as 127.0.0.1:8080, [::]:80, *:80 or unix:/path")
        address = parse_address("0.0.0.0" if host == "*" else host)
        if address is None:
            raise ValueError(_address_hint(host, port))
        return cls(str(address), parse_port(port, lowest=0))

    @property
    def family(self) -> socket.AddressFamily:
        if self.path is not None:
            return socket.AF_UNIX
        return socket.AF_INET6 if ":" in self.host else socket.AF_INET

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _address_hint(host: str, port: str) -> str:
    if host == "localhost":
        return f"names are not looked up here: write 127.0.0.1:{port} or [::1]:{port}"
    if ":" in host and "[" not in host:
        return f"write an IPv6 address in brackets, as [{host}]:{port}"
    return f"{host or 'nothing'} is no IP address: write one of this machine's, or *:{port} for all of IPv4"
