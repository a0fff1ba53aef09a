# HPACK (RFC 7541), and what the octets of a field say about it.
#
# Blocks are inflated by libnghttp2, but for fields of the static table, which need nothing of it. They are deflated
# here, choice by choice as http2_hpack.py does it: nghttp2's deflater cannot be told to leave a field out of the table
# without marking it never-indexed, and what it would take in (dates, request ids) pushes out what comes again. No
# Huffman code: it would cost both sides more than it saves. So the blocks of both makes are the same, octet for octet.

cdef extern from "nghttp2/nghttp2.h":
    ctypedef struct nghttp2_hd_inflater:
        pass
    ctypedef struct nghttp2_nv:
        uint8_t *name
        uint8_t *value
        size_t namelen
        size_t valuelen
        uint8_t flags
    enum:
        NGHTTP2_NV_FLAG_NO_INDEX
        NGHTTP2_HD_INFLATE_FINAL
        NGHTTP2_HD_INFLATE_EMIT
        NGHTTP2_ERR_NOMEM
    int nghttp2_hd_inflate_new(nghttp2_hd_inflater **)
    void nghttp2_hd_inflate_del(nghttp2_hd_inflater *)
    ssize_t nghttp2_hd_inflate_hd2(nghttp2_hd_inflater *, nghttp2_nv *, int *, const uint8_t *, size_t, int)
    int nghttp2_hd_inflate_end_headers(nghttp2_hd_inflater *)

cdef extern from *:
    """
    /* What an octet may stand in; filled below by what fields.py says. */
    static uint8_t h2gate_octets[256];

    static inline int h2gate_are(const uint8_t *text, size_t size, uint8_t what)
    {
        uint8_t all = what;
        size_t i;
        for (i = 0; i < size; i++)
            all &= h2gate_octets[text[i]];
        return all;
    }

    static inline uint64_t h2gate_some(const uint8_t *text, size_t size)
    {
        uint64_t first = 0, last = 0;
        if (size >= 8) {
            memcpy(&first, text, 8);
            memcpy(&last, text + size - 8, 8);
        } else if (size >= 4) {
            uint32_t low, high;
            memcpy(&low, text, 4);
            memcpy(&high, text + size - 4, 4);
            first = low;
            last = high;
        } else if (size) {
            first = text[0] | text[size >> 1] << 8 | text[size - 1] << 16;
        }
        return (first * 0x9E3779B97F4A7C15u) ^ (last * 0xC2B2AE3D27D4EB4Fu) ^ size;
    }

    /* For places that are compared anyway: it looks at the ends only. */
    static inline uint64_t h2gate_mix(uint64_t a, uint64_t b)
    {
        uint64_t h = (a ^ (b << 29 | b >> 35)) * 0x9E3779B97F4A7C15u;
        return h ^ h >> 32;
    }
    """
    uint8_t h2gate_octets[256]
    bint h2gate_are(const uint8_t *, size_t, uint8_t) nogil
    uint64_t h2gate_some(const uint8_t *, size_t) nogil
    uint64_t h2gate_mix(uint64_t, uint64_t) nogil

# What is known about a field, in one word. A kind, for what a head looks at:
cdef enum:
    PLAIN_KIND = 0
    METHOD = 1
    SCHEME = 2
    AUTHORITY = 3
    PATH = 4
    STATUS = 5
    OTHER_PSEUDO = 6
    LENGTH = 7
    COOKIE = 8
    HOST = 9
    TE = 10
    KINDS = 15
    # It may be malformed, or is too unusual for the fast path: the functions of the python make decide.
    DOUBTFUL = 16
    # It is not always let pass in trailers.
    NOT_TRAILER = 32

# What an octet may stand in.
cdef enum:
    LOWER_NAME = 1  # a field name (RFC 9113, 8.2.1)
    VALUE = 2  # a field value (RFC 9110, 5.5)
    TOKEN = 4  # a method (RFC 9110, 5.6.2)
    TARGET = 8  # a path
    HOST_NAME = 16  # a host that is a plain name or an IPv4 address

for _octet in range(256):
    h2gate_octets[_octet] = (
        LOWER_NAME * is_lower_name(bytes([_octet]))
        | VALUE * is_value(bytes([_octet]))
        | TOKEN * is_method(bytes([_octet]))
        | TARGET * is_path(b"/" + bytes([_octet]))
        | HOST_NAME * (bytes([_octet]).isalnum() or _octet in b"-._~")
    )

