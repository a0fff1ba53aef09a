# cython: language_level=3
# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The HTTP/2 engines of the native make: what `contract.py` promises, in typed code.

libnghttp2 is used for what needs it, reading compressed fields (`http2_native_hpack.pxi`). Frames, stream states,
windows, the queue of bodies and all policy are ours and follow the python make rule by rule: `http2_engine.py` says why
a rule is as it is. `nghttp2_session` was not taken: what it answers to errors, closed streams, GOAWAY and floods is its
own and changes between its versions (limits of resets came in 1.57), so that the makes could not behave alike; and it
costs a callback for each field and frame, and one copy more of each body.

The one rule: what is common and right is decided here; what is malformed or unusual is given to the python make's own
functions (`http2_heads.py`, `fields.py`), which know the words for it.

Three things to know when changing this:

- Received bytes are read where they are. Only a frame that is not there yet is copied, into `_tail`.
- `PyObject *` is a borrowed reference, but in the queue of bodies and in the tables of fields, which own theirs.
- Making an object may run the garbage collector, and that anything: `receive` refuses to be entered twice.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_Occurred
from cpython.list cimport PyList_GET_SIZE, PyList_GetSlice
from cpython.object cimport PyObject
from cpython.tuple cimport PyTuple_Check, PyTuple_CheckExact, PyTuple_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy, memmove, memset

from hpack.struct import NeverIndexedHeaderTuple
from hpack.table import HeaderTable

from h2gate.errors import ErrorCode, Reason
from h2gate.protocol.events import (
    ConnectionFailed,
    DataReceived,
    GoAwayReceived,
    InterimReceived,
    PingAcked,
    RequestHead,
    RequestReceived,
    RequestRejected,
    ResponseHead,
    ResponseReceived,
    SettingsReceived,
    StreamReset,
    TrailersReceived,
)
from h2gate.protocol.fields import (
    CONNECTION_SPECIFIC,
    FRAMING,
    NOT_IN_TRAILERS,
    Malformed,
    check_http2_fields,
    clean_trailers,
    is_lower_name,
    is_method,
    is_path,
    is_value,
)
from h2gate.protocol.http2_frames import PREFACE, ConnectionBroken, NotHttp2
from h2gate.protocol.http2_heads import read_request, read_response, with_one_cookie
from h2gate.protocol.http2_hpack import BAD_BLOCK, INDEXABLE_BYTES, TABLE_BYTES
from h2gate.protocol.http2_hpack import KINDS as KINDS_OF_LITERALS
from h2gate.protocol import http2_limits

cdef extern from "Python.h":
    # As these are in C: borrowed.
    PyObject *PyList_GET_ITEM(object, Py_ssize_t)
    PyObject *PyTuple_GET_ITEM(object, Py_ssize_t)
    PyObject *PyDict_GetItem(dict, object)
    PyObject *PyDict_GetItemWithError(dict, object)
    void Py_INCREF(object)
    void Py_DECREF(object)
    void Py_XDECREF(PyObject *)
    void Py_CLEAR(PyObject *)
    int _PyBytes_Resize(PyObject **, Py_ssize_t) except -1
    PyObject *bytes_of_size "PyBytes_FromStringAndSize"(const char *, Py_ssize_t) except NULL
    char *PyBytes_AS_STRING_OF "PyBytes_AS_STRING"(PyObject *)


# Bytes that grow

cdef struct Out:
    # What waits is between `begin` and `end`.
    uint8_t *data
    size_t begin
    size_t end
    size_t room

cdef enum:
    FIRST_ROOM = 256
    # An empty buffer larger than this is given back: of 10 000 idle connections each would keep its own.
    KEPT_ROOM = 4096


cdef inline int _reserve(Out *out, size_t size) except -1:
    """Make sure that `size` bytes can be written at `end`."""
    if out.room - out.end < size:
        _grow(out, size)
    return 0


cdef int _grow(Out *out, size_t size) except -1:
    cdef size_t room = out.room
    cdef uint8_t *data
    if out.begin:
        memmove(out.data, out.data + out.begin, out.end - out.begin)
        out.end -= out.begin
        out.begin = 0
    if not room:
        room = FIRST_ROOM
    while room - out.end < size:
        room *= 2
    if room > out.room:
        data = <uint8_t *>realloc(out.data, room)
        if data == NULL:
            raise MemoryError
        out.data = data
        out.room = room
    return 0


cdef inline void _empty(Out *out) noexcept:
    out.begin = out.end = 0
    if out.room > KEPT_ROOM:
        free(out.data)
        out.data = NULL
        out.room = 0


cdef int _append(Out *out, const void *data, size_t size) except -1:
    if size:
        _reserve(out, size)
        memcpy(out.data + out.end, data, size)
        out.end += size
    return 0


include "http2_native_events.pxi"
include "http2_native_hpack.pxi"

# Numbers of RFC 9113, and ours (http2_limits.py has the reasons).

cdef enum:
    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9

    END_STREAM = 0x1
    ACK = 0x1
    END_HEADERS = 0x4
    PADDED = 0x8
    HAS_PRIORITY = 0x20

    HEADER_BYTES = 9
    FRAME_BYTES = 16384
    PREFACE_BYTES = 24

    NO_LENGTH = -1

    # How a stream ended. 0: nobody remembers.
    BY_END = 1
    BY_OUR_RESET = 2
    BY_THEIR_RESET = 3

    PROTOCOL_ERROR = 0x1
    FLOW_CONTROL_ERROR = 0x3
    STREAM_CLOSED = 0x5
    FRAME_SIZE_ERROR = 0x6
    REFUSED_STREAM = 0x7
    ENHANCE_YOUR_CALM = 0xB

    SETTINGS_KNOWN = 9

cdef int64_t MAX_STREAM_ID = http2_limits.MAX_STREAM_ID
cdef int64_t DEFAULT_WINDOW = http2_limits.DEFAULT_WINDOW
cdef int64_t LIST_FACTOR = http2_limits.LIST_FACTOR
cdef int UNSENT_REPLIES = http2_limits.UNSENT_REPLIES
cdef enum:
    CLOSED_STREAMS = 256
if http2_limits.CLOSED_STREAMS != CLOSED_STREAMS:
    raise ImportError("built for another http2_limits.py")

cdef bytes _PREFACE = PREFACE
cdef bytes _METHOD_NAME = b":method"
cdef bytes _SCHEME_NAME = b":scheme"
cdef bytes _AUTHORITY_NAME = b":authority"
cdef bytes _PATH_NAME = b":path"
cdef bytes _PROTOCOL_NAME = b":protocol"
cdef bytes _STATUS_NAME = b":status"
cdef dict _STATUS_VALUES = {_status: b"%d" % _status for _status in range(100, 600)}


cdef inline uint32_t _long(const uint8_t *data) noexcept nogil:
    return <uint32_t>data[0] << 24 | <uint32_t>data[1] << 16 | <uint32_t>data[2] << 8 | data[3]


cdef inline void _put_long(uint8_t *data, uint32_t value) noexcept nogil:
    data[0] = value >> 24
    data[1] = value >> 16 & 0xFF
    data[2] = value >> 8 & 0xFF
    data[3] = value & 0xFF


cdef inline void _put_header(uint8_t *data, size_t length, int kind, int flags, uint32_t stream_id) noexcept nogil:
    data[0] = length >> 16 & 0xFF
    data[1] = length >> 8 & 0xFF
    data[2] = length & 0xFF
    data[3] = kind
    data[4] = flags
    _put_long(data + 5, stream_id)


cdef int _breaks(int code, str detail) except -1:
    raise ConnectionBroken(ErrorCode(code), detail)


