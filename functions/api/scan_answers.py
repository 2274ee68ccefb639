"""What the API says of scans, and what can be asked of it about them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import ConfigDict, Field, StringConstraints, field_validator, model_validator

from functions.api import run_answers
from functions.api.run_answers import Run
from shared import schedules
from shared.models import Model
from shared.runs import MAX_USD, STEPS, Plain, RunStatus, Selection, Step
from shared.schedules import Schedule, ScheduleError

Name = Annotated[Plain, StringConstraints(min_length=1, max_length=200)]


class _Asked(Model):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Work(_Asked):
    """What a scan does: stages over a selection, or a check of objects."""

    select: Selection | None = None
    stages: list[Step] = Field(list(STEPS), min_length=1, max_length=len(STEPS))
    check: Literal["objects"] | None = None
    force: bool = False
    max_cost_usd: float | None = Field(None, ge=0, le=MAX_USD)

    @model_validator(mode="after")
    def _does_one_thing(self) -> "Work":
        if (self.select is None) == (self.check is None):
            raise ValueError("say either select or check")
        return self


class _Scan(_Asked):
    @field_validator("zone", check_fields=False)
    @classmethod
    def _exists(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                schedules.zone_of(value)
            except ScheduleError as error:
                raise ValueError(str(error)) from error
        return value


class NewScan(_Scan):
    """Work that comes again by itself."""

    name: Name
    work: Work
    schedule: Schedule
    zone: Annotated[str, StringConstraints(max_length=100)] = "UTC"
    enabled: bool = True


class ScanChange(_Scan):
    """What is to be different about a scan; what is left out stays."""

    name: Name | None = None
    work: Work | None = None
    schedule: Schedule | None = None
    zone: Annotated[str, StringConstraints(max_length=100)] | None = None
    enabled: bool | None = None


class Scan(Model):
    """A scan; `next_run_at` is null while it is paused, and where its schedule never comes again."""

    scan_id: UUID
    name: str
    work: dict[str, Any]
    schedule: Schedule
    zone: str
    enabled: bool
    next_run_at: datetime | None
    last_run_at: datetime | None
    last_run_id: UUID | None
    created_at: datetime
    updated_at: datetime


class Scans(Model):
    scans: list[Scan]
    next_cursor: str | None


class TrendPoint(Model):
    """What one reported run of a scan came to."""

    run_id: UUID
    status: RunStatus
    at: datetime
    seconds: float | None
    done: int
    rejected: int
    failed: int
    findings: int
    cost_usd: float


class ScanRuns(Model):
    """Runs of a scan, newest first, and how the latest thirty that were reported went, oldest first."""

    runs: list[Run]
    trend: list[TrendPoint]
    next_cursor: str | None


def scan(row: Mapping[str, Any]) -> Scan:
    """Return a scan as it is answered."""
    return Scan(**{name: row[name] for name in Scan.model_fields})


def scan_runs(runs: run_answers.Runs, rows: Sequence[Mapping[str, Any]]) -> ScanRuns:
    """Return a page of a scan's runs with its trend."""
    return ScanRuns(
        runs=runs.runs,
        next_cursor=runs.next_cursor,
        trend=[
            TrendPoint(
                run_id=row["run_id"],
                status=row["status"],
                at=row["created_at"],
                seconds=(row["finished_at"] - row["created_at"]).total_seconds()
                if row["finished_at"]
                else None,
                done=row["summary"]["items"]["done"],
                rejected=row["summary"]["items"]["rejected"],
                failed=row["summary"]["items"]["failed"],
                findings=sum(row["summary"].get("findings", {}).values()),
                cost_usd=row["summary"]["cost_usd"],
            )
            for row in reversed(rows)
        ],
    )
