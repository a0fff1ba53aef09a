"""One vocabulary of failure.

A failure says what happened (a `Reason`), who did it, how far it reaches and whether the request may be
sent again. `RULES` is the one table that maps each reason to the status a client sees while no head is
out, and to the RST_STREAM code it sees afterwards. The reason's value is the word in the access log and
the label of the metric, so it never changes lightly.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum


class ErrorCode(IntEnum):
    """HTTP/2 error codes (RFC 9113, section 7)."""

    NO_ERROR = 0x0
    PROTOCOL_ERROR = 0x1
    INTERNAL_ERROR = 0x2
    FLOW_CONTROL_ERROR = 0x3
    SETTINGS_TIMEOUT = 0x4
    STREAM_CLOSED = 0x5
    FRAME_SIZE_ERROR = 0x6
    REFUSED_STREAM = 0x7
    CANCEL = 0x8
    COMPRESSION_ERROR = 0x9
    CONNECT_ERROR = 0xA
    ENHANCE_YOUR_CALM = 0xB
    INADEQUATE_SECURITY = 0xC
    HTTP_1_1_REQUIRED = 0xD


def code_name(code: int) -> str:
    """Return an HTTP/2 error code in its RFC's words, or in hexadecimal."""
    try:
        return ErrorCode(code).name
    except ValueError:
        return f"0x{code:x}"


class Origin(Enum):
    """Who caused the failure."""

    CLIENT = "client"
    BACKEND = "backend"
    GATE = "gate"


class Reach(Enum):
    """How far the failure reaches."""

    STREAM = "stream"
    CONNECTION = "connection"


class Again(Enum):
    """Whether the request may be sent again, as far as the failure alone can tell.

    ALWAYS: the backend provably did not process it. IF_REUSED: it died with a connection that had
    served before, so that an idempotent request may be tried once more. UNPROCESSED_GOAWAY: as ALWAYS,
    and the backend asked for it by GOAWAY, so it does not count against the tries (docs/retries.md).
    """

    NEVER = "never"
    IF_REUSED = "if_reused"
    ALWAYS = "always"
    UNPROCESSED_GOAWAY = "unprocessed_goaway"


class Reason(Enum):
    """What happened, in the word the access log uses."""

    # the backend
    CONNECT_REFUSED = "connect_refused"
    CONNECT_FAILED = "connect_failed"
    CONNECT_TIMEOUT = "connect_timeout"
    DNS_FAILED = "dns_failed"
    TLS_FAILED = "tls_failed"
    TLS_VERIFY = "tls_verify"
    ALPN_HTTP1 = "alpn_http1"
    BACKEND_HTTP1 = "backend_http1"
    BACKEND_PROTOCOL = "backend_protocol"
    BACKEND_CLOSED = "backend_closed"
    PING_TIMEOUT = "ping_timeout"
    BACKEND_RESET = "backend_reset"
    BAD_RESPONSE = "bad_response"
    GOAWAY_REFUSED = "goaway_refused"
    REFUSED_STREAM = "refused_stream"
    HEAD_TIMEOUT = "head_timeout"
    IDLE_TIMEOUT = "idle_timeout"
    TUNNEL_IDLE = "tunnel_idle"
    NO_EXTENDED_CONNECT = "no_extended_connect"
    # the gate
    NO_ROUTE = "no_route"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    PROTOCOL_NOT_SERVED = "protocol_not_served"
    QUEUE_FULL = "queue_full"
    QUEUE_TIMEOUT = "queue_timeout"
    DRAINING = "draining"
    INTERNAL = "internal"
    # the client
    CLIENT_CLOSED = "client_closed"
    CLIENT_RESET = "client_reset"
    CLIENT_PROTOCOL = "client_protocol"
    CLIENT_STALL = "client_stall"
    BAD_REQUEST = "bad_request"
    REQUEST_TIMEOUT = "request_timeout"
    BODY_TIMEOUT = "body_timeout"
    HEAD_TOO_LARGE = "head_too_large"
    URI_TOO_LONG = "uri_too_long"
    MISDIRECTED = "misdirected"
    BODY_TOO_LARGE = "body_too_large"
    UNKNOWN_CODING = "unknown_coding"
    EXPECTATION_FAILED = "expectation_failed"


