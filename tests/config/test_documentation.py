"""docs/configuration.md is what the model says, and its example works."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from docs.generate_configuration import EXAMPLE, FILE, render
from h2gate.config.loader import load
from h2gate.config.model import Config
from h2gate.config.resolved import backends_of
from tests.config.test_wording import models_in

ROOT = Path(__file__).parents[2]


def test_the_page_is_not_stale():
    assert FILE.read_text(encoding="utf-8") == render(), "run: python -m docs.generate_configuration"


def test_the_first_config_of_the_readme_is_loaded_without_a_problem(files):
    (example,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    files.write("tls/site.crt", "x")
    files.write("tls/site.key", "x")
    assert list(backends_of(files.load(example))) == ["app", "h2://api.internal:8443"]


def test_all_that_the_starter_config_has_in_comments_may_be_put_to_use(files):
    starter = (ROOT / "etc" / "h2gate.yaml").read_text(encoding="utf-8")
    # What explains begins with one space, what may be put to use with two.
    text = re.sub(r"^#(?=  )", "", starter, flags=re.MULTILINE)
    for name in ("tls/site.crt", "tls/site.key", "tls/backend-ca.pem"):
        files.write(name, "x")
    config = files.load(text)
    assert [listener.tls is not None for listener in config.listeners] == [False, True]
    assert list(config.backends) == ["sample", "app"]
    assert len(config.routes) == text.count("- match:") == 5


def test_the_example_on_the_page_is_loaded_without_a_problem(files):
    page = FILE.read_text(encoding="utf-8")
    (example,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert example == EXAMPLE
    for name in ("tls/site.crt", "tls/site.key", "tls/backend-ca.pem"):
        files.write(name, "x")
    config = load(files.write("h2gate.yaml", example), {})
    assert list(backends_of(config)) == ["app", "accounts", "h2c://127.0.0.1:9002"]
    assert str(config.control) == "/run/h2gate/control.sock"


def test_the_page_has_every_key_of_every_model():
    page = FILE.read_text(encoding="utf-8")
    for model in models_in(Config) | {Config}:
        for name, field in model.model_fields.items():
            assert field.description
            assert f"| `{name}` |" in page


def test_defaults_are_in_the_operators_units():
    page = FILE.read_text(encoding="utf-8")
    for row in ("| `queue_timeout` | duration | `5s` |", "| `backoff_min` | duration, may be 0 | `25ms` |"):
        assert row in page
    assert "| `stream_window` | size, from 65535 to 2147483647 | `256KiB` |" in page
    assert "| `budget` | share | `20%` |" in page
    assert yaml.safe_load(EXAMPLE)["retries"]["budget"] == "10%"
