"""The units of the configuration: what one scalar of the YAML file becomes.

Each type has one `parse`, which takes the operator's text and raises ValueError with a text that says what to write
instead. The rule: numbers without a unit are only taken from Python code, never from a file, where nobody could tell
seconds from milliseconds.
"""

from __future__ import annotations

import ipaddress
import os
import re
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, ValidationInfo

from h2gate.config.addresses import EndpointUrl, ListenAddress
from h2gate.config.log_format import check_log_format
from h2gate.config.patterns import HostPattern, PathPattern
from h2gate.config.written import FROM_FILE, Written

__all__ = [
    "Duration",
    "EndpointUrl",
    "FilePath",
    "HostPattern",
    "ListenAddress",
    "LogFormat",
    "Method",
    "Network",
    "OutputPath",
    "PathPattern",
    "Pause",
    "Share",
    "Size",
]

# Longest Duration: deadlines beyond it would only be typing errors, and timers must not overflow.
LONGEST_HOURS = 8760

# Milliseconds of each unit: whole numbers, so that 25ms is 0.025 and not something near it.
MILLISECONDS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}


def parse_duration(text: str) -> float:
    """Return the seconds of `250ms`, `1.5s`, `1m` or `1h`."""
    found = re.fullmatch(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)(ms|s|m|h)", text, re.ASCII)
    if found is None:
        if re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,9})?", text, re.ASCII):
            raise ValueError(f"a duration needs a unit: write {text}s or {text}ms")
        raise ValueError("write a duration: a number with ms, s, m or h, as 250ms, 3s, 1m, 1h")
    seconds = float(found[1]) * MILLISECONDS[found[2]] / 1000
    if seconds > LONGEST_HOURS * 3600:
        raise ValueError(f"write {LONGEST_HOURS}h (a year) at most")
    return seconds


def format_duration(seconds: float) -> str:
    """Write seconds as an operator would: in the largest unit that gives a whole number."""
    milliseconds = round(seconds * 1000, 6)
    if not milliseconds:
        return "0s"
    unit = next((unit for unit in ("h", "m", "s") if milliseconds % MILLISECONDS[unit] == 0), "ms")
    return f"{milliseconds / MILLISECONDS[unit]:.6f}".rstrip("0").rstrip(".") + unit


def _read_pause(value: object, info: ValidationInfo) -> object:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError("write a duration, as 250ms, 3s, 1m, 1h")
    if isinstance(value, str) or (info.context is FROM_FILE and value):
        return parse_duration(str(value))
    return float(value)


def _read_duration(value: object, info: ValidationInfo) -> object:
    seconds = _read_pause(value, info)
    if seconds == 0:
        raise ValueError("0 would end it before it began: write a longer time, as 1s")
    return seconds


# Seconds. A Pause may be 0.
Duration = Annotated[float, BeforeValidator(_read_duration, json_schema_input_type=str)]
Pause = Annotated[float, BeforeValidator(_read_pause, json_schema_input_type=str)]


BYTES = {
    "B": 1,
    "kB": 10**3,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
}


def parse_size(text: str) -> int:
    """Return the bytes of `64KiB`, `1MiB`, `10MB` or `512`."""
    found = re.fullmatch(r"([0-9]{1,15})(\w*)", text, re.ASCII)
    if found is None:
        raise ValueError("write a size: whole bytes, or a number with KiB, MiB, GiB (1024) or kB, MB, GB (1000)")
    if found[2] and found[2] not in BYTES:
        wanted = next((unit for unit in ("KiB", "MiB", "GiB") if unit[0] == found[2][0].upper()), "KiB")
        raise ValueError(
            f"{found[2]} is no unit of size: write {found[1]}{wanted} (1024) or {found[1]}{wanted[0]}B (1000)"
        )
    return int(found[1]) * BYTES[found[2] or "B"]


def format_size(size: int) -> str:
    """Write bytes as an operator would: in the largest binary unit that gives a whole number, else in bytes."""
    for unit in ("GiB", "MiB", "KiB"):
        if size and size % BYTES[unit] == 0:
            return f"{size // BYTES[unit]}{unit}"
    return str(size)


def _read_size(value: object) -> object:
    if isinstance(value, str):
        return parse_size(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError("write a size, as 65536, 64KiB or 1MiB")
    return value


# Bytes.
Size = Annotated[int, BeforeValidator(_read_size, json_schema_input_type=str | int)]


def parse_share(text: str) -> float:
    """Return the share of `20%` or `0.2`, between 0 and 1."""
    found = re.fullmatch(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)(%?)", text, re.ASCII)
    if found is None:
        raise ValueError("write a share: 20% or 0.2")
    share = float(found[1]) / (100 if found[2] else 1)
    if share > 1:
        raise ValueError(f"more than all of it: write a share from 0% to 100%{'' if found[2] else f' ({text}%?)'}")
    return share


def format_share(share: float) -> str:
    return f"{share * 100:.9f}".rstrip("0").rstrip(".") + "%"


def _read_share(value: object) -> object:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return parse_share(f"{value:.9f}".rstrip("0").rstrip("."))
    return parse_share(value if isinstance(value, str) else "")


Share = Annotated[float, BeforeValidator(_read_share, json_schema_input_type=str | float)]


def _read_path(value: object) -> Path:
    if isinstance(value, Path):
        return value.absolute()
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError("write the path of a file")
    directory = value.directory if isinstance(value, Written) else Path.cwd()
    # normpath and not resolve(): a link, as certbot makes them, is followed each time the file is opened.
    return Path(os.path.normpath(directory / str(value)))


def read_existing_file(value: object) -> Path:
    """Return the absolute path of a file that can be read. Raises ValueError."""
    path = _read_path(value)
    try:
        # Asked before it is opened: a fifo would wait for its writer.
        if not path.is_file():
            raise ValueError(f"{path} is {'no file' if path.exists() else 'not there'}")
        path.open("rb").close()
    except OSError as failure:
        raise ValueError(f"cannot read {path}: {failure.strerror}") from None
    return path


# Absolute; relative ones start from the directory of the file they are written in.
OutputPath = Annotated[Path, BeforeValidator(_read_path, json_schema_input_type=str)]
# The same, of a file that can be read now.
FilePath = Annotated[Path, BeforeValidator(read_existing_file, json_schema_input_type=str)]


def parse_network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """Return the network of `10.0.0.0/8` or `::1`; a single address is a network of one."""
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        pass
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError("write a network or an address, as 10.0.0.0/8, 192.0.2.7 or fd00::/8") from None
    raise ValueError(f"the address has bits beyond its mask: write {network}")


def _read_network(value: object) -> object:
    if isinstance(value, (ipaddress.IPv4Network, ipaddress.IPv6Network)):
        return value
    return parse_network(value if isinstance(value, str) else "")


Network = Annotated[
    ipaddress.IPv4Network | ipaddress.IPv6Network, BeforeValidator(_read_network, json_schema_input_type=str)
]


def _read_method(value: object) -> object:
    # RFC 9110, 9.1: a method is a case-sensitive token; all registered ones are upper-case.
    if not isinstance(value, str) or not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", value):
        raise ValueError("write a method, as GET")
    if value != value.upper():
        raise ValueError(f"methods are upper-case: write {value.upper()}")
    return value


Method = Annotated[str, BeforeValidator(_read_method, json_schema_input_type=str)]


def _read_log_format(value: object) -> object:
    return check_log_format(value if isinstance(value, str) else "")


LogFormat = Annotated[str, BeforeValidator(_read_log_format, json_schema_input_type=str)]
