"""What the benchmarks say of themselves, and that the one of runs finds a count that is wrong."""

import subprocess
import sys
from typing import Any

import pytest

from benchmarks import __main__ as benchmarks
from benchmarks import runs

OUTCOMES = {"done": 3, "ignored": 0, "rejected": 0, "failed": 0}
RUN = {
    "status": "succeeded",
    "items": {"planned": 3, **OUTCOMES, "left": 0},
    "by_stage": dict.fromkeys(runs.STAGES, OUTCOMES),
    "failures": [],
    "cost_usd": 0,
    "estimate": {"items": 3},
}
ROWS = {"items": 3, "ready": 3, "analyses": 6, "embeddings": 3, "runs": 1, "results": 3, "done": 3}


class Counted:
    """A stack that only knows its rows."""

    def __init__(self, **changed: int) -> None:
        self._rows = ROWS | changed

    def rows(self, query: str) -> list[dict[str, Any]]:
        return [self._rows]


@pytest.mark.parametrize(
    ("changed", "rows", "what"),
    [
        ({"status": "failed"}, {}, "status: failed"),
        ({"items": {**RUN["items"], "done": 2, "left": 1}}, {}, "items: "),  # type: ignore[dict-item]
        ({"by_stage": {}}, {}, "stages: "),
        ({"cost_usd": 0.01}, {}, "cost: "),
        ({}, {"analyses": 5}, "rows: "),
        ({}, {"results": 4}, "rows: "),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_count_that_is_wrong_is_found(changed: dict[str, Any], rows: dict[str, int], what: str) -> None:
    with pytest.raises(runs.WrongCountError, match=what):
        runs.check(Counted(**rows), {**RUN, **changed}, 3)  # type: ignore[arg-type]


def test_every_picture_is_another() -> None:
    assert len({runs.picture(number) for number in range(20)}) == 20


def test_the_benchmarks_are_named_and_an_unknown_one_is_refused() -> None:
    asked = [sys.executable, "-m", "benchmarks", "speed"]
    refused = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    for name in benchmarks.NAMES:
        assert name in refused.stderr
        assert f"  {name} " in benchmarks.about()
