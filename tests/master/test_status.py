from types import SimpleNamespace

import pytest

from h2gate.master.status import title
from h2gate.master.stopping import Stop


def generation(size, live):
    return SimpleNamespace(number=3, size=size, live=live)


@pytest.mark.parametrize(
    ("stop", "current", "others", "said"),
    [
        (Stop.NO, None, [generation(4, 0)], "starting"),
        (Stop.NO, generation(4, 3), [generation(0, 2)], "gen 3, 4 workers"),
        (Stop.NO, generation(1, 1), [], "gen 3, 1 worker"),
        (Stop.DRAIN, generation(0, 1), [generation(0, 2)], "stopping, 3 workers"),
        (Stop.KILL, None, [generation(0, 1)], "stopping, 1 worker"),
    ],
)
def test_the_title_says_what_the_master_is_about(stop, current, others, said):
    assert title(stop, current, [*others, *([current] if current else [])]) == f"h2gate: master [{said}]"
