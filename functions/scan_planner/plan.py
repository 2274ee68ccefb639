"""Decide what a run costs, and whether it may."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from shared.embeddings import VectorModel
from shared.errors import MagpieError
from shared.runs import RunInput

ANALYSIS_TOKENS = (5300, 900)
"""Input and output of one analysis, for an owner whose ledger tells nothing yet: a web image of 2048 pixels
for a model that sees all of it (4,070), with the prompt, and a reply of usual length."""
EMBEDDING_TOKENS = 250
"""Of one description, for the same."""


class RunRefusedError(MagpieError):
    """This run is not done as it was asked for, and why, in words for whoever asked.

    Args:
        code: stands on the run's row.
        sentence: says the limit and what would pass it.
    """

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence


class OverBudgetError(RunRefusedError):
    """The run would cost more than it may."""


@dataclass(frozen=True)
class Average:
    """What one call takes, by the owner's ledger or the price list.

    Attributes:
        usd: None where no price is known.
        calls: of the ledger that it was told from; 0 for the price list.
    """

    input_tokens: float
    output_tokens: float
    usd: float | None
    calls: int


@dataclass(frozen=True)
class Estimate:
    """What a run will take; `analyses` and `embeddings` are those that are paid for."""

    items: int
    analyses: int
    embeddings: int
    input_tokens: int
    output_tokens: int
    usd: float
    basis: str

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def analysis_average(row: Mapping[str, Any] | None, providers: Sequence[Mapping[str, Any]]) -> Average:
    """Return what one analysis takes by whoever is asked first.

    Args:
        row: the ledger's averages, None or without calls where it tells nothing.
        providers: as the analyzer tells them.
    """
    if row is not None and row["calls"]:
        return Average(
            float(row["input_tokens"]), float(row["output_tokens"]), float(row["usd"]), row["calls"]
        )
    read, written = ANALYSIS_TOKENS
    first = providers[0] if providers else {}
    if first.get("input_usd") is None or first.get("output_usd") is None:
        return Average(read, written, None, 0)
    if not first["input_usd"] and not first["output_usd"]:
        return Average(0, 0, 0.0, 0)
    return Average(read, written, (read * first["input_usd"] + written * first["output_usd"]) / 1_000_000, 0)


def embedding_average(row: Mapping[str, Any] | None, model: VectorModel) -> Average:
    """Return what one vector takes."""
    if row is not None and row["calls"]:
        return Average(float(row["input_tokens"]), 0, float(row["usd"]), row["calls"])
    if not model.usd_per_million_tokens:
        return Average(0, 0, 0.0, 0)
    return Average(EMBEDDING_TOKENS, 0, EMBEDDING_TOKENS * model.usd_per_million_tokens / 1_000_000, 0)


def estimate(
    items: int, analyses: int, embeddings: int, per_analysis: Average, per_vector: Average
) -> Estimate:
    """Return what so many items and paid calls take together."""
    calls = per_analysis.calls + per_vector.calls
    return Estimate(
        items=items,
        analyses=analyses,
        embeddings=embeddings,
        input_tokens=round(analyses * per_analysis.input_tokens + embeddings * per_vector.input_tokens),
        output_tokens=round(analyses * per_analysis.output_tokens),
        usd=round(analyses * (per_analysis.usd or 0) + embeddings * (per_vector.usd or 0), 6),
        basis=f"the average of {calls} calls" if calls else "the price list",
    )


@dataclass(frozen=True)
class Left:
    """US dollars that may still be spent this month.

    Attributes:
        own: by the run's owner; None where there is no limit.
        shared: by everybody here together. Nobody but the operator is told the figure.
    """

    own: float | None
    shared: float


def refuse_too_dear(asked: RunInput, found: Estimate, per_analysis: Average, left: Left) -> None:
    """Refuse a run that would cost more than was allowed, or more than may still be spent.

    Raises:
        OverBudgetError: it would, or nobody knows what it costs and there is a limit.
    """
    limits = [limit for limit in (asked.max_cost_usd, left.own) if limit is not None]
    if found.analyses and per_analysis.usd is None and limits:
        way = "run it without max_cost_usd" if left.own is None else "choose another model"
        raise OverBudgetError(
            "unknown_price", f"The price of the model is not known, so that no limit can be kept: {way}."
        )
    if asked.trim:
        return
    if asked.max_cost_usd is not None and found.usd > asked.max_cost_usd:
        raise OverBudgetError(
            "over_max_cost",
            f"It would cost about {found.usd:.2f} US dollars, and may cost {asked.max_cost_usd:.2f} at most.",
        )
    if left.own is not None and found.usd > max(left.own, 0):
        raise OverBudgetError(
            "over_budget",
            f"It would cost about {found.usd:.2f} US dollars; {max(left.own, 0):.2f} of this month are left.",
        )
    if found.usd > max(left.shared, 0):
        raise OverBudgetError(
            "over_budget",
            f"It would cost about {found.usd:.2f} US dollars, and of the budget that everybody here shares "
            "less is left this month.",
        )


def affordable(asked: RunInput, found: Estimate, left: Left) -> int | None:
    """Return how many items a trimmed run may take; None where all of them fit."""
    if not asked.trim or not found.items:
        return None
    limit = min(limit for limit in (asked.max_cost_usd, left.own, left.shared) if limit is not None)
    if found.usd <= limit:
        return None
    return max(math.floor(max(limit, 0) / (found.usd / found.items)), 0)
