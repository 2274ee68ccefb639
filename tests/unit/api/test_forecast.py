"""What a month will cost: computed by hand."""

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest

from functions.api.forecast import NOTHING, Forecast, forecast

TODAY = date(2026, 11, 20)
"""After it, ten days are left of the month."""
END = date(2026, 12, 1)


def ahead(**changed: Any) -> Forecast:
    known = {
        "today": TODAY,
        "spent": Decimal(3),
        "recent": Decimal("0.7"),
        "since": TODAY - timedelta(days=400),
        "limit": Decimal(10),
        "used": Decimal(3),
    }
    return forecast(end=END, **(known | changed))


def test_the_rest_of_the_month_goes_on_as_the_last_week_did() -> None:
    told = ahead()
    assert (told.usd, told.per_day) == (Decimal(4), Decimal("0.1"))  # 3 + 10 days at 0.7 / 7
    assert told.basis == (
        "What was spent so far, and for 10 days left the average of the last 7 days, $0.1000 a day."
    )
    assert told.reached_on is None


@pytest.mark.parametrize(("since", "days"), [(6, 7), (5, 6), (1, 2), (0, 1)])
def test_whoever_is_new_has_a_shorter_week(since: int, days: int) -> None:
    told = ahead(recent=Decimal(2), since=TODAY - timedelta(days=since))
    assert told.per_day == Decimal(2) / days
    assert f"the last {days} day" in told.basis


def test_on_the_last_day_nothing_is_to_come() -> None:
    told = ahead(today=END - timedelta(days=1))
    assert told.usd == 3
    assert "for 0 days left" in told.basis


def test_at_this_rate_the_limit_is_reached_before_the_month_ends() -> None:
    told = ahead(recent=Decimal(7), used=Decimal(5))  # a dollar a day, five left
    assert told.reached_on == TODAY + timedelta(days=5)
    assert ahead(recent=Decimal(7), used=Decimal("9.5")).reached_on == TODAY + timedelta(days=1)
    assert ahead(recent=Decimal(7), used=Decimal(11)).reached_on == TODAY
    assert ahead(recent=Decimal(7), used=Decimal(0)).reached_on == date(2026, 11, 30)
    assert ahead(recent=Decimal(7), used=Decimal(0), limit=Decimal("10.01")).reached_on is None
    assert ahead(recent=Decimal(7), limit=None).reached_on is None


@pytest.mark.parametrize("changed", [{"recent": Decimal(0)}, {"since": None}])
def test_where_there_is_nothing_to_go_by_nothing_is_made_up(changed: dict[str, Any]) -> None:
    assert ahead(**changed) == Forecast(None, None, NOTHING, None)
