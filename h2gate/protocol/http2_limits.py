"""Numbers that both makes of the HTTP/2 engine share."""

from __future__ import annotations

MAX_STREAM_ID = 2**31 - 1
"""The highest stream id and the largest window (RFC 9113, 5.1.1 and 6.9.1)."""

DEFAULT_WINDOW = 65_535
"""Each window before anybody changed it (RFC 9113, 6.9.2)."""

CLOSED_STREAMS = 256
"""How many closed streams are remembered. Enough for the frames that cross our RST_STREAM; a stream forgotten here as
well is treated with leniency."""

LIST_FACTOR = 4
"""How far beyond the announced limit a field list may go before it costs the connection (contract)."""

STRING_BYTES = 65_536
"""The longest name or value of a field, as it is coded: libnghttp2's own limit."""

UNSENT_REPLIES = 1_000
"""Frames that the peer made us queue (PING and SETTINGS acknowledgements, resets) while it takes none: more is a flood
(CVE-2019-9512, 9514, 9515)."""
