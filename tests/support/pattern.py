"""Bodies of any size whose every byte is known, made piece by piece: `node_backend.js` makes the same ones.

Blocks of 4096 bytes: 8 of the block's number, big-endian, and 4088 of a fixed filling. A lost, doubled or
swapped block changes the hash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

BLOCK_BYTES = 4096
FILLING = bytes((index * 7 + 3) & 0xFF for index in range(BLOCK_BYTES - 8))
# Blocks joined into one piece.
PIECE_BLOCKS = 16


def pieces(size: int) -> Iterator[bytes]:
    """Yield a body of `size` bytes in pieces of 64 KiB at most."""
    number = 0
    left = size
    while left:
        blocks = min(PIECE_BLOCKS, -(-left // BLOCK_BYTES))
        piece = b"".join((number + index).to_bytes(8, "big") + FILLING for index in range(blocks))
        piece = piece[:left]
        number += blocks
        left -= len(piece)
        yield piece


def body(size: int) -> bytes:
    return b"".join(pieces(size))


def sha256(size: int) -> str:
    digest = hashlib.sha256()
    for piece in pieces(size):
        digest.update(piece)
    return digest.hexdigest()