@cython.final
@cython.freelist(256)
@cython.no_gc
cdef class _Stream:
    """One stream. Nothing here can be part of a cycle: chunks and trailers are bytes."""

    cdef uint32_t stream_id
    # The same as an object, for events and for the dict of streams.
    cdef object number
    cdef bint has_head
    # Whether the peer has ended its side, and we ours.
    cdef bint is_received
    cdef bint is_sent
    # The request was rejected: what follows of it is dropped.
    cdef bint is_discarded
    # The request was HEAD.
    cdef bint has_no_content
    # The request was CONNECT, and no response yet says that there will be no tunnel.
    cdef bint is_tunnel
    # In: content-length minus what has come, or NO_LENGTH.
    cdef int64_t length_left
    # In: the window, its size when nothing is outstanding, and credit that was saved up.
    cdef int64_t window
    cdef int64_t window_size
    cdef int64_t saved
    # Out: the peer's window, and the queue: `first` from `first_begin` on, then `more` from `more_begin` on.
    cdef int64_t peer_window
    cdef int64_t queued
    cdef int64_t framed
    cdef bytes first
    cdef Py_ssize_t first_begin
    cdef list more
    cdef Py_ssize_t more_begin
    cdef bint is_ending
    cdef list trailers
    # Its place among those whose turn will come. The queue holds a reference to each.
    cdef bint is_ready
    cdef PyObject *next
    cdef PyObject *previous

    cdef int push(self, bytes data) except -1:
        if self.first is None:
            self.first = data
            self.first_begin = 0
        else:
            if self.more is None:
                self.more = []
                self.more_begin = 0
            self.more.append(data)
        self.queued += PyBytes_GET_SIZE(data)
        return 0

    cdef int pull(self, Py_ssize_t size, uint8_t *to) except -1:
        """Move `size` bytes, no more than are queued, to where they shall be."""
        cdef Py_ssize_t part
        self.queued -= size
        while size:
            part = PyBytes_GET_SIZE(self.first) - self.first_begin
            if part > size:
                part = size
            memcpy(to, PyBytes_AS_STRING(self.first) + self.first_begin, part)
            to += part
            size -= part
            self.first_begin += part
            if self.first_begin == PyBytes_GET_SIZE(self.first):
                self.next_chunk()
        return 0

    cdef int next_chunk(self) except -1:
        self.first_begin = 0
        self.first = None
        if self.more is None:
            return 0
        self.first = <bytes>PyList_GET_ITEM(self.more, self.more_begin)
        self.more[self.more_begin] = None
        self.more_begin += 1
        if self.more_begin == PyList_GET_SIZE(self.more):
            self.more = None
        elif self.more_begin >= 64 and self.more_begin * 2 > PyList_GET_SIZE(self.more):
            # Not each time: moving the rest costs its length.
            del self.more[: self.more_begin]
            self.more_begin = 0
        return 0

    cdef void drop(self) noexcept:
        self.first = self.more = self.trailers = None
        self.queued = 0


