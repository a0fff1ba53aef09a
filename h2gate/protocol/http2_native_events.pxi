# Events and heads, made by writing their slots. Calling a dataclass costs 0.25 to 0.45 us, as its `__init__` is
# Python; allocating it and writing its slots 0.04. Their classes stay those of events.py, whatever order their
# attributes have there: the places of the slots are asked of the classes' own descriptors when this is imported.

cdef extern from *:
    """
    #include <structmember.h>

    /* Where a slot's value is in an instance; -1 if this is no slot. */
    static Py_ssize_t h2gate_slot(PyObject *descriptor)
    {
        PyMemberDef *member;
        if (!Py_IS_TYPE(descriptor, &PyMemberDescr_Type))
            return -1;
        member = ((PyMemberDescrObject *)descriptor)->d_member;
        return member->type == T_OBJECT_EX ? member->offset : -1;
    }

    static inline PyObject *h2gate_new(PyTypeObject *type) { return type->tp_alloc(type, 0); }

    /* The slots of a new object are empty: nothing is there to be released. */
    static inline void h2gate_set(PyObject *object, Py_ssize_t slot, PyObject *value)
    {
        Py_INCREF(value);
        *(PyObject **)((char *)object + slot) = value;
    }

    /* Borrowed; NULL if the slot is empty. */
    static inline PyObject *h2gate_get(PyObject *object, Py_ssize_t slot)
    {
        return *(PyObject **)((char *)object + slot);
    }
    """
    Py_ssize_t h2gate_slot(object descriptor)
    object h2gate_new(type)
    void h2gate_set(object, Py_ssize_t, object)
    PyObject *h2gate_get(object, Py_ssize_t)


cdef Py_ssize_t _slot(type owner, str name) except -1:
    cdef Py_ssize_t slot = h2gate_slot(owner.__dict__[name])
    if slot < 0:
        raise ImportError(f"{owner.__name__}.{name} is no slot")
    return slot


cdef type _REQUEST_HEAD = RequestHead
cdef Py_ssize_t _HEAD_METHOD = _slot(RequestHead, "method")
cdef Py_ssize_t _HEAD_SCHEME = _slot(RequestHead, "scheme")
cdef Py_ssize_t _HEAD_AUTHORITY = _slot(RequestHead, "authority")
cdef Py_ssize_t _HEAD_PATH = _slot(RequestHead, "path")
cdef Py_ssize_t _HEAD_FIELDS = _slot(RequestHead, "fields")
cdef Py_ssize_t _HEAD_VERSION = _slot(RequestHead, "version")
cdef Py_ssize_t _HEAD_LENGTH = _slot(RequestHead, "content_length")
cdef Py_ssize_t _HEAD_TARGET = _slot(RequestHead, "target")
cdef Py_ssize_t _HEAD_PROTOCOL = _slot(RequestHead, "protocol")
cdef bytes _VERSION = b"HTTP/2.0"
cdef bytes _NO_PROTOCOL = b""

cdef type _RESPONSE_HEAD = ResponseHead
cdef Py_ssize_t _HEAD_STATUS = _slot(ResponseHead, "status")
cdef Py_ssize_t _RESPONSE_FIELDS = _slot(ResponseHead, "fields")

cdef type _REQUEST = RequestReceived
cdef Py_ssize_t _REQUEST_STREAM = _slot(RequestReceived, "stream_id")
cdef Py_ssize_t _REQUEST_ITS_HEAD = _slot(RequestReceived, "head")
cdef Py_ssize_t _REQUEST_END = _slot(RequestReceived, "end_stream")

cdef type _RESPONSE = ResponseReceived
cdef Py_ssize_t _RESPONSE_STREAM = _slot(ResponseReceived, "stream_id")
cdef Py_ssize_t _RESPONSE_ITS_HEAD = _slot(ResponseReceived, "head")
cdef Py_ssize_t _RESPONSE_END = _slot(ResponseReceived, "end_stream")

cdef type _DATA = DataReceived
cdef Py_ssize_t _DATA_STREAM = _slot(DataReceived, "stream_id")
cdef Py_ssize_t _DATA_DATA = _slot(DataReceived, "data")
cdef Py_ssize_t _DATA_CREDIT = _slot(DataReceived, "credit")
cdef Py_ssize_t _DATA_END = _slot(DataReceived, "end_stream")


cdef object _request_head(method, scheme, authority, path, list fields, content_length):
    head = h2gate_new(_REQUEST_HEAD)
    h2gate_set(head, _HEAD_METHOD, method)
    h2gate_set(head, _HEAD_SCHEME, scheme)
    h2gate_set(head, _HEAD_AUTHORITY, authority)
    h2gate_set(head, _HEAD_PATH, path)
    h2gate_set(head, _HEAD_FIELDS, fields)
    h2gate_set(head, _HEAD_VERSION, _VERSION)
    h2gate_set(head, _HEAD_LENGTH, content_length)
    h2gate_set(head, _HEAD_TARGET, path)
    h2gate_set(head, _HEAD_PROTOCOL, _NO_PROTOCOL)
    return head


cdef object _response_head(status, list fields):
    head = h2gate_new(_RESPONSE_HEAD)
    h2gate_set(head, _HEAD_STATUS, status)
    h2gate_set(head, _RESPONSE_FIELDS, fields)
    return head


cdef object _request_received(stream_id, head, bint end_stream):
    event = h2gate_new(_REQUEST)
    h2gate_set(event, _REQUEST_STREAM, stream_id)
    h2gate_set(event, _REQUEST_ITS_HEAD, head)
    h2gate_set(event, _REQUEST_END, True if end_stream else False)
    return event


cdef object _response_received(stream_id, head, bint end_stream):
    event = h2gate_new(_RESPONSE)
    h2gate_set(event, _RESPONSE_STREAM, stream_id)
    h2gate_set(event, _RESPONSE_ITS_HEAD, head)
    h2gate_set(event, _RESPONSE_END, True if end_stream else False)
    return event


cdef object _data_received(stream_id, bytes data, Py_ssize_t credit, bint end_stream):
    event = h2gate_new(_DATA)
    h2gate_set(event, _DATA_STREAM, stream_id)
    h2gate_set(event, _DATA_DATA, data)
    h2gate_set(event, _DATA_CREDIT, credit)
    h2gate_set(event, _DATA_END, True if end_stream else False)
    return event
