"""One request and its response: the frontend calls one side, the backend's connection the other.

No greenlet and no queue: each call changes the other side's engine at once and marks its connection. Rules:

1. Credit. The client gets credit for a body byte once the backend's engine has framed it, the backend for one that
   the client's engine has framed. What a stalled peer can make us hold is one window.
2. A request may be sent again only as `retry.may_retry` allows. Until then its body is held (`request_body`).
3. Once a final head went to the client, a failure resets its stream. No byte of ours is ever added.
4. It is logged once, when both sides are over: the response's last byte framed, or the exchange broken.
"""

from __future__ import annotations

from math import inf
from time import time
from typing import TYPE_CHECKING, Any

from h2gate.backend.connection import BackendConnection
from h2gate.backend.endpoint import Endpoint
from h2gate.backend.pool import Pool
from h2gate.backend.stream import BackendStream
from h2gate.contract import ClientStream
from h2gate.errors import ErrorCode, Failure, Reason
from h2gate.net.deadlines import Timed
from h2gate.protocol.events import Fields, RequestHead, ResponseHead
from h2gate.proxy import rewrite
from h2gate.proxy.answers import answer
from h2gate.proxy.early_hints import preloads, promised
from h2gate.proxy.exchange_state import SIDE, SideEvent, SideState
from h2gate.proxy.mapping import ReverseMapping
from h2gate.proxy.mirror import Copy
from h2gate.proxy.request_body import EMPTY, RequestBody
from h2gate.proxy.retry import TryFacts, backoff, counts, may_retry

if TYPE_CHECKING:
    from h2gate.backend.backend import Backend
    from h2gate.proxy.proxy import Proxy

# A client that waits for 100 is told to go on after this long, whatever the backend says (RFC 9110, 10.1.1: a client
# will not wait for ever, but those that wait long are many).
CONTINUE_SECONDS = 1.0

NO_FIELDS: Fields = []

INTERIM_HEADS = 100
"""In one response. They go out before everything else and no window holds them back: 64 KiB of a backend can be 6000 of
them, which cost an engine 1 s and are held, all of them, for a client that does not read."""