cdef dict _NAME_FLAGS = {
    b":method": METHOD, b":scheme": SCHEME, b":authority": AUTHORITY, b":path": PATH, b":status": STATUS,
    b"content-length": LENGTH, b"cookie": COOKIE, b"host": HOST,
    b"te": TE,
    **dict.fromkeys(CONNECTION_SPECIFIC, DOUBTFUL),
}
for _name in NOT_IN_TRAILERS | FRAMING:
    _NAME_FLAGS[_name] = _NAME_FLAGS.get(_name, 0) | NOT_TRAILER
for _name, _ in HeaderTable.STATIC_TABLE:
    _NAME_FLAGS.setdefault(_name, 0)
# The objects themselves, so that a name is one object everywhere and hashed once.
cdef dict _NAMES = {_name: _name for _name in _NAME_FLAGS}


cdef int _name_flags(bytes name) except -1:
    cdef const uint8_t *text = <const uint8_t *>PyBytes_AS_STRING(name)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(name)
    flags = _NAME_FLAGS.get(name)
    if flags is not None:
        return flags
    if size and text[0] == c":":
        return OTHER_PSEUDO | DOUBTFUL
    return 0 if size and h2gate_are(text, size, LOWER_NAME) else DOUBTFUL


cdef bint _is_plain_authority(const uint8_t *text, Py_ssize_t size) noexcept nogil:
    """Whether this is surely an authority: a name, and perhaps a port."""
    cdef Py_ssize_t end = size
    cdef uint32_t port = 0, place = 1
    while end and size - end < 5 and c"0" <= text[end - 1] <= c"9":
        end -= 1
        port += place * (text[end] - c"0")
        place *= 10
    if not (end < size and end and text[end - 1] == c":" and port <= 65_535):
        end = size + 1
    return end > 1 and h2gate_are(text, end - 1, HOST_NAME)


cdef int _flags(int name_flags, const uint8_t *text, Py_ssize_t size) noexcept:
    """What the name and the value together say."""
    cdef int kind = name_flags & KINDS
    cdef bint is_good
    if kind == PLAIN_KIND or kind >= LENGTH:
        is_good = h2gate_are(text, size, VALUE)
        if size:
            is_good = is_good and not (_is_space(text[0]) or _is_space(text[size - 1]))
        if kind == LENGTH:
            is_good = 0 < size <= 18 and _is_number(text, size)
        elif kind == TE:
            is_good = size == 8 and memcmp(text, b"trailers", 8) == 0
    elif kind == METHOD:
        is_good = size > 0 and h2gate_are(text, size, TOKEN) and not (size == 7 and memcmp(text, b"CONNECT", 7) == 0)
    elif kind == SCHEME:
        is_good = (size == 4 and memcmp(text, b"http", 4) == 0) or (size == 5 and memcmp(text, b"https", 5) == 0)
    elif kind == AUTHORITY:
        is_good = _is_plain_authority(text, size)
    elif kind == PATH:
        is_good = size > 0 and text[0] == c"/" and h2gate_are(text, size, TARGET)
    elif kind == STATUS:
        is_good = size == 3 and _is_number(text, size) and text[0] != c"0" and memcmp(text, b"101", 3) != 0
    else:
        is_good = False
    return name_flags if is_good else name_flags | DOUBTFUL


cdef inline bint _is_space(uint8_t octet) noexcept nogil:
    return octet == c" " or octet == c"\t"


cdef bint _is_number(const uint8_t *text, Py_ssize_t size) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(size):
        if text[i] < c"0" or text[i] > c"9":
            return False
    return True


cdef int64_t _number(bytes digits) noexcept:
    """The value of up to 18 digits."""
    cdef const uint8_t *text = <const uint8_t *>PyBytes_AS_STRING(digits)
    cdef int64_t value = 0
    cdef Py_ssize_t i
    for i in range(PyBytes_GET_SIZE(digits)):
        value = value * 10 + (text[i] - c"0")
    return value


# The fields of the static table by index (RFC 7541, A), ready to be given out.
cdef list _STATIC = [None, *((_NAMES[_name], bytes(_value)) for _name, _value in HeaderTable.STATIC_TABLE)]
cdef enum:
    STATIC_FIELDS = 61
cdef int[STATIC_FIELDS + 1] _STATIC_FLAGS
cdef int[STATIC_FIELDS + 1] _STATIC_SIZES

