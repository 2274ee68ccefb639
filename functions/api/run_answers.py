"""What the API says of runs, and what can be asked of it about them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import ConfigDict, Field

from functions.api.answers import VIEW_SECONDS
from shared import objects
from shared.models import Model
from shared.runs import MAX_USD, STEPS, Kind, Reason, RunStatus, Selection, Step

Row = Mapping[str, Any]


class _Asked(Model):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Reprocess(_Asked):
    """Stages to run again over the caller's items."""

    select: Selection
    stages: list[Step] = Field(list(STEPS), min_length=1, max_length=len(STEPS))
    dry_run: bool = False
    max_cost_usd: float | None = Field(None, ge=0, le=MAX_USD)
    force: bool = Field(False, description="new analyses of what was described the same way already")
    reason: Reason = ""


class Replay(_Asked):
    """What failed is to be tried again: everything, or what failed in one run."""

    run_id: UUID | None = None
    stages: list[Step] = Field(list(STEPS), min_length=1, max_length=len(STEPS))
    dry_run: bool = False
    max_cost_usd: float | None = Field(None, ge=0, le=MAX_USD)
    force: bool = Field(True, description="ask models anew; else a refusal that is kept is only read again")
    reason: Reason = ""


class Rebuild(_Asked):
    """Vectors to make anew where they are of another model or another text than now."""

    dry_run: bool = False
    max_cost_usd: float | None = Field(None, ge=0, le=MAX_USD)
    reason: Reason = ""


class Items(Model):
    """How many items; `planned` and `left` are null until it is known."""

    planned: int | None
    done: int
    ignored: int
    rejected: int
    failed: int
    left: int | None


class Outcomes(Model):
    done: int
    ignored: int
    rejected: int
    failed: int


class Cause(Model):
    """Why items were rejected (their own fault) or failed (ours, worth a replay)."""

    outcome: Literal["rejected", "failed"]
    stage: str | None
    code: str | None
    message: str | None
    items: int


class Failure(Model):
    item_id: UUID
    outcome: Literal["rejected", "failed"]
    stage: str | None
    code: str | None
    message: str | None
    ended_at: datetime


class Estimate(Model):
    """What a run will take: calls that are paid for, tokens and US dollars, and from what that is known."""

    items: int
    analyses: int
    embeddings: int
    input_tokens: int
    output_tokens: int
    usd: float
    basis: str


class RunError(Model):
    code: str
    message: str | None


class Report(Model):
    """URLs of the report, for an hour."""

    html: str
    json_url: str


class Run(Model):
    """A run, as lists show it."""

    run_id: UUID
    kind: Kind
    status: RunStatus
    scan_id: UUID | None
    reason: str
    stages: list[Step]
    check: str | None
    dry_run: bool
    force: bool
    error: RunError | None
    estimate: Estimate | None
    planned_items: int | None
    cost_usd: float | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class WholeRun(Run):
    """A run with how it stands."""

    select: dict[str, Any] | None
    max_cost_usd: float | None
    items: Items
    by_stage: dict[str, Outcomes]
    causes: list[Cause]
    failures: list[Failure]
    findings: dict[str, int]
    seconds_left: int | None
    report: Report | None


class Runs(Model):
    runs: list[Run]
    next_cursor: str | None


class StateEvent(Model):
    """One line of an execution's history."""

    at: datetime
    event: str
    state: str | None
    detail: str | None


class History(Model):
    """What the state machine did, first things first; a run that was not started has none."""

    run_id: UUID
    execution: str | None
    events: list[StateEvent]
    more: bool


def run(row: Row) -> Run:
    """Return a run as lists show it."""
    return Run(**_run(row))


def whole_run(row: Row, standing: Row, failures: Sequence[Row], media_bucket: str) -> WholeRun:
    """Return a run with how it stands."""
    request = row["request"]
    report = None
    if row["report_key"]:
        html = objects.view_url(
            media_bucket, f"{row['report_key']}.html", VIEW_SECONDS, {"ResponseContentType": "text/html"}
        )
        plain = objects.view_url(media_bucket, f"{row['report_key']}.json", VIEW_SECONDS)
        report = Report(html=html, json_url=plain)
    return WholeRun(
        **_run(row) | {"cost_usd": standing["cost_usd"]},
        select=request.get("select"),
        max_cost_usd=request.get("max_cost_usd"),
        items=Items(**standing["items"]),
        by_stage={name: Outcomes(**counts) for name, counts in standing["stages"].items()},
        causes=[Cause(**cause) for cause in standing["causes"]],
        failures=[Failure(**{name: each[name] for name in Failure.model_fields}) for each in failures],
        findings=standing.get("findings", {}),
        seconds_left=standing["seconds_left"],
        report=report,
    )


def _run(row: Row) -> dict[str, Any]:
    request = row["request"]
    error = RunError(code=row["error_code"], message=row["error_message"]) if row["error_code"] else None
    return {
        **{name: row[name] for name in Run.model_fields if name in row},
        "reason": request.get("reason", ""),
        "stages": request.get("stages", []),
        "check": request.get("check"),
        "dry_run": request.get("dry_run", False),
        "force": request.get("force", False),
        "error": error,
        "cost_usd": (row["summary"] or {}).get("cost_usd"),
    }
