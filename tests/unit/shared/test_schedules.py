"""When a schedule comes again, clocks that change included."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from shared.schedules import Rate, Schedule, ScheduleError, next_after, parse, zone_of


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def following(expression: str, moment: str, count: int = 3, zone: str = "UTC") -> list[str]:
    cron = parse(expression)
    found, now = [], at(moment)
    for _ in range(count):
        now = cron.next_after(now, zone_of(zone)) if not isinstance(cron, Rate) else cron.next_after(now)
        if now is None:
            break
        found.append(f"{now:%Y-%m-%d %H:%M}")
    return found


@pytest.mark.parametrize(
    ("expression", "moment", "expected"),
    [
        (
            "cron(0 3 * * ? *)",
            "2026-11-20T03:00",
            ["2026-11-21 03:00", "2026-11-22 03:00", "2026-11-23 03:00"],
        ),
        ("cron(0/20 8-9 ? * MON-FRI *)", "2026-11-20T09:30", ["2026-11-20 09:40", "2026-11-23 08:00"]),
        ("cron(*/30 * * * ? *)", "2026-12-31T23:45", ["2027-01-01 00:00", "2027-01-01 00:30"]),
        ("cron(15 10 L * ? *)", "2026-01-31T10:15", ["2026-02-28 10:15", "2026-03-31 10:15"]),
        ("cron(0 0 LW * ? *)", "2026-01-01T00:00", ["2026-01-30 00:00", "2026-02-27 00:00"]),
        # The nearest weekday: the 1st of November 2026 is a Sunday, the 1st of August a Saturday.
        ("cron(0 9 1W * ? *)", "2026-07-15T00:00", ["2026-08-03 09:00", "2026-09-01 09:00"]),
        ("cron(0 9 15W 11 ? *)", "2026-01-01T00:00", ["2026-11-16 09:00"]),
        ("cron(0 12 ? * 2#1 *)", "2026-11-20T00:00", ["2026-12-07 12:00", "2027-01-04 12:00"]),
        ("cron(0 12 ? * FRIL *)", "2026-11-20T00:00", ["2026-11-27 12:00", "2026-12-25 12:00"]),
        ("cron(0 12 ? * L *)", "2026-11-20T00:00", ["2026-11-21 12:00"]),
        ("cron(0 0 29 FEB ? *)", "2026-01-01T00:00", ["2028-02-29 00:00", "2032-02-29 00:00"]),
        ("cron(0 0 1 1 ? 2027)", "2026-01-01T00:00", ["2027-01-01 00:00"]),
        ("cron(0 0 31 2 ? *)", "2026-01-01T00:00", []),
        ("cron(5,35 6,18 1,15 JAN,JUL ? 2026-2027)", "2026-07-15T18:05", ["2026-07-15 18:35"]),
        ("rate(5 minutes)", "2026-11-20T00:00", ["2026-11-20 00:05", "2026-11-20 00:10"]),
        ("rate(1 day)", "2026-11-20T00:00", ["2026-11-21 00:00"]),
    ],
)
def test_an_expression_comes_when_it_says(expression: str, moment: str, expected: list[str]) -> None:
    found = following(expression, moment)
    assert found[: len(expected)] == expected
    assert expected or not found


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "cron()",
        "0 3 * * ? *",
        "cron(0 3 * * ?)",
        "cron(0 3 * * * *)",
        "cron(0 3 ? * ? *)",
        "cron(60 3 * * ? *)",
        "cron(0 24 * * ? *)",
        "cron(0 3 32 * ? *)",
        "cron(0 3 0 * ? *)",
        "cron(0 3 ? * 8 *)",
        "cron(0 3 ? * 2#6 *)",
        "cron(0 3 * 13 ? *)",
        "cron(0 3 * * ? 1969)",
        "cron(5-1 3 * * ? *)",
        "cron(0/0 3 * * ? *)",
        "cron(0 3 W * ? *)",
        "cron(0 3 ?? * MON *)",
        "cron(0 3 * * ? *) ; rm",
        "cron(" + "1," * 50 + " 3 * * ? *)",
        "rate(0 minutes)",
        "rate(1 minutes)",
        "rate(2 minute)",
        "rate(1 week)",
        "every day",
    ],
)
def test_what_means_nothing_is_refused(expression: str) -> None:
    with pytest.raises(ScheduleError):
        parse(expression)


def comings(schedule: Schedule, zone: str, moment: str, count: int) -> list[str]:
    found, now = [], at(moment)
    for _ in range(count):
        coming = next_after(schedule, zone, now)
        assert coming is not None
        now = coming
        found.append(f"{now:%m-%d %H:%M}")
    return found


class TestClocksThatChange:
    """Berlin: on 29 March 2026 02:00 becomes 03:00, on 25 October 03:00 becomes 02:00."""

    def test_a_daily_scan_keeps_its_time_of_day(self) -> None:
        daily = Schedule(every="day", at="09:00")
        assert comings(daily, "Europe/Berlin", "2026-03-27T12:00", 3) == [
            "03-28 08:00",
            "03-29 07:00",
            "03-30 07:00",
        ]

    def test_a_time_that_is_skipped_comes_all_the_same(self) -> None:
        daily = Schedule(every="day", at="02:30")
        assert comings(daily, "Europe/Berlin", "2026-03-28T00:00", 3) == [
            "03-28 01:30",
            "03-29 01:30",  # 03:30 by the new clock
            "03-30 00:30",
        ]

    def test_a_time_that_comes_twice_is_taken_once(self) -> None:
        daily = Schedule(every="day", at="02:30")
        assert comings(daily, "Europe/Berlin", "2026-10-24T12:00", 2) == ["10-25 00:30", "10-26 01:30"]

    def test_an_hourly_scan_comes_every_hour_that_passes(self) -> None:
        hourly = Schedule(every="hour", at="00:15")
        assert comings(hourly, "Europe/Berlin", "2026-10-24T23:30", 4) == [
            "10-25 00:15",
            "10-25 01:15",
            "10-25 02:15",
            "10-25 03:15",
        ]

    def test_a_zone_of_half_hours_has_its_own_minutes(self) -> None:
        hourly = Schedule(every="hour", at="00:00")
        assert comings(hourly, "Asia/Kolkata", "2026-10-24T23:40", 2) == ["10-25 00:30", "10-25 01:30"]


def test_weeks_and_months_come_on_their_day() -> None:
    weekly = Schedule(every="week", at="23:00", weekday="SUN")
    assert comings(weekly, "UTC", "2026-11-20T00:00", 2) == ["11-22 23:00", "11-29 23:00"]
    monthly = Schedule(every="month", at="00:00", day=31)
    assert comings(monthly, "UTC", "2026-01-15T00:00", 3) == ["01-31 00:00", "02-28 00:00", "03-31 00:00"]


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"every": "day"},
        {"every": "day", "at": "24:00"},
        {"every": "day", "at": "9:00"},
        {"every": "week", "at": "09:00"},
        {"every": "day", "at": "09:00", "day": 3},
        {"every": "month", "at": "09:00", "day": 32},
        {"every": "day", "at": "09:00", "cron": "cron(0 3 * * ? *)"},
        {"cron": "rate(1 day)"},
        {"cron": "cron(0 3 * * * *)"},
        {"cron": "\x00"},
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Schedule.model_validate(wrong)


@pytest.mark.parametrize("name", ["", "Berlin", "../../etc/passwd", "/etc/localtime", "a\x00b", "Europe/"])
def test_a_zone_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ScheduleError):
        zone_of(name)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "UTC"]),
    st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1)),  # noqa: DTZ001 - made aware below
    st.integers(0, 23),
    st.integers(0, 59),
)
def test_a_daily_scan_comes_once_a_day_whatever_the_clocks_do(
    zone: str, moment: datetime, hour: int, minute: int
) -> None:
    schedule = Schedule(every="day", at=f"{hour:02}:{minute:02}")
    now = moment.replace(tzinfo=UTC)
    first = next_after(schedule, zone, now)
    assert first is not None
    second = next_after(schedule, zone, first)
    assert second is not None
    assert now < first <= now + timedelta(hours=25)
    assert timedelta(hours=22, minutes=30) <= second - first <= timedelta(hours=25, minutes=30)