cdef int _learn_static() except -1:
    cdef bytes name, value
    for index in range(1, STATIC_FIELDS + 1):
        name, value = _STATIC[index]
        _STATIC_FLAGS[index] = _flags(_name_flags(name), <const uint8_t *>PyBytes_AS_STRING(value), len(value))
        _STATIC_SIZES[index] = len(name) + len(value) + 32
    return 0

_learn_static()

# Names and fields that came lately, on whatever connection: what comes again (it does, 10 of 14 fields of a GET) is
# neither made nor checked again. A place is found by some octets, compared whole and simply taken over by the next.
cdef enum:
    NAME_PLACES = 512
    FIELD_PLACES = 1024
    KEPT_BYTES = 256

cdef struct NamePlace:
    PyObject *name
    int flags

cdef struct FieldPlace:
    PyObject *field
    int flags

cdef NamePlace[NAME_PLACES] _name_places
cdef FieldPlace[FIELD_PLACES] _field_places


cdef inline bint _is_text(PyObject *text, const uint8_t *other, size_t size) noexcept:
    return <size_t>PyBytes_GET_SIZE(<object>text) == size and memcmp(PyBytes_AS_STRING(<object>text), other, size) == 0


cdef bytes _name_of(const uint8_t *text, size_t size, uint64_t some, int *flags):
    cdef NamePlace *place = &_name_places[h2gate_mix(some, 0) % NAME_PLACES]
    cdef PyObject *old = place.name
    cdef PyObject *known
    if old != NULL and _is_text(old, text, size):
        flags[0] = place.flags
        return <bytes>old
    name = PyBytes_FromStringAndSize(<const char *>text, size)
    known = PyDict_GetItem(_NAMES, name)
    if known != NULL:
        name = <bytes>known
    flags[0] = _name_flags(name)
    if size <= KEPT_BYTES:
        Py_INCREF(name)
        old = place.name
        place.name = <PyObject *>name
        place.flags = flags[0]
        Py_XDECREF(old)
    return name


cdef object _field_of(nghttp2_nv *found, bint comes_again, int *flags):
    """Return the field as a tuple. What its sender marks as one that varies is not looked for."""
    cdef uint64_t some = h2gate_some(found.name, found.namelen)
    cdef FieldPlace *place = NULL
    cdef PyObject *old = NULL
    if comes_again and not found.flags & NGHTTP2_NV_FLAG_NO_INDEX and found.namelen + found.valuelen <= KEPT_BYTES:
        place = &_field_places[h2gate_mix(some, h2gate_some(found.value, found.valuelen)) % FIELD_PLACES]
        old = place.field
        if (
            old != NULL
            and _is_text(PyTuple_GET_ITEM(<object>old, 0), found.name, found.namelen)
            and _is_text(PyTuple_GET_ITEM(<object>old, 1), found.value, found.valuelen)
        ):
            flags[0] = place.flags
            return <object>old
    name = _name_of(found.name, found.namelen, some, flags)
    flags[0] = _flags(flags[0], found.value, found.valuelen)
    value = PyBytes_FromStringAndSize(<const char *>found.value, found.valuelen)
    if found.flags & NGHTTP2_NV_FLAG_NO_INDEX:
        return _new_tuple(_NEVER_INDEXED, ((name, value),), NULL)
    field = (name, value)
    if place != NULL:
        Py_INCREF(field)
        # Not the one looked at above: making the tuple may have run the garbage collector, and that anything.
        old = place.field
        place.field = <PyObject *>field
        place.flags = flags[0]
        Py_XDECREF(old)
    return field


cdef extern from *:
    """
    /* tuple.__new__(type, ...) without the lookups: 0.1 us instead of 0.3. */
    static inline PyObject *h2gate_new_tuple(PyTypeObject *type, PyObject *args, PyObject *unused)
    {
        (void)unused;
        return PyTuple_Type.tp_new(type, args, NULL);
    }
    """
    object _new_tuple "h2gate_new_tuple"(type, tuple, PyObject *)

cdef type _NEVER_INDEXED = NeverIndexedHeaderTuple


cdef struct Found:
    # Of one field list: its size (RFC 9113, 6.5.2), and what its fields are. The values are borrowed from the list.
    int64_t size
    # How many begin with a colon, and how many of those stand before all others.
    Py_ssize_t colons
    Py_ssize_t pseudo
    int kinds
    int flags
    Py_ssize_t cookies
    PyObject *method
    PyObject *scheme
    PyObject *authority
    PyObject *path
    PyObject *status
    PyObject *length


