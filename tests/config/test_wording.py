"""The validator's findings in the operator's words."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from h2gate.config.document import Entries, Entry, Leaf
from h2gate.config.model import Backend, Config, Model, Route
from h2gate.config.problems import Place, did_you_mean
from h2gate.config.wording import model_at, model_in, problems_of


def test_a_finding_without_words_of_its_own_keeps_the_validators(tmp_path):
    place = Place(tmp_path)
    root = Entries(place, {"user": Entry(place, Leaf(place, None, ""))})
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(dict[str, bytes]).validate_python({"user": None})
    (problem,) = problems_of(root, caught.value.errors())
    assert (problem.key, problem.message) == ("user", "Input should be a valid bytes")


def test_the_model_at_a_path_is_found_through_names_and_indexes():
    assert model_at(()) is Config
    assert model_at(("backends", "pool")) is Backend
    assert model_at(("routes", 3)) is Route
    assert model_at(("backends", "tls", "endpoints", 0)).__name__ == "Endpoint"
    assert model_at(("listeners", 0, "tls", "certificates", 1)).__name__ == "Certificate"


def models_in(model: type[BaseModel]) -> set[type[BaseModel]]:
    found = {child for field in model.model_fields.values() if (child := model_in(field.annotation))}
    return found.union(*map(models_in, found))


def leaves(annotation: Any) -> set[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {annotation}
    return set().union(*map(leaves, get_args(annotation)))


def test_no_key_of_the_model_takes_two_models():
    """What `model_in` relies on."""
    models = models_in(Config) | {Config}
    assert all(issubclass(model, Model) for model in models)
    for model in models:
        for field in model.model_fields.values():
            assert len(leaves(field.annotation)) <= 1


@pytest.mark.parametrize(
    ("word", "said"),
    [("max-streams", "; did you mean `max_streams`?"), ("Max_Stream", "; did you mean `max_streams`?"), ("zebra", "")],
)
def test_the_nearest_word_is_offered_whatever_its_case_and_dashes(word, said):
    assert did_you_mean(word, ["max_streams", "queue"]) == said
