"""A real master with a stub worker: `python stub_gate.py CONFIG`.

The worker greets every connection with a line that names its process and generation, then sends back each line it
gets, until the client leaves. What it does wrong is said by the file that STUB_MOOD names, read when it boots.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import socket
import sys
import time
from pathlib import Path

from h2gate import errorlog
from h2gate.config.model import Config
from h2gate.errors import StartError
from h2gate.handover import RETIRE, EngineChoice, Handover
from h2gate.master import Master, slots

LOG = logging.getLogger(errorlog.LOGGER)


class StubWorker:
    def __init__(self, handover: Handover) -> None:
        self.handover = handover
        self.selector = selectors.DefaultSelector()
        self.clients: set[socket.socket] = set()
        self.requests = 0
        self.draining = False
        self.stopped = False
        self.deaf = False
        reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(writer)
        for number in (RETIRE, signal.SIGTERM, signal.SIGQUIT, signal.SIGINT, signal.SIGUSR1):
            signal.signal(number, lambda *_: None)
        self.selector.register(reader, selectors.EVENT_READ, self.signalled)
        self.selector.register(handover.orphan_fd, selectors.EVENT_READ, self.orphaned)
        for listener in handover.listeners:
            self.selector.register(listener.socket, selectors.EVENT_READ, self.accept)

    def run(self) -> None:
        self.handover.row.serving()
        while not self.stopped and not (self.draining and not self.clients):
            self.handover.row.beat()
            self.handover.row.connected(len(self.clients))
            self.handover.row.count(0, self.requests)
            for key, _ in self.selector.select(0.1):
                key.data(key.fileobj)

    def signalled(self, reader: int) -> None:
        for number in os.read(reader, 100):
            LOG.info("stub %d got %s", self.handover.slot, signal.Signals(number).name)
            if number == signal.SIGUSR1:
                errorlog.reopen()
            elif number not in (RETIRE, signal.SIGTERM):
                self.stopped = True
            elif not self.deaf:
                self.drain()

    def orphaned(self, descriptor: int) -> None:
        self.selector.unregister(descriptor)
        self.drain()

    def drain(self) -> None:
        if not self.draining:
            self.draining = True
            self.handover.row.draining()
            for listener in self.handover.listeners:
                self.selector.unregister(listener.socket)
                listener.socket.close()

    def accept(self, listener: socket.socket) -> None:
        try:
            client, _ = listener.accept()
        except BlockingIOError:
            return  # another worker was faster
        client.setblocking(True)
        self.clients.add(client)
        self.selector.register(client, selectors.EVENT_READ, self.read)
        client.sendall(f"{os.getpid()} {self.handover.generation} {self.handover.slot}\n".encode())

    def read(self, client: socket.socket) -> None:
        data = client.recv(4096)
        self.requests += 1
        if data == b"hang\n":
            while True:
                time.sleep(60)  # blocked, as a hub can be: no beat, no signal is looked at
        elif data == b"raise\n":
            raise RuntimeError("told\nto")
        elif data == b"deaf\n":
            self.deaf = True
        if data:
            client.sendall(data)
        else:
            self.selector.unregister(client)
            self.clients.discard(client)
            client.close()


def run_worker(handover: Handover) -> None:
    try:
        mood = Path(os.environ["STUB_MOOD"]).read_text().strip()
    except OSError:
        mood = ""
    if mood == "raise":
        raise RuntimeError("cannot boot")
    if mood == "refuse":
        raise StartError("cannot open its access log", 73)
    if mood == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    worker = StubWorker(handover)
    if mood == "never":
        signal.pause()
        while True:
            signal.pause()
    if mood == "crash":
        handover.row.serving()
        os._exit(9)
    worker.run()


def choose_engine(config: Config) -> EngineChoice:
    """Take what is asked for; the stub needs no engine."""
    if config.engine == "auto":
        return EngineChoice("python", "the native engine is missing")
    return EngineChoice(config.engine)


if __name__ == "__main__":
    if "STUB_STUCK_SECONDS" in os.environ:
        slots.Patience.__init__.__defaults__ = (float(os.environ["STUB_STUCK_SECONDS"]),)
    try:
        sys.exit(Master(Path(sys.argv[1]), run_worker, choose_engine, os.environ).run())
    except StartError as failure:
        print(f"h2gate: {failure}", file=sys.stderr)
        sys.exit(failure.exit_code)
