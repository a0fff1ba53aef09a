"""A connected socket that calls its owner.

The socket is non-blocking and watched by the hub; the watchers call the transport from the hub itself, with no
greenlet per connection: on CPython 3.11 a greenlet's frame stack alone is 16 KiB, as much as an idle
client may cost in all. It also enforces the house's rule: what blocks in a hub callback raises at once.

Rule: `write` takes everything, sends what the kernel takes now and keeps the rest. An owner asks
`has_room` before it drains its engine, and is called by `on_writable` when there is room again.

An error of our own that reaches the hub ends here: it costs this connection, not the worker.
"""

from __future__ import annotations

import fcntl
import logging
import socket
import ssl
import struct
import termios
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from h2gate.net.deadlines import Deadline
from h2gate.net.reactor import Reactor
from h2gate.net.tls import TlsLayer, describe_tls_error

READ_EVENT, WRITE_EVENT = 1, 2  # libev's
READ_BYTES = 65_536
# A read that fills its buffer is followed by larger ones: a body then costs a quarter of the turns of the loop. One
# that would have had room in the first size brings that back: to take this much for every small read costs 20 us.
MOST_READ_BYTES = 262_144
# What may wait in user space behind a full socket buffer; with it, one slow client holds at most
# this and one stream window.
HIGH_WATER_BYTES = 65_536
# An owner that found no room is called again at this level: once per half buffer, not once per segment.
LOW_WATER_BYTES = HIGH_WATER_BYTES // 2
# Owners stop at twice the mark above. What comes on top answers a peer that changes its keys (RFC 8446, 4.6.3), and
# reads no answer: it would have us hold any amount.
MOST_PENDING_BYTES = 4 * HIGH_WATER_BYTES
# A closing peer that takes nothing of the last bytes for so long is cut off (the default of `timeouts.client_write`).
FINISH_STALL_SECONDS = 30.0
# Then its own end is waited for, each piece it still sends prolonging the wait: to close earlier would let the kernel
# answer such a piece by a reset, which takes the last bytes away (RFC 9112, 9.6). Apache goes on for 30 s in all;
# whoever has not read our answer after five will not, and a flood must not be read for longer.
LINGER_SECONDS = 2.0
LINGER_MAX_SECONDS = 5.0
# What `on_end` says when the error was ours and not the peer's.
INTERNAL_ERROR = "internal error"
_HTTP_ON_TLS = (
    b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Content-Length: 31\r\n\r\nthis port speaks TLS: https://\n"
)
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)

_log = logging.getLogger("h2gate")


class Owner(Protocol):
    """Who reads and writes a transport. Called from the hub: nothing here may block."""

    def on_bytes(self, data: bytes) -> None: ...

    def on_end(self, error: str) -> None:
        """The peer is gone: `error` says how; empty for an orderly end, also of its sending side only.

        The latter but for `Transport.allow_half_close`. Called once, for the last time. The socket is closed after it;
        `abort` in it makes that a reset, so that a peer that closed only its side does not take a message that breaks
        off for a whole one.
        """

    def on_writable(self) -> None: ...

    def on_secured(self, alpn: str | None) -> None:
        """The TLS handshake of a server's transport is done."""


