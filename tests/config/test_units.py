"""Durations, sizes, shares, paths, networks, methods."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from h2gate.config import units
from h2gate.config.written import FROM_FILE, Written


def read(kind, value, context=FROM_FILE):
    return TypeAdapter(kind).validate_python(value, strict=True, context=context)


def refusal(kind, value, context=FROM_FILE) -> str:
    with pytest.raises(ValidationError) as caught:
        read(kind, value, context)
    return str(caught.value.errors()[0]["ctx"]["error"])


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250ms", 0.25),
        ("25ms", 0.025),
        ("3s", 3.0),
        ("1.5s", 1.5),
        ("1m", 60.0),
        ("1h", 3600.0),
        ("8760h", 31_536_000.0),
    ],
)
def test_a_duration_is_a_number_with_its_unit(text, seconds):
    assert read(units.Duration, text) == seconds


@given(st.integers(min_value=1, max_value=31_536_000_000))
def test_a_duration_in_milliseconds_is_written_as_it_is_read(milliseconds):
    assert units.parse_duration(units.format_duration(milliseconds / 1000)) == milliseconds / 1000


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0, "0s"), (0.0005, "0.5ms"), (90.0, "90s"), (120.0, "2m"), (7200.0, "2h"), (1.5, "1500ms")]
)
def test_a_duration_is_written_in_its_largest_whole_unit(seconds, text):
    assert units.format_duration(seconds) == text


@pytest.mark.parametrize("value", [5, 5.0, "5", "1.5"])
def test_a_bare_number_in_a_file_is_no_duration_and_the_hint_has_both_units(value):
    assert refusal(units.Duration, value) == f"a duration needs a unit: write {value}s or {value}ms"


def test_a_number_from_code_is_seconds():
    assert read(units.Duration, 5, context=None) == 5.0
    assert read(units.Duration, 0.5, context=None) == 0.5


@pytest.mark.parametrize("value", ["", "1d", "-1s", "s", "1 s", "1e3s", "٣s", "1s\n"])
def test_what_is_no_duration_is_told_how_one_is_written(value):
    assert refusal(units.Duration, value).startswith("write a duration: a number with ms, s, m or h")


@pytest.mark.parametrize("value", [None, True, [], {}])
def test_a_duration_is_no_other_kind_of_value(value):
    assert refusal(units.Duration, value) == "write a duration, as 250ms, 3s, 1m, 1h"


def test_a_duration_is_a_year_at_most():
    assert refusal(units.Duration, "8761h") == "write 8760h (a year) at most"


@pytest.mark.parametrize("value", ["0s", "0ms", 0])
def test_a_duration_is_not_nothing_but_a_pause_may_be(value):
    assert refusal(units.Duration, value) == "0 would end it before it began: write a longer time, as 1s"
    assert read(units.Pause, value) == 0.0


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("512", 512),
        ("7B", 7),
        ("64KiB", 65_536),
        ("1MiB", 1_048_576),
        ("2GiB", 2**31),
        ("1kB", 1000),
        ("1KB", 1000),
        ("10MB", 10_000_000),
        ("1GB", 10**9),
        (65_535, 65_535),
    ],
)
def test_a_size_is_bytes_or_a_number_with_its_unit(text, size):
    assert read(units.Size, text) == size


@given(st.integers(min_value=0, max_value=10**15 - 1))
def test_a_size_is_written_as_it_is_read(size):
    assert units.parse_size(units.format_size(size)) == size


def test_a_size_is_written_in_its_largest_whole_unit():
    written = [units.format_size(size) for size in (0, 1000, 65_536, 2**20, 3 * 2**30)]
    assert written == ["0", "1000", "64KiB", "1MiB", "3GiB"]


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("64k", "k is no unit of size: write 64KiB (1024) or 64KB (1000)"),
        ("1mib", "mib is no unit of size: write 1MiB (1024) or 1MB (1000)"),
        ("1T", "T is no unit of size: write 1KiB (1024) or 1KB (1000)"),
    ],
)
def test_an_unknown_unit_of_size_is_told_the_nearest(text, hint):
    assert refusal(units.Size, text) == hint


@pytest.mark.parametrize("value", ["", "KiB", "-1", "1.5MiB", "1 KiB", "lots"])
def test_what_is_no_size_is_told_how_one_is_written(value):
    assert refusal(units.Size, value).startswith("write a size: whole bytes, or a number with KiB")


@pytest.mark.parametrize("value", [None, True, -1, 1.5, []])
def test_a_size_is_no_other_kind_of_value(value):
    assert refusal(units.Size, value) == "write a size, as 65536, 64KiB or 1MiB"


@pytest.mark.parametrize(
    ("value", "share"), [("20%", 0.2), (0.2, 0.2), ("0.2", 0.2), (1, 1.0), (0, 0.0), ("12.5%", 0.125)]
)
def test_a_share_is_a_percentage_or_a_fraction(value, share):
    assert read(units.Share, value) == share


@given(st.integers(min_value=0, max_value=10_000))
def test_a_share_is_written_as_it_is_read(hundredths):
    share = units.parse_share(f"{hundredths / 100}%")
    assert units.parse_share(units.format_share(share)) == share


@pytest.mark.parametrize("value", [None, True, "", "half", -0.5, float("nan"), float("inf"), []])
def test_what_is_no_share_is_told_how_one_is_written(value):
    assert refusal(units.Share, value) == "write a share: 20% or 0.2"


def test_a_share_is_not_more_than_all():
    assert refusal(units.Share, 20) == "more than all of it: write a share from 0% to 100% (20%?)"
    assert refusal(units.Share, "101%") == "more than all of it: write a share from 0% to 100%"


def test_a_relative_path_starts_from_the_directory_of_its_file():
    assert read(units.OutputPath, Written("../run/pid", Path("/etc/h2gate"))) == Path("/etc/run/pid")
    assert read(units.OutputPath, Written("/run/pid", Path("/etc/h2gate"))) == Path("/run/pid")


def test_a_relative_path_from_code_starts_from_the_working_directory(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert read(units.OutputPath, "pid") == tmp_path / "pid"
    assert read(units.OutputPath, Path("pid")) == tmp_path / "pid"


@pytest.mark.parametrize("value", [None, "", 3, "a\0b", []])
def test_what_is_no_path_is_refused(value):
    assert refusal(units.OutputPath, value) == "write the path of a file"


def test_a_file_must_be_there_and_be_one(tmp_path):
    file = tmp_path / "a.pem"
    assert refusal(units.FilePath, str(file)) == f"{file} is not there"
    file.write_text("x")
    assert read(units.FilePath, Written("a.pem", tmp_path)) == file
    assert refusal(units.FilePath, str(tmp_path)) == f"{tmp_path} is no file"


def test_a_file_must_be_readable(tmp_path, monkeypatch):
    file = tmp_path / "a.pem"
    file.write_text("x")

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    # Not by its mode: tests may run as root, who reads everything.
    monkeypatch.setattr(Path, "open", refuse)
    assert refusal(units.FilePath, str(file)) == f"cannot read {file}: Permission denied"
    monkeypatch.undo()
    assert "File name too long" in refusal(units.FilePath, "/" + "x" * 300)


@pytest.mark.parametrize(
    ("value", "network"),
    [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("192.0.2.7", "192.0.2.7/32"),
        ("fd00::/8", "fd00::/8"),
        ("::1", "::1/128"),
        (ipaddress.ip_network("10.0.0.0/8"), "10.0.0.0/8"),
    ],
)
def test_a_network_may_be_one_address(value, network):
    assert read(units.Network, value) == ipaddress.ip_network(network)


def test_an_address_beyond_its_mask_is_told_the_network():
    assert refusal(units.Network, "10.0.0.1/8") == "the address has bits beyond its mask: write 10.0.0.0/8"


@pytest.mark.parametrize("value", [None, 10, "", "example.com", "10.0.0.0/33", "10.0.0"])
def test_what_is_no_network_is_told_how_one_is_written(value):
    assert refusal(units.Network, value).startswith("write a network or an address")


def test_a_method_is_an_upper_case_token():
    assert read(units.Method, "M-SEARCH") == "M-SEARCH"
    assert refusal(units.Method, "get") == "methods are upper-case: write GET"
    assert refusal(units.Method, "G T") == "write a method, as GET"
    assert refusal(units.Method, 3) == "write a method, as GET"
