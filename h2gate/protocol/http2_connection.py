"""h2's connection with its traps cured, and one stream of it.

h2 owns the states, the settings and the windows. What differs here from h2 4.4, and why:

- GOAWAY, sent or received, leaves the state as it is, so that running streams finish (RFC 9113, 6.8); h2 would close
  the connection, and wipe unsent output on receipt (python-hyper/h2#1181).
- Closed streams are forgotten at once, so that counting the open ones is `len`; h2 walks all streams for each new one.
- Frames are read by `FrameReader` and written here: h2 reprs each received frame for a log line, and its way of sending
  a head costs more than the head's encoding.
- What h2 keeps of each setting is a short list, not a deque with room for 64: half of an idle client's memory.
- Settings that only cost memory are dropped: a peer may send 65 536 of them, or ask for a table of 4 GiB.

The one rule: bytes go into `_data_to_send` in the order in which they must leave, field blocks above all.
"""

from __future__ import annotations

from collections import deque
from typing import Any, cast

from h2.config import H2Configuration
from h2.connection import ConnectionInputs, ConnectionState, H2Connection, H2ConnectionStateMachine
from h2.settings import SettingCodes
from h2.stream import H2Stream, StreamClosedBy, StreamInputs, StreamState
from hyperframe.frame import SettingsFrame

from h2gate.errors import ErrorCode
from h2gate.protocol import http2_frames as frames
from h2gate.protocol.contract import Http2Settings
from h2gate.protocol.events import Fields
from h2gate.protocol.http2_hpack import TABLE_BYTES, FieldDecoder, FieldEncoder
from h2gate.protocol.http2_limits import CLOSED_STREAMS, DEFAULT_WINDOW, LIST_FACTOR

_KNOWN_SETTINGS = frozenset(
    {
        SettingCodes.HEADER_TABLE_SIZE, SettingCodes.ENABLE_PUSH, SettingCodes.MAX_CONCURRENT_STREAMS,
        SettingCodes.INITIAL_WINDOW_SIZE, SettingCodes.MAX_FRAME_SIZE, SettingCodes.MAX_HEADER_LIST_SIZE,
        SettingCodes.ENABLE_CONNECT_PROTOCOL,
    }
)  # fmt: skip


class _Values(list[int]):
    """A setting's value, and those that were announced and not acknowledged yet: the part of a deque that h2 uses."""

    def popleft(self) -> int:
        return self.pop(0)


class _StateMachine(H2ConnectionStateMachine):
    """GOAWAY is an announcement and not an end: the state stays."""

    _transitions = {  # noqa: RUF012 -- h2's own declaration
        **H2ConnectionStateMachine._transitions,
        **{
            (state, goaway): (None, state)
            for state in ConnectionState
            for goaway in (ConnectionInputs.SEND_GOAWAY, ConnectionInputs.RECV_GOAWAY)
        },
    }


class Stream(H2Stream):
    """One stream: h2's state and windows, what its message promised, and the body that waits to be framed."""

    __slots__ = (
        "chunks", "has_no_content", "is_discarded", "is_ending", "is_tunnel", "length_left", "queued", "trailers",
    )  # fmt: skip

    def __init__(self, stream_id: int, config: H2Configuration, inbound_window: int, outbound_window: int) -> None:
        super().__init__(stream_id, config, inbound_window, outbound_window)
        # In: content-length minus what has come; None if the head stated none.
        self.length_left: int | None = None
        # The request was HEAD.
        self.has_no_content = False
        # The request was CONNECT, and no response yet says that there will be no tunnel.
        self.is_tunnel = False
        # The request was rejected: what follows of it is dropped.
        self.is_discarded = False
        # Out: the queue (see `BodyQueue`).
        self.chunks: deque[bytes | memoryview] = deque()
        self.queued = 0
        self.is_ending = False
        self.trailers: Fields = []

    @property
    def is_received(self) -> bool:
        """Whether the peer has ended its side."""
        return self.state_machine.state is StreamState.HALF_CLOSED_REMOTE


