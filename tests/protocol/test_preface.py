"""The HTTP/2 preface on a clear port."""

from __future__ import annotations

import pytest

from h2gate.protocol.preface import PREFACE, Preface, match_preface


def test_the_preface_is_the_one_of_the_rfc() -> None:
    octets = bytes.fromhex("505249202a20485454502f322e300d0a0d0a534d0d0a0d0a")
    assert octets == PREFACE


@pytest.mark.parametrize("size", range(len(PREFACE)))
def test_every_beginning_of_the_preface_asks_for_more(size: int) -> None:
    assert match_preface(PREFACE[:size]) is Preface.PARTIAL


@pytest.mark.parametrize("behind", [b"", b"\0\0\0\x04\0\0\0\0\0", b"GET / HTTP/1.1\r\n"])
def test_the_whole_preface_is_a_match_whatever_follows(behind: bytes) -> None:
    assert match_preface(PREFACE + behind) is Preface.MATCH


@pytest.mark.parametrize("place", range(len(PREFACE)))
def test_one_wrong_octet_anywhere_is_a_mismatch(place: int) -> None:
    wrong = PREFACE[:place] + bytes([PREFACE[place] ^ 0x20]) + PREFACE[place + 1 :]
    assert match_preface(wrong) is Preface.MISMATCH
    assert match_preface(wrong[: place + 1]) is Preface.MISMATCH


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n", b"POST / HTTP/1.1\r\n", b"PRI /", b"\r\nPRI", b"\x16\x03\x01"])
def test_other_first_bytes_are_a_mismatch(data: bytes) -> None:
    assert match_preface(data) is Preface.MISMATCH
