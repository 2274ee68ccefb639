"""Decide whether an event is worth a mail, and what makes a second one of it the same occasion."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from shared.events import QuotaReached, ScanComplete
from shared.runs import EVERYBODY

Kind = Literal["scan_complete", "quota"]

UNASKED = {"nightly"}
"""Runs that nobody began: what they do is no news to anybody."""
ENDS = {"succeeded", "failed", "timed_out"}
"""A plan is shown to whoever asked for it, and who cancels a run knows that it is over."""


@dataclass(frozen=True)
class Occasion:
    """What a mail is about: of one occasion there is one mail.

    Attributes:
        kind: as people switch it on and off.
        key: a run's id; a meter and the time for which it has been told.
    """

    user_id: str
    kind: Kind
    key: str


def find(event: ScanComplete | QuotaReached, now: datetime) -> Occasion | None:
    """Return what an event is about; None where it is not worth a mail."""
    if event.user_id == EVERYBODY:
        return None
    if isinstance(event, ScanComplete):
        return Occasion(event.user_id, "scan_complete", str(event.run_id)) if _is_news(event) else None
    return Occasion(event.user_id, "quota", f"{event.meter}/{event.period or _week(now)}")


def _is_news(run: ScanComplete) -> bool:
    """Whether a run is one that somebody waits for, and anything came of it.

    A scan that finds nothing to do, night after night, says nothing; one that ended badly always does.
    """
    if run.kind in UNASKED or run.status not in ENDS:
        return False
    return run.status != "succeeded" or any((run.done, run.rejected, run.failed, run.findings))


def _week(now: datetime) -> str:
    """Return the week of UTC, `2026-W47`: what stands is told of once in it."""
    year, week, _ = now.astimezone(UTC).isocalendar()
    return f"{year}-W{week:02}"
