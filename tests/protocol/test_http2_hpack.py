"""HPACK of the python make against the hpack library, and its own decisions (RFC 7541)."""

from __future__ import annotations

import pytest
from hpack import Decoder, Encoder
from hpack.exceptions import HPACKDecodingError, HPACKError, OversizedHeaderListError
from hpack.struct import NeverIndexedHeaderTuple
from hypothesis import given, settings
from hypothesis import strategies as st

from h2gate.protocol.events import Fields
from h2gate.protocol.http2_hpack import FieldDecoder, FieldEncoder, IndexedTable

NAMES = st.sampled_from([b":method", b":path", b":status", b"accept", b"cookie", b"date", b"x-a", b"x-b", b"n" * 200])
VALUES = st.sampled_from([b"", b"GET", b"/", b"200", b"gzip, deflate", b"v" * 126, b"v" * 127, b"v" * 1_500])
lists = st.lists(st.lists(st.tuples(NAMES, VALUES), max_size=12), max_size=12)


@settings(deadline=None)
@given(lists, st.lists(st.sampled_from([0, 64, 300, 4_096]), max_size=12))
def test_what_we_encode_another_decodes(all_fields: list[Fields], sizes: list[int]) -> None:
    encoder, decoder = FieldEncoder(), Decoder()
    for number, fields in enumerate(all_fields):
        if number < len(sizes):
            encoder.header_table_size = sizes[number]
            assert encoder.header_table_size == sizes[number]
        assert [tuple(field) for field in decoder.decode(encoder.block(fields), raw=True)] == fields


@settings(deadline=None)
@given(lists, st.booleans(), st.lists(st.sampled_from([0, 64, 300, 4_096]), max_size=12))
def test_what_another_encodes_we_decode(all_fields: list[Fields], huffman: bool, sizes: list[int]) -> None:
    encoder, decoder = Encoder(), FieldDecoder(1 << 20)
    for number, fields in enumerate(all_fields):
        if number < len(sizes):
            encoder.header_table_size = sizes[number]
        assert decoder.fields(encoder.encode(fields, huffman=huffman)) == fields
        assert decoder.size == sum(len(name) + len(value) + 32 for name, value in fields)


@settings(deadline=None)
@given(st.lists(st.binary(max_size=60), max_size=4))
def test_any_block_is_decoded_as_the_library_does_or_refused(blocks: list[bytes]) -> None:
    ours, theirs = FieldDecoder(1 << 16), Decoder()
    for block in blocks:
        try:
            expected = [tuple(field) for field in theirs.decode(block, raw=True)]
        except (HPACKError, IndexError):
            with pytest.raises(HPACKError):
                ours.fields(block)
            return
        assert ours.fields(block) == expected


@pytest.mark.parametrize(
    "block",
    [b"\x80", b"\xc0", b"\x40", b"\x40\x03ab", b"\x40\x01a", b"\x40\x01a\x03bc", b"\xff", b"\x82\x20", b"\x3f\xff\xff"],
    ids=[
        "index 0", "index not there", "no name", "cut name", "no value", "cut value", "cut integer", "late resize",
        "table too large",
    ],
)  # fmt: skip
def test_a_broken_block_is_refused(block: bytes) -> None:
    with pytest.raises(HPACKDecodingError):
        FieldDecoder(1 << 16).fields(block)


def test_a_string_longer_than_libnghttp2_takes_is_refused() -> None:
    fields = [(b"a", b"v" * 65_537)]
    with pytest.raises(HPACKDecodingError):
        FieldDecoder(1 << 20).fields(FieldEncoder().block(fields))


def test_a_list_beyond_the_limit_is_refused_before_it_is_built() -> None:
    decoder = FieldDecoder(100)
    assert len(decoder.fields(b"\x82\x84")) == 2
    with pytest.raises(OversizedHeaderListError):
        decoder.fields(b"\x82" * 1_000)


def test_a_field_never_indexed_stays_so_through_us() -> None:
    """An intermediary must not index what its peer marked so (RFC 7541, 7.1.3)."""
    (field,) = FieldDecoder(1 << 16).fields(b"\x10\x01a\x01b")
    assert field == (b"a", b"b")
    assert isinstance(field, NeverIndexedHeaderTuple)
    assert FieldEncoder().block([field]) == b"\x10\x01a\x01b"


@pytest.mark.parametrize("name", [b"authorization", b"cookie", b"set-cookie", b"proxy-authorization"])
def test_secrets_are_never_indexed(name: bytes) -> None:
    encoder = FieldEncoder()
    first = encoder.block([(name, b"secret")])
    assert first[0] & 0xF0 == 0x10
    assert encoder.block([(name, b"secret")]) == first


@pytest.mark.parametrize("field", [(b":path", b"/a"), (b"date", b"today"), (b"x-large", b"v" * 2_000)])
def test_what_would_crowd_the_table_stays_out(field: tuple[bytes, bytes]) -> None:
    encoder = FieldEncoder()
    assert encoder.block([field]) == encoder.block([field])
    assert not encoder.header_table.dynamic_entries


def test_a_field_sent_twice_is_one_octet_the_second_time() -> None:
    encoder = FieldEncoder()
    encoder.block([(b"x-a", b"b"), (b"x-c", b"d")])
    assert encoder.block([(b"x-a", b"b"), (b"x-c", b"d"), (b":method", b"GET")]) == b"\xbf\xbe\x82"


def test_a_field_that_fell_out_of_the_table_is_sent_again() -> None:
    table = IndexedTable()
    table.add(b"x-a", b"b")
    assert table.index_of((b"x-a", b"b")) == 62
    for number in range(2_000):
        table.add(b"x-%d" % number, b"v" * 100)
    assert table.index_of((b"x-a", b"b")) is None
    assert table.index_of((b"x-1999", b"v" * 100)) == 62
    assert table.index_of((b"x-1998", b"v" * 100)) == 63
    assert table.index_of((b"x-1", b"v" * 100)) is None


def test_a_long_huffman_string_is_decoded_too() -> None:
    fields = [(b"x-a", b"/path/" * 50)]
    assert FieldDecoder(1 << 16).fields(Encoder().encode(fields)) == fields
