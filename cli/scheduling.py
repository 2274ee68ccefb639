"""`--every daily --at 03:00 --zone Europe/Berlin`: when a scan comes, from a person's words and into them."""

import os
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.errors import UsageError

EVERY = {"hourly": "hour", "daily": "day", "weekly": "week", "monthly": "month"}
WEEKDAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
LOCALTIME = Path("/etc/localtime")

Every = Annotated[
    str | None,
    typer.Option(metavar="HOW", help="hourly, daily, weekly or monthly.", show_default=False),
]
At = Annotated[
    str | None,
    typer.Option(metavar="HH:MM", help="Time of day in its zone; of an hourly scan :MM.", show_default=False),
]
On = Annotated[
    str | None,
    typer.Option(
        metavar="DAY",
        help="Of a weekly scan a weekday, such as mon; of a monthly one 1 to 31, "
        "in shorter months the last day.",
        show_default=False,
    ),
]
Zone = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="Such as Europe/Berlin. Default: this machine's zone.", show_default=False
    ),
]
Cron = Annotated[
    str | None,
    typer.Option(
        metavar="FIELDS",
        help="In place of --every: EventBridge's six fields, such as '0 3 ? * MON-FRI *'.",
        show_default=False,
    ),
]


def schedule(
    every: str | None, at: str | None, on: str | None, cron: str | None, before: dict[str, Any] | None = None
) -> dict[str, Any] | None:
    """Return the API's schedule for these options; None where none of them is given.

    Args:
        before: of the scan that is changed: what is not said stays.

    Raises:
        UsageError: they make no sense, together or alone.
    """
    if every is None and at is None and on is None and cron is None:
        return None
    if cron is not None:
        if every or at or on:
            raise UsageError("--cron says all by itself: leave out --every, --at and --on.")
        fields = cron.strip().removeprefix("cron(").removesuffix(")")
        return {"cron": f"cron({fields})"}
    kept = {name: value for name, value in (before or {}).items() if value is not None}
    kind = _every(every) if every else kept.get("every")
    if kind is None:
        raise UsageError("Say how often: --every hourly, daily, weekly or monthly.")
    time = _at(at, kind) if at is not None else kept.get("at")
    if kind == "hour":
        time = time or "00:00"
    if time is None:
        raise UsageError("Say at what time of day: --at 03:00.")
    made: dict[str, Any] = {"every": kind, "at": time}
    if kind == "week":
        made["weekday"] = _weekday(on) if on else kept.get("weekday")
    elif kind == "month":
        made["day"] = _day(on) if on else kept.get("day")
    elif on:
        raise UsageError("--on is for weekly and monthly scans.")
    if None in made.values():
        raise UsageError("Say on which day: " + ("--on mon." if kind == "week" else "--on 1."))
    return made


def in_words(schedule: dict[str, Any], zone: str) -> str:
    """Return a schedule of the API for people: `Mondays at 03:00, Europe/Berlin`."""
    every, at = schedule.get("every"), schedule.get("at") or ""
    if schedule.get("cron"):
        said = str(schedule["cron"])
    elif every == "hour":
        return f"every hour at :{at[-2:]}"
    elif every == "day":
        said = f"daily at {at}"
    elif every == "week":
        said = f"{DAYS[WEEKDAYS.index(schedule['weekday'])]}s at {at}"
    else:
        said = f"monthly on day {schedule.get('day')} at {at}"
    return f"{said}, {zone}"


def zone_here() -> str:
    """Return the name of this machine's zone, UTC where nobody knows."""
    name = os.environ.get("TZ", "").removeprefix(":")
    if not name:
        try:
            _, found, name = str(LOCALTIME.resolve()).partition("/zoneinfo/")
        except OSError:
            return "UTC"
    return name if re.fullmatch(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*", name) and _exists(name) else "UTC"


def _exists(name: str) -> bool:
    from zoneinfo import ZoneInfo

    try:
        ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        return False
    return True


def _every(text: str) -> str:
    word = text.strip().lower()
    if word in EVERY:
        return EVERY[word]
    if word in EVERY.values():
        return word
    raise UsageError(f"--every {text!r} is none of hourly, daily, weekly, monthly.")


def _at(text: str, kind: str) -> str:
    found = re.fullmatch(r"(\d{1,2})?:(\d\d)", text.strip())
    if not found or int(found[1] or 0) > 23 or int(found[2]) > 59 or (found[1] is None and kind != "hour"):
        example = ":15, the minutes of each hour" if kind == "hour" else "03:00 or 17:30"
        raise UsageError(f"--at {text!r} is no time: write {example}.")
    return f"{int(found[1] or 0):02}:{found[2]}"


def _weekday(text: str) -> str:
    word = text.strip().lower()
    for short, long in zip(WEEKDAYS, DAYS, strict=True):
        if word == short.lower() or (len(word) >= 3 and long.lower().startswith(word.removesuffix("s"))):
            return short
    raise UsageError(f"--on {text!r} is no weekday: mon, tue, wed, thu, fri, sat or sun.")


def _day(text: str) -> int:
    if not re.fullmatch(r"\d{1,2}", text.strip()) or not 1 <= int(text) <= 31:
        raise UsageError(f"--on {text!r} is no day of a month: 1 to 31.")
    return int(text)
