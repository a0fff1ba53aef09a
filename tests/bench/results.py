"""A run's raw results, small and made up: round figures, so that a test can say what follows from them."""

from __future__ import annotations

from typing import Any


def run(microseconds: float, requests: int = 1_000, failed: int = 0) -> dict[str, Any]:
    """Return one run that cost so much a request."""
    return {
        "requests": requests,
        "failed": failed,
        "seconds": 1.0,
        "cpu_seconds": microseconds * requests / 1e6,
        "wall_seconds": 2.0,
        "pss": 30_000_000,
        "backend_connections": 3,
    }


def cell(row: str, gate: str, *rounds: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "row": row,
        "gate": gate,
        "generator": "h2load",
        "p50": 0.0005,
        "p99": 0.0125,
        "rate": 1000.0,
        "rounds": list(rounds),
        **more,
    }


def raw(**parts: Any) -> dict[str, Any]:
    return {
        "date": "2026-01-02T03:04:05+00:00",
        "settings": {"quick": False, "rounds": 3, "seconds": 2.5, "cpus": [[0], [1]]},
        "machine": {
            "cpu": "A processor",
            "cpus": 2,
            "memory": 8 * 2**30,
            "kernel": "6.1",
            "system": "Debian",
            "python": "3.11.2",
        },
        "commit": "0123456789",
        "versions": {"native": "h2gate 1.0", "python": "h2gate 1.0"},
        "missing": {},
        **parts,
    }