cdef inline int64_t _to_return(int64_t *window, int64_t window_size, int64_t *saved, int64_t size) noexcept nogil:
    """Save up credit, and return how much of it is to be told now, as h2's WindowManager decides.

    That is once it is half of the window, or earlier if the window is empty and the peer would wait.
    """
    cdef int64_t increment = 0
    saved[0] += size
    if not saved[0]:
        return 0
    if (window[0] == 0 and saved[0] > min(1024, window_size // 4)) or saved[0] >= window_size // 2:
        increment = min(saved[0], window_size - window[0])
        saved[0] = 0
    window[0] += increment
    return increment


@cython.no_gc
cdef class _Engine:
    """What both roles do."""

    cdef bint is_client
    cdef bint has_failed
    cdef bint is_busy
    # GOAWAY has been sent or received.
    cdef bint is_leaving
    # Limits (`Http2Settings`).
    cdef int64_t max_streams
    cdef int64_t stream_window
    cdef int64_t header_list
    cdef int64_t max_fields
    cdef int64_t block_limit
    cdef int64_t continuations
    cdef bint takes_connect
    # Streams by id, in the order in which they were opened.
    cdef dict streams
    # Ids of the role that opens streams, ever used; and the last one that was passed on.
    cdef uint32_t highest_id
    cdef uint32_t last_peer_id
    cdef uint32_t final_id
    # A server's pushes: the last id that was promised, and how many of the streams they are. Those have even ids.
    cdef uint32_t promised_id
    cdef int64_t pushed
    # The last closed ones, in a ring.
    cdef uint32_t[CLOSED_STREAMS] closed_ids
    cdef uint8_t[CLOSED_STREAMS] closed_by
    cdef uint32_t closed_count
    # In: what is still to come of the preface, the first frame, a frame's bytes, a field block's parts.
    cdef int preface_left
    cdef bint has_begun
    cdef uint8_t *tail
    cdef size_t tail_size
    cdef size_t tail_room
    cdef Out block
    cdef int64_t block_parts
    cdef int block_flags
    cdef uint32_t block_stream
    cdef list events
    cdef _FieldDecoder decoder
    # Windows. `new_window` is what streams get once the peer has acknowledged it.
    cdef int64_t window
    cdef int64_t window_size
    cdef int64_t saved
    cdef int64_t new_window
    cdef int64_t peer_window
    cdef int64_t peer_new_window
    cdef bint is_acknowledged
    # Out: what must leave in this order, and streams that have bytes and window, in the order of their turns.
    cdef Out out
    cdef _FieldEncoder encoder
    cdef int64_t peer_frame
    cdef int64_t peer_max_streams
    cdef bint peer_takes_push
    cdef bint peer_takes_connect
    cdef int replies
    cdef PyObject *first_ready
    cdef PyObject *last_ready
    cdef Py_ssize_t ready_count
    cdef int64_t queued_bytes
    cdef list framed

    def __cinit__(self, settings):
        self.max_streams = settings.max_streams
        self.stream_window = settings.stream_window
        self.header_list = settings.header_list
        self.max_fields = settings.fields
        self.continuations = settings.continuations
        self.takes_connect = settings.enable_connect
        self.block_limit = self.header_list * LIST_FACTOR
        self.decoder = _FieldDecoder(self.header_list * LIST_FACTOR)
        self.encoder = _FieldEncoder()
        self.streams = {}
        self.framed = []
        self.final_id = MAX_STREAM_ID
        self.window = self.window_size = self.new_window = DEFAULT_WINDOW
        self.peer_window = self.peer_new_window = DEFAULT_WINDOW
        self.peer_frame = FRAME_BYTES
        self.peer_max_streams = MAX_STREAM_ID
        self.peer_takes_push = True
        self.is_client = isinstance(self, _ClientEngine)
        if not self.is_client:
            self.preface_left = PREFACE_BYTES
        if not (0 <= self.stream_window <= MAX_STREAM_ID and settings.connection_window <= MAX_STREAM_ID):
            raise ValueError("window above 2^31-1")
        self.announce(settings)

    def __dealloc__(self):
        while self.first_ready != NULL:
            self.leave(<_Stream>self.first_ready)
        free(self.tail)
        free(self.block.data)
        free(self.out.data)

    def __repr__(self):
        role = "client" if self.is_client else "server"
        return f"<HTTP/2 {role} engine, {self.open_streams} streams{', failed' if self.has_failed else ''}>"

    cdef int announce(self, settings) except -1:
        """Queue the preface, SETTINGS, and the connection's window, which SETTINGS cannot change (RFC 9113, 6.9.2)."""
        cdef int64_t more = settings.connection_window - DEFAULT_WINDOW
        cdef int size = 24 if self.takes_connect and not self.is_client else 18
        if self.is_client:
            _append(&self.out, PyBytes_AS_STRING(_PREFACE), PREFACE_BYTES)
        _reserve(&self.out, HEADER_BYTES + size)
        cdef uint8_t *to = self.out.data + self.out.end
        _put_header(to, size, SETTINGS, 0, 0)
        _put_setting(to + 9, 4, self.stream_window)
        _put_setting(to + 15, 6, self.header_list)
        if self.is_client:
            _put_setting(to + 21, 2, 0)
        else:
            _put_setting(to + 21, 3, self.max_streams)
            if self.takes_connect:
                _put_setting(to + 27, 8, 1)
        self.out.end += HEADER_BYTES + size
        if more > 0:
            self.window += more
            self.window_size = self.window
            self.put_long(WINDOW_UPDATE, 0, more)
        return 0

    # In

    def receive(self, bytes data not None):
        cdef list events = []
        if self.has_failed:
            return events
        if self.is_busy:
            raise RuntimeError("receive within receive")
        self.is_busy = True
        self.events = events
        try:
            self.read(<const uint8_t *>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
        except ConnectionBroken as broken:
            self.fail(broken)
        finally:
            self.events = None
            self.is_busy = False
        return events

    cdef int read(self, const uint8_t *data, size_t size) except -1:
        """Cut the bytes into frames."""
        cdef size_t position = 0
        cdef size_t part, length
        if self.preface_left:
            part = min(<size_t>self.preface_left, size)
            if memcmp(data, PyBytes_AS_STRING(_PREFACE) + PREFACE_BYTES - self.preface_left, part):
                raise NotHttp2("no HTTP/2 connection preface")
            self.preface_left -= <int>part
            position = part
            if self.preface_left:
                return 0
        if self.tail_size:
            # Complete the frame of which a part came before; the bytes behind it are read where they are.
            if self.tail_size < HEADER_BYTES:
                part = min(HEADER_BYTES - self.tail_size, size - position)
                self.keep(data + position, part, HEADER_BYTES)
                position += part
                if self.tail_size < HEADER_BYTES:
                    return 0
            length = HEADER_BYTES + self.length_of(self.tail)
            part = min(length - self.tail_size, size - position)
            self.keep(data + position, part, length)
            position += part
            if self.tail_size < length:
                return 0
            self.tail_size = 0
            try:
                self.frame(self.tail)
            finally:
                if self.tail_room > KEPT_ROOM:
                    free(self.tail)
                    self.tail = NULL
                    self.tail_room = 0
        while size - position >= HEADER_BYTES:
            length = HEADER_BYTES + self.length_of(data + position)
            if length > size - position:
                self.keep(data + position, size - position, length)
                return 0
            self.frame(data + position)
            position += length
        if position < size:
            self.keep(data + position, size - position, HEADER_BYTES)
        return 0

    cdef int keep(self, const uint8_t *data, size_t size, size_t room) except -1:
        """Keep a part of a frame of which `room` bytes are wanted."""
        cdef uint8_t *tail
        if self.tail_room < room:
            tail = <uint8_t *>realloc(self.tail, room)
            if tail == NULL:
                raise MemoryError
            self.tail = tail
            self.tail_room = room
        memcpy(self.tail + self.tail_size, data, size)
        self.tail_size += size
        return 0

    cdef Py_ssize_t length_of(self, const uint8_t *header) except -1:
        """Return the length that a frame's header states, after the header itself has been checked."""
        cdef Py_ssize_t length = <Py_ssize_t>header[0] << 16 | <Py_ssize_t>header[1] << 8 | header[2]
        if not self.has_begun:
            self.check_first(header)
        if length > FRAME_BYTES:
            _breaks(FRAME_SIZE_ERROR, f"frame of {length} bytes")
        return length

    cdef int check_first(self, const uint8_t *header) except -1:
        """The first frame must be SETTINGS (RFC 9113, 3.4): told from its header, before its length is trusted."""
        self.has_begun = True
        if header[3] != SETTINGS or header[4] & ACK or _long(header + 5) & 0x7FFFFFFF:
            first = (<const char *>header)[:HEADER_BYTES]
            # A page without a head is what an HTTP/1 server says that takes the preface for HTTP/0.9.
            is_http1 = first.startswith((b"HTTP/1.", b"<"))
            raise NotHttp2("HTTP/1 bytes" if is_http1 else f"first bytes are no SETTINGS frame: {first!r}", is_http1)
        return 0

    cdef int frame(self, const uint8_t *header) except -1:
        """A whole frame."""
        cdef Py_ssize_t length = <Py_ssize_t>header[0] << 16 | <Py_ssize_t>header[1] << 8 | header[2]
        cdef int kind = header[3]
        cdef int flags = header[4]
        cdef uint32_t stream_id = _long(header + 5) & 0x7FFFFFFF
        cdef const uint8_t *payload = header + HEADER_BYTES
        if kind == HEADERS or kind == CONTINUATION or self.block_parts:
            return self.collect(kind, flags, stream_id, payload, length)
        if kind == DATA:
            return self.receive_data(flags, stream_id, payload, length)
        if kind == WINDOW_UPDATE:
            return self.receive_window(stream_id, payload, length)
        if kind == RST_STREAM:
            return self.receive_reset(stream_id, payload, length)
        if kind == SETTINGS:
            return self.receive_settings(flags, stream_id, payload, length)
        if kind == PING:
            return self.receive_ping(flags, stream_id, payload, length)
        if kind == GOAWAY:
            return self.receive_goaway(stream_id, payload, length)
        if kind == PRIORITY:
            # RFC 9113, 5.3.2: read over, but for its form.
            if not stream_id:
                _breaks(PROTOCOL_ERROR, "PRIORITY on stream 0")
            if length != 5:
                _breaks(FRAME_SIZE_ERROR, f"PRIORITY of {length} bytes")
        elif kind == PUSH_PROMISE:
            _breaks(PROTOCOL_ERROR, "PUSH_PROMISE")
        # RFC 9113, 5.5: unknown frames are read over.
        return 0

    # Field blocks

    cdef int collect(
        self, int kind, int flags, uint32_t stream_id, const uint8_t *payload, Py_ssize_t length
    ) except -1:
        """A part of a field block. Nothing may come between its parts (RFC 9113, 6.10)."""
        cdef Py_ssize_t begin = 0
        if kind == HEADERS and not self.block_parts:
            if flags & PADDED:
                _strip(payload, &begin, &length)
            if flags & HAS_PRIORITY:
                if length - begin < 5:
                    _breaks(FRAME_SIZE_ERROR, "HEADERS too short for its priority")
                begin += 5
            if flags & END_HEADERS:
                return self.receive_block(flags, stream_id, payload + begin, length - begin)
            self.block_flags, self.block_stream = flags, stream_id
        elif not (kind == CONTINUATION and self.block_parts and stream_id == self.block_stream):
            _breaks(PROTOCOL_ERROR, f"frame of type {kind} in or without a field block")
        self.block_parts += 1
        if self.block_parts > self.continuations + 1:
            _breaks(ENHANCE_YOUR_CALM, f"more than {self.continuations} CONTINUATION frames")
        _append(&self.block, payload + begin, length - begin)
        if <int64_t>self.block.end > self.block_limit:
            _breaks(ENHANCE_YOUR_CALM, f"field block of more than {self.block_limit} bytes")
        if flags & END_HEADERS:
            self.block_parts = 0
            try:
                self.receive_block(self.block_flags, stream_id, self.block.data, self.block.end)
            finally:
                _empty(&self.block)
        return 0

    cdef int receive_block(self, int flags, uint32_t stream_id, const uint8_t *block, Py_ssize_t size) except -1:
        """A field block: decoded whatever becomes of it, as the next ones build on it (RFC 9113, 4.3)."""
        cdef Found found
        cdef list fields = self.decoder.fields(block, size, &found)
        cdef bint end_stream = flags & END_STREAM
        cdef bint is_large
        cdef _Stream stream = self.stream_of(stream_id)
        if stream is None:
            stream = self.begin_stream(stream_id)
            if stream is None:
                return 0
        if stream.is_received:
            return self.break_behind_end(stream, "HEADERS")
        is_large = found.size > self.header_list or PyList_GET_SIZE(fields) - found.colons > self.max_fields
        try:
            if stream.has_head:
                self.receive_trailers(stream, fields, &found, end_stream, is_large)
            elif self.is_client:
                self.receive_response(stream, fields, &found, end_stream, is_large)
            else:
                self.receive_request(stream, fields, &found, end_stream, is_large)
        except Malformed as error:
            self.break_stream(stream, PROTOCOL_ERROR, str(error))
        return 0

    cdef _Stream begin_stream(self, uint32_t stream_id):
        """Return the new stream of a HEADERS frame, None if there is none to be."""
        cdef int by
        if self.is_client:
            # A server opens no stream: nobody pushes.
            self.receive_on_closed(stream_id)
            return None
        if stream_id % 2 == 0:
            # Known ones, which we promised, have been found before.
            _breaks(PROTOCOL_ERROR, f"a client opened stream {stream_id}")
        if stream_id > self.final_id:
            self.highest_id = max(self.highest_id, stream_id)
            return None
        if not self.is_idle(stream_id):
            by = self.closed_how(stream_id)
            self.receive_on_closed(stream_id)
            if not by:
                _breaks(PROTOCOL_ERROR, f"stream {stream_id} opened behind a higher one")
            return None
        self.highest_id = stream_id
        if len(self.streams) - self.pushed >= self.max_streams:
            # RFC 9113, 5.1.2 and 8.7: the client may send it again.
            self.note_closed(stream_id, BY_OUR_RESET)
            self.reply_reset(stream_id, REFUSED_STREAM)
            return None
        return self.open(stream_id)

    cdef _Stream open(self, uint32_t stream_id):
        cdef _Stream stream = _Stream.__new__(_Stream)
        stream.stream_id = stream_id
        stream.number = stream_id
        stream.length_left = NO_LENGTH
        stream.window = stream.window_size = self.new_window
        stream.peer_window = self.peer_new_window
        self.streams[stream.number] = stream
        return stream

    cdef int receive_request(
        self, _Stream stream, list fields, Found *found, bint end_stream, bint is_large
    ) except -1:
        cdef list regular
        if found.flags & DOUBTFUL or found.kinds & ~(1 << COOKIE | 1 << LENGTH | 1 << TE) != (
            1 << METHOD | 1 << SCHEME | 1 << AUTHORITY | 1 << PATH
        ):
            head = read_request(fields, self.takes_connect)
            length = head.content_length
            stream.length_left = NO_LENGTH if length is None else length
            stream.is_tunnel = head.protocol != b""
        else:
            regular = PyList_GetSlice(fields, found.pseudo, PyList_GET_SIZE(fields))
            if found.cookies > 1:
                regular = with_one_cookie(regular)
            length = None
            if found.length != NULL:
                stream.length_left = _number(<bytes>found.length)
                length = stream.length_left
            head = _request_head(
                <object>found.method, <object>found.scheme, <object>found.authority, <object>found.path, regular, length
            )
        if end_stream and stream.length_left > 0:
            return self.break_short(stream)
        stream.has_head = True
        stream.is_received = end_stream
        self.last_peer_id = stream.stream_id
        if is_large:
            detail = f"{found.size} bytes in {PyList_GET_SIZE(fields)} fields"
            stream.is_discarded = True
            self.events.append(RequestRejected(stream.number, Reason.HEAD_TOO_LARGE, detail, head))
        elif found.flags & DOUBTFUL and head.method == b"CONNECT" and not stream.is_tunnel:
            stream.is_discarded = True
            self.events.append(RequestRejected(stream.number, Reason.BAD_REQUEST, "CONNECT", head))
        else:
            self.events.append(_request_received(stream.number, head, end_stream))
        return 0

    cdef int receive_response(
        self, _Stream stream, list fields, Found *found, bint end_stream, bint is_large
    ) except -1:
        cdef int64_t length = NO_LENGTH
        cdef long status
        if is_large:
            return self.break_stream(stream, ENHANCE_YOUR_CALM, "response head too large")
        if found.flags & DOUBTFUL or found.pseudo != 1 or found.status == NULL or stream.is_tunnel:
            head, stated = read_response(fields, stream.is_tunnel)
            if stated is not None:
                length = stated
            status = head.status
        else:
            status = _number(<bytes>found.status)
            if found.length != NULL:
                length = _number(<bytes>found.length)
            if found.length != NULL and (status < 200 or status == 204):
                head, _ = read_response(fields)
            else:
                head = _response_head(status, PyList_GetSlice(fields, 1, PyList_GET_SIZE(fields)))
        if status < 200:
            if end_stream:
                return self.break_stream(stream, PROTOCOL_ERROR, "interim response with END_STREAM")
            self.events.append(InterimReceived(stream.number, head))
            return 0
        if stream.is_tunnel:
            stream.is_tunnel = 200 <= status < 300
        # RFC 9113, 8.1.1: where there is no content, any content-length may be stated.
        if stream.has_no_content or ((status == 204 or status == 304) and not stream.is_tunnel):
            length = 0
        stream.length_left = length
        if end_stream and stream.length_left > 0:
            return self.break_short(stream)
        stream.has_head = True
        self.events.append(_response_received(stream.number, head, end_stream))
        if end_stream:
            self.end_received(stream)
        return 0

    cdef int receive_trailers(
        self, _Stream stream, list fields, Found *found, bint end_stream, bint is_large
    ) except -1:
        if is_large:
            return self.break_stream(stream, ENHANCE_YOUR_CALM, "trailers too large")
        if not end_stream:
            return self.break_stream(stream, PROTOCOL_ERROR, "trailers without END_STREAM")
        if stream.is_tunnel:
            return self.break_stream(stream, PROTOCOL_ERROR, "trailers in a tunnel")
        if found.colons or found.flags & (DOUBTFUL | NOT_TRAILER):
            check_http2_fields(fields)
            fields = clean_trailers(fields)
        if stream.length_left > 0:
            return self.break_short(stream)
        if not stream.is_discarded:
            self.events.append(TrailersReceived(stream.number, fields))
        return self.end_received(stream)

    # DATA, and the ends of streams

    cdef int receive_data(self, int flags, uint32_t stream_id, const uint8_t *payload, Py_ssize_t length) except -1:
        cdef bint end_stream = flags & END_STREAM
        # RFC 9113, 6.9: padding counts, and so does what comes for a dead stream.
        cdef Py_ssize_t size = length
        cdef Py_ssize_t begin = 0
        cdef _Stream stream
        if size > self.window:
            _breaks(FLOW_CONTROL_ERROR, "more than the connection's window")
        self.window -= size
        if flags & PADDED:
            _strip(payload, &begin, &length)
        stream = self.stream_of(stream_id)
        if stream is None:
            self.receive_on_closed(stream_id)
            return self.return_credit(size)
        if stream.is_received:
            self.return_credit(size)
            return self.break_behind_end(stream, "DATA")
        if not stream.has_head:
            self.return_credit(size)
            return self.break_stream(stream, PROTOCOL_ERROR, "DATA before a head")
        # RFC 9113, 6.9.1: an empty frame needs no window, which SETTINGS may have made negative.
        if size and size > stream.window:
            self.return_credit(size)
            return self.break_stream(stream, FLOW_CONTROL_ERROR, "more than the stream's window")
        stream.window -= size
        if stream.length_left != NO_LENGTH:
            stream.length_left -= length - begin
            if stream.length_left < 0:
                self.return_credit(size)
                return self.break_stream(stream, PROTOCOL_ERROR, "more than content-length")
            if end_stream and stream.length_left:
                self.return_credit(size)
                return self.break_short(stream)
        if stream.is_discarded:
            self.return_credit(size)
        elif size or end_stream:
            self.events.append(
                _data_received(
                    stream.number,
                    PyBytes_FromStringAndSize(<const char *>payload + begin, length - begin),
                    size,
                    end_stream,
                )
            )
        if end_stream:
            self.end_received(stream)
        return 0

    cdef int end_received(self, _Stream stream) except -1:
        stream.is_received = True
        if stream.is_sent:
            self.forget(stream, BY_END)
        return 0

    cdef int end_sent(self, _Stream stream) except -1:
        stream.is_sent = True
        if stream.is_received:
            self.forget(stream, BY_END)
        return 0

    cdef int receive_on_closed(self, uint32_t stream_id) except -1:
        """DATA or HEADERS for a stream that is not open: raise, answer or let pass (RFC 9113, 5.1).

        Nobody may ever send these on an even id: nobody pushes to us, and a client takes what we push.
        """
        cdef int by
        if stream_id % 2 == 0 or self.is_idle(stream_id):
            _breaks(PROTOCOL_ERROR, f"frame on idle stream {stream_id}")
        by = self.closed_how(stream_id)
        if by == BY_END:
            _breaks(STREAM_CLOSED, f"frame on closed stream {stream_id}")
        if by == BY_THEIR_RESET:
            self.reply_reset(stream_id, STREAM_CLOSED)
        return 0

    # Streams

    cdef inline _Stream stream_of(self, uint32_t stream_id):
        cdef PyObject *found = PyDict_GetItem(self.streams, stream_id)
        return None if found == NULL else <_Stream>found

    cdef inline _Stream stream_by(self, int64_t stream_id):
        cdef PyObject *found = PyDict_GetItem(self.streams, stream_id)
        return None if found == NULL else <_Stream>found

    cdef bint is_idle(self, uint32_t stream_id) noexcept:
        """Whether nobody has used the id yet (RFC 9113, 5.1). A client's even ids stay idle: nobody pushes to us."""
        return stream_id > (self.highest_id if stream_id % 2 else self.promised_id) or not stream_id

    cdef int closed_how(self, uint32_t stream_id) noexcept:
        cdef uint32_t i
        for i in range(min(self.closed_count, <uint32_t>CLOSED_STREAMS)):
            if self.closed_ids[i] == stream_id:
                return self.closed_by[i]
        return 0

    cdef void note_closed(self, uint32_t stream_id, int by) noexcept:
        cdef uint32_t place = self.closed_count % CLOSED_STREAMS
        self.closed_ids[place] = stream_id
        self.closed_by[place] = by
        self.closed_count += 1
        if self.closed_count == 2 * CLOSED_STREAMS:
            self.closed_count = CLOSED_STREAMS

    cdef int forget(self, _Stream stream, int by) except -1:
        self.leave(stream)
        self.queued_bytes -= stream.queued
        stream.drop()
        self.streams.pop(stream.number, None)
        if stream.stream_id % 2 == 0:
            # How it ended need not be known: nobody may send HEADERS or DATA there, before or after.
            self.pushed -= 1
        else:
            self.note_closed(stream.stream_id, by)
        return 0

    # Frames about streams and the connection

    cdef int receive_reset(self, uint32_t stream_id, const uint8_t *payload, Py_ssize_t length) except -1:
        cdef _Stream stream
        if length != 4:
            _breaks(FRAME_SIZE_ERROR, f"{length} bytes where 4 belong")
        stream = self.stream_of(stream_id)
        if stream is not None:
            self.forget(stream, BY_THEIR_RESET)
            self.events.append(StreamReset(stream.number, _long(payload), True))
        elif self.is_idle(stream_id):
            _breaks(PROTOCOL_ERROR, f"RST_STREAM on idle stream {stream_id}")
        return 0

    cdef int receive_window(self, uint32_t stream_id, const uint8_t *payload, Py_ssize_t length) except -1:
        cdef int64_t increment
        cdef _Stream stream
        if length != 4:
            _breaks(FRAME_SIZE_ERROR, f"{length} bytes where 4 belong")
        increment = _long(payload) & 0x7FFFFFFF
        if not stream_id:
            if not increment:
                _breaks(PROTOCOL_ERROR, "WINDOW_UPDATE of 0")
            self.peer_window += increment
            if self.peer_window > MAX_STREAM_ID:
                _breaks(FLOW_CONTROL_ERROR, "window above 2^31-1")
            return 0
        stream = self.stream_of(stream_id)
        if stream is not None:
            if not increment:
                return self.break_stream(stream, PROTOCOL_ERROR, "WINDOW_UPDATE of 0")
            if stream.peer_window + increment > MAX_STREAM_ID:
                return self.break_stream(stream, FLOW_CONTROL_ERROR, "window above 2^31-1")
            stream.peer_window += increment
            self.wake(stream)
        elif self.is_idle(stream_id):
            _breaks(PROTOCOL_ERROR, f"WINDOW_UPDATE on idle stream {stream_id}")
        return 0

    cdef int receive_settings(
        self, int flags, uint32_t stream_id, const uint8_t *payload, Py_ssize_t length
    ) except -1:
        cdef int64_t[SETTINGS_KNOWN] values
        # In the order in which they came: the first that is wrong is told.
        cdef int[SETTINGS_KNOWN] order
        cdef int count = 0
        cdef Py_ssize_t position
        cdef int code, i
        if stream_id:
            _breaks(PROTOCOL_ERROR, f"SETTINGS on stream {stream_id}")
        if flags & ACK:
            if length:
                _breaks(FRAME_SIZE_ERROR, f"SETTINGS ack frame must not have payload: got {length} bytes")
            return self.settings_acknowledged()
        if length % 6:
            _breaks(FRAME_SIZE_ERROR, "Invalid SETTINGS body")
        for i in range(SETTINGS_KNOWN):
            values[i] = -1
        for position in range(0, length, 6):
            code = payload[position] << 8 | payload[position + 1]
            if 1 <= code < SETTINGS_KNOWN and code != 7:
                if values[code] < 0:
                    order[count] = code
                    count += 1
                values[code] = _long(payload + position + 2)
        if self.peer_takes_connect and values[8] == 0:
            _breaks(PROTOCOL_ERROR, "extended CONNECT taken back")
        for i in range(count):
            self.check_setting(order[i], values[order[i]])
        if values[2] >= 0:
            self.peer_takes_push = values[2] != 0
        if values[8] >= 0:
            self.peer_takes_connect = values[8] != 0
        if values[3] >= 0:
            self.peer_max_streams = min(values[3], MAX_STREAM_ID)
        if values[4] >= 0:
            self.move_peer_windows(values[4])
        if values[1] >= 0:
            self.encoder.resize(min(values[1], <int64_t>TABLE_LIMIT))
        if values[5] >= 0:
            self.peer_frame = values[5]
        _reserve(&self.out, HEADER_BYTES)
        _put_header(self.out.data + self.out.end, 0, SETTINGS, ACK, 0)
        self.out.end += HEADER_BYTES
        self.count_reply()
        for stream in self.streams.values():
            self.wake(<_Stream>stream)
        self.events.append(SettingsReceived(self.peer_max_streams, True if self.peer_takes_connect else False))
        return 0

    cdef int check_setting(self, int code, int64_t value) except -1:
        """RFC 9113, 6.5.2; 8.4 for a server's ENABLE_PUSH; RFC 8441, 3."""
        cdef int error = 0
        if code == 2 or code == 8:
            if value > 1 or (code == 2 and self.is_client and value):
                error = PROTOCOL_ERROR
        elif code == 4:
            if value > MAX_STREAM_ID:
                error = FLOW_CONTROL_ERROR
        elif code == 5:
            if not FRAME_BYTES <= value <= 16777215:
                error = PROTOCOL_ERROR
        if error:
            _breaks(error, f"Setting {code} has invalid value {value}")
        return 0

    cdef int move_peer_windows(self, int64_t value) except -1:
        cdef int64_t delta = value - self.peer_new_window
        cdef _Stream stream
        self.peer_new_window = value
        for other in self.streams.values():
            stream = <_Stream>other
            if stream.peer_window + delta > MAX_STREAM_ID:
                _breaks(FLOW_CONTROL_ERROR, f"May not increment flow control window past {MAX_STREAM_ID}")
            stream.peer_window += delta
        return 0

    cdef int settings_acknowledged(self) except -1:
        """From now on our window for streams holds, for those that are open too (RFC 9113, 6.9.2)."""
        cdef int64_t delta = self.stream_window - self.new_window
        cdef _Stream stream
        if self.is_acknowledged:
            return 0
        self.is_acknowledged = True
        self.new_window = self.stream_window
        for other in self.streams.values():
            stream = <_Stream>other
            stream.window += delta
            stream.window_size += delta
        return 0

    cdef int receive_ping(self, int flags, uint32_t stream_id, const uint8_t *payload, Py_ssize_t length) except -1:
        if stream_id:
            _breaks(PROTOCOL_ERROR, f"PING on stream {stream_id}")
        if length != 8:
            _breaks(FRAME_SIZE_ERROR, f"PING of {length} bytes")
        if flags & ACK:
            self.events.append(PingAcked((<const char *>payload)[:8]))
            return 0
        self.count_reply()
        return self.put_ping(ACK, payload)

    cdef int receive_goaway(self, uint32_t stream_id, const uint8_t *payload, Py_ssize_t length) except -1:
        if stream_id:
            _breaks(PROTOCOL_ERROR, f"GOAWAY on stream {stream_id}")
        if length < 8:
            _breaks(FRAME_SIZE_ERROR, "Invalid GOAWAY body.")
        debug = PyBytes_FromStringAndSize(<const char *>payload + 8, length - 8)
        self.is_leaving = True
        self.events.append(GoAwayReceived(_long(payload) & 0x7FFFFFFF, _long(payload + 4), debug))
        return 0

    # What follows from mistakes

    cdef int break_stream(self, _Stream stream, int code, str detail) except -1:
        """Reset the stream for what the peer did, and tell its owner."""
        self.reply_reset(stream.stream_id, code)
        self.forget(stream, BY_OUR_RESET)
        self.events.append(StreamReset(stream.number, ErrorCode(code), False, detail))
        return 0

    cdef int break_behind_end(self, _Stream stream, str kind) except -1:
        if stream.stream_id % 2 == 0:
            # RFC 9113, 5.1: PROTOCOL_ERROR before our head, STREAM_CLOSED behind it. No client has a reason for either.
            _breaks(PROTOCOL_ERROR, f"{kind} on pushed stream {stream.stream_id}")
        return self.break_stream(stream, STREAM_CLOSED, f"{kind} behind END_STREAM")

    cdef int break_short(self, _Stream stream) except -1:
        """RFC 9113, 8.1.1: a body that is not as long as its content-length makes the message malformed."""
        return self.break_stream(stream, PROTOCOL_ERROR, f"{stream.length_left} bytes less than content-length")

    cdef int reply_reset(self, uint32_t stream_id, int code) except -1:
        self.count_reply()
        return self.put_long(RST_STREAM, stream_id, code)

    cdef int count_reply(self) except -1:
        self.replies += 1
        if self.replies > UNSENT_REPLIES:
            _breaks(ENHANCE_YOUR_CALM, "flood of frames that want an answer")
        return 0

    cdef int fail(self, broken) except -1:
        """End it all. Unsent frames still go out, bodies do not."""
        cdef _Stream stream
        self.has_failed = True
        for other in self.streams.values():
            stream = <_Stream>other
            self.leave(stream)
            stream.drop()
        self.queued_bytes = 0
        self.pushed = 0
        self.streams.clear()
        reason = Reason.BACKEND_PROTOCOL if self.is_client else Reason.CLIENT_PROTOCOL
        if isinstance(broken, NotHttp2):
            if broken.is_http1 and self.is_client:
                reason = Reason.BACKEND_HTTP1
        else:
            self.put_goaway(self.last_peer_id, broken.code, b"")
        self.events.append(ConnectionFailed(broken.code, reason, broken.detail))
        return 0

    # Out: frames

    cdef int put_long(self, int kind, uint32_t stream_id, uint32_t value) except -1:
        """Queue a frame of one 32-bit value: RST_STREAM or WINDOW_UPDATE."""
        _reserve(&self.out, HEADER_BYTES + 4)
        _put_header(self.out.data + self.out.end, 4, kind, 0, stream_id)
        _put_long(self.out.data + self.out.end + HEADER_BYTES, value)
        self.out.end += HEADER_BYTES + 4
        return 0

    cdef int put_ping(self, int flags, const uint8_t *payload) except -1:
        _reserve(&self.out, HEADER_BYTES + 8)
        _put_header(self.out.data + self.out.end, 8, PING, flags, 0)
        memcpy(self.out.data + self.out.end + HEADER_BYTES, payload, 8)
        self.out.end += HEADER_BYTES + 8
        return 0

    cdef int put_goaway(self, uint32_t last_stream_id, uint32_t code, bytes debug) except -1:
        cdef Py_ssize_t size = PyBytes_GET_SIZE(debug)
        cdef uint8_t *to
        if size > FRAME_BYTES - 8:
            raise ValueError(f"{size} bytes of debug data in one frame")
        _reserve(&self.out, HEADER_BYTES + 8 + size)
        to = self.out.data + self.out.end
        _put_header(to, 8 + size, GOAWAY, 0, 0)
        _put_long(to + HEADER_BYTES, last_stream_id & 0x7FFFFFFF)
        _put_long(to + HEADER_BYTES + 4, code)
        memcpy(to + HEADER_BYTES + 8, PyBytes_AS_STRING(debug), size)
        self.out.end += HEADER_BYTES + 8 + size
        return 0

    cdef size_t begin_head(self, uint32_t promised_id) except? 0:
        """Leave room for a frame's header, and return where it is: counted from `begin`, which may move.

        The id that a PUSH_PROMISE promises stands before the block; 0 is none.
        """
        cdef size_t start = self.out.end - self.out.begin
        _reserve(&self.out, HEADER_BYTES + 4)
        self.out.end += HEADER_BYTES
        if promised_id:
            _put_long(self.out.data + self.out.end, promised_id)
            self.out.end += 4
        self.encoder.begin(&self.out)
        return start

    cdef size_t put_request(self, head, bytes method, uint32_t promised_id) except? 0:
        """Append a request's block, in the order of `request_fields`, behind the room for a header; return where."""
        cdef bytes scheme = head.scheme
        cdef bytes authority = head.authority
        cdef bytes path = head.path
        cdef bytes protocol = head.protocol
        cdef list fields = head.fields
        cdef size_t start
        if method is None or scheme is None or authority is None or path is None or protocol is None:
            raise TypeError("a head's parts are bytes")
        _check(fields)
        start = self.begin_head(promised_id)
        self.encoder.one(&self.out, _METHOD_NAME, method, False)
        self.encoder.one(&self.out, _SCHEME_NAME, scheme, False)
        if PyBytes_GET_SIZE(authority):
            self.encoder.one(&self.out, _AUTHORITY_NAME, authority, False)
        self.encoder.one(&self.out, _PATH_NAME, path, False)
        if PyBytes_GET_SIZE(protocol):
            self.encoder.one(&self.out, _PROTOCOL_NAME, protocol, False)
        self.encoder.fields(&self.out, fields)
        return start

    cdef int end_head(self, _Stream stream, size_t start, bint end_stream) except -1:
        """Make HEADERS of the block that has been written, and CONTINUATIONs if it does not fit in one frame."""
        return self.end_block(stream, start, HEADERS, END_STREAM if end_stream else 0)

    cdef inline int end_block(self, _Stream stream, size_t start, int kind, int flags) except -1:
        cdef Out *out = &self.out
        cdef size_t size = out.end - out.begin - start - HEADER_BYTES
        if size <= <size_t>self.peer_frame:
            _put_header(out.data + out.begin + start, size, kind, flags | END_HEADERS, stream.stream_id)
            return 0
        return self.cut_head(stream, start, size, kind, flags)

    cdef int cut_head(self, _Stream stream, size_t start, size_t size, int kind, int flags) except -1:
        """Make frames of the block that begins `HEADER_BYTES` behind `start`."""
        cdef Out *out = &self.out
        cdef bytes block = (<const char *>out.data)[out.begin + start + HEADER_BYTES : out.end]
        cdef size_t position = 0
        cdef size_t part
        out.end = out.begin + start
        while position < size:
            part = min(size - position, <size_t>self.peer_frame)
            if position + part == size:
                flags |= END_HEADERS
            _reserve(out, HEADER_BYTES + part)
            _put_header(out.data + out.end, part, kind, flags, stream.stream_id)
            memcpy(out.data + out.end + HEADER_BYTES, PyBytes_AS_STRING(block) + position, part)
            out.end += HEADER_BYTES + part
            position += part
            kind = CONTINUATION
            flags = 0
        return 0

    # Out: bodies

    cdef inline void wake(self, _Stream stream) noexcept:
        """Call after the stream got bytes or window."""
        if stream.queued and stream.peer_window > 0 and not stream.is_ready:
            stream.is_ready = True
            stream.next = NULL
            stream.previous = self.last_ready
            if self.last_ready == NULL:
                self.first_ready = <PyObject *>stream
            else:
                (<_Stream>self.last_ready).next = <PyObject *>stream
            self.last_ready = <PyObject *>stream
            self.ready_count += 1
            Py_INCREF(stream)

    cdef inline void leave(self, _Stream stream) noexcept:
        if stream.is_ready:
            stream.is_ready = False
            if stream.previous == NULL:
                self.first_ready = stream.next
            else:
                (<_Stream>stream.previous).next = stream.next
            if stream.next == NULL:
                self.last_ready = stream.previous
            else:
                (<_Stream>stream.next).previous = stream.previous
            stream.next = stream.previous = NULL
            self.ready_count -= 1
            Py_DECREF(stream)

    def data_to_send(self, Py_ssize_t limit):
        cdef Out *out = &self.out
        cdef Py_ssize_t size = out.end - out.begin
        cdef PyObject *made
        if size >= limit:
            if limit <= 0:
                return b""
            data = PyBytes_FromStringAndSize(<const char *>out.data + out.begin, limit)
            out.begin += limit
            if size == limit:
                _empty(out)
            return data
        self.replies = 0
        if self.first_ready != NULL and self.peer_window > 0:
            return self.frames(limit, size)
        if not size:
            return b""
        data = PyBytes_FromStringAndSize(<const char *>out.data + out.begin, size)
        _empty(out)
        return data

    cdef bytes frames(self, Py_ssize_t limit, Py_ssize_t first):
        """Return the `first` bytes that wait in order, and DATA until `limit` is reached; a turn is one frame."""
        cdef Out *out = &self.out
        cdef Py_ssize_t room = limit - first
        cdef Py_ssize_t used = first
        cdef Py_ssize_t most = first + self.most_of_bodies(room)
        cdef int64_t size
        cdef bint is_last
        cdef _Stream stream
        cdef PyObject *made
        cdef uint8_t *to
        if self.is_busy:
            raise RuntimeError("data_to_send within receive")
        made = bytes_of_size(NULL, most)
        try:
            to = <uint8_t *>PyBytes_AS_STRING_OF(made)
            if first:
                memcpy(to, out.data + out.begin, first)
                _empty(out)
            while self.first_ready != NULL and room > 0 and self.peer_window > 0:
                stream = <_Stream>self.first_ready
                self.leave(stream)
                size = min(stream.queued, stream.peer_window, self.peer_window, <int64_t>FRAME_BYTES)
                # SETTINGS may have shut the window since the stream became ready.
                if size <= 0:
                    continue
                if most - used < HEADER_BYTES + size:
                    most = used + HEADER_BYTES + size
                    _PyBytes_Resize(&made, most)
                to = <uint8_t *>PyBytes_AS_STRING_OF(made) + used
                stream.pull(size, to + HEADER_BYTES)
                self.queued_bytes -= size
                stream.peer_window -= size
                self.peer_window -= size
                if not stream.framed:
                    self.framed.append(stream)
                stream.framed += size
                is_last = stream.is_ending and not stream.queued
                used += HEADER_BYTES + size
                room -= HEADER_BYTES + size
                if not is_last:
                    _put_header(to, size, DATA, 0, stream.stream_id)
                    self.wake(stream)
                elif not stream.trailers:
                    _put_header(to, size, DATA, END_STREAM, stream.stream_id)
                    self.end_sent(stream)
                else:
                    _put_header(to, size, DATA, 0, stream.stream_id)
                    self.put_trailers(stream, stream.trailers)
                    # Into an empty buffer, as what was there has gone before.
                    size = out.end - out.begin
                    if most - used < size:
                        # Others may follow: what is too much is given back below.
                        most = used + size + 1024
                        _PyBytes_Resize(&made, most)
                    memcpy(PyBytes_AS_STRING_OF(made) + used, out.data + out.begin, size)
                    _empty(out)
                    used += size
                    room -= size
            if used < most:
                _PyBytes_Resize(&made, used)
            return <bytes>made
        finally:
            Py_XDECREF(made)

    cdef Py_ssize_t most_of_bodies(self, Py_ssize_t room) noexcept:
        """Return how many bytes of DATA frames may follow. Exactly, where one stream sends what fits in one frame."""
        cdef _Stream stream = <_Stream>self.first_ready
        cdef int64_t size
        if self.ready_count == 1:
            size = min(stream.queued, stream.peer_window, self.peer_window)
            # SETTINGS may have made the window negative since the stream became ready.
            if size <= FRAME_BYTES:
                return HEADER_BYTES + max(size, 0)
        # The last frame may go beyond the limit. A frame is full, or the last that its stream can send now.
        size = self.queued_bytes + HEADER_BYTES * (self.queued_bytes // FRAME_BYTES + self.ready_count + 1)
        return min(size, <int64_t>(room + HEADER_BYTES + FRAME_BYTES))

    def take_framed(self):
        cdef list taken = []
        cdef _Stream stream
        cdef Py_ssize_t i
        for i in range(PyList_GET_SIZE(self.framed)):
            stream = <_Stream>PyList_GET_ITEM(self.framed, i)
            taken.append((stream.number, stream.framed))
            stream.framed = 0
        if taken:
            self.framed = []
        return taken

    def send_data(self, stream_id, bytes data not None, bint end_stream):
        cdef _Stream stream = self.stream_by(stream_id)
        if stream is None or stream.is_sent:
            return
        stream.is_ending = end_stream
        if PyBytes_GET_SIZE(data):
            stream.push(data)
            self.queued_bytes += PyBytes_GET_SIZE(data)
            self.wake(stream)
        elif end_stream and not stream.queued:
            _reserve(&self.out, HEADER_BYTES)
            _put_header(self.out.data + self.out.end, 0, DATA, END_STREAM, stream.stream_id)
            self.out.end += HEADER_BYTES
            self.end_sent(stream)

    def send_trailers(self, stream_id, fields):
        cdef _Stream stream = self.stream_by(stream_id)
        cdef list trailers = list(fields)
        if not trailers:
            self.send_data(stream_id, b"", True)
            return
        if stream is None or stream.is_sent:
            return
        _check(trailers)
        if stream.queued:
            # Their block is made when they leave, not before (RFC 7541, 2.2).
            stream.is_ending = True
            stream.trailers = trailers
        else:
            self.put_trailers(stream, trailers)

    cdef int put_trailers(self, _Stream stream, list fields) except -1:
        cdef size_t start
        _check(fields)
        start = self.begin_head(0)
        self.encoder.fields(&self.out, fields)
        self.end_head(stream, start, True)
        return self.end_sent(stream)

    def queued(self, stream_id):
        cdef _Stream stream = self.stream_by(stream_id)
        return 0 if stream is None else stream.queued

    def credit(self, stream_id, int64_t size):
        cdef _Stream stream = self.stream_by(stream_id)
        cdef int64_t increment
        # A peer that has ended its side needs no window.
        if stream is not None and not stream.is_received:
            increment = _to_return(&stream.window, stream.window_size, &stream.saved, size)
            if increment:
                self.put_long(WINDOW_UPDATE, stream.stream_id, increment)

    def credit_connection(self, int64_t size):
        self.return_credit(size)

    cdef int return_credit(self, int64_t size) except -1:
        cdef int64_t increment = _to_return(&self.window, self.window_size, &self.saved, size)
        if increment:
            self.put_long(WINDOW_UPDATE, 0, increment)
        return 0

    def reset(self, stream_id, code):
        cdef _Stream stream = self.stream_by(stream_id)
        if stream is not None:
            self.put_long(RST_STREAM, stream.stream_id, code)
            self.forget(stream, BY_OUR_RESET)

    def ping(self, bytes data not None):
        if PyBytes_GET_SIZE(data) != 8:
            raise ValueError(f"PING of {len(data)} bytes")
        self.put_ping(0, <const uint8_t *>PyBytes_AS_STRING(data))

    def goaway(self, last_stream_id, code, bytes debug not None=b""):
        cdef uint32_t last = MAX_STREAM_ID if last_stream_id is None else last_stream_id
        self.put_goaway(last, code, debug)
        self.is_leaving = True
        if last < self.final_id:
            self.final_id = last

    @property
    def open_streams(self):
        return len(self.streams) - self.pushed

    @property
    def last_peer_stream_id(self):
        return self.last_peer_id


@cython.final
@cython.no_gc
cdef class _ServerEngine(_Engine):
    """The side that answers."""

    def send_interim(self, stream_id, head):
        cdef _Stream stream = self.stream_by(stream_id)
        if stream is not None and not stream.is_sent:
            self.put_response(stream, head, False)

    def send_head(self, stream_id, head, bint end_stream):
        cdef _Stream stream = self.stream_by(stream_id)
        if stream is not None and not stream.is_sent:
            self.put_response(stream, head, end_stream)
            if end_stream:
                self.end_sent(stream)

    @property
    def can_push(self):
        return (
            self.peer_takes_push
            # Those whose head is still to come do not count yet (RFC 9113, 5.1.2), but will.
            and self.pushed < self.peer_max_streams
            and <int64_t>self.promised_id + 2 <= MAX_STREAM_ID
            and not self.is_leaving
            and not self.has_failed
        )

    def push(self, stream_id, head):
        cdef _Stream stream = self.stream_by(stream_id)
        cdef _Stream promised
        cdef bytes method = head.method
        cdef size_t start
        # RFC 9113, 8.4: on a stream of the client's, on which we may still send; safe, cacheable and without content.
        if (
            stream is None
            or stream.stream_id % 2 == 0
            or stream.is_sent
            or not (method == b"GET" or method == b"HEAD")
            or not self.can_push
        ):
            return 0
        # In the order of the calls: a client that saw the response first could ask itself (8.4.1).
        start = self.put_request(head, method, self.promised_id + 2)
        self.end_block(stream, start, PUSH_PROMISE, 0)
        self.promised_id += 2
        self.pushed += 1
        promised = self.open(self.promised_id)
        promised.has_head = promised.is_received = True
        return promised.number

    cdef int put_response(self, _Stream stream, head, bint end_stream) except -1:
        cdef list fields = head.fields
        cdef object status = head.status
        cdef PyObject *known = PyDict_GetItem(_STATUS_VALUES, status)
        cdef size_t start
        value = b"%d" % status if known == NULL else <object>known
        _check(fields)
        start = self.begin_head(0)
        self.encoder.one(&self.out, _STATUS_NAME, value, False)
        self.encoder.fields(&self.out, fields)
        return self.end_head(stream, start, end_stream)


@cython.final
@cython.no_gc
cdef class _ClientEngine(_Engine):
    """The side that asks."""

    def open_stream(self, head, bint end_stream):
        cdef uint32_t stream_id = self.highest_id + 2 if self.highest_id else 1
        cdef _Stream stream
        if stream_id > MAX_STREAM_ID:
            raise RuntimeError("no stream id is left")
        cdef bytes method = head.method
        cdef size_t start = self.put_request(head, method, 0)
        stream = self.open(stream_id)
        self.end_head(stream, start, end_stream)
        self.highest_id = stream_id
        stream.has_no_content = method == b"HEAD"
        stream.is_tunnel = method == b"CONNECT"
        stream.is_sent = end_stream
        return stream.number

    @property
    def ids_left(self):
        return (MAX_STREAM_ID - self.highest_id + 1) // 2


cdef enum:
    TABLE_LIMIT = 4096
if TABLE_LIMIT != TABLE_BYTES:
    raise ImportError("built for another http2_hpack.py")


cdef inline void _put_setting(uint8_t *to, int code, uint32_t value) noexcept:
    to[0] = 0
    to[1] = code
    _put_long(to + 2, value)


cdef int _strip(const uint8_t *payload, Py_ssize_t *begin, Py_ssize_t *end) except -1:
    """Leave out the padding of a DATA or HEADERS frame (RFC 9113, 6.1)."""
    if not end[0] or payload[0] >= end[0]:
        _breaks(PROTOCOL_ERROR, "padding longer than its frame")
    begin[0] = 1
    end[0] -= payload[0]
    return 0


def server_engine(settings):
    """Return an engine for a client's connection."""
    return _ServerEngine(settings)


def client_engine(settings):
    """Return an engine for a connection to a backend."""
    return _ClientEngine(settings)
