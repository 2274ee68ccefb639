"""Decide what became of an item, from what its stages answered or how one of them failed."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from shared.text import clean

MAX_MESSAGE = 500

REJECTED = {
    "process": {"rejected", "gone"},
    "analyze": {"failed", "kept"},
    "embed": {"ItemRejected"},
}
"""What the stages say of an item that can never be done as it is: its own fault, and no error."""

OVER_QUOTA = "over_quota"
"""The code of an item that was not done because it did not fit into what its owner may have, or everybody:
worth a replay, once it does."""


class Failure(BaseModel):
    """A stage that raised: the error's name, and Lambda's JSON about it."""

    stage: str
    error: str
    cause: str = ""
    redrive: int = 0


@dataclass(frozen=True)
class Verdict:
    """What became of an item.

    Attributes:
        outcome: done, ignored (there was nothing to do), rejected (its own fault), failed (ours).
        stages: by stage that was reached, the same four.
        stage, code, message: why it was rejected or failed.
    """

    outcome: str
    stages: dict[str, str] = field(default_factory=dict)
    stage: str | None = None
    code: str | None = None
    message: str | None = None


def judge(results: Mapping[str, Mapping[str, Any]], failure: Failure | None) -> Verdict:
    """Return what became of an item."""
    stages = {stage: _of_stage(stage, result) for stage, result in results.items()}
    if failure is not None:
        stages[failure.stage] = "failed"
        return Verdict("failed", stages, failure.stage, clean(failure.error)[:100], message(failure.cause))
    for stage, outcome in stages.items():
        if outcome == "failed":
            sentence = clean(str(results[stage].get("reason") or ""))[:MAX_MESSAGE]
            return Verdict("failed", stages, stage, OVER_QUOTA, sentence or None)
    for stage, outcome in stages.items():
        if outcome == "rejected":
            code = results[stage].get("code") or results[stage].get("status")
            return Verdict("rejected", stages, stage, clean(str(code)))
    done = "done" if "done" in stages.values() else "ignored"
    reasons = [str(result["reason"]) for result in results.values() if result.get("reason")]
    return Verdict(done, stages, message=clean(reasons[-1])[:MAX_MESSAGE] if reasons else None)


def message(cause: str) -> str:
    """Return the sentence of an error: of what Lambda tells in JSON, only that.

    A stack trace is for the log, and is longer than anybody's patience. A cause that was cut off is no JSON.
    """
    try:
        told = json.loads(cause)
        sentence = told.get("errorMessage", "") if isinstance(told, dict) else cause
    except (ValueError, RecursionError):
        found = cause.partition('"errorMessage":"')[2] or cause.partition('"errorMessage": "')[2]
        sentence = found.partition('"')[0] or cause
    return clean(str(sentence))[:MAX_MESSAGE]


def _of_stage(stage: str, result: Mapping[str, Any]) -> str:
    status = result.get("status")
    # Whether the item waits for it by itself, or is as it was before. Not by the status: what waits for a
    # later stage was rendered all the same.
    if result.get("code") == OVER_QUOTA:
        return "failed"
    if status in REJECTED.get(stage, ()):
        return "rejected"
    return "ignored" if status == "ignored" else "done"
