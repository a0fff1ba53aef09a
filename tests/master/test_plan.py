import os

import pytest

from h2gate.config.problems import BadValue, ConfigError
from h2gate.errors import StartError
from h2gate.handover import EngineChoice
from h2gate.master import plan
from h2gate.master.sockets import Sockets

TEXT = """\
workers: {workers}
listeners:
  - address: unix:{socket}
{more}
routes:
  - respond: {{status: 204}}
"""


def choose_engine(config):
    if config.engine == "native":
        raise BadValue("engine", "it is missing")
    return EngineChoice("python")


@pytest.fixture
def sockets():
    sockets = Sockets()
    yield sockets
    sockets.close()


@pytest.fixture
def prepare(tmp_path, sockets):
    def run(workers="auto", more=""):
        path = tmp_path / "gate.yaml"
        path.write_text(TEXT.format(workers=workers, socket=tmp_path / "front.sock", more=more))
        return plan.prepare(path, {}, sockets, choose_engine)

    return run


def test_a_plan_has_a_bound_listener_for_each_of_the_config(prepare, sockets):
    made = prepare()
    (bound,) = made.listeners
    assert bound.config is made.config.listeners[0]
    assert bound.tls is None
    assert sockets.addresses() == [str(bound.config.address)]
    assert made.backend_tls == {}
    assert made.engine == EngineChoice("python")


def test_nothing_is_bound_for_a_wrong_config(prepare, sockets):
    with pytest.raises(ConfigError):
        prepare(workers="many")
    assert sockets.addresses() == []


def test_nothing_is_bound_for_an_engine_that_is_missing(prepare, sockets):
    with pytest.raises(ConfigError, match=r"gate\.yaml:4:9: engine: it is missing"):
        prepare(more="engine: native")
    assert sockets.addresses() == []


def test_nothing_is_bound_for_a_certificate_that_is_none(prepare, sockets, tmp_path):
    (tmp_path / "x.pem").write_text("nonsense")
    with pytest.raises(StartError, match=r"listeners\[1\].*x\.pem"):
        prepare(more="  - {address: 127.0.0.1:0, tls: {certificates: [{cert: x.pem, key: x.pem}]}}")
    assert sockets.addresses() == []


@pytest.mark.parametrize(
    ("quota", "workers"),
    [("max 100000\n", 4), ("150000 100000\n", 2), ("50000 100000\n", 1), ("900000 100000\n", 4), ("x", 4), (None, 4)],
)
def test_auto_is_one_worker_for_each_cpu_this_process_may_use(prepare, tmp_path, monkeypatch, quota, workers):
    monkeypatch.setattr(plan, "CPU_QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 2, 4, 6})
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    if quota is not None:
        (tmp_path / "cpu.max").write_text(quota)
    assert plan.worker_count(prepare().config) == workers


def test_a_number_of_workers_is_that_number(prepare):
    assert plan.worker_count(prepare(workers="7").config) == 7
