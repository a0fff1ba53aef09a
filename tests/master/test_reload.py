from pathlib import Path

import pytest

from h2gate.config.model import Config
from h2gate.config.problems import ConfigError, Place, Problem
from h2gate.errors import StartError
from h2gate.master.reload import Reloads, problems_of, restart_only


class FakeRequest:
    def __init__(self):
        self.reply = None

    def answer(self, **words):
        self.reply = {"ok": True, **words}

    def refuse(self, errors):
        self.reply = {"ok": False, "errors": list(errors)}


def test_a_request_is_answered_by_the_reload_that_began_after_it():
    reloads = Reloads()
    early, late = FakeRequest(), FakeRequest()
    reloads.want([early])
    assert reloads.can_begin
    reloads.begin()
    reloads.boots(object(), ["user has changed"])
    reloads.want([late])
    assert not reloads.can_begin
    reloads.succeed(2)
    assert early.reply == {"ok": True, "generation": 2, "warnings": ["user has changed"]}
    assert late.reply is None
    assert reloads.can_begin
    reloads.begin()
    reloads.fail(2, ["broken"])
    assert late.reply == {"ok": False, "errors": ["broken"]}
    assert not reloads.can_begin


def test_any_number_of_wishes_during_a_reload_is_one_more():
    reloads = Reloads()
    reloads.want()
    reloads.begin()
    reloads.boots(object(), ())
    for _ in range(10):
        reloads.want()
    reloads.succeed(2)
    reloads.begin()
    reloads.succeed(3)
    assert not reloads.can_begin


def test_the_last_outcome_is_kept_with_its_warnings_forgotten_by_the_next():
    reloads = Reloads()
    reloads.begin()
    reloads.boots(object(), ["pidfile has changed"])
    reloads.succeed(2)
    assert reloads.last.is_good
    assert reloads.last.shown()["warnings"] == ["pidfile has changed"]
    reloads.begin()
    reloads.fail(2, ["broken"])
    shown = reloads.last.shown()
    assert (shown["ok"], shown["generation"], shown["errors"], shown["warnings"]) == (False, 2, ["broken"], [])
    assert shown["at"].endswith("Z")


def test_giving_up_refuses_all_who_wait():
    reloads = Reloads()
    served, waiting = FakeRequest(), FakeRequest()
    reloads.want([served])
    reloads.begin()
    reloads.boots(object(), ())
    reloads.want([waiting])
    reloads.give_up()
    assert served.reply == waiting.reply == {"ok": False, "errors": ["the gate is stopping"]}
    assert reloads.incoming is None
    assert not reloads.can_begin


def test_a_config_error_is_a_text_for_each_problem():
    place = Place(Path("gate.yaml"), 2, 1, "wokers: 1")
    error = ConfigError([Problem(place, "wokers", "no such key"), Problem(Place(Path("other.yaml")), "", "is empty")])
    first, second = problems_of(error)
    assert first.splitlines()[0] == "gate.yaml:2:1: wokers: no such key"
    assert second == "other.yaml: is empty"
    assert problems_of(StartError("busy")) == ["busy"]


def config(**words):
    return Config.model_validate(
        {"listeners": ({"address": "127.0.0.1:0"},), "routes": ({"respond": {"status": 204}},), **words}
    )


@pytest.mark.parametrize(
    ("key", "value"), [("control", Path("/run/x.sock")), ("pidfile", Path("/run/x.pid")), ("user", "nobody")]
)
def test_keys_that_cannot_change_warn_in_both_directions(key, value):
    without, with_key = config(), config(**{key: value})
    assert restart_only(without, without) == restart_only(with_key, with_key) == []
    (warning,) = restart_only(without, with_key)
    assert warning == f"{key} has changed: restart the gate for that; until then it stays unset"
    (warning,) = restart_only(with_key, without)
    assert warning.endswith(f"until then it stays {value}")