@dataclass(frozen=True, slots=True)
class Rule:
    """What follows from a reason. `status` 499 is for the log only: the client is gone."""

    origin: Origin
    reach: Reach
    again: Again
    status: int
    code: ErrorCode


_B, _G, _C = Origin.BACKEND, Origin.GATE, Origin.CLIENT
_S, _N = Reach.STREAM, Reach.CONNECTION
_E = ErrorCode

RULES: dict[Reason, Rule] = {
    Reason.CONNECT_REFUSED: Rule(_B, _N, Again.ALWAYS, 502, _E.INTERNAL_ERROR),
    Reason.CONNECT_FAILED: Rule(_B, _N, Again.ALWAYS, 502, _E.INTERNAL_ERROR),
    # A timeout is never retried: the client has waited long enough.
    Reason.CONNECT_TIMEOUT: Rule(_B, _N, Again.NEVER, 504, _E.INTERNAL_ERROR),
    Reason.DNS_FAILED: Rule(_B, _N, Again.ALWAYS, 502, _E.INTERNAL_ERROR),
    Reason.TLS_FAILED: Rule(_B, _N, Again.ALWAYS, 502, _E.INTERNAL_ERROR),
    Reason.TLS_VERIFY: Rule(_B, _N, Again.ALWAYS, 502, _E.INTERNAL_ERROR),
    Reason.ALPN_HTTP1: Rule(_B, _N, Again.ALWAYS, 502, _E.INTERNAL_ERROR),
    Reason.BACKEND_HTTP1: Rule(_B, _N, Again.NEVER, 502, _E.INTERNAL_ERROR),
    Reason.BACKEND_PROTOCOL: Rule(_B, _N, Again.NEVER, 502, _E.INTERNAL_ERROR),
    Reason.BACKEND_CLOSED: Rule(_B, _N, Again.IF_REUSED, 502, _E.INTERNAL_ERROR),
    # The one timeout after which a request is sent again: the client has not waited long. Of the request only the head
    # went out, to a connection that was silent before and after; no byte of its body followed, nor END_STREAM, and
    # RST_STREAM came behind. What is acted upon without its content, which is held back whole, is no complete request
    # (RFC 9113, 8.1); a backend that begins on the head alone is told by the reset that nothing will come.
    Reason.PING_TIMEOUT: Rule(_B, _N, Again.ALWAYS, 504, _E.INTERNAL_ERROR),
    Reason.BACKEND_RESET: Rule(_B, _S, Again.NEVER, 502, _E.INTERNAL_ERROR),
    Reason.BAD_RESPONSE: Rule(_B, _S, Again.NEVER, 502, _E.INTERNAL_ERROR),
    # RFC 9113, 6.8: streams above the last id were not processed. 8.7: so were refused ones.
    Reason.GOAWAY_REFUSED: Rule(_B, _N, Again.UNPROCESSED_GOAWAY, 502, _E.INTERNAL_ERROR),
    Reason.REFUSED_STREAM: Rule(_B, _S, Again.ALWAYS, 502, _E.REFUSED_STREAM),
    Reason.HEAD_TIMEOUT: Rule(_B, _S, Again.NEVER, 504, _E.INTERNAL_ERROR),
    Reason.IDLE_TIMEOUT: Rule(_B, _S, Again.NEVER, 504, _E.INTERNAL_ERROR),
    # The tunnel's head is out: the status is for the log alone.
    Reason.TUNNEL_IDLE: Rule(_G, _S, Again.NEVER, 504, _E.CANCEL),
    # RFC 8441, 3: without the backend's SETTINGS_ENABLE_CONNECT_PROTOCOL no `:protocol` may be sent to it.
    Reason.NO_EXTENDED_CONNECT: Rule(_B, _N, Again.NEVER, 501, _E.INTERNAL_ERROR),
    Reason.PROTOCOL_NOT_SERVED: Rule(_G, _S, Again.NEVER, 501, _E.INTERNAL_ERROR),
    Reason.NO_ROUTE: Rule(_G, _S, Again.NEVER, 404, _E.INTERNAL_ERROR),
    Reason.METHOD_NOT_ALLOWED: Rule(_G, _S, Again.NEVER, 405, _E.INTERNAL_ERROR),
    Reason.QUEUE_FULL: Rule(_G, _S, Again.NEVER, 503, _E.INTERNAL_ERROR),
    Reason.QUEUE_TIMEOUT: Rule(_G, _S, Again.NEVER, 503, _E.INTERNAL_ERROR),
    Reason.DRAINING: Rule(_G, _N, Again.NEVER, 503, _E.CANCEL),
    Reason.INTERNAL: Rule(_G, _S, Again.NEVER, 500, _E.INTERNAL_ERROR),
    Reason.CLIENT_CLOSED: Rule(_C, _N, Again.NEVER, 499, _E.CANCEL),
    Reason.CLIENT_RESET: Rule(_C, _S, Again.NEVER, 499, _E.CANCEL),
    Reason.CLIENT_PROTOCOL: Rule(_C, _N, Again.NEVER, 400, _E.PROTOCOL_ERROR),
    Reason.CLIENT_STALL: Rule(_C, _S, Again.NEVER, 408, _E.CANCEL),
    Reason.BAD_REQUEST: Rule(_C, _S, Again.NEVER, 400, _E.PROTOCOL_ERROR),
    Reason.REQUEST_TIMEOUT: Rule(_C, _N, Again.NEVER, 408, _E.CANCEL),
    Reason.BODY_TIMEOUT: Rule(_C, _S, Again.NEVER, 408, _E.CANCEL),
    Reason.HEAD_TOO_LARGE: Rule(_C, _S, Again.NEVER, 431, _E.ENHANCE_YOUR_CALM),
    Reason.URI_TOO_LONG: Rule(_C, _S, Again.NEVER, 414, _E.PROTOCOL_ERROR),
    # RFC 9110, 15.5.20: the client may ask again on another connection.
    Reason.MISDIRECTED: Rule(_C, _S, Again.NEVER, 421, _E.PROTOCOL_ERROR),
    # After an answer has begun this breaks it off: the client did not keep to what a 413 would have told it.
    Reason.BODY_TOO_LARGE: Rule(_C, _S, Again.NEVER, 413, _E.CANCEL),
    # RFC 9112, 6.1, and RFC 9110, 10.1.1.
    Reason.UNKNOWN_CODING: Rule(_C, _S, Again.NEVER, 501, _E.PROTOCOL_ERROR),
    Reason.EXPECTATION_FAILED: Rule(_C, _S, Again.NEVER, 417, _E.PROTOCOL_ERROR),
}


@dataclass(frozen=True, slots=True)
class Failure:
    """One failure: the reason, and what an operator needs beside it (`detail`, may be empty)."""

    reason: Reason
    detail: str = ""

    @property
    def rule(self) -> Rule:
        return RULES[self.reason]

    @property
    def word(self) -> str:
        """Return what the access log says, as `tls_verify: hostname mismatch`."""
        return f"{self.reason.value}: {self.detail}" if self.detail else self.reason.value

    def __str__(self) -> str:
        return self.word


class ExitCode(IntEnum):
    """What h2gate's commands end with (sysexits.h where it has a word for it)."""

    OK = 0
    FAILED = 1
    USAGE = 2
    OS_ERROR = 71
    CANNOT_CREATE = 73
    NO_PERMISSION = 77
    BAD_CONFIG = 78


class StartError(Exception):
    """The gate cannot start, or cannot do as told; the text is one line that says what to do."""

    def __init__(self, message: str, exit_code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(message)
        self.exit_code = exit_code
