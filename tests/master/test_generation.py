"""A generation against workers that do anything at any time: no process, no fork, no clock."""

import os
import signal
from types import SimpleNamespace
from unittest import mock

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from h2gate.handover import RETIRE, EngineChoice
from h2gate.master.generation import GRACE_SECONDS, Generation, Nursery
from h2gate.master.scoreboard import Scoreboard
from h2gate.master.slots import DUMP_SECONDS, STUCK_SECONDS

PLAN = SimpleNamespace(
    config=SimpleNamespace(timeouts=SimpleNamespace(boot=5.0, drain=20.0)),
    engine=EngineChoice("python"),
    listeners=(),
    backend_tls={},
)


class World:
    """Stands for the kernel: gives out process ids and keeps the signals sent."""

    def __init__(self):
        self.now = 100.0
        self.alive = {}
        self.sent = []
        self.can_fork = True
        self.forks = 0
        self.scoreboard = Scoreboard(rows=64)

    def spawn(self, handover):
        if not self.can_fork:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        self.forks += 1
        self.alive[1000 + self.forks] = handover.row
        # The beat of a worker's birth is the world's, too.
        self.at_now(handover.row.beat)
        return 1000 + self.forks

    def kill(self, pid, number):
        assert pid in self.alive, "a signal for a process that was reaped"
        self.sent.append((pid, number))

    def at_now(self, call, *args):
        with mock.patch("h2gate.master.scoreboard.time.monotonic_ns", return_value=int(self.now * 1e9)):
            return call(*args)

    def generation(self, workers):
        return Generation(1, PLAN, workers, Nursery(self.spawn, self.scoreboard, 0), self.now)


@pytest.fixture
def world(monkeypatch):
    world = World()
    monkeypatch.setattr(os, "kill", world.kill)
    yield world
    world.scoreboard.close()


def serving(world, workers):
    generation = world.generation(workers)
    generation.step(world.now)
    for row in world.alive.values():
        world.at_now(row.serving)
    generation.step(world.now)
    assert generation.is_established
    return generation


def end(world, generation, pid, status):
    del world.alive[pid]
    assert generation.reap(pid, status, world.now)


def test_it_is_established_once_all_its_workers_serve(world):
    generation = world.generation(2)
    generation.step(world.now)
    first, second = world.alive.values()
    world.at_now(first.serving)
    generation.step(world.now)
    assert not generation.is_established
    world.at_now(second.serving)
    generation.step(world.now)
    assert generation.is_established


def test_a_fork_that_fails_before_it_served_is_71(world):
    world.can_fork = False
    generation = world.generation(1)
    generation.step(world.now)
    assert generation.boot_failure.exit_code == 71
    assert generation.boot_failure.message == ("worker 1 [gen 1] cannot be forked: Resource temporarily unavailable")


def test_a_fork_that_fails_later_is_tried_again(world):
    generation = serving(world, 1)
    world.can_fork = False
    end(world, generation, 1001, signal.SIGKILL)
    generation.step(world.now)
    assert generation.boot_failure is None
    world.can_fork = True
    generation.step(world.now)
    assert world.forks == 1
    world.now += 1
    generation.step(world.now)
    assert world.forks == 2


def test_without_a_row_there_is_no_worker(world):
    for _ in range(64):
        world.scoreboard.take(0)
    generation = world.generation(1)
    generation.step(world.now)
    assert "all rows of the scoreboard are taken" in generation.boot_failure.message
    assert world.forks == 0


def test_workers_that_serve_in_turn_but_never_together_do_not_boot(world):
    generation = world.generation(2)
    end_of_patience = world.now + 20
    while world.now < end_of_patience and generation.boot_failure is None:
        generation.step(world.now)
        for pid, row in list(world.alive.items()):
            world.at_now(row.serving)
            end(world, generation, pid, 9 << 8)
        world.now += 0.5
    assert "did not serve together" in generation.boot_failure.message


def test_a_worker_that_came_and_went_between_two_looks_did_serve(world):
    generation = serving(world, 1)
    end(world, generation, 1001, signal.SIGKILL)
    generation.step(world.now)
    world.at_now(world.alive[1002].serving)
    end(world, generation, 1002, signal.SIGKILL)
    assert generation.boot_failure is None
    assert generation.rows(world.now)[0]["state"] == "backoff"


def test_a_booting_worker_is_told_of_a_reopen_once_it_listens(world):
    generation = world.generation(1)
    generation.step(world.now)
    generation.reopen()
    assert world.sent == []
    world.at_now(world.alive[1001].serving)
    generation.step(world.now)
    assert world.sent == [(1001, signal.SIGUSR1)]
    generation.reopen()
    assert world.sent == [(1001, signal.SIGUSR1)] * 2


def test_a_booting_worker_is_retired_by_term_and_does_not_get_the_time_of_clients(world):
    generation = world.generation(1)
    generation.step(world.now)
    generation.retire(signal.SIGQUIT, 3600.0, world.now)
    assert world.sent == [(1001, signal.SIGTERM)]
    generation.step(world.now + GRACE_SECONDS)
    assert world.sent[1:] == [(1001, signal.SIGKILL)]


