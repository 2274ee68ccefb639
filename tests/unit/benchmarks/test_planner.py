"""`python -m benchmarks.planner` plans what it is to measure, whatever a deployment may spend."""

import pytest

from benchmarks.planner import measure


@pytest.mark.heavy
def test_every_item_is_planned() -> None:
    found = measure(500)
    assert found["items"] == 500
    assert found["seconds"] > 0
