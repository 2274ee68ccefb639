"""Decide what a month will cost by its end, from what the last days did.

The recent rate rather than the month's average: on the second of a month, or after a large import, the
average says nothing about the days to come. By whole days of UTC, so that it is the same all day long unless
something is spent.
"""

import math
from datetime import date, timedelta
from decimal import Decimal
from typing import NamedTuple

RECENT_DAYS = 7
"""Today and those before it: long enough for weekdays and weekends to be in it."""

NOTHING = "No model was paid for in the last 7 days: there is nothing to go by."


class Forecast(NamedTuple):
    """What a month comes to.

    Attributes:
        usd: by the end of the month; None where there is nothing to go by.
        per_day: the rate that it rests on.
        basis: how it was computed, or why it was not, in a sentence.
        reached_on: the day on which the limit is used up at this rate; None where that is not in the month.
    """

    usd: Decimal | None
    per_day: Decimal | None
    basis: str
    reached_on: date | None


def forecast(
    today: date,
    end: date,
    spent: Decimal,
    recent: Decimal,
    since: date | None,
    limit: Decimal | None,
    used: Decimal,
) -> Forecast:
    """Return what a month will cost.

    Args:
        end: the first day of the next month.
        spent: in this month, so far.
        recent: spent today and in the days before it, `RECENT_DAYS` together.
        since: the day of the first call ever; None where there was none.
        limit: of the month; None for none.
        used: of the limit: what was spent, and what is reserved.
    """
    if not recent or since is None:
        return Forecast(None, None, NOTHING, None)
    days = min((today - since).days + 1, RECENT_DAYS)
    left = (end - today).days - 1
    rate = recent / days
    basis = (
        f"What was spent so far, and for {_days(left)} left the average of the last {_days(days)}, "
        f"${rate:.4f} a day."
    )
    return Forecast(spent + rate * left, rate, basis, _reached(today, end, rate, limit, used))


def _reached(today: date, end: date, rate: Decimal, limit: Decimal | None, used: Decimal) -> date | None:
    if limit is None:
        return None
    days = math.ceil(max(limit - used, Decimal(0)) / rate)
    return today + timedelta(days=days) if days < (end - today).days else None


def _days(number: int) -> str:
    return f"{number} {'day' if number == 1 else 'days'}"
