"""What a user has spent and stored in a period: in all, by day, stage and model; and how much they may."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from pydantic import Field

from functions.api import forecast
from functions.api.answers import Row
from functions.api.problems import Problem, invalid_input
from shared import database, quotas
from shared.models import Model
from shared.quotas import Quota

if TYPE_CHECKING:
    from psycopg.rows import DictRow

MAX_DAYS = 366
_MONTH = re.compile(r"[0-9]{4}-[0-9]{2}")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")

# One pass over the period; the few rows that come out of it are summed up in every other way here. Days
# of UTC by date_bin: a cast to date would ask for the rules of the zone for every row.
SPENT = """
SELECT (date_bin('1 day', occurred_at, timestamptz '2000-01-01T00:00Z') AT TIME ZONE 'UTC')::date AS day,
       stage, provider, model, count(*) AS calls,
       sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens, sum(cost_usd) AS cost_usd
  FROM usage_ledger
 WHERE user_id = %(user_id)s
   AND occurred_at >= %(first)s::date::timestamp AT TIME ZONE 'UTC'
   AND occurred_at < (%(last)s::date + 1)::timestamp AT TIME ZONE 'UTC'
 GROUP BY date_bin('1 day', occurred_at, timestamptz '2000-01-01T00:00Z'), stage, provider, model
"""

# Null is the day of what came before or after the period.
STORED = """
SELECT status, count(*) AS items, coalesce(sum(file_size), 0)::bigint AS bytes,
       CASE WHEN created_at >= %(first)s::date::timestamp AT TIME ZONE 'UTC'
             AND created_at < (%(last)s::date + 1)::timestamp AT TIME ZONE 'UTC'
            THEN (created_at AT TIME ZONE 'UTC')::date END AS day
  FROM items
 WHERE user_id = %(user_id)s
 GROUP BY status, day
"""


RECENT = """
SELECT coalesce(sum(cost_usd), 0) AS usd,
       (SELECT (min(occurred_at) AT TIME ZONE 'UTC')::date
          FROM usage_ledger WHERE user_id = %(user_id)s) AS since
  FROM usage_ledger
 WHERE user_id = %(user_id)s AND occurred_at >= %(first)s::date::timestamp AT TIME ZONE 'UTC'