cdef inline void _note(Found *found, object field, int flags, Py_ssize_t before) noexcept:
    cdef int kind = flags & KINDS
    cdef PyObject *value
    found.flags |= flags
    if kind == PLAIN_KIND:
        return
    value = PyTuple_GET_ITEM(field, 1)
    if kind <= OTHER_PSEUDO:
        # A second one is in doubt, and so is one behind a regular field (RFC 9113, 8.3).
        if found.colons != before or found.kinds & 1 << kind:
            found.flags |= DOUBTFUL
        if found.colons == before:
            found.pseudo += 1
        found.colons += 1
    if kind == METHOD:
        found.method = value
    elif kind == SCHEME:
        found.scheme = value
    elif kind == AUTHORITY:
        found.authority = value
    elif kind == PATH:
        found.path = value
    elif kind == STATUS:
        found.status = value
    elif kind == LENGTH:
        if found.kinds & 1 << kind:
            found.flags |= DOUBTFUL
        found.length = value
    elif kind == COOKIE:
        found.cookies += 1
    found.kinds |= 1 << kind


@cython.final
@cython.no_gc
cdef class _FieldDecoder:
    """One direction's decoder."""

    cdef nghttp2_hd_inflater *inflater
    cdef int64_t list_limit

    def __cinit__(self, int64_t list_limit):
        self.list_limit = list_limit
        if nghttp2_hd_inflate_new(&self.inflater) != 0:
            self.inflater = NULL
            raise MemoryError

    def __dealloc__(self):
        if self.inflater != NULL:
            nghttp2_hd_inflate_del(self.inflater)

    cdef list fields(self, const uint8_t *block, Py_ssize_t size, Found *found):
        """Return the fields of a whole block. Raises ConnectionBroken."""
        cdef list fields = []
        cdef nghttp2_nv field
        cdef Py_ssize_t position = 0
        cdef Py_ssize_t count = 0
        cdef ssize_t used
        cdef uint8_t octet
        cdef int flags, state
        cdef bint has_begun = False
        memset(found, 0, sizeof(Found))
        while position < size:
            octet = block[position]
            if 0x80 < octet <= 0x80 + STATIC_FIELDS:
                one = <object>PyList_GET_ITEM(_STATIC, octet & 0x7F)
                flags = _STATIC_FLAGS[octet & 0x7F]
                found.size += _STATIC_SIZES[octet & 0x7F]
                position += 1
            else:
                # The inflater has not seen the static ones before it, and so cannot tell.
                if octet & 0xE0 == 0x20 and count:
                    raise ConnectionBroken(ErrorCode.COMPRESSION_ERROR, BAD_BLOCK)
                has_begun = True
                state = 0
                used = nghttp2_hd_inflate_hd2(self.inflater, &field, &state, block + position, size - position, 1)
                if used < 0:
                    if used == NGHTTP2_ERR_NOMEM:
                        raise MemoryError
                    raise ConnectionBroken(ErrorCode.COMPRESSION_ERROR, BAD_BLOCK)
                position += used
                if not state & NGHTTP2_HD_INFLATE_EMIT:
                    # Table size updates, and nothing behind them.
                    if position != size or not state & NGHTTP2_HD_INFLATE_FINAL:
                        raise ConnectionBroken(ErrorCode.COMPRESSION_ERROR, BAD_BLOCK)
                    break
                flags = 0
                one = _field_of(&field, octet >= 0x20, &flags)
                found.size += <int64_t>(field.namelen + field.valuelen + 32)
            _note(found, one, flags, count)
            count += 1
            fields.append(one)
            if found.size > self.list_limit:
                raise ConnectionBroken(ErrorCode.ENHANCE_YOUR_CALM, f"more than {self.list_limit} bytes of fields")
        if has_begun:
            nghttp2_hd_inflate_end_headers(self.inflater)
        return fields


# Out

cdef enum:
    INCREMENTAL = 0x40
    UNINDEXED = 0x00
    NEVER = 0x10
    # As many at first, a power of two. Never more than 128: each takes at least 32 bytes of 4096.
    FIRST_ENTRIES = 16

cdef Py_ssize_t _INDEXABLE = INDEXABLE_BYTES

cdef struct Entry:
    PyObject *name
    PyObject *value
    Py_ssize_t size


