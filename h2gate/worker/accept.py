"""Accept connections: a watcher per listener, a few sockets at a time.

All workers watch the same listening sockets; small batches spread a burst over them, and so does the worker that has
more connections than another: it lets the other go first. Rule: that may delay clients, but never for long, and takes a
tenth of the time at most.
"""

from __future__ import annotations

import errno
import logging
import socket
from ipaddress import ip_address, ip_network
from typing import Any

from h2gate.contract import Client
from h2gate.frontend.front import Front
from h2gate.frontend.serve import ProxyRules, serve
from h2gate.handover import BoundListener, Row
from h2gate.net.deadlines import Deadline
from h2gate.net.token_bucket import TokenBucket

# A whole burst in one worker would leave the others idle and delay what it already serves.
BATCH = 8
# A worker that has more connections than another waits so long before it takes one more: the other, if it is not busy,
# takes it first. Without this, one of two workers gets nearly all clients that connect in the same moment.
YIELD_SECONDS = 0.002
# So often in a second it does so, and so often at once. Where more clients come, chance spreads them; to wait for each
# let two workers take 900 connections a second together, and one alone 7000.
YIELDS = 50
# With no descriptor left, accepting again at once would spin.
PAUSE_SECONDS = 0.5

_OUT_OF_DESCRIPTORS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

_log = logging.getLogger("h2gate")


class Acceptor:
    """Accepts on one listener until it is closed."""

    __slots__ = (
        "_front",
        "_is_closed",
        "_is_exhausted",
        "_listener",
        "_local_port",
        "_pause",
        "_proxied",
        "_row",
        "_scheme",
        "_trusted",
        "_watcher",
        "_yield",
        "_yields",
    )

    def __init__(self, front: Front, listener: BoundListener, row: Row) -> None:
        self._front = front
        self._row = row
        self._listener = listener
        self._scheme = b"https" if listener.tls is not None else b"http"
        self._trusted = [ip_network(str(network)) for network in listener.config.trusted_proxies]
        accepts = listener.config.proxy_protocol
        self._proxied = None if accepts == "off" else ProxyRules(accepts, self._trusts)
        name = listener.socket.getsockname()
        self._local_port = name[1] if isinstance(name, tuple) else 0
        self._pause = Deadline(self.start)
        self._yield: Any = None
        self._yields = TokenBucket(YIELDS, YIELDS, front.deadlines.now)
        self._watcher: Any = front.reactor.loop.io(listener.socket.fileno(), 1)
        # Said already; not again before a connection has been accepted.
        self._is_exhausted = False
        self._is_closed = False

    def start(self) -> None:
        self._watcher.start(self._ready)

    def close(self) -> None:
        """Accept no more. What waits in the backlog is for other workers: the socket is theirs too."""
        self._is_closed = True
        self._front.deadlines.cancel(self._pause)
        if self._yield is not None:
            self._yield.close()
        self._watcher.stop()
        self._watcher.close()
        self._listener.socket.close()

    def _ready(self) -> None:
        self._front.deadlines.refresh()
        for count in range(BATCH):
            if self._row.is_ahead() and self._yields.refill(self._front.deadlines.now):
                # Behind one that was taken there may be no other; if there is, this is called again at once.
                if count == 0:
                    self._begin_yield()
                return
            if not self._accept():
                return

    def _begin_yield(self) -> None:
        self._yields.take(self._front.deadlines.now)
        self._watcher.stop()
        self._yield = self._front.reactor.loop.timer(YIELD_SECONDS)
        self._yield.start(self._yielded)

    def _yielded(self) -> None:
        """Nobody else may have had the time: take one, so that it does not wait for ever."""
        self._front.deadlines.refresh()
        self._yield.close()
        self._yield = None
        self.start()
        self._accept()

    def _accept(self) -> bool:
        """Accept one connection if there is one, and return whether there may be another."""
        if self._front.is_full:
            self._watcher.stop()
            self._front.wait_for_room(self._resume)
            return False
        try:
            sock, address = self._listener.socket.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return False
        except OSError as error:
            self._failed(error)
            return False
        self._is_exhausted = False
        sock.setblocking(False)
        client = self._client(sock, address)
        if self._proxied is not None and client.has_address and not client.is_trusted:
            _log.info("client %s: closed: not in trusted_proxies, and PROXY headers are expected here", client.name)
            sock.close()
            return True
        serve(self._front, sock, client, self._listener.tls, self._proxied)
        return True

    def _resume(self) -> None:
        if not self._is_closed:
            self.start()

    def _failed(self, error: OSError) -> None:
        address = self._listener.config.address
        if error.errno not in _OUT_OF_DESCRIPTORS:
            _log.warning("%s: accept: %s", address, error.strerror)
            return
        self._watcher.stop()
        self._front.deadlines.arm(self._pause, PAUSE_SECONDS)
        if not self._is_exhausted:
            self._is_exhausted = True
            _log.error("%s: cannot accept (%s): raise LimitNOFILE or the memory limit", address, error.strerror)

    def _client(self, sock: socket.socket, address: Any) -> Client:
        if sock.family == socket.AF_UNIX:
            # Whoever may write to the socket file is as near as a process on this machine can be.
            return Client("unix:", 0, 0, self._scheme, is_trusted=bool(self._trusted))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        host = address[0].split("%")[0]
        if host.startswith("::ffff:") and "." in host:
            host = host[7:]
        return Client(host, address[1], self._local_port, self._scheme, self._trusts(host))

    def _trusts(self, host: str) -> bool:
        if not self._trusted:
            return False
        address = ip_address(host)
        return any(address in network for network in self._trusted)
