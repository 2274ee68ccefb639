"""Measure calls side by side, in turn: what else the machine does meanwhile hits all of them alike."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Calls = Mapping[str, Callable[[int], Any]]


@dataclass(frozen=True)
class Times:
    """What a call took, in milliseconds, sorted."""

    ms: Sequence[float]

    @classmethod
    def of(cls, seconds: Sequence[float]) -> "Times":
        return cls(sorted(each * 1000 for each in seconds))

    def percentile(self, share: float) -> float:
        """Return the time within which this share of the calls ended."""
        return self.ms[min(len(self.ms) - 1, int(len(self.ms) * share))]

    @property
    def p50(self) -> float:
        return self.percentile(0.5)

    @property
    def p95(self) -> float:
        return self.percentile(0.95)

    def record(self) -> dict[str, float]:
        """Return it for JSON."""
        return {"p50_ms": round(self.p50, 2), "p95_ms": round(self.p95, 2), "calls": len(self.ms)}


def interleaved(calls: Calls, rounds: int, warm_up: int = 5) -> dict[str, Times]:
    """Measure calls in turn, round after round.

    Args:
        calls: by name; each is given the number of the round.
        warm_up: rounds before that do not count.
    """
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(-warm_up, rounds):
        for name, call in calls.items():
            started = time.perf_counter()
            call(number % rounds)
            if number >= 0:
                taken[name].append(time.perf_counter() - started)
    return {name: Times.of(seconds) for name, seconds in taken.items()}