class Transport:
    __slots__ = (
        "_accepts",
        "_had_no_room",
        "_half_closed",
        "_has_peer_ended",
        "_is_half_closed",
        "_is_paused",
        "_linger",
        "_linger_taken",
        "_linger_until",
        "_outgoing",
        "_owner",
        "_reactor",
        "_read_bytes",
        "_read_watcher",
        "_sent",
        "_socket",
        "_tls",
        "_write_watcher",
        "bytes_in",
        "bytes_out",
        "is_closed",
        "is_finishing",
        "pending",
        "released",
    )

    def __init__(self, reactor: Reactor, sock: socket.socket, tls: TlsLayer | None = None) -> None:
        self._reactor = reactor
        self._socket = sock
        self._tls = tls
        self._owner: Owner | None = None
        reactor.open_transports += 1
        # Reading
        self._read_watcher = reactor.loop.io(sock.fileno(), READ_EVENT)
        self._is_paused = False
        # Who is told that the peer closed its side only; None: such a peer is gone.
        self._half_closed: Callable[[], None] | None = None
        self._is_half_closed = False
        self._read_bytes = READ_BYTES
        self.bytes_in = 0
        # Writing
        self._write_watcher: Any = None
        self._outgoing: deque[memoryview] = deque()
        self._accepts = True
        self._had_no_room = False
        self.pending = 0
        self.bytes_out = 0
        self._sent = 0
        # Closing
        self._linger: Deadline | None = None
        self._linger_taken = 0
        self._linger_until = 0.0
        self._has_peer_ended = False
        self.is_closed = False
        self.is_finishing = False
        # Called once the connection is closed, whoever closed it, or only its peer's end is waited for.
        self.released: Callable[[], None] | None = None

    def start(self, owner: Owner) -> None:
        """Begin to read for `owner`."""
        self._owner = owner
        self._read_watcher.start(self._readable)
        if self._tls is not None and self._tls.is_established:
            # The handshake's last bytes may have brought data with them, of which the socket says nothing any more.
            self._reactor.loop.run_callback(self._take_early)

    def change_owner(self, owner: Owner) -> None:
        self._owner = owner

    def secure(self, tls: TlsLayer, data: bytes) -> None:
        """Speak TLS from here on: what came so far was before it, but for `data`, its first bytes. For `on_bytes`."""
        self._tls = tls
        if data:
            self._take_ciphertext(tls, data)

    # Reading

    def pause(self) -> None:
        """Stop reading; a peer that leaves meanwhile is still noticed, and what it sent before is lost.

        With `allow_half_close` that is one that resets: whoever only closed its side is heard to the end.
        """
        if not self._is_paused and not self.is_closed and not self.is_finishing and not self._is_half_closed:
            self._is_paused = True
            self._read_watcher.stop()
            self._watch_hangup()

    def resume(self) -> None:
        if self._is_paused and not self.is_closed:
            self._is_paused = False
            self._reactor.hangups.remove(self._socket.fileno())
            self._read_watcher.start(self._readable)

    def allow_half_close(self, half_closed: Callable[[], None]) -> None:
        """Let the peer close its side only: `half_closed` is called once, behind its last bytes, and writing goes on.

        In TLS that is close_notify: an end of TCP alone may be anybody's (RFC 8446, 6.1), and is as always.
        """
        if self.is_closed or self.is_finishing:
            return
        was_paused = self._is_paused
        self.resume()
        self._half_closed = half_closed
        if was_paused:
            self.pause()

    def _readable(self) -> None:
        self._reactor.deadlines.refresh()
        try:
            data = self._socket.recv(self._read_bytes)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._lost(describe(error))
            return
        if len(data) == self._read_bytes:
            self._read_bytes = MOST_READ_BYTES
        elif len(data) < READ_BYTES:
            self._read_bytes = READ_BYTES
        self._take(data)

    def _take(self, data: bytes) -> None:
        try:
            if self.is_finishing:
                self._discard(data)
            elif self._tls is not None:
                self._take_ciphertext(self._tls, data)
            elif data:
                assert self._owner is not None
                self.bytes_in += len(data)
                self._owner.on_bytes(data)
            else:
                self._has_peer_ended = True
                self._ended()
        except Exception:
            self.fail()

    def _take_ciphertext(self, tls: TlsLayer, data: bytes) -> None:
        was_established = tls.is_established
        try:
            tls.feed(data)
            if not was_established:
                tls.handshake()
        except ssl.SSLError as error:
            self._refuse(tls, error)
            return
        if not was_established:
            self._send(tls.ciphertext())
            if not tls.is_established:
                return
            assert self._owner is not None
            self._owner.on_secured(tls.alpn)
        if not self.is_closed and not self.is_finishing:
            self._take_plaintext(tls)

    def _take_plaintext(self, tls: TlsLayer) -> None:
        try:
            plaintext, is_over = tls.plaintext()
        except ssl.SSLError as error:
            self._refuse(tls, error)
            return
        answer = tls.ciphertext()
        if answer:  # to a key update
            self._send(answer)
            if self.pending > MOST_PENDING_BYTES:
                self._lost("TLS: key updates whose answers are not read")
                return
        if plaintext:
            assert self._owner is not None
            self.bytes_in += len(plaintext)
            self._owner.on_bytes(plaintext)
        if is_over and self.is_finishing:
            self._discard(b"")
        elif is_over and tls.is_ended:
            self._ended()
        elif is_over:
            self._lost("")

    def _take_early(self) -> None:
        self._reactor.deadlines.refresh()
        if self._tls is not None and not self.is_closed and not self.is_finishing:
            try:
                self._take_plaintext(self._tls)
            except Exception:
                self.fail()

    def _ended(self) -> None:
        """The peer has closed its side."""
        if self._half_closed is None:
            self._lost("")
        elif not self.is_closed and not self._is_half_closed:
            self.resume()
            self._is_half_closed = True
            # An end is readable for ever.
            self._read_watcher.stop()
            self._watch_hangup()
            self._half_closed()

    def _watch_hangup(self) -> None:
        self._reactor.hangups.add(self._socket.fileno(), self._hung_up, resets_only=self._half_closed is not None)

    def _refuse(self, tls: TlsLayer, error: ssl.SSLError) -> None:
        """End a connection whose TLS the peer broke; the alert says why (RFC 8446, 6.2)."""
        alert = tls.ciphertext()
        # OpenSSL has no alert for that, and the peer could not read it.
        self._send(_HTTP_ON_TLS if error.reason == "HTTP_REQUEST" else alert)
        self._lost(f"TLS: {describe_tls_error(error)}")

    def _hung_up(self) -> None:
        self._reactor.deadlines.refresh()
        self._is_paused = self._is_half_closed = False  # the watch has forgotten the socket
        self._lost("")

    # Writing

    @property
    def has_room(self) -> bool:
        return self.pending < HIGH_WATER_BYTES and self._accepts

    def write(self, data: bytes) -> None:
        """Send `data`, now or when the kernel takes it."""
        if not self._accepts:
            return
        self.bytes_out += len(data)
        if self._tls is not None:
            try:
                data = self._tls.encrypt(data)
            except ssl.SSLError as error:
                self._write_failed(f"TLS: {describe_tls_error(error)}")
                return
        self._send(data)

    def _send(self, data: bytes) -> None:
        if not data or not self._accepts:
            return
        sent = 0
        if not self._outgoing:
            try:
                sent = self._socket.send(data)
            except (BlockingIOError, InterruptedError):
                pass
            except OSError as error:
                self._write_failed(describe(error))
                return
            self._sent += sent
            if sent == len(data):
                return
            self._watch_writable()
        self._outgoing.append(memoryview(data)[sent:])
        self.pending += len(data) - sent
        if self.pending >= HIGH_WATER_BYTES:
            self._had_no_room = True

    def _watch_writable(self) -> None:
        if self._write_watcher is None:
            self._write_watcher = self._reactor.loop.io(self._socket.fileno(), WRITE_EVENT)
        self._write_watcher.start(self._writable)

    def _writable(self) -> None:
        self._reactor.deadlines.refresh()
        outgoing = self._outgoing
        while outgoing:
            view = outgoing[0]
            try:
                sent = self._socket.send(view)
            except (BlockingIOError, InterruptedError):
                break
            except OSError as error:
                self._write_failed(describe(error))
                return
            self.pending -= sent
            self._sent += sent
            if sent < len(view):
                outgoing[0] = view[sent:]
                break
            outgoing.popleft()
        if not outgoing:
            self._write_watcher.stop()
        if self.is_finishing:
            self._go_on_finishing()
        elif not outgoing or (self._had_no_room and self.pending <= LOW_WATER_BYTES):
            self._had_no_room = False
            assert self._owner is not None
            try:
                self._owner.on_writable()
            except Exception:
                self.fail()

    def _write_failed(self, error: str) -> None:
        """Take no more; the owner, who may be in the middle of a call, learns of it from the hub."""
        self._accepts = False
        self._outgoing.clear()
        self.pending = 0
        if self._write_watcher is not None:
            self._write_watcher.stop()
        self._reactor.loop.run_callback(self._take_rest, error)

    def _take_rest(self, error: str) -> None:
        self._reactor.deadlines.refresh()
        # What came before the peer reset the connection still counts: an early response, a GOAWAY.
        while not self.is_closed and not self._is_paused:
            try:
                data = self._socket.recv(READ_BYTES)
            except OSError:
                break
            if not data:
                break
            self._take(data)
        self._lost(error)

    # Closing

    def finish(self) -> None:
        """Send what waits, close our side, and drop the socket when the peer has closed or after a while.

        The owner hears nothing any more.
        """
        if self.is_closed or self.is_finishing:
            return
        if self._tls is not None and self._tls.is_established:
            self._send(self._tls.close_notify())
        self.resume()
        if self._is_half_closed:
            self._is_half_closed = False
            self._reactor.hangups.remove(self._socket.fileno())
            if not self._has_peer_ended:
                self._read_watcher.start(self._readable)
        self.is_finishing = True
        self._owner = self._half_closed = None
        self._linger = Deadline(self._linger_over)
        # After a failed write nothing is left to send, and the hub will close.
        if self._accepts:
            self._accepts = False
            self._go_on_finishing()

    def _go_on_finishing(self) -> None:
        assert self._linger is not None
        if self._outgoing:
            if not self._linger.is_armed:
                self._linger_taken = self.bytes_taken
                self._reactor.deadlines.arm(self._linger, FINISH_STALL_SECONDS)
            return
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            self._close()
            return
        if self._has_peer_ended:
            self._close()
        else:
            self._release()
            self._linger_until = self._reactor.deadlines.clock() + LINGER_MAX_SECONDS
            self._reactor.deadlines.arm(self._linger, LINGER_SECONDS)

    def _discard(self, data: bytes) -> None:
        if self.is_closed:
            return  # by the owner, on the bytes that came with the end
        assert self._linger is not None
        if not data:
            # Not `abort`: a peer may have closed its side long before and still take what the kernel has for it.
            self._has_peer_ended = True
            if self._outgoing:
                self._read_watcher.stop()
            else:
                self._close()
        elif not self._outgoing:
            left = self._linger_until - self._reactor.deadlines.clock()
            self._reactor.deadlines.arm(self._linger, min(LINGER_SECONDS, left))

    def _linger_over(self) -> None:
        if not self._outgoing:
            self._close()
        elif self.bytes_taken == self._linger_taken:
            self.abort()  # what is left must not look complete
        else:
            self._go_on_finishing()

    def abort(self) -> None:
        """Close at once with a TCP reset, so that nothing that was sent can look complete. Nothing is called back.

        On a unix socket there is no such thing; without TLS the end is then visible only by the message's framing.
        """
        if self._socket.fileno() == -1:
            return
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._close()

    def fail(self) -> None:
        """Drop the connection for an error of our own, the one being handled: log it, reset, tell the owner."""
        _log.exception("internal error, connection dropped")
        if not self.is_closed:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self._lost(INTERNAL_ERROR)

    def _lost(self, error: str) -> None:
        """Tell the owner that the connection is over, and close."""
        if self.is_closed:
            return
        owner = self._owner
        if not error and self._tls is not None and self._tls.is_established:
            self._send(self._tls.close_notify())  # the answer to the peer's (RFC 8446, 6.1)
        self._stop()
        try:
            if owner is not None:
                owner.on_end(error)
        except Exception:
            _log.exception("internal error at the end of a connection")
        finally:
            self._socket.close()

    def _close(self) -> None:
        if not self.is_closed:
            self._stop()
        self._socket.close()

    def _stop(self) -> None:
        """Let go of everything but the socket. Before the socket: its number must not be watched any more."""
        self.is_closed = True
        self._accepts = False
        self._reactor.open_transports -= 1
        if self._is_paused or self._is_half_closed:
            self._reactor.hangups.remove(self._socket.fileno())
        for watcher in (self._read_watcher, self._write_watcher):
            if watcher is not None:
                watcher.stop()
                watcher.close()
        if self._linger is not None:
            self._reactor.deadlines.cancel(self._linger)
        # No cycles are left behind: the collector runs rarely in a worker.
        self._linger = self._owner = self._half_closed = None
        self._outgoing.clear()
        self.pending = 0
        self._release()

    def _release(self) -> None:
        released, self.released = self.released, None
        if released is not None:
            released()

    # Facts

    @property
    def bytes_taken(self) -> int:
        """Bytes that have reached the peer's kernel, ciphertext where there is TLS: a peer that stalls is known by it.

        Not what our own kernel took: that asks for more only when a third of its buffer is free, which for a slow
        reader on a fast path is a megabyte and can take minutes.
        """
        return self._sent - (0 if self.is_closed else unacknowledged(self._socket))

    @property
    def local_port(self) -> int | None:
        """The port on this side, None on a unix socket."""
        name = self._socket.getsockname()
        return name[1] if isinstance(name, tuple) else None

    @property
    def tls(self) -> TlsLayer | None:
        return self._tls

    @property
    def tls_version(self) -> str | None:
        return self._tls.version if self._tls is not None else None


def unacknowledged(sock: socket.socket) -> int:
    """Return how many bytes the kernel still holds for the peer (SIOCOUTQ in tcp(7))."""
    (size,) = struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)))
    return int(size)


def describe(error: OSError) -> str:
    """Return an error of a socket as an operator knows it: `Connection reset by peer`."""
    return error.strerror or str(error)
