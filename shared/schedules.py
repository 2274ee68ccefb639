"""When something comes again: EventBridge's cron and rate expressions, and the plain words of a user's scan.

Times of day are of a zone, and follow its clock through the year. A time that a change of the clock skips is
taken at the moment that it would have been (02:30 becomes 03:30), so that no day is left out; a time that
comes twice is taken the first time.

https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html
"""

import calendar
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from shared.errors import MagpieError
from shared.models import Model

MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
"""As EventBridge counts them: Sunday is 1."""
LAST_YEAR = 2199
YEARS_AHEAD = 40
"""Beyond that nobody waits; the 29th of February on a given weekday comes within 28."""


class ScheduleError(MagpieError):
    """An expression that means nothing, or no zone; says what is wrong with it."""


@dataclass(frozen=True)
class Rate:
    """Every so often, whatever the clock says."""

    every: timedelta

    def next_after(self, moment: datetime) -> datetime:
        return moment + self.every


@dataclass(frozen=True)
class Cron:
    """The six fields of a cron expression, read.

    Attributes:
        days: of the month; `L` and `nW` as they stand.
        weekdays: `n`, `nL` and `n#m` as they stand, with numbers for names.
    """

    minutes: frozenset[int]
    hours: frozenset[int]
    days: tuple[str, ...] | None
    months: frozenset[int]
    weekdays: tuple[str, ...] | None
    years: frozenset[int]

    def on(self, day: date) -> bool:
        """Say whether it comes on this day."""
        if day.year not in self.years or day.month not in self.months:
            return False
        if self.days is not None:
            return any(day.day == _day_of(each, day) for each in self.days)
        return any(_is_weekday(each, day) for each in self.weekdays or ())

    def next_after(self, moment: datetime, zone: ZoneInfo | None = None) -> datetime | None:
        """Return the first moment after another, in UTC; None where there is none.

        Args:
            moment: aware.
            zone: whose clock the fields mean; UTC where none is given.
        """
        where = zone or ZoneInfo("UTC")
        times = [time(hour, minute) for hour in sorted(self.hours) for minute in sorted(self.minutes)]
        # From a day before: a time of today may, by a shifted clock, come later than its neighbours.
        for day in self._days_from(moment.astimezone(where).date() - timedelta(days=1)):
            found = [at for each in times if (at := _moment(day, each, where)) > moment]
            if found:
                return min(found)
        return None

    def _days_from(self, start: date) -> Iterator[date]:
        for year in range(start.year, min(start.year + YEARS_AHEAD, LAST_YEAR) + 1):
            for month in sorted(self.months) if year in self.years else ():
                for number in range(1, calendar.monthrange(year, month)[1] + 1):
                    day = date(year, month, number)
                    if day >= start and self.on(day):
                        yield day


def _moment(day: date, at: time, zone: ZoneInfo) -> datetime:
    """Return when a clock shows a time on a day: the first time, or as if the clock had not been changed."""
    return datetime.combine(day, at, zone).astimezone(UTC)


def _day_of(field: str, day: date) -> int:
    last = calendar.monthrange(day.year, day.month)[1]
    if field == "L":
        return last
    if not field.endswith("W"):
        return int(field)
    wanted = last if field == "LW" else min(int(field[:-1]), last)
    weekday = date(day.year, day.month, wanted).weekday()
    if weekday == 5:  # Saturday: the Friday before, unless that is another month
        return wanted - 1 if wanted > 1 else wanted + 2
    if weekday == 6:  # Sunday: the Monday after, unless that is another month
        return wanted + 1 if wanted < last else wanted - 2
    return wanted


def _is_weekday(field: str, day: date) -> bool:
    number, mark, nth = re.fullmatch(r"(\d)(L|#)?(\d)?", field).groups()  # type: ignore[union-attr]
    if day.isoweekday() % 7 + 1 != int(number):
        return False
    if mark == "L":
        return day.day + 7 > calendar.monthrange(day.year, day.month)[1]
    return mark is None or (day.day - 1) // 7 + 1 == int(nth)


def parse(expression: str) -> Cron | Rate:
    """Read `cron(…)` or `rate(…)` as EventBridge writes them.

    Raises:
        ScheduleError: it is neither.
    """
    text = expression.strip()
    if found := re.fullmatch(r"rate\((\d{1,6}) (minute|hour|day)(s?)\)", text):
        count = int(found[1])
        if count < 1 or (count == 1) == bool(found[3]):
            raise ScheduleError("a rate is 1 minute, 5 minutes, 1 hour, ...")
        return Rate(timedelta(**{f"{found[2]}s": count}))
    if not (text.startswith("cron(") and text.endswith(")")):
        raise ScheduleError("use cron(minutes hours day-of-month month day-of-week year)")
    fields = text[5:-1].upper().split()
    if len(fields) != 6:
        raise ScheduleError("a cron expression has six fields, the last of which is the year")
    minutes, hours, days, months, weekdays, years = fields
    if (days == "?") == (weekdays == "?"):
        raise ScheduleError("one of day-of-month and day-of-week is a ?, and the other is not")
    return Cron(
        _numbers(minutes, 0, 59, "minutes"),
        _numbers(hours, 0, 23, "hours"),
        None if days == "?" else _days(days),
        _numbers(months, 1, 12, "month", MONTHS),
        None if weekdays == "?" else _weekdays(weekdays),
        _numbers(years, 1970, LAST_YEAR, "year"),
    )