def test_fewer_takes_the_highest_numbers_and_more_the_lowest_free_one(world):
    generation = serving(world, 4)
    generation.resize(-2, world.now)
    assert world.sent == [(1004, RETIRE), (1003, RETIRE)]
    generation.resize(1, world.now)
    generation.step(world.now)
    assert [row["slot"] for row in generation.rows(world.now)] == [1, 2, 3, 3, 4]
    generation.resize(-99, world.now)
    assert generation.size == 1


def test_a_worker_that_drains_by_itself_gets_a_successor_at_once_and_a_deadline(world):
    generation = serving(world, 1)
    world.alive[1001].draining()
    generation.step(world.now)
    generation.step(world.now)
    assert [(row["slot"], row["pid"], row["state"]) for row in generation.rows(world.now)] == [
        (1, 1001, "draining"),
        (1, 1002, "booting"),
    ]
    world.now += PLAN.config.timeouts.drain + GRACE_SECONDS
    world.at_now(world.alive[1001].beat)
    generation.step(world.now)
    assert (1001, signal.SIGKILL) in world.sent


def test_a_silent_worker_has_a_second_to_dump_before_it_is_killed(world):
    generation = serving(world, 1)
    world.now += STUCK_SECONDS + 0.1
    generation.step(world.now)
    generation.step(world.now + DUMP_SECONDS - 0.1)
    assert world.sent == [(1001, signal.SIGABRT)]
    generation.step(world.now + DUMP_SECONDS)
    generation.step(world.now + DUMP_SECONDS + 5)
    assert world.sent == [(1001, signal.SIGABRT), (1001, signal.SIGKILL)]


class AnyWorkers(RuleBasedStateMachine):
    @initialize(workers=st.integers(1, 4))
    def begin(self, workers):
        self.world = World()
        self.patch = mock.patch("os.kill", self.world.kill)
        self.patch.start()
        self.generation = self.world.generation(workers)
        self.size = workers
        self.retired_at = None
        self.last_deadline = None

    def teardown(self):
        self.patch.stop()
        self.world.scoreboard.close()

    @rule(seconds=st.floats(0, 40))
    def time_passes(self, seconds):
        self.world.now += seconds

    @rule()
    def step(self):
        self.generation.step(self.world.now)

    @precondition(lambda self: self.world.alive)
    @rule(data=st.data(), what=st.sampled_from(["serving", "draining", "beat"]))
    def worker_says(self, data, what):
        pid = data.draw(st.sampled_from(sorted(self.world.alive)))
        self.world.at_now(getattr(self.world.alive[pid], what))

    @precondition(lambda self: self.world.alive)
    @rule(data=st.data(), status=st.sampled_from([0, 1 << 8, signal.SIGKILL, signal.SIGABRT]))
    def worker_ends(self, data, status):
        pid = data.draw(st.sampled_from(sorted(self.world.alive)))
        end(self.world, self.generation, pid, int(status))

    @rule(change=st.integers(-3, 3))
    def resized(self, change):
        if self.retired_at is None:
            self.generation.resize(change, self.world.now)
            self.size = max(self.size + change, 1)

    @rule(order=st.sampled_from([RETIRE, signal.SIGTERM, signal.SIGQUIT]), patience=st.floats(0, 30))
    def retired(self, order, patience):
        self.generation.retire(order, patience, self.world.now)
        deadline = self.world.now + patience
        self.last_deadline = min(self.last_deadline or deadline, deadline)
        self.retired_at = self.retired_at or self.world.now
        self.forks_then = self.world.forks

    @rule()
    def reopened(self):
        self.generation.reopen()

    @invariant()
    def every_process_has_a_slot_and_a_row(self):
        assert self.generation.live == len(self.world.alive)
        assert len(self.world.scoreboard._taken) == len(self.world.alive)

    @invariant()
    def deaths_do_not_change_its_size(self):
        assert self.generation.size == (self.size if self.retired_at is None else 0)

    @invariant()
    def nothing_is_forked_for_a_retired_generation(self):
        if self.retired_at is not None:
            assert self.world.forks == self.forks_then

    @invariant()
    def it_looks_again_within_the_time_that_matters(self):
        if self.world.alive:
            assert self.generation.wake_at(self.world.now) <= self.world.now + 1.0

    @precondition(lambda self: self.retired_at is not None)
    @rule()
    def whoever_stays_too_long_is_killed(self):
        self.world.now = max(self.world.now, self.last_deadline)
        self.generation.step(self.world.now)
        killed = {pid for pid, number in self.world.sent if number == signal.SIGKILL}
        assert set(self.world.alive) <= killed

    @precondition(lambda self: self.retired_at is None)
    @rule()
    def whoever_is_silent_too_long_is_dumped_and_killed(self):
        silent = dict(self.world.alive)
        self.generation.step(self.world.now)
        silent = {pid: row for pid, row in silent.items() if row.read().phase}
        self.world.now += STUCK_SECONDS + 0.1
        self.generation.step(self.world.now)
        self.world.now += 25.0
        self.generation.step(self.world.now)
        self.generation.step(self.world.now)
        killed = {pid for pid, number in self.world.sent if number == signal.SIGKILL}
        assert set(silent) <= killed


AnyWorkers.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestAnyWorkers = AnyWorkers.TestCase
