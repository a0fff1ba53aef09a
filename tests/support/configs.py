"""A loaded config, for tests that start no gate."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from h2gate.config.loader import load
from h2gate.config.model import Config


def config_of(settings: dict[str, Any]) -> Config:
    """Load `settings`, which need listeners and routes only if they say so themselves."""
    settings = {"listeners": [{"address": "127.0.0.1:8080"}], "routes": [{"respond": {"status": 404}}], **settings}
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "h2gate.yaml"
        # JSON is YAML.
        path.write_text(json.dumps(settings), encoding="utf-8")
        return load(path, {})
