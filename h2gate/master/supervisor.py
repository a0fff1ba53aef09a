"""The supervise loop: what has come in since the last turn, tested in a fixed order.

Owns the generations and the state of the gate as a whole. The rule: a turn never waits for anything but its poll();
whatever takes time (a generation that boots, one that drains, a reload) is state that the next turns look at, so that
a signal, a dead worker and a command are noticed at any moment.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import time
from collections import Counter
from collections.abc import Callable, MutableMapping, Sequence
from pathlib import Path
from typing import Any

import setproctitle

from h2gate import __version__, errorlog
from h2gate.config.loader import told_by_place
from h2gate.config.model import Config, ErrorLog
from h2gate.errors import StartError
from h2gate.handover import RETIRE, EngineChoice, Handover
from h2gate.master import account, status
from h2gate.master.control import Control, Request
from h2gate.master.generation import Generation, Nursery
from h2gate.master.pidfile import Pidfile
from h2gate.master.plan import Plan, prepare, worker_count
from h2gate.master.reload import Reloads, problems_of, restart_only
from h2gate.master.scoreboard import Scoreboard
from h2gate.master.signals import Order, SignalPipe
from h2gate.master.sockets import Sockets, from_systemd
from h2gate.master.spawn import Spawner, settle_memory
from h2gate.master.stopping import Stop, escalate

LOG = logging.getLogger(errorlog.LOGGER)

# A worker told to be quick breaks everything off within half a second.
QUICK_SECONDS = 2.0

COMMANDS = ("status", "reload", "stop", "quit")

# Where the title may go is found out now: later, changes of the environment would mislead it.
setproctitle.getproctitle()


class Master:
    """Its caller knows of HTTP: `run_worker` is what a worker does, `choose_engine` finds and imports its engines."""

    def __init__(
        self,
        config_path: Path,
        run_worker: Callable[[Handover], None],
        choose_engine: Callable[[Config], EngineChoice],
        environ: MutableMapping[str, str],
    ) -> None:
        self._config_path = config_path
        self._run_worker = run_worker
        self._choose_engine = choose_engine
        self._environ = environ
        self._began = time.monotonic()
        self._stop = Stop.NO
        self._exit_code = 0
        self._resize = 0
        # All that have a process or may get one; the current one serves, the others boot or drain.
        self._generations: list[Generation] = []
        self._current: Generation | None = None
        self._last_number = 0
        self._reloads = Reloads()
        self._control: Control | None = None
        self._listeners: list[dict[str, Any]] = []
        self._title = ""

    def run(self) -> int:
        """Serve until told to stop, and return the exit code. Raises StartError where it cannot begin."""
        with contextlib.ExitStack() as farewell:
            self._start(farewell)
            while self._generations:
                self._turn()
            LOG.info("h2gate has stopped")
        return self._exit_code

    # The start

    def _start(self, farewell: contextlib.ExitStack) -> None:
        """Acquire all that is the master's, each with its end, and begin the first generation."""
        self._signals = SignalPipe()
        farewell.callback(self._signals.close)
        errorlog.configure(ErrorLog())  # until the config says where
        self._sockets = Sockets(from_systemd(self._environ))
        farewell.callback(self._sockets.close)
        plan = prepare(self._config_path, self._environ, self._sockets, self._choose_engine)
        config = self._start_config = plan.config
        with told_by_place(self._config_path, self._environ):
            self._account = account.find(config.user)
        self._set_log(plan)
        for address in self._sockets.keep_only(config.listeners):
            LOG.warning("systemd passed %s, which no listener has as its address: closed", address)
        if config.control is not None:
            self._control = Control(config.control, COMMANDS)
            farewell.callback(self._control.close)
        if config.pidfile is not None:
            farewell.callback(Pidfile(config.pidfile).remove)
        # Only the master holds the write end: when it is gone, however it went, the workers read EOF.
        orphan_fd, self._alive_fd = os.pipe2(os.O_CLOEXEC)
        farewell.callback(os.close, orphan_fd)
        farewell.callback(os.close, self._alive_fd)
        scoreboard = Scoreboard()
        spawner = Spawner(self._run_worker, self._account, self._leave)
        self._nursery = Nursery(spawner.spawn, scoreboard, orphan_fd)
        self._poll = select.poll()
        LOG.info("h2gate %s starts with %s", __version__, self._config_path)
        self._begin(plan, ())

    def _leave(self, handover: Handover) -> None:
        """In a child: close what is the master's."""
        self._signals.leave()
        os.close(self._alive_fd)
        if self._control is not None:
            self._control.leave()
        self._sockets.close_others(listener.socket for listener in handover.listeners)

    def _set_log(self, plan: Plan) -> None:
        errorlog.make_access_log(plan.config.access_log.path, self._log_owner)
        errorlog.configure(plan.config.error_log, self._log_owner)

    @property
    def _log_owner(self) -> int | None:
        return None if self._account is None else self._account.uid

    # The loop

    def _turn(self) -> None:
        self._wait()
        now = time.monotonic()
        orders = Counter(self._signals.orders())
        requests = self._control.requests(now) if self._control is not None else []
        self._take_commands(requests, orders)
        # Leaving comes first: what follows must begin nothing for a gate that ends.
        if orders[Order.QUIT]:
            self._leave_by(Order.QUIT, now)
        elif orders[Order.DRAIN]:
            self._leave_by(Order.DRAIN, now)
        # Before the steps, so that a lost worker is replaced in the same turn.
        self._reap(now)
        if orders[Order.REOPEN]:
            self._reopen()
        if orders[Order.RELOAD]:
            self._reloads.want()
        if self._reloads.can_begin and not self._stop:
            self._reload()
        self._resize += orders[Order.MORE] - orders[Order.FEWER]
        self._resize_current(now)
        for generation in self._generations:
            generation.step(now)
        self._decide(now)
        self._generations = [generation for generation in self._generations if not generation.is_gone]
        self._show_title()
        for request in requests:
            if request.command == "status":
                request.answer(**self._status(now))

    def _status(self, now: float) -> dict[str, Any]:
        return status.report(
            config_path=self._config_path,
            uptime=now - self._began,
            stop=self._stop,
            current=self._current,
            generations=self._generations,
            listeners=self._listeners,
            last_reload=self._reloads.last,
            now=now,
        )

    def _show_title(self) -> None:
        title = status.title(self._stop, self._current, self._generations)
        if title != self._title:
            self._title = title
            setproctitle.setproctitle(title)

    def _wait(self) -> None:
        """Sleep until a signal, a client of the control socket, or the next thing that is due."""
        now = time.monotonic()
        wanted = {self._signals.fileno(): select.POLLIN}
        deadlines = [generation.wake_at(now) for generation in self._generations]
        if self._control is not None:
            wanted.update(self._control.waiting(now))
            deadlines.append(self._control.wake_at())
        for descriptor, events in wanted.items():
            self._poll.register(descriptor, events)
        self._poll.poll(max(0.0, min(deadlines) - now) * 1000)
        for descriptor in wanted:
            self._poll.unregister(descriptor)

    def _take_commands(self, requests: list[Request], orders: Counter[Order]) -> None:
        for request in requests:
            if request.command == "reload":
                if self._stop:
                    request.refuse(["the gate is stopping"])
                else:
                    self._reloads.want([request])
            elif request.command == "quit":
                request.answer_and_stay(pid=os.getpid())
                orders[Order.QUIT] += 1
            elif request.command == "stop":
                request.answer_and_stay(pid=os.getpid())
                # Two scripts that say stop are not in a hurry, as somebody is who sends TERM again.
                orders[Order.DRAIN] += 0 if self._stop else 1

    def _reap(self, now: float) -> None:
        while True:
            try:
                pid, wait_status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if not any(generation.reap(pid, wait_status, now) for generation in self._generations):
                # As process 1 of a container the master inherits strangers.
                LOG.debug("reaped process %d, which was no worker", pid)

    def _reopen(self) -> None:
        errorlog.reopen()
        LOG.info("logs reopened")
        for generation in self._generations:
            with contextlib.suppress(StartError):  # its workers cannot open it either, and say so
                errorlog.make_access_log(generation.plan.config.access_log.path, self._log_owner)
            generation.reopen()

    def _resize_current(self, now: float) -> None:
        # During a reload the order waits: it is meant for the generation that stays.
        if self._resize and self._current is not None and self._reloads.incoming is None and not self._stop:
            self._current.resize(self._resize, now)
            self._resize = 0
            LOG.info("generation %d is to have %s", self._current.number, status.workers(self._current.size))

    # Generations

    def _begin(self, plan: Plan, warnings: Sequence[str]) -> None:
        """Fork a generation at the next step; it becomes the current one once all its workers serve."""
        if plan.engine.lacks:
            LOG.warning("%s", plan.engine.lacks)
        settle_memory()
        self._last_number += 1
        incoming = Generation(self._last_number, plan, worker_count(plan.config), self._nursery, time.monotonic())
        self._generations.append(incoming)
        self._reloads.boots(incoming, warnings)

    def _reload(self) -> None:
        self._reloads.begin()
        LOG.info("reloading %s", self._config_path)
        try:
            plan = prepare(self._config_path, self._environ, self._sockets, self._choose_engine)
            self._set_log(plan)
        except StartError as failure:
            self._reload_failed(problems_of(failure))
        except Exception as failure:
            # A mistake of ours, met by a config we did not think of, must not cost the generation that serves.
            LOG.debug("while reloading", exc_info=True)
            self._reload_failed([f"internal error: {errorlog.summary(failure)}"])
        else:
            warnings = restart_only(self._start_config, plan.config)
            for warning in warnings:
                LOG.warning("%s", warning)
            self._begin(plan, warnings)

    def _reload_failed(self, problems: list[str]) -> None:
        """Go back to what the current generation has."""
        assert self._current is not None  # a reload begins only when no other generation boots
        for problem in problems:
            for line in problem.splitlines():
                LOG.error("%s", line)
        self._sockets.keep_only(self._current.plan.config.listeners)
        self._reloads.fail(self._current.number, problems)
        LOG.error("reload failed: generation %d stays", self._current.number)

    def _decide(self, now: float) -> None:
        incoming = self._reloads.incoming
        if incoming is None:
            return
        if incoming.boot_failure is not None:
            incoming.retire(signal.SIGQUIT, QUICK_SECONDS, now)
            if self._current is None:
                LOG.error("h2gate cannot start")
                self._exit_code = incoming.boot_failure.exit_code
                self._stop = Stop.QUICK
                self._reloads.give_up()
            else:
                self._return_log()
                self._reload_failed([incoming.boot_failure.message])
        elif incoming.is_established:
            self._promote(incoming, now)

    def _promote(self, incoming: Generation, now: float) -> None:
        previous, self._current = self._current, incoming
        self._listeners = status.listeners_of(incoming.plan)
        addresses = ", ".join(listener["address"] for listener in self._listeners)
        LOG.info(
            "generation %d serves on %s with %s, engine %s",
            incoming.number,
            addresses,
            status.workers(incoming.size),
            incoming.plan.engine.name,
        )
        if previous is None:
            self._reloads.incoming = None
            return
        previous.retire(RETIRE, previous.drain_patience, now)
        for address in self._sockets.keep_only(incoming.plan.config.listeners):
            LOG.info("no longer listening on %s", address)
        self._reloads.succeed(incoming.number)

    def _return_log(self) -> None:
        assert self._current is not None
        try:
            self._set_log(self._current.plan)
        except StartError as failure:
            LOG.error("%s; writing to the new log", failure)

    # The end

    def _leave_by(self, order: Order, now: float) -> None:
        self._stop = escalate(self._stop, order)
        LOG.info("stopping: %s", self._stop.name.lower())
        self._reloads.give_up()
        # Once the workers have closed theirs, too, new clients are refused and try elsewhere.
        self._sockets.close()
        for generation in self._generations:
            if self._stop is Stop.DRAIN:
                generation.retire(signal.SIGTERM, generation.drain_patience, now)
            elif self._stop is Stop.QUICK:
                generation.retire(signal.SIGQUIT, QUICK_SECONDS, now)
            else:
                generation.kill(now)