class Exchange(Timed):
    """It is its own deadline: one object less for each request, and no cycle."""

    __slots__ = (
        "_awaits_continue",
        "_back",
        "_backend",
        "_base_path",
        "_body",
        "_copy",
        "_endpoint",
        "_given",
        "_goaways",
        "_interims",
        "_is_logged",
        "_lease_wanted_at",
        "_mapping",
        "_max_body",
        "_moved_at",
        "_pool",
        "_proxy",
        "_retry_timer",
        "_started",
        "_to_backend",
        "_tried",
        "_tries",
        "backend_status",
        "began",
        "bytes_sent",
        "client",
        "failure",
        "found",
        "head_seconds",
        "queued_seconds",
        "request",
        "request_id",
        "request_state",
        "response",
        "response_state",
        "response_trailers",
        "retries",
        "source_port",
        "status",
        "stream",
        "total_seconds",
    )

    def __init__(self, proxy: Proxy, stream: ClientStream, head: RequestHead, end_stream: bool) -> None:
        # As Timed's own, without the call (0.1 us).
        self.when = inf
        self._tick = -1
        self._proxy = proxy
        self._started = self._moved_at = proxy.deadlines.now

        # the client's side
        self.stream = stream
        self.client = stream.client
        self.request = head
        self.request_id = rewrite.request_id_of(head)
        self.request_state = SideState.DONE if end_stream else SideState.BODY
        self.response_state = SIDE.initial
        self._given = 0

        # the backend's side
        self.found = proxy.router.nowhere  # until there is a route
        self._endpoint: Endpoint | None = None
        self._pool: Pool | None = None
        self._back: BackendStream | None = None
        self._goaways = 0
        self._interims = 0
        self._tried: list[Endpoint] = []
        self._tries = 0
        self._retry_timer: Any = None

        self._body = EMPTY if end_stream else RequestBody(proxy.limits.replay_buffer, is_complete=False)
        self._awaits_continue = False

        # for the log
        self.began = time()
        self.status = 0
        # What the backend said, and the local port of its connection: None if it said nothing, if there was none.
        self.backend_status: int | None = None
        self.source_port: int | None = None
        self.response: ResponseHead | None = None
        self.response_trailers: Fields = NO_FIELDS
        self.bytes_sent = 0
        self.queued_seconds: float | None = None
        self.head_seconds: float | None = None
        self.retries = 0
        self.failure: Failure | None = None
        self._is_logged = False

    # The request, from the frontend

    def forward(self, base_path: bytes | None, backend: Backend, to_backend: RequestHead, copy: Copy | None) -> None:
        """Send the request to `backend`, once there is a lease; and `copy`, once the request is complete.

        The route has been found; `base_path` is what has taken the matched prefix's place.
        """
        route = self.found
        # Nothing asks for these before.
        self._base_path = base_path
        self._backend = backend
        self._to_backend = to_backend
        self._copy = copy
        self._max_body: int | None = route.max_body
        if route.max_body is not None and (self.request.content_length or 0) > route.max_body:
            self.fail(Failure(Reason.BODY_TOO_LARGE))
            return
        if copy is not None and self._body.is_complete:
            self._send_copy()
        self.when = self._moved_at + route.patience.head
        if self.request_state is SideState.BODY and (expectation := _expectation(self.request)):
            if expectation != b"100-continue":
                # As the HTTP/1.1 engine answers it, with or without a body (RFC 9110, 10.1.1).
                self.fail(Failure(Reason.EXPECTATION_FAILED, "expectation other than 100-continue"))
                return
            self._awaits_continue = True
            self.when = self._moved_at + CONTINUE_SECONDS
        self._proxy.deadlines.run(self)
        self._acquire()

    def on_request_data(self, data: bytes, credit: int, end_stream: bool) -> None:
        if self.request_state is not SideState.BODY:
            # An answer was given before the request's end: the rest is not wanted, and held up by nobody.
            self.stream.credit(credit)
            return
        self._moved_at = self._proxy.deadlines.now
        self._awaits_continue = False
        if self._max_body is not None and self._body.received + len(data) > self._max_body:
            # What came before may have gone out, but the backend never sees the request's end.
            self.stream.credit(credit)
            self.on_request_broken(Failure(Reason.BODY_TOO_LARGE))
            return
        padding = credit - len(data)
        if padding:
            self.stream.credit(padding)
        if end_stream:
            self.request_state = SIDE.next(self.request_state, SideEvent.END)
        self._body.add(data, end_stream, self._back)
        if end_stream and self._copy is not None:
            self._send_copy()

    def on_request_trailers(self, fields: Fields) -> None:
        if self.request_state is not SideState.BODY:
            return
        self._moved_at = self._proxy.deadlines.now
        self._awaits_continue = False
        self.request_state = SIDE.next(self.request_state, SideEvent.END)
        self._body.end(rewrite.trailers(fields), self._back)
        if self._copy is not None:
            self._send_copy()

    def _send_copy(self) -> None:
        """Send the mirror its copy, if there is a whole body for it."""
        copy, self._copy = self._copy, None
        if copy is not None and self._body.is_whole:
            copy.send(self._body)

    def on_request_broken(self, failure: Failure) -> None:
        if self.request_state is not SideState.BODY:
            return  # answered already: what it broke is not wanted any more
        self.request_state = SIDE.next(self.request_state, SideEvent.BREAK)
        self.fail(failure)

    def on_client_gone(self, failure: Failure) -> None:
        self._leave_backend()
        self._break_off(failure)
        if self.status == 0:
            self.status = failure.rule.status
        self._log()

    def on_response_framed(self, size: int) -> None:
        self.bytes_sent += size
        self._moved_at = self._proxy.deadlines.now
        if self._back is not None:
            self._back.credit(size)
        if self.response_state is SideState.DONE and self.bytes_sent == self._given:
            self._log()

    # A stream at the backend

    def _acquire(self, *, first: bool = False) -> None:
        self._lease_wanted_at = self._proxy.deadlines.now
        pool = self._pool = self._backend.choose(self._tried)
        pool.acquire(self, first=first)

    def on_lease(self, connection: BackendConnection) -> None:
        head = self._to_backend
        self._pool = None
        now = self._moved_at = self._proxy.deadlines.now
        self.queued_seconds = (self.queued_seconds or 0.0) + now - self._lease_wanted_at
        endpoint = self._endpoint = connection.pool.endpoint
        self._tried.append(endpoint)
        self._tries += 1
        self.source_port = connection.local_port
        self._mapping: ReverseMapping | None = None
        head.scheme = endpoint.scheme
        if not self.found.preserve_host or not head.authority:
            head.authority = endpoint.authority
        is_empty = self._body.is_empty
        self._back = connection.open_stream(head, is_empty, self)
        if not is_empty:
            self._body.send_from_start(self._back)

    def on_lease_failed(self, failure: Failure) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            self._endpoint = pool.endpoint
            self._tried.append(pool.endpoint)
        self._tries += 1
        self.queued_seconds = (self.queued_seconds or 0.0) + self._proxy.deadlines.now - self._lease_wanted_at
        self._try_again_or_fail(failure, was_reused=False, was_touched=False)

    def on_backend_failure(self, failure: Failure) -> None:
        back, self._back = self._back, None
        assert back is not None
        if self.response_state is SideState.HEAD:
            self._try_again_or_fail(failure, back.is_reused, back.is_touched)
        else:
            self.fail(failure)

    def _try_again_or_fail(self, failure: Failure, was_reused: bool, was_touched: bool) -> None:
        proxy = self._proxy
        is_counted = counts(failure)
        if not is_counted:
            # The backend asked for it: this was no try, and the endpoint is not to be avoided.
            self._tries -= 1
            self._tried.pop()
        facts = TryFacts(
            tries=self._tries,
            limit=self.found.tries,
            head_passed=self.response_state is not SideState.HEAD,
            body_replayable=self._body.is_whole,
            was_reused=was_reused,
            was_touched=was_touched,
            method=self.request.method,
            goaways=self._goaways,
        )
        if proxy.is_stopping or not may_retry(failure, facts) or (is_counted and not proxy.budget.take()):
            self.fail(failure)
            return
        self.retries += 1
        if not is_counted:
            self._goaways += 1
            self._acquire(first=True)
            return
        self._retry_timer = proxy.timer(backoff(self._tries, proxy.retries), self._retry)

    def _retry(self) -> None:
        self._retry_timer = None
        self._acquire()

    def on_request_framed(self, size: int) -> None:
        self._moved_at = self._proxy.deadlines.now
        fresh = self._body.framed(size)
        if fresh:
            self.stream.credit(fresh)

    # The response, from the backend

    def on_interim(self, head: ResponseHead) -> None:
        if self.response_state is not SideState.HEAD:
            return
        self._moved_at = self._proxy.deadlines.now
        if head.status == 100:
            if not self._awaits_continue:
                return
            self._awaits_continue = False
        self._interims += 1
        if self._interims > INTERIM_HEADS:
            self.fail(Failure(Reason.BAD_RESPONSE, f"more than {INTERIM_HEADS} interim heads"))
            return
        hints = self.found.early_hints
        if head.status == 103 and hints == "off":
            return
        head = rewrite.interim(head, self._way_back)
        if head.status == 103 and hints == "push":
            self._push(head.fields)
        self.stream.send_interim(head)

    def on_response(self, head: ResponseHead, end_stream: bool) -> None:
        proxy, route = self._proxy, self.found
        now = self._moved_at = proxy.deadlines.now
        self.head_seconds = now - self._started
        self.when = now + route.patience.response_idle
        self.backend_status = head.status
        self._body.drop()
        if head.status >= 400 and head.status in route.error_override:
            self._override(head)
            return
        head = proxy.rewriter.response(head, self._way_back, proxy.date, route.response_rules)
        if route.early_hints == "push":
            self._push(head.fields)
        self._pass_head(head, end_stream)

    def _override(self, head: ResponseHead) -> None:
        """Answer with a page of our own in place of the backend's."""
        proxy = self._proxy
        self._leave_backend()
        head = proxy.rewriter.response(head, self._way_back, proxy.date)
        ours, body = proxy.errors.of_override(self.request, self.request_id, self.found.error_pages, head)
        self._pass_answer(ours, body, head.status)

    def _push(self, fields: Fields) -> None:
        """Push what a head tells the client to preload, where the client takes it."""
        if self.stream.can_push and self.request.method in (b"GET", b"HEAD"):
            scheme, authority = rewrite.client_origin(self.request, self.client)
            for path in preloads(fields, scheme, authority):
                self.stream.push(promised(self.request, path))

    def on_response_data(self, data: bytes, end_stream: bool) -> None:
        # As `_pass_data`: for large bodies this is the path that counts.
        self._moved_at = self._proxy.deadlines.now
        self._given += len(data)
        self.stream.send_data(data, end_stream)
        if end_stream:
            self._response_ended()

    def on_response_trailers(self, fields: Fields) -> None:
        fields = self.response_trailers = rewrite.trailers(fields)
        self.stream.send_trailers(fields)
        self._response_ended()

    def _way_back(self) -> ReverseMapping:
        """Return what maps the backend's URLs to the client's: made when the first field asks for it."""
        if self._mapping is None:
            assert self._endpoint is not None
            client_scheme, client_authority = rewrite.client_origin(self.request, self.client)
            self._mapping = ReverseMapping(
                self._endpoint.authority,
                self._endpoint.scheme,
                self._base_path,
                self.found.matched,
                client_authority,
                client_scheme,
                self.found.cookies,
            )
        return self._mapping

    # What goes to the client

    def _pass_head(self, head: ResponseHead, end_stream: bool, status: int = 0) -> None:
        """`status` is for the log, where it is not the head's."""
        self.status = status or head.status
        self.response = head
        self.response_state = SIDE.next(self.response_state, SideEvent.HEAD_PASSED)
        # RFC 9110, 10.1.1: a final head says all that the client waits for; no 100 may follow it.
        self._awaits_continue = False
        self.stream.send_head(head, end_stream)
        if end_stream:
            self._response_ended()

    def _pass_data(self, data: bytes, end_stream: bool) -> None:
        self._given += len(data)
        self.stream.send_data(data, end_stream)
        if end_stream:
            self._response_ended()

    def _response_ended(self) -> None:
        self.response_state = SIDE.next(self.response_state, SideEvent.END)
        if self.request_state is SideState.BODY:
            # RFC 9113, 8.1: the answer is complete without the rest of the request.
            self.request_state = SIDE.next(self.request_state, SideEvent.BREAK)
            self._leave_backend()
        # The backend has forgotten the stream: credit for it would find nobody.
        self._back = None
        if self.bytes_sent == self._given:
            self._log()

    def answer(self, status: int, body: bytes, extra: Fields) -> None:
        """Answer without a backend. The head may be passed only once."""
        head = answer(status, body, self._proxy.date.now(), [*extra, (b"x-request-id", self.request_id)])
        self._pass_answer(head, body, status)

    def answer_error(self, status: int) -> None:
        """Answer without a backend, by an error and its page. The head may be passed only once."""
        head, body = self._proxy.errors.of_status(self.request, self.request_id, self.found.error_pages, status)
        self._pass_answer(head, body, status)

    def _pass_answer(self, head: ResponseHead, body: bytes, status: int) -> None:
        """Pass what the gate says itself. `status` is for the log: a gRPC client finds its own in a 200."""
        rules = self.found.response_rules
        if rules is not None:
            head.fields = rules.apply(head.fields)
        has_body = bool(body) and status not in (204, 304) and self.request.method != b"HEAD"
        self._pass_head(head, not has_body, status)
        if has_body:
            self._pass_data(body, end_stream=True)

    def fail(self, failure: Failure, extra: Fields | None = None) -> None:
        """End the exchange for `failure`: with its status while no head is out, else visibly broken."""
        self.failure = failure
        self._leave_backend()
        if self.response_state is SideState.HEAD:
            errors = self._proxy.errors
            head, body = errors.of_failure(self.request, self.request_id, self.found.error_pages, failure, extra or [])
            self._pass_answer(head, body, failure.rule.status)
        else:
            self._break_off(failure)
            self.stream.reset(failure)
            self._log()

    # Ends

    def _leave_backend(self) -> None:
        """Give up whatever is wanted or running at the backend."""
        back, self._back = self._back, None
        if back is not None:
            back.reset(ErrorCode.CANCEL)
        if self._pool is not None:
            self._pool.withdraw(self)
            self._pool = None
        if self._retry_timer is not None:
            self._retry_timer.close()
            self._retry_timer = None

    def _break_off(self, failure: Failure) -> None:
        if self.response_state is not SideState.DONE or self.bytes_sent < self._given:
            self.failure = self.failure or failure
        self.request_state = SIDE.next(self.request_state, SideEvent.BREAK)
        self.response_state = SIDE.next(self.response_state, SideEvent.BREAK)

    def _log(self) -> None:
        if self._is_logged:
            return
        self._is_logged = True
        proxy = self._proxy
        proxy.deadlines.stop(self)
        self._body.drop()
        self.total_seconds = proxy.deadlines.now - self._started
        proxy.finished(self)

    @property
    def bytes_received(self) -> int:
        return self._body.received

    @property
    def request_trailers(self) -> Fields:
        return self._body.trailers or NO_FIELDS

    @property
    def endpoint(self) -> str | None:
        return self._endpoint.name if self._endpoint is not None else None

    @property
    def route(self) -> str | None:
        return self.found.name or None

    # Time

    def expired(self) -> None:
        """The deadline is set coarsely; what is due is decided here, by the state and the last progress."""
        proxy = self._proxy
        now = proxy.deadlines.now
        if self._awaits_continue:
            self._awaits_continue = False
            self.stream.send_interim(ResponseHead(100))
            self._watch(now + self.found.patience.response_head)
            return
        limit, failure = self._due()
        due = self._moved_at + limit
        if now < due:
            self._watch(due)
            return
        self.fail(failure)

    def _watch(self, due: float) -> None:
        if self.response_state is SideState.HEAD:
            # Whose turn it is may change before the time is over, and another limit with it.
            due = min(due, self._proxy.deadlines.now + self.found.patience.head)
        self.when = due

    def _due(self) -> tuple[float, Failure]:
        """Return how long nothing may move now, in seconds, and what has failed if it did not."""
        timeouts = self.found.patience
        if self.response_state is SideState.HEAD:
            if self._back is None:
                # The pool's queue and the back-off have times of their own, far shorter than this.
                return timeouts.response_head, Failure(Reason.QUEUE_TIMEOUT)
            if self.request_state is SideState.BODY and self._body.is_all_framed:
                return timeouts.request_body, Failure(Reason.BODY_TIMEOUT)
            return timeouts.response_head, Failure(Reason.HEAD_TIMEOUT)
        if self.bytes_sent < self._given:
            # The client is slow, not the backend; the session knows when it is too slow.
            return timeouts.response_idle, Failure(Reason.CLIENT_STALL)
        return timeouts.response_idle, Failure(Reason.IDLE_TIMEOUT)


def _expectation(head: RequestHead) -> bytes:
    return next((value.lower() for name, value in head.fields if name == b"expect"), b"")