class Connection(H2Connection):
    """h2's connection, cured. The engine above reads frames and decides; this changes states and writes frames."""

    MAX_CLOSED_STREAMS = CLOSED_STREAMS

    def __init__(self, is_client: bool, settings: Http2Settings) -> None:
        super().__init__(
            H2Configuration(
                client_side=is_client,
                # fields.py and http2_heads.py are the rules.
                validate_inbound_headers=False,
                validate_outbound_headers=False,
                normalize_inbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        # h2's own reading, which is not used. Its bound methods would leave each connection to the collector.
        self._frame_dispatch_table.clear()
        self.state_machine = _StateMachine()
        for table in (self.local_settings, self.remote_settings):
            short: Any = {code: _Values(values) for code, values in table._settings.items()}
            table._settings = short
        # h2 knows them by the names it gave them.
        self.running: dict[int, Stream] = {}
        # How many of them we promised: a server's have even ids, and each running one of those is a push.
        self.pushed = 0
        self.streams = cast("dict[int, H2Stream]", self.running)
        self.encoder = self._field_encoder = FieldEncoder()
        self.decoder = self.field_decoder = FieldDecoder(settings.header_list * LIST_FACTOR)
        self._announce(settings)

    def _announce(self, settings: Http2Settings) -> None:
        """Queue the preface, SETTINGS, and the connection's window, which SETTINGS cannot change (RFC 9113, 6.9.2)."""
        announced: dict[int, int] = {
            SettingsFrame.INITIAL_WINDOW_SIZE: settings.stream_window,
            SettingsFrame.MAX_HEADER_LIST_SIZE: settings.header_list,
        }
        if self.config.client_side:
            announced[SettingsFrame.ENABLE_PUSH] = 0
            self._data_to_send += frames.PREFACE
        else:
            announced[SettingsFrame.MAX_CONCURRENT_STREAMS] = settings.max_streams
            if settings.enable_connect:
                announced[SettingsFrame.ENABLE_CONNECT_PROTOCOL] = 1
        # Only what h2 must change when the acknowledgement comes.
        self.local_settings[SettingCodes.INITIAL_WINDOW_SIZE] = settings.stream_window
        self._data_to_send += SettingsFrame(0, settings=announced).serialize()
        if settings.connection_window > DEFAULT_WINDOW:
            self.increment_flow_control_window(settings.connection_window - DEFAULT_WINDOW)

    # Streams

    def open(self, stream_id: int) -> Stream:
        """Make a stream of the peer's (a server's) or our own (a client's)."""
        stream = Stream(
            stream_id, self.config, self.local_settings.initial_window_size, self.remote_settings.initial_window_size
        )
        self.running[stream_id] = stream
        if self.config.client_side:
            self.highest_outbound_stream_id = stream_id
        return stream

    def promise(self) -> Stream:
        """Make the next stream of a push."""
        stream_id = self.highest_outbound_stream_id + 2
        stream = Stream(
            stream_id, self.config, self.local_settings.initial_window_size, self.remote_settings.initial_window_size
        )
        machine = stream.state_machine
        machine.process_input(StreamInputs.SEND_PUSH_PROMISE)
        # Not as h2 has it, reserved (local): it would take no interim head there (RFC 9113, 8.1 and 8.4.2).
        machine.state = StreamState.HALF_CLOSED_REMOTE
        self.running[stream_id] = stream
        self.highest_outbound_stream_id = stream_id
        self.pushed += 1
        return stream

    def is_idle(self, stream_id: int) -> bool:
        """Whether nobody has used the id yet (RFC 9113, 5.1). A client's even ids stay idle: nobody pushes to us."""
        is_ours = (stream_id % 2 == 1) is self.config.client_side
        highest = self.highest_outbound_stream_id if is_ours else self.highest_inbound_stream_id
        return stream_id > highest or not stream_id

    def closed_by(self, stream_id: int) -> StreamClosedBy | None:
        """Return how a closed stream ended, None if that was long ago or it was never opened."""
        return self._stream_closed_by(stream_id)

    def forget_if_closed(self, stream: Stream) -> None:
        if stream.state_machine.state is StreamState.CLOSED:
            self.forget(stream, stream.state_machine.stream_closed_by)

    def forget(self, stream: Stream, closed_by: StreamClosedBy | None) -> None:
        stream_id = stream.stream_id
        self.running.pop(stream_id, None)
        if stream_id % 2 == 0:
            # How it ended need not be known: nobody may send HEADERS or DATA there, before or after.
            self.pushed -= 1
        else:
            self._closed_streams[stream_id] = closed_by

    def note_unopened(self, stream_id: int) -> None:
        """Remember a stream that we did not let in: what follows of it is as of one that we reset."""
        self._closed_streams[stream_id] = StreamClosedBy.SEND_RST_STREAM

    # Heads

    def write_head(self, stream: Stream, fields: Fields, end_stream: bool, is_interim: bool = False) -> bytes:
        """Change the states for a head or trailers and return its frames. They must leave before any later block."""
        if self.state_machine.state is ConnectionState.IDLE:
            self.state_machine.process_input(ConnectionInputs.SEND_HEADERS)
        machine = stream.state_machine
        machine.process_input(StreamInputs.SEND_INFORMATIONAL_HEADERS if is_interim else StreamInputs.SEND_HEADERS)
        if end_stream:
            machine.process_input(StreamInputs.SEND_END_STREAM)
        block = self._field_encoder.block(fields)
        return frames.head_frames(stream.stream_id, block, end_stream, self.max_outbound_frame_size)

    def write_promise(self, stream_id: int, promised_id: int, fields: Fields) -> bytes:
        """Return the frames of a PUSH_PROMISE. They must leave before any later block."""
        block = self._field_encoder.block(fields)
        return frames.promise_frames(stream_id, promised_id, block, self.max_outbound_frame_size)

    def queue(self, data: bytes) -> None:
        """Queue whole frames behind those that wait."""
        self._data_to_send += data

    def receive_head(self, stream: Stream, end_stream: bool, is_interim: bool = False) -> None:
        """Change the states for a head or trailers. Raises h2's ProtocolError if the stream may not have one now."""
        if self.state_machine.state is ConnectionState.IDLE:
            self.state_machine.process_input(ConnectionInputs.RECV_HEADERS)
        machine = stream.state_machine
        machine.process_input(StreamInputs.RECV_INFORMATIONAL_HEADERS if is_interim else StreamInputs.RECV_HEADERS)
        if end_stream:
            machine.process_input(StreamInputs.RECV_END_STREAM)

    # Windows

    def consume(self, size: int) -> None:
        """Take a DATA frame from the connection's window. Raises h2's FlowControlError if it does not fit."""
        self._inbound_flow_control_window_manager.window_consumed(size)

    def consume_stream(self, stream: Stream, size: int) -> None:
        stream._inbound_window_manager.window_consumed(size)

    def credit(self, size: int) -> None:
        """Give back to the connection's window; h2 saves it up to half of the window, or until that is empty."""
        increment = self._inbound_flow_control_window_manager.process_bytes(size)
        if increment:
            self._data_to_send += frames.long_frame(frames.WINDOW_UPDATE, 0, increment)

    def credit_stream(self, stream: Stream, size: int) -> None:
        increment = stream._inbound_window_manager.process_bytes(size)
        if increment:
            self._data_to_send += frames.long_frame(frames.WINDOW_UPDATE, stream.stream_id, increment)

    # Frames that are rare, with h2's own handling

    def receive_settings(self, payload: bytes, is_ack: bool) -> None:
        """Apply SETTINGS, and acknowledge them. Raises hyperframe's and h2's errors, and ConnectionBroken."""
        frame = SettingsFrame(0, flags=("ACK",) if is_ack else ())
        frame.parse_body(memoryview(payload))
        settings = frame.settings
        for code in settings.keys() - _KNOWN_SETTINGS:
            del settings[code]
        # RFC 8441, 3. h2 looks at each value alone.
        if self.remote_settings.enable_connect_protocol and not settings.get(SettingsFrame.ENABLE_CONNECT_PROTOCOL, 1):
            raise frames.ConnectionBroken(ErrorCode.PROTOCOL_ERROR, "extended CONNECT taken back")
        if SettingsFrame.HEADER_TABLE_SIZE in settings:
            settings[SettingsFrame.HEADER_TABLE_SIZE] = min(settings[SettingsFrame.HEADER_TABLE_SIZE], TABLE_BYTES)
        replies, _ = self._receive_settings_frame(frame)
        self._prepare_for_sending(replies)
