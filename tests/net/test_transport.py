"""A transport over real sockets: order, back-pressure, the ways to end, and errors that stay where they are."""

from __future__ import annotations

import logging
import socket
import struct

import gevent
import pytest
from gevent import socket as gevent_socket
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from h2gate.net.transport import (
    FINISH_STALL_SECONDS,
    HIGH_WATER_BYTES,
    LINGER_MAX_SECONDS,
    LINGER_SECONDS,
    LOW_WATER_BYTES,
    Reactor,
    Transport,
)
from tests.net.support import Owner, connect, pass_time, read_to_end, run_until, tcp_pair, turn


def fill(transport: Transport) -> bytes:
    """Write until there is no room any more; return what was written."""
    written = b""
    while transport.has_room:
        piece = bytes([len(written) // 50_000 % 251]) * 50_000
        transport.write(piece)
        written += piece
    return written


def reset(peer: gevent_socket.socket) -> None:
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


def is_drained(transport: Transport) -> bool:
    """Whether the transport has read all that is there."""
    try:
        transport._socket.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return True
    return False


def read_exactly(peer: gevent_socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = peer.recv(min(65_536, size - len(data)))
        assert piece, "closed too early"
        data += piece
    return data


# Reading


def test_bytes_come_before_the_end_of_a_peer_that_closes(reactor: Reactor) -> None:
    transport, owner, peer = connect(reactor)
    peer.sendall(b"last words")
    peer.close()
    run_until(lambda: owner.ends)
    assert owner.data == b"last words"
    assert owner.ends == [""]
    assert transport.is_closed
    assert transport.bytes_in == 10


def test_a_peer_that_closes_its_sending_side_is_gone(reactor: Reactor) -> None:
    _, owner, peer = connect(reactor)
    peer.shutdown(socket.SHUT_WR)
    run_until(lambda: owner.ends)
    assert owner.ends == [""]
    assert read_to_end(peer) == b""
    peer.close()


def test_a_reset_by_the_peer_is_told_in_words(reactor: Reactor) -> None:
    _, owner, peer = connect(reactor)
    reset(peer)
    run_until(lambda: owner.ends)
    assert owner.ends == ["Connection reset by peer"]


def test_a_paused_transport_reads_nothing_until_it_is_resumed(reactor: Reactor) -> None:
    transport, owner, peer = connect(reactor)
    transport.pause()
    transport.pause()
    peer.sendall(b"x")
    turn()
    assert owner.data == b""
    transport.resume()
    transport.resume()
    run_until(lambda: owner.data)
    transport.abort()
    peer.close()


@pytest.mark.parametrize("leave", [gevent_socket.socket.close, reset, lambda peer: peer.shutdown(socket.SHUT_WR)])
def test_a_peer_that_leaves_a_paused_transport_with_data_unread_is_noticed(reactor: Reactor, leave) -> None:  # type: ignore[no-untyped-def]
    transport, owner, peer = connect(reactor)
    transport.pause()
    peer.sendall(b"unread")
    leave(peer)
    run_until(lambda: owner.ends)
    assert owner.ends == [""]
    assert owner.data == b""
    assert transport.is_closed
    peer.close()


def test_a_new_owner_gets_what_follows(reactor: Reactor) -> None:
    transport, first, peer = connect(reactor)
    peer.sendall(b"one")
    run_until(lambda: first.data)
    second = Owner()
    transport.change_owner(second)
    peer.sendall(b"two")
    run_until(lambda: second.data)
    peer.close()
    run_until(lambda: second.ends)
    assert (first.data, first.ends) == (b"one", [])


def test_nothing_is_read_before_the_start(reactor: Reactor) -> None:
    ours, peer = tcp_pair()
    transport, owner = Transport(reactor, ours), Owner()
    peer.sendall(b"early")
    turn()
    transport.start(owner)
    assert owner.data == b""
    run_until(lambda: owner.data)
    transport.abort()
    peer.close()


# Writing


def test_everything_written_arrives_in_order_however_slowly_it_is_read(reactor: Reactor) -> None:
    transport, owner, peer = connect(reactor)
    written = fill(transport)
    assert transport.pending >= HIGH_WATER_BYTES
    assert 0 < transport.bytes_taken < len(written) - transport.pending
    written += b"more than there is room for"
    transport.write(b"more than there is room for")
    assert read_exactly(peer, len(written)) == written
    run_until(lambda: transport.bytes_taken == len(written))
    assert transport.pending == 0
    assert transport.bytes_out == len(written)
    assert owner.writable in (1, 2)
    transport.abort()
    peer.close()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=15)
@given(st.lists(st.binary(max_size=3) | st.integers(1, 400_000).map(bytes), max_size=12))
def test_pieces_of_any_size_arrive_as_they_were_written(reactor: Reactor, pieces: list[bytes]) -> None:
    transport, _, peer = connect(reactor)
    for piece in pieces:
        transport.write(piece)
    whole = b"".join(pieces)
    assert read_exactly(peer, len(whole)) == whole
    transport.abort()
    peer.close()


def test_an_owner_without_room_is_called_once_there_is_much_of_it(reactor: Reactor) -> None:
    levels = list[int]()

    class Watching(Owner):
        def on_writable(self) -> None:
            levels.append(transport.pending)

    transport, _, peer = connect(reactor)
    transport.change_owner(Watching())
    total = len(fill(transport))
    read_exactly(peer, total)
    run_until(lambda: transport.pending == 0)
    assert levels
    assert max(levels) <= LOW_WATER_BYTES
    assert len(levels) <= 2
    transport.abort()
    peer.close()


def test_a_full_transport_does_not_keep_the_hub_busy(reactor: Reactor) -> None:
    transport, owner, peer = connect(reactor)
    fill(transport)
    turns = list[int]()
    check = gevent.get_hub().loop.check()
    check.start(lambda: turns.append(1))
    gevent.sleep(0.05)
    check.stop()
    check.close()
    assert len(turns) < 10
    assert owner.writable == 0
    transport.abort()
    peer.close()


def test_a_write_to_a_peer_that_is_gone_ends_later_and_not_in_the_call(reactor: Reactor) -> None:
    transport, owner, peer = connect(reactor)
    reset(peer)
    transport.write(b"x" * 100)
    transport.write(b"x" * 100)
    assert owner.ends == []
    run_until(lambda: owner.ends)
    assert len(owner.ends) == 1
    assert owner.ends[0]


def test_a_write_to_a_peer_that_is_gone_ends_a_paused_transport_too(reactor: Reactor) -> None:
    transport, owner, peer = connect(reactor)
    transport.pause()
    reset(peer)
    transport.write(b"x" * 100)
    transport.write(b"x" * 100)
    assert owner.ends == []
    run_until(lambda: owner.ends)
    turn()
    assert len(owner.ends) == 1


def test_what_came_before_a_reset_is_read_even_if_the_reset_is_met_by_a_write(reactor: Reactor) -> None:
    transport, owner, peer = connect(reactor)
    peer.sendall(b"early answer")
    reset(peer)
    transport.write(b"upload")
    transport.write(b"upload")
    run_until(lambda: owner.ends)
    assert owner.data == b"early answer"


def test_a_reset_met_while_bytes_wait_does_not_lose_what_came_before(reactor: Reactor) -> None:
    transport, owner, peer = connect(reactor)
    fill(transport)
    peer.sendall(b"early answer")
    reset(peer)
    run_until(lambda: owner.ends)
    assert owner.data == b"early answer"
    assert transport.pending == 0


# Half-closed


class HalfClosed(Owner):
    """Writes down as well that, and behind which bytes, its peer closed its side only."""

    def __init__(self) -> None:
        super().__init__()
        self.half_closed: list[bytes] = []

    def on_half_closed(self) -> None:
        self.half_closed.append(self.data)


def connect_tunnel(reactor: Reactor) -> tuple[Transport, HalfClosed, gevent_socket.socket]:
    ours, peer = tcp_pair()
    transport, owner = Transport(reactor, ours), HalfClosed()
    transport.start(owner)
    transport.allow_half_close(owner.on_half_closed)
    return transport, owner, peer


def test_a_peer_that_may_close_its_side_is_written_to_afterwards(reactor: Reactor) -> None:
    transport, owner, peer = connect_tunnel(reactor)
    peer.sendall(b"last words")
    peer.shutdown(socket.SHUT_WR)
    run_until(lambda: owner.half_closed)
    written = fill(transport)
    transport.pause()
    transport.resume()
    assert read_exactly(peer, len(written)) == written
    run_until(lambda: owner.writable)
    transport.write(b"the end")
    transport.finish()
    assert read_to_end(peer) == b"the end"
    run_until(lambda: transport.is_closed)
    assert (owner.half_closed, owner.ends) == ([b"last words"], [])
    peer.close()


def test_a_half_closed_transport_does_not_keep_the_hub_busy(reactor: Reactor) -> None:
    transport, owner, peer = connect_tunnel(reactor)
    peer.shutdown(socket.SHUT_WR)
    run_until(lambda: owner.half_closed)
    loop = gevent.get_hub().loop
    turns = []
    check = loop.check()
    check.start(turns.append, None)
    gevent.sleep(0.1)
    check.stop()
    check.close()
    assert len(turns) < 10
    assert owner.half_closed == [b""]
    transport.abort()
    peer.close()


def test_a_half_closed_peer_that_resets_is_noticed_though_nothing_is_written(reactor: Reactor) -> None:
    transport, owner, peer = connect_tunnel(reactor)
    peer.shutdown(socket.SHUT_WR)
    run_until(lambda: owner.half_closed)
    reset(peer)
    run_until(lambda: owner.ends)
    assert transport.is_closed


def test_a_half_closed_peer_that_is_gone_is_noticed_by_a_write(reactor: Reactor) -> None:
    transport, owner, peer = connect_tunnel(reactor)
    peer.close()
    run_until(lambda: owner.half_closed)
    assert owner.ends == []
    transport.write(b"x")
    run_until(lambda: owner.ends)
    assert transport.is_closed


def test_a_reset_is_an_end_where_half_closing_is_allowed(reactor: Reactor) -> None:
    _, owner, peer = connect_tunnel(reactor)
    reset(peer)
    run_until(lambda: owner.ends)
    assert (owner.half_closed, owner.ends) == ([], ["Connection reset by peer"])


@pytest.mark.parametrize("paused_before", [False, True])
def test_what_a_paused_peer_sent_before_it_closed_its_side_is_not_lost(reactor: Reactor, paused_before: bool) -> None:
    ours, peer = tcp_pair()
    transport, owner = Transport(reactor, ours), HalfClosed()
    transport.start(owner)
    if paused_before:
        transport.pause()
    transport.allow_half_close(owner.on_half_closed)
    transport.pause()
    peer.sendall(b"unread")
    peer.shutdown(socket.SHUT_WR)
    turn()
    assert (owner.data, owner.half_closed, owner.ends) == (b"", [], [])
    transport.resume()
    run_until(lambda: owner.half_closed)
    assert (owner.half_closed, owner.ends) == ([b"unread"], [])
    transport.abort()
    peer.close()


def test_a_paused_peer_that_resets_is_noticed_where_half_closing_is_allowed(reactor: Reactor) -> None:
    transport, owner, peer = connect_tunnel(reactor)
    transport.pause()
    peer.sendall(b"unread")
    reset(peer)
    run_until(lambda: owner.ends)
    assert (owner.data, owner.half_closed) == (b"", [])


def test_an_owner_may_finish_or_abort_when_its_peer_has_closed_its_side(reactor: Reactor) -> None:
    for end, outcome in ((Transport.finish, b"bye"), (Transport.abort, None)):
        ours, peer = tcp_pair()
        transport, owner = Transport(reactor, ours), Owner()
        transport.start(owner)
        transport.write(b"bye")
        transport.allow_half_close(lambda transport=transport, end=end: end(transport))  # type: ignore[misc]
        peer.shutdown(socket.SHUT_WR)
        run_until(lambda transport=transport: transport.is_closed)
        if outcome is None:
            with pytest.raises(ConnectionResetError):
                read_to_end(peer)
        else:
            assert read_to_end(peer) == outcome
        assert owner.ends == []
        peer.close()


def test_half_closing_is_not_allowed_any_more_behind_the_end(reactor: Reactor) -> None:
    transport, owner, peer = connect(reactor)
    transport.finish()
    transport.allow_half_close(lambda: pytest.fail("called back"))
    peer.close()
    run_until(lambda: transport.is_closed)
    transport.allow_half_close(lambda: pytest.fail("called back"))
    assert owner.ends == []


# Ends


def test_finish_sends_what_waits_and_then_waits_for_the_peer(reactor: Reactor) -> None:
    transport, owner, peer = connect(reactor)
    written = fill(transport)
    transport.finish()
    assert not transport.has_room
    transport.write(b"too late")
    assert read_to_end(peer) == written
    assert not transport.is_closed
    peer.close()
    run_until(lambda: transport.is_closed)
    assert owner.ends == []


def test_finish_discards_what_still_comes_so_that_the_last_bytes_are_not_reset_away(reactor: Reactor) -> None:
    transport, owner, peer = connect(reactor)
    transport.write(b"413")
    transport.finish()
    peer.sendall(b"x" * 300_000)
    assert read_to_end(peer) == b"413"
    peer.close()
    run_until(lambda: transport.is_closed)
    assert owner.data == b""


def test_finish_of_a_paused_transport_reads_on_to_the_end(reactor: Reactor) -> None:
    transport, _, peer = connect(reactor)
    transport.pause()
    peer.sendall(b"x" * 1000)
    transport.finish()
    assert read_to_end(peer) == b""
    peer.close()
    run_until(lambda: transport.is_closed)


def test_a_peer_that_closed_its_side_before_still_gets_the_last_bytes(reactor: Reactor) -> None:
    transport, owner, peer = connect(reactor)
    written = fill(transport)
    transport.finish()
    peer.shutdown(socket.SHUT_WR)
    turn()
    assert not transport.is_closed
    assert read_to_end(peer) == written
    run_until(lambda: transport.is_closed)
    assert owner.ends == []
    peer.close()


def test_a_finished_peer_that_stays_is_dropped_after_a_while_and_has_all_bytes(reactor: Reactor) -> None:
    transport, _, peer = connect(reactor)
    transport.write(b"all")
    transport.finish()
    pass_time(reactor, LINGER_SECONDS + 0.3)
    assert transport.is_closed
    assert read_to_end(peer) == b"all"
    peer.close()


def test_a_finished_peer_that_never_stops_sending_is_dropped_in_the_end(reactor: Reactor) -> None:
    transport, _, peer = connect(reactor)
    transport.finish()
    seconds = 0.0
    while not transport.is_closed:
        if seconds < LINGER_MAX_SECONDS - 1:
            assert not transport.is_closed
            peer.sendall(b"x")
            run_until(lambda: is_drained(transport))
        pass_time(reactor, 1)
        seconds += 1
    assert LINGER_MAX_SECONDS - 1 <= seconds <= LINGER_MAX_SECONDS + LINGER_SECONDS
    peer.close()


def test_a_slow_reader_of_the_last_bytes_is_waited_for_as_long_as_it_reads(reactor: Reactor) -> None:
    transport, _, peer = connect(reactor)
    written = fill(transport)
    transport.finish()
    got = b""
    while transport.pending and not transport.is_closed:
        taken = transport.bytes_taken
        while transport.bytes_taken == taken:
            got += read_exactly(peer, min(100_000, len(written) - len(got)))
        turn()
        pass_time(reactor, FINISH_STALL_SECONDS)
    # Closed by now perhaps, but not by a reset: the kernel goes on without us.
    assert got + read_to_end(peer) == written
    peer.close()
    run_until(lambda: transport.is_closed)


def test_a_peer_that_takes_nothing_of_the_last_bytes_is_reset(reactor: Reactor) -> None:
    transport, _, peer = connect(reactor)
    fill(transport)
    transport.finish()
    pass_time(reactor, FINISH_STALL_SECONDS + 0.3)
    assert transport.is_closed
    with pytest.raises(ConnectionResetError):
        read_to_end(peer)
    peer.close()


def test_a_peer_that_is_reset_during_finish_is_dropped_in_silence(reactor: Reactor) -> None:
    transport, owner, peer = connect(reactor)
    fill(transport)
    transport.finish()
    reset(peer)
    run_until(lambda: transport.is_closed)
    assert owner.ends == []


def test_finish_after_a_failed_write_closes(reactor: Reactor) -> None:
    transport, owner, peer = connect(reactor)
    reset(peer)
    transport.write(b"x")
    transport.write(b"x")
    transport.finish()
    run_until(lambda: transport.is_closed)
    assert owner.ends == []


def test_abort_resets_the_peer_and_tells_the_owner_nothing(reactor: Reactor) -> None:
    transport, owner, peer = connect(reactor)
    transport.write(b"half a resp")
    transport.abort()
    transport.abort()
    transport.finish()
    transport.write(b"onse")
    assert transport.is_closed
    with pytest.raises(ConnectionResetError):
        read_to_end(peer)
    assert owner.ends == []
    peer.close()


def test_an_owner_that_aborts_at_the_end_resets_a_peer_that_closed_one_side_only(reactor: Reactor) -> None:
    class Strict(Owner):
        def on_end(self, error: str) -> None:
            super().on_end(error)
            transport.abort()

    transport, _, peer = connect(reactor)
    owner = Strict()
    transport.change_owner(owner)
    transport.write(b"half a response")
    peer.shutdown(socket.SHUT_WR)
    run_until(lambda: owner.ends)
    with pytest.raises(ConnectionResetError):
        read_to_end(peer)
    peer.close()


def test_an_owner_may_abort_while_it_is_given_bytes(reactor: Reactor) -> None:
    class Quick(Owner):
        def on_bytes(self, data: bytes) -> None:
            super().on_bytes(data)
            transport.abort()

    transport, _, peer = connect(reactor)
    owner = Quick()
    transport.change_owner(owner)
    peer.sendall(b"go away")
    run_until(lambda: transport.is_closed)
    turn()
    assert owner.ends == []
    peer.close()


def test_closed_connections_leave_their_numbers_to_new_ones(reactor: Reactor) -> None:
    """The next socket has the same descriptor; no watcher of the old one may call for it."""

    def open_pair() -> tuple[socket.socket, Transport, Owner, socket.socket]:
        ours, peer = socket.socketpair()
        ours.setblocking(False)
        transport, owner = Transport(reactor, ours), Owner()
        transport.start(owner)
        transport.pause()
        return ours, transport, owner, peer

    ours, first, first_owner, first_peer = open_pair()
    number = ours.fileno()
    first.abort()
    ours, _, second_owner, second_peer = open_pair()
    assert ours.fileno() == number
    second_peer.close()
    run_until(lambda: second_owner.ends)
    assert first_owner.ends == []
    first_peer.close()


# Errors of our own


@pytest.mark.parametrize("broken", ["on_bytes", "on_end", "on_writable"])
def test_an_owner_that_raises_loses_its_connection_and_is_logged_once(
    reactor: Reactor, broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("out of order")

    other, other_owner, other_peer = connect(reactor)
    transport, owner, peer = connect(reactor)
    setattr(owner, broken, fail)
    with caplog.at_level(logging.ERROR, "h2gate"):
        if broken == "on_writable":
            peer_data = fill(transport)
            read_exactly(peer, len(peer_data))
        else:
            peer.sendall(b"x")
        if broken == "on_end":
            peer.close()
        run_until(lambda: transport.is_closed)
        turn()
    assert len(caplog.records) == 1
    assert "out of order" in caplog.text
    if broken != "on_end":
        assert owner.ends == ["internal error"]
        with pytest.raises(ConnectionResetError):
            read_to_end(peer)
    other_peer.sendall(b"still here")
    run_until(lambda: other_owner.data)
    other.abort()
    other_peer.close()
    peer.close()


def test_an_owner_that_blocks_in_the_hub_loses_its_connection(
    reactor: Reactor, caplog: pytest.LogCaptureFixture
) -> None:
    transport, owner, peer = connect(reactor)
    owner.on_bytes = lambda data: gevent.sleep(1)  # type: ignore[method-assign]
    peer.sendall(b"x")
    with caplog.at_level(logging.ERROR, "h2gate"):
        run_until(lambda: transport.is_closed)
    assert owner.ends == ["internal error"]
    assert "BlockingSwitchOutError" in caplog.text
    peer.close()


def test_a_hangup_that_raises_is_logged_and_others_are_told(reactor: Reactor, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise RuntimeError("out of order")

    pairs = [tcp_pair() for _ in range(3)]
    told = list[int]()
    for number, (ours, _) in enumerate(pairs):
        reactor.hangups.add(ours.fileno(), fail if number == 1 else lambda number=number: told.append(number))  # type: ignore[misc]
    for _, peer in pairs:
        peer.close()
    with caplog.at_level(logging.ERROR, "h2gate"):
        run_until(lambda: len(told) == 2)
    assert len(caplog.records) == 1
    for ours, _ in pairs:
        ours.close()


def test_a_hangup_may_close_others_that_hang_up_in_the_same_moment(reactor: Reactor) -> None:
    pairs = [tcp_pair() for _ in range(2)]
    told = list[int]()

    def close_both() -> None:
        told.append(1)
        for ours, _ in pairs:
            reactor.hangups.remove(ours.fileno())

    for ours, peer in pairs:
        reactor.hangups.add(ours.fileno(), close_both)
        peer.close()
    run_until(lambda: told)
    turn()
    assert told == [1]
    for ours, _ in pairs:
        ours.close()


# Facts, and other families


def test_a_unix_socket_is_a_transport_too(reactor: Reactor) -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    peer = gevent_socket.socket(fileno=theirs.detach())
    transport, owner = Transport(reactor, ours), Owner()
    transport.start(owner)
    peer.sendall(b"hello")
    run_until(lambda: owner.data)
    transport.abort()
    assert read_to_end(peer) == b""
    peer.close()


def test_a_transport_in_clear_has_no_tls_version(reactor: Reactor) -> None:
    transport, _, peer = connect(reactor)
    assert transport.tls_version is None
    transport.abort()
    peer.close()
