"""What is worth a mail, and what is the same occasion."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest

from functions.mailer.occasion import Occasion, find
from shared.events import QuotaReached, ScanComplete

RUN = UUID("0b8f6c9e-5d0a-4f0e-8f60-1f4a1c7f9d22")
NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)


def run(**changed: Any) -> ScanComplete:
    said: dict[str, Any] = {
        "user_id": "ada",
        "run_id": RUN,
        "kind": "scan",
        "status": "succeeded",
        "planned": 3,
        "done": 3,
        "ignored": 0,
        "rejected": 0,
        "failed": 0,
        "cost_usd": 0,
        "report_key": "ada/reports/1",
    }
    return ScanComplete(**said | changed)


def reached(**changed: Any) -> QuotaReached:
    return QuotaReached(**{"user_id": "ada", "meter": "items", "limit": 2000, "used": 2000} | changed)


@pytest.mark.parametrize(
    "kind", ["scan", "reprocess", "replay", "vector_index", "check", "ingest", "console"]
)
def test_a_run_is_told_of_once_by_its_id(kind: str) -> None:
    assert find(run(kind=kind), NOW) == Occasion("ada", "scan_complete", str(RUN))


@pytest.mark.parametrize(
    "changed",
    [
        {"user_id": "*"},
        {"kind": "nightly"},
        {"status": "planned"},
        {"status": "cancelled"},
        {"done": 0, "planned": 0},
        {"done": 0, "ignored": 3},
    ],
    ids=str,
)
def test_what_nobody_waits_for_is_no_news(changed: dict[str, Any]) -> None:
    assert find(run(**changed), NOW) is None


@pytest.mark.parametrize(
    "changed",
    [
        {"done": 0, "failed": 1},
        {"done": 0, "rejected": 1},
        {"done": 0, "findings": 1},
        {"done": 0, "status": "failed"},
        {"done": 0, "status": "timed_out"},
    ],
    ids=str,
)
def test_what_went_wrong_is_always_news(changed: dict[str, Any]) -> None:
    assert find(run(**changed), NOW) is not None


def test_money_is_told_of_once_a_month_and_each_meter_by_itself() -> None:
    told = find(reached(meter="model_usd", period="2026-11"), NOW)
    assert told == Occasion("ada", "quota", "model_usd/2026-11")
    assert find(reached(meter="model_usd", period="2026-11"), NOW + timedelta(days=9)) == told
    assert find(reached(meter="model_usd", period="2026-12"), NOW) != told
    assert find(reached(meter="deployment", period="2026-11"), NOW) != told


def test_what_stands_is_told_of_once_in_a_week_of_utc() -> None:
    told = find(reached(), NOW)
    assert told == Occasion("ada", "quota", "items/2026-W47")
    sunday = datetime(2026, 11, 22, 23, 59, tzinfo=UTC)
    assert find(reached(), sunday) == told
    assert find(reached(), sunday.astimezone(timezone(timedelta(hours=9)))) == told, "Monday in Tokyo"
    assert find(reached(), sunday + timedelta(minutes=1)) == Occasion("ada", "quota", "items/2026-W48")
    assert find(reached(meter="storage_bytes"), NOW) != told
