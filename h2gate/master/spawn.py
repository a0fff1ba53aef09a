"""The fork, and the first and last moments of a worker's life.

The rule: a child gives up all that is the master's before it runs anything of its own, and never returns.
"""

from __future__ import annotations

import faulthandler
import gc
import logging
import os
import sys
from collections.abc import Callable
from typing import NoReturn

from setproctitle import setproctitle

from h2gate import errorlog
from h2gate.errors import ExitCode, StartError
from h2gate.handover import Handover
from h2gate.master import signals
from h2gate.master.account import Account

LOG = logging.getLogger(errorlog.LOGGER)


class Spawner:
    """Forks workers. `leave` closes, in the child, what is the master's."""

    def __init__(
        self,
        run_worker: Callable[[Handover], None],
        account: Account | None,
        leave: Callable[[Handover], None],
    ) -> None:
        self._run_worker = run_worker
        self._account = account
        self._leave = leave

    def spawn(self, handover: Handover) -> int:
        """Return the process id of a new worker. Raises OSError where there can be none."""
        # What is buffered now would be written twice.
        sys.stdout.flush()
        sys.stderr.flush()
        with signals.held_back():
            pid = os.fork()
            if pid == 0:
                self._live(handover)
        return pid

    def _live(self, handover: Handover) -> NoReturn:
        code = 1
        try:
            self._leave(handover)
            signals.restore_defaults()
            setproctitle(f"h2gate: worker {handover.slot} [gen {handover.generation}]")
            if self._account is not None:
                self._account.become()
            # The master sends ABRT to a worker that hangs: this writes all stacks, and only C code must still run.
            faulthandler.enable(errorlog.descriptor(), all_threads=True)
            self._run_worker(handover)
            code = ExitCode.OK
        except StartError as failure:
            LOG.error("worker %d: %s", handover.slot, failure)
            code = failure.exit_code
        except SystemExit as leaving:
            code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
        except BaseException as failure:  # gevent's Timeout and GreenletExit are no Exceptions
            LOG.error("worker %d broke: %s", handover.slot, errorlog.summary(failure))
            LOG.debug("in worker %d", handover.slot, exc_info=True)
        finally:
            _end(code)


def settle_memory() -> None:
    """Before a generation's forks: what is alive now is left out of every later collection, so that it stays shared.

    A collection writes into each object it looks at, and thereby copies its page. What the generations before have
    left is thawed and collected first.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def _end(code: int) -> NoReturn:
    """Leave without the interpreter's farewell, which would run what the master has registered."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            continue  # nobody reads it any more
    os._exit(code)