"""


class Spent(Model):
    """Calls of models: how many, their tokens, and their price."""

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: str = Field("0.000000000", description="US dollars, exactly: a decimal number as text")


class Stored(Model):
    """Items, and the bytes of their originals as far as they are known."""

    items: int = 0
    bytes: int = 0


class SpentByStage(Spent):
    stage: str


class SpentByModel(Spent):
    provider: str
    model: str


class SpentByDay(Spent):
    day: date
    added: Stored = Field(description="that day, and not deleted since")


class Storage(Stored):
    """What is stored now."""

    by_status: dict[str, Stored]
    added: Stored = Field(description="in the period, and not deleted since")


class Limited(Model):
    """How much there may be of something, and is now, with what is reserved."""

    limit: int | float | None = Field(description="null is no limit")
    used: int | float
    resets_at: datetime | None = Field(description="when it begins anew; null where it stands")


class Limits(Model):
    """How much the caller may have, as it stands now, whatever the period is."""

    items: Limited
    storage_bytes: Limited
    scans: Limited
    model_usd: Limited = Field(description="US dollars of this month")


class Forecast(Model):
    """What the current month comes to, if it goes on as in the last days."""

    cost_usd: str | None = Field(description="as `totals.cost_usd`; null where there is nothing to go by")
    per_day_usd: str | None = Field(description="the rate that it rests on")
    basis: str = Field(description="how it was computed, or why it was not, in a sentence")
    limit_reached_on: date | None = Field(
        description="the day on which the month's money is used up at this rate; null where there is none"
    )


class Usage(Model):
    """Days begin and end in UTC; `from` and `to` both belong to the period."""

    first: date = Field(serialization_alias="from")
    last: date = Field(serialization_alias="to")
    totals: Spent
    by_day: list[SpentByDay] = Field(description="every day of the period")
    by_stage: list[SpentByStage] = Field(description="the dearest first")
    by_model: list[SpentByModel] = Field(description="the dearest first")
    storage: Storage
    limits: Limits
    forecast: Forecast | None = Field(description="null where the period is not the current month")


@dataclass(frozen=True)
class Period:
    """Days, the first and the last included."""

    first: date
    last: date

    def __iter__(self) -> Iterator[date]:
        return map(date.fromordinal, range(self.first.toordinal(), self.last.toordinal() + 1))


def period(month: str | None, first: str | None, last: str | None, today: date) -> Period:
    """Return the period that is asked for; the month of today where nothing is.

    Args:
        month: `2026-11`.
        first, last: `2026-11-20`; without the last one, until today.

    Raises:
        Problem: 422, these are no such days, too many, or both a month and days.
    """
    if month is not None and (first is not None or last is not None):
        raise _wrong("month", "Ask for a month, or for days with from and to.")
    if first is None and last is not None:
        raise _wrong("from", "Without from, to says nothing.")
    if first is None:
        return _month(f"{today:%Y-%m}" if month is None else month)
    asked = Period(_day("from", first), today if last is None else _day("to", last))
    if asked.last < asked.first:
        raise _wrong("to", "It is before from.")
    if (asked.last - asked.first).days >= MAX_DAYS:
        raise _wrong("to", f"At most {MAX_DAYS} days can be asked for at once.")
    return asked


def of(user_id: str, asked: Period, now: datetime) -> Usage:
    """Return what a user has spent and stored, and may."""
    key = {"user_id": user_id, "first": asked.first, "last": asked.last}
    standing = {each.meter: each for each in quotas.standing(user_id)}
    spent = database.fetch_all(SPENT, key)
    stored = database.fetch_all(STORED, key)
    by_day = _grouped(spent, "day")
    added = _grouped((row for row in stored if row["day"]), "day")
    return Usage(
        first=asked.first,
        last=asked.last,
        totals=Spent(**_spent(spent)),
        by_day=[
            SpentByDay(
                day=day, added=Stored(**_stored(added.get((day,), []))), **_spent(by_day.get((day,), []))
            )
            for day in asked
        ],
        by_stage=[
            SpentByStage(stage=stage, **_spent(rows)) for (stage,), rows in _dearest(_grouped(spent, "stage"))
        ],
        by_model=[
            SpentByModel(provider=provider, model=model, **_spent(rows))
            for (provider, model), rows in _dearest(_grouped(spent, "provider", "model"))
        ],
        storage=Storage(
            **_stored(stored),
            by_status={
                status: Stored(**_stored(rows))
                for (status,), rows in sorted(_grouped(stored, "status").items())
            },
            added=Stored(**_stored(row for row in stored if row["day"])),
        ),
        limits=Limits(**{meter: _limited(quota) for meter, quota in standing.items()}),
        forecast=_forecast(user_id, now, _cost(spent), standing["model_usd"])
        if asked == _month(f"{now:%Y-%m}")
        else None,
    )


def _limited(quota: Quota) -> Limited:
    number = float if quota.meter == "model_usd" else int
    limit = None if quota.limit is None else number(quota.limit)
    return Limited(limit=limit, used=number(quota.used), resets_at=quota.resets_at)


def _forecast(user_id: str, now: datetime, spent: Decimal, money: Quota) -> Forecast:
    today, end = now.date(), quotas.next_month(now).date()
    first = today - timedelta(days=forecast.RECENT_DAYS - 1)
    recent = database.fetch_one(RECENT, {"user_id": user_id, "first": first})
    assert recent is not None  # noqa: S101 - an aggregate always has a row
    told = forecast.forecast(today, end, spent, recent["usd"], recent["since"], money.limit, money.used)
    return Forecast(
        cost_usd=None if told.usd is None else f"{told.usd:.9f}",
        per_day_usd=None if told.per_day is None else f"{told.per_day:.9f}",
        basis=told.basis,
        limit_reached_on=told.reached_on,
    )


Groups = dict[tuple[Any, ...], "list[DictRow]"]


def _grouped(rows: "Iterable[DictRow]", *columns: str) -> Groups:
    groups: Groups = defaultdict(list)
    for row in rows:
        groups[tuple(row[column] for column in columns)].append(row)
    return groups


def _dearest(groups: Groups) -> "list[tuple[tuple[Any, ...], list[DictRow]]]":
    def rank(group: "tuple[tuple[Any, ...], list[DictRow]]") -> tuple[Decimal, tuple[Any, ...]]:
        return -_cost(group[1]), group[0]

    return sorted(groups.items(), key=rank)


def _cost(rows: Iterable[Row]) -> Decimal:
    return sum((row["cost_usd"] for row in rows), Decimal(0))


def _spent(rows: "list[DictRow]") -> dict[str, Any]:
    counted = {name: sum(row[name] for row in rows) for name in ("calls", "input_tokens", "output_tokens")}
    return {**counted, "cost_usd": f"{_cost(rows):.9f}"}


def _stored(rows: Iterable[Row]) -> dict[str, int]:
    pairs = [(row["items"], row["bytes"]) for row in rows]
    return {"items": sum(items for items, _ in pairs), "bytes": sum(size for _, size in pairs)}


def _month(text: str) -> Period:
    if not _MONTH.fullmatch(text):
        raise _wrong("month", "Write a month like 2026-11.")
    first = _day("month", f"{text}-01")
    if first.month == 12:
        return Period(first, first.replace(day=31))
    return Period(first, date.fromordinal(first.replace(month=first.month + 1).toordinal() - 1))


def _day(name: str, text: str) -> date:
    try:
        if not _DAY.fullmatch(text):
            raise ValueError("another form")
        return date.fromisoformat(text)
    except ValueError as error:
        like = "a month like 2026-11" if name == "month" else "a day like 2026-11-20"
        raise _wrong(name, f"Write {like}.") from error


def _wrong(name: str, message: str) -> Problem:
    return invalid_input([{"loc": ("query", name), "type": "value_error", "msg": message}])
