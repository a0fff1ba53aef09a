import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from h2gate.master.scoreboard import ROWS, Phase, Scoreboard
from tests.support.forked import in_child


@pytest.fixture
def board():
    scoreboard = Scoreboard(rows=4)
    yield scoreboard
    scoreboard.close()


def test_a_fresh_row_is_booting_and_born_now(board):
    before = time.monotonic()
    seat = board.take(7)
    row = seat.read()
    assert (row.pid, row.generation, row.phase) == (0, 7, Phase.BOOTING)
    assert (row.connections, row.active, row.requests) == (0, 0, 0)
    assert before <= row.beat <= time.monotonic()


def test_what_a_worker_writes_the_master_reads_over_the_fork(board):
    seat = board.take(1)
    seat.name(77)

    def child():
        seat.serving()
        seat.connected(3)
        seat.count(2, 1_000_000_000_000)
        seat.draining()

    assert in_child(child) == 0
    row = seat.read()
    assert row.pid == 77
    assert row.phase is Phase.DRAINING
    assert (row.connections, row.active, row.requests) == (3, 2, 1_000_000_000_000)


def test_serving_is_a_beat_and_beats_go_forward(board):
    seat = board.take(1)
    born = seat.read().beat
    seat.serving()
    served = seat.read()
    assert served.phase is Phase.SERVING
    assert served.beat >= born
    seat.beat()
    assert seat.read().beat >= served.beat


def test_a_row_that_was_freed_is_clear_for_the_next_one(board):
    seat = board.take(1)
    seat.name(99)
    seat.serving()
    seat.connected(1)
    seat.count(2, 3)
    board.free(seat)
    again = board.take(2)
    assert again.index == seat.index
    row = again.read()
    assert (row.pid, row.generation, row.phase, row.requests) == (0, 2, Phase.BOOTING, 0)


def test_a_full_board_has_no_row_to_give(board):
    seats = [board.take(1) for _ in range(4)]
    assert board.take(1) is None
    board.free(seats[2])
    assert board.take(1).index == 2


counts = st.integers(0, 2**62)


@given(st.lists(st.tuples(counts, counts, counts), min_size=2, max_size=20))
def test_rows_do_not_touch_each_other(rows):
    scoreboard = Scoreboard(rows=20)
    seats = [scoreboard.take(number) for number in range(len(rows))]
    for seat, row in zip(seats, rows, strict=True):
        seat.connected(row[0])
        seat.count(*row[1:])
    for number, (seat, row) in enumerate(zip(seats, rows, strict=True)):
        read = seat.read()
        assert (read.generation, read.connections, read.active, read.requests) == (number, *row)
    scoreboard.close()


def serving(board, generation, pid, connections):
    seat = board.take(generation)
    seat.name(pid)
    seat.serving()
    seat.connected(connections)
    return seat


def test_a_worker_is_ahead_while_another_of_its_generation_that_serves_has_fewer_connections(board):
    first, second = serving(board, 1, 11, 5), serving(board, 1, 12, 4)
    serving(board, 2, 13, 0)
    for seat in (first, second):
        seat.beat()
    assert first.is_ahead()
    assert not second.is_ahead()
    second.connected(6)
    assert not first.is_ahead()
    second.draining()
    second.connected(0)
    assert not first.is_ahead(), "who drains accepts nothing"


def test_a_worker_that_died_leaves_nobody_ahead_once_it_is_reaped(board):
    first, dead = serving(board, 1, 11, 5), serving(board, 1, 12, 0)
    first.beat()
    assert first.is_ahead()
    board.free(dead)
    assert not first.is_ahead()


def test_four_generations_of_the_most_workers_find_room():
    assert ROWS >= 4 * 1024