@cython.final
@cython.no_gc
cdef class _KnownName:
    """What the encoder does with a name: the kind of literal, and where the static table has it (0: nowhere)."""

    cdef int kind
    cdef int index
    # Its values in the static table, with their indexes.
    cdef list values

    def __init__(self, kind, index, values):
        self.kind, self.index, self.values = kind, index, values


cdef dict _KNOWN = {}
for _name in {*KINDS_OF_LITERALS, *(_name for _name, _ in HeaderTable.STATIC_TABLE)}:
    _indexes = [_index for _index, (_other, _) in enumerate(HeaderTable.STATIC_TABLE, 1) if _other == _name]
    _KNOWN[_NAMES.get(_name, _name)] = _KnownName(
        KINDS_OF_LITERALS.get(_name, INCREMENTAL),
        min(_indexes, default=0),
        [(HeaderTable.STATIC_TABLE[_index - 1][1], _index) for _index in _indexes],
    )


@cython.final
@cython.no_gc
cdef class _FieldEncoder:
    """One direction's encoder."""

    # A ring; the newest entry is at `added - 1`. It grows as it is filled: 10 000 idle connections each have one.
    cdef Entry *entries
    cdef int64_t *hashes
    cdef uint32_t capacity
    cdef uint32_t added
    cdef uint32_t count
    cdef Py_ssize_t size
    cdef Py_ssize_t limit
    # What the peer must be told before the next block: the least limit since the last one (RFC 7541, 4.2), -1 if none.
    cdef Py_ssize_t least

    def __cinit__(self):
        self.limit = TABLE_BYTES
        self.least = -1

    def __dealloc__(self):
        if self.entries != NULL:
            self.evict(0)
            free(self.entries)
        free(self.hashes)

    cdef void resize(self, Py_ssize_t limit) noexcept:
        if limit == self.limit:
            return
        if self.least < 0 or limit < self.least:
            self.least = limit
        self.limit = limit
        self.evict(limit)

    cdef void evict(self, Py_ssize_t limit) noexcept:
        """Drop the oldest entries until no more than `limit` bytes are left."""
        cdef Entry *entry
        while self.size > limit:
            entry = &self.entries[(self.added - self.count) & (self.capacity - 1)]
            self.count -= 1
            self.size -= entry.size
            Py_CLEAR(entry.name)
            Py_CLEAR(entry.value)

    cdef int begin(self, Out *out) except -1:
        """Begin a block."""
        if self.least >= 0:
            _reserve(out, 24)
            if self.least < self.limit:
                _integer(out, self.least, 5, 0x20)
            _integer(out, self.limit, 5, 0x20)
            self.least = -1
        return 0

    cdef int fields(self, Out *out, list fields) except -1:
        """Append fields that have been through `_check`."""
        cdef Py_ssize_t i
        cdef bint is_secret
        for i in range(PyList_GET_SIZE(fields)):
            field = <object>PyList_GET_ITEM(fields, i)
            is_secret = not PyTuple_CheckExact(field)
            self.one(out, <object>PyTuple_GET_ITEM(field, 0), <object>PyTuple_GET_ITEM(field, 1), is_secret)
        return 0

    cdef int one(self, Out *out, object name, object value, bint is_secret) except -1:
        cdef Py_ssize_t name_size = PyBytes_GET_SIZE(name)
        cdef Py_ssize_t value_size = PyBytes_GET_SIZE(value)
        cdef int kind = NEVER if is_secret else INCREMENTAL
        cdef int index = 0
        cdef PyObject *found = PyDict_GetItemWithError(_KNOWN, name)
        cdef _KnownName known
        cdef Py_hash_t mixed
        cdef Py_ssize_t i
        _reserve(out, name_size + value_size + 24)
        if found != NULL:
            known = <_KnownName>found
            index = known.index
            for i in range(PyList_GET_SIZE(known.values)):
                pair = <object>PyList_GET_ITEM(known.values, i)
                if _is_text(PyTuple_GET_ITEM(pair, 0), <const uint8_t *>PyBytes_AS_STRING(value), value_size):
                    _integer(out, <object>PyTuple_GET_ITEM(pair, 1), 7, 0x80)
                    return 0
            if not is_secret:
                kind = known.kind
        elif PyErr_Occurred() != NULL:
            return -1
        if kind == INCREMENTAL:
            mixed = <Py_hash_t>h2gate_mix(<uint64_t>hash(name), <uint64_t>hash(value))
            i = self.find(mixed, name, value)
            if i:
                _integer(out, i, 7, 0x80)
                return 0
            if name_size + value_size > _INDEXABLE:
                kind = UNINDEXED
            else:
                self.add(mixed, name, value)
        if index:
            _integer(out, index, 6 if kind == INCREMENTAL else 4, kind)
        else:
            out.data[out.end] = kind
            out.end += 1
            _text(out, name, name_size)
        _text(out, value, value_size)
        return 0

    cdef Py_ssize_t find(self, int64_t mixed, object name, object value) noexcept:
        """Return the field's index (RFC 7541, 2.3.3), 0 if the table does not have it."""
        cdef uint32_t behind
        cdef uint32_t place
        cdef Entry *entry
        for behind in range(self.count):
            place = (self.added - 1 - behind) & (self.capacity - 1)
            if self.hashes[place] == mixed:
                entry = &self.entries[place]
                if _is_text(entry.name, <const uint8_t *>PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name)) and _is_text(
                    entry.value, <const uint8_t *>PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value)
                ):
                    return STATIC_FIELDS + 1 + behind
        return 0

    cdef int add(self, int64_t mixed, object name, object value) except -1:
        cdef Py_ssize_t size = PyBytes_GET_SIZE(name) + PyBytes_GET_SIZE(value) + 32
        cdef uint32_t place
        if size > self.limit:
            # RFC 7541, 4.4: it empties the table, and that is no error.
            self.evict(0)
            return 0
        self.evict(self.limit - size)
        if self.count == self.capacity:
            self.grow()
        place = self.added & (self.capacity - 1)
        Py_INCREF(name)
        Py_INCREF(value)
        self.entries[place].name = <PyObject *>name
        self.entries[place].value = <PyObject *>value
        self.entries[place].size = size
        self.hashes[place] = mixed
        self.added += 1
        self.count += 1
        self.size += size
        return 0

    cdef int grow(self) except -1:
        cdef uint32_t capacity = self.capacity * 2 if self.capacity else FIRST_ENTRIES
        cdef int64_t *hashes = <int64_t *>malloc(capacity * sizeof(int64_t))
        cdef Entry *entries = <Entry *>calloc(capacity, sizeof(Entry))
        cdef uint32_t number, i
        if hashes == NULL or entries == NULL:
            free(hashes)
            free(entries)
            raise MemoryError
        for i in range(self.count):
            number = self.added - self.count + i
            hashes[number & (capacity - 1)] = self.hashes[number & (self.capacity - 1)]
            entries[number & (capacity - 1)] = self.entries[number & (self.capacity - 1)]
        free(self.hashes)
        free(self.entries)
        self.hashes, self.entries, self.capacity = hashes, entries, capacity
        return 0


