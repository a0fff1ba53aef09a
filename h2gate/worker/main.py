"""A worker process: owns the hub, boots, accepts, drains, exits.

Rule: the main greenlet only waits; everything happens in callbacks of the hub, so that one exchange never waits
for another.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import gevent
import setproctitle
from gevent.event import Event

from h2gate import errorlog
from h2gate.backend.backend import Backend
from h2gate.config.resolved import backends_of
from h2gate.errors import StartError
from h2gate.frontend.front import Front
from h2gate.handover import RETIRE, Handover
from h2gate.net.deadlines import TICK_SECONDS, Deadlines
from h2gate.net.flush import FlushQueue
from h2gate.net.reactor import Reactor
from h2gate.protocol.contract import (
    Http1ServerEngine,
    Http1Settings,
    Http2ClientEngine,
    Http2ServerEngine,
    Http2Settings,
)
from h2gate.protocol.engines import Engines, choose
from h2gate.proxy.proxy import Proxy
from h2gate.telemetry.access_log import AccessLog
from h2gate.worker.accept import Acceptor

BEAT_SECONDS = 0.5
LOG_FLUSH_SECONDS = 0.2
# Neither finished exchanges nor closed connections leave cycles, so that the collector, which walks all that is under
# way, has nothing to find. One cycle for each connection with TLS would be 100 MB before it looks.
# With Python's own threshold of 700 it took 7 % of the worker's time.
GC_THRESHOLD = 50_000
# A tick that is later than this: the worker did not run.
STANDSTILL_SECONDS = 0.5
# A quick stop lets last frames out, and waits no longer.
QUICK_SECONDS = 0.5

_log = logging.getLogger("h2gate")


def run_worker(handover: Handover) -> None:
    """Serve until told to leave. The process has been forked; no hub exists yet."""
    Worker(handover).run()


class Worker:
    def __init__(self, handover: Handover) -> None:
        config = handover.config
        self._handover = handover
        self._row = handover.row
        self._is_draining = False
        self._done = Event()

        # Here only told by its name: the master has imported it.
        engines = choose(handover.engine.name)
        hub = gevent.get_hub()
        hub.handle_error = _handle_error
        sys.unraisablehook = _handle_unraisable
        self._loop: Any = hub.loop
        self._deadlines = Deadlines()
        self._reactor = Reactor(self._loop, self._deadlines)
        self._flush_queue = FlushQueue()
        self._flush_queue.start(self._loop)
        self._access_log = AccessLog(config.access_log)
        self._backends = {
            name: Backend(
                name,
                backend,
                self._reactor,
                self._flush_queue,
                _client_engines(handover, engines, name),
                handover.backend_tls.get(name),
            )
            for name, backend in backends_of(config).items()
        }
        self._proxy = Proxy(config, self._reactor, self._backends, self._access_log.write)
        self._front = Front(
            self._reactor,
            self._flush_queue,
            self._proxy,
            config.timeouts,
            config.limits,
            _http1_engines(handover, engines),
            _http2_engines(handover, engines),
            self._row.connected,
        )
        self._acceptors = [Acceptor(self._front, listener, self._row) for listener in handover.listeners]
        self._watchers: list[Any] = []
        self._ticked_at = self._deadlines.clock()
        self._has_stood_still = False

    def run(self) -> None:
        self._watch()
        for name, backend in backends_of(self._handover.config).items():
            if backend.pool.preconnect:
                self._backends[name].preconnect()
        for acceptor in self._acceptors:
            acceptor.start()
        # What booting made lives as long as the worker: no collection needs to look at it again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(GC_THRESHOLD)
        self._row.serving()
        self._done.wait()
        self._access_log.close()

    def _watch(self) -> None:
        self._every(TICK_SECONDS, self._tick)
        self._every(BEAT_SECONDS, self._beat)
        self._every(LOG_FLUSH_SECONDS, self._access_log.flush)
        self._every(1.0, self._tidy)
        for number, action in (
            (signal.SIGTERM, self._drain),
            (RETIRE, self._retire),
            (signal.SIGINT, self._quit),
            (signal.SIGQUIT, self._quit),
            (signal.SIGUSR1, self._reopen),
        ):
            watcher = self._loop.signal(number)
            watcher.start(action)
            self._watchers.append(watcher)
        orphaned = self._loop.io(self._handover.orphan_fd, 1)
        orphaned.start(self._orphaned, orphaned)
        self._watchers.append(orphaned)

    def _every(self, seconds: float, action: Callable[[], None]) -> None:
        # Behind what has come in the same turn of the loop: it may be what a deadline waits for.
        timer = self._loop.timer(seconds, seconds, priority=self._loop.MINPRI)
        timer.start(action)
        self._watchers.append(timer)

    # Regular work

    def _tick(self) -> None:
        # After a stop (SIGSTOP, a frozen machine) the loop may come here before it has looked at its sockets: what
        # waits there came in time, for all we know. Once: a worker that is always late has deadlines too.
        now, last = self._deadlines.clock(), self._ticked_at
        self._ticked_at = now
        self._has_stood_still = now - last > STANDSTILL_SECONDS and not self._has_stood_still
        if not self._has_stood_still:
            self._deadlines.sweep()
        if self._is_draining and not self._front.sessions:
            self._proxy.is_stopping = True
            for backend in self._backends.values():
                backend.close()
            self._flush_queue.run()
            if not self._reactor.open_transports:
                self._done.set()

    def _beat(self) -> None:
        self._row.beat()
        self._row.count(self._proxy.active, self._proxy.requests)

    def _tidy(self) -> None:
        self._deadlines.refresh()
        for backend in self._backends.values():
            backend.tidy(self._deadlines.now)
        if self._is_draining:
            self._title()

    # Leaving

    def _drain(self) -> None:
        """Accept nothing new, finish what runs, leave."""
        self._leave(0.0)

    def _retire(self) -> None:
        """As `_drain`, with time: other workers take the place of this one."""
        timeouts = self._handover.config.timeouts
        self._leave(min(timeouts.last_call, timeouts.drain / 2))

    def _leave(self, within: float) -> None:
        self._deadlines.refresh()
        if not self._is_draining:
            self._is_draining = True
            self._row.draining()
            self._title()
            for acceptor in self._acceptors:
                acceptor.close()
            # What still runs at the drain deadline is broken off.
            self._later(self._handover.config.timeouts.drain, self._quit)
        self._front.drain(within)

    def _quit(self) -> None:
        """Leave at once: what runs is broken off visibly."""
        self._drain()
        self._proxy.is_stopping = True
        self._front.shut_down()
        self._later(QUICK_SECONDS, self._done.set)

    def _later(self, seconds: float, action: Callable[[], None]) -> None:
        timer = self._loop.timer(seconds)
        timer.start(action)
        self._watchers.append(timer)

    def _orphaned(self, watcher: Any) -> None:
        watcher.stop()
        _log.warning("the master is gone: draining")
        self._drain()

    def _reopen(self) -> None:
        errorlog.reopen()
        try:
            self._access_log.reopen()
        except StartError as error:
            _log.error("%s; still writing to the old file", error)

    def _title(self) -> None:
        slot, generation = self._handover.slot, self._handover.generation
        setproctitle.setproctitle(f"h2gate: worker {slot} [gen {generation}, draining {self._proxy.active}]")


def _handle_error(context: object, kind: Any, value: Any, traceback: Any) -> None:
    """Take the place of the hub's own report, which is a traceback."""
    if kind is not None and issubclass(kind, (KeyboardInterrupt, SystemExit)):
        os._exit(1)
    if kind is not None and issubclass(kind, gevent.get_hub().NOT_ERROR):
        return  # a name that the resolver's thread did not find: whoever asked is told
    _log.error("internal error", exc_info=(kind, value, traceback))