def _numbers(field: str, low: int, high: int, name: str, words: Sequence[str] = ()) -> frozenset[int]:
    found: set[int] = set()
    for part in field.split(","):
        span, slash, step = part.partition("/")
        start, dash, end = span.partition("-")
        if slash and not re.fullmatch(r"[1-9]\d{0,3}", step):
            raise ScheduleError(f"{name}: {part} has no step")
        if span == "*" or (slash and span == ""):
            first, last = low, high
        else:
            first = _number(start, low, high, name, words)
            last = _number(end, low, high, name, words) if dash else high if slash else first
        if first > last:
            raise ScheduleError(f"{name}: {part} runs backwards")
        found.update(range(first, last + 1, int(step) if slash else 1))
    return frozenset(found)


def _number(text: str, low: int, high: int, name: str, words: Sequence[str]) -> int:
    if text in words:
        return words.index(text) + 1
    if not re.fullmatch(r"\d{1,4}", text) or not low <= int(text) <= high:
        raise ScheduleError(f"{name}: {text or 'nothing'} is not from {low} to {high}")
    return int(text)


def _days(field: str) -> tuple[str, ...]:
    found: list[str] = []
    for part in field.split(","):
        if part in ("L", "LW"):
            found.append(part)
        elif part.endswith("W"):
            found.append(f"{_number(part[:-1], 1, 31, 'day-of-month', ())}W")
        else:
            found += map(str, sorted(_numbers(part, 1, 31, "day-of-month")))
    return tuple(found)


def _weekdays(field: str) -> tuple[str, ...]:
    found: list[str] = []
    for part in field.split(","):
        if part == "L":
            found.append("7")
        elif part.endswith("L"):
            found.append(f"{_number(part[:-1], 1, 7, 'day-of-week', WEEKDAYS)}L")
        elif "#" in part:
            day, _, nth = part.partition("#")
            number = _number(nth, 1, 5, "day-of-week", ())
            found.append(f"{_number(day, 1, 7, 'day-of-week', WEEKDAYS)}#{number}")
        else:
            found += map(str, sorted(_numbers(part, 1, 7, "day-of-week", WEEKDAYS)))
    return tuple(found)


def zone_of(name: str) -> ZoneInfo:
    """Return a zone by its name in the IANA database.

    Raises:
        ScheduleError: there is none.
    """
    try:
        if not re.fullmatch(r"[A-Za-z0-9_+\-]+(/[A-Za-z0-9_+\-]+)*", name):
            raise ValueError(name)
        return ZoneInfo(name)
    except (ValueError, OSError, LookupError) as error:
        raise ScheduleError("this is no zone of the IANA database, such as Europe/Berlin") from error


class Schedule(Model):
    """When a user's scan comes: in plain words, or by an EventBridge cron expression.

    Attributes:
        at: time of day in the scan's zone; of an hourly scan its minutes count.
        weekday: of a weekly scan.
        day: of a monthly scan; in a shorter month its last day.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    every: Literal["hour", "day", "week", "month"] | None = None
    at: Annotated[str, StringConstraints(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")] | None = None
    weekday: Literal["MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN"] | None = None
    day: int | None = Field(None, ge=1, le=31)
    cron: Annotated[str, StringConstraints(max_length=200)] | None = None

    @model_validator(mode="after")
    def _makes_sense(self) -> "Schedule":
        if (self.every is None) == (self.cron is None):
            raise ValueError("say either every or cron")
        if self.cron is not None:
            if self.at or self.weekday or self.day:
                raise ValueError("a cron expression says all by itself")
            try:
                if isinstance(parse(self.cron), Rate):
                    raise ValueError("use every, or a cron expression")
            except ScheduleError as error:
                raise ValueError(str(error)) from error
        elif (
            (self.weekday is not None) != (self.every == "week")
            or (self.day is not None) != (self.every == "month")
            or self.at is None
        ):
            raise ValueError("say at, and weekday for every week, and day for every month")
        return self


def next_after(schedule: Schedule, zone: str, moment: datetime) -> datetime | None:
    """Return when a schedule comes the next time after a moment, in UTC; None where it never does again.

    Raises:
        ScheduleError: there is no such zone.
    """
    where = zone_of(zone)
    if schedule.cron is not None:
        cron = parse(schedule.cron)
        assert isinstance(cron, Cron)  # noqa: S101 - the model takes no rates
        return cron.next_after(moment, where)
    hour, minute = (int(part) for part in (schedule.at or "00:00").split(":"))
    if schedule.every == "hour":
        # Every hour that passes, also the one that a clock shows twice.
        start = moment.astimezone(UTC).replace(second=0, microsecond=0)
        ahead = (start + timedelta(minutes=step) for step in range(1, 181))
        return next(each for each in ahead if each.astimezone(where).minute == minute)
    days: tuple[str, ...] | None = ("1",)
    weekdays: tuple[str, ...] | None = None
    if schedule.every == "day":
        days = tuple(map(str, range(1, 32)))
    elif schedule.every == "week":
        days, weekdays = None, (str(WEEKDAYS.index(schedule.weekday or "SUN") + 1),)
    elif (schedule.day or 1) > 28:
        return _last_days(schedule.day or 31, time(hour, minute), where, moment)
    else:
        days = (str(schedule.day),)
    every = Cron(
        frozenset({minute}),
        frozenset({hour}),
        days,
        frozenset(range(1, 13)),
        weekdays,
        frozenset(range(1970, LAST_YEAR + 1)),
    )
    return every.next_after(moment, where)


def _last_days(day: int, at: time, zone: ZoneInfo, moment: datetime) -> datetime | None:
    """The 29th to the 31st, or the last day of a month that has none."""
    here = moment.astimezone(zone)
    for ahead in range(3):
        year, month = divmod(here.year * 12 + here.month - 1 + ahead, 12)
        last = calendar.monthrange(year, month + 1)[1]
        found = _moment(date(year, month + 1, min(day, last)), at, zone)
        if found > moment:
            return found
    return None