cdef int _check(list fields) except -1:
    """Raise TypeError unless these are pairs of bytes, as C will take them for."""
    cdef Py_ssize_t i
    if fields is None:
        raise TypeError("fields are a list")
    for i in range(PyList_GET_SIZE(fields)):
        field = <object>PyList_GET_ITEM(fields, i)
        if not (
            PyTuple_Check(field)
            and PyTuple_GET_SIZE(field) == 2
            and PyBytes_CheckExact(<object>PyTuple_GET_ITEM(field, 0))
            and PyBytes_CheckExact(<object>PyTuple_GET_ITEM(field, 1))
        ):
            raise TypeError(f"no field of bytes: {field!r}")
    return 0


cdef inline void _integer(Out *out, uint64_t value, int bits, uint8_t flags) noexcept:
    """Append an integer (RFC 7541, 5.1); there is room for its 10 octets."""
    cdef uint64_t most = (1 << bits) - 1
    if value < most:
        out.data[out.end] = flags | <uint8_t>value
        out.end += 1
        return
    out.data[out.end] = flags | <uint8_t>most
    out.end += 1
    value -= most
    while value >= 0x80:
        out.data[out.end] = <uint8_t>(value & 0x7F) | 0x80
        out.end += 1
        value >>= 7
    out.data[out.end] = <uint8_t>value
    out.end += 1


cdef inline void _text(Out *out, object text, Py_ssize_t size) noexcept:
    """Append a string (5.2); there is room for it."""
    _integer(out, size, 7, 0)
    memcpy(out.data + out.end, PyBytes_AS_STRING(text), size)
    out.end += size