def _handle_unraisable(unraisable: Any) -> None:
    if isinstance(unraisable.exc_value, UnicodeDecodeError) and isinstance(unraisable.object, bytes):
        return  # `ssl`, of a server name that is not ASCII: the handshake fails, and that is logged
    error = unraisable.exc_value
    _log.error("internal error", exc_info=(unraisable.exc_type, error, unraisable.exc_traceback))


def _http1_engines(handover: Handover, engines: Engines) -> Callable[[bytes], Http1ServerEngine]:
    limits = handover.config.limits
    settings = Http1Settings(header_list=limits.header_list, fields=limits.fields, request_line=limits.request_line)
    return lambda scheme: engines.http1_server(settings, scheme)


def _http2_engines(handover: Handover, engines: Engines) -> Callable[[], Http2ServerEngine]:
    limits = handover.config.limits
    settings = Http2Settings(
        max_streams=limits.streams,
        stream_window=limits.stream_window,
        connection_window=limits.connection_window,
        header_list=limits.header_list,
        fields=limits.fields,
        enable_connect=True,
    )
    return lambda: engines.http2_server(settings)


def _client_engines(handover: Handover, engines: Engines, name: str) -> Callable[[], Http2ClientEngine]:
    limits = handover.config.limits
    pool = backends_of(handover.config)[name].pool
    settings = Http2Settings(
        stream_window=pool.stream_window,
        connection_window=pool.connection_window,
        header_list=limits.response_header_list,
        fields=limits.response_fields,
    )
    return lambda: engines.http2_client(settings)
